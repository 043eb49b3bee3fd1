"""Smallest, largest and number of zeros of many slices, from the bits of their floats where the processor has them.

Floats order as integers do by their bits: positive ones as signed, negative ones, reversed, as unsigned. Three looks at
integers take a third of the time of one look at floats, and tell of NaN and infinity too.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[Any]

_INTEGERS: dict[int, tuple[torch.dtype, Any]] = {
    2: (torch.int16, np.dtype(np.uint16)),
    4: (torch.int32, np.dtype(np.uint32)),
    8: (torch.int64, np.dtype(np.uint64)),
}


def bits_of(x: Tensor) -> Bits | None:
    """Return the memory of a tensor as signed integers of its size, in its shape; None where that cannot be had."""
    if x.device.type != "cpu" or x.element_size() not in _INTEGERS or not x.is_contiguous():
        return None
    bits: Bits = x.view(_INTEGERS[x.element_size()][0]).numpy()
    return bits


def from_bits(bits: Bits, dtype: torch.dtype) -> Tensor:
    """Return the values that have these bits; the memory is shared."""
    return torch.from_numpy(bits).view(dtype)


class Extremes:
    """What was seen of finite values so far."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.low, self.high, self.zeros, self.count = math.inf, -math.inf, 0, 0
        self._dtype = dtype
        size = dtype.itemsize
        if size in _INTEGERS:
            self._unsigned = _INTEGERS[size][1]
            self._sign = 1 << (8 * size - 1)
            self._infinite = _bits_of_infinity(dtype) if dtype.is_floating_point else 0
            self._most, self._far = -1 << 64, -1  # bits of the largest and, unsigned, of the smallest

    def add(self, part: Tensor) -> bool:
        """Take a slice of any kind; False, and nothing taken, beside NaN and infinity."""
        part = part.float() if part.element_size() == 1 else part  # of 8 bits, with which torch does not compute
        low, high = (float(v) for v in torch.aminmax(part))
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self._take(low, high, part.numel() - int(torch.count_nonzero(part)), part.numel())
        return True

    def add_bits(self, bits: Bits) -> bool:
        """Take a slice by its bits, flat; False, and nothing taken, beside NaN and infinity."""
        sign = self._sign
        magnitudes = bits.view(self._unsigned)
        most, far = int(np.maximum.reduce(bits)), int(np.maximum.reduce(magnitudes))
        if most >= self._infinite or far >= sign + self._infinite:
            return False
        if most >= 0 and far > sign and np.minimum.reduce(magnitudes):  # both signs, and no zero
            self._most, self._far = max(self._most, most), max(self._far, far)
            self.count += bits.size
            return True
        nonzero, least = int(np.count_nonzero(bits)), int(np.minimum.reduce(bits))
        if least == -sign:  # negative zeros
            nonzero = int(np.count_nonzero(magnitudes << 1))
        low = far - 2 * sign if far >= sign else least
        self._take(self._value(low), self._value(most if most >= 0 else least), bits.size - nonzero, bits.size)
        return True

    def finish(self) -> None:
        """Read the bits that were kept; to be called before the figures are looked at."""
        if self.count and getattr(self, "_far", -1) >= 0:
            self._take(self._value(self._far - 2 * self._sign), self._value(self._most), 0, 0)

    def _take(self, low: float, high: float, zeros: int, count: int) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.zeros, self.count = self.zeros + zeros, self.count + count

    def _value(self, bits: int) -> float:
        """Read a signed integer as the float whose bits it has."""
        return float(from_bits(np.array([bits], f"i{self._dtype.itemsize}"), self._dtype))


@lru_cache(maxsize=16)
def _bits_of_infinity(dtype: torch.dtype) -> int:
    (bits,) = torch.tensor([math.inf], dtype=dtype).view(_INTEGERS[dtype.itemsize][0]).tolist()
    return int(bits)
