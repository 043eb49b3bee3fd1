"""Rules on where a score comes from: single classes, pairs of classes, residuals. They inform."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.scores import wilson
from ..context import Context
from ..thresholds import Thresholds

SECTION = "evaluation"
_LEAST = 20  # samples of a class
_MANY = 1000  # classes, from which on some are always behind


def o_per_class(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A class that is found less than half as often as classes are on average. Informs only.

    The upper end of the 95 % interval of its recall (Wilson 1927) lies below half of the mean recall; classes of fewer
    than 20 samples are passed over, and so are models that do not work. ``d-class-imbalance`` warns where it comes of
    rare samples.
    """
    table = report.evaluation.classification if report.evaluation is not None else None
    if table is None or not context.outcome_ok or not 2 <= len(table.confusion) <= _MANY:
        return
    counts = [(sum(row), row[i]) for i, row in enumerate(table.confusion)]
    told = [(hit / n, i, n, hit) for i, (n, hit) in enumerate(counts) if n >= _LEAST]
    if len(told) < 2:
        return
    mean = sum(recall for recall, *_ in told) / len(told)
    behind = [item for item in told if wilson(item[3], item[2])[1] < limits.class_recall * mean]
    if behind:
        recall, place, n, _ = min(behind)
        yield Finding(
            rule="o-per-class",
            severity=Severity.INFO,
            subject=table.classes[place],
            section=SECTION,
            evidence={"recall": recall, "mean": mean, "samples": n, "classes": len(behind)},
            threshold={"of_mean": limits.class_recall},
        )


def o_confused_pair(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """One class is taken for one other far more often than its errors, spread evenly, would have it. Informs only.

    More than 15 % of the samples of the class, at five samples at least, and beyond the binomial at 0.1 % over all
    pairs (Bonferroni), with an even spread of its errors over the other classes as the null. For three classes and
    more, of a model that works. Said of the worst pair: the two may be alike, or their labels mixed up.
    """
    table = report.evaluation.classification if report.evaluation is not None else None
    size = len(table.confusion) if table is not None else 0
    if table is None or not context.outcome_ok or not 3 <= size <= _MANY:
        return
    pairs = []
    for i, row in enumerate(table.confusion):
        n, errors = sum(row), sum(row) - row[i]
        for j, taken in enumerate(row):
            if i != j and n >= _LEAST and taken >= max(5, limits.confused * n):
                pairs.append((taken / n, i, j, taken, errors))
    if not pairs:
        return
    from scipy.stats import binom  # here, because most reports never need it

    share, i, j, taken, errors = max(pairs)
    p = float(binom.sf(taken - 1, errors, 1 / (size - 1))) * size * (size - 1)
    if p < 1e-3:
        yield Finding(
            rule="o-confused-pair",
            severity=Severity.INFO,
            subject=table.classes[i],
            section=SECTION,
            evidence={"share": share, "taken": taken, "errors": errors, "p": p},
            threshold={"share": limits.confused, "p": 1e-3},
            detail={"other": table.classes[j]},
        )


def o_regression_bias(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Predictions that are too high or too low on the whole, by more than a tenth of the targets' deviation.

    Mean residual beyond four standard errors, and above 0.1 standard deviations of the targets. Informs only: where the
    model is no better than the mean, ``o-baseline-skill`` says so. Wrong where the loss wants another value than the
    mean: a median or a quantile of skewed targets.
    """
    table = report.evaluation.regression if report.evaluation is not None else None
    if table is None or not context.outcome_known or not table.target.std or table.residual.std is None:
        return
    n, bias = table.residual.finite, table.residual.mean or 0.0
    if n >= _LEAST and abs(bias) > max(limits.bias * table.target.std, 4 * table.residual.std / math.sqrt(n)):
        yield Finding(
            rule="o-regression-bias",
            severity=Severity.INFO,
            subject="model",
            section=SECTION,
            evidence={"bias": bias, "of_std": bias / table.target.std, "samples": n},
            threshold={"of_std": limits.bias},
        )


RULES = (o_per_class, o_confused_pair, o_regression_bias)
