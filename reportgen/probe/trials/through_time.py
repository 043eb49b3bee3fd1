"""How far back in time the gradient of the loss reaches, in a model that reads a sequence step by step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result
from .learning import answered, in_training, without_dropout
from .order import worth_of_start

_LEAST = 8  # steps from which early and late can be told apart
_FADED = 5e-2
_CELLS = (nn.RNNCellBase, nn.Linear)


def gradient_by_time(lab: Lab) -> Result:
    """Measure the gradient of the loss by what the recurrent layer reads at each step of time.

    A recurrent layer's input, or what a cell (or a Linear layer used as one) puts out call by call. ``early``: median
    norm over the first tenth of the steps, ``late`` over the last; ``largest``: of all. Padding at the end gets no
    gradient, which is why the early one is held against the largest. (Bengio, Simard and Frasconi 1994.) Where it is
    below a twentieth of that, ``start`` and ``rest`` say what a linear learner makes of the first tenth alone, and of
    all other steps (see ``worth_of_start``).
    """
    batch = lab.targeted(32)
    work = lab.fresh()
    in_training(work.model, batch.n_samples)
    with _watched(work.model) as seen, without_dropout(work.model), torch.enable_grad():
        seed_generators(lab.seed)
        _, value = answered(work, batch)
        steps = seen.steps()
        if not value.requires_grad:
            raise NotApplicableError("no parameter reaches the loss")
        found = torch.autograd.grad(value, steps.tensors, allow_unused=True)
    norms = steps.norms(found)
    if len(norms) < _LEAST:
        raise NotApplicableError(f"sequences of {len(norms)} steps, too short")
    if not all(map(math.isfinite, norms)) or not max(norms):
        raise NotApplicableError("the gradient is zero or not finite at every step")
    tenth = max(1, len(norms) // 10)
    early, late = _median(norms[:tenth]), _median(norms[-tenth:])
    numbers = {"steps": float(len(norms)), "early": early, "late": late, "largest": max(norms)}
    numbers["ratio"] = early / max(norms)
    if numbers["ratio"] < _FADED:
        lab.clock.need(10)
        numbers |= worth_of_start(lab, 0.1)
    return Result(numbers, {"layer": steps.name, "kind": steps.kind})


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class _Steps:
    """What a layer read or made, step by step: one tensor with a dimension of time, or one tensor a step."""

    def __init__(self, name: str, kind: str, tensors: list[Tensor], dim: int | None) -> None:
        self.name, self.kind, self.tensors, self._dim = name, kind, tensors, dim

    def norms(self, gradients: tuple[Tensor | None, ...]) -> list[float]:
        """Return the norm of the gradient at each step."""
        if self._dim is not None:
            whole = gradients[0]
            if whole is None:
                raise NotApplicableError("the loss does not depend on the recurrent layer")
            return [float(n) for n in whole.transpose(0, self._dim).flatten(1).double().norm(dim=1)]
        return [0.0 if g is None else float(g.double().norm()) for g in gradients]


class _Seen:
    def __init__(self) -> None:
        self.whole: list[_Steps] = []
        self.calls: dict[str, list[Tensor]] = defaultdict(list)
        self.kinds: dict[str, str] = {}

    def steps(self) -> _Steps:
        """Return the steps of the first recurrent layer, else of the cell that was called most often."""
        if self.whole:
            return self.whole[0]
        often = [(len(outputs), name) for name, outputs in self.calls.items() if len(outputs) >= _LEAST]
        if not often:
            raise NotApplicableError("no layer works step by step")
        name = max(often)[1]
        return _Steps(name, self.kinds[name], self.calls[name], None)


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Seen]:
    seen, handles = _Seen(), []
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            handles.append(module.register_forward_pre_hook(_reader(seen, name)))
        elif isinstance(module, _CELLS):
            handles.append(module.register_forward_hook(_maker(seen, name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _reader(seen: _Seen, name: str) -> Any:
    """Note what a recurrent layer reads, as a tensor that takes a gradient."""

    def hook(module: nn.RNNBase, args: tuple[Any, ...]) -> Any:
        if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3 or module.bidirectional:
            return None
        x = args[0] if args[0].requires_grad else args[0].detach().clone().requires_grad_(True)
        seen.whole.append(_Steps(name, type(module).__name__, [x], 1 if module.batch_first else 0))
        return (x, *args[1:])

    return hook


def _maker(seen: _Seen, name: str) -> Any:
    """Note what a cell puts out, call by call."""

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor) and first.requires_grad:
            seen.calls[name].append(first)
            seen.kinds[name] = type(module).__name__

    return hook
