"""Where the weights are in what a file of ``torch.save`` holds: the layouts that people save.

A state dict as it is; a training checkpoint that holds one under a usual key; several parts; tables inside tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

Scalar = float | int | str

_KEYS = ("model_state_dict", "state_dict", "model", "net", "network", "module")
_AVERAGED_KEYS = ("state_dict_ema", "model_ema")
NOT_WEIGHTS = re.compile(r"optim|sched|rng|random|scaler", re.IGNORECASE)
_DEEPEST = 8


def optimizers_in(found: Mapping[Any, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the state dicts of optimizers, under whatever key; Lightning keeps a list of them."""
    candidates = [item for value in found.values() for item in (value if isinstance(value, (list, tuple)) else [value])]
    return tuple(one for one in candidates if is_optimizer(one))


def is_optimizer(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("state"), Mapping)
        and isinstance(value.get("param_groups"), (list, tuple))
    )


def find_state(found: Mapping[Any, Any], *, further: bool = True) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the words that say where they were; no tensors when there is no state dict.

    ``further``: where there is none at the usual places, look inside tables of tables.
    """
    parts = {key: value for key, value in found.items() if _is_state(key, value)}
    for key in (*_KEYS, *_AVERAGED_KEYS):
        if key in parts or _holds_tensors(found.get(key)):
            averages = [name for name in _AVERAGED_KEYS if name in parts]
            note = f" ({', '.join(map(repr, averages))} left aside: averaged weights)" if averages else ""
            if key in _AVERAGED_KEYS:
                note = " (averaged weights)"
            return _tensors(found[key]), f"{key!r} of a training checkpoint{note}{_others(found[key])}"
    parts = {key: value for key, value in parts.items() if not NOT_WEIGHTS.search(key)}
    if len(parts) == 1:
        ((key, value),) = parts.items()
        return _tensors(value), f"{key!r} of a training checkpoint"
    if parts:
        names = " and ".join(map(repr, parts))
        joined = {f"{key}.{name}": t for key, value in parts.items() for name, t in _tensors(value).items()}
        return joined, f"{names} of a training checkpoint, joined under these names"
    if tensors := _tensors(found):
        return tensors, f"state dict{_others(found)}"
    return _further_in(found) if further else ({}, "")


def _further_in(found: Mapping[Any, Any]) -> tuple[dict[str, Tensor], str]:
    """Look for tensors inside tables: down the only one that there is, then in all of them."""
    way: list[str] = []
    if is_optimizer(found):
        return {}, ""
    while len(inner := [(k, v) for k, v in found.items() if isinstance(v, Mapping)]) == 1 and len(way) < _DEEPEST:
        ((key, found),) = inner
        if is_optimizer(found) or NOT_WEIGHTS.search(str(key)):
            return {}, ""
        way.append(str(key))
        if _holds_tensors(found) or any(_is_state(k, v) for k, v in found.items()):
            tensors, where = find_state(found)
            return tensors, f"{where} inside {'.'.join(way)!r}"
    return dict(_leaves(found, "", 0)), "tensors inside tables, under the names of their keys"


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors inside plain containers, but for those of optimizers and generators."""
    if isinstance(value, Tensor):
        yield name, value.detach() if value.requires_grad else value
    elif depth < _DEEPEST and isinstance(value, (Mapping, list, tuple)) and not is_optimizer(value):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            if not NOT_WEIGHTS.search(str(key)):
                yield from _leaves(item, f"{name}.{key}" if name else str(key), depth + 1)


def of_sequence(found: Any) -> Any:
    """Return the only table with weights in a list or a tuple, (state dict, epoch) for one; anything else as it is."""
    if not isinstance(found, (list, tuple)):
        return found
    inside = [one for one in found if isinstance(one, Mapping) and find_state(one)[0]]
    return inside[0] if len(inside) == 1 else found


def _others(found: Mapping[Any, Any]) -> str:
    others = sum(not isinstance(value, Tensor | Scalar) for value in found.values())
    return f" (entries that are no tensors left out: {others})" if others else ""


def _holds_tensors(value: Any) -> bool:
    """Tell a table of names, some of them of tensors, from everything else."""
    return isinstance(value, Mapping) and any(
        isinstance(v, Tensor) and isinstance(name, str) for name, v in value.items()
    )


def _is_state(key: object, value: object) -> bool:
    """Tell whether an entry is a state dict of its own. Only the extra state of modules may be something else in it."""
    if not isinstance(key, str) or key.endswith("_extra_state") or not isinstance(value, Mapping) or not value:
        return False
    if not all(isinstance(name, str) for name in value):
        return False
    kinds = [isinstance(v, Tensor) for name, v in value.items() if not name.endswith("_extra_state")]
    return bool(kinds) and all(kinds)


def _tensors(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value.detach() if value.requires_grad else value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def scalars(found: Mapping[Any, Any]) -> dict[str, Scalar]:
    """Return the plain scalars beside the weights. One alone in a tensor counts, as ``best_acc1`` often is."""
    plain = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Scalar)}
    loose = {key: value.item() for key, value in _tensors(found).items() if value.dim() == 0 and value.is_cpu}
    return plain | loose
