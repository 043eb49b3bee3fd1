"""Optimizers that come in the middle of a run, as fine-tuning in stages makes them: a hook sees all of them step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .run import Run


class Newcomers:
    """Tells of an optimizer that nobody named, right before its first step on parameters of the watched models."""

    def __init__(self, run: Run, join: Callable[[Optimizer], None]) -> None:
        self.run, self._join = run, join
        self._strangers: WeakSet[Optimizer] = WeakSet()
        self._beside: WeakSet[Optimizer] = WeakSet()
        """Those that move none of the watched parameters, as that of a critic does not."""
        self._handle: Any = None

    def attach(self) -> None:
        self._handle = register_optimizer_step_pre_hook(self._begins)

    def detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _begins(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # every step of the process comes by: the common case must be over at once
        for known in self.run.optimizers:
            if known is optimizer:
                return
        if self.run.paused or optimizer in self._strangers:
            return
        if optimizer in self._beside:
            self.run.notebook.tally.beside += 1
            return
        try:
            if self._is_inside(optimizer):
                self._strangers.add(optimizer)
            elif self._is_of_the_run(optimizer):
                self._join(optimizer)
            else:
                self._beside.add(optimizer)
                self.run.notebook.tally.beside += 1
        except Exception as error:
            self._strangers.add(optimizer)
            self.run.notebook.trouble(
                f"an optimizer that came later ({type(optimizer).__name__}) is not watched", error
            )

    def _is_inside(self, optimizer: Optimizer) -> bool:
        """Tell whether it is inside, or around, one that is watched, and takes the same step.

        SAM, Lookahead and sharded optimizers hold the one that does their work.
        """
        return any(_holds(known, optimizer) or _holds(optimizer, known) for known in self.run.optimizers)

    def _is_of_the_run(self, optimizer: Optimizer) -> bool:
        """Tell whether it moves parameters of the models."""
        places = self.run.table().places
        return any(id(p) in places for group in optimizer.param_groups for p in group["params"])


def _holds(outer: object, inner: object) -> bool:
    held = vars(outer).values()
    return any(one is inner for one in held) or any(
        any(item is inner for item in one) for one in held if isinstance(one, (list, tuple))
    )
