"""Who owns which parameter, and where each stands against its start."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..document.history import OptimizerRun
from ..probe.layers import kind_of
from .naming import modules_of
from .observations import ParameterEntry, Setting, Standing
from .samples import entries, lifted, n_nonfinite

_LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)


class Past:
    """An optimizer in whose place another one steps: its settings, without what it held in memory."""

    def __init__(self, optimizer: Optimizer, row: OptimizerRun) -> None:
        self.optimizer, self.row = weakref.ref(optimizer), row
        self.param_groups: list[dict[str, Any]] = [{**group, "params": []} for group in optimizer.param_groups]


@dataclass(frozen=True)
class Table:
    """The parameters of all models, in order, each once; ``covers`` holds the places that each optimizer's look covers:
    its own parameters, and with the first optimizer those that nobody owns.
    """

    parameters: list[nn.Parameter]
    entries: list[ParameterEntry]
    optimizers: list[OptimizerRun]
    covers: list[list[int]]
    n_owned: int
    """Parameters in all groups of all optimizers, to see that a group was added."""
    is_whole: bool
    """False while parameters have no shape yet (lazy modules before their first call)."""
    places: dict[int, int]
    """Place of each parameter by id."""

    def place_of(self, parameter: nn.Parameter | None) -> int | None:
        return self.places.get(id(parameter))


def table_of(
    models: Mapping[str, nn.Module], optimizers: Sequence[Optimizer | Past], labels: Sequence[str] = ()
) -> Table:
    """List the parameters of the models; those without a shape yet (lazy modules before their first call) are left out.

    ``models`` maps the prefix of the names (``''``, ``'generator.'``) to the model. A parameter of several optimizers
    belongs to the last: it came when the others had done their part.
    """
    owners = {
        id(p): (i, j)
        for i, optimizer in enumerate(optimizers)
        for j, group in enumerate(optimizer.param_groups)
        for p in group["params"]
    }
    found: dict[int, nn.Parameter] = {}
    rows: list[ParameterEntry] = []
    for path, module in modules_of(models):
        for name, p in module._parameters.items():
            if p is None or isinstance(p, _LAZY) or id(p) in found:
                continue
            found[id(p)] = p
            rows.append(_entry(f"{path}.{name}" if path else name, module, p, owners))
    covers: list[list[int]] = [[] for _ in optimizers]
    for place, row in enumerate(rows):
        if optimizers:
            covers[row.optimizer or 0].append(place)
    return Table(
        parameters=list(found.values()),
        entries=rows,
        optimizers=[optimizer_row(o, set(found), label) for o, label in zip_longest(optimizers, labels, fillvalue="")],
        covers=covers,
        n_owned=n_owned(optimizers),
        is_whole=not any(isinstance(p, _LAZY) for model in models.values() for p in model.parameters()),
        places={key: place for place, key in enumerate(found)},
    )


def parameters_in(optimizer: Optimizer | Past) -> set[int]:
    """Return the ids of the parameters that an optimizer moves."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def n_owned(optimizers: Sequence[Optimizer | Past]) -> int:
    return sum(len(group["params"]) for optimizer in optimizers for group in optimizer.param_groups)


def _entry(name: str, module: nn.Module, p: nn.Parameter, owners: dict[int, tuple[int, int]]) -> ParameterEntry:
    optimizer, group = owners.get(id(p), (None, None))
    return ParameterEntry(
        name=name,
        module=kind_of(module),
        shape=list(p.shape),
        is_matrix=p.dim() >= 2 and not isinstance(module, (nn.Embedding, nn.EmbeddingBag)),
        trainable=p.requires_grad,
        optimizer=optimizer,
        group=group,
    )


def optimizer_row(optimizer: Any, known: set[int], label: str) -> OptimizerRun:
    """Describe an optimizer; ``known`` are the ids of the parameters of the models."""
    if isinstance(optimizer, Past):
        return optimizer.row
    groups = optimizer.param_groups
    return OptimizerRun(
        name=type(optimizer).__name__,
        label=label,
        n_steps=0,
        settings=settings_of(optimizer),
        group_sizes=[sum(p.numel() for p in g["params"] if not isinstance(p, _LAZY)) for g in groups],
        foreign=sum(id(p) not in known for g in groups for p in g["params"]),
    )


def settings_of(optimizer: Optimizer | Past) -> dict[str, Setting]:
    """Return the plain settings of the first parameter group."""
    group = optimizer.param_groups[0]
    settings: dict[str, Setting] = {}
    for name, value in sorted(group.items()):
        if name == "params":
            continue
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if value is None or isinstance(value, (bool, str)):
            settings[name] = value
        elif isinstance(value, (int, float)) and math.isfinite(value):
            settings[name] = float(value)
        elif isinstance(value, (tuple, list)):
            settings[name] = ", ".join(f"{v:g}" if isinstance(v, (int, float)) else str(v) for v in value)
    return settings


def decay_of(optimizer: Optimizer, group: dict[str, Any]) -> float | None:
    """Return lr·λ where a step moves the weights by −lr·λ·w: in plain SGD, and where decay is decoupled (AdamW)."""
    decay, rate = group.get("weight_decay"), group.get("lr")
    decoupled = group.get("decoupled_weight_decay") or isinstance(optimizer, (torch.optim.SGD, torch.optim.AdamW))
    if not decoupled or not isinstance(rate, (int, float)) or not isinstance(decay, (int, float)) or not decay:
        return None
    return float(rate) * float(decay)


def second_moment(optimizer: Optimizer, p: nn.Parameter, group: dict[str, Any]) -> tuple[Tensor, Tensor | float] | None:
    """Return Adam's v of a parameter, and what divides it for v̂ (1 − β₂^t); None where there is no such state."""
    state = optimizer.state.get(p) or {}
    v, t, betas = state.get("exp_avg_sq"), state.get("step"), group.get("betas")
    if not isinstance(v, Tensor) or t is None or not isinstance(betas, tuple) or v.shape != p.shape:
        return None
    return v, 1 - betas[1] ** t


def start_of(parameter: Tensor) -> Tensor:
    """Keep evenly spaced entries of a parameter, to hold it against later."""
    return lifted(entries(parameter)).clone()


def standing(place: int, p: nn.Parameter, start: Tensor | None, owner: Optimizer | None, group: Any) -> Standing:
    """Say where a parameter stands. This waits for the device."""
    moved = changed = mean = rms = None
    if start is not None:
        if start.numel() and bool(start.isfinite().all()):
            mean, rms = float(start.double().mean()), float(start.double().square().mean().sqrt())
        now = lifted(entries(p)).to(start)
        if now.shape == start.shape:
            changed = not torch.equal(now, start)
            norm = float(torch.linalg.vector_norm(start))
            ratio = float(torch.linalg.vector_norm(now - start)) / norm if norm else math.inf
            moved = ratio if math.isfinite(ratio) else None
    return Standing(
        at=place,
        trainable=p.requires_grad,
        moved=moved,
        changed=changed,
        start_mean=mean,
        start_rms=rms,
        eps_floor=None if owner is None else _eps_floor(owner, p, group),
        state_nonfinite=0 if owner is None else _nonfinite(owner.state.get(p) or {}),
    )


def _eps_floor(optimizer: Optimizer, p: nn.Parameter, group: dict[str, Any]) -> float | None:
    found, eps = second_moment(optimizer, p, group), group.get("eps")
    if found is None or not isinstance(eps, (int, float)):
        return None
    v, correction = found
    v = lifted(entries(v))
    seen = v > 0
    n = int(seen.sum())
    return float(((v / correction).sqrt() < eps).logical_and(seen).sum()) / n if n else None


def _nonfinite(state: Mapping[str, Any]) -> int:
    held = [t for t in state.values() if isinstance(t, Tensor) and t.is_floating_point()]
    return sum(n_nonfinite(t) for t in held)
