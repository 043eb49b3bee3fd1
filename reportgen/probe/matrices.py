"""Figures of one matrix (channels, values of a channel) from a sweep over it: filters, quantisation, norms."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainccinv
from torch import Tensor

from ..document.matrices import EmbeddingFacts, Filters, GainFacts, Quantisation, ShapeFacts
from ..document.stats import TensorStats
from .sweep import SAFE, Sweep

FP16_LARGEST = 65504.0
FP16_LOST = 2.0**-25  # rounds to zero in float16
_DEAD = 1e-3  # of the median norm
_SMALL_RAW = 0.01
_COPY = 1e-6  # relative: what the sums of squares of equal rows may differ by
_ODD = np.random.default_rng(0).integers(1 << 62, size=16) * 2 + 1  # of a hash over a few values
_MOST_COPIES = 4096  # pairs that are verified element by element
_GRAM = 1 << 24  # multiply-adds that comparing channels may take
_ALPHA = 1e-3
_NEAR = 0.98
_GROUP = 128
_FAR = 8.0
_MAX_EXAMPLES = 5


class Rows(NamedTuple):
    """The channels of one matrix: some of those that were swept."""

    places: NDArray[np.intp]
    """Which ones."""
    sums: Tensor
    """Of every so many channels."""
    squares: Tensor
    slab: Tensor
    """(R, d') float32: some of the channels."""
    length: int
    """Values in a channel."""
    marks: Tensor

    @property
    def rms(self) -> float:
        return math.sqrt(float(self.squares.sum()) / max(len(self.squares) * self.length, 1))


def rows_of(found: Sweep, length: int, first: int = 0, last: int | None = None) -> Rows:
    """Return a range of the channels."""
    last = len(found.squares) if last is None else last
    if (first, last) == (0, len(found.squares)):
        return Rows(np.arange(last), found.sums, found.squares, found.slab, length, found.marks)
    inside = (found.places >= first) & (found.places < last)
    sums = found.sums[math.ceil(first / found.every) : math.ceil(last / found.every)]
    places = np.arange(first, last)
    return Rows(places, sums, found.squares[first:last], found.slab[inside], length, found.marks[first:last])


def rows_at(found: Sweep, length: int, places: NDArray[np.intp]) -> Rows:
    """Return channels by their places, which ascend."""
    taken = found.places.numpy()
    at = torch.from_numpy(places)
    return Rows(
        places,
        found.sums[torch.from_numpy(places[places % found.every == 0] // found.every)],
        found.squares[at],
        found.slab[torch.from_numpy(np.isin(taken, places))],
        length,
        found.marks[at],
    )


# ---- filters


def filters(rows: Rows, x: Tensor, folding: Tensor | None = None) -> Filters:
    """Compare the channels. ``x``: the tensor (C, ...), read again where two channels seem to be equal.

    ``folding``: (C,) factors of a batch norm that follows.
    """
    squares, slab = rows.squares.numpy(), rows.slab.numpy()  # small operations, which numpy begins sooner than torch
    norms = np.sqrt(squares)
    if folding is not None:
        norms = norms * folding.cpu().numpy()
    norms.sort()
    median = float(norms[(len(norms) - 1) // 2])
    rms, means = rows.rms, rows.sums.numpy() / max(rows.length, 1)
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    tops = np.maximum(slab.max(1), -slab.min(1)) if slab.size else np.zeros(0, np.float32)
    pairs = _pairs(slab, tops)
    return Filters(
        dead=int(np.searchsorted(norms, _DEAD * median, side="right")),
        zero=len(squares) - int(np.count_nonzero(squares)),
        folded=folding is not None,
        norm_low=float(norms[0]),
        norm_median=median,
        norm_high=float(norms[-1]),
        copies=copies(rows, x),
        compared=pairs.compared,
        similar=pairs.similar,
        largest_cosine=pairs.largest,
        line=pairs.line,
        chance=pairs.chance,
        dimensions=pairs.dimensions,
        diversity=spread * math.sqrt(rows.length) / rms if rms else 0.0,
        diversity_raw=spread,
        dead_raw=float((tops < _SMALL_RAW).mean()) if slab.size else 0.0,
        correlation_raw=pairs.pearson,
    )


class _Pairs(NamedTuple):
    compared: int = 0
    similar: int | None = None
    largest: float | None = None
    line: float | None = None
    chance: float | None = None
    dimensions: float | None = None
    pearson: float | None = None


def _pairs(slab: NDArray[np.float32], tops: NDArray[np.float32]) -> _Pairs:
    """Compare channels pair by pair, so many of them as the work allowed for permits, evenly spaced.

    ``tops``: the largest magnitude of each.
    """
    d = slab.shape[1] if slab.ndim == 2 else 0
    live = slab if bool((tops > 0).all()) else slab[tops > 0]
    n = min(len(live), max(2, math.isqrt(_GRAM // max(d, 1))))
    if n < 2 or d < 2:
        return _Pairs(len(live))
    x = live if n == len(live) else live[np.linspace(0, len(live) - 1, n).round().astype(np.intp)]
    least, most = float(tops[tops > 0].min()), float(tops.max())
    if least < SAFE[0] or most > SAFE[1]:  # a cosine has no scale, and its squares stay in float32
        x = x / np.abs(x).max(1, keepdims=True)
    gram = x @ x.T
    squares, means = gram.diagonal().copy(), x.mean(1)
    lengths = np.sqrt(squares)
    cosine = gram / (lengths[:, None] * lengths[None])
    np.fill_diagonal(cosine, 0.0)
    squared = float(np.einsum("ij,ij->", cosine, cosine, dtype=np.float64)) / (n * (n - 1))
    np.fill_diagonal(cosine, -1.0)
    largest = float(cosine.max())
    dimensions = min(max(1.0 / squared, 1.0), float(d)) if squared > 0 else float(d)
    chance = chance_cosine(n, dimensions)
    judged = d >= 16 and dimensions >= 8
    line = max(_NEAR, chance)
    similar = 0 if largest <= line else int(np.triu(cosine > line, 1).any(0).sum())
    return _Pairs(
        compared=n,
        similar=similar if judged else None,
        largest=largest,
        line=line if judged else None,
        chance=chance,
        dimensions=dimensions,
        pearson=_pearson(gram, squares, means, d),
    )


def _pearson(
    gram: NDArray[np.float32], squares: NDArray[np.float32], means: NDArray[np.float32], d: int
) -> float | None:
    """Return the mean of the five largest correlations between different rows; None where fewer than two rows vary."""
    centred, variances = gram - d * means[:, None] * means[None], squares - d * means * means
    varied = variances > 1e-6 * squares
    m = int(varied.sum())
    if m < 2:
        return None
    scale = np.sqrt(np.maximum(variances, 1e-30))
    pearson = centred / (scale[:, None] * scale[None])
    np.fill_diagonal(pearson, -np.inf)
    both = pearson[varied][:, varied].reshape(-1) if m < len(varied) else pearson.reshape(-1)
    n = min(10, m * (m - 1))  # every pair stands there twice
    return float(np.partition(both, len(both) - n)[-n:].mean(dtype=np.float64))


def chance_cosine(n: int, dimensions: float) -> float:
    """Return what the largest |cosine| among n random directions exceeds with probability 1e-3.

    The square of a cosine is Beta(1/2, (d-1)/2) distributed; Bonferroni over the pairs.
    """
    if dimensions <= 1 or n < 2:
        return 1.0
    return math.sqrt(float(betainccinv(0.5, (dimensions - 1) / 2, _ALPHA / (n * (n - 1) / 2))))


def copies(rows: Rows, x: Tensor) -> int:
    """Count channels that repeat another: candidates agree in a few values and in norm, and are then compared."""
    bits = (rows.marks + 0.0).cpu().numpy().view(np.int32).astype(np.int64)  # +0.0 makes one of the two zeros
    keys = bits @ _ODD[: bits.shape[1]]
    ordered = np.sort(keys)
    if not np.equal(ordered[1:], ordered[:-1]).any():
        return 0
    squares = rows.squares.cpu().numpy()
    order = np.lexsort((squares, keys))
    keys, s, places = keys[order], squares[order], rows.places[order]
    near = (keys[1:] == keys[:-1]) & (s[1:] > 0) & (np.abs(s[1:] - s[:-1]) <= _COPY * s[1:])
    found = 0
    for i in np.flatnonzero(near)[:_MOST_COPIES]:
        found += torch.equal(x[int(places[i])], x[int(places[i + 1])])
    return found


# ---- quantisation and distribution


def quantisation(slab: Tensor, largest: float) -> Quantisation | None:
    """Round to integers and back; ``largest``: the largest magnitude of the whole tensor."""
    if not slab.numel() or not largest:
        return None
    x = slab.numpy()
    width = x.shape[1] - x.shape[1] % _GROUP or x.shape[1]
    groups = x[:, :width].reshape(-1, min(_GROUP, width))
    largest_of_groups = np.maximum(groups.max(1), -groups.min(1))
    rows = largest_of_groups.reshape(len(x), -1).max(1)
    if width < x.shape[1]:
        rows = np.maximum(rows, np.abs(x[:, width:]).max(1))
    return Quantisation(
        int8_tensor=_sqnr(x, np.full(len(x), largest / 127, np.float32)),
        int8_channel=_sqnr(x, rows / np.float32(127)),
        int4_group=_sqnr(groups, largest_of_groups / np.float32(7)),
    )


def _sqnr(x: NDArray[np.float32], scale: NDArray[np.float32]) -> float | None:
    """Return 10·log10(Σx²/Σ(x-q)²) of rows, each rounded in steps of its own; None where nothing is lost.

    No value is larger than what its scale was made for, so that none is cut off.
    """
    steps = np.where(scale > 0, scale, np.float32(1.0))[:, None]
    scaled = x / steps
    noise = np.rint(scaled)
    noise -= scaled
    with np.errstate(over="ignore"):
        lost, signal = _energy(noise, steps), _energy(x)
    return 10 * math.log10(signal / lost) if lost > 0 and 0 < signal < math.inf else None


def _energy(x: NDArray[np.float32], scale: NDArray[np.float32] | float = 1.0) -> float:
    """Return the sum of squares of rows, each times a number of its own."""
    rows = np.matmul(x[:, None, :], x[:, :, None]).reshape(-1, 1).astype(np.float64)
    return float((rows * np.square(scale, dtype=np.float64)).sum())


def distribution(found: Sweep, dtype: torch.dtype) -> ShapeFacts | None:
    """Tell of heavy tails and of the range of float16; None for a tensor with too few values."""
    stats, sample = found.stats, found.sample.numpy()
    if stats.finite < 8 or stats.min is None or stats.max is None or not sample.size:
        return None
    largest, rms = max(-stats.min, stats.max), stats.rms or 0.0
    squares = sample - sample.mean()
    squares *= squares
    variance = float(squares.mean())
    kept = int(np.count_nonzero(sample))
    wide = dtype in (torch.float32, torch.float64, torch.bfloat16)
    lost = int(np.count_nonzero(np.abs(sample) <= FP16_LOST)) - (len(sample) - kept)
    return ShapeFacts(
        sample=len(sample),
        exact=len(sample) == stats.finite,
        kurtosis=float(squares @ squares) / len(sample) / variance**2 - 3 if variance**2 > 0 else None,
        outlier=largest / rms / math.sqrt(2 * math.log(stats.finite)) if rms else None,
        fp16_overflow=largest > FP16_LARGEST,
        fp16_lost=lost / kept if wide and kept else None,
        pattern=_pattern(found.slab, stats),
    )


def _pattern(slab: Tensor, stats: TensorStats) -> str | None:
    """Recognise two zeros in every four neighbours, which hardware can skip."""
    if (stats.zero_share or 0) < 0.4 or slab.shape[-1] % 4 or not slab.numel():
        return None
    zeros = (slab.reshape(-1, 4) == 0).sum(1)
    return "2:4" if bool((zeros >= 2).all()) and not bool((zeros == 4).all()) else None


# ---- norms and embeddings


def gains(weight: Tensor) -> GainFacts | None:
    """Describe the gains of a norm layer."""
    g = weight.detach().double().reshape(-1)
    if not g.numel() or not bool(torch.isfinite(g).all()):
        return None
    around_zero = bool(g.mean().abs() < 0.5 * g.abs().mean()) and bool((g < 0).any())
    a = g.abs()
    median = float(a.median())
    low, high = (float(q) for q in np.quantile(a.cpu().numpy(), [0.01, 0.99]))
    return GainFacts(
        median=median,
        near_zero=int((a <= _DEAD * median).sum()) if median else int((a == 0).sum()),
        largest=float(a.max()) / median if median else 0.0,
        negative=int((g < 0).sum()),
        spread=math.log10(high / low) if low > 0 else None,
        around_zero=around_zero,
    )


def embedding(rows: Rows, x: Tensor) -> EmbeddingFacts:
    """Describe the rows of an embedding; a row that was never trained often has a norm far from all others."""
    norms = rows.squares.sqrt()
    median = norms.median()
    deviation = 1.4826 * float((norms - median).abs().median())
    live = norms > 0
    far = ((norms - median).abs() > _FAR * deviation) & live if deviation else torch.zeros_like(live)
    return EmbeddingFacts(
        rows=len(norms),
        zero=int((~live).sum()),
        copies=copies(rows, x),
        norm_low=float(norms.min()),
        norm_median=float(median),
        norm_high=float(norms.max()),
        far=int(far.sum()),
        far_examples=[int(i) for i in far.nonzero().flatten()[:_MAX_EXAMPLES]],
    )
