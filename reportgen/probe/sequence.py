"""The order in which labels come, and the padding at the end of sequences: counts over one pass."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from ..document.samples import Order, Padding
from ..subject.data import Batch

MAX_VALUES = 64
LEFT_OUT = -100  # the target that the losses of torch leave out: no class


class LabelOrder:
    """Counts neighbours with the same label, and correlates neighbouring targets, batch after batch."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self._many = False
        self._possible = True
        self._last: float | None = None
        self._first = 0.0
        self._n = self._same = self._rises = 0
        self._sum = self._squares = self._products = 0.0

    def update(self, batch: Batch) -> None:
        """Add the targets of one batch, in their order; each sample must have one."""
        target = batch.target
        alone = isinstance(target, Tensor) and target.dim() > 0 and len(target) == target.numel()
        self._possible &= alone and target.numel() == batch.n_samples
        if not self._possible or not isinstance(target, Tensor):
            return
        values = target.detach().flatten().double().cpu()
        told = torch.isfinite(values)
        if not target.is_floating_point():
            told &= values != LEFT_OUT
        values = values[told]
        if not len(values):
            return
        if self._last is None:
            self._first = float(values[0])
        chain = values if self._last is None else torch.cat([torch.tensor([self._last], dtype=torch.float64), values])
        self._same += int((chain[1:] == chain[:-1]).sum())
        self._rises += int((chain[1:] > chain[:-1]).sum())
        shifted, before = chain[1:] - self._first, chain[:-1] - self._first
        self._products += float(shifted @ before)
        own = values - self._first
        self._sum, self._squares = self._sum + float(own.sum()), self._squares + float(own @ own)
        self._n += len(values)
        self._last = float(values[-1])
        if not self._many:
            self._counts.update(values.tolist())
            self._many = len(self._counts) > MAX_VALUES

    @property
    def n_values(self) -> int | None:
        """Different targets seen; None where a sample has not just one, or there are more than can be counted."""
        return len(self._counts) if self._possible and self._n and not self._many else None

    def facts(self) -> Order | None:
        """Return what neighbours have to do with each other; None for fewer than 30 samples."""
        if not self._possible or self._n < 30:
            return None
        if not self._many:
            expected = sum(c * (c - 1) for c in self._counts.values()) / self._n
            return Order(n=self._n, same=self._same, expected=expected)
        mean = self._sum / self._n
        variance = self._squares / self._n - mean * mean
        covariance = self._products / (self._n - 1) - mean * mean
        correlation = covariance / variance if variance > 0 else math.nan
        if not math.isfinite(correlation):
            return None
        share = self._rises / max(self._n - 1 - self._same, 1)
        return Order(n=self._n, correlation=max(-1.0, min(1.0, correlation)), one_way=max(share, 1 - share))


class PaddingCount:
    """Counts the commonest last token of integer sequences where it runs up to the end."""

    def __init__(self) -> None:
        self._token: int | None = None
        self._padded = self._total = 0

    def update(self, x: Tensor) -> None:
        """Add a batch of (samples, positions) tokens."""
        if x.dim() != 2 or x.is_floating_point() or x.is_complex() or x.dtype in (torch.bool, torch.uint8):
            return
        if not x.numel():
            return
        if self._token is None:
            self._token = int(torch.mode(x[:, -1]).values)
        trailing = (x.flip(1) == self._token).long().cumprod(1)
        self._padded += int(trailing.sum())
        self._total += x.numel()

    def facts(self) -> Padding | None:
        """Return the share; None for inputs that are no token sequences."""
        return None if self._token is None else Padding(token=self._token, share=self._padded / self._total)
