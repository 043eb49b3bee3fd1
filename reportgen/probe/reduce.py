"""Tensor -> statistics, for tensors that lie still (weights, gradients, targets): in float64 throughout."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..document.stats import BIN_SHIFT, N_BINS, Histogram, TensorStats, merge_all
from ..subject.shapes import PACKED, dense_rows, is_plain, is_transformed, whole

WEIGHT_SAMPLE = 1 << 20  # elements binned of one parameter
EVEN_BARS = 32
DENSE_LIMIT = 1 << 26
_SLICE = 1 << 22  # elements of a tensor that are lifted to float64 at a time


_NARROW = 1e-300  # a range below it cannot be divided by
_LARGEST_SUM = 1e145  # of values near the end of float64: cut, so that squares of sums of slices stay in it


def as_real(x: Tensor) -> Tensor | None:
    """Return x as a dense real floating tensor, or None when it is no such thing (integers, booleans, meta, in a vmap).

    A sparse tensor is laid out in full only up to ``DENSE_LIMIT`` elements: a small file may claim a huge one. One of
    which every process has a part is gathered.
    """
    x = x.detach() if x.requires_grad else x
    if is_plain(x):
        return x
    if is_transformed(x):
        return None
    x = dense_rows(whole(x))
    if x.is_quantized:
        x = x.dequantize()
    if x.layout != torch.strided:
        if x.numel() > DENSE_LIMIT:
            return None
        x = x.to_dense()
    x = x.resolve_conj().resolve_neg()
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.is_floating_point() and not x.is_meta and x.dtype is not PACKED else None


def bin_index(values: Tensor) -> Tensor:
    """Return the first 12 bits of the float32 pattern of each value: int32, 0 to N_BINS - 1."""
    # arithmetic shift keeps the sign: negative values come out below zero, and the mask moves them to 2048..4095
    index = values.reshape(-1).to(torch.float32).contiguous().view(torch.int32) >> BIN_SHIFT
    return index.bitwise_and_(N_BINS - 1)


def count_bins(index: Tensor) -> Tensor:
    """Count the places of ``bin_index``: (N_BINS,)."""
    if index.device.type == "cpu":
        return torch.bincount(index, minlength=N_BINS)
    counts = torch.zeros(N_BINS, dtype=torch.int64, device=index.device)  # bincount would wait for the device
    return counts.scatter_add_(0, index.long(), torch.ones_like(index, dtype=torch.int64))


def bin_counts(values: Tensor) -> Tensor:
    """Count values by ``bin_index``: (N_BINS,)."""
    return count_bins(bin_index(values))


def strided(x: Tensor, sample: int) -> tuple[Tensor, int]:
    """Return about ``sample`` evenly spaced values of x, flat, and the stride.

    A stride above 1 is odd: it walks through all places of a row even when the row length is a power of two.
    """
    flat = x.reshape(-1)
    stride = max(1, math.ceil(flat.numel() / sample))
    stride += (stride > 1) & (stride % 2 == 0)
    return flat[::stride], stride


def histogram_of(counts: Tensor, stride: int) -> Histogram:
    """Bring bin counts into the document's form, without infinities and NaN."""
    n = counts.cpu().numpy()  # many small operations, each of which takes torch several times as long
    places = np.flatnonzero(n)
    places = places[(places & (N_BINS // 2 - 1)) < (0xFF << 23) >> BIN_SHIFT]
    return Histogram(bins=places.tolist(), counts=n[places].tolist(), stride=stride)


def tensor_stats(x: Tensor, *, sample: int = WEIGHT_SAMPLE, histogram: bool = True) -> TensorStats | None:
    """Measure one tensor in float64, slice by slice; None when it holds no real numbers."""
    real = as_real(x)
    if real is None:
        return None
    flat = real.reshape(-1)
    stats = merge_all(slice_stats(part) for part in torch.split(flat, _SLICE)) if flat.numel() else TensorStats()
    if not histogram:
        return stats
    values, stride = strided(flat, sample)
    binned = histogram_of(bin_counts(values), stride)
    return msgspec.structs.replace(stats, histogram=binned, bars=even_bars(values, stats))


def even_bars(values: Tensor, stats: TensorStats) -> list[int] | None:
    """Count values in even bins over the range: a narrow range far from zero falls into one or two octave bins."""
    if stats.min is None or stats.max is None or not _NARROW < stats.max - stats.min < math.inf:
        return None
    place = (values.double() - stats.min) * (EVEN_BARS / (stats.max - stats.min))
    if stats.nonfinite:
        place = place[torch.isfinite(place)]
    index = place.clamp_(0, EVEN_BARS - 1).to(torch.int32)
    return [int(n) for n in torch.bincount(index, minlength=EVEN_BARS).tolist()]


def slice_stats(part: Tensor) -> TensorStats:
    x = part.to(torch.float64)
    stats = TensorStats(count=x.numel(), zeros=x.numel() - int(torch.count_nonzero(x)))
    n_finite = x.numel()
    if not math.isfinite(float(x.sum())):  # else all of it is
        finite = torch.isfinite(x)
        n_finite = int(finite.sum())
    if n_finite < x.numel():
        nan, pos_inf, neg_inf = int(x.isnan().sum()), int((x == math.inf).sum()), int((x == -math.inf).sum())
        stats = msgspec.structs.replace(stats, nan=nan, pos_inf=pos_inf, neg_inf=neg_inf)
        x = x[finite]
    if not n_finite:
        return stats
    low, high = torch.aminmax(x)
    m2 = float((x - x.mean()).square_().sum())
    total = float(x.sum())
    if math.isnan(total):  # of infinite parts of both signs
        total = float((x * 2.0**-64).sum()) * 2.0**64
    total = min(max(total, -_LARGEST_SUM), _LARGEST_SUM)
    return msgspec.structs.replace(
        stats, sum=total, m2=m2 if math.isfinite(m2) else 0.0, min=float(low), max=float(high)
    )
