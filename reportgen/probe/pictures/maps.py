"""Feature maps and Grad-CAM of a few samples, from one extra forward pass in eval mode.

Grad-CAM (Selvaraju et al. 2017): the maps of the last layer that has any, each weighted by the mean gradient of the
predicted class's score in it, added up and rectified. The graph begins at that layer, so no parameter gets a gradient.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ...document.pictures import MapSheet
from ...subject.data import Batch, call
from ..layers import channel_dim, kind_of, layers_of, main_tensor
from .encode import Budget, Bytes, grey_levels, of_levels, sheet
from .kernels import matching, spaced
from .show import POINTS, as_colours, smaller

CHANNELS = 16
LAYERS = 3
_SIDE = 24  # pixels of the longer side of a shown map
_STEPS, _ROW = 96, 3  # steps at most of a map over time, and pixels that its row is high
NO_WAY = "no gradient leads from the scores back to the maps"
_HEAT = np.array((240.0, 120.0, 20.0))


@dataclass(frozen=True)
class Layer:
    """A layer whose output is maps: (N, C, H, W), over time (N, C, T) or of volumes (N, C, D, H, W)."""

    name: str
    kind: str
    size: tuple[int, ...]


@dataclass
class Seen:
    """What the extra pass showed: maps (N, C, ...) by layer, heat (N, ...) over the same places, and the output."""

    output: Any = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    heat: Tensor | None = None
    no_heat: str = ""
    """Why there is none."""


def layers_with_maps(model: nn.Module, batch: Batch) -> list[Layer]:
    """Return what gives maps larger than one place, in the order of the last call, by running one batch.

    A module that only hands on what the last one inside it gave is not named beside that one.
    """
    layers, latest = layers_of(model), _nothing
    over_time = False  # of three dimensions, whether the channels come before the steps is seen from the layers alone
    found: dict[str, Layer] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal latest, over_time
            tensor = main_tensor(output)
            if tensor is None or (name not in layers and latest() is tensor):
                return
            latest = weakref.ref(tensor)
            if tensor.dim() == 3:
                over_time = channel_dim(module, tensor, 1 if over_time else None) == 1
            if name and are_maps(tensor, over_time) and tensor[0, :1].numel() > 1:
                found.pop(name, None)
                found[name] = Layer(name, kind_of(module), tuple(tensor.shape[2:]))

        return hook

    model.eval()
    handles = [
        m.register_forward_hook(look(name))
        for name, m in model.named_modules()
        if not isinstance(m, torch.jit.ScriptModule) and (name in layers or any(True for _ in m.children()))
    ]
    try:
        with torch.no_grad():
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def are_maps(tensor: Tensor, over_time: bool) -> bool:
    """Tell whether a layer's output has channels at dimension 1 and places behind it."""
    return (
        len(tensor) > 0
        and tensor.shape[1:2].numel() > 0
        and (tensor.dim() in (4, 5) or (tensor.dim() == 3 and over_time))
    )


def _nothing() -> Tensor | None:
    return None


def chosen(layers: list[Layer], patterns: list[str]) -> list[Layer]:
    """Choose the layers to show: those named; else the first and the last one of every size, at most ``LAYERS``."""
    if patterns:
        names = set(matching([layer.name for layer in layers], patterns))
        return [layer for layer in layers if layer.name in names][: 4 * LAYERS]
    last = {layer.size: layer for layer in layers}
    ordered = [layer for i, layer in enumerate(layers) if i == 0 or layer is last[layer.size]]
    return [ordered[i] for i in spaced(len(ordered), LAYERS)]


def look(model: nn.Module, batch: Batch, shown: Sequence[Layer], heat: Layer | None) -> Seen:
    """Run the model once, in eval mode; the caller holds the guard."""
    seen = Seen()
    leaves: list[Tensor] = []
    model.eval()
    with torch.no_grad(), _hooks(model, [layer.name for layer in shown], heat, seen, leaves):
        seen.output = call(model, batch)
        if heat is not None:
            _add_heat(seen, leaves)
    return seen


@contextmanager
def _hooks(model: nn.Module, names: list[str], heat: Layer | None, seen: Seen, leaves: list[Tensor]) -> Iterator[None]:
    modules = dict(model.named_modules())

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensor = main_tensor(output)
            if tensor is not None and tensor.dim() in (3, 4, 5):
                seen.maps[name] = tensor.detach().cpu().to(torch.float64, copy=True)

        return hook

    def begin(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() not in (3, 4, 5):
            return None
        leaf = output.detach().requires_grad_()
        leaves[:] = [leaf]  # of the last call
        torch.set_grad_enabled(True)  # no_grad around the pass ends it
        return leaf.clone()  # the next layer may change it in place

    handles = [modules[name].register_forward_hook(keep(name)) for name in names if name in modules]
    if heat is not None and heat.name in modules:
        handles.append(modules[heat.name].register_forward_hook(begin))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add_heat(seen: Seen, leaves: list[Tensor]) -> None:
    score = said_score(main_tensor(seen.output)) if leaves else None
    slope: Tensor | None = None
    if score is not None:
        with torch.enable_grad():
            slope = torch.autograd.grad(score, leaves, allow_unused=True)[0]
    if slope is None:
        seen.no_heat = NO_WAY
        return
    weights = slope.mean(tuple(range(2, slope.dim())), keepdim=True)  # (N, C, 1, ...)
    seen.heat = (weights * leaves[0].detach()).sum(1).clamp(min=0).cpu().to(torch.float64)


def said_score(scores: Tensor | None) -> Tensor | None:
    """Return the sum over samples of the score of the class that was said; None where no gradient leads back."""
    if scores is None or not scores.requires_grad or scores.dim() != 2:
        return None
    with torch.enable_grad():
        if scores.shape[1] == 1:
            threshold = 0.5 if bool(((scores >= 0) & (scores <= 1)).all()) else 0.0
            return torch.where(scores > threshold, scores, -scores).sum()
        return scores.gather(1, scores.detach().argmax(1, keepdim=True)).sum()


def overlaid(pixels: Bytes, heat: Tensor) -> Bytes:
    """Lay heat (h, w), scaled to its own maximum, over a sample: (H, W, 3)."""
    base = as_colours(pixels).astype(np.float64)
    grey = base.mean(2, keepdims=True) * 0.75
    top = float(heat.max()) if bool(torch.isfinite(heat).all()) else 0.0
    if top <= 0:
        return np.asarray(np.rint(np.repeat(grey, 3, 2)), dtype=np.uint8)
    size = list(base.shape[:2])
    spread = F.interpolate(heat[None, None] / top, size=size, mode="bilinear", align_corners=False)[0, 0]
    share: NDArray[np.float64] = (spread.clamp(0, 1).numpy() * 0.7)[..., None]
    return np.asarray(np.rint(grey * (1 - share) + _HEAT * share), dtype=np.uint8)


def strip(heat: Tensor) -> list[float]:
    """Return heat (T,) over time as shares of its maximum, at ``POINTS`` even places."""
    rows = heat[None, None]
    even = F.adaptive_avg_pool1d(rows, POINTS) if len(heat) > POINTS else F.interpolate(rows, POINTS, mode="linear")
    top = float(even.max()) if bool(torch.isfinite(even).all()) else 0.0
    return [round(v / top, 2) if top > 0 else 0.0 for v in even[0, 0].tolist()]


def sheets(
    flat: Mapping[str, Tensor], layers: Sequence[Layer], samples: Mapping[int, int], budget: Budget
) -> list[MapSheet]:
    """Draw the most active channels of each layer; ``flat``: maps (N, C, h, w) by layer, as they are to be shown.

    ``samples``: row of the pass -> place among the samples shown.
    """
    found = []
    for row, place in samples.items():
        for layer in layers:
            maps = flat.get(layer.name)
            if maps is None or row >= len(maps) or not maps.shape[1]:
                continue
            made = _sheet(layer, maps, row, place)
            if budget.take("maps", made.picture):
                found.append(made)
    return found


def _sheet(layer: Layer, maps: Tensor, row: int, place: int) -> MapSheet:
    known = maps.nan_to_num(0.0, 0.0, 0.0)
    flat = (known.amax((0, 2, 3)) == known.amin((0, 2, 3))) & torch.isfinite(maps).all(3).all(2).all(0)  # (C,)
    # without the level that a channel has everywhere: a bias is no activity
    activity = known[row].std((1, 2), correction=0)
    order = torch.argsort(activity, descending=True, stable=True)[:CHANNELS].tolist()
    signed = bool((known[row] < 0).any())
    over_time = len(layer.size) == 1
    shown = smaller(maps[row, order][:, None], _STEPS if over_time else _SIDE)[:, 0]
    shown = shown.expand(-1, _ROW, -1) if over_time else shown
    tiles = []
    for one in shown.numpy():
        finite = np.abs(one[np.isfinite(one)])
        top = float(finite.max()) if len(finite) else 0.0
        tiles.append(grey_levels(one, -top if signed else 0.0, top or 1.0))
    wide = tiles[0].shape[1] > 2 * tiles[0].shape[0]
    columns = min(len(tiles), 1 if over_time else 4 if wide else 8)
    return MapSheet(
        layer=layer.name,
        kind=layer.kind,
        sample=place,
        n_channels=maps.shape[1],
        size=list(layer.size),
        channels=order,
        columns=columns,
        signed=signed,
        flat=int(flat.sum()),
        flat_shown=[c for c in order if flat[c]],
        n_samples=len(maps),
        picture=of_levels(sheet(tiles, columns, [bool(flat[c]) for c in order])),
    )
