"""Second fresh cases: faults of the size of steps and of the loop. What was reported where stands in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, lr_scheduler

from . import fresh2_data, nets
from .case import Training, harmed, sick
from .fresh2_programs import LIKELIHOOD, SLOW, TOKENS, WILD, Series, classifier, convolutions, cosine, step_down, tokens
from .metrics import R2
from .programs import adam, adamw, program, sgd, unit_scaled

# the rate


@sick("cnn", "lr-too-high", "dead-relu", also=WILD, proof=harmed(0.2), bar=0.9)
def letters_by_adam_at_a_fifth(seed: int, fixed: bool) -> Training:
    return cosine(program(classifier(4, norm=False), fresh2_data.letters(1200), adam(4e-3 if fixed else 0.2), 10))


@sick("fine-tuning", "lr-too-high", also=(*WILD, "overfitting", "saturated-activations"), proof=harmed(0.1), bar=0.8)
def learned_body_washed_out_by_the_first_steps(seed: int, fixed: bool) -> Training:
    """A body that has learned is given few samples at a rate that wipes it clean."""
    table = fresh2_data.letters(2300, kinds="bdpqxz")
    first = classifier(6, norm=False, widths=(16, 32))
    optimizer = Adam(first.parameters(), lr=4e-3)
    for _ in range(500):
        rows = torch.randint(0, 1300, (32,))
        step_down(F.cross_entropy(first(table.x[rows]), table.y[rows]), optimizer)
    model = nn.Sequential(*first[:-1], nn.Linear(64, 6))
    few = table.__class__(table.x[1300:], table.y[1300:], table.x_val, table.y_val)
    return cosine(program(model, few, adam(2e-3 if fixed else 0.1), 8, batch=16))


@sick("forecast", "lr-too-high", also=(*WILD, "saturated-activations"), proof=harmed(0.1), bar=0.85)
def swings_at_a_rate_of_three(seed: int, fixed: bool) -> Training:
    table = fresh2_data.pendulums()
    optimizer = sgd(0.05 if fixed else 3.0, momentum=0.9)
    return cosine(program(Series(1, 4), table, optimizer, 20, loss=nn.MSELoss(), metric=R2))


@sick("conv1d", "lr-too-low", also=SLOW, proof=harmed(0.2), bar=0.9)
def rate_and_decay_given_in_the_wrong_order(seed: int, fixed: bool) -> Training:
    """A rate of 1e-5 and a decay of 3e-3 where the other way round was meant."""
    layers = (nn.Conv1d(1, 12, 9, stride=2), nn.ReLU(), nn.Conv1d(12, 16, 7, stride=2), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(176, 3))
    optimizer = adam(3e-3, weight_decay=1e-5) if fixed else adam(1e-5, weight_decay=3e-3)
    return program(model, fresh2_data.beats(1200), optimizer, 8)


@sick("transformer", "lr-too-low", "lr-schedule-collapse", also=SLOW, proof=harmed(0.2), bar=0.7)
def schedule_that_gives_the_rate_and_not_its_factor(seed: int, fixed: bool) -> Training:
    """``LambdaLR`` multiplies: a rate of 0.004 times 0.004 is left."""
    model = nets.Transformer(13, 13, 23, causal=True, depth=1)
    training = program(model, fresh2_data.sentences(), adamw(4e-3), 8, loss=tokens, metric=TOKENS)
    total = training.epochs * len(training.train)
    peak = 1.0 if fixed else 4e-3
    training.scheduler = lr_scheduler.LambdaLR(training.optimizer, lambda i: peak * max(0.02, 1 - i / total))
    training.scheduler_every = "step"
    return training


# the schedule


@sick("cnn", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.1), bar=0.9)
def tenth_of_the_rate_after_every_batch(seed: int, fixed: bool) -> Training:
    """The factor of an epoch is applied after each batch (leftthomas/SRGAN 94, ivadomed 55)."""
    training = program(classifier(4), fresh2_data.letters(), adam(3e-3), 10)
    training.scheduler = lr_scheduler.StepLR(training.optimizer, step_size=4, gamma=0.3)
    training.scheduler_every = "epoch" if fixed else "step"
    return training


@sick("regression", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.05), bar=0.9)
def loss_watched_as_if_it_should_rise(seed: int, fixed: bool) -> Training:
    """The rate is lowered whenever the loss does not grow (FunctionLab/selene 115)."""
    table = unit_scaled(fresh2_data.impedance())
    training = program(nets.mlp(4, 32, 32, 1), table, sgd(0.004, momentum=0.9), 24, loss=nn.MSELoss(), metric=R2)
    mode = "min" if fixed else "max"
    training.scheduler = lr_scheduler.ReduceLROnPlateau(training.optimizer, mode=mode, factor=0.2, patience=0)
    if fixed:
        training.scheduler.patience = 2
    return training


# clipping


@sick("gru", "gradient-clipping-too-small", also=("lr-too-low", *SLOW), proof=harmed(0.2), bar=0.85)
def every_slope_cut_at_a_ten_thousandth(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(training.model.parameters(), 1.0 if fixed else 1e-4)
        training.optimizer.step()
        return loss

    return cosine(program(Series(3, 4), fresh2_data.paces(), sgd(0.3, momentum=0.9), 12, step=step))


@sick("regression", "gradient-clipping-too-small", also=("lr-too-low", *SLOW), proof=harmed(0.2), bar=0.85)
def length_clipped_at_a_thousandth(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 5.0 if fixed else 1e-3)
        training.optimizer.step()
        return loss

    table = fresh2_data.arm(1200)
    return cosine(
        program(
            nets.mlp(3, 48, 48, 2, act=nn.GELU),
            table,
            sgd(0.05, momentum=0.9),
            14,
            loss=nn.MSELoss(),
            metric=R2,
            step=step,
        )
    )


# stopped too early


@sick("cnn-regression", "undertrained", also=("underfitting",), proof=harmed(0.1), bar=0.9)
def hands_watched_for_an_epoch(seed: int, fixed: bool) -> Training:
    """A ``return`` one step too far in ends the training after one epoch of ten."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GELU()),
        *(nn.Flatten(), nn.Linear(216, 32), nn.GELU(), nn.Linear(32, 2)),
    )
    training = program(model, fresh2_data.dials(), adam(1.5e-3), 10, loss=nn.MSELoss(), metric=R2)
    if not fixed:
        training.epochs = 1
        return training
    return cosine(training)


@sick("gpt", "undertrained", also=("underfitting",), proof=harmed(0.15), bar=0.5)
def sentences_for_two_epochs(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(13, 13, 23, causal=True)
    return program(model, fresh2_data.sentences(), adamw(1e-3), 14 if fixed else 2, loss=tokens, metric=LIKELIHOOD)


# gradients that are kept


@sick("cnn", "missing-zero-grad", also=(*WILD, "lr-too-high"), proof=harmed(0.1), bar=0.9)
def gradients_cleared_where_an_epoch_begins(seed: int, fixed: bool) -> Training:
    """Cleared where an epoch begins and not where a batch does (pytorch 47175)."""

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

    model = classifier(4, norm=False)
    return program(model, fresh2_data.letters(1200), sgd(0.05, momentum=0.9), 10, step=step, begin_epoch=begin)


@sick("regression", "missing-zero-grad", also=(*WILD, "lr-too-high"), proof=harmed(0.1), bar=0.9)
def steps_of_four_batches_that_are_never_cleared(seed: int, fixed: bool) -> Training:
    """Gradient accumulation that steps at every fourth batch and clears at none."""
    held = [0]

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        (loss / 4).backward()
        held[0] += 1
        if held[0] % 4 == 0:
            training.optimizer.step()
            if fixed:
                training.optimizer.zero_grad()
        return loss

    table = fresh2_data.arm(1200)
    model, optimizer = nets.mlp(3, 48, 48, 2, act=nn.GELU), sgd(0.1, momentum=0.9)
    return cosine(program(model, table, optimizer, 24, loss=nn.MSELoss(), metric=R2, step=step, batch=8))


# no step


@sick("gru", "no-weight-update", also=SLOW, proof=harmed(0.3), bar=0.85)
def brackets_forgotten_behind_step(seed: int, fixed: bool) -> Training:
    """``optimizer.step`` without brackets names the method and does not call it."""

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        if fixed:
            training.optimizer.step()
        else:
            training.optimizer.step  # noqa: B018
        return loss

    return cosine(program(Series(3, 4), fresh2_data.paces(), adam(8e-3), 10, step=step))


@sick("mlp", "no-weight-update", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.3), bar=0.85)
def warm_up_by_whole_numbers(seed: int, fixed: bool) -> Training:
    """The share of the warm-up is divided without a rest: it is zero up to the end."""
    training = program(nets.mlp(10, 48, 3), fresh2_data.corners(1600), adam(1e-2), 14)
    total = training.epochs * len(training.train)

    def share(i: int) -> float:
        warm = (i + 1) / 60 if fixed else (i + 1) // total
        return max(0.0, min(warm, (total - i) / (total - 60)))

    training.scheduler = lr_scheduler.LambdaLR(training.optimizer, share)
    training.scheduler_every = "step"
    return training


@sick(
    "cnn",
    "params-not-in-optimizer",
    "no-weight-update",
    also=("frozen-layers", *SLOW),
    proof=harmed(0.2),
    bar=0.9,
)
def optimizer_made_before_the_body_was_exchanged(seed: int, fixed: bool) -> Training:
    """Layers are replaced when the optimizer exists already (meta-pytorch/opacus 432)."""

    def swapped(model: nn.Sequential) -> None:
        for i, module in enumerate(model):
            if isinstance(module, nn.Conv2d):
                model[i] = nn.Conv2d(module.in_channels, module.out_channels, 3, padding=1)

    model = classifier(4, norm=False)
    if fixed:
        swapped(model)
    training = program(model, fresh2_data.letters(1200), adam(4e-3), 10)
    if not fixed:
        swapped(model)
    return training


# modes


@sick("mlp", "eval-mode-training", also=("bn-statistics", "unnormalised-input", *WILD), proof=harmed(0.05), bar=0.9)
def norm_over_raw_columns_that_never_sees_training_mode(seed: int, fixed: bool) -> Training:
    """The net relies on its first batch norm for the scale of the columns; ``eval`` stays on."""
    table = fresh2_data.impedance(1200)
    y = table.y.mean(), table.y.std()
    table = table.__class__(table.x, (table.y - y[0]) / y[1], table.x_val, (table.y_val - y[0]) / y[1])
    model = nn.Sequential(nn.BatchNorm1d(4), *nets.mlp(4, 32, 32, 1, norm=True))

    def begin(training: Training, epoch: int) -> None:
        model.train(fixed)

    training = program(model, table, adam(4e-3), 16, loss=nn.MSELoss(), metric=R2, begin_epoch=begin, batch=60)
    return cosine(training)


@sick(
    "text",
    "eval-mode-training",
    also=("dropout-active-in-eval", "over-regularised", "underfitting"),
    proof=harmed(0.05),
    bar=0.85,
)
def validated_with_half_of_the_words_dropped(seed: int, fixed: bool) -> Training:
    """``model.train()`` stays on in validation and in use."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.drop = nn.Embedding(30, 24), nn.Dropout(0.7)
            self.head = nets.mlp(24, 32, 3, dropout=0.6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.embed(x)).mean(1))

    training = program(Bag(), fresh2_data.moods(1800, share=0.4), adam(1e-2), 8)
    if not fixed:
        training.begin_validation = lambda training: None
    return cosine(training)


@sick("cnn", "eval-mode-training", also=("bn-statistics", "lr-too-high", *WILD), proof=harmed(0.05), bar=0.9)
def cloth_in_eval_mode_from_the_second_epoch_on(seed: int, fixed: bool) -> Training:
    """``eval`` is called for validation and ``train`` only once, before the first epoch; the rate is warm by then."""
    stem = convolutions(3, 12, 16, 24)
    model = nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4))
    training = program(model, fresh2_data.fabrics(1000, noise=1.1), sgd(0.1, momentum=0.9), 8)
    if not fixed:
        training.begin_epoch = lambda training, epoch: None
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, 0.1, total)
    training.scheduler_every = "step"
    return training
