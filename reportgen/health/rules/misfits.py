"""Rule on training targets, numbers, that are wrong in part: they fit their inputs worse than those given do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context
from ..skill import score_of
from ..thresholds import Thresholds
from .trials import is_coupled

_LINEAR = 20.0  # times the loss of targets ten times as far: 10 of a distance, 100 of its square
_GOOD = 0.9


def training_targets_off(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Some training targets are far from what the model says of their inputs, as none of the data given are.

    A model is at least as good on what it was trained on as on new samples that are drawn alike. Here its squared error
    on training samples, in eval mode, is larger by 5 % of the variance of the targets and four standard errors (the
    largest hundredth of the errors counts as its smallest), and that is no wider scale: the share of errors beyond what
    one in fifty exceeds on the data given, in units of the median errors where those of training are wider, is larger
    by 2 % and two standard errors, half of them by more than 0.3 standard deviations of the targets. And inputs do not
    tell where they are: a regression on columns and products, less what targets of other rows would show, has a
    correlation below 0.2 with them on samples left out, so that it is no region, or time, that is harder. A share of
    the targets is wrong: rows joined wrongly, units, slips. A warning. Where the model has learned its training targets
    by heart, a fresh copy that learned from half of them is asked for the other half. Not judged where training samples
    are augmented, or where outputs depend on the other samples of the batch. It informs where the loss takes outliers
    in its stride (it grows no faster than the distance of targets, as Huber's and the absolute error do) and the model
    has nine tenths of the variance of the data given. Wrong where training data hold a time or a source that goes by
    other rules, without a column that tells it.
    """
    trial = report.tried("misfits")
    if trial is None or not _is_off(trial, limits):
        trial = report.tried("unseen-half")
    if trial is None or not _is_off(trial, limits) or context.state != "trained" or not context.real_data:
        return
    if (report.splits is not None and report.splits.redrawn) or is_coupled(report, limits):
        return
    n, by = trial.numbers, "copy" if trial.name == "unseen-half" else "model"
    yield Finding(
        rule="training-targets-off",
        severity=Severity.INFO if _is_meant(report, context) else Severity.WARNING,
        subject="training data",
        section="trials",
        evidence={
            "lower": n["lower"],
            "beyond": n["beyond"],
            "beyond_given": n["beyond_given"],
            "size": n["size"],
            "told": n["told"],
            "samples": n["asked_training"],
        },
        threshold={
            "lower": limits.misfit_lower,
            "errors": limits.anew_errors,
            "share": limits.misfit_share,
            "size": limits.misfit_size,
            "told": limits.misfit_told,
        },
        detail={"by": by},
    )


def _is_off(trial: Trial, limits: Thresholds) -> bool:
    n = trial.numbers
    if "beyond" not in n:
        return False
    spread = sum(max(n[key] * (1 - n[key]), 0.01) / n[asked] for key, asked in _SHARES)
    more = n["beyond"] - n["beyond_given"]
    return (
        n["lower"] > max(limits.misfit_lower, limits.anew_errors * n["error"])
        and more > max(limits.misfit_share, 2 * math.sqrt(spread))
        and n["size"] > limits.misfit_size
        and n["told"] < limits.misfit_told
    )


def _is_meant(report: Report, context: Context) -> bool:
    """Tell whether the loss was chosen for targets with outliers, and the model is good in spite of them."""
    far, r2 = report.tried("far-targets"), score_of(report.evaluation)
    if far is None or r2 is None or not context.outcome_known:
        return False
    n = far.numbers
    # a side on which targets are refused, or the loss overflows, has no values
    sides = [(n[f"{side}_10"], n[f"{side}_100"]) for side in ("up", "down") if f"{side}_100" in n and f"{side}_10" in n]
    return bool(sides) and all(near > 0 and away < _LINEAR * near for near, away in sides) and r2 > _GOOD


_SHARES = (("beyond", "asked_training"), ("beyond_given", "asked_given"))

RULES = (training_targets_off,)
