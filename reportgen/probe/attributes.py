"""What modules keep beside parameters and buffers: tensors, lists, dicts, arrays and generators among their attributes.

A forward pass may count in a list, cache in a dict or write into a tensor that nobody registered. Kept are the names of
all attributes, what they refer to, and the contents of plain containers two levels deep. Tensors and arrays are copied
as long as ``BYTES`` in all suffice and containers as long as ``ITEMS`` do; namespaces and dataclasses count as dicts.
Of a tensor beyond that it is still known whether it was written to. Objects of other classes are not looked into.
"""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from itertools import chain
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..subject.shapes import own_part

BYTES = 1 << 28
ITEMS = 100_000
_DEPTH = 2
_TABLES = frozenset(vars(nn.Module()))
"""What nn.Module keeps for itself: hooks, parameters, children; the guard looks after those."""
_SEQUENCES, _TABLE_TYPES = (list, deque), (dict, OrderedDict, defaultdict)


def is_lazy(tensor: object) -> bool:
    """Tell whether a parameter or buffer has no shape yet."""
    return isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer))


def is_open(module: nn.Module) -> bool:
    """Tell whether a module's attributes may be put back: TorchScript has none, a lazy module sets its own for good."""
    return not isinstance(module, torch.jit.ScriptModule) and not any(map(is_lazy, module._parameters.values()))


def with_hidden(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model, and those that hide from it in plain lists and dicts of its modules."""
    found = {id(module): module for module in model.modules()}
    waiting = list(found.values())
    while waiting:
        module = waiting.pop()
        for value in _own(module).values():
            for inner in _inside(value, _DEPTH):
                if isinstance(inner, nn.Module):
                    new = [m for m in inner.modules() if id(m) not in found]
                    found |= {id(m): m for m in new}
                    waiting += new
    return list(found.values())


def hidden_leaves(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the tensors that take a gradient and are attributes, or lie in a list or dict that is one."""
    return [t for t in _hidden(modules) if t.requires_grad and t.is_leaf]


def hidden_results(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the tensors among such that were computed of others: a parameter that was converted where it was made."""
    return [t for t in _hidden(modules) if not t.is_leaf]


def _hidden(modules: Iterable[nn.Module]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    for module in modules:
        for value in _own(module).values():
            for item in chain((value,), _inside(value, _DEPTH)):
                if isinstance(item, Tensor):
                    found[id(item)] = item
    return list(found.values())


class Attributes:
    """The attributes of modules as they were; ``restore`` puts them back."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._bytes, self._items = BYTES, ITEMS
        self._own = [(module, _own(module)) for module in modules if is_open(module)]
        self._undo: dict[int, tuple[object, Callable[[], bool]]] = {}
        self._name: dict[int, str] = {}
        for module, own in self._own:
            for name, value in own.items():
                self._keep(f"{type(module).__name__}.{name}", value, _DEPTH)

    def _keep(self, name: str, value: object, depth: int) -> None:
        if id(value) in self._undo or isinstance(value, nn.Module):
            return
        undo = self._undo_of(value)
        if undo is None:
            return
        self._undo[id(value)], self._name[id(value)] = (value, undo), name
        if depth:
            for inner in _items(value):
                self._keep(name, inner, depth - 1)

    def _undo_of(self, value: Any) -> Callable[[], bool] | None:
        """Return what puts a value back and tells whether it could; None for one that nothing can change."""
        if isinstance(value, Tensor):
            return self._undo_tensor(value)
        opened = _opened(value)
        if _is_container(opened):
            if len(opened) > self._items:
                return None
            self._items -= len(opened)
            return _undo_container(opened)
        if isinstance(value, torch.Generator):
            state = value.get_state()
            return lambda: _done(value.set_state(state))
        if isinstance(value, random.Random):
            return _undo_random(value)
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        if isinstance(value, numpy.random.RandomState):
            drawn = value.get_state()
            return lambda: _done(value.set_state(drawn))
        if isinstance(value, numpy.random.Generator):
            return _undo_numpy(value.bit_generator)
        if isinstance(value, numpy.ndarray) and value.dtype != object and self._fits(value.nbytes):
            copy = value.copy()
            return lambda: _done(numpy.copyto(value, copy) if value.flags.writeable else None)
        return None

    def _undo_tensor(self, value: Tensor) -> Callable[[], bool] | None:
        if is_lazy(value) or value.is_meta:
            return None
        before = None if value.is_inference() else value._version
        plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and not value.is_nested
        if plain and self._fits(value.numel() * value.element_size()):
            copy = value.detach().clone()
            return lambda: _put_back(value, copy)
        return lambda: before is None or value._version == before

    def _fits(self, size: int) -> bool:
        if size > self._bytes:
            return False
        self._bytes -= size
        return True

    def restore(self) -> list[str]:
        """Put everything back; return the names of what was changed and could not be."""
        for module, own in self._own:
            table = vars(module)
            for name in [name for name in table if name not in own and name not in _TABLES]:
                del table[name]
            table.update({name: value for name, value in own.items() if table.get(name, self) is not value})
        return [self._name[key] for key, (_, undo) in self._undo.items() if not _tried(undo)]


def _own(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    return {name: value for name, value in vars(module).items() if name not in _TABLES}


def _is_container(value: object) -> bool:
    return type(value) in (*_SEQUENCES, *_TABLE_TYPES, set)


def _opened(value: Any) -> Any:
    """Return the attributes of a namespace or a dataclass as the dict that they are; all else as it is."""
    if isinstance(value, SimpleNamespace) or (is_dataclass(value) and not isinstance(value, type)):
        return getattr(value, "__dict__", value)
    return value


def _items(value: Any) -> Iterator[Any]:
    value = _opened(value)
    if _is_container(value) or type(value) is tuple:
        items = value.values() if isinstance(value, dict) else value
        if len(items) <= ITEMS:
            yield from items


def _inside(value: object, depth: int) -> Iterator[Any]:
    if depth:
        for item in _items(value):
            yield item
            yield from _inside(item, depth - 1)


def _undo_random(value: random.Random) -> Callable[[], bool]:
    drawn = value.getstate()

    def restore() -> bool:
        value.setstate(drawn)
        return True

    return restore


def _undo_numpy(bits: Any) -> Callable[[], bool]:
    drawn = bits.state

    def restore() -> bool:
        bits.state = drawn
        return True

    return restore


def _undo_container(value: Any) -> Callable[[], bool]:
    """Keep the references in a container, and write them back only where they differ."""
    if isinstance(value, dict):
        table = dict(value)

        def restore_table() -> bool:
            if list(value) != list(table) or any(value[key] is not item for key, item in table.items()):
                value.clear()
                value.update(table)
            return True

        return restore_table
    held = list(value)

    def restore() -> bool:
        if len(value) != len(held) or any(a is not b for a, b in zip(value, held, strict=True)):
            value.clear()
            value.update(held) if isinstance(value, set) else value.extend(held)
        return True

    return restore


def _put_back(tensor: Tensor, copy: Tensor) -> bool:
    if same(tensor.detach(), copy):
        return True
    if tensor.shape != copy.shape:
        return False
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        tensor.copy_(copy)
    return True


def same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors hold the same bits (NaN equals NaN), so that an untouched one is not written."""
    a, b = own_part(a), own_part(b)
    if a.is_nested or a.shape != b.shape or a.dtype != b.dtype or a.layout != torch.strided:
        return False
    return bool(torch.equal(a.contiguous().flatten().view(torch.uint8), b.contiguous().flatten().view(torch.uint8)))


def _done(_: object) -> bool:
    return True


def _tried(undo: Callable[[], bool]) -> bool:
    try:
        return undo()
    except Exception:  # a tensor of an odd kind, or one that was freed or shrunk: told by name
        return False
