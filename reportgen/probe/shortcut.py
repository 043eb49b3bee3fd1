"""Does one single feature tell the target? Sorted by it, samples of one class would lie side by side."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..document.samples import Shortcut

LEAST = 100
PERMUTATIONS = 20


def shortcut(table: tuple[Tensor, Tensor] | None, kind: Literal["classes", "numbers"], step: int) -> Shortcut | None:
    """Return the feature that tells the target best; None for fewer than 100 samples or two features.

    ``table`` is (inputs (N, F), targets (N)), ``step`` how far apart in the input its features lie. For classes the
    score is the share of neighbours in the order of the feature that share their class, for numbers the squared
    correlation. The null is the best feature's score with permuted targets, the highest of 20.
    """
    if table is None or len(table[0]) < LEAST or table[0].shape[1] < 2:
        return None
    x, y = table
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randperm(len(x), generator=generator)  # ties must not come in the order of loading
    x, y = x[mixed], y[mixed]
    score = _purity if kind == "classes" else _squared_correlation
    order = x.argsort(0) if kind == "classes" else x
    scores = score(order, y)
    best = int(scores.argmax())
    others = torch.cat([scores[:best], scores[best + 1 :]])
    null = [float(score(order, y[torch.randperm(len(y), generator=generator)]).max()) for _ in range(PERMUTATIONS)]
    return Shortcut(
        kind=kind,
        n=len(x),
        feature=best * step,
        score=float(scores[best]),
        second=float(others.max()),
        null=max(null),
        gap=_gap(x[:, best].double(), y) if kind == "classes" else None,
    )


def _purity(order: Tensor, y: Tensor) -> Tensor:
    labels = y[order]  # (N, F)
    return (labels[1:] == labels[:-1]).double().mean(0)


def _squared_correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.double(), y - y.mean()
    x = x - x.mean(0)
    spread = (x.square().sum(0) * y.square().sum()).clamp_min(1e-300)
    return (x * y[:, None]).sum(0).square() / spread


def _gap(x: Tensor, y: Tensor) -> float | None:
    """Return the least distance between class means in units of the widest class: how clearly values stand apart."""
    parts = [x[y == label] for label in sorted(set(y.tolist()))]
    parts = [part for part in parts if len(part) >= 5]
    if len(parts) < 2:
        return None
    means = torch.stack([part.mean() for part in parts]).sort().values
    widest = max(float(part.std()) for part in parts)
    least = float((means[1:] - means[:-1]).min())
    return min(least / max(widest, 1e-300), 1e9) if least > 0 else 0.0
