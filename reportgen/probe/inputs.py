"""What the model is fed: the first batch, where the others come from, and the device they are on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import DataError, ForwardError, ReportgenError, one_line
from ..options import Options
from ..subject.data import Batch, Reading, batches, device_of, synthetic, tensors, with_heads
from ..subject.shapes import sizes
from ..subject.signature import TARGET_KEYS, signature_of
from . import forward
from .guard import parts_kept
from .layers import kind_of, where_it_failed

Inputs = Literal["real", "synthetic", "none"]


def first_pass(
    model: nn.Module, data: Iterable[Any] | None, example: Batch | None, options: Options, reading: Reading
) -> tuple[Batch | None, Iterator[Batch], Inputs, forward.ForwardPass | None]:
    """Return the first batch, the others, whether they are real, and what the model did with the first.

    ``data`` go before the input size of the options, and that before ``example``, inputs that the model brings along.
    ``reading`` says whether the model is handed the targets too; it is changed where that proves wrong. Raises
    DataError when no batch can be had, ForwardError when the model refuses the first one.
    """
    if data is not None:
        return _real(model, data, options, reading)
    if options.input_size is not None:
        made, seen = _synthetic(model, options.input_size, options)
        made = [_as_it_runs(batch, seen) for batch in made]
        return made[0], iter(made[1:]), "synthetic", seen
    if example is None and signature_of(model).empty:
        example = Batch(())
    if example is not None:
        seen = _observed(model, example)
        return _as_it_runs(example, seen), iter(()), "synthetic", seen
    return None, iter(()), "none", None


def _real(
    model: nn.Module, data: Iterable[Any], options: Options, reading: Reading
) -> tuple[Batch, Iterator[Batch], Inputs, forward.ForwardPass]:
    read = guarded(batches(data, model, device_of(model), options.max_batches, reading))
    first, seen = _run_somehow(model, next(read), reading, attention=bool(options.pictures))
    first = _as_it_runs(first, seen)
    reading.written, reading.recorded = first.copied, first.recorded
    if seen.writes and not seen.recorded:
        reading.remarks.append("the model writes into its input, so it is handed copies")
    return first, read, "real", seen


def _as_it_runs(batch: Batch, seen: forward.ForwardPass) -> Batch:
    """Return a batch that may be handed to the model again and again."""
    return replace(batch, copied=seen.writes or seen.recorded, recorded=seen.recorded)


def _run_somehow(
    model: nn.Module, first: Batch, reading: Reading, *, attention: bool
) -> tuple[Batch, forward.ForwardPass]:
    """Run the model on the first batch, with the target handed to it or not, as it will have it."""
    needed = signature_of(model).needed
    try:
        seen = _observed(model, first, attention=attention)
    except ForwardError as refusal:
        other = _fed_otherwise(first, refusal, needed, reading)
        if other is None:
            raise
        try:
            return other, _observed(model, other, attention=attention)
        except ForwardError:
            raise refusal from refusal.__cause__
    if first.fed_as is None or first.fed_as in needed or seen.own_loss:
        return _with_heads(first, seen, reading), seen
    # it takes an argument of that name, but makes no loss of it: a condition, say
    reading.feed, first = "asked", replace(first, fed_as=None)
    return first, _observed(model, first, attention=attention)


def _fed_otherwise(first: Batch, refusal: ForwardError, needed: tuple[str, ...], reading: Reading) -> Batch | None:
    """Return the first batch with the target where the model did not find it, or taken from where it need not be."""
    cause = refusal.__cause__
    missed = cause.args[0] if isinstance(cause, KeyError) and cause.args else None
    if missed in TARGET_KEYS and first.target is not None and len(first.args) == 1 and type(first.args[0]) is dict:
        reading.feed = "entry"
        return replace(first, fed_as=str(missed), fed_inside=True)
    if first.fed_as is not None and first.fed_as not in needed:
        reading.feed = "asked"
        return replace(first, fed_as=None)
    if len(first.args) == 1 and type(first.args[0]) is dict and len(list(tensors(first.args))) == 1:
        reading.feed = "alone"
        words = {key: value for key, value in first.args[0].items() if not isinstance(value, Tensor)}
        return replace(first, args=tuple(tensors(first.args)), carried=first.carried | words)
    return None


def _with_heads(first: Batch, seen: forward.ForwardPass, reading: Reading) -> Batch:
    """Take as targets what the model did not ask for and gives an output of the same name."""
    reading.heads = tuple(key for key in first.carried if key in seen.outputs and first.target_name)
    return with_heads(first, reading.heads) if reading.heads else first


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


def _observed(model: nn.Module, batch: Batch, *, attention: bool = False) -> forward.ForwardPass:
    """Run the model on the first batch: the trial whether it runs at all is the pass that shows its structure."""
    try:
        with parts_kept(model):  # what is counted afterwards is the model that was given
            return forward.observe(model, batch, attention=attention)
    except Exception as error:
        place = where_it_failed(error.__traceback__, model)
        where = f" in layer {place!r} ({kind_of(dict(model.named_modules())[place])})" if place else ""
        shape = f"an input of shape {_shape(batch.first)}" if batch.first is not None else "a call without tensors"
        raise ForwardError(
            f"The model refused {shape}{where}: {one_line(error)}",
            hint="Check the input size, or what the loader yields.",
        ) from error


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, sizes(tensor)))}{',' * (tensor.dim() == 1)})"


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
