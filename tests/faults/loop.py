"""The one loop of the bench, as a user would write it, with a Monitor in it when one is wanted."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .case import Case, Outcome, Training, seed_all


def run(case: Case, seed: int, fixed: bool = False, *, monitored: bool = False) -> Outcome:
    """Train the program of a case; with a monitor, also examine it through the public API."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a user's screen is full of them
        training = case.program(seed, fixed)
        seed_all(seed + 1)
        report = None
        if monitored:
            curves, report = watched(training)
        else:
            curves = _trained(training, _Silent())
        outcome = _outcome(training, curves, report)
    outcome.seconds = time.perf_counter() - start
    return outcome


class _Silent:
    """Stands in for the monitor where none is wanted."""

    def log(self, **values: Any) -> None:
        pass


@dataclass
class Curves:
    """What was seen by epoch and by step."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)


def watched(training: Training) -> tuple[Curves, Any]:
    """Train with a monitor in the loop and examine the model as a user would; return the curves and the report."""
    import reportgen

    loss = training.loss if training.supervised else None
    monitor = reportgen.Monitor(training.model, training.optimizer, scheduler=training.scheduler, loss=loss)
    with monitor:
        curves = _trained(training, monitor)
    if not training.supervised:
        return curves, monitor.report([batch[0] for batch in training.val])
    return curves, monitor.report(training.val, train_data=training.train, loss=training.loss)


def _trained(training: Training, monitor: Any) -> Curves:
    curves = Curves()
    best, waited = math.inf, 0
    for epoch in range(training.epochs):
        training.begin_epoch(training, epoch)
        for batch in training.train:
            loss = (training.step or plain_step)(training, batch)
            monitor.log(train_loss=loss)
            curves.steps.append(loss.detach())
            if training.scheduler is not None and training.scheduler_every == "step":
                training.scheduler.step()
        training.begin_validation(training)
        val_loss, score = evaluate(training, training.val)
        monitor.log(epoch=epoch, val_loss=val_loss, **{f"val_{training.metric.name}": score})
        curves.losses.append(val_loss)
        curves.scores.append(score)
        _advance(training, val_loss)
        best, waited = (val_loss, 0) if val_loss < best else (best, waited + 1)
        if training.patience is not None and waited >= training.patience:
            break
    if training.finish is not None:
        training.finish(training)
    training.begin_validation(training)
    return curves


def plain_step(training: Training, batch: Any) -> Tensor:
    """One step as everybody writes it."""
    loss = training.loss(training.model(*batch[:-1]), batch[-1])
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()
    return loss


def _advance(training: Training, val_loss: float) -> None:
    if training.scheduler is None or training.scheduler_every != "epoch":
        return
    if isinstance(training.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        training.scheduler.step(val_loss)
    else:
        training.scheduler.step()


@torch.no_grad()
def evaluate(training: Training, loader: Iterable[Any]) -> tuple[float, float]:
    """Return loss by sample and score over a loader, in whatever mode the model is."""
    outputs, targets, total, n = [], [], 0.0, 0
    for batch in loader:
        output, target = training.model(*batch[:-1]), batch[-1]
        total += float(training.loss(output, target)) * len(target)
        n += len(target)
        outputs.append(output[0] if isinstance(output, tuple) else output)
        targets.append(target)
    return total / n, training.metric.score(torch.cat(outputs), torch.cat(targets))


def _outcome(training: Training, curves: Curves, report: Any) -> Outcome:
    targets = torch.cat([batch[-1] for batch in training.val])
    return Outcome(
        training=training,
        losses=curves.losses,
        scores=curves.scores,
        steps=[float(s) for s in curves.steps],
        score=evaluate(training, training.val)[1],
        train_score=evaluate(training, training.train)[1],
        fresh_score=None if training.fresh is None else evaluate(training, training.fresh)[1],
        constant=training.metric.constant(targets),
        report=report,
    )
