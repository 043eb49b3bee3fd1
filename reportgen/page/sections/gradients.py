"""Gradients: does the loss reach every parameter, and at what size."""

from __future__ import annotations

from ...document.facts import GradientFacts, GradientRow, Report
from .. import axes
from ..axes import Line
from ..blocks import Block, Cell, Column, Figure, KeyValues, Pair, Section, Table
from ..cells import any_nonfinite, missing, of_name, of_nonfinite, of_number, of_share, of_text
from ..formats import count, name, number
from ..language import _, plural

MAX_ROWS = 3000


def section(report: Report) -> Section | None:
    """Show the profile over depth and one row a parameter."""
    facts = report.gradients
    if facts is None:
        return None
    blocks: list[Block] = [KeyValues(pairs=_pairs(facts))]
    profile = _profile(facts)
    if profile is not None:
        blocks.append(profile)
    blocks.append(_parameters(facts))
    intro = _(
        "Gradients of the loss over {n} samples (batches: {b}), measured without changing the model. Healthy gradients "
        "reach every trainable parameter and keep their size within a few powers of ten from the first layer to the "
        "last."
    ).format(b=count(facts.n_batches), n=count(facts.n_samples))
    return Section(id="gradients", title=_("Gradients"), intro=intro, blocks=blocks)


def _pairs(facts: GradientFacts) -> list[Pair]:
    mode = _("training") if facts.mode == "train" else _("evaluation")
    losses = [v for v in facts.loss_values if v is not None]
    pairs = [Pair(label=_("Loss function"), value=name(facts.loss)), Pair(label=_("Mode of the model"), value=mode)]
    if losses:
        span = number(losses[0]) if len(losses) == 1 else f"{number(min(losses))} – {number(max(losses))}"
        pairs.append(Pair(label=_("Loss of the batches"), value=span))
    broken = sum(v is None for v in facts.loss_values)
    if broken:
        pairs.append(Pair(label=_("Batches with a loss that is not finite"), value=count(broken), tone="error"))
    return pairs


def _profile(facts: GradientFacts) -> Figure | None:
    matrices = sorted((r for r in facts.rows if r.is_matrix and r.order is not None), key=lambda r: r.order or 0)
    values = [(r.stats.rms if r.stats is not None else None) for r in matrices]
    if sum(v is not None and v > 0 for v in values) < 2:
        return None
    places = [float(i) for i in range(1, len(values) + 1)]
    lines = [Line(_("weights"), places, values)]
    outputs = sorted(facts.outputs, key=lambda r: r.order)
    if len(outputs) == len(matrices):
        lines.append(Line(_("layer outputs"), places, [r.stats.rms for r in outputs]))
    title = _("Gradient size over depth")
    caption = _(
        "Root mean square of the gradient of each weight matrix, from the input to the output, on a logarithmic axis. "
        "A straight fall towards the input is a vanishing gradient, a rise an exploding one; a gap is a matrix whose "
        "gradient was zero or did not exist."
    )
    label_x, label_y = _("weight matrix, by order of execution"), _("gradient rms")
    drawing = axes.depth_profile(title, lines, x_label=label_x, y_label=label_y)
    return Figure(id="gradient-profile", title=title, caption=caption, drawing=drawing)


def _parameters(facts: GradientFacts) -> Table:
    rows = sorted(facts.rows, key=lambda r: (r.order is None, r.order or 0))[:MAX_ROWS]
    broken = any_nonfinite([r.stats for r in rows])
    columns = [
        Column(_("Parameter"), "name"),
        Column(_("rms"), "number", _("root mean square over all elements and batches")),
        Column(_("largest"), "number", _("largest magnitude of an element")),
        Column(_("zeros"), "number", _("share of elements that are exactly zero")),
    ]
    columns += [Column(_("Not finite"))] if broken else []
    everywhere = all(r.requires_grad and not r.n_none and not r.n_zero for r in facts.rows)
    columns += [] if everywhere else [Column(_("Reached"), "text", _("batches whose loss reached this parameter"))]
    body = []
    for row in rows:
        line = [of_name(row.name), *_numbers(row)]
        line += [of_nonfinite(row.stats)] if broken else []
        line += [] if everywhere else [_reached(row, facts.n_batches)]
        body.append(line)
    n = len(facts.rows)
    caption = plural("Gradient of {n} parameter", "Gradients of {n} parameters", n).format(n=count(n))
    note = _("The loss reached every parameter in every batch.") if everywhere and n else ""
    return Table(
        id="parameter-gradients", caption=caption, note=note, columns=columns, rows=body, total_rows=n, of_layers=True
    )


def _numbers(row: GradientRow) -> list[Cell]:
    if row.stats is None:
        return [missing(_("no gradient")) for i in range(3)]
    s = row.stats
    largest = max(abs(s.min), abs(s.max)) if s.min is not None and s.max is not None else None
    return [of_number(s.rms), of_number(largest), of_share(s.zero_share)]


def _reached(row: GradientRow, n_batches: int) -> Cell:
    if not row.requires_grad:
        return of_text(_("frozen"), "muted")
    if row.n_none >= n_batches > 0:
        return of_text(_("never"), "error")
    if row.n_zero >= n_batches > 0:
        return of_text(_("always zero"), "warning")
    if row.n_none or row.n_zero:
        text = _("{n} of {m} batches").format(n=n_batches - row.n_none - row.n_zero, m=n_batches)
        return of_text(text, "warning")
    return of_text(_("always"))
