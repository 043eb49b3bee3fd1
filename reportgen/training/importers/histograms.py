"""Histograms of any bins, kept at a few moments of the run and in even bins."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

BINS = 40
MAX_MOMENTS = 32
MAX_NAMES = 200

Part = Literal["weight", "activation", "gradient", "other"]
Moment = tuple[float, float, float, list[int]]
"""Place, lower edge, upper edge, counts."""

_PARTS: tuple[tuple[Part, str], ...] = (
    ("gradient", r"grad"),
    ("activation", r"activation|(^|[/_.])(act|output|out)s?([/_.]|$)"),
    ("weight", r"weight|bias|kernel|param|gamma|beta|embedding"),
)


def part_of(tag: str) -> Part:
    """Tell by its name what a histogram is of."""
    return next((part for part, words in _PARTS if re.search(words, tag.lower())), "other")


def even(buckets: npt.ArrayLike, bins: int = BINS) -> tuple[float, float, list[int]] | None:
    """Return lower edge, upper edge and counts in even bins of buckets, rows of (left, right, count).

    A bucket's count goes to the bins in proportion to their overlap with it, and the total stays what it was. Without
    a finite count above zero there is nothing to return.
    """
    rows = np.asarray(buckets, dtype=np.float64).reshape(-1, 3)  # (k, 3)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 2] > 0) & (rows[:, 1] >= rows[:, 0])]
    if not len(rows):
        return None
    low, high = float(rows[:, 0].min()), float(rows[:, 1].max())
    if not np.isfinite(high - low):
        return None
    if not high > low:
        return low, low, [round(float(rows[:, 2].sum()))]
    edges = np.linspace(low, high, bins + 1)
    # a step in the cumulative count where a bucket has no width
    width = np.maximum(rows[:, 1] - rows[:, 0], (high - low) * 1e-9)
    share = np.clip((edges[:, None] - rows[None, :, 0]) / width[None, :], 0.0, 1.0)  # (bins + 1, k)
    below = share @ rows[:, 2]
    below[-1] = rows[:, 2].sum()
    return low, high, np.diff(np.round(below)).astype(np.int64).tolist()


@dataclass
class HistogramLog:
    """Several distributions over a run: of each at most ``MAX_MOMENTS``, evenly left out."""

    runs: dict[str, list[Moment]] = field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many came, and that every how manieth is kept."""

    def add(self, name: str, x: float, buckets: Any) -> None:
        if name not in self.runs and len(self.runs) >= MAX_NAMES:
            return
        moments = self.runs.setdefault(name, [])
        n, every = self.seen.get(name, (0, 1))
        if n % every == 0 and (bars := even(buckets)) is not None:
            while moments and moments[-1][0] >= x:  # a resumed run comes by here again
                moments.pop()
            moments.append((x, *bars))
            if len(moments) > MAX_MOMENTS:
                self.runs[name], every = moments[::2], every * 2
        self.seen[name] = (n + 1, every)

    def result(self) -> list[tuple[str, Part, list[Moment]]]:
        """Return what was kept, by name."""
        return [(name, part_of(name), moments) for name, moments in self.runs.items() if moments]
