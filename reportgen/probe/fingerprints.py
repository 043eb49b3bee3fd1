"""Equal inputs in one split and across two, in bounded memory: a hash for each sample, the smallest ones kept."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..document.samples import Copies
from ..subject.data import Batch, tensors

KEPT = 1 << 15
_LEFT_OUT = -100
_MIX = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


class Fingerprints:
    """Hashes of inputs and of targets. All samples below a limit are kept, so that counts among them are exact."""

    def __init__(self) -> None:
        self._inputs: list[Hashes] = []
        self._targets: list[Hashes] = []
        self._limit = np.uint64(0xFFFFFFFFFFFFFFFF)
        self._n = 0
        self._held = 0
        self._possible = True
        self.latest: Hashes | None = None
        """Of the inputs of the batch just added; None where it had none."""

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch; a batch that does not count samples along dimension 0 ends the matter."""
        n = batch.n_samples
        parts = list(tensors((batch.args, batch.kwargs)))
        self._possible &= bool(parts) and all(_by_sample(t, n) for t in parts)
        self.latest = None
        if not self._possible or not n:
            return
        self.latest = inputs = _hash([*parts])
        given = [t for t in tensors(batch.target) if _by_sample(t, n)]
        targets = _hash(given) if given else np.zeros(n, np.uint64)
        below = (inputs <= self._limit) & _counted(given, n)
        self._inputs.append(inputs[below])
        self._targets.append(targets[below])
        self._n += n
        self._held += int(below.sum())
        if self._held > 2 * KEPT:
            self._shrink()

    def _shrink(self) -> None:
        inputs, targets = np.concatenate(self._inputs), np.concatenate(self._targets)
        distinct = np.unique(inputs)
        if len(distinct) > KEPT:
            self._limit = distinct[KEPT - 1]
            below = inputs <= self._limit
            inputs, targets = inputs[below], targets[below]
        elif len(inputs) > 4 * KEPT:  # the same few inputs over and over: one of each kind is enough from here on
            pairs = np.unique(np.stack([inputs, targets]), axis=1)
            inputs, targets = pairs[0], pairs[1]
        self._inputs, self._targets, self._held = [inputs], [targets], len(inputs)

    def table(self) -> tuple[Hashes, Hashes]:
        """Return hashes of inputs and of targets of the samples kept."""
        if not self._possible or not self._inputs:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        return np.concatenate(self._inputs), np.concatenate(self._targets)

    def facts(self) -> Copies | None:
        """Return what is the same; None when samples could not be told apart."""
        inputs, targets = self.table()
        if not len(inputs):
            return None
        _, group = np.unique(inputs, return_inverse=True)
        pairs = np.unique(np.stack([group.astype(np.uint64), targets]), axis=1)[0]
        kinds = np.bincount(pairs.astype(np.int64), minlength=int(group.max()) + 1)
        return Copies(
            seen=self._n,
            kept=len(inputs),
            distinct=int(group.max()) + 1,
            conflicting=int((kinds[group] > 1).sum()),
            conflicting_inputs=int((kinds > 1).sum()),
            repeated=int((np.bincount(group) > 1).sum()),
        )

    @property
    def limit(self) -> np.uint64:
        return self._limit


def overlap(training: Fingerprints, given: Fingerprints) -> tuple[int, int, int, int] | None:
    """Return samples given that could be compared, those of them found in training, those with another target there,
    and the different inputs among those found."""
    (known, labels), (wanted, truths) = training.table(), given.table()
    limit = min(training.limit, given.limit)
    known, labels = known[known <= limit], labels[known <= limit]
    wanted, truths = wanted[wanted <= limit], truths[wanted <= limit]
    if not len(known) or not len(wanted):
        return None
    shared = np.isin(wanted, known)
    pairs = set(zip(known.tolist(), labels.tolist(), strict=True))
    other = sum((i, t) not in pairs for i, t in zip(wanted[shared].tolist(), truths[shared].tolist(), strict=True))
    return len(wanted), int(shared.sum()), other, len(np.unique(wanted[shared]))


def _counted(targets: list[Tensor], n: int) -> NDArray[np.bool_]:
    """Tell which samples have a label: the losses of torch leave out those marked -100."""
    if len(targets) == 1 and targets[0].shape == (n,) and not targets[0].is_floating_point():
        return np.asarray((targets[0] != _LEFT_OUT).cpu().numpy(), dtype=np.bool_)
    return np.ones(n, np.bool_)


def _by_sample(tensor: Tensor, n: int) -> bool:
    """Tell whether a tensor holds ``n`` samples along dimension 0 in dense memory; a sparse one has no rows to hash."""
    return tensor.layout == torch.strided and tensor.dim() > 0 and tensor.shape[0] == n


def hashes(batch: Batch) -> Hashes:
    """Return a hash of the inputs of each sample, all of whose tensors count samples along dimension 0."""
    return _hash(list(tensors((batch.args, batch.kwargs))))


def _hash(parts: list[Tensor]) -> Hashes:
    """Hash each row of tensors that count samples along dimension 0, by their bits."""
    total: Hashes = np.zeros(len(parts[0]), np.uint64)
    for place, part in enumerate(parts):
        total = _mixed(total * _MIX + _rows(part, place))
    return total


def _rows(tensor: Tensor, place: int) -> Hashes:
    values = tensor.detach().cpu().contiguous()
    if values.dtype.is_floating_point:
        values = (values + 0.0).float()  # -0.0 is 0.0; half precision comes as numbers too
    raw: NDArray[Any] = values.numpy().reshape(len(values), -1)
    data = np.ascontiguousarray(raw).view(np.uint8).reshape(len(values), -1)
    padded = np.zeros((len(data), -(-data.shape[1] // 8) * 8), np.uint8)
    padded[:, : data.shape[1]] = data
    words = _mixed(padded.view(np.uint64) + _MIX)
    total: Hashes = (words * _factors(place, words.shape[1])).sum(1, dtype=np.uint64)
    return _mixed(total)


@functools.lru_cache(maxsize=8)  # a row of an image has some ten thousand
def _factors(place: int, n: int) -> Hashes:
    """Return n odd numbers, drawn by the place of a tensor in the batch."""
    drawn = np.random.default_rng(place).integers(0, 1 << 63, n, dtype=np.uint64)
    return np.asarray(drawn * np.uint64(2) + np.uint64(1))


def _mixed(words: Hashes) -> Hashes:
    """Scatter the bits of 64-bit words (the finaliser of splitmix64, Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
