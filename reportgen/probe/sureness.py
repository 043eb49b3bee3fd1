"""Is a simple learner right more often where it is surer? Labels of training samples that it was not fitted to."""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor
from torch.nn import functional

from ..document.samples import Signal, Sureness
from ..subject.data import Batch
from .sequence import LEFT_OUT

SAMPLES = 1024
LEAST = 200
CLASSES = 20
_PARTS = 5
_PERMUTATIONS = 100
_LENGTH = 512  # elements of a sequence
_TOKENS = 2048  # the commonest
_FEWEST = 3  # sequences with a token
_SHORT = 40
_FAR = 5.0  # standard deviations
_SHRINK = 0.1
_CLASS = 0.05  # of the samples: of rarer classes nothing is asked


class WordSample:
    """A fair sample of sequences of integers with one class each (Vitter 1985)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._kept: list[tuple[Tensor, int]] = []
        self._seen = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the sequences of one batch."""
        x, target = batch.first, batch.target
        self._possible &= (
            x is not None
            and x.dim() == 2
            and x.shape[1] > 1
            and not x.is_floating_point()
            and not x.is_complex()
            and x.dtype not in (torch.uint8, torch.bool)
            and isinstance(target, Tensor)
            and target.numel() == batch.n_samples == len(x)
        )
        if not self._possible or x is None or not isinstance(target, Tensor):
            return
        told = target.detach().flatten().double().cpu()
        if not bool(torch.isfinite(told).all()) or bool((told != told.round()).any()):
            self._possible = False
            return
        for i, label in enumerate(told.tolist()):
            if label == LEFT_OUT:
                continue
            self._seen += 1
            place = self._seen - 1 if self._seen <= SAMPLES else self._rng.randrange(self._seen)
            if place < SAMPLES:
                self._kept[place : place + 1] = [(x[i, :_LENGTH].detach().long().cpu().clone(), int(label))]

    def __len__(self) -> int:
        return len(self._kept) if self._possible else 0

    def signal(self, limit: int = SAMPLES) -> Signal | None:
        """Let the words of one half say the classes of the other: which, at which place, and which pairs; the best.

        Against 100 permutations of the labels, of which the best counts too: naive Bayes each time.
        """
        if not self._possible or min(limit, len(self._kept)) < LEAST // 2:
            return None
        # a sample that was never full lies in the order of the loader, by class perhaps: halves would not be alike
        order = torch.randperm(len(self._kept), generator=torch.Generator().manual_seed(0))[:limit]
        rows, y = _laid_out([self._kept[i] for i in order.tolist()])
        kinds = torch.unique(rows, return_inverse=True)[1]
        size = int(kinds.max()) + 1
        ways = [kinds, kinds + size * torch.arange(kinds.shape[1]), kinds[:, :-1] * size + kinds[:, 1:]]
        held = [table for table in map(_held, ways) if table.shape[1]]
        values, y = torch.unique(y, return_inverse=True)
        if not held or not 2 <= len(values) <= CLASSES:
            return None
        half = len(y) // 2

        def told(labels: Tensor) -> float:
            known, truth = labels[:half], labels[half:]
            said = (_naive(x[:half], known, len(values), x[half:]).argmax(1) for x in held)
            return max(float((answer == truth).double().mean()) for answer in said)

        generator = torch.Generator().manual_seed(0)
        orders = (torch.randperm(len(y), generator=generator) for _ in range(_PERMUTATIONS))
        null = torch.tensor([told(y[order]) for order in orders], dtype=torch.float64)
        return Signal(
            kind="classes",
            n=len(y),
            k=0,
            score=told(y),
            null_mean=float(null.mean()),
            null_std=max(float(null.std()), 1e-6),
        )

    def facts(self) -> Sureness | None:
        """Ask which words a sequence holds, and if it is short, which word at which place; the better of the two."""
        if not self._possible or len(self._kept) < LEAST:
            return None
        rows, y = _laid_out(self._kept)
        length = rows.shape[1]
        ways = [rows]
        if length <= _SHORT:
            kinds = torch.unique(rows, return_inverse=True)[1]
            ways.append(kinds + (int(kinds.max()) + 1) * torch.arange(length))
        found = [_ask((_held(way), _held(way[:, ::2]), _held(way[:, 1::2])), y, words=True) for way in ways]
        return max((f for f in found if f is not None), key=lambda f: f.accuracy, default=None)


def _laid_out(kept: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    length = max(len(x) for x, _ in kept)
    rows = torch.stack([functional.pad(x, (0, length - len(x)), value=-1) for x, _ in kept])
    return rows, torch.tensor([label for _, label in kept])


def sureness(table: tuple[Tensor, Tensor] | None, kind: str) -> Sureness | None:
    """Ask the columns of a table (inputs, labels); None where targets are no classes."""
    if table is None or kind != "classes" or len(table[0]) < LEAST:
        return None
    x, y = table
    x = x[:, x.std(0) > 0].double()
    if not x.shape[1]:
        return None
    x = ((x - x.mean(0)) / x.std(0)).clamp(-_FAR, _FAR)
    half = x.shape[1] // 2
    return _ask((x, x[:, :half], x[:, half:]), y.long(), words=False)


def _held(rows: Tensor) -> Tensor:
    """Return which tokens (columns) each sequence holds, of those that tell some from others."""
    kinds, place = torch.unique(rows, return_inverse=True)
    held = torch.zeros(len(rows), len(kinds), dtype=torch.double).scatter_(1, place, 1.0)
    often = held.sum(0)
    held = held[:, (often >= _FEWEST) & (often <= len(rows) - _FEWEST)]
    return held[:, held.sum(0).argsort(descending=True)[:_TOKENS]]


def _ask(views: tuple[Tensor, Tensor, Tensor], y: Tensor, *, words: bool) -> Sureness | None:
    """Fit four fifths for what is said of the last fifth, in turn: by everything, and by either half of the inputs."""
    values, y = torch.unique(y, return_inverse=True)
    k, n = len(values), len(y)
    if not 2 <= k <= CLASSES or not all(x.shape[1] for x in views):
        return None
    fit = _naive if words else _ridge
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    told = torch.zeros(len(views), n, k, dtype=torch.double)
    for part in order.chunk(_PARTS):
        rest = order[~torch.isin(order, part)]
        for i, x in enumerate(views):
            told[i, part] = fit(x[rest], y[rest], k, x[part])
    said = told[0]
    named = said.argmax(1)
    right = named == y
    counts = torch.bincount(y, minlength=k).double()
    recalls = torch.bincount(y[right], minlength=k) / counts
    hits, misses = int(right.sum()), int((~right).sum())
    if min(hits, misses) < 20:
        return None
    best = said.topk(2, 1).values
    margin = best[:, 0] - best[:, 1]
    surer, error = _area(margin, right)
    clear = margin >= margin.median()
    alike = told[1].argmax(1) == told[2].argmax(1)
    return Sureness(
        n=n,
        by="words" if words else "columns",
        accuracy=hits / n,
        commonest=float(counts.max()) / n,
        lowest=float(recalls[counts >= _CLASS * n].min()),
        lesser=min(float((part.argmax(1) == y).double().mean()) for part in told[1:]),
        agreement=float(alike[clear].double().mean()),
        surer=surer,
        error=error,
    )


def _naive(x: Tensor, y: Tensor, k: int, asked: Tensor) -> Tensor:
    """Return logarithms of probabilities by naive Bayes on what is there and what is not (McCallum and Nigam 1998)."""
    by_class = functional.one_hot(y, k).double()
    n = by_class.sum(0)
    there = (by_class.T @ x + 1) / (n[:, None] + 2)
    absent = torch.log1p(-there)
    return asked @ (there.log() - absent).T + absent.sum(1) + ((n + 1) / (len(y) + k)).log()


def _ridge(x: Tensor, y: Tensor, k: int, asked: Tensor) -> Tensor:
    centre = x.mean(0)
    wanted = functional.one_hot(y, k).double()
    level, rows = wanted.mean(0), x - centre
    gram = rows @ rows.T
    gram += _SHRINK * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(x), dtype=x.dtype)
    weights: Tensor = torch.linalg.solve(gram, wanted - level)
    return (asked - centre) @ (rows.T @ weights) + level


def _area(sure: Tensor, right: Tensor) -> tuple[float, float]:
    """Return the area under the curve that tells right from wrong answers, with the error of Hanley and McNeil."""
    _, group, counts = torch.unique(sure, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0).double() - (counts.double() - 1) / 2)[group]
    hits, misses = int(right.sum()), int((~right).sum())
    area = (float(ranks[right].sum()) - hits * (hits + 1) / 2) / (hits * misses)
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (hits - 1) * (q1 - area * area) + (misses - 1) * (q2 - area * area)
    return area, math.sqrt(max(spread, 0.0) / (hits * misses))
