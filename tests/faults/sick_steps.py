"""Faults of the step size and of the loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import SGD, Adam, lr_scheduler

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .metrics import R2
from .programs import (
    adam,
    adamw,
    clusters_mlp,
    counting_gpt,
    program,
    sgd,
    shapes_cnn,
    token_loss,
    waves_recurrent,
)

_WILD = ("exploding-gradients", "dead-relu", "underfitting", "numerical-instability", "non-finite-weights")
_SHORT = ("undertrained", "underfitting", "lr-too-low")

# step size


@sick("mlp", "lr-too-high", also=(*_WILD, "layer-collapse"), proof=harmed(0.2), bar=0.85)
def sgd_with_a_rate_of_eight(seed: int, fixed: bool) -> Training:
    return program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.2 if fixed else 8.0), 12)


@sick("cnn", "lr-too-high", also=(*_WILD, "layer-collapse"), proof=harmed(0.2), bar=0.9)
def adam_with_a_rate_of_a_third(seed: int, fixed: bool) -> Training:
    return program(nets.cnn(norm=False), data.shapes(), adam(3e-3 if fixed else 0.3), 10)


@sick(
    "gpt",
    "lr-too-high",
    also=(*_WILD, "saturated-activations", "layer-collapse"),
    proof=harmed(0.2),
    bar=0.6,
)
def language_model_at_a_rate_of_a_half(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(11, 11, 13, causal=True)
    return program(model, data.counting(), adamw(3e-3 if fixed else 0.5), 10, loss=token_loss)


@sick("regression", "lr-too-high", also=(*_WILD, "missing-zero-grad"), proof=harmed(0.2), bar=0.8)
def summed_loss_at_the_rate_for_means(seed: int, fixed: bool) -> Training:
    """reduction='sum' over 64 samples makes every step 64 times longer."""
    loss = nn.MSELoss(reduction="mean" if fixed else "sum")
    return program(nets.mlp(8, 48, 1), data.friedman(), sgd(0.1), 20, batch=64, loss=loss, metric=R2)


@sick("lstm", "lr-too-high", also=(*_WILD, "saturated-activations"), proof=harmed(0.2), bar=0.85)
def lstm_at_a_rate_of_one(seed: int, fixed: bool) -> Training:
    model = nets.Recurrent(nn.LSTM, 1, 24, 3)
    return program(model, data.waves(), adam(5e-3 if fixed else 1.0), 12)


@sick("mlp", "lr-too-low", also=_SHORT, proof=harmed(0.3), bar=0.8)
def sgd_with_a_tiny_rate(seed: int, fixed: bool) -> Training:
    return program(nets.mlp(12, 32, 5), data.clusters(), sgd(0.2 if fixed else 1e-4), 15)


@sick("cnn", "lr-too-low", also=_SHORT, proof=harmed(0.3), bar=0.9)
def adam_with_a_tiny_rate(seed: int, fixed: bool) -> Training:
    return program(nets.cnn(norm=False), data.shapes(), adam(3e-3 if fixed else 2e-6), 10)


@sick("gpt", "lr-too-low", also=_SHORT, proof=harmed(0.3), bar=0.6)
def language_model_with_a_tiny_rate(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(11, 11, 13, causal=True)
    return program(model, data.counting(), adamw(3e-3 if fixed else 5e-6), 10, loss=token_loss)


@sick("mlp", "lr-schedule-collapse", also=_SHORT, proof=harmed(0.2), bar=0.8)
def epoch_schedule_stepped_by_batch(seed: int, fixed: bool) -> Training:
    """0.8 by epoch is a gentle decay; by batch it is over within the first epoch."""
    training = program(nets.mlp(12, 32, 5), data.clusters(), sgd(0.3), 14)
    training.scheduler = lr_scheduler.ExponentialLR(training.optimizer, gamma=0.8)
    training.scheduler_every = "epoch" if fixed else "step"
    return training


@sick("cnn", "lr-schedule-collapse", also=_SHORT, proof=harmed(0.1), bar=0.85)
def rate_divided_by_a_hundred_each_epoch(seed: int, fixed: bool) -> Training:
    training = program(nets.cnn(norm=False), data.shapes(), adam(2e-3), 10)
    training.scheduler = lr_scheduler.StepLR(training.optimizer, step_size=1, gamma=0.9 if fixed else 0.01)
    return training


@sick("gpt", "lr-schedule-collapse", also=_SHORT, proof=harmed(0.1), bar=0.6)
def decay_that_counts_epochs_as_steps(seed: int, fixed: bool) -> Training:
    """A linear decay to zero over `epochs` steps instead of all the batches."""
    training = counting_gpt(12)
    total = 12 * len(training.train) if fixed else 12
    training.scheduler = lr_scheduler.LinearLR(training.optimizer, 1.0, 1e-4, total_iters=total)
    training.scheduler_every = "step"
    return training


def _clipped(clip: Callable[[Any], Any]) -> Callable[[Training, Any], Tensor]:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        clip(training.model.parameters())
        training.optimizer.step()
        return loss

    return step


@sick("cnn", "gradient-clipping-too-small", also=_SHORT, proof=harmed(0.2), bar=0.85)
def norm_clipped_to_a_thousandth(seed: int, fixed: bool) -> Training:
    limit = 5.0 if fixed else 1e-3
    step = _clipped(lambda parameters: clip_grad_norm_(parameters, limit))
    return program(nets.cnn(norm=False), data.shapes(1200), sgd(0.03, momentum=0.8), 12, step=step)


@sick("mlp", "gradient-clipping-too-small", also=_SHORT, proof=harmed(0.2), bar=0.8)
def entries_clipped_to_almost_nothing(seed: int, fixed: bool) -> Training:
    limit = 1.0 if fixed else 1e-5
    step = _clipped(lambda parameters: clip_grad_value_(parameters, limit))
    return program(nets.mlp(12, 32, 5), data.clusters(), sgd(0.3), 12, step=step)


@sick("gru", "gradient-clipping-too-small", also=_SHORT, proof=harmed(0.2), bar=0.85)
def recurrent_net_clipped_to_nothing(seed: int, fixed: bool) -> Training:
    limit = 2.0 if fixed else 5e-4
    step = _clipped(lambda parameters: clip_grad_norm_(parameters, limit))
    model = nets.Recurrent(nn.GRU, 1, 24, 3)
    return program(model, data.waves(), sgd(0.1, momentum=0.8), 16, step=step)


@sick("mlp", "undertrained", also=("lr-too-low", "underfitting"), proof=harmed(0.1), bar=0.85)
def stopped_after_two_epochs(seed: int, fixed: bool) -> Training:
    return program(nets.mlp(12, 32, 32, 5), data.clusters(), adam(1e-3), 25 if fixed else 2)


@sick("gpt", "undertrained", also=("lr-too-low", "underfitting"), proof=harmed(0.1), bar=0.6)
def language_model_stopped_early(seed: int, fixed: bool) -> Training:
    return counting_gpt(12 if fixed else 3)


@sick("regression", "undertrained", also=("lr-too-low", "underfitting"), proof=harmed(0.1), bar=0.8)
def regression_cut_short(seed: int, fixed: bool) -> Training:
    optimizer = sgd(0.01, momentum=0.5)
    return program(nets.mlp(8, 48, 1), data.friedman(), optimizer, 60 if fixed else 4, loss=nn.MSELoss(), metric=R2)


# loop


@sick("mlp", "missing-zero-grad", also=("exploding-gradients", "lr-too-high", *_WILD), proof=harmed(0.1), bar=0.8)
def gradients_never_cleared(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        if fixed:
            training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.1), 12, step=step)


def _stale(outcome: Outcome) -> bool:
    """Tell whether the gradients at hand are many times those of a batch."""
    training = outcome.training
    held = sum(float(p.grad.square().sum()) for p in training.model.parameters() if p.grad is not None)
    training.model.zero_grad()
    batch = next(iter(training.train))
    training.loss(training.model(*batch[:-1]), batch[-1]).backward()
    fresh = sum(float(p.grad.square().sum()) for p in training.model.parameters() if p.grad is not None)
    return not held < 25 * fresh


@sick("gru", "missing-zero-grad", also=("exploding-gradients", "lr-too-high", *_WILD), proof=harmed(0.02), bar=0.9)
def gradients_cleared_once_an_epoch(seed: int, fixed: bool) -> Training:
    training = waves_recurrent(nn.GRU, 12)
    training.optimizer = SGD(training.model.parameters(), lr=0.1, momentum=0.5)

    def begin(training: Training, epoch: int) -> None:
        training.model.train()
        training.optimizer.zero_grad()

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        if fixed:
            training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    training.begin_epoch, training.step = begin, step
    return training


@sick("cnn", "missing-zero-grad", also=("exploding-gradients", "lr-too-high", *_WILD), proof=shown(_stale), bar=0.85)
def another_optimizer_is_cleared(seed: int, fixed: bool) -> Training:
    """Two optimizers step, but only the head's gradients are cleared."""
    training = shapes_cnn(8)
    body, head = training.model[:-1], training.model[-1]
    training.optimizer = [Adam(body.parameters(), lr=3e-3), Adam(head.parameters(), lr=3e-3)]

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        for optimizer in training.optimizer if fixed else training.optimizer[1:]:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in training.optimizer:
            optimizer.step()
        return loss

    training.step = step
    return training


_STUCK = ("underfitting", "undertrained", "lr-too-low")


@sick("gpt", "no-weight-update", also=_STUCK, proof=harmed(0.3), bar=0.6)
def step_is_never_called(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        if fixed:
            training.optimizer.step()
        return loss

    return counting_gpt(8, step=step)


@sick("cnn", "no-weight-update", also=(*_STUCK, "vanishing-gradients"), proof=harmed(0.3), bar=0.85)
def gradients_cleared_before_the_step(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        if fixed:
            training.optimizer.zero_grad()
        loss.backward()
        if not fixed:
            training.optimizer.zero_grad()
        training.optimizer.step()
        return loss

    return shapes_cnn(8, step=step, norm=False)


@sick("mlp", "no-weight-update", "lr-schedule-collapse", also=_STUCK, proof=harmed(0.3), bar=0.85)
def warm_up_that_never_leaves_zero(seed: int, fixed: bool) -> Training:
    """The rate of the first step is 0 of 30, and the scheduler is stepped by nobody."""
    training = clusters_mlp(12)
    scheduler = lr_scheduler.LambdaLR(training.optimizer, lambda step: min(1.0, step / 30))
    if fixed:
        training.scheduler, training.scheduler_every = scheduler, "step"
    return training


@sick("lstm", "no-weight-update", "params-not-in-optimizer", also=_STUCK, proof=harmed(0.3), bar=0.85)
def optimizer_of_a_copy(seed: int, fixed: bool) -> Training:
    training = waves_recurrent()
    owner = training.model if fixed else copy.deepcopy(training.model)
    training.optimizer = Adam(owner.parameters(), lr=5e-3)
    return training


def _always_eval(training: Training, epoch: int) -> None:
    training.model.eval()


def _unused_statistics(outcome: Outcome) -> bool:
    """Tell whether some batch norm saw fewer batches than were trained on."""
    norms = [m for m in outcome.training.model.modules() if isinstance(m, nn.BatchNorm2d)]
    return any(int(m.num_batches_tracked) < len(outcome.steps) for m in norms)


@sick("cnn", "eval-mode-training", also=("bn-statistics",), proof=shown(_unused_statistics), bar=0.85)
def cnn_trained_in_eval_mode(seed: int, fixed: bool) -> Training:
    training = shapes_cnn(8)
    if not fixed:
        training.begin_epoch = _always_eval
    return training


@sick("resnet", "eval-mode-training", also=("bn-statistics",), proof=shown(_unused_statistics), bar=0.85)
def train_mode_forgotten_after_validation(seed: int, fixed: bool) -> Training:
    training = program(nets.resnet(), data.shapes(1500), adam(1.5e-3), 10)

    def begin(training: Training, epoch: int) -> None:
        if fixed or epoch == 0:
            training.model.train()

    training.begin_epoch = begin
    return training


@sick(
    "mlp",
    "eval-mode-training",
    also=("dropout-active-in-eval", "over-regularised"),
    proof=shown(lambda outcome: outcome.training.model.training),
    bar=0.8,
)
def validated_with_dropout_on(seed: int, fixed: bool) -> Training:
    """eval() is never called, so every validation figure has dropout in it."""
    training = program(nets.mlp(12, 64, 64, 5, dropout=0.5), data.clusters(), adam(3e-3), 12)
    if not fixed:
        training.begin_validation = lambda training: None
    return training


@sick(
    "regression",
    "lr-too-high",
    also=(*_WILD, "exploding-gradients"),
    proof=harmed(0.2),
    bar=0.8,
)
def momentum_that_overshoots(seed: int, fixed: bool) -> Training:
    """A rate that plain steps could bear, with momentum 0.99."""
    optimizer = sgd(0.1, momentum=0.0 if fixed else 0.99)
    return program(nets.mlp(8, 48, 1), data.friedman(), optimizer, 20, loss=nn.MSELoss(), metric=R2)
