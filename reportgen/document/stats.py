"""Accumulators of fixed size in plain numbers, with ``merge``: sums and counts, never means.

Whatever is measured in parts (batches, slices of a tensor, workers, ranks) is merged here, and the
parts may come in any order: counts, extremes and histograms are then the same exactly, moments to
the rounding of float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from functools import cache, reduce

from msgspec import Struct

# A float32 seen as an integer is sign (1), exponent (8), mantissa (23). Its first 12 bits, sign, exponent
# and three bits of mantissa, number 4096 bins whose edges never move: eight to an octave, 9 % wide at most.
BIN_SHIFT = 20
N_BINS = 1 << (32 - BIN_SHIFT)
_SIGN = N_BINS >> 1
_INFINITE = (0xFF << 23) >> BIN_SHIFT  # first bin that holds infinities and NaN, by magnitude


def _as_float(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


@cache  # of 4096 bins
def bin_edges(index: int) -> tuple[float, float]:
    """Return the lower and the upper edge of a bin on the number line.

    ``index`` is the unsigned top part of the float32 pattern: below 2048 the values are positive, from 2048
    on they are negative, and there the magnitude grows with the index.
    """
    magnitude = index & (_SIGN - 1)
    near = _as_float(magnitude << BIN_SHIFT)
    far = _as_float((magnitude + 1) << BIN_SHIFT) if magnitude + 1 < _INFINITE else 2.0**128
    return (-far, -near) if index & _SIGN else (near, far)


class Histogram(Struct, frozen=True, kw_only=True):
    """Counts of finite values by the first 12 bits of their float32 pattern, sparse and ascending by index.

    ``stride`` above 1 says that only every stride-th value of some part was counted: shares hold, counts do not.
    """

    bins: list[int] = []
    counts: list[int] = []
    stride: int = 1

    def __post_init__(self) -> None:
        if len(self.bins) != len(self.counts) or any(not 0 <= b < N_BINS for b in self.bins):
            raise ValueError("a histogram has one count for each of its bins")

    @property
    def total(self) -> int:
        return sum(self.counts)

    def merge(self, other: Histogram) -> Histogram:
        table = dict(zip(self.bins, self.counts, strict=True))
        for index, count in zip(other.bins, other.counts, strict=True):
            table[index] = table.get(index, 0) + count
        bins = sorted(table)
        return Histogram(bins=bins, counts=[table[b] for b in bins], stride=max(self.stride, other.stride))

    def ordered(self) -> list[tuple[float, float, int]]:
        """Return (low, high, count) along the number line, most negative first."""
        return sorted((*bin_edges(b), c) for b, c in zip(self.bins, self.counts, strict=True))

    def quantile(self, q: float) -> float | None:
        """Return the value below which the share ``q`` lies, linear inside its bin; None when empty."""
        wanted, seen = q * self.total, 0.0
        rows = self.ordered()
        for low, high, count in rows:
            if seen + count >= wanted:
                return low + (high - low) * max(wanted - seen, 0.0) / count
            seen += count
        return rows[-1][1] if rows else None

    def rebin(self, low: float, high: float, n: int) -> list[float]:
        """Spread the counts over ``n`` even bins on [low, high], for drawing; a bin's values count as spread evenly."""
        out = [0.0] * n
        width = (high - low) / n
        if width <= 0:
            return [float(self.total), *out[1:]] if n else out
        for a, b, count in self.ordered():
            a, b = max(a, low), min(b, high)
            first = min(max(int((a - low) / width), 0), n - 1)
            last = min(max(math.ceil((b - low) / width) - 1, first), n - 1)
            if b <= a or first == last:
                out[first] += count
                continue
            for k in range(first, last + 1):
                overlap = min(b, low + (k + 1) * width) - max(a, low + k * width)
                out[k] += count * max(overlap, 0.0) / (b - a)
        return out


class TensorStats(Struct, frozen=True, kw_only=True):
    """Statistics of a set of numbers. Moments and extremes are over the finite values; the rest is counted beside."""

    count: int = 0
    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0
    zeros: int = 0
    sum: float = 0.0
    m2: float = 0.0
    """Sum of squared deviations from the mean of the finite values."""
    min: float | None = None
    max: float | None = None
    histogram: Histogram | None = None
    bars: list[int] | None = None
    """Counts in even bins from ``min`` to ``max``, of a tensor that was measured whole; they do not merge."""

    def __post_init__(self) -> None:
        if min(self.count, self.nan, self.pos_inf, self.neg_inf, self.zeros, self.finite) < 0:
            raise ValueError("counts are never negative")

    @property
    def nonfinite(self) -> int:
        return self.nan + self.pos_inf + self.neg_inf

    @property
    def finite(self) -> int:
        return self.count - self.nonfinite

    @property
    def mean(self) -> float | None:
        return self.sum / self.finite if self.finite else None

    @property
    def std(self) -> float | None:
        """Population standard deviation (divided by n, as numpy does)."""
        return math.sqrt(max(self.m2, 0.0) / self.finite) if self.finite else None

    @property
    def norm(self) -> float | None:
        """Euclidean norm."""
        return math.sqrt(self.sum_of_squares) if self.finite else None

    @property
    def rms(self) -> float | None:
        return math.sqrt(self.sum_of_squares / self.finite) if self.finite else None

    @property
    def sum_of_squares(self) -> float:
        return max(self.m2, 0.0) + (self.sum * self.sum / self.finite if self.finite else 0.0)

    @property
    def zero_share(self) -> float | None:
        return self.zeros / self.count if self.count else None

    def merge(self, other: TensorStats) -> TensorStats:
        """Add two parts up (Chan, Golub and LeVeque 1979 for the squared deviations)."""
        if not other.count:
            return self
        if not self.count:
            return other
        m2 = self.m2 + other.m2
        if self.finite and other.finite:
            delta = other.sum / other.finite - self.sum / self.finite
            m2 += delta * delta * (self.finite * other.finite / (self.finite + other.finite))
        return TensorStats(
            count=self.count + other.count,
            nan=self.nan + other.nan,
            pos_inf=self.pos_inf + other.pos_inf,
            neg_inf=self.neg_inf + other.neg_inf,
            zeros=self.zeros + other.zeros,
            sum=self.sum + other.sum,
            m2=m2,
            min=_extreme(min, self.min, other.min),
            max=_extreme(max, self.max, other.max),
            histogram=_merge_histograms(self.histogram, other.histogram),
        )


def merge_all(parts: Iterable[TensorStats]) -> TensorStats:
    """Merge any number of parts."""
    return reduce(TensorStats.merge, parts, TensorStats())


def _extreme(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return choose(a, b) if a is not None and b is not None else a if b is None else b


def _merge_histograms(a: Histogram | None, b: Histogram | None) -> Histogram | None:
    return a.merge(b) if a is not None and b is not None else None
