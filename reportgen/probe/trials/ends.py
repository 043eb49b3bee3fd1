"""Units stuck at the ends of a tanh or sigmoid that is called as a function, where no hook of a module sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..layers import BOUNDED
from ..seeding import seed_generators
from ..shape import Saturation
from .lab import Lab, NotApplicableError, Result, output_of

_FUNCTIONS = {"tanh": BOUNDED[nn.Tanh], "sigmoid": BOUNDED[nn.Sigmoid], "expit": BOUNDED[nn.Sigmoid]}
_PRODUCTS = ("mul", "multiply", "rmul", "imul", "addcmul", "lerp", "where")
_FEW = 2  # dimensions


def function_ends(lab: Lab) -> Result:
    """Count the units of each ``tanh`` and ``sigmoid`` called in forward that sit near an end, over all samples given.

    As for modules: |tanh| > 0.97, sigmoid outside 0.03 to 0.97, for more than 95 % of a unit's values. Of the call with
    the largest ``share``: ``channels``, ``values`` (share of all values near an end), ``samples``. Left out is what
    modules of torch call themselves, what the model returns, and what is multiplied with something: a gate.
    """
    batches = lab.wide_given or lab.given
    watch = _Watch()
    with _inside_torch(lab.model, watch), torch.no_grad():
        for batch in batches:
            lab.clock.need(1)
            seed_generators(lab.seed)
            watch.begin(batch.n_samples)
            with watch:
                output = output_of(lab.model, batch)
            watch.end([t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)])
            if not watch.calls:
                break
    found = [call for call in watch.calls.values() if not call.left_out and call.seen.n]
    if not found:
        raise NotApplicableError("no tanh or sigmoid is called as a function between layers")
    worst = max(found, key=lambda call: call.seen.units() / call.channels)
    numbers = {
        "calls": float(len(found)),
        "share": worst.seen.units() / worst.channels,
        "channels": float(worst.channels),
        "values": worst.seen.share(),
        "samples": float(sum(b.n_samples for b in batches)),
    }
    return Result(numbers, {"kind": worst.name, "behind": worst.behind})


@dataclass
class _Call:
    """One place of forward where such a function is called."""

    name: str
    behind: str
    channels: int
    seen: Saturation
    left_out: bool = False


@dataclass
class _Pass:
    """What belongs to one forward pass; results are held, so that no other tensor gets their id."""

    samples: int = 0
    place: int = 0
    results: dict[int, tuple[Tensor, _Call]] = field(default_factory=dict)


class _Watch(TorchFunctionMode):
    """Looks at the results of such functions. ``depth``: modules of torch that are running; ``last``: that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[int, _Call] = {}
        self.depth = 0
        self.last = ""
        self._pass = _Pass()

    def begin(self, samples: int) -> None:
        self._pass, self.last = _Pass(samples), ""

    def end(self, outputs: list[Tensor]) -> None:
        """Leave out what the model returns, as it is or as a view."""
        returned = {t.untyped_storage().data_ptr() for t in outputs if t.layout == torch.strided}
        for result, call in self._pass.results.values():
            call.left_out |= result.untyped_storage().data_ptr() in returned
        self._pass = _Pass()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        if name in _PRODUCTS:
            for given in pytree.tree_leaves((args, kwargs)):
                held = self._pass.results.get(id(given))
                if held is not None:
                    held[1].left_out = True
        result = func(*args, **kwargs)
        if name in _FUNCTIONS and not self.depth and isinstance(result, Tensor) and _has_units(result):
            self._look(name, result)
        return result

    def _look(self, name: str, result: Tensor) -> None:
        place, self._pass.place = self._pass.place, self._pass.place + 1
        dim = 1 if result.dim() >= 4 else result.dim() - 1
        call = self.calls.get(place)
        if call is None:
            seen = Saturation(result.shape[dim], _FUNCTIONS[name], result.device)
            call = self.calls[place] = _Call(name, self.last, result.shape[dim], seen)
        if (call.name, call.channels) != (name, result.shape[dim]) or len(result) != self._pass.samples:
            call.left_out = True
            return
        call.seen.update(result.detach().movedim(dim, -1).reshape(-1, call.channels))
        self._pass.results[id(result)] = (result, call)


def _has_units(result: Tensor) -> bool:
    return result.is_floating_point() and result.dim() >= _FEW and not result.is_nested and result.numel() > 0


@contextmanager
def _inside_torch(model: nn.Module, watch: _Watch) -> Iterator[None]:
    """Tell the watch which modules of torch run: what they call themselves is theirs."""

    def enter(module: nn.Module, args: Any) -> None:
        watch.depth += 1

    handles: list[Any] = []
    for name, module in model.named_modules():
        if not type(module).__module__.startswith("torch.nn.modules") or isinstance(module, nn.Sequential):
            continue

        def leave(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            watch.depth -= 1
            watch.last = name

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
