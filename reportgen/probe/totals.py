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
    """Statistics of any number of tensors that belong together, on their device; ``stats`` fetches them.

    ``extremes=False`` takes smallest and largest values from the binned places alone, which saves two passes.
    """

    def __init__(self, device: torch.device, *, extremes: bool = True) -> None:
        self.count = self.n_taken = 0
        self._extremes = extremes
        self._sum = self._squares = torch.zeros((), dtype=torch.float64, device=device)
        self._low = torch.full((), math.inf, device=device)
        self._high = torch.full((), -math.inf, device=device)
        self._bins = torch.zeros(N_BINS, dtype=torch.int64, device=device)
        self._zeros = torch.zeros((), dtype=torch.int64, device=device)
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
        values, _ = strided(flat, _SAMPLE)
        values = values.contiguous()
        looked = flat if self._extremes else values
        low, high = looked.amin(), looked.amax()
        self._low, self._high = torch.minimum(self._low, low), torch.maximum(self._high, high)
        self._squares = self._squares + norm.double().square()
        self._sum = self._sum + flat.sum().double()
        self._bins += bin_counts(values)
        self._zeros += values.numel() - torch.count_nonzero(values)
        self.count += flat.numel()
        self.n_taken += values.numel()
        zero: Tensor = (low == 0.0) & (high == 0.0) & (norm == 0.0)  # the norm alone underflows
        return zero

    def stats(self) -> TensorStats:
        """Return the statistics of all that was added."""
        if not self.count:
            return self._rough
        total, (nan, pos_inf, neg_inf) = float(self._sum), self._nonfinite.tolist()
        share = int(self._zeros) / self.n_taken
        stats = TensorStats(
            count=self.count,
            nan=nan,
            pos_inf=pos_inf,
            neg_inf=neg_inf,
            zeros=int(self._zeros) if self.n_taken == self.count else round(share * self.count),
            sum=total,
            m2=max(float(self._squares) - total * total / self.count, 0.0),
            min=float(self._low),
            max=float(self._high),
            histogram=histogram_of(self._bins, max(1, round(self.count / self.n_taken))),
        )
        return stats.merge(self._rough)
