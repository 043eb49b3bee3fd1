"""What a tensor of a bare file is, told from names and shapes: its role, the kind of layer, what is stacked in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..subject.hub_config import Heads
from ..subject.shapes import PACKED

Role = Literal["weight", "bias", "norm", "embedding", "other"]

_NORM = re.compile(r"(^|[._])(bn|ln|norm|layernorm|rmsnorm|groupnorm)|norm\d*$|(^|_)ln_?[a-z\d]*$", re.IGNORECASE)
_EMBEDDING = re.compile(r"emb|^(wte|wpe)$", re.IGNORECASE)
_KINDS = (
    (
        "attention qkv",
        r"(^|[._])(qkv(_proj)?|query_key_value|c_attn|wqkv|w_pack|qkv_mix)$|(^|[._])(\w*attn|\w*attention)\.in_proj$",
    ),
    ("attention query", r"(^|[._])(q|wq|q_?proj|query|q_lin|to_q)$"),
    ("attention key", r"(^|[._])(k|wk|k_?proj|key|k_lin|to_k)$"),
    ("attention value", r"(^|[._])(v|wv|v_?proj|value|v_lin|to_v)$"),
    (
        "attention output",
        r"(self_attn|attn|attention|self_attention)(\.\w+)*\.(o|wo|out|o_proj|out_proj|c_proj|proj|dense)$",
    ),
    ("state space input", r"(^|\.)mixer\.in_proj$"),
    ("mlp gate and up", r"(^|[._])(gate_up_proj|w12)$|moe\.input_linear$"),
    ("mlp gate", r"(mlp|ffn|feed_forward|experts(\.\d+)?)\.(gate_proj|w1|gate)$"),
    ("mlp up", r"(^|[._])(up_proj|fc1|fc_in|c_fc|lin1|linear1|w3|v1|dense_h_to_4h|intermediate\.dense|wi(_\d)?)$"),
    (
        "mlp down",
        r"(^|[._])(down_proj|fc2|fc_out|lin2|linear2|w2|dense_4h_to_h|wo)$|mlp\.c_proj$|output\.dense$|"
        r"moe\.output_linear$",
    ),
    ("head", r"(^|[._])(lm_head|head|classifier|cls|fc|score|heads\.head|embed_out)$"),
)
_KNOWN = [(kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _KINDS]
RECURRENT = re.compile(r"(^|\.)weight_(ih|hh)(_l\d+(_reverse)?)?$")
_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, PACKED} - {None}
_NO_WEIGHT = re.compile(r"(bias|mask|ind(ex|ices)|ids?|idx)$", re.IGNORECASE)  # bias: the causal mask of GPT-2
_CONV1D = re.compile(r"(^|\.)(c_attn|c_fc|c_proj|q_attn)\.weight$")  # GPT-2 stores these as (in, out)


class Shape(NamedTuple):
    """Names and shapes of all tensors of a file; what one is depends on what stands beside it."""

    of: Mapping[str, Sequence[int]]
    heads: Heads | None = None
    """How attention is cut into heads, where a configuration says so."""

    def get(self, name: str) -> Sequence[int] | None:
        return self.of.get(name)


def role_of(name: str, shape: Sequence[int], beside: Shape) -> Role:
    """Tell what a tensor is for."""
    owner, _, leaf = name.rpartition(".")
    last = owner.rpartition(".")[2]
    if f"{owner}.running_mean" in beside.of or (len(shape) == 1 and _NORM.search(last)):
        return "norm"
    if len(shape) == 1 and "bias" not in leaf and _NORM.search(leaf):
        return "norm"
    if len(shape) == 2 and _EMBEDDING.search(last) and leaf == "weight":
        return "embedding"
    if "bias" in leaf and len(shape) <= 1:
        return "bias"
    return "weight" if len(shape) >= 2 and "weight" in leaf else "other"


def kind_by_name(name: str, shape: Sequence[int], role: Role) -> str:
    """Tell the kind of the layer; '' when neither name nor shape tells."""
    if role in ("norm", "embedding"):
        return role
    if role != "weight":
        return ""
    if RECURRENT.search(name):
        return "recurrent"
    if name.endswith("in_proj_weight"):  # of nn.MultiheadAttention
        return "attention qkv"
    owner = name.rpartition(".")[0] if name.endswith(".weight") else re.sub(r"_weight$", "", name)
    for kind, pattern in _KNOWN:
        if pattern.search(owner):
            return kind
    if len(shape) >= 3:
        return "depthwise convolution" if shape[1] == 1 and shape[0] > 1 else "convolution"
    return "linear"


def is_transposed(name: str, shape: Sequence[int], beside: Shape) -> bool:
    """Tell whether dimension 1 is the channels: transposed convolutions, and the linear layers of GPT-2.

    Told by the bias, which has one value a channel; where both dimensions are equal, by the name and a neighbour.
    """
    owner, dot, _ = name.rpartition(".")
    bias = beside.get(f"{owner}{dot}bias")
    if len(shape) < 2 or bias is None or len(bias) != 1:
        return False
    if shape[0] != shape[1]:
        return bias[0] == shape[1] and bias[0] != shape[0]
    if not _CONV1D.search(name):
        return False
    return any(
        len(other) == 2 and other[1] == 3 * other[0] and near.endswith("c_attn.weight")
        for near, other in beside.of.items()
    )


def is_packed(name: str, tensor: Tensor) -> bool:
    """Tell whether a tensor seems to be a weight in whole or packed numbers, as quantised checkpoints have them."""
    if tensor.is_quantized or tensor.dim() < 2 or tensor.dtype not in _WHOLE or _NO_WEIGHT.search(name):
        return False
    return tensor.numel() >= 256


def norm_after(name: str, channels: int, beside: Shape) -> str | None:
    """Return the batch norm that reads a layer, by the names that people give them and by the size; None when unsure.

    conv1 -> bn1; a number -> the next number; else the next owner, where the file keeps the order of the model.
    """
    owner = name.rpartition(".")[0]
    parent, dot, last = owner.rpartition(".")
    candidates = [re.sub(r"conv", word, last) for word in ("bn", "norm")] if "conv" in last else []
    candidates += [str(int(last) + 1)] if last.isascii() and last.isdigit() and len(last) < 9 else []
    candidates += ["bn", "norm"] if last in ("conv", "fc", "linear") else []
    for candidate in candidates:
        norm = f"{parent}{dot}{candidate}"
        if norm != owner and list(beside.get(f"{norm}.running_var") or ()) == [channels]:
            return norm
    return None


def shapes_of(tensors: Mapping[str, Tensor], heads: Heads | None = None) -> Shape:
    """Collect the shapes; no value is read."""
    return Shape({name: tuple(tensors[name].shape) for name in tensors}, heads)
