"""Page -> HTML: standalone, without scripts, the same bytes each time, small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from reportgen.page import palette
from reportgen.page.blocks import CHUNK_ROWS
from reportgen.page.build import build
from reportgen.page.fold import folded
from reportgen.render.assets import asset, folder, sheet, style_hash
from reportgen.render.html import to_html

from . import builders

ACTIVE = {"script", "iframe", "object", "embed", "link", "base", "form", "video", "audio", "foreignobject"}


class Audit(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, wanted: str) -> list[str]:
        return [value for tag, key, value in self.attributes if key == wanted]


def html(name: str) -> str:
    return to_html(builders.page(name)).decode("utf-8")


@pytest.fixture(params=list(builders.ALL), scope="module")
def page(request: pytest.FixtureRequest) -> tuple[str, Audit]:
    text = html(request.param)
    return text, Audit(text)


def test_nothing_active_and_no_address(page: tuple[str, Audit]) -> None:
    audit = page[1]
    assert not ACTIVE & set(audit.tags)
    assert not audit.values("style")
    assert not [key for tag, key, value in audit.attributes if key.startswith("on")]
    assert all(re.fullmatch(r"data:image/(png|webp);base64,[A-Za-z0-9+/=]+", v) for v in audit.values("src"))
    assert all(value.startswith("#") for value in audit.values("href"))
    assert "@import" not in asset("report.css")
    assert "url(" not in asset("report.css")


def test_ids_are_unique_and_links_arrive(page: tuple[str, Audit]) -> None:
    ids = page[1].values("id")
    assert len(ids) == len(set(ids))
    assert {h[1:] for h in page[1].values("href")} <= set(ids)
    assert {i for v in page[1].values("aria-labelledby") for i in v.split()} <= set(ids)
    references = re.findall(r"url\(#([^)]+)\)", page[0])
    assert set(references) <= set(ids)


def test_one_style_sheet_and_its_hash(page: tuple[str, Audit]) -> None:
    policy = next(v for v in page[1].values("content") if "default-src" in v)
    assert page[0].count("<style>") == 1
    inside = re.search(r"<style>(.*?)</style>", page[0], re.S)[1]  # type: ignore[index]
    assert f"style-src '{style_hash(inside)}'" in policy
    assert "default-src 'none'" in policy
    # only a font follows it, and only for names that Latin fonts cannot write
    rest = inside.removeprefix(sheet("report.css"))
    face = (
        r'@font-face\{font-family:"Report CJK";src:[^:]*url\(data:font/woff2;base64,[^)]*\)[^}]*unicode-range:U[^}]*\}'
    )
    assert re.fullmatch(f"({face})?", rest)


def test_drawings_have_names_or_are_ornaments(page: tuple[str, Audit]) -> None:
    for drawing in re.findall(r"<svg[^>]*>(?:<title>.*?</title>)?", page[0], re.S):
        assert "aria-hidden=true" in drawing or ("role=img" in drawing and "<title>" in drawing)


def test_hostile_names_are_shown_as_text() -> None:
    text = html("hostile")
    audit = Audit(text)
    assert builders.HOSTILE in "".join(audit.text)
    assert text.count("<img") == text.count('<img class=px src="data:image/png;base64,')
    assert "onerror=" in text  # as text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u200b\ufeff]", text)


# of the classifier's page pictures take 16 kB
@pytest.mark.parametrize(("name", "limit"), [("classifier", 228_000), ("huge", 500_000), ("smallest", 20_000)])
def test_budgets(name: str, limit: int) -> None:
    assert len(html(name).encode()) <= limit


def test_long_tables_are_chunked_and_cut_with_a_count() -> None:
    text = html("huge")
    assert text.count("<div class=chunk>") >= 9
    assert re.search(r"Shown: \d+ of 1,001 rows: those with findings", text)


def test_templates_do_not_trust_anything() -> None:
    for path in folder().glob("*.j2"):
        source = path.read_text()
        assert "safe" not in re.findall(r"\|\s*(\w+)", source), path
        assert "autoescape" not in source
        assert "style=" not in source


def test_every_colour_has_a_dark_counterpart() -> None:
    css = asset("report.css")
    paints = [v for k, v in vars(palette).items() if k.isupper() and isinstance(v, str) and k != "PAPER"]
    for colour in {*paints, *palette.SERIES, *palette.HEAT} - {palette.OK}:
        assert f'[fill="{colour}"]' in css, colour
    for colour in palette.SERIES:
        assert f'[stroke="{colour}"]' in css, colour


def test_golden(golden: Callable[[str, bytes], None]) -> None:
    golden("checkpoint.html", to_html(builders.page("checkpoint")))


def test_ten_thousand_rows_stay_small_and_are_counted() -> None:
    report = replace(builders.classifier(), architecture=builders.architecture(1700), weights=None, diagnoses=[])
    page = build(report)
    assert page.n_rows > 2000
    table = next(t for t in page.tables if t.id == "layers")
    assert table.total_rows > 10_000
    text = to_html(page).decode()
    assert len(text.encode()) <= 2_000_000
    assert f"of {table.total_rows:,} rows: " in text


def test_on_paper_a_long_table_is_one() -> None:
    """Its headings come again at the top of each page, and nowhere else."""
    page = build(builders.huge())
    long = [table for table in folded(page, each=300, together=900, appendix=30).tables if len(table.rows) > CHUNK_ROWS]
    assert long
    assert all(len(table.chunks) == 1 for table in long)
    assert any(len(table.chunks) > 1 for table in folded(page, each=300, together=900).tables)


def test_what_is_folded_says_how_much_it_is(page: tuple[str, Audit]) -> None:
    """A sign of the column of marks says nothing itself; what opens a part has the number of what is in it."""
    told = [re.sub("<[^>]*>", "", text) for text in re.findall("<summary[^>]*>(.*?)</summary>", page[0], re.DOTALL)]
    assert [text for text in told if not re.search(r"\d", text)] == []
