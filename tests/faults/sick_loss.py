"""Faults of the output and the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, nets
from .case import Metric, Outcome, Training, harmed, shown, sick
from .metrics import ACCURACY, BINARY_ACCURACY, R2
from .programs import adam, adamw, program, sgd, shapes_cnn, token_loss


@torch.no_grad()
def _probabilities(outcome: Outcome) -> bool:
    """Tell whether the model returns probabilities instead of scores."""
    outcome.training.model.eval()
    output = outcome.training.model(next(iter(outcome.training.val))[0])
    rows = output.sum(-1)
    single = output.shape[-1] == 1
    return bool((output >= 0).all() and (output <= 1).all() and (single or torch.allclose(rows, torch.ones_like(rows))))


@sick("cnn", "double-softmax", also=("underfitting", "undertrained"), proof=shown(_probabilities), bar=0.9)
def softmax_at_the_end_of_a_cnn(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.cnn(), nn.Identity() if fixed else nn.Softmax(dim=1))
    return program(model, data.shapes(), adam(3e-3), 8)


@sick("mlp", "double-softmax", also=("underfitting", "undertrained"), proof=shown(_probabilities), bar=0.9)
def sigmoid_before_bce_with_logits(seed: int, fixed: bool) -> Training:
    table = data.standardised(data.cancer())
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])
    model = nn.Sequential(nets.mlp(30, 16, 1), nn.Identity() if fixed else nn.Sigmoid())
    middle = 0.0 if fixed else 0.5
    score = replace(BINARY_ACCURACY, score=lambda output, y: BINARY_ACCURACY.score(output - middle, y))
    return program(model, table, adam(3e-3), 10, loss=nn.BCEWithLogitsLoss(), metric=score)


@sick("gpt", "double-softmax", also=("underfitting", "undertrained"), proof=shown(_probabilities), bar=0.6)
def softmax_in_a_language_model(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(6, 6, 12, causal=True, depth=1)
    model = model if fixed else nn.Sequential(model, nn.Softmax(dim=-1))
    return program(model, data.coin_language(), adamw(3e-3), 7, loss=token_loss)


@sick("regression", "wrong-output-activation", also=("dead-relu", "underfitting"), proof=harmed(0.2), bar=0.8)
def relu_on_standardised_target(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(8, 48, 1), nn.Identity() if fixed else nn.ReLU())
    return program(model, data.friedman(), adamw(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick(
    "regression",
    "wrong-output-activation",
    also=("saturated-activations", "underfitting", "unscaled-target"),
    proof=harmed(0.2),
    bar=0.9,
)
def tanh_on_wide_target(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(1, 32, 32, 1), nn.Identity() if fixed else nn.Tanh())
    return program(model, data.curve(), adam(5e-3), 20, loss=nn.MSELoss(), metric=R2)


@sick(
    "autoencoder",
    "wrong-output-activation",
    also=("saturated-activations", "underfitting"),
    proof=harmed(0.3),
    bar=0.85,
)
def sigmoid_on_centred_reconstruction(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(32, 32, 4), nets.mlp(4, 32, 32), nn.Identity() if fixed else nn.Sigmoid())
    return program(model, data.signals(), adam(4e-3), 15, loss=nn.MSELoss(), metric=R2)


@sick(
    "mlp",
    "wrong-output-activation",
    also=("underfitting", "layer-collapse", "vanishing-gradients", "no-weight-update", "saturated-activations"),
    proof=harmed(0.2),
    bar=0.9,
)
def softmax_over_a_single_unit(seed: int, fixed: bool) -> Training:
    """The output is 1 whatever comes in."""
    table = data.standardised(data.cancer())
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])
    model = nn.Sequential(nets.mlp(30, 16, 1), nn.Sigmoid() if fixed else nn.Softmax(dim=1))
    score = replace(BINARY_ACCURACY, score=lambda output, y: BINARY_ACCURACY.score(output - 0.5, y))
    return program(model, table, adam(3e-3), 10, loss=nn.BCELoss(), metric=score)


def _by_number(output: Any, y: Tensor) -> float:
    """Accuracy of scores by class, or of one number rounded to a class."""
    if output.shape[1] > 1:
        return ACCURACY.score(output, y)
    return float((output.squeeze(1).round() == y).float().mean())


@sick("mlp", "wrong-loss", also=("underfitting", "undertrained"), proof=harmed(0.15), bar=0.85)
def squared_error_of_the_class_number(seed: int, fixed: bool) -> Training:
    def squared(output: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(output.squeeze(1), y.float())

    metric = Metric("accuracy", _by_number, ACCURACY.constant)
    model = nets.mlp(12, 32, 32, 5 if fixed else 1)
    return program(
        model, data.clusters(), adam(3e-3), 12, loss=nn.CrossEntropyLoss() if fixed else squared, metric=metric
    )


@sick(
    "mlp",
    "wrong-loss",
    also=("wrong-output-activation", "underfitting", "no-weight-update", "vanishing-gradients"),
    proof=shown(lambda outcome: max(outcome.steps) == 0),
    bar=0.9,
)
def cross_entropy_over_one_column(seed: int, fixed: bool) -> Training:
    """Softmax over a single score is 1, so the loss is 0 from the start and has no gradient."""
    table = data.standardised(data.cancer())
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])
    loss = nn.BCEWithLogitsLoss() if fixed else nn.CrossEntropyLoss()
    return program(nets.mlp(30, 16, 1), table, adam(3e-3), 10, loss=loss, metric=BINARY_ACCURACY)


@sick(
    "cnn",
    "wrong-loss",
    "wrong-output-activation",
    also=("exploding-gradients", "lr-too-high", "numerical-instability", "overfitting", "undertrained"),
    proof=shown(lambda outcome: outcome.losses[-1] < 0),
    bar=0.9,
)
def likelihood_of_raw_scores(seed: int, fixed: bool) -> Training:
    """NLLLoss without a log-softmax: the loss falls for ever."""
    model = nn.Sequential(nets.cnn(), nn.LogSoftmax(dim=1) if fixed else nn.Identity())
    return program(model, data.shapes(), adam(3e-3), 8, loss=nn.NLLLoss())


@sick("autoencoder", "wrong-loss", also=("underfitting", "undertrained"), proof=harmed(0.3), bar=0.85)
def reconstruction_by_cross_entropy(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(32, 32, 4), nets.mlp(4, 32, 32))
    loss = nn.MSELoss() if fixed else nn.CrossEntropyLoss()
    return program(model, data.signals(), adam(4e-3), 15, loss=loss, metric=R2)


@sick(
    "autoencoder",
    "wrong-loss",
    also=("underfitting", "undertrained", "lr-too-high", "exploding-gradients"),
    proof=harmed(0.3),
    bar=0.85,
)
def binary_loss_on_centred_values(seed: int, fixed: bool) -> Training:
    """Targets lie below 0 and above 1."""
    model = nn.Sequential(nets.mlp(32, 32, 4), nets.mlp(4, 32, 32))
    loss = nn.MSELoss() if fixed else nn.BCEWithLogitsLoss()
    return program(model, data.signals(), adam(4e-3), 15, loss=loss, metric=R2)


def _flat_target(table: data.Data) -> data.Data:
    return data.Data(table.x, table.y.flatten(), table.x_val, table.y_val.flatten())


@sick("regression", "loss-shape-broadcast", also=("underfitting",), proof=harmed(0.5), bar=0.8)
def column_against_row(seed: int, fixed: bool) -> Training:
    """(N, 1) minus (N,) is (N, N)."""
    loss = (lambda output, y: F.mse_loss(output, y[:, None])) if fixed else nn.MSELoss()
    return program(nets.mlp(8, 48, 1), _flat_target(data.friedman()), adamw(5e-3), 14, loss=loss, metric=R2)


@sick("lstm", "loss-shape-broadcast", also=("underfitting",), proof=harmed(0.4), bar=0.7)
def row_against_column_in_an_lstm(seed: int, fixed: bool) -> Training:
    """The output is squeezed, the target is not."""
    series = data.waves(900, kinds=1, noise=0.1)
    series = data.Data(series.x[:, :-1], series.x[:, -1], series.x_val[:, :-1], series.x_val[:, -1])  # the next value
    model = nets.Recurrent(nn.LSTM, 1, 24, 1)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.smooth_l1_loss(output if fixed else output.squeeze(1), y)

    return program(model, series, adam(5e-3), 14, loss=loss, metric=R2)


_UPHILL = ("exploding-gradients", "lr-too-high", "numerical-instability", "underfitting", "overfitting", "undertrained")


@sick("mlp", "loss-sign-flipped", also=(*_UPHILL, "non-finite-weights", "dead-relu"), proof=harmed(0.5), bar=0.8)
def optimizer_told_to_maximise(seed: int, fixed: bool) -> Training:
    return program(nets.mlp(12, 32, 5), data.clusters(), sgd(0.05, maximize=not fixed), 12)


@sick("cnn", "loss-sign-flipped", also=(*_UPHILL, "dead-relu"), proof=harmed(0.5), bar=0.9)
def log_likelihood_as_loss(seed: int, fixed: bool) -> Training:
    """The mean log-likelihood is minimised: the minus sign is missing."""

    def loss(output: Tensor, y: Tensor) -> Tensor:
        likelihood = F.log_softmax(output, 1).gather(1, y[:, None]).mean()
        return -likelihood if fixed else likelihood

    return shapes_cnn(6, loss=loss)


@sick("regression", "loss-sign-flipped", also=(*_UPHILL, "dead-relu"), proof=harmed(0.5), bar=0.8)
def reward_of_closeness(seed: int, fixed: bool) -> Training:
    """exp(-error²) is a reward, and it is minimised."""

    def loss(output: Tensor, y: Tensor) -> Tensor:
        reward = (-(output - y).square()).exp().mean()
        return -reward if fixed else reward

    return program(nets.mlp(8, 48, 1), data.friedman(), adam(5e-3), 14, loss=loss, metric=R2)


@sick(
    "mlp",
    "wrong-output-activation",
    also=("dead-relu", "underfitting", "undertrained", "no-weight-update"),
    proof=harmed(0.03),
    bar=0.85,
)
def relu_on_the_class_scores(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(12, 32, 5), nn.Identity() if fixed else nn.ReLU())
    with torch.no_grad():
        model[0][2].bias.sub_(1.0)  # most scores start below zero
    return program(model, data.clusters(), adam(3e-3), 12)
