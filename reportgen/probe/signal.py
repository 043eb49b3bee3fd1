"""Do neighbours in input space have the same target? A bounded sample of each split, against permuted targets."""

from __future__ import annotations

import random
from typing import Literal

import torch
from msgspec import structs
from torch import Tensor

from ..document.samples import Signal
from ..subject.data import Batch
from .sequence import LEFT_OUT

SAMPLES = 512
FEATURES = 1024
LEAST = 40
NEIGHBOURS = 5
PERMUTATIONS = 200
COLUMNS = 24
_DIFFERENT = 100
"""Different rows that are enough to ask; where there are fewer, rows repeat by nature."""
_FAR = 5.0  # standard deviations: what lies beyond would make products of any size


_Table = tuple[Tensor, Tensor]
"""Inputs (N, F) and targets (N,)."""


class SignalSample:
    """A fair sample of inputs, flattened and thinned, with one target each (Vitter 1985)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._inputs: list[Tensor] = []
        self._targets: list[float] = []
        self._seen = 0
        self.step = 1
        """Every so many features one is kept."""
        self._possible = True
        self._kind: Literal["classes", "numbers"] = "classes"
        self._floating = False

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch; only numbers with one target a sample have such neighbours."""
        x, target = batch.first, batch.target
        self._possible &= (
            x is not None
            and x.dim() >= 2
            and (x.is_floating_point() or x.dtype == torch.uint8)
            and isinstance(target, Tensor)
            and target.numel() == batch.n_samples == len(target) == len(x)  # of a packed sequence x holds the steps
        )
        if not self._possible or x is None or not isinstance(target, Tensor):
            return
        rows = x.detach().flatten(1)
        self.step = -(-rows.shape[1] // FEATURES)
        rows = rows[:, :: self.step]
        if self._inputs and rows.shape[1] != len(self._inputs[0]):
            self._possible = False
            return
        values = target.detach().flatten().double().cpu()
        self._floating |= target.is_floating_point()
        if target.is_floating_point() and bool((values != values.round()).any()):
            self._kind = "numbers"
        left_out = None if target.is_floating_point() else LEFT_OUT
        chosen: dict[int, int] = {}  # place in the sample -> row of the batch
        told = values.tolist()
        for i, value in enumerate(told):
            if value == left_out:
                continue
            self._seen += 1
            place = self._seen - 1 if self._seen <= SAMPLES else self._rng.randrange(self._seen)
            if place < SAMPLES:
                chosen[place] = i
        if not chosen:
            return
        # of a loader's memory a copy is kept
        kept = rows[torch.tensor([*chosen.values()], device=rows.device)].float().cpu().unbind(0)
        for place, row, i in zip(chosen, kept, chosen.values(), strict=True):
            self._inputs[place : place + 1] = [row if place == len(self._inputs) else row.clone()]
            self._targets[place : place + 1] = [told[i]]

    def table(self, limit: int = SAMPLES) -> tuple[Tensor, Tensor] | None:
        """Return (inputs, targets) of at most so many samples that are finite; None when they are too few."""
        if not self._possible or len(self._inputs) < LEAST:
            return None
        x, y = torch.stack(self._inputs[:limit]), torch.tensor(self._targets[:limit], dtype=torch.float64)
        finite = torch.isfinite(x).all(1) & torch.isfinite(y)
        x, y = x[finite], y[finite]
        return (x, y) if len(x) >= LEAST and bool((y != y[0]).any()) else None

    @property
    def kind(self) -> Literal["classes", "numbers"]:
        """Numbers too where floats are whole by their unit, as prices are: more values than ten samples each have."""
        amounts = self._floating and len(set(self._targets)) > len(self._targets) / 10
        return "numbers" if amounts else self._kind

    def facts(self, limit: int = SAMPLES) -> Signal | None:
        """Ask the neighbours of every sample, itself left out."""
        found = self.table(limit)
        return None if found is None else _ask(*found, *found, self.kind, inside=True)


def across(training: SignalSample, given: SignalSample) -> Signal | None:
    """Ask the neighbours among the training data for the targets of the data given."""
    known, asked = training.table(), given.table()
    if known is None or asked is None or known[0].shape[1] != asked[0].shape[1]:
        return None
    kind: Literal["classes", "numbers"] = "classes" if training.kind == given.kind == "classes" else "numbers"
    return structs.replace(_ask(*known, *asked, kind, inside=False), surface=_surface(*known, *asked, kind))


def beside(training: SignalSample, given: SignalSample) -> tuple[Signal, Signal] | None:
    """Ask inside either split, on as many different samples of each; of each class where classes have other shares.

    A copy that somebody made is its own neighbour, and ten copies are no ten witnesses. Of a rare class a sample may
    hold too few to show what a balanced one shows, so that both are asked with the same number of each.
    """
    tables = training.table(), given.table()
    if tables[0] is None or tables[1] is None:
        return None
    generator = torch.Generator().manual_seed(0)
    one, other = (_different(*table, generator) for table in tables if table is not None)
    if training.kind == given.kind == "classes":
        one, other = _of_equal_shares(one, other)
    size = min(len(one[0]), len(other[0]))
    parts = [(x[:size], y[:size]) for x, y in (one, other)]
    if size < LEAST or not all(bool((y != y[0]).any()) for _, y in parts):
        return None
    return (
        _ask(*parts[0], *parts[0], training.kind, inside=True),
        _ask(*parts[1], *parts[1], given.kind, inside=True),
    )


def _different(x: Tensor, y: Tensor, generator: torch.Generator) -> _Table:
    """Return every row once, in a drawn order; rows of few possible values repeat by nature and are left as they are.

    The order of a sample that was never full is that of the loader, by class perhaps.
    """
    order = torch.randperm(len(x), generator=generator)
    x, y = x[order], y[order]
    kinds = torch.unique(x, dim=0, return_inverse=True)[1]
    first = torch.full((int(kinds.max()) + 1,), len(x)).scatter_reduce(0, kinds, torch.arange(len(x)), "amin")
    if len(first) < _DIFFERENT:
        return x, y
    kept = first.sort().values
    return x[kept], y[kept]


def _of_equal_shares(one: _Table, other: _Table) -> tuple[_Table, _Table]:
    """Return as many samples of each class from both, where shares differ by more than twice what chance makes."""
    n, m = len(one[1]), len(other[1])
    values, place = torch.unique(torch.cat([one[1], other[1]]), return_inverse=True)
    ours, theirs = (torch.bincount(part, minlength=len(values)) for part in (place[:n], place[n:]))
    variation = float((ours / n - theirs / m).abs().sum()) / 2
    if variation <= (len(values) * (1 / n + 1 / m)) ** 0.5:
        return one, other
    most = torch.minimum(ours, theirs).tolist()
    kept = [
        torch.cat([(part == k).nonzero().flatten()[:size] for k, size in enumerate(most)])
        for part in (place[:n], place[n:])
    ]
    return (one[0][kept[0]], one[1][kept[0]]), (other[0][kept[1]], other[1][kept[1]])


def _surface(
    known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, kind: Literal["classes", "numbers"]
) -> float | None:
    """Fit columns and all their products to the targets of the one split, and score that on the other.

    A ridge regression of each class (or of the numbers), its strength the best of four by the errors of leaving one out
    (Allen 1974): accuracy, or R². For tables of up to ``COLUMNS`` columns and few classes; None for others.
    """
    values = torch.unique(labels)
    if known.shape[1] > COLUMNS or (kind == "classes" and len(values) > COLUMNS):
        return None
    centre, width = known.mean(0), known.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width))
    one, other = (_products(((x - centre) / width).clamp(-_FAR, _FAR).double()) for x in (known, asked))
    one, other = one - one.mean(0), other - one.mean(0)
    wanted = (labels[:, None] == values).double() if kind == "classes" else labels[:, None]
    level = wanted.mean(0)
    sizes, directions = torch.linalg.eigh(one @ one.T)
    sizes = sizes.clamp_min(0)
    along = directions.T @ (wanted - level)
    best: tuple[float, Tensor] | None = None
    for strength in (1e-3, 1e-2, 1e-1, 1.0):
        ridge = sizes + strength * sizes.mean().clamp_min(1e-12)
        kept = sizes / ridge
        own = 1 - (directions.square() * kept).sum(1) - 1 / len(one)
        left = (wanted - level - directions @ (kept[:, None] * along)) / own.clamp_min(1e-6)[:, None]
        error = float(left.square().mean())
        if best is None or error < best[0]:
            best = error, one.T @ (directions @ (along / ridge[:, None]))
    assert best is not None
    told = other @ best[1] + level
    if kind == "classes":
        return float((values[told.argmax(1)] == truth).double().mean())
    return float(1 - (told[:, 0] - truth).square().mean() / truth.var(correction=0).clamp_min(1e-300))


def _products(x: Tensor) -> Tensor:
    row, column = torch.triu_indices(x.shape[1], x.shape[1])
    return torch.cat([x, x[:, row] * x[:, column]], 1)


def _ask(
    known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, kind: Literal["classes", "numbers"], *, inside: bool
) -> Signal:
    centre, width = known.mean(0), known.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width))
    distance = torch.cdist((asked - centre) / width, (known - centre) / width)
    if inside:
        distance.fill_diagonal_(torch.inf)
    closest, nearest = distance.topk(NEIGHBOURS, dim=1, largest=False)
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(len(labels), generator=generator) for _ in range(PERMUTATIONS)])
    mixed = labels[orders]  # (permutations, known)
    null = _score(mixed[:, nearest], mixed if inside else truth, kind)
    return Signal(
        kind=kind,
        n=len(asked),
        k=NEIGHBOURS,
        score=float(_score(labels[nearest], truth, kind)),
        null_mean=float(null.mean()),
        null_std=float(null.std()),
        vote=float((labels[nearest].mode(1).values == truth).double().mean()) if kind == "classes" else None,
        distance=float(closest[:, 0].median()) / known.shape[1] ** 0.5,
    )


def _score(answers: Tensor, truth: Tensor, kind: Literal["classes", "numbers"]) -> Tensor:
    """Hold the neighbours' targets (..., asked, k) against the true ones (..., asked): the share that agrees, or R²."""
    if kind == "classes":
        return (answers == truth[..., None]).double().mean((-2, -1))
    error = (answers.mean(-1) - truth).square().mean(-1)
    return 1 - error / truth.var(-1, correction=0).clamp_min(1e-300)
