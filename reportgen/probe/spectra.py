"""Singular values of a matrix: all of them from its Gram matrix, or a few steps of Lanczos with the error stated.

Null models: Marchenko and Pastur (1967) for the bulk of a random matrix, Tracy and Widom (1994) for its largest value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..document.matrices import Spectrum

Method = Literal["off", "fast", "exact"]
Values = NDArray[np.float64]

LARGEST_EXACT = 4096  # rows or columns, whichever are fewer
SMALLEST = 16  # below it a spectrum says nothing
_DOUBLE = 512
_DIRECT = 192  # up to which even the fast way takes all values
_ROUNDING = 2.0**-8  # relative error of what bfloat16 gives; measured 1e-4
_SMALL_GRAM = 1024  # rows up to which one product of the whole is cheaper than one with a vector at every step
_STEPS = 20
_CHEAP_STEPS = 24  # where each is a product with a small Gram matrix
_LEAST_STEPS = 7
_SETTLED = 1e-3  # relative residual of the largest Ritz value at which no more steps are made
_CACHED = 1 << 17  # elements of a block that is used twice
_BLOCK = 1 << 24  # elements of a matrix that are lifted to float32 at a time
_TW_LINE = 3.27  # 99.9 % point of Tracy-Widom, real
_BULK_FROM = 32  # values from which the median tells the variance of the bulk
_TAIL_FROM = 50
_BARS = 40
_FAINT, _VAST = 1e-8, 1e8  # of singular values between them float32 holds the fourth powers
_CONVERGED = 1e-2  # relative residual of a Ritz value that is taken for a true one


def spectrum(matrix: Tensor, method: Method, size: float = 1.0) -> Spectrum | None:
    """Measure a finite matrix (m, n) of magnitudes up to about ``size``.

    None when that was not asked for, or one side is below ``SMALLEST``.
    """
    if method == "off" or matrix.dim() != 2 or min(matrix.shape) < SMALLEST:
        return None
    if size and not (size > _FAINT and size * math.sqrt(matrix.numel()) < _VAST):
        power = math.frexp(size)[1]
        found = spectrum((matrix.double() * 0.5**power).to(torch.float32), method)
        return found and _times(found, power)
    short = min(matrix.shape)
    if short <= _DIRECT or (method == "exact" and short <= LARGEST_EXACT):
        values = singular_values(matrix)
        return described(values, matrix.shape[0], matrix.shape[1]) if values[0] > 0 else None
    return lanczos(matrix)


def _times(found: Spectrum, power: int) -> Spectrum:
    """Return the spectrum of the same matrix times 2 to ``power``; all else has no unit."""
    edge = None if found.edge is None else math.ldexp(found.edge, power)
    return msgspec.structs.replace(found, norm=math.ldexp(found.norm, power), edge=edge)


def singular_values(matrix: Tensor) -> Values:
    """Return all singular values, falling, as roots of the eigenvalues of a Gram matrix.

    It is summed in float64 over blocks. Above ``_DOUBLE`` the eigenvalues of a matrix that is no float64 itself are
    found in float32: values below a thousandth of the largest are then known to their order only.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    side = wide.shape[0]
    gram = _gram(wide, torch.float64)
    if side > _DOUBLE and matrix.dtype is not torch.float64:
        gram = gram.float()
    squares: Values = torch.linalg.eigvalsh(gram).flip(0).cpu().double().numpy()
    return np.sqrt(np.clip(squares, 0, None))


def _gram(wide: Tensor, dtype: torch.dtype) -> Tensor:
    """Return W·Wᵀ, the products of blocks of columns in float32 at least and their sum in the type asked for."""
    side = wide.shape[0]
    step = max(1, min(_BLOCK // side, 4096 if dtype is torch.float64 else wide.shape[1]))
    gram = None
    for first in range(0, wide.shape[1], step):
        block = wide[:, first : first + step]
        part = _square(block if block.dtype is torch.float64 else block.float()).to(dtype)
        gram = part if gram is None else gram.add_(part)
    return wide.new_zeros(side, side, dtype=dtype) if gram is None else gram


def _square(block: Tensor) -> Tensor:
    """Return B·Bᵀ; numpy knows that it is symmetric and does half of the work."""
    if block.device.type != "cpu":
        return block @ block.T
    a = (block if 1 in block.stride() else block.contiguous()).numpy()
    return torch.from_numpy(a @ a.T)


def described(values: Values, rows: int, columns: int) -> Spectrum:
    """Describe all singular values (k,), falling, of a matrix (rows, columns)."""
    m, n = sorted((rows, columns))
    squares = values**2
    total = float(squares.sum())
    shares = values / values.sum()
    shares = shares[shares > 0]
    edge, spikes = bulk(values, m, n) if m >= _BULK_FROM else (None, None)
    tail = power_law(squares) if m >= _TAIL_FROM else None
    return Spectrum(
        method="exact",
        norm=float(values[0]),
        stable_rank=total / float(squares[0]),
        stable_rank_null=m * n / (math.sqrt(m) + math.sqrt(n)) ** 2,
        participation=total**2 / float((squares**2).sum()),
        participation_null=m * n / (m + n),
        effective_rank=math.exp(-float((shares * np.log(shares)).sum())),
        edge=edge,
        spikes=spikes,
        spike_energy=None if spikes is None else float(squares[:spikes].sum()) / total,
        alpha=None if tail is None else tail.alpha,
        alpha_error=None if tail is None else tail.error,
        alpha_tail=None if tail is None else tail.n,
        alpha_distance=None if tail is None else tail.distance,
        alpha_null=None if tail is None else null_alpha(m, n),
        bars=[int(c) for c in np.histogram(values, bins=_BARS, range=(0.0, float(values[0])))[0]],
    )


# ---- null models


def bulk(values: Values, m: int, n: int) -> tuple[float | None, int | None]:
    """Return the bulk edge as a singular value and how many lie beyond its Tracy-Widom line.

    The variance is that of the median singular value, which a few large ones do not move (Gavish and Donoho 2014).
    """
    middle = float(np.median(values**2))
    variance = middle / (n * _quantiles(m / n, 2)[0])
    if variance <= 0:
        return None, None
    centre = (math.sqrt(m) + math.sqrt(n)) ** 2
    scale = (math.sqrt(m) + math.sqrt(n)) * (1 / math.sqrt(m) + 1 / math.sqrt(n)) ** (1 / 3)
    spikes = int((values**2 / variance > centre + _TW_LINE * scale).sum())
    return math.sqrt(variance * centre), spikes


@lru_cache(maxsize=256)
def _quantiles(ratio: float, n: int) -> tuple[float, ...]:
    """Return the quantiles 1/n, 2/n, ..., (n-1)/n of the Marchenko-Pastur law of ratio m/n <= 1 and variance 1."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    # x = middle - half·cos(t) takes the square roots at both ends out of the integral
    t = (np.arange(20_000) + 0.5) * (math.pi / 20_000)
    x = (low + high) / 2 - (high - low) / 2 * np.cos(t)
    density = np.sqrt(np.clip((high - x) * (x - low), 0, None)) * np.sin(t) / np.maximum(x, 1e-300)
    share = np.cumsum(density)
    wanted = np.arange(1, n) / n
    return tuple(float(v) for v in np.interp(wanted, share / share[-1], x))


class Tail(NamedTuple):
    """A power law fitted to the tail of some values."""

    alpha: float
    error: float
    """One standard deviation, (alpha - 1)/sqrt(n)."""
    n: int
    distance: float
    start: float


def power_law(values: Values) -> Tail | None:
    """Fit a power law by maximum likelihood, from the value on for which the Kolmogorov distance is least.

    alpha = 1 + n / Σ ln(x / x_min), as Clauset, Shalizi and Newman (2009) have it.
    """
    logs = np.log(np.sort(values[values > values.max() * 1e-12]))
    n = len(logs)
    if n < 3 or logs[-1] <= logs[0]:
        return None
    sizes = n - np.arange(n, dtype=np.float64)
    excess = np.cumsum(logs[::-1])[::-1] - sizes * logs
    starts = np.flatnonzero((excess > 0) & np.diff(logs, prepend=-math.inf).astype(bool))
    distances = np.concatenate([_distances(logs, starts[k : k + 64], sizes, excess) for k in range(0, len(starts), 64)])
    i = int(starts[distances.argmin()])
    rate = float(sizes[i] / excess[i])
    size = int(sizes[i])
    return Tail(1 + rate, rate / math.sqrt(size), size, float(distances.min()), math.exp(logs[i]))


def _distances(logs: Values, starts: NDArray[np.int64], sizes: Values, excess: Values) -> Values:
    """Return the Kolmogorov distance of the fit from each of some starts (s,), a block of them at a time."""
    low = int(starts[0])
    size, first = sizes[starts][:, None], logs[starts][:, None]
    beyond = np.maximum(logs[None, low:] - first, 0)
    model = 1 - np.exp(-size / excess[starts][:, None] * beyond)
    gap = np.abs(model - (np.arange(low, len(logs))[None] - starts[:, None]) / size)
    gap[np.arange(low, len(logs))[None] < starts[:, None]] = 0
    distances: Values = gap.max(1)
    return distances


@lru_cache(maxsize=256)
def null_alpha(m: int, n: int) -> float | None:
    """Return alpha of a random normal matrix: its squared singular values lie at the quantiles of their law."""
    tail = power_law(np.asarray(_quantiles(m / n, m + 1)))
    return None if tail is None else tail.alpha


# ---- a few steps instead of all values


def lanczos(matrix: Tensor) -> Spectrum | None:
    """Estimate the top of the spectrum by Lanczos from one random vector; the sum of squares is exact.

    The residual of the largest Ritz value bounds how far from it the nearest true value lies. Of a matrix whose shorter
    side is small the Gram matrix is made first: it is read once instead of at every step, and gives the fourth moment.
    Else that is the one of the Ritz values that have converged, and beneath them a stochastic trace estimate
    (Hutchinson 1990, Ubaru et al. 2017) with the error that its variance gives.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    m, n = wide.shape
    double = wide.dtype is torch.float64
    rounded = not double and wide.device.type == "cpu" and _multiplies_bfloat16()
    gram = None
    if m <= _SMALL_GRAM and (rounded or n >= 2 * m):
        gram = _rounded_gram(wide) if rounded else _gram(wide, torch.float64 if double else torch.float32)
        total = float(gram.diagonal().double().sum())
        product: Callable[[Tensor], Tensor] = partial(torch.mv, gram)
        side = m
    else:
        own = wide if double else wide.float() if wide.numel() <= _BLOCK else wide
        total = _sum_of_squares(own)
        product, side = _product(own)
    if not total or not math.isfinite(total):
        return None
    start = _direction(side, wide.device, torch.float64 if double else torch.float32)
    steps = _tridiagonal(product, start, min(_STEPS if gram is None else _CHEAP_STEPS, m))
    values, vectors = np.linalg.eigh(steps.table)
    top = float(values[-1])
    residuals = steps.rest * np.abs(vectors[-1])
    if gram is not None:
        fourth, error = float(torch.linalg.vector_norm(gram)) ** 2, 0.0
    else:
        fourth, error = _fourth_moment(values, vectors[0] ** 2, residuals, total, side)
    rounding = _ROUNDING if gram is not None and rounded else 0.0
    return Spectrum(
        method="fast",
        norm=math.sqrt(max(top, 0.0)),
        norm_error=rounding + math.sqrt(1 + float(residuals[-1]) / top) - 1 if top > 0 else 0.0,
        stable_rank=total / top,
        stable_rank_null=m * n / (math.sqrt(m) + math.sqrt(n)) ** 2,
        participation=min(max(total**2 / fourth, 1.0), float(m)),
        participation_null=m * n / (m + n),
        participation_error=error + rounding,
    )


@cache
def _multiplies_bfloat16() -> bool:
    """Tell whether the processor has units that multiply matrices of bfloat16: many times faster than float32."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer versions of torch
    return bool(told.get("amx_bf16")) and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _rounded_gram(wide: Tensor) -> Tensor:
    """Return W·Wᵀ from values of 8 bits, summed in float32: the errors of single entries average out in the figures."""
    gram = None
    step = max(1, _BLOCK // wide.shape[0])
    for first in range(0, wide.shape[1], step):
        block = wide[:, first : first + step].bfloat16()
        part = block @ block.T
        gram = part.float() if gram is None else gram.add_(part)
    return wide.new_zeros(wide.shape[0], wide.shape[0], dtype=torch.float32) if gram is None else gram


def _direction(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a random unit vector (side,): normal, for random signs may stand square to a matrix of few values."""
    generator = torch.Generator().manual_seed(side)  # its own: nobody else's random numbers are touched
    v: Tensor = torch.nn.functional.normalize(torch.randn(side, generator=generator), dim=0)
    return v.to(device=device, dtype=dtype)


def _sum_of_squares(x: Tensor) -> float:
    if x.dtype is torch.float64:
        return float(torch.linalg.vector_norm(x)) ** 2
    if x.element_size() == 1:  # of 8 bits, with which torch does not compute
        step = max(1, _BLOCK // x.shape[1])
        return sum(_sum_of_squares(x[first : first + step].float()) for first in range(0, x.shape[0], step))
    return float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float32).double().square().sum())


def _fourth_moment(values: Values, weights: Values, residuals: Values, total: float, m: int) -> tuple[float, float]:
    """Return Σσ⁴ and its relative error from Ritz values, their weights (the first components) and the exact Σσ²."""
    sure = (residuals <= _CONVERGED * values) & (values > 0)
    known, known_squares = float(values[sure].sum()), float((values[sure] ** 2).sum())
    v, w, rest = np.clip(values[~sure], 0, None), weights[~sure], m - int(sure.sum())
    first, second, fourth = (float((w * v**k).sum()) for k in (1, 2, 4))
    left = max(total - known, 0.0)
    if first <= 0 or rest <= 0 or left <= 1e-6 * total:
        return known_squares or total, 0.0
    bulk_squares = left * second / first  # a ratio of two estimates: their errors go together
    relative = math.sqrt(2 * fourth / float(w.sum()) / rest) / (second / float(w.sum()))
    everything = known_squares + bulk_squares
    return everything, relative * bulk_squares / everything


class _Steps(NamedTuple):
    table: Values
    """(q, q) tridiagonal."""
    rest: float
    """The next off-diagonal entry."""


def _tridiagonal(product: Callable[[Tensor], Tensor], start: Tensor, q: int) -> _Steps:
    """Run Lanczos with full reorthogonalisation, q being small, until the largest Ritz value has settled."""
    v = start
    basis = v.new_zeros(q, len(v))
    table = np.zeros((q, q))
    rest = 0.0
    for i in range(q):
        basis[i] = v
        w = product(v)
        table[i, i] = float(torch.dot(w, v))
        known = basis[: i + 1]
        w = w - known.T @ (known @ w)
        w = w - known.T @ (known @ w)
        rest = float(torch.linalg.vector_norm(w))
        if rest <= 64 * torch.finfo(v.dtype).eps * table.max():  # the vectors span all but rounding
            return _Steps(table[: i + 1, : i + 1], 0.0)
        if i + 1 == q or (i % 4 == 3 and i >= _LEAST_STEPS and _settled(table[: i + 1, : i + 1], rest)):
            return _Steps(table[: i + 1, : i + 1], rest)
        table[i, i + 1] = table[i + 1, i] = rest
        v = w / rest
    return _Steps(table, rest)


def _settled(table: Values, rest: float) -> bool:
    values, vectors = np.linalg.eigh(table)
    return bool(rest * abs(vectors[-1, -1]) <= _SETTLED * values[-1])


def _product(wide: Tensor) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return what multiplies a vector with a Gram matrix that is never made, and the length of that vector.

    A matrix that is not kept in float32 is lifted to it block by block, each of whole rows as they lie in memory and
    small enough for the cache, and each read once: for W·Wᵀ the rows of W, for Wᵀ·W those of Wᵀ.
    """
    if wide.dtype in (torch.float32, torch.float64):
        return (lambda v: wide @ (v @ wide)), wide.shape[0]
    lying = wide.T if wide.stride(0) < wide.stride(1) else wide
    step = max(1, _CACHED // lying.shape[1])

    def product(v: Tensor) -> Tensor:
        out = torch.zeros_like(v)
        for first in range(0, lying.shape[0], step):
            block = lying[first : first + step].float()
            out += (block @ v) @ block
        return out

    return product, lying.shape[1]
