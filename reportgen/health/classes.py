"""How often each class occurs in the data, be classes whole numbers or yes and no in floating point."""

from __future__ import annotations

from ..document.facts import DatasetFacts
from ..document.stats import TensorStats


def yes_and_no(told: TensorStats | None) -> list[int]:
    """Return how often 0 and 1 occur in a tensor that holds nothing else, and both; else nothing.

    Of numbers from 0 to 1 the squares sum to what they sum to themselves only where all are 0 or 1.
    """
    if told is None or told.nonfinite or not told.count or told.min != 0 or told.max != 1:
        return []
    squares = told.m2 + told.sum**2 / told.count
    if abs(squares - told.sum) > 1e-6 * told.count:
        return []
    return [told.count - round(told.sum), round(told.sum)]


def counts_by_class(data: DatasetFacts) -> list[int]:
    """Return how many samples each class has: one class a sample."""
    if data.class_counts:
        return data.class_counts
    one_each = data.target is not None and data.target.count == data.n_samples
    return yes_and_no(data.target) if one_each else []
