"""Would more data help? Fresh copies that learn from half as many, where the training data were learned by heart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...subject.data import Batch
from ..layers import main_tensor
from .anew import learn
from .drawn import draw_trainable
from .lab import Lab, NotApplicableError, Result, copied, output_of
from .modes import right_answers
from .sample import first_samples, is_by_sample, rows
from .scores import constant, score

MOST = 512  # training samples
_GIVEN = 512
_LEAST = 40
_FOLDS = 4
_PASSES = 2000  # that twelve copies take about, forth and back
_BY_HEART = 0.9  # of the way from a constant answer to a perfect one
_APART = 0.25


def half_as_many(lab: Lab) -> Result:
    """Learn from as many samples as there are for training, and from half of them; score both on what neither saw.

    Both splits are laid together and cut into four parts; each is answered by three fresh copies, which learned from
    the other three parts (300 steps of Adam at most, 32 samples each): one from as many samples as the training data
    hold, two from one half of these each. ``full`` and ``half``: accuracy or R², of all samples together, the mean of
    both halves; ``error``: standard error of their difference, sample by sample; ``constant``: the score of a constant
    answer. Made only where all of the training data are at hand and few, and the model is nine tenths of the way from a
    constant answer to a perfect one on them, and a quarter less far on the data given.
    """
    training, given = _split(lab.wide_training, MOST + 1), _split(lab.wide_given, _GIVEN)
    if lab.augmented or training.n_samples > MOST:
        raise NotApplicableError("the training data are many, or augmented")
    own, kind = _way(lab, training)
    if kind == "maps" or own < _BY_HEART or own - _way(lab, given)[0] < _APART:
        raise NotApplicableError("the model is not far better on its training data than on the data given")
    lab.clock.need(_PASSES)
    pool = first_samples([training, given], MOST + _GIVEN)
    if pool is None or pool.n_samples != training.n_samples + given.n_samples:
        raise NotApplicableError("the samples of both splits are not of one shape")
    order = torch.randperm(pool.n_samples, generator=torch.Generator().manual_seed(lab.seed))
    parts = order.chunk(_FOLDS)
    values = {name: torch.zeros(pool.n_samples, dtype=torch.float64) for name in ("full", "half")}
    for i, asked in enumerate(parts):
        others = torch.cat([part for j, part in enumerate(parts) if j != i])
        whole = others[: training.n_samples]
        for name, learned in (("full", [whole]), ("half", whole.chunk(2))):
            for part in learned:
                work = copied(lab.outfit)
                draw_trainable(work.model, lab.seed)
                learn(lab, work, rows(pool, part))
                values[name][asked] += _by_sample(work.model.eval(), rows(pool, asked)) / len(learned)
    return Result(_compared(lab, pool, values, training.n_samples), {"kind": kind})


def _split(batches: list[Batch], most: int) -> Batch:
    whole = first_samples(batches, most)
    if whole is None or not isinstance(whole.target, Tensor) or not is_by_sample(whole) or whole.n_samples < _LEAST:
        raise NotApplicableError(f"fewer than {_LEAST} samples of one shape with targets")
    return whole


def _way(lab: Lab, batch: Batch) -> tuple[float, str]:
    """Return how far the model is from a constant answer (0) to a perfect one (1), and what it answers."""
    base, kind = constant(lab.model, batch)
    if base >= 1:
        raise NotApplicableError("all targets are the same")
    return (score(lab.model, batch)[0] - base) / (1 - base), kind


def _by_sample(model: torch.nn.Module, batch: Batch) -> Tensor:
    """Return 1 for each right answer and 0 for a wrong one, or the squared error with a minus, (N,)."""
    with torch.no_grad():
        output = output_of(model, batch)
    right = right_answers(output, batch.target)
    if right is not None:
        return right.reshape(batch.n_samples, -1).double().mean(1).cpu()
    told = main_tensor(output)
    assert told is not None
    assert isinstance(batch.target, Tensor)
    wanted = batch.target.double().reshape(batch.n_samples, -1)
    error: Tensor = (told.detach().double().reshape(batch.n_samples, -1) - wanted).square().mean(1)
    return -error.cpu()


def _compared(lab: Lab, pool: Batch, values: dict[str, Tensor], learned: int) -> dict[str, float]:
    base, kind = constant(lab.model, pool)
    assert isinstance(pool.target, Tensor)
    unit = 1.0 if kind == "classes" else float(pool.target.double().var(0, correction=0).mean())
    if not unit > 0 or not all(bool(torch.isfinite(v).all()) for v in values.values()):
        raise NotApplicableError("all targets are the same")
    zero = 0.0 if kind == "classes" else 1.0
    difference = (values["full"] - values["half"]) / unit
    return {name: zero + float(v.mean()) / unit for name, v in values.items()} | {
        "error": float(difference.std()) / math.sqrt(len(difference)),
        "constant": base,
        "learned": float(learned),
        "samples": float(len(difference)),
    }
