"""Small charts drawn by hand: a few hundred bytes each, readable under any policy, in print and on paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from ..document.pictures import CLASS_COLOURS, colour_of
from ..document.stats import TensorStats
from .formats import beside, name, number, percent
from .language import _
from .palette import ACCENT, BAR, HEAT, INK, MUTED, RULE, TONES
from .shades import shaded
from .svg import Element, decimal, drawing, element, gutter, ornament

BINS = 24
_WIDTH, _HEIGHT = 96, 22


def _range(stats: TensorStats) -> tuple[float, float] | None:
    """Return the span to draw: the middle 99 % of the values, for one far value would squeeze all others together."""
    if stats.histogram is None or not stats.histogram.total:
        return None
    low, high = stats.histogram.quantile(0.005), stats.histogram.quantile(0.995)
    if low is None or high is None or stats.min is None or stats.max is None:
        return None
    # a bin is wider than its values: never draw beyond what was seen
    low, high = max(low, stats.min), min(high, stats.max)
    if not math.isfinite(high - low):
        return None
    return (low, high) if high > low else None


def _bars(heights: Sequence[int], width: int, base: int) -> str:
    """Return one path of adjoining bars: integer steps from one edge to the next."""
    parts, last = [f"M0 {base}"], 0
    for height in heights:
        if height != last:
            parts.append(f"v{last - height}")
        parts.append(f"h{width}")
        last = height
    return _joined("".join(parts) + f"v{last}z")


def _joined(path: str) -> str:
    """Add up neighbouring steps of equal height: h3h3 is h6."""
    out: list[str] = []
    for step in path.replace("h", " h").replace("v", " v").replace("z", " z").split(" "):
        if out and step[:1] == "h" and out[-1][:1] == "h":
            out[-1] = f"h{int(out[-1][1:]) + int(step[1:])}"
        elif step:
            out.append(step)
    return out[0] + (" " + out[1] if len(out) > 1 and out[1][0] not in "hvz" else "".join(out[1:2])) + "".join(out[2:])


def _heights(counts: Sequence[float], top: int) -> list[int]:
    peak = max(counts, default=0.0)
    # a bin that holds anything at all is seen
    return [max(1, round(c / peak * top)) if c > 0 else 0 for c in counts] if peak else [0 for c in counts]


def histogram(stats: TensorStats | None, bins: int = BINS) -> Element | None:
    """Draw the distribution, with a mark at zero where zero is inside; without far values, which squeeze the others.

    Four pixels for each of the ``bins``.
    """
    span = _range(stats) if stats is not None else None
    if stats is None or stats.histogram is None or span is None:
        return None
    low, high = span
    counts: Sequence[float] = stats.histogram.rebin(low, high, bins)
    # even bins over the whole range are truer, unless far values squeeze the rest into a few of them
    if stats.bars is not None and stats.min is not None and stats.max is not None:
        whole = stats.max - stats.min
        if high - low > 0.5 * whole:
            low, high, counts = stats.min, stats.max, _coarse(stats.bars, bins)
    title = _("from {low} to {high}").format(low=beside(low, [high], 2), high=beside(high, [low], 2))
    width = 4 * bins
    zero = None
    if low <= 0 <= high:
        x = round(-low / (high - low) * width)
        zero = element("path", d=f"M{x} 0v{_HEIGHT}", stroke=INK)
    bars = element("path", d=_bars(_heights(counts, _HEIGHT - 2), width // len(counts), _HEIGHT), fill=BAR)
    return drawing(width, _HEIGHT, title, *([bars] if zero is None else [bars, zero]))


def _coarse(counts: Sequence[int], bins: int) -> Sequence[float]:
    """Join neighbouring bins until there are at most ``bins`` of them, where they can be joined evenly."""
    each = -(-len(counts) // bins)
    return counts if len(counts) % each else [sum(counts[i : i + each]) for i in range(0, len(counts), each)]


def sparkline(values: Sequence[float | None], title: str) -> Element | None:
    """Draw a curve without axes; gaps where a value was not finite."""
    finite = [v for v in values if v is not None]
    if len(finite) < 2:
        return None
    low, high = min(finite), max(finite)
    reach = high - low
    if not math.isfinite(reach):
        return None
    step = _WIDTH / max(len(values) - 1, 1)
    path, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        y = (high - value) / reach * (_HEIGHT - 4) + 2 if reach else _HEIGHT / 2
        path.append(f"{pen}{decimal(round(i * step, 1))} {decimal(round(y, 1))}")
        pen = "L"
    line = element("path", d="".join(path), fill="none", stroke=BAR, stroke_width=1.5, stroke_linejoin="round")
    return drawing(_WIDTH, _HEIGHT, title, line)


def bar(share: float | None) -> Element | None:
    """Draw a share as a bar; the number stands beside it."""
    if share is None or not math.isfinite(share):
        return None
    width = round(min(max(share, 0.0), 1.0) * 60, 1)
    path = element("path", d=f"M0 0h{decimal(max(width, 0.5) if share > 0 else 0)}v8H0z", fill=BAR)
    return ornament(60, 8, percent(share), path)


def short_name(label: str) -> str:
    """Return the name of a bar, cut where there is no room for all of it."""
    shown = name(label)
    return shown if len(shown) <= 24 else shown[:23] + "…"


def bars(labels: Sequence[str], values: Sequence[float], title: str) -> Element:
    """Draw labelled bars one beneath the other; many stand closer, for they are to fit on what is left of a page."""
    names = [short_name(label) for label in labels]
    peak, row, left, width = max([*values, 0.0]) or 1.0, 22 if len(labels) <= 12 else 16, gutter(names), 340
    marks: list[Element] = []
    for i, (shown, value) in enumerate(zip(names, values, strict=True)):
        foot = i * row + row // 2 + 4  # of its words
        end = left + value / peak * width
        marks += [
            element("text", shown, x=left - 8, y=foot, text_anchor="end", font_size=12, fill=INK),
            element("rect", x=left, y=i * row + 3, width=end - left, height=row - 6, fill=BAR),
            element("text", number(value), x=end + 6, y=foot, font_size=12, fill=MUTED),
        ]
    return drawing(left + width + 70, max(len(labels), 1) * row, title, *marks, class_="chart")


def spectrum(counts: Sequence[int], top: float, edge: float | None, title: str) -> Element:
    """Draw singular values from 0 to ``top``, by the root of how many fall in a bin, and the edge of the bulk."""
    width, height = 320, 90
    heights = _heights([math.sqrt(c) for c in counts], height - 4)
    step = width // max(len(counts), 1)
    parts = [element("path", d=_bars(heights, step, height), fill=BAR)]
    if edge is not None and top > 0 and edge <= top:
        x = decimal(edge / top * step * len(counts))
        parts.append(
            element("path", element("title", number(edge)), d=f"M{x} 0v{height}", stroke=ACCENT, stroke_width=2)
        )
    parts.append(element("path", d=f"M0 {height}h{width}", stroke=RULE))
    parts.append(element("text", "0", x=0, y=height + 14, font_size=12, fill=MUTED))
    parts.append(element("text", number(top), x=width, y=height + 14, text_anchor="end", font_size=12, fill=MUTED))
    return drawing(width, height + 18, title, *parts, class_="chart")


def squares(values: Sequence[float | None], title: str) -> Element:
    """Draw a square for each number between 0 and 1, deeper for more; none where there is no number."""
    levels = [None if v is None else 1 + round(min(max(v, 0.0), 1.0) * (len(HEAT) - 2)) for v in values[:32]]
    return drawing(max(len(levels), 1) * 9, 10, title, *_cells(levels, 0, 0, 9, 10))


def legend(labels: Mapping[int, str], title: str) -> Element:
    """Name the colours of classes in maps, one beneath the other."""
    parts = []
    for row, (kind, label) in enumerate(labels.items()):
        colour = CLASS_COLOURS[colour_of(kind)]
        parts.append(element("rect", x=0.5, y=16 * row + 2.5, width=11, height=11, fill=colour, stroke=MUTED))
        parts.append(
            element(
                "text", label if len(label) <= 20 else label[:19] + "…", x=18, y=16 * row + 12, font_size=12, fill=INK
            )
        )
    return drawing(150, 16 * max(len(labels), 1), title, *parts)


def heat(values: Sequence[float], title: str) -> Element:
    """Draw shares over time, at most 48 of them, as a strip as wide as a sparkline, deeper for more."""
    levels: list[int | None] = [round(min(max(v, 0.0), 1.0) * (len(HEAT) - 1)) for v in values]
    return drawing(_WIDTH, 8, title, *_cells(levels, 0, 0, _WIDTH // max(len(levels), 1), 8))


class StripRow(Struct, frozen=True):
    """One quantity over the layers: None where it was not measured."""

    label: str
    values: list[float | None]
    log: bool = True


def _levels(row: StripRow) -> list[int | None]:
    """Return a level 0..8 for each value: by the logarithm where sizes differ by magnitudes, 0 for nothing at all."""
    top = len(HEAT) - 1
    known = [v for v in row.values if v is not None and math.isfinite(v) and (v > 0 or not row.log)]
    if not known:
        return [None if v is None else 0 for v in row.values]
    scaled = [math.log10(v) if row.log else v for v in known]
    low, high = (min(scaled), max(scaled)) if row.log else (0.0, max(1e-12, *scaled))
    if row.log:  # less than a decade between all of them is no contrast worth showing
        middle = (low + high) / 2
        low, high = min(low, middle - 0.75), max(high, middle + 0.75)

    def level(value: float | None) -> int | None:
        if value is None or not math.isfinite(value):
            return None
        if value <= 0:
            return 0
        place = ((math.log10(value) if row.log else value) - low) / (high - low)
        return 1 + round(place * (top - 1))

    return [level(v) for v in row.values]


def strip(layers: Sequence[str], rows: Sequence[StripRow], marks: Sequence[str], title: str) -> Element:
    """Draw the network by depth: a row of cells for each quantity, and above them a sign where something was found."""
    left, height, top, gap = gutter(row.label for row in rows), 22, 22, 6
    cell = max(820 // max(len(layers), 1), 1)  # whole numbers: half the bytes of fractions
    width = cell * len(layers)
    bottom = top + len(rows) * (height + gap)
    parts: list[Element] = []
    for r, row in enumerate(rows):
        y = top + r * (height + gap)
        parts.append(element("text", row.label, x=left - 10, y=y + 15, text_anchor="end", font_size=12, fill=MUTED))
        parts.append(element("path", d=f"M{left} {y + height / 2:g}h{width}", stroke=RULE))
        parts += _cells(_levels(row), left, y, cell, height)
    for i, tone in enumerate(marks):
        if tone:
            parts.append(element("path", d=mark(left + (i + 0.5) * cell, tone), fill=TONES[tone]))
    # the numbers stand in the table of the layers
    boxes = [f"M{left + i * cell} 0h{cell}v{bottom - gap}h-{cell}z" for i in range(len(layers))]
    named = [element("path", element("title", name(layer)), d=box) for layer, box in zip(layers, boxes, strict=True)]
    parts.append(element("g", *named, fill_opacity=0))
    parts.append(element("text", _("input"), x=left, y=bottom + 12, font_size=12, fill=MUTED))
    end = left + width
    parts.append(element("text", _("output"), x=end, y=bottom + 12, text_anchor="end", font_size=12, fill=MUTED))
    return drawing(left + width, bottom + 18, title, *parts, class_="chart")


def _cells(levels: Sequence[int | None], left: int, y: int, cell: int, height: int) -> list[Element]:
    """Return one path a level; where nothing was measured nothing is drawn."""
    width = cell - (1 if cell > 4 else 0)
    known = [(level, left + i * cell, y, width) for i, level in enumerate(levels) if level is not None]
    return shaded(known, height)


def mark(x: float, tone: str) -> str:
    """Return the path of the sign of a tone over a column: an octagon, a triangle, or a disc."""
    if tone == "error":
        return f"M{decimal(x - 3)} 3h6l3 3v6l-3 3h-6l-3-3v-6z"
    if tone == "warning":
        return f"M{decimal(x)} 2.5l7 12.5h-14z"
    return f"M{decimal(x)} 4a5 5 0 1 0 .01 0z"


def matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Element:
    """Draw a confusion matrix, rows in shares of the true class: one path per level, or numbers in the cells."""
    n = len(counts)
    numbers = n <= 12
    cell = 44 if numbers else max(4, 560 // max(n, 1))
    tilted = any(len(name(label)) * 7 >= cell for label in labels)
    longest = max((min(len(name(label)), 14) for label in labels), default=0)
    left, top, side = (32 + 7 * longest, 88 if tilted else 42, n * cell) if n <= 30 else (24, 24, n * cell)
    levels = [[_level(c, sum(row)) for c in row] for row in counts]
    parts = shaded(_runs(levels, left, top, cell), cell)
    if numbers:
        parts += _numbers(counts, levels, left, top, cell)
    if n <= 30:
        parts += _names(labels, left, top, cell, tilted)
    parts.append(element("text", _("predicted →"), x=left, y=12, font_size=12, fill=MUTED))
    turn = f"rotate(-90 12 {top + side})"
    parts.append(element("text", _("← true"), x=12, y=top + side, font_size=12, fill=MUTED, transform=turn))
    frame = element("rect", x=left, y=top, width=side, height=side, fill="none", stroke=RULE)
    return drawing(left + side + 40, top + side + 2, title, *parts, frame, class_="chart")


def _level(count: int, total: int) -> int:
    return 0 if not count else 1 + round(count / total * (len(HEAT) - 2))


def _runs(levels: Sequence[Sequence[int]], left: int, top: int, cell: int) -> Iterator[tuple[int, float, float, float]]:
    """Gather cells of equal level that adjoin in a row: (level, left, top, width)."""
    for r, row in enumerate(levels):
        start = 0
        for c in range(1, len(row) + 1):
            if c == len(row) or row[c] != row[start]:
                yield row[start], left + start * cell, top + r * cell, (c - start) * cell
                start = c


def _numbers(
    counts: Sequence[Sequence[int]], levels: Sequence[Sequence[int]], left: int, top: int, cell: int
) -> list[Element]:
    out = []
    for r, row in enumerate(counts):
        for c, value in enumerate(row):
            if not value:  # what stands out is what is there
                continue
            place = {"x": left + c * cell + cell / 2, "y": top + r * cell + cell / 2 + 4}
            # on a coloured cell the text colour belongs to the cell, not to the page
            colour = "#ffffff" if levels[r][c] >= 5 else "#10202f"
            hover = element("title", _("{share} of this class").format(share=percent(value / max(sum(row), 1))))
            out.append(element("text", f"{value}", hover, **place, text_anchor="middle", font_size=12, fill=colour))
    return out


def _names(labels: Sequence[str], left: int, top: int, cell: int, tilted: bool) -> list[Element]:
    out = []
    for i, label in enumerate(labels):
        shown, middle = name(label), i * cell + cell / 2
        shown = shown if len(shown) <= 14 else shown[:13] + "…"
        size = 12 if cell >= 16 else 9
        out.append(element("text", shown, x=left - 6, y=top + middle + 4, text_anchor="end", font_size=size, fill=INK))
        x, y = left + middle, top - 6
        across = {"text_anchor": "middle"} if not tilted else {"transform": f"rotate(-45 {x} {y})"}
        clipped = shown if len(shown) <= 11 else shown[:10] + "…"
        out.append(element("text", clipped, x=x, y=y, font_size=size, fill=INK, **across))
    return out
