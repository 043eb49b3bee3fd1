"""Cells of heat maps, from pale to deep: each run of them one broad stroke, half the bytes of a filled box."""

from __future__ import annotations

from collections.abc import Iterable

from .palette import HEAT
from .svg import Element, decimal, element


def shaded(runs: Iterable[tuple[int, float, float, float]], height: float) -> list[Element]:
    """Return one path a level for runs of cells of one height: (level, left, top, width)."""
    paths: dict[int, list[str]] = {}
    for level, left, top, width in runs:
        paths.setdefault(level, []).append(f"M{decimal(left)} {decimal(top + height / 2)}h{decimal(width)}")
    return [element("path", d="".join(paths[n]), stroke=HEAT[n], stroke_width=height) for n in sorted(paths)]
