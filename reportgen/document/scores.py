"""Numbers derived from a confusion matrix or from scores by target: plain counting, no judgement."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from .evaluation import Regression
from .stats import TensorStats

Z95 = 1.959963984540054


class ClassScore(Struct, frozen=True):
    """Scores of one class; None where the definition divides by zero."""

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


class Accuracy(Struct, frozen=True):
    """Correct answers with their 95 % interval (Wilson 1927), and what always naming the commonest class would give."""

    correct: int
    total: int
    value: float
    low: float
    high: float
    majority: float


def per_class(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> list[ClassScore]:
    """Return precision, recall and F1 of each class, rows of the matrix being the truth."""
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    return [_score(labels[i], confusion[i][i], sum(row), columns[i]) for i, row in enumerate(confusion)]


def _score(label: str, hits: int, support: int, predicted: int) -> ClassScore:
    precision = hits / predicted if predicted else None
    recall = hits / support if support else None
    # 2 TP / (2 TP + FP + FN) is defined unless the class occurs nowhere
    f1 = 2 * hits / (support + predicted) if support + predicted else None
    return ClassScore(label, support, predicted, precision, recall, f1)


def macro(scores: Sequence[ClassScore], field: str) -> float | None:
    """Average one score over the classes where it is defined."""
    known = [v for v in (getattr(s, field) for s in scores) if v is not None]
    return math.fsum(known) / len(known) if known else None


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): inside [0, 1] and sound for small counts."""
    if not total:
        return 0.0, 1.0
    p, z2 = correct / total, Z95 * Z95
    middle = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # at the ends the bound is exact, which rounding would miss
    return (0.0 if not correct else middle - half), (1.0 if correct == total else middle + half)


def accuracy(confusion: Sequence[Sequence[int]]) -> Accuracy | None:
    """Return the accuracy, or None when nothing was counted."""
    total = sum(map(sum, confusion))
    if not total:
        return None
    correct = sum(row[i] for i, row in enumerate(confusion))
    low, high = wilson(correct, total)
    return Accuracy(correct, total, correct / total, low, high, max(map(sum, confusion)) / total)


def beats_constant(confusion: Sequence[Sequence[int]], gain: float = 0.0) -> bool:
    """Tell whether the predictions are clearly better than naming one class always.

    By accuracy (lower end of its interval above the commonest class), or by balanced accuracy: a constant guess reaches
    exactly 1/K there, and two standard errors above it count as clear. The second speaks for models that were trained
    to find rare classes at the price of plain accuracy. ``gain``: share of the way to 1 that either must come, for
    answers of weights drawn at random depend on the class a little too.
    """
    score = accuracy(confusion)
    supports = [sum(row) for row in confusion if sum(row)]
    if score is None or len(supports) < 2:
        return False
    recalls = [row[i] / sum(row) for i, row in enumerate(confusion) if sum(row)]
    k = len(supports)
    error = math.sqrt(sum(r * (1 - r) / n + 1 / (4 * n * n) for r, n in zip(recalls, supports, strict=True))) / k
    balanced = sum(recalls) / k
    by_balance = balanced - 2 * error > 1 / k and balanced > 1 / k + gain * (1 - 1 / k)
    return by_balance or score.low > score.majority + gain * (1 - score.majority)


def confused(confusion: Sequence[Sequence[int]], limit: int = 10) -> list[tuple[int, int, int]]:
    """Return the commonest mistakes as (true, predicted, count), most frequent first."""
    pairs = [(t, p, n) for t, row in enumerate(confusion) for p, n in enumerate(row) if n and t != p]
    return sorted(pairs, key=lambda x: (-x[2], x[0], x[1]))[:limit]


def distance(a: TensorStats, b: TensorStats) -> float | None:
    """Return the greatest gap between two distribution functions, at the edges of their common bins.

    The statistic of Kolmogorov and Smirnov, from below: what differs inside of a bin is not seen.
    """
    if a.histogram is None or b.histogram is None or not a.histogram.total or not b.histogram.total:
        return None
    steps: dict[float, float] = {}
    for sign, part in ((1.0, a.histogram), (-1.0, b.histogram)):
        for _low, high, n in part.ordered():
            steps[high] = steps.get(high, 0.0) + sign * n / part.total
    gap = level = 0.0
    for edge in sorted(steps):
        level += steps[edge]
        gap = max(gap, abs(level))
    return gap


def explained(facts: Regression) -> float | None:
    """Return the share of the targets' variance that a model explains: R² of all targets together, or their mean R².

    The better of the two. A mean over targets is ruined by one that hardly varies (a pixel that is nearly always dark),
    the sum over all by one of a large unit; to be worth more than a constant answer, either is enough.
    """
    spread = sum(t.n * t.std**2 for t in facts.targets)
    if not spread:
        return facts.r2
    together = 1 - sum(t.n * t.rmse**2 for t in facts.targets) / spread
    return together if facts.r2 is None else max(together, facts.r2)
