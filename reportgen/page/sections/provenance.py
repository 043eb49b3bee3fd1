"""Where the report comes from: sources, versions, command, and what the measuring cost."""

from __future__ import annotations

from ...document.facts import Meta, Report
from ..blocks import Block, Cell, Code, Column, KeyValues, Pair, Section, Table
from ..cells import of_name
from ..formats import count, moment, name, seconds, whole
from ..language import _
from ..reasons import told
from .waivers import settings_table

_DIGITS = 64  # of a SHA-256


def section(report: Report) -> Section | None:
    """Show how the report was made."""
    blocks: list[Block] = []
    pairs = [*_subject(report), *_meta(report.meta)]
    if pairs:
        blocks.append(KeyValues(pairs=pairs))
    if report.meta.versions:
        versions = [Pair(label=name(k), value=name(v)) for k, v in sorted(report.meta.versions.items())]
        blocks.append(KeyValues(title=_("Versions"), pairs=versions))
    if report.meta.options:
        options = [Pair(label=name(k), value=name(v)) for k, v in report.meta.options.items()]
        blocks.append(KeyValues(title=_("Options"), pairs=options))
    if report.meta.command:
        blocks.append(Code(title=_("Command"), text=report.meta.command))
    if (settings := settings_table(report)) is not None:
        blocks.append(settings)
    if report.meta.seconds:
        blocks.append(_cost({k: v for k, v in report.meta.seconds.items() if not _told_elsewhere(report, k)}))
    return Section(id="provenance", title=_("Provenance"), blocks=blocks) if blocks else None


def _subject(report: Report) -> list[Pair]:
    subject = report.subject
    states = {"trained": _("trained"), "untrained": _("untrained"), "unknown": _("unknown")}
    inputs = {"real": _("real data"), "synthetic": _("made-up inputs"), "none": _("none")}
    pairs = [
        Pair(label=_("Subject"), value=name(subject.name)),
        Pair(label=_("State"), value=states[subject.state]),
        Pair(label=_("Inputs"), value=inputs[subject.inputs]),
    ]
    if subject.n_batches:
        pairs.append(Pair(label=_("Batches"), value=count(subject.n_batches)))
    if subject.input_shapes:
        pairs.append(Pair(label=_("Input shapes"), value=", ".join(whole(name(s)) for s in subject.input_shapes)))
    if subject.loss:
        pairs.append(Pair(label=_("Loss function"), value=name(told(subject.loss))))
    if subject.optimizer:
        pairs.append(Pair(label=_("Optimizer"), value=name(subject.optimizer)))
    return pairs


def _meta(meta: Meta) -> list[Pair]:
    read = _("Read from, {what}")
    pairs = [Pair(label=read.format(what=name(told(k))), value=name(v)) for k, v in meta.sources.items()]
    hashes = {"checkpoint": _("SHA-256 of the checkpoint"), "first batch": _("SHA-256 of the first batch")}
    for key, digits in meta.hashes.items():
        cut = " …" if len(digits) < _DIGITS else ""
        pairs.append(Pair(label=hashes.get(key, name(key)), value=name(digits) + cut))
    commit = meta.commit or (_("not known: outside of a repository, or git is not there") if meta.created else "")
    made = [(_("Made"), moment(meta.created) if meta.created else ""), (_("Git commit"), commit)]
    for label, value in (*made, (_("Machine"), meta.machine), (_("Device"), meta.device)):
        if value:
            pairs.append(Pair(label=label, value=name(told(value))))
    if meta.processes > 1:
        text = _("{n}: the scores are of all their data, everything else of the first one’s part")
        pairs.append(Pair(label=_("Processes"), value=text.format(n=count(meta.processes))))
    return pairs


def _told_elsewhere(report: Report, part: str) -> bool:
    """Tell whether the section of what was tried has the price of this part."""
    done = {f"trial {trial.name}" for trial in report.trials.trials} if report.trials is not None else set()
    return part in done


def _cost(parts: dict[str, float]) -> Table:
    rows = [[of_name(told(part)), Cell(seconds(value), value)] for part, value in parts.items()]
    columns = [Column(_("Part"), "name"), Column(_("Time"))]
    return Table(id="cost", caption=_("What the measuring cost"), columns=columns, rows=rows, total_rows=len(rows))
