"""How good the model is on the data given, by its own loss and against guessing; is it right where it is sure?"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...subject.data import Batch
from ..layers import main_tensor
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, output_of, taken, value_of

_LEFT_OUT = -100


def as_it_is(lab: Lab) -> Result:
    """Evaluate the model on some of the data given, also where every place of a sequence or picture has a class.

    ``loss``: by sample. ``accuracy``, ``commonest`` (share of the commonest class) and ``answers``, where there are
    class scores, or one answer of yes or no a sample, as a logit or a share. ``surer``: how often a right answer is
    surer than a wrong one, the area under the curve that tells right from wrong by the largest probability (Hanley and
    McNeil 1982), with its standard error; made from one answer a sample alone.
    """
    if not lab.given or any(b.target is None for b in lab.given):
        raise NotApplicableError("the data given hold no targets")
    total, n = 0.0, 0
    told: list[tuple[Tensor, Tensor]] = []
    yes: list[tuple[Tensor, Tensor]] = []
    for batch in lab.given:
        lab.clock.need(1)
        seed_generators(lab.seed)
        with torch.no_grad():
            output = output_of(lab.model, batch)
            value = taken(partial(value_of, lab.loss, output, batch.target), "the loss refuses outputs of eval mode")
            total += float(value) * batch.n_samples
        n += batch.n_samples
        found = class_scores(output, batch)
        told += [found] if found is not None else []
        answer = _one_answer(output, batch) if found is None else None
        yes += [answer] if answer is not None else []
    numbers = {"loss": total / n, "samples": float(n)}
    if len(yes) == len(lab.given):
        told = [_of_two(*(torch.cat(part) for part in zip(*yes, strict=True)))]
    elif len(told) < len(lab.given):
        told = []
    if told:
        scores, truth = torch.cat([s for s, _ in told]), torch.cat([t for _, t in told])
        numbers |= _accuracy(scores, truth)
        if len(truth) == n:
            numbers |= _surer(scores, truth)
    return Result(numbers)


def class_scores(output: Any, batch: Batch) -> tuple[Tensor, Tensor] | None:
    """Return scores (answers, K) and classes (answers,); None where outputs are no class scores.

    Classes lie along the last dimension, (N, T, K) for targets (N, T), or along the second, as cross-entropy has them.
    """
    scores, target = main_tensor(output), batch.target
    if scores is None or not isinstance(target, Tensor) or target.is_floating_point() or scores.dim() < 2:
        return None
    scores = scores.detach()
    if scores.dim() == target.dim() and scores.numel() != target.numel() and scores.shape[1:-1] == target.shape[1:]:
        return None
    if scores.shape[:-1] == target.shape and scores.shape[-1] > 1:
        flat = scores.reshape(-1, scores.shape[-1])
    elif (
        scores.dim() == target.dim() + 1 and scores.shape[:1] + scores.shape[2:] == target.shape and scores.shape[1] > 1
    ):
        flat = scores.movedim(1, -1).reshape(-1, scores.shape[1])
    elif scores.dim() == 2 and scores.shape[1] > 1 and target.numel() == len(scores):
        flat = scores  # a model that flattens its answers itself
    else:
        return None
    truth = target.reshape(-1)
    kept = truth != _LEFT_OUT
    flat, truth = flat[kept].float(), truth[kept].long()
    if (
        not len(truth)
        or int(truth.min()) < 0
        or int(truth.max()) >= flat.shape[1]
        or not bool(torch.isfinite(flat).all())
    ):
        return None
    return flat, truth


def _one_answer(output: Any, batch: Batch) -> tuple[Tensor, Tensor] | None:
    """Return outputs and targets (N,) where each sample has one answer of yes or no."""
    told, target = main_tensor(output), batch.target
    if told is None or not isinstance(target, Tensor) or not target.is_floating_point():
        return None
    if told.numel() != batch.n_samples or target.numel() != batch.n_samples or not bool(torch.isfinite(told).all()):
        return None
    truth = target.reshape(-1)
    return (told.detach().reshape(-1).float(), truth) if bool(((truth == 0) | (truth == 1)).all()) else None


def _of_two(told: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return shares or logits of yes as scores of two classes."""
    shares = bool(((told >= 0) & (told <= 1)).all())
    return torch.stack([1 - told if shares else torch.zeros_like(told), told], 1), truth.long()


def _accuracy(scores: Tensor, truth: Tensor) -> dict[str, float]:
    counts = truth.bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return {
        "accuracy": float((scores.argmax(1) == truth).float().mean()),
        "commonest": float(shares.max()),
        "constant": float(-(shares * shares.log()).sum()),
        "answers": float(len(truth)),
        "classes": float(scores.shape[1]),
    }


def _surer(scores: Tensor, truth: Tensor) -> dict[str, float]:
    rows = scores.double()
    is_probability = bool((rows >= 0).all()) and float((rows.sum(1) - 1).abs().max()) < 1e-3
    sure = (rows if is_probability else rows.softmax(1)).amax(1)
    right = scores.argmax(1) == truth
    hits, misses = int(right.sum()), int((~right).sum())
    if min(hits, misses) < 10:
        return {}
    ranks = _ranks(sure)
    area = (float(ranks[right].sum()) - hits * (hits + 1) / 2) / (hits * misses)
    # Hanley and McNeil's standard error
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (hits - 1) * (q1 - area * area) + (misses - 1) * (q2 - area * area)
    return {"surer": area, "surer_error": math.sqrt(max(spread, 0.0) / (hits * misses)), "sure": float(sure.mean())}


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each value in order, from 1; equal values share the mean of their places."""
    _, group, counts = torch.unique(values, return_inverse=True, return_counts=True)
    places: Tensor = counts.cumsum(0).double() - (counts.double() - 1) / 2
    return places[group]
