"""Slimming the fonts in a PDF: points of outlines on a coarser grid, and no table that paper has no use for.

A printer shows a dot of a twenty-fifth of a millimetre; a five-hundredth of the largest heading is half of that. What a
font says about its name, its characters and its kerning is told by the PDF itself.
"""

from __future__ import annotations

import io
from typing import Any

GRID = 512  # places to the em
_NEEDED = {"head", "hhea", "hmtx", "maxp", "loca", "glyf", "cvt ", "fpgm", "prep"}  # ISO 32000-1, table 126


def slim(pdf: Any) -> None:
    """Shorten the outlines of TrueType that a PDF brings along; those of other kinds stay."""
    for thing in pdf.objects:
        if "Length1" in getattr(thing, "extra", {}):
            data = _coarse(b"".join(thing.stream))
            thing.stream, thing.extra["Length1"] = [data], len(data)


def _coarse(data: bytes) -> bytes:
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.scaleUpem import scale_upem

    font = TTFont(io.BytesIO(data), recalcTimestamp=False)
    if "glyf" not in font:
        return data
    for table in set(font.keys()) - _NEEDED - {"GlyphOrder"}:
        del font[table]
    if font["head"].unitsPerEm > GRID:
        scale_upem(font, GRID)
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()
