"""Fresh cases: faults of the output, the loss and the size of the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, lr_scheduler

from . import data, fresh_data, nets
from .case import Metric, Outcome, Training, harmed, shown, sick
from .metrics import R2
from .programs import adam, adamw, program, sgd, unit_scaled

SLOW = ("underfitting", "undertrained")
WILD = (
    "exploding-gradients",
    "dead-relu",
    "saturated-activations",
    "layer-collapse",
    "underfitting",
    "numerical-instability",
    "non-finite-weights",
)


@torch.no_grad()
def _rows_sum_to_one(outcome: Outcome) -> bool:
    output = outcome.training.model.eval()(next(iter(outcome.training.val))[0])
    return bool((output >= 0).all() and torch.allclose(output.sum(1), torch.ones(len(output)), atol=1e-4))


@torch.no_grad()
def _columns_sum_to_one(outcome: Outcome) -> bool:
    output = outcome.training.model.eval()(next(iter(outcome.training.val))[0]).exp()
    return torch.allclose(output.sum(0), torch.ones(output.shape[1]), atol=1e-4)


@sick("mlp", "double-softmax", also=SLOW, proof=shown(_rows_sum_to_one), bar=0.9)
def digits_whose_forward_ends_in_softmax(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(64, 48), nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc2(F.relu(self.fc1(x)))
            return x if fixed else F.softmax(x, dim=1)

    return program(Net(), fresh_data.handwriting(), sgd(0.1, momentum=0.9), 8)


@sick(
    "conv1d",
    "wrong-output-activation",
    "batch-mixing",
    also=("wrong-loss", *SLOW),
    proof=shown(_columns_sum_to_one),
    bar=0.9,
)
def log_softmax_over_the_first_axis(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        *(nn.Conv1d(1, 12, 7, stride=2), nn.ReLU(), nn.Conv1d(12, 24, 5, stride=2), nn.ReLU()),
        *(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 4), nn.LogSoftmax(dim=1 if fixed else 0)),
    )
    return program(model, fresh_data.tones(), adam(4e-3), 10, loss=nn.NLLLoss())


@sick("lstm", "wrong-output-activation", also=("saturated-activations", "underfitting"), proof=harmed(0.3), bar=0.8)
def forecast_squeezed_into_zero_to_one(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.Recurrent(nn.LSTM, 1, 24, 1), nn.Identity() if fixed else nn.Sigmoid())
    return program(model, fresh_data.load_curve(), adam(5e-3), 12, loss=nn.MSELoss(), metric=R2)


_ALL_LABELS = Metric(
    "accuracy",
    lambda output, y: float(((output > 0) == (y > 0.5)).float().mean()),
    lambda y: float(torch.maximum(y.mean(0), 1 - y.mean(0)).mean()),
)


@sick("multi-label", "wrong-loss", also=("underfitting",), proof=harmed(0.03), bar=0.75)
def cross_entropy_on_several_true_labels(seed: int, fixed: bool) -> Training:
    loss = nn.BCEWithLogitsLoss() if fixed else nn.CrossEntropyLoss()
    return program(nets.mlp(10, 64, 6), data.labelled_many(1400), adam(4e-3), 14, loss=loss, metric=_ALL_LABELS)


@sick("regression", "wrong-loss", "wrong-output-activation", also=("underfitting",), proof=harmed(0.3), bar=0.4)
def a_rate_taken_for_its_logarithm(seed: int, fixed: bool) -> Training:
    """The Poisson loss expects the logarithm unless it is told otherwise."""
    model = nn.Sequential(nets.mlp(6, 32, 1), nn.Softplus())
    return program(
        model, fresh_data.counts(), adam(5e-3), 14, loss=nn.PoissonNLLLoss(log_input=not fixed, full=True), metric=R2
    )


def _flat(table: data.Data) -> data.Data:
    return replace(table, y=table.y[:, 0], y_val=table.y_val[:, 0])


@sick("conv1d", "loss-shape-broadcast", also=("underfitting", "layer-collapse"), proof=harmed(0.3), bar=0.8)
def huber_of_a_column_and_a_flat_target(seed: int, fixed: bool) -> Training:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0] if fixed else x

    model = nn.Sequential(
        *(nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 1), Head()),
    )
    return program(model, _flat(data.bumps()), adam(3e-3), 10, loss=nn.HuberLoss(), metric=R2)


def _chosen_value(q: Tensor, played: Tensor) -> Tensor:
    return q.gather(1, played[:, :1].long())


_VALUE = Metric("r2", lambda q, y: R2.score(_chosen_value(q, y), y[:, 1:]), lambda y: 0.0)


@sick("q-learning", "loss-shape-broadcast", also=("underfitting", "layer-collapse"), proof=harmed(0.3), bar=0.7)
def value_of_an_action_against_a_row_of_rewards(seed: int, fixed: bool) -> Training:
    """The output has a column a move; the target holds the move that was made and what it brought."""
    state, move = torch.randn(1200, 5), torch.randint(0, 3, (1200,))
    gain = (state @ torch.randn(5, 3)).tanh()[torch.arange(1200), move] + 0.5 * state[:, 0] * (move == 1)
    table = data.split(state, torch.stack([move.float(), gain + 0.1 * torch.randn(1200)], 1))

    def loss(q: Tensor, played: Tensor) -> Tensor:
        reward = played[:, 1:] if fixed else played[:, 1]
        return F.smooth_l1_loss(_chosen_value(q, played), reward)

    return program(nets.mlp(5, 48, 48, 3), table, adam(3e-3), 12, loss=loss, metric=_VALUE)


_COSINE = Metric("cosine", lambda output, y: float(F.cosine_similarity(output, y).mean()), lambda y: 0.0)


@sick("embedding", "loss-sign-flipped", also=("wrong-loss",), proof=harmed(0.5), bar=0.8)
def likeness_made_small(seed: int, fixed: bool) -> Training:
    """The cosine is a likeness: what is to be made small is one minus it."""
    x = torch.randn(900, 12)
    y = (x @ torch.randn(12, 20)).tanh() @ torch.randn(20, 8)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        likeness = F.cosine_similarity(output, y).mean()
        return 1 - likeness if fixed else likeness

    return program(nets.mlp(12, 64, 8), data.split(x, y), adam(3e-3), 12, loss=loss, metric=_COSINE)


# step size


@sick("transformer", "lr-too-high", also=WILD, proof=harmed(0.15), bar=0.85)
def transformer_at_the_rate_of_a_small_net(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(40, 4, 14, pooled=True)
    return program(model, fresh_data.topics(), adamw(2e-3 if fixed else 0.2), 6)


@sick("regression", "lr-too-high", also=WILD, proof=harmed(0.3), bar=0.8)
def momentum_at_a_rate_of_seven_tenths(seed: int, fixed: bool) -> Training:
    table = unit_scaled(fresh_data.energy())
    return program(
        nets.mlp(5, 32, 32, 1), table, sgd(0.02 if fixed else 0.7, momentum=0.9), 12, loss=nn.MSELoss(), metric=R2
    )


@sick("cnn", "lr-too-low", also=SLOW, proof=harmed(0.2), bar=0.9)
def rate_of_another_optimizer(seed: int, fixed: bool) -> Training:
    """A rate that would do for Adam, given to plain SGD."""
    model = nets.cnn(4, norm=False)
    return program(model, fresh_data.gratings(), adam(2e-3) if fixed else sgd(1e-4), 10)


@sick("gru", "lr-too-low", also=SLOW, proof=harmed(0.2), bar=0.9)
def exponent_with_one_digit_too_many(seed: int, fixed: bool) -> Training:
    model = nets.Recurrent(nn.GRU, 40, 24, 4, symbols=True)
    return program(model, fresh_data.topics(), adam(4e-3 if fixed else 4e-6), 8)


@sick("transformer", "lr-schedule-collapse", also=("lr-too-low", *SLOW), proof=harmed(0.1), bar=0.85)
def epochwise_factor_applied_by_batch(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(40, 4, 14, pooled=True, depth=1)
    training = program(model, fresh_data.topics(), adam(2e-3), 7)
    training.scheduler = lr_scheduler.ExponentialLR(training.optimizer, 0.8)
    training.scheduler_every = "epoch" if fixed else "step"
    return training


@sick("conv1d", "gradient-clipping-too-small", also=("lr-too-low", *SLOW), proof=harmed(0.15), bar=0.85)
def norm_clipped_in_units_of_the_rate(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 1.0 if fixed else 5e-4)
        training.optimizer.step()
        return loss

    model = nn.Sequential(
        *(nn.Conv1d(1, 12, 7, stride=2), nn.ReLU(), nn.Conv1d(12, 24, 5, stride=2), nn.ReLU()),
        *(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 4)),
    )
    return program(model, fresh_data.tones(), sgd(0.05, momentum=0.9), 14, step=step)


@sick("vit", "undertrained", also=("underfitting",), proof=harmed(0.1), bar=0.85)
def two_epochs_of_twelve(seed: int, fixed: bool) -> Training:
    model = nets.ViT(4, size=12)
    return program(model, fresh_data.gratings(size=12, noise=0.9), adamw(7e-4), 12 if fixed else 2)


# loop


@sick("gru", "missing-zero-grad", also=(*WILD, "lr-too-high"), proof=harmed(0.1), bar=0.85)
def forecast_without_zero_grad(seed: int, fixed: bool) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        if fixed:
            training.model.zero_grad()
        loss = training.loss(training.model(batch[0]), batch[1])
        loss.backward()
        training.optimizer.step()
        return loss

    model = nets.Recurrent(nn.GRU, 1, 24, 1)
    options = sgd(0.05, momentum=0.9)
    return program(model, fresh_data.load_curve(), options, 14, loss=nn.MSELoss(), metric=R2, step=step)


@sick("mlp", "no-weight-update", also=("lr-too-low", *SLOW), proof=harmed(0.3), bar=0.85)
def scheduler_stepped_in_place_of_the_optimizer(seed: int, fixed: bool) -> Training:
    model = nets.mlp(2, 32, 32, 2)
    optimizer = Adam(model.parameters(), lr=5e-3)
    scheduler = lr_scheduler.StepLR(optimizer, 100, 0.9)

    def step(training: Training, batch: Any) -> Tensor:
        optimizer.zero_grad()
        loss = training.loss(model(batch[0]), batch[1])
        loss.backward()
        (optimizer if fixed else scheduler).step()
        return loss

    return replace(program(model, fresh_data.moons(), lambda _: optimizer, 12, step=step), scheduler=None)


def _rest_in_eval(outcome: Outcome) -> bool:
    """Tell whether batch norms never counted a batch."""
    norms = [m for m in outcome.training.model.modules() if isinstance(m, nn.BatchNorm2d)]
    return any(int(m.num_batches_tracked) == 0 for m in norms)


@sick("cnn", "eval-mode-training", also=("bn-statistics",), proof=shown(_rest_in_eval), bar=0.85)
def stem_set_to_eval_before_every_epoch(seed: int, fixed: bool) -> Training:
    """One part stays in eval mode while the rest learns, although it is to learn too."""
    stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout2d(0.1))
    body = nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(stem, body, nn.Flatten(), nn.Linear(24, 4))

    def begin(training: Training, epoch: int) -> None:
        model.train()
        if not fixed:
            stem.eval()

    return program(model, fresh_data.gratings(), adam(3e-3), 10, begin_epoch=begin)


def _left_training(outcome: Outcome) -> bool:
    return outcome.training.model.training


@sick(
    "mlp",
    "eval-mode-training",
    also=("dropout-active-in-eval", "batch-mixing", "bn-statistics"),
    proof=shown(_left_training),
    bar=0.85,
)
def never_set_to_eval(seed: int, fixed: bool) -> Training:
    model = nets.mlp(64, 48, 48, 10, norm=True, dropout=0.3)
    training = program(model, fresh_data.handwriting(), adamw(2e-3), 8)
    if not fixed:
        training.begin_validation = lambda training: None
    return training
