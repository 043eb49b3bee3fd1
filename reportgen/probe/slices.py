"""What is made of the slices of a tensor while they are in the cache: sums of channels, and a few values to keep.

Measured on a core with AVX-512, in nanoseconds an element: a look at integers 0.03 (two bytes each) or 0.06 (four), a
conversion to float32 in memory that is used again 0.1, in new memory 0.2 and more; sums of rows 0.06, products of rows
with themselves by BLAS 0.05 against 0.1 of ``vector_norm``; 5.1 for 8-bit floats by torch, 0.75 by a table.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .extremes import Bits, from_bits

SLICE = 1 << 20  # bytes with what is made of them: half the cache of one core
SAMPLE = 1 << 15
MARKS = 8
_SLAB = 1 << 16
_SLAB_ROWS = 16
_SLAB_COLUMNS = 1 << 14
_MANY = 1024  # rows of bfloat16 whose sums need not be made in float32
_FLUSH = 8  # slices whose column sums are added in float32


def slice_of(dtype: torch.dtype, *, turned: bool = False) -> int:
    """Return how many elements a slice has: they fit the cache together with what is made of them."""
    made = {1: 8, 2: 4 * (turned or dtype is torch.float16)}.get(dtype.itemsize, dtype.itemsize * turned)
    return max(1, SLICE // (dtype.itemsize + made))


def slab_of(channels: int, length: int) -> tuple[int, int]:
    """Return every how many channels one is taken into the slab, and how much of it."""
    width = min(length, _SLAB_COLUMNS)
    rows = channels if channels * length <= 2 * _SLAB else max(_SLAB_ROWS, _SLAB // max(width, 1))
    return max(1, math.ceil(channels / max(rows, 1))), width


def odd(stride: int) -> int:
    """Return a stride that walks through all places of a row whose length is a power of two."""
    return max(1, stride + (stride > 1 and stride % 2 == 0))


class Memory:
    """Memory that is used again: new memory costs more than what is done with it."""

    def __init__(self, x: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self._kept = x.new_empty(0, dtype=dtype)
        self._last = self._kept

    def like(self, part: Tensor) -> Tensor:
        """Return memory of its shape; until the next call."""
        if self._last.shape != part.shape:
            if self._kept.numel() < part.numel():
                self._kept = self._kept.new_empty(part.numel())
            self._last = self._kept[: part.numel()].view(part.shape)
        return self._last


def lifted_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type that slices come in: float32 for floats of 8 bits, with which torch does not compute."""
    return torch.float32 if dtype.itemsize == 1 else dtype


class Lifted:
    """Slices of 8-bit floats in float32, by a table of the 256 that there are; all others as they are."""

    def __init__(self, x: Tensor) -> None:
        self.needed = x.element_size() == 1
        if self.needed:
            every = torch.arange(256, dtype=torch.uint8, device=x.device)
            self._table = every.view(x.dtype).float() + 0.0  # of two zeros, one
            self._places, self._values = Memory(x, torch.int32), Memory(x)

    def of(self, part: Tensor) -> Tensor:
        """Return a slice to compute with; until the next call."""
        if not self.needed:
            return part
        flat = part.reshape(-1).view(torch.uint8)
        places, values = self._places.like(flat).copy_(flat), self._values.like(flat)
        return torch.index_select(self._table, 0, places, out=values).view(part.shape)


class Rows:
    """Sums and sums of squares of channels, made in float32 and kept in the tensor's own type where that will do.

    Of bfloat16 each is rounded once, to 8 bits; a thousand of them together are good to four digits, which is asked of
    the whole tensor and of no single channel.
    """

    def __init__(self, x: Tensor, channels: int, length: int, every: int) -> None:
        self._own = lifted_type(x.dtype) in (torch.float32, torch.float64)
        self._rounded = x.dtype is torch.bfloat16 and channels >= _MANY
        self._length = length
        self._wide = Memory(x)
        self.every = every
        self._roots = self._rounded or x.device.type != "cpu"
        self._quick: list[tuple[Tensor, Tensor]] = []
        """Sums and sums of squares, or their roots, of whole rows, in their order."""
        some = x.new_zeros(math.ceil(channels / every), dtype=torch.float64)
        self._cut = (some, x.new_zeros(channels, dtype=torch.float64))
        """Sums and sums of squares of rows that come in parts."""

    def add(self, first: int, part: Tensor) -> None:
        """Take rows (r, c), whole or in part."""
        wide = part if self._own or self._rounded else self._wide.like(part).copy_(part)
        some = wide[-first % self.every :: self.every] if self.every > 1 else wide
        self._add(first, part.shape[1], some.sum(1), self._squares(wide))

    def _squares(self, wide: Tensor) -> Tensor:
        """Return sums of squares, or their roots in the type that they are kept in."""
        if self._roots:
            norms: Tensor = torch.linalg.vector_norm(wide, dim=1)
            return norms
        rows = wide.numpy()
        return torch.from_numpy(np.matmul(rows[:, None, :], rows[:, :, None]).reshape(-1))

    def add_exact(self, first: int, part: Tensor) -> None:
        """Take rows in float64. Sums are of all of them: of a tensor with such rows none is left out."""
        norms = torch.linalg.vector_norm(part, dim=1)
        squares = norms if self._roots else norms.square_()
        self._add(first, part.shape[1], part.sum(1)[-first % self.every :: self.every], squares)

    def _add(self, first: int, width: int, sums: Tensor, squares: Tensor) -> None:
        if width == self._length:
            self._quick.append((sums, squares))
            return
        start = math.ceil(first / self.every)
        self._cut[0][start : start + len(sums)] += sums
        self._cut[1][first : first + len(squares)] += squares.double().square_() if self._roots else squares

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return (C / every,) sums and (C,) sums of squares, float64."""
        if not self._quick:
            return self._cut[0].cpu(), self._cut[1].cpu()
        sums, squares = (torch.cat(parts).double().cpu() for parts in zip(*self._quick, strict=True))
        return sums, squares.square_() if self._roots else squares


class Columns:
    """Sums and sums of squares of columns, as products with ones: a few slices in float32, all of them in float64."""

    def __init__(self, x: Tensor) -> None:
        own = lifted_type(x.dtype)
        self._own = own in (torch.float32, torch.float64)
        dtype = own if self._own else torch.float32
        self._wide, self._squared = Memory(x), Memory(x, dtype)
        self._slices = 0
        self._ones = x.new_ones(0, dtype=dtype)
        self._some = x.new_zeros(2, x.shape[1], dtype=dtype)
        self._sums, self._squares = self._some.unbind()
        self._all = x.new_zeros(2, x.shape[1], dtype=torch.float64)

    def add(self, part: Tensor) -> None:
        """Take rows (r, C)."""
        wide = part if self._own else self._wide.like(part).copy_(part)
        if self._ones.shape[0] != part.shape[0]:
            self._ones = self._ones.new_ones(part.shape[0])
        torch.addmv(self._sums, wide.T, self._ones, out=self._sums)
        squared = torch.mul(wide, wide, out=self._squared.like(wide)) if self._own else wide.square_()
        torch.addmv(self._squares, squared.T, self._ones, out=self._squares)
        self._slices += 1
        if self._slices % _FLUSH == 0:
            self._flush()

    def _flush(self) -> None:
        self._all += self._some
        self._some.zero_()

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return (C,) sums and sums of squares, float64."""
        self._flush()
        sums, squares = self._all.cpu()
        return sums, squares


class Taken:
    """What is kept of slices: evenly spaced values, whole rows, a few values of each row.

    Slices come as tensors or, where their bits can be had, as those: a slice of numpy is made in a tenth of the time.
    """

    def __init__(self, x: Tensor, channels: int, length: int) -> None:
        self.stride = odd(math.ceil(x.numel() / SAMPLE))
        self.step, self._width = slab_of(channels, length)
        self._empty = x.new_zeros(0, dtype=lifted_type(x.dtype))
        self._at = 0
        self._values: list[Tensor | Bits] = []
        self._rows: list[Tensor | Bits] = []
        self._marks: list[Tensor | Bits] = []

    def add(self, first: int, column: int, part: Tensor | Bits) -> None:
        """Take from rows (r, c), whole or in part."""
        self._add_values(part)
        if column == 0:
            rows, width = part.shape
            step, skip = max(1, width // MARKS), -first % self.step
            self._marks.append(_copy(part[:, : step * MARKS : step]))
            if skip < rows:
                self._rows.append(_copy(part[skip :: self.step, : self._width]))

    def add_turned(self, first: int, part: Tensor | Bits, length: int) -> None:
        """Take from values ``first`` to first + r of every channel, (r, C), of ``length`` each."""
        self._add_values(part)
        if first < self._width:
            self._rows.append(_copy(part[: self._width - first, :: self.step]))
        step = max(1, length // MARKS)
        for place in range(first + -first % step, min(first + part.shape[0], step * MARKS), step):
            self._marks.append(_copy(part[place - first : place - first + 1]))

    def _add_values(self, part: Tensor | Bits) -> None:
        flat = part.reshape(-1)
        self._values.append(_copy(flat[-self._at % self.stride :: self.stride]))
        self._at += flat.shape[0]

    def sample(self) -> Tensor:
        return self._joined(self._values).double().cpu()

    def slab(self) -> Tensor:
        return self._joined(self._rows, 2).float().cpu()

    def marks(self) -> Tensor:
        return self._joined(self._marks, 2).float().cpu()

    def _joined(self, parts: list[Tensor | Bits], dim: int = 1) -> Tensor:
        """Join what was taken; nothing at all comes in the shape that its readers expect."""
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if tensors:
            return torch.cat(tensors)
        bits = [part for part in parts if not isinstance(part, Tensor)]
        return from_bits(np.concatenate(bits), self._empty.dtype) if bits else self._empty.reshape((0,) * dim)


def _copy(part: Tensor | Bits) -> Tensor | Bits:
    return part.clone() if isinstance(part, Tensor) else part.copy()
