"""One pass over a large tensor that lies still: exact where exact is cheap, evenly spaced samples where it is not.

Exact for every element: extremes, zeros (but for negative zeros in a slice that has no other), non-finite values, sums
of squares of every channel, and up to four million values the mean, beyond it of evenly spaced channels. From samples,
taken while a slice is in the cache: the histogram, and a slab of whole rows for whatever compares channels. Slices are
handed back soon after they were read, so that a file of any size passes through the memory of a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..document.stats import TensorStats, merge_all
from .extremes import Bits, Extremes, bits_of
from .reduce import bin_counts, even_bars, histogram_of, slice_stats
from .slices import SAMPLE, Columns, Lifted, Rows, Taken, lifted_type, odd, slice_of

SAFE = (1e-12, 1e15)  # magnitudes whose squares, and sums of them, float32 holds
_HANDED_BACK = 16  # slices at a time
SMALL = 1 << 16  # elements up to which everything is exact in float64
_LARGE = 1 << 22  # elements above which the mean is of every fourth channel, or of fewer
_SUMMED = 256  # channels below which it is of all, and a fourth of those that it is of at least
_TINY = 1e-32  # mean square below which squares fall out of the range of float32
_FAR_FROM_ZERO = 16.0  # mean square to variance, above which float32 sums no longer give the variance


class Sweep(NamedTuple):
    """What one pass gives of a tensor seen as (C channels, d values each)."""

    stats: TensorStats
    sums: Tensor
    """(C / every,) float64, over finite values, of every so many channels."""
    every: int
    squares: Tensor
    """(C,) float64: sums of squares."""
    sample: Tensor
    """(≤ 2·SAMPLE,) evenly spaced finite values, float64."""
    slab: Tensor
    """(R, d') float32: evenly spaced channels; d' below d where a channel is very long."""
    places: Tensor
    """(R,) which channels."""
    marks: Tensor
    """(C, ≤ 8) float32: a few values of every channel, by which equal ones are found."""


def sweep(x: Tensor, done: Callable[[Tensor], None] = lambda part: None) -> Sweep:
    """Pass once over a real floating tensor; its first dimension is the channels. ``done`` is told of each slice."""
    x = _as_it_lies(x.detach())
    found = None
    if x.numel() > SMALL:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is measured again
            if x.dim() == 2 and not x.is_contiguous() and x.T.is_contiguous():
                found = _turned_pass(x.T, done)
            every = _every(x)
            found = found or _pass(x, done, every=every) or (_pass(x, done) if every > 1 else None)
    # far from zero, or too large or too small to be squared in float32
    return found or _pass(x, done, exact=True) or _nothing(x)


def _every(x: Tensor) -> int:
    """Return every how many channels the mean is of: of a large tensor a million values of 64 channels at least."""
    if x.dim() < 2 or x.numel() <= _LARGE or x.shape[0] < _SUMMED:
        return 1
    most = min(x.numel() // _LARGE, x.shape[0] // _SUMMED)
    return max(4, 1 << most.bit_length() - 1)


def _as_it_lies(x: Tensor) -> Tensor:
    """Order the values of each channel as they lie in memory, channels last for one; the channels stay the first."""
    if x.dim() < 3 or x.is_contiguous():
        return x
    strides = x.stride()
    lying = x.permute(0, *sorted(range(1, x.dim()), key=lambda dim: -strides[dim]))
    return lying if lying.is_contiguous() else x


def joined(sweeps: Sequence[Sweep]) -> Sweep:
    """Join what was found of tensors of one shape, as if their channels followed each other; every sum is there."""
    channels = len(sweeps[0].squares)
    sample = torch.cat([one.sample for one in sweeps])
    sample = sample[:: odd(math.ceil(len(sample) / SAMPLE))]
    stats = merge_all(msgspec.structs.replace(one.stats, histogram=None, bars=None) for one in sweeps)
    return Sweep(
        _with_histogram(stats, sample, max(1, round(stats.count / max(len(sample), 1)))),
        torch.cat([one.sums for one in sweeps]),
        1,
        torch.cat([one.squares for one in sweeps]),
        sample,
        torch.cat([one.slab for one in sweeps]),
        torch.cat([one.places + i * channels for i, one in enumerate(sweeps)]),
        torch.cat([one.marks for one in sweeps]),
    )


def _nothing(x: Tensor) -> Sweep:
    zero = torch.zeros(0, dtype=torch.float64)
    return Sweep(TensorStats(), zero, 1, zero, zero, zero[None], zero, zero[None])


def _pass(x: Tensor, done: Callable[[Tensor], None], *, every: int = 1, exact: bool = False) -> Sweep | None:
    channels = x.shape[0] if x.dim() > 1 else 1
    length = x.numel() // channels if channels else 0
    totals, taken = Rows(x, channels, length, every), Taken(x, channels, length)
    broken, ends = TensorStats(), Extremes(lifted_type(x.dtype))
    for first, column, part, bits in _slices(x, channels, length, done):
        if exact or not (ends.add(part) if bits is None else ends.add_bits(bits.reshape(-1))):
            broken = broken.merge(_exact(part, totals, first))
        else:
            totals.add(first, part)
        taken.add(first, column, part if bits is None else bits)
    ends.finish()
    sums, squares = totals.finished()
    total = float(sums.sum()) * (channels / max(len(sums), 1))
    stats = _stats(total, float(squares.sum()), ends, broken)
    if stats is None or (broken.count and every > 1):
        return None
    sample, slab, marks = taken.sample(), taken.slab(), taken.marks()
    places = torch.arange(0, channels, taken.step)[: len(slab)]
    finite = sample[torch.isfinite(sample)] if stats.nonfinite else sample
    told = _with_histogram(stats, sample, taken.stride)
    return Sweep(told, sums, every, squares, finite, slab, places, marks)


def _turned_pass(x: Tensor, done: Callable[[Tensor], None]) -> Sweep | None:
    """Pass over a matrix (d, C) whose channels are its columns, in the order of its memory; None beside broken values.

    Columns read one by one would each touch all of the memory.
    """
    length, channels = x.shape
    taken, totals, ends = Taken(x, channels, length), Columns(x), Extremes(lifted_type(x.dtype))
    for first, _, part, bits in _slices(x, length, channels, done):
        if not (ends.add(part) if bits is None else ends.add_bits(bits.reshape(-1))):
            return None
        totals.add(part)
        taken.add_turned(first, part if bits is None else bits, length)
    ends.finish()
    sums, squares = totals.finished()
    stats = _stats(float(sums.sum()), float(squares.sum()), ends, TensorStats())
    if stats is None:
        return None
    sample, slab, marks = taken.sample(), taken.slab().T.contiguous(), taken.marks().T.contiguous()
    places = torch.arange(0, channels, taken.step)
    return Sweep(_with_histogram(stats, sample, taken.stride), sums, 1, squares, sample, slab, places, marks)


def _stats(total: float, square: float, quick: Extremes, broken: TensorStats) -> TensorStats | None:
    """Join what was summed quickly and what exactly; None where float32 sums do not give the variance."""
    low, high, zeros, n = quick.low, quick.high, quick.zeros, quick.count
    if not n:
        return broken
    if low == high == 0:
        return broken.merge(TensorStats(count=n, zeros=zeros, min=0.0, max=0.0))
    total, square = total - broken.sum, square - broken.sum_of_squares
    m2 = square - total * total / n
    if not _TINY * n < square < math.inf or square > _FAR_FROM_ZERO * m2:
        return None
    return broken.merge(TensorStats(count=n, zeros=zeros, sum=total, m2=m2, min=low, max=high))


def _slices(
    x: Tensor, channels: int, length: int, done: Callable[[Tensor], None]
) -> Iterator[tuple[int, int, Tensor, Bits | None]]:
    """Yield (first channel, first column, part (r, c), its bits if they can be had) in the order of the elements.

    What was read is handed back many slices at a time: each time is a call of the system.
    """
    size, lift = slice_of(x.dtype), Lifted(x)
    if not x.numel():
        return
    if length > 2 * size:
        for channel in range(channels):
            flat = (x[channel] if x.dim() > 1 else x).reshape(-1)
            for column in range(0, length, size):
                part = flat[column : column + size]
                wide = lift.of(part)[None]
                yield channel, column, wide, bits_of(wide)
                done(part)
        return
    if x.dim() <= 1:
        row = lift.of(x.reshape(1, -1))
        yield 0, 0, row, bits_of(row)
        done(x)
        return
    rows, bits = max(1, size // length), None if lift.needed else bits_of(x)
    flat_bits = None if bits is None else bits.reshape(channels, length)
    read = 0
    for first, part in zip(range(0, channels, rows), torch.split(x, rows), strict=True):
        last = first + part.shape[0]
        wide = lift.of(part.flatten(1))
        yield first, 0, wide, bits_of(wide) if flat_bits is None else flat_bits[first:last]
        if (last - read) * length >= _HANDED_BACK * size or last == channels:
            done(x[read:last])
            read = last


def _exact(part: Tensor, totals: Rows, first: int) -> TensorStats:
    """Measure a slice in float64, and add to its rows; sums are over the finite values."""
    wide = part.double()
    stats = slice_stats(wide.reshape(-1))
    if stats.nonfinite:
        wide = torch.where(torch.isfinite(wide), wide, 0.0)
    totals.add_exact(first, wide)
    return stats


def _with_histogram(stats: TensorStats, sample: Tensor, stride: int) -> TensorStats:
    binned = histogram_of(bin_counts(sample), stride)
    return msgspec.structs.replace(stats, histogram=binned, bars=even_bars(sample, stats))
