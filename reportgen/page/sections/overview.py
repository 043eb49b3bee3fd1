"""The first screen: the verdict, the key figures, and the network by depth."""

from __future__ import annotations

from statistics import median

from msgspec.structs import replace

from ...document.evaluation import Score
from ...document.facts import EvaluationFacts, LayerRow, Report, Severity
from ...document.scores import accuracy
from ...health.context import same_units
from .. import figures
from ..blocks import Figure, Pair, Section, Tone, Verdict
from ..formats import along, count, listing, name, number, percent, seconds, si, size
from ..icons import icon
from ..language import _, plural, sentences
from ..reasons import told
from ..score_words import interval, score_name, shown
from . import coverage, curves, depth
from .headlines import further, headlines

MAX_STRIP = 120
_MOST_HEADS = 3
_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.INFO)


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
    text = _(", ").join(words)
    if not text:
        text = _("No problem found in what was measured") if tone == "ok" else _("Nothing was measured")
    return Verdict(
        tone=tone,
        words=text,
        meaning=_meaning(errors, warnings),
        detail=_detail(report, counts[Severity.INFO]),
        icon=icon(tone),
        heads=headlines(report),
        causes=further(report),
    )


def _meaning(errors: int, warnings: int) -> str:
    """Say what the worst of the diagnoses means for whoever wants to use the model."""
    if errors:
        return _("The results cannot be relied on before this is mended.")
    return _("Look at this before you build on the results.") if warnings else ""


def _detail(report: Report, notes: int) -> str:
    parts = []
    if notes:
        parts.append(plural("{n} observation.", "{n} observations.", notes).format(n=notes))
    if report.waived:
        n = len(report.waived)
        parts.append(plural("{n} finding waived.", "{n} findings waived.", n).format(n=n))
    if report.subject.state == "unknown" and (report.weights is not None or report.activations is not None):
        parts.append(_("Whether it was trained is not known."))
    rows = coverage.rows_of(report)
    if measured_anything(report):
        full = sum(r.status == "measured" for r in rows)
        parts.append(_("Measured in full: {n} of {m} parts.").format(n=full, m=len(rows)))
        absent = [r.part for r in rows if r.status == "not measured"]
        if absent:
            parts.append(_("Not measured: {names}.").format(names=listing([told(part) for part in absent])))
    return sentences(parts)


def measured_anything(report: Report) -> bool:
    """Tell whether there is any ground for saying that nothing is wrong."""
    parts = (report.architecture, report.weights, report.activations, report.gradients, report.training)
    return any(p is not None for p in (*parts, report.dataset, report.evaluation))


def lead(report: Report) -> list[Pair]:
    """Return the key figures, those that exist: size, work, how good, on how much data, and the cost of probing."""
    parts = (_size, _work, _broken_off, _best, _result, _data, _price)
    return [pair for part in parts for pair in part(report)]


def _size(report: Report) -> list[Pair]:
    facts = report.architecture
    if facts is not None:
        memory = size(facts.parameter_bytes)  # buffers have a line of their own among the facts of the architecture
        if facts.trainable is None:  # a file does not say
            return [Pair(label=_("Parameters"), value=si(facts.parameters), note=memory)]
        frozen = facts.parameters - facts.trainable
        note = _("{n} trainable, {memory}") if frozen else _("all trainable, {memory}")
        note = note.format(n=si(facts.trainable), memory=memory)
        return [Pair(label=_("Parameters"), value=si(facts.parameters), note=note)]
    if report.weights is not None:
        n = sum(r.stats.count for r in report.weights.rows if r.stats is not None and r.tied_to is None)
        tensors = _("{n} tensors").format(n=count(len(report.weights.rows)))
        return [Pair(label=_("Parameters"), value=si(n), note=tensors)]
    return []


def _work(report: Report) -> list[Pair]:
    facts = report.architecture
    if facts is None or facts.flops is None:
        return []
    if not facts.batch_size:
        note = _("a lower bound") if facts.uncounted else ""
    else:
        note = _("batch of {n}, a lower bound") if facts.uncounted else _("batch of {n}")
    return [Pair(label=_("Forward pass"), value=si(facts.flops, "FLOP"), note=note.format(n=facts.batch_size))]


def _broken_off(report: Report) -> list[Pair]:
    """Say that the run did not end by itself, where, and of what."""
    history = report.training
    if history is None or not history.interrupted:
        return []
    at, told_at = (history.steps, _("step {at}")) if history.steps else (history.epochs, _("epoch {at}"))
    value = told_at.format(at=count(at)) if at else _("at once")
    return [Pair(label=_("Ended early"), value=value, note=name(told(history.interrupted))[:80])]


def _best(report: Report) -> list[Pair]:
    """Return the best value of the metric that the run was validated by: a score before a loss."""
    history = report.training
    if history is None:
        return []
    judged = [s for s in history.series if s.name.startswith("val_") and curves.direction(s.name) != 0]
    judged.sort(key=lambda s: (s.axis != "epoch", curves.base(s.name) == "loss"))
    for series in judged:
        best = curves.best_point(series)
        if best is not None:
            label = _("Best validation {metric}").format(metric=curves.metric_name(curves.base(series.name)).lower())
            value = shown(curves.base(series.name).lower(), best[1])
            return [Pair(label=label, value=value, note=_best_at(series.axis, best[0], history.epochs))]
    return []


def _best_at(axis: str, at: float, epochs: int | None) -> str:
    if axis != "epoch":
        return _("step {at}").format(at=along(at))
    if not epochs:
        return _("epoch {at}").format(at=along(at))
    return _("epoch {at}, {n} in all").format(at=along(at), n=count(epochs))


def _data(report: Report) -> list[Pair]:
    if report.subject.n_samples:
        kind = {"real": _("real data"), "synthetic": _("made-up inputs")}.get(report.subject.inputs, "")
        return [Pair(label=_("Samples probed"), value=count(report.subject.n_samples), note=kind)]
    history = report.training
    if history is not None and (history.epochs or history.steps):
        value = count(history.epochs or history.steps)
        label = _("Epochs trained") if history.epochs else _("Steps trained")
        return [Pair(label=label, value=value, note=name(history.optimizer) if history.optimizer else "")]
    return []


def _price(report: Report) -> list[Pair]:
    cost = report.meta.seconds.get("total")
    if cost is None:
        return []
    rest = {part: s for part, s in report.meta.seconds.items() if part != "total"}
    most = max(rest, key=lambda part: rest[part], default=None)
    note = (
        _("{time} of it for {part}").format(time=seconds(rest[most]), part=name(told(most))) if most is not None else ""
    )
    return [Pair(label=_("Cost of probing"), value=seconds(cost), note=note)]


def _result(report: Report) -> list[Pair]:
    facts = report.evaluation
    if facts is None:
        return []
    if scored := _scored(facts, same_units(report)):
        return [scored]
    heads = [(head, pair) for head, one in facts.heads.items() if (pair := _scored(one, alike=True)) is not None]
    if heads:
        return [
            replace(pair, label=_("{key}: {value}").format(key=name(head)[:40], value=pair.label))
            for head, pair in heads[:_MOST_HEADS]
        ]
    if facts.loss is not None:
        # a function that is called no more than that says nothing
        called = name(report.subject.loss)[:40] if report.subject.loss else ""
        note = called if called.lower() not in ("loss", "loss_fn", "criterion") else ""
        return [Pair(label=_("Loss"), value=number(facts.loss), note=note)]
    return []


def _scored(facts: EvaluationFacts, alike: bool) -> Pair | None:
    """Return the score that tells most. ``alike``: the columns of a regression have one unit."""
    if facts.classification is not None and (score := accuracy(facts.classification.confusion)) is not None:
        note = _("95 % interval {low} to {high}, commonest class {baseline}").format(
            low=percent(score.low), high=percent(score.high), baseline=percent(score.majority)
        )
        return Pair(label=_("Accuracy"), value=percent(score.value), note=note)
    if facts.regression is not None and facts.regression.r2 is not None and alike:
        note = _("MAE {mae}").format(mae=number(facts.regression.mae))
        return Pair(label=_("R²"), value=number(facts.regression.r2), note=note)
    return _first_of(facts.scores[0]) if facts.scores and facts.regression is None else None


def _first_of(score: Score) -> Pair:
    notes = [_("95 % interval {ends}").format(ends=interval(score))] if score.low is not None else []
    if score.baseline is not None:
        notes.append(_("trivial answer {value}").format(value=shown(score.name, score.baseline)))
    return Pair(label=score_name(score.name)[0], value=shown(score.name, score.value), note=_(", ").join(notes))


def section(report: Report) -> Section | None:
    """Show the quantities by depth, beneath one another."""
    layers = _layers(report)
    if len(layers) < 2:
        return None
    each = -(-len(layers) // MAX_STRIP)
    rows = _strip_rows(report, layers, each)
    if not rows:
        return None
    groups = [layers[i : i + each] for i in range(0, len(layers), each)]
    marks = depth.marks(report, layers)
    worst = [max(marks[i : i + each], key=depth.rank) for i in range(0, len(layers), each)]
    title = _("Network by depth, {n} layers").format(n=count(len(layers)))
    caption = _(
        "One column a layer, in the order of execution; stronger colour is more, on a logarithmic scale of its own for "
        "each row. Smooth changes are healthy; a sudden change is worth a look. Where a layer has no "
        "such quantity, or it was not measured, there is only a line. An octagon above a column is an error, "
        "a triangle a warning, a disc an observation."
    )
    if each > 1:
        caption += " " + _("Each column is the median of {n} neighbouring layers.").format(n=each)
    spans = [group[0] if len(group) == 1 else f"{group[0]} … {group[-1]}" for group in groups]
    strip = figures.strip(spans, rows, worst, title)
    return Section(
        id="overview",
        title=_("Quantities by depth"),
        blocks=[Figure(id="network", title=title, caption=caption, drawing=strip)],
    )


def _layers(report: Report) -> list[str]:
    if report.activations is not None and report.activations.rows:
        rows = sorted(report.activations.rows, key=lambda r: r.order)
        return [r.name for r in rows if r.name]
    if report.architecture is not None:
        return [r.name for r in report.architecture.rows if r.is_leaf and r.name and r.parameters]
    return []


def _strip_rows(report: Report, layers: list[str], each: int) -> list[figures.StripRow]:
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
        values = [_median([known[n] for n in layers[i : i + each] if n in known]) for i in range(0, len(layers), each)]
        if any(values):
            out.append(figures.StripRow(label, values, log))
    return out


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
