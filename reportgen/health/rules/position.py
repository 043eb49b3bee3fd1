"""The rule on models that cannot see the order of a sequence, and whether its order matters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context, is_affine
from ..curves import losses
from ..skill import score_of, skill_of
from ..thresholds import Thresholds
from .flow import is_guessing
from .relearned import learns_nothing
from .training import is_poor


def position_unseen(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The model cannot see the order of a sequence: its outputs follow any permutation of the positions.

    Positions are permuted (of pictures: patches), outputs put back in order; largest movement over the spread of the
    outputs below 1e-4. A warning where the trained model is no better than a constant guess, or uses attention and
    ended with a training loss above 0.6 of what a constant guess (or the start) gives, or where order is what is
    lacking: a linear learner of elements, their places and neighbours is better on the data given than the model, and
    than the same learner with the elements of each sample in another order, by 0.15 and four standard errors. Otherwise
    it informs, because a bag of words is often all that a task needs. So it does where the learner with the elements in
    another order is itself ahead of the model by as much, and order gains it nothing: what it can learn, order is not
    needed for. So it does where the training data were learned: then it is something else that fails on the data given;
    and where a recurrent layer reads the sequence, which sees order by nature: values that ran out of every bound hide
    it; and where the model is affine for want of activations, which is what it fails by. Pictures whose content is
    moved as a whole, and with weights drawn anew the outputs follow by less than 1e-3 of their spread, as they do where
    maps are averaged: a warning where targets are numbers of which not even one batch can be learned by heart, or fresh
    copies learn nothing, and a linear learner of pixels is ahead of the model, and of itself on pictures each moved to
    another place, by as much.
    """
    trial = report.tried("tokens-reordered")
    if trial is None:
        return
    moved = "shifted" if "shifted" in trial.numbers else "change"
    line = limits.place_change if moved == "shifted" else limits.order_change
    if trial.numbers[moved] >= line:
        return
    train, _ = losses(report.training, limits)
    poor = bool(trial.numbers.get("attention")) and train is not None and is_poor(train, context)
    skill = skill_of(report, context)
    fitted = skill is not None and skill.train > limits.skill_high
    if moved == "shifted":
        lacking = _cannot_be_learned(report, context) and _order_lacks(report, trial, limits)
    else:
        lacking = poor or is_guessing(report, context) or _order_lacks(report, trial, limits)
    spared = bool(trial.numbers.get("recurrent")) or is_affine(report, limits) or _is_idle(report, trial, limits)
    failed = context.state == "trained" and not fitted and lacking and not spared
    yield Finding(
        rule="position-unseen",
        severity=Severity.WARNING if failed else Severity.INFO,
        subject="model",
        section="trials",
        evidence={
            name: trial.numbers[name] for name in (moved, "attention", "ordered", "mixed") if name in trial.numbers
        },
        threshold={moved: line},
    )


def _cannot_be_learned(report: Report, context: Context) -> bool:
    batch = report.tried("one-batch")
    if batch is None or "error_share" not in batch.numbers:
        return False
    return not batch.numbers["solved"] or learns_nothing(report, context)


def _order_lacks(report: Report, trial: Trial, limits: Thresholds) -> bool:
    """Tell whether a simple learner that sees order is ahead of the model, and of itself without order."""
    score = score_of(report.evaluation)
    if score is None or "ordered" not in trial.numbers:
        return False
    n = trial.numbers
    return n["ordered"] - max(score, n["mixed"], 0.0) > _beyond_chance(n, n["ordered"], limits)


def _is_idle(report: Report, trial: Trial, limits: Thresholds) -> bool:
    """Tell whether a simple learner without order is ahead of the model, and order gains that learner nothing."""
    score = score_of(report.evaluation)
    if score is None or "ordered" not in trial.numbers:
        return False
    n = trial.numbers
    line = _beyond_chance(n, n["mixed"], limits)
    return n["mixed"] - max(score, 0.0) > line and n["ordered"] - n["mixed"] < line


def _beyond_chance(n: Mapping[str, float], share: float, limits: Thresholds) -> float:
    """Return the difference of two accuracies, one of them ``share``, that chance does not make."""
    spread = 2 * max(share * (1 - share), 0.01)
    return max(limits.anew_gap, limits.anew_errors * math.sqrt(spread / n["asked"]))


RULES = (position_unseen,)
