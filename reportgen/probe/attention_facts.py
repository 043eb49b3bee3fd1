"""What was seen of attention in a pass -> facts with pictures, within a budget of bytes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ..document.attention import AttentionFacts, AttentionLayer, Rollout
from ..document.pictures import Picture
from ..subject.data import Batch
from .attention_maps import MAX_HEADS, AttentionWatch, Seen
from .pictures.encode import Budget, grey_levels, of_levels, sheet
from .pictures.show import display_of, encoded, pixels

BUDGET = 24_000
MAX_PICTURES = 6
TOKENS = 64
_MIN_PATCHES = 4
MAX_BEFORE = 9  # positions before those of patches: a class token, and up to eight registers


def facts_of(watch: AttentionWatch, model: nn.Module, batch: Batch) -> AttentionFacts:
    """Return attention of the first sample of a batch."""
    x = batch.first
    budget = Budget(BUDGET)
    picked = _picked(len(watch.seen))
    rollout, why = _rollout(watch, model, x)
    layers = [_layer(seen, budget if place in picked else None) for place, seen in enumerate(watch.seen)]
    return AttentionFacts(
        layers=layers,
        tokens=_tokens(x),
        rollout=rollout,
        no_rollout=why,
        reasons=watch.reasons,
        budget=BUDGET,
        refused=sum(layer.picture is None for layer in layers),
    )


def _picked(n: int) -> set[int]:
    """Return places of layers evenly spaced, the first and the last among them."""
    if n <= MAX_PICTURES:
        return set(range(n))
    return {round(i * (n - 1) / (MAX_PICTURES - 1)) for i in range(MAX_PICTURES)}


def _layer(seen: Seen, budget: Budget | None) -> AttentionLayer:
    told = AttentionLayer(
        name=seen.name,
        call=seen.call,
        heads=seen.heads,
        n_queries=seen.n_queries,
        n_keys=seen.n_keys,
        windows=seen.windows,
        fused=seen.fused,
        causal=bool(seen.causal),
        entropy=[v if math.isfinite(v) else None for v in seen.entropy.double().tolist()],
        logit_std=[v if math.isfinite(v) else None for v in seen.spread.double().tolist()],
    )
    maps = seen.maps.double().cpu().numpy()
    if budget is None or not np.isfinite(maps).all():
        return told
    columns = next(c for c in (len(maps), 6, 8, 4) if c <= 8)
    picture = of_levels(sheet([grey_levels(m, 0.0, float(m.max())) for m in maps], columns))
    if not budget.take("maps", picture):
        return told
    step = math.ceil(seen.heads / MAX_HEADS)
    shown = list(range(0, seen.heads, step))
    return replace(told, picture=picture, shown=shown, columns=columns, size=list(maps.shape[1:]))


def _tokens(x: Tensor | None) -> list[int]:
    whole = x is not None and x.dim() == 2 and x.dtype in (torch.int64, torch.int32, torch.int16)
    return [int(v) for v in x[0, :TOKENS].tolist()] if whole and x is not None else []


def _rollout(watch: AttentionWatch, model: nn.Module, x: Tensor | None) -> tuple[Rollout | None, str]:
    rolled = watch.rolled
    if rolled is None or watch.no_rollout or x is None:
        return None, watch.no_rollout
    if not bool(torch.isfinite(rolled).all()):
        return None, "weights are not finite"
    weights = rolled.double().cpu()
    if x.dim() == 4:
        return _of_image(weights, len(watch.seen), model, x)
    causal = all(bool(seen.causal) for seen in watch.seen)
    even = torch.ones_like(weights).tril() if causal else torch.ones_like(weights)
    even = (even / even.sum(1, keepdim=True) + torch.eye(len(even))) / 2
    even = torch.linalg.matrix_power(even, len(watch.seen))
    row, flat = (weights[-1], even[-1]) if causal else (weights.mean(0), even.mean(0))
    query: Literal["last", "mean"] = "last" if causal else "mean"
    return Rollout(layers=len(watch.seen), query=query, weights=_rounded(row), even=_rounded(flat)), ""


def _of_image(weights: Tensor, layers: int, model: nn.Module, x: Tensor) -> tuple[Rollout | None, str]:
    """Put the weights of patches in their places, rows first.

    Positions too many stand before them: a class token, and after it perhaps others (of distillation, registers).
    """
    n = len(weights)
    for before in range(MAX_BEFORE + 1):
        grid = _grid(n - before, x)
        if grid is not None:
            query: Literal["mean", "first"] = "first" if before else "mean"
            row = weights[0, before:] if before else weights.mean(0)
            levels = grey_levels(row.reshape(grid).numpy(), float(row.min()), float(row.max()))
            picture = of_levels(levels)
            rollout = Rollout(layers=layers, query=query, weights=_rounded(row), grid=list(grid), picture=picture)
            return replace(rollout, image=_image(model, x)), ""
    return None, f"{n} positions are no grid of patches, with or without a class token"


def _grid(n: int, x: Tensor) -> tuple[int, int] | None:
    """Return rows and columns of ``n`` square patches of an image, if there are such."""
    height, width = int(x.shape[-2]), int(x.shape[-1])
    side = math.sqrt(height * width / n) if n >= _MIN_PATCHES else 0.0
    rows, columns = (round(height / side), round(width / side)) if side else (0, 0)
    return (rows, columns) if n >= _MIN_PATCHES and rows * columns == n else None


def _image(model: nn.Module, x: Tensor) -> Picture | None:
    display = display_of(x[:1], model, None)
    shown = [] if display is None else pixels(x[:1], display)
    return encoded(shown[0]) if shown else None


def _rounded(row: Tensor) -> list[float]:
    return [float(f"{v:.4g}") for v in row.tolist()]
