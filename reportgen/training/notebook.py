"""Where the watchers write: the ledger in memory, the journal on disk, and tensors that wait for one transfer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from ..document.history import Event, History
from ..errors import one_line
from .bookkeeping import book
from .journal import Journal
from .ledger import Ledger
from .observations import Counters, End, Happening, Observation, Row, Rows, Tally
from .recorder import Axis
from .told import history_of

FLUSH_SECONDS = 30.0
_MANY = 1 << 12  # tensors that wait, at most
_BLOCK = 64  # rows by step that are entered together
_BEFORE = 5  # values of a curve that are told of the time before a value stopped being finite
_CAUSES = ("learning_rate", "gradient_norm", "train_loss")
_MOST = 3  # curves of one of these kinds that are told of

Then = Callable[[list[float]], None]


@dataclass
class Notebook:
    """One run's memory. ``tally`` is the live counters; everything else goes in as observations."""

    journal: Journal | None = None
    ledger: Ledger = field(default_factory=lambda: Ledger(live=True))
    tally: Tally = field(default_factory=Tally)
    alarm: bool = False
    """Something stopped being finite and nobody has looked closely since."""
    _rows: list[tuple[float, dict[str, float | None]]] = field(default_factory=list)
    due: float = field(default_factory=lambda: time.perf_counter() + FLUSH_SECONDS)
    """When to flush next, by ``time.perf_counter``."""
    _waiting: list[tuple[Tensor, Then]] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def add(self, seen: Observation) -> None:
        book(self.ledger, seen)
        if self.journal is not None:
            self.journal.add(seen)

    def event(self, event: Event) -> None:
        self.add(Happening(event=event))

    def fetch(self, tensor: Tensor, then: Then) -> None:
        """Call ``then`` with the numbers of a tensor: at once on the CPU, elsewhere at the next flush."""
        tensor = tensor.detach()
        if tensor.device.type == "cpu":
            then(tensor.reshape(-1).tolist())
            return
        # a copy, for a loop may go on to write into the tensor that it logged
        self._waiting.append((tensor.reshape(-1).to(torch.float32, copy=True), then))
        if len(self._waiting) > _MANY:
            self.settle()

    def settle(self) -> None:
        """Fetch the waiting tensors, in one transfer for each device."""
        waiting, self._waiting = self._waiting, []
        numbers: dict[torch.device, list[float]] = {}
        for device in {tensor.device for tensor, _ in waiting}:
            numbers[device] = torch.cat([tensor for tensor, _ in waiting if tensor.device == device]).tolist()
        taken = dict.fromkeys(numbers, 0)
        for tensor, then in waiting:
            start = taken[tensor.device]
            taken[tensor.device] = start + tensor.numel()
            then(numbers[tensor.device][start : start + tensor.numel()])

    def row(self, axis: Axis, x: float, values: dict[str, float | None]) -> None:
        """Take scalars, and see whether a loss among them has stopped being finite.

        Those by step are gathered: what is logged at every step costs little more than a place in a list.
        """
        if axis == "epoch":
            self.spill()
            self.add(Row(axis=axis, x=x, values=values))
        else:
            self._rows.append((x, values))
            if len(self._rows) >= _BLOCK:
                self.spill()
        if None in values.values():
            for name, value in values.items():
                if value is None and "loss" in name:
                    step, epoch = (None, x) if axis == "epoch" else (int(x), None)
                    self.nonfinite("loss", name, step, epoch)

    def spill(self) -> None:
        """Enter the gathered rows: every name in its order, and the names of the same steps together."""
        rows, self._rows = self._rows, []
        places: dict[str, list[float]] = {}
        columns: dict[str, list[float | None]] = {}
        for x, values in rows:
            for name, value in values.items():
                places.setdefault(name, []).append(x)
                columns.setdefault(name, []).append(value)
        blocks: dict[tuple[float, ...], list[str]] = {}
        for name, xs in places.items():
            blocks.setdefault(tuple(xs), []).append(name)
        for at, names in blocks.items():
            self.add(Rows(x=list(at), values={name: columns[name] for name in names}))

    def nonfinite(self, part: str, subject: str, step: int | None, epoch: float | None = None) -> None:
        """Note the first time that something was not finite, with what came before; of each part once."""
        if part in self._known:
            return
        self._known.add(part)
        self.spill()
        self.alarm = True
        self.event(Event(kind="nonfinite", part=part, subject=subject, step=step, epoch=epoch, detail=self._before()))

    def _before(self) -> str:
        """Tell the last finite values of what may have led here."""
        told = []
        known = self.ledger.recorder.names("step")
        named = ([n for n in known if n == kind or n.startswith(f"{kind}/")][:_MOST] for kind in _CAUSES)
        for name in chain.from_iterable(named):
            values = [v for v in self.ledger.recorder.recent(name, "step", 4 * _BEFORE) if v is not None]
            if values:
                n = 1 if name.startswith("learning_rate") else _BEFORE
                told.append(f"{name} " + ", ".join(f"{v:.4g}" for v in values[-n:]))
        return "; ".join(told)

    def trouble(self, what: str, error: Exception) -> None:
        """Note that a part of the watching broke off; ``what`` says which and how."""
        self.event(Event(kind="note", step=self.tally.steps, detail=f"{what}: {one_line(error)}"))

    def flush(self) -> None:
        """Fetch what waits and write all lines out."""
        self.due = time.perf_counter() + FLUSH_SECONDS
        self.settle()
        self.spill()
        self.add(Counters(tally=self.tally))
        self._write_out()

    def _write_out(self) -> None:
        """Hand the lines to the disk; one that takes no more is no reason to stop a training."""
        if self.journal is None:
            return
        try:
            self.journal.flush()
        except OSError as error:
            journal, self.journal = self.journal, None
            journal.abandon()
            self.trouble(f"{journal.path.name} is no longer written", error)

    def close(self, interrupted: str) -> None:
        self.flush()
        self.add(End(interrupted=interrupted))
        self._write_out()
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def history(self) -> History:
        self.settle()
        self.spill()
        book(self.ledger, Counters(tally=self.tally))
        return history_of(self.ledger)
