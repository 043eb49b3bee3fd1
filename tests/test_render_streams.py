"""Slimming a PDF: fewer bytes, the same picture, and every reference still leads to what it meant."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen.page.blocks import Figure, Page
from reportgen.page.build import build
from reportgen.render import pdf, streams
from reportgen.render.pdf import to_pdf

from . import builders

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

pikepdf = pytest.importorskip("pikepdf")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def page() -> Page:
    return build(builders.checkpoint())


@pytest.fixture(scope="module")
def both(page: Page) -> tuple[bytes, bytes]:
    """The same page as the library writes it, and slimmed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdf, "_finish", lambda words, document, made: None)
        plain = to_pdf(page)
    return plain, to_pdf(page)


def pictures(data: bytes, folder: Path) -> list[Any]:
    folder.mkdir()
    (folder / "a.pdf").write_bytes(data)
    subprocess.run(["pdftoppm", "-r", "60", "-gray", "a.pdf", "a"], cwd=folder, check=True)
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.pgm"))]


def test_the_picture_is_the_same_and_the_file_much_smaller(both: tuple[bytes, bytes], tmp_path: Path) -> None:
    plain, slim = both
    assert len(slim) < 0.9 * len(plain)  # of a small file the fonts are the most
    if shutil.which("pdftoppm") is None:
        pytest.skip("pdftoppm is not installed")
    before, after = pictures(plain, tmp_path / "plain"), pictures(slim, tmp_path / "slim")
    assert len(before) == len(after) > 1
    for one, other in zip(before, after, strict=True):
        assert one.shape == other.shape
        change = np.abs(one - other)  # a hundredth of a point is a hint of grey at an edge, here and there
        assert change.max() < 128
        # lines thinner than a pixel are paler where they are cut to themselves: a tenth of what is drawn on a full page
        assert (change > 16).sum() < 0.12 * (one < 240).sum()
        assert (change > 64).mean() < 5e-4


def test_links_bookmarks_and_words_are_the_same(both: tuple[bytes, bytes]) -> None:
    def told(data: bytes) -> tuple[Any, ...]:
        with pikepdf.open(io.BytesIO(data)) as opened, opened.open_outline() as outline:
            places = {p.objgen: number for number, p in enumerate(opened.pages)}
            marks = [
                (item.title, places[item.destination[0].objgen])
                for top in outline.root
                for item in (top, *top.children)
            ]
            links = [sorted({str(a.Dest) for a in p.get("/Annots", [])}) for p in opened.pages]
            names = opened.Root.Names.Dests.Names
            goals = [(str(n), places[d[0].objgen]) for n, d in zip(names[::2], names[1::2], strict=True)]
            return marks, links, [goal for goal in goals if not goal[0].endswith("-title")]  # to which no link leads

    plain, slim = map(told, both)
    assert plain == slim
    assert sum(map(len, slim[1])) > 5


def test_nothing_is_left_that_nothing_points_to(both: tuple[bytes, bytes]) -> None:
    with pikepdf.open(io.BytesIO(both[1])) as opened:
        assert opened.check_pdf_syntax() == []
        empty = [o for o in opened.objects if isinstance(o, pikepdf.Dictionary) and not len(o)]
        assert len(empty) <= 1
        forms = [o for o in opened.objects if isinstance(o, pikepdf.Stream) and o.get("/Subtype") == "/Form"]
        assert forms == []


def test_a_transparent_group_stays_one(page: Page) -> None:
    """What fades as a whole must not be drawn part by part."""
    from msgspec import structs

    from reportgen.page.svg import drawing, element

    faded = element(
        "g", element("text", "M", x=9, y=9, text_anchor="end"), element("rect", width=9, height=9), opacity=0.5
    )
    figure = Figure(id="faded", title="faded", caption="", drawing=drawing(20, 20, "faded", faded))
    section = structs.replace(page.sections[0], blocks=[figure])
    with pikepdf.open(io.BytesIO(to_pdf(structs.replace(page, sections=[section])))) as opened:
        forms = [o for o in opened.objects if isinstance(o, pikepdf.Stream) and o.get("/Subtype") == "/Form"]
        assert any(b"re" in form.read_bytes() for form in forms)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (b"1 0 0 -1 64.251969 83.632056 Tm", b"1 0 0 -1 64.25 83.63 Tm"),
        (b"0.105882 0.141176 0.188235 rg", b"0.106 0.141 0.188 rg"),
        (b"/a1.0 gs", b"/a1.0 gs"),
        (b"0.000250 0 0 0.000250 -0.001 7 cm", b"0.00025 0 0 0.00025 -0.001 7 cm"),
        (b"[<0026>0<004f>0<0044>-12.5<0056>0] TJ", b"[<0026004f0044>-12.5<0056>] TJ"),
    ],
)
def test_numbers_keep_what_can_be_seen(written: bytes, wanted: bytes) -> None:
    assert streams._slimmed(written) == wanted
    assert not re.search(rb"\d\.\d{7}", wanted)
