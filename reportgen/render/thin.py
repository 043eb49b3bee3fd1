"""Latin fonts without the letters of other scripts: what lays out a page holds each font several times, whole.

The places and widths of all glyphs stay, and so does what turns some into others; only outlines go, of characters that
the page has not. A page with letters that join or move, such as Arabic ones, gets the whole font.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Set
from itertools import pairwise
from typing import Any

# Latin letters and what stands with them, punctuation, ligatures: what others are turned into without being written
_KEPT = (range(0x370), range(0x2000, 0x2070), range(0xFB00, 0xFB07))
_MOVING = (range(0x590, 0x1E00), range(0xFB1D, 0xFE10), range(0xFE70, 0xFF00))


def thinned(data: bytes, characters: Set[str]) -> bytes:
    """Return a font of TrueType with the outlines that these characters need."""
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.tables.DefaultTable import DefaultTable

    codes = {ord(c) for c in characters}
    if any(code in span for code in codes for span in _MOVING):
        return data
    font = TTFont(io.BytesIO(data), lazy=True, recalcBBoxes=False, recalcTimestamp=False)
    if "glyf" not in font:
        return data
    mapped = {code: font.getGlyphID(name) for code, name in font.getBestCmap().items()}
    needed = {glyph for code, glyph in mapped.items() if code in codes or any(code in span for span in _KEPT)}
    form = ">%dI" if font["head"].indexToLocFormat else ">%dH"
    unit = 1 if font["head"].indexToLocFormat else 2
    count = font["maxp"].numGlyphs + 1
    places = [place * unit for place in struct.unpack_from(form % count, font.reader["loca"])]
    outlines = font.reader["glyf"]
    glyphs = [outlines[a:b] for a, b in pairwise(places)]
    todo = sorted(set(range(len(glyphs))) - set(mapped.values()) | needed)
    kept = set(todo)
    while todo:
        parts = set(_parts(glyphs[todo.pop()])) - kept
        kept |= parts
        todo += parts
    glyphs = [glyph if number in kept else b"" for number, glyph in enumerate(glyphs)]
    at = [0]
    for glyph in glyphs:
        at.append(at[-1] + len(glyph))
    _put(font, DefaultTable, "glyf", b"".join(glyphs))
    _put(font, DefaultTable, "loca", struct.pack(form % count, *(place // unit for place in at)))
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


def _put(font: Any, table: Any, tag: str, data: bytes) -> None:
    font[tag] = table(tag)
    font[tag].data = data


def _parts(glyph: bytes) -> Iterator[int]:
    """Yield the glyphs that one is put together from; none for one with an outline of its own."""
    if len(glyph) < 12 or struct.unpack_from(">h", glyph)[0] >= 0:
        return
    at, more = 10, True
    while more:
        flags, number = struct.unpack_from(">HH", glyph, at)
        yield number
        at += 4 + (4 if flags & 1 else 2) + (2 if flags & 8 else 4 if flags & 64 else 8 if flags & 128 else 0)
        more = bool(flags & 32)
