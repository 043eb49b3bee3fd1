"""Whether training samples are mirrored, turned or negated when they are read again, as augmentation does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ..subject.data import tensors

READ = 32
_NEARER = 0.25  # of the squared distance: what else an augmentation does stays below that
_SIDE = 5  # places in a row, below which they are channels or coordinates


def turned(data: Iterable[Any], n: int = READ) -> dict[str, float]:
    """Return the share of samples whose second reading is the first one turned, by the name of the turn (``ways_of``).

    Samples of the data set of a loader, evenly spaced, in one to three dimensions: the squared distance to the turned
    first reading is below a quarter of that to the first reading as it is. {} where samples cannot be asked by place,
    or none is turned.
    """
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__"):
        return {}
    counts: dict[str, int] = {}
    try:
        size = len(source)
        places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
        for place in places:
            name = _between(*(next(tensors(source[place]), None) for _ in range(2)))
            if name is not None:
                counts[name] = counts.get(name, 0) + 1
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return {}
    return {name: count / len(places) for name, count in counts.items()}


def _between(first: Tensor | None, again: Tensor | None) -> str | None:
    """Return the turn that leads from one reading to the next; None where none does."""
    if first is None or again is None or first.shape != again.shape or not 1 <= first.dim() <= 3:
        return None
    ways, line = ways_of(first, first.dim()), _NEARER * _apart(first, again)
    apart = {name: _apart(way, again) for name, way in ways.items()}
    name = min(apart, key=lambda name: apart[name], default=None)
    return name if name is not None and apart[name] < line else None


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).square().sum())


def ways_of(x: Tensor, dims: int) -> dict[str, Tensor]:
    """Return samples mirrored, turned and negated in all ways that keep their shape, by name.

    ``dims``: dimensions of a sample, the last ones of ``x``; the last two of more than one are rows and columns.
    """
    wide, high = dims >= 1 and x.shape[-1] >= _SIDE, dims >= 2 and x.shape[-2] >= _SIDE
    ways = {"negated": -x} if x.is_floating_point() else {}
    if wide:
        ways["mirrored"] = x.flip(-1)
    if high:
        ways["upside down"] = x.flip(-2)
    if wide and high:
        ways["half a turn"] = x.flip((-1, -2))
    if wide and high and x.shape[-1] == x.shape[-2]:
        ways["a quarter turn"] = x.rot90(1, (-2, -1)).contiguous()
        ways["three quarters of a turn"] = x.rot90(-1, (-2, -1)).contiguous()
    return ways
