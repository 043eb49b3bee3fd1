"""How good a model is on some samples, beside a constant answer: accuracy, R², or what is found of maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...subject.data import Batch
from ..layers import main_tensor
from ..tasks import infer_task
from .lab import NotApplicableError, output_of
from .modes import right_answers


def constant(model: nn.Module, batch: Batch) -> tuple[float, str]:
    """Return the score of a constant answer, and what the targets are."""
    with torch.no_grad():
        output = output_of(model.eval(), batch)
    target = batch.target
    assert isinstance(target, Tensor)
    if _named(output, target) is not None:
        return float(found_places(target, target)[0].count_nonzero(1).double().reciprocal().mean()), "maps"
    if right_answers(output, target) is not None:
        counts = torch.unique(target, return_counts=True)[1]
        return float(counts.max()) / target.numel(), "classes"
    told = main_tensor(output)
    if told is None or told.is_complex() or told.numel() != target.numel() or not target.is_floating_point():
        raise NotApplicableError("outputs are neither class scores nor numbers to be compared with the targets")
    return 0.0, "numbers"


def score(model: nn.Module, batch: Batch) -> tuple[float, float | None]:
    """Return accuracy, or R² (at least -1), or what is found of maps with its deviation between samples."""
    model.eval()
    with torch.no_grad():
        output = output_of(model, batch)
    target = batch.target
    assert isinstance(target, Tensor)
    named = _named(output, target)
    if named is not None:
        there, found = found_places(target, named)
        by_sample = found.sum(1) / there.count_nonzero(1)
        return float(by_sample.mean()), float(by_sample.std())
    right = right_answers(output, target)
    if right is not None:
        return float(right.double().mean()), None
    told = main_tensor(output)
    assert told is not None
    wanted = target.double().flatten()
    # of several columns each has a mean of its own, which is the constant answer
    columns = target.double() if target.dim() == 2 else wanted[:, None]
    spread = float(columns.var(0, correction=0).mean())
    error = float((told.detach().double().flatten() - wanted).square().mean())
    return (max(1 - error / spread, -1.0) if spread and math.isfinite(error) else -1.0), None


def _named(output: object, target: Tensor) -> Tensor | None:
    """Return the class named at each place of maps, in the shape of the targets; None of other outputs."""
    told = main_tensor(output)
    if told is None or told.is_complex() or infer_task(told, target) != "segmentation":
        return None
    if told.dim() > 3 and told.shape[1] > 1:
        return None if told.shape == target.shape else told.argmax(1).reshape(target.shape)
    cut = 0.5 if float(told.min()) >= 0 and float(told.max()) <= 1 else 0.0
    return (told > cut).long().reshape(target.shape)


def found_places(target: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
    """Return places by class of each sample (N, K), and the shares of them where that class is named."""
    y, named = target.flatten(1).long(), named.flatten(1)
    classes = torch.unique(y[y >= 0])
    there = torch.stack([(y == k).sum(1) for k in classes], 1).double()
    hits = torch.stack([((y == k) & (named == k)).sum(1) for k in classes], 1).double()
    return there, hits / there.clamp_min(1)
