"""Activations: what each layer put out over all probed batches."""

from __future__ import annotations

from ...document.facts import (
    ActivationFacts,
    ActivationRow,
    BlockRow,
    ChannelFacts,
    NormRow,
    Report,
    SpreadFacts,
)
from ..blocks import Block, Cell, Column, Prose, Section, Table, Tone
from ..cells import (
    ChartBudget,
    any_nonfinite,
    missing,
    of_count,
    of_name,
    of_nonfinite,
    of_number,
    of_text,
    stats_cells,
    stats_columns,
)
from ..formats import count, listing, name
from ..language import _, plural, term
from ..reasons import told

MAX_ROWS = 2000
MAX_CHARTS = 100
MAX_NORMS = 60


def section(report: Report) -> Section | None:
    """Show the outputs of the layers."""
    facts = report.activations
    if facts is None:
        return None
    blocks: list[Block] = [_layers(facts)]
    if facts.norms:
        blocks.append(_norms(facts.norms))
    if facts.blocks:
        blocks.append(_passing(facts.blocks))
    remarks = []
    if facts.not_executed:
        text = _("Never executed in the probed passes: {names}.")
        remarks.append(text.format(names=listing(facts.not_executed, 20)))
    if facts.training_only:
        text = _("Executed in training only: {names}.")
        remarks.append(text.format(names=listing(facts.training_only, 20)))
    remarks += [_("Not measured: {reason}").format(reason=name(told(r))) for r in [*facts.reasons, *facts.remarks][:20]]
    if remarks:
        blocks.append(Prose(paragraphs=remarks))
    return Section(id="activations", title=_("Activations"), intro=_intro(facts), blocks=blocks)


def _intro(facts: ActivationFacts) -> str:
    mode = _("evaluation mode") if facts.mode == "eval" else _("training mode")
    text = _(
        "Outputs of each layer in the order of execution, over {n} samples (batches: {b}), in {mode}. In a healthy "
        "network std changes gently from layer to layer and few channels are silent."
    ).format(n=f"{facts.n_samples:,}", b=f"{facts.n_batches:,}", mode=mode)
    if facts.exact:
        text += " " + _(
            "Taken from every value: {names}. In layers marked * the rest comes from evenly spread places of every "
            "sample; what a batch norm reads, marked †, is worked back from its output."
        ).format(names=listing([_exact(key) for key in facts.exact]))
    if any(row.glanced for row in facts.rows):
        text += " " + _(
            "Of layers marked ‡, whose activation is measured in full, the smallest and the largest come from such "
            "places too, and so does the mean where many places of every channel are among them; else it is of every "
            "value."
        )
    return text


def _layers(facts: ActivationFacts) -> Table:
    ordered = sorted(facts.rows, key=lambda r: r.order)
    rows, budget = ordered[:MAX_ROWS], ChartBudget(MAX_CHARTS)
    broken = any_nonfinite([r.stats for r in rows])
    channels = any(r.channels for r in rows)
    constant = any(c.constant for r in rows for c in r.channels)
    spread = any(r.spread is not None for r in rows)
    repeated = any(r.calls > facts.n_batches for r in rows)
    columns = [Column(_("Layer"), "name"), Column(_("Kind"), "text"), Column(_("Output"), "text")]
    columns += [Column(_("Calls"), "number", _("over the whole pass"))] if repeated else []
    columns += stats_columns()
    if channels:
        hint = _("channels or units that were above zero on no sample")
        columns += [Column(_("Silent"), "number", hint)]
        columns += [Column(_("Constant"), "number", _("channels that never change"))] if constant else []
    if spread:
        hint = _("directions that share the variance of the samples; in brackets, what independent channels would show")
        columns += [Column(_("Directions"), "number", hint)]
        hint = _("mean squared correlation between channels, by their variances")
        columns += [Column(_("Correlation"), "number", hint)]
    columns += [Column(_("Not finite"))] if broken else []
    columns += [Column(_("Distribution"), "chart", _("middle 99 % of the values; the mark is zero"))]
    body = []
    for row in rows:
        mark = ("†" if row.derived else "") + ("‡" if row.glanced else "") or ("*" if row.sampled else "")
        line = [of_name(f"{row.name} {mark}".rstrip()), of_text(name(row.kind)), of_text(name(row.shape))]
        line += [of_count(row.calls)] if repeated else []
        line += stats_cells(row.stats)
        line += _channel_cells(row, constant) if channels else []
        line += _spread_cells(row.spread) if spread else []
        line += [of_nonfinite(row.stats)] if broken else []
        line.append(budget.histogram(row.stats))
        body.append(line)
    note = ""
    if budget.refused:
        note = _("Distributions are drawn for at most {n} layers, the first of the model.").format(n=MAX_CHARTS)
    n = len(ordered)
    caption = plural("{n} layer, by order of execution", "{n} layers, by order of execution", n).format(n=count(n))
    return Table(
        id="layer-outputs", caption=caption, note=note, columns=columns, rows=body, total_rows=n, of_layers=True
    )


def _channel_cells(row: ActivationRow, constant: bool) -> list[Cell]:
    """Return silent, and where any layer has them constant, channels of the worst call."""
    if not row.channels:
        why = _("told of the activation behind it") if row.glanced else _("has no channels")
        return [missing(why)] * (2 if constant else 1)
    worst = max(row.channels, key=lambda c: c.silent)
    # a layer without a rectifier may well stay below zero: that is no fault
    cells = [_part(worst, worst.silent, row.rectifier)]
    return [*cells, _part(worst, max(c.constant for c in row.channels), False)] if constant else cells


def _spread_cells(spread: SpreadFacts | None) -> list[Cell]:
    if spread is None:
        return [missing(_("not measured here"))] * 2
    text = f"{spread.participation:.1f} ({spread.participation_null:.0f})"
    return [Cell(text, spread.participation), of_number(spread.mean_r2)]


def _part(channels: ChannelFacts, n: int, matters: bool) -> Cell:
    share = n / channels.n_channels if channels.n_channels else 0.0
    tone: Tone = "warning" if matters and share > 0.5 else ""
    return Cell(f"{n} / {channels.n_channels}" if n else "0", share, tone)


def _norms(norms: list[NormRow]) -> Table:
    columns = [
        Column(_("Batch norm"), "name"),
        Column(_("Channels")),
        Column(_("Batches tracked")),
        Column(_("Mean gap"), "number", _("|mean of the data − running mean| in running standard deviations, median")),
        Column(_("Variance gap"), "number", _("|ln(variance of the data / running variance)|, median")),
    ]
    body = [
        [
            of_name(r.name),
            of_count(r.n_channels),
            of_count(r.batches_tracked),
            of_number(r.mean_gap),
            of_number(r.log_var_gap),
        ]
        for r in sorted(norms, key=lambda r: -max(r.mean_gap, r.log_var_gap))[:MAX_NORMS]
    ]
    note = _(
        "Running statistics that describe the data are close to those of the data that passed: gaps well below one. "
        "Medians over the channels; the largest gaps come first."
    )
    caption = _("Running statistics against the data")
    return Table(
        id="norms",
        caption=caption,
        note=note,
        columns=columns,
        rows=body,
        total_rows=len(norms),
        of_layers=True,
        ranked=True,
    )


def _passing(rows: list[BlockRow]) -> Table:
    columns = [
        Column(_("Block"), "name"),
        Column(_("Kind"), "text"),
        Column(_("Change"), "number", _("rms of output minus input, over rms of input")),
    ]
    body = [[of_name(r.name), of_text(name(r.kind)), of_number(r.change)] for r in rows[:MAX_NORMS]]
    note = _("How far each block moves what passes it; with a skip connection inside, this is the size of the branch.")
    caption = _("Blocks with outputs of the shape of their inputs")
    return Table(id="blocks", caption=caption, note=note, columns=columns, rows=body, total_rows=len(rows))


def _exact(key: str) -> str:
    named = {"count": _("count"), "non-finite": _("non-finite"), "silent": _("silent channels")}
    return named.get(key) or term(key)
