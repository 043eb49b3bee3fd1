"""Series of bounded size for what a training loop logs; a tensor is not read before the next flush."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..document.history import Series

MAX_POINTS = 2000

Axis = Literal["epoch", "step"]


@dataclass
class _Track:
    axis: Axis
    x: list[float] = field(default_factory=list)
    y: list[float | None] = field(default_factory=list)
    n: int = 0
    every: int = 1
    nonfinite: int = 0
    first_nonfinite: float | None = None

    def add(self, x: float, value: float) -> None:
        finite = math.isfinite(value)
        if not finite:
            self.nonfinite += 1
            self.first_nonfinite = x if self.first_nonfinite is None else self.first_nonfinite
        if self.n % self.every == 0:
            self.x.append(x)
            self.y.append(value if finite else None)
            if len(self.y) > MAX_POINTS:
                self.x, self.y, self.every = self.x[::2], self.y[::2], self.every * 2
        self.n += 1


class Recorder:
    """Named series by epoch and by step. Long ones keep every second, fourth, ... point; counts stay exact."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, Axis], _Track] = {}
        self._waiting: list[tuple[str, Axis, float, Tensor]] = []

    def log(self, axis: Axis, x: float, **values: float | Tensor) -> None:
        """Add one point to each named series; tensors are kept on their device until ``flush``."""
        for name, value in values.items():
            if isinstance(value, Tensor):
                self._waiting.append((name, axis, x, value.detach().float()))
            else:
                self._track(name, axis).add(x, float(value))

    def flush(self) -> None:
        """Fetch the waiting tensors in one transfer."""
        if not self._waiting:
            return
        numbers = torch.stack([value.reshape(()) for *_, value in self._waiting]).tolist()
        for (name, axis, x, _), number in zip(self._waiting, numbers, strict=True):
            self._track(name, axis).add(x, number)
        self._waiting.clear()

    def _track(self, name: str, axis: Axis) -> _Track:
        return self._tracks.setdefault((name, axis), _Track(axis))

    def series(self) -> list[Series]:
        """Return every series, in the order of first use."""
        self.flush()
        return [
            Series(name=n, axis=t.axis, x=t.x, y=t.y, n=t.n, nonfinite=t.nonfinite, first_nonfinite=t.first_nonfinite)
            for (n, _), t in self._tracks.items()
        ]
