"""Windows cut from the same recordings: runs of time steps that stand in two splits, at other places of the window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..document.samples import Windows
from ..subject.data import Batch

RUN = 8  # steps in a row that must agree bit for bit
_CHANGES = 6  # of the seven steps within a run: padding and constants repeat by nature
_SAMPLES = 2048
_LEVELS = 64
_VALUES = 1 << 21  # of one split
_MIX = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


class WindowRuns:
    """Hashes of all runs of ``RUN`` steps of the first samples, along either axis that may be time.

    Takes floating-point inputs of two or three dimensions, (B, T), (B, T, C) or (B, C, T), of many different values:
    tokens and one-hot letters are left out, for sentences have phrases in common.
    """

    def __init__(self) -> None:
        self._runs: dict[int, list[Hashes]] = {}
        self._steps: dict[int, int] = {}
        self._n = self._values = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        x = batch.first
        left = min(_SAMPLES - self._n, (_VALUES - self._values) // max(_row(x), 1))
        if x is None or not self._possible or left <= 0:
            return
        self._possible &= x.is_floating_point() and x.dim() in (2, 3) and x.layout == torch.strided and not x.is_nested
        if not self._possible:
            return
        few = x[:left].detach().float().cpu()
        if not self._n:
            self._possible = len(np.unique(few[:64].numpy())) >= _LEVELS
        self._n += len(few)
        self._values += few.numel()
        for axis in range(1, x.dim()):
            if self._steps.setdefault(axis, x.shape[axis]) != x.shape[axis]:
                self._possible = False  # series of many lengths are no windows
            elif x.shape[axis] >= 2 * RUN:
                self._runs.setdefault(axis, []).append(_runs(few.movedim(axis, 1)))

    def table(self, axis: int) -> Hashes | None:
        """Return (samples, runs), 0 where a run changes too little to tell."""
        parts = self._runs.get(axis, [])
        return np.concatenate(parts) if parts and self._possible else None


def _row(x: Tensor | None) -> int:
    return 0 if x is None or not x.dim() or not len(x) else x[0].numel()


def _runs(x: Tensor) -> Hashes:
    """Hash each run of steps of (B, T) or (B, T, C): (B, T - RUN + 1)."""
    bits = x.reshape(*x.shape[:2], -1).contiguous().numpy().view(np.uint32).astype(np.uint64)
    weights = _mixed(np.arange(1, bits.shape[2] + 1, dtype=np.uint64)) | np.uint64(1)
    steps = _mixed((bits * weights).sum(2, dtype=np.uint64))
    n = steps.shape[1] - RUN + 1
    runs = np.zeros((len(steps), n), np.uint64)
    changes = np.zeros((len(steps), n), np.int8)
    for i in range(RUN):
        part = steps[:, i : i + n]
        runs = _mixed(runs + part)
        if i:
            changes += part != steps[:, i - 1 : i - 1 + n]
    runs[changes < _CHANGES] = 0
    return runs


def _mixed(x: Hashes) -> Hashes:
    """Mix the bits of whole numbers, so that like numbers get unlike hashes (splitmix64, Steele et al. 2014)."""
    x = (x + _MIX) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def across(training: WindowRuns, given: WindowRuns) -> Windows | None:
    """Count samples given that hold a run of a training sample at an earlier, and at a later place of the window.

    Windows that slide over one recording hold the same steps at other places, up to an end of the window. Of a random
    split a window has training windows on either side; of splits that follow each other in time only those at the
    border have any, on one side. Samples that repeat themselves (periods without noise) are left out. Returns None
    where nothing could be compared.
    """
    found = [w for axis in (1, 2) if (w := _along(training.table(axis), given.table(axis))) is not None]
    return max(found, key=lambda w: min(w.earlier, w.later)) if found else None


def slide(split: WindowRuns) -> bool:
    """Tell whether most samples of a split are windows that slide over one recording, and overlap among themselves."""
    found = across(split, split)
    return found is not None and 2 * max(found.earlier, found.later) > found.n


def _along(training: Hashes | None, given: Hashes | None) -> Windows | None:
    if training is None or given is None or training.shape[1] != given.shape[1]:
        return None
    ordered = np.sort(given, 1)
    repeats = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any(1)
    asked = given[~repeats & (given != 0).any(1)]
    if not len(asked):
        return None
    place = np.broadcast_to(np.arange(training.shape[1]), training.shape)[training != 0]
    known, index = np.unique(training[training != 0], return_inverse=True)
    if not len(known):
        return None
    first, last = np.full(len(known), training.shape[1]), np.full(len(known), -1)
    np.minimum.at(first, index, place)
    np.maximum.at(last, index, place)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    same = (known[at] == asked) & (asked != 0)
    # what a window shares with its neighbours reaches to an end of it; what rows of pictures share lies anywhere
    end = training.shape[1] - 1
    earlier, later = same[:, end] & (first[at[:, end]] < end), same[:, 0] & (last[at[:, 0]] > 0)
    return Windows(n=len(asked), earlier=int(earlier.sum()), later=int(later.sum()))
