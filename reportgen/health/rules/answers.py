"""Rules on what the loss makes of right and of wrong answers: whether it is climbed, or tells nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context, draws
from ..curves import finite, losses
from ..thresholds import Thresholds
from .claims import falls_with_distance
from .course import h_metric_loss_disagree

SECTION = "trials"
_LEAST_EPOCHS = 4
_SCORE = 0.05  # distance from 1 and from 0 of a score that smoothing or a finite logit leaves
_NEARER = 0.3  # of all pairs: half of them by chance, with an error of 0.06 for 64 samples
_FARTHEST = 0.03  # of all pairs: nearly every output lies nearer to all others than to its own
_UNLIKELY = 5.0  # of a logarithm; probabilities themselves weigh at most 1
_TURNED = 1 / 3
_AGAINST = -0.5  # four standard errors of 64 samples
_SCORES = ("acc", "iou", "dice", "f1", "auc", "jaccard", "precision", "recall")


def _numbers(trial: Trial, *names: str) -> dict[str, float]:
    return {name: trial.numbers[name] for name in names if name in trial.numbers}


def loss_sign(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training climbs: the optimizer maximises a loss that prefers right answers, or the loss prefers wrong ones.

    The loss is handed right and wrong answers in the shape of the outputs; negated, it is negative and lower for wrong
    ones. The optimizer's first step from a fresh state, without weight decay, is held against the gradient: a cosine
    above 0 leads uphill. Both together undo each other. Of classes, losses that are positive are judged by their
    answers only where the run's own accuracy fell with its loss, or ended at what was measured, and is clearly below
    the commonest class, because distances are scores that are small where they are right, and then an accuracy that was
    logged knows it; or where they are a score that is minimised: sure answers that are right give 1, wrong ones 0, the
    outputs are no distances (a layer of numbers of either sign, shares, or maps), and the model's own answers are on
    the wrong side: an area under the ROC curve below 0.4, an accuracy below half of what chance has. Where targets are
    numbers, a loss that is highest for outputs that equal them is a reward, and so is one that falls without end as
    targets are moved away from the outputs. A loss that ended at its lowest, a thousand times as far below zero as it
    began from it, while the outputs became useless (R² below -1, or no better than a constant guess) has a term with
    the wrong sign, which outgrew the others. A loss that looks at no targets but compares two outputs of each sample is
    negated if it is lower where the second is the first of another sample than where it is its own, and the model's own
    lie farther apart than those of strangers, seven times of ten (or 97 of a hundred, where all outputs have come so
    close that other terms outweigh it). A loss that is a straight line in one column of the targets (a reward, a
    weight) and falls with it in every sample, by more than 5 in some and five times that where outputs are ten times as
    large, makes unlikely without end what it is to reward; its logarithm lacks a minus. Of several numbers one is
    maximised where the loss falls as right ones are turned over about their mean, by a third at least of the most that
    it changes for any of them, and the model's own go against their targets (a correlation below -0.5). A loss that
    draws answers from the outputs (two values for the same differ) is not asked what it makes of right ones: it is an
    estimate, whose derivative is meant and whose level is not.
    """
    step, answers = report.tried("one-step"), report.tried("loss-of-answers")
    uphill = step is not None and step.numbers.get("slope", 0.0) > limits.uphill
    negated = False
    if answers is not None and not draws(report):
        right, wrong = answers.numbers["right"], answers.numbers["wrong"]
        # numbers that equal their targets are right by any loss; class scores may be distances, small where right
        judged = (
            wrong < 0
            or answers.detail.get("answers") == "numbers"
            or _accuracy_falls(report, context, limits)
            or _score_falls(report, context, answers, limits)
        )
        # a distance of two sets is zero for all answers that are dealt out otherwise, but for rounding
        rounding = 1e-5 * abs(step.numbers.get("loss", 0.0)) if step is not None else 0.0
        negated = judged and right - wrong > max(0.01 * max(abs(right), abs(wrong)), rounding)
    far = (
        falls_with_distance(report)
        or _turns_over(report)
        or _sinks(report, context, limits)
        or _parts_twins(report)
        or _drives_off_rewards(report)
    )
    negated = negated or bool(far)
    if uphill == negated:
        return
    evidence = far or (_numbers(answers, "right", "wrong") if answers is not None else {})
    sunk = "ended" in evidence
    if step is not None and not sunk:
        evidence |= _numbers(step, "slope", "maximize")
    yield Finding(
        rule="loss-sign",
        severity=Severity.ERROR,
        subject="optimizer" if uphill else "loss",
        section=SECTION,
        evidence=evidence,
        threshold={"below": limits.sunk} if sunk else {"slope": limits.uphill},
        detail={"by": "optimizer" if uphill else "loss"} | ({"kind": "sunk"} if sunk else {}),
    )


def _turns_over(report: Report) -> dict[str, float]:
    """Return which of several numbers the loss prefers turned over, where the model's own go against the targets."""
    answers = report.tried("loss-of-answers")
    if answers is None or draws(report) or "turned" not in answers.numbers:
        return {}
    told = _numbers(answers, "turned", "column", "own")
    return told if told["turned"] > _TURNED and told["own"] < _AGAINST else {}


def _sinks(report: Report, context: Context, limits: Thresholds) -> dict[str, float]:
    """Return where the training loss began and ended, if it fell below every bound and the outputs are useless."""
    train, facts = losses(report.training, limits)[0], report.train_evaluation or report.evaluation
    if train is None or len(train.y) < _LEAST_EPOCHS:
        return {}
    lowest = train.y[-1] <= min(train.y) * 0.8
    began = min((train.start, train.y[0]), key=abs)  # the mean of a first epoch may have sunk far already
    below = -train.y[-1] / max(abs(began), 1.0)
    if not lowest or below < limits.sunk:
        return {}
    fit = facts.regression.r2 if facts is not None and facts.regression is not None else None
    useless = fit < -1 if fit is not None else context.outcome_known and not context.outcome_ok
    return {"began": began, "ended": train.y[-1], "below": below} if useless else {}


def _parts_twins(report: Report) -> dict[str, float]:
    """Return the loss of outputs that are one and of those of strangers, where it drives the own ones apart."""
    trial = report.tried("loss-without-target")
    if trial is None or "alike" not in trial.numbers:
        return {}
    told = _numbers(trial, "alike", "dealt", "nearer")
    lower = (told["alike"] - told["dealt"]) / max(abs(told["alike"]), abs(told["dealt"]), 1e-12)
    found = (lower > 0.01 and told["nearer"] < _NEARER) or (lower > 1e-4 and told["nearer"] < _FARTHEST)
    return told if found else {}


def _drives_off_rewards(report: Report) -> dict[str, float]:
    """Return how the loss goes with rewards among the targets, where it falls with them in every sample, unbounded."""
    trial = report.tried("far-targets")
    if trial is None or "slope_low" not in trial.numbers:
        return {}
    told = _numbers(trial, "slope_low", "slope_high", "slope_low_10")
    low = told["slope_low"]
    unbounded = low < -_UNLIKELY and told["slope_low_10"] < 5 * low
    return told if unbounded and told["slope_high"] <= 1e-3 * -low else {}


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

    Rank correlation of -loss with it below -0.5, or its last three values all lie there while the loss fell, and what
    was measured is the same (so that the largest output is the answer for the user, too); the accuracy measured is
    below the commonest class by three standard errors.
    """
    trial = report.tried("as-it-is")
    if trial is None or "accuracy" not in trial.numbers:
        return False
    n = trial.numbers
    error = math.sqrt(max(n["commonest"] * (1 - n["commonest"]), 1e-9) / max(n["samples"], 1.0))
    line = n["commonest"] - 3 * error
    if n["accuracy"] >= line:
        return False
    found = [
        f.evidence for f in h_metric_loss_disagree(report, context, limits) if f.subject.endswith(("accuracy", "_acc"))
    ]
    if any(e["agreement"] < -0.5 and e["end"] < e["first"] for e in found):
        return True
    logged = report.training.get("val_accuracy") if report.training is not None else None
    last = [y for _, y in finite(logged)][-3:]
    same = bool(last) and max(last) < line and abs(last[-1] - n["accuracy"]) < 0.01 + 3 * error
    return same and _fell(report, limits)


def _score_falls(report: Report, context: Context, answers: Trial, limits: Thresholds) -> bool:
    """Tell whether the loss is a score, 1 at best and 0 at worst, and was driven down: the answers are wrong by it."""
    n, head, own = answers.numbers, report.tried("head-range"), report.tried("as-it-is")
    is_score = abs(n.get("perfect", 0.0) - 1) < _SCORE and abs(n.get("worst", 1.0)) < _SCORE
    if not is_score or context.state != "trained" or not _fell(report, limits) or _speaks_well(report, limits):
        return False
    low, high = (head.numbers["low"], head.numbers["high"]) if head is not None else (0.0, math.inf)
    if answers.detail.get("answers") == "scores":
        k = own.numbers.get("classes", 0.0) if own is not None else 0.0
        if own is None or k < 2 or (low > -1 and high > 1 + _SCORE):
            return False
        few = 3 * math.sqrt((1 - 1 / k) / k / own.numbers["answers"])
        return own.numbers["accuracy"] < min(0.5 / k, 1 / k - few)
    maps = report.evaluation is not None and report.evaluation.task == "segmentation"
    return n.get("above", 1.0) < limits.inverted_auc and (maps or (low > -_SCORE and high < 1 + _SCORE))


def _fell(report: Report, limits: Thresholds) -> bool:
    train, _ = losses(report.training, limits)
    return train is not None and max(train.start, train.y[0]) - train.end > max(3 * train.noise, 0.02 * abs(train.y[0]))


def _speaks_well(report: Report, limits: Thresholds) -> bool:
    """Tell whether a score that the user logged is high: then small outputs mean yes on purpose."""
    series = report.training.series if report.training is not None else []
    named = [s for s in series if s.name.startswith("val_") and any(word in s.name for word in _SCORES)]
    return any((values := [y for _, y in finite(s)]) and values[-1] > 0.5 for s in named)


RULES = (loss_sign, loss_blind)
