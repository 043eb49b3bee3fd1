"""Which values of one output are taken, and the exact figures that need all of them.

A tensor is seen as (B, M, C, S): samples, places before the channel, channels, places behind.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SAMPLE = 512  # values taken of each sample; the cost of a hook stays flat in the size of the output
GLANCE = 2  # places of each channel and sample that tell its mean well enough where exact figures stand elsewhere
_BLOCK = 1 << 18  # values that are reduced several ways while they lie in the processor's cache
_SHORT = 128  # places: reducing shorter rows one by one is slow, so samples are folded first


class Layout(NamedTuple):
    """How one sample lies, and which of its values are taken."""

    before: int
    channels: int
    behind: int
    picked: Tensor | None
    """(P·C,) indices into a flat sample, channel fastest; None where the flat sample is just that already."""

    @property
    def size(self) -> int:
        """Values of one sample."""
        return self.before * self.channels * self.behind

    @property
    def mostly_left_out(self) -> bool:
        return self.picked is not None and self.picked.shape[0] <= self.size // 8

    @property
    def crowded(self) -> bool:
        """At least ``GLANCE`` places of each channel are taken."""
        return self.picked is None or self.channels * GLANCE <= self.picked.shape[0]


class Reduced(NamedTuple):
    """Figures of one tensor, each None where the values taken tell it."""

    sums: Tensor | None
    """(B, C) of each sample."""
    low: Tensor | None
    """(any, C): the smallest of its rows counts."""
    high: Tensor | None
    """(any, C)"""


def layout_of(shape: torch.Size, dim: int, device: torch.device) -> Layout:
    """Lay out samples of ``shape`` (B, ...) with their channels along ``dim`` (1 or more; 0 for a lone vector)."""
    if len(shape) <= 1:
        return Layout(1, math.prod(shape) if shape else 1, 1, None)
    before, channels, behind = math.prod(shape[1:dim]), shape[dim], math.prod(shape[dim + 1 :])
    places = before * behind
    taken = min(places, max(1, SAMPLE // max(channels, 1)))
    if taken == places and behind == 1:
        return Layout(before, channels, behind, None)
    # Each channel begins at another place, so that a few places a channel still see the whole of the map.
    step, hop = places // taken, int(places * 0.618) | 1
    place = torch.arange(taken).unsqueeze(1) * step + torch.arange(channels).unsqueeze(0) * hop
    place = torch.arange(taken).unsqueeze(1).expand_as(place) if taken == places else place % places
    index = (place // behind * channels + torch.arange(channels)) * behind + place % behind
    return Layout(before, channels, behind, index.reshape(-1).to(device))


def in_memory_order(x: Tensor, dim: int) -> tuple[Tensor, int]:
    """Return x as it lies in memory, channels last where they are: flattening it is then no copy."""
    if dim != 1:
        return x, dim
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1), 3
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return x.permute(0, 2, 3, 4, 1), 4
    return x, dim


def take(flat: Tensor, lay: Layout) -> Tensor:
    """Return the values taken of every sample: (B·P, C), float32 or float64."""
    values = flat if lay.picked is None else flat.index_select(1, lay.picked)
    return wide(values.view(-1, lay.channels))


def reduce(flat: Tensor, lay: Layout, *, lower: bool) -> Reduced:
    """Return the exact figures of (B, M·C·S); ``lower`` asks for the smallest too."""
    samples, channels = flat.shape[0], lay.channels
    if lay.behind == 1:
        x = flat.view(samples, lay.before, channels)
        if lay.before == 1:
            rows = x.view(samples, channels)
            return Reduced(wide(rows), rows.amin(0, keepdim=True) if lower else None, rows.amax(0, keepdim=True))
        parts = torch.split(x, 1) if samples > 1 and x[0].numel() > _BLOCK // 8 else (x,)
        seen = [(_sum(p, 1), p.amin((0, 1)) if lower else None, p.amax((0, 1))) for p in parts]
        low = torch.stack([p[1] for p in seen if p[1] is not None]).amin(0, keepdim=True) if lower else None
        return Reduced(torch.cat([p[0] for p in seen]), low, torch.stack([p[2] for p in seen]).amax(0, keepdim=True))
    if lay.before > 1:
        x = flat.view(samples, lay.before, channels, lay.behind)
        return Reduced(_sum(x, (1, 3)), x.amin((1, 3)) if lower else None, x.amax((1, 3)))
    if lay.behind < _SHORT and samples > 2:
        low = flat.amin(0).view(channels, lay.behind).amin(1).view(1, -1) if lower else None
        high = _largest(flat, 0, from_zero=not lower).view(channels, lay.behind).amax(1).view(1, -1)
        return Reduced(_sum(flat.view(-1, lay.behind), 1).view(samples, channels), low, high)
    return _reduce_rows(flat.view(-1, lay.behind), channels, lower=lower)


def sums_alone(flat: Tensor, lay: Layout) -> Tensor:
    """Return the sums (B, C) of each sample alone."""
    if lay.behind == 1:
        x = flat.view(flat.shape[0], lay.before, lay.channels)
        return wide(x[:, 0]) if lay.before == 1 else _sum(x, 1)
    if lay.before == 1:
        return _sum(flat.view(-1, lay.behind), 1).view(flat.shape[0], lay.channels)
    return _sum(flat.view(flat.shape[0], lay.before, lay.channels, lay.behind), (1, 3))


def _reduce_rows(rows: Tensor, channels: int, *, lower: bool) -> Reduced:
    """Reduce (B·C, S) block by block: the first look at a block brings it into the cache, the others find it there.

    From behind, where the layer wrote last.
    """
    if rows.numel() <= 2 * _BLOCK:
        low = rows.amin(1).view(-1, channels) if lower else None
        high = _largest(rows, 1, from_zero=not lower)
        return Reduced(_sum(rows, 1).view(-1, channels), low, high.view(-1, channels))
    step = max(1, _BLOCK // rows.shape[1])
    sums, high = rows.new_empty(rows.shape[0], dtype=_width(rows)), rows.new_empty(rows.shape[0])
    low = rows.new_empty(rows.shape[0]) if lower else None
    bits = _in_order(rows)
    parts, totals, patterns = torch.split(rows, step), torch.split(sums, step), torch.split(bits, step)
    largest = torch.split(high.view(bits.dtype), step)
    smallest = None if low is None else torch.split(low, step)
    for i in reversed(range(len(parts))):
        torch.sum(parts[i], 1, dtype=sums.dtype, out=totals[i])
        torch.amax(patterns[i], 1, out=largest[i])
        if smallest is not None:
            torch.amin(parts[i], 1, out=smallest[i])
    if lower and bits is not rows and high.signbit().any():  # a row that is negative throughout
        torch.amax(rows, 1, out=high)
    low = None if low is None else low.view(-1, channels)
    return Reduced(sums.view(-1, channels), low, high.view(-1, channels))


def _in_order(x: Tensor) -> Tensor:
    """Return the bits of float32 as whole numbers, which are compared in half of the time.

    From zero on they have the order of the numbers; any of them is above all below zero, and NaN above infinity.
    """
    return x.view(torch.int32) if x.dtype is torch.float32 else x


def _largest(x: Tensor, dim: int, *, from_zero: bool) -> Tensor:
    """Return the largest along one dimension; ``from_zero``: none is below zero."""
    return _in_order(x).amax(dim).view(x.dtype) if from_zero else x.amax(dim)


def _width(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype is torch.float64 else torch.float32


def wide(x: Tensor) -> Tensor:
    """Return x in float32 at least."""
    return x if x.dtype is torch.float32 or x.dtype is torch.float64 else x.float()


def _sum(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return x.sum(dim, dtype=_width(x))
