"""Leaving out of a PDF what is cut to the very shape that is drawn: the grounds of table rows, and their borders.

Every ground comes cut to the cells of its row and to itself, every border cut to the strip that it fills. That is a
tenth of what a page of tables draws, and says nothing.
"""

from __future__ import annotations

import re

_N = rb"(-?[\d.]+)"
_BOX = _N + rb" " + _N + rb" " + _N + rb" " + _N + rb" re\n"
_PAINT = rb"((?:/\S+ gs\n)?[\d. ]+ rg\n)"
_ITSELF = re.compile(rb"((?:-?[\d.]+ ){4}re\n)W\nn\n\1f\nQ")
_ROW = re.compile(rb"q\n((?:(?:-?[\d.]+ ){4}re\n)+)W\nn\n(/Artifact\nBMC\nq\n" + _PAINT + _BOX + rb"f\nQ\nEMC\n)Q\n")
_BORDER = re.compile(
    rb"q\n" + _N + rb" " + _N + rb" m\n" + _N + rb" \2 l\n\3 " + _N + rb" l\n\1 \4 l\nW\*\nn\n"
    + _PAINT + _BOX + _BOX + rb"f\*\nQ\n"
)  # fmt: skip
_NEAR = 0.02  # of a point: places are told to a hundredth


def unclipped(stream: bytes) -> bytes:
    """Return the drawing instructions of a page without such cuts; what is cut to another shape stays as it is."""
    return _BORDER.sub(_border, _ROW.sub(_row, _ITSELF.sub(rb"\1f\nQ", stream)))


def _row(found: re.Match[bytes]) -> bytes:
    """Drop the cut to cells that stand side by side and together are the ground."""
    cells = [[float(v) for v in line.split()[:4]] for line in found[1].splitlines()]
    x, y, width, height = (float(found[i]) for i in range(4, 8))
    at = x
    for left, above, wide, high in sorted(cells):
        if abs(left - at) > _NEAR or abs(above - y) > _NEAR or abs(high - height) > _NEAR:
            return found[0]
        at = left + wide
    return found[2] if abs(at - x - width) <= _NEAR * len(cells) else found[0]


def _border(found: re.Match[bytes]) -> bytes:
    """Draw a lower border as the strip that it is, rather than as a ring between two boxes of which a strip is seen."""
    right, low, left, high = (float(found[i]) for i in range(1, 5))
    inner, outer = ([float(found[i]) for i in range(k, k + 4)] for k in (6, 10))
    x, y, width, above = inner
    strip = (x, y + above, x + width, y + outer[3])
    same = all(abs(a - b) <= _NEAR for a, b in zip(inner[:3], outer[:3], strict=True))
    if not same or any(abs(a - b) > _NEAR for a, b in zip(strip, (left, high, right, low), strict=True)):
        return found[0]
    box = b" ".join(f"{v:.2f}".rstrip("0").rstrip(".").encode() for v in (x, high, width, low - high))
    return b"q\n" + found[5] + box + b" re\nf\nQ\n"
