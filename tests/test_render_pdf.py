"""Page -> PDF: fetches nothing, embeds its fonts, is cut where it must be, and is tagged."""

from __future__ import annotations

import io
import logging
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fontTools.ttLib import TTFont
from msgspec import structs

from reportgen.page import svg
from reportgen.page.blocks import (
    Block,
    Column,
    Figure,
    Gallery,
    KeyValues,
    Page,
    Pair,
    Pictures,
    Prose,
    Section,
    Table,
    Tile,
)
from reportgen.page.build import build
from reportgen.page.cells import of_text
from reportgen.page.fold import folded
from reportgen.render import pdf
from reportgen.render.assets import sheet
from reportgen.render.pdf import to_pdf

from . import builders

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

pikepdf = pytest.importorskip("pikepdf")
weasyprint = pytest.importorskip("weasyprint")
_POINTS = re.compile(r"font(?:-size)?:(?:\d+ )?([\d.]+)pt")


@pytest.fixture(scope="module")
def document() -> Any:
    with pikepdf.open(io.BytesIO(to_pdf(build(builders.classifier())))) as opened:
        yield opened


def test_is_sound_tagged_and_has_a_title(document: Any) -> None:
    assert document.check_pdf_syntax() == []
    assert document.Root.Lang == "en"
    assert document.Root.MarkInfo.Marked
    assert document.docinfo["/Title"] == "ResNet on CIFAR-10: 2 errors, 1 warning"
    assert "/CreationDate" not in document.docinfo
    assert "/AF" not in document.Root
    assert not document.attachments


def test_fonts_are_ours_and_embedded(document: Any) -> None:
    fonts = [f for f in document.objects if isinstance(f, pikepdf.Dictionary) and f.get("/Type") == "/FontDescriptor"]
    assert fonts
    for font in fonts:
        assert "Report-" in str(font.FontName)
        assert "/FontFile2" in font or "/FontFile3" in font


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext reads what was printed")
def test_what_a_dash_means_is_read_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(to_pdf(build(builders.classifier())))
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert len(re.findall(r"— +not measured", text)) > 20


def test_every_figure_has_words(document: Any) -> None:
    figures = [f for f in document.objects if isinstance(f, pikepdf.Dictionary) and f.get("/S") == "/Figure"]
    assert len(figures) > 50
    assert all("/Alt" in f for f in figures)


def test_has_bookmarks(document: Any) -> None:
    with document.open_outline() as outline:
        titles = [item.title for top in outline.root for item in (top, *top.children)]
    assert {"Diagnoses", "Evaluation", "Coverage"} <= set(titles)


@pytest.mark.parametrize("name", ["smallest", pytest.param("hostile", marks=pytest.mark.slow)])
def test_any_report_can_be_printed(name: str) -> None:
    data = to_pdf(build(builders.ALL[name]()))
    with pikepdf.open(io.BytesIO(data)) as opened:
        assert opened.check_pdf_syntax() == []


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/x", "file:///etc/hostname", "report-font:other"],
)
def test_a_page_that_fetches_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from weasyprint.urls import FatalURLFetchingError

    monkeypatch.setattr(pdf, "fill", lambda page, style, templates: f'<img src="{address}">')
    with pytest.raises(FatalURLFetchingError):
        to_pdf(build(builders.smallest()))


def test_print_style_sheet_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="weasyprint"):
        to_pdf(build(builders.checkpoint()))
    assert [r.getMessage() for r in caplog.records] == []


def test_nothing_on_paper_is_too_small_to_read() -> None:
    """Seven points; a table of ten columns and more has to do with somewhat less."""
    sizes = {rule.split("{")[0]: float(n) for rule in sheet("print.css").splitlines() for n in _POINTS.findall(rule)}
    small = {rule: n for rule, n in sizes.items() if n < 7}
    assert small == {".dense": 6.4}


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Page], list[tuple[int, Any]]]:
    """Return a function that tells every box of a page on paper, and on which sheet."""
    laid: list[tuple[int, Any]] = []

    def measured(html: str, fetcher: Any, fonts: Any, options: Any) -> Any:
        document = weasyprint.HTML(string=html, url_fetcher=fetcher).render(font_config=fonts, **options)
        laid[:] = [(i, box) for i, sheet in enumerate(document.pages) for box in sheet._page_box.descendants()]
        raise StopIteration

    def found(page: Page) -> list[tuple[int, Any]]:
        with pytest.raises(StopIteration):
            to_pdf(page)
        return laid

    monkeypatch.setattr(pdf.frugal, "laid_out", measured)
    return found


def sheets(boxes: list[tuple[int, Any]], tag: str, class_: str = "") -> dict[Any, set[int]]:
    """Return the elements of a kind in their order, and on which sheets each is."""
    out: dict[Any, set[int]] = {}
    for number, box in boxes:
        if box.element_tag == tag and box.element is not None and class_ in (box.element.get("class") or ""):
            out.setdefault(box.element, set()).add(number)
    return out


def beneath(lines: int, *blocks: Block) -> Page:
    """Return a page of blocks beneath so many lines of text."""
    above = Prose(paragraphs=["A line of text."] * lines)
    return structs.replace(
        build(builders.smallest()), sections=[Section(id="s", title="Some", blocks=[above, *blocks])]
    )


@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_words_of_drawings_are_of_one_size_on_paper(name: str, boxes: Callable[[Page], list[tuple[int, Any]]]) -> None:
    """Six to eight points: a tall chart is not shrunk to what is left of a page, nor a narrow one as large as text."""
    sizes: dict[str, float] = {}
    for _number, box in boxes(build(builders.ALL[name]())):
        if str(box.element_tag).endswith("svg") and hasattr(box, "replacement"):
            scale = box.width / float(box.element.get("viewBox").split()[2])
            title = box.element.find("{*}title").text
            words = {float(e.get("font-size")) for e in box.element.iterfind(".//*[@font-size]")}
            sizes.update({f"{title}, {size:g} px": 0.75 * scale * size for size in words})
    assert len(sizes) >= 3
    assert {title: size for title, size in sizes.items() if not 6 <= size <= 8} == {}


def test_an_observation_is_not_torn_and_no_advice_from_its_evidence(
    boxes: Callable[[Page], list[tuple[int, Any]]],
) -> None:
    section = build(builders.classifier()).section("diagnoses")
    assert section is not None
    for lines in range(0, 42, 6):
        laid = boxes(beneath(lines, *section.blocks))
        cards = sheets(laid, "article", "card info")
        assert len(cards) == 2
        assert {len(on) for on in cards.values()} == {1}
        advice, tables = sheets(laid, "p", "advice"), sheets(laid, "table")
        for card in sheets(laid, "article", "card"):
            told = [on for e, on in advice.items() if e in set(card.iter())]
            shown = [on for e, on in tables.items() if e in set(card.iter())]
            assert all(max(on) == min(shown[0]) for on in told)


def test_key_figures_break_after_two_rows_and_not_before(boxes: Callable[[Page], list[tuple[int, Any]]]) -> None:
    """Three rows of them that would all go over left a third of a page empty."""
    figures = KeyValues(pairs=[Pair(label=f"figure {i}", value="1") for i in range(15)])
    first = set()
    for lines in range(32, 42):
        on = [min(numbers) for e, numbers in sheets(boxes(beneath(lines, figures)), "dd").items() if e.text == "1"]
        first.add(on.count(1))
    assert first == {0, 10, 15}


def test_no_row_of_pictures_stands_alone_above_a_page(boxes: Callable[[Page], list[tuple[int, Any]]]) -> None:
    drawn = svg.drawing(150, 60, "t", svg.element("path", d="M0 0h150v60", fill="none", stroke="#1f2933"))
    gallery = Gallery(id="g", title="Some", tiles=[Tile(charts=[drawn], lines=["one"]) for _ in range(12)])
    last = set()
    for lines in range(28, 42, 2):
        on = [min(numbers) for numbers in sheets(boxes(beneath(lines, gallery)), "figure").values()]
        last.add(on.count(max(on)))
    assert last == {7, 12}


def test_long_reports_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    short = folded(build(builders.huge()), each=pdf.MAX_TABLE_ROWS, together=pdf.MAX_ROWS)
    assert max(len(t.rows) for t in short.tables) <= 300
    assert short.n_rows <= 900


def test_no_grid_in_print() -> None:
    css = (Path(__file__).parents[1] / "templates" / "print.css").read_text()
    assert not re.search(r"display:\s*(grid|flex)", css)


def elements(document: Any) -> list[Any]:
    return [o for o in document.objects if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/StructElem"]


def test_every_piece_of_text_leads_to_the_element_that_holds_it(document: Any) -> None:
    tree = list(document.Root.StructTreeRoot.ParentTree.Nums)
    pages = dict(zip(tree[::2], tree[1::2], strict=True))
    seen = 0
    for number, page in enumerate(document.pages):
        for mcid, element in enumerate(pages[number]):
            kids = element.K if isinstance(element.K, pikepdf.Array) else [element.K]
            assert mcid in [int(k) for k in kids if isinstance(k, int)]
            assert element.Pg.objgen == page.objgen
            seen += 1
    assert seen > 1000


def test_the_tags_hang_together_and_say_nothing_twice(document: Any) -> None:
    known = {e.objgen for e in elements(document)}
    kids = [k for e in elements(document) for k in e.get("/K", []) if isinstance(k, pikepdf.Dictionary)]
    assert all(k.get("/Type") in ("/StructElem", "/OBJR") for k in kids)
    assert {k.objgen for k in kids if k.get("/Type") == "/StructElem"} <= known
    cells = [e for e in elements(document) if e.S == "/TD"]
    assert len(cells) > 500
    assert sum(e.S == "/Span" for e in elements(document)) < 0.1 * len(cells)


def test_every_heading_of_a_table_tells_its_scope(document: Any) -> None:
    heads = [e for e in elements(document) if e.S == "/TH"]
    scopes = [str(e.A.Scope) for e in heads]
    assert set(scopes) == {"/Row", "/Column"}
    rows = [e for e in elements(document) if e.S == "/TR" and any(k.S == "/TD" for k in e.K)]
    assert all(e.K[0].S != "/TH" or e.K[0].A.Scope == "/Row" for e in rows)


def test_the_same_page_is_the_same_bytes() -> None:
    page = build(builders.checkpoint())
    assert to_pdf(page) == to_pdf(page)


def test_what_the_screen_folds_is_short_on_paper() -> None:
    page = build(builders.classifier())
    table = next(t for t in page.tables if t.id == "layers")
    hidden = structs.replace(table, folded="all of it")
    sections = [structs.replace(s, blocks=[hidden if b is table else b for b in s.blocks]) for s in page.sections]
    short = folded(structs.replace(page, sections=sections), each=300, together=900, appendix=30)
    cut = next(t for t in short.tables if t.id == "layers")
    assert len(cut.rows) == 30
    assert cut.total_rows == len(table.rows)
    others = [t for t in short.tables if t.id != "layers"]
    assert [len(t.rows) for t in others] == [len(t.rows) for t in page.tables if t.id != "layers"]


def test_no_element_holds_others_to_no_purpose(document: Any) -> None:
    """A box of the page is no part of its sense; and a list holds its items, not boxes with items."""
    boxes = [e for e in elements(document) if e.S == "/Div" and all(not isinstance(k, int) for k in e.get("/K", []))]
    assert boxes == []
    lists = [e for e in elements(document) if e.S == "/L"]
    assert sum(len(e.K) for e in lists) > 100
    assert {str(k.S) for e in lists for k in e.K} <= {"/LI", "/Caption", "/L"}


def test_a_link_is_one_link_and_says_where_it_leads(document: Any) -> None:
    """A box within a link, an icon or a page number, is no link of its own."""
    held = [
        (e, k.Obj)
        for e in elements(document)
        for k in e.get("/K", [])
        if isinstance(k, pikepdf.Dictionary)
        if "/Obj" in k
    ]
    assert {str(e.S) for e, _ in held} == {"/Link"}
    assert all(e.P.S != "/Link" for e, _ in held)
    assert (
        len(held)
        == len({annotation.objgen for _, annotation in held})
        == sum(len(p.get("/Annots", [])) for p in document.pages)
    )
    words = [str(annotation.Contents) for annotation in document.pages[0].Annots]
    assert not {"diagnosis-1", "diagnoses", "evaluation"} & set(words)
    assert {"Diagnoses", "Evaluation", "Provenance"} <= set(words)


def test_glyphs_are_as_wide_as_the_document_says(document: Any) -> None:
    seen = 0
    for font in (
        o for o in document.objects if isinstance(o, pikepdf.Dictionary) and "/W" in o and "/FontDescriptor" in o
    ):
        file = TTFont(io.BytesIO(font.FontDescriptor.FontFile2.read_bytes()))
        order, em = file.getGlyphOrder(), file["head"].unitsPerEm
        told = list(font.W)
        for first, widths in zip(told[::2], told[1::2], strict=True):
            for glyph, width in enumerate(widths, int(first)):
                assert abs(file["hmtx"][order[glyph]][0] * 1000 / em - float(width)) <= 1
                seen += 1
    assert seen > 100


def test_long_reports_are_tagged_too() -> None:
    report = structs.replace(builders.smallest(), architecture=builders.architecture(70))
    page = build(report)
    assert page.n_rows > 500
    with pikepdf.open(io.BytesIO(to_pdf(page))) as opened:
        assert opened.Root.MarkInfo.Marked
        assert b"pdfuaid:part" in opened.Root.Metadata.read_bytes()


def test_nothing_but_the_foot_stands_on_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the text above takes, the foot has company on its page."""
    page = build(builders.smallest())
    for n in range(28, 48, 2):
        section = Section(id="s", title="Some", blocks=[Prose(paragraphs=["A line of text."] * n)])
        with pikepdf.open(io.BytesIO(to_pdf(structs.replace(page, sections=[section])))) as opened:
            last = opened.pages[-1].Contents.read_bytes()
        assert last.count(b" TJ") > 4


def test_rows_of_figures_break_between_pages_one_by_one() -> None:
    """Three rows are lines of one paragraph; unless told, no page holds one of them alone, and half of it is empty."""
    curves = Pictures(id="p", title="", caption="", figures=[_curve(i) for i in range(5)])
    above = Prose(paragraphs=["A line of text."] * 24)
    section = Section(id="s", title="Some", blocks=[above, curves])
    page = structs.replace(build(builders.smallest()), sections=[section])
    with pikepdf.open(io.BytesIO(to_pdf(page))) as opened:
        places = {p.objgen: number for number, p in enumerate(opened.pages)}
        figures = [e for e in elements(opened) if e.S == "/Figure" and str(e.get("/Alt", "")).startswith("curve")]
        on = [places[e.Pg.objgen] for e in figures]
    assert len(on) == 5
    assert min(on) == 1  # beneath the text, behind the cover
    assert max(on) > min(on)


@pytest.mark.parametrize("lines", [33, 37, 40])
def test_no_row_or_two_of_a_table_stand_alone_on_a_page(lines: int) -> None:
    above = Prose(paragraphs=["A line of text."] * lines)
    rows = [[of_text(f"row {i}"), of_text("some")] for i in range(7)]
    table = Table(id="t", caption="Rows", columns=[Column("Name", "name"), Column("Text", "text")], rows=rows)
    page = structs.replace(build(builders.smallest()), sections=[Section(id="s", title="Some", blocks=[above, table])])
    with pikepdf.open(io.BytesIO(to_pdf(page))) as opened:
        places = {p.objgen: number for number, p in enumerate(opened.pages)}
        on = [places[e.Pg.objgen] for e in elements(opened) if e.S == "/TD"]
    assert len(on) == 7
    assert min(on.count(number) for number in on) >= 3


def _curve(number: int) -> Figure:
    drawn = svg.drawing(
        490, 320, f"curve {number}", svg.element("path", d="M0 0h490v320", stroke="#1f2933", fill="none")
    )
    return Figure(id=f"c{number}", title=f"curve {number}", caption="", drawing=drawn)
