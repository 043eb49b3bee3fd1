"""Weights: one row a tensor, with its distribution."""

from __future__ import annotations

from ...document.facts import BufferRow, Report, WeightFacts, WeightRow
from ..blocks import Block, Cell, Column, Section, Table
from ..cells import ChartBudget, any_nonfinite, of_name, of_nonfinite, of_number, of_text, stats_cells, stats_columns
from ..formats import count, name, shape
from ..language import _, plural
from . import course, hub, matrices, states

MAX_ROWS = 3000
MAX_CHARTS = 100
MAX_BUFFERS = 100
_MATRICES_FIRST = {"weight": 0, "embedding": 1}


def section(report: Report) -> Section | None:
    """Show the parameter tensors and the buffers."""
    facts = report.weights
    if facts is None:
        return None
    alone = report.subject.kind == "checkpoint"
    inside = matrices.blocks(facts, alone=alone)
    blocks: list[Block] = [*inside, _parameters(facts)] if alone else [_parameters(facts), *inside]
    if facts.buffers:
        blocks.append(_buffers(facts.buffers))
    blocks = [*course.blocks(facts.course), *hub.blocks(facts.config), *blocks, *states.blocks(facts.optimizers)]
    intro = _(
        "One row a parameter tensor. Healthy weights are centred near zero with a smooth, single hump, and no value is "
        "NaN or infinite; a spike at zero means pruned or never-moved values, a flat box with hard edges an "
        "initialisation that training has not touched. Moments and extremes are over the finite values and exact, but "
        "for the mean of more than four million values: that is of evenly spaced channels. std is that of the "
        "population."
    )
    return Section(id="weights", title=_("Weights"), intro=intro, blocks=blocks)


def _charted(rows: list[WeightRow]) -> set[str]:
    """Choose the tensors that get a histogram: matrices before biases and scales, in the order of the model."""
    known = [r for r in rows if r.stats is not None and r.stats.histogram is not None and r.tied_to is None]
    return {r.name for r in sorted(known, key=lambda r: _MATRICES_FIRST.get(r.role, 2))[:MAX_CHARTS]}


def _parameters(facts: WeightFacts) -> Table:
    rows = facts.rows[:MAX_ROWS]
    several_types = len({r.dtype for r in facts.rows}) > 1
    broken = any_nonfinite([r.stats for r in facts.rows])
    noted = any(_remarks(r) for r in rows)
    charted, budget = _charted(rows), ChartBudget(MAX_CHARTS)
    columns = [Column(_("Parameter"), "name"), Column(_("Shape"), "text")]
    columns += [Column(_("Type"), "text")] if several_types else []
    columns += [*stats_columns(), Column(_("2-norm"), "number", _("Euclidean norm of the finite values"))]
    columns += [Column(_("Not finite"), "number", _("NaN and infinite values"))] if broken else []
    columns += [Column(_("Distribution"), "chart", _("values but for far ones; the mark is zero"))]
    columns += [Column(_("Remarks"), "text")] if noted else []
    body = []
    for row in rows:
        line = [of_name(row.name), of_text(shape(row.shape))]
        line += [of_text(name(row.dtype))] if several_types else []
        if row.tied_to is not None:
            line += [Cell("", None) for c in [*stats_columns(), "2-norm"]]
        else:
            line += [*stats_cells(row.stats), of_number(row.stats.norm if row.stats is not None else None)]
        line += [of_nonfinite(row.stats) if row.tied_to is None else Cell("", None)] if broken else []
        line.append(budget.histogram(row.stats) if row.name in charted else Cell("", None))
        line += [of_text(_remarks(row))] if noted else []
        body.append(line)
    kind = "" if several_types or not rows else _("All are {dtype}.").format(dtype=name(rows[0].dtype))
    drawable = sum(r.stats is not None and r.stats.histogram is not None and r.tied_to is None for r in facts.rows)
    if drawable > len(charted):
        text = _("Distributions are drawn for at most {n} tensors, matrices first.").format(n=len(charted))
        kind = f"{kind} {text}".strip()
    caption = plural("{n} parameter tensor", "{n} parameter tensors", len(facts.rows)).format(n=count(len(facts.rows)))
    return Table(
        id="parameters",
        caption=caption,
        note=kind,
        columns=columns,
        rows=body,
        total_rows=len(facts.rows),
        of_layers=True,
    )


def _remarks(row: WeightRow) -> str:
    parts = []
    if row.tied_to is not None:
        parts.append(_("same tensor as {name}").format(name=name(row.tied_to)))
    if row.trainable is False:
        parts.append(_("frozen"))
    if row.at_default_init:
        parts.append(_("as initialised"))
    return _(", ").join(parts)


def _buffers(buffers: list[BufferRow]) -> Table:
    broken = any_nonfinite([r.stats for r in buffers])
    columns = [Column(_("Buffer"), "name"), Column(_("Shape"), "text"), *stats_columns()]
    columns += [Column(_("Not finite"))] if broken else []
    body = []
    # the broken ones first: they must not fall off the end
    for row in sorted(buffers, key=lambda r: r.stats is None or not r.stats.nonfinite)[:MAX_BUFFERS]:
        line = [of_name(row.name), of_text(shape(row.shape)), *stats_cells(row.stats)]
        line += [of_nonfinite(row.stats)] if broken else []
        body.append(line)
    n = len(buffers)
    caption = plural("{n} buffer", "{n} buffers", n).format(n=count(n))
    return Table(
        id="buffers", caption=caption, columns=columns, rows=body, total_rows=n, folded=caption, of_layers=True
    )
