"""The order in which labels and inputs come, and the padding at the end of sequences: counts over one pass."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable

import torch
from torch import Tensor

from ..document.samples import Order, Padding
from ..subject.data import Batch

MAX_VALUES = 64
_COLUMNS = 256  # of an input, evenly spread, that are followed
_CODES = 16  # whole numbers to a sample; more of them are tokens
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
        self._mixed, self._pairs = 0.0, 0
        self._sizes: deque[int] = deque()
        self._sum = self._squares = self._products = 0.0

    def expect(self, n: int) -> None:
        """Note the size of a batch as it was loaded, where several of them will be added as one."""
        self._sizes.append(n)

    def update(self, batch: Batch) -> None:
        """Add the targets of one batch, in their order; each sample must have one."""
        sizes = self._loaded(batch.n_samples)
        target = batch.target
        alone = isinstance(target, Tensor) and target.dim() > 0 and len(target) == target.numel()
        self._possible &= alone and target.numel() == batch.n_samples
        if not self._possible or not isinstance(target, Tensor):
            return
        values = target.detach().flatten().double().cpu()
        told = torch.isfinite(values)
        if not target.is_floating_point():
            told &= values != LEFT_OUT
        if not self._many:
            self._mix(zip(torch.split(values, sizes), torch.split(told, sizes), strict=True))
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

    def _loaded(self, n: int) -> list[int]:
        """Return the sizes of the batches that so many samples came in."""
        sizes: list[int] = []
        while self._sizes and sum(sizes) < n:
            sizes.append(self._sizes.popleft())
        return sizes if sum(sizes) == n else [n]

    def _mix(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Count pairs of one label that each batch would have if it were dealt out anew."""
        for values, told in batches:
            counts = torch.unique(values[told], return_counts=True)[1]
            n = int(counts.sum())
            if n > 1:
                self._mixed += float((counts * (counts - 1)).sum()) / n
                self._pairs += n - 1

    @property
    def n_values(self) -> int | None:
        """Different targets seen; None where a sample has not just one, or there are more than can be counted."""
        return len(self._counts) if self._possible and self._n and not self._many else None

    def facts(self, inputs: float | None = None) -> Order | None:
        """Return what neighbours have to do with each other; None for fewer than 30 samples.

        ``inputs``: the correlation of their inputs.
        """
        if not self._possible or self._n < 30:
            return None
        if not self._many:
            expected = sum(c * (c - 1) for c in self._counts.values()) / self._n
            mixed = self._mixed / self._pairs if self._pairs >= 30 else None
            return Order(n=self._n, same=self._same, expected=expected, mixed=mixed, inputs=inputs)
        mean = self._sum / self._n
        variance = self._squares / self._n - mean * mean
        covariance = self._products / (self._n - 1) - mean * mean
        correlation = covariance / variance if variance > 0 else math.nan
        if not math.isfinite(correlation):
            return None
        share = self._rises / max(self._n - 1 - self._same, 1)
        ratio = max(-1.0, min(1.0, correlation))
        return Order(n=self._n, correlation=ratio, one_way=max(share, 1 - share), inputs=inputs)


class InputOrder:
    """Correlates the columns of neighbouring inputs, batch after batch: rows that come site by site, or sorted."""

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._first: Tensor | None = None
        self._n = 0
        self._sums: Tensor | None = None
        """Of the values, of their squares and of their products with those of the row before, by column."""

    def update(self, x: Tensor) -> None:
        """Add the inputs of one batch, in their order: numbers, or few whole numbers to a sample."""
        n = len(x) if x.dim() > 1 else 0
        width = x.numel() // n if n else 0
        if not width or x.is_complex() or (not x.is_floating_point() and width > _CODES):
            return
        step = -(-width // _COLUMNS)
        rows = x.detach().reshape(n, width)[:, ::step].double().cpu()
        if self._first is None or self._sums is None or self._last is None:
            self._first, self._last = rows[0], rows[0]
            self._sums = torch.zeros(3, rows.shape[1], dtype=torch.float64)
        if len(self._first) != rows.shape[1]:
            return
        own = rows - self._first
        before = torch.cat([(self._last - self._first)[None], own[:-1]])
        self._sums += torch.stack([own.sum(0), own.square().sum(0), (own * before).sum(0)])
        self._last, self._n = rows[-1], self._n + n

    def correlation(self) -> float | None:
        """Return the largest correlation of neighbours over the columns that vary; None for fewer than 30 samples."""
        if self._sums is None or self._n < 30:
            return None
        total, squares, products = self._sums / self._n
        variance = squares - total.square()
        known = torch.isfinite(variance) & (variance > 1e-12 * squares.clamp(min=1e-300)) & (variance > 0)
        ratio = ((products - total.square()) / variance)[known]
        return min(1.0, float(ratio.max())) if ratio.numel() else None


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
