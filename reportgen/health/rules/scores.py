"""Rules on where a score comes from: single classes, pairs of classes, residuals. They inform."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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


def o_regression_spread(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Errors that grow with the prediction: rank correlation of |residual| with the prediction above 0.3. Informs only.

    Over at most 2000 samples, and above four standard errors, 4/sqrt(n) (Spearman; the test of Glejser 1969 in ranks).
    One error bar for all predictions is then wrong for most of them; a logarithm of the targets, or weights in the
    loss, help. Usual for prices, counts and durations. Normal residuals are not asked for.
    """
    table = report.evaluation.regression if report.evaluation is not None else None
    if table is None or not context.outcome_known or table.spread_correlation is None:
        return
    n, found = sum(d.n for d in table.deciles), table.spread_correlation
    if n >= _LEAST and abs(found) > max(limits.spread_of_errors, 4 / math.sqrt(n)):
        yield Finding(
            rule="o-regression-spread",
            severity=Severity.INFO,
            subject="model",
            section=SECTION,
            evidence={"correlation": found, "samples": n},
            threshold={"correlation": limits.spread_of_errors},
        )


def o_regression_slope(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The targets' slope over the predictions is far from 1: predictions spread too little or too much. Informs only.

    Least squares of target on prediction over at most 400 samples drawn by hash: 1 where predictions are calibrated,
    whatever R2 is (Mincer and Zarnowitz 1969). Above 1.25 they are shrunk towards the mean (decay, dropout, too short
    a training), below 0.8 they are spread beyond what they know (overfitting); asked for are four standard errors too.
    Wrong where a loss other than the squared error is meant to give another value than the mean.
    """
    table = report.evaluation.regression if report.evaluation is not None else None
    if table is None or not context.outcome_known or len(table.sample) < _LEAST:
        return
    fitted = _line(table.sample)
    if fitted is None:
        return
    slope, error = fitted
    if (slope > limits.slope_high or slope < limits.slope_low) and abs(slope - 1) > 4 * error:
        yield Finding(
            rule="o-regression-slope",
            severity=Severity.INFO,
            subject="model",
            section=SECTION,
            evidence={"slope": slope, "error": error, "samples": len(table.sample)},
            threshold={"high": limits.slope_high, "low": limits.slope_low},
        )


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the slope of target on prediction and its standard error; None of predictions that are all the same."""
    n = len(pairs)
    y, x = (math.fsum(p[i] for p in pairs) / n for i in (0, 1))
    xx = math.fsum((p[1] - x) ** 2 for p in pairs)
    if not xx > 0 or not math.isfinite(xx):
        return None
    slope = math.fsum((p[1] - x) * (p[0] - y) for p in pairs) / xx
    rest = math.fsum((p[0] - y - slope * (p[1] - x)) ** 2 for p in pairs)
    return slope, math.sqrt(rest / max(n - 2, 1) / xx)


RULES = (o_per_class, o_confused_pair, o_regression_bias, o_regression_spread, o_regression_slope)
