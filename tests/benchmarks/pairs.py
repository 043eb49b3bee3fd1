"""Interleaved timing of two ways to do the same work."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def ratio(measured: Callable[[], object], baseline: Callable[[], object], pairs: int = 5) -> tuple[float, float, float]:
    """Run both in turn after one warm-up and return (minimum, median, maximum) of the time ratios, pair by pair.

    Pair by pair, because a machine's speed drifts: both halves of a pair drift together. Seconds of the processor, not
    of the clock: with one thread they are the same on an idle machine, and a busy neighbour does not count.
    """
    measured(), baseline()
    ratios = []
    for _ in range(pairs):
        started = time.process_time()
        baseline()
        middle = time.process_time()
        measured()
        ratios.append((time.process_time() - middle) / (middle - started))
    return min(ratios), median(ratios), max(ratios)


def show(name: str, figures: tuple[float, float, float]) -> None:
    """Print one row: median, and the range in brackets."""
    low, middle, high = figures
    print(f"{name:44} {middle:5.2f}x  [{low:.2f} to {high:.2f}]", flush=True)
