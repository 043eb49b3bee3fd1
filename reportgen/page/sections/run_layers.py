"""The run layer by layer: steps, gradients and outputs as heat over time, distributions as hills, and a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from ...document.history import HistogramRun, History, ParameterRun, Trace
from ..blocks import Block, Cell, Column, Figure, Pictures, Table, Tone
from ..cells import missing, of_count, of_name, of_number, of_share, of_text
from ..formats import beside, count, number, shape
from ..language import _, plural
from ..places import place
from ..run_figures import HeatRow, Hill, heat, ridgeline
from .curves import axis_name

MAX_ROWS = 40  # of a heat map
MAX_HILLS = 8  # distributions
MAX_MOMENTS = 12  # of one distribution
MAX_TABLE = 1000
_RATIO_SPAN = (1e-5, 1e-1)


class _Row(Struct, frozen=True):
    label: str
    trace: Trace

    @property
    def typical(self) -> float:
        known = [y for y in self.trace.y if y is not None]
        return median(known) if known else 0.0

    @property
    def heat(self) -> HeatRow:
        return HeatRow(self.label, list(zip(self.trace.x, self.trace.y, strict=True)))


def blocks(history: History) -> list[Block]:
    """Show what the run did to each layer, as far as it was measured."""
    out: list[Block] = []
    out += _parameter_heat(history)
    out += _layer_heat(history)
    out += _hills(history)
    if history.parameters:
        out.append(_table(history.parameters))
    return out


def _chosen(rows: list[_Row]) -> tuple[list[_Row], str]:
    """Return the rows to draw, in the order of the model, and how they were chosen where not all are."""
    if len(rows) <= MAX_ROWS:
        return rows, ""
    order = sorted(range(len(rows)), key=lambda i: rows[i].typical)
    kept = sorted([*order[: MAX_ROWS // 2], *order[-(MAX_ROWS // 2) :]])
    note = _("Of {m} rows the {n} with the smallest and the {n} with the largest medians are drawn.")
    return [rows[i] for i in kept], note.format(m=count(len(rows)), n=MAX_ROWS // 2)


def _traced(pairs: Sequence[tuple[str, Trace | None]]) -> list[_Row]:
    return [_Row(label, trace) for label, trace in pairs if trace is not None and any(y is not None for y in trace.y)]


def _figure(
    id: str, title: str, caption: str, rows: list[_Row], span: tuple[float, float] | None = None, *, log: bool = True
) -> list[Block]:
    if not rows or max(len(row.trace.x) for row in rows) < 2:
        return []
    shown, note = _chosen(rows)
    said = _("{title}: {n} rows, typically {low} to {high}; the table below has the numbers.").format(
        title=title,
        n=count(len(shown)),
        low=number(min(r.typical for r in shown), 2),
        high=number(max(r.typical for r in shown), 2),
    )
    limits = span if span is not None else _decades(shown)
    drawing = heat([row.heat for row in shown], said, axis=axis_name("step"), log=log, span=limits)
    return [Figure(id=id, title=title, caption=f"{caption} {note}".strip(), drawing=drawing)]


def _decades(rows: Sequence[_Row]) -> tuple[float, float]:
    """Return whole powers of ten around the middle 98 % of the values, three at least."""
    values = sorted(y for row in rows for y in row.trace.y if y is not None and y > 0)
    if not values:
        return 1e-3, 1.0
    low, high = values[len(values) // 100], values[-1 - len(values) // 100]
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if top - bottom < 3:
        bottom, top = bottom - (3 - (top - bottom)) // 2, top + (4 - (top - bottom)) // 2
    return 10.0**bottom, 10.0**top


def _parameter_heat(history: History) -> list[Block]:
    matrices = [p for p in history.parameters if p.is_matrix]
    steps = _figure(
        "update-ratios",
        _("Size of a step by layer"),
        _(
            "‖Δw‖ / ‖w‖ across real optimizer steps, for each weight matrix from input to output, time from left to "
            "right. Healthy: between 0.0001 and 0.05 while the learning rate is at its height, alike in all layers, "
            "and fainter as the rate decays; a blank or very faint row hardly learns, a strong one is overwritten."
        ),
        _traced([(p.name, p.update_ratio) for p in matrices]),
        _RATIO_SPAN,
    )
    norms = _figure(
        "gradient-norms",
        _("Gradient norm by layer"),
        _(
            "Norm of the gradient that the optimizer got, for each weight matrix. Healthy: rows differ by a few powers "
            "of ten and fade together as the loss falls; a row that is far fainter than all others gets no signal."
        ),
        _traced([(p.name, p.gradient_norm) for p in matrices]),
    )
    return [*steps, *norms]


def _layer_heat(history: History) -> list[Block]:
    layers = sorted(history.layers, key=lambda row: row.order)
    sizes = _figure(
        "output-sizes",
        _("Size of the outputs by layer"),
        _(
            "Root mean square of the output of each layer in training steps. Healthy: steady over time; a row that "
            "grows stronger without end announces an overflow, one that fades a layer that falls silent."
        ),
        _traced([(row.name, row.rms) for row in layers]),
    )
    silent = _figure(
        "silent-shares",
        _("Silent channels by layer"),
        _(
            "Share of the channels of each rectifier that were above zero nowhere in the looked-at batch. Healthy: "
            "steady and mostly faint; a row that grows stronger is a layer whose units die."
        ),
        _traced([(row.name, row.silent) for row in layers if row.rectifier]),
        (0.0, 1.0),
        log=False,
    )
    return [*sizes, *silent]


# ---------------------------------------------------------------------------------------------------- hills

_PARTS: dict[str, Callable[[], str]] = {
    "weight": lambda: _("Weights of {name}"),
    "activation": lambda: _("Outputs of {name}"),
    "gradient": lambda: _("Gradients of {name}"),
    "other": lambda: "{name}",
}


def _hills(history: History) -> list[Block]:
    runs = [h for h in history.histograms if len(h.moments) >= 2 and any(sum(m.counts) for m in h.moments)]
    if not runs:
        return []
    shown = _spread(runs)
    caption = _(
        "Each hill is the distribution at one moment, from the start at the back to the end in front, scaled to its "
        "own height; the line is zero, and the farthest 1 % of the values are left out. Healthy: weights start as a "
        "box or a bell and broaden a little; hills that collapse to a spike, or wander off, do not."
    )
    if len(shown) < len(runs):
        text = _("{n} of {m} distributions are drawn, evenly over the model.")
        caption += " " + text.format(n=len(shown), m=count(len(runs)))
    figures = [_ridge(i, run) for i, run in enumerate(shown, 1)]
    return [Pictures(id="hills", title=_("Distributions over the run"), caption=caption, figures=figures)]


def _spread(runs: list[HistogramRun]) -> list[HistogramRun]:
    """Choose evenly over the model, weights and outputs in turn as they come."""
    if len(runs) <= MAX_HILLS:
        return runs
    return [runs[round(i * (len(runs) - 1) / (MAX_HILLS - 1))] for i in range(MAX_HILLS)]


def _ridge(rank: int, run: HistogramRun) -> Figure:
    title = _PARTS[run.part]().format(name=place(run.name, "weights"))
    moments = run.moments
    if len(moments) > MAX_MOMENTS:
        moments = [moments[round(i * (len(moments) - 1) / (MAX_MOMENTS - 1))] for i in range(MAX_MOMENTS)]
    hills = [Hill(m.x, m.low, m.high, m.counts) for m in moments]
    first, last = moments[0], moments[-1]
    said = _("{title}: from {a} … {b} at the start to {c} … {d} at the end").format(
        title=title,
        a=beside(first.low, [first.high]),
        b=beside(first.high, [first.low]),
        c=beside(last.low, [last.high]),
        d=beside(last.high, [last.low]),
    )
    return Figure(id=f"hill-{rank}", title=title, drawing=ridgeline(hills, said, axis=axis_name(run.axis)))


# ---------------------------------------------------------------------------------------------------- table


def _table(parameters: list[ParameterRun]) -> Table:
    ordered = sorted(parameters, key=lambda p: not _tone(p))[:MAX_TABLE] if len(parameters) > MAX_TABLE else parameters
    optional: list[tuple[str, str, Callable[[ParameterRun], Cell]]] = [
        (_("moved"), _("distance from the start over the size at the start"), lambda p: _or_blank(p.moved)),
        (_("step"), _("median of ‖Δw‖/‖w‖ over the looked-at steps"), lambda p: _or_blank(_median(p.update_ratio))),
        (_("gradient"), _("median gradient norm"), lambda p: _or_blank(_median(p.gradient_norm))),
        (_("decay share"), _("part of the movement that is weight decay"), lambda p: _or_blank(p.decay_share)),
        (_("below ε"), _("share of elements whose second moment is below epsilon"), lambda p: _share(p.eps_floor)),
    ]
    used = [c for c in optional if any(c[2](p).sort is not None for p in ordered)]
    columns = [Column(_("Parameter"), "name"), Column(_("Shape"), "text"), Column(_("Steps"))]
    columns += [Column(title, "number", hint) for title, hint, _cell in used]
    noted = any(_remarks(p) for p in ordered)
    columns += [Column(_("Remarks"), "text")] if noted else []
    rows = []
    for p in ordered:
        line = [of_name(p.name), of_text(shape(p.shape)), of_count(p.n_steps)]
        line += [make(p) for _title, _hint, make in used]
        line += [of_text(_(", ").join(_remarks(p)), _tone(p))] if noted else []
        rows.append(line)
    n = len(parameters)
    caption = plural("{n} parameter over the run", "{n} parameters over the run", n).format(n=count(n))
    note = _("Healthy: every parameter that should learn is in an optimizer, gets gradients, and moved.")
    return Table(
        id="parameter-runs",
        caption=caption,
        note=note,
        columns=columns,
        rows=rows,
        total_rows=n,
        folded=caption,
        of_layers=True,
    )


def _median(trace: Trace | None) -> float | None:
    known = [y for y in trace.y if y is not None] if trace is not None else []
    return median(known) if known else None


def _or_blank(value: float | None) -> Cell:
    return missing() if value is None else of_number(value)


def _share(value: float | None) -> Cell:
    return missing() if value is None else of_share(value)


def _remarks(p: ParameterRun) -> list[str]:
    out = []
    if not p.trainable:
        out.append(_("frozen"))
    elif p.optimizer is None:
        out.append(_("in no optimizer"))
    if p.trainable and p.n_looked:
        if p.n_grad_none == p.n_looked:
            out.append(_("no gradient"))
        elif p.n_grad_zero == p.n_looked:
            out.append(_("gradient always zero"))
    if p.trainable and p.changed is False:
        out.append(_("never moved"))
    if p.state_nonfinite:
        out.append(_("optimizer state not finite"))
    return out


def _tone(p: ParameterRun) -> Tone:
    if p.state_nonfinite:
        return "error"
    return "warning" if p.trainable and p.is_matrix and _remarks(p) else ""
