"""What a table of two codes and a number (a user, an item, a rating) tells of new pairs: factors of low rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..document.samples import Signal
from ..subject.data import Batch, tensors

_ROWS = 1 << 14
_CODES = 1 << 12
_LEAST = 200  # rows
_RANK = 8
_SWEEPS = 10
_RIDGES = (0.3, 1.0, 3.0, 10.0)  # rows of which each code is given as many that say nothing
_HELD_OUT = 10  # one row in so many chooses between them


class PairRows:
    """All rows of two codes with a number each; nothing where they are many, or of another kind."""

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._n = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the rows of one batch."""
        codes, y = _codes(batch), batch.target
        self._possible &= codes is not None and isinstance(y, Tensor) and y.numel() == batch.n_samples
        if not self._possible or codes is None or not isinstance(y, Tensor) or not y.is_floating_point():
            self._possible = False
            self._rows.clear()
            return
        self._n += len(codes)
        self._possible = self._n <= _ROWS
        self._rows.append((codes.cpu().clone(), y.detach().reshape(-1).double().cpu()))

    def table(self) -> tuple[Tensor, Tensor] | None:
        """Return codes (N, 2) and numbers (N,)."""
        if not self._possible or self._n < _LEAST:
            return None
        codes, y = (torch.cat(parts) for parts in zip(*self._rows, strict=True))
        legal = bool(torch.isfinite(y).all()) and int(codes.min()) >= 0 and int(codes.max()) < _CODES
        return (codes, y) if legal and float(y.std()) > 0 else None


def _codes(batch: Batch) -> Tensor | None:
    """Return the codes (N, 2) of each sample: one input of two columns, or two inputs of one."""
    inputs = list(tensors((batch.args, batch.kwargs)))
    plain = all(t.layout == torch.strided and not t.is_nested for t in inputs)
    if not plain or any(t.is_floating_point() or t.is_complex() or t.dtype == torch.bool for t in inputs):
        return None
    if len(inputs) == 1 and inputs[0].shape == (batch.n_samples, 2):
        return inputs[0].detach().long()
    if len(inputs) == 2 and all(t.dim() and t.numel() == len(t) == batch.n_samples for t in inputs):
        return torch.stack([t.detach().reshape(-1).long() for t in inputs], 1)
    return None


def across(training: PairRows, given: PairRows) -> Signal | None:
    """Predict the numbers given by a level of each code and the product of eight factors of both, and return their R².

    Alternating least squares (Zhou, Wilkinson, Schreiber and Pan 2008), of which a tenth of the training rows chooses
    the ridge. Only for pairs whose codes are both known.
    """
    ours, theirs = training.table(), given.table()
    if ours is None or theirs is None:
        return None
    known, labels = ours
    sizes = [int(max(known[:, side].max(), theirs[0][:, side].max())) + 1 for side in (0, 1)]
    seen = [torch.bincount(known[:, side], minlength=sizes[side]) > 0 for side in (0, 1)]
    both = seen[0][theirs[0][:, 0]] & seen[1][theirs[0][:, 1]]
    asked, truth = theirs[0][both], theirs[1][both]
    if len(truth) < _LEAST or not float(truth.std()):
        return None
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held, rest = order[::_HELD_OUT], order[torch.arange(len(order)) % _HELD_OUT != 0]
    errors = {
        ridge: float((_told(known[rest], labels[rest], known[held], sizes, ridge) - labels[held]).square().mean())
        for ridge in _RIDGES
    }
    best = min(errors, key=errors.__getitem__)
    error = (_told(known, labels, asked, sizes, best) - truth).square().mean()
    return Signal(
        kind="numbers",
        n=len(truth),
        k=0,
        score=float(1 - error / truth.var(correction=0)),
        null_mean=0.0,
        null_std=1 / math.sqrt(len(truth)),
    )


def _told(codes: Tensor, y: Tensor, asked: Tensor, sizes: list[int], ridge: float) -> Tensor:
    """Return what is predicted for the pairs asked (M, 2)."""
    level = y.mean()
    draw = torch.Generator().manual_seed(0)
    # a column of ones on either side, beside which the other has the level of each of its codes
    parts = [torch.randn(n, _RANK, generator=draw, dtype=torch.float64) / _RANK**0.5 for n in sizes]
    levels = [torch.zeros(n, dtype=torch.float64) for n in sizes]
    for _ in range(_SWEEPS):
        for side in (0, 1):
            own, other = codes[:, side], codes[:, 1 - side]
            x = torch.cat([parts[1 - side][other], torch.ones(len(y), 1, dtype=torch.float64)], 1)
            left = y - level - levels[1 - side][other]
            square = torch.zeros(sizes[side], _RANK + 1, _RANK + 1, dtype=torch.float64)
            square.index_add_(0, own, x[:, :, None] * x[:, None])
            square += ridge * torch.eye(_RANK + 1, dtype=torch.float64)
            wanted = torch.zeros(sizes[side], _RANK + 1, dtype=torch.float64).index_add_(0, own, x * left[:, None])
            solved = torch.linalg.solve(square, wanted)
            parts[side], levels[side] = solved[:, :_RANK], solved[:, _RANK]
    one, other = asked[:, 0], asked[:, 1]
    told: Tensor = level + levels[0][one] + levels[1][other] + (parts[0][one] * parts[1][other]).sum(1)
    return told
