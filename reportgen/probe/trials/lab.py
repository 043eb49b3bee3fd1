"""What every experiment is given: a copy of the model, batches, a clock; and how it says that it cannot be made."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import one_line
from ...subject.data import Batch, call
from ..attributes import hidden_results, with_hidden
from ..layers import main_tensor
from ..seeding import seed_generators
from ..steps import NotMeasuredError
from .sample import first_samples, is_by_sample

ROWS = 64  # samples that an experiment on outputs looks at
COPY_BYTES = 1 << 31
UNSTEADY = "two passes over one input differ, with the same random numbers too"

Loss = Callable[[Any, Any], Any]
T = TypeVar("T")


class NotApplicableError(NotMeasuredError):
    """An experiment makes no sense for this model or these data; the message says why."""


class OutOfTimeError(Exception):
    """The time that all experiments together were given is used up."""


@dataclass(frozen=True)
class Result:
    """What an experiment found."""

    numbers: dict[str, float]
    detail: dict[str, str] = field(default_factory=dict)


@dataclass
class Clock:
    """Seconds that all experiments together may take, and what one forward pass costs."""

    budget: float
    began: float = field(default_factory=time.perf_counter)
    forward: float = 0.0

    def left(self) -> float:
        return self.budget - (time.perf_counter() - self.began)

    def need_seconds(self, seconds: float) -> None:
        """Raise OutOfTimeError when so much time is not left: what cannot be finished would cost others theirs."""
        if self.left() <= seconds:
            raise OutOfTimeError

    def need(self, passes: float) -> None:
        """Raise OutOfTimeError when so many forward passes do not fit in any more."""
        if self.left() <= passes * self.forward:
            raise OutOfTimeError


@dataclass(frozen=True)
class Outfit:
    """One copy to work on, its optimizers and its loss linked to it as the originals are."""

    model: nn.Module
    optimizers: tuple[Optimizer, ...]
    loss: Loss | None


class Scored(NamedTuple):
    """How good a model is: loss by sample, accuracy or R², of how many samples, and how many the score rests on.

    ``of_two``: the score is that of answers of yes and no, which may be right and far from sure.
    """

    loss: float
    score: float | None
    samples: int
    weight: float
    of_two: bool = False


@dataclass(frozen=True)
class Lab:
    """A copy of the model in eval mode, and what there is to try it with."""

    outfit: Outfit
    owned: frozenset[int]
    """Ids of the original parameters in the original optimizers."""
    given: list[Batch]
    training: list[Batch]
    """Of the training data; the same as ``given`` when there were none."""
    clock: Clock
    seed: int
    wide_given: list[Batch] = field(default_factory=list)
    """More samples of the data given, up to a thousand, for what learns from them."""
    wide_training: list[Batch] = field(default_factory=list)
    """The same of the training data; empty when there were none."""
    augmented: bool = False
    """Training samples are made anew at each reading."""
    peak: float = 0.0
    """Highest learning rate that was recorded in the run; 0 where none was."""
    memo: dict[str, Scored] = field(default_factory=dict)
    """What an experiment found that another one would do all over again."""
    held: frozenset[str] = frozenset()
    """Names of the norms and dropouts that the run was seen to keep in eval mode in training."""

    @property
    def model(self) -> nn.Module:
        return self.outfit.model

    @property
    def loss(self) -> Loss:
        if self.outfit.loss is None:
            raise NotApplicableError("no loss was given")
        return self.outfit.loss

    def fresh(self) -> Outfit:
        """Return a copy that may be changed."""
        return copied(self.outfit)

    def some(self, n: int = ROWS, *, training: bool = False) -> Batch:
        """Return up to ``n`` samples as one batch, the same at every call."""
        batch = first_samples(self.training if training else self.given, n)
        if batch is None or batch.first is None:
            raise NotApplicableError("no data were given")
        return batch

    def samples(self, n: int = ROWS, *, least: int = 4, training: bool = False) -> Batch:
        """Return up to ``n`` samples whose tensors all count samples along dimension 0."""
        batch = self.some(n, training=training)
        if not is_by_sample(batch, with_target=False):
            raise NotApplicableError("the inputs do not count samples along their first dimension")
        if batch.n_samples < least:
            raise NotApplicableError(f"{batch.n_samples} samples, too few")
        return batch

    def targeted(self, n: int = ROWS, *, least: int = 4, training: bool = True) -> Batch:
        """Return up to ``n`` samples with their targets."""
        batch = self.some(n, training=training)
        if batch.target is None:
            raise NotApplicableError("the data hold no targets")
        if batch.n_samples < least:
            raise NotApplicableError(f"{batch.n_samples} samples, too few")
        return batch


def enough(batches: list[Batch], most: int, least: int) -> Batch:
    """Return up to ``most`` samples with their targets as one batch; raise where there are fewer than ``least``."""
    batch = first_samples(batches, most)
    if batch is None or batch.target is None or not is_by_sample(batch) or batch.n_samples < least:
        raise NotApplicableError(f"fewer than {least} samples of one shape with targets")
    return batch


def hold(model: nn.Module, names: frozenset[str]) -> None:
    """Put the layers of these names in eval mode, as the run did."""
    for name in names:
        with suppress(AttributeError):
            model.get_submodule(name).eval()


def taken(measure: Callable[[], T], refusal: str) -> T:
    """Return what a measurement gives; where the caller's code raises, say in words what it refuses."""
    try:
        return measure()
    except (NotApplicableError, OutOfTimeError):
        raise
    except Exception as error:
        raise NotApplicableError(f"{refusal}: {one_line(error)}") from error


def copied(outfit: Outfit) -> Outfit:
    """Copy model, optimizers and loss together, so that the links between them are copied too."""
    size = sum(p.numel() * p.element_size() for p in outfit.model.parameters())
    if size > COPY_BYTES:
        raise NotApplicableError("the model is too large to be copied")
    memo: dict[int, Any] = {id(t): _leaf_of(t) for t in hidden_results(with_hidden(outfit.model))}
    model = copy.deepcopy(outfit.model, memo)
    if not isinstance(model, nn.Module):
        raise NotApplicableError(f"the model cannot be copied: copying it gave a {type(model).__name__}")
    for theirs, ours in zip(outfit.model.parameters(), model.parameters(), strict=True):
        memo.setdefault(id(theirs), ours)  # TorchScript copies its own, and leaves them tied to the originals
        if not ours.is_leaf:
            ours.detach_().requires_grad_(theirs.requires_grad)
    optimizers = copy.deepcopy(outfit.optimizers, memo)
    return Outfit(
        model, optimizers, copy.deepcopy(outfit.loss, memo) if isinstance(outfit.loss, nn.Module) else outfit.loss
    )


def _leaf_of(result: Tensor) -> Tensor:
    """Return the value of a computed tensor as one of its own: a graph cannot be copied, nor trained through again."""
    return result.detach().clone().requires_grad_(result.requires_grad)


def output_of(model: nn.Module, batch: Batch) -> Any:
    """Run the model on a batch made for an experiment; what it refuses is a reason, and no failure of ours."""
    mode = "training" if getattr(model, "training", False) else "eval"
    return taken(lambda: call(model, batch), f"the model refuses a batch of {batch.n_samples} in {mode} mode")


def answer(model: nn.Module, batch: Batch, seed: int = 0) -> Tensor:
    """Run the model without gradients from fixed random numbers; return its first floating-point output."""
    seed_generators(seed)
    with torch.no_grad():
        return as_answer(output_of(model, batch))


def as_answer(output: Any) -> Tensor:
    """Return the first floating-point tensor of an output, as float32 at least; it must be finite."""
    tensor = main_tensor(output)
    if tensor is None or tensor.is_complex():
        raise NotApplicableError(f"the output holds no {'real ' if tensor is not None else ''}floating-point tensor")
    tensor = tensor.detach()
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not tensor.numel() or not bool(torch.isfinite(tensor).all()):
        raise NotApplicableError("the outputs are not all finite")
    return tensor


def a_row_each(output: Tensor, n: int) -> Tensor:
    """Return outputs as (samples, values); raise where dimension 0 does not count samples."""
    if not output.dim() or output.shape[0] != n:
        raise NotApplicableError("the output has no row for each sample")
    return output.reshape(n, -1)


def spread(output: Tensor) -> float:
    """Return the root mean square of the deviations from the mean output over samples."""
    return float((output - output.mean(0, keepdim=True)).square().mean().sqrt())


def value_of(loss: Loss, output: Any, target: Any) -> Tensor:
    """Return the loss as a tensor with one number."""
    value = loss(output, target)
    if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
        raise NotApplicableError("the loss is no tensor with one real number")
    return value if not value.dim() else value.reshape(())


def optimizers_own(optimizers: Sequence[Optimizer]) -> frozenset[int]:
    """Return the ids of the tensors in the optimizers."""
    return frozenset(id(p) for o in optimizers for group in o.param_groups for p in group["params"])
