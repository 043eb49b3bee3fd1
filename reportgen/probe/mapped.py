"""Do maps belong to the inputs that they stand beside? What lies at a place is held against the map of every sample."""

from __future__ import annotations

import random
from itertools import product

import torch
from msgspec import structs
from torch import Tensor
from torch.nn import functional

from ..document.samples import Mapped
from ..subject.data import Batch
from .sequence import LEFT_OUT

SAMPLES = 200
LEAST = 40
PERMUTATIONS = 200
_SIDE = 24  # places along a side of the grid
_LINE = 256  # places of a series
_CHANNELS = 4
_WIDE = 5
_CLASSES = 4
_MARGIN = 6  # of the side, as a part of which maps are moved
_VALUES = 32  # whole numbers of more values are sizes, not classes


class MapSample:
    """A fair sample of inputs that have a target at every place, both brought to one grid (Vitter 1985)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._seen = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        x, target = batch.first, batch.target
        if not self._possible or x is None or not isinstance(target, Tensor) or not _are_maps(x, target):
            self._possible = False
            return
        for i in range(len(x)):
            self._seen += 1
            place = self._seen - 1 if self._seen <= SAMPLES else self._rng.randrange(self._seen)
            if place < SAMPLES:
                self._kept[place : place + 1] = [_reduced(x[i], target[i])]

    def facts(self) -> Mapped | None:
        """Hold every input against every map; None of too few, of several sizes, or where maps are all alike."""
        found, pairs = (_ask(self._kept), _told(self._kept)) if self._possible else (None, None)
        return structs.replace(found, **_moved(*pairs)) if found is not None and pairs is not None else found


def matched(x: Tensor | None, target: object) -> Mapped | None:
    """Hold inputs, or what a model says of them, against the maps of all samples; None where they are no maps."""
    if x is None or not isinstance(target, Tensor) or not _are_maps(x, target):
        return None
    return _ask([_reduced(a, b) for a, b in zip(x[:SAMPLES], target[:SAMPLES], strict=True)])


def _told(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
    """Return what lies at each place (N, features, *grid) and maps of numbers (N, channels, *grid), where they fit."""
    if len(pairs) < LEAST or len({(a.shape, b.shape) for a, b in pairs}) > 1:
        return None
    x, y = torch.stack([a for a, _ in pairs]), _channels(torch.stack([b for _, b in pairs]))
    return (x, y) if y is not None and bool(torch.isfinite(x).all() and torch.isfinite(y).all()) else None


def _ask(pairs: list[tuple[Tensor, Tensor]]) -> Mapped | None:
    found = _told(pairs)
    if found is None:
        return None
    x, y = found
    placed = _by_place(y)
    y = _centred(y)
    told = y.flatten(1).square().sum(1) > 0
    x, y = x[told], y[told]
    if len(x) < LEAST:
        return None
    own, error, spread = _own(_fit(_basis(x), y))
    return Mapped(n=len(x), own=own, error=error, spread=spread, placed=placed)


def _are_maps(x: Tensor, target: Tensor) -> bool:
    """Tell whether the target has a value, or a vector, at every place of a picture or series, or at every so many."""
    if x.is_complex() or target.is_complex() or not (x.is_floating_point() or x.dtype == torch.uint8):
        return False
    if x.dim() not in (3, 4) or len(x) != len(target) or target.dim() not in (x.dim() - 1, x.dim()):
        return False
    space, size = x.shape[2:], target.shape[target.dim() - x.dim() + 2 :]
    ratios = {a / b for a, b in zip(space, size, strict=True)}
    return min(size) >= 8 and len(ratios) == 1 and ratios.pop() >= 1


def _grid(size: torch.Size) -> tuple[int, ...]:
    most = _SIDE if len(size) == 2 else _LINE
    scale = max(1.0, max(size) / most)
    return tuple(max(2, round(s / scale)) for s in size)


def _reduced(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return what lies at each place of a grid (features, *grid), and the map there (channels, *grid)."""
    dims = x.dim() - 1
    y = y if y.dim() > dims else y[None]
    grid = _grid(y.shape[1:])
    x = x.detach().float().cpu()
    x = x[:: -(-len(x) // _CHANNELS)]
    smooth = functional.avg_pool2d if dims == 2 else functional.avg_pool1d
    level = smooth(x[None], 3, 1, 1, count_include_pad=False)[0]
    rough = (x - level).square().mean(0, keepdim=True)
    fine = _pooled(torch.cat([x, rough]), grid)
    wide = smooth(fine[None], _WIDE, 1, _WIDE // 2, count_include_pad=False)[0]
    y = y[:: -(-len(y) // _CHANNELS)].detach().cpu()
    if y.is_floating_point():
        return torch.cat([fine[:-1], wide]), _pooled(y.float(), grid)
    index = [torch.linspace(0, s - 1, g).round().long() for s, g in zip(y.shape[1:], grid, strict=True)]
    for dim, places in enumerate(index, 1):
        y = y.index_select(dim, places)
    return torch.cat([fine[:-1], wide]), y.clone()


def _pooled(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    if len(grid) == 2:
        return functional.adaptive_avg_pool2d(x, (grid[0], grid[1]))
    return functional.adaptive_avg_pool1d(x, grid[0])


def _channels(y: Tensor) -> Tensor | None:
    """Return maps of numbers (N, channels, *grid): classes as yes or no for each of the commonest."""
    if y.is_floating_point():
        return y
    values, counts = torch.unique(y, return_counts=True)
    if len(values) > _VALUES:
        return y.float()
    values = values[counts.argsort(descending=True)]
    values = values[values != LEFT_OUT][:_CLASSES]
    return torch.cat([(y == value).float() for value in values], 1) if len(values) > 1 else None


def _by_place(y: Tensor) -> float:
    """Return the share of the variance of maps that their mean at each place tells."""
    level = y.flatten(2).mean((0, 2)).reshape(1, -1, *[1] * (y.dim() - 2))
    total = float((y - level).square().sum())
    return 1 - float((y - y.mean(0)).square().sum()) / total if total else 1.0


def _centred(x: Tensor) -> Tensor:
    """Take off what the place alone tells, and the level of each sample; channels get one size."""
    x = x - x.mean(0)
    x = x - x.flatten(2).mean(2).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
    size = x.transpose(0, 1).flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(size > 0, x / size.clamp_min(1e-30), torch.zeros_like(x))


def _basis(x: Tensor) -> Tensor:
    """Return an orthonormal basis of the features of each sample (N, features, places)."""
    rows = _centred(x).flatten(2)
    _, s, v = torch.linalg.svd(rows, full_matrices=False)
    told: Tensor = s > 1e-4 * s[:, :1].clamp_min(1e-30)
    return torch.where(told[:, :, None], v, torch.zeros_like(v))


def _fit(basis: Tensor, maps: Tensor) -> Tensor:
    """Return the share of each map (columns) that the features of each sample (rows) explain by a linear fit."""
    n, k, places = basis.shape
    rows = maps.flatten(2)
    along = basis.reshape(n * k, places) @ rows.reshape(-1, places).T
    told = along.square().reshape(n, k, n, -1).sum((1, 3))
    return told / rows.square().sum((1, 2)).clamp_min(1e-30)


def _moved(x: Tensor, y: Tensor) -> dict[str, float]:
    """Hold the inside of each input against its own map moved by up to a sixth of the side; say where it fits best.

    The inside alone, so that what is moved out on one side does not come in on the other.
    """
    grid = y.shape[2:]
    reach = max(1, min(grid) // _MARGIN)
    steps = list(product(range(-reach, reach + 1), repeat=len(grid)))
    basis = _basis(_inside(x, reach, (0,) * len(grid)))
    y = y - y.mean(0)
    fits = torch.stack([_fit_own(basis, _inside(y, reach, step)) for step in steps])
    best, place = fits.max(0)
    own = fits[len(steps) // 2]
    told = own.isfinite() & (best > 0)
    if int(told.sum()) < LEAST:
        return {}
    away = torch.tensor([max(map(abs, step)) for step in steps])[place]
    return {
        "moved": float((away[told] > 1).double().mean()),
        "beside": float(own[told].sum() / best[told].sum()),
        "best": float(best[told].mean()),
    }


def _inside(x: Tensor, reach: int, step: tuple[int, ...]) -> Tensor:
    """Return the inside of pictures or series, so many places away from the middle."""
    for dim, k in enumerate(step, x.dim() - len(step)):
        x = x.narrow(dim, reach + k, x.shape[dim] - 2 * reach)
    return x


def _fit_own(basis: Tensor, maps: Tensor) -> Tensor:
    """Return the share of each map that the features of its own sample explain by a linear fit; 0 of a flat one."""
    rows = maps.flatten(2)
    rows = rows - rows.mean(2, keepdim=True)
    along = basis @ rows.transpose(1, 2)
    return along.square().sum((1, 2)) / rows.square().sum((1, 2)).clamp_min(1e-30)


def _own(fit: Tensor) -> tuple[float, float, float]:
    """Return how often the own map fits better than that of another sample, its deviation under permutations, its own.

    Ranks are bounded: a few pairs that fit very well among many that do not change little.
    """
    n = len(fit)
    ranks = (fit.argsort(0).argsort(0) + fit.argsort(1).argsort(1)).double() / (2 * (n - 1))
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(n, generator=generator) for _ in range(PERMUTATIONS)])
    null = ranks[orders, torch.arange(n)].mean(1)
    own = ranks.diagonal()
    return float(own.mean()), float(null.std()), float(own.std()) / n**0.5
