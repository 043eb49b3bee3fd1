"""Scalars as they come out of a file, of bounded size however long the file is, and the History that they make."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from msgspec import structs

from ...document.history import Event, HistogramRun, History, Series
from .names import Axis, Name, mapped

MAX_POINTS = 2000
_BUFFER = 8 * MAX_POINTS  # below this many points everything is exact
_MAX_EPOCHS = 1 << 17
_MAX_GAPS = 20
_MAX_SCALARS = 1000


@dataclass
class Column:
    """One scalar in the order of the file: value, and the step and the epoch it was logged at, NaN where none stood.

    A log that goes back was resumed from an earlier point: what had been logged beyond that point is left out, as it
    did not lead to the end of the run. A log that goes back all the time is not in order, and is sorted.
    """

    steps: array[float] = field(default_factory=lambda: array("d"))
    epochs: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    n: int = 0
    every: int = 1
    nonfinite: int = 0
    first_nonfinite: tuple[float, float] | None = None
    n_same_epoch: int = 0
    """Values whose epoch was that of the value before."""
    n_back: int = 0
    """Values whose epoch was before that of the value before."""
    by_epoch: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Sum and count of the finite values of each epoch."""

    def add(self, value: float, step: float | None, epoch: float | None) -> None:
        place = (math.nan if step is None else step, math.nan if epoch is None else epoch)
        if not math.isfinite(value):
            self.nonfinite += 1
            self.first_nonfinite = self.first_nonfinite or place
        if epoch is not None:
            self._add_to_epoch(value, epoch)
        if self.n % self.every == 0:
            self.steps.append(place[0])
            self.epochs.append(place[1])
            self.values.append(value)
            if len(self.values) > _BUFFER:
                for part in ("steps", "epochs", "values"):
                    setattr(self, part, getattr(self, part)[::2])
                self.every *= 2
        self.n += 1

    def _add_to_epoch(self, value: float, epoch: float) -> None:
        # a fraction counts towards the epoch that it is part of: 0.5 and 1.0 belong to the first
        key = math.ceil(epoch - 1e-6)
        last = next(reversed(self.by_epoch), None)
        self.n_same_epoch += key == last
        if last is not None and key < last:
            self.n_back += 1
            self.by_epoch = {k: v for k, v in self.by_epoch.items() if k < key}
        if len(self.by_epoch) < _MAX_EPOCHS:
            total, n = self.by_epoch.get(key, (0.0, 0))
            self.by_epoch[key] = (total + value, n + 1) if math.isfinite(value) else (total, n)

    @property
    def once_an_epoch(self) -> bool:
        """At most one value an epoch, at whole epochs: it was logged by epoch."""
        if not self.n or any(math.isnan(e) for e in self.epochs):
            return False
        # where a run was resumed in the middle of an epoch, that one comes twice
        return 4 * self.n_same_epoch <= self.n and all(abs(e - round(e)) < 1e-6 for e in self.epochs)

    def places(self, axis: Axis) -> list[float]:
        """Return x of every kept value; the running number where the file names no place."""
        # what is known to be by epoch may have had its epoch written as the step
        for known in (self.steps,) if axis == "step" else (self.epochs, self.steps):
            if not any(math.isnan(x) for x in known):
                return list(known)
        return [float(i * self.every + 1) for i in range(len(self.values))]


@dataclass
class Ordered:
    """The values of a column by rising place, each place once."""

    x: list[float]
    y: list[float]
    jumps: list[tuple[float, float]]
    """(how far the log had come, where it went back to)."""
    shuffled: bool = False


def ordered(x: list[float], y: Iterable[float]) -> Ordered:
    """Put values in order: of a place that comes twice the last stays; see ``Column`` for logs that go back."""
    pairs = list(zip(x, y, strict=True))
    n_back = sum(b < a for a, b in pairwise(x))
    if n_back > max(3, len(x) // 20):
        latest = dict(pairs)
        return Ordered(sorted(latest), [latest[k] for k in sorted(latest)], [], shuffled=True)
    out_x: list[float] = []
    out_y: list[float] = []
    jumps = []
    for place, value in pairs:
        if out_x and place < out_x[-1]:
            jumps.append((out_x[-1], place))
        while out_x and out_x[-1] >= place:
            out_x.pop()
            out_y.pop()
        out_x.append(place)
        out_y.append(value)
    return Ordered(out_x, out_y, jumps)


def series_of(name: str, axis: Axis, column: Column) -> tuple[Series, Ordered]:
    """Make the series of a column, thinned to ``MAX_POINTS`` by leaving points out evenly; the last one stays."""
    order = ordered(column.places(axis), column.values)
    if column.every == 1:
        broken = [x for x, y in zip(order.x, order.y, strict=True) if not math.isfinite(y)]
        n, nonfinite, first = len(order.x), len(broken), broken[0] if broken else None
    else:
        # what a resumed log left out is known among the kept points only
        n = column.n - column.every * (len(column.values) - len(order.x))
        nonfinite = column.nonfinite
        place = column.first_nonfinite
        first = None if place is None else place[axis == "epoch"]
        first = order.x[0] if first is not None and math.isnan(first) else first
    stride = -(-len(order.x) // MAX_POINTS)
    x, y = order.x[::stride], order.y[::stride]
    if order.x and x[-1] != order.x[-1]:
        x[-1], y[-1] = order.x[-1], order.y[-1]
    values = [v if math.isfinite(v) else None for v in y]
    return Series(name=name, axis=axis, x=x, y=values, n=n, nonfinite=nonfinite, first_nonfinite=first), order


@dataclass
class Clock:
    """The place of each row, where the file may count steps anew in every epoch."""

    base: float = 0.0
    last: tuple[float, float] | None = None

    def read(self, step: float | None, epoch: float | None) -> tuple[float | None, float | None]:
        """Return step and epoch of a row, the step counted over the whole run."""
        if step is None or epoch is None:
            return step, epoch
        if self.last is not None and step < self.last[0] and epoch > self.last[1]:
            self.base += self.last[0] + 1 - min(step, 1)
        self.last = (step, epoch)
        return step + self.base, epoch


@dataclass
class Extent:
    """The first, the highest and the latest place of a log."""

    low: float = math.inf
    high: float = -math.inf
    now: float = -math.inf
    whole: bool = True
    """No place was a fraction."""

    def see(self, place: float | None) -> None:
        if place is not None:
            self.low, self.high, self.now = min(self.low, place), max(self.high, place), place
            self.whole = self.whole and place == int(place)

    def end(self, *, resumed: bool) -> float:
        """Return the place where the run ended: of one that went back, where it was last."""
        return self.now if resumed else self.high

    def __bool__(self) -> bool:
        return self.low <= self.high


@dataclass
class Log:
    """Everything that a file held, before it is a History."""

    source: str
    columns: dict[str, Column] = field(default_factory=dict)
    left_out: int = 0
    hyperparameters: dict[str, float | str | bool | None] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    batch_size: int | None = None
    seconds: float | None = None
    clock: Clock = field(default_factory=Clock)
    steps: Extent = field(default_factory=Extent)
    epochs: Extent = field(default_factory=Extent)
    histograms: list[HistogramRun] = field(default_factory=list)
    axes: dict[str, Axis] = field(default_factory=dict)
    """By what a scalar is known to have been logged, whatever its places look like."""

    def add(self, row: Mapping[str, float], step: float | None, epoch: float | None) -> None:
        """Add the scalars of one row or line."""
        step, epoch = self.clock.read(_finite(step), _finite(epoch))
        self.steps.see(step)
        self.epochs.see(epoch)
        for name, value in row.items():
            known = self.columns.get(name)
            if known is None:
                if len(self.columns) >= _MAX_SCALARS:
                    self.left_out += 1
                    continue
                known = self.columns[name] = Column()
            known.add(value, step, epoch)

    def note(self, text: str) -> None:
        self.events.append(Event(kind="note", detail=text))


def history_of(log: Log, names: Mapping[str, str] | None = None) -> History:
    """Name the scalars, find out by what each was logged, and make the History."""
    parts = mapped(log.columns, names)
    axes = _axes(log, parts)
    series: list[Series] = []
    orders: dict[Axis, list[Ordered]] = {"step": [], "epoch": []}
    for theirs, column in log.columns.items():
        made, order = series_of(str(parts[theirs]), axes[theirs], column)
        series.append(made)
        orders[axes[theirs]].append(order)
    series += _means_by_epoch(log, parts, axes, {(s.name, s.axis) for s in series})
    gaps = _gaps(orders)
    resumed = any(event.kind == "gap" for event in gaps)
    events = gaps + log.events
    if log.left_out:
        events.append(Event(kind="note", detail=f"only the first {_MAX_SCALARS} scalars were read"))
    return History(
        series=_ranked(series),
        epochs=_n_epochs(log, series, resumed=resumed),
        steps=_n_steps(log, series, resumed=resumed),
        batch_size=log.batch_size,
        seconds=log.seconds,
        hyperparameters=log.hyperparameters,
        histograms=log.histograms,
        source=log.source,
        events=events,
    )


def _axes(log: Log, parts: Mapping[str, Name]) -> dict[str, Axis]:
    """Tell by what each scalar was logged: by what is known of it, by its name, or by how often it came."""
    axes: dict[str, Axis] = {}
    for theirs, column in log.columns.items():
        known = log.axes.get(theirs) or parts[theirs].axis
        if known == "epoch" and column.n and not column.once_an_epoch and log.epochs:
            known = None  # the name says epoch, the places say otherwise
        has_steps = not all(math.isnan(s) for s in column.steps)
        if known is None and column.once_an_epoch:
            known = "epoch"
        elif known is None and not log.epochs and not has_steps:
            known = "epoch"  # a plain list: one value an epoch
        axes[theirs] = known or "step"
    if _steps_are_epochs(log, parts, axes):
        log.histograms = [structs.replace(run, axis="epoch") for run in log.histograms]
        log.events = [e if e.step is None else structs.replace(e, step=None, epoch=float(e.step)) for e in log.events]
        for theirs, column in log.columns.items():
            column.epochs = column.steps
            axes[theirs] = "epoch"
    return axes


def _steps_are_epochs(log: Log, parts: Mapping[str, Name], axes: Mapping[str, Axis]) -> bool:
    """Tell whether what the file calls step is the epoch: nobody validates after each of consecutive steps."""
    if log.epochs or log.axes or any(axis == "epoch" for axis in axes.values()):
        return False
    validated = [c for name, c in log.columns.items() if parts[name].split == "val" and c.n >= 3]
    if not validated or any(c.every > 1 for c in log.columns.values()):
        return False
    all_steps = [set(c.steps) for c in log.columns.values() if c.n >= 3]
    longest = max(all_steps, key=len)
    consecutive = longest == set(range(int(min(longest)), int(min(longest)) + len(longest))) and min(longest) in (0, 1)
    return consecutive and all(set(c.steps) == longest for c in validated)


def _means_by_epoch(
    log: Log, parts: Mapping[str, Name], axes: Mapping[str, Axis], taken: set[tuple[str, Axis]]
) -> list[Series]:
    """Make a series by epoch of what was logged by step in training, as validation has one: the mean of each epoch."""
    made = []
    if not any(axis == "epoch" and parts[name].split == "val" for name, axis in axes.items()):
        return []
    for theirs, column in log.columns.items():
        name = parts[theirs]
        if axes[theirs] != "step" or name.split != "train" or (str(name), "epoch") in taken or not column.by_epoch:
            continue
        if column.nonfinite or len(column.by_epoch) > MAX_POINTS or column.n_back > max(3, column.n // 20):
            continue
        x = sorted(column.by_epoch)
        y = [total / n if n else None for total, n in (column.by_epoch[k] for k in x)]
        made.append(Series(name=str(name), axis="epoch", x=[float(k) for k in x], y=y, n=len(x)))
    if made:
        log.note(f"by epoch, {', '.join(s.name for s in made)}: the mean of what was logged in each epoch")
    return made


def _gaps(orders: Mapping[Axis, list[Ordered]]) -> list[Event]:
    """Tell where the log goes back, after the scalar that shows it best, and whether it was out of order."""
    events = []
    for axis, several in orders.items():
        best = max(several, key=lambda o: (len(o.jumps), len(o.x)), default=None)
        for reached, back in best.jumps[:_MAX_GAPS] if best is not None else ():
            step, epoch = (int(back), None) if axis == "step" else (None, back)
            events.append(Event(kind="gap", value=reached, step=step, epoch=epoch))
        if any(o.shuffled for o in several):
            events.append(
                Event(kind="note", detail=f"the values were not in the order of their {axis}s and were sorted")
            )
    return events


def _n_epochs(log: Log, series: list[Series], *, resumed: bool) -> int:
    """Count the epochs; a log that begins with epoch 0 has one more than its last number."""
    by_epoch = [s.x for s in series if s.axis == "epoch" and s.x]
    low = log.epochs.low if log.epochs else min((x[0] for x in by_epoch), default=0.0)
    high = log.epochs.end(resumed=resumed) if log.epochs else max((x[-1] for x in by_epoch), default=0.0)
    begins_with_0 = low == 0 and log.epochs.whole and (bool(log.epochs) or bool(by_epoch))
    return max(0, math.ceil(high - 1e-6) + begins_with_0)


def _n_steps(log: Log, series: list[Series], *, resumed: bool) -> int:
    if log.steps and any(s.axis == "step" for s in series):
        return max(0, int(log.steps.end(resumed=resumed)))
    if log.steps and log.epochs:
        return max(0, int(log.steps.high))
    return max((int(s.x[-1]) for s in series if s.axis == "step" and s.x), default=0)


def _ranked(series: list[Series]) -> list[Series]:
    """Put what is read first: losses, then metrics with a split, then the rest, each in the order of the file."""
    return sorted(
        series, key=lambda s: (not s.name.endswith("_loss"), not s.name.startswith(("train_", "val_", "test_")))
    )


def _finite(number: float | None) -> float | None:
    """Return a place; what is not finite, or beyond all that a float can count to, is none."""
    return number if number is not None and abs(number) <= 2**53 else None
