"""One optimizer, watched: each step counted, some looked at closely.

A look never changes what it looks at. What goes wrong inside one is told in the history and ends the watching of that
optimizer; it never reaches the loop. Between looks a step costs one hook on the optimizer and one on a parameter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import LBFGS, Optimizer

from . import gradients, movement
from .backwards import BackwardWatch
from .observations import Turns
from .parameters import Past, Table
from .run import Run
from .schedule import GRADIENTS, LOOKS, PORTRAITS, Due

_FIRST = 16  # steps in which a gradient scaler is looked for
_FRAMES = 12  # between a hook and the scaler above it
Hook = Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], None]


class StepWatch:
    """Hooks on one optimizer; ``index`` is its place among those of the run."""

    def __init__(self, run: Run, index: int, after: Callable[[StepWatch], None]) -> None:
        """``after`` is called after each step, when it has been counted."""
        self.run, self.index = run, index
        self.optimizer: Any = run.optimizers[index]
        self.label = f"/{run.labels[index]}" if run.labels[index] else ""
        self.backwards = BackwardWatch(run, index)
        self.gradients = self.close = self.portrait = False
        """How closely the coming step is looked at."""
        self._after = after
        tally = run.notebook.tally
        tally.optimizer_steps += [0] * (index + 1 - len(tally.optimizer_steps))
        tally.turns += [Turns() for _ in range(index + 1 - len(tally.turns))]
        self.steps = tally.optimizer_steps[index]
        self.base = tally.steps - self.steps
        """Steps of the run that others took before this one came, or while it rested."""
        self.retired = False
        """Another one has taken its place."""
        self.alone = self.lead_steps = self.stood = 0
        """Steps since the leading optimizer stepped, how many that one had taken, and the run's steps at that time."""
        self._due = [Due(schedule, self.steps + 1) for schedule in (GRADIENTS, LOOKS, PORTRAITS)]
        self._next = self.steps + 1
        self._ends: Any = None
        self._begins: Any = None
        self._rates: list[Any] = []
        self._known_rates: list[float] = []
        self._rates_at = self.steps
        self._before: movement.Before | None = None
        self._left: tuple[nn.Parameter, int] | None = None
        """A parameter, and how often it had been written to when the last step was done."""
        self._evaluated = 0
        """Evaluations of the loss before the step, of an optimizer that asks for several in one."""

    def attach(self) -> None:
        if isinstance(self.optimizer, Past):
            self.retired = True
            return
        self._ends = self.optimizer.register_step_post_hook(self._step_ended)
        trainable = [p for g in self.optimizer.param_groups for p in g["params"] if p.requires_grad]
        if trainable:
            self.backwards.stand_at(*_ends(trainable))
        self._plan()

    def rest(self, last: int) -> None:
        """Leave the place to another; ``last`` is the step of the run that was this one's last."""
        self.finish()
        self.retired = True
        self.run.notebook.tally.turns[self.index].last = last

    def leave(self, *, whole: bool) -> None:
        """Leave the place to one that moves parameters of this optimizer; where it moves all of them, let go of it."""
        self.retired = True
        if whole and self.run.optimizers[self.index] is self.optimizer:
            self.run.let_go(self.index)
        if self.run.optimizers[self.index] is not self.optimizer:  # let go, or the other has its place
            self.detach()
            self.optimizer = self.run.optimizers[self.index]

    def catch_up(self) -> None:
        """Let the count of the run go on by the steps of this optimizer, now that the others rest."""
        tally = self.run.notebook.tally
        if self.base + self.steps < tally.steps:
            self.base = self.stood + self.alone - self.steps
            tally.steps = max(tally.steps, self.base + self.steps)

    def detach(self) -> None:
        self.backwards.count()
        for handle in (self._ends, self._begins):
            if handle is not None:
                handle.remove()
        self._ends = self._begins = None
        self.backwards.leave()

    def _guarded(self, method: Hook) -> Hook:
        """Let nothing that is raised here reach the loop."""

        def hook(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.run.paused:
                return
            try:
                method(optimizer, args, kwargs)
            except Exception as error:
                self._give_up(error)

        return hook

    def _give_up(self, error: Exception) -> None:
        self.detach()
        kind = type(self.optimizer).__name__
        self.run.notebook.trouble(f"optimizer {self.index} ({kind}) is no longer watched", error)

    def _plan(self) -> None:
        """Decide how closely to look at the coming step."""
        step = self.steps + 1
        gradients, close, portrait = self._due
        looks = gradients.at(step)
        closely = looks and close.at(step)
        self._next = gradients.next
        self._look(gradients=looks, close=closely, portrait=closely and portrait.at(step))

    def _look(self, *, gradients: bool, close: bool, portrait: bool) -> None:
        self.gradients, self.close, self.portrait = gradients, close, portrait
        self.backwards.look(gradients)
        if gradients and self._begins is None and self._ends is not None:
            self._begins = self.optimizer.register_step_pre_hook(self._guarded(self._step_begins))
        elif not gradients and self._begins is not None:
            self._begins.remove()
            self._begins = None

    def _step_begins(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.run.scaler is None and self.steps < _FIRST:
            self.run.scaler = _scaler_above(sys._getframe(1))
        table = self.run.table()
        if _has_closure(args, kwargs):
            self.backwards.inside, self._evaluated = True, _evaluations(optimizer)
        else:
            self._look_at_gradients(table, self.steps + 1)
        if self.close:
            self._before = movement.begin(table, self.index)

    def _step_ended(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count the step. This runs after every step, in one call, for a tiny model feels each further one."""
        if self.run.paused:
            return
        try:
            self.steps = steps = self.steps + 1
            tally = self.run.notebook.tally
            tally.optimizer_steps[self.index] = steps
            if self.base + steps > tally.steps:
                tally.steps = self.base + steps
            if self.gradients:
                self._end_look(_has_closure(args, kwargs))
            groups = optimizer.param_groups
            rates = [groups[0].get("lr")] if len(groups) == 1 else [group.get("lr") for group in groups]
            if self.gradients or rates != self._rates:
                self._note_rates(rates)
            if self.gradients or steps + 1 >= self._next:
                self._plan()
            if (witness := self.backwards.parameter) is not None:
                self._left = witness, witness._version
            self._after(self)
        except Exception as error:
            self._give_up(error)

    def _end_look(self, has_closure: bool) -> None:
        if has_closure:  # the gradients of the step were made inside it
            self._look_at_gradients(self.run.table(), self.steps)
        if self._before is not None:
            movement.end(self.run, self.optimizer, self.label, self._before)
            self._before = None
        if self.portrait:
            movement.take_portrait(self.run, self.index)
        self.backwards.end_step(_evaluations(self.optimizer) - self._evaluated if has_closure else 0)

    def _look_at_gradients(self, table: Table, own: int) -> None:
        """Measure the gradients that the optimizer gets in its step number ``own``."""
        if getattr(self.optimizer, "grad_scale", None) is not None:
            return  # a fused optimizer takes the AMP scale off itself, inside the step
        look = gradients.Look(
            step=max(self.run.notebook.tally.steps, self.base + own),
            close=self.close,
            label=self.label,
            places=[p for p in table.covers[self.index] if table.parameters[p].requires_grad],
            sentinel=table.place_of(self.backwards.parameter),
        )
        fresh = None if _is_distributed() else self.backwards.fresh  # gradients of other ranks come in between
        gradients.look(self.run, look, fresh, self._gradients_seen)

    def _gradients_seen(self, norms: dict[int, float]) -> None:
        """Move to another parameter for backward passes where this one gets no gradient."""
        table = self.run.table()
        at = table.place_of(self.backwards.parameter)
        if at is not None and norms.get(at, 0.0) > 0:
            return
        live = [i for i, n in norms.items() if n > 0 and table.entries[i].optimizer == self.index]
        if live and self._ends is not None:
            self.backwards.stand_at(*_ends([table.parameters[i] for i in live]))

    def post_mortem(self) -> None:
        """Look for what is not finite in the gradients still there and in all weights, and look at the next step."""
        if self._ends is not None:
            gradients.autopsy(self.run, self.index)
            self._look(gradients=True, close=True, portrait=self.portrait)

    # --- learning rates -----------------------------------------------------------------------------------------------

    def rates(self) -> dict[str, float | None]:
        """Return the learning rate of each group in the last step, by the name of its series."""
        series = f"learning_rate{self.label}"
        if len(self._known_rates) == len(self.optimizer.param_groups) == 1:
            return {series: self._known_rates[0]}
        return {f"{series}/{i}": rate for i, rate in enumerate(self._known_rates)}

    def _note_rates(self, rates: list[Any]) -> None:
        """Write the learning rates of the step down if they have changed, and the last step of the old ones.

        A rate that is a tensor is written in place, and may lie on a device: it is read in looked-at steps.
        """
        self._rates = rates
        numbers = [float(r) for r in rates if r is not None]
        if numbers != self._known_rates:
            step = self.run.notebook.tally.steps
            if self._rates_at < step - 1:
                self._write_rates(step - 1)
            self._known_rates = numbers
            self._write_rates(step)

    def _write_rates(self, step: int) -> None:
        if self._known_rates:
            self.run.notebook.row("step", step, self.rates())
        self._rates_at = step

    def finish(self) -> None:
        """Close the curves of the learning rates at the last step, and the count of backward passes."""
        self.backwards.count()
        tally = self.run.notebook.tally
        if self.retired:
            return
        if self._rates_at < tally.steps:
            self._write_rates(tally.steps)
        turns = tally.turns[self.index]
        if self._rates:  # it has stepped since it was attached
            turns.first = turns.first or self.base + 1
            turns.last = tally.steps
            turns.rewritten = self._left is not None and self._left[0]._version != self._left[1]


def _scaler_above(frame: FrameType | None) -> Any:
    """Return the gradient scaler that makes this step, if one does: few loops hand theirs to the monitor."""
    for _ in range(_FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_name == "step" and frame.f_globals.get("__name__") == "torch.amp.grad_scaler":
            return frame.f_locals.get("self")
        frame = frame.f_back
    return None


def _has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return (args[1] if len(args) > 1 else kwargs.get("closure")) is not None


def _evaluations(optimizer: Optimizer) -> int:
    """Return how often an optimizer with closures has asked for the loss so far; 0 where it does not count."""
    states = optimizer.state.values() if isinstance(optimizer, LBFGS) else []
    return max((int(state.get("func_evals", 0)) for state in states), default=0)


def _ends(parameters: list[nn.Parameter]) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Return the smallest parameter, and the smallest of the half of the model where that one does not stand."""
    place = min(range(len(parameters)), key=lambda i: _size(parameters[i]))
    middle = (len(parameters) + 1) // 2
    other = parameters[middle:] if place < middle else parameters[:middle]
    return parameters[place], min(other, key=_size, default=None)


def _size(parameter: nn.Parameter) -> int:
    return 1 << 62 if isinstance(parameter, nn.UninitializedParameter) else parameter.numel()


def _is_distributed() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
