"""How much better than a constant answer a model is on its training data and on the data given, on one scale."""

from __future__ import annotations

import math

from msgspec import Struct

from ..document.facts import EvaluationFacts, Report
from ..document.scores import accuracy, explained
from .context import Context

_FEWEST = 20  # samples


class Skill(Struct, frozen=True, kw_only=True):
    """1 = without a mistake, 0 = no better than the commonest class (classes) or the mean (numbers)."""

    train: float
    given: float
    error: float
    """Standard error of their difference."""
    given_error: float
    """The same of ``given`` alone, where ``train`` is of all samples that were learned from."""
    kind: str
    """'accuracy' or 'r2'."""


def skill_of(report: Report, context: Context, *, fewest: int = _FEWEST) -> Skill | None:
    """Return the skill on both splits, in eval mode; None where one of them was not measured or says nothing.

    ``fewest`` training samples say something; where they are all that there are, that may be less than elsewhere.
    """
    if not context.outcome_known or context.state == "untrained":
        return None
    ours, theirs = _one(report.train_evaluation, fewest), _one(report.evaluation, _FEWEST)
    if ours is None or theirs is None or ours[2] != theirs[2]:
        return None
    return Skill(
        train=ours[0], given=theirs[0], error=math.hypot(ours[1], theirs[1]), given_error=theirs[1], kind=ours[2]
    )


def _one(facts: EvaluationFacts | None, fewest: int) -> tuple[float, float, str] | None:
    """Return skill, its standard error, and what it was made of."""
    if facts is not None and facts.classification is not None:
        score = accuracy(facts.classification.confusion)
        if score is None or score.majority >= 1 or score.total < fewest:
            return None
        room = 1 - score.majority
        # a little more than nothing where no mistake, or no hit, was seen
        spread = math.sqrt(score.value * (1 - score.value) / score.total + 1 / score.total**2)
        return (score.value - score.majority) / room, spread / room, "accuracy"
    r2 = explained(facts.regression) if facts is not None and facts.regression is not None else None
    if facts is not None and r2 is not None:
        n = facts.n_samples
        # of a mean of n squared Gaussian residuals the relative standard error is sqrt(2/n)
        return (r2, max(1 - r2, 0.0) * math.sqrt(2 / n) + 1 / n, "r2") if n >= fewest else None
    return None


def score_of(facts: EvaluationFacts | None) -> float | None:
    """Return accuracy, or R² where targets are numbers; None where neither was measured."""
    if facts is not None and facts.classification is not None:
        score = accuracy(facts.classification.confusion)
        return score.value if score is not None else None
    return explained(facts.regression) if facts is not None and facts.regression is not None else None
