"""Which module's output enters which module: the graph of one forward pass."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Way = Literal["sequential", "skip", "branch"]


class FlowNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a layer, or an operator outside of all layers that joins several tensors or reads parameters."""

    name: str
    """Module; of an operator the owner of the parameters that it reads, or else the module in whose code it stands; of
    an input its argument."""
    op: str = ""
    """Empty for a layer; 'input', 'output', or the operator."""
    call: int = 0
    """0 for the first call of a layer in the pass."""
    shape: str = ""
    """Of the output of inputs and operators; a layer's stands in its row."""
    group: int = -1
    """Place in ``groups`` of the module around it; -1: the model."""
    parameters: int = 0
    """Read by an operator and held by a module that is no layer."""


class FlowGroup(Struct, frozen=True, array_like=True):
    """One call of a module that holds layers."""

    name: str
    around: int = -1
    """The call that it is part of; -1: the model's."""


class FlowEdge(Struct, frozen=True, array_like=True):
    """Data go from one node to another: places in ``nodes``."""

    source: int
    target: int
    way: Way = "sequential"
    """skip: a longer way leads from source to target too. branch: the source has several such targets, or the target
    several such sources. sequential: neither."""


class FlowFacts(Struct, frozen=True, kw_only=True):
    """Data flow between layers in one forward pass, in eval mode. Without edges it is the order alone."""

    nodes: list[FlowNode]
    """In the order of execution; inputs first."""
    groups: list[FlowGroup] = []
    edges: list[FlowEdge] = []
    reason: str = ""
    """What could not be followed, and why."""
