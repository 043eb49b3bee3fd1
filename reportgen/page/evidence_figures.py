"""Small pictures of evidence, drawn by hand: a profile over depth, curves of a run, a distribution, a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import Struct

from ..document.stats import TensorStats
from .formats import at_place, number
from .language import _
from .palette import BAR, ERROR, INK, MUTED, RULE, SERIES
from .planes import ticks
from .svg import Element, decimal, drawing, element, kept_inside, width_of

WIDTH, HEIGHT = 300, 92
_SIZE = 12  # of all words, in pixels: six points on paper, where three such pictures stand side by side
_LEFT, _TOP, _BOTTOM = 60, 8, 72
_BINS = 60
_DASHES = (None, "5 3", "2 2")


class Curve(Struct, frozen=True):
    """One curve; None is a gap."""

    label: str
    x: list[float]
    y: list[float | None]
    broken: float | None = None
    """Where it stopped being a finite number."""


def text(words: str, x: float, y: float, anchor: str | None = None, fill: str = MUTED) -> Element:
    """Write a label of a small picture."""
    return element("text", words, x=x, y=y, text_anchor=anchor, font_size=_SIZE, fill=fill)


class _Axis(Struct, frozen=True):
    """Maps values to heights, by their logarithms where they differ by more than two powers of ten."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float]) -> _Axis | None:
        finite = [v for v in values if math.isfinite(v)]
        if not finite:
            return None
        positive = [v for v in finite if v > 0]
        # zeros have no place on a logarithmic axis: they may be many only where all would be one line without it
        reach = max(positive) / min(positive) if positive else 1.0
        log = reach > (100 if len(positive) >= 0.8 * len(finite) else 1e4) and min(finite) >= 0
        low, high = (min(positive), max(positive)) if log else (min(finite), max(finite))
        return cls(low, high, log) if math.isfinite(high - low) else None

    def height(self, value: float) -> float | None:
        """Return y in the drawing; None where the value has no place on the axis."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, v = (math.log(x) for x in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        share = (v - low) / (high - low) if high > low else 0.5
        return _BOTTOM - min(max(share, 0.0), 1.0) * (_BOTTOM - _TOP)

    def labels(self) -> list[Element]:
        """Name the ends, and draw the ground."""
        ends = [text(number(self.high, 2), _LEFT - 6, _TOP + 6, "end")]
        if self.high > self.low:
            ends.append(text(number(self.low, 2), _LEFT - 6, _BOTTOM + 1, "end"))
        return [*ends, element("path", d=f"M{_LEFT} {_BOTTOM + 2.5}H{WIDTH}", stroke=RULE)]


def by_powers(values: Sequence[float]) -> bool:
    """Tell whether bars of these values stand on a logarithmic axis, which a reader has to be told."""
    axis = _Axis.over(values)
    return axis is not None and axis.log


def profile(
    values: Sequence[float | None], marked: Sequence[bool], title: str, ends: tuple[str, str]
) -> Element | None:
    """Draw a quantity from layer to layer; a triangle stands over each layer that is ``marked``."""
    axis = _Axis.over([v for v in values if v is not None])
    if axis is None:
        return None
    if not axis.log and axis.low > 0:  # bars stand on zero
        axis = _Axis(0.0, axis.high, log=False)
    step = (WIDTH - _LEFT) / max(len(values), 1)
    plain: list[str] = []
    bad: list[str] = []
    signs: list[str] = []
    for i, (value, mark) in enumerate(zip(values, marked, strict=True)):
        x = _LEFT + i * step
        y = axis.height(value) if value is not None else None
        top = _BOTTOM if y is None else min(y, _BOTTOM - 1)
        width = decimal(max(step - (1 if step > 3 else 0), 0.6))
        bar = f"M{decimal(x)} {_BOTTOM + 2}V{decimal(top)}h{width}V{_BOTTOM + 2}z"
        if y is not None:
            (bad if mark else plain).append(bar)
        if mark:
            signs.append(f"M{decimal(x + step / 2)} {decimal(top - 7)}l3 5h-6z")
    parts = axis.labels()
    parts += [element("path", d="".join(d), fill=c) for d, c in ((plain, BAR), (bad, ERROR), (signs, ERROR)) if d]
    parts += [text(ends[0], _LEFT, HEIGHT - 4), text(ends[1], WIDTH, HEIGHT - 4, "end")]
    return drawing(WIDTH, HEIGHT, title, *parts, class_="chart")


def curves(lines: Sequence[Curve], title: str, axis_title: str) -> Element | None:
    """Draw the curves of a run, each named at the foot with its own dash."""
    axis = _Axis.over([y for line in lines for y in line.y if y is not None])
    places = [x for line in lines for x in line.x]
    if axis is None or not places or not max(places) > min(places):
        return None
    first, span = min(places), max(places) - min(places)
    parts, at = axis.labels(), float(_LEFT)
    for i, line in enumerate(lines):
        path, pen = [], "M"
        for x, y in zip(line.x, line.y, strict=True):
            place = axis.height(y) if y is not None else None
            if place is None:
                pen = "M"
                continue
            path.append(
                f"{pen}{decimal(round(_LEFT + (x - first) / span * (WIDTH - _LEFT), 1))} {decimal(round(place, 1))}"
            )
            pen = "L"
        if line.broken is not None and first <= line.broken <= first + span:
            before = [y for x, y in zip(line.x, line.y, strict=True) if x < line.broken and y is not None]
            level = axis.height(before[-1]) if before else None
            place = _LEFT + (line.broken - first) / span * (WIDTH - _LEFT)
            cross = f"M{decimal(round(place - 4, 1))} {decimal(round((level or _BOTTOM) - 4, 1))}l8 8m-8 0l8-8"
            parts.append(element("path", d=cross, fill="none", stroke=ERROR, stroke_width=2))
        look = {"stroke": SERIES[i % len(SERIES)], "stroke_dasharray": _DASHES[i % len(_DASHES)], "stroke_width": 1.6}
        parts.append(element("path", d="".join(path), fill="none", **look))
        parts.append(element("path", d=f"M{decimal(at)} {HEIGHT - 8}h16", **look))
        parts.append(text(line.label, at + 20, HEIGHT - 4, None, INK))
        at += 30 + width_of(line.label, _SIZE)
    parts.append(text(at_place(axis_title, first + span), WIDTH, HEIGHT - 4, "end"))
    return drawing(WIDTH, HEIGHT, title, *parts, class_="chart")


def distribution(stats: TensorStats | None, title: str) -> Element | None:
    """Draw the middle 99 % of the values, with a mark at zero where zero is inside; None where nothing is known."""
    if stats is None or stats.histogram is None or not stats.histogram.total or stats.min is None or stats.max is None:
        return None
    low, high = stats.histogram.quantile(0.005), stats.histogram.quantile(0.995)
    if low is None or high is None:
        return None
    low, high = max(low, stats.min), min(high, stats.max)
    low, high = (0.0 if abs(v) < 1e-6 * max(abs(low), abs(high)) else v for v in (low, high))
    return _hump(stats.histogram.rebin(low, high, _BINS), low, high, title) if 0 < high - low < math.inf else None


def _hump(counts: Sequence[float], low: float, high: float, title: str) -> Element:
    peak, step = max([*counts, 1e-300]), WIDTH / max(len(counts), 1)
    tops = [_BOTTOM - max(1 if c > 0 else 0, c / peak * (_BOTTOM - _TOP)) for c in counts]
    path = f"M0 {_BOTTOM}"
    for top, run in groupby(round(y) for y in tops):
        path += f"V{top}h{decimal(step * len(list(run)))}"
    path += f"V{_BOTTOM}z"
    parts = [element("path", d=path, fill=BAR), element("path", d=f"M0 {_BOTTOM + 0.5}h{WIDTH}", stroke=RULE)]
    if low < 0 < high:
        x = round(-low / (high - low) * WIDTH, 1)
        parts.append(element("path", d=f"M{decimal(x)} {_TOP}V{_BOTTOM + 4}", stroke=INK))
        if 40 < x < WIDTH - 40:
            parts.append(text("0", x, HEIGHT - 4, "middle"))
    parts += [text(number(low, 2), 0, HEIGHT - 4), text(number(high, 2), WIDTH, HEIGHT - 4, "end")]
    return drawing(WIDTH, HEIGHT, title, *parts, class_="chart")


def spans_powers(values: Sequence[float]) -> bool:
    """Tell whether numbers lie decades apart, so that a gauge of them has a logarithmic scale."""
    return min(values) > 0 and max(values) / min(values) > 100


def against(
    value: float,
    limits: Sequence[float],
    title: str,
    words: tuple[str, str],
    shown: Callable[[float], str],
    fine: tuple[float, float],
) -> Element | None:
    """Draw one measured number on a scale with the limits that it was held against; what lies beyond is a broad band.

    ``words``: what the number is, and what the limit is. ``shown``: writes a number of this kind with its unit.
    ``fine``: from where to where nothing is found; an end may be infinite.
    """
    known = [value, *limits]
    if max(known) == min(known) or not all(v == 0 or 1e-99 < abs(v) < 1e99 for v in known):
        return None
    axis = _round_axis(known, limits)
    left, right = 8, WIDTH - 8

    def place(v: float) -> float:
        y = axis.height(v)
        share = 0.0 if y is None else (_BOTTOM - y) / (_BOTTOM - _TOP)
        return round(left + share * (right - left), 1)

    parts = [element("path", d=f"M{left} 27v10v-5H{right}v-5v10", fill="none", stroke=MUTED)]
    for a, b in ((axis.low, fine[0]), (fine[1], axis.high)):
        if b > a:
            x, end = place(max(a, axis.low)), place(min(b, axis.high))
            band = f"M{decimal(x)} 27H{decimal(end)}v10H{decimal(x)}z"
            parts.append(element("path", d=band, fill=ERROR, fill_opacity=0.3))
    for limit in limits:
        x = place(limit)
        parts.append(element("path", d=f"M{decimal(x)} 22V44", stroke=INK, stroke_width=2, stroke_dasharray="3 2"))
    taken = _side_by_side([(shown(limit), place(limit)) for limit in sorted(limits)])
    parts += [text(said, round(middle, 1), 58, "middle", INK) for said, middle in taken]
    for said, x, anchor in ((shown(axis.low), left, None), (shown(axis.high), right, "end")):
        if all(
            said != other and not _meet((said, kept_inside(said, x, _SIZE, WIDTH)), (other, at)) for other, at in taken
        ):
            parts.append(text(said, x, 58, anchor))
    x = place(value)
    parts.append(element("path", d=f"M{decimal(x)} 30l6-10h-12z", fill=ERROR))
    said = _("{key}: {value}").format(key=words[0], value=shown(value))
    parts.append(text(said, kept_inside(said, x, _SIZE, WIDTH), 12, "middle", INK))
    parts.append(text(words[1], left, 76))
    return drawing(WIDTH, 84, title, *parts, class_="chart")


def _round_axis(values: Sequence[float], limits: Sequence[float]) -> _Axis:
    """Return a scale with round ends: over powers of ten, or even and with zero on it; no limit but zero is its end."""
    if spans_powers(values):
        low, high = (10.0 ** f(math.log10(v)) for f, v in ((math.floor, min(values)), (math.ceil, max(values))))
        return _Axis(low / 10 if low in limits else low, high * 10 if high in limits else high, log=True)
    marks = ticks(min(*values, 0.0), max(*values, 0.0), 4)
    step = marks[1] - marks[0]
    low, high = (f(v / step) for f, v in ((math.floor, min(*values, 0.0)), (math.ceil, max(*values, 0.0))))
    return _Axis(step * (low - (low * step in limits and low < 0)), step * (high + (high * step in limits)), log=False)


def _meet(one: tuple[str, float], other: tuple[str, float]) -> bool:
    """Tell whether two labels, each with the place of its middle, are too close to be read apart."""
    return abs(one[1] - other[1]) < (width_of(one[0], _SIZE) + width_of(other[0], _SIZE)) / 2 + 6


def _side_by_side(labels: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return labels with the places of their middles; two that would meet part, one to each side."""
    placed = [(said, kept_inside(said, x, _SIZE, WIDTH)) for said, x in labels]
    if len(placed) == 2 and _meet(*placed):
        apart = [width_of(said, _SIZE) / 2 + 2 for said, _x in placed]
        placed = [(said, x + way) for (said, x), way in zip(labels, (-apart[0], apart[1]), strict=True)]
    return placed
