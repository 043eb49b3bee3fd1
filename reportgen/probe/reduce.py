"""Tensor -> accumulators, on the tensor's own device.

``ChannelAccumulator`` is what hooks use: a few reductions a call, in vectors of one number a channel, and nothing of
the tensor kept. ``tensor_stats`` is for tensors that lie still (weights, gradients), in float64 throughout.
"""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor

from ..document.stats import BIN_SHIFT, N_BINS, Histogram, TensorStats, merge_all

HISTOGRAM_SAMPLE = 1 << 14  # elements binned of one output; the cost of a hook stays flat in the size of the output
WEIGHT_SAMPLE = 1 << 20  # elements binned of one parameter
EVEN_BARS = 32
DENSE_LIMIT = 1 << 26
_SLICE = 1 << 22  # elements of a tensor that are lifted to float64 at a time
_SAFE = 1e15  # squares of larger values leave float32


def as_real(x: Tensor) -> Tensor | None:
    """Return x as a dense real floating tensor, or None when it is no such thing (integers, booleans, meta).

    A sparse tensor is laid out in full only up to ``DENSE_LIMIT`` elements: a small file may claim a huge one.
    """
    x = x.detach()
    if x.is_quantized:
        x = x.dequantize()
    if x.layout != torch.strided:
        if x.numel() > DENSE_LIMIT:
            return None
        x = x.to_dense()
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.is_floating_point() and not x.is_meta else None


def bin_counts(x: Tensor, sample: int) -> tuple[Tensor, int]:
    """Count elements by the first 12 bits of their float32 pattern: (N_BINS,) counts, and the stride that was used.

    A stride above 1 is odd: it walks through all places of a row even when the row length is a power of two.
    """
    flat = x.reshape(-1)
    stride = max(1, math.ceil(flat.numel() / sample))
    stride += (stride > 1) & (stride % 2 == 0)
    values = flat[::stride].to(torch.float32).contiguous()
    # arithmetic shift keeps the sign: negative values come out below zero, and the mask moves them to 2048..4095
    index = (values.view(torch.int32) >> BIN_SHIFT) & (N_BINS - 1)
    if index.device.type == "cpu":
        return torch.bincount(index, minlength=N_BINS), stride
    counts = torch.zeros(N_BINS, dtype=torch.int64, device=index.device)  # bincount would wait for the device
    return counts.scatter_add_(0, index.long(), torch.ones_like(index, dtype=torch.int64)), stride


def histogram_of(counts: Tensor, stride: int) -> Histogram:
    """Bring bin counts into the document's form, without infinities and NaN."""
    table = counts.tolist()
    bins = [b for b, n in enumerate(table) if n and (b & (N_BINS // 2 - 1)) < (0xFF << 23) >> BIN_SHIFT]
    return Histogram(bins=bins, counts=[table[b] for b in bins], stride=stride)


def tensor_stats(x: Tensor, *, sample: int = WEIGHT_SAMPLE, histogram: bool = True) -> TensorStats | None:
    """Measure one tensor in float64, slice by slice; None when it holds no real numbers."""
    real = as_real(x)
    if real is None:
        return None
    flat = real.reshape(-1)
    stats = merge_all(_slice_stats(part) for part in torch.split(flat, _SLICE)) if flat.numel() else TensorStats()
    if not histogram:
        return stats
    counts, stride = bin_counts(flat, sample)
    binned = histogram_of(counts, stride)
    return msgspec.structs.replace(stats, histogram=binned, bars=_even_bars(flat[::stride], stats))


def _even_bars(values: Tensor, stats: TensorStats) -> list[int] | None:
    """Count values in even bins over the range: a narrow range far from zero falls into one or two octave bins."""
    if stats.min is None or stats.max is None or not 0 < stats.max - stats.min < math.inf:
        return None
    place = (values.double() - stats.min) * (EVEN_BARS / (stats.max - stats.min))
    index = place[torch.isfinite(place)].clamp_(0, EVEN_BARS - 1).long()
    return [int(n) for n in torch.bincount(index, minlength=EVEN_BARS)]


def _slice_stats(part: Tensor) -> TensorStats:
    x = part.to(torch.float64)
    finite = torch.isfinite(x)
    n_finite = int(finite.sum())
    stats = TensorStats(count=x.numel(), zeros=int((part == 0).sum()))
    if n_finite < x.numel():
        nan, pos_inf, neg_inf = int(x.isnan().sum()), int((x == math.inf).sum()), int((x == -math.inf).sum())
        stats = msgspec.structs.replace(stats, nan=nan, pos_inf=pos_inf, neg_inf=neg_inf)
        x = x[finite]
    if not n_finite:
        return stats
    low, high = torch.aminmax(x)
    m2 = float((x - x.mean()).square_().sum())
    return msgspec.structs.replace(
        stats, sum=float(x.sum()), m2=m2 if math.isfinite(m2) else 0.0, min=float(low), max=float(high)
    )


class ChannelAccumulator:
    """Sums, counts and extremes by channel over any number of tensors of one layer.

    All state lies on the device, in float64 vectors of length C and a few scalars; ``stats`` and those who fold the
    channels fetch it. A tensor is seen as (B, M, C, S): samples, places before the channel, channels, places behind.
    """

    def __init__(self, n_channels: int, device: torch.device) -> None:
        def filled(value: float) -> Tensor:
            return torch.full((n_channels,), value, dtype=torch.float64, device=device)

        self.n_channels = n_channels
        self.n_samples = 0
        self.n_batches = 0
        self.count = 0
        self.stride = 1
        self.sums, self.squares = filled(0.0), filled(0.0)
        self.low, self.high = filled(math.inf), filled(-math.inf)
        self.fired = torch.zeros(n_channels, dtype=torch.int64, device=device)
        # zeros, nan, +inf, -inf
        self.tally = torch.zeros(4, dtype=torch.int64, device=device)
        self.bins = torch.zeros(N_BINS, dtype=torch.int64, device=device)

    def update(self, x: Tensor, dim: int) -> None:
        """Add one output whose channels lie along ``dim``; dimension 0 holds the samples."""
        if not x.numel():
            return
        x = as_rows(x, dim)  # (B, M, C, S)
        counts, stride = bin_counts(x, HISTOGRAM_SAMPLE)
        low, high = _reduce(x, "amin"), _reduce(x, "amax")  # (B, C)
        # On the CPU a look at the extremes is free; elsewhere it would wait for the device, so there every tensor
        # takes the careful way.
        calm = x.device.type == "cpu" and bool((high.amax() < _SAFE) & (low.amin() > -_SAFE))
        self.tally[0] += torch.count_nonzero(x).neg_().add_(x.numel())
        if not calm:
            x, low, high = self._careful(x)
        self.fired += (high > 0).sum(0)
        self.low = torch.minimum(self.low, low.amin(0).double())
        self.high = torch.maximum(self.high, high.amax(0).double())
        self.sums += _reduce(x, "sum").double().sum(0)
        self.squares += _reduce(x, "norm").double().square().sum(0)
        self.bins += counts
        self.stride = max(self.stride, stride)
        self.count += x.numel()
        self.n_samples += x.shape[0]
        self.n_batches += 1

    def _careful(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Count what is not finite and put it out of the sums; go on in float64."""
        x = x.double()
        self.tally[1] += x.isnan().sum()
        self.tally[2] += (x == math.inf).sum()
        self.tally[3] += (x == -math.inf).sum()
        finite = torch.isfinite(x)
        low = _reduce(x.where(finite, math.inf), "amin")
        high = _reduce(x.where(finite, -math.inf), "amax")
        return x.where(finite, 0.0), low, high

    def stats(self) -> TensorStats:
        """Return the whole layer's statistics."""
        zeros, nan, pos_inf, neg_inf = self.tally.tolist()
        finite = self.count - nan - pos_inf - neg_inf
        total, squares = float(self.sums.sum()), float(self.squares.sum())
        return TensorStats(
            count=self.count,
            nan=nan,
            pos_inf=pos_inf,
            neg_inf=neg_inf,
            zeros=zeros,
            sum=total,
            m2=max(squares - total * total / finite, 0.0) if finite and math.isfinite(squares) else 0.0,
            min=_finite(float(self.low.min())) if self.n_channels else None,
            max=_finite(float(self.high.max())) if self.n_channels else None,
            histogram=histogram_of(self.bins, self.stride),
        )


def as_rows(x: Tensor, dim: int) -> Tensor:
    """View x as (B, M, C, S) with the channels of ``dim`` at place 2; half precision is lifted to float32."""
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if x.dim() == 0:
        return x.reshape(1, 1, 1, 1)
    if dim == 0:
        return x.reshape(1, 1, x.shape[0], -1)
    before, behind = math.prod(x.shape[1:dim]), math.prod(x.shape[dim + 1 :])
    return x.reshape(x.shape[0], before, x.shape[dim], behind)


def _reduce(x: Tensor, how: str) -> Tensor:
    """Reduce (B, M, C, S) over places, M and S: (B, C). Dimensions of length 1 cost a view, not a pass."""
    dims = tuple(d for d in (1, 3) if x.shape[d] != 1)
    if not dims:
        flat = x[:, 0, :, 0]
        return flat.abs() if how == "norm" else flat
    if how == "norm":
        out: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    elif how == "sum":
        out = x.sum(dims, keepdim=True)
    else:
        out = x.amin(dims, keepdim=True) if how == "amin" else x.amax(dims, keepdim=True)
    return out[:, 0, :, 0]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
