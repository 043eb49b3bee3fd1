"""Work of one forward pass: a formula for every operator that multiplies matrices, on whatever backend it runs.

Convention: a multiplication and the addition that goes with it are two FLOPs (tools that count the pair as one call it
a MAC or mult-add); four times as many for complex numbers. Counted are products of matrices, convolutions, attention
and recurrent layers. Not counted, as is usual: biases, element-wise work, norms, pooling, interpolation, look-ups. The
mask of causal attention is not credited. Sparse products count their stored elements. Heavy operators without a
formula are named.

torch's own registry (``torch.utils.flop_counter``) is the base; it counts nothing for what the CPU, the fast path of
attention and quantised modules run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

Formula = Callable[..., int]

# words of an operator's name that tell of work worth a formula
_HEAVY = re.compile(
    r"(?:^|[._])(?:(?:add|badd|int|sparse)?b?mm|addbmm|(?:add)?mv|v?dot|matmul|attention|conv\w*|rnn|lstm|gru|linear"
    r"|trilinear|[cp]dist|fft|linalg|inverse|cholesky|svd|eig|qr)(?=[._]|$)"
)
# and of names that only look so
_LIGHT = re.compile(r"backward|upsample|prepack|unpack|_cell|_sampler|choice|fused_(?:lstm|gru)|vector_norm")


def flops_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int | None:
    """Return the FLOPs of one call of an operator; None when it is heavy and has no formula that fits.

    Light operators count zero.
    """
    packet = getattr(func, "_overloadpacket", func)
    formula = FORMULAS.get(packet)
    if formula is None and packet not in flop_registry:
        return None if _is_heavy(operator_name(func)) else 0
    try:
        n = (
            formula(*args, **kwargs, out=out)
            if formula is not None
            else flop_registry[packet](*args, **kwargs, out_val=out)
        )
    except Exception:  # nested or ragged operands, or an overload with other arguments: named as uncounted
        return None
    return int(n) * (4 if isinstance(out, Tensor) and out.is_complex() else 1)


def operator_name(func: Any) -> str:
    """Return the name that a reader can look up: 'lstm', 'quantized.linear'."""
    return str(getattr(func, "_overloadpacket", func)).removeprefix("aten.")


def _is_heavy(name: str) -> bool:
    return _HEAVY.search(name) is not None and _LIGHT.search(name) is None


# ---- products of matrices


def _product(a: Tensor, b: Tensor) -> int:
    """2 m k n of (…, m, k) @ (…, k, n); the stored elements stand for m k in a sparse one."""
    if b.layout != torch.strided and a.layout == torch.strided:
        return 2 * b._nnz() * a.shape[-2] if b.dim() == 2 else _refuse()
    if a.layout != torch.strided:
        return 2 * a._nnz() * b.shape[-1] if a.dim() == 2 and b.layout == torch.strided else _refuse()
    return 2 * a.numel() * (b.shape[-1] if b.dim() > 1 else 1)


def _refuse() -> int:
    raise ValueError("no formula for these layouts")


def _mm(a: Tensor, b: Tensor, *_: Any, out: Any = None, **__: Any) -> int:
    return _product(a, b)


def _grouped_mm(a: Tensor, b: Tensor, *_: Any, out: Any = None, **__: Any) -> int:
    """Matrices of several experts side by side or stacked: each row, or part of a row, meets one of them."""
    return _product(a, b) // (a.shape[0] if a.dim() == 3 and b.dim() == 2 else 1)


def _addmm(_self: Any, a: Tensor, b: Tensor, *_: Any, out: Any = None, **__: Any) -> int:
    return _product(a, b)


def _linear(x: Tensor, *_: Any, out: Tensor, **__: Any) -> int:
    """2 per output element and input feature."""
    return 2 * out.numel() * x.shape[-1]


def _trilinear(x: Tensor, weight: Tensor, y: Tensor, *_: Any, out: Tensor, **__: Any) -> int:
    """nn.Bilinear: for each output first W y, then x · (W y)."""
    return 2 * out.numel() * x.shape[-1] * (y.shape[-1] + 1)


# ---- attention


def _sdpa(q: Tensor, k: Tensor, v: Tensor, *_: Any, out: Any = None, **__: Any) -> int:
    """Q Kᵀ and its product with V: 2 b h s_q s_k (d_q + d_v)."""
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))  # type: ignore[no-untyped-call]


def _multi_head(q: Tensor, k: Tensor, v: Tensor, embed_dim: int, *_: Any, out: Any = None, **__: Any) -> int:
    """Projections of query, key and value, attention of all heads, projection of the output."""
    batch, n_q, width = q.shape
    n_k = k.shape[1]
    projections = 2 * batch * (n_q + 2 * n_k + n_q) * width * embed_dim
    return projections + 4 * batch * n_q * n_k * embed_dim


def _encoder_layer(x: Tensor, embed_dim: int, *args: Any, out: Any = None, **__: Any) -> int:
    """Self-attention and the two dense layers of nn.TransformerEncoderLayer's fast path."""
    hidden = args[13]  # ffn_weight_1: (hidden, width)
    return _multi_head(x, x, x, embed_dim) + 4 * x.numel() * int(hidden.shape[0])


# ---- recurrent layers: each gate reads the input and the state, once a step


def _mkldnn_rnn(x: Tensor, w_input: Tensor, w_state: Tensor, *_: Any, out: Any = None, **__: Any) -> int:
    steps = x.shape[0] * x.shape[1]  # time × batch, one layer in one direction
    return 2 * steps * (w_input.numel() + w_state.numel())


def _cudnn_rnn(x: Tensor, weights: list[Tensor], *_: Any, out: Any = None, **__: Any) -> int:
    steps = prod(x.shape[:-1])  # packed sequences have one row a step
    return 2 * steps * sum(w.numel() for w in weights if w.dim() == 2)


def _quantised_lstm(x: Tensor, *args: Any, out: Any = None, **__: Any) -> int:
    """Arguments: [batch sizes of a packed one], state, weights, has_biases, n_layers, dropout, train, both ways."""
    state, _, _, n_layers, _, _, both_ways = args[:7] if isinstance(args[0], (list, tuple)) else args[1:8]
    directions = 2 if both_ways else 1
    hidden, steps, width, total = state[0].shape[-1], prod(x.shape[:-1]), x.shape[-1], 0
    for _layer in range(n_layers):
        total += directions * 2 * steps * 4 * hidden * (width + hidden)
        width = directions * hidden
    return total


# ---- quantised and deformable convolutions


def _quantised_conv(x: Tensor, packed: Any, *_: Any, out: Tensor, **__: Any) -> int:
    weight: Tensor = packed.unpack()[0]
    return 2 * out.numel() * prod(weight.shape[1:])


def _quantised_conv_transpose(x: Tensor, packed: Any, *_: Any, out: Tensor, **__: Any) -> int:
    weight: Tensor = packed.unpack()[0]
    return 2 * x.numel() * prod(weight.shape[1:])


def _deform_conv(x: Tensor, weight: Tensor, *_: Any, out: Tensor, **__: Any) -> int:
    return 2 * out.numel() * prod(weight.shape[1:])


def _table() -> dict[Any, Formula]:
    """Map operators to formulas; a build of torch may lack some of them."""
    aten, quantized = torch.ops.aten, torch.ops.quantized
    by_namespace: list[tuple[Any, Formula, str]] = [
        (aten, _mm, "mm bmm mv dot vdot _sparse_mm _int_mm"),
        (aten, _grouped_mm, "_grouped_mm"),
        (aten, _addmm, "addmm baddbmm addbmm addmv _addmm_activation _sparse_addmm sspaddmm"),
        (aten, _linear, "linear mkldnn_linear _weight_int8pack_mm"),
        (aten, _trilinear, "_trilinear"),
        (aten, _sdpa, "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_fused_attention_overrideable"),
        (aten, _multi_head, "_native_multi_head_attention"),
        (aten, _encoder_layer, "_transformer_encoder_layer_fwd"),
        (aten, _mkldnn_rnn, "mkldnn_rnn_layer"),
        (aten, _cudnn_rnn, "_cudnn_rnn miopen_rnn"),
        (aten, _quantised_lstm, "quantized_lstm"),
        (quantized, _linear, "linear linear_relu linear_dynamic linear_relu_dynamic linear_leaky_relu linear_tanh"),
        (torch.ops.torchvision, _deform_conv, "deform_conv2d"),
    ]
    for d in ("1d", "2d", "3d"):
        variants = "conv{0} conv{0}_relu conv{0}_dynamic conv{0}_add conv{0}_add_relu"
        by_namespace.append((quantized, _quantised_conv, variants.format(d)))
        by_namespace.append((quantized, _quantised_conv_transpose, f"conv_transpose{d} conv_transpose{d}_dynamic"))
    return {
        getattr(namespace, name): formula
        for namespace, formula, names in by_namespace
        for name in names.split()
        if hasattr(namespace, name)
    }


FORMULAS: dict[Any, Formula] = _table()
