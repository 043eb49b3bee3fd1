"""What the loss of a loop asks for: a few inputs at looked-at steps, their outputs, and the gradient of these."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import torch
from torch import Tensor, is_grad_enabled

from ..probe.layers import main_tensor
from ..probe.mixed import Look, spaced
from ..subject.data import tensors
from .forwards import Hook
from .run import Run
from .samples import lifted

_ROWS = 8  # of a batch
_LOOKS = 24  # that are kept, the last ones
_WIDE = 1 << 12  # numbers in one row of the outputs


class AskedWatch:
    """A hook on the first model, for the first forward pass of a looked-at step that is learned from."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.looks: deque[Look] = deque(maxlen=_LOOKS)
        self.waits = False
        """The step that is under way is looked at."""
        self._armed: Any = None
        self._waiting: Any = None
        self._seen: tuple[Tensor, Tensor] | None = None
        self._gradient: Tensor | None = None

    def detach(self) -> None:
        self.collect()

    def arm(self) -> None:
        """Wait for the first forward pass of the coming step."""
        self.collect()
        root = next(iter(self.run.models.values()))
        if not isinstance(root, torch.jit.ScriptModule):
            self.waits = True
            self._armed = root.register_forward_hook(Hook(self, root, self._passed), with_kwargs=True)

    def _passed(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        first, said = next(tensors((args, kwargs)), None), main_tensor(output)
        if self._seen is not None or not is_grad_enabled() or first is None or said is None or said.grad_fn is None:
            return
        if not first.is_floating_point() or first.layout != torch.strided or said.layout != torch.strided:
            return
        if not first.dim() or not said.dim() or not len(first) or len(first) != len(said) or said.is_complex():
            return
        if said[0].numel() > _WIDE:
            return
        self._seen = spaced(first, _ROWS).clone(), lifted(said[:_ROWS].detach()).clone()
        self._waiting = said.grad_fn.register_prehook(functools.partial(self._arrives, said.output_nr))

    def _arrives(self, place: int, gradients: tuple[Tensor | None, ...]) -> None:
        """Take the gradient on its way; nothing that is raised here reaches the backward pass."""
        gradient = gradients[place] if place < len(gradients) else None
        if self.run.paused or gradient is None:
            return
        try:
            now = lifted(gradient[:_ROWS].detach())
            self._gradient = now.clone() if self._gradient is None else self._gradient + now
        except Exception as error:
            self.detach()
            self.run.notebook.trouble("what the loss asks for is no longer watched", error)

    def collect(self) -> None:
        """Keep what was seen in the step that has ended, and take the hooks off."""
        for handle in (self._armed, self._waiting):
            if handle is not None:
                handle.remove()
        if self._seen is not None and self._gradient is not None and self._gradient.shape == self._seen[1].shape:
            self.looks.append(Look(*self._seen, self._gradient))
        self._armed = self._waiting = self._seen = self._gradient = None
        self.waits = False
