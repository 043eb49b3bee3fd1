"""Going on with the training on a copy: would more of the same have helped?"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ...subject.data import Batch
from ..layers import main_tensor
from ..seeding import seed_generators
from .confidence import class_scores
from .lab import Lab, NotApplicableError, Outfit, Result, Scored, hold, output_of, taken, value_of
from .learning import answered, backward, hasten

STEPS = 120
GONE_ON = "gone on with as before"


def trained_on(lab: Lab) -> Result:
    """Go on training a copy for 120 steps with copies of the true optimizers and their state, and score it again.

    Where ``other-ways`` went on as before at the same rate, its score is taken. The batches are some of the training
    data, so that what is gained is less than what going on would have gained. ``before`` and ``after``: loss on some of
    the data given, in eval mode; ``score_before`` and ``score_after``: accuracy, the mean of those of both answers
    where targets are yes or no, and R² where they are numbers.
    """
    work = lab.fresh()
    if len(work.optimizers) != 1 or type(work.optimizers[0]).__name__ == "LBFGS":
        raise NotApplicableError("not one optimizer that follows one loss")
    if lab.training is lab.given:
        raise NotApplicableError("no training data were given")
    optimizer = work.optimizers[0]
    before, after = scored(lab, work), lab.memo.get(GONE_ON)
    if after is None:
        _go_on(lab, work)
        after = scored(lab, work)
    numbers = {"steps": float(STEPS), "before": before.loss, "after": after.loss, "samples": float(before.samples)}
    rates = [float(g.get("lr", 0.0)) for g in optimizer.param_groups]
    numbers["rate"] = max(rates, default=0.0)
    if before.score is not None and after.score is not None:
        numbers |= {"score_before": before.score, "score_after": after.score, "score_samples": before.weight}
    return Result(numbers)


def _go_on(lab: Lab, work: Outfit) -> None:
    optimizer = work.optimizers[0]
    hasten(work)
    for step in range(STEPS):
        if step % 10 == 0:
            lab.clock.need(30)
        batch = lab.training[step % len(lab.training)]
        if batch.target is None or batch.n_samples < 2:
            raise NotApplicableError("no batches of two samples or more with targets")
        work.model.train()
        hold(work.model, lab.held)
        seed_generators(lab.seed + step)
        _, value = answered(work, batch)
        if not value.requires_grad or not math.isfinite(float(value.detach())):
            raise NotApplicableError("the loss is not finite, or no parameter reaches it")
        optimizer.zero_grad()
        backward(value)
        taken(optimizer.step, f"{type(optimizer).__name__} refuses to make a step")


def scored(lab: Lab, work: Outfit) -> Scored:
    """Return how good a model is on the data given, in eval mode."""
    total, n = 0.0, 0
    answers: list[tuple[Tensor, Tensor]] = []
    work.model.eval()
    for batch in lab.given:
        lab.clock.need(1)
        seed_generators(lab.seed)
        with torch.no_grad():
            output = output_of(work.model, batch)
            loss = lab.loss if work.loss is None else work.loss
            value = taken(partial(value_of, loss, output, batch.target), "the loss refuses outputs of eval mode")
            total += float(value) * batch.n_samples
        n += batch.n_samples
        pair = class_scores(output, batch) or _numbers(output, batch)
        answers += [pair] if pair is not None else []
    score, weight, of_two = _score(answers) if len(answers) == len(lab.given) else (None, 0.0, False)
    return Scored(total / max(n, 1), score, n, min(weight, n), of_two)


def _numbers(output: object, batch: Batch) -> tuple[Tensor, Tensor] | None:
    told = main_tensor(output)
    if told is None or not isinstance(batch.target, Tensor) or not batch.target.is_floating_point():
        return None
    return (told.detach().reshape(-1), batch.target.reshape(-1)) if told.numel() == batch.target.numel() else None


def _score(answers: list[tuple[Tensor, Tensor]]) -> tuple[float | None, float, bool]:
    """Return accuracy or R², as how many answers it is certain, and whether it is the mean of that of yes and no."""
    told, truth = (torch.cat(part).double() for part in zip(*answers, strict=True))
    if told.dim() == 2:
        return float((told.argmax(1) == truth).double().mean()), len(truth), False
    if bool(((truth == 0) | (truth == 1)).all()):
        return *_balanced(told, truth > 0), True
    spread = float(truth.var(correction=0))
    return 1 - float((told - truth).square().mean()) / spread if spread else None, len(truth), False


def _balanced(told: Tensor, yes: Tensor) -> tuple[float | None, float]:
    """Return the mean of the accuracies of yes and of no; outputs are logits or shares, whichever fits better."""
    n, m = int(yes.sum()), int((~yes).sum())
    if not n or not m:
        return None, 0.0
    of_cuts = [((told[yes] > cut).double().mean() + (told[~yes] <= cut).double().mean()) / 2 for cut in (0.0, 0.5)]
    # its variance is a quarter of the sum of both, each of which goes with how many there are
    return float(max(of_cuts)), 4 * n * m / (n + m)
