"""Finding the normalisation that a data set applies to its images, so that it can be undone for display."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

_DEEP = 12  # data sets wrap each other a few times


def normalisation_of(data: Any) -> tuple[list[float], list[float]] | None:
    """Return (mean, std) by channel of the ``Normalize`` in a loader's or data set's transforms; None without one.

    Looks through ``Subset``, ``ConcatDataset`` and others that hold a ``dataset`` or ``datasets``; through ``Compose``
    and ``Sequential``; by class name, so torchvision, its v2 and albumentations are known and none is imported.
    """
    for source in _sources(data, _DEEP):
        for name in ("transform", "transforms", "tfms", "input_transform"):
            found = _in_transform(_attribute(source, name), _DEEP)
            if found is not None:
                return found
    return None


def _attribute(source: Any, name: str) -> Any:
    try:
        return getattr(source, name, None)
    except Exception:  # a property of the caller's class; no trouble of it may end the examination
        return None


def _sources(data: Any, depth: int) -> Iterator[Any]:
    if data is None or not depth:
        return
    yield data
    yield from _sources(_attribute(data, "dataset"), depth - 1)
    several = _attribute(data, "datasets")
    if isinstance(several, (list, tuple)) and several:
        yield from _sources(several[0], depth - 1)


def _in_transform(transform: Any, depth: int) -> tuple[list[float], list[float]] | None:
    """Search a transform and those inside it; the last one applied is what must be undone."""
    if transform is None or not depth:
        return None
    if type(transform).__name__ == "Normalize":
        return _checked(_attribute(transform, "mean"), _attribute(transform, "std"))
    inner = transform if isinstance(transform, (list, tuple)) else _attribute(transform, "transforms")
    if inner is None:
        inner = _attribute(transform, "transform")  # torchvision's StandardTransform holds one
        inner = _children(transform) if inner is None else [inner]
    if not isinstance(inner, (list, tuple)):
        return None
    found = (_in_transform(one, depth - 1) for one in reversed(inner))
    return next((one for one in found if one is not None), None)


def _children(transform: Any) -> list[Any]:
    children = _attribute(transform, "children")  # of an nn.Sequential
    try:
        return list(children()) if callable(children) else []
    except Exception:  # another thing by that name
        return []


def _checked(mean: Any, std: Any) -> tuple[list[float], list[float]] | None:
    try:
        means = [float(v) for v in (mean if hasattr(mean, "__iter__") else [mean])]
        stds = [float(v) for v in (std if hasattr(std, "__iter__") else [std])]
    except (TypeError, ValueError):
        return None
    fine = means and len(means) == len(stds) and all(map(math.isfinite, means)) and all(0 < s < math.inf for s in stds)
    return (means, stds) if fine else None
