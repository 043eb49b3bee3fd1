"""One font in a PDF for two weights, where the bold one is the plain one struck twice.

Such a bold glyph is the plain glyph and the same a little to the right. Said so, in twenty bytes, it takes no outline
of its own: the glyphs of both weights stand in one font, and the bold one tells which of them are its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple


class _OtherwiseBold(Exception):  # noqa: N818
    """A glyph that is not its plain one twice, as those of a font's own bold face are."""


class _Weight(NamedTuple):
    font: Any
    """What tells the widths of its glyphs, and by which outlines they are drawn."""
    descriptor: Any
    file: Any


def joined(pdf: Any, family: str) -> None:
    """Put the glyphs of the bold weight of a family into the font of the plain one, where they are the same twice."""
    known = {o.reference: o for o in pdf.objects}
    plain = _weight(known, f"+{family}".replace(" ", "-"))
    bold = _weight(known, f"+{family}-Bold".replace(" ", "-"))
    if plain is None or bold is None:
        return
    told = bold.font["W"]
    used = [first + i for first, widths in zip(told[::2], told[1::2], strict=True) for i in range(len(widths))]
    made = _together(b"".join(plain.file.stream), b"".join(bold.file.stream), used)
    if made is None:
        return
    data, places = made
    plain.file.stream, plain.file.extra["Length1"] = [data], len(data)
    bold.descriptor["FontFile2"] = plain.file.reference
    # what held the outlines tells now where they are
    bold.file.stream = [b"".join(places.get(g, 0).to_bytes(2, "big") for g in range(max(places) + 1))]
    del bold.file.extra["Length1"]
    bold.font["CIDToGIDMap"] = bold.file.reference


def _weight(known: Mapping[bytes, Any], name: str) -> _Weight | None:
    """Return the one font of this name; None where there are more, or where it is not of TrueType."""
    fonts = [o for o in known.values() if isinstance(o, dict) and o.get("Subtype") == "/CIDFontType2"]
    named = [font for font in fonts if font["BaseFont"].decode("latin-1").endswith(name)]
    if len(named) != 1 or named[0]["CIDToGIDMap"] != "/Identity":
        return None
    descriptor = known[named[0]["FontDescriptor"]]
    return _Weight(named[0], descriptor, known[descriptor["FontFile2"]])


def _together(plain: bytes, bold: bytes, used: Iterable[int]) -> tuple[bytes, dict[int, int]] | None:
    """Return a font with the glyphs of both, and where those of the bold one stand in it; None where they differ."""
    from fontTools.ttLib import TTFont

    font, heavy = (TTFont(io.BytesIO(data), recalcTimestamp=False) for data in (plain, bold))
    if font["head"].unitsPerEm != heavy["head"].unitsPerEm:
        return None
    order, table, source = list(font.getGlyphOrder()), font["glyf"], heavy["glyf"]
    drawn = {_outlines(table[name]): name for name in order if table[name].numberOfContours > 0}
    put: dict[str, str] = {}

    def add(glyph: Any, metrics: tuple[int, int]) -> str:
        name = f"more{len(order)}"
        order.append(name)
        table.glyphs[name], font["hmtx"].metrics[name] = glyph, metrics
        return name

    def twice(name: str) -> str:
        if name not in put:
            glyph, metrics = source[name], heavy["hmtx"].metrics[name]
            if glyph.isComposite():  # its parts are struck twice, each for itself
                made = deepcopy(glyph)
                for part in made.components:
                    part.glyphName = twice(part.glyphName)
            elif glyph.numberOfContours:
                once, shift = _half(glyph)
                base = drawn.get(_outlines(once)) or add(once, metrics)
                drawn[_outlines(once)] = base
                made = _glyph(-1)
                made.components = [_part(base, 0), _part(base, shift)]
            else:
                made = _glyph(0)
            put[name] = add(made, metrics)
        return put[name]

    try:
        names = {number: twice(heavy.getGlyphName(number)) for number in used}
    except _OtherwiseBold:
        return None
    table.glyphOrder = order
    font.setGlyphOrder(order)
    out = io.BytesIO()
    font.save(out)
    return out.getvalue(), {number: order.index(name) for number, name in names.items()}


def _half(glyph: Any) -> tuple[Any, int]:
    """Return a glyph that is struck twice as it is struck once, and how far to the right it is struck again."""
    points, contours = list(glyph.coordinates), glyph.numberOfContours // 2
    n = len(points) // 2
    shift = points[n][0] - points[0][0]
    if points[n:] != [(x + shift, y) for x, y in points[:n]] or list(glyph.endPtsOfContours[:contours])[-1:] != [n - 1]:
        raise _OtherwiseBold
    once = _glyph(contours)
    once.coordinates, once.flags = type(glyph.coordinates)(points[:n]), glyph.flags[:n]
    once.endPtsOfContours, once.program = glyph.endPtsOfContours[:contours], glyph.program
    return once, shift


def _outlines(glyph: Any) -> tuple[Any, ...]:
    return tuple(glyph.coordinates), tuple(glyph.endPtsOfContours), bytes(flag & 1 for flag in glyph.flags)


def _glyph(contours: int) -> Any:
    from fontTools.ttLib.tables._g_l_y_f import Glyph

    glyph = Glyph()
    glyph.numberOfContours = contours
    return glyph


def _part(name: str, x: int) -> Any:
    from fontTools.ttLib.tables._g_l_y_f import GlyphComponent

    part = GlyphComponent()
    part.glyphName, part.x, part.y, part.flags = name, x, 0, 0
    return part
