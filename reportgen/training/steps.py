"""One optimizer, watched: each step counted, some looked at closely. Hooks on the optimizer and on one parameter.

A look never changes what it looks at. What goes wrong inside one is told in the history and ends the watching of that
part; it never reaches the loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..document.history import Event
from . import gradients, movement
from .observations import Row
from .parameters import Table
from .run import Run
from .samples import entries, lifted
from .schedule import GRADIENTS, LOOKS, PORTRAITS, Due


def guarded(watch: Any, what: str, method: Callable[..., None]) -> Callable[..., None]:
    """Let nothing that a hook raises reach the loop; a part that raised is watched no more."""

    @functools.wraps(method)
    def hook(*args: Any) -> None:
        if watch.run.paused or watch.broken:
            return
        try:
            method(*args)
        except Exception as error:
            watch.broken = True
            watch.run.notebook.trouble(what, error)

    return hook


class StepWatch:
    """Hooks on one optimizer; ``index`` is its place among those of the run."""

    def __init__(self, run: Run, index: int, after: Callable[[StepWatch], None]) -> None:
        """``after`` is called after each step, when it has been counted."""
        self.run, self.index, self.broken = run, index, False
        self.optimizer = run.optimizers[index]
        self.label = "" if index == 0 else f"/{index}"
        self._after = after
        counts = run.notebook.tally.optimizer_steps
        counts += [0] * (index + 1 - len(counts))
        self.steps = counts[index]
        self._due = [Due(schedule, self.steps + 1) for schedule in (GRADIENTS, LOOKS, PORTRAITS)]
        self._handles: list[Any] = []
        self._sentinel: nn.Parameter | None = None
        self._sentinel_handles: list[Any] = []
        self._rates: list[Any] = []
        self._known_rates: list[float | None] = []
        self._rates_at = 0
        self._before: movement.Before | None = None
        self._backwards, self._n_backwards, self._cleared = 0, run.notebook.tally.backwards, False
        self._kept: list[Tensor] = []
        self._fresh: Tensor | None = None
        self._plan()

    def attach(self) -> None:
        before = guarded(self, f"optimizer {self.index}", self._step_begins)
        after = guarded(self, f"optimizer {self.index}", self._step_ended)
        self._handles = [
            self.optimizer.register_step_pre_hook(before),
            self.optimizer.register_step_post_hook(after),
        ]
        trainable = [p for g in self.optimizer.param_groups for p in g["params"] if p.requires_grad]
        if trainable:
            self._stand_at(min(trainable, key=_size))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._leave()

    def look_next(self) -> None:
        """Look closely at the next step, whatever the schedule says."""
        self.gradients = self.close = True

    def _plan(self) -> None:
        """Decide how closely to look at the coming step."""
        step = self.steps + 1
        self.gradients, self.close, self.portrait = (due.at(step) for due in self._due)
        self.close |= self.portrait
        self.gradients |= self.close

    # --- backward passes, seen at one parameter -----------------------------------------------------------------------

    def _stand_at(self, parameter: nn.Parameter) -> None:
        """Watch this parameter for backward passes: a small one that gets gradients tells as much as all of them."""
        self._leave()
        what = "the backward pass"
        arriving, arrived = guarded(self, what, self._arriving), guarded(self, what, self._arrived)
        self._sentinel = parameter
        self._sentinel_handles = [
            parameter.register_hook(arriving),  # type: ignore[no-untyped-call]
            parameter.register_post_accumulate_grad_hook(arrived),  # type: ignore[no-untyped-call]
        ]

    def _leave(self) -> None:
        for handle in self._sentinel_handles:
            handle.remove()
        self._sentinel_handles = []
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            if getattr(self._sentinel, name, None) == {}:  # torch leaves the empty table behind
                setattr(self._sentinel, name, None)

    def _arriving(self, gradient: Tensor) -> None:
        """See, before a gradient is added, whether the place had been cleared."""
        old = None if self._sentinel is None else self._sentinel.grad
        if old is None:
            self._cleared = True
        elif self.gradients and not self._cleared:
            self._kept.append(torch.linalg.vector_norm(lifted(entries(old))))

    def _arrived(self, parameter: Tensor) -> None:
        self._backwards += 1
        self._n_backwards += 1
        tally = self.run.notebook.tally
        tally.backwards = max(tally.backwards, self._n_backwards)
        if self.gradients and parameter.grad is not None:
            self._fresh = torch.linalg.vector_norm(lifted(entries(parameter.grad)))
        scale = getattr(self.run.scaler, "_scale", None)
        if isinstance(scale, Tensor):
            self.run.notebook.fetch(scale, self._scale_read)

    def _scale_read(self, numbers: list[float]) -> None:
        (scale,), tally, last = numbers, self.run.notebook.tally, self.run.scale
        if tally.scale_first is None:
            tally.scale_first = scale
        if last is not None and scale < last:
            tally.halvings += 1
            self.run.notebook.event(Event(kind="scaler", step=tally.steps + 1, value=scale))
        tally.scale_last = self.run.scale = scale

    # --- steps --------------------------------------------------------------------------------------------------------

    def _step_begins(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._rates = [group["lr"] for group in optimizer.param_groups if "lr" in group]
        if not self.gradients:
            return
        table = self.run.table()
        if not _has_closure(args, kwargs):
            self._look_at_gradients(table, self.steps + 1)
        if self.close:
            self._before = movement.begin(table, self.index)

    def _step_ended(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.steps += 1
        tally = self.run.notebook.tally
        tally.optimizer_steps[self.index] = self.steps
        tally.steps = max(tally.steps, self.steps)
        if self.gradients and _has_closure(args, kwargs):  # the gradients of the step were made inside it
            self._look_at_gradients(self.run.table(), self.steps)
        self._count_backwards()
        if self._before is not None:
            movement.end(self.run, self.optimizer, self.label, self._before)
            self._before = None
        if self.portrait:
            movement.take_portrait(self.run, self.index)
        self._note_rates()
        self._plan()
        self._after(self)

    def _look_at_gradients(self, table: Table, own: int) -> None:
        """Measure the gradients that the optimizer gets in its step number ``own``."""
        if getattr(self.optimizer, "grad_scale", None) is not None:
            return  # a fused optimizer takes the AMP scale off itself, inside the step
        fresh = None if _is_distributed() else self._fresh  # gradients of other ranks come in between
        look = gradients.Look(
            step=max(self.run.notebook.tally.steps, own),
            close=self.close,
            label=self.label,
            places=[p for p in table.covers[self.index] if table.parameters[p].requires_grad],
            sentinel=next((i for i, p in enumerate(table.parameters) if p is self._sentinel), None),
        )
        gradients.look(self.run, look, fresh, self._gradients_seen)

    def _gradients_seen(self, norms: dict[int, float]) -> None:
        """Move to another parameter for backward passes where this one gets no gradient."""
        table = self.run.table()
        at = next((i for i, p in enumerate(table.parameters) if p is self._sentinel), None)
        if at is not None and norms.get(at, 0.0) > 0:
            return
        live = [i for i, n in norms.items() if n > 0 and table.entries[i].optimizer == self.index]
        if live:
            self._stand_at(table.parameters[min(live, key=lambda i: _size(table.parameters[i]))])

    def post_mortem(self) -> None:
        """Look for what is not finite in the gradients that are still there and in all weights."""
        if not self.broken:
            gradients.autopsy(self.run, self.index)
            self.look_next()

    def _count_backwards(self) -> None:
        tally, kept = self.run.notebook.tally, self._kept
        if self._backwards:
            n = min(self._backwards, 1 << 10)
            tally.backwards_of_step[n] = tally.backwards_of_step.get(n, 0) + 1
            if self._cleared:
                tally.fresh_checked += 1
            elif kept:
                self.run.notebook.fetch(torch.stack(kept), self._freshness_read)
        self._backwards, self._cleared, self._kept, self._fresh = 0, False, [], None

    def _freshness_read(self, numbers: list[float]) -> None:
        """A gradient that was zero before any of the step's backward passes had been cleared."""
        self.run.notebook.tally.fresh_checked += 1
        self.run.notebook.tally.stale += all(number != 0 for number in numbers)

    # --- rates --------------------------------------------------------------------------------------------------------

    def rates(self) -> dict[str, float | None]:
        """Return the learning rate of each group in the last step, by the name of its series."""
        return dict(zip(self._rate_names(), self._known_rates, strict=False))

    def _rate_names(self) -> list[str]:
        counts = [len(optimizer.param_groups) for optimizer in self.run.optimizers]
        first = sum(counts[: self.index])
        if sum(counts) == 1:
            return ["learning_rate"]
        return [f"learning_rate/{first + i}" for i in range(counts[self.index])]

    def _note_rates(self) -> None:
        """Write the learning rates of the step down if they have changed, and the last step of the old ones."""
        step = self.run.notebook.tally.steps
        rates = [float(r) if not isinstance(r, Tensor) or r.device.type == "cpu" else None for r in self._rates]
        if None in rates and self.gradients:  # a rate that lives on a device is read where we look anyway
            held = torch.stack([torch.as_tensor(r, dtype=torch.float32, device="cpu") for r in self._rates])
            rates = list(held.tolist())
        if None not in rates and rates != self._known_rates:
            if self._rates_at < step - 1:
                self._write_rates(step - 1)
            self._known_rates = rates
            self._write_rates(step)

    def _write_rates(self, step: int) -> None:
        if self._known_rates:
            self.run.notebook.row(Row(axis="step", x=step, values=self.rates()))
        self._rates_at = step

    def finish(self) -> None:
        """Close the curves of the learning rates at the last step."""
        if self._rates_at < self.run.notebook.tally.steps:
            self._write_rates(self.run.notebook.tally.steps)


def _has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return (args[1] if len(args) > 1 else kwargs.get("closure")) is not None


def _size(parameter: nn.Parameter) -> int:
    return 1 << 62 if isinstance(parameter, nn.UninitializedParameter) else parameter.numel()


def _is_distributed() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
