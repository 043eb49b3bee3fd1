"""What makes a PDF small: letters in runs, shapes in few words, tags beside their way back, fonts without ballast."""

from __future__ import annotations

import io
import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from reportgen.document.codec import decode, encode
from reportgen.page.build import build
from reportgen.render import outlines, runs, shapes, terse, thin
from reportgen.render.carrier import nine_digits
from reportgen.render.pdf import to_pdf

from . import builders

pikepdf = pytest.importorskip("pikepdf")
fonts = pytest.importorskip("fontTools.ttLib")

WIDTHS = {b"/F": {1: 600.0, 2: 500.0}}


@pytest.fixture(scope="module")
def made() -> bytes:
    report = builders.checkpoint()
    return to_pdf(build(report), encode(report))


def text(*lines: str) -> bytes:
    return "\n".join(["BT", *lines, "ET"]).encode()


def test_letters_beside_each_other_are_one_text() -> None:
    single = text("0 Tr", "1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>] TJ", "0 Tr", "1 0 0 -1 11 9 Tm", "[<0002>] TJ")
    assert runs.joined(single, WIDTHS) == text("1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<00010002>] TJ")


def test_a_gap_between_letters_stays() -> None:
    apart = text("1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>] TJ", "0 Tr", "1 0 0 -1 14 9 Tm", "[<0002>] TJ")
    assert runs.joined(apart, WIDTHS) == text("1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>-300<0002>] TJ")


@pytest.mark.parametrize(
    "lines",
    [
        ("1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>12<0002>] TJ"),  # kerned
        ("0 1 1 0 5 9 Tm", "/F 10 Tf", "[<0001>] TJ"),  # turned
        ("1 Tr", "1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>] TJ", "1 Tr", "1 0 0 -1 11 9 Tm", "[<0002>] TJ"),  # stroked
    ],
)
def test_other_texts_stay_as_they_are(lines: tuple[str, ...]) -> None:
    assert runs.joined(text(*lines), WIDTHS) == text(*lines)


def test_letters_on_two_lines_are_two_texts() -> None:
    two = text("1 0 0 -1 5 9 Tm", "/F 10 Tf", "[<0001>] TJ", "1 0 0 -1 11 20 Tm", "[<0002>] TJ")
    assert runs.joined(two, WIDTHS) == two


def test_words_of_charts_are_found_in_the_file(made: bytes) -> None:
    with pikepdf.open(io.BytesIO(made)) as opened:
        drawn = b"".join(page.Contents.read_bytes() for page in opened.pages)
    lengths = [len(glyphs) // 4 for glyphs in re.findall(rb"^\[<([0-9a-f]+)>\] TJ$", drawn, re.M)]
    assert lengths.count(1) < 0.2 * len(lengths)
    assert b"0 Tr" not in drawn


@pytest.mark.parametrize(
    ("drawn", "plainer"),
    [
        (b"5 7 m\n9 7 l\n9 10 l\n5 10 l\nh\nf\n", b"5 7 4 3 re\nf\n"),
        (b"5 7 m\n9 7 l\n9 10 l\n5 11 l\nh\nf\n", b"5 7 m\n9 7 l\n9 10 l\n5 11 l\nh\nf\n"),
        (b"[] 0 d\n0 J\n0 j\n4 M\n0 0 m\n1 2 3 4 re\nf\n", b"1 2 3 4 re\nf\n"),
        (b"[] 0 d\n0 J\n0 j\n4 M\n1 2 m\n3 4 l\nS\n", b"[] 0 d\n0 J\n0 j\n4 M\n1 2 m\n3 4 l\nS\n"),
        (
            b"/Artifact\nBMC\nq\n/a1.0 gs\n1 0 0 rg\n0 0 5 2 re\nf\nQ\nEMC\n"
            b"/Artifact\nBMC\nq\n/a1.0 gs\n1 0 0 rg\n5 0 4 2 re\nf\nQ\nEMC\n"
            b"/Artifact\nBMC\nq\n/a1.0 gs\n1 0 0 rg\n0 9 9 2 re\nf\nQ\nEMC\n",
            b"/Artifact\nBMC\nq\n/a1.0 gs\n1 0 0 rg\n0 0 9 2 re\n0 9 9 2 re\nf\nQ\nEMC\n",
        ),
    ],
)
def test_shapes_in_fewer_words(drawn: bytes, plainer: bytes) -> None:
    assert shapes.plainer(drawn) == plainer


@pytest.mark.parametrize("said", ["plain", "From −0.11 to 0.13 (5\\6)", "naïve – “so”", "混淆矩阵 (3)", "a\rb", "𝛼"])
def test_texts_are_read_as_they_were(said: str) -> None:
    assert str(pikepdf.Object.parse(terse.literal(said))) == said


def test_every_mark_leads_to_the_element_that_holds_it(made: bytes) -> None:
    with pikepdf.open(io.BytesIO(made)) as opened:
        numbers = opened.Root.StructTreeRoot.ParentTree.Nums
        parents = dict(zip((int(n) for n in numbers[::2]), numbers[1::2], strict=True))
        for page in opened.pages:
            marks = {int(m) for m in re.findall(rb"<</MCID (\d+)>>", page.Contents.read_bytes())}
            holders = parents[int(page.StructParents)]
            assert marks == set(range(len(holders)))
            for mark, holder in enumerate(holders):
                assert mark in [kid for kid in holder.K if isinstance(kid, int)]
                assert holder.Pg.objgen == page.objgen
        links = [a for page in opened.pages for a in page.get("/Annots", [])]
        for link in links:
            kid = next(
                k for k in parents[int(link.StructParent)].K if isinstance(k, pikepdf.Dictionary) and "/Obj" in k
            )
            assert kid.Obj.objgen == link.objgen
            assert str(link.Dest) in [str(n) for n in opened.Root.Names.Dests.Names[::2]]
        assert len(links) > 10


def test_running_heads_are_not_read_aloud(made: bytes) -> None:
    with pikepdf.open(io.BytesIO(made)) as opened:
        elements = [o for o in opened.objects if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/StructElem"]
        held = {kid.objgen for e in elements for kid in e.get("/K", []) if isinstance(kid, pikepdf.Dictionary)}
        unheld = [e for e in elements if e.objgen not in held]
        assert [str(e.S) for e in unheld] == ["/Document"]
        assert all(p.Contents.read_bytes().rstrip().count(b"/Artifact") for p in opened.pages)


def test_fonts_bring_outlines_and_little_else(made: bytes) -> None:
    with pikepdf.open(io.BytesIO(made)) as opened:
        files = [o for o in opened.objects if isinstance(o, pikepdf.Stream) and "/Length1" in o]
        assert files
        for file in files:
            data = file.read_bytes()
            font = fonts.TTFont(io.BytesIO(data))
            assert int(file.Length1) == len(data)
            assert font["head"].unitsPerEm <= outlines.GRID
            assert not {"name", "post", "cmap", "GPOS"} & set(font.keys())


def latin() -> bytes:
    place = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf")
    return Path(str(place)).read_bytes()


def outline(font: Any, character: str) -> Any:
    glyph = font["glyf"][font.getBestCmap()[ord(character)]]
    return glyph.getCoordinates(font["glyf"])[0] if glyph.numberOfContours else None


def test_a_thinned_font_lays_out_the_same() -> None:
    whole, small = latin(), thin.thinned(latin(), {"a", "Ж", "∑"})
    assert len(small) < 0.5 * len(whole)
    one, other = (fonts.TTFont(io.BytesIO(data)) for data in (whole, small))
    assert one.getBestCmap() == other.getBestCmap()
    assert one["hmtx"].metrics == other["hmtx"].metrics
    for character in "aéﬁЖ∑":
        assert outline(one, character) == outline(other, character)  # that of é is put together from two
    assert outline(one, "Щ") is not None
    assert outline(other, "Щ") is None


def test_letters_that_join_need_the_whole_font() -> None:
    assert thin.thinned(latin(), {"a", "ش"}) == latin()


def test_the_attached_report_has_nine_digits(made: bytes) -> None:
    with pikepdf.open(io.BytesIO(made)) as opened:
        (attached,) = [file.get_file().read_bytes() for file in opened.attachments.values()]
    assert attached == nine_digits(encode(builders.checkpoint()))
    assert encode(decode(attached)) == attached


def test_nine_digits_are_near_what_was_measured() -> None:
    original = encode(builders.classifier())
    pairs = list(zip(flat(json.loads(original)), flat(json.loads(nine_digits(original))), strict=True))
    assert len(pairs) > 1000
    assert sum(one != other for one, other in pairs) > 100
    for one, other in pairs:
        assert one == other or abs(one - other) <= 1e-8 * abs(one)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *flat(item))]
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


def test_large_numbers_and_texts_keep_their_digits() -> None:
    told = b'{"at":1732297465.123456,"name":"0.12345678901","x":0.12345678901,"e":1.23456789012e-7}'
    assert nine_digits(told) == b'{"at":1732297465.123456,"name":"0.12345678901","x":0.123456789,"e":1.23456789e-7}'
