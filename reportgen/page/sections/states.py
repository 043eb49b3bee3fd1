"""The state of optimizers that a checkpoint holds."""

from __future__ import annotations

from ...document.states import MomentRow, OptimizerState
from ..blocks import Block, Cell, Column, KeyValues, Pair, Table
from ..cells import missing, of_count, of_name, of_number
from ..formats import count, number, percent
from ..language import _, plural
from ..reasons import told

MAX_ROWS = 100


def blocks(optimizers: list[OptimizerState]) -> list[Block]:
    """Return what each optimizer was set to, and its moments, the most noticeable first."""
    out: list[Block] = []
    for i, state in enumerate(optimizers):
        out.append(KeyValues(title=_("State of the optimizer"), pairs=_settings(state)))
        if state.rows and any(row.unseen is not None or row.nonfinite for row in state.rows):
            out.append(_moments(i, state.rows))
    return out


def _settings(state: OptimizerState) -> list[Pair]:
    held = _("{n} of {m} parameters with state").format(n=count(state.with_state), m=count(state.parameters))
    pairs = [Pair(label=_("Kind"), value=told(state.kind), note=held)]
    if state.step is not None:
        pairs.append(Pair(label=_("Steps"), value=count(int(state.step))))
    if state.rates:
        rates = dict.fromkeys(number(rate) for rate in state.rates)
        pairs.append(Pair(label=_("Learning rate"), value=", ".join(rates)))
    if state.betas:
        pairs.append(Pair(label=_("Betas"), value=", ".join(number(b, 4) for b in state.betas)))
    if state.eps is not None:
        pairs.append(Pair(label="eps", value=number(state.eps)))
    if state.weight_decay is not None:
        pairs.append(Pair(label=_("Weight decay"), value=number(state.weight_decay)))
    return pairs


def _moments(i: int, rows: list[MomentRow]) -> Table:
    columns = [
        Column(_("Parameter"), "name"),
        Column(_("Steps")),
        Column(_("Unseen"), "number", _("second moments that are exactly zero: no gradient ever arrived there")),
        Column(_("Below eps"), "number", _("second moments whose root is below eps: the step is limited by eps there")),
        Column(
            _("Steadiness"), "number", _("rms of first over root of second moment: 1 is a steady direction, 0 noise")
        ),
        Column(_("Broken"), "number", _("not finite, or negative second moments")),
    ]

    def concern(row: MomentRow) -> float:
        return (row.nonfinite + row.negative) * 1e9 + ((row.unseen or 0) + (row.floored or 0)) / max(row.count, 1)

    body = [
        [
            of_name(row.name),
            missing() if row.step is None else of_count(int(row.step)),
            _share(row.unseen, row.count),
            _share(row.floored, row.count),
            of_number(row.stale),
            of_count(row.nonfinite + row.negative, "error" if row.nonfinite + row.negative else ""),
        ]
        for row in sorted(rows, key=lambda row: -concern(row))[:MAX_ROWS]
    ]
    caption = plural("Moments of {n} parameter", "Moments of {n} parameters", len(rows)).format(n=count(len(rows)))
    note = _("Rows of an embedding that never appear in the data stay unseen; so does what is frozen or masked.")
    return Table(
        id=f"moments-{i}",
        caption=caption,
        note=note,
        columns=columns,
        rows=body,
        total_rows=len(rows),
        folded=caption,
        of_layers=True,
        ranked=True,
    )


def _share(n: int | None, of: int) -> Cell:
    return missing() if n is None or not of else Cell(percent(n / of), n / of)
