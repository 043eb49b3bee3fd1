"""Is normal noise of a fixed size added to what the layers compute, as it is to make training harder?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ...subject.data import Batch
from ..seeding import seed_generators
from .lab import output_of

_NORMAL = ("randn", "randn_like", "normal", "normal_")
_SUMS = ("add", "radd", "iadd", "sub", "rsub", "isub")
_PRODUCTS = ("mul", "rmul", "imul", "multiply", "div", "truediv", "itruediv", "divide")


def adds_noise(model: nn.Module, batch: Batch, seed: int) -> bool:
    """Tell whether a pass in eval mode adds normal numbers to something that the weights had a part in.

    Numbers of a fixed size only: where the model says how large they are (a variational sample, noise with a gain that
    is learned), or where they are the input of a layer (a generator), they are meant.
    """
    watch = _Watch()
    seed_generators(seed)
    with torch.enable_grad(), watch:
        output_of(model, batch)
    return watch.added


class _Watch(TorchFunctionMode):
    """Follows normal numbers through sums and products. ``added``: they came to a value that needs a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.added = False
        self._noise: dict[int, Tensor] = {}  # held, so that no other tensor gets its id

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = list(_tensors((args, kwargs)))
        noise = [t for t in given if id(t) in self._noise]
        others = [t for t in given if id(t) not in self._noise]
        learned = any(t.requires_grad for t in others)
        result = func(*args, **kwargs)
        plain = name.strip("_")
        if name in _NORMAL:
            # torch.normal(mean, std) with a mean that was computed adds to it, unless the model says how far
            deviation = kwargs.get("std", args[1] if len(args) > 1 else None)
            said = isinstance(deviation, Tensor) and deviation.requires_grad
            self.added |= name == "normal" and learned and not said
            if isinstance(result, Tensor) and not (name == "normal" and learned):
                self._noise[id(result)] = result
        elif noise and plain in _SUMS:
            self.added |= learned
        elif noise and isinstance(result, Tensor) and not learned and (plain in _PRODUCTS or not others):
            self._noise[id(result)] = result
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    return (t for t in pytree.tree_leaves(value) if isinstance(t, Tensor))
