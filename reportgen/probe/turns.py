"""Whether training samples are mirrored, turned or negated when they are read again, as augmentation does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..subject.data import tensors

READ = 32
_NEARER = 0.25  # of the squared distance: what else an augmentation does stays below that
_SIDE = 5  # places in a row, below which they are channels or coordinates


@dataclass(frozen=True)
class Turned:
    """What two readings of some samples show."""

    shares: dict[str, float] = field(default_factory=dict)
    """Of the samples that were turned, by the kind of turn."""
    torn: int = 0
    """Samples whose image was turned and whose map was not, or the other way round."""
    maps: int = 0
    """Samples of which that could be told."""


def turned(data: Iterable[Any], n: int = READ) -> Turned:
    """Read some samples twice, and tell by what turn (``ways_of``) the second reading differs from the first.

    Samples of the data set of a loader, evenly spaced, in one to three dimensions: the squared distance to the turned
    first reading is below a quarter of that to the first reading as it is. Where the last tensor of a sample is a map
    of the first one's height and width, it is to turn with it, by the same measure: where it does not, or turns alone,
    the two are torn apart. Nothing is told where samples cannot be asked by place.
    """
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__"):
        return Turned()
    counts: dict[str, int] = {}
    torn = maps = 0
    try:
        size = len(source)
        places = sorted({round(i * (size - 1) / max(n - 1, 1)) for i in range(n)}) if size else []
        for place in places:
            first, again = ([*tensors(source[place])] for _ in range(2))
            if not first or len(first) != len(again):
                continue
            name = _between(first[0], again[0])
            if name is not None:
                counts[name] = counts.get(name, 0) + 1
            apart = _are_torn(name, (first[0], again[0]), (first[-1], again[-1])) if len(first) > 1 else None
            maps += apart is not None
            torn += bool(apart)
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return Turned()
    return Turned({name: count / len(places) for name, count in counts.items()}, torn, maps)


def _are_torn(name: str | None, images: tuple[Tensor, Tensor], maps: tuple[Tensor, Tensor]) -> bool | None:
    """Tell whether an image and its map, in two readings, are turned otherwise; None where that cannot be told."""
    (image, image_again), (map_, map_again) = images, maps
    if name == "negated" or map_.dim() not in (2, 3) or map_.shape != map_again.shape or image.dim() < 2:
        return None
    if map_.shape[-2:] != image.shape[-2:]:
        return None
    ways, told = ways_of(map_, map_.dim()), ways_of(image, image.dim())
    if name is None:
        moved = _apart(image, image_again)
        still = all(moved < _NEARER * _apart(image, way) for way in told.values())
        found = _between(map_, map_again)
        return found not in (None, "negated") if still and told else None
    expected = ways.get(name)
    whole = 0.0 if expected is None else _apart(map_, expected)
    if expected is None or not whole:
        return None  # the same either way
    return _apart(map_again, expected) >= _NEARER * whole


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
