"""Can inputs of the training data be told from those of the data given? A bounded sample of each split, and a test."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from ..document.samples import Apart
from ..subject.data import Batch
from .tight import tight_groups

SAMPLES = 512
FEATURES = 512
LEAST = 60
NEIGHBOURS = 5
PERMUTATIONS = 200
SYMBOLS = 256
FEW = 24
"""Features up to which their products are looked at too: columns may be mixed up and each look as before."""
_SHRINK = 0.1


class InputSample:
    """A fair sample of inputs, flattened and thinned (Vitter 1985); of whole numbers how often each occurs."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._kept: list[Tensor] = []
        self._seen = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        x = batch.first
        self._possible &= x is not None and x.dim() >= 2 and len(x) == batch.n_samples and not x.is_complex()
        if not self._possible or x is None:
            return
        chosen: dict[int, int] = {}  # place in the sample -> row of the batch
        for place in range(len(x)):
            self._seen += 1
            at = self._seen - 1 if self._seen <= SAMPLES else self._rng.randrange(self._seen)
            if at < SAMPLES:
                chosen[at] = place
        if not chosen:
            return
        kept = _rows(x[torch.tensor([*chosen.values()], device=x.device)])
        if self._kept and kept[0].shape != self._kept[0].shape:
            self._possible = False
            return
        for at, row in zip(chosen, kept, strict=True):
            self._kept[at : at + 1] = [row if at == len(self._kept) else row.clone()]

    def table(self) -> Tensor | None:
        """Return the finite samples, (samples, features); None when they are too few or cannot be compared."""
        if not self._possible or len(self._kept) < LEAST:
            return None
        x = torch.stack(self._kept)
        x = x[torch.isfinite(x).all(1)]
        return x if len(x) >= LEAST else None


def _rows(x: Tensor) -> Sequence[Tensor]:
    """Return samples as float32 features: thinned values, or counts of symbols and of pairs of neighbours."""
    rows = x.detach().flatten(1)
    if rows.is_floating_point() or rows.dtype == torch.uint8:
        return rows[:, :: max(1, -(-rows.shape[1] // FEATURES))].float().cpu().unbind(0)
    return [_counts(row) for row in rows.long().cpu()]


def _counts(symbols: Tensor) -> Tensor:
    pairs = symbols[:-1] * 31 + symbols[1:] * 17
    # another length is no reason to differ, so shares
    counts = [
        torch.bincount(part % SYMBOLS, minlength=SYMBOLS).float() / max(len(part), 1) for part in (symbols, pairs)
    ]
    return torch.cat(counts)


def apart(training: InputSample, given: InputSample) -> Apart | None:
    """Try to tell two samples of inputs apart, by a classifier and by neighbours; None where there is nothing to ask.

    The classifier is a ridge regression on the standardised features and their squares (of up to 24 features all
    products), fitted on one half of the samples and tried on the other, the other way round too: the area under its
    curve is 0.5 for splits drawn alike (Lopez-Paz and Oquab 2017). Where samples stand in tight groups, as those of one
    patient do, halves are cut by group: a group is on one side, and would be known again. The neighbours: share of the
    5 nearest in the joined sample that come from the same split, against 200 permutations (Schilling 1986).
    """
    ours, theirs = training.table(), given.table()
    if ours is None or theirs is None or ours.shape[1] != theirs.shape[1]:
        return None
    size = min(len(ours), len(theirs))
    generator = torch.Generator().manual_seed(0)
    # drawn, as a sample that was never full lies in the order of the loader, by class perhaps
    drawn = [table[torch.randperm(len(table), generator=generator)[:size]] for table in (ours, theirs)]
    x = torch.cat(drawn).double()
    width = x.std(0)
    x = x[:, width > 0]
    if not x.shape[1]:
        return None
    x = (x - x.mean(0)) / x.std(0)
    side = torch.cat([torch.ones(size), torch.zeros(size)]).double()
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    nearest = distance.topk(NEIGHBOURS, largest=False).indices
    null = torch.tensor(
        [_same(side[torch.randperm(2 * size, generator=generator)], nearest) for _ in range(PERMUTATIONS)]
    )
    held = tight_groups(distance)
    twins = float((distance.amin(1) < 1e-6).double().mean())
    return Apart(
        n=size,
        area=_area(x, side, _in_halves(side, held, generator)),
        neighbours=_same(side, nearest),
        null_mean=float(null.mean()),
        null_std=float(null.std()),
        copies=twins,
        groups=None if held is None else min(len(torch.unique(held[side == one])) for one in (0, 1)),
    )


def _same(side: Tensor, nearest: Tensor) -> float:
    return float((side[nearest] == side[:, None]).double().mean())


def _in_halves(side: Tensor, groups: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the places of two halves; of groups every second one of either side is in the first."""
    if groups is None:
        order = torch.randperm(len(side), generator=generator)
        return order[: len(side) // 2], order[len(side) // 2 :]
    n = int(groups.max()) + 1
    share = torch.zeros(n, dtype=side.dtype).index_add(0, groups, side) / torch.bincount(groups, minlength=n)
    mixed = torch.randperm(n, generator=generator)
    turn = torch.empty(n, dtype=torch.long)
    turn[mixed[share[mixed].argsort(stable=True)]] = torch.arange(n) % 2
    first = turn[groups] == 0
    return first.nonzero().flatten(), (~first).nonzero().flatten()


def _area(x: Tensor, side: Tensor, halves: tuple[Tensor, Tensor]) -> float:
    """Return the area under the curve on samples that the classifier was not fitted on, mean of both halves."""
    if x.shape[1] <= FEW:
        row, column = torch.triu_indices(x.shape[1], x.shape[1])
        bent = x[:, row] * x[:, column]
    else:
        bent = x.square()
    features = torch.cat([x, bent.clamp(-9.0, 9.0)], 1)
    features = features - features.mean(0)
    areas = []
    for fitted, tried in (halves, halves[::-1]):
        a, y = features[fitted], side[fitted] - side[fitted].mean()
        gram = a @ a.T
        strength = _SHRINK * gram.diagonal().mean()
        weights = torch.linalg.solve(gram + strength * torch.eye(len(a), dtype=a.dtype), y)
        scores = features[tried] @ (a.T @ weights)
        areas.append(_rank_area(scores, side[tried] > 0.5))
    return sum(areas) / 2


def _rank_area(scores: Tensor, positive: Tensor) -> float:
    """Return the chance that a positive sample scores above another; ties count half (Mann and Whitney 1947)."""
    ahead = scores[positive][:, None] - scores[~positive][None, :]
    return float((ahead > 0).double().mean() + 0.5 * (ahead == 0).double().mean())
