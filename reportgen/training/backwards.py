"""Backward passes, seen at two small parameters of an optimizer: how many to a step, and onto what they add."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..document.history import Event
from .run import Run
from .samples import entries, lifted

_MOST = 1 << 10  # passes to a step that are told apart


class _Place:
    """A parameter at which a gradient is seen before it is added to what is there."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self.cleared = False
        self.kept: list[Tensor] = []
        """Norm of what was there before each backward pass of the step."""
        self.hook: Any = None


class BackwardWatch:
    """A hook on one parameter that gets gradients tells as much of the passes as hooks on all would.

    Whether the place had been cleared is asked at a second one too, in the other half of the model: what clears one
    part alone is not seen in that part.
    """

    def __init__(self, run: Run, index: int) -> None:
        """``index``: place of the optimizer among those of the run."""
        self.run, self.index = run, index
        self.fresh: Tensor | None = None
        """Norm of the parameter's gradient right after the last backward pass of a looked-at step."""
        self.parameter: nn.Parameter | None = None
        self.inside = False
        """A step with a closure is being made: backward passes are its evaluations."""
        self._looking = False
        self._places: list[_Place] = []
        self._n = 0
        self._steps_then = 0
        """Steps of all optimizers when the last backward pass of a looked-at step came through."""
        self._n_total = run.notebook.tally.backwards
        self._counting: Any = None

    def stand_at(self, parameter: nn.Parameter, far: nn.Parameter | None = None) -> None:
        """Watch a parameter, and see at another one too whether it was cleared."""
        looking = self._looking
        self.leave()
        self.parameter = parameter
        before, self._places = self._places, [_Place(p) for p in (parameter, far) if p is not None]
        for old, new in zip(before, self._places, strict=False):  # what was seen of the step so far holds for both
            new.cleared, new.kept = old.cleared, old.kept
        self.look(looking)

    def leave(self) -> None:
        self.look(False)
        if self._counting is not None:
            self._counting.remove()
            self._counting = None
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            for parameter in (place.parameter for place in self._places):
                if getattr(parameter, name, None) == {}:  # torch leaves the empty table behind
                    setattr(parameter, name, None)

    def look(self, looking: bool) -> None:
        """Say whether the coming step is looked at. Between looks there is no hook, but where an AMP scale is read."""
        self._looking, at = looking, self.parameter
        for place in self._places:
            if looking and place.hook is None:
                seen = partial(self._arriving, place)
                place.hook = place.parameter.register_hook(seen)  # type: ignore[no-untyped-call]
            elif not looking and place.hook is not None:
                place.hook.remove()
                place.hook = None
        if at is not None and (looking or self.run.scaler is not None) and self._counting is None:
            self._counting = at.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]
        if not looking and self.run.scaler is None and self._counting is not None:
            self._counting.remove()
            self._counting = None

    def _arriving(self, place: _Place, gradient: Tensor) -> None:
        """See, before a gradient is added, whether the place had been cleared."""
        if self.run.paused or place.cleared:
            return
        old = place.parameter.grad
        if self.inside:
            place.kept.append(gradient.new_zeros(()) if old is None else torch.linalg.vector_norm(lifted(entries(old))))
        elif old is None:
            place.cleared = True
        else:
            place.kept.append(torch.linalg.vector_norm(lifted(entries(old))))

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
        for place in self._places:
            if evaluations > 1 and evaluations == len(place.kept):
                place.kept = place.kept[1:]
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
            self._ask_what_was_kept()
        for place in self._places:
            place.cleared, place.kept = False, []
        self._n, self.fresh, self.inside = 0, None, False

    def _ask_what_was_kept(self) -> None:
        kept = [place.kept for place in self._places if place.kept and not place.cleared]
        if kept:
            lengths = [len(norms) for norms in kept]
            on = kept[0][0].device
            norms = torch.stack([norm.to(on) for part in kept for norm in part])
            self.run.notebook.fetch(norms, partial(self._kept_read, lengths))
        elif any(place.cleared for place in self._places):
            self.run.notebook.tally.fresh_checked += 1

    def _kept_read(self, lengths: list[int], numbers: list[float]) -> None:
        """A gradient that was zero before any of the step's backward passes had been cleared."""
        tally, left = self.run.notebook.tally, iter(numbers)
        parts = [list(islice(left, n)) for n in lengths]
        tally.fresh_checked += 1
        tally.stale += any(all(number != 0 for number in part) for part in parts)
