"""Whether training samples are made anew at each reading, as augmentation does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..subject.data import Batch, tensors
from .fingerprints import Fingerprints, hashes

READ = 16
_FEW = 8
_BATCH = 64


def redrawn(data: Iterable[Any], n: int = READ) -> float | None:
    """Read some samples twice and return the share of them that changed; None where samples cannot be asked by place.

    Samples are taken from the data set of a loader, evenly spaced. Where they stay the same, the function that puts
    them together to a batch is asked twice, for it may change them too. A data set that fails, or has no length, is
    left alone.
    """
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__"):
        return None
    try:
        size = len(source)
        places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
        samples = [source[place] for place in places]
        changed = [_differ(sample, source[place]) for sample, place in zip(samples, places, strict=True)]
        collate = getattr(data, "collate_fn", None)
        if changed and not any(changed) and collate is not None:
            changed = [_differ(collate(list(samples)), collate(list(samples)))]
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return None
    return sum(changed) / len(changed) if changed else None


def unmixed(data: Any) -> Iterator[Batch] | None:
    """Return the samples of a loader as its data set holds them, where they are changed when put together to a batch.

    None where they are not, where they are another at each reading, or are no pairs of tensors.
    """
    source: Any = getattr(data, "dataset", None)
    collate = getattr(data, "collate_fn", None)
    if collate is None or collate is default_collate or not hasattr(source, "__getitem__"):
        return None
    try:
        few = [source[place] for place in range(min(READ, len(source)))]
        again = any(_differ(sample, source[place]) for place, sample in enumerate(few))
        if again or not few or not _differ(collate(list(few)), collate(list(few))):
            return None
        x, y = default_collate(few)
    except Exception:  # as above
        return None
    return _read(source, len(source)) if isinstance(x, Tensor) and isinstance(y, Tensor) else None


def _read(source: Any, n: int) -> Iterator[Batch]:
    for start in range(0, n, _BATCH):
        x, y = default_collate([source[place] for place in range(start, min(start + _BATCH, n))])
        yield Batch((x,), target=y)


def unseen(again: Iterable[Batch], known: Fingerprints) -> float | None:
    """Return the share of samples of a second reading whose inputs did not come in the first, in which all were read.

    Samples above the limit of the sketch are left out. None where there are fewer than 8.
    """
    first, _ = known.table()
    if not len(first):
        return None
    try:
        marks = [hashes(batch) for batch in again]
    except Exception:  # a loader that can be read only once
        return None
    asked = np.concatenate(marks) if marks else np.zeros(0, np.uint64)
    asked = asked[asked <= known.limit]
    return None if len(asked) < _FEW else float(1 - np.isin(asked, first).mean())


def _differ(first: Any, again: Any) -> bool:
    """Tell whether the first tensor of two readings differs."""
    a, b = next(tensors(first), None), next(tensors(again), None)
    if a is None or b is None:
        return False
    return a.shape != b.shape or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
