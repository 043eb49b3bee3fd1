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
_SHORTEST = 4  # sequence of tokens
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
        if said.layout != torch.strided or first.layout != torch.strided:
            return
        if not first.is_floating_point():
            self._follow_tokens(first, said)
            return
        if not first.dim() or not said.dim() or not len(first) or len(first) != len(said) or said.is_complex():
            return
        if said[0].numel() > _WIDE:
            return
        self._seen = spaced(first, _ROWS).clone(), lifted(said[:_ROWS].detach()).clone()
        self._waiting = said.grad_fn.register_prehook(functools.partial(self._arrives, said.output_nr))

    def _follow_tokens(self, tokens: Tensor, said: Tensor) -> None:
        """Wait for the gradient of scores of tokens, (N, T, K), (N, K, T) or (N T, K), of which K are no fewer."""
        if tokens.dim() != 2 or tokens.is_complex() or tokens.dtype == torch.bool or tokens.shape[1] < _SHORTEST:
            return
        n, length = tokens.shape
        if said.dim() == 3 and said.shape[0] == n and length in said.shape[1:]:
            along = 2 if said.shape[1] == length else 1
        elif said.dim() == 2 and len(said) == n * length:
            along = 1
        else:
            return
        kept = tokens[:_ROWS].detach().clone()
        what = functools.partial(self._tokens_arrive, kept, along, said.output_nr)
        self._waiting = said.grad_fn.register_prehook(what) if said.grad_fn is not None else None

    def _tokens_arrive(self, tokens: Tensor, along: int, place: int, gradients: tuple[Tensor | None, ...]) -> None:
        """Count the places that were asked for their own token, or for the next: it alone is pulled upwards."""
        gradient = gradients[place] if place < len(gradients) else None
        if self.run.paused or gradient is None or self._waiting is None:
            return
        try:
            self._waiting.remove()
            self._waiting = None
            n, length = tokens.shape
            rows = gradient[: n * length].reshape(n, length, -1) if gradient.dim() == 2 else gradient[:n]
            pull, asked = rows.detach().min(2 if gradient.dim() == 2 else along)
            told = pull < 0
            ahead = told[:, :-1]
            counts = torch.stack(
                [
                    told.sum(),
                    ((asked == tokens) & told).sum(),
                    ahead.sum(),
                    ((asked[:, :-1] == tokens[:, 1:]) & ahead).sum(),
                ]
            )
            self.run.notebook.fetch(counts.float(), self._count)
        except Exception as error:
            self.detach()
            self.run.notebook.trouble("what the loss asks for is no longer watched", error)

    def _count(self, numbers: list[float]) -> None:
        tally = self.run.notebook.tally
        tally.asked = [int(n + m) for n, m in zip(numbers, tally.asked or [0] * len(numbers), strict=True)]

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
