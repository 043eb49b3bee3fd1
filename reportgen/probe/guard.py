"""Leave the model as it was found, whatever happens in between."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def untouched(model: nn.Module) -> Iterator[nn.Module]:
    """Restore on exit, bit for bit: mode of every module, buffers, gradients, ``requires_grad``, hooks and RNG.

    Gradients are set aside and the parameters enter with ``grad=None``. Parameters themselves are only copied where a
    forward pass is known to write them (an embedding with ``max_norm``).
    """
    modules = [_ModuleState.of(module) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    rng = _Rng.capture()
    for parameter, _, _ in parameters:
        parameter.grad = None
    try:
        yield model
    finally:
        for state in modules:
            state.restore()
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
        rng.restore()


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore the train/eval flag of every module on exit."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class _ModuleState:
    module: nn.Module
    training: bool
    buffers: dict[str, tuple[Tensor | None, Tensor | None]]
    hooks: dict[str, set[int]]
    rewritten: tuple[Tensor, Tensor] | None

    @staticmethod
    def of(module: nn.Module) -> _ModuleState:
        buffers = {
            name: (buffer, buffer.detach().clone() if isinstance(buffer, Tensor) and not _is_lazy(buffer) else None)
            for name, buffer in module._buffers.items()
        }
        hooks = {name: set(getattr(module, name, ())) for name in _HOOKS}
        rewritten = None
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
            rewritten = (module.weight, module.weight.detach().clone())
        return _ModuleState(module, module.training, buffers, hooks, rewritten)

    def restore(self) -> None:
        self.module.training = self.training
        with torch.no_grad():
            for name, (buffer, copy) in self.buffers.items():
                if name in self.module._buffers:
                    self.module._buffers[name] = buffer
                if buffer is not None and copy is not None and not _same(buffer, copy):
                    buffer.copy_(copy)
            if self.rewritten is not None:
                self.rewritten[0].copy_(self.rewritten[1])
        for name, known in self.hooks.items():
            table: dict[int, Any] = getattr(self.module, name, {})
            for key in [key for key in table if key not in known]:
                del table[key]


def _is_lazy(tensor: Tensor) -> bool:
    return isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer))


def _same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors hold the same bits (NaN equals NaN), so that an untouched buffer is not written."""
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != torch.strided:
        return False
    return bool(torch.equal(a.contiguous().flatten().view(torch.uint8), b.contiguous().flatten().view(torch.uint8)))


@dataclass(frozen=True)
class _Rng:
    """States of the generators that a forward pass, a loader or an augmentation may draw from."""

    torch_state: Tensor
    cuda_states: list[Tensor]
    python_state: Any
    numpy_state: Any

    @staticmethod
    def capture() -> _Rng:
        numpy = sys.modules.get("numpy")
        return _Rng(
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
            random.getstate(),
            numpy.random.get_state() if numpy is not None else None,
        )

    def restore(self) -> None:
        torch.set_rng_state(self.torch_state)
        if self.cuda_states:
            torch.cuda.set_rng_state_all(self.cuda_states)
        random.setstate(self.python_state)
        if self.numpy_state is not None:
            sys.modules["numpy"].random.set_state(self.numpy_state)
