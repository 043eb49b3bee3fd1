"""Do the elements around a place tell the class of that place? For sequences with a class at every element."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..document.samples import Signal
from ..subject.data import Batch

SEQUENCES = 512
LEAST = 40
PERMUTATIONS = 30
MAX_SYMBOLS = 1 << 16
_LEFT_OUT = -100
_ITSELF = 0.9
"""Share of places whose class is the element itself: there nothing is to be told, but to be kept and given back."""


class TokenSignal:
    """A fair sample of sequences of integers with a class at every element (Vitter 1985)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._seen = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the sequences of one batch."""
        x, target = batch.first, batch.target
        self._possible &= (
            x is not None
            and x.dim() == 2
            and not x.is_floating_point()
            and isinstance(target, Tensor)
            and not target.is_floating_point()
            and target.shape == x.shape
            and x.shape[1] > 1
        )
        if not self._possible or x is None or not isinstance(target, Tensor):
            return
        for i in range(len(x)):
            self._seen += 1
            pair = (x[i].detach().long().cpu(), target[i].detach().long().cpu())
            if len(self._kept) < SEQUENCES:
                self._kept.append(pair)
            elif (place := self._rng.randrange(self._seen)) < SEQUENCES:
                self._kept[place] = pair

    def __len__(self) -> int:
        return len(self._kept) if self._possible else 0

    def facts(self, limit: int = SEQUENCES) -> Signal | None:
        """Let the pairs of neighbouring elements in one half vote for the classes in the other.

        None of too few, and where the classes are the elements themselves.
        """
        # a sample that was never full lies in the order of the loader: halves of it need not be alike
        order = torch.randperm(len(self._kept), generator=torch.Generator().manual_seed(0))[:limit]
        kept = [self._kept[i] for i in order.tolist()]
        if not self._possible or len(kept) < LEAST or len({len(x) for x, _ in kept}) > 1:
            return None
        x, y = torch.stack([x for x, _ in kept]), torch.stack([y for _, y in kept])
        told = y != _LEFT_OUT
        if int(x.max()) >= MAX_SYMBOLS or int(x.min()) < 0 or not bool(told.any()) or int(y[told].min()) < 0:
            return None
        if float((x == y)[told].double().mean()) > _ITSELF:
            return None
        generator = torch.Generator().manual_seed(0)
        null = torch.tensor(
            [_agreement(x, y[torch.randperm(len(y), generator=generator)]) for _ in range(PERMUTATIONS)]
        )
        return Signal(
            kind="classes",
            n=len(kept),
            k=2,
            score=_agreement(x, y),
            null_mean=float(null.mean()),
            null_std=max(float(null.std()), 0.5 / (told.sum().item() / 2) ** 0.5),
        )


def _agreement(x: Tensor, y: Tensor) -> float:
    """Return how often the commonest class of a pair of elements in one half is that of the same pair in the other.

    A pair is an element and the one before it; pairs never seen get the commonest class of all.
    """
    pairs = x.clone()
    pairs[:, 1:] += MAX_SYMBOLS * (x[:, :-1] + 1)
    half = len(x) // 2
    kinds, group = torch.unique(pairs, return_inverse=True)
    known, votes = group[:half].flatten(), y[:half].flatten()
    known, votes = known[votes != _LEFT_OUT], votes[votes != _LEFT_OUT]
    asked, truth = group[half:].flatten(), y[half:].flatten()
    asked, truth = asked[truth != _LEFT_OUT], truth[truth != _LEFT_OUT]
    if not len(votes) or not len(truth):
        return 0.0
    classes, place = torch.unique(votes, return_inverse=True)
    table = torch.zeros(len(kinds) * len(classes), dtype=torch.long)
    table = table.scatter_add(0, known * len(classes) + place, torch.ones_like(known)).reshape(len(kinds), -1)
    table = table * (2 * len(known)) + table.sum(0)  # ties, and pairs never seen, go to the commonest class
    return float((classes[table.argmax(1)][asked] == truth).double().mean())
