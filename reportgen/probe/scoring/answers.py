"""What one batch of outputs came to, sample by sample, for those who pick examples and count slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...document.evaluation import Score
from ...document.scores import Z95

_MIX = (-7046029254386353131, -4658895280553007687, -7723592293110705685)  # splitmix64, as signed numbers


@dataclass
class Answers:
    """One row a sample, on the CPU. NaN losses are of samples that were left out."""

    loss: Tensor
    """(N,) float64."""
    right: Tensor | None
    """(N,) bool; None where answers are not right or wrong as a whole."""
    confidence: Tensor | None
    """(N,) of the answer given."""
    describe: Callable[[int], tuple[str, str]]
    """Sample of the batch -> its target and the prediction in words."""
    as_probabilities: Answers | None = None
    """The same with outputs taken as probabilities and not as logits, as long as all of them may be some."""


def shuffled(places: Tensor) -> Tensor:
    """Return a fixed pseudo-random number from 0 to 2^63 - 1 for each whole number (Steele, Lea and Flood 2014)."""
    x = places.to(torch.int64) * _MIX[0] + _MIX[0]
    for shift, factor in ((30, _MIX[1]), (27, _MIX[2])):
        x = (x ^ _shifted(x, shift)) * factor
    return (x ^ _shifted(x, 31)) & 0x7FFFFFFFFFFFFFFF


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift right without the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def mean_score(name: str, n: float, total: float, squares: float, baseline: float | None = None) -> Score | None:
    """Return a mean with its normal interval, from the sum and the sum of squares of n independent values."""
    if n < 1:
        return None
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0)
    half = Z95 * (variance / (n - 1)) ** 0.5 if n > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Score(name=name, value=mean, low=low, high=high, baseline=baseline)


class PairSample:
    """Rows of numbers drawn by a hash of their place: the same rows whatever the batches, and parts merge."""

    def __init__(self, size: int, width: int) -> None:
        self._size = size
        self.keys = torch.zeros(0, dtype=torch.int64)
        self.places = torch.zeros(0, dtype=torch.int64)
        self.rows = torch.zeros(0, width, dtype=torch.float64)

    def update(self, places: Tensor, rows: Tensor) -> None:
        """Add rows (N, width) that stand at these places (N,)."""
        keys = shuffled(places)
        if len(self.keys) >= self._size:
            near = keys < int(self.keys.max())
            keys, places, rows = keys[near], places[near], rows[near]
        if len(keys):
            self._keep(torch.cat([self.keys, keys]), torch.cat([self.places, places]), torch.cat([self.rows, rows]))

    def merge(self, other: PairSample) -> None:
        self._keep(
            torch.cat([self.keys, other.keys]),
            torch.cat([self.places, other.places]),
            torch.cat([self.rows, other.rows]),
        )

    def _keep(self, keys: Tensor, places: Tensor, rows: Tensor) -> None:
        if len(keys) > self._size:
            chosen = keys.topk(self._size, largest=False).indices
            keys, places, rows = keys[chosen], places[chosen], rows[chosen]
        self.keys, self.places, self.rows = keys, places, rows

    def ordered(self, limit: int | None = None) -> Tensor:
        """Return the rows in the order of their places; of more than ``limit`` those drawn first."""
        order = torch.argsort(self.places if limit is None else self.keys, stable=True)
        if limit is not None:
            chosen = order[:limit]
            order = chosen[torch.argsort(self.places[chosen], stable=True)]
        return self.rows[order]
