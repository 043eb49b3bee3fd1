"""Attention by head, recomputed on a few queries: fused kernels never show their weights.

From the projections of ``nn.MultiheadAttention``, or from the outputs of sibling query and key layers under the names
that transformer libraries use. One sample a batch and ``QUERIES`` queries keep the cost far below that of the layer.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from ..document.facts import AttentionRow
from .layers import main_tensor

QUERIES = 32
MIN_VISIBLE = 8  # a row that sees fewer keys says nothing about entropy
_PAIRS = [("q_proj", "k_proj"), ("query", "key"), ("to_q", "to_k"), ("q_lin", "k_lin"), ("wq", "wk"), ("q", "k")]
_FUSED = ("qkv", "to_qkv", "Wqkv", "c_attn")
HEADS = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nhead", "heads")
_ROTATED = ("rope", "rotary", "q_norm", "k_norm", "query_norm", "alibi", "relative")
_NEAR = 0.05  # of an entropy, and of a deviation as a share of it: two ways to the same weights, one in half precision
_OTHERWISE = "queries and keys are changed, scaled or ordered in a way of its own after their projection"
_UNSEEN = "no softmax of queries against keys was seen where these are projected"
_MASKED = "a mask is handed in that their projections do not show"


class Few(NamedTuple):
    """What a few queries of the first sample say."""

    entropy: Tensor
    """(H,), the mean over those that see enough keys."""
    spread: Tensor
    """(H,)"""
    visible: Tensor
    """() keys that they see, of all heads together."""
    pairs: int
    """Of queries and keys, whether seen or not."""


class Watched(NamedTuple):
    """What the operators of a pass over the first batch say of attention."""

    few: Mapping[str, Few]
    """By module, of its first call."""
    places: frozenset[str] | None
    """Modules in whose code there was attention; None where some may be missing."""


def few_places(n: int, device: torch.device) -> Tensor:
    """Return which of ``n`` queries are looked at."""
    return torch.arange(0, n, max(1, math.ceil(n / QUERIES)), device=device)


@dataclass
class _Head:
    """Sums over queries, by head: (H,) float64 on the device."""

    entropy: Tensor | float = 0.0
    spread: Tensor | float = 0.0
    largest: Tensor | None = None
    n: Tensor | int = 0
    causal: bool = False
    mask_known: bool = True
    reason: str = ""
    waiting: dict[str, Tensor] = field(default_factory=dict)
    """Queries or keys of one sample until the other half arrives, within one forward pass."""
    first: Few | None = None
    """Of the first call."""
    names: tuple[str, ...] | None = None
    """Of the arguments of the module's forward, once they were asked for."""


class AttentionProbe:
    """Watches every attention module that can be recomputed. ``reasons`` names the others.

    ``watched``: what the operators say of the same queries. Where that is something else, queries and keys are not what
    their names promise (a fused layer orders heads and parts in one of many ways).
    """

    def __init__(self, model: nn.Module, watched: Watched | None = None) -> None:
        self._watched = watched or Watched({}, None)
        self._seen: dict[str, _Head] = {}
        self._model = model
        hooked = {n: m for n, m in model.named_modules() if not isinstance(m, torch.jit.ScriptModule)}
        self._torch = {n: m for n, m in hooked.items() if isinstance(m, nn.MultiheadAttention)}
        self._projected = {
            n: (m, found) for n, m in hooked.items() if n not in self._torch and (found := _projections(m)) is not None
        }

    def attach(self) -> list[Any]:
        """Install the hooks; the caller removes them."""
        handles: list[Any] = []
        for name, module in self._torch.items():
            seen = self._seen[name] = _Head()
            handles.append(module.register_forward_pre_hook(_guarded(seen, _of_torch), with_kwargs=True))
        for name, (module, found) in self._projected.items():
            seen = self._seen[name] = _Head()
            seen.causal, seen.mask_known = _mask_of(module)
            seen.reason = _rotated(module, self._model)
            if not seen.reason:
                handles.append(module.register_forward_pre_hook(_guarded(seen, _of_mask), with_kwargs=True))
                handles += [
                    part.register_forward_hook(_guarded_output(seen, key, *found[1:])) for key, part in found[0].items()
                ]
        return handles

    def next_batch(self) -> None:
        for seen in self._seen.values():
            seen.waiting.clear()

    def rows(self) -> list[AttentionRow]:
        """Return what was recomputed, by module."""
        rows = []
        for name, seen in self._seen.items():
            if name in self._projected and not seen.reason:
                seen.reason = self._doubt(name, seen)
            if seen.reason or seen.largest is None or not int(seen.n):
                continue
            entropy, spread = torch.as_tensor(seen.entropy / seen.n), torch.as_tensor(seen.spread / seen.n)
            if not bool(torch.isfinite(entropy).all() & torch.isfinite(spread).all() & torch.isfinite(seen.largest)):
                continue
            rows.append(
                AttentionRow(
                    name=name,
                    n_queries=int(seen.n),
                    causal=seen.causal,
                    entropy=entropy.tolist(),
                    logit_std=spread.tolist(),
                    logit_max=float(seen.largest),
                    mask_known=seen.mask_known,
                )
            )
        return rows

    def _doubt(self, name: str, seen: _Head) -> str:
        """Say why what was recomputed is not what the module did; '' where nothing tells so."""
        few, places = self._watched
        inside = f"{name}." if name else ""
        if places is not None and not any(place == name or place.startswith(inside) for place in places):
            return _UNSEEN
        return _differs(seen.first, few.get(name))

    @property
    def reasons(self) -> list[str]:
        return [f"{name or 'the model'}: {seen.reason}" for name, seen in self._seen.items() if seen.reason]


def _guarded(seen: _Head, measure: Callable[[_Head, Any, Any, Any], None]) -> Any:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        if seen.reason:
            return
        try:
            measure(seen, module, args, kwargs)
        except Exception as error:
            seen.reason = f"attention was not recomputed, {type(error).__name__}: {error}"

    return hook


def _guarded_output(seen: _Head, key: str, heads: int, fused: bool) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if seen.reason:
            return
        try:
            made = main_tensor(output)
            if made is not None and isinstance(module, _ConvNd):
                made = made.flatten(2).transpose(1, 2)  # features last
            _of_projection(seen, key, made, heads, fused=fused)
        except Exception as error:
            seen.reason = f"attention was not recomputed, {type(error).__name__}: {error}"

    return hook


def _of_torch(seen: _Head, module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    given |= kwargs
    query, key = given["query"], given["key"]
    if query.is_nested or query.dim() not in (2, 3) or not query.numel():
        return
    if query.dim() == 3:  # one sample, time first
        query, key = (query[0], key[0]) if module.batch_first else (query[:, 0], key[:, 0])
    if module._qkv_same_embed_dim:
        q_weight, k_weight, _ = module.in_proj_weight.detach().chunk(3)
    else:
        q_weight, k_weight = module.q_proj_weight.detach(), module.k_proj_weight.detach()
    bias = module.in_proj_bias
    q_bias, k_bias = (None, None) if bias is None else bias.detach().chunk(3)[:2]
    places = few_places(len(query), query.device)
    q = functional.linear(query.detach()[places], q_weight, q_bias)
    k = functional.linear(key.detach(), k_weight, k_bias)
    if module.bias_k is not None or module.add_zero_attn:
        raise ValueError("added keys are not recomputed")
    hidden = _hidden(given, places, len(key), module.num_heads)
    if given.get("is_causal") and given.get("attn_mask") is None:
        seen.causal = True
    _add(seen, q, k, module.num_heads, places, hidden)


def _hidden(given: dict[str, Any], places: Tensor, n_keys: int, heads: int) -> Tensor | None:
    """Bring the masks of sample 0 to one: (H or 1, Q, K), added to the logits."""
    total: Tensor | None = None
    for name in ("key_padding_mask", "attn_mask"):
        mask = given.get(name)
        if mask is None:
            continue
        added = (
            torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf)
            if mask.dtype == torch.bool
            else mask
        )
        if name == "key_padding_mask":
            added = (added[0] if added.dim() == 2 else added).expand(1, len(places), n_keys)
        else:
            added = added[:heads][:, places] if added.dim() == 3 else added[places].unsqueeze(0)
        total = added.float() if total is None else total + added.float()
    return total


def _of_mask(seen: _Head, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note that a mask is handed in: what it hides is not known here."""
    if seen.causal or not seen.mask_known:
        return
    if seen.names is None:
        seen.names = tuple(inspect.signature(module.forward).parameters)
    given = dict(zip(seen.names, args, strict=False)) | kwargs
    seen.mask_known = not any("mask" in name and isinstance(value, Tensor) for name, value in given.items())


def _of_projection(seen: _Head, key: str, output: Tensor | None, heads: int, *, fused: bool) -> None:
    if output is None or output.dim() != 3 or not output.numel():
        return
    one = output.detach()[0]  # (T, D)
    if fused:
        q, k, _ = one.chunk(3, -1)
    else:
        seen.waiting[key] = one.clone()
        if len(seen.waiting) < 2:
            return
        q, k = seen.waiting.pop("q"), seen.waiting.pop("k")
    places = few_places(len(q), q.device)
    _add(seen, q[places], k, heads, places, None)


def _add(seen: _Head, q: Tensor, k: Tensor, heads: int, places: Tensor, hidden: Tensor | None) -> None:
    """Add queries (Q, D) against keys (K, D'): heads share keys where the model has fewer key heads."""
    width = q.shape[-1] // heads
    k_heads = k.shape[-1] // width
    q = q.float().reshape(len(q), heads, width).transpose(0, 1)
    k = k.float().reshape(len(k), k_heads, width).transpose(0, 1).repeat_interleave(heads // k_heads, 0)
    logits = q @ k.transpose(1, 2) / math.sqrt(width)  # (H, Q, K)
    masked = logits if hidden is None else logits + hidden
    if seen.causal:
        later = torch.arange(k.shape[1], device=k.device) > places.unsqueeze(1)
        masked = masked.masked_fill(later, -math.inf)
    seeing = masked > -1e30
    visible = seeing.sum(-1)  # (H, Q)
    enough = visible >= MIN_VISIBLE
    log_p = masked.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).where(seeing, 0.0).sum(-1) / visible.clamp(min=2).log()
    entropy = entropy.double().where(enough, 0.0).sum(1)
    mean = logits.where(seeing, 0.0).sum(-1, keepdim=True) / visible.clamp(min=1).unsqueeze(-1)
    spread = ((logits - mean).square().where(seeing, 0.0).sum(-1) / visible.clamp(min=1)).sqrt()
    spread = spread.double().where(enough, 0.0).sum(1)
    seen.entropy, seen.spread = seen.entropy + entropy, seen.spread + spread
    if seen.first is None:
        n = enough.sum(1)
        seen.first = Few(entropy / n, spread / n, visible.sum(), seeing.numel())
    seen.n = seen.n + enough[0].sum()
    largest = logits.abs().where(seeing, 0.0).amax().double()
    seen.largest = largest if seen.largest is None else torch.maximum(seen.largest, largest)


def _differs(first: Few | None, watched: Few | None) -> str:
    """Say in what the weights recomputed differ from those of the operators; '' where they do not, or nobody knows."""
    if first is None or watched is None:
        return ""
    if first.entropy.shape != watched.entropy.shape or first.pairs != watched.pairs:
        return _OTHERWISE
    if int(first.visible) != int(watched.visible):
        return _MASKED
    far = (first.entropy - watched.entropy).abs() > _NEAR
    wide = (first.spread - watched.spread).abs() > _NEAR * (watched.spread + _NEAR)
    return _OTHERWISE if bool((far | wide).any()) else ""


def _projections(module: nn.Module) -> tuple[dict[str, nn.Module], int, bool] | None:
    """Return the layers that make queries and keys, the number of heads, and whether one layer makes all three."""
    children = {name: child for name, child in module._modules.items() if child is not None}
    pair = next(((q, k) for q, k in _PAIRS if q in children and k in children), None)
    fused = next((name for name in _FUSED if name in children), None)
    if pair is None and fused is None:
        return None
    heads = next((h for h in HEADS if isinstance(getattr(module, h, None), int)), None)
    if heads is None:
        return None
    if pair is not None:
        return {"q": children[pair[0]], "k": children[pair[1]]}, int(getattr(module, heads)), False
    return {"qkv": children[str(fused)]}, int(getattr(module, heads)), True


def _mask_of(module: nn.Module) -> tuple[bool, bool]:
    """Tell whether attention is causal, and whether that can be seen from the module at all."""
    told = getattr(module, "is_causal", None)
    if isinstance(told, bool):
        return told, True
    for buffer in module._buffers.values():
        square = buffer is not None and buffer.dim() >= 2 and buffer.shape[-1] == buffer.shape[-2] > 1
        if square and buffer is not None and bool((buffer[(0,) * (buffer.dim() - 2)].triu(1) == 0).all()):
            return True, True
    return False, False


def _rotated(module: nn.Module, model: nn.Module) -> str:
    """Say why queries and keys are not those of the layers that made them; '' when nothing tells so.

    Rotations are often applied by a function; then only a module elsewhere in the model that makes the angles tells.
    """
    names = [name for name, _ in module.named_modules() if name] + list(vars(module))
    names += [type(part).__name__ for part in model.modules()]
    found = next((n for n in names if any(r in n.lower() for r in _ROTATED)), None)
    return f"queries and keys are changed after their projection ({found})" if found else ""
