"""A rule on targets of which some are in another unit than the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...document.facts import EvaluationFacts, Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

_LEAST = 100  # samples
_FEW = 10  # of the smaller part
_STARTS = (0.03, 0.07, 0.15, 0.3)  # shares of samples with the farthest targets, on either side
_ROUNDS = 30
_APART = 0.3  # between two distribution functions
_CHANCE = 1.63  # of that, at one in a hundred
_TOLD = 0.5  # of the variance of a part's targets, that its line tells

Pair = tuple[float, float]


@dataclass(frozen=True)
class _Line:
    slope: float
    level: float
    told: float
    """Share of the variance of the targets that the line tells."""


def two_measures(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Targets lie on two lines over what the model says, one steeper than the other: some are in another unit.

    Two lines of target on prediction, fitted in turn to the samples that lie nearer to either (as of at most 400 drawn
    by hash), on the data given or the training data. A warning where they leave less than a tenth of the squared error
    that one line leaves, each tells half of the variance of its targets, the smaller part has between 2 % and 45 % of
    the samples and ten at least, and one is steeper by a quarter at least: pounds among kilograms, thousands among
    ones. Two parts that differ by a constant have lines of one slope, errors that grow with the prediction leave a
    third where a line is put on either side, and outliers lie on no line. Both parts have to lie all along the answers
    of the model: their distributions over these differ by no more than 0.3, or what chance makes of so few (Smirnov
    1939), for a bend is met by two lines as well, one behind the other. Wrong where samples are of two kinds which no
    input tells apart.
    """
    for facts in (report.evaluation, report.train_evaluation):
        pairs = _pairs(facts)
        found = _two_lines(pairs) if len(pairs) >= _LEAST and context.state == "trained" else None
        if found is None:
            continue
        most, other, share, left = found
        times = other.slope / most.slope
        if left < limits.two_lines_left and not 1 / limits.two_lines_steeper < times < limits.two_lines_steeper:
            yield Finding(
                rule="two-measures",
                severity=Severity.WARNING,
                subject="targets",
                section="evaluation",
                evidence={"times": times, "share": share, "left": left, "samples": len(pairs)},
                threshold={"left": limits.two_lines_left, "times": limits.two_lines_steeper},
            )
            return


def _pairs(facts: EvaluationFacts | None) -> list[Pair]:
    """Return (target, prediction) of a model of one number."""
    table = facts.regression if facts is not None else None
    if table is None or table.standardised or table.targets:
        return []
    return [pair for pair in table.sample if all(map(math.isfinite, pair))]


def _two_lines(pairs: Sequence[Pair]) -> tuple[_Line, _Line, float, float] | None:
    """Return the line of the larger part, that of the smaller, its share, and what both leave of one line's errors."""
    whole = _line(pairs)
    if whole is None:
        return None
    alone = _error(pairs, whole)
    ordered = sorted(pairs, key=lambda pair: pair[0] - whole.slope * pair[1])
    best: tuple[float, _Line, _Line, list[Pair]] | None = None
    for start in _STARTS:
        n = max(_FEW, round(start * len(pairs)))
        for far, near in ((ordered[-n:], ordered[:-n]), (ordered[:n], ordered[n:])):
            settled = _settled(pairs, far, near)
            if settled is not None and (best is None or settled[0] < best[0]):
                best = settled
    if best is None or not alone:
        return None
    error, one, other, few = best
    n = len(few)
    most, fewer = (one, other) if 2 * n <= len(pairs) else (other, one)
    known = set(few)
    rest = [pair for pair in pairs if pair not in known]
    if _gap(few, rest) > max(_APART, _CHANCE * _spread(n, len(rest))):
        return None
    n = min(n, len(pairs) - n)
    sound = all(line.slope > 0 and line.told >= _TOLD for line in (most, fewer))
    share = n / len(pairs)
    return (most, fewer, share, error / alone) if sound and n >= _FEW and 0.02 <= share <= 0.45 else None


def _settled(
    pairs: Sequence[Pair], few: Sequence[Pair], rest: Sequence[Pair]
) -> tuple[float, _Line, _Line, list[Pair]] | None:
    """Fit a line to either part and deal the samples out to the nearer one, until none changes sides."""
    known: list[bool] = []
    one, other = _line(rest), _line(few)
    for _ in range(_ROUNDS):
        if one is None or other is None:
            return None
        nearer = [abs(_off(pair, other)) < abs(_off(pair, one)) for pair in pairs]
        if nearer == known:
            break
        known = nearer
        few = [pair for pair, side in zip(pairs, nearer, strict=True) if side]
        rest = [pair for pair, side in zip(pairs, nearer, strict=True) if not side]
        one, other = _line(rest), _line(few)
    if one is None or other is None:
        return None
    return _error(rest, one) + _error(few, other), one, other, list(few)


def _gap(one: Sequence[Pair], other: Sequence[Pair]) -> float:
    """Return the largest distance between the distributions of two parts over the predictions."""
    if not one or not other:
        return 1.0
    steps = sorted([(p, 1 / len(one)) for _, p in one] + [(p, -1 / len(other)) for _, p in other])
    level, most = 0.0, 0.0
    for place, (p, step) in enumerate(steps):
        level += step
        if place + 1 == len(steps) or steps[place + 1][0] != p:
            most = max(most, abs(level))
    return most


def _spread(n: int, m: int) -> float:
    return math.sqrt((n + m) / max(n * m, 1))


def _off(pair: Pair, line: _Line) -> float:
    return pair[0] - line.level - line.slope * pair[1]


def _error(pairs: Sequence[Pair], line: _Line) -> float:
    return math.fsum(_off(pair, line) ** 2 for pair in pairs)


def _line(pairs: Sequence[Pair]) -> _Line | None:
    """Fit targets by predictions; None for a few samples, or predictions that are all the same."""
    n = len(pairs)
    if n < _FEW:
        return None
    y, x = (math.fsum(pair[i] for pair in pairs) / n for i in (0, 1))
    xx, yy = math.fsum((p - x) ** 2 for _, p in pairs), math.fsum((t - y) ** 2 for t, _ in pairs)
    xy = math.fsum((p - x) * (t - y) for t, p in pairs)
    if not xx > 0 or not yy > 0 or not math.isfinite(xx * yy):
        return None
    return _Line(xy / xx, y - x * xy / xx, xy * xy / (xx * yy))


RULES = (two_measures,)
