"""Evaluation: how good the predictions are, and how sure that number is."""

from __future__ import annotations

import math

from msgspec import structs

from ...document.facts import Classification, EvaluationFacts, Regression, Report
from ...document.scores import ClassScore, accuracy, confused, macro, per_class
from ...health.context import same_units
from .. import figures, plots
from ..blocks import Block, Cell, Column, Figure, KeyValues, Pair, Pictures, Section, Table
from ..cells import missing, of_count, of_name, of_number, of_share, of_text
from ..formats import count, name, number, percent, short
from ..language import _, plural

FOLD_CLASSES = 30
MAX_MATRIX = 64
RESIDUAL_BINS = 40


def section(report: Report) -> Section | None:
    """Show scores of a classifier or a regressor."""
    facts, train = report.evaluation, report.train_evaluation
    if facts is None:
        return None
    same = same_units(report)
    if not same:  # distances to the targets mean nothing then
        facts = structs.replace(facts, regression=None)
        train = None if train is None else structs.replace(train, regression=None)
    blocks: list[Block] = [KeyValues(pairs=[*_scores(facts), *_pairs(facts)])]
    if train is not None and train.task == facts.task:
        blocks.append(_splits(train, facts))
    if facts.classification is not None:
        blocks += _classifier(facts.classification)
    if facts.regression is not None:
        blocks += _regressor(facts.regression)
    intro = _("Predictions of the model on {n} samples, in evaluation mode.").format(n=count(facts.n_samples))
    if facts.classification is not None:
        intro += " " + _(
            "An accuracy means something only against the share of the commonest class, and only within its interval."
        )
    if facts.regression is not None:
        intro += " " + _(
            "An R² of 0 is what the mean of the targets would reach, and 1 is perfect; residuals should "
            "be centred on zero."
        )
    if not same:
        intro += " " + _(
            "By its loss, {loss}, outputs need not be near their targets: R², absolute errors and residuals would say "
            "nothing, and are left out."
        ).format(loss=name(report.subject.loss or "?"))
    return Section(id="evaluation", title=_("Evaluation"), intro=intro, blocks=blocks)


def _pairs(facts: EvaluationFacts) -> list[Pair]:
    task = {"multiclass": _("one class of several"), "binary": _("yes or no"), "regression": _("regression")}[
        facts.task
    ]
    pairs = [Pair(label=_("Task"), value=task), Pair(label=_("Samples"), value=count(facts.n_samples))]
    if facts.loss is not None:
        pairs.append(Pair(label=_("Loss"), value=number(facts.loss)))
    if facts.outputs is not None:
        span = _("{a} to {b}").format(a=number(facts.outputs.min), b=number(facts.outputs.max))
        pairs.append(Pair(label=_("Range of the outputs"), value=span))
        if facts.outputs.cross_entropy is not None:
            entropy = number(facts.outputs.cross_entropy)
            pairs.append(Pair(label=_("Cross-entropy of the outputs as logits"), value=entropy))
    return pairs


def _scores(facts: EvaluationFacts) -> list[Pair]:
    pairs: list[Pair] = []
    if facts.classification is not None:
        pairs += _class_pairs(facts.classification)
    if facts.regression is not None:
        pairs += _error_pairs(facts.regression)
    return pairs


def _splits(train: EvaluationFacts, given: EvaluationFacts) -> Table:
    """Hold the training data against the data given: the same model, the same mode."""
    columns = [
        Column(_("Data"), "name"),
        Column(_("Samples")),
        Column(_("Loss")),
    ]
    if given.classification is not None:
        columns += [Column(_("Accuracy")), Column(_("95 % interval"), "text")]
    elif given.regression is not None:
        columns += [Column(_("R²")), Column(_("MAE"))]
    rows = [
        [of_text(title), of_count(facts.n_samples), of_number(facts.loss), *_split_scores(facts)][: len(columns)]
        for title, facts in ((_("training data"), train), (_("data given"), given))
    ]
    note = _(
        "Both in evaluation mode. A gap is normal; one far beyond the interval says how much was learned by heart."
    )
    caption = _("Training data against data given")
    return Table(id="splits", caption=caption, note=note, columns=columns, rows=rows, total_rows=2)


def _split_scores(facts: EvaluationFacts) -> list[Cell]:
    if facts.regression is not None:
        return [of_number(facts.regression.r2), of_number(facts.regression.mae)]
    score = accuracy(facts.classification.confusion) if facts.classification is not None else None
    if score is None:
        return [missing(), missing()]
    interval = _("{low} to {high}").format(low=percent(score.low), high=percent(score.high))
    return [of_share(score.value), of_text(interval)]


def _labels(facts: Classification) -> list[str]:
    return [facts.classes[i] if i < len(facts.classes) else str(i) for i in range(len(facts.confusion))]


def _class_pairs(facts: Classification) -> list[Pair]:
    score = accuracy(facts.confusion)
    if score is None:
        return []
    scores = per_class(facts.confusion, _labels(facts))
    recall, f1 = macro(scores, "recall"), macro(scores, "f1")
    right = _("{n} of {m} right").format(n=count(score.correct), m=count(score.total))
    interval = _("{low} to {high}").format(low=percent(score.low), high=percent(score.high))
    return [
        Pair(label=_("Accuracy"), value=percent(score.value), note=right),
        Pair(label=_("95 % interval"), value=interval, note=_("Wilson")),
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


def _classifier(facts: Classification) -> list[Block]:
    labels = _labels(facts)
    blocks: list[Block] = [_confusion(facts.confusion, labels)]
    mistakes = confused(facts.confusion)
    if mistakes and len(labels) > 2:
        blocks.append(_mistakes(facts.confusion, labels, mistakes))
    blocks.append(_classes(per_class(facts.confusion, labels)))
    return blocks


def _confusion(confusion: list[list[int]], labels: list[str]) -> Figure:
    n = len(labels)
    title = _("Confusion matrix")
    caption = _(
        "Rows are true classes, columns predictions; stronger colour is a larger share of the row. A healthy "
        "matrix is strong on the diagonal only; a strong column is a class that is named too often."
    )
    counts, names = confusion, labels
    if n > MAX_MATRIX:
        counts, names = _coarse(confusion, labels)
        caption += " " + _("{n} classes are drawn in {m} groups of neighbours.").format(n=n, m=len(names))
    folded = _("Confusion matrix of {n} classes").format(n=n) if n > FOLD_CLASSES else ""
    described = _("Confusion matrix of {n} classes; the scores of each class stand in the table below").format(n=n)
    drawing = figures.matrix(counts, names, described)
    return Figure(id="confusion", title=title, caption=caption, drawing=drawing, folded=folded)


def _coarse(confusion: list[list[int]], labels: list[str]) -> tuple[list[list[int]], list[str]]:
    """Add up neighbouring classes until the matrix can be drawn."""
    width = math.ceil(len(labels) / MAX_MATRIX)
    m = math.ceil(len(labels) / width)
    out = [[0] * m for i in range(m)]
    for t, row in enumerate(confusion):
        for p, n in enumerate(row):
            out[t // width][p // width] += n
    return out, [labels[i * width] for i in range(m)]


def _mistakes(confusion: list[list[int]], labels: list[str], mistakes: list[tuple[int, int, int]]) -> Table:
    columns = [
        Column(_("True class"), "name"),
        Column(_("Taken for"), "name"),
        Column(_("Times")),
        Column(_("Of this class"), "number", _("share of the true class")),
    ]
    rows = [
        [of_name(labels[t]), of_name(labels[p]), of_count(n), of_share(n / max(sum(confusion[t]), 1))]
        for t, p, n in mistakes
    ]
    return Table(id="mistakes", caption=_("Commonest mistakes"), columns=columns, rows=rows, total_rows=len(rows))


def _classes(scores: list[ClassScore]) -> Table:
    columns = [
        Column(_("Class"), "name"),
        Column(_("Samples"), "number", _("true samples of this class")),
        Column(_("Predicted"), "number", _("how often the class was predicted")),
        Column(_("Precision"), "number", _("of those predicted, the share that is right")),
        Column(_("Recall"), "number", _("of those true, the share that is found")),
        Column(_("F1"), "number", _("harmonic mean of precision and recall")),
    ]
    rows = [
        [
            of_name(s.label),
            of_count(s.support),
            of_count(s.predicted),
            *(_score(v) for v in (s.precision, s.recall, s.f1)),
        ]
        for s in scores
    ]
    n = len(scores)
    caption = plural("Scores of {n} class", "Scores of {n} classes", n).format(n=count(n))
    note = _("A class that was never predicted has no precision, and one that never occurs no recall: “not defined”.")
    folded = caption if n > FOLD_CLASSES else ""
    return Table(id="class-scores", caption=caption, note=note, columns=columns, rows=rows, total_rows=n, folded=folded)


def _score(value: float | None) -> Cell:
    return Cell(_("not defined"), None, "muted") if value is None else of_share(value)


def _regressor(facts: Regression) -> list[Block]:
    drawn: list[Figure] = []
    if len(facts.sample) >= 2:
        title = _("Prediction against target")
        n = len(facts.sample)
        caption = _("{n} samples, evenly spaced over the data. Points on the dashed line are right.").format(n=n)
        drawing = plots.agreement("agreement-plot", title, facts.sample)
        drawn.append(Figure(id="agreement", title=title, caption=caption, drawing=drawing))
    histogram = _residuals(facts)
    if histogram is not None:
        drawn.append(histogram)
    shown: list[Block] = [Pictures(id="predictions", figures=drawn)] if drawn else []
    return [*shown, _errors(facts)]


def _residuals(facts: Regression) -> Figure | None:
    stats = facts.residual
    if stats.histogram is None or stats.min is None or stats.max is None or not stats.max > stats.min:
        return None
    counts = stats.histogram.rebin(stats.min, stats.max, RESIDUAL_BINS)
    step = (stats.max - stats.min) / RESIDUAL_BINS
    edges = [stats.min + i * step for i in range(RESIDUAL_BINS + 1)]
    title = _("Residuals")
    caption = _(
        "Prediction minus target over all samples; the dashed line is zero. Healthy residuals are a single, "
        "narrow hump about zero."
    )
    drawing = plots.residuals("residuals-plot", title, edges, counts)
    return Figure(id="residuals", title=title, caption=caption, drawing=drawing)


def _errors(facts: Regression) -> Table:
    columns = [Column(_("Share of samples"), "name"), Column(_("Residual below"))]
    histogram = facts.residual.histogram
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    values = [histogram.quantile(q) if histogram is not None else None for q in shares]
    rows = [
        [Cell(percent(q, 0), q), missing() if v is None else of_number(v)] for q, v in zip(shares, values, strict=True)
    ]
    caption = _("Quantiles of the residuals")
    return Table(id="residual-quantiles", caption=caption, columns=columns, rows=rows, total_rows=len(rows))
