"""What kind of answer a head gives, told from shapes and values, and outputs and targets brought into one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..document.evaluation import Task
from ..subject.data import tensors
from .layers import main_tensor
from .sequence import LEFT_OUT

_MAIN = ("logits", "out", "output", "prediction", "predictions")
_OF_NUMBERS = ("mse", "l1loss", "huber")
_SIDE = 8  # places that a map has in either direction; few columns are labels of a position


@dataclass(frozen=True)
class Head:
    """One pair of outputs and targets; the only one of a model has no name."""

    output: Tensor
    target: Tensor


def are_class_scores(output: Tensor, target: Tensor) -> bool:
    """Tell from shapes and types whether outputs are (N, K) scores and targets (N,) class indices."""
    if target.is_floating_point() or target.is_complex() or output.dim() != 2 or target.dim() != 1:
        return False
    return output.shape[1] > 1 and len(output) == len(target)


def infer_task(output: Tensor, target: Tensor, loss: str = "") -> Task | str:
    """Name the task from shapes, types and the name of the loss, or say in words why it cannot be named."""
    whole = not target.is_floating_point() and not target.is_complex()
    if are_class_scores(output, target):
        return "multiclass"
    if whole and output.dim() == 2 and output.shape[1] > 1 and tuple(target.shape) == (len(output), 1):
        return "multiclass"
    if whole and _is_sequence(output, target):
        return "tokens"
    if _is_map(output, target) and (whole or output.shape[1] == 1) and (whole or _yes_or_no(target)):
        return "segmentation"
    if output.numel() == target.numel() and len(output) == len(target):
        if _yes_or_no(target):
            return _of_yes_or_no(output, target, loss)
        if target.is_floating_point():
            return "regression"
    return (
        f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(target.shape)} are of no task known here"
    )


def _is_sequence(output: Tensor, target: Tensor) -> bool:
    """Tell whether outputs are (N, T, K) or (N, K, T) and targets (N, T)."""
    if output.dim() != 3 or target.dim() != 2 or len(output) != len(target):
        return False
    return output.shape[1] == target.shape[1] or output.shape[2] == target.shape[1]


def _is_map(output: Tensor, target: Tensor) -> bool:
    """Tell whether outputs are (N, C, places...) and targets (N, places...) or (N, 1, places...)."""
    if output.dim() < 4 or len(output) != len(target):
        return False
    return target.shape[1:] == output.shape[2:] or target.shape[1:] == (1, *output.shape[2:])


def _yes_or_no(target: Tensor) -> bool:
    values = target.detach().reshape(-1)
    left_out = (values == LEFT_OUT) | values.isnan()
    if bool((values == 0).any()):  # without a zero beside it -1 is the other side of a margin
        left_out |= values == -1
    legal = (values == 0) | (values == 1)
    return bool(legal.any()) and bool((legal | left_out).all())


def _of_yes_or_no(output: Tensor, target: Tensor, loss: str) -> Task | str:
    if output[0].numel() == 1:
        return "binary"
    if output.dim() == 2:
        one_each = target.dim() == 2 and bool((target.sum(1) == 1).all()) and bool((target >= 0).all())
        each = loss.lower().replace("_", "")
        if any(name in each for name in _OF_NUMBERS) and not one_each and float(output.min()) < 0:
            return "regression"  # black and white pictures, as an autoencoder gives them back
        return "multiclass" if one_each and "bce" not in each and "multilabel" not in each else "multilabel"
    if output.dim() >= 4 and target.shape == output.shape and bool((target.sum(1) == 1).all()):
        return "segmentation"
    if output.dim() == 3 and target.shape == output.shape and min(output.shape[1:]) >= _SIDE:
        return "segmentation"  # maps (N, H, W) without a dimension for classes
    return "several yes-or-no targets for each place of a map are not evaluated"


def prepared(task: Task, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | str:
    """Bring outputs and targets into the form that the scores of a task take, or say why they do not fit."""
    found = _PREPARE[task](output, target) if len(output) == len(target) else None
    if found is not None:
        return found
    shapes = f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(target.shape)}"
    return f"{shapes} do not fit the task {task!r}"


def _multiclass(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    if output.dim() != 2 or output.shape[1] < 2:
        return None
    if target.shape == output.shape:
        return output, target.argmax(1)
    return (output, target.reshape(-1)) if target.numel() == len(output) else None


def _yes_no(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    n = len(output)
    return (output.reshape(n, -1), target.reshape(n, -1)) if output.numel() == target.numel() else None


def _one_yes_no(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    return _yes_no(output, target) if output.numel() == len(output) else None


def _tokens(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    if output.dim() != 3 or target.dim() != 2:
        return None
    if output.shape[:2] == target.shape:
        return output, target
    return (output.transpose(1, 2), target) if output.shape[2] == target.shape[1] else None


def _segmentation(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    if output.dim() >= 3 and output.shape == target.shape and (output.shape[1] == 1 or output.dim() == 3):
        # one yes or no a place; without a dimension for classes there may be (N, H, W) alike
        flat = output if output.shape[1] == 1 and output.dim() > 3 else output.unsqueeze(1)
        return flat, target.reshape(len(target), *flat.shape[2:])
    if output.shape == target.shape and output.dim() >= 4:
        return output, target.argmax(1)
    return (output, target.reshape(len(target), *output.shape[2:])) if _is_map(output, target) else None


_PREPARE = {
    "multiclass": _multiclass,
    "binary": _one_yes_no,
    "multilabel": _yes_no,
    "regression": _yes_no,
    "tokens": _tokens,
    "segmentation": _segmentation,
}


def next_token(output: Tensor, target: Tensor, first: Tensor | None, *, own_loss: bool) -> bool:
    """Tell whether the output at a position is meant for the next target, as of a causal language model.

    Targets are then the inputs themselves. A model that copies its input has such targets too: it is told by the
    lower loss of the two readings, unless the model computes its loss itself, which then shifts.
    """
    if first is None or first.shape != target.shape or first.is_floating_point() or target.shape[1] < 2:
        return False
    legal = (target >= 0) & (target < output.shape[2])
    if not bool(legal.any()) or not bool((first == target)[legal].all()):
        return False
    if own_loss:
        return True
    here = _nll(output[:1, :-1], target[:1, :-1])
    after = _nll(output[:1, :-1], target[:1, 1:])
    return after < here


def _nll(output: Tensor, target: Tensor) -> float:
    y = target.long().where((target >= 0) & (target < output.shape[2]), torch.tensor(LEFT_OUT, device=target.device))
    return float(F.cross_entropy(output.float().flatten(0, 1), y.flatten(), ignore_index=LEFT_OUT))


def heads_of(output: Any, target: Any) -> dict[str, Head] | str:
    """Pair outputs with targets by name or by order, or say why there is nothing to pair."""
    if isinstance(target, Mapping):
        return _by_name(output, {str(k): v for k, v in target.items() if isinstance(v, Tensor)})
    if isinstance(target, (list, tuple)) and len(target) > 1 and all(isinstance(t, Tensor) for t in target):
        return _by_order(output, [str(i) for i in range(len(target))], list(target))
    if isinstance(target, (list, tuple)) and len(target) == 1:
        return heads_of(output, target[0])
    if not isinstance(target, Tensor):
        told = "" if target is None else f": the target is of type {type(target).__name__}"
        return f"the data hold no target tensor{told}"
    named = named_tensors(output)
    chosen = next((named[key] for key in _MAIN if key in named), None)
    return _checked({"": (main_tensor(output) if chosen is None else main_tensor(chosen), target)})


def named_tensors(output: Any) -> dict[str, Tensor]:
    """Return the tensors of a mapping or a dataclass by their names."""
    if isinstance(output, Mapping):
        pairs = list(output.items())
    elif hasattr(output, "__dataclass_fields__") and not isinstance(output, type):
        pairs = [(key, getattr(output, key)) for key in output.__dataclass_fields__]
    elif hasattr(output, "_fields"):
        pairs = list(zip(output._fields, output, strict=True))
    else:
        pairs = []
    return {str(key): value for key, value in pairs if isinstance(value, Tensor)}


def _by_name(output: Any, targets: dict[str, Tensor]) -> dict[str, Head] | str:
    if not targets:
        return "the data hold no target tensor: the target is a dict without one"
    named, found = named_tensors(output), {}
    for key in targets:
        for name in (key, f"{key}_logits", f"{key}_logit", f"logits_{key}", f"{key}_out", f"{key}_pred"):
            if name in named:
                found[key] = (named[name], targets[key])
                break
    if found:
        return _checked(found)
    if len(targets) == 1:
        return _checked({"": (main_tensor(output), next(iter(targets.values())))})
    return _by_order(output, list(targets), list(targets.values()))


def _by_order(output: Any, names: list[str], targets: list[Tensor]) -> dict[str, Head] | str:
    found = [t for t in tensors(output) if t.dim()] if not isinstance(output, Tensor) else [output]
    if len(found) != len(targets):
        return f"{len(found)} output tensor{'s' * (len(found) != 1)} and {len(targets)} targets cannot be paired"
    return _checked(dict(zip(names, zip(found, targets, strict=True), strict=True)))


def _checked(pairs: Mapping[str, tuple[Tensor | None, Tensor]]) -> dict[str, Head] | str:
    out = {}
    for name, (output, target) in pairs.items():
        where = f" of {name!r}" if name else ""
        if output is None or not output.dim() or not len(output) or not target.dim():
            return f"the model's output{where} is no batch of floating-point rows"
        if output.is_complex():
            return f"the model's output{where} is complex"
        if not output.is_floating_point():
            return f"the model's output{where} is no batch of floating-point rows"
        out[name] = Head(output.detach(), target)
    return out
