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
