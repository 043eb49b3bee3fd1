"""The model in use: how long it takes, and whether it can be handed on as a program."""

from __future__ import annotations

from ...document.deployment import DeploymentFacts, InferenceTimes
from ...document.facts import Report
from ..blocks import Block, Cell, Column, Section, Table, Tone
from ..cells import missing, of_count, of_text
from ..formats import count, name, number, seconds, size
from ..language import _, plural
from ..reasons import told

MAX_GROUPS = 12


def section(report: Report) -> Section | None:
    """Show latency by batch size, the slowest groups, and what became of exports."""
    blocks: list[Block] = []
    times, exports = report.meta.inference, report.deployment
    if times is not None and times.rows:
        blocks.append(_latency(times))
    if times is not None and times.groups:
        blocks.append(_groups(times))
    if exports is not None:
        blocks.append(_exports(exports))
    if not blocks:
        return None
    intro = _(
        "What the model needs where it is used. Times belong to the machine that is named; a 95th percentile far above "
        "the median says that something else was running."
    )
    return Section(id="deployment", title=_("In use"), intro=intro, blocks=blocks)


def _latency(times: InferenceTimes) -> Table:
    memory = any(r.peak_bytes is not None for r in times.rows)
    columns = [
        Column(_("Batch size"), "name"),
        Column(_("Timed runs")),
        Column(_("Median"), "number", _("of one forward pass without gradients")),
        Column(_("95th percentile")),
        Column(_("Samples a second"), "number", _("batch size over the median")),
    ]
    hint = _(
        "most in use at once: on an accelerator by its allocator, parameters included; on a processor the tensors that "
        "one more pass made, operator by operator"
    )
    if times.weighed == "tensors":
        hint = _("most in use at once by the tensors that one more pass made, operator by operator")
    columns += [Column(_("Memory"), "number", hint)] if memory else []
    rows = []
    for r in times.rows:
        rate = r.batch_size / r.p50 if r.p50 else None
        cells = [Cell(count(r.batch_size), r.batch_size), of_count(r.runs), _of_time(r.p50), _of_time(r.p95)]
        cells.append(missing() if rate is None else Cell(count(round(rate)) if rate >= 10 else number(rate), rate))
        cells += [missing() if r.peak_bytes is None else Cell(size(r.peak_bytes), r.peak_bytes)] if memory else []
        rows.append(cells)
    note = plural("On {machine}, {n} thread.", "On {machine}, {n} threads.", times.threads)
    note = note.format(machine=name(times.machine), n=times.threads)
    if times.out_of_time:
        note += " " + _("Larger batches were left out, as the time was up; inference_budget gives it more.")
    caption = _("Time of a forward pass")
    return Table(id="latency", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(rows))


def _of_time(value: float) -> Cell:
    text = seconds(value) if value >= 0.1 else _("{n} ms").format(n=number(value * 1000))
    return Cell(text, value)


def _groups(times: InferenceTimes) -> Table:
    columns = [
        Column(_("Key"), "name"),
        Column(_("Value"), "text"),
        Column(_("Samples timed")),
        Column(_("Time of one"), "number", _("median over samples of the fastest of three runs, each sample alone")),
    ]
    shown = times.groups[:MAX_GROUPS]
    rows = [[of_text(name(g.key)), of_text(name(g.value)), of_count(g.n), _of_time(g.seconds)] for g in shown]
    caption = _("Slowest groups")
    return Table(id="slowest-groups", caption=caption, columns=columns, rows=rows, total_rows=len(times.groups))


def _exports(facts: DeploymentFacts) -> Table:
    words = {
        "works": _("works"),
        "differs": _("gives other outputs"),
        "failed": _("failed"),
        "not tried": _("not tried"),
    }
    tones: dict[str, Tone] = {"works": "ok", "differs": "error", "failed": "warning", "not tried": "muted"}
    columns = [
        Column(_("Form"), "name"),
        Column(_("Outcome"), "text"),
        Column(_("Difference"), "number", _("largest, over the largest output")),
        Column(_("Other batch sizes"), "text"),
        Column(_("Reason"), "prose"),
    ]
    rows = []
    for e in facts.exports:
        gap = missing() if e.difference is None else Cell(number(e.difference), e.difference)
        other = missing() if e.any_batch is None else of_text(_("yes") if e.any_batch else _("no"))
        reason = of_text(name(told(e.reason))) if e.reason else missing(_("none"))
        rows.append([of_text(e.kind), Cell(words[e.status], e.status, tones[e.status]), gap, other, reason])
    note = _("A copy of the model was exported, and its outputs compared on {n} samples.").format(n=facts.n_samples)
    caption = _("Exports")
    return Table(id="exports", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(rows))
