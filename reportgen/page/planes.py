"""Small charts with two axes, drawn by hand: curves, steps and points, a kilobyte or two each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .figures import short_name
from .formats import MINUS, count, percent
from .language import _
from .palette import BAR, DASHES, INK, MUTED, RULE, SERIES
from .svg import Element, decimal, drawing, element, gutter, kept_inside, line, width_of

_WIDTH, _HEIGHT = 300, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 8, 40


class Axis(Struct, frozen=True):
    """What is drawn along one side, and from where to where."""

    label: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    """Only whole numbers mean something along it."""
    names: Sequence[str] = ()
    """What is written at 0, 1, 2 and so on instead of the numbers."""


class Trace(Struct, frozen=True):
    """Points joined by a line, or alone; ``hover`` says what each is."""

    points: Sequence[tuple[float, float]]
    label: str = ""
    dots: bool = False
    line: bool = True
    hover: Sequence[str] = ()
    muted: bool = False
    """A line to compare with."""
    filled: bool = False
    """The area between the line and the lower axis; for histograms."""


def span(values: Sequence[float]) -> tuple[float, float]:
    """Return ends of an axis that hold all finite values with a little room."""
    known = [v for v in values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def ticks(low: float, high: float, n: int = 4) -> list[float]:
    """Return about n round numbers from low to high."""
    reach = high - low
    if not math.isfinite(reach) or reach <= 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(reach / n))
    step *= next((k for k in (1, 2, 2.5, 5, 10) if reach / (step * k) <= n), 10)
    first = math.ceil(low / step - 1e-9)
    digits = 2 - math.floor(math.log10(step))
    found = [round((first + i) * step, digits) for i in range(n + 2) if (first + i) * step <= high + 1e-9 * step]
    return list(dict.fromkeys(found))  # of a span that is hardly one several are the same number


def plane(traces: Sequence[Trace], x: Axis, y: Axis, title: str) -> Element:
    """Draw traces over two axes."""
    named = [t for t in traces if t.label]
    legend = 15 * len(named) if len(named) > 1 else 0
    height = _HEIGHT + legend
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(px: float, py: float) -> tuple[float, float]:
        u = (px - x.low) / ((x.high - x.low) or 1.0)
        v = (py - y.low) / ((y.high - y.low) or 1.0)
        return _LEFT + u * (right - _LEFT), bottom - v * (bottom - _TOP)

    parts = _frame(x, y, right, bottom)
    coloured = 0
    for trace in traces:
        colour = MUTED if trace.muted else SERIES[coloured % 6] if len(named) > 1 else BAR
        dash = "4 3" if trace.muted else DASHES[coloured % 6] if len(named) > 1 else None
        parts += _trace(trace, [place(*p) for p in trace.points], colour, dash)
        if trace.label and len(named) > 1:
            at = _HEIGHT + 4 + 15 * named.index(trace)
            sample = element("path", d=f"M{_LEFT} {at}h22", stroke=colour, stroke_width=2, stroke_dasharray=dash)
            parts += [sample, element("text", trace.label[:34], x=_LEFT + 28, y=at + 4, font_size=12, fill=INK)]
        coloured += not trace.muted
    return drawing(_WIDTH, height, title, *parts, class_="chart")


def _frame(x: Axis, y: Axis, right: float, bottom: float) -> list[Element]:
    style: dict[str, Any] = {"font_size": 12, "fill": MUTED}
    grid, parts = "", []
    for value, said in _along(x, right - _LEFT):
        at = _LEFT + (value - x.low) / ((x.high - x.low) or 1.0) * (right - _LEFT)
        grid += f"M{decimal(at)} {_TOP}V{decimal(bottom)}"
        where = {"x": kept_inside(said, at, 12, _WIDTH), "y": bottom + 14}
        parts.append(element("text", said, **where, text_anchor="middle", **style))
    for value in ticks(y.low, y.high):
        at = bottom - (value - y.low) / ((y.high - y.low) or 1.0) * (bottom - _TOP)
        grid += f"M{_LEFT} {decimal(at)}H{decimal(right)}"
        parts.append(element("text", _label(value), x=_LEFT - 5, y=at + 4, text_anchor="end", **style))
    middle = (_TOP + bottom) / 2
    turn = f"rotate(-90 11 {decimal(middle)})"
    parts.append(
        element("text", x.label, x=(_LEFT + right) / 2, y=bottom + 31, text_anchor="middle", font_size=12, fill=INK)
    )
    parts.append(element("text", y.label, x=11, y=middle, text_anchor="middle", font_size=12, fill=INK, transform=turn))
    return [element("path", d=grid, stroke=RULE), *parts]


def _along(x: Axis, room: float) -> list[tuple[float, str]]:
    """Return what is written along the lower axis, and where: of names as many as do not meet."""
    if not x.names:
        values = range(math.ceil(x.low), math.floor(x.high) + 1) if x.whole else ticks(x.low, x.high)
        return [(value, _label(value)) for value in values]
    widest = max(width_of(said, 12) for said in x.names) + 6
    each = math.ceil(widest * max(len(x.names) - 1, 1) / room)
    return [(float(i), said) for i, said in enumerate(x.names) if i % each == 0]


def _label(value: float) -> str:
    return f"{value:.4g}".replace("-", MINUS)


def _trace(trace: Trace, places: Sequence[tuple[float, float]], colour: str, dash: str | None) -> list[Element]:
    parts: list[Element] = []
    if trace.filled and len(places) > 1:
        base = _HEIGHT - _BOTTOM
        path = line([(places[0][0], base), *places, (places[-1][0], base)])
        return [element("path", d=f"{path}z", fill=colour)]
    if trace.line and len(places) > 1:
        width = 1 if trace.muted else 1.8
        parts.append(
            element("path", d=line(places), fill="none", stroke=colour, stroke_width=width, stroke_dasharray=dash)
        )
    if not trace.dots:
        return parts
    if not trace.hover:  # one path for all: a dot is a short stroke with round ends
        path = "".join(f"M{decimal(round(a, 1))} {decimal(round(b, 1))}h.01" for a, b in places)
        dots = element("path", d=path, stroke=colour, stroke_width=4, stroke_linecap="round", stroke_opacity=0.55)
        return [*parts, dots]
    for (left, above), text in zip(places, trace.hover, strict=True):
        hover = element("title", text)
        parts.append(element("circle", hover, cx=round(left, 1), cy=round(above, 1), r=3, fill=colour))
    return parts


def paired_bars(rows: Sequence[tuple[str, float, float, int, int]], title: str) -> Element:
    """Draw two shares a row, training data above data given: (label, share, share, count, count)."""
    peak = max([max(a, b) for _label, a, b, _n, _m in rows], default=0.0) or 1.0
    names = [short_name(row[0]) for row in rows]
    left, width, height, top = gutter(names), 340, 26, 20
    parts: list[Element] = []
    for i, (colour, words) in enumerate(((RULE, _("training data")), (BAR, _("data given")))):
        x = left + 150 * i
        parts.append(element("rect", x=x, y=2, width=12, height=10, fill=colour, stroke=MUTED, stroke_width=0.5))
        parts.append(element("text", words, x=x + 18, y=11, font_size=12, fill=MUTED))
    bars: list[Element] = []
    for i, (shown, (_label, a, b, n, m)) in enumerate(zip(names, rows, strict=True)):
        y = top + i * height
        parts.append(element("text", shown, x=left - 8, y=y + 16, text_anchor="end", font_size=12, fill=INK))
        for share, times, colour, at in ((a, n, RULE, y + 3), (b, m, BAR, y + 12)):
            told = element("title", _("{share}, {n} samples").format(share=percent(share), n=count(times)))
            size = {"x": left, "y": at, "width": round(share / peak * width, 1), "height": 9}
            bars.append(element("rect", told, **size, fill=colour, stroke=MUTED, stroke_width=0.5))
        end = left + max(a, b) / peak * width
        both = _("{a} / {b}").format(a=percent(a), b=percent(b))
        parts.append(element("text", both, x=round(end + 6, 1), y=y + 16, font_size=12, fill=MUTED))
    return drawing(left + width + 110, top + max(len(rows), 1) * height, title, *parts, *bars, class_="chart")
