"""Chinese characters in a page come with a font of just those characters; without a font the page says so."""

import base64
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pikepdf
import pytest
from fontTools.ttLib import TTFont
from msgspec.structs import replace

from reportgen.errors import OptionError
from reportgen.look import Look
from reportgen.render import typeface
from reportgen.render.write import render, write

from . import builders

with_font = pytest.mark.skipif(typeface.found() is None, reason="no font with Chinese characters: fonts-wqy-microhei")


def embedded(html: bytes) -> TTFont | None:
    found = re.search(rb"url\(data:font/woff2;base64,([^)]*)\)", html)
    return None if found is None else TTFont(io.BytesIO(base64.b64decode(found[1])))


def test_a_latin_page_brings_no_font() -> None:
    html = builders.html("regressor")
    assert typeface.chinese(html.decode()) == ""
    assert embedded(html) is None


@pytest.mark.slow
@with_font
def test_the_font_in_a_page_has_every_chinese_character_of_it_and_few_others() -> None:
    html = render(builders.classifier(), ".html", language="zh")
    font = embedded(html)
    assert font is not None
    needed = {ord(c) for c in typeface.chinese(html.decode())}
    assert len(needed) > 200
    assert needed <= set(font.getBestCmap())
    assert len(font.getBestCmap()) < len(needed) + 20
    assert len(html) < 140_000 + len(builders.html("classifier"))


@with_font
def test_a_chinese_name_in_an_english_page_brings_its_characters() -> None:
    report = replace(builders.regressor(), title="房价预测")
    font = embedded(render(report, ".html"))
    assert font is not None
    assert {chr(c) for c in font.getBestCmap()} >= set("房价预测")


@with_font
def test_the_style_sheet_beside_a_page_names_the_font_beside_it(tmp_path: Path) -> None:
    write(builders.regressor(), tmp_path / "a r.html", language="zh", look=Look(sidecar_css=True))
    html, css = ((tmp_path / f"a r{suffix}").read_bytes() for suffix in (".html", ".css"))
    assert embedded(html) is embedded(css) is None
    assert b",url(a%20r.woff2)" in css
    assert b"font-src 'self'" in html
    font = TTFont(tmp_path / "a r.woff2")
    assert {chr(c) for c in font.getBestCmap()} >= set(typeface.chinese(html.decode()))


@with_font
def test_no_other_sign_makes_a_browser_read_the_font() -> None:
    """Its range holds the signs that count as Chinese, and those alone."""
    spans = [
        [int(end, 16) for end in span.removeprefix("U+").split("-")]
        for span in re.findall(r"U\+[0-9A-F-]+", typeface.face_at("x"))
    ]
    for low, high in spans:
        assert typeface.chinese(chr(low) + chr(high)) == chr(low) + chr(high)
        assert not typeface.chinese(chr(low - 1))


@with_font
def test_the_same_page_gives_the_same_bytes() -> None:
    path = typeface.found()
    assert path is not None
    typeface.subset.cache_clear()
    first = typeface.subset(path, "模型报告", "woff2")
    typeface.subset.cache_clear()
    assert typeface.subset(path, "模型报告", "woff2") == first


@pytest.mark.slow
@with_font
def test_no_sign_of_a_chinese_pdf_is_without_a_glyph(caplog: pytest.LogCaptureFixture) -> None:
    """A space is set in the font of what stands before it, Chinese or not."""
    with caplog.at_level(logging.WARNING, logger="weasyprint"):
        render(builders.smallest(), ".pdf", language="zh")
        render(builders.hostile(), ".pdf", language="en")
    assert [r.getMessage() for r in caplog.records] == []


@pytest.mark.slow
@with_font
def test_a_pdf_embeds_the_characters_and_speaks_its_language() -> None:
    data = render(builders.regressor(), ".pdf", language="zh")
    with pikepdf.open(io.BytesIO(data)) as pdf:
        fonts = {str(f["/BaseFont"]) for f in pdf.objects if isinstance(f, pikepdf.Dictionary) and "/BaseFont" in f}
        assert any("Report-CJK" in name for name in fonts), fonts
        assert str(pdf.Root["/Lang"]) == "zh"


@pytest.mark.slow
@with_font
def test_chinese_names_stand_in_an_english_pdf_and_summary() -> None:
    report = replace(builders.regressor(), title="房价预测")
    assert "房价预测" in render(report, ".md").decode()
    with pikepdf.open(io.BytesIO(render(report, ".pdf"))) as pdf:
        assert str(pdf.Root["/Lang"]) == "en"
        fonts = {str(f["/BaseFont"]) for f in pdf.objects if isinstance(f, pikepdf.Dictionary) and "/BaseFont" in f}
        assert any("Report-CJK" in name for name in fonts), fonts


@pytest.fixture
def no_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(typeface, "_by_fontconfig", lambda: iter(()))
    monkeypatch.setattr(typeface, "_in_folders", lambda: iter(()))
    typeface.found.cache_clear()
    yield
    typeface.found.cache_clear()


@pytest.mark.usefixtures("no_font")
def test_without_a_font_the_page_says_so_in_both_languages() -> None:
    html = render(builders.regressor(), ".html", language="zh").decode()
    assert embedded(html.encode()) is None
    assert "No font with Chinese characters was found" in html
    assert "未找到" in html
    assert "No font" not in builders.html("regressor").decode()


@pytest.mark.usefixtures("no_font")
def test_without_a_font_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from reportgen.cli.output import written

    written(builders.regressor(), [tmp_path / "r.html"], Look(), "zh")
    told = capsys.readouterr()
    assert "--font" in told.err
    assert "已写入" in told.out
    written(builders.regressor(), [tmp_path / "r.html"], Look(), "en")
    assert capsys.readouterr().err == ""


def test_a_font_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_text("no font")
    with pytest.raises(OptionError, match="cannot be read as a font"):
        typeface.found(str(path))
    import matplotlib

    latin = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    with pytest.raises(OptionError, match="no Chinese characters"):
        typeface.found(str(latin))


@pytest.mark.slow
@with_font
def test_headings_on_paper_are_bold_in_chinese_too() -> None:
    """What browsers do by themselves, printing must bring: the bold face has more ink, and is embedded for headings."""
    path = typeface.found()
    assert path is not None
    plain, bold = typeface.subset(path, "诊断", None)[0], typeface.bold(path, "诊断")
    assert bold is not None
    assert ink(bold) > 1.15 * ink(plain)
    with pikepdf.open(io.BytesIO(render(builders.regressor(), ".pdf", language="zh"))) as document:
        names = {str(o.FontName) for o in document.objects if isinstance(o, pikepdf.Dictionary) and "/FontName" in o}
    assert any(name.endswith("Report-CJK-Bold") for name in names), names


def ink(font: bytes) -> int:
    """Count the black pixels of two characters."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (300, 150), 255)
    ImageDraw.Draw(image).text((10, 10), "诊断", font=ImageFont.truetype(io.BytesIO(font), 100), fill=0)
    return sum(image.histogram()[:128])


@with_font
def test_outlines_are_coarser_but_stay_where_they_are() -> None:
    path = typeface.found()
    assert path is not None
    fine, coarse = (TTFont(io.BytesIO(typeface.subset(path, "诊断", kind)[0])) for kind in (None, "woff2"))
    with typeface._opened(path) as whole:
        if "glyf" not in fine:
            pytest.skip("outlines that are not of TrueType stay as they are")
        for font in (fine, coarse):  # on paper, on a screen
            scale = whole["head"].unitsPerEm / font["head"].unitsPerEm
            assert scale > 1
            for code in map(ord, "诊断"):
                one, other = bounds(whole, code), bounds(font, code)
                assert all(abs(a - scale * b) <= scale for a, b in zip(one, other, strict=True))


def bounds(font: TTFont, code: int) -> tuple[float, float, float, float]:
    from fontTools.pens.boundsPen import BoundsPen

    glyphs = font.getGlyphSet()
    pen = BoundsPen(glyphs)
    glyphs[font.getBestCmap()[code]].draw(pen)
    assert pen.bounds is not None
    return pen.bounds
