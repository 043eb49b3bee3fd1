"""Leave the model as it was found, whatever happens in between."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

COPY_LIMIT = 1 << 31  # bytes of parameters up to which a copy is worth its memory
_PLAIN = (int, float, bool, str, type(None))  # attributes that a forward pass may count or flag with
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
    """Restore on exit, bit for bit: parameters, buffers, mode of every module, gradients, hooks and RNG.

    Inside, gradients are set aside (``grad=None``), hooks that run after a gradient was accumulated are silent (an
    optimizer may step in one), and ``train()`` and ``eval()`` only set flags, whatever a module made of them (merging
    adapters into weights, say). Plain attributes (numbers, flags, None) come back too. Parameters are copied, since a
    forward pass may write them; beyond ``COPY_LIMIT`` bytes in all they are not, and only an embedding's are.
    """
    parameters = [_ParameterState.of(p, copied) for p, copied in _with_budget(list(model.parameters()))]
    modules = [_ModuleState.of(module) for module in model.modules()]
    rng = _Rng.capture()
    for parameter in parameters:
        parameter.silence()
    try:
        with _plain_modes(model):
            yield model
    finally:
        for module in modules:
            module.restore()
        for parameter in parameters:
            parameter.restore()
        rng.restore()


def _with_budget(parameters: list[nn.Parameter]) -> list[tuple[nn.Parameter, bool]]:
    size = sum(p.numel() * p.element_size() for p in parameters if not _is_lazy(p))
    return [(p, size <= COPY_LIMIT and not _is_lazy(p) and p.layout == torch.strided) for p in parameters]


@contextmanager
def _plain_modes(model: nn.Module) -> Iterator[None]:
    """Let ``train`` of every module that overrides it do what nn.Module's does, and no more."""
    shadowed = [
        module
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        and (type(module).train is not nn.Module.train or type(module).eval is not nn.Module.eval)
        and not {"train", "eval"} & set(vars(module))
    ]
    for module in shadowed:
        vars(module)["train"] = MethodType(nn.Module.train, module)
        vars(module)["eval"] = MethodType(nn.Module.eval, module)
    try:
        yield
    finally:
        for module in shadowed:
            del vars(module)["train"], vars(module)["eval"]


@contextmanager
def generators_kept(*sources: Any) -> Iterator[None]:
    """Restore the generators that loaders and their samplers draw from."""
    holders = [h for s in sources for h in (s, getattr(s, "sampler", None), getattr(s, "dataset", None))]
    found = [getattr(holder, "generator", None) for holder in holders]
    states = [(g, g.get_state()) for g in found if isinstance(g, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


@dataclass(frozen=True)
class _ParameterState:
    parameter: nn.Parameter
    requires_grad: bool
    gradient: Tensor | None
    hooks: dict[int, Any]
    copy: Tensor | None

    @staticmethod
    def of(parameter: nn.Parameter, copied: bool) -> _ParameterState:
        hooks = dict(getattr(parameter, "_post_accumulate_grad_hooks", None) or {})
        copy = parameter.detach().clone() if copied and not parameter.is_meta else None
        return _ParameterState(parameter, parameter.requires_grad, parameter.grad, hooks, copy)

    def silence(self) -> None:
        self.parameter.grad = None
        if self.hooks:
            self.parameter._post_accumulate_grad_hooks.clear()

    def restore(self) -> None:
        parameter = self.parameter
        if self.copy is not None and not _same(parameter.detach(), self.copy):
            with torch.no_grad():
                parameter.copy_(self.copy)
        if parameter.requires_grad != self.requires_grad:
            parameter.requires_grad_(self.requires_grad)
        parameter.grad = self.gradient
        if self.hooks:
            parameter._post_accumulate_grad_hooks.update(self.hooks)


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
    plain: dict[str, Any]
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
        return _ModuleState(module, module.training, buffers, hooks, _plain_attributes(module), rewritten)

    def restore(self) -> None:
        vars(self.module).update(self.plain)
        self.module.training = self.training
        if not isinstance(self.module, torch.jit.ScriptModule):
            for name in [name for name in self.module._buffers if name not in self.buffers]:
                del self.module._buffers[name]
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


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return numbers, flags, texts and None among the attributes; a lazy module sets its own for good."""
    if isinstance(module, torch.jit.ScriptModule) or any(_is_lazy(p) for p in module.parameters(recurse=False)):
        return {}
    return {name: value for name, value in vars(module).items() if type(value) in _PLAIN}


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
