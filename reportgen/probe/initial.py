"""Whether a weight was ever trained: what an initialisation leaves in it, and training does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .sweep import Sweep, sweep

_KS_LINE = 1.63  # 1 % point of sqrt(N)·D for a fully specified distribution (Kolmogorov)
_ENERGY_LINE = 4.5  # standard deviations of row and column energies
_KS_SAMPLE = 100_000
_SHUFFLES = 39
_SIDE = 128
_XAVIER = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # names of nn.MultiheadAttention alone


def at_default_init(weight: Tensor) -> bool | None:
    """Tell whether a weight cannot be told from PyTorch's default initialisation, U(±1/sqrt(fan_in)).

    Three tests, each of which a trained layer fails: no value beyond the bound; Kolmogorov-Smirnov against the uniform
    distribution at 1 %; energies of rows and columns spread as independent entries would. None below 2,000 entries or
    32 rows or columns, where the tests have no power. (``kaiming_uniform_`` with a = sqrt(5), pytorch#15314.)
    """
    if weight.dim() < 2 or not weight.is_floating_point():
        return None
    return default_init(sweep(weight), math.prod(weight.shape[1:]) ** -0.5)


def default_bound(name: str, shape: Sequence[int]) -> float:
    """Return the bound that PyTorch draws a weight within: 1/sqrt(fan_in), or Xavier's of multi-head attention.

    ``nn.MultiheadAttention`` draws what it projects its inputs with from ``xavier_uniform_``: sqrt(6/(rows + columns)).
    """
    if name.endswith(_XAVIER) and len(shape) == 2:
        return math.sqrt(6 / sum(shape))
    return float(math.prod(shape[1:]) ** -0.5)


def testable(shape: Sequence[int]) -> bool:
    """Tell whether the tests have power for a weight of this shape."""
    return len(shape) >= 2 and math.prod(shape) >= 2000 and min(shape[0], math.prod(shape[1:])) >= 32


def default_init(found: Sweep, bound: float) -> bool | None:
    """Test what a sweep saw against U(±bound): the bound on all values, the energies of all channels, the rest on its
    slab."""
    stats, slab = found.stats, found.slab
    channels = len(found.squares)
    length = stats.count // max(channels, 1)
    if not testable((channels, length)):
        return None
    if stats.nonfinite or stats.min is None or stats.max is None:
        return False
    if not max(-stats.min, stats.max) <= bound * (1 + 1e-3):
        return False
    flat = slab.reshape(-1)
    sample = flat[:: max(1, flat.numel() // _KS_SAMPLE)].double().sort().values
    n = sample.numel()
    cdf = (sample + bound) / (2 * bound)
    steps = torch.arange(n + 1, dtype=torch.float64, device=slab.device) / n
    distance = float(torch.maximum((cdf - steps[:-1]).abs().max(), (steps[1:] - cdf).abs().max()))
    if distance * math.sqrt(n) > _KS_LINE:
        return False
    squares = slab.double().square()
    s2 = float(squares.mean())
    kurtosis = float(squares.square().mean()) / (s2 * s2)

    def spread(energies: Tensor, values: int) -> float:
        expected = values * s2 * s2 * (kurtosis - 1)
        return abs(float(energies.var()) / expected - 1) * math.sqrt((energies.numel() - 1) / 2)

    return max(spread(found.squares, length), spread(squares.sum(0), len(slab))) < _ENERGY_LINE


def is_arranged(weight: Tensor) -> bool | None:
    """Tell whether a weight's largest singular value exceeds that of 39 shuffles of its own entries (p = 1/40).

    Independent draws of any one distribution are exchangeable, so that this null holds exactly at every size, for every
    initialisation that draws; an orthogonal one lies below it. What was learned adds directions of its own, which a
    shuffle destroys. Of (out, in·kernel) at most 128 rows and columns are taken, evenly. None for vectors, for fewer
    than four rows or columns, and for weights that are constant or not finite.
    """
    if weight.dim() < 2 or weight.is_sparse or not weight.is_floating_point():
        return None
    matrix = weight.detach().reshape(len(weight), -1)
    if min(matrix.shape) < 4:
        return None
    rows, columns = (max(1, side // _SIDE) for side in matrix.shape)
    matrix = matrix[::rows, ::columns][:_SIDE, :_SIDE].double().cpu()
    if not bool(matrix.isfinite().all()) or bool((matrix == matrix[0, 0]).all()):
        return None
    draw = torch.Generator().manual_seed(0)
    orders = (torch.randperm(matrix.numel(), generator=draw) for _ in range(_SHUFFLES))
    shuffles = (matrix.reshape(-1)[order].reshape(matrix.shape) for order in orders)
    largest = float(torch.linalg.matrix_norm(matrix, 2))
    return all(float(torch.linalg.matrix_norm(one, 2)) < largest for one in shuffles)
