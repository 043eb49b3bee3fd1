"""Rules on what the loss makes of right and of wrong answers: whether it is climbed, or tells nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context
from ..thresholds import Thresholds
from .claims import falls_with_distance
from .course import h_metric_loss_disagree

SECTION = "trials"


def _numbers(trial: Trial, *names: str) -> dict[str, float]:
    return {name: trial.numbers[name] for name in names if name in trial.numbers}


def loss_sign(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training climbs: the optimizer maximises a loss that prefers right answers, or the loss prefers wrong ones.

    The loss is handed right and wrong answers in the shape of the outputs; negated, it is negative and lower for wrong
    ones. The optimizer's first step from a fresh state, without weight decay, is held against the gradient: a cosine
    above 0 leads uphill. Both together undo each other. Of classes, losses that are positive are judged by their
    answers only where the run's own accuracy fell with its loss and is clearly below the commonest class, because
    distances are scores that are small where they are right, and then an accuracy that was logged knows it; where
    targets are numbers, a loss that is highest for outputs that equal them is a reward, and so is one that falls
    without end as targets are moved away from the outputs.
    """
    step, answers = report.tried("one-step"), report.tried("loss-of-answers")
    uphill = step is not None and step.numbers.get("slope", 0.0) > limits.uphill
    negated = False
    if answers is not None:
        right, wrong = answers.numbers["right"], answers.numbers["wrong"]
        # numbers that equal their targets are right by any loss; class scores may be distances, small where right
        judged = wrong < 0 or answers.detail.get("answers") == "numbers" or _accuracy_falls(report, context, limits)
        negated = judged and right - wrong > 0.01 * max(abs(right), abs(wrong))
    far = falls_with_distance(report)
    negated = negated or bool(far)
    if uphill == negated:
        return
    evidence = far or (_numbers(answers, "right", "wrong") if answers is not None else {})
    if step is not None:
        evidence |= _numbers(step, "slope", "maximize")
    yield Finding(
        rule="loss-sign",
        severity=Severity.ERROR,
        subject="optimizer" if uphill else "loss",
        section=SECTION,
        evidence=evidence,
        threshold={"slope": limits.uphill},
        detail={"by": "optimizer" if uphill else "loss"},
    )


def loss_blind(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss is the same for right and for wrong answers, and its derivative by the outputs is zero.

    Cross-entropy over a single column is such a loss: it is zero whatever the model says.
    """
    answers = report.tried("loss-of-answers")
    if answers is None:
        return
    right, wrong = answers.numbers["right"], answers.numbers["wrong"]
    if abs(right - wrong) > 1e-6 * max(abs(right), abs(wrong)) or answers.numbers["pull"] > 0:
        return
    yield Finding(
        rule="loss-blind",
        severity=Severity.ERROR,
        subject="loss",
        section=SECTION,
        evidence=_numbers(answers, "right", "wrong", "pull"),
        threshold={"pull": 0},
    )


def _accuracy_falls(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether an accuracy that was logged went down with the loss, to clearly below that of the commonest class.

    Rank correlation of -loss with it below -0.5; the accuracy measured is below the commonest class by three standard
    errors.
    """
    trial = report.tried("as-it-is")
    if trial is None or "accuracy" not in trial.numbers:
        return False
    n = trial.numbers
    error = math.sqrt(max(n["commonest"] * (1 - n["commonest"]), 1e-9) / max(n["samples"], 1.0))
    found = [
        f.evidence for f in h_metric_loss_disagree(report, context, limits) if f.subject.endswith(("accuracy", "_acc"))
    ]
    falls = any(e["agreement"] < -0.5 and e["end"] < e["first"] for e in found)
    return falls and n["accuracy"] < n["commonest"] - 3 * error


RULES = (loss_sign, loss_blind)
