"""Inputs of a model -> pixels, lines, tokens or rows that a person can look at.

Which of them a tensor is follows from its type and shape, and from the layers of the model where a shape is ambiguous.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from ...document.pictures import Display, Picture
from .encode import FRAME, Bytes, grey_levels, of_colours, of_levels, sheet

SIDE = 48  # pixels of the longer side of a shown sample
_HUGE = 1 << 22  # values of one sample beyond which places are skipped before averaging
POINTS = 48  # of a shown series
LINES = 4
VALUES = 10
TOKENS = 24
_MARK = (214, 84, 18)  # of pixels that are not finite


def plain(x: Tensor) -> Tensor | None:
    """Return samples (N, ...) as float64 on the CPU, a complex one by magnitude; None for sparse and nested tensors."""
    if x.layout != torch.strided or x.is_nested or x.dim() < 2 or not x.numel():
        return None
    x = x.dequantize() if x.is_quantized else x
    x = x.detach()
    return (x.abs() if x.is_complex() else x).cpu().to(torch.float64)  # not every device has float64


def display_of(x: Tensor, model: nn.Module, normalisation: tuple[list[float], list[float]] | None) -> Display | None:
    """Say how samples (N, ...) are shown; None where nothing can be made of their shape."""
    if x.layout != torch.strided or x.is_nested or x.dim() < 2 or not x.numel():
        return None
    kind = _kind(x, model)
    shape, channels = list(x.shape[1:]), _channels_of(x, kind)
    told: dict[str, Any] = {"kind": kind, "shape": shape, "magnitude": x.is_complex()}
    if kind in ("series", "tokens", "row"):
        return Display(scale="as given", **told)
    shown = [0, 1, 2] if channels == 3 else sorted({round(p * (channels - 1) / 2) for p in range(3)})
    told["channels"] = [] if channels in (1, 3) else shown
    if normalisation is not None and len(normalisation[0]) in (1, channels) and x.is_floating_point():
        return Display(scale="normalisation", mean=normalisation[0], std=normalisation[1], **told)
    low, high = _span(x)
    if x.dtype in (torch.uint8, torch.bool):
        return Display(scale="as given", low=0.0, high=255.0 if x.dtype == torch.uint8 else 1.0, **told)
    if low is not None and high is not None and low >= 0 and 0.5 < high <= 1 and x.is_floating_point():
        return Display(scale="as given", low=0.0, high=1.0, **told)
    return Display(scale="span", low=low, high=high, **told)


def _span(x: Tensor) -> tuple[float | None, float | None]:
    values = plain(x)
    if values is None:
        return None, None
    values = values[torch.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (None, None)


def _kind(x: Tensor, model: nn.Module) -> Any:
    """Name what samples are, by shape and, where that leaves it open, by the kind of the model's layers."""
    counts = not (x.is_floating_point() or x.is_complex() or x.is_quantized or x.dtype in (torch.uint8, torch.bool))
    n, sides = x.dim(), x.shape[1:]
    if n == 2:
        return "tokens" if counts and _begins_with(model, (nn.Embedding, nn.EmbeddingBag)) else "row"
    if n == 3:
        flat = any(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules())
        return "image" if flat else "series"
    if n == 4:
        return "image"
    if n == 5:
        return "frames" if sides[1] in (1, 3) and sides[0] not in (1, 3) else "volume"
    return "row"


def _begins_with(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(m, kinds) for m in model.modules())


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.shape[1] > 4 and x.shape[3] in (1, 3, 4)


def _channels_of(x: Tensor, kind: str) -> int:
    if kind == "image":
        return 1 if x.dim() == 3 else x.shape[3 if _channels_last(x) else 1]
    return x.shape[2 if kind == "frames" else 1] if x.dim() == 5 else 1


def planes(x: Tensor, display: Display) -> Tensor:
    """Return (N, C, H, W) of images, frames and volumes; of a volume its middle slices side by side."""
    if display.kind == "frames":
        return x[:, x.shape[1] // 2]
    if display.kind == "volume":
        return _slices(x, display.low or 0.0)
    if x.dim() == 3:
        return x[:, None]
    return x.permute(0, 3, 1, 2) if _channels_last(x) else x


def _slices(x: Tensor, rest: float) -> Tensor:
    """Cut (N, C, D, H, W) in its three middles, side by side: (N, C, h, w)."""
    d, h, w = (n // 2 for n in x.shape[2:])
    cuts = [smaller(c, 2 * SIDE // 3) for c in (x[:, :, d], x[:, :, :, h], x[:, :, :, :, w])]
    height = max(c.shape[2] for c in cuts)
    return torch.cat([F.pad(c, (0, 1, 0, height - c.shape[2]), value=rest) for c in cuts], 3)[..., :-1]


def flat_maps(maps: Tensor, n: int, kind: str) -> Tensor | None:
    """Bring maps (N, C, ...) of ``n`` samples to (n, C, h, w), cut as the samples are; None where rows are no samples.

    Maps over time get a height of one; of the frames of a sample the middle one is taken.
    """
    if len(maps) != n:
        if kind != "frames" or not n or len(maps) % n:
            return None
        maps = maps.reshape(n, -1, *maps.shape[1:])[:, len(maps) // n // 2]
    if maps.dim() == 3:
        return maps[:, :, None]
    if maps.dim() == 5:
        return _slices(maps, 0.0) if kind == "volume" else maps[:, :, maps.shape[2] // 2]
    return maps


def smaller(x: Tensor, side: int = SIDE) -> Tensor:
    """Average (N, C, H, W) down until the longer side has at most ``side`` pixels; never up."""
    height, width = x.shape[-2:]
    if height * width > _HUGE:
        step = math.isqrt(height * width // _HUGE) + 1
        x = x[..., :: min(step, height), :: min(step, width)]
    longest = max(x.shape[-2:])
    if longest <= side:
        return x
    height, width = (max(1, round(n * side / longest)) for n in x.shape[-2:])
    return F.adaptive_avg_pool2d(x, (height, width))


def pixels(x: Tensor, display: Display, side: int = SIDE) -> list[Bytes]:
    """Return each sample (N, ...) as levels of grey (h, w) or as colours (h, w, 3)."""
    values = plain(x)
    if values is None:
        return []
    shown = smaller(planes(values, display), 2 * side if display.kind == "volume" else side)
    if display.scale == "normalisation":
        mean, std = (torch.tensor(v, dtype=torch.float64)[None, :, None, None] for v in (display.mean, display.std))
        shown = shown * std + mean
    low, high = (0.0, 1.0) if display.scale == "normalisation" else (display.low, display.high)
    picked = shown[:, display.channels] if display.channels else shown
    picked = picked.expand(-1, 3, -1, -1) if picked.shape[1] == 1 and display.channels else picked
    array = picked.numpy()
    if array.shape[1] == 2:
        array = array[:, [0, 1, 1]]
    ends = (low if low is not None else 0.0, high if high is not None else 0.0)
    if array.shape[1] == 1:
        return [grey_levels(one[0], *ends) for one in array]
    return [colours(one, *ends) for one in array]


def colours(values: NDArray[np.float64], low: float, high: float) -> Bytes:
    """Return (3, h, w) as bytes (h, w, 3); what is not finite is orange."""
    reach = high - low
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (values - low) / reach if math.isfinite(reach) and reach > 0 else np.full(values.shape, 0.5)
        scaled = np.nan_to_num(scaled, posinf=1.0, neginf=0.0)
    out = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0).copy()
    out[~np.isfinite(values).all(0)] = _MARK
    return out


def encoded(pixels: Bytes) -> Picture:
    """Encode levels of grey or colours."""
    return of_levels(pixels) if pixels.ndim == 2 else of_colours(pixels)


def as_colours(pixels: Bytes) -> Bytes:
    """Return levels of grey as colours, and colours as they are."""
    if pixels.ndim == 3:
        return pixels
    grey = np.rint(np.minimum(pixels, FRAME) * (255 / 13)).clip(0, 255).astype(np.uint8)
    out = np.repeat(grey[..., None], 3, 2)
    out[pixels == FRAME] = _MARK
    return out


def grid(tiles: list[Bytes], columns: int) -> Picture:
    """Encode tiles of one size side by side."""
    return encoded(sheet(tiles, columns))


def lines_of(sample: Tensor, channels_first: bool) -> list[list[float | None]]:
    """Thin one series (T, F) or (F, T) to a few features of a few points."""
    values = plain(sample[None])
    if values is None:
        return []
    series = values[0].reshape(values.shape[1], -1)
    series = series if channels_first else series.T  # (F, T)
    step = max(1, math.ceil(series.shape[1] / POINTS))
    return [[_number(v) for v in line[::step].tolist()] for line in series[:LINES]]


def values_of(sample: Tensor) -> list[float | None]:
    """Return the first columns of a row."""
    values = plain(sample.reshape(1, -1))
    return [] if values is None else [_number(v) for v in values[0, :VALUES].tolist()]


def _number(value: float) -> float | None:
    """Return four digits of it: enough to be shown."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def channels_first_series(model: nn.Module) -> bool:
    """Tell whether series are (N, features, time): a convolution over time reads them."""
    first = next((m for m in model.modules() if isinstance(m, (_ConvNd, nn.RNNBase, nn.Linear))), None)
    return isinstance(first, nn.Conv1d)
