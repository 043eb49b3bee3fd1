"""Evaluation: how good the predictions are, how sure that is, and what a trivial answer reaches."""

from __future__ import annotations

import math

from msgspec import structs

from ...document.facts import Classification, EvaluationFacts, Regression, Report
from ...document.scores import accuracy, macro, per_class
from ...health.context import same_units
from .. import score_figures
from ..blocks import Block, Cell, Column, Figure, KeyValues, Pair, Pictures, Prose, Section, Table
from ..cells import in_rows, missing, of_count, of_name, of_number, of_text
from ..formats import beside, count, name, number, percent, short
from ..language import _
from ..reasons import told
from ..score_words import interval, score_name, score_table, shown
from .classes import classifier, label_table, region_table
from .examples import examples, prepared, slices


def section(report: Report) -> Section | None:
    """Show the scores of each head."""
    facts, train = report.evaluation, report.train_evaluation
    if facts is None:
        return None
    same = same_units(report)
    if not same:  # distances to the targets mean nothing then
        facts = _without_distances(facts)
        train = None if train is None else _without_distances(train)
    facts = prepared(facts, report)
    blocks: list[Block] = [KeyValues(pairs=_pairs(facts))]
    if train is not None and train.task == facts.task and not facts.heads:
        blocks.append(_splits(train, facts))
    blocks += _several(facts) if facts.heads else _head(facts, "")
    if facts.remarks:
        blocks.append(
            Prose(paragraphs=[_("Not evaluated: {why}.").format(why=name(told(why))) for why in facts.remarks])
        )
    return Section(id="evaluation", title=_("Evaluation"), intro=_intro(facts, report, same=same), blocks=blocks)


def _without_distances(facts: EvaluationFacts) -> EvaluationFacts:
    return structs.replace(facts, regression=None, scores=[], examples=[]) if facts.regression is not None else facts


def _intro(facts: EvaluationFacts, report: Report, *, same: bool) -> str:
    parts = [_("Predictions of the model on {n} samples, in evaluation mode.").format(n=count(facts.n_samples))]
    if facts.classification is not None:
        parts.append(
            _(
                "An accuracy means something only against the share of the commonest class, and only within its "
                "interval."
            )
        )
    if facts.regression is not None:
        parts.append(
            _(
                "An R² of 0 is what the mean of the targets would reach, and 1 is perfect; residuals should "
                "be centred on zero."
            )
        )
    if not same:
        parts.append(
            _(
                "By its loss, {loss}, outputs need not be near their targets: R², absolute errors and residuals would "
                "say nothing, and are left out."
            ).format(loss=name(report.subject.loss or "?"))
        )
    return " ".join(parts)


def _task(task: str) -> str:
    return {
        "multiclass": _("one class of several"),
        "binary": _("yes or no"),
        "multilabel": _("several yes-or-no answers"),
        "regression": _("regression"),
        "tokens": _("a class for each position"),
        "segmentation": _("a class for each place"),
        "several": _("several heads"),
    }[task]


def _pairs(facts: EvaluationFacts) -> list[Pair]:
    pairs = [] if facts.scores else _scores(facts)
    pairs += [Pair(label=_("Task"), value=_task(facts.task)), Pair(label=_("Samples"), value=count(facts.n_samples))]
    if facts.loss is not None:
        pairs.append(Pair(label=_("Loss"), value=number(facts.loss)))
    outputs = facts.outputs
    if outputs is not None:
        ends = outputs.min, outputs.max
        span = _("{a} to {b}").format(a=beside(ends[0], ends), b=beside(ends[1], ends))
        taken = {True: _("taken as probabilities"), False: _("taken as logits"), None: ""}[outputs.probabilities]
        pairs.append(Pair(label=_("Range of the outputs"), value=span, note=taken))
        if outputs.cross_entropy is not None:
            pairs.append(Pair(label=_("Cross-entropy of the outputs as logits"), value=number(outputs.cross_entropy)))
    if facts.ignored:
        note = _("target outside of the classes or left out, or output not a number")
        pairs.append(Pair(label=_("Answers left out"), value=count(facts.ignored), note=note))
    return pairs


def _scores(facts: EvaluationFacts) -> list[Pair]:
    """Return the figures of a report that holds counts alone."""
    pairs: list[Pair] = []
    if facts.classification is not None:
        pairs += _class_pairs(facts.classification)
    if facts.regression is not None:
        pairs += _error_pairs(facts.regression)
    return pairs


def _several(facts: EvaluationFacts) -> list[Block]:
    """Show all heads in one table, then each of them."""
    columns = [
        Column(_("Head"), "name"),
        Column(_("Task"), "text"),
        Column(_("Measure"), "text"),
        Column(_("Value")),
        Column(_("95 % interval"), "text"),
        Column(_("Trivial answer")),
    ]
    rows = []
    for head, own in facts.heads.items():
        first = own.scores[0] if own.scores else None
        cells = [missing()] * 4
        if first is not None:
            ends = of_text(interval(first)) if first.low is not None else missing()
            trivial = missing() if first.baseline is None else Cell(shown(first.name, first.baseline), first.baseline)
            cells = [
                of_text(score_name(first.name)[0]),
                Cell(shown(first.name, first.value), first.value),
                ends,
                trivial,
            ]
        rows.append([of_name(head), of_text(_task(own.task)), *cells])
    caption = _("Heads of the model")
    blocks: list[Block] = [Table(id="heads", caption=caption, columns=columns, rows=rows, total_rows=len(rows))]
    for i, (head, own) in enumerate(facts.heads.items()):
        blocks.append(KeyValues(title=_("Head {name}").format(name=name(head)), pairs=_pairs(own)))
        blocks += _head(own, f"head-{i}-")
    return blocks


def _head(facts: EvaluationFacts, id: str) -> list[Block]:
    """Show one head; ``id`` comes before the ids of its blocks."""
    blocks: list[Block] = [score_table(facts, f"{id}scores")] if facts.scores else []
    if facts.classification is not None:
        confusion, *tables = classifier(facts.classification, id)
        blocks += [confusion, *_curves(facts, id), *tables]
    elif facts.regression is not None:
        blocks += _regressor(facts.regression, id)
    else:
        if facts.regions:
            blocks.append(region_table(facts.regions, id))
        blocks += _curves(facts, id)
        if facts.labels:
            blocks.append(label_table(facts, id))
    if (facts.curves and facts.task in ("binary", "multilabel")) or len(facts.curves) == 1:
        blocks.append(score_figures.sweep(facts.curves[0], id))
    groups, samples = slices(facts, id), examples(facts, id)
    return [*blocks, *(t for t in (groups, samples) if t is not None)]


def _curves(facts: EvaluationFacts, id: str) -> list[Block]:
    drawn: list[Figure] = []
    if facts.curves:
        drawn += [score_figures.roc(facts.curves, id), score_figures.precision_recall(facts.curves, id)]
    if facts.calibration is not None:
        of_yes = facts.task in ("binary", "multilabel")
        drawn.append(score_figures.reliability(facts.calibration, id, of_yes=of_yes))
    if facts.tokens is not None and len(facts.tokens.by_position) > 1:
        drawn.append(score_figures.by_position(facts.tokens, id))
    blocks: list[Block] = [Pictures(id=f"{id}score-curves", figures=drawn, small=True)] if drawn else []
    if facts.calibration is not None:
        blocks.append(KeyValues(pairs=score_figures.calibration_pairs(facts.calibration)))
    return blocks


def _splits(train: EvaluationFacts, given: EvaluationFacts) -> Table:
    """Hold the training data against the data given: the same model, the same mode."""
    first = given.scores[0].name if given.scores else ""
    columns = [Column(_("Data"), "name"), Column(_("Samples")), Column(_("Loss"))]
    if first:
        columns += [Column(score_name(first)[0]), Column(_("95 % interval"), "text")]
    rows = [
        [of_text(title), of_count(facts.n_samples), of_number(facts.loss), *_first_score(facts, first)]
        for title, facts in ((_("training data"), train), (_("data given"), given))
    ]
    note = _(
        "Both in evaluation mode. A gap is normal; one far beyond the interval says how much was learned by heart."
    )
    caption = _("Training data against data given")
    return Table(id="splits", caption=caption, note=note, columns=columns, rows=rows, total_rows=2)


def _first_score(facts: EvaluationFacts, first: str) -> list[Cell]:
    if not first:
        return []
    score = facts.score(first)
    if score is None:
        return [missing(), missing()]
    ends = of_text(interval(score)) if score.low is not None else missing()
    return [Cell(shown(first, score.value), score.value), ends]


def _class_pairs(facts: Classification) -> list[Pair]:
    score = accuracy(facts.confusion)
    if score is None:
        return []
    scores = per_class(facts.confusion, [str(i) for i in range(len(facts.confusion))])
    recall, f1 = macro(scores, "recall"), macro(scores, "f1")
    right = _("{n} of {m} right").format(n=count(score.correct), m=count(score.total))
    ends = _("{low} to {high}").format(low=percent(score.low), high=percent(score.high))
    return [
        Pair(label=_("Accuracy"), value=percent(score.value), note=right),
        Pair(label=_("95 % interval"), value=ends, note=_("Wilson")),
        Pair(label=_("Commonest class"), value=percent(score.majority), note=_("accuracy of always naming it")),
        Pair(label=_("Balanced accuracy"), value=percent(recall), note=_("mean recall of the classes")),
        Pair(label=_("Mean F1"), value=percent(f1)),
    ]


def _error_pairs(facts: Regression) -> list[Pair]:
    rmse = number(math.sqrt(max(facts.mse, 0.0)))
    return [
        Pair(label=_("R²"), value=short(facts.r2) if facts.r2 is not None else _("not defined")),
        Pair(label=_("MAE"), value=number(facts.mae), note=_("mean absolute error")),
        Pair(label=_("RMSE"), value=rmse, note=_("root mean squared error")),
        Pair(label=_("Std of the targets"), value=number(facts.target.std), note=_("RMSE of always naming their mean")),
        Pair(label=_("Mean residual"), value=number(facts.residual.mean), note=_("bias; zero is healthy")),
    ]


def _regressor(facts: Regression, id: str) -> list[Block]:
    drawn: list[Figure] = []
    if len(facts.sample) >= 2:
        drawn += [score_figures.agreement(facts, id), score_figures.residuals_by_prediction(facts, id)]
    histogram = score_figures.residuals(facts, id)
    drawn += [histogram] if histogram is not None else []
    drawn += [score_figures.by_decile(facts, id)] if facts.deciles else []
    blocks: list[Block] = [Pictures(id=f"{id}predictions", figures=drawn, small=True)] if drawn else []
    blocks += [_targets(facts, id)] if facts.targets else []
    return [*blocks, _errors(facts, id)]


def _targets(facts: Regression, id: str) -> Table:
    columns = [
        Column(_("Target"), "name"),
        Column(_("Samples")),
        Column(_("R²")),
        Column(_("MAE")),
        Column(_("RMSE")),
        Column(_("Std of the target"), "number", _("RMSE of always naming its mean")),
        Column(_("Mean residual"), "number", _("bias; zero is healthy")),
    ]
    rows = [
        [
            of_name(t.name),
            of_count(t.n),
            of_number(t.r2),
            *(of_number(v) for v in (t.mae, t.rmse, t.std, t.bias)),
        ]
        for t in facts.targets
    ]
    caption = _("Each of {n} targets").format(n=count(len(rows)))
    return Table(id=f"{id}targets", caption=caption, columns=columns, rows=rows, total_rows=len(rows))


def _errors(facts: Regression, id: str) -> Table:
    columns = [Column(_("Share of samples"), "name"), Column(_("Residual below"))]
    histogram = facts.residual.histogram
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    values = [histogram.quantile(q) if histogram is not None else None for q in shares]
    rows = [
        [Cell(percent(q, 0), q), missing() if v is None else of_number(v)] for q, v in zip(shares, values, strict=True)
    ]
    caption = _("Quantiles of the residuals")
    folded = in_rows(caption, len(rows))
    return Table(
        id=f"{id}residual-quantiles", caption=caption, columns=columns, rows=rows, total_rows=len(rows), folded=folded
    )
