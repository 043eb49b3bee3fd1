"""Statistics of gradients while backward passes go by: exact norms, sums and extremes; a histogram of even places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..document.stats import N_BINS, TensorStats
from .reduce import bin_index, count_bins, histogram_of, strided, tensor_stats

_SAMPLE = 4096  # values binned of one tensor
_SAFE = 1e15  # squares of larger norms leave float32
_SMALL = 1 << 14  # elements of tensors that are worth a copy, to be reduced with others of their size
_TOGETHER = 32  # tensors whose histograms are counted at once


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
        return update_all([(self, x)])[0]

    def _add_rough(self, flat: Tensor) -> None:
        """Add a tensor that is not finite, or too large: count what it holds, slowly."""
        stats = tensor_stats(flat, sample=_SAMPLE)
        assert stats is not None  # it is dense and real
        self._rough = self._rough.merge(stats)

    def stats(self) -> TensorStats:
        """Return the statistics of all that was added."""
        if not self.count:
            return self._rough
        norms, sums, lows, highs, nonzero = zip(*torch.stack(self._figures).tolist(), strict=True)
        total, zeros, (nan, pos_inf, neg_inf) = sum(sums), self.n_taken - round(sum(nonzero)), self._nonfinite.tolist()
        finite = self.count - nan - pos_inf - neg_inf
        stats = TensorStats(
            count=self.count,
            nan=nan,
            pos_inf=pos_inf,
            neg_inf=neg_inf,
            zeros=zeros if self.n_taken == self.count else round(zeros / self.n_taken * self.count),
            sum=total,
            m2=max(sum(norm * norm for norm in norms) - total * total / finite, 0.0) if finite else 0.0,
            min=min(lows) if finite else None,
            max=max(highs) if finite else None,
            histogram=histogram_of(self._bins, max(1, round(self.count / self.n_taken))),
        )
        return stats.merge(self._rough)


def update_all(pairs: Sequence[tuple[RunningTotals, Tensor]]) -> list[Tensor | bool]:
    """Add dense real tensors, each to its totals; small ones of one size are reduced together.

    Returns of each whether it is zero everywhere, on its device.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (_, x) in enumerate(pairs):
        size = x.numel()
        if size:
            groups.setdefault((x.dtype, x.device, size, None if size <= _SMALL else i), []).append(i)
    answers: list[Tensor | bool] = [False] * len(pairs)
    for group in groups.values():
        for first in range(0, len(group), _TOGETHER):
            some = group[first : first + _TOGETHER]
            tensors = [pairs[i][1].reshape(-1) for i in some]
            rows = torch.stack(tensors) if len(tensors) > 1 else tensors[0].unsqueeze(0)
            for i, answer in zip(some, _add_rows([pairs[i][0] for i in some], rows), strict=True):
                answers[i] = answer
    return answers


def _add_rows(totals: list[RunningTotals], rows: Tensor) -> Sequence[Tensor | bool]:
    """Add (K, n), a row to each of K totals."""
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    if not rows.is_cpu:  # a look at the norms would wait for the device
        found = torch.stack([rows.isnan().sum(1), (rows == math.inf).sum(1), (rows == -math.inf).sum(1)], 1)
        for total, counts in zip(totals, found, strict=True):
            total._nonfinite += counts
        finite = torch.isfinite(rows)
        calm, low, high = (rows.where(finite, value) for value in (0.0, math.inf, -math.inf))
        norms = torch.linalg.vector_norm(calm, dim=1, dtype=torch.float64)
        reduced = [norms, calm.sum(1, dtype=torch.float64), low.amin(1), high.amax(1)]
    else:
        norms = torch.linalg.vector_norm(rows, dim=1)
        if not float(norms.amax()) < _SAFE:  # true of NaN too
            if len(totals) > 1:
                return [_add_rows([total], row.unsqueeze(0))[0] for total, row in zip(totals, rows, strict=True)]
            totals[0]._add_rough(rows[0])
            return [False]
        reduced = [norms, rows.sum(1), rows.amin(1), rows.amax(1)]
    values = rows[:, :: strided(rows[0], _SAMPLE)[1]].contiguous()
    figures = torch.stack([*(x.double() for x in reduced), torch.count_nonzero(values, dim=1).double()], 1)
    for total, figure, counts in zip(totals, figures.unbind(), _bins(values), strict=True):
        total._figures.append(figure)
        total._bins += counts
        total.count += rows.shape[1]
        total.n_taken += values.shape[1]
    return figures[:, :4].any(1).logical_not().unbind()  # the norm alone underflows


def _bins(values: Tensor) -> Sequence[Tensor]:
    """Count the bins of each row of (K, n): (N_BINS,) each."""
    index = bin_index(values).view(values.shape)
    if not values.is_cpu:
        return [count_bins(row) for row in index.unbind()]
    index += torch.arange(0, len(values) * N_BINS, N_BINS, dtype=torch.int32).unsqueeze(1)
    return torch.bincount(index.view(-1), minlength=len(values) * N_BINS).view(-1, N_BINS).unbind()
