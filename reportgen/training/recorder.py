"""Curves of bounded size for what a training run yields, however long it is. Plain numbers; no torch."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Literal

from ..document.history import Series, Trace

MAX_POINTS = 2000  # of a logged scalar
TRACE_POINTS = 64  # of a curve of one layer or parameter

Axis = Literal["epoch", "step"]


@dataclass
class Track:
    """A curve that keeps every second, fourth, ... point once it is full; counts stay exact.

    None and values that are not finite are kept as None.
    """

    limit: int = MAX_POINTS
    x: list[float] = field(default_factory=list)
    y: list[float | None] = field(default_factory=list)
    n: int = 0
    every: int = 1
    nonfinite: int = 0
    first_nonfinite: float | None = None
    end: float = -math.inf
    """The last place added, kept or not."""

    def add(self, x: float, value: float | None) -> None:
        self.end = x
        finite = value is not None and math.isfinite(value)
        if not finite:
            self.nonfinite += 1
            self.first_nonfinite = x if self.first_nonfinite is None else self.first_nonfinite
        if self.n % self.every == 0:
            self.x.append(x)
            self.y.append(value if finite else None)
            if len(self.y) > self.limit:
                self.x, self.y, self.every = self.x[::2], self.y[::2], self.every * 2
        self.n += 1

    def extend(self, x: list[float], values: list[float | None]) -> None:
        """Add several points."""
        for place, value in zip(x, values, strict=True):
            self.add(place, value)

    def cut(self, last: float) -> None:
        """Forget what lies beyond ``last``; of a thinned curve the count is then that of a steady pace."""
        if last >= self.end:
            return
        m = bisect_right(self.x, last)
        pace = (self.x[-1] - self.x[0]) / ((len(self.x) - 1) * self.every) if len(self.x) > 1 else 0.0
        self.n = (m - 1) * self.every + 1 + min(int((last - self.x[m - 1]) / pace), self.every - 1) if m and pace else m
        del self.x[m:], self.y[m:]
        self.end = last
        if self.first_nonfinite is not None and self.first_nonfinite > last:
            self.nonfinite, self.first_nonfinite = 0, None

    @property
    def values(self) -> list[float]:
        """The kept values that are finite."""
        return [v for v in self.y if v is not None]

    def trace(self) -> Trace | None:
        return Trace(x=self.x, y=self.y) if self.y else None


class Recorder:
    """Named series by epoch and by step."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, Axis], Track] = {}

    def log(self, axis: Axis, x: float, values: dict[str, float | None]) -> None:
        """Add one point to each named series."""
        for name, value in values.items():
            self._track(name, axis).add(x, value)

    def extend(self, axis: Axis, x: list[float], values: dict[str, list[float | None]]) -> None:
        """Add several points to each named series."""
        for name, column in values.items():
            self._track(name, axis).extend(x, column)

    def _track(self, name: str, axis: Axis) -> Track:
        track = self._tracks.get((name, axis))
        if track is None:
            track = self._tracks[name, axis] = Track()
        return track

    def cut(self, axis: Axis, last: float) -> None:
        """Forget what lies beyond a place on one axis."""
        for (name, its), track in list(self._tracks.items()):
            if its == axis:
                track.cut(last)
                if not track.x:
                    del self._tracks[name, its]

    def has(self, name: str, axis: Axis) -> bool:
        return (name, axis) in self._tracks

    def recent(self, name: str, axis: Axis, n: int) -> list[float | None]:
        """Return the last kept values of a series."""
        track = self._tracks.get((name, axis))
        return track.y[-n:] if track is not None else []

    def names(self, axis: Axis) -> list[str]:
        return [name for name, its in self._tracks if its == axis]

    def series(self) -> list[Series]:
        """Return every series: those by epoch first, each kind in the order of first use."""
        return [
            Series(
                name=name,
                axis=axis,
                x=list(t.x),
                y=list(t.y),
                n=t.n,
                nonfinite=t.nonfinite,
                first_nonfinite=t.first_nonfinite,
            )
            for (name, axis), t in sorted(self._tracks.items(), key=lambda item: item[0][1])
        ]
