"""Leave the model as it was found, whatever happens in between."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .attributes import Attributes, hidden_leaves, is_lazy, is_open, same, with_hidden

COPY_LIMIT = 1 << 31  # bytes of parameters up to which a copy is worth its memory
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
def untouched(model: nn.Module) -> Iterator[list[str]]:
    """Restore on exit, bit for bit: parameters, buffers, mode of every module, gradients, hooks and RNG.

    Inside, gradients are set aside (``grad=None``), hooks that run after a gradient was accumulated are silent (an
    optimizer may step in one), and ``train()`` and ``eval()`` only set flags, whatever a module made of them (merging
    adapters into weights, say). Attributes come back too, as ``Attributes`` has them, and so do modules that lie in
    plain lists. Parameters are copied, since a forward pass may write them; beyond ``COPY_LIMIT`` bytes in all they are
    not, and only an embedding's are. Yields a list that on exit names what was changed and could not be put back; state
    in objects of other classes, and in attributes of TorchScript, is not watched.
    """
    left: list[str] = []
    every = with_hidden(model)
    reshard(every)
    parameters = [_ParameterState.of(p, copied) for p, copied in _with_budget(_parameters(every))]
    parameters += [_ParameterState.of(t, copied=False) for t in hidden_leaves(every)]
    modules = [_ModuleState.of(module) for module in every]
    attributes = Attributes(every)
    rng = _Rng.capture()
    for parameter in parameters:
        parameter.silence()
    try:
        with _plain_modes(every):
            yield left
    finally:
        reshard(every)
        left += attributes.restore()
        states: list[_ModuleState | _ParameterState] = [*modules, *parameters]
        for kept in states:
            try:
                kept.restore()
            except Exception:  # one that cannot be put back must not keep the others from it
                left.append(kept.name)
        rng.restore()


@contextmanager
def modules_kept(model: nn.Module) -> Iterator[None]:
    """Restore buffers and modes on exit: what a pass in training mode does to them must not reach the next measures.

    For a part of what happens under ``untouched``, which puts back the rest.
    """
    modules = [_ModuleState.of(module) for module in with_hidden(model)]
    try:
        yield
    finally:
        for module in modules:
            module.restore()


def _parameters(modules: list[nn.Module]) -> list[Tensor]:
    found = {id(p): p for m in modules for p in m.parameters(recurse=False)}
    return list(found.values())


def _with_budget(parameters: list[Tensor]) -> list[tuple[Tensor, bool]]:
    size = sum(p.numel() * p.element_size() for p in parameters if not is_lazy(p))
    return [(p, size <= COPY_LIMIT and not is_lazy(p) and p.layout == torch.strided) for p in parameters]


@contextmanager
def _plain_modes(modules: list[nn.Module]) -> Iterator[None]:
    """Let ``train`` and ``eval`` of every module that has its own do what nn.Module's do, and no more."""
    shadowed = [
        (module, {key: value for key, value in vars(module).items() if key in ("train", "eval")})
        for module in modules
        if not isinstance(module, torch.jit.ScriptModule)
        and (
            type(module).train is not nn.Module.train
            or type(module).eval is not nn.Module.eval
            or {"train", "eval"} & set(vars(module))
        )
    ]
    for module, _ in shadowed:
        vars(module)["train"] = MethodType(nn.Module.train, module)
        vars(module)["eval"] = MethodType(nn.Module.eval, module)
    try:
        yield
    finally:
        for module, own in shadowed:
            for name in ("train", "eval"):
                vars(module).pop(name, None)
            vars(module).update(own)


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
    parameter: Tensor
    requires_grad: bool
    gradient: Tensor | None
    hooks: dict[int, Any]
    copy: Tensor | None

    @staticmethod
    def of(parameter: Tensor, copied: bool) -> _ParameterState:
        hooks = dict(getattr(parameter, "_post_accumulate_grad_hooks", None) or {})
        copy = parameter.detach().clone() if copied and not parameter.is_meta else None
        return _ParameterState(parameter, parameter.requires_grad, parameter.grad, hooks, copy)

    @property
    def name(self) -> str:
        return f"a parameter of shape {tuple(self.parameter.shape)}"

    def silence(self) -> None:
        self.parameter.grad = None
        if self.hooks:
            self.parameter._post_accumulate_grad_hooks.clear()

    def restore(self) -> None:
        parameter = self.parameter
        if self.copy is not None and not same(parameter.detach(), self.copy):
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
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def parts_kept(model: nn.Module) -> Iterator[None]:
    """Restore on exit which modules and parameters every module holds, and nothing else."""
    modules = list(model.modules())
    reshard(modules)
    held = [(module, _tables(module)) for module in modules]
    try:
        yield
    finally:
        reshard(modules)
        for module, tables in held:
            _restore_tables(module, tables)


def reshard(modules: Iterable[nn.Module]) -> None:
    """Let modules of ``fully_shard`` drop what they gathered; while they have it they hold other parameters.

    After a forward pass the outermost keeps its parameters until the backward pass, which may never come.
    """
    for module in modules:
        drop = getattr(module, "reshard", None)
        if callable(drop) and hasattr(module, "unshard"):
            drop()


def _tables(module: nn.Module) -> dict[str, dict[str, Any]]:
    return {name: dict(getattr(module, name)) for name in ("_parameters", "_modules")} if is_open(module) else {}


def _restore_tables(module: nn.Module, tables: dict[str, dict[str, Any]]) -> None:
    for name, held in tables.items():
        table = getattr(module, name)
        if list(table) != list(held) or any(table[key] is not value for key, value in held.items()):
            table.clear()
            table.update(held)


@dataclass(frozen=True)
class _ModuleState:
    module: nn.Module
    training: bool | None
    """None: a frozen TorchScript module has no mode."""
    tables: dict[str, dict[str, Any]]
    """Which parameters and modules it holds, under which names."""
    buffers: dict[str, tuple[Tensor | None, Tensor | None]]
    hooks: dict[str, set[int]]
    rewritten: tuple[Tensor, Tensor] | None

    @staticmethod
    def of(module: nn.Module) -> _ModuleState:
        buffers = {
            name: (buffer, buffer.detach().clone() if isinstance(buffer, Tensor) and _has_values(buffer) else None)
            for name, buffer in module._buffers.items()
        }
        hooks = {name: set(getattr(module, name, ())) for name in _HOOKS}
        rewritten = None
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
            rewritten = (module.weight, module.weight.detach().clone())
        return _ModuleState(module, getattr(module, "training", None), _tables(module), buffers, hooks, rewritten)

    @property
    def name(self) -> str:
        return type(self.module).__name__

    def restore(self) -> None:
        if self.training is None:
            vars(self.module).pop("training", None)
        else:
            self.module.training = self.training
        _restore_tables(self.module, self.tables)
        if not isinstance(self.module, torch.jit.ScriptModule):
            for name in [name for name in self.module._buffers if name not in self.buffers]:
                del self.module._buffers[name]
        with torch.no_grad():
            for name, (buffer, copy) in self.buffers.items():
                if name in self.module._buffers:
                    self.module._buffers[name] = buffer
                if buffer is not None and copy is not None and not same(buffer, copy):
                    _put_back(buffer, copy)
            if self.rewritten is not None:
                self.rewritten[0].copy_(self.rewritten[1])
        self._restore_hooks()

    def _restore_hooks(self) -> None:
        for name, known in self.hooks.items():
            table: dict[int, Any] = getattr(self.module, name, {})
            for key in [key for key in table if key not in known]:
                del table[key]


def _has_values(tensor: Tensor) -> bool:
    return not (is_lazy(tensor) or tensor.is_meta)


def _put_back(buffer: Tensor, copy: Tensor) -> None:
    if buffer.shape != copy.shape:  # as observers of quantisation do to theirs at their first call
        buffer.resize_(copy.shape)
    buffer.copy_(copy)


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
