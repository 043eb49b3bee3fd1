"""The sums of fixed size that layers keep by channel; side by side in memory where layers are added together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..document.stats import N_BINS

_ADDED = 4  # rows that add up; of the last two the smaller and the larger counts


class Tally(NamedTuple):
    """Sums of C channels of L layers."""

    figures: Tensor
    """(6, C) float64: sums and squares of the values taken, sums of all, samples fired on, smallest, largest."""
    bins: Tensor
    """(L, N_BINS) int64: histograms of the values taken."""

    def add(self, added: Tensor, low: Tensor, high: Tensor, bins: Tensor) -> None:
        """Add sums (4, C), extremes (C,) and counts (L, N_BINS)."""
        sums, lows, highs = torch.split(self.figures, [_ADDED, 1, 1])
        sums.add_(added)
        torch.minimum(lows, low, out=lows)
        torch.maximum(highs, high, out=highs)
        self.bins.add_(bins)

    def merge(self, other: Tally) -> None:
        """Add another part of the same layers' outputs."""
        self.add(other.figures[:_ADDED], other.figures[4], other.figures[5], other.bins)


def new(n_channels: int, device: torch.device) -> Tally:
    """Return the tally of one layer that has seen nothing."""
    figures = torch.zeros((6, n_channels), dtype=torch.float64, device=device)
    figures[4], figures[5] = math.inf, -math.inf
    return Tally(figures, torch.zeros((1, N_BINS), dtype=torch.int64, device=device))


def beside(tallies: Sequence[Tally]) -> tuple[Tally, list[Tally]]:
    """Lay the tallies of several layers side by side; return the whole and each layer's part of it."""
    whole = Tally(torch.cat([t.figures for t in tallies], 1), torch.cat([t.bins for t in tallies]))
    widths = [t.figures.shape[1] for t in tallies]
    parts = zip(torch.split(whole.figures, widths, 1), torch.split(whole.bins, 1), strict=True)
    return whole, [Tally(figures, bins) for figures, bins in parts]
