"""Import targets with arguments, and what a training is made of: model, loss, optimizer, scheduler, data.

A target is ``pkg.mod:name``, ``file.py:name`` or, for what torch brings, the dotted name (``torch.optim.AdamW``) or the
name alone where it is clear (``AdamW`` for an optimizer). Arguments follow in brackets, ``AdamW(lr=1e-3)``, and are
numbers, strings, booleans, None, lists, tuples and dicts; nothing in the brackets is run. A table
``{target = "...", lr = 1e-3}`` says the same.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.optim import Optimizer

from ..errors import OptionError, TargetError, one_line
from .data import load_data
from .model import call_target, load_loss, load_model, resolve


@dataclass(frozen=True)
class Spec:
    """A target and its arguments."""

    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def is_called(self) -> bool:
        return bool(self.args or self.kwargs)


def spec_of(value: str | Mapping[str, Any], home: str = "") -> Spec:
    """Read a target; ``home`` is the module of torch where a name alone is sought."""
    if isinstance(value, str):
        name, bracket, inside = value.strip().partition("(")
        args, kwargs = _arguments(value, inside) if bracket else ((), {})
        return Spec(_with_colon(name.strip(), home), args, kwargs)
    target = value.get("target")
    if not isinstance(target, str):
        raise TargetError(
            f"The table {dict(value)} names no target.", hint="Expected such as {target = 'pkg.mod:name', width = 64}."
        )
    inner = spec_of(target, home)
    return Spec(inner.target, inner.args, inner.kwargs | {k: v for k, v in value.items() if k != "target"})


def _arguments(text: str, inside: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read what stands in the brackets without running it."""
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or any(
            k.arg is None for k in call.keywords
        ):
            raise ValueError("expected one call")
        args = tuple(ast.literal_eval(node) for node in call.args)
        return args, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise TargetError(
            f"The arguments of {text!r} cannot be read; expected plain values.",
            hint="Write such as AdamW(lr=1e-3, betas=(0.9, 0.95)).",
        ) from None


def _with_colon(name: str, home: str) -> str:
    """Give a dotted name of torch, or one that stands alone, the form that ``resolve`` takes."""
    if ":" in name or not name:
        return name
    if name.startswith("torch.") and not name.endswith(".py"):
        module, _, last = name.rpartition(".")
        return f"{module}:{last}"
    return f"{home}:{name}" if home and name.isidentifier() else name


def model_of(spec: Spec) -> torch.nn.Module:
    """Return the model that a target names or makes."""
    return _made(spec, torch.nn.Module, "a torch.nn.Module") if spec.is_called else load_model(spec.target)


def moved(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """Move a model that is to be trained."""
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError, ImportError) as error:  # a torch built without the device asserts or imports
        raise OptionError(f"Cannot use device {device!r}: {one_line(error)}.") from error


def data_of(spec: Spec) -> Iterable[Any]:
    """Return the loader that a target names or makes."""
    made: Iterable[Any] = _made(spec, Iterable, "an iterable of batches") if spec.is_called else load_data(spec.target)
    return made


def loss_of(spec: Spec) -> Callable[[Any, Any], Any]:
    """Return the loss: an instance of a class, or a function. A function with arguments has them bound."""
    if not spec.is_called:
        return load_loss(spec.target)
    found = resolve(spec.target)
    if isinstance(found, type):
        loss: Callable[[Any, Any], Any] = _made(spec, Callable, "a callable of (output, target)")  # type: ignore[arg-type]
        return loss
    if callable(found) and not spec.args:
        return partial(found, **spec.kwargs)
    raise TargetError(f"{spec.target!r} takes no arguments here; expected a loss: a callable of (output, target).")


def optimizer_of(spec: Spec, model: torch.nn.Module) -> Optimizer:
    """Make the optimizer: a class of optimizers gets the parameters that require a gradient, a function the model."""
    found = resolve(spec.target)
    if isinstance(found, type) and issubclass(found, Optimizer):
        trainable = [p for p in model.parameters() if p.requires_grad]
        if not trainable:
            raise TargetError("The model has no parameter that requires a gradient; there is nothing to train.")
    else:
        trainable = []
    optimizer: Optimizer = _made(spec, Optimizer, "an optimizer", trainable or model)
    return optimizer


def scheduler_of(spec: Spec, optimizer: Optimizer) -> Any:
    """Make the scheduler: the target is called with the optimizer."""
    return _made(spec, object, "a scheduler", optimizer)


def _made(spec: Spec, wanted: type, told: str, *first: Any) -> Any:
    """Call a target with ``first`` and its arguments, and check what came."""
    found = resolve(spec.target)
    if not callable(found):
        raise TargetError(f"{spec.target!r} is {type(found).__name__}, which takes no arguments; expected {told}.")
    made = call_target(partial(found, *first, *spec.args, **spec.kwargs), spec.target)
    if isinstance(made, wanted):
        return made
    raise TargetError(f"{spec.target!r} made {type(made).__name__}; expected {told}.")
