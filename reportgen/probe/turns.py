"""Whether training images are mirrored or turned when they are read again, as augmentation does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ..subject.data import tensors

READ = 32
_NEARER = 0.25  # of the squared distance: what else an augmentation does stays below that
_SIDE = 5  # pixels, below which a table is no picture
TURNS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "mirrored": lambda x: x.flip(-1),
        "upside down": lambda x: x.flip(-2),
        "half a turn": lambda x: x.flip((-1, -2)),
        "a quarter turn": lambda x: x.rot90(1, (-2, -1)),
        "three quarters of a turn": lambda x: x.rot90(-1, (-2, -1)),
    }
)


def turned(data: Iterable[Any], n: int = READ) -> dict[str, float]:
    """Return the share of samples whose second reading is the first one turned, by the name of the turn in ``TURNS``.

    Images, (H, W) or (C, H, W), of the data set of a loader, evenly spaced: the squared distance to the turned first
    reading is below a quarter of that to the first reading as it is. {} where samples cannot be asked by place, or none
    is turned.
    """
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__"):
        return {}
    counts = dict.fromkeys(TURNS, 0)
    try:
        size = len(source)
        places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
        for place in places:
            name = _between(*(next(tensors(source[place]), None) for _ in range(2)))
            if name is not None:
                counts[name] += 1
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return {}
    return {name: count / len(places) for name, count in counts.items() if count}


def _between(first: Tensor | None, again: Tensor | None) -> str | None:
    """Return the turn that leads from one reading to the next; None where it is none, or no image."""
    if first is None or again is None or first.shape != again.shape or not 2 <= first.dim() <= 3:
        return None
    ways, line = ways_of(first.double()), _NEARER * float((again.double() - first.double()).square().sum())
    apart = {name: float((again.double() - way).square().sum()) for name, way in ways.items()}
    name = min(apart, key=lambda name: apart[name], default=None)
    return name if name is not None and apart[name] < line else None


def ways_of(images: Tensor) -> dict[str, Tensor]:
    """Return images (..., H, W) mirrored and turned in all ways that keep their shape; {} where they are too small."""
    if images.dim() < 2 or min(images.shape[-2:]) < _SIDE:
        return {}
    ways = {name: turn(images) for name, turn in TURNS.items()}
    return {name: way.contiguous() for name, way in ways.items() if way.shape == images.shape}
