"""What is stacked in one tensor: query, key and value; gates; experts. Cut apart before any statistic.

The orders are those of the layers that read them: of the transformers library (modeling_codegen, _gpt_neox, _falcon,
_phi3, _mpt, _dbrx, _mixtral, _gpt_oss, _llama4), of ChatGLM's own, of nn.MultiheadAttention and of nn.LSTM.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..subject.hub_config import Heads
from .kinds import RECURRENT, Shape, is_transposed

_GATES = {4: ("input gate", "forget gate", "cell", "output gate"), 3: ("reset gate", "update gate", "new gate")}
_QKV = ("query", "key", "value")
_OUTPUTS = ("o_proj", "out_proj", "c_proj", "proj", "dense", "wo", "Wo", "o", "to_out", "to_out.0")
_UPS, _DOWNS = ("gate_up_proj", "up_proj", "w1", "input_linear"), ("down_proj", "w2", "output_linear")
_ROUTERS = ("gate", "router", "router.layer")
_EXPERTS = re.compile(
    r"(^|\.)(experts\.(mlp\.)?|(block_sparse_)?moe\.)"
    r"(?P<leaf>gate_up_proj|gate_proj|up_proj|down_proj|w[123]|v1|input_linear|output_linear)(?P<end>(\.weight)?)$"
)
_CODEGEN_BLOCKS = 4  # of the parts of its first computer, whatever the size of the model


class Part(NamedTuple):
    """One of the matrices that are stacked in a tensor: its next channels, or some in every ``period`` of them."""

    name: str
    channels: int
    period: int = 0
    start: int = 0
    """Where it begins in each period."""


def stack_of(kind: str, name: str, shape: Sequence[int], beside: Shape) -> tuple[Part, ...]:
    """Name the matrices that are stacked along the channels of one tensor, in their order; none when it is one."""
    if len(shape) < 2:
        return ()
    channels, length = shape[0], math.prod(shape[1:])
    names: tuple[str, ...] = ()
    if kind == "attention qkv":
        return _qkv(name, shape, beside)
    if kind == "state space input":
        return _state_space(name, channels, beside)
    if kind == "mlp gate and up" or (kind == "mlp up" and _is_gated(name, channels, beside)):
        names = ("gate", "up")
    elif kind == "recurrent" and "weight_hh" in name and length and channels % length == 0:
        names = _GATES.get(channels // length, ())
    return _even(names, channels)


def _is_gated(name: str, channels: int, beside: Shape) -> bool:
    """Tell that a layer makes the gate too: it has twice the channels that the next layer of the block reads."""
    for up, down in (("dense_h_to_4h", "dense_4h_to_h"), ("Wi", "Wo")):
        if name.endswith(f".{up}.weight"):
            following = beside.get(f"{name.removesuffix(f'{up}.weight')}{down}.weight")
            return following is not None and len(following) == 2 and channels == 2 * following[1]
    return False


def _state_space(name: str, channels: int, beside: Shape) -> tuple[Part, ...]:
    """Cut the input of a Mamba layer: state and gate; of Mamba 2 gate, state, what steers it, and its steps."""
    owner = name.removesuffix(".in_proj.weight")
    output, heads = beside.get(f"{owner}.out_proj.weight"), beside.get(f"{owner}.dt_bias")
    if output is None or len(output) != 2:
        return ()
    inner = output[1]
    if channels == 2 * inner:
        return Part("state", inner), Part("gate", inner)
    steering = channels - 2 * inner - (heads[0] if heads else 0)
    if heads is None or len(heads) != 1 or steering <= 0:
        return ()
    return Part("gate", inner), Part("state", inner), Part("steering", steering), Part("steps", heads[0])


def _even(names: Sequence[str], channels: int) -> tuple[Part, ...]:
    if not names or channels % len(names):
        return ()
    return tuple(Part(name, channels // len(names)) for name in names)


def _qkv(name: str, shape: Sequence[int], beside: Shape) -> tuple[Part, ...]:
    """Cut query, key and value apart; with fewer heads for keys than for queries the parts differ in size.

    The query has as many channels as the output projection beside it reads. What lies head by head (BLOOM, GPT-NeoX,
    Falcon; InternLM where heads are shared) is cut only where a configuration tells the heads and the shapes agree.
    """
    owner = re.sub(r"[._]weight$", "", name)
    channels, length = shape[0], math.prod(shape[1:])
    read = _read_by_output(owner, beside)
    if _is_codegen(owner, beside):
        return _blocks(channels)
    cut = _by_heads(owner, channels, length, read, beside.heads)
    if cut is not None:
        return cut
    if owner.endswith("to_qkv"):  # of attention over pictures: always three alike
        return _even(_QKV, channels)
    if len(shape) == 3 and beside.get(f"{owner.rpartition('.')[0]}.proj_out.weight") is not None:
        return ()  # of diffusion models, some of which lie head by head
    uneven = channels != 3 * (read or length)
    if owner.endswith("query_key_value") or (uneven and owner.endswith("attention.wqkv")):
        return ()
    if not uneven:
        return _even(_QKV, channels)
    rest = channels - read if read is not None else 0
    if read is None or rest <= 0 or rest % 2 or read % (rest // 2):
        return ()
    return _three(read, rest // 2, rest // 2)


def _is_codegen(owner: str, beside: Shape) -> bool:
    """Tell CodeGen by its names, which no other model has: its file needs no configuration."""
    block = re.fullmatch(r"(.*h\.\d+)\.attn\.qkv_proj", owner)
    return block is not None and beside.get(f"{block[1]}.mlp.fc_in.weight") is not None


def _blocks(channels: int) -> tuple[Part, ...]:
    """Cut four blocks of query, value and key, in this order."""
    if channels % (3 * _CODEGEN_BLOCKS):
        return ()
    part, period = channels // 3, channels // _CODEGEN_BLOCKS
    run = period // 3
    return Part("query", part, period, 0), Part("key", part, period, 2 * run), Part("value", part, period, run)


def _by_heads(owner: str, channels: int, length: int, read: int | None, heads: Heads | None) -> tuple[Part, ...] | None:
    """Cut by the heads that a configuration tells; None where it says nothing of this tensor or shapes contradict."""
    if heads is None or not length:
        return None
    size = heads.size or (read or length) // heads.queries
    query, key = heads.queries * size, heads.keys * size
    if query + 2 * key != channels or (read is not None and read != query):
        return None
    if heads.order == "blocks":
        return _blocks(channels)
    if heads.order == "parts":
        # without a name that tells, rows of query_key_value may lie in any order
        return None if owner.endswith("query_key_value") and heads.keys == heads.queries else _three(query, key, key)
    groups = heads.keys
    period, shared = channels // groups, query // groups
    return (
        Part("query", query, period, 0),
        Part("key", key, period, shared),
        Part("value", key, period, shared + size),
    )


def _three(query: int, key: int, value: int) -> tuple[Part, ...]:
    return Part("query", query), Part("key", key), Part("value", value)


def _read_by_output(owner: str, beside: Shape) -> int | None:
    """Return how many values the output projection of an attention reads, by the shape of its weight."""
    parent = owner.rpartition(".")[0]
    for last in _OUTPUTS:
        name = f"{parent}.{last}.weight"
        shape = beside.get(name)
        if shape is not None and len(shape) >= 2 and math.prod(shape[2:]) == 1:
            return shape[0] if is_transposed(name, shape, beside) else shape[1]
    return None


def gates_of(name: str, beside: Shape) -> tuple[Part, ...]:
    """Name the gates stacked in an input weight of a recurrent layer, which its recurrent weight counts."""
    twin = name.replace("weight_ih", "weight_hh")
    shape = beside.get(twin)
    if shape is None or not RECURRENT.search(name):
        return ()
    names = [part.name for part in stack_of("recurrent", twin, shape, beside)]
    return _even(names, (beside.get(name) or (0,))[0])


class Experts(NamedTuple):
    """How the weights of many experts lie in one tensor."""

    number: int
    turned: bool
    """The channels of an expert are the last dimension."""
    parts: tuple[Part, ...] = ()
    """Of one expert."""


def experts_of(name: str, shape: Sequence[int], beside: Shape) -> Experts | None:
    """Tell whether a tensor holds the weights of many experts, and how; None where the shapes around it disagree."""
    found = _EXPERTS.search(name)
    if found is None:
        return None
    owner, leaf = name[: found.start("leaf")], found["leaf"]
    above = re.sub(r"((^|(?<=\.))experts\.)?(mlp\.)?$", "", owner)
    routers = (beside.get(f"{place}{last}.weight") for place in (above, owner) for last in _ROUTERS)
    router = next((r for r in routers if r is not None and len(r) == 2), None)
    if len(shape) == 2:  # DBRX: one expert after the other; the last of the three layers is (in, out)
        count = router[0] if router is not None and owner.endswith("experts.mlp.") else 0
        return Experts(count, turned=leaf == "w2") if count and shape[0] % count == 0 else None
    if len(shape) != 3:
        return None
    up, down = (
        next(
            (s for one in leaves if (s := beside.get(f"{owner}{one}{found['end']}")) is not None and len(s) == 3), None
        )
        for leaves in (_UPS, _DOWNS)
    )
    turned = _is_turned(up, down, router[1] if router is not None and router[0] == shape[0] else None)
    if turned is None:
        return None
    channels = shape[2 if turned else 1]
    parts: tuple[Part, ...] = ()
    if leaf in ("gate_up_proj", "input_linear"):
        parts = _even(("gate", "up"), channels)
        if parts and beside.get(f"{owner}{leaf}_bias") is not None:  # gpt-oss, where they lie in turn
            parts = (Part("gate", channels // 2, 2, 0), Part("up", channels // 2, 2, 1))
    return Experts(shape[0], turned, parts)


def _is_turned(up: Sequence[int] | None, down: Sequence[int] | None, hidden: int | None) -> bool | None:
    """Tell (experts, in, out) from (experts, out, in) by the layer before and after, and by what the router reads."""
    if up is not None and down is not None:
        if (up[1], up[2]) == (2 * down[2], down[1]):
            return False
        if (up[1], up[2]) == (down[2], 2 * down[1]):
            return True
    if hidden is not None and up is not None and (up[1] == hidden) != (up[2] == hidden):
        return up[1] == hidden
    if hidden is not None and down is not None and (down[1] == hidden) != (down[2] == hidden):
        return down[2] == hidden
    return None


def told_whole(kind: str, stack: Sequence[Part]) -> str:
    """Say of stacked attention weights that they could not be cut apart."""
    return "attention qkv, not cut apart" if kind == "attention qkv" and not stack else kind
