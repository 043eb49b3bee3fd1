"""Rare classes favoured a little: are they named too seldom, by what the model itself knows?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...subject.data import Batch
from ..layers import main_tensor
from ..seeding import seed_generators
from .confidence import class_scores
from .lab import Lab, NotApplicableError, Result, output_of

_RARE = 5  # times as rare as the commonest class
_LEAST = 100
_CLASSES = 10_000


def rare_favoured(lab: Lab) -> Result:
    """Divide the probabilities by the square root of how often each class occurs in training, and count what changes.

    That is halfway from the classes as they are to classes that are equally common (Menon et al. 2021 go all the way).
    A class is rare with at most a fifth of the samples of the commonest. ``rare`` and ``common``: samples given of
    either kind; ``*_found``: of those named rightly, ``*_then``: the same with the rare favoured; ``gained`` and
    ``lost``: samples that are right then alone, and before alone, ``rare_gained`` and ``rare_lost`` of the rare;
    ``claimed``: how many the model's own probabilities say will be gained, and ``spread``, the deviation of that number
    if they are right. One answer a sample.
    """
    given, training = lab.wide_given or lab.given, lab.wide_training or lab.wide_given or lab.given
    counts = _counts(training)
    rare = (counts > 0) & (counts * _RARE <= counts.max())
    if not bool(rare.any()):
        raise NotApplicableError("no class is rare")
    scores, truth = _answers(lab, given)
    unused = scores.shape[1] - len(counts)
    if unused < 0:
        raise NotApplicableError("the outputs are no class scores, one answer a sample")
    counts, rare = F.pad(counts, (0, unused)), F.pad(rare, (0, unused))
    # what the training data lack stands where the commonest class stands
    shares = torch.where(counts > 0, counts, counts.max()) / counts.sum()
    before, then = scores.argmax(1), (scores - 0.5 * shares.log()).argmax(1)
    was, now, of_rare = before == truth, then == truth, rare[truth]
    moved = before != then
    claimed = scores.exp()[torch.arange(len(scores)), then][moved]
    numbers = {
        "classes": rare.sum(),
        "rare": of_rare.sum(),
        "rare_found": (was & of_rare).sum(),
        "rare_then": (now & of_rare).sum(),
        "common": (~of_rare).sum(),
        "common_found": (was & ~of_rare).sum(),
        "common_then": (now & ~of_rare).sum(),
        "gained": (now & ~was).sum(),
        "lost": (was & ~now).sum(),
        "rare_gained": (now & ~was & of_rare).sum(),
        "rare_lost": (was & ~now & of_rare).sum(),
        "changed": moved.sum(),
        "claimed": claimed.sum(),
        "spread": (claimed * (1 - claimed)).sum().sqrt(),
    }
    return Result({name: float(value) for name, value in numbers.items()})


def _answers(lab: Lab, batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """Return logarithms of probabilities (N, K) and classes (N,)."""
    found = []
    for batch in batches:
        lab.clock.need(1)
        seed_generators(lab.seed)
        with torch.no_grad():
            output = output_of(lab.model, batch)
        pair = class_scores(output, batch) or _yes_or_no(output, batch.target)
        if pair is None or len(pair[0]) > batch.n_samples:
            raise NotApplicableError("the outputs are no class scores, one answer a sample")
        found.append(pair)
    if sum(len(truth) for _, truth in found) < _LEAST:
        raise NotApplicableError("too few samples to count rare classes")
    scores, truth = torch.cat([s for s, _ in found]).double().cpu(), torch.cat([t for _, t in found]).cpu()
    is_probability = bool((scores >= 0).all()) and float((scores.sum(1) - 1).abs().max()) < 1e-3
    return (scores.clamp_min(1e-12).log() if is_probability else scores).log_softmax(1), truth


def _yes_or_no(output: object, target: object) -> tuple[Tensor, Tensor] | None:
    """Return two scores a sample where there is one logit, or one probability, for an answer of yes or no."""
    told = main_tensor(output)
    if told is None or not told.dim() or not isinstance(target, Tensor):
        return None
    if told.numel() != len(told) or target.numel() != len(told):
        return None
    wanted, told = target.reshape(-1), told.detach().reshape(-1).double()
    if not bool(((wanted == 0) | (wanted == 1)).all()) or not bool(torch.isfinite(told).all()):
        return None
    if float(told.min()) >= 0 and float(told.max()) <= 1:
        told = told.clamp(1e-12, 1 - 1e-12).logit()
    return torch.stack([torch.zeros_like(told), told], 1), wanted.long()


def _counts(batches: list[Batch]) -> Tensor:
    """Return how often each class occurs among targets that are whole numbers, one a sample."""
    total = torch.zeros(1, dtype=torch.float64)
    for batch in batches:
        told = batch.target
        if not isinstance(told, Tensor) or told.is_complex() or told.numel() != batch.n_samples:
            raise NotApplicableError("the targets are no classes, one a sample")
        flat = told.reshape(-1).double().cpu()
        flat = flat[flat >= 0]
        if not bool((flat == flat.round()).all()) or float(flat.max() if len(flat) else 0) > _CLASSES:
            raise NotApplicableError("the targets are no classes, one a sample")
        counts = torch.bincount(flat.long(), minlength=len(total)).double()
        total = counts + F.pad(total, (0, len(counts) - len(total)))
    return total
