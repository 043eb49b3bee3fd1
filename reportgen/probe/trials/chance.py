"""Two passes over the same input in eval mode: where do they differ, and what draws the random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...subject.data import Batch
from ..seeding import seed_generators
from .injected import adds_noise
from .lab import Lab, NotApplicableError, Result, answer, as_answer, output_of

_DROPS = {
    "dropout",
    "dropout_",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "alpha_dropout_",
    "feature_dropout",
    "feature_dropout_",
    "feature_alpha_dropout",
    "feature_alpha_dropout_",
    "rrelu",
    "bernoulli",
    "bernoulli_",
    "rand",
    "rand_like",
}
_DRAWS = {"randn", "randn_like", "normal", "normal_", "uniform_", "multinomial", "exponential_", "randint", "randperm"}


class _Watch(TorchFunctionMode):
    """Notes the random functions that are called while it is active, and the shapes of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.drops: list[str] = []
        self.draws: list[tuple[str, tuple[int, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if (name in _DROPS and _is_on(name, args, kwargs)) or (
            name == "scaled_dot_product_attention" and _attention_drops(args, kwargs)
        ):
            self.drops.append(name)
        elif name in _DRAWS:
            self.draws.append((name, tuple(result.shape) if isinstance(result, Tensor) else ()))
        return result


def _is_on(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if "drop" not in name and name != "rrelu":
        return True
    place = 3 if name == "rrelu" else 2
    training = kwargs.get("training", kwargs.get("train", args[place] if len(args) > place else True))
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    return bool(training) and (name == "rrelu" or not isinstance(rate, (int, float)) or rate > 0)


def _attention_drops(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    rate = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
    return isinstance(rate, (int, float)) and rate > 0


@contextmanager
def watched() -> Iterator[_Watch]:
    """Note the random functions called inside the block."""
    with _Watch() as watch:
        yield watch


def eval_twice(lab: Lab) -> Result:
    """Run one input twice in eval mode with other random numbers, and twice with the same ones."""
    batch = lab.some()
    first, second, again = (answer(lab.model, batch, seed) for seed in (lab.seed, lab.seed + 1, lab.seed))
    if first.shape != second.shape or first.shape != again.shape:
        raise NotApplicableError("the shape of the output changes from pass to pass")
    size = float(first.square().mean().sqrt()) or 1.0
    numbers = {
        "change": float((second - first).abs().max()) / size,
        "same_seed": float((again - first).abs().max()) / size,
    }
    detail = {"source": "none"}
    if numbers["change"] > 0 or numbers["same_seed"] > 0:
        detail = {"source": _source(lab, batch, numbers)}
    return Result(numbers, detail)


def _source(lab: Lab, batch: Batch, numbers: dict[str, float]) -> str:
    """Say what makes two passes differ: dropout, noise on the input or inside, sampling, random numbers, or state."""
    if numbers["same_seed"] > 0.5 * numbers["change"]:
        return "state"
    seed_generators(lab.seed)
    with torch.no_grad(), watched() as watch:
        as_answer(output_of(lab.model, batch))
    if watch.drops:
        return "dropout"
    inputs = tuple(batch.first.shape) if batch.first is not None else ()
    if any(shape == inputs for _, shape in watch.draws) and not _is_rebuilt(batch):
        return "noise on the input"
    if watch.draws and not _is_rebuilt(batch) and adds_noise(lab.model, batch, lab.seed):
        return "noise inside"
    return "sampling" if watch.draws else "random numbers"


def _is_rebuilt(batch: Batch) -> bool:
    """Tell whether the target has the size of the input, as where inputs are to be rebuilt or denoised."""
    return isinstance(batch.target, Tensor) and batch.first is not None and batch.target.shape == batch.first.shape
