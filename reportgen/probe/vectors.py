"""Do neighbours in input space have the same target, where targets are several numbers, or several yes or no?"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional

from ..document.samples import Signal
from ..subject.data import Batch
from .signal import FEATURES, LEAST, NEIGHBOURS, PERMUTATIONS, SAMPLES

_COLUMNS = 64
_SIDE = 8  # places along a side of a picture


class VectorSample:
    """A fair sample of inputs with a few numbers each (Vitter 1985)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._seen = 0
        self._possible = True

    def __len__(self) -> int:
        return len(self._kept) if self._possible else 0

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        x, target = batch.first, batch.target
        if not self._possible or x is None or not isinstance(target, Tensor) or not _has_vectors(x, target):
            self._possible = False
            return
        for i in range(len(x)):
            self._seen += 1
            place = self._seen - 1 if self._seen <= SAMPLES else self._rng.randrange(self._seen)
            if place < SAMPLES:
                pair = _features(x[i].detach()), target[i].detach().flatten().double().cpu().clone()
                self._kept[place : place + 1] = [pair]

    def facts(self, limit: int = SAMPLES) -> Signal | None:
        """Ask the neighbours of every sample, itself left out: R², the mean over columns, each against its own mean."""
        # drawn, as a sample that was never full lies in the order of the loader
        order = torch.randperm(len(self._kept), generator=torch.Generator().manual_seed(0))[:limit]
        kept = [self._kept[i] for i in order.tolist()]
        if not self._possible or len(kept) < LEAST or len({(a.shape, b.shape) for a, b in kept}) > 1:
            return None
        x, y = torch.stack([a for a, _ in kept]), torch.stack([b for _, b in kept])
        x, y = x[:, x.std(0) > 0], y[:, y.std(0) > 0]
        if not x.shape[1] or y.shape[1] < 2 or not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
            return None
        x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0, correction=0)
        distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
        nearest = distance.topk(NEIGHBOURS, dim=1, largest=False).indices
        generator = torch.Generator().manual_seed(0)
        orders = (torch.randperm(len(y), generator=generator) for _ in range(PERMUTATIONS))
        null = torch.tensor([_told(y[order], nearest) for order in orders], dtype=torch.float64)
        return Signal(
            kind="numbers",
            n=len(y),
            k=NEIGHBOURS,
            score=_told(y, nearest),
            null_mean=float(null.mean()),
            null_std=float(null.std()),
        )


def _told(y: Tensor, nearest: Tensor) -> float:
    return 1 - float((y[nearest].mean(1) - y).square().mean())


def _has_vectors(x: Tensor, target: Tensor) -> bool:
    """Tell whether every sample has a few numbers, or a few yes or no, which are no map of its places."""
    if x.is_complex() or x.dim() < 2 or not (x.is_floating_point() or x.dtype == torch.uint8) or len(x) != len(target):
        return False
    if not target.is_floating_point() or target.dim() < 2 or not 2 <= target[0].numel() <= _COLUMNS:
        return False
    if target[0].numel() >= x[0].numel():
        return False
    # a single yes in each row is a class, and counts or codes are other tasks
    whole = bool((target == target.round()).all())
    return not whole or (
        bool(((target == 0) | (target == 1)).all()) and not bool((target.flatten(1).sum(1) == 1).all())
    )


def _features(x: Tensor) -> Tensor:
    """Return the input as a row, a picture by its places on a coarse grid, thinned."""
    if x.dim() == 3 and min(x.shape[1:]) > _SIDE:
        x = functional.adaptive_avg_pool2d(x.float(), _SIDE)
    row = x.flatten()
    return row[:: -(-len(row) // FEATURES)].float().cpu().clone()
