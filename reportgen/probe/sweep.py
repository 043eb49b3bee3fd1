"""One pass over a large tensor that lies still: exact where exact is cheap, evenly spaced samples where it is not.

Exact for every element: extremes, zeros (but for negative zeros in a slice that has no other), non-finite values, sums
of squares of every channel, and up to four million values the mean, beyond it of every fourth channel. From samples,
taken while a slice is in the cache: the histogram, and a slab of whole rows for whatever compares channels. Slices are
handed back soon after they were read, so that a file of any size passes through the memory of a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..document.stats import TensorStats
from .extremes import Bits, Extremes, bits_of, from_bits
from .reduce import bin_counts, even_bars, histogram_of, slice_stats

SLICE = 1 << 20  # bytes: half the cache of one core, and the other half for what is made of it
_HANDED_BACK = 16  # slices at a time
SMALL = 1 << 16  # elements up to which everything is exact in float64
SAMPLE = 1 << 15
_LARGE = 1 << 22  # elements above which the mean is of every fourth channel
_SLAB = 1 << 16
_SLAB_ROWS = 16
_SLAB_COLUMNS = 1 << 14
_MARKS = 8
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
    x = x.detach()
    found = None
    if x.numel() > SMALL:
        if x.dim() == 2 and not x.is_contiguous() and x.T.is_contiguous():
            found = _turned_pass(x.T, done)
        every = 4 if x.numel() > _LARGE and x.dim() > 1 and x.shape[0] >= 256 else 1
        found = found or _pass(x, done, every=every) or (_pass(x, done) if every > 1 else None)
    # far from zero, or too large to be squared in float32
    return found or _pass(x, done, exact=True) or _nothing(x)


def _nothing(x: Tensor) -> Sweep:
    zero = x.new_zeros(0, dtype=torch.float64)
    return Sweep(TensorStats(), zero, 1, zero, zero, zero[None], zero, zero[None])


def _pass(x: Tensor, done: Callable[[Tensor], None], *, every: int = 1, exact: bool = False) -> Sweep | None:
    channels = x.shape[0] if x.dim() > 1 else 1
    length = x.numel() // channels if channels else 0
    totals, taken = _Rows(x, channels, length, every), _Taken(x, channels, length)
    broken, ends = TensorStats(), Extremes(x.dtype)
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
    places = torch.arange(0, channels, taken.step, device=x.device)[: len(slab)]
    finite = sample[torch.isfinite(sample)] if stats.nonfinite else sample
    told = _with_histogram(stats, sample, taken.stride)
    return Sweep(told, sums, every, squares, finite, slab, places, marks)


def _turned_pass(x: Tensor, done: Callable[[Tensor], None]) -> Sweep | None:
    """Pass over a matrix (d, C) whose channels are its columns, in the order of its memory; None beside broken values.

    Columns read one by one would each touch all of the memory.
    """
    length, channels = x.shape
    stride, (step, width) = _odd(math.ceil(x.numel() / SAMPLE)), slab_of(channels, length)
    chosen, seen = set(range(0, length, max(1, length // _MARKS))), 0
    ends, wide, squared = Extremes(x.dtype), _Wide(x), _Wide(x)
    sums = x.new_zeros(channels, dtype=torch.float64)
    squares = torch.zeros_like(sums)
    values, slab, marks = [], [], []
    for first, _, part, bits in _slices(x, length, channels, done):
        if not (ends.add(part) if bits is None else ends.add_bits(bits.reshape(-1))):
            return None
        own = wide.of(part)
        out = squared.like(own) if own.dtype is torch.float32 else torch.empty_like(own)
        sums += own.sum(0)
        squares += torch.mul(own, own, out=out).sum(0)
        values.append(part.reshape(-1)[-seen % stride :: stride].clone())
        seen += part.numel()
        if first < width:
            slab.append(part[: width - first, ::step].float())
        marks += [part[i - first].float() for i in range(first, first + len(part)) if i in chosen]
    ends.finish()
    stats = _stats(float(sums.sum()), float(squares.sum()), ends, TensorStats())
    if stats is None:
        return None
    sample, places = torch.cat(values).double(), torch.arange(0, channels, step, device=x.device)
    kept = torch.stack(marks[:_MARKS], 1).contiguous()
    told = _with_histogram(stats, sample, stride)
    return Sweep(told, sums, 1, squares, sample, torch.cat(slab).T.contiguous(), places, kept)


class _Taken:
    """What is kept of slices while they are in the cache: evenly spaced values, whole rows, a few values of each row.

    Slices come as tensors or, where their bits can be had, as those: a slice of numpy is made in a tenth of the time.
    """

    def __init__(self, x: Tensor, channels: int, length: int) -> None:
        self.stride = _odd(math.ceil(x.numel() / SAMPLE))
        self.step, self._width = slab_of(channels, length)
        self._empty = x.new_zeros(0)
        self._at = 0
        self._values: list[Tensor | Bits] = []
        self._rows: list[Tensor | Bits] = []
        self._marks: list[Tensor | Bits] = []

    def add(self, first: int, column: int, part: Tensor | Bits) -> None:
        """Take from rows (r, c), whole or in part."""
        flat = part.reshape(-1)
        self._values.append(_copy(flat[-self._at % self.stride :: self.stride]))
        self._at += len(flat)
        if column == 0:
            self._marks.append(_copy(part[:, :: max(1, part.shape[1] // _MARKS)][:, :_MARKS]))
            if -first % self.step < len(part):
                self._rows.append(_copy(part[-first % self.step :: self.step, : self._width]))

    def sample(self) -> Tensor:
        return self._joined(self._values).double()

    def slab(self) -> Tensor:
        return self._joined(self._rows, 2).float()

    def marks(self) -> Tensor:
        return self._joined(self._marks, 2).float()

    def _joined(self, parts: list[Tensor | Bits], dim: int = 1) -> Tensor:
        """Join what was taken; nothing at all comes in the shape that its readers expect."""
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if tensors:
            return torch.cat(tensors)
        bits = [part for part in parts if not isinstance(part, Tensor)]
        return from_bits(np.concatenate(bits), self._empty.dtype) if bits else self._empty.reshape((0,) * dim)


def _copy(part: Tensor | Bits) -> Tensor | Bits:
    return part.clone() if isinstance(part, Tensor) else part.copy()


class _Wide:
    """Slices in float32, each in the memory of the one before: new memory costs more than what is done with it."""

    def __init__(self, x: Tensor) -> None:
        self._kept = x.new_empty(0, dtype=torch.float32)

    def of(self, part: Tensor) -> Tensor:
        """Return a slice in float32 at least; until the next call."""
        if part.dtype in (torch.float32, torch.float64):
            return part
        return self.like(part).copy_(part)

    def like(self, part: Tensor) -> Tensor:
        """Return memory of its shape."""
        if self._kept.numel() < part.numel():
            self._kept = self._kept.new_empty(part.numel())
        return self._kept[: part.numel()].view(part.shape)


class _Rows:
    """Sums and sums of squares of channels, made in float32 and kept in the tensor's own type where that will do.

    Of bfloat16 each is rounded once, to 8 bits; a thousand of them together are good to four digits, which is asked of
    the whole tensor and of no single channel.
    """

    def __init__(self, x: Tensor, channels: int, length: int, every: int) -> None:
        self._own = x.dtype in (torch.float32, torch.float64) or (x.dtype is torch.bfloat16 and channels >= 1024)
        some = math.ceil(channels / every)
        self._length = length
        self._wide = _Wide(x)
        self.every = every
        self._quick: list[tuple[Tensor, Tensor]] = []
        """Sums and norms of whole rows, in their order."""
        self._cut = (x.new_zeros(some, dtype=torch.float64), x.new_zeros(channels, dtype=torch.float64))
        """Sums and sums of squares of rows that come in parts."""

    def add(self, first: int, part: Tensor) -> None:
        """Take rows (r, c), whole or in part."""
        wide = part if self._own else self._wide.of(part)
        some = wide[-first % self.every :: self.every] if self.every > 1 else wide
        self._add(first, part.shape[1], some.sum(1), torch.linalg.vector_norm(wide, dim=1))

    def add_exact(self, first: int, part: Tensor) -> None:
        """Take rows in float64. Sums are of all of them: of a tensor with such rows none is left out."""
        self._add(
            first, part.shape[1], part.sum(1)[-first % self.every :: self.every], torch.linalg.vector_norm(part, dim=1)
        )

    def _add(self, first: int, width: int, sums: Tensor, norms: Tensor) -> None:
        if width == self._length:
            self._quick.append((sums, norms))
            return
        start = math.ceil(first / self.every)
        self._cut[0][start : start + len(sums)] += sums
        self._cut[1][first : first + len(norms)] += norms.double().square_()

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return (C / every,) sums and (C,) sums of squares."""
        if not self._quick:
            return self._cut
        sums, norms = (torch.cat(parts).double() for parts in zip(*self._quick, strict=True))
        return sums, norms.square_()


def _stats(total: float, square: float, quick: Extremes, broken: TensorStats) -> TensorStats | None:
    """Join what was summed quickly and what exactly; None where float32 sums do not give the variance."""
    low, high, zeros, n = quick.low, quick.high, quick.zeros, quick.count
    if not n:
        return broken
    total, square = total - broken.sum, square - broken.sum_of_squares
    m2 = square - total * total / n
    if not math.isfinite(square) or square > _FAR_FROM_ZERO * m2 or (square == 0) != (low == high == 0):
        constant_zero = low == high == 0
        return None if not constant_zero else broken.merge(TensorStats(count=n, zeros=zeros, min=0.0, max=0.0))
    return broken.merge(TensorStats(count=n, zeros=zeros, sum=total, m2=m2, min=low, max=high))


def slab_of(channels: int, length: int) -> tuple[int, int]:
    """Return every how many channels one is taken into the slab, and how much of it."""
    width = min(length, _SLAB_COLUMNS)
    rows = channels if channels * length <= 2 * _SLAB else max(_SLAB_ROWS, _SLAB // max(width, 1))
    return max(1, math.ceil(channels / max(rows, 1))), width


def _odd(stride: int) -> int:
    """Return a stride that walks through all places of a row whose length is a power of two."""
    return max(1, stride + (stride > 1 and stride % 2 == 0))


def _slices(
    x: Tensor, channels: int, length: int, done: Callable[[Tensor], None]
) -> Iterator[tuple[int, int, Tensor, Bits | None]]:
    """Yield (first channel, first column, part (r, c), its bits if they can be had) in the order of the elements.

    What was read is handed back many slices at a time: each time is a call of the system.
    """
    # of float16 with the float32 that is made of it
    size = max(1, SLICE // (x.element_size() + 4 * (x.dtype is torch.float16)))
    if not x.numel():
        return
    if length > 2 * size:
        for channel in range(channels):
            flat = (x[channel] if x.dim() > 1 else x).reshape(-1)
            for column in range(0, length, size):
                part = flat[column : column + size]
                yield channel, column, part[None], bits_of(part[None])
                done(part)
        return
    if x.dim() <= 1:
        row = x.reshape(1, -1)
        yield 0, 0, row, bits_of(row)
        done(x)
        return
    rows, bits = max(1, size // length), bits_of(x)
    flat_bits = None if bits is None else bits.reshape(channels, length)
    read = 0
    for first, part in zip(range(0, channels, rows), torch.split(x, rows), strict=True):
        last = first + part.shape[0]
        yield first, 0, part.flatten(1), None if flat_bits is None else flat_bits[first:last]
        if (last - read) * length >= _HANDED_BACK * size or last == channels:
            done(x[read:last])
            read = last


def _exact(part: Tensor, totals: _Rows, first: int) -> TensorStats:
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
