"""Statistics that one wild value does not move, on plain lists."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import median

MAX_POINTS = 200


def theil_sen(y: Sequence[float]) -> float:
    """Return the median slope over all pairs of points (Theil 1950, Sen 1968); long series are thinned evenly."""
    every = max(1, len(y) // MAX_POINTS)
    points = list(enumerate(y))[::every]
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(points, 2)]
    return median(slopes) if slopes else 0.0


def running_median(y: Sequence[float], width: int) -> list[float]:
    """Return the median of a centred window, narrower at the ends."""
    half = width // 2
    return [median(y[max(0, i - half) : i + half + 1]) for i in range(len(y))]


def noise(y: Sequence[float]) -> float:
    """Return the standard deviation of the noise on a slow curve, from the spread of its steps."""
    steps = [b - a for a, b in pairwise(y)]
    if not steps:
        return 0.0
    centre = median(steps)
    return 1.4826 * median([abs(s - centre) for s in steps]) / 2**0.5


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the rank correlation; None when one of the two never changes."""
    first, second = _ranks(a), _ranks(b)
    n = len(first)
    mean = (n - 1) / 2
    spread = sum((x - mean) ** 2 for x in first) * sum((y - mean) ** 2 for y in second)
    if not spread:
        return None
    return float(sum((x - mean) * (y - mean) for x, y in zip(first, second, strict=True)) / spread**0.5)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the place of each value in order; equal values share the mean of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, start = [0.0] * len(values), 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for place in order[start:stop]:
            ranks[place] = (start + stop - 1) / 2
        start = stop
    return ranks
