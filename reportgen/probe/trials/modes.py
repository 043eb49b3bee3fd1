"""The same batches in evaluation mode, with batch norm alone in training mode, and in training mode altogether."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...subject.data import Batch
from ..evaluation import are_class_scores
from ..layers import main_tensor
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, output_of, value_of
from .sample import rows, shuffled

_FEW = 8  # samples to a batch below which batch norms see another thing in training than in many of them


def train_and_eval(lab: Lab) -> Result:
    """Measure loss and accuracy of one model on the same batches in several modes, on copies.

    ``eval``: as it is evaluated. ``norms``: batch norms normalise by the batch, all else as in eval, by as many samples
    as a batch of the training data has where these are fewer than eight (``own`` of them). ``refreshed``: as
    in eval, with running statistics that are plain means over these batches. ``train``: all in training mode.
    ``only_norms`` and ``only_eval`` count samples that one mode gets right and the other wrong; ``stale_batches``
    those batches that are worse in eval mode than refreshed. ``drop``: the largest rate of a dropout.
    """
    batches = [b for b in shuffled(lab.training, lab.seed, least=32) if b.n_samples >= 8]
    if not batches or any(b.target is None for b in batches):
        raise NotApplicableError("no batches of eight samples or more with targets")
    norms = [m for m in lab.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    drops = any(_drops(m) > 0 for m in lab.model.modules())
    if not norms and not drops:
        raise NotApplicableError("neither batch norm nor dropout, so both modes are the same")
    outcome = {"eval": _score(lab, batches, norms=False, all_=False)}
    own = max(b.n_samples for b in lab.training)
    if norms:
        alone = own == 1 and any(isinstance(m, nn.BatchNorm1d) for m in norms)  # which torch refuses
        size = own if own < _FEW and not alone and not lab.held else None
        outcome["norms"] = _score(lab, batches, norms=True, all_=False, size=size)
        outcome["refreshed"] = _score(lab, batches, norms=False, all_=False, refresh=True)
    outcome["train"] = _score(lab, batches, norms=True, all_=True)
    numbers = {"samples": float(sum(b.n_samples for b in batches)), "batches": float(len(batches))}
    if norms and size is not None:
        numbers["own"] = float(size)
    for mode, score in outcome.items():
        if math.isfinite(score.loss):
            numbers[f"{mode}_loss"] = score.loss
        if score.right is not None:
            numbers[f"{mode}_accuracy"] = float(score.right.float().mean())
    numbers["drop"] = max((_drops(m) for m in lab.model.modules()), default=0.0)
    _compare(numbers, outcome, [m.momentum for m in norms if m.momentum is not None])
    return Result(numbers)


@dataclass(frozen=True)
class _Score:
    loss: float
    losses: list[float]
    right: Tensor | None
    """Of each sample; None where outputs are no class scores."""


def _drops(module: nn.Module) -> float:
    """Return the share of values that a layer drops in training."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return float(module.p)
    rate = getattr(module, "dropout", 0.0)
    return rate if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and isinstance(rate, float) else 0.0


def _score(
    lab: Lab, batches: list[Batch], *, norms: bool, all_: bool, refresh: bool = False, size: int | None = None
) -> _Score:
    """``size``: samples that go through the model together, where these are not whole batches."""
    model = lab.fresh().model
    if refresh:
        _refresh(lab, model, batches)
    model.train(all_)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.training = norms
    losses, right, weight = [], [], []
    seed_generators(lab.seed)
    with torch.no_grad():
        for batch in batches:
            lab.clock.need(1)
            values = []
            for part in [batch] if size is None else _parts(batch, size):
                output = output_of(model, part)
                values.append(float(value_of(lab.loss, output, part.target)) * part.n_samples)
                right.append(right_answers(output, part.target))
            losses.append(sum(values) / batch.n_samples)
            weight.append(batch.n_samples)
    total = sum(v * n for v, n in zip(losses, weight, strict=True)) / sum(weight)
    known = [r for r in right if r is not None]
    return _Score(total, losses, torch.cat(known) if len(known) == len(right) else None)


def _parts(batch: Batch, size: int) -> list[Batch]:
    return [rows(batch, index) for index in torch.arange(batch.n_samples).split(size)]  # type: ignore[no-untyped-call]


def _refresh(lab: Lab, model: nn.Module, batches: list[Batch]) -> None:
    """Replace the running statistics of a copy by plain means over batches, without dropout."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum, module.training = None, True
    seed_generators(lab.seed)
    with torch.no_grad():
        for batch in batches:
            lab.clock.need(1)
            output_of(model, batch)


def right_answers(output: Any, target: Any) -> Tensor | None:
    """Tell of each sample whether the answer is right; None where outputs are neither class nor yes-or-no scores."""
    tensor = main_tensor(output)
    if tensor is None or tensor.is_complex() or not isinstance(target, Tensor):
        return None
    tensor = tensor.detach()
    if are_class_scores(tensor, target):
        return tensor.argmax(1) == target
    if tensor.numel() == target.numel() and bool(((target == 0) | (target == 1)).all()):
        cut = 0.5 if float(tensor.min()) >= 0 and float(tensor.max()) <= 1 else 0.0
        return (tensor.reshape(-1) > cut) == (target.reshape(-1) > 0.5)
    return None


def _compare(numbers: dict[str, float], outcome: dict[str, _Score], momenta: list[float]) -> None:
    """Enter the paired comparison of eval mode with batch norm in training mode."""
    norms, plain = outcome.get("norms"), outcome["eval"]
    if norms is None:
        return
    fresh = outcome["refreshed"]
    numbers["stale_batches"] = float(sum(a > b for a, b in zip(plain.losses, fresh.losses, strict=True)))
    numbers["momentum"] = max(momenta, default=0.0)
    numbers["worse_batches"] = float(sum(a > b for a, b in zip(plain.losses, norms.losses, strict=True)))
    if plain.right is not None and norms.right is not None:
        numbers["only_norms"] = float((norms.right & ~plain.right).sum())
        numbers["only_eval"] = float((plain.right & ~norms.right).sum())
