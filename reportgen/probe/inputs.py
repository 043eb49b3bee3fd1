"""What the model is fed: the first batch, where the others come from, and the device they are on."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from ..errors import DataError, ForwardError, OptionError, ReportgenError, one_line
from ..options import Options
from ..subject.data import Batch, batches, device_of, needs_no_input, synthetic
from . import forward
from .layers import kind_of, where_it_failed

Inputs = Literal["real", "synthetic", "none"]


def first_pass(
    model: nn.Module, data: Iterable[Any] | None, example: Batch | None, options: Options
) -> tuple[Batch | None, Iterator[Batch], Inputs, forward.ForwardPass | None]:
    """Return the first batch, the others, whether they are real, and what the model did with the first.

    ``data`` go before the input size of the options, and that before ``example``, inputs that the model brings along.
    Raises DataError when no batch can be had, ForwardError when the model refuses the first one.
    """
    if data is not None:
        real = guarded(batches(data, model, device_of(model), options.max_batches))
        first = next(real)
        return first, real, "real", _observed(model, first)
    if options.input_size is not None:
        made, seen = _synthetic(model, options.input_size, options)
        return made[0], iter(made[1:]), "synthetic", seen
    if example is None and needs_no_input(model):
        example = Batch(())
    if example is not None:
        return example, iter(()), "synthetic", _observed(model, example)
    return None, iter(()), "none", None


def _synthetic(model: nn.Module, size: Sequence[int], options: Options) -> tuple[list[Batch], forward.ForwardPass]:
    """Make noise of the size of one sample; a size that holds the batch dimension is understood too."""
    try:
        made = synthetic(model, size, options.batch_size, options.seed)
    except RuntimeError as error:
        raise DataError(
            f"Cannot make inputs of size {tuple(size)}: {one_line(error)}.", hint="Give a smaller size."
        ) from error
    try:
        return made, _observed(model, made[0])
    except ForwardError as refusal:
        if len(size) < 2:
            raise
        made = synthetic(model, size[1:], size[0], options.seed)
        try:
            return made, _observed(model, made[0])
        except ForwardError:
            raise refusal from None


def _observed(model: nn.Module, batch: Batch) -> forward.ForwardPass:
    """Run the model on the first batch: the trial whether it runs at all is the pass that shows its structure."""
    try:
        return forward.observe(model, batch)
    except Exception as error:
        place = where_it_failed(error.__traceback__, model)
        where = f" in layer {place!r} ({kind_of(model.get_submodule(place))})" if place else ""
        shape = f"an input of shape {tuple(batch.first.shape)}" if batch.first is not None else "a call without tensors"
        raise ForwardError(
            f"The model refused {shape}{where}: {one_line(error)}",
            hint="Check the input size, or what the loader yields.",
        ) from error


def guarded(source: Iterator[Batch]) -> Iterator[Batch]:
    """Turn what a user's loader raises into an error that names the loader."""
    try:
        yield from source
    except ReportgenError:
        raise
    except Exception as error:
        raise DataError(
            f"The data loader raised {one_line(error)}.", hint="Iterate over it alone to see where."
        ) from error


def on_device(model: nn.Module, options: Options) -> nn.Module:
    """Return the model, or a copy where it must run on another device: the caller's model is not moved."""
    if options.device is None:
        return model
    try:
        device = torch.device(options.device)
        return model if device == device_of(model) else copy.deepcopy(model).to(device)
    except (RuntimeError, AssertionError, ImportError) as error:  # a torch built without the device asserts or imports
        raise OptionError(f"Cannot use device {options.device!r}: {one_line(error)}.") from error
