"""Scores by what the batch carries beside inputs and targets: a site, a device, a length."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from ...document.evaluation import Slice
from ...document.scores import Z95, wilson
from ...subject.data import Batch
from .answers import Answers

MAX_VALUES = 200  # of one key: beyond them it is no grouping
_LEAST = 5
_WORDS = 60
_LARGEST = 1e300  # of a number that falls into an octave; whole numbers of Python have no end


class Slices:
    """Sums of what went right, or of losses, by key and value."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], list[float]] = {}  # samples, score, its square
        self.score: Literal["accuracy", "loss", ""] = ""
        self.dropped: set[str] = set()

    def update(self, answers: Answers, batch: Batch) -> None:
        """Add one batch."""
        if not batch.carried:
            return
        self.score = "loss" if answers.right is None else "accuracy"
        values = answers.loss if answers.right is None else answers.right.double()
        known = answers.loss.isfinite() & values.square().isfinite()
        numbers = values.tolist()
        for key, column in batch.carried.items():
            names = values_of(column, len(numbers))
            if names is None or key in self.dropped:
                continue
            for name, value, legal in zip(names, numbers, known.tolist(), strict=True):
                if legal and name is not None:
                    self._add((key, name), [1.0, value, value * value])
            self._limit(key)

    def _add(self, place: tuple[str, str], parts: list[float]) -> None:
        held = self.sums.setdefault(place, [0.0, 0.0, 0.0])
        for i, part in enumerate(parts):
            held[i] += part

    def _limit(self, key: str) -> None:
        places = [place for place in self.sums if place[0] == key]
        if len(places) > MAX_VALUES:
            self.dropped.add(key)
            for place in places:
                del self.sums[place]

    def merge(self, other: Slices) -> None:
        self.score = self.score or other.score
        self.dropped |= other.dropped
        for place, parts in other.sums.items():
            if place[0] not in self.dropped:
                self._add(place, parts)
        for key in {place[0] for place in self.sums}:
            self._limit(key)
        for place in [place for place in self.sums if place[0] in self.dropped]:
            del self.sums[place]

    def facts(self) -> list[Slice]:
        """Return the slices of at least five samples, by key, the worst first."""
        rows = [self._slice(*place, *parts) for place, parts in self.sums.items() if parts[0] >= _LEAST]
        sign = 1 if self.score == "accuracy" else -1
        return sorted(rows, key=lambda s: (s.key, sign * s.score, s.value))

    def _slice(self, key: str, value: str, n: float, total: float, squares: float) -> Slice:
        mean = total / n
        if self.score == "accuracy":
            low, high = wilson(round(total), int(n))
        else:
            half = Z95 * math.sqrt(max(squares / n - mean * mean, 0.0) / (n - 1))
            low, high = mean - half, mean + half
        return Slice(key=key, value=value, n=int(n), score=mean, low=low, high=high)


def values_of(column: Any, n: int) -> list[str | None] | None:
    """Return the value of each sample in words; None where the column does not group samples."""
    if isinstance(column, Tensor):
        if column.dim() > 1 and column.shape[1:].numel() == 1:
            column = column.reshape(len(column))
        if column.dim() != 1 or column.is_complex():
            return None
        column = column.tolist()
    if not isinstance(column, (list, tuple)) or len(column) != n:
        return None
    return [_word(value) for value in column]


def _word(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)[:_WORDS]
    if not abs(value) < _LARGEST:  # nor is NaN
        return None
    if isinstance(value, int) and abs(value) < 16:
        return str(value)
    # numbers by octaves, whose ends are fixed: lengths, ages, sizes
    if value == 0:
        return "0"
    high = 2.0 ** math.frexp(value)[1]  # exact, where a logarithm is rounded
    low = high / 2
    return f"{low:g} … {high:g}" if value > 0 else f"{-high:g} … {-low:g}"
