"""Where each head of attention looks, from the operators of one forward pass, whoever wrote the model.

Attention that is written out shows its weights: the result of a softmax that enters a product of matrices. A fused
operator is given queries, keys and mask, and its weights are computed anew for one sample. So nothing need be known of
the model: projections, rotations, shared keys and windows have happened before.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import one_line
from .attention import HEADS, MIN_VISIBLE, Few, Watched, few_places
from .memory import storage_of

SIDE = 24  # rows and columns at most that one head has in a picture
MAX_HEADS = 16
_MAX_LAYERS = 256
_WINDOWS = 4
_ELEMENTS = 1 << 25  # weights of one call for one sample; beyond it nothing is computed
_ROLLOUT = 1024
_MASKED = 5e3  # below the largest logit of a row: hidden by -1e4, -1e9 or -inf
_CROSS = ("cross", "multihead_attn", "encoder_attn", "encdec")
_FUSED = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


@dataclass
class Seen:
    """One call of attention; tensors stay on the device until the pass is over."""

    name: str
    call: int
    heads: int
    n_queries: int
    n_keys: int
    windows: int
    fused: bool
    entropy: Tensor
    """(H,)"""
    spread: Tensor
    """(H,) standard deviation of logits; NaN where too few weights are above 0."""
    causal: Tensor
    """() bool"""
    maps: Tensor
    """(heads shown, rows, columns): weights against looking at all visible keys alike, which is 1; means over
    neighbours."""
    few: Few | None = None
    """None where attention is by windows."""


class _Soft(NamedTuple):
    """The result of a softmax: how it lies in memory, and what it was made from for the first sample."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    logits: Tensor


class AttentionWatch:
    """Watches the operators of one pass over a batch of ``n_samples``."""

    def __init__(self, model: nn.Module, n_samples: int) -> None:
        self._modules = dict(model.named_modules())
        self._n = max(n_samples, 1)
        self._soft: dict[int, _Soft] = {}
        self._alive: dict[int, Any] = {}
        self._calls: dict[str, int] = {}
        self._troubled: set[str] = set()
        self.seen: list[Seen] = []
        self.rolled: Tensor | None = None
        """(T, T): what each position has of each input position after all layers."""
        self.no_rollout = ""
        self.reasons: list[str] = []
        self._handlers = {"_softmax": self._softmax, "_safe_softmax": self._softmax}
        self._handlers |= dict.fromkeys(("bmm", "baddbmm"), self._product)
        self._handlers |= dict.fromkeys(("_to_copy", "clone"), self._copied)
        self._handlers |= dict.fromkeys(_FUSED, self._fused)
        self._handlers["_native_multi_head_attention"] = self._native

    def see(self, func: Any, args: Any, kwargs: Any, out: Any, place: str) -> None:
        """An operator has run in the code of the module at ``place``."""
        handler = self._handlers.get(func._opname)
        if handler is None or len(self.seen) >= _MAX_LAYERS:
            return
        try:
            handler(_bound(func, args, kwargs), out, place)
        except Exception as error:
            self._tell(place, one_line(error))

    @property
    def found(self) -> bool:
        """Tell whether there was attention at all, be it that it could not be measured."""
        return bool(self.seen or self.reasons)

    @property
    def told(self) -> Watched:
        """Return what queries and keys that are recomputed are held against."""
        few = {seen.name: seen.few for seen in self.seen if not seen.call and seen.few is not None}
        places = frozenset(self._calls) | frozenset(self._troubled)
        return Watched(few, places if len(self.seen) < _MAX_LAYERS else None)

    def close(self) -> None:
        """Forget all tensors that belong to the pass."""
        self._soft.clear()
        self._alive.clear()

    def _tell(self, place: str, why: str) -> None:
        self._troubled.add(place)
        line = f"{place or 'the model'}: {why}"
        if line not in self.reasons and len(self.reasons) < 20:
            self.reasons.append(line)

    def _softmax(self, given: dict[str, Any], out: Tensor, place: str) -> None:
        if given["dim"] % out.dim() == out.dim() - 1 and out.dim() in (3, 4) and out.shape[-1] > 1:
            self._note(out, self._all_of_sample(given["self"]).clone())

    def _note(self, out: Tensor, logits: Tensor) -> None:
        storage = storage_of(out)
        if storage is not None:
            key = storage._cdata
            self._soft[key] = _Soft(tuple(out.shape), tuple(out.stride()), int(out.storage_offset()), logits)
            self._alive[key] = weakref.ref(storage, lambda _: self._soft.pop(key, None))

    def _copied(self, given: dict[str, Any], out: Tensor, place: str) -> None:
        storage = storage_of(given["self"]) if self._soft else None
        told = None if storage is None else self._soft.get(storage._cdata)
        if told is not None and tuple(out.shape) == told.shape:
            self._note(out, told.logits)

    def _product(self, given: dict[str, Any], out: Tensor, place: str) -> None:
        for operand in ("self", "mat2", "batch1", "batch2") if self._soft else ():
            factor = given.get(operand)
            storage = storage_of(factor) if isinstance(factor, Tensor) else None
            told = None if storage is None else self._soft.pop(storage._cdata, None)
            if told is None or factor is None:
                continue
            weights, logits = torch.as_strided(factor.detach(), *told[:3]), told.logits
            if weights.dim() == 3:  # samples and heads in one dimension, samples outside
                heads = self._heads_at(place) or len(weights) // self._n
                if not heads or len(weights) % heads:
                    self._tell(place, f"heads cannot be told from samples in attention of shape {tuple(weights.shape)}")
                    continue
                weights = weights.reshape(-1, heads, *weights.shape[1:])
                logits = logits.reshape(-1, heads, *logits.shape[1:]) if len(logits) % heads == 0 else logits[None]
            weights = self._of_sample(weights).float()
            self._add(place, weights, (weights > 0).any(1, keepdim=True), logits.float(), fused=False)

    def _fused(self, given: dict[str, Any], out: Any, place: str) -> None:
        q, k = self._of_sample(given["query"]).float(), self._of_sample(given["key"]).float()
        scale = given.get("scale")
        mask = given.get("attn_mask", given.get("attn_bias"))
        if mask is not None and mask.dim() == 4 and len(mask) > 1:
            mask = self._of_sample(mask)
        if not self._fits(place, q, k):
            return
        hidden = torch.zeros(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
        if given.get("is_causal"):
            hidden = ~torch.ones_like(hidden).tril()
        if mask is not None:
            hidden = hidden | (~mask if mask.dtype == torch.bool else mask < -1e30)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        logits = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        logits = logits if mask is None or mask.dtype == torch.bool else logits + mask.float()
        weights = logits.masked_fill(hidden, -math.inf).softmax(-1).nan_to_num(0.0)
        visible = ~hidden.expand(len(weights), -1, -1, -1) if hidden.dim() == 4 else ~hidden.expand_as(weights[:, :1])
        self._add(place, weights, visible, logits.masked_fill(hidden, -math.inf), fused=True)

    def _native(self, given: dict[str, Any], out: Any, place: str) -> None:
        heads, mask, kind = given["num_head"], given.get("mask"), given.get("mask_type")
        q_weight, k_weight, _ = given["qkv_weight"].chunk(3)
        q_bias, k_bias, _ = given["qkv_bias"].chunk(3)
        q = functional.linear(given["query"][:1].float(), q_weight.float(), q_bias.float())
        k = functional.linear(given["key"][:1].float(), k_weight.float(), k_bias.float())
        split = (1, -1, heads, q.shape[-1] // heads)
        told = {"query": q.reshape(split).transpose(1, 2), "key": k.reshape(split).transpose(1, 2)}
        if mask is not None:  # here True hides
            mask = mask[None, None] if kind == 0 else mask[:1, None, None] if mask.dim() == 2 else mask[:1]
            told["attn_mask"] = ~mask if mask.dtype == torch.bool else mask
        self._fused(told, out, place)

    def _of_sample(self, tensor: Tensor) -> Tensor:
        """Return what belongs to the first sample: one row of the batch, or the first few of its windows."""
        parts = len(tensor) // self._n if len(tensor) % self._n == 0 else 1
        return tensor.detach()[: min(max(parts, 1), _WINDOWS)]

    def _all_of_sample(self, tensor: Tensor) -> Tensor:
        """Return what belongs to the first sample, its heads too where they stand in one dimension with samples."""
        return tensor.detach()[: max(len(tensor) // self._n, 1)] if tensor.dim() == 3 else self._of_sample(tensor)

    def _heads_at(self, place: str) -> int | None:
        """Return the number of heads that the module there, or the one around it, says it has."""
        for name in (place, place.rpartition(".")[0]):
            told = (getattr(self._modules.get(name), attribute, None) for attribute in HEADS)
            found = next((n for n in told if type(n) is int and n > 0), None)
            if found is not None:
                return found
        return None

    def _fits(self, place: str, q: Tensor, k: Tensor) -> bool:
        n = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
        if n > _ELEMENTS:
            self._tell(place, f"weights of one sample are {n:,} numbers, too many to be computed anew")
        return 0 < n <= _ELEMENTS

    def _add(self, place: str, weights: Tensor, visible: Tensor, logits: Tensor, *, fused: bool) -> None:
        """Add weights and logits (windows, H, Q, K), and which keys each query sees (windows, 1 or H, Q, K)."""
        windows, heads, n_queries, n_keys = weights.shape
        seen = visible.sum(-1)
        entropy = torch.special.entr(weights).sum(-1) / seen.clamp(min=2).log()
        several = (seen > 1).expand_as(entropy)
        entropy = entropy.where(several, 0.0).sum((0, 2)) / several.sum((0, 2))
        square = n_queries == n_keys > 2
        causal = ~weights.triu(1).any() if square else torch.zeros((), dtype=torch.bool, device=weights.device)
        few = (weights[0] * seen[0].unsqueeze(-1))[:: math.ceil(heads / MAX_HEADS)]
        maps = functional.adaptive_avg_pool2d(few, (min(n_queries, SIDE), min(n_keys, SIDE)))
        call = self._calls[place] = self._calls.get(place, -1) + 1
        told = (place, call, heads, n_queries, n_keys, windows, fused)
        one = Seen(*told, entropy=entropy, spread=_logit_spread(logits), causal=causal, maps=maps)
        if windows == 1 and weights.shape == logits.shape:
            one.few = _few(weights, logits)
        self.seen.append(one)
        self._roll(place, weights)

    def _roll(self, place: str, weights: Tensor) -> None:
        """Follow attention through one layer more, with half of it the identity for the way around."""
        windows, _, n_queries, n_keys = weights.shape
        if self.no_rollout:
            return
        if windows > 1:
            self.no_rollout = "attention is by windows"
        elif n_queries != n_keys or any(word in place.lower() for word in _CROSS):
            self.no_rollout = "one sequence attends to another"
        elif n_keys > _ROLLOUT:
            self.no_rollout = f"there are more than {_ROLLOUT} positions"
        elif self.rolled is not None and len(self.rolled) != n_keys:
            self.no_rollout = "the number of positions changes from layer to layer"
        else:
            mean = weights[0].mean(0)
            step = (mean + torch.eye(n_keys, device=mean.device)) / 2
            self.rolled = step if self.rolled is None else step @ self.rolled


def _few(weights: Tensor, logits: Tensor) -> Few:
    """Return what the queries say that others recompute: weights and logits (1, H, Q, K)."""
    at = few_places(weights.shape[2], weights.device)
    weights, logits = weights[:, :, at], logits[:, :, at]
    n = (logits > logits.amax(-1, keepdim=True) - _MASKED).sum(-1)[0]
    enough = n >= MIN_VISIBLE
    entropy = torch.special.entr(weights[0]).sum(-1) / n.clamp(min=2).log()
    entropy = entropy.where(enough, 0.0).sum(1) / enough.sum(1)
    return Few(entropy, _logit_spread(logits), n.sum(), logits[0].numel())


def _logit_spread(logits: Tensor) -> Tensor:
    """Return by head how far the logits of a query's keys lie apart, the mean over queries: (H,)."""
    known = logits > logits.amax(-1, keepdim=True) - _MASKED
    n = known.sum(-1)
    mean = logits.where(known, 0.0).sum(-1) / n.clamp(min=1)
    square = (logits - mean.unsqueeze(-1)).square().where(known, 0.0).sum(-1) / n.clamp(min=1)
    enough = n >= MIN_VISIBLE
    return square.sqrt().where(enough, 0.0).sum((0, 2)) / enough.sum((0, 2))


def _bound(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    given: dict[str, Any] = dict(zip((a.name for a in func._schema.arguments), args, strict=False))
    given.update(kwargs)
    return given
