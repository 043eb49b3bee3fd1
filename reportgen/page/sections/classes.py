"""Evaluation of classes: confusion, commonest mistakes, scores of each class, overlap of regions."""

from __future__ import annotations

import math

from ...document.evaluation import EvaluationFacts, LabelCounts, RegionScore
from ...document.facts import Classification
from ...document.scores import ClassScore, confused, per_class, wilson
from .. import figures
from ..blocks import Block, Cell, Column, Figure, Table
from ..cells import in_rows, missing, of_count, of_name, of_share, of_text
from ..formats import count, percent
from ..language import _, plural

FOLD_CLASSES = 30
MAX_CLASSES = 200  # with their scores
MAX_MATRIX = 64
_MAX_ORDERED = 1000  # classes that are put beside those they are taken for


def classifier(facts: Classification, id: str) -> list[Block]:
    """Show the confusion matrix, the commonest mistakes and the scores of each class."""
    labels = [facts.classes[i] if i < len(facts.classes) else str(i) for i in range(len(facts.confusion))]
    blocks: list[Block] = [_confusion(facts.confusion, labels, id)]
    mistakes = confused(facts.confusion)
    if mistakes and len(labels) > 2:
        blocks.append(_mistakes(facts.confusion, labels, mistakes, id))
    blocks.append(_classes(per_class(facts.confusion, labels), id))
    return blocks


def _confusion(confusion: list[list[int]], labels: list[str], id: str) -> Figure:
    n = len(labels)
    title = _("Confusion matrix")
    caption = _(
        "Rows are true classes, columns predictions; stronger colour is a larger share of the row. A healthy "
        "matrix is strong on the diagonal only; a strong column is a class that is named too often."
    )
    counts, names = confusion, labels
    if FOLD_CLASSES < n <= _MAX_ORDERED:
        order = likeness_order(confusion)
        counts = [[confusion[i][j] for j in order] for i in order]
        names = [labels[i] for i in order]
        caption += " " + _("Classes that are taken for each other stand together.")
    if n > MAX_MATRIX:
        counts, names = _coarse(counts, names)
        caption += " " + _("{n} classes are drawn in {m} groups of neighbours.").format(n=n, m=len(names))
    many = count(n)
    folded = _("Confusion matrix of {n} classes").format(n=many) if n > FOLD_CLASSES else ""
    described = _("Confusion matrix of {n} classes; the scores of each class stand in the table below").format(n=many)
    drawing = figures.matrix(counts, names, described)
    return Figure(id=f"{id}confusion", title=title, caption=caption, drawing=drawing, folded=folded)


def likeness_order(confusion: list[list[int]]) -> list[int]:
    """Return the classes in an order that puts those together that are taken for each other.

    Leaves of the average linkage, with 1 less the mean of both shares of mistakes as the distance.
    """
    import numpy as np
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    table = np.asarray(confusion, dtype=float)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0.0)
    return [int(i) for i in leaves_list(linkage(squareform(distance, checks=False), "average"))]


def _coarse(confusion: list[list[int]], labels: list[str]) -> tuple[list[list[int]], list[str]]:
    """Add up neighbouring classes until the matrix can be drawn."""
    width = math.ceil(len(labels) / MAX_MATRIX)
    starts = range(0, len(labels), width)
    narrow = [[sum(row[s : s + width]) for s in starts] for row in confusion]
    return [[sum(column) for column in zip(*narrow[s : s + width], strict=True)] for s in starts], labels[::width]


def _mistakes(confusion: list[list[int]], labels: list[str], mistakes: list[tuple[int, int, int]], id: str) -> Table:
    columns = [
        Column(_("True class"), "name"),
        Column(_("Taken for"), "name"),
        Column(_("Mistakes")),
        Column(_("Of this class"), "number", _("share of the true class")),
        Column(_("95 % interval"), "text"),
        Column(_("The other way round"), "number", _("how often the second is taken for the first")),
    ]
    rows = [
        [
            of_name(labels[t]),
            of_name(labels[p]),
            of_count(n),
            of_share(n / max(sum(confusion[t]), 1)),
            _ends(n, sum(confusion[t])),
            of_count(confusion[p][t]),
        ]
        for t, p, n in mistakes
    ]
    caption = _("Commonest mistakes")
    folded = in_rows(caption, len(rows))
    return Table(id=f"{id}mistakes", caption=caption, columns=columns, rows=rows, total_rows=len(rows), folded=folded)


def _ends(hits: int, of: int) -> Cell:
    """Show Wilson's interval of a share."""
    if not of:
        return missing()
    low, high = wilson(hits, of)
    return of_text(_("{low} to {high}").format(low=percent(low), high=percent(high)))


def _classes(scores: list[ClassScore], id: str) -> Table:
    columns = [
        Column(_("Class"), "name"),
        Column(_("Samples"), "number", _("true samples of this class")),
        Column(_("Predicted"), "number", _("how often the class was predicted")),
        Column(_("Precision"), "number", _("of those predicted, the share that is right")),
        Column(_("95 % interval"), "text", _("of the precision, by Wilson")),
        Column(_("Recall"), "number", _("of those true, the share that is found")),
        Column(_("95 % interval"), "text", _("of the recall, by Wilson")),
        Column(_("F1"), "number", _("harmonic mean of precision and recall")),
    ]
    rows = [
        [
            of_name(s.label),
            of_count(s.support),
            of_count(s.predicted),
            _score(s.precision),
            _ends(round((s.precision or 0) * s.predicted), s.predicted),
            _score(s.recall),
            _ends(round((s.recall or 0) * s.support), s.support),
            _score(s.f1),
        ]
        for s in _worst(scores)
    ]
    n = len(scores)
    caption = plural("Scores of {n} class", "Scores of {n} classes", n).format(n=count(n))
    note = _("A class that was never predicted has no precision, and one that never occurs no recall: “not defined”.")
    if len(rows) < n:
        note += " " + _(
            "Of so many classes those with the lowest F1 are shown, those that never occur only where there is room."
        )
    return Table(
        id=f"{id}class-scores", caption=caption, note=note, columns=columns, rows=rows, total_rows=n, folded=caption
    )


def _worst(scores: list[ClassScore]) -> list[ClassScore]:
    """Return all, or of very many those that the model knows least, in their own order."""
    if len(scores) <= MAX_CLASSES:
        return scores
    order = sorted(range(len(scores)), key=lambda i: (not scores[i].support, scores[i].f1 or 0.0))
    return [scores[i] for i in sorted(order[:MAX_CLASSES])]


def _score(value: float | None) -> Cell:
    return Cell(_("not defined"), None, "muted") if value is None else of_share(value)


def label_table(facts: EvaluationFacts, id: str) -> Table:
    """Show the scores of each of several yes-or-no answers."""
    scores = [_as_class(row) for row in facts.labels]
    return _classes(scores, id)


def _as_class(row: LabelCounts) -> ClassScore:
    support, predicted = row.tp + row.fn, row.tp + row.fp
    return ClassScore(
        row.label,
        support,
        predicted,
        row.tp / predicted if predicted else None,
        row.tp / support if support else None,
        2 * row.tp / (support + predicted) if support + predicted else None,
    )


def region_table(regions: list[RegionScore], id: str) -> Table:
    """Show the overlap of each class."""
    columns = [
        Column(_("Class"), "name"),
        Column(_("Samples"), "number", _("with this class in truth or prediction")),
        Column(_("IoU"), "number", _("places in both, of those in either")),
        Column(_("95 % interval"), "text", _("by resampling whole samples")),
        Column(_("Dice"), "number", _("2 · both / (truth + prediction)")),
        Column(_("Places in both")),
        Column(_("in either")),
    ]
    rows = []
    for r in regions:
        ends = (
            of_text(_("{low} to {high}").format(low=percent(r.low), high=percent(r.high)))
            if r.low is not None and r.high is not None
            else missing()
        )
        size = r.union + r.intersection
        dice = _score(2 * r.intersection / size if size else None)
        sizes = [of_count(r.intersection), of_count(r.union)]
        rows.append([of_name(r.label), of_count(r.samples), _score(r.iou), ends, dice, *sizes])
    n = len(rows)
    caption = plural("Overlap of {n} class", "Overlap of {n} classes", n).format(n=count(n))
    note = _("A class that occurs neither in truth nor in prediction has no overlap: “not defined”.")
    folded = caption if n > FOLD_CLASSES else ""
    return Table(id=f"{id}regions", caption=caption, note=note, columns=columns, rows=rows, total_rows=n, folded=folded)
