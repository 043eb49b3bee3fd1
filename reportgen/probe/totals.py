"""Statistics of gradients while backward passes go by: exact norms, sums and extremes; a histogram of even places."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..document.stats import N_BINS, TensorStats
from .reduce import bin_counts, histogram_of, strided, tensor_stats

_SAMPLE = 4096  # values binned of one tensor
_SAFE = 1e15  # squares of larger norms leave float32


class RunningTotals:
    """Statistics of any number of tensors that belong together, on their device; ``stats`` fetches them."""

    def __init__(self, device: torch.device) -> None:
        self.count = self.n_taken = 0
        self._figures: list[Tensor] = []
        """One row a tensor: norm, sum, smallest, largest, values taken that are not zero; few enough to be kept."""
        self._bins = torch.zeros(N_BINS, dtype=torch.int64, device=device)
        self._nonfinite = torch.zeros(3, dtype=torch.int64, device=device)
        self._rough = TensorStats()
        """Of tensors that were not finite, or too large for float32 squares."""

    def update(self, x: Tensor) -> Tensor | bool:
        """Add one dense real tensor. Returns whether it is zero everywhere, on its device."""
        if not x.numel():
            return False
        flat = x.reshape(-1)
        if flat.dtype not in (torch.float32, torch.float64):
            flat = flat.float()
        norm = torch.linalg.vector_norm(flat)
        if flat.device.type != "cpu":  # a look at the norm would wait for the device
            finite = torch.isfinite(flat)
            self._nonfinite += torch.stack([flat.isnan().sum(), (flat == math.inf).sum(), (flat == -math.inf).sum()])
            flat = flat.where(finite, 0.0)
            norm = torch.linalg.vector_norm(flat)
        elif not float(norm) < _SAFE:  # true of NaN too: count what is not finite, slowly
            stats = tensor_stats(flat, sample=_SAMPLE)
            assert stats is not None  # it is dense and real
            self._rough = self._rough.merge(stats)
            return False
        values = strided(flat, _SAMPLE)[0].contiguous()
        figures = torch.stack([norm, flat.sum(), flat.amin(), flat.amax(), torch.count_nonzero(values)]).double()
        self._figures.append(figures)
        self._bins += bin_counts(values)
        self.count += flat.numel()
        self.n_taken += values.numel()
        zero: Tensor = figures[:4].any().logical_not()  # the norm alone underflows
        return zero

    def stats(self) -> TensorStats:
        """Return the statistics of all that was added."""
        if not self.count:
            return self._rough
        norms, sums, lows, highs, nonzero = zip(*torch.stack(self._figures).tolist(), strict=True)
        total, zeros, (nan, pos_inf, neg_inf) = sum(sums), self.n_taken - round(sum(nonzero)), self._nonfinite.tolist()
        stats = TensorStats(
            count=self.count,
            nan=nan,
            pos_inf=pos_inf,
            neg_inf=neg_inf,
            zeros=zeros if self.n_taken == self.count else round(zeros / self.n_taken * self.count),
            sum=total,
            m2=max(sum(norm * norm for norm in norms) - total * total / self.count, 0.0),
            min=min(lows),
            max=max(highs),
            histogram=histogram_of(self._bins, max(1, round(self.count / self.n_taken))),
        )
        return stats.merge(self._rough)
