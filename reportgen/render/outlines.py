"""Slimming the fonts in a PDF: points of outlines on a coarser grid, and no table that paper has no use for.

A printer shows a dot of a twenty-fifth of a millimetre; a five-hundredth of the largest heading is half of that. What a
font says about its name, its characters and its kerning is told by the PDF itself.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

GRID = 512  # places to the em
_NEEDED = {"head", "hhea", "hmtx", "maxp", "loca", "glyf", "cvt ", "fpgm", "prep"}  # ISO 32000-1, table 126


def slim(pdf: Any) -> None:
    """Shorten the outlines of TrueType that a PDF brings along; those of other kinds stay."""
    widths = _widths(pdf)
    for thing in pdf.objects:
        if "Length1" in getattr(thing, "extra", {}):
            data = _coarse(b"".join(thing.stream), widths.get(thing.reference, {}))
            thing.stream, thing.extra["Length1"] = [data], len(data)


def _widths(pdf: Any) -> dict[bytes, dict[int, float]]:
    """Return how wide the document says that the glyphs of each font are, in thousandths of its size."""
    fonts: list[Any] = [o for o in pdf.objects if isinstance(o, dict)]
    files = {o.reference: o["FontFile2"] for o in fonts if "FontFile2" in o}
    out: dict[bytes, dict[int, float]] = {}
    for font in fonts:
        if font.get("FontDescriptor") in files:
            widths = out.setdefault(files[font["FontDescriptor"]], {})
            for first, told in zip(font["W"][::2], font["W"][1::2], strict=True):
                widths |= dict(enumerate(told, first))
    return out


def _coarse(data: bytes, widths: Mapping[int, float]) -> bytes:
    """Return a font on the grid, its glyphs as wide as the document says: within a thousandth, as PDF/UA wants it."""
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.scaleUpem import scale_upem

    font = TTFont(io.BytesIO(data), recalcTimestamp=False)
    if "glyf" not in font:
        return data
    for table in set(font.keys()) - _NEEDED - {"GlyphOrder"}:
        del font[table]
    if font["head"].unitsPerEm > GRID:
        scale_upem(font, GRID)
    order, metrics, em = font.getGlyphOrder(), font["hmtx"].metrics, font["head"].unitsPerEm
    for glyph, width in widths.items():
        if glyph < len(order):
            metrics[order[glyph]] = (round(width * em / 1000), metrics[order[glyph]][1])
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()
