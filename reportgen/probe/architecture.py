"""Structure and size: the tree of modules with parameters, bytes, shapes, calls and work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ..document.facts import ArchitectureFacts, LayerRow
from .attributes import is_lazy
from .forward import ForwardPass, ModulePass
from .layers import holds_weights, kind_of
from .memory import nbytes, storage_of

_KEPT = ("running_mean", "running_var", "num_batches_tracked")


def measure(model: nn.Module, seen: ForwardPass | None) -> ArchitectureFacts:
    """Count what the model holds, and add what a forward pass told; without one the static part stands."""
    ledger = _Ledger()
    parameters = [p for p in model.parameters() if not is_lazy(p)]
    buffers = [b for b in model.buffers() if not is_lazy(b)]
    rows = [_row(name, module, ledger, seen) for name, module in model.named_modules()]
    if seen is not None:
        used = _used(model, seen)
        rows = [replace(row, used=used[row.name]) for row in rows]
    return ArchitectureFacts(
        rows=rows,
        parameters=sum(row.parameters for row in rows),
        trainable=sum(row.trainable for row in rows),
        buffers=sum(b.numel() for b in buffers),
        parameter_bytes=sum(row.parameter_bytes or 0 for row in rows),
        buffer_bytes=sum(nbytes(b) for b in buffers),
        gradient_bytes=sum(row.gradient_bytes or 0 for row in rows),
        packed=sum(row.packed for row in rows),
        packed_bytes=sum(row.packed_bytes for row in rows),
        dtypes=_dtypes(parameters),
        tied=_tied(model),
        batch_size=None if seen is None else seen.n_samples,
        flops=None if seen is None else seen.flops,
        mult_adds=None if seen is None else seen.mult_adds,
        activation_bytes=None if seen is None else sum(row.output_bytes or 0 for row in rows if row.is_leaf),
        peak_bytes=None if seen is None else seen.peak_bytes,
        peak_at=None if seen is None or seen.peak_bytes is None else seen.peak_at,
        uncounted=[] if seen is None else seen.uncounted,
        flow=None if seen is None else seen.flow,
    )


def of_tensors(tensors: Mapping[str, Tensor]) -> ArchitectureFacts:
    """Count the tensors of a bare file; it has no modules. Running statistics are told from parameters by name.

    They are looked at one at a time. Where all are there at once, memory that several share counts once.
    """
    n = n_bytes = buffers = buffer_bytes = 0
    dtypes: dict[str, int] = {}
    ledger = _Ledger() if isinstance(tensors, dict) else None  # of others, memory is used again
    for name, tensor in tensors.items():
        if name.rpartition(".")[2] in _KEPT:
            buffers, buffer_bytes = buffers + tensor.numel(), buffer_bytes + tensor.numel() * tensor.element_size()
            continue
        size = ledger.new_elements(tensor) if ledger is not None else tensor.numel()
        n, n_bytes = n + size, n_bytes + size * tensor.element_size()
        key = str(tensor.dtype).removeprefix("torch.")
        dtypes[key] = dtypes.get(key, 0) + size
    return ArchitectureFacts(
        rows=[],
        parameters=n,
        trainable=None,
        buffers=buffers,
        parameter_bytes=n_bytes,
        buffer_bytes=buffer_bytes,
        dtypes=dtypes,
    )


class _Ledger:
    """Counts every element of memory once: a tied tensor, or a view of one, adds nothing where it comes again."""

    def __init__(self) -> None:
        self._dense: dict[int, list[tuple[int, int]]] = {}  # storage -> bytes from, to; disjoint
        self._scattered: set[tuple[object, ...]] = set()

    def new_elements(self, tensor: Tensor) -> int:
        """Return how many elements no tensor had before, and take them."""
        storage, size = storage_of(tensor), tensor.element_size()
        if storage is None:
            return self._once(tensor, (id(tensor),))
        first = int(tensor.storage_offset()) * size
        last = first + size + size * int(sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)))
        if last - first != tensor.numel() * size:  # has holes, or says the same element twice: only itself is known
            return self._once(tensor, (storage._cdata, first, tensor.shape, tensor.stride()))
        taken = self._dense.setdefault(storage._cdata, [])
        free = last - first - sum(_overlap(first, last, *other) for other in taken)
        taken += _gaps(first, last, taken)
        return free // size

    def _once(self, tensor: Tensor, key: tuple[object, ...]) -> int:
        known = key in self._scattered
        self._scattered.add(key)
        return 0 if known else tensor.numel()


def _overlap(a: int, b: int, c: int, d: int) -> int:
    return max(0, min(b, d) - max(a, c))


def _gaps(first: int, last: int, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of an interval that no taken one covers; the taken ones are disjoint."""
    gaps, at = [], first
    for begin, end in sorted(taken):
        if end <= first or begin >= last:
            continue
        if begin > at:
            gaps.append((at, begin))
        at = max(at, end)
    if at < last:
        gaps.append((at, last))
    return gaps


def _row(name: str, module: nn.Module, ledger: _Ledger, seen: ForwardPass | None) -> LayerRow:
    own = [p for p in module._parameters.values() if p is not None and not is_lazy(p)]
    new = [(p, ledger.new_elements(p)) for p in own]
    packed = list(_packed(module))
    row = LayerRow(
        name=name,
        kind=kind_of(module),
        depth=name.count(".") + 1 if name else 0,
        is_leaf=not any(True for _ in module.children()),
        parameters=sum(n for _, n in new),
        trainable=sum(n for p, n in new if p.requires_grad),
        parameter_bytes=sum(_bytes(p, n) for p, n in new),
        gradient_bytes=sum(_bytes(p, n) for p, n in new if p.requires_grad),
        packed=sum(t.numel() for t in packed),
        packed_bytes=sum(nbytes(t) for t in packed),
    )
    return row if seen is None else _with_pass(row, seen.modules.get(name, ModulePass()), seen)


def _with_pass(row: LayerRow, told: ModulePass, seen: ForwardPass) -> LayerRow:
    return replace(
        row,
        input_shape=told.input_shape,
        output_shape=told.output_shape,
        calls=told.calls,
        flops=told.flops if seen.flops is not None else None,
        mult_adds=told.mult_adds,
        output_bytes=told.output_bytes,
    )


def _used(model: nn.Module, seen: ForwardPass) -> dict[str, bool]:
    """Tell of each module whether it took part: called, its parameters read, or something inside it did."""
    used: dict[str, bool] = {}
    for name, module in reversed(list(model.named_modules())):
        called = name in seen.modules and seen.modules[name].calls > 0
        read = any(id(p) in seen.read for p in module._parameters.values() if p is not None)
        used[name] = used.get(name, False) or called or read
        parent, dot, _ = name.rpartition(".")
        if used[name] and (dot or name):
            used[parent] = True
    for name, module in model.named_modules():
        if holds_weights(module):  # nothing flows there: it is used with its owner
            used[name] = used[name.rpartition(".")[0]]
    return used


def _bytes(parameter: Tensor, n: int) -> int:
    return nbytes(parameter) if n == parameter.numel() else n * parameter.element_size()


def _packed(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a quantised module has packed away, where PyTorch counts no parameters."""
    for name in ("_packed_params", "param"):
        holder = vars(module).get(name)
        if isinstance(holder, torch.ScriptObject):
            try:
                yield from (t for t in _unpacked(holder) if isinstance(t, Tensor))
            except RuntimeError:  # a backend that cannot unpack its own
                return


def _unpacked(holder: Any) -> Iterator[Any]:
    if hasattr(holder, "unpack"):
        yield from holder.unpack()
    elif hasattr(holder, "__getstate__"):
        yield from _flat(holder.__getstate__())


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, torch.ScriptObject):
        yield from _unpacked(value)
    else:
        yield value


def _dtypes(tensors: Iterable[Tensor]) -> dict[str, int]:
    table: dict[str, int] = {}
    for tensor in tensors:
        key = str(tensor.dtype).removeprefix("torch.")
        table[key] = table.get(key, 0) + tensor.numel()
    return table


def _tied(model: nn.Module) -> list[list[str]]:
    """Group the names of parameters that are one object, or lie in the very same memory."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        storage = None if is_lazy(parameter) or not parameter.numel() else storage_of(parameter)
        place: tuple[int, ...] = (id(parameter),)
        if storage is not None:
            place = (storage._cdata, int(parameter.storage_offset()), parameter.numel())
        groups.setdefault(place, []).append(name)
    return [group for group in groups.values() if len(group) > 1]
