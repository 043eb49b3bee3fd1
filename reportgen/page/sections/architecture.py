"""Structure and size: the tree of layers with shapes, parameters and work."""

from __future__ import annotations

from ...document.facts import ArchitectureFacts, LayerRow, Report
from .. import figures
from ..blocks import Block, Cell, Column, KeyValues, Pair, Prose, Section, Table
from ..cells import in_rows, missing, of_chart, of_count, of_name, of_si, of_text
from ..formats import count, listing, name, percent, si, size
from ..language import _
from . import flow

MAX_ROWS = 2000
MAX_MEMORY_ROWS = 30
SEEN = 0.005  # a smaller share has no bar that could be seen
FULL_UP_TO = 200  # longer tables go without inputs, which are the outputs above them, and without bars


def section(report: Report) -> Section | None:
    """Show the layers of the model."""
    facts = report.architecture
    if facts is None:
        return None
    blocks: list[Block] = [KeyValues(pairs=_totals(facts)), *flow.blocks(report), _layers(facts)]
    if any(r.output_bytes or r.parameter_bytes for r in facts.rows):
        blocks.append(_memory(facts))
    if facts.peak_bytes is not None:
        text = _(
            "The peak of the forward pass is the most that tensors made in it took at one time, without gradients, "
            "beside parameters, buffers and input. It is counted operator by operator; what an operator uses and frees "
            "inside itself is not seen, so the true peak is the same or higher."
        )
        blocks.append(Prose(paragraphs=[text]))
    if report.subject.wrappers:
        text = _("The model was wrapped; what lies beneath was examined: {names}.")
        blocks.append(Prose(paragraphs=[text.format(names=listing(report.subject.wrappers))]))
    if facts.uncounted:
        text = _("Not in the FLOPs, for want of a formula: {names}. The total is a lower bound.")
        blocks.append(Prose(paragraphs=[text.format(names=listing(facts.uncounted))]))
    if facts.tied:
        groups = "; ".join(listing(group, 6) for group in facts.tied[:20])
        text = _("Shared tensors, each counted once and shown at its first name: {groups}.")
        blocks.append(Prose(paragraphs=[text.format(groups=groups)]))
    return Section(id="architecture", title=_("Architecture"), intro=_intro(facts), blocks=blocks)


def _intro(facts: ArchitectureFacts) -> str:
    text = _(
        "The modules of the model as they are nested. Parameters are a module's own, without those of its children."
    )
    if facts.flops is not None:
        text += " " + _(
            "FLOPs are of one forward pass over the probed batch, children included, and a multiplication with its "
            "addition counts as two; some tools count that as one and call it a MAC or mult-add. Counted are products "
            "of matrices, convolutions, attention and recurrent layers; not biases, element-wise work, norms, pooling."
        )
    return text


def _totals(facts: ArchitectureFacts) -> list[Pair]:
    pairs = [Pair(label=_("Parameters"), value=count(facts.parameters))]
    if facts.trainable is None:
        pairs.append(Pair(label=_("Trainable"), value=count(None), note=_("a file of weights does not say")))
    else:
        pairs.append(Pair(label=_("Trainable"), value=count(facts.trainable)))
        pairs.append(Pair(label=_("Frozen"), value=count(facts.parameters - facts.trainable)))
    pairs += [
        Pair(label=_("Buffer elements"), value=count(facts.buffers)),
        Pair(label=_("Parameter memory"), value=size(facts.parameter_bytes)),
        Pair(label=_("Buffer memory"), value=size(facts.buffer_bytes)),
    ]
    if facts.packed:
        note = _("{size} in quantised modules, for which PyTorch counts no parameters").format(
            size=size(facts.packed_bytes)
        )
        pairs.append(Pair(label=_("Packed weights"), value=count(facts.packed), note=note))
    if facts.dtypes:
        kinds = ", ".join(
            f"{name(k)} {percent(v / max(sum(facts.dtypes.values()), 1))}" for k, v in facts.dtypes.items()
        )
        pairs.append(Pair(label=_("Number formats"), value=kinds))
    if facts.batch_size is not None:
        pairs.append(Pair(label=_("Batch of the probed pass"), value=count(facts.batch_size)))
    if facts.flops is not None:
        pairs.append(Pair(label=_("FLOPs of the pass"), value=si(facts.flops)))
        if facts.batch_size:
            pairs.append(Pair(label=_("FLOPs per sample"), value=si(facts.flops / facts.batch_size)))
    if facts.mult_adds is not None:
        pairs.append(Pair(label=_("Mult-adds of the pass"), value=si(facts.mult_adds), note=_("as torchinfo counts")))
    return [*pairs, *_memory_totals(facts)]


def _memory_totals(facts: ArchitectureFacts) -> list[Pair]:
    pairs = []
    if facts.gradient_bytes:
        note = _("once a backward pass has filled them")
        pairs.append(Pair(label=_("Gradient memory"), value=size(facts.gradient_bytes), note=note))
    if facts.activation_bytes is not None:
        note = _("outputs of all layers of the pass, about what training keeps of it")
        pairs.append(Pair(label=_("Activation memory"), value=size(facts.activation_bytes), note=note))
    if facts.peak_bytes is not None:
        note = _("in {place}; how it is measured stands below").format(place=name(facts.peak_at or ""))
        pairs.append(Pair(label=_("Peak of the forward pass"), value=size(facts.peak_bytes), note=note))
    return pairs


def _layers(facts: ArchitectureFacts) -> Table:
    shapes = any(r.output_shape for r in facts.rows)
    inputs = shapes and len(facts.rows) <= FULL_UP_TO
    work = any(r.flops is not None for r in facts.rows)
    frozen = facts.trainable not in (facts.parameters, None)
    calls = any(r.calls not in (None, 1) for r in facts.rows)
    columns = [Column(_("Module"), "name"), Column(_("Kind"), "text")]
    columns += [Column(_("Input"), "text")] if inputs else []
    columns += [Column(_("Output"), "text")] if shapes else []
    columns += [Column(_("Parameters"))]
    columns += [Column(_("Trainable"))] if frozen else []
    bars = len(facts.rows) <= FULL_UP_TO
    columns += [Column(_("Share"), "chart", _("of all parameters"))] if bars else []
    columns += [Column(_("FLOPs"))] if work else []
    columns += [Column(_("Calls"), "number", _("calls in one forward pass"))] if calls else []
    rows = facts.rows[:MAX_ROWS]
    body = []
    for row in rows:
        line = [of_name(row.name, indent=min(row.depth, 8)), of_text(name(row.kind))]
        line += [_shape(row.input_shape)] if inputs else []
        line += [_shape(row.output_shape)] if shapes else []
        line.append(of_count(row.parameters) if row.parameters or row.is_leaf else Cell("", 0))
        line += [of_count(row.trainable)] if frozen else []
        share = row.parameters / facts.parameters if facts.parameters else None
        line += [of_chart(figures.bar(share)) if share and share >= SEEN else Cell("", share)] if bars else []
        line += [of_si(row.flops)] if work else []
        line += [_calls(row)] if calls else []
        body.append(line)
    caption = _("Modules, nested as in the model")
    return Table(id="layers", caption=caption, columns=columns, rows=body, total_rows=len(facts.rows), of_layers=True)


def _calls(row: LayerRow) -> Cell:
    """Show the calls; without any, a module whose parameters another one read has done its work all the same."""
    if row.calls == 0 and row.used:
        return Cell("0", 0, "muted", spoken=_("not called itself, but its parameters were read"))
    return of_count(row.calls, "warning" if row.calls == 0 else "")


def _memory(facts: ArchitectureFacts) -> Table:
    """Show where the bytes are, the largest modules first."""
    own = [r for r in facts.rows if r.parameter_bytes or r.packed_bytes or (r.is_leaf and r.output_bytes)]
    own.sort(key=_bytes, reverse=True)
    passed = any(r.output_bytes is not None for r in facts.rows)
    columns = [Column(_("Module"), "name"), Column(_("Kind"), "text")]
    columns += [Column(_("Parameters"), "number", _("and weights that quantised modules packed away"))]
    columns += [Column(_("Gradients"), "number", _("as a backward pass stores them"))]
    columns += [Column(_("Outputs"), "number", _("of all calls in one forward pass"))] if passed else []
    rows = []
    for row in own[:MAX_MEMORY_ROWS]:
        held = (row.parameter_bytes or 0) + row.packed_bytes
        line = [of_name(row.name), of_text(name(row.kind)), _size(held), _size(row.gradient_bytes)]
        rows.append(line + ([_size(row.output_bytes if row.is_leaf else None)] if passed else []))
    caption = _("Memory by module, the largest first")
    folded = in_rows(caption, len(rows))
    return Table(id="memory", caption=caption, columns=columns, rows=rows, total_rows=len(own), folded=folded)


def _bytes(row: LayerRow) -> int:
    outputs = row.output_bytes if row.is_leaf else 0
    return (row.parameter_bytes or 0) + row.packed_bytes + (row.gradient_bytes or 0) + (outputs or 0)


def _size(value: int | None) -> Cell:
    return missing() if value is None else Cell(size(value), value)


def _shape(text: str | None) -> Cell:
    return missing() if text is None else of_text(name(text))
