"""The ledger: what a monitor keeps of a run, and what a journal is read into, in memory of bounded size. No torch.

``bookkeeping`` enters observations, ``told`` makes the history of it. Both take the same road, so that a history read
back from a file is the history that the monitor had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..document.history import Bars, Event, OptimizerRun
from .observations import LayerEntry, ParameterEntry, Setting, Standing, Tally
from .recorder import TRACE_POINTS, Recorder, Track

MAX_EVENTS = 500  # of the first, and as many of the last; lines of text are counted apart
MAX_MOMENTS = 24  # of one layer's histogram


def _track() -> Track:
    return Track(TRACE_POINTS)


@dataclass
class ParameterRecord:
    entry: ParameterEntry
    n_looked: int = 0
    n_none: int = 0
    n_zero: int = 0
    norm: Track = field(default_factory=_track)
    ratio: Track = field(default_factory=_track)
    decay: Track = field(default_factory=_track)
    stale_v: Track = field(default_factory=_track)
    standing: Standing | None = None


@dataclass
class LayerRecord:
    entry: LayerEntry
    train: int = 0
    eval: int = 0
    rms: Track = field(default_factory=_track)
    silent: Track = field(default_factory=_track)


@dataclass
class Moments:
    """A histogram at several moments: every second, fourth, ... one once there are many."""

    name: str
    part: Any
    kept: list[Bars] = field(default_factory=list)
    n: int = 0
    every: int = 1

    def add(self, bars: Bars) -> None:
        if self.n % self.every == 0:
            self.kept.append(bars)
            if len(self.kept) > MAX_MOMENTS:
                self.kept, self.every = self.kept[::2], self.every * 2
        self.n += 1

    def cut(self, last: float) -> None:
        """Forget the moments beyond ``last``."""
        self.kept = [bars for bars in self.kept if bars.x <= last]
        self.n = min(self.n, len(self.kept) * self.every)


@dataclass
class Events:
    """The first and the last of many."""

    first: list[tuple[int, Event]] = field(default_factory=list)
    last: list[tuple[int, Event]] = field(default_factory=list)

    def add(self, place: int, event: Event) -> None:
        if len(self.first) < MAX_EVENTS:
            self.first.append((place, event))
            return
        self.last.append((place, event))
        if len(self.last) >= 2 * MAX_EVENTS:
            del self.last[:MAX_EVENTS]

    def kept(self) -> list[tuple[int, Event]]:
        return self.first + self.last[-MAX_EVENTS:]


@dataclass
class Ledger:
    """All that is kept of a run."""

    live: bool = False
    """The run goes on, so that a missing end means nothing."""
    tally: Tally = field(default_factory=Tally)
    recorder: Recorder = field(default_factory=Recorder)
    derived: Recorder = field(default_factory=Recorder)
    """Means by epoch of what was logged by step."""
    means: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Sum and number of what was logged by step since the last epoch ended."""
    sessions: int = 0
    epochs: int = 0
    last_epoch: float | None = None
    source: str = "monitor"
    hyperparameters: dict[str, Setting] = field(default_factory=dict)
    accumulation: int | None = None
    parameters: list[ParameterRecord] = field(default_factory=list)
    optimizers: list[OptimizerRun] = field(default_factory=list)
    layers: list[LayerRecord] = field(default_factory=list)
    histograms: dict[tuple[str, str], Moments] = field(default_factory=dict)
    clips: Track = field(default_factory=_track)
    clip_norms: Track = field(default_factory=_track)
    clip_range: tuple[float, float] | None = None
    n_events: int = 0
    events: Events = field(default_factory=Events)
    texts: Events = field(default_factory=Events)
    interrupted: str = ""
