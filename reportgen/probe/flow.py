"""Data flow between the layers of a model, seen in one forward pass.

Every piece of memory remembers which layer's output it holds. Hooks tell which layer is running, a dispatch mode shows
every operator with its tensors, and what an operator makes comes from where its arguments came from. An operator
outside of all layers that joins the outputs of several (an addition, a concatenation, attention), or reads parameters,
becomes a node itself, so that memory has one source. Views and writes in place need no care: they are the same memory.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from msgspec.structs import replace
from torch import Tensor, nn

from ..document.flow import FlowEdge, FlowFacts, FlowGroup, FlowNode, Way
from ..errors import one_line
from ..subject.data import tensors
from ..subject.shapes import shape_of
from .attributes import is_lazy
from .layers import holds_weights, passes_on
from .memory import storage_of

MAX_NODES = 2500
_MAX_INPUTS = 12
_CONSTANT = -1  # source of parameters, and of what was made of them alone
_NAMES = {
    "addmm": "matmul",
    "baddbmm": "matmul",
    "bmm": "matmul",
    "mm": "matmul",
    "copy": "write",
    "index_put": "write",
    "masked_fill": "mask",
    "where": "mask",
    "rsub": "sub",
    "native_batch_norm": "batch_norm",
    "native_layer_norm": "layer_norm",
    "_native_multi_head_attention": "attention",
}


@dataclass
class _Frame:
    """A module that is running. ``node``: its place where it is a layer, or that of the layer around it."""

    name: str
    node: int | None
    group: int
    opened: bool = False
    """It is the layer itself, not something inside of one."""
    wrote: bool = False
    joined: dict[frozenset[int], int] = field(default_factory=dict)
    """Operators outside of layers that this call made nodes of, by their sources."""


class Flow:
    """Follows one pass. The caller reports modules that begin and end, and operators."""

    def __init__(self, model: nn.Module, *, operators: bool) -> None:
        self._model = model
        self._operators = operators
        self._nodes: list[FlowNode] = []
        self._inputs: list[set[int]] = []
        self._groups: list[FlowGroup] = []
        self._passing: set[int] = set()
        self._frames: list[_Frame] = []
        self._calls: dict[str, int] = {}
        self._sources: dict[int, int] = {}
        self._alive: dict[int, Any] = {}
        self._blind: set[int] = set()
        self._trouble = "" if operators else "operators could not be watched, so only the order is known"
        self._layers = {name for name, module in model.named_modules() if _is_layer(name, module)}
        self._free: dict[int, tuple[str, int]] = {}
        """Parameters by their memory: the owner's name, and elements that no layer's row counts."""
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if not is_lazy(tensor):
                self._own(name.rpartition(".")[0], tensor)

    def _own(self, owner: str, tensor: Tensor) -> None:
        if (key := self._set(tensor, _CONSTANT)) is not None and isinstance(tensor, nn.Parameter):
            self._free.setdefault(key, (owner, 0 if owner in self._layers else tensor.numel()))

    def enter(self, name: str, args: Any, kwargs: Any) -> None:
        """A module begins; the first is the model, whose tensors are the inputs."""
        if self._full:
            return
        try:
            if not self._nodes:
                self._open(args, kwargs)
            self._enter(name)
        except Exception as error:
            self._stop(error)

    def leave(self, name: str, output: Any) -> None:
        """A module has ended, or was left by an exception."""
        while self._frames:
            frame = self._frames.pop()
            if frame.opened and frame.node is not None:
                self._close(frame, output if frame.name == name else None)
            if frame.name == name:
                break
        if not self._frames and not self._full:
            found = {s for t in tensors(output) if (s := self._source(t)) not in (None, _CONSTANT)}
            self._add(FlowNode(name="", op="output", shape=_shape(output)), {s for s in found if s is not None})

    def _close(self, frame: _Frame, output: Any) -> None:
        node = self._nodes[frame.node or 0]
        if not frame.wrote and self._operators and not self._full:
            self._passing.add(frame.node or 0)  # it handed its input on, or a view of it
        if node.call and frame.name:
            with suppress(Exception):  # tensors of an odd kind
                self._nodes[frame.node or 0] = replace(node, shape=_shape(output))

    def see(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """An operator has run."""
        if not self._frames or self._trouble or self._full:
            return
        try:
            self._see(func, list(tensors((args, kwargs))), list(tensors(out)))
        except Exception as error:
            self._stop(error)

    def facts(self) -> FlowFacts:
        """Return the graph, without the layers that only handed their input on."""
        kept = [i for i in range(len(self._nodes)) if self._trouble or i not in self._passing]
        place = {old: new for new, old in enumerate(kept)}
        before = [sorted(place[s] for s in self._inputs[i] if s in place) for i in kept]
        reason = self._trouble
        if not reason and self._full:
            reason = f"the pass has more than {MAX_NODES} steps, of which the first are shown"
        if not reason and self._blind:
            names = [self._nodes[i].name or "the model" for i in sorted(self._blind)]
            told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            reason = f"what these read came from where no operator was seen: {told}"
        edges = [] if self._trouble else _edges(before)
        return FlowFacts(nodes=[self._nodes[i] for i in kept], groups=self._groups, edges=edges, reason=reason)

    @property
    def _full(self) -> bool:
        return len(self._nodes) >= MAX_NODES

    def _stop(self, error: Exception) -> None:
        self._trouble = self._trouble or f"data could not be followed, so only the order is known: {one_line(error)}"

    def _open(self, args: Any, kwargs: Any) -> None:
        for place, (name, tensor) in enumerate(_named(self._model, args, kwargs)):
            if place < _MAX_INPUTS:
                self._add(FlowNode(name=name, op="input", shape=shape_of(tensor)), set())
            self._set(tensor, len(self._nodes) - 1)
        if not self._nodes:
            self._add(FlowNode(name="", op="input"), set())

    def _enter(self, name: str) -> None:
        above = self._frames[-1] if self._frames else _Frame("", None, -1)
        if above.node is not None:
            self._frames.append(_Frame(name, above.node, above.group))
        elif name in self._layers:
            call = self._calls[name] = self._calls.get(name, -1) + 1
            node = self._add(FlowNode(name=name, call=call, group=above.group), set())
            self._frames.append(_Frame(name, node, above.group, opened=True))
        elif not self._frames:
            self._frames.append(_Frame(name, None, -1))
        else:
            self._groups.append(FlowGroup(name, above.group))
            self._frames.append(_Frame(name, None, len(self._groups) - 1))

    def _add(self, node: FlowNode, sources: set[int]) -> int:
        self._nodes.append(node)
        self._inputs.append(sources)
        return len(self._nodes) - 1

    def _see(self, func: Any, read: list[Tensor], made: list[Tensor]) -> None:
        frame = self._frames[-1]
        changes = bool(func._schema.is_mutable)
        keys = [_key(t) for t in read]
        fresh = [t for t in made if changes or _key(t) not in keys]
        sources = self._read(read, keys, frame)
        if not fresh:
            return
        if frame.node is not None:
            self._inputs[frame.node] |= sources - {frame.node}
            source = frame.node
            for around in reversed(self._frames):
                if around.node == frame.node and around.opened:
                    around.wrote = True
        else:
            source = self._outside(func, frame, sources, keys, fresh)
        for tensor in fresh:
            self._set(tensor, source)

    def _read(self, read: list[Tensor], keys: list[int], frame: _Frame) -> set[int]:
        sources = set()
        for tensor, key in zip(read, keys, strict=True):
            source = self._sources.get(key)
            if source is not None:
                sources.add(source)
            elif tensor.is_floating_point() and tensor.dim() and frame.node is not None:
                self._blind.add(frame.node)
        sources.discard(_CONSTANT)
        return sources

    def _outside(self, func: Any, frame: _Frame, sources: set[int], keys: list[int], fresh: list[Tensor]) -> int:
        """Return the source of what an operator outside of all layers made."""
        if not sources:
            return _CONSTANT
        owned = [self._free[key] for key in keys if key in self._free]
        operator = _operator(func)
        if len(sources) == 1 and not owned and operator != "attention":
            return next(iter(sources))
        known = frozenset(sources)
        for other in known & set(frame.joined.values()):  # a further step of the same expression
            if known - {other} <= self._inputs[other] and not owned and operator != "attention":
                return other
        if known in frame.joined and not owned:
            return frame.joined[known]
        elements = sum(n for _, n in owned)
        for key in keys:
            if key in self._free:
                self._free[key] = (self._free[key][0], 0)
        name = owned[0][0] if owned else frame.name
        node = FlowNode(name=name, op=operator, shape=_shape(fresh), group=frame.group, parameters=elements)
        frame.joined[known] = self._add(node, set(sources))
        return frame.joined[known]

    def _source(self, tensor: Tensor) -> int | None:
        return self._sources.get(_key(tensor))

    def _set(self, tensor: Tensor, source: int) -> int | None:
        key, holder = _key(tensor), storage_of(tensor)
        self._sources[key] = source
        if key not in self._alive:
            with suppress(TypeError):
                # an address, which another storage may have once this one is freed
                self._alive[key] = weakref.ref(tensor if holder is None else holder, lambda _: self._forget(key))
        return key

    def _forget(self, key: int) -> None:
        self._alive.pop(key, None)
        self._sources.pop(key, None)

    def close(self) -> None:
        """Forget all tensors; what was seen of them stays."""
        self._alive.clear()
        self._sources.clear()


def in_definition_order(model: nn.Module, reason: str) -> FlowFacts:
    """Return the layers as they were defined, for a model that takes no hooks."""
    names = [name for name, module in model.named_modules() if name and _is_layer(name, module)]
    return FlowFacts(nodes=[FlowNode(name=name) for name in names[:MAX_NODES]], reason=reason)


def _is_layer(name: str, module: nn.Module) -> bool:
    """Tell whether what runs inside is the work of one layer: it holds no modules, or only parts of itself."""
    if passes_on(module) or holds_weights(module) or "parametrizations" in name.split("."):
        return False
    if type(module).__module__.startswith("torch.ao.quantization"):
        return False
    if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)):
        return False
    if isinstance(module, nn.MultiheadAttention):  # reads the weights of its output projection, and never calls it
        return True
    inner = (m for key, m in module.named_children() if key != "parametrizations")
    return all(holds_weights(m) or type(m).__module__.startswith("torch.ao.quantization") for m in inner)


def _edges(before: list[list[int]]) -> list[FlowEdge]:
    """Say of each edge what it is; ancestors are sets of bits in one number, since nodes stand in order."""
    ancestors: list[int] = []
    ways: list[dict[int, Way]] = []
    outgoing = [0] * len(before)
    for sources in before:
        reached = 0
        for s in sources:
            reached |= ancestors[s]
        ways.append({s: "skip" if reached >> s & 1 else "sequential" for s in sources})
        for s, way in ways[-1].items():
            outgoing[s] += way != "skip"
            reached |= 1 << s
        ancestors.append(reached)
    edges = []
    for target, told in enumerate(ways):
        several = sum(way != "skip" for way in told.values()) > 1
        for source, way in told.items():
            split = way == "sequential" and (several or outgoing[source] > 1)
            edges.append(FlowEdge(source, target, "branch" if split else way))
    return edges


def _named(model: nn.Module, args: Any, kwargs: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a call with the names of their arguments."""
    known: list[str] = []
    with suppress(TypeError, ValueError):
        parameters = inspect.signature(model.forward).parameters.values()
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for place, value in enumerate(args):
        yield from _inside(known[place] if place < len(known) else f"input {place + 1}", value)
    for name, value in kwargs.items():
        yield from _inside(str(name), value)


def _inside(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inside(str(key), item)
    elif isinstance(value, (list, tuple)) and len(value) > 1:
        for place, item in enumerate(value):
            yield from _inside(f"{name} {place + 1}", item)
    else:
        yield from ((name, tensor) for tensor in tensors(value))


def _key(tensor: Tensor) -> int:
    storage = storage_of(tensor)
    return id(tensor) if storage is None else storage._cdata


def _operator(func: Any) -> str:
    name = str(func._schema.name).rpartition("::")[2].rstrip("_")
    return "attention" if name.startswith("_scaled_dot_product") else _NAMES.get(name, name)


def _shape(value: Any) -> str:
    first = next(tensors(value), None)
    return "" if first is None else shape_of(first)
