"""Kernels of convolutions as pictures: the first ones in colour where they read colour, deeper ones in grey."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ...document.pictures import KernelSheet
from .encode import Budget, Bytes, grey_levels, of_colours, of_levels, sheet
from .show import colours, smaller

FILTERS = 32  # of one layer
LAYERS = 3
_DEAD = 1e-3  # of the median norm
_SIDE = 24


def convolutions(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights (out, in, ...) of convolutions whose kernels are larger than one place, in their order."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if not isinstance(module, _ConvNd) or isinstance(module, torch.jit.ScriptModule):
            continue
        weight = module._parameters.get("weight")
        weight = weight if weight is not None else getattr(module, "weight", None)  # weight norm makes it anew
        if isinstance(weight, Tensor) and _has_kernels(weight):
            found[name] = weight.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else weight
    return found


def convolutions_of_file(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what looks like the weights of convolutions in a file: four and five dimensions with a kernel."""
    found = {n: t for n, t in tensors.items() if n.endswith("weight") and t.dim() in (4, 5) and _has_kernels(t)}
    return {name.rpartition(".")[0] or name: t for name, t in found.items()}


def _has_kernels(weight: Tensor) -> bool:
    return (
        weight.dim() in (3, 4, 5)
        and weight.layout == torch.strided
        and weight.is_floating_point()
        and not weight.is_meta
        and weight.numel() > 0
        and math.prod(weight.shape[2:]) > 1
    )


def matching(names: list[str], patterns: list[str]) -> list[str]:
    """Return the names that one of the patterns matches, all of them without patterns."""
    return [n for n in names if not patterns or any(fnmatchcase(n, p) for p in patterns)]


def spaced(n: int, most: int) -> list[int]:
    """Return at most so many of n places, evenly spaced, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / max(most - 1, 1)) for i in range(most)})


def sheets(weights: Mapping[str, Tensor], patterns: list[str], budget: Budget) -> list[KernelSheet]:
    """Draw the first layer and evenly spaced deeper ones, or those named, as far as the budget goes."""
    names = matching(list(weights), patterns)
    chosen = names[: 4 * LAYERS] if patterns else [names[i] for i in spaced(len(names), LAYERS)]
    found = (sheet_of(name, weights[name]) for name in chosen)
    return [one for one in found if one is not None and budget.take("kernels", one.picture)]


def sheet_of(name: str, weight: Tensor) -> KernelSheet | None:
    """Draw evenly spaced filters of one weight (out, in, ...)."""
    weight = weight.detach()
    weight = weight.float() if weight.element_size() == 1 else weight  # of 8 bits, with which torch does not compute
    flat = weight.flatten(1)
    norms = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64 if flat.dtype == torch.float64 else torch.float32)
    norms = norms.double().cpu()
    known = norms[norms.isfinite()]
    median = float(known.median()) if len(known) else 0.0
    dead = (norms <= _DEAD * median).tolist()
    places = spaced(len(weight), FILTERS)
    some = weight[places].to("cpu", torch.float64)
    colour = some.shape[1] == 3 and some.dim() == 4
    tiles = _tiles(some, median / math.sqrt(max(flat.shape[1], 1)), colour)
    columns = min(len(tiles), 16 if tiles[0].shape[0] * 3 > tiles[0].shape[1] else 4)
    framed = [dead[p] for p in places]
    drawn = sheet(tiles, columns, framed)
    return KernelSheet(
        layer=name,
        shape=list(weight.shape),
        filters=places,
        columns=columns,
        colour=colour,
        dead=sum(dead),
        dead_shown=[p for p in places if dead[p]],
        picture=of_colours(drawn, exact=True) if colour else of_levels(drawn),
    )


def _tiles(some: Tensor, usual: float, colour: bool) -> list[Bytes]:
    """Scale each filter (in, ...) by its largest weight, or by the layer's usual one where it has next to none."""
    if some.dim() == 3:  # over time: input channels beneath each other
        slices = some[:, [*spaced(some.shape[1], 16)]]
    elif colour:
        slices = some
    else:
        flat = some.flatten(2).nan_to_num(0, 0, 0).square().sum(2)
        slices = some[torch.arange(len(some)), flat.argmax(1)]
        slices = slices[:, slices.shape[1] // 2] if slices.dim() == 4 else slices  # middle of a volume
    shown = smaller(slices if slices.dim() == 4 else slices[:, None], _SIDE)
    tiles = []
    for one in shown.numpy():
        finite = np.abs(one[np.isfinite(one)])
        top = max(float(finite.max()) if len(finite) else 0.0, usual) or 1.0
        tiles.append(colours(one, -top, top) if colour else grey_levels(one[0], -top, top))
    return tiles
