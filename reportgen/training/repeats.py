"""Losses that are back-propagated again: the gradient that arrives at one forward pass, each time it does.

A running total of losses, back-propagated at every batch, brings the gradients of all earlier batches along: the very
gradient that arrived at the outputs of a batch arrives there again, after the step that followed it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, is_grad_enabled

from ..probe.layers import main_tensor
from .backwards import BackwardWatch
from .forwards import Hook
from .run import Run
from .samples import entries, lifted

_MOST = 8  # arrivals at the outputs of one pass within a step that are kept
_FEWEST = 8  # entries that tell one gradient from another
_SAME = 1 - 1e-4  # cosine; an average over the batches so far shrinks a gradient and leaves its direction
_UNEVEN = 1 + 1e-4  # mean square over squared mean: a gradient that is one number everywhere is like any other


@dataclass
class _Arrival:
    gradient: Tensor
    passes: int
    """Backward passes that had reached a parameter before."""
    held: Tensor | None
    """Norm of the parameter's gradient at that time."""


@dataclass
class _Followed:
    """One forward pass whose outputs are waited at."""

    arrivals: list[_Arrival] = field(default_factory=list)
    last: _Arrival | None = None
    """What the step that has ended was made of; None while it has not ended."""
    handle: Any = None
    module: Any = None
    passing: Any = None
    """Hook that waits for the next pass of that module."""

    def leave(self) -> None:
        self.arrivals, self.last = [], None
        for handle in (self.handle, self.passing):
            if handle is not None:
                handle.remove()
        self.handle = self.passing = None


class RepeatWatch:
    """A hook on the graph behind the outputs of the first forward pass of a looked-at step that is learned from.

    Of two optimizers each may rightly step by the same loss, so with several a gradient counts only when the model has
    made another pass to learn from since, and what came twice before a step does not count at all. What
    ``autograd.grad`` sends through the outputs reaches no parameter, and is told from a backward pass by that.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._armed: list[Any] = []
        self._backwards: BackwardWatch | None = None
        self._followed: _Followed | None = None
        self._before: _Followed | None = None
        """Of the look before, with a hook on its module as long as that has made no other pass."""
        self._open = True

    def detach(self) -> None:
        self._disarm()
        for followed in (self._followed, self._before):
            if followed is not None:
                followed.leave()
        self._followed = self._before = None
        self._open = False

    def arm(self, backwards: BackwardWatch) -> None:
        """Wait for the first forward pass of the coming step; ``backwards`` counts passes of its optimizer."""
        self._disarm()
        self._open = True
        self._backwards, self._followed = backwards, None
        roots = [m for m in self.run.models.values() if not isinstance(m, torch.jit.ScriptModule)]
        self._armed = [m.register_forward_hook(Hook(self, m, self._passed)) for m in roots]

    def _disarm(self) -> None:
        for handle in self._armed:
            handle.remove()
        self._armed = []

    def _passed(self, module: Any, args: Any, output: Any) -> None:
        said = main_tensor(output)
        if not is_grad_enabled() or said is None or said.grad_fn is None:
            return
        if said.is_complex() or said.layout != torch.strided:
            return
        if self._followed is not None:
            if self._followed.arrivals:
                return
            self._followed.leave()  # of a pass that nothing has come back to yet
        self._followed = followed = _Followed(module=module)
        what = functools.partial(self._arrives, followed, said.output_nr)
        followed.handle = said.grad_fn.register_prehook(what)

    def _arrives(self, followed: _Followed, place: int, gradients: tuple[Tensor | None, ...]) -> None:
        """Look at the gradient on its way; nothing that is raised here reaches the backward pass."""
        gradient = gradients[place] if place < len(gradients) else None
        if not self._open or self.run.paused or gradient is None or self._backwards is None:
            return
        try:
            now = lifted(entries(gradient))
            if followed.last is not None and followed.passing is None:
                then, tally = followed.last.gradient, self.run.notebook.tally
                followed.leave()
                if then.shape == now.shape:
                    self.run.notebook.fetch(_compared(then, now), functools.partial(_count, tally, "again"))
            elif followed.last is None and len(followed.arrivals) < _MOST:
                parameter = self._backwards.parameter
                old = parameter.grad if parameter is not None and followed.arrivals else None
                held = torch.linalg.vector_norm(lifted(entries(old))) if old is not None else None
                followed.arrivals.append(_Arrival(now.clone(), self._backwards.passes, held))
        except Exception as error:
            self.detach()
            self.run.notebook.trouble("losses that come back are no longer watched for", error)

    def collect(self) -> None:
        """Settle what arrived in the step that has ended, and go on waiting for what comes back after it."""
        self._disarm()
        followed, self._followed = self._followed, None
        if followed is None or self._backwards is None:
            return
        if not followed.arrivals:
            followed.leave()
            return
        ends = [*(a.passes for a in followed.arrivals[1:]), self._backwards.passes]
        arrived = [a for a, end in zip(followed.arrivals, ends, strict=True) if end > a.passes]
        followed.arrivals = []
        if not arrived:
            followed.leave()
            return
        followed.last = arrived[-1]
        tally = self.run.notebook.tally
        tally.followed += 1
        if len(self.run.optimizers) != 1:
            if self._before is not None:
                self._before.leave()
            self._before = followed
            hook = Hook(self, followed.module, functools.partial(_renew, followed))
            followed.passing = followed.module.register_forward_hook(hook)
            return
        if len(arrived) > 1 and arrived[1].held is not None and arrived[0].gradient.shape == arrived[1].gradient.shape:
            told = _compared(arrived[0].gradient, arrived[1].gradient)
            numbers = torch.cat([told, arrived[1].held.to(told).reshape(1)])
            self.run.notebook.fetch(numbers, functools.partial(_count, tally, "twice"))


def _renew(followed: _Followed, module: Any, args: Any, output: Any) -> None:
    """Take the hook off once the module has made another pass that is learned from."""
    if is_grad_enabled() and followed.passing is not None:
        followed.passing.remove()
        followed.passing = None


def _compared(then: Tensor, now: Tensor) -> Tensor:
    """Return what tells whether the later gradient holds the earlier: where that is not zero, the same direction."""
    there = then != 0
    now = now * there
    return torch.stack([there.sum().to(then), then.sum(), then @ then, then @ now, now @ now])


def _count(tally: Any, name: str, numbers: list[float]) -> None:
    """Count a gradient that came back; a sixth number is what there was to be added to."""
    n, total, square, product, later = numbers[:5]
    told = n >= _FEWEST and n * square > _UNEVEN * total * total
    if told and product > _SAME * (square * later) ** 0.5 > 0 and all(held > 0 for held in numbers[5:]):
        setattr(tally, name, getattr(tally, name) + 1)
