"""Evenly spaced entries of tensors, and histograms of many such samples in a handful of operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .observations import Bars

SAMPLE = 1 << 12  # entries looked at of one tensor
N_BARS = 32


def entries(x: Tensor) -> Tensor:
    """Return at most ``SAMPLE`` evenly spaced entries of a tensor, a view where that can be: (n,).

    They are spaced in memory, so that tensors of one layout give the same entries. A stride above 1 is odd: it walks
    through all places of a row even when the row length is a power of two.
    """
    x = local(x.detach())
    if x.layout != torch.strided:
        x = x.coalesce()._values() if x.layout == torch.sparse_coo else x.to_dense()
    stride = max(1, math.ceil(x.numel() / SAMPLE)) | 1
    if stride > x.numel() or x.is_complex():
        stride = 1
    if x.is_complex():
        return torch.view_as_real(x).reshape(-1)[: 2 * SAMPLE]
    in_a_row = x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
    if in_a_row and type(x) is Tensor:
        return x.as_strided((math.ceil(x.numel() / stride),), (stride,), x.storage_offset())
    return x.reshape(-1)[::stride]


def local(x: Tensor) -> Tensor:
    """Return the part of a sharded tensor that lies on this process; any other tensor as it is.

    Whole, it would have to be gathered, for which all processes must ask at the same time.
    """
    to_local = getattr(x, "to_local", None)  # of a DTensor, whose module takes seconds to import
    return x if to_local is None else to_local()


def is_sharded(x: Tensor) -> bool:
    """Tell whether only a part of a tensor lies on this process."""
    return hasattr(x, "to_local") and local(x).shape != x.shape


def lifted(x: Tensor) -> Tensor:
    """Return x as float32, or as it is in float64."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def n_nonfinite(x: Tensor) -> int:
    """Count the values that are not finite; a single quick pass where there are none. Waits for the device."""
    x = local(x.detach())
    if x.layout != torch.strided:
        x = x.coalesce().values() if x.layout == torch.sparse_coo else x.to_dense()
    if x.numel() and x.dtype in (torch.float32, torch.float64):
        low, high = torch.aminmax(x)  # a NaN comes through both
        if math.isfinite(low) and math.isfinite(high):
            return 0
    return int((~torch.isfinite(x)).sum())


def bars_of(samples: list[Tensor]) -> Tensor:
    """Count each sample's finite values in even bins over their range: (samples, 2 + N_BARS), low and high first.

    All samples lie on one device; nothing waits for it.
    """
    width = max(sample.numel() for sample in samples)
    table = samples[0].new_full((len(samples), width), math.nan, dtype=torch.float32)
    for row, sample in zip(table, samples, strict=True):
        row[: sample.numel()] = sample
    finite = torch.isfinite(table)
    low = table.masked_fill(~finite, math.inf).amin(1, keepdim=True)
    high = table.masked_fill(~finite, -math.inf).amax(1, keepdim=True)
    # a range between large numbers of either sign has no end unless they are made smaller
    scale = torch.where(torch.isinf(high - low), 0.25, 1.0)
    # divided first: the inverse of the smallest range is infinite, and nothing times that is NaN
    reach = (high * scale - low * scale).clamp_min(torch.finfo(torch.float32).tiny)
    place = (table * scale - low * scale) / reach * N_BARS
    # what is not finite goes to one bin more, which is cut off
    place = place.clamp_(0, N_BARS - 1).masked_fill_(~finite, N_BARS).long()
    counts = torch.zeros(len(samples), N_BARS + 1, device=table.device)
    counts.scatter_add_(1, place, torch.ones_like(table))
    return torch.cat([low, high, counts[:, :N_BARS]], 1)


def bars_read(name: str, part: str, numbers: list[float]) -> Bars | None:
    """Turn one row of ``bars_of`` into bars; None when nothing was finite."""
    low, high, *counts = numbers
    if not math.isfinite(low) or not math.isfinite(high):
        return None
    return Bars(name=name, part=part, low=low, high=high, counts=[int(n) for n in counts])  # type: ignore[arg-type]
