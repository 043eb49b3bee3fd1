"""The few figures that deserve axes and a legend, by matplotlib's object interface, as element trees.

pyplot is never touched and the caller's rcParams are whole again afterwards. rc_context changes settings of the whole
process for a moment, so one lock serves all threads that draw here.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from msgspec import Struct

from .cleaner import cleaned
from .formats import short
from .language import _
from .palette import DASHES, INK, MARKERS, MUTED, RULE, SERIES
from .svg import Element

_lock = Lock()
_MAX_POINTS = 200
_NOISY = 60  # points from which a curve by step gets a moving mean
_SETTINGS = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
    "axes.unicode_minus": True,
}
# settings that name the program around the figure rather than its looks
_NOT_OURS = ("backend", "interactive", "toolbar", "webagg", "tk.", "docstring", "savefig.directory", "figure.hooks")


class Line(Struct, frozen=True):
    """One curve; None is a gap."""

    label: str
    x: list[float]
    y: list[float | None]
    best: tuple[float, float] | None = None
    """A point to ring, and to name in the legend."""
    noisy: bool = False
    """A value for every step: draw it pale, and its moving mean above."""


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(_NOT_OURS)}
    settings.update({**_SETTINGS, "svg.hashsalt": salt})
    with _lock, mpl.rc_context(settings), warnings.catch_warnings():
        # text stays text, so a glyph that the measuring font lacks is the reader's browser's to find
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _svg(figure: Any) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(out, metadata=nothing)
    return out.getvalue()


def drawn_by(figure: Any, salt: str) -> bytes:
    """Return the SVG of somebody's own ``matplotlib.figure.Figure``, which stays as it was."""
    out = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with _settings(salt):
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue()


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """Make a figure of that size in inches. Fixed margins: finding them by layout takes half of the drawing time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.patch.set_visible(False)
    left, bottom, rest = 0.92 / width, 0.52 / height, 0.12
    axes = figure.add_axes((left, bottom, 1 - left - rest / width, 1 - bottom - rest / height))
    axes.patch.set_visible(False)
    return figure, axes


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    """Put y on a logarithmic axis with plain numbers: setting powers of ten as formulas takes longer than the curve.

    It has no minor ticks: they are drawn with no length and no name, and to place them takes half of the drawing time.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    narrow = bool(values) and max(values) / min(values) < 100
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def curves(id: str, title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> Element:
    """Plot curves over epochs or steps; each has its own colour, dash and marker."""
    with _settings(id):
        figure, axes = _axes(5.1, 2.9)
        for i, line in enumerate(lines):
            _curve(axes, line, i)
        values = sorted(v for line in lines for v in map(_drawable, line.y) if not math.isnan(v))
        # a few small values, such as the end of a cosine, are no reason for a logarithmic axis
        if values and values[0] > 0 and values[-1] / values[len(values) // 10] > 200:
            _log_axis(axes, values)
        axes.set_xlabel(_plain(x_label))
        axes.set_ylabel(_plain(y_label))
        if all(float(v).is_integer() for line in lines for v in line.x):
            axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1 or any(line.best is not None for line in lines):
            _legend(figure, axes)
        return cleaned(_svg(figure), id, title)


def _legend(figure: Any, axes: Any) -> None:
    """Name the curves above the axes, where no curve runs: in as few lines as the names take."""
    handles, labels = axes.get_legend_handles_labels()
    inches = [0.075 * sum(1.7 if c >= "\u2e80" else 1.0 for c in label) + 0.5 for label in labels]
    box = axes.get_position()
    room = box.width * figure.get_figwidth()
    lines = next(
        (n for n in range(1, len(labels)) if sum(max(inches[i : i + n]) for i in range(0, len(inches), n)) <= room),
        len(labels),
    )
    style = {"borderaxespad": 0.0, "borderpad": 0.2, "handlelength": 1.8, "columnspacing": 1.2, "labelspacing": 0.3}
    columns = -(-len(labels) // lines)
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=9, **style)
    taken = (0.17 * lines + 0.03) / figure.get_figheight()
    axes.set_position((box.x0, box.y0, box.width, box.height - taken))


def _curve(axes: Any, line: Line, place: int) -> None:
    colour = SERIES[place % 6]
    if line.noisy and len(line.y) > _NOISY:
        x, y = thinned(line.x, line.y, 100)
        axes.plot(x, [_drawable(v) for v in y], color=colour, linewidth=0.7, alpha=0.4)
        x, y = thinned(line.x, _moving_mean(line.y, max(5, len(line.y) // 25)), 60)
        axes.plot(x, [_drawable(v) for v in y], label=_plain(line.label), color=colour, linestyle=DASHES[place % 6])
        return
    x, y = thinned(line.x, line.y)
    style = {"color": colour, "linestyle": DASHES[place % 6], "marker": MARKERS[place % 6]}
    axes.plot(x, [_drawable(v) for v in y], label=_plain(line.label), markevery=max(1, len(x) // 12), **style)
    if line.best is not None:
        at, value = line.best
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK, "linestyle": "none"}
        label = _("best {name}: {value} at {x}").format(name=line.label, value=short(value), x=short(at))
        axes.plot([at], [_drawable(value)], label=_plain(label), **ring)


def _moving_mean(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return the mean of the known values of a centred window; a gap stays a gap."""
    sums, counts = [0.0], [0]
    for v in values:
        known = v is not None and abs(v) < 1e100
        sums.append(sums[-1] + (v if known and v is not None else 0.0))
        counts.append(counts[-1] + known)
    out: list[float | None] = []
    for i, v in enumerate(values):
        low, high = max(0, i - width // 2), min(len(values), i + width // 2 + 1)
        n = counts[high] - counts[low]
        out.append((sums[high] - sums[low]) / n if v is not None and n else None)
    return out


def depth_profile(id: str, title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> Element:
    """Plot positive numbers over depth on a logarithmic axis."""
    with _settings(id):
        figure, axes = _axes(9.6, 3.2)
        for i, line in enumerate(lines):
            y = [_drawable(v if v is not None and v > 0 else None) for v in line.y]
            style = {"color": SERIES[i % 6], "linestyle": DASHES[i % 6], "marker": MARKERS[i % 6]}
            axes.plot(line.x, y, label=_plain(line.label), markevery=max(1, len(y) // 40), **style)
        shown = [v for line in lines for v in line.y if v is not None and v > 0]
        _log_axis(axes, shown)
        axes.set_xlabel(_plain(x_label))
        axes.set_ylabel(_plain(y_label))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            _legend(figure, axes)
        return cleaned(_svg(figure), id, title)


def _drawable(value: float | None) -> float:
    """Return a value that an axis can hold; what is beyond any sense is a gap."""
    return math.nan if value is None or abs(value) > 1e100 or 0 < abs(value) < 1e-100 else value


def _plain(text: str) -> str:
    """Take the meaning from signs that matplotlib reads as mathematics, and hide a leading underscore's meaning."""
    return text.replace("$", r"\$") if not text.startswith("_") else " " + text.replace("$", r"\$")


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
