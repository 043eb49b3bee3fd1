"""Backward passes, seen at one small parameter of an optimizer: how many to a step, and onto what they add."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..document.history import Event
from .run import Run
from .samples import entries, lifted

_MOST = 1 << 10  # passes to a step that are told apart


class BackwardWatch:
    """A hook on one parameter that gets gradients tells as much of the passes as hooks on all would."""

    def __init__(self, run: Run, index: int) -> None:
        """``index``: place of the optimizer among those of the run."""
        self.run, self.index = run, index
        self.fresh: Tensor | None = None
        """Norm of the parameter's gradient right after the last backward pass of a looked-at step."""
        self.parameter: nn.Parameter | None = None
        self.inside = False
        """A step with a closure is being made: backward passes are its evaluations."""
        self._looking = False
        self._cleared = False
        self._kept: list[Tensor] = []
        self._n = 0
        self._steps_then = 0
        """Steps of all optimizers when the last backward pass of a looked-at step came through."""
        self._n_total = run.notebook.tally.backwards
        self._counting: Any = None
        self._seeing: Any = None

    def stand_at(self, parameter: nn.Parameter) -> None:
        looking = self._looking
        self.leave()
        self.parameter = parameter
        self.look(looking)

    def leave(self) -> None:
        self.look(False)
        if self._counting is not None:
            self._counting.remove()
            self._counting = None
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            if getattr(self.parameter, name, None) == {}:  # torch leaves the empty table behind
                setattr(self.parameter, name, None)

    def look(self, looking: bool) -> None:
        """Say whether the coming step is looked at. Between looks there is no hook, but where an AMP scale is read."""
        self._looking, at = looking, self.parameter
        if at is not None and looking and self._seeing is None:
            self._seeing = at.register_hook(self._arriving)  # type: ignore[no-untyped-call]
        if at is not None and (looking or self.run.scaler is not None) and self._counting is None:
            self._counting = at.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]
        if not looking and self._seeing is not None:
            self._seeing.remove()
            self._seeing = None
        if not looking and self.run.scaler is None and self._counting is not None:
            self._counting.remove()
            self._counting = None

    def _arriving(self, gradient: Tensor) -> None:
        """See, before a gradient is added, whether the place had been cleared."""
        if self.run.paused or self._cleared or self.parameter is None:
            return
        old = self.parameter.grad
        if self.inside:
            self._kept.append(gradient.new_zeros(()) if old is None else torch.linalg.vector_norm(lifted(entries(old))))
        elif old is None:
            self._cleared = True
        else:
            self._kept.append(torch.linalg.vector_norm(lifted(entries(old))))

    def _arrived(self, parameter: Tensor) -> None:
        run = self.run
        if run.paused:
            return
        if self._looking:
            self._n += 1
            self._steps_then = sum(run.notebook.tally.optimizer_steps)
            if parameter.grad is not None:
                self.fresh = torch.linalg.vector_norm(lifted(entries(parameter.grad)))
        if run.scaler is not None:
            scale = getattr(run.scaler, "_scale", None)  # get_scale() would wait for the device
            if isinstance(scale, Tensor):
                run.notebook.fetch(scale, self._scale_read)

    def _scale_read(self, numbers: list[float]) -> None:
        (scale,), tally, last = numbers, self.run.notebook.tally, self.run.scale
        if tally.scale_first is None:
            tally.scale_first = scale
        if last is not None and scale < last:
            tally.halvings += 1
            self.run.notebook.event(Event(kind="scaler", step=tally.steps + 1, value=scale))
        tally.scale_last = self.run.scale = scale

    @property
    def passes(self) -> int:
        """Passes seen so far, in looked-at steps."""
        return self._n_total + self._n

    def count(self) -> None:
        """Count the passes since the last step; they need not lead to one."""
        tally = self.run.notebook.tally
        tally.backwards = max(tally.backwards, self._n_total + self._n)

    def end_step(self, evaluations: int = 0) -> None:
        """Count the passes of the looked-at step that has ended, and whether it began afresh.

        ``evaluations``: how often the optimizer asked for the loss within the step. Where that was once a pass, each
        pass but the first has to find its place cleared: one that is cleared before the step alone adds up.
        """
        if evaluations > 1 and evaluations == len(self._kept):
            self._kept = self._kept[1:]
        tally = self.run.notebook.tally
        if self._n:
            self._n_total += self._n
            tally.backwards = max(tally.backwards, self._n_total)
            n = min(self._n, _MOST)
            tally.backwards_of_step[n] = tally.backwards_of_step.get(n, 0) + 1
            turns = tally.turns[self.index]
            turns.seen += 1
            turns.passes += self._n
            turns.joined += sum(tally.optimizer_steps) - self._steps_then > 1  # one of them is this very step
            if self._cleared:
                tally.fresh_checked += 1
            elif self._kept:
                self.run.notebook.fetch(torch.stack(self._kept), self._kept_read)
        self._n, self._cleared, self._kept, self.fresh, self.inside = 0, False, [], None, False

    def _kept_read(self, numbers: list[float]) -> None:
        """A gradient that was zero before any of the step's backward passes had been cleared."""
        self.run.notebook.tally.fresh_checked += 1
        self.run.notebook.tally.stale += all(number != 0 for number in numbers)
