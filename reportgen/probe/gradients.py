"""Gradients of the loss in every parameter and every layer output, over a few batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..document.facts import GradientFacts, GradientRow, OutputGradientRow
from ..errors import one_line
from ..subject.data import Batch, call
from .guard import modules_kept
from .layers import kind_of, layers_of, main_tensor
from .reduce import as_real, strided
from .steps import NotMeasuredError
from .totals import RunningTotals, update_all

PLACES = 1 << 12  # values taken of the gradient in a layer's output
MAX_HELD = 1 << 20  # such values that wait to be added, of all layers together

Loss = Callable[[Any, Any], Tensor]


@dataclass
class _Seen:
    """Gradients of one parameter so far."""

    n_none: int = 0
    n_zero: Tensor | int = 0
    totals: RunningTotals | None = None


def measure(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, loss_name: str, order: dict[str, int], seed: int
) -> GradientFacts:
    """Run forward and backward on each batch and collect the gradients; the caller holds the guard.

    The pass runs in train mode, as the optimizer sees the model, save for frozen batch norms; a model that refuses
    (other outputs in training) is measured in eval mode, and without a last batch of one sample where a batch norm
    refuses that alone. Running statistics are put back, for the experiments that follow. ``order``: place of each layer
    in the order of execution.
    """
    if any(p.is_inference() for p in model.parameters()):
        raise NotMeasuredError("the parameters were made in inference mode, where no gradient is recorded")
    torch.manual_seed(seed)
    several = [batch for batch in batches if batch.n_samples > 1]
    try:
        try:
            with modules_kept(model), _training(model):
                return _run(model, batches, loss, loss_name, order, "train")
        except ValueError:
            if not 0 < len(several) < len(batches):
                raise
        torch.manual_seed(seed)
        with modules_kept(model), _training(model):  # a batch norm refuses what is left over, one sample
            return _run(model, several, loss, loss_name, order, "train")
    except Exception as error:
        model.zero_grad(set_to_none=True)
        model.eval()
        facts = _run(model, batches, loss, loss_name, order, "eval")
        return msgspec.structs.replace(facts, fallback=f"in eval mode, as training mode failed: {_told(error)}")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, NotMeasuredError) else one_line(error)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Put the model in train mode, but leave norms in eval mode that were frozen on purpose."""
    root_was_training = model.training
    for module in model.modules():
        frozen = isinstance(module, _BatchNorm) and (
            (root_was_training and not module.training)
            or (module.weight is not None and not module.weight.requires_grad)
        )
        module.training = not frozen
    yield


def _run(
    model: nn.Module,
    batches: Sequence[Batch],
    loss: Loss,
    loss_name: str,
    order: dict[str, int],
    mode: Literal["train", "eval"],
) -> GradientFacts:
    seen = {name: _Seen() for name, _ in model.named_parameters()}
    outputs = _OutputGradients()
    values: list[float | None] = []
    with torch.enable_grad(), _output_hooks(model, outputs):
        for batch in batches:
            model.zero_grad(set_to_none=True)
            # what training alone writes into its input must not reach the data
            value = _loss_of(loss, call(model, replace(batch, copied=True)), batch.target)
            number = float(value.detach())
            values.append(number if math.isfinite(number) else None)
            if value.requires_grad:
                with outputs.listening():
                    value.reshape(()).backward()  # type: ignore[no-untyped-call]
            outputs.add_held()
            _collect(model, seen)
    model.zero_grad(set_to_none=True)
    return GradientFacts(
        loss=loss_name,
        mode=mode,
        n_batches=len(batches),
        n_samples=sum(batch.n_samples for batch in batches),
        rows=_rows(model, seen, order),
        outputs=_outputs(model, outputs.totals, order),
        loss_values=values,
    )


def _loss_of(loss: Loss, output: Any, target: Any) -> Tensor:
    try:
        value = loss(output, target)
    except Exception as error:  # the caller's code
        raise NotMeasuredError(f"the loss raised {one_line(error)}", failed=True) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
        told = type(value).__name__ if not isinstance(value, Tensor) else f"a tensor of shape {tuple(value.shape)}"
        raise NotMeasuredError(f"the loss returned {told}, expected a tensor with one real number", failed=True)
    return value


def _collect(model: nn.Module, seen: dict[str, _Seen]) -> None:
    found: list[tuple[_Seen, RunningTotals, Tensor]] = []
    for name, parameter in model.named_parameters():
        row, gradient = seen[name], parameter.grad
        if gradient is None:
            row.n_none += 1
            continue
        real = as_real(gradient)
        if real is None:
            continue
        row.totals = row.totals or RunningTotals(real.device)
        found.append((row, row.totals, real))
    zeros = update_all([(totals, real) for _, totals, real in found])
    for (row, _, _), zero in zip(found, zeros, strict=True):
        row.n_zero = row.n_zero + zero


class _OutputGradients:
    """Totals of the gradient in the output of each layer, by name."""

    def __init__(self) -> None:
        self.totals: dict[str, RunningTotals] = {}
        self._held: list[tuple[RunningTotals, Tensor]] = []
        self._n_held = 0
        self._listening = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take what arrives: before, a model may differentiate inside its forward pass."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def take(self, name: str, gradient: Tensor) -> None:
        """Take values of one gradient. They are added when the pass is over: by then many layers cost little more."""
        if not self._listening:
            return
        if name not in self.totals:
            self.totals[name] = RunningTotals(gradient.device)
        # to read all of a tensor that has left the cache would cost a fifth of the backward pass
        values = strided(gradient, PLACES)[0].clone()
        self._held.append((self.totals[name], values))
        self._n_held += values.numel()
        if self._n_held > MAX_HELD:
            self.add_held()

    def add_held(self) -> None:
        """Add what was taken since the last time."""
        held, self._held, self._n_held = self._held, [], 0
        update_all(held)


@contextmanager
def _output_hooks(model: nn.Module, outputs: _OutputGradients) -> Iterator[None]:
    """Watch the gradient that arrives at each layer's output, through a hook on the tensor itself.

    A hook on the tensor, not on the module, because module hooks break on in-place activations; it sees the gradient
    of the value before any in-place change.
    """

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensor = main_tensor(output)
            if tensor is None or not tensor.requires_grad:
                return

            def arrived(gradient: Tensor) -> None:
                real = as_real(gradient)
                if real is not None:
                    outputs.take(name, real)

            tensor.register_hook(arrived)  # type: ignore[no-untyped-call]

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in layers_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(model: nn.Module, seen: dict[str, _Seen], order: dict[str, int]) -> list[GradientRow]:
    owners = dict(model.named_modules())
    rows = []
    for name, parameter in model.named_parameters():
        owner_name = name.rpartition(".")[0]
        owner = owners[owner_name]
        row = seen[name]
        rows.append(
            GradientRow(
                name=name,
                module=kind_of(owner),
                order=order.get(owner_name),
                is_matrix=parameter.dim() >= 2 and not isinstance(owner, (nn.Embedding, nn.EmbeddingBag)),
                requires_grad=parameter.requires_grad,
                n_none=row.n_none,
                n_zero=int(row.n_zero),
                stats=row.totals.stats() if row.totals is not None else None,
            )
        )
    return rows


def _outputs(model: nn.Module, outputs: dict[str, RunningTotals], order: dict[str, int]) -> list[OutputGradientRow]:
    modules = dict(model.named_modules())
    known = sorted((n for n in outputs if n in order), key=lambda n: order[n])
    return [
        OutputGradientRow(name=n, kind=kind_of(modules[n]), order=order[n], stats=outputs[n].stats()) for n in known
    ]
