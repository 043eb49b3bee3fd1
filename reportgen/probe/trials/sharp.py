"""By what the products of queries and keys are multiplied on their way into a softmax, and what that makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ...subject.data import Batch
from ..seeding import seed_generators
from .drawn import draw_trainable
from .lab import Lab, NotApplicableError, Result, output_of

_SAMPLES = 8
_FEWEST = 4  # keys that a row must see
_HARD = 0.99  # of a weight: the rest of the row has next to none
_PRODUCTS = ("matmul", "bmm", "einsum")
_TIMES = ("mul", "multiply", "rmul", "imul")
_OVER = ("div", "divide", "truediv", "true_divide", "itruediv")
_MASKS = ("masked_fill", "where", "add", "radd", "iadd", "sub", "isub", "clamp", "clip", "tanh", "dropout")
_VIEWS = (
    "view",
    "reshape",
    "transpose",
    "permute",
    "movedim",
    "swapaxes",
    "unsqueeze",
    "squeeze",
    "flatten",
    "unflatten",
)
_COPIES = ("get", "getitem", "expand", "contiguous", "clone", "to", "float", "half", "type", "type_as", "bfloat16")


def score_scale(lab: Lab) -> Result:
    """Follow products of queries and keys to their softmax, in the model as it is and with its weights drawn anew.

    Written out, or in ``scaled_dot_product_attention`` with a scale of its own. Of the call whose logits, drawn anew,
    are widest apart: ``width`` of a query; ``factor``: what queries, keys and products are multiplied with in all;
    ``spread`` and ``own_spread``: deviation of products so multiplied along the keys, four at least, mean over rows,
    drawn anew and as it is; ``hard`` and ``own_hard``: share of the rows that give one key more than 0.99;
    ``product``: largest product of a query and a key drawn anew, 1 at most where both are brought to length 1;
    ``learned``: the one query of all samples is a parameter, a vector or the weight of a layer with one output, which
    is at any length. Other products with parameters, and those scaled by a number that is learned, are passed over.
    """
    batch = lab.samples(_SAMPLES, least=2)
    now = _calls(lab.model.eval(), batch, lab.seed)
    if not any(math.isfinite(call.spread) for call in now):
        raise NotApplicableError("no product of queries and keys goes into a softmax")
    fresh = lab.fresh().model.eval()
    draw_trainable(fresh, lab.seed)
    before = _calls(fresh, batch, lab.seed)
    pairs = [(b, n) for b, n in zip(before, now, strict=False) if b.width == n.width and math.isfinite(b.spread)]
    if not pairs:
        raise NotApplicableError("no product of queries and keys goes into a softmax")
    was, is_ = max(pairs, key=lambda pair: pair[0].spread)
    return Result(
        {
            "width": float(was.width),
            "factor": was.factor,
            "spread": was.spread,
            "hard": was.hard,
            "own_spread": is_.spread,
            "own_hard": is_.hard,
            "product": was.largest,
            "learned": float(was.learned),
            "calls": float(len(pairs)),
        }
    )


@dataclass
class _Call:
    """One softmax behind a product; means over its rows."""

    width: int
    factor: float
    spread: float
    largest: float
    """Product."""
    hard: float
    learned: bool


def _calls(model: nn.Module, batch: Batch, seed: int) -> list[_Call]:
    watch = _Watch()
    seed_generators(seed)
    with torch.enable_grad(), watch:  # what is learned shows by its gradient
        output_of(model, batch)
    return watch.calls


@dataclass(frozen=True)
class _Product:
    """A product of queries and keys on its way; ``factor`` is what it has been multiplied with in all."""

    held: Tensor
    width: int
    factor: float
    spread: float
    """Of the products, without the factor."""
    largest: float
    single: bool = False
    """One score for each key: (N, T) or (N, T, 1)."""
    learned: bool = False
    """The query is a parameter."""


@dataclass
class _Watch(TorchFunctionMode):
    """``scaled``: tensors that are another one times a number. Both tables hold the tensors, so that ids are theirs."""

    calls: list[_Call] = field(default_factory=list)
    scaled: dict[int, tuple[Tensor, float]] = field(default_factory=dict)
    products: dict[int, _Product] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        grown = math.prod(self.scaled[id(t)][1] for t in given if id(t) in self.scaled)
        known = [self.products[id(t)] for t in given if id(t) in self.products]
        by = _number(name, args, given)
        result = func(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            self._fused(given, args, kwargs)
        elif not isinstance(result, Tensor) or not result.is_floating_point():
            pass
        elif name == "softmax" and known:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            along = 1 if known[0].single else result.dim() - 1
            if dim in (along, along - result.dim()):
                self._look(known[0], result, along)
        elif name in (*_PRODUCTS, "linear"):
            if (width := _width(given)) is not None and result.dim() >= 3 and result.shape[-1] >= _FEWEST:
                self.products[id(result)] = _product(result, width, grown)
            elif (found := _one_query(given, result)) is not None:
                width, learned = found
                told = _product(result.reshape(len(result), -1), width, grown)
                self.products[id(result)] = replace(told, held=result, single=True, learned=learned)
        elif by is not None or name in (*_MASKS, *_VIEWS, *_COPIES):
            self._carry(result, known, grown, name, 1.0 if by is None else by)
        return result

    def _carry(self, result: Tensor, known: list[_Product], grown: float, name: str, by: float) -> None:
        """Note that a result is still a product, masked or multiplied, or a tensor times a number."""
        if len(known) == 1:
            self.products[id(result)] = replace(known[0], held=result, factor=known[0].factor * by)
        elif not known and grown * by != 1 and name not in _MASKS:
            self.scaled[id(result)] = (result, grown * by)

    def _look(self, product: _Product, weights: Tensor, along: int = -1) -> None:
        hard = float((weights.detach().amax(along) > _HARD).float().mean())
        spread = product.spread * abs(product.factor)
        self.calls.append(_Call(product.width, product.factor, spread, product.largest, hard, product.learned))

    def _fused(self, given: list[Tensor], args: Any, kwargs: Any) -> None:
        scale = kwargs.get("scale", args[6] if len(args) > 6 else None)
        if scale is None or len(given) < 3 or given[0].dim() < 3 or kwargs.get("enable_gqa"):
            return
        q, k = given[0].detach(), given[1].detach()
        product = replace(_product(q @ k.transpose(-1, -2), q.shape[-1], 1.0), factor=float(scale))
        if k.shape[-2] >= _FEWEST:
            self._look(product, (product.held.float() * float(scale)).softmax(-1))


def _product(result: Tensor, width: int, grown: float) -> _Product:
    """Measure products at once, for masks and scales may be written into them."""
    raw = result.detach().float() / (grown or 1.0)
    spread = float(raw.std(-1, correction=0).mean()) if math.isfinite(grown) else math.nan
    return _Product(result, width, grown, spread, float(raw.abs().max()))


def _width(given: list[Tensor]) -> int | None:
    """Return the width of queries and keys that are multiplied; None of any other product."""
    if len(given) != 2 or any(t.dim() < 3 or isinstance(t, nn.Parameter) for t in given):
        return None
    q, k = given
    return q.shape[-1] if q.shape[-1] in (k.shape[-1], k.shape[-2]) and q.shape[-1] > 1 else None


def _one_query(given: list[Tensor], result: Tensor) -> tuple[int, bool] | None:
    """Return the width of the one query of each sample, or of all of them, and whether it is a parameter.

    None of other products. Keys are (N, T, D), and a score for each of them comes out.
    """
    keys = [t for t in given if t.dim() == 3 and t.shape[:2] == result.shape[:2] and not isinstance(t, nn.Parameter)]
    if not keys or result.dim() not in (2, 3) or result.numel() != math.prod(result.shape[:2]):
        return None
    n, length, width = keys[0].shape
    others = [t for t in given if t is not keys[0] and t.numel() in (width, n * width)]
    if length < _FEWEST or width < 2 or not others:
        return None
    query = others[0]
    learned = isinstance(query, nn.Parameter) or isinstance(query._base, nn.Parameter)
    return width, learned and query.numel() == width


def _number(name: str, args: Any, given: list[Tensor]) -> float | None:
    """Return the number that a tensor is multiplied with; None of another operation, NaN of one that is learned."""
    if name not in (*_TIMES, *_OVER) or len(args) < 2:
        return None
    wide = [t for t in given if t.numel() > 1]
    others = [a for a in args[:2] if not (isinstance(a, Tensor) and a.numel() > 1)]
    if len(wide) != 1 or len(others) != 1 or (name in _OVER and others[0] is args[0]):
        return None
    number = others[0]
    if isinstance(number, Tensor):
        number = math.nan if isinstance(number, nn.Parameter) or number.requires_grad else float(number)
    if not isinstance(number, (int, float)):
        return None
    return float(number) if name in _TIMES else 1 / number if number else math.nan
