"""The state of optimizers in a checkpoint: steps, moments that never saw a gradient, and those below eps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..document.states import MomentRow, OptimizerState

_FIRST = ("exp_avg", "momentum_buffer")
_SECOND = ("exp_avg_sq", "square_avg", "sum")
_SLICE = 1 << 20


def state_of(
    optimizer: Mapping[str, Any],
    parameters: Sequence[tuple[str, tuple[int, ...]]],
    release: Callable[[Tensor], None] = lambda part: None,
) -> OptimizerState | None:
    """Describe the state dict of an optimizer; ``parameters``: names and shapes in the order of the model.

    ``release`` is told of each part that is done with. None where it is not of the form that PyTorch writes.
    """
    groups = [g for g in optimizer["param_groups"] if isinstance(g, Mapping)]
    held = [params for g in groups if isinstance(params := g.get("params"), (list, tuple))]
    keys = [key for params in held for key in params]
    as_written = {str(key): key for key in keys}  # a distributed checkpoint keeps numbers as text
    state = {
        as_written.get(str(key), key): value for key, value in optimizer["state"].items() if isinstance(value, Mapping)
    }
    if not groups:
        return None
    names = _names(keys, state, parameters)
    rows = [_row(names[key], state[key], groups[0], release) for key in keys if key in state]
    steps = [row.step for row in rows if row.step is not None]
    first = groups[0]
    betas = first.get("betas")
    return OptimizerState(
        kind=_kind(state),
        parameters=len(keys),
        with_state=len(rows),
        step=max(steps, default=None),
        rates=[rate for g in groups if (rate := _number(g.get("lr"))) is not None],
        eps=_number(first.get("eps")),
        betas=[b for b in map(_number, betas) if b is not None] if isinstance(betas, (list, tuple)) else [],
        weight_decay=_number(first.get("weight_decay")),
        rows=rows,
    )


def _names(
    keys: list[Any], state: Mapping[Any, Mapping[Any, Any]], parameters: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[Any, str]:
    """Name the parameters by their order, where all shapes that are known agree with it."""
    plain = {key: key if isinstance(key, str) else f"parameter {key}" for key in keys}
    if len(keys) != len(parameters) or all(isinstance(key, str) for key in keys):  # or named as they are
        return plain
    for key, (_, shape) in zip(keys, parameters, strict=True):
        moment = _moment(state.get(key, {}), (*_FIRST, *_SECOND))
        if moment is not None and tuple(moment.shape) != shape:
            return plain
    return {key: name for key, (name, _) in zip(keys, parameters, strict=True)}


def _row(name: str, state: Mapping[Any, Any], group: Mapping[Any, Any], release: Callable[[Tensor], None]) -> MomentRow:
    first, second = _moment(state, _FIRST), _moment(state, _SECOND)
    known = second if second is not None else first
    step = _number(state.get("step"))
    tensors = [t for t in state.values() if _is_dense(t)]
    row = MomentRow(
        name=name,
        count=0 if known is None else known.numel(),
        step=step,
        nonfinite=sum(int((~torch.isfinite(part)).sum()) for t in tensors for part in _parts(t, release)),
    )
    if second is None or row.nonfinite or not second.numel() or (first is not None and first.shape != second.shape):
        return row
    adam = "exp_avg_sq" in state
    b1, b2 = _betas(group) if adam else (0.0, 0.0)
    bias1, bias2 = (1 - b**step if step and step > 0 and 0 <= b < 1 else 1.0 for b in (b1, b2))
    eps = _number(group.get("eps")) or 0.0
    firsts = _parts(first, release) if first is not None and adam else repeat(None)
    return _with_second(row, firsts, _parts(second, release), (bias1, bias2), eps)


def _betas(group: Mapping[Any, Any]) -> tuple[float, float]:
    betas = group.get("betas")
    numbers = [_number(b) for b in betas[:2]] if isinstance(betas, (list, tuple)) else []
    return (numbers[0] or 0.0, numbers[1] or 0.0) if len(numbers) == 2 else (0.0, 0.0)


def _with_second(
    row: MomentRow,
    firsts: Iterable[Tensor | None],
    seconds: Iterable[Tensor],
    biases: tuple[float, float],
    eps: float,
) -> MomentRow:
    """Count over the second moments in slices; ``biases``: what Adam divides the moments by."""
    negative = unseen = floored = seen = 0
    signal = 0.0
    bias1, bias2 = biases
    for part, mean in zip(seconds, firsts, strict=False):
        v = part.double() / bias2
        negative += int((v < 0).sum())
        unseen += int((v == 0).sum())
        positive = v > 0
        floored += int(((v.clamp_min(0).sqrt() < eps) & positive).sum())
        if mean is not None:
            m = mean.double() / bias1
            signal += float((m[positive].square() / v[positive]).sum())
            seen += int(positive.sum())
    return MomentRow(
        name=row.name,
        count=row.count,
        step=row.step,
        negative=negative,
        unseen=unseen,
        floored=floored,
        stale=math.sqrt(signal / seen) if seen and math.isfinite(signal) else None,
    )


def _parts(x: Tensor, release: Callable[[Tensor], None]) -> Iterator[Tensor]:
    for part in torch.split(x.detach().reshape(-1), _SLICE):
        yield part.float() if part.element_size() == 1 else part  # of 8 bits, with which torch does not compute
        release(part)


def _moment(state: Mapping[Any, Any], names: Sequence[str]) -> Tensor | None:
    found = (state.get(name) for name in names)
    return next((t for t in found if _is_dense(t)), None)


def _is_dense(value: Any) -> TypeGuard[Tensor]:
    """Tell a tensor of moments, as optimizers keep them, from everything else that a file may hold in its place."""
    plain = isinstance(value, Tensor) and value.is_floating_point() and value.layout is torch.strided
    return plain and not value.is_nested and bool(value.dim())


def _number(value: Any) -> float | None:
    """Return a plain number; some optimizers keep their step and rate in tensors."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _kind(state: Mapping[Any, Mapping[Any, Any]]) -> str:
    kept = {key for one in state.values() for key in one if isinstance(key, str)}
    if "exp_avg_sq" in kept:
        return "Adam"
    if "momentum_buffer" in kept and not kept & set(_SECOND):
        return "SGD with momentum"
    return "Adagrad or RMSprop" if kept & set(_SECOND) else "without moments"
