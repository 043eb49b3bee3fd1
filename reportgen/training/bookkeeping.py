"""Observations are entered into the ledger one by one. No torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..document.history import Bars, Event
from .ledger import LayerRecord, Ledger, Moments, ParameterRecord
from .observations import (
    NOTHING,
    Clip,
    Counters,
    End,
    Gradients,
    Happening,
    Layers,
    Movement,
    Observation,
    Outputs,
    Parameters,
    Portrait,
    Row,
    Rows,
    Session,
    Standings,
)

SPLITS = ("train_", "val_")
KILLED = "no end was written: the process was killed, or is still running"


def book(ledger: Ledger, seen: Observation) -> None:
    """Take one observation. A line about a parameter or layer that is in no table raises IndexError."""
    _ENTRIES[type(seen)](ledger, seen)


def _session(ledger: Ledger, seen: Session) -> None:
    ledger.sessions += 1
    ledger.source = seen.source
    ledger.hyperparameters |= seen.hyperparameters
    ledger.accumulation = seen.accumulation
    ledger.interrupted = "" if ledger.live else KILLED
    if ledger.sessions > 1:
        reached = _go_back(ledger, seen) if seen.from_step is not None else None
        _event(ledger, Event(kind="gap", step=ledger.tally.steps, epoch=ledger.last_epoch, value=reached))


def _go_back(ledger: Ledger, seen: Session) -> float | None:
    """Forget what earlier sessions logged beyond the weights that this one begins with; return how far they came.

    Only what is counted by step or epoch goes: what was seen of the loop was seen.
    """
    tally, step, epoch = ledger.tally, seen.from_step or 0, seen.from_epoch
    reached, lost = tally.steps, tally.steps - step
    if lost <= 0:
        return None
    tally.steps = step
    tally.optimizer_steps = [max(n - lost, 0) for n in tally.optimizer_steps]
    for turns in tally.turns:
        turns.last = min(turns.last, step)
    ledger.means = {}
    ledger.recorder.cut("step", step)
    tracks = [t for p in ledger.parameters for t in (p.norm, p.ratio, p.decay, p.stale_v)]
    for track in [*tracks, *(t for layer in ledger.layers for t in (layer.rms, layer.silent))]:
        track.cut(step)
    for moments in ledger.histograms.values():
        moments.cut(step)
    if epoch is not None and ledger.last_epoch is not None and ledger.last_epoch > epoch:
        ledger.recorder.cut("epoch", epoch)
        ledger.derived.cut("epoch", epoch)
        places = sorted(
            {x for s in ledger.recorder.series() + ledger.derived.series() if s.axis == "epoch" for x in s.x}
        )
        ledger.epochs, ledger.last_epoch = len(places), places[-1] if places else None
    return float(reached)


def _row(ledger: Ledger, seen: Row) -> None:
    if seen.axis == "epoch":
        ledger.recorder.log("epoch", seen.x, seen.values)
        _close_epoch(ledger, seen.x)
    else:
        _rows(ledger, Rows(x=[seen.x], values={name: [value] for name, value in seen.values.items()}))


def _rows(ledger: Ledger, seen: Rows) -> None:
    ledger.recorder.extend("step", seen.x, seen.values)
    for name, values in seen.values.items():
        if name.startswith(SPLITS):
            total, n = ledger.means.get(name, (0.0, 0))
            total += sum(math.nan if value is None else value for value in values)
            ledger.means[name] = (total, n + len(values))


def _close_epoch(ledger: Ledger, x: float) -> None:
    """Turn what was logged by step since the last epoch into means; a new x begins a new epoch."""
    if ledger.last_epoch is None or x > ledger.last_epoch:
        ledger.epochs += 1
        ledger.last_epoch = x
    if ledger.means:
        ledger.derived.log("epoch", x, {name: total / n for name, (total, n) in ledger.means.items()})
        ledger.means = {}


def _table(ledger: Ledger, seen: Parameters) -> None:
    ledger.optimizers = seen.optimizers
    known = {p.entry.name: p for p in ledger.parameters}
    ledger.parameters = [known.get(entry.name) or ParameterRecord(entry) for entry in seen.entries]
    for parameter, entry in zip(ledger.parameters, seen.entries, strict=True):
        parameter.entry = entry


def _layer_table(ledger: Ledger, seen: Layers) -> None:
    known = {layer.entry.name: layer for layer in ledger.layers}
    ledger.layers = [known.get(entry.name) or LayerRecord(entry) for entry in seen.entries]


def _gradients(ledger: Ledger, seen: Gradients) -> None:
    for at, norm in zip(seen.at, seen.norms, strict=True):
        parameter = ledger.parameters[at]
        parameter.n_looked += 1
        parameter.n_none += norm == NOTHING
        parameter.n_zero += norm == 0
        if norm != NOTHING:
            parameter.norm.add(seen.step, norm)


def _movement(ledger: Ledger, seen: Movement) -> None:
    empty = [NOTHING] * len(seen.at)
    rows = zip(seen.at, seen.ratios, seen.decay or empty, seen.stale_v or empty, strict=True)
    for at, ratio, decay, stale in rows:
        parameter = ledger.parameters[at]
        for track, value in ((parameter.ratio, ratio), (parameter.decay, decay), (parameter.stale_v, stale)):
            if value != NOTHING:
                track.add(seen.step, value)


def _outputs(ledger: Ledger, seen: Outputs) -> None:
    for at, rms, silent, train, evaluated in zip(seen.at, seen.rms, seen.silent, seen.train, seen.eval, strict=True):
        layer = ledger.layers[at]
        layer.train += train
        layer.eval += evaluated
        layer.rms.add(seen.step, rms)
        if silent != NOTHING:
            layer.silent.add(seen.step, silent)


def _portrait(ledger: Ledger, seen: Portrait) -> None:
    for bars in seen.bars:
        moments = ledger.histograms.setdefault((bars.name, bars.part), Moments(bars.name, bars.part))
        moments.add(Bars(x=seen.step, low=bars.low, high=bars.high, counts=bars.counts))


def _clip(ledger: Ledger, seen: Clip) -> None:
    ledger.clips.add(seen.step, seen.factor)
    ledger.clip_norms.add(seen.step, seen.norm)
    low, high = ledger.clip_range or (seen.factor, seen.factor)
    ledger.clip_range = (min(low, seen.factor), max(high, seen.factor))


def _event(ledger: Ledger, event: Event) -> None:
    ledger.n_events += 1
    (ledger.texts if event.kind == "text" else ledger.events).add(ledger.n_events, event)


def _standings(ledger: Ledger, seen: Standings) -> None:
    ledger.optimizers = seen.optimizers
    for row in seen.rows:
        ledger.parameters[row.at].standing = row


def _counters(ledger: Ledger, seen: Counters) -> None:
    ledger.tally = copy.deepcopy(seen.tally)


def _end(ledger: Ledger, seen: End) -> None:
    ledger.interrupted = seen.interrupted


_ENTRIES: Mapping[type, Callable[[Ledger, Any], None]] = MappingProxyType(
    {
        Session: _session,
        Row: _row,
        Rows: _rows,
        Parameters: _table,
        Layers: _layer_table,
        Gradients: _gradients,
        Movement: _movement,
        Outputs: _outputs,
        Portrait: _portrait,
        Clip: _clip,
        Happening: lambda ledger, seen: _event(ledger, seen.event),
        Standings: _standings,
        Counters: _counters,
        End: _end,
    }
)
