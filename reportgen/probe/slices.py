"""What is made of the slices of a tensor while they are in the cache: sums of channels, and a few values to keep.

Measured on a core with AVX-512, in nanoseconds an element: a look at integers 0.03 (two bytes each) or 0.06 (four), a
conversion to float32 in memory that is used again 0.1, in new memory 0.2 and more; sums of rows 0.06, products of rows
with themselves by BLAS 0.05 against 0.1 of ``vector_norm``; 5.1 for 8-bit floats by torch, 0.75 by a table.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .extremes import Bits, from_bits

SLICE = 1 << 20  # bytes with what is made of them: half the cache of one core
SAMPLE = 1 << 15
MARKS = 8
_SLAB = 1 << 16
_SLAB_ROWS = 16
_SLAB_COLUMNS = 1 << 14
_MANY = 1024  # rows of bfloat16 whose sums need not be made in float32
_FEW = 32  # rows below which what torch does once for each column takes longest
_FLUSH = 8  # slices whose column sums are added in float32


def slice_of(dtype: torch.dtype) -> int:
    """Return how many elements a slice has: they fit the cache together with what is made of them."""
    made = 8 * (dtype.itemsize == 1) + 4 * (dtype is torch.float16)
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


class Wide:
    """Slices as arrays of float32 or float64, which numpy computes with: those of other types in memory used again."""

    def __init__(self, x: Tensor) -> None:
        own = lifted_type(x.dtype)
        self.own = own in (torch.float32, torch.float64)
        self.dtype = np.dtype(np.float64 if own is torch.float64 else np.float32)
        self._memory = Memory(x)
        self._array = np.zeros((0, 0), self.dtype)

    def of(self, part: Tensor) -> NDArray[Any]:
        """Return a slice (r, c), to be read where it is ``own``, else to be written too; until the next call."""
        if self.own:
            return part.numpy()
        copied = self._memory.like(part).copy_(part)
        if self._array.shape != copied.shape:
            self._array = copied.numpy()
        return self._array


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
    """Sums and sums of squares of channels, made in float32 and kept in float64.

    Of bfloat16 each is rounded once, to 8 bits, where there are many: a thousand of them together are good to four
    digits, which is asked of the whole tensor and of no single channel.
    """

    def __init__(self, x: Tensor, channels: int, length: int, every: int) -> None:
        self.every = every
        self._by_torch = x.device.type != "cpu" or (x.dtype is torch.bfloat16 and channels >= _MANY)
        self._wide = Wide(x)
        self._ones = np.ones(length, self._wide.dtype)
        self._sums = np.zeros(math.ceil(channels / every))
        self._squares = np.zeros(channels)
        self._waiting: list[tuple[int, Tensor, Tensor]] = []
        """First row, sums and norms: to bring each of them into its place at once would take as long as they do."""

    def add(self, first: int, part: Tensor) -> None:
        """Take rows (r, c), whole or in part."""
        skip = -first % self.every
        if self._by_torch:
            norms = torch.linalg.vector_norm(part, dim=1)
            self._waiting.append((first, part[skip :: self.every].sum(1), norms))
            return
        wide = self._wide.of(part)
        squares = np.matmul(wide[:, None, :], wide[:, :, None]).reshape(-1)
        self._add(first, np.matmul(wide[skip :: self.every], self._ones[: wide.shape[1]]), squares)

    def add_exact(self, first: int, part: Tensor) -> None:
        """Take rows in float64. Sums are of all of them: of a tensor with such rows none is left out."""
        squares = torch.linalg.vector_norm(part, dim=1).square_()
        self._add(first, part.sum(1)[-first % self.every :: self.every].cpu().numpy(), squares.cpu().numpy())

    def _add(self, first: int, sums: NDArray[Any], squares: NDArray[Any]) -> None:
        start = math.ceil(first / self.every)
        self._sums[start : start + len(sums)] += sums
        self._squares[first : first + len(squares)] += squares

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return (C / every,) sums and (C,) sums of squares, float64."""
        if self._waiting:
            sums = torch.cat([sums for _, sums, _ in self._waiting]).double().cpu().numpy()
            squares = torch.cat([norms for _, _, norms in self._waiting]).double().square_().cpu().numpy()
            a = b = 0
            for first, some, norms in self._waiting:
                self._add(first, sums[a : a + len(some)], squares[b : b + len(norms)])
                a, b = a + len(some), b + len(norms)
        return torch.from_numpy(self._sums), torch.from_numpy(self._squares)


class Columns:
    """Sums and sums of squares of columns: a few slices in float32, all of them in float64.

    Of bfloat16 they come from the means and variances that torch computes for a batch norm, in two looks at the
    slice and without a copy of it; of few rows, and of other types, they are products with ones.
    """

    def __init__(self, x: Tensor) -> None:
        self._lies_still = x.device.type == "cpu"
        self._wide = Wide(x)
        self._running = x.new_zeros(x.shape[1], dtype=torch.float32) if x.dtype is torch.bfloat16 else None
        self._ones = np.ones(0, self._wide.dtype)
        self._some = np.zeros((2, x.shape[1]), self._wide.dtype)
        self._slices = 0
        self._all = x.new_zeros(2, x.shape[1], dtype=torch.float64)

    def add(self, part: Tensor) -> None:
        """Take rows (r, C)."""
        if not self._lies_still:
            norms = torch.linalg.vector_norm(part, dim=0, dtype=torch.float32 if part.itemsize < 4 else None)
            self._all += torch.stack([part.sum(0, dtype=torch.float64), norms.double().square_()])
            return
        if self._running is not None and len(part) >= _FEW:
            means, variances = torch.batch_norm_update_stats(part, self._running, self._running, 0.0)
            mean, count = means.numpy(), np.float32(len(part))
            self._some[0] += mean * count
            self._some[1] += (variances.numpy() + mean * mean) * count
        elif self._wide.own:
            wide, ones = part.numpy(), self._ones_of(len(part))
            self._some[0] += np.matmul(ones, wide)
            self._some[1] += np.einsum("ij,ij->j", wide, wide)
        else:
            most = max(1, SLICE // (self._wide.dtype.itemsize * part.shape[1]))
            for few in (part,) if len(part) <= most else torch.split(part, most):
                wide, ones = self._wide.of(few), self._ones_of(len(few))
                self._some[0] += np.matmul(ones, wide)
                self._some[1] += np.matmul(ones, np.multiply(wide, wide, out=wide))
        self._slices += 1
        if self._slices % _FLUSH == 0:
            self._flush()

    def _ones_of(self, rows: int) -> NDArray[Any]:
        if len(self._ones) < rows:
            self._ones = np.ones(rows, self._wide.dtype)
        return self._ones[:rows]

    def _flush(self) -> None:
        self._all += torch.from_numpy(self._some).to(self._all.device)
        self._some[:] = 0

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
