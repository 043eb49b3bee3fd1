"""One pass over a large tensor that lies still: exact where exact is cheap, evenly spaced samples where it is not.

Exact for every element: extremes, zeros (but for negative zeros in a slice that has no other), non-finite values, sums
of squares of every channel, and up to four million values the mean, beyond it of every fourth channel. From samples,
taken while a slice is in the cache: the histogram, and a slab of whole rows for whatever compares channels. Each slice
is handed back when it was read, so that a file of any size passes through the memory of one slice.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..document.stats import TensorStats
from .reduce import bin_counts, even_bars, histogram_of, slice_stats

SLICE = 1 << 21  # bytes: what fits the cache of one core
SMALL = 1 << 16  # elements up to which everything is exact in float64
SAMPLE = 1 << 15
_LARGE = 1 << 22  # elements above which the mean is of every fourth channel
_SLAB = 1 << 16
_SLAB_ROWS = 16
_SLAB_COLUMNS = 1 << 14
_MARKS = 8
_FAR_FROM_ZERO = 16.0  # mean square to variance, above which float32 sums no longer give the variance
_INTEGERS = {2: (torch.int16, np.uint16), 4: (torch.int32, np.uint32)}


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
        every = 4 if x.numel() > _LARGE and x.dim() > 1 and x.shape[0] >= 256 else 1
        found = _pass(x, done, every=every) or (_pass(x, done) if every > 1 else None)
    # far from zero, or too large to be squared in float32
    return found or _pass(x, done, exact=True) or _nothing(x)


def _nothing(x: Tensor) -> Sweep:
    zero = x.new_zeros(0, dtype=torch.float64)
    return Sweep(TensorStats(), zero, 1, zero, zero, zero[None], zero, zero[None])


def _pass(x: Tensor, done: Callable[[Tensor], None], *, every: int = 1, exact: bool = False) -> Sweep | None:
    channels = x.shape[0] if x.dim() > 1 else 1
    length = x.numel() // channels if channels else 0
    stride = _odd(math.ceil(x.numel() / SAMPLE))
    step, width = slab_of(channels, length)
    totals = _Rows(x, channels, length, every)
    broken, at = TensorStats(), 0
    low, high, zeros, n = math.inf, -math.inf, 0, 0
    samples: list[Tensor] = []
    rows: list[Tensor] = []
    marks: list[Tensor] = []
    for first, column, raw in _slices(x, channels, length):
        part = raw.reshape(raw.shape[0], -1) if x.dim() > 1 else raw.reshape(1, -1)
        ends = None if exact else _ends(part)
        if ends is None:
            broken = broken.merge(_exact(part, totals, first))
        else:
            low, high, n = min(low, ends[0]), max(high, ends[1]), n + part.numel()
            zeros += ends[2]
            totals.add(first, part)
        samples.append(part.reshape(-1)[-at % stride :: stride].clone())
        at += part.numel()
        if column == 0:
            marks.append(part[:, :: max(1, part.shape[1] // _MARKS)][:, :_MARKS].clone())
            if -first % step < part.shape[0]:
                rows.append(part[-first % step :: step, :width].float())
        done(raw)
    sums, squares = totals.finished()
    total = float(sums.sum()) * (channels / max(len(sums), 1))
    stats = _stats(total, float(squares.sum()), (low, high, zeros, n), broken)
    if stats is None or (broken.count and every > 1):
        return None
    sample = (torch.cat(samples) if samples else x.new_zeros(0)).double()
    slab = torch.cat(rows) if rows else x.new_zeros((0, 0))
    places = torch.arange(0, channels, step, device=x.device)[: len(slab)]
    finite = sample[torch.isfinite(sample)] if stats.nonfinite else sample
    told = _with_histogram(stats, sample, stride)
    return Sweep(
        told, sums, every, squares, finite, slab, places, torch.cat(marks).float() if marks else x.new_zeros((0, 0))
    )


class _Rows:
    """Sums and sums of squares of channels, made in float32 and kept in the tensor's own type where that will do.

    Of bfloat16 each is rounded once, to 8 bits; a thousand of them together are good to four digits, which is asked of
    the whole tensor and of no single channel.
    """

    def __init__(self, x: Tensor, channels: int, length: int, every: int) -> None:
        own = x.dtype is torch.float32 or (x.dtype is torch.bfloat16 and channels >= 1024)
        some = math.ceil(channels / every)
        self._length = length
        self.every = every
        self._quick = (x.new_zeros(some), x.new_zeros(channels)) if own else None
        self.sums = x.new_zeros(some, dtype=torch.float64)
        self.squares = x.new_zeros(channels, dtype=torch.float64)

    def add(self, first: int, part: Tensor) -> None:
        """Take rows (r, c), whole or in part."""
        last, skip = first + part.shape[0], -first % self.every
        some = slice(math.ceil(first / self.every), math.ceil(last / self.every))
        if self._quick is not None and part.shape[1] == self._length:
            torch.sum(part[skip :: self.every], 1, out=self._quick[0][some])
            torch.linalg.vector_norm(part, dim=1, out=self._quick[1][first:last])
            return
        wide = part if part.dtype in (torch.float32, torch.float64) else part.float()
        self.sums[some] += wide[skip :: self.every].sum(1)
        self.squares[first:last] += torch.linalg.vector_norm(wide, dim=1).double().square_()

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return (C,) sums and (C,) sums of squares."""
        if self._quick is None:
            return self.sums, self.squares
        return self.sums + self._quick[0], self.squares + self._quick[1].double().square_()


def _stats(
    total: float, square: float, quick: tuple[float, float, int, int], broken: TensorStats
) -> TensorStats | None:
    """Join what was summed quickly and what exactly; None where float32 sums do not give the variance."""
    low, high, zeros, n = quick
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


def _slices(x: Tensor, channels: int, length: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (first channel, first column, part) in the order of the elements."""
    size = max(1, SLICE // x.element_size())
    if not x.numel():
        return
    if length > 2 * size:
        for channel in range(channels):
            flat = (x[channel] if x.dim() > 1 else x).reshape(-1)
            for column in range(0, length, size):
                yield channel, column, flat[column : column + size][None]
        return
    if x.dim() <= 1:
        yield 0, 0, x
        return
    for first in range(0, channels, max(1, size // length)):
        yield first, 0, x[first : first + max(1, size // length)]


def _ends(part: Tensor) -> tuple[float, float, int] | None:
    """Return (min, max, zeros of either sign); None beside NaN and infinity."""
    if part.device.type != "cpu" or part.element_size() not in _INTEGERS or not part.is_contiguous():
        part = part.float() if part.element_size() == 1 else part  # of 8 bits, with which torch does not compute
        low, high = (float(v) for v in torch.aminmax(part))
        finite = math.isfinite(low) and math.isfinite(high)
        return (low, high, part.numel() - int(torch.count_nonzero(part))) if finite else None
    # floats order as integers do by their bits: positive ones as signed, negative ones, reversed, as unsigned
    signed, unsigned = _INTEGERS[part.element_size()]
    bits = part.view(signed).numpy().reshape(-1)
    magnitudes, nonzero = bits.view(unsigned), part.numel()
    most, far = int(np.maximum.reduce(bits)), int(np.maximum.reduce(magnitudes))
    sign = 1 << (8 * part.element_size() - 1)
    if most < 0 or far <= sign or not np.minimum.reduce(magnitudes):  # one sign, or zeros: negative ones too, perhaps
        nonzero, least = int(np.count_nonzero(bits)), int(bits.min())
        if least == -sign:
            nonzero = int(torch.count_nonzero(part))
        most, far = max(most, least), far if least < 0 else least
    low, high = _value(far - 2 * sign if far >= sign else far, part.dtype), _value(most, part.dtype)
    return (low, high, part.numel() - nonzero) if math.isfinite(low) and math.isfinite(high) else None


def _value(bits: int, dtype: torch.dtype) -> float:
    """Read a signed integer as the float whose bits it has."""
    if dtype is torch.float16:
        return float(struct.unpack("<e", struct.pack("<h", bits))[0])
    return float(struct.unpack("<f", struct.pack("<i", bits << 16 if dtype is torch.bfloat16 else bits))[0])


def _exact(part: Tensor, totals: _Rows, first: int) -> TensorStats:
    """Measure a slice in float64, and add to its rows; sums are over the finite values."""
    wide = part.double()
    stats = slice_stats(wide.reshape(-1))
    if stats.nonfinite:
        wide = torch.where(torch.isfinite(wide), wide, 0.0)
    if totals.every == 1:  # else the whole tensor is passed again
        totals.sums[first : first + len(wide)] += wide.sum(1)
    totals.squares[first : first + len(wide)] += wide.square().sum(1)
    return stats


def _with_histogram(stats: TensorStats, sample: Tensor, stride: int) -> TensorStats:
    binned = histogram_of(bin_counts(sample), stride)
    return msgspec.structs.replace(stats, histogram=binned, bars=even_bars(sample, stats))
