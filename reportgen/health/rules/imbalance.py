"""The rule on classes that are rare, and that the model does not find."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.evaluation import EvaluationFacts
from ...document.facts import DatasetFacts, Finding, Report, Severity
from ...document.scores import wilson
from ..classes import yes_and_no
from ..context import Context
from ..thresholds import Thresholds

SECTION = "dataset"
_MORE = 0.2  # of the rare samples
_NEIGHBOURS = 4.0  # standard deviations by which they say more than chance
_RANKS = ("auc", "roc", "average_precision", "gini")
_CUT = ("acc", "f1", "f_1", "recall", "precision", "mcc", "kappa", "error", "sensitivity", "score")
_SELDOM = 0.75  # of the recall of common classes, below which rare ones are found too seldom


def d_class_imbalance(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Some classes are rare, and the model does not find them.

    Largest class over smallest, in the training data if given: from 5 on it informs. A warning where it does harm: a
    class with at most a fifth of the largest's samples, and at least ten samples evaluated, has a recall whose 95 %
    interval lies below half the mean recall of the classes common beside it, and below one half; or all such classes
    together have. Of maps each place has a class, and samples in which a class occurs count for its interval. A long
    tail that is learned is no fault. Yes or no in floating point, one answer a sample or several, counts as two classes
    each (of several those on the data given); such a yes has to be known, too, as well as not found: its area under the
    ROC curve, or the mean over the rare, is above 0.7 ("acceptable discrimination": Hosmer, Lemeshow and Sturdivant
    2013) and above 0.5 by twice the way to the end of its 95 % interval, and its average precision is 0.2 at least: of
    clicks, one in forty, that can be ranked and hardly ever be expected, no cut finds many. An answer that nothing
    tells apart is rightly not given. Of two classes in whole numbers that is asked too, unless the model ranks them by
    chance while neighbours (see ``d-label-signal``) tell more than that by four standard deviations: then it has not
    learned them. A warning too where less than three quarters as many of the rare are found as of the common (95 %),
    and the model knows better: probabilities divided by the square root of how common a class is find a fifth of the
    rare samples more, ten at least, lose no more samples of any class than they gain, and gain more than the model's
    own probabilities say, by three standard deviations. Where probabilities are right, every such change loses more
    than it gains. A model whose outputs are the same whatever the input finds no class but one for another reason,
    which ``input-ignored`` tells: then it informs. So it does where the run was judged by how answers of yes rank alone
    (an area under a curve, and no accuracy, recall or the like) and they rank well: which lie above one half was not
    asked; and where more than half of the inputs occur with several labels, of which a model rightly names the
    commonest.
    """
    data = report.train_dataset or report.dataset
    evaluation = report.evaluation
    if data is not None and evaluation is not None and evaluation.task == "multilabel":
        yield from _of_answers(report, evaluation, context, limits)
        return
    by_class = _by_class(report, data)
    counts = [c for c in by_class if c]
    if len(counts) < 2 or len(counts) > 1000 or max(counts) < limits.imbalance * min(counts):
        return
    lost = _lost(_recalls(report), by_class, limits)
    # of maps the places are counted, whose scores have no curve
    two = evaluation is not None and evaluation.task in ("binary", "multiclass") and len(counts) == 2 == len(by_class)
    if lost is not None and evaluation is not None and two and data is not None:
        yes = {curve.label for curve in evaluation.curves}
        told = _told_apart(evaluation, yes, limits)
        lost = lost if told or (data.class_counts is not None and _may_be_told(report, yes)) else None
        lost = None if told and _judged_by_rank(report) else lost
    lost = None if data is not None and _is_open(data) else lost
    lost = lost or _underrated(report)
    asked = report.tried("inputs-permuted")
    constant = asked is not None and asked.numbers["spread"] < limits.output_spread
    harmed = lost is not None and context.state == "trained" and not constant
    evidence: dict[str, float] = {"largest": max(counts), "smallest": min(counts)}
    if lost is not None:
        evidence |= lost
    yield _finding(evidence, limits, harmed=harmed)


def _is_open(data: DatasetFacts) -> bool:
    """Tell whether most inputs occur with several labels, as what may follow a word: the rarer is rightly not named."""
    return data.copies is not None and 2 * data.copies.conflicting > data.copies.kept


def _by_class(report: Report, data: DatasetFacts | None) -> list[int]:
    """Return how often each class occurs; of yes and no in floating point as well, be it of samples or of maps."""
    if data is None or data.class_counts is not None or data.target is None:
        return (data.class_counts or []) if data is not None else []
    evaluation = report.evaluation
    if evaluation is None or evaluation.task not in ("segmentation", "binary"):
        return []
    return yes_and_no(data.target)


def _recalls(report: Report) -> dict[int, tuple[float, int]]:
    """Return recall and samples by class: of the classes of samples, or of those of the places of maps."""
    evaluation = report.evaluation
    if evaluation is not None and evaluation.classification is not None:
        table = evaluation.classification.confusion
        return {i: (row[i] / sum(row), sum(row)) for i, row in enumerate(table) if sum(row)}
    counts = _by_class(report, report.dataset)
    if evaluation is None or len(evaluation.regions) < len(counts):
        return {}
    return {
        i: (min(region.intersection / count, 1.0), region.samples)
        for i, (region, count) in enumerate(zip(evaluation.regions, counts, strict=False))
        if count
    }


def _lost(recalls: dict[int, tuple[float, int]], counts: list[int], limits: Thresholds) -> dict[str, float] | None:
    """Return a rare class that is not found: its index, recall, and the upper end of the recall's interval."""
    for i, (recall, n) in recalls.items():
        if i >= len(counts) or not counts[i] or counts[i] * limits.imbalance > max(counts) or n < 10:
            continue
        # other rare classes may be lost with it
        others = [r for j, (r, _) in recalls.items() if j < len(counts) and counts[j] >= limits.imbalance * counts[i]]
        high = wilson(round(recall * n), n)[1]
        if others and high < min(0.5, 0.5 * sum(others) / len(others)):
            return {"class": i, "recall": recall, "upper": high}
    return _lost_together(recalls, counts, limits)


def _lost_together(
    recalls: dict[int, tuple[float, int]], counts: list[int], limits: Thresholds
) -> dict[str, float] | None:
    """Return the same of all rare classes as one: alone they may have too few samples to tell."""
    known = {i: item for i, item in recalls.items() if i < len(counts) and counts[i]}
    rare = {i: item for i, item in known.items() if counts[i] * limits.imbalance <= max(counts)}
    common = [recall for i, (recall, _) in known.items() if i not in rare]
    n = sum(samples for _, samples in rare.values())
    if len(rare) < 2 or n < 10 or not common:
        return None
    recall = sum(share * samples for share, samples in rare.values()) / n
    high = wilson(round(recall * n), n)[1]
    if high >= min(0.5, 0.5 * sum(common) / len(common)):
        return None
    return {"classes": len(rare), "recall": recall, "upper": high}


def _underrated(report: Report) -> dict[str, float] | None:
    """Return the same of rare classes that the model knows better than it says."""
    trial = report.tried("rare-favoured")
    if trial is None:
        return None
    n = trial.numbers
    if n["rare"] < 10 or not n["common"]:
        return None
    recall, common = n["rare_found"] / n["rare"], n["common_found"] / n["common"]
    high = wilson(round(n["rare_found"]), round(n["rare"]))[1]
    more = n["rare_then"] - n["rare_found"]
    found = more >= max(10.0, _MORE * n["rare"])
    unsaid = n["gained"] - n["claimed"] > 3 * n["spread"]
    if high >= _SELDOM * common or not found or not unsaid or n["gained"] < n["lost"]:
        return None
    then = {"favoured": n["rare_then"] / n["rare"], "gained": n["gained"], "lost": n["lost"]}
    return {"classes": n["classes"], "recall": recall, "upper": high} | then


def _of_answers(report: Report, evaluation: EvaluationFacts, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Say the same of several yes-or-no answers a sample, whose rare ones are held against their common ones."""
    rare = [row for row in evaluation.labels if 0 < (row.tp + row.fn) * limits.imbalance <= row.tn + row.fp]
    if not rare:
        return
    found, n = sum(row.tp for row in rare), sum(row.tp + row.fn for row in rare)
    others = sum(row.tn for row in rare) / sum(row.tn + row.fp for row in rare)
    high = wilson(found, n)[1]
    known = _told_apart(evaluation, {row.label for row in rare}, limits)
    lost = n >= 10 and high < min(0.5, 0.5 * others) and not _judged_by_rank(report)
    harmed = context.state == "trained" and lost and known
    few = min(rare, key=lambda row: row.tp + row.fn)
    evidence: dict[str, float] = {"largest": few.tn + few.fp, "smallest": few.tp + few.fn}
    if harmed:
        evidence |= {"classes": len(rare), "recall": found / n, "upper": high}
    yield _finding(evidence, limits, harmed=harmed)


def _told_apart(evaluation: EvaluationFacts, labels: set[str], limits: Thresholds) -> bool:
    """Tell whether scores rank samples by these answers: an effect of a size, and beyond chance."""
    curves = [curve for curve in evaluation.curves if curve.label in labels]
    if not curves:
        return False
    area, low = sum(c.auc for c in curves) / len(curves), sum(c.auc_low for c in curves) / len(curves)
    precise = sum(c.average_precision for c in curves) / len(curves) >= limits.rare_precision
    return area > limits.rare_area and area - 0.5 > 2 * (area - low) and precise


def _judged_by_rank(report: Report) -> bool:
    """Tell whether the scores of new data that the run logged ask how answers rank, and none where they are cut."""
    series = report.training.series if report.training is not None else []
    names = [s.name for s in series if s.name.startswith("val_")]
    ranks = [name for name in names if any(word in name for word in _RANKS)]
    cut = [name for name in names if name not in ranks and any(word in name for word in _CUT)]
    return bool(ranks) and not cut


def _may_be_told(report: Report, labels: set[str]) -> bool:
    """Tell whether a class that the model does not rank may be one that it has not learned.

    A model that ranks a little better than chance has learned what there is; one that does not is held against the
    neighbours, who say more than chance where there is something to learn. Without either, nothing speaks against it.
    """
    evaluation, splits = report.evaluation, report.splits
    curves = [curve for curve in evaluation.curves if curve.label in labels] if evaluation is not None else []
    if any(curve.auc_low > 0.5 for curve in curves):
        return False
    across = splits.across if splits is not None else None
    return not curves or across is None or across.kind != "classes" or across.z > _NEIGHBOURS


def _finding(evidence: dict[str, float], limits: Thresholds, *, harmed: bool) -> Finding:
    return Finding(
        rule="d-class-imbalance",
        severity=Severity.WARNING if harmed else Severity.INFO,
        subject="labels",
        section=SECTION,
        evidence=evidence,
        threshold={"ratio": limits.imbalance, "recall": 0.5},
    )


RULES = (d_class_imbalance,)
