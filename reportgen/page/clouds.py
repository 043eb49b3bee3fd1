"""Points of several kinds in two dimensions, drawn by hand: each kind has its own colour and its own shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from .formats import name
from .language import _, plural
from .palette import INK, MUTED, RULE, SERIES
from .svg import Element, drawing, element, shortened

_WIDTH = _HEIGHT = 400  # with its legend beneath, all of it fits a phone
_COLUMNS, _COLUMN, _ROW = 3, 133, 22  # of the legend
_UNIT, _EDGE = 0.38, 10  # pixels to a place, and around all of them
_LISTED = 12


class _Shape(NamedTuple):
    """A path from a place near its middle; it is written once for every point, so it is short."""

    dx: int
    dy: int
    path: str
    open: bool = False
    """A line, not an area."""


_SHAPES = (
    _Shape(-3, -3, "h7v7h-7z"),
    _Shape(0, -5, "l5 5-5 5-5-5z"),
    _Shape(0, -5, "l5 8h-10z"),
    _Shape(0, 5, "l5-8h-10z"),
    _Shape(-5, 0, "h10m-5-5v10", open=True),
    _Shape(-4, -4, "l8 8m0-8l-8 8", open=True),
)
_RING = _Shape(-6, -6, "h13v13h-13z", open=True)


class _Row(NamedTuple):
    """One kind of points, as it is drawn and named."""

    shape: _Shape
    paint: dict[str, Any]
    label: str
    places: list[tuple[int, int]]


def cloud(
    title: str,
    x: Sequence[int],
    y: Sequence[int],
    kinds: Sequence[int],
    labels: dict[int, str],
    ringed: Sequence[bool] = (),
) -> Element:
    """Draw points with places from 0 to 999; y grows upwards, and ringed points stand in a frame."""
    # what is flat is not drawn in a tall frame
    height = max(120, min(_HEIGHT, round(max(y, default=0) * _UNIT) + 2 * _EDGE))
    places = [(round(_EDGE + i * _UNIT), round(height - _EDGE - j * _UNIT)) for i, j in zip(x, y, strict=True)]
    common = [kind for kind, _n in sorted(Counter(kinds).items(), key=lambda p: (-p[1], p[0]))[:_LISTED]]
    parts = [element("rect", x=0, y=0, width=_WIDTH, height=height, fill="none", stroke=RULE)]
    rows: list[_Row] = []
    rest = [p for p, kind in zip(places, kinds, strict=True) if kind not in common]
    if rest:
        rows.append(_Row(_SHAPES[0], _paint(_SHAPES[0], MUTED), _("other classes"), rest))
    for i, kind in enumerate(sorted(common)):
        shape, colour = _SHAPES[(i + i // 6) % 6], SERIES[i % 6]
        found = [p for p, k in zip(places, kinds, strict=True) if k == kind]
        rows.append(_Row(shape, _paint(shape, colour), name(labels.get(kind, str(kind))), found))
    framed = [p for p, ring in zip(places, ringed, strict=False) if ring]
    if framed:
        rows.append(_Row(_RING, _paint(_RING, INK) | {"stroke_width": 1.4}, _("said wrongly"), framed))
    for i, row in enumerate(rows):
        told = plural("{label}: {n} sample", "{label}: {n} samples", len(row.places))
        hover = element("title", told.format(label=row.label, n=len(row.places)))
        parts.append(element("path", hover, d=_at(row.places, row.shape), **row.paint))
        left, top = 10 + i % _COLUMNS * _COLUMN, height + 18 + i // _COLUMNS * _ROW
        label = shortened(row.label, 12, _COLUMN - 30)
        parts.append(element("path", d=_at([(left, top)], row.shape), **row.paint))
        parts.append(element("text", label, x=left + 14, y=top + 4, font_size=12, fill=INK))
    return drawing(_WIDTH, height + 6 + _ROW * -(-len(rows) // _COLUMNS), title, *parts, class_="chart")


def _paint(shape: _Shape, colour: str) -> dict[str, Any]:
    return (
        {"fill": "none", "stroke": colour, "stroke_width": 3} if shape.open else {"fill": colour, "fill_opacity": 0.8}
    )


def _at(places: list[tuple[int, int]], shape: _Shape) -> str:
    return "".join(f"M{x + shape.dx} {y + shape.dy}{shape.path}" for x, y in places)
