"""Data flow -> the boxes of a diagram: layers that belong together in one box, equal neighbours folded as ×N.

Blocks are taken apart while all fits into a number of boxes; those that remain whole can be shown from inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from ..document.facts import ArchitectureFacts
from ..document.flow import FlowFacts, Way

_PERIOD = 6  # layers at most in a run that repeats
_SHORT = {"BatchNorm1d": "BN", "BatchNorm2d": "BN", "BatchNorm3d": "BN", "LayerNorm": "LN", "GroupNorm": "GN"}
_FOLLOWERS = frozenset(
    (
        *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d"),
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Softplus"),
        *("Sigmoid", "Tanh", "Hardswish", "Hardsigmoid", "Hardtanh", "Softmax", "LogSoftmax", "Dropout", "Dropout2d"),
        *("GELUActivation", "NewGELUActivation", "SiLUActivation"),
    )
)
_CONTAINERS = frozenset(("Sequential", "ModuleList", "ModuleDict"))

Shape = tuple[object, ...]


class Item(Struct, frozen=True):
    """A layer, or a call of a module with all that is in it: nodes ``first`` up to ``last``."""

    name: str
    kind: str
    nodes: tuple[int, ...]
    form: Shape
    """What it is made of and how it hangs together; equal for blocks that are built alike."""
    output: str
    group: int = -1
    """Place of the call; -1 for a layer."""


class Box(Struct, frozen=True):
    """What one box of the diagram stands for."""

    name: str
    kinds: tuple[str, ...]
    nodes: tuple[int, ...]
    output: str
    times: int = 1
    parallel: bool = False
    """The repeats stand side by side, not one after the other."""
    group: int = -1
    """Where it holds a block: the place of its (first) call."""
    form: Shape = ()
    omitted: int = 0
    """Boxes that this one stands for because there was no room."""


class Arc(Struct, frozen=True):
    """Data go from one box to another."""

    source: int
    target: int
    way: Way


class Diagram(Struct, frozen=True):
    """Boxes in the order of execution."""

    boxes: list[Box]
    arcs: list[Arc]
    block: str | None = None
    """The name of the block that is shown from inside; its first box holds no node and is what comes in."""


class Layout:
    """Arranges the flow of one report; what is inside a call is worked out once."""

    def __init__(self, flow: FlowFacts, facts: ArchitectureFacts) -> None:
        self.flow = flow
        self._rows = {row.name: row for row in facts.rows}
        self._before: list[set[int]] = [set() for _ in flow.nodes]
        self._after: list[set[int]] = [set() for _ in flow.nodes]
        for edge in flow.edges:
            self._before[edge.target].add(edge.source)
            self._after[edge.source].add(edge.target)
        self._children: dict[int, list[int]] = {}  # of a group: nodes as they are, calls inside as -2 - place
        for i, node in enumerate(flow.nodes):
            self._attach(node.group, i)
        self._items: dict[int, Item] = {}
        every = [self._whole(g) for g in self._children if g >= 0]
        self._forms = Counter(item.form for item in every)

    def _attach(self, group: int, child: int) -> None:
        siblings = self._children.setdefault(group, [])
        if not siblings or siblings[-1] != child:
            new = len(siblings) == 0
            siblings.append(child)
            if group >= 0 and new:
                self._attach(self.flow.groups[group].around, -2 - group)

    def overview(self, limit: int) -> Diagram:
        """Return the whole model in at most ``limit`` boxes."""
        return self._drawn(self._arranged(-1, limit))

    def inside(self, box: Box, limit: int) -> Diagram:
        """Return what is in a block."""
        return self._drawn(self._arranged(box.group, limit), box.name)

    def _kind(self, node: int) -> str:
        told = self.flow.nodes[node]
        row = self._rows.get(told.name)
        return told.op or (row.kind if row is not None else "")

    def _output(self, node: int) -> str:
        told = self.flow.nodes[node]
        row = self._rows.get(told.name)
        return told.shape or (row.output_shape or "" if row is not None and not told.op else "")

    def _layer(self, node: int) -> Item:
        kind = self._kind(node)
        return Item(self.flow.nodes[node].name, kind, (node,), (kind,), self._output(node))

    def _whole(self, group: int) -> Item:
        """Return a call as one item. Its form knows kinds and edges inside, by their distance, and no sizes."""
        if group not in self._items:
            inside = [self._item(child) for child in self._children[group]]
            nodes = tuple(n for item in inside for n in item.nodes)
            place = {n: i for i, n in enumerate(nodes)}
            # all that comes from outside is one: a dense block reads ever more of it, and is built alike
            edges = [(i, sorted({place.get(s, -1) for s in self._before[n]})) for n, i in place.items()]
            name = self.flow.groups[group].name
            kind = self._rows[name].kind if name in self._rows else ""
            form = (kind, _digest([*(item.form for item in inside), edges]))
            output = self._output(nodes[-1])
            self._items[group] = Item(name, kind, nodes, form, output, group)
        return self._items[group]

    def _item(self, child: int) -> Item:
        return self._layer(child) if child >= 0 else self._whole(-2 - child)

    def _inside(self, group: int) -> list[Item]:
        return [self._item(child) for child in self._children.get(group, [])]

    def _arranged(self, group: int, limit: int) -> list[Box]:
        leaves = [self._layer(n) for item in self._inside(group) for n in item.nodes]
        if len(leaves) <= 4 * limit and len(full := self._packed(leaves)) <= limit:
            return full
        items = self._inside(group)
        refused: set[int] = set()
        while True:
            place = self._next(items, refused)
            if place is None:
                break
            tried = [*items[:place], *self._inside(items[place].group), *items[place + 1 :]]
            # a single child, or the only way to show anything, is taken apart at no cost
            if len(self._folded(tried)) <= limit or len(items) == 1:
                items = tried
            else:
                refused.add(items[place].group)
        boxes = self._folded(items)
        if len(boxes) > limit:
            boxes = self._folded(items, leaves=True)
        return boxes if len(boxes) <= limit else _cut(boxes, limit)

    def _next(self, items: Sequence[Item], refused: set[int]) -> int | None:
        """Return the place of the largest block to be taken apart: not one of several alike, but plain sequences."""
        whole = [
            (len(item.nodes), -place)
            for place, item in enumerate(items)
            if item.group >= 0
            and item.group not in refused
            and (len(items) == 1 or self._forms[item.form] == 1 or item.kind in _CONTAINERS or len(item.nodes) < 3)
            and not any(_alike(item, other) for other in items[max(place - 1, 0) : place + 2] if other is not item)
        ]
        return -max(whole)[1] if whole else None

    def _folded(self, items: Sequence[Item], *, leaves: bool = False) -> list[Box]:
        """Fold blocks that repeat; with ``leaves`` also runs of layers that do."""
        out: list[Box] = []
        plain: list[Item] = []
        i = 0
        while i < len(items):
            period, times = _repeats(items, i, _PERIOD if leaves else 1)
            if times > 1 and (leaves or items[i].group >= 0):
                out += self._packed(plain)
                plain = []
                out.append(self._repeated(items[i : i + period * times], period, times))
                i += period * times
            else:
                plain.append(items[i])
                i += 1
        return out + self._packed(plain)

    def _repeated(self, items: Sequence[Item], period: int, times: int) -> Box:
        nodes = tuple(n for item in items for n in item.nodes)
        first, second = ({n for item in items[k * period : (k + 1) * period] for n in item.nodes} for k in (0, 1))
        parallel = bool(self.flow.edges) and not any(self._before[n] & first for n in second)
        kinds = tuple(item.kind for item in items[:period])
        group = items[0].group if period == 1 else -1
        return Box(items[0].name, kinds, nodes, items[-1].output, times, parallel, group, items[0].form)

    def _packed(self, items: Iterable[Item]) -> list[Box]:
        """Put a norm or an activation into the box of the layer that it alone follows."""
        out: list[Box] = []
        for item in items:
            box = Box(item.name, (item.kind,), item.nodes, item.output, group=item.group, form=item.form)
            if out and self._follows(out[-1], item):
                last = out[-1]
                out[-1] = replace(
                    last, kinds=(*last.kinds, item.kind), nodes=last.nodes + item.nodes, output=item.output
                )
            else:
                out.append(box)
        return out

    def _follows(self, box: Box, item: Item) -> bool:
        if box.group >= 0 or item.group >= 0 or item.kind not in _FOLLOWERS or len(box.kinds) > 2:
            return False
        last, node = box.nodes[-1], item.nodes[0]
        if self.flow.nodes[last].op == "input":
            return False
        return self._after[last] == {node} and self._before[node] == {last}

    def _drawn(self, boxes: list[Box], block: str | None = None) -> Diagram:
        if block is not None:
            boxes = [Box("", (), (), ""), *boxes]
        place = {n: i for i, box in enumerate(boxes) for n in box.nodes}
        found: dict[tuple[int, int], Way] = {}
        for edge in self.flow.edges:
            target = place.get(edge.target)
            source = place.get(edge.source, None if block is None else 0)
            if target is None or source is None or source == target:
                continue
            if found.get((source, target), "skip") == "skip":
                found[source, target] = edge.way
        return Diagram(boxes, [Arc(s, t, way) for (s, t), way in sorted(found.items())], block)


def _digest(value: object) -> str:
    """Return a short text that is equal for equal values, in every process."""
    return blake2b(repr(value).encode(), digest_size=8).hexdigest()


def short_kind(kind: str) -> str:
    """Return a class name as short as the field writes it."""
    return _SHORT.get(kind, kind)


def _repeats(items: Sequence[Item], start: int, longest: int) -> tuple[int, int]:
    """Return the length of the run at ``start`` that repeats over most items, and how often it stands there."""
    best = (1, 1)
    for period in range(1, min(longest, (len(items) - start) // 2) + 1):
        end = start + period
        while end < len(items) and _alike(items[end], items[end - period]):
            end += 1
        times = (end - start) // period
        if times > 1 and period * times > best[0] * best[1]:
            best = (period, times)
    return best


def _alike(one: Item, other: Item) -> bool:
    return one.form == other.form and one.output == other.output


def _cut(boxes: list[Box], limit: int) -> list[Box]:
    """Keep the first and the last; one box stands for those between."""
    head = (limit - 1) * 2 // 3
    tail = limit - 1 - head
    gone = boxes[head : len(boxes) - tail]
    nodes = tuple(n for box in gone for n in box.nodes)
    return [*boxes[:head], Box("", (), nodes, gone[-1].output, omitted=len(gone)), *boxes[len(boxes) - tail :]]
