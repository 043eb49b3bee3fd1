"""How much better than a constant answer a model is on its training data and on the data given, on one scale."""

from __future__ import annotations

import math

from msgspec import Struct

from ..document.facts import EvaluationFacts, Report
from ..document.scores import accuracy, explained
from .context import Context
from .curves import Curve, finite, learning_rates, losses
from .thresholds import Thresholds

_FEWEST = 20  # samples
_APART = 0.1  # of all samples that would have to change class for the shares to be the same
_WELL = 0.9  # of the way from a constant guess to no mistake
_LOWERED = 0.1  # of the highest learning rate
_AT_BEST = 0.05  # of how far the loss fell
_NEAR = 0.01  # of its lowest
_EPOCHS = 6


class Skill(Struct, frozen=True, kw_only=True):
    """1 = without a mistake, 0 = no better than the commonest class (classes) or the mean (numbers).

    Where classes have other shares in one split than in the other, of classes that count the same.
    """

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
    balanced = _shares_apart(report)
    ours = _one(report.train_evaluation, fewest, balanced=balanced)
    theirs = _one(report.evaluation, _FEWEST, balanced=balanced)
    if ours is None or theirs is None or ours[2] != theirs[2]:
        return None
    return Skill(
        train=ours[0], given=theirs[0], error=math.hypot(ours[1], theirs[1]), given_error=theirs[1], kind=ours[2]
    )


def _shares_apart(report: Report) -> bool:
    """Tell whether classes have other shares in one split than in the other, as a balancing sampler makes them.

    What is above the commonest class there cannot be held against what is above it here.
    """
    tables = [
        f.classification.confusion for f in (report.train_evaluation, report.evaluation) if f and f.classification
    ]
    if len(tables) != 2 or len(tables[0]) != len(tables[1]):
        return False
    ours, theirs = ([sum(row) / max(sum(map(sum, table)), 1) for row in table] for table in tables)
    return sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / 2 > _APART


def _by_class(table: list[list[int]]) -> tuple[float, float] | None:
    """Return the mean recall of the classes that occur, on the scale of skill, and its standard error."""
    found = [(row[i] / sum(row), sum(row)) for i, row in enumerate(table) if sum(row)]
    k = len(found)
    if k < 2:
        return None
    spread = math.sqrt(sum(r * (1 - r) / n + 1 / n**2 for r, n in found)) / k
    chance, room = 1 / k, 1 - 1 / k
    return (sum(r for r, _ in found) / k - chance) / room, spread / room


def _one(facts: EvaluationFacts | None, fewest: int, *, balanced: bool = False) -> tuple[float, float, str] | None:
    """Return skill, its standard error, and what it was made of; ``balanced``: every class counts the same."""
    if facts is not None and facts.classification is not None and balanced:
        known = _by_class(facts.classification.confusion)
        return (*known, "accuracy") if known is not None and facts.n_samples >= fewest else None
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


def came_to_rest_well(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a run came to rest by its validation loss, with nine tenths of what a constant guess lacks.

    Whatever steps were like on the way, they led there.
    """
    known = _one(report.evaluation, _FEWEST) if context.outcome_known else None
    return known is not None and known[0] >= _WELL and came_to_rest(report, losses(report.training, limits)[1])


def ended_at_its_best(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a run ended within 5 % of its fall of its lowest validation loss, with nine tenths of all skill.

    On both splits, whatever the rate did. The curve is not thrown about: its last third lies as close.
    """
    skill, loss = skill_of(report, context), losses(report.training, limits)[1]
    if skill is None or min(skill.train, skill.given) < _WELL or loss is None or len(loss.y) < _EPOCHS:
        return False
    best = min(loss.y)
    last = loss.y[-max(2, len(loss.y) // 3) :]
    return max(last) - best <= max(_AT_BEST * (loss.y[0] - best), _NEAR * abs(best))


def came_to_rest(report: Report, loss: Curve | None) -> bool:
    """Tell whether a run ended at the best of this loss after a schedule had taken the rate down.

    The rate ended at a tenth of its highest at most, the loss within 5 % of its fall, or 1 %, of its lowest.
    """
    if report.training is None or loss is None:
        return False
    rates = [[y for _, y in finite(series)] for series in learning_rates(report.training)]
    lowered = bool(rates) and all(len(ys) > 1 and ys[-1] <= _LOWERED * max(ys) for ys in rates)
    best = min(loss.y)
    return lowered and loss.y[-1] - best <= max(_AT_BEST * (loss.y[0] - best), _NEAR * abs(best))
