"""Small pictures of evidence about data: a part of a whole, numbers side by side, two distributions on one axis."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..document.stats import TensorStats
from .evidence_figures import HEIGHT, WIDTH, text
from .formats import number
from .palette import BAR, ERROR, INK, RULE
from .svg import Element, decimal, drawing, element

_BINS = 60
_ROW = 24
_GAP = 7


class Bar(Struct, frozen=True):
    """One bar: what it is, how long, what is written behind it, and whether it is the one that was found."""

    label: str
    value: float
    shown: str
    found: bool = False


def bars(rows: Sequence[Bar], title: str, whole: float | None = None) -> Element | None:
    """Draw numbers as bars beneath each other, their names above them; ``whole`` is the full length."""
    longest = whole if whole is not None else max((row.value for row in rows), default=0.0)
    if longest <= 0 or not rows:
        return None
    parts, height = [], len(rows) * (_ROW + _GAP) + 6
    for i, row in enumerate(rows):
        y = i * (_ROW + _GAP)
        length = min(max(row.value, 0.0) / longest, 1.0) * WIDTH
        parts.append(text(row.label, 0, y + 11, None, INK))
        parts.append(text(row.shown, WIDTH, y + 11, "end", INK))
        parts.append(element("path", d=f"M0 {y + 16}h{WIDTH}v9h-{WIDTH}z", fill=RULE))
        if length >= 0.05:
            bar = f"M0 {y + 16}h{decimal(round(length, 1))}v9H0z"
            parts.append(element("path", d=bar, fill=ERROR if row.found else BAR))
    return drawing(WIDTH, height, title, *parts, class_="chart")


class Range(Struct, frozen=True):
    """A distribution: its name, and its counts in even bins over the axis that it shares with others."""

    label: str
    counts: Sequence[float]
    found: bool = False


def shared_axis(many: Sequence[TensorStats | None], around: Sequence[float] = ()) -> tuple[float, float] | None:
    """Return an axis that holds the middle 99 % of each, and the numbers ``around``; None of what is unknown."""
    ends = list(around)
    for stats in many:
        if stats is None or stats.histogram is None or stats.min is None or stats.max is None:
            return None
        low, high = stats.histogram.quantile(0.005), stats.histogram.quantile(0.995)
        if low is None or high is None:
            return None
        ends += [max(low, stats.min), min(high, stats.max)]
    return (min(ends), max(ends)) if ends and max(ends) > min(ends) else None


def binned(stats: TensorStats | None, axis: tuple[float, float], n: int = _BINS) -> list[float]:
    return [] if stats is None or stats.histogram is None else stats.histogram.rebin(*axis, n)


def ranges(
    rows: Sequence[Range], axis: tuple[float, float], title: str, usual: tuple[float, float, str] | None = None
) -> Element:
    """Draw distributions beneath each other on one axis; ``usual``: a stretch of it to be marked, and its name."""
    low, high = axis
    each = (HEIGHT - 22) / len(rows)
    parts: list[Element] = []
    if usual is not None:
        a, b = (round((min(max(v, low), high) - low) / (high - low) * WIDTH, 1) for v in usual[:2])
        width = max(b - a, 2.0)
        parts.append(
            element("path", d=f"M{decimal(a)} 12h{decimal(width)}V{HEIGHT - 22}h-{decimal(width)}z", fill=RULE)
        )
        parts.append(text(usual[2], a if a < WIDTH / 2 else a + width, 9, None if a < WIDTH / 2 else "end"))
    for i, row in enumerate(rows):
        floor = round(each * (i + 1), 1)
        peak, step = max([*row.counts, 1e-300]), WIDTH / max(len(row.counts), 1)
        room = each - 14
        tops = [floor - (max(1.0, c / peak * room) if c > 0 else 0.0) for c in row.counts]
        path = f"M0 {decimal(floor)}" + "".join(f"V{y:.0f}h{decimal(step)}" for y in tops) + f"V{decimal(floor)}z"
        parts.append(element("path", d=path, fill=ERROR if row.found else BAR))
        parts.append(element("path", d=f"M0 {decimal(floor + 0.5)}h{WIDTH}", stroke=RULE))
        if row.label:
            heavy = sum(row.counts[: len(row.counts) // 2]) > sum(row.counts) / 2
            parts.append(text(row.label, WIDTH if heavy else 0, floor - each + 11, "end" if heavy else None, INK))
    parts += [text(number(low, 2), 0, HEIGHT - 6), text(number(high, 2), WIDTH, HEIGHT - 6, "end")]
    return drawing(WIDTH, HEIGHT, title, *parts, class_="chart")
