"""One font for two weights: a bold glyph that is the plain one struck twice is told by the plain one."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from PIL import Image

from reportgen.page.build import build
from reportgen.render import pdf, typeface, weights
from reportgen.render.pdf import to_pdf

from . import builders

pikepdf = pytest.importorskip("pikepdf")


def made(*boxes: tuple[int, int], parts: bool = False) -> bytes:
    """Return a font whose glyph 1 is a box at each of these places (left, right), and glyph 2 made of it."""
    fonts = FontBuilder(256, isTTF=True)
    fonts.setupGlyphOrder([".notdef", "glyph00001", "glyph00002"])
    pen = TTGlyphPen(None)
    for left, right in boxes:
        pen.moveTo((left, 0))
        for place in ((left, 90), (right, 90), (right, 0)):
            pen.lineTo(place)
        pen.closePath()
    box, empty = pen.glyph(), TTGlyphPen(None).glyph()
    pen = TTGlyphPen({"glyph00001": box})
    pen.addComponent("glyph00001", (1, 0, 0, 1, 10, 0))
    fonts.setupGlyf({".notdef": empty, "glyph00001": box, "glyph00002": pen.glyph() if parts else empty})
    fonts.setupHorizontalMetrics({name: (128, 5) for name in (".notdef", "glyph00001", "glyph00002")})
    fonts.setupHorizontalHeader()
    out = io.BytesIO()
    fonts.save(out)
    return out.getvalue()


def left_of(font: TTFont, number: int) -> list[int]:
    """Return where the boxes of a glyph begin."""
    points, ends, _ = font["glyf"][font.getGlyphName(number)].getCoordinates(font["glyf"])
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [points[i][0] for i in starts] if ends else []


def test_a_bold_glyph_is_the_plain_one_and_the_same_beside_it() -> None:
    together = weights._together(made((5, 60)), made((5, 60), (13, 68), parts=True), [1, 2])
    assert together is not None
    font, places = TTFont(io.BytesIO(together[0])), together[1]
    assert left_of(font, 1) == [5]
    assert left_of(font, places[1]) == [5, 13]
    assert left_of(font, places[2]) == [15, 23]
    assert font["hmtx"].metrics[font.getGlyphName(places[1])] == (128, 5)
    assert font["glyf"][font.getGlyphName(places[1])].isComposite()


def test_a_bold_face_of_its_own_is_left_alone() -> None:
    assert weights._together(made((5, 60)), made((5, 70), (13, 90)), [1]) is None
    assert weights._together(made((5, 60)), made((5, 70)), [1]) is None


@pytest.mark.slow
@pytest.mark.skipif(typeface.found() is None, reason="no font with Chinese characters: fonts-wqy-microhei")
def test_a_chinese_pdf_looks_the_same_with_one_font_of_both_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = build(builders.smallest(), "zh")
    (tmp_path / "one.pdf").write_bytes(to_pdf(page))
    monkeypatch.setattr(pdf.weights, "joined", lambda *_: None)
    (tmp_path / "two.pdf").write_bytes(to_pdf(page))
    assert len(files(tmp_path / "two.pdf")) == len(files(tmp_path / "one.pdf")) + 1
    assert (tmp_path / "one.pdf").stat().st_size < 0.95 * (tmp_path / "two.pdf").stat().st_size
    for one, two in zip(pictures(tmp_path / "one.pdf"), pictures(tmp_path / "two.pdf"), strict=True):
        assert np.abs(one - two).max() < 32


def files(path: Path) -> set[Any]:
    with pikepdf.open(path) as opened:
        return {o.FontFile2.objgen for o in opened.objects if isinstance(o, pikepdf.Dictionary) and "/FontFile2" in o}


def pictures(path: Path) -> list[Any]:
    subprocess.run(["pdftoppm", "-r", "80", "-gray", path.name, path.stem], cwd=path.parent, check=True)
    return [np.asarray(Image.open(p)).astype(int) for p in sorted(path.parent.glob(f"{path.stem}*.pgm"))]
