"""Whether training samples are made anew at each reading, as augmentation does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..subject.data import tensors

READ = 16


def redrawn(data: Iterable[Any], n: int = READ) -> float | None:
    """Read some samples twice and return the share of them that changed; None where samples cannot be asked by place.

    Samples are taken from the data set of a loader, evenly spaced. A data set that fails, or has no length, is left
    alone.
    """
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__"):
        return None
    try:
        size = len(source)
        places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
        changed = [_differ(source[place], source[place]) for place in places]
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return None
    return sum(changed) / len(changed) if changed else None


def _differ(first: Any, again: Any) -> bool:
    """Tell whether the first tensor of two readings differs."""
    a, b = next(tensors(first), None), next(tensors(again), None)
    if a is None or b is None:
        return False
    return a.shape != b.shape or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
