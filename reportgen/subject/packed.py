"""Weights that a quantiser packed into whole numbers, decoded where the file says all that it takes.

GPTQ (AutoGPTQ, GPTQModel) packs the inputs of a layer into int32, AWQ its outputs in an order of its own, bitsandbytes
two values a byte with a table of sixteen. Anything else stays packed, and is told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .shards import LazyTensors

_MOST = 1 << 28  # values of one decoded weight: a gigabyte
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_LONGEST_STATE = 1 << 16  # bytes of a table
_STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")


class _Weight(NamedTuple):
    """One weight that can be decoded."""

    name: str
    kind: str
    shape: tuple[int, int]
    beside: tuple[str, ...]
    """Names of the tensors that it is made of."""
    decode: Callable[[], Tensor]


def decoded(file: Checkpoint) -> tuple[Checkpoint, dict[str, str]]:
    """Return the same file with packed weights decoded as they are asked for, and what each of those was."""
    found = {one.name: one for one in _weights(file)}
    if not found:
        return file, {}
    used = {name for one in found.values() for name in one.beside}
    places = {one.beside[0]: one for one in found.values()}
    names: dict[str, str] = {}
    for name in file.outlines:
        if name in places:
            names[places[name].name] = name
        elif name not in used:
            names[name] = name

    def read(stored: str) -> Tensor:
        return places[stored].decode() if stored in places else file.tensors[stored]

    def outline(stored: str) -> Tensor:
        if stored in places:
            return torch.empty(places[stored].shape, dtype=torch.float16, device="meta")
        return file.outlines[stored]

    kinds = sorted({one.kind for one in found.values()})
    layout = f"{file.layout}, packed weights decoded: {len(found)} of {' and '.join(kinds)}"
    other = replace(file, tensors=LazyTensors(names, read), sketched=LazyTensors(names, outline), layout=layout)
    return other, {name: one.kind for name, one in found.items()}


def _weights(file: Checkpoint) -> Iterator[_Weight]:
    for name in file.outlines:
        if name.endswith(".qweight"):
            found = _grouped(file, name.removesuffix("qweight"))
        elif name.rpartition(".")[2] in _STATES:
            found = _blockwise(file, name)
        else:
            continue
        if found is not None and math.prod(found.shape) <= _MOST:
            yield found


# ---- GPTQ and AWQ


def _grouped(file: Checkpoint, owner: str) -> _Weight | None:
    """Tell GPTQ from AWQ by shapes; None where they fit neither."""
    parts = {leaf: file.outlines.get(f"{owner}{leaf}") for leaf in ("qweight", "qzeros", "scales", "g_idx")}
    weight, zeros, scales, order = (parts[leaf] for leaf in ("qweight", "qzeros", "scales", "g_idx"))
    if weight is None or zeros is None or scales is None:
        return None
    whole = weight.dtype == zeros.dtype == torch.int32 and scales.is_floating_point()
    if not whole or not weight.dim() == zeros.dim() == scales.dim() == 2 or not min(scales.shape) or not zeros.shape[1]:
        return None
    groups, outputs = scales.shape
    bits = 32 * zeros.shape[1] // outputs
    if bits not in (2, 4, 8) or zeros.shape != (groups, outputs * bits // 32):
        return None
    used = tuple(f"{owner}{leaf}" for leaf, tensor in parts.items() if tensor is not None)
    per = 32 // bits
    if weight.shape[1] == outputs:
        inputs = weight.shape[0] * per
        if inputs % groups or (order is not None and tuple(order.shape) != (inputs,)):
            return None
        return _Weight(
            f"{owner}weight", f"GPTQ int{bits}", (outputs, inputs), used, lambda: _gptq(file.tensors, owner, bits)
        )
    if bits == 4 and weight.shape[1] * per == outputs and weight.shape[0] % groups == 0:
        return _Weight(
            f"{owner}weight", "AWQ int4", (outputs, weight.shape[0]), used, lambda: _awq(file.tensors, owner)
        )
    return None


def _gptq(tensors: Mapping[str, Tensor], owner: str, bits: int) -> Tensor:
    """Decode to (out, in): scale of the group times (q - zero), zeros stored less one.

    Not so in the second version of the format; there zeros of symmetric rounding are in the middle of the range.
    """
    q = _unpacked(tensors[f"{owner}qweight"].T.contiguous(), bits)  # (out, in)
    scales = tensors[f"{owner}scales"].float()
    zeros = _unpacked(tensors[f"{owner}qzeros"], bits).short()  # (groups, out)
    if not bool((zeros == 1 << (bits - 1)).all()):
        zeros = zeros + 1
    order = tensors.get(f"{owner}g_idx")
    groups, inputs = len(scales), q.shape[1]
    if order is None:
        order = torch.arange(inputs) // (inputs // groups)
    return _scaled(q, order.long().clamp(0, groups - 1), scales, zeros)


def _awq(tensors: Mapping[str, Tensor], owner: str) -> Tensor:
    """Decode to (out, in): scale of the group times (q - zero), eight outputs a number in an order of their own."""
    q, zeros = (_reordered(_unpacked(tensors[f"{owner}{leaf}"], 4)) for leaf in ("qweight", "qzeros"))
    scales = tensors[f"{owner}scales"].float()
    order = torch.arange(len(q)) // (len(q) // len(scales))
    return _scaled(q.T, order, scales, zeros)


def _scaled(q: Tensor, groups: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Return (out, in) of codes (out, in), the group of each input, and (groups, out) scales and zeros."""
    out = torch.empty(q.shape, dtype=torch.float32)
    rows = max(1, (1 << 22) // max(q.shape[1], 1))
    scales, zeros = scales.T.contiguous(), zeros.T.float().contiguous()
    for first in range(0, len(q), rows):
        part = slice(first, first + rows)
        torch.sub(q[part].float(), zeros[part][:, groups], out=out[part])
        out[part] *= scales[part][:, groups]
    return out


def _unpacked(x: Tensor, bits: int) -> Tensor:
    """Take the numbers of so many bits out of int32 (r, c), the lowest first: uint8 (r, c · 32 / bits)."""
    parts = torch.arange(0, 32, bits, dtype=torch.int32)
    out = torch.empty((*x.shape, len(parts)), dtype=torch.uint8)
    for i, shift in enumerate(parts.tolist()):
        out[..., i] = (x >> shift).bitwise_and_((1 << bits) - 1)
    return out.flatten(1)


def _reordered(x: Tensor) -> Tensor:
    """Put eight neighbours each back into their order."""
    places = torch.tensor([_AWQ_ORDER.index(i) for i in range(8)])
    return x.reshape(len(x), -1, 8)[..., places].flatten(1)


# ---- bitsandbytes


def _blockwise(file: Checkpoint, state_name: str) -> _Weight | None:
    """Read the table that stands beside a weight of two values a byte; None where it does not fit the tensors."""
    name = state_name.partition(".quant_state.")[0]
    data, state = file.outlines.get(name), _state(file, state_name)
    if data is None or state is None or data.dtype is not torch.uint8:
        return None
    shape, block = state.get("shape"), state.get("blocksize")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        return None
    if not isinstance(block, int) or block <= 0:
        return None
    size = math.prod(shape)
    needed = [f"{name}.{leaf}" for leaf in ("absmax", "quant_map")]
    nested = file.outlines.get(f"{name}.nested_absmax") is not None
    needed += [f"{name}.nested_absmax", f"{name}.nested_quant_map"] if nested else []
    sizes = [one.numel() if (one := file.outlines.get(n)) is not None else 0 for n in needed]
    blocks = math.ceil(size / block)
    fits = size == 2 * data.numel() and sizes[0] == blocks and sizes[1] == 16
    if nested:
        inner = state.get("nested_blocksize")
        fits = fits and type(inner) is int and inner > 0 and sizes[2] == math.ceil(blocks / inner) and sizes[3] == 256
    if not fits:
        return None
    kind = f"bitsandbytes {state_name.rpartition('__')[2]!s}"
    return _Weight(
        name, kind, (shape[0], shape[1]), (name, state_name, *needed), lambda: _bytes(file.tensors, name, state, nested)
    )


def _state(file: Checkpoint, name: str) -> dict[str, Any] | None:
    if file.outlines[name].numel() > _LONGEST_STATE or file.outlines[name].dtype is not torch.uint8:
        return None
    try:
        found = json.loads(bytes(file.tensors[name].reshape(-1).tolist()))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _bytes(tensors: Mapping[str, Tensor], name: str, state: dict[str, Any], nested: bool) -> Tensor:
    """Decode: the value of each half byte, the upper one first, times the largest magnitude of its block."""
    block, table = state["blocksize"], tensors[f"{name}.quant_map"].float()
    largest = tensors[f"{name}.absmax"].reshape(-1)
    if nested:
        inner, offset = state["nested_blocksize"], state.get("nested_offset")
        outer = tensors[f"{name}.nested_absmax"].float().reshape(-1).repeat_interleave(inner)[: len(largest)]
        largest = tensors[f"{name}.nested_quant_map"].float()[largest.long()] * outer
        largest = largest + float(offset if isinstance(offset, (int, float)) else 0.0)
    data = tensors[name].reshape(-1)
    pairs = table[torch.stack([torch.arange(256) >> 4, torch.arange(256) & 15], 1)]  # both values of each byte
    out = torch.index_select(pairs, 0, data.int()).reshape(-1)
    for first in range(0, len(largest), 1 << 16):
        part = out[first * block : (first + (1 << 16)) * block]
        part *= largest[first : first + (1 << 16)].float().repeat_interleave(block)[: len(part)]
    return out.reshape(state["shape"])
