"""Large charts of curves, drawn by hand: two axes with ticks and a grid, and the names of the curves above them.

A drawing takes a millisecond and a few kilobytes. Curves differ by colour, dash and marker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from .formats import MINUS, along, number, short
from .language import _
from .palette import DASHES, INK, MUTED, RULE, SERIES
from .planes import ticks
from .svg import Element, decimal, drawing, element, kept_inside, line, shortened, width_of

_MAX_POINTS = 200
_NOISY = 60  # points from which a curve by step gets a moving mean
_SIZE = 12  # of all words, in pixels
_ROW = 18  # of the names above
_SAMPLE = 26
_GAP = 18
_LEAST = 100  # of the height, for the curves: many names make a drawing taller
_CLOSE = 7  # between two marks, at least
_ROOM = 0.04  # of the height, above and below the curves
_WIDEST = 1e100  # what is beyond any sense is a gap
_DECADES = 7  # that are named along an axis, at most


class Line(Struct, frozen=True):
    """One curve; None is a gap."""

    label: str
    x: list[float]
    y: list[float | None]
    best: tuple[float, float] | None = None
    """A point to ring, and to name."""
    noisy: bool = False
    """A value for every step: draw it pale, and its moving mean above."""


class Scale(Struct, frozen=True):
    """One axis: its ends, its ticks with their words, and whether it is logarithmic."""

    low: float
    high: float
    marks: list[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, from 0 to 1."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5


class _Box(Struct, frozen=True):
    left: float
    top: float
    right: float
    bottom: float


def curves(title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> Element:
    """Plot curves over epochs or steps; on a logarithmic axis where most of them spans powers of ten."""
    values = sorted(v for p in lines for v in _known(p.y))
    # a few small values, such as the end of a cosine, are no reason for a logarithmic axis
    log = bool(values) and values[0] > 0 and values[-1] / values[len(values) // 10] > 200
    return _drawn(title, lines, (420, 256), (x_label, y_label), log=log, markers=12)


def depth_profile(title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> Element:
    """Plot positive numbers over depth on a logarithmic axis; what is not positive is a gap."""
    positive = [Line(p.label, p.x, [v if v is not None and v > 0 else None for v in p.y]) for p in lines]
    return _drawn(title, positive, (920, 306), (x_label, y_label), log=True, markers=40)


def _drawn(
    title: str,
    lines: Sequence[Line],
    size: tuple[float, float],
    labels: tuple[str, str],
    *,
    log: bool,
    markers: int,
) -> Element:
    x = _scale([v for p in lines for v in _known(p.x)], _places(size[0]), margin=0.02)
    known = [v for p in lines for v in _known(p.y)]
    y = _log_scale(known) if log else _scale(known, 6, margin=_ROOM)
    left = 28 + max((width_of(text, _SIZE) for _value, text in y.marks), default=0.0)
    names = _names(lines, left, size[0] - 10, labels[0])
    top = 8 + _ROW * names[1]
    size = (size[0], max(size[1], top + _LEAST + 44))
    box = _Box(left=round(left), top=top, right=size[0] - 12, bottom=size[1] - 44)
    place = _placing(box, x, y)
    parts = [*_frame(box, x, y, labels, size[0]), *names[0]]
    # a lone curve without a name needs no marks to be told from others
    apart = (box.right - box.left) / markers if names[1] else math.inf
    for i, curve in enumerate(lines):
        parts += _curve(curve, i, place, apart)
    return drawing(*size, title, *parts, class_="chart")


def _placing(box: _Box, x: Scale, y: Scale) -> Callable[[float, float], tuple[float, float]]:
    def place(px: float, py: float) -> tuple[float, float]:
        across, up = x.share(px), y.share(py)
        return box.left + across * (box.right - box.left), box.bottom - up * (box.bottom - box.top)

    return place


# ---------------------------------------------------------------------------------------------------- axes


def _places(width: float) -> int:
    return 7 if width < 600 else 12


def _scale(values: Sequence[float], n: int, *, margin: float) -> Scale:
    """Return an axis of even steps that holds all values, with about n ticks: whole numbers for whole numbers."""
    if not values:
        return Scale(0.0, 1.0, [])
    low, high = min(values), max(values)
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    whole = all(float(v).is_integer() for v in values)
    marks = ticks(low - room, high + room, n)
    if whole:
        marks = [v for v in marks if v.is_integer()]
    step = marks[1] - marks[0] if len(marks) > 1 else abs(high) or 1.0
    return Scale(low - room, high + room, [(v, _word(v, step)) for v in marks])


def _log_scale(values: Sequence[float]) -> Scale:
    """Return a logarithmic axis that holds all values: powers of ten, or 1, 2 and 5 of them where there are few."""
    if not values:
        return Scale(0.1, 1.0, [], log=True)
    low, high = min(values), max(values)
    room = max((high / low) ** _ROOM, 1.02)
    low, high = low / room, high * room
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    each = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    stride = -(-(last - first) // _DECADES)
    marks = [k * 10.0**d for d in range(first, last + 1, stride) for k in each]
    marks = [v for v in marks if low <= v <= high]
    if len(marks) < 2:  # within a factor of two
        marks = ticks(low, high, 4)
    return Scale(low, high, [(v, short(v)) for v in marks], log=True)


def _word(value: float, step: float) -> str:
    """Write a tick with the decimals that tell it from its neighbours."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(value) >= 1e6 or decimals > 4:
        return short(value)
    # steps of 2.5 have a digit more than their power of ten
    decimals += round(step * 10**decimals, 6) % 1 > 0
    return f"{value:,.{decimals}f}".replace("-", MINUS) if value else "0"


def _frame(box: _Box, x: Scale, y: Scale, labels: tuple[str, str], width: float) -> list[Element]:
    style: dict[str, Any] = {"font_size": _SIZE, "fill": MUTED}
    grid, parts = "", []
    for value, text in x.marks:
        at = box.left + x.share(value) * (box.right - box.left)
        grid += f"M{decimal(at)} {decimal(box.top)}V{decimal(box.bottom)}"
        where = {"x": kept_inside(text, at, _SIZE, width), "y": box.bottom + 16}
        parts.append(element("text", text, **where, text_anchor="middle", **style))
    for value, text in y.marks:
        at = box.bottom - y.share(value) * (box.bottom - box.top)
        grid += f"M{decimal(box.left)} {decimal(at)}H{decimal(box.right)}"
        parts.append(element("text", text, x=box.left - 6, y=at + 4, text_anchor="end", **style))
    middle = (box.top + box.bottom) / 2
    name: dict[str, Any] = {"font_size": _SIZE, "fill": INK, "text_anchor": "middle"}
    across = shortened(labels[1], _SIZE, box.bottom - box.top)
    parts.append(element("text", labels[0], x=(box.left + box.right) / 2, y=box.bottom + 36, **name))
    parts.append(element("text", across, x=12, y=middle, transform=f"rotate(-90 12 {decimal(middle)})", **name))
    edge = f"M{decimal(box.left)} {decimal(box.top)}V{decimal(box.bottom)}H{decimal(box.right)}"
    return [element("path", d=grid, stroke=RULE), element("path", d=edge, fill="none", stroke=MUTED), *parts]


# --------------------------------------------------------------------------------------------------- curves


def _curve(
    curve: Line, place_in_order: int, place: Callable[[float, float], tuple[float, float]], apart: float
) -> list[Element]:
    colour, dash = SERIES[place_in_order % 6], DASHES[place_in_order % 6]
    if curve.noisy and len(curve.y) > _NOISY:
        pale = _path(place, *thinned(curve.x, curve.y, 100))
        mean = _path(place, *thinned(curve.x, _moving_mean(curve.y, max(5, len(curve.y) // 25)), 60))
        return [
            element("path", d=pale, fill="none", stroke=colour, stroke_opacity=0.4),
            element("path", d=mean, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash),
        ]
    x, y = thinned(curve.x, curve.y)
    parts = [element("path", d=_path(place, x, y), fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash)]
    parts += _stamps(place_in_order, _marked([[place(x[i], y[i] or 0.0) for i in run] for run in _runs(y)], apart))
    if curve.best is not None and _usable(curve.best[1]):
        cx, cy = place(*curve.best)
        parts.append(_ring(cx, cy))
    return parts


def _marked(runs: Sequence[Sequence[tuple[float, float]]], apart: float) -> list[tuple[float, float]]:
    """Return the values that get a mark: each where there is room for all, else some, evenly far apart.

    What has no neighbour always does, for nothing else is drawn of it.
    """
    if all(right[0] - left[0] >= _CLOSE for run in runs for left, right in pairwise(run)):
        return [spot for run in runs for spot in run]
    out: list[tuple[float, float]] = []
    for run in runs:
        for i, spot in enumerate(run):
            if len(run) == 1 or (math.isfinite(apart) and (i == 0 or spot[0] - out[-1][0] >= apart)):
                out.append(spot)
    return out


def _ring(x: float, y: float) -> Element:
    return element("circle", cx=round(x, 1), cy=round(y, 1), r=6, fill="none", stroke=INK, stroke_width=1.4)


def _path(place: Callable[[float, float], tuple[float, float]], x: Sequence[float], y: Sequence[float | None]) -> str:
    return "".join(line([place(x[i], y[i] or 0.0) for i in run]) for run in _runs(y)) or "M0 0"


def _runs(y: Sequence[float | None]) -> Iterator[list[int]]:
    """Yield the places of values without a gap between them."""
    run: list[int] = []
    for i, value in enumerate(y):
        if _usable(value):
            run.append(i)
        elif run:
            yield run
            run = []
    if run:
        yield run


# a disc, a square, a triangle, a diamond, a triangle upside down: steps around a place; a cross is drawn by strokes
_SHAPES = ("", "m-3-3h6v6h-6z", "m0-4l4 7h-8z", "m0-4l4 4l-4 4l-4-4z", "m0 4l4-7h-8z", "m-4 0h8m-4-4v8")


def _stamps(order: int, places: Sequence[tuple[float, float]]) -> list[Element]:
    """Draw the marker of a curve at places of it, all in one path."""
    shape, colour = _SHAPES[order % 6], SERIES[order % 6]
    at = [f"M{decimal(round(x, 1))} {decimal(round(y, 1))}" for x, y in places]
    if not places:
        return []
    if not shape:
        dots = "".join(f"{start}h.01" for start in at)
        return [element("path", d=dots, stroke=colour, stroke_width=6, stroke_linecap="round")]
    path = "".join(start + shape for start in at)
    stroke: dict[str, Any] = {"stroke": colour, "stroke_width": 2} if "m-4-4v8" in shape else {}
    return [element("path", d=path, fill=None if stroke else colour, **stroke)]


def _names(lines: Sequence[Line], left: float, right: float, axis: str) -> tuple[list[Element], int]:
    """Name the curves above the axes, where no curve runs, in as few rows as the names take: (drawings, rows)."""
    entries: list[tuple[str, int | None]] = []
    for i, curve in enumerate(lines):
        if len(lines) > 1 or any(p.best is not None for p in lines):
            entries.append((curve.label, i))
        if curve.best is not None:
            at, value = curve.best
            told = _("best {name}: {value} at {axis} {x}")
            told = told.format(name=curve.label, value=number(value), axis=axis, x=along(at))
            entries.append((told, None))
    parts: list[Element] = []
    x, row = left, 0
    for label, order in entries:
        shown = shortened(label, _SIZE, right - left - _SAMPLE - 6)
        wide = _SAMPLE + 6 + width_of(shown, _SIZE)
        if x > left and x + wide > right:
            x, row = left, row + 1
        y = 12 + _ROW * row
        parts += _sample(order, x, y)
        parts.append(element("text", shown, x=x + _SAMPLE + 6, y=y + 4, font_size=_SIZE, fill=INK))
        x += wide + _GAP
    return parts, row + 1 if entries else 0


def _sample(order: int | None, x: float, y: float) -> list[Element]:
    if order is None:
        return [_ring(x + _SAMPLE / 2, y)]
    stroke: dict[str, Any] = {"stroke": SERIES[order % 6], "stroke_width": 2, "stroke_dasharray": DASHES[order % 6]}
    piece = element("path", d=f"M{decimal(x)} {decimal(y)}h{_SAMPLE}", **stroke)
    return [piece, *_stamps(order, [(x + _SAMPLE / 2, y)])]


# --------------------------------------------------------------------------------------------------- values


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None and _usable(v)]


def _usable(value: float | None) -> bool:
    return value is not None and abs(value) <= _WIDEST and (value == 0 or abs(value) >= 1 / _WIDEST)


def _moving_mean(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return the mean of the known values of a centred window; a gap stays a gap."""
    sums, counts = [0.0], [0]
    for v in values:
        known = v is not None and abs(v) < _WIDEST
        sums.append(sums[-1] + (v if known and v is not None else 0.0))
        counts.append(counts[-1] + known)
    out: list[float | None] = []
    for i, v in enumerate(values):
        low, high = max(0, i - width // 2), min(len(values), i + width // 2 + 1)
        n = counts[high] - counts[low]
        out.append((sums[high] - sums[low]) / n if v is not None and n else None)
    return out


def thinned(
    x: Sequence[float], y: Sequence[float | None], points: int = _MAX_POINTS
) -> tuple[list[float], list[float | None]]:
    """Keep the smallest and the largest value of each stretch, a spike survives, and both ends; gaps stay gaps."""
    if len(x) <= points:
        return list(x), list(y)
    width = math.ceil(len(x) / (points // 2))
    kept: list[int] = []
    for start in range(0, len(x), width):
        stretch = range(start, min(start + width, len(x)))
        known = [(v, i) for i in stretch if (v := y[i]) is not None]
        chosen = {min(known)[1], max(known)[1]} if known else set()
        gap = next((i for i in stretch if y[i] is None), None)
        kept += sorted(chosen | ({gap} if gap is not None else set()) | ({0, len(x) - 1} & set(stretch)))
    return [x[i] for i in kept], [y[i] for i in kept]
