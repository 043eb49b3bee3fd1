"""Drawings of a run over time: heat by layer, hills of a distribution, small panels of curves. All by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from .formats import along, at_place, beside, name, number, short
from .language import _
from .palette import HEAT, INK, MUTED, RULE, SERIES
from .shades import shaded
from .svg import Element, decimal, drawing, element, gutter

COLUMNS = 48  # moments that a heat row shows
BINS = 32  # of a hill, as the monitor counts
_BIN = 21  # half-pixels
DASHES = ("", "5 3", "2 2")
_LABEL = 30
_ACROSS = 854  # pixels of a heat map, names and all


class HeatRow(Struct, frozen=True):
    """One layer over time: what to call it, and (moment, value); None where it was not measured."""

    label: str
    points: list[tuple[float, float | None]]


class Hill(Struct, frozen=True):
    """One distribution at one moment, in even bins."""

    x: float
    low: float
    high: float
    counts: list[int]


class PanelLine(Struct, frozen=True):
    """One curve of a panel; None is a gap."""

    label: str
    x: list[float]
    y: list[float | None]


def _clipped(text: str, length: int = _LABEL) -> str:
    """Shorten a dotted name from the left: its end tells layers apart."""
    shown = name(text)
    return shown if len(shown) <= length else "…" + shown[-(length - 1) :]


def _text(text: str, x: float, y: float, anchor: str = "start", colour: str = MUTED, size: int = 12) -> Element:
    where = {"x": decimal(x), "y": decimal(y)}
    return element(
        "text", text, **where, text_anchor=anchor if anchor != "start" else None, font_size=size, fill=colour
    )


# ----------------------------------------------------------------------------------------------------- heat


def heat(rows: Sequence[HeatRow], title: str, *, axis: str, log: bool, span: tuple[float, float]) -> Element:
    """Draw rows of cells over time, pale for ``span[0]`` and below, deep for ``span[1]`` and above.

    Values of zero get the palest colour of all; what was not measured is left blank.
    """
    left, top, height = gutter(_clipped(row.label) for row in rows), 6, 15
    places = sorted({x for row in rows for x, _ in row.points})
    edges = _edges(places)
    cell = (_ACROSS - left) // max(len(edges), 1)  # whole numbers: half the bytes of fractions
    width = cell * max(len(edges), 1)
    parts: list[Element] = []
    cells: list[tuple[int, float, float, float]] = []
    for r, row in enumerate(rows):
        y = top + r * (height + 2)
        parts.append(_text(_clipped(row.label), left - 8, y + 12, "end"))
        for start, stop, level in _runs([_level(v, log, span) for v in _columns(row.points, edges)]):
            cells.append((level, left + start * cell, y, (stop - start) * cell))
    parts += shaded(cells, height)
    for r, row in enumerate(rows):
        y = top + r * (height + 2)
        hover = element("title", _told(row, axis))
        parts.append(element("rect", hover, y=y, width=left + width, height=height, fill_opacity=0))
    bottom = top + len(rows) * (height + 2)
    if places:
        parts.append(_text(at_place(axis, places[0]), left, bottom + 12))
        # columns are looks, which need not be evenly spaced in time
        middle = round(edges[len(edges) // 2])
        if len(edges) > 8:
            parts.append(_text(along(middle), left + (len(edges) // 2 + 0.5) * cell, bottom + 12, "middle"))
        parts.append(_text(at_place(axis, places[-1]), left + width, bottom + 12, "end"))
    parts += _legend(left, bottom + 22, log, span)
    return drawing(left + width + 6, bottom + 52, title, *parts, class_="chart")


def _edges(places: Sequence[float]) -> list[float]:
    """Return the right edges of the columns: one a moment, or equal stretches of many."""
    if len(places) <= COLUMNS:
        return list(places)
    step = (places[-1] - places[0]) / COLUMNS
    return [places[0] + step * (i + 1) for i in range(COLUMNS - 1)] + [places[-1]]


def _columns(points: Sequence[tuple[float, float | None]], edges: Sequence[float]) -> list[float | None]:
    """Return the mean of what was measured in each column; None where nothing was."""
    sums, counts, place = [0.0] * len(edges), [0] * len(edges), 0
    for x, y in sorted(points, key=lambda p: p[0]):
        while place + 1 < len(edges) and x > edges[place]:
            place += 1
        if y is not None and math.isfinite(y):
            sums[place] += y
            counts[place] += 1
    return [s / n if n else None for s, n in zip(sums, counts, strict=True)]


def _level(value: float | None, log: bool, span: tuple[float, float]) -> int | None:
    if value is None:
        return None
    if value <= 0:
        return 0
    low, high = (math.log10(span[0]), math.log10(span[1])) if log else span
    place = ((math.log10(value) if log else value) - low) / (high - low)
    return 1 + round(min(max(place, 0.0), 1.0) * (len(HEAT) - 2))


def _runs(levels: Sequence[int | None]) -> list[tuple[int, int, int]]:
    """Gather neighbouring cells of one level: (first, end, level). Across a gap of one column a run goes on."""
    out: list[tuple[int, int, int]] = []
    for i, level in enumerate(levels):
        if level is None:
            continue
        if out and out[-1][2] == level and i - out[-1][1] <= 0:
            out[-1] = (out[-1][0], i + 1, level)
        else:
            out.append((i, i + 1, level))
    return out


def _told(row: HeatRow, axis: str) -> str:
    known = [(x, y) for x, y in row.points if y is not None]
    if not known:
        return _("{key}: {value}").format(key=name(row.label), value=_("not measured"))
    (first_x, first), (last_x, last) = known[0], known[-1]
    low, high = min(y for _, y in known), max(y for _, y in known)
    return _("{name}: {first} at {axis} {a}, {last} at {axis} {b}; from {low} to {high}").format(
        name=name(row.label),
        first=number(first),
        last=number(last),
        axis=axis,
        a=along(first_x),
        b=along(last_x),
        low=number(low),
        high=number(high),
    )


def _legend(left: float, y: float, log: bool, span: tuple[float, float]) -> list[Element]:
    """Draw the colours with the values they stand for, at the left: there a phone shows them before it scrolls."""
    n, size = len(HEAT) - 1, 26
    boxes = [element("rect", x=left + (i - 1) * size, y=y, width=size, height=9, fill=HEAT[i]) for i in range(1, n + 1)]
    middle = math.sqrt(span[0] * span[1]) if log else sum(span) / 2
    texts = [
        _text("≤ " + short(span[0]) if log else short(span[0]), left, y + 23),
        _text(short(float(f"{middle:.1g}")), left + n * size / 2, y + 23, "middle"),
        _text("≥ " + short(span[1]) if log else short(span[1]), left + n * size, y + 23, "end"),
    ]
    return [*boxes, *texts]


# ---------------------------------------------------------------------------------------------------- hills


def ridgeline(hills: Sequence[Hill], title: str, *, axis: str) -> Element:
    """Draw one distribution at several moments, the first at the back: each hill scaled to its own height."""
    left, width, step, rise, top = 74, _BIN * BINS // 2, 11, 34, 10
    low, high = _reach(hills)
    base = top + rise
    parts: list[Element] = []
    hills_drawn: list[Element] = []
    n = len(hills)
    if low < 0 < high:
        x = left - low / (high - low) * width
        parts.append(element("path", d=f"M{decimal(x)} {top}V{base + (n - 1) * step}", stroke=RULE))
    for i, hill in enumerate(hills):
        y = base + i * step
        colour = HEAT[3 + round(i / max(n - 1, 1) * 4)]
        hover = element(
            "title",
            _("{key}: {value}").format(
                key=at_place(axis, hill.x), value=f"{beside(hill.low, [hill.high])} … {beside(hill.high, [hill.low])}"
            ),
        )
        path = _outline(_spread(hill, low, high), 2 * left, 2 * y, 2 * rise)
        hills_drawn.append(element("path", hover, d=path, fill=colour))
        if i in (0, n - 1) or (n > 6 and i == n // 2):
            parts.append(_text(along(hill.x), left - 8, y + 4, "end"))
    # whole half-pixels: a third of the bytes of decimals
    parts.append(element("g", *hills_drawn, transform="scale(.5)", stroke="#ffffff", stroke_width=1.6))
    bottom = base + max(n - 1, 0) * step
    parts.append(_text(axis, left - 8, top + 6, "end"))
    parts.append(_text(beside(low, [high]), left, bottom + 16))
    parts.append(_text(beside(high, [low]), left + width, bottom + 16, "end"))
    return drawing(left + width + 6, bottom + 22, title, *parts, class_="chart")


def _reach(hills: Sequence[Hill]) -> tuple[float, float]:
    """Return the range that holds 99 % of every hill: one far value would squeeze all of them together."""
    lows, highs = [], []
    for hill in hills:
        total, seen = sum(hill.counts), 0
        size = (hill.high - hill.low) / max(len(hill.counts), 1)
        inside = []
        for i, count in enumerate(hill.counts):
            if count and seen + count > 0.005 * total and seen < 0.995 * total:
                inside.append(i)
            seen += count
        lows.append(hill.low + size * (inside[0] if inside else 0))
        highs.append(hill.low + size * (inside[-1] + 1 if inside else len(hill.counts)))
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    return (low, high) if high > low else (low - 0.5 * max(abs(low), 1e-12), high + 0.5 * max(abs(high), 1e-12))


def _spread(hill: Hill, low: float, high: float) -> list[float]:
    """Share the counts out over even bins from ``low`` to ``high``, each by how much of it lies in them."""
    out, width = [0.0] * BINS, (high - low) / BINS
    size = (hill.high - hill.low) / max(len(hill.counts), 1)
    for i, count in enumerate(hill.counts):
        start, end = hill.low + i * size, hill.low + (i + 1) * size
        if not count or end < low or start > high:
            continue
        if end <= start:  # all values are one
            out[min(max(int((start - low) / width), 0), BINS - 1)] += count
            continue
        first, last = (min(max(int((v - low) / width), 0), BINS - 1) for v in (start, end))
        for b in range(first, last + 1):
            inside = min(end, low + (b + 1) * width) - max(start, low + b * width)
            out[b] += count * max(inside, 0.0) / (end - start)
    return out


def _outline(heights: Sequence[float], left: int, base: int, rise: int) -> str:
    """Return the outline of a hill, from the middle of one bin to that of the next."""
    peak = max(heights, default=0.0) or 1.0
    path, last, flat, step = [f"M{left} {base}"], 0, 0, _BIN // 2
    for height in heights:
        level = round(height / peak * rise)
        flat += step
        if level != last:
            path.append(f"h{flat - step}" if flat > step else "")
            path.append(f"l{step} {last - level}".replace(" -", "-"))
            flat, last = 0, level
        step = _BIN
    path.append(f"h{flat}" if flat else "")
    return "".join(path) + f"l{_BIN - _BIN // 2} {last}z"


# --------------------------------------------------------------------------------------------------- panels


def panel(lines: Sequence[PanelLine], title: str, *, axis: str, best: tuple[float, float] | None = None) -> Element:
    """Draw up to three curves on one pair of axes, with the extremes written at the axes and the best point ringed."""
    left, width, top, height = 72, 242, 18, 92
    known = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if _usable(y)]
    values = [y for _, y in known if y is not None]
    if not values:
        return drawing(left + width + 6, 20, title, _text(_("no finite value"), 0, 14), class_="chart")
    first, last = min(x for x, _ in known), max(x for x, _ in known)
    low, high = min(values), max(values)
    log = low > 0 and high / low > 200
    bottom, top_value = (math.log10(low), math.log10(high)) if log else (low, high)

    def place(x: float, y: float) -> str:
        across = (x - first) / (last - first) if last > first else 0.5
        up = ((math.log10(y) if log else y) - bottom) / (top_value - bottom) if top_value > bottom else 0.5
        return f"{decimal(left + across * width)} {decimal(top + (1 - up) * height)}"

    parts = [element("path", d=f"M{left} {top}V{top + height}H{left + width}", fill="none", stroke=RULE)]
    for i, line in enumerate(lines[:3]):
        colour, dash = SERIES[i], DASHES[i] or None
        d = _path(line, place)
        parts.append(element("path", d=d, fill="none", stroke=colour, stroke_width=1.4, stroke_dasharray=dash))
    parts += _names(lines[:3], left, width)
    if best is not None:
        x, y = place(*best).split(" ")
        parts.append(element("circle", cx=x, cy=y, r=4, fill="none", stroke=INK, stroke_width=1.2))
    parts += [
        _text(number(high), left - 6, top + 8, "end"),
        _text(number(low), left - 6, top + height, "end"),
        _text(at_place(axis, first), left, top + height + 14),
        _text(along(last), left + width, top + height + 14, "end"),
    ]
    if log:
        parts.append(_text(_("log"), left - 6, top + height / 2 + 4, "end"))
    return drawing(left + width + 6, top + height + 20, title, *parts, class_="chart")


def _usable(y: float | None) -> bool:
    return y is not None and math.isfinite(y) and abs(y) < 1e100


def _path(line: PanelLine, place: object) -> str:
    out, pen = [], "M"
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or not _usable(y):
            pen = "M"
            continue
        out.append(f"{pen}{place(x, y)}")  # type: ignore[operator]
        pen = "L"
    return "".join(out) or "M0 0"


def _names(lines: Sequence[PanelLine], left: float, width: float) -> list[Element]:
    """Write the names of the curves above them, each beside a piece of its stroke."""
    if len(lines) < 2:
        return []
    out, share = [], width / len(lines)
    for i, line in enumerate(lines):
        x = left + i * share
        dash = DASHES[i] or None
        out.append(element("path", d=f"M{decimal(x)} 8h14", stroke=SERIES[i], stroke_width=1.6, stroke_dasharray=dash))
        out.append(_text(_clipped(line.label, int((share - 18) / 6.5)), x + 18, 12, colour=SERIES[i]))
    return out
