"""Observations -> History, in memory of bounded size: what a monitor keeps, and what a journal is read into.

Both take the same road, so that a history read back from a file is the history that the monitor had. No torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec

from ..document.history import (
    Bars,
    Event,
    HistogramRun,
    History,
    LayerRun,
    LoopFacts,
    OptimizerRun,
    ParameterRun,
)
from .observations import (
    NOTHING,
    Clip,
    Counters,
    End,
    Gradients,
    Happening,
    LayerEntry,
    Layers,
    Movement,
    Observation,
    Outputs,
    ParameterEntry,
    Parameters,
    Portrait,
    Row,
    Rows,
    Session,
    Setting,
    Standing,
    Standings,
    Tally,
    Turns,
)
from .recorder import TRACE_POINTS, Recorder, Track

MAX_EVENTS = 500  # of the first, and as many of the last; lines of text are counted apart
MAX_MOMENTS = 24  # of one layer's histogram
SPLITS = ("train_", "val_")
_CONSTANT = 1.001  # factors that differ by less are no clipping: a gradient cut to a length is cut by varying amounts
KILLED = "no end was written: the process was killed, or is still running"


@dataclass
class _Parameter:
    entry: ParameterEntry
    n_looked: int = 0
    n_none: int = 0
    n_zero: int = 0
    norm: Track = field(default_factory=lambda: Track(TRACE_POINTS))
    ratio: Track = field(default_factory=lambda: Track(TRACE_POINTS))
    decay: Track = field(default_factory=lambda: Track(TRACE_POINTS))
    stale_v: Track = field(default_factory=lambda: Track(TRACE_POINTS))
    standing: Standing | None = None


@dataclass
class _Layer:
    entry: LayerEntry
    train: int = 0
    eval: int = 0
    rms: Track = field(default_factory=lambda: Track(TRACE_POINTS))
    silent: Track = field(default_factory=lambda: Track(TRACE_POINTS))


@dataclass
class _Moments:
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
class _Events:
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


class Ledger:
    """Takes observations one by one; ``history`` tells what they come to.

    ``live``: the run goes on, so that a missing end means nothing.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self.tally = Tally()
        self.recorder = Recorder()
        self.sessions = 0
        self.epochs = 0
        self.last_epoch: float | None = None
        self._derived = Recorder()
        self._means: dict[str, tuple[float, int]] = {}
        self._source = "monitor"
        self._hyperparameters: dict[str, Setting] = {}
        self._accumulation: int | None = None
        self._parameters: list[_Parameter] = []
        self._optimizers: list[OptimizerRun] = []
        self._layers: list[_Layer] = []
        self._histograms: dict[tuple[str, str], _Moments] = {}
        self._clips, self._clip_norms = Track(TRACE_POINTS), Track(TRACE_POINTS)
        self._clip_range: tuple[float, float] | None = None
        self._n_events = 0
        self._events, self._texts = _Events(), _Events()
        self._interrupted = ""
        self._take: dict[type, Callable[[Any], None]] = {
            Session: self._session,
            Row: self._row,
            Rows: self._rows,
            Parameters: self._table,
            Layers: self._layer_table,
            Gradients: self._gradients,
            Movement: self._movement,
            Outputs: self._outputs,
            Portrait: self._portrait,
            Clip: self._clip,
            Happening: lambda seen: self._event(seen.event),
            Standings: self._standings,
            Counters: self._counters,
            End: self._end,
        }

    def add(self, seen: Observation) -> None:
        """Take one observation. A line about a parameter or layer that is in no table raises IndexError."""
        self._take[type(seen)](seen)

    def _session(self, seen: Session) -> None:
        self.sessions += 1
        self._source = seen.source
        self._hyperparameters |= seen.hyperparameters
        self._accumulation = seen.accumulation
        self._interrupted = "" if self._live else KILLED
        if self.sessions > 1:
            reached = self._go_back(seen) if seen.from_step is not None else None
            self._event(Event(kind="gap", step=self.tally.steps, epoch=self.last_epoch, value=reached))

    def _go_back(self, seen: Session) -> float | None:
        """Forget what earlier sessions logged beyond the weights that this one begins with; return how far they came.

        Only what is counted by step or epoch goes: what was seen of the loop was seen.
        """
        tally, step, epoch = self.tally, seen.from_step or 0, seen.from_epoch
        reached, lost = tally.steps, tally.steps - step
        if lost <= 0:
            return None
        tally.steps = step
        tally.optimizer_steps = [max(n - lost, 0) for n in tally.optimizer_steps]
        for turns in tally.turns:
            turns.last = min(turns.last, step)
        self._means = {}
        self.recorder.cut("step", step)
        tracks = [t for p in self._parameters for t in (p.norm, p.ratio, p.decay, p.stale_v)]
        for track in [*tracks, *(t for layer in self._layers for t in (layer.rms, layer.silent))]:
            track.cut(step)
        for moments in self._histograms.values():
            moments.cut(step)
        if epoch is not None and self.last_epoch is not None and self.last_epoch > epoch:
            self.recorder.cut("epoch", epoch)
            self._derived.cut("epoch", epoch)
            places = sorted(
                {x for s in self.recorder.series() + self._derived.series() if s.axis == "epoch" for x in s.x}
            )
            self.epochs, self.last_epoch = len(places), places[-1] if places else None
        return float(reached)

    def _row(self, seen: Row) -> None:
        if seen.axis == "epoch":
            self.recorder.log("epoch", seen.x, seen.values)
            self._close_epoch(seen.x)
        else:
            self._rows(Rows(x=[seen.x], values={name: [value] for name, value in seen.values.items()}))

    def _rows(self, seen: Rows) -> None:
        self.recorder.extend("step", seen.x, seen.values)
        for name, values in seen.values.items():
            if name.startswith(SPLITS):
                total, n = self._means.get(name, (0.0, 0))
                total += sum(math.nan if value is None else value for value in values)
                self._means[name] = (total, n + len(values))

    def _close_epoch(self, x: float) -> None:
        """Turn what was logged by step since the last epoch into means; a new x begins a new epoch."""
        if self.last_epoch is None or x > self.last_epoch:
            self.epochs += 1
            self.last_epoch = x
        if self._means:
            self._derived.log("epoch", x, {name: total / n for name, (total, n) in self._means.items()})
            self._means = {}

    def _table(self, seen: Parameters) -> None:
        self._optimizers = seen.optimizers
        known = {p.entry.name: p for p in self._parameters}
        self._parameters = [known.get(entry.name) or _Parameter(entry) for entry in seen.entries]
        for parameter, entry in zip(self._parameters, seen.entries, strict=True):
            parameter.entry = entry

    def _layer_table(self, seen: Layers) -> None:
        known = {layer.entry.name: layer for layer in self._layers}
        self._layers = [known.get(entry.name) or _Layer(entry) for entry in seen.entries]

    def _gradients(self, seen: Gradients) -> None:
        for at, norm in zip(seen.at, seen.norms, strict=True):
            parameter = self._parameters[at]
            parameter.n_looked += 1
            parameter.n_none += norm == NOTHING
            parameter.n_zero += norm == 0
            if norm != NOTHING:
                parameter.norm.add(seen.step, norm)

    def _movement(self, seen: Movement) -> None:
        empty = [NOTHING] * len(seen.at)
        rows = zip(seen.at, seen.ratios, seen.decay or empty, seen.stale_v or empty, strict=True)
        for at, ratio, decay, stale in rows:
            parameter = self._parameters[at]
            for track, value in ((parameter.ratio, ratio), (parameter.decay, decay), (parameter.stale_v, stale)):
                if value != NOTHING:
                    track.add(seen.step, value)

    def _outputs(self, seen: Outputs) -> None:
        for at, rms, silent, train, evaluated in zip(
            seen.at, seen.rms, seen.silent, seen.train, seen.eval, strict=True
        ):
            layer = self._layers[at]
            layer.train += train
            layer.eval += evaluated
            layer.rms.add(seen.step, rms)
            if silent != NOTHING:
                layer.silent.add(seen.step, silent)

    def _portrait(self, seen: Portrait) -> None:
        for bars in seen.bars:
            moments = self._histograms.setdefault((bars.name, bars.part), _Moments(bars.name, bars.part))
            moments.add(Bars(x=seen.step, low=bars.low, high=bars.high, counts=bars.counts))

    def _clip(self, seen: Clip) -> None:
        self._clips.add(seen.step, seen.factor)
        self._clip_norms.add(seen.step, seen.norm)
        low, high = self._clip_range or (seen.factor, seen.factor)
        self._clip_range = (min(low, seen.factor), max(high, seen.factor))

    def _event(self, event: Event) -> None:
        self._n_events += 1
        (self._texts if event.kind == "text" else self._events).add(self._n_events, event)

    def _standings(self, seen: Standings) -> None:
        self._optimizers = seen.optimizers
        for row in seen.rows:
            self._parameters[row.at].standing = row

    def _counters(self, seen: Counters) -> None:
        self.tally = copy.deepcopy(seen.tally)

    def _end(self, seen: End) -> None:
        self._interrupted = seen.interrupted

    def history(self) -> History:
        """Return the run as far as it is known."""
        tally = self.tally
        derived = [s for s in self._derived.series() if not self.recorder.has(s.name, "epoch")]
        return History(
            series=sorted(self.recorder.series() + derived, key=lambda s: s.axis),
            epochs=self.epochs,
            steps=tally.steps,
            batch_size=tally.batch_size,
            seconds=tally.seconds or None,
            optimizer=", ".join(o.name for o in self._optimizers),
            hyperparameters=(self._optimizers[0].settings if self._optimizers else {}) | self._hyperparameters,
            interrupted=self._interrupted,
            source=self._source,
            loop=self._loop(),
            parameters=[self._parameter(p) for p in self._parameters],
            layers=[_layer(order, layer) for order, layer in enumerate(self._layers)],
            histograms=[
                HistogramRun(name=h.name, part=h.part, axis="step", moments=list(h.kept))
                for h in self._histograms.values()
            ],
            events=[event for _, event in sorted(self._events.kept() + self._texts.kept(), key=lambda e: e[0])],
        )

    def _loop(self) -> LoopFacts:
        tally = self.tally
        low, high = self._clip_range or (0.0, 0.0)
        scaled = tally.clipped == tally.clip_checked >= 5 and high <= low * _CONSTANT
        n_clipped = 0 if scaled else tally.clipped
        return LoopFacts(
            optimizers=[_optimizer(tally, i, o) for i, o in enumerate(self._optimizers)],
            n_backwards_seen=tally.backwards,
            declared_accumulation=self._accumulation,
            backwards_per_step=_median(tally.backwards_of_step),
            n_fresh_checked=tally.fresh_checked,
            n_stale=tally.stale,
            n_followed=tally.followed,
            n_again=tally.again,
            n_twice=tally.twice,
            n_clip_checked=tally.clip_checked,
            n_clipped=n_clipped,
            clip_factor=median(self._clips.values) if n_clipped and self._clips.values else None,
            clip_norm=median(self._clip_norms.values) if n_clipped and self._clip_norms.values else None,
            n_train_steps=tally.train_steps,
            n_eval_steps=tally.eval_steps,
            n_train_validations=tally.train_validations,
            n_dropped_validations=tally.dropped_validations,
            n_eval_validations=tally.eval_validations,
            samples_per_second=tally.samples / tally.stepping if tally.samples and tally.stepping else None,
            wait_share=tally.waited / tally.looping if tally.looping else None,
            peak_memory_bytes=tally.peak_memory,
            scaler_first=tally.scale_first,
            scaler_last=tally.scale_last,
            scaler_halvings=None if tally.scale_first is None else tally.halvings,
        )

    def _parameter(self, p: _Parameter) -> ParameterRun:
        entry, now = p.entry, p.standing
        steps = self.tally.optimizer_steps
        owner = 0 if entry.optimizer is None else entry.optimizer
        return ParameterRun(
            name=entry.name,
            module=entry.module,
            shape=entry.shape,
            is_matrix=entry.is_matrix,
            trainable=entry.trainable if now is None else now.trainable,
            optimizer=entry.optimizer,
            group=entry.group,
            n_steps=steps[owner] if owner < len(steps) else 0,
            n_looked=p.n_looked,
            n_grad_none=p.n_none,
            n_grad_zero=p.n_zero,
            moved=None if now is None else now.moved,
            changed=None if now is None else now.changed,
            start_mean=None if now is None else now.start_mean,
            start_rms=None if now is None else now.start_rms,
            gradient_norm=p.norm.trace(),
            update_ratio=p.ratio.trace(),
            decay_share=median(p.decay.values) if p.decay.values else None,
            eps_floor=None if now is None else now.eps_floor,
            stale_v=p.stale_v.trace(),
            state_nonfinite=0 if now is None else now.state_nonfinite,
        )


def _optimizer(tally: Tally, place: int, optimizer: OptimizerRun) -> OptimizerRun:
    n_steps = tally.optimizer_steps[place] if place < len(tally.optimizer_steps) else 0
    turns = tally.turns[place] if place < len(tally.turns) else Turns()
    return msgspec.structs.replace(
        optimizer,
        n_steps=n_steps,
        first_step=turns.first if n_steps and turns.first else None,
        last_step=turns.last if n_steps and turns.last else None,
        n_seen=turns.seen,
        n_joined=turns.joined,
        passes=turns.passes / turns.seen if turns.seen else None,
    )


def _layer(order: int, layer: _Layer) -> LayerRun:
    return LayerRun(
        name=layer.entry.name,
        kind=layer.entry.kind,
        order=order,
        rectifier=layer.entry.rectifier,
        train_calls=layer.train,
        eval_calls=layer.eval,
        rms=layer.rms.trace(),
        silent=layer.silent.trace(),
    )


def _median(counts: dict[int, int]) -> float | None:
    """Return the median of values given by how often each occurred."""
    total, seen = sum(counts.values()), 0
    below: int | None = None
    for value, n in sorted(counts.items()):
        if below is not None:
            return (below + value) / 2
        seen += n
        if 2 * seen > total:
            return float(value)
        if 2 * seen == total:
            below = value
    return None
