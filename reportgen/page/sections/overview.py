"""The first screen: the verdict, the key figures, and the network by depth."""

from __future__ import annotations

from ...document.facts import Diagnosis, LayerRow, Report, Severity
from ...document.scores import accuracy
from ...health.context import same_units
from .. import figures
from ..blocks import Figure, Link, Pair, Section, Tone, Verdict
from ..formats import count, listing, name, number, percent, short, si, size
from ..icons import icon
from ..language import _, plural
from ..wording import diagnosis_title

MAX_STRIP = 120
_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.INFO)


def ranked(report: Report) -> list[Diagnosis]:
    """Return the diagnoses, the worst first, otherwise in the order given."""
    return sorted(report.diagnoses, key=lambda d: -d.severity.rank)


def verdict(report: Report) -> Verdict:
    """Say in words what came out; never an average, and never more than was measured."""
    counts = {s: sum(d.severity is s for d in report.diagnoses) for s in _WORST_FIRST}
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    words = []
    if errors:
        words.append(plural("{n} error", "{n} errors", errors).format(n=errors))
    if warnings:
        words.append(plural("{n} warning", "{n} warnings", warnings).format(n=warnings))
    tone: Tone = "error" if errors else "warning" if warnings else "ok" if measured_anything(report) else "muted"
    text = ", ".join(words)
    if not text:
        text = _("No problem found in what was measured") if tone == "ok" else _("Nothing was measured")
    grave = [(i, d) for i, d in enumerate(ranked(report), 1) if d.severity is not Severity.INFO]
    links = [_link(i, d) for i, d in grave[:6]]
    if len(grave) > 6:
        links.append(Link(target="diagnoses", text=_("and {n} more").format(n=len(grave) - 6)))
    return Verdict(tone=tone, words=text, detail=_detail(report, counts[Severity.INFO]), icon=icon(tone), causes=links)


def _link(place: int, diagnosis: Diagnosis) -> Link:
    where = "" if diagnosis.subject in ("", "model") else f" · {name(diagnosis.subject)}"
    tone: Tone = "error" if diagnosis.severity is Severity.ERROR else "warning"
    return Link(target=f"diagnosis-{place}", text=diagnosis_title(diagnosis) + where, tone=tone, icon=icon(tone))


def _detail(report: Report, notes: int) -> str:
    parts = []
    if notes:
        parts.append(plural("{n} harmless observation.", "{n} harmless observations.", notes).format(n=notes))
    if report.waived:
        n = len(report.waived)
        parts.append(plural("{n} finding waived.", "{n} findings waived.", n).format(n=n))
    rows = report.coverage
    if rows:
        full = sum(r.status == "measured" for r in rows)
        parts.append(_("Measured in full: {n} of {m} parts.").format(n=full, m=len(rows)))
        absent = [r.part for r in rows if r.status == "not measured"]
        if absent:
            parts.append(_("Not measured: {names}.").format(names=listing(absent)))
    return " ".join(parts)


def measured_anything(report: Report) -> bool:
    """Tell whether there is any ground for saying that nothing is wrong."""
    parts = (report.architecture, report.weights, report.activations, report.gradients, report.training)
    return any(p is not None for p in (*parts, report.dataset, report.evaluation))


def lead(report: Report) -> list[Pair]:
    """Return the key figures, those that exist."""
    pairs = [*_size(report), *_work(report), *_run(report), *_result(report)]
    return pairs[:8]


def _size(report: Report) -> list[Pair]:
    facts = report.architecture
    if facts is not None:
        frozen = facts.parameters - facts.trainable
        note = _("{n} trainable").format(n=si(facts.trainable)) if frozen else _("all trainable")
        memory = size(facts.parameter_bytes + facts.buffer_bytes)
        return [
            Pair(label=_("Parameters"), value=si(facts.parameters), note=note),
            Pair(label=_("Size in memory"), value=memory, note=listing(sorted(facts.dtypes), 2)),
        ]
    if report.weights is not None:
        n = sum(r.stats.count for r in report.weights.rows if r.stats is not None and r.tied_to is None)
        tensors = _("{n} tensors").format(n=count(len(report.weights.rows)))
        return [Pair(label=_("Parameters"), value=si(n), note=tensors)]
    return []


def _work(report: Report) -> list[Pair]:
    facts = report.architecture
    if facts is None or facts.flops is None:
        return []
    note = _("batch of {n}").format(n=facts.batch_size) if facts.batch_size else ""
    if facts.uncounted:
        note += (", " if note else "") + _("a lower bound")
    return [Pair(label=_("Forward pass"), value=si(facts.flops, "FLOP"), note=note)]


def _run(report: Report) -> list[Pair]:
    pairs = []
    if report.subject.n_samples:
        kind = {"real": _("real data"), "synthetic": _("made-up inputs")}.get(report.subject.inputs, "")
        pairs.append(Pair(label=_("Samples probed"), value=count(report.subject.n_samples), note=kind))
    history = report.training
    if history is not None and (history.epochs or history.steps):
        value = count(history.epochs or history.steps)
        label = _("Epochs trained") if history.epochs else _("Steps trained")
        pairs.append(Pair(label=label, value=value, note=name(history.optimizer) if history.optimizer else ""))
    return pairs


def _result(report: Report) -> list[Pair]:
    facts, pairs = report.evaluation, []
    if facts is None:
        return []
    if facts.classification is not None and (score := accuracy(facts.classification.confusion)) is not None:
        note = _("95 % interval {low} to {high}").format(low=percent(score.low), high=percent(score.high))
        pairs.append(Pair(label=_("Accuracy"), value=percent(score.value), note=note))
    if facts.regression is not None and facts.regression.r2 is not None and same_units(report):
        note = _("MAE {mae}").format(mae=number(facts.regression.mae))
        pairs.append(Pair(label=_("R²"), value=short(facts.regression.r2), note=note))
    if facts.loss is not None:
        pairs.append(Pair(label=_("Loss"), value=number(facts.loss), note=name(report.subject.loss or "")[:40]))
    return [p if p.note != name("") else Pair(label=p.label, value=p.value) for p in pairs]


def section(report: Report) -> Section | None:
    """Show the network by depth: what was found where."""
    layers = _layers(report)
    if len(layers) < 2:
        return None
    rows = _strip_rows(report, layers)
    if not rows:
        return None
    marks = _marks(report, layers)
    shown = _("Network by depth, {n} layers").format(n=count(len(layers)))
    if len(layers) == MAX_STRIP:
        shown = _("Network by depth, the first {n} layers").format(n=MAX_STRIP)
    caption = _(
        "One column a layer, in the order of execution; stronger colour is more, on a logarithmic scale of its own for "
        "each row. Smooth changes are healthy; a sudden change is worth a look. Where a layer has no "
        "such quantity, or it was not measured, there is only a line. An octagon above a column is an error, "
        "a triangle a warning, a disc an observation."
    )
    strip = figures.strip(layers, rows, marks, shown)
    return Section(
        id="overview",
        title=_("At a glance"),
        blocks=[Figure(id="network", title=shown, caption=caption, drawing=strip)],
    )


def _layers(report: Report) -> list[str]:
    if report.activations is not None and report.activations.rows:
        rows = sorted(report.activations.rows, key=lambda r: r.order)
        return [r.name for r in rows if r.name][:MAX_STRIP]
    if report.architecture is not None:
        return [r.name for r in report.architecture.rows if r.is_leaf and r.name and r.parameters][:MAX_STRIP]
    return []


def _strip_rows(report: Report, layers: list[str]) -> list[figures.StripRow]:
    table: list[tuple[str, dict[str, float], bool]] = []
    if report.architecture is not None:
        own: dict[str, LayerRow] = {r.name: r for r in report.architecture.rows}
        table.append((_("parameters"), {n: float(own[n].parameters) for n in layers if n in own}, True))
    if report.weights is not None:
        weights = {r.name.rpartition(".")[0]: r.stats for r in report.weights.rows if len(r.shape) >= 2 and r.stats}
        table.append((_("weight rms"), {n: s.rms for n, s in weights.items() if s.rms is not None}, True))
    if report.activations is not None:
        acts = {r.name: r.stats for r in report.activations.rows}
        table.append((_("output std"), {n: s.std for n, s in acts.items() if s.std is not None}, True))
        zeros = {n: s.zero_share for n, s in acts.items() if s.zero_share is not None}
        table.append((_("output zeros"), zeros, False))
    if report.gradients is not None:
        grads = {r.name.rpartition(".")[0]: r.stats for r in report.gradients.rows if r.is_matrix and r.stats}
        table.append((_("gradient rms"), {n: s.rms for n, s in grads.items() if s.rms is not None}, True))
    out = []
    for label, known, log in table:
        values = [known.get(n) for n in layers]
        if any(values):
            show = number if log else percent
            texts = [show(v) for v in values]
            out.append(figures.StripRow(label, values, texts, log))
    return out


def _marks(report: Report, layers: list[str]) -> list[str]:
    """Return the worst tone of what was found about each layer."""
    worst: dict[str, Severity] = {}
    told = [(d.subject, d.severity) for d in report.diagnoses]
    told += [(f.subject, f.severity) for d in report.diagnoses for f in (*d.findings, *d.consequences)]
    for subject, severity in told:
        for place in (subject, subject.rpartition(".")[0]):  # a parameter's finding shows at its layer
            if place not in worst or severity.rank > worst[place].rank:
                worst[place] = severity
    return [worst[n].value if n in worst and n != "model" else "" for n in layers]
