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
from .sweep import Sweep

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
    inside = (found.places >= first) & (found.places < last)
    sums = found.sums[math.ceil(first / found.every) : math.ceil(last / found.every)]
    places = np.arange(first, last)
    return Rows(places, sums, found.squares[first:last], found.slab[inside], length, found.marks[first:last])


def rows_in_turn(found: Sweep, length: int, period: int, start: int, run: int) -> Rows:
    """Return, of every ``period`` channels, the ``run`` from ``start`` on."""
    channels = torch.arange(len(found.squares), device=found.squares.device)
    inside = (channels % period >= start) & (channels % period < start + run)
    places = inside.nonzero().flatten()
    return Rows(
        places.cpu().numpy(),
        found.sums[inside[:: found.every]],
        found.squares[places],
        found.slab[inside[found.places.long()]],
        length,
        found.marks[places],
    )


# ---- filters


def filters(rows: Rows, x: Tensor, folding: Tensor | None = None) -> Filters:
    """Compare the channels. ``x``: the tensor (C, ...), read again where two channels seem to be equal.

    ``folding``: (C,) factors of a batch norm that follows.
    """
    norms = rows.squares.sqrt()
    zero = int((rows.squares == 0).sum())
    if folding is not None:
        norms = norms * folding.to(norms)
    median = float(norms.median())
    dead = int((norms <= _DEAD * median).sum()) if median else int((norms == 0).sum())
    rms, means = rows.rms, rows.sums / max(rows.length, 1)
    spread = float(means.std()) if len(means) > 1 else 0.0
    pairs = _pairs(rows.slab)
    return Filters(
        dead=dead,
        zero=zero,
        folded=folding is not None,
        norm_low=float(norms.min()),
        norm_median=median,
        norm_high=float(norms.max()),
        copies=copies(rows, x),
        compared=pairs.compared,
        similar=pairs.similar,
        largest_cosine=pairs.largest,
        line=pairs.line,
        chance=pairs.chance,
        dimensions=pairs.dimensions,
        diversity=spread * math.sqrt(rows.length) / rms if rms else 0.0,
        diversity_raw=spread,
        dead_raw=float((rows.slab.abs().amax(1) < _SMALL_RAW).double().mean()) if rows.slab.numel() else 0.0,
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


def _pairs(slab: Tensor) -> _Pairs:
    """Compare channels pair by pair, so many of them as the work allowed for permits, evenly spaced."""
    d = slab.shape[1] if slab.dim() == 2 else 0
    alive = slab.any(1) if slab.numel() else None
    live = slab if alive is None or bool(alive.all()) else slab[alive]
    n = min(len(live), max(2, math.isqrt(_GRAM // max(d, 1))))
    if n < 2 or d < 2:
        return _Pairs(len(live))
    x = live if n == len(live) else live[torch.linspace(0, len(live) - 1, n, device=live.device).round().long()]
    gram = x @ x.T
    squares, means = gram.diagonal(), x.mean(1)
    above = torch.ones(n, n, dtype=torch.bool, device=x.device).triu_(1)
    cosine = gram / (squares[:, None] * squares[None]).sqrt()
    off = cosine[above]
    squared = float(off.double().square().mean())
    dimensions = min(max(1.0 / squared, 1.0), float(d)) if squared > 0 else float(d)
    chance = chance_cosine(n, dimensions)
    judged = d >= 16 and dimensions >= 8
    line = max(_NEAR, chance)
    centred, variances = gram - d * means[:, None] * means[None], squares - d * means.square()
    varied = variances > 1e-6 * squares
    pearson = centred / (variances[:, None] * variances[None]).clamp_min(1e-30).sqrt()
    known = pearson[above & varied[:, None] & varied[None]]
    return _Pairs(
        compared=n,
        similar=int(((cosine > line) & above).any(0).sum()) if judged else None,
        largest=float(off.max()),
        line=line if judged else None,
        chance=chance,
        dimensions=dimensions,
        pearson=float(known.topk(min(5, len(known))).values.mean()) if len(known) else None,
    )


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
    width = slab.shape[1] - slab.shape[1] % _GROUP or slab.shape[1]
    groups = slab[:, :width].reshape(-1, min(_GROUP, width))
    largest_of_groups = groups.abs().amax(1, keepdim=True)
    rows = largest_of_groups.view(len(slab), -1).amax(1, keepdim=True)
    if width < slab.shape[1]:
        rows = torch.maximum(rows, slab[:, width:].abs().amax(1, keepdim=True))
    return Quantisation(
        int8_tensor=_sqnr(slab, torch.tensor(largest / 127, device=slab.device), 127),
        int8_channel=_sqnr(slab, rows / 127, 127),
        int4_group=_sqnr(groups, largest_of_groups / 7, 7),
    )


def _sqnr(x: Tensor, scale: Tensor, levels: int) -> float | None:
    """Return 10·log10(Σx²/Σ(x-q)²); None where nothing is lost."""
    scale = torch.where(scale > 0, scale, 1.0)
    noise = (x / scale).round_().clamp_(-levels, levels).mul_(scale).sub_(x)
    lost, signal = float(torch.linalg.vector_norm(noise)), float(torch.linalg.vector_norm(x))
    return 20 * math.log10(signal / lost) if lost > 0 and signal > 0 else None


def distribution(found: Sweep, dtype: torch.dtype) -> ShapeFacts | None:
    """Tell of heavy tails and of the range of float16; None for a tensor with too few values."""
    stats, sample = found.stats, found.sample
    if stats.finite < 8 or stats.min is None or stats.max is None or not sample.numel():
        return None
    largest, rms = max(-stats.min, stats.max), stats.rms or 0.0
    deviations = sample - sample.mean()
    squares = deviations.square_()
    variance = float(squares.mean())
    magnitude = sample.abs()
    kept = int((magnitude > 0).sum())
    wide = dtype in (torch.float32, torch.float64, torch.bfloat16)
    return ShapeFacts(
        sample=len(sample),
        exact=len(sample) == stats.finite,
        kurtosis=float(squares.square().mean()) / variance**2 - 3 if variance**2 > 0 else None,
        outlier=largest / rms / math.sqrt(2 * math.log(stats.finite)) if rms else None,
        fp16_overflow=largest > FP16_LARGEST,
        fp16_lost=int(((magnitude > 0) & (magnitude <= FP16_LOST)).sum()) / kept if wide and kept else None,
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
