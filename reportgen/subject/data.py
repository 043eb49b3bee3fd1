"""Loaders, and input sizes, as batches.

A loader may yield a tensor; ``(input, target)``; ``(args..., target)``; or a dict, whose target is the entry named
``labels``, ``label``, ``targets``, ``target`` or ``y``, and whose other entries are keyword arguments of the model.
Where none has such a name, and the model knows some entries by theirs, those that it does not know are its targets. A
dataclass or a packed sequence is one argument; an empty tuple is a call without any. A model whose forward asks for the
target is given it too.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..errors import DataError, TargetError
from .model import call_target, resolve
from .samples import loader_of
from .shapes import n_rows
from .signature import TARGET_KEYS, Signature, signature_of

Feed = Literal["asked", "named", "entry", "alone"]
"""When a model is handed the target too: where its forward cannot do without, wherever it has a place for it, or as an
entry of the dict that it takes. Alone: the only tensor of a dict is handed over without its name."""


@dataclass(frozen=True)
class Batch:
    """Arguments of one call of the model, and the target if there is one."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Any = None
    fed_as: str | None = None
    """The argument as which the model is handed the target too; it is no input."""
    fed_inside: bool = False
    """That argument is an entry of the dict which is the only input."""
    carried: dict[str, Any] = field(default_factory=dict)
    """What the batch holds of its samples beside inputs and targets: a column each, not handed to the model."""
    target_name: str = ""
    """Of the target, in a dict with entries beside it that may be targets too."""
    copied: bool = False
    """The model writes into its input, so each call is handed a copy."""
    recorded: bool = False
    """The model differentiates inside its forward pass, so it runs only while a graph is recorded."""

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the model is called with."""
        if self.fed_as is None:
            return self.args, self.kwargs
        if self.fed_inside:
            return ({**self.args[0], self.fed_as: self.target},), self.kwargs
        return self.args, {**self.kwargs, self.fed_as: self.target}

    @property
    def first(self) -> Tensor | None:
        """The first tensor among the arguments."""
        return next(tensors((self.args, self.kwargs)), None)

    @property
    def n_samples(self) -> int:
        """Length of the first dimension of the first tensor (1 for a scalar, 0 when there is none).

        That of a packed sequence is the number of its sequences.
        """
        packed = next((a for a in (*self.args, *self.kwargs.values()) if isinstance(a, PackedSequence)), None)
        if packed is not None and self.first is packed.data:
            return int(packed.batch_sizes[0])
        return 0 if self.first is None else n_rows(self.first)

    def fresh(self) -> Batch:
        """Return the same with copies of the inputs, for one call."""
        args, kwargs = _each((self.args, self.kwargs), Tensor.clone)
        return replace(self, args=args, kwargs=kwargs, copied=False)

    @property
    def is_empty(self) -> bool:
        """There are tensors, and not one number in them."""
        return self.first is not None and not any(t.numel() for t in tensors((self.args, self.kwargs)))


@dataclass
class Reading:
    """How batches are read off a loader, and what came of it."""

    feed: Feed = "asked"
    carried: tuple[str, ...] = ()
    """Entries of a batch that describe its samples: kept beside, and not handed to the model."""
    heads: tuple[str, ...] = ()
    """Entries that are outputs of the model too, and so targets beside the one that has a name of targets."""
    written: bool = False
    """The model writes into its input."""
    recorded: bool = False
    """The model differentiates inside its forward pass."""
    empty: int = 0
    """Batches without samples, which were left out."""
    remarks: list[str] = field(default_factory=list)

    def again(self) -> Reading:
        """Return how other data of the same model are read."""
        return Reading(self.feed, self.carried, self.heads, self.written, self.recorded)

    def told(self) -> list[str]:
        """Say what a reader should know about how the data were read."""
        left_out = f"{self.empty} empty batch{'es' * (self.empty > 1)} left out"
        return self.remarks + ([left_out] if self.empty else [])


def load_data(target: str) -> Iterable[Any]:
    """Return the loader that an import target names, or that the function it names makes."""
    found = resolve(target)
    if callable(found) and not isinstance(found, Iterable):
        found = call_target(found, target)
    if isinstance(found, Iterable):
        return found
    raise TargetError(
        f"{target!r} is {type(found).__name__}, which cannot be iterated.",
        hint="Expected a DataLoader or another iterable of batches, or a function that returns one.",
    )


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, dicts, mappings and dataclasses, in their order.

    Of any other object those that are its attributes, as the images of a detector are.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data  # the other tensors in it say where sequences end
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from tensors(getattr(value, name))
    elif hasattr(value, "__dict__") and not callable(value):
        yield from (item for item in vars(value).values() if isinstance(item, Tensor))


def move(value: Any, device: torch.device) -> Any:
    """Return the same nesting with every tensor on ``device``."""
    # an input that asks for a gradient must not be given one here
    return _each(value, lambda tensor: tensor.detach().to(device))


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the same nesting with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, PackedSequence):
        order = (None if index is None else change(index) for index in value[2:])
        return PackedSequence(change(value.data), value.batch_sizes, *order)
    if type(value) is dict:
        return {key: _each(item, change) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Mapping)):
        copied = copy.copy(value)
        for name in value.__dataclass_fields__:
            object.__setattr__(copied, name, _each(getattr(value, name), change))  # a frozen one has no other way
        return copied
    if isinstance(value, MutableMapping):
        mapping = copy.copy(value)  # keeps its class, as a model may ask for attributes of it
        for key in list(value):
            mapping[key] = _each(value[key], change)
        return mapping
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_each(item, change) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_each(item, change) for item in value)
    return value


def unpack(
    item: Any,
    forward: Signature | None = None,
    feed: Feed = "asked",
    carried: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Batch:
    """Turn what a loader yields into the arguments of a call and a target.

    ``forward``: what the model asks for; None when it takes anything. A dict whose keys the model does not know is
    handed over as one argument, unless it holds all that the model cannot do without: entries that are no tensors then
    describe the samples. ``carried`` names entries that do so anyway, or in a dict behind ``(input, target)``;
    ``heads`` those that are targets all the same.
    """
    forward = forward or Signature()
    item, aside = _set_aside(item, forward, carried)
    batch = _unpacked(item, forward, feed)
    batch = replace(batch, carried=batch.carried | aside) if aside else batch
    return with_heads(batch, heads) if heads else batch


def with_heads(batch: Batch, heads: Sequence[str]) -> Batch:
    """Take targets out of what a batch carries, beside the one that it has."""
    kept = {name: column for name, column in batch.carried.items() if name not in heads}
    targets = {batch.target_name: batch.target} | {name: batch.carried[name] for name in heads if name in batch.carried}
    return replace(batch, target=targets, carried=kept)


def _set_aside(item: Any, forward: Signature, carried: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Take out of a batch what describes its samples."""
    if isinstance(item, Mapping):
        names = forward.names
        whole = names is not None and bool(forward.needed) and set(forward.needed) <= set(item)
        words = {
            key
            for key, value in item.items()
            if whole and key not in (names or ()) and next(tensors(value), None) is None
        }
        aside = (words | {key for key in item if key in carried}) - set(TARGET_KEYS)
        if aside and aside < set(item):
            return {k: v for k, v in item.items() if k not in aside}, {str(k): item[k] for k in item if k in aside}
    elif isinstance(item, (list, tuple)) and len(item) > 2 and isinstance(item[-1], Mapping):
        found = {str(key): item[-1][key] for key in item[-1] if key in carried}
        if found:
            return tuple(item[:-1]), found
    return item, {}


def _unpacked(item: Any, forward: Signature, feed: Feed) -> Batch:
    if isinstance(item, (Tensor, PackedSequence)):
        return Batch((item,))
    if dataclasses.is_dataclass(item) and not isinstance(item, (type, Mapping)):
        return Batch((item,), {}, next((getattr(item, key) for key in TARGET_KEYS if hasattr(item, key)), None))
    if isinstance(item, tuple) and not item:
        return Batch(())  # of a model that takes no input
    if isinstance(item, Mapping):
        return _unpack_mapping(item, forward, feed)
    if isinstance(item, (list, tuple)) and item:
        if len(item) == 1:
            # alone in a tuple: a list there is one argument, such as the images of a detector
            return Batch((item[0],)) if isinstance(item[0], (list, tuple)) else _unpacked(item[0], forward, feed)
        return _unpack_sequence(item, forward, feed)
    raise DataError(
        f"The loader yielded {type(item).__name__}, which is no batch.",
        hint="Expected a tensor, (input, target), (args..., target) or a dict of tensors.",
    )


def _unpack_mapping(item: Mapping[Any, Any], forward: Signature, feed: Feed) -> Batch:
    key = next((key for key in TARGET_KEYS if key in item), None)
    target = None if key is None else item[key]
    kwargs = {str(name): value for name, value in item.items() if name not in TARGET_KEYS}
    beside = _unknown(kwargs, forward)
    if beside:
        kwargs = {name: value for name, value in kwargs.items() if name not in beside}
        if key is None:
            return Batch((), kwargs, next(iter(beside.values())) if len(beside) == 1 else beside)
    elif forward.names is not None and not set(kwargs) <= forward.names:
        if feed == "alone" and (only := [name for name, value in kwargs.items() if isinstance(value, Tensor)]):
            words = {name: value for name, value in kwargs.items() if name != only[0]}
            return Batch((kwargs[only[0]],), {}, target, carried=words)
        inside = key is not None and feed == "entry"
        return Batch((kwargs if key is not None else dict(item),), {}, target, key if inside else None, inside)
    fed = key is not None and key == forward.target and (forward.needs_target or feed == "named")
    return Batch((), kwargs, target, key if fed else None, carried=beside, target_name=key or "")


def _unknown(kwargs: dict[str, Any], forward: Signature) -> dict[str, Any]:
    """Return the entries that forward has no name for, if it has one for others and these hold one row a sample."""
    needed = set(forward.needed) - set(TARGET_KEYS)
    if forward.names is None or not needed or not needed <= set(kwargs):
        return {}
    unknown = {name: value for name, value in kwargs.items() if name not in forward.names}
    first = next(tensors([kwargs[name] for name in kwargs if name not in unknown]), None)
    rows = 0 if first is None else n_rows(first)
    by_sample = all(isinstance(value, Tensor) and value.dim() and len(value) == rows for value in unknown.values())
    return unknown if by_sample else {}


def _unpack_sequence(item: Sequence[Any], forward: Signature, feed: Feed) -> Batch:
    """Take the last item as the target, unless forward needs as many arguments as there are items."""
    key = forward.target
    if len(forward.needed) == len(item) and forward.needed == forward.order[: len(item)]:
        if key is None or key not in forward.needed:
            return Batch(tuple(item))
        at = forward.needed.index(key)
        behind = dict(zip(forward.needed[at + 1 :], item[at + 1 :], strict=True))
        return Batch(tuple(item[:at]), behind, item[at], key)
    free = key not in forward.order[: len(item) - 1]
    fed = free and (forward.needs_target or feed == "named")
    return Batch(tuple(item[:-1]), {}, item[-1], key if fed else None)


def batches(
    data: Iterable[Any],
    model: nn.Module,
    device: torch.device,
    limit: int | None = None,
    reading: Reading | None = None,
) -> Iterator[Batch]:
    """Read batches off a loader, at most ``limit``, on the model's device.

    Raises DataError when ``data`` cannot be iterated, yields nothing, or yields something that is no batch. A single
    tensor, dict or (input, target) pair of tensors is one batch, not a sequence of them; the samples of a Dataset are
    put together to batches. Batches without samples are left out.
    """
    reading = Reading() if reading is None else reading
    if isinstance(data, (Tensor, Mapping)) or _is_single(data):
        data = [data]
    data = loader_of(data, reading.remarks)
    try:
        iterator = iter(data)
    except TypeError:
        raise DataError(
            f"The data are {type(data).__name__}, which cannot be iterated.",
            hint="Expected a DataLoader or another iterable of batches.",
        ) from None
    forward, seen = signature_of(model), 0
    for item in islice(iterator, limit):
        batch = unpack(item, forward, reading.feed, reading.carried, reading.heads)
        if batch.is_empty:
            reading.empty += 1
            continue
        seen += 1
        yield replace(
            batch,
            args=move(batch.args, device),
            kwargs=move(batch.kwargs, device),
            target=move(batch.target, device),
            copied=reading.written,
            recorded=reading.recorded,
        )
    if not seen:
        raise DataError(
            "The loader yielded only empty batches." if reading.empty else "The loader yielded no batch.",
            hint="Check that its data set is not empty, and that drop_last does not drop the only batch.",
        )


def _is_single(data: Any) -> bool:
    """Tell whether data is itself one (input, target) batch: a tuple of two tensors of the same length."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and all(isinstance(part, Tensor) and part.dim() for part in data)
        and len(data[0]) == len(data[1])
    )


def synthetic(model: nn.Module, size: Sequence[int], batch_size: int, seed: int) -> list[Batch]:
    """Make two batches of standard normal noise for one sample of shape ``size``, without the batch dimension.

    A model that begins with an embedding gets integers below its number of rows.
    """
    if not size or any(n < 1 for n in size):
        raise DataError(
            f"Input size {tuple(size)} has no meaning.", hint="Expected positive numbers such as 3,224,224."
        )
    generator = torch.Generator().manual_seed(seed)
    dtype = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
    device = device_of(model)
    leaf = next((m for m in model.modules() if not any(m.children()) and next(m.parameters(), None) is not None), None)

    def sample() -> Tensor:
        if isinstance(leaf, (nn.Embedding, nn.EmbeddingBag)):
            return torch.randint(leaf.num_embeddings, (batch_size, *size), generator=generator)
        return torch.randn(batch_size, *size, generator=generator).to(dtype)

    return [Batch((sample().to(device),)) for _ in range(2)]


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter or buffer; the CPU when it has neither."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def call(model: nn.Module, batch: Batch) -> Any:
    """Run the model on one batch."""
    args, kwargs = (batch.fresh() if batch.copied else batch).arguments()
    if not batch.recorded or torch.is_grad_enabled():
        return model(*args, **kwargs)
    with torch.enable_grad():
        return _each(model(*args, **kwargs), Tensor.detach)
