"""Faults of norm and dropout, and of the fit."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .healthy_special import pretrained_cnn
from .metrics import R2
from .programs import adam, adamw, program, sgd, token_loss

# norm and dropout


@sick("mlp", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.03), bar=0.85)
def momentum_as_another_framework_counts_it(seed: int, fixed: bool) -> Training:
    """0.99 there keeps the old statistics; here it throws them away at every batch of eight."""
    training = program(nets.mlp(12, 48, 48, 5, norm=True), data.clusters(1500), adam(2e-3), 7, batch=8)
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.1 if fixed else 0.99
    return training


@sick("resnet", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.1), bar=0.85)
def statistics_reset_before_validation(seed: int, fixed: bool) -> Training:
    training = program(nets.resnet(), data.shapes(1500), adam(1.5e-3), 10)

    def begin(training: Training) -> None:
        training.model.eval()
        for module in training.model.modules():
            if isinstance(module, nn.BatchNorm2d) and not fixed:
                module.reset_running_stats()

    training.begin_validation = begin
    return training


@sick(
    "fine-tuning",
    "bn-statistics",
    also=("train-val-mismatch", "underfitting", "unnormalised-input", "dead-relu", "eval-mode-training", "overfitting"),
    proof=harmed(0.05),
    bar=0.85,
)
def frozen_statistics_of_another_domain(seed: int, fixed: bool) -> Training:
    """Everything is trained on, but batch norm is held in eval mode, with figures of pictures six times fainter."""
    model = pretrained_cnn()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and not fixed:
                module.running_mean.add_(2.0)
                module.running_var.mul_(0.02)
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(), adam(1e-3), 6)

    def begin(training: Training, epoch: int) -> None:
        training.model.train()
        for module in training.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    training.begin_epoch = begin
    return training


@sick("resnet", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.1), bar=0.85)
def statistics_that_hardly_move(seed: int, fixed: bool) -> Training:
    training = program(nets.resnet(), data.shapes(1500), adam(1.5e-3), 10)
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1 if fixed else 1e-4
    return training


@torch.no_grad()
def _random(outcome: Outcome) -> bool:
    """Tell whether two evaluations differ."""
    training = outcome.training
    training.begin_validation(training)
    x = next(iter(training.val))[0]
    return not torch.equal(training.model(x), training.model(x))


class FunctionalDropout(nn.Module):
    """F.dropout, told or not told that the model is in eval mode."""

    def __init__(self, told: bool) -> None:
        super().__init__()
        self.body, self.head = nets.mlp(12, 64, 64), nn.Linear(64, 5)
        self.told = told

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x).relu()
        return self.head(F.dropout(h, 0.5, training=self.training) if self.told else F.dropout(h, 0.5))


@sick("mlp", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.85)
def functional_dropout_without_the_flag(seed: int, fixed: bool) -> Training:
    return program(FunctionalDropout(fixed), data.clusters(), adam(3e-3), 12)


class DropoutMadeAnew(nn.Module):
    """A dropout layer made in forward is always in train mode."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.net = nets.cnn(norm=False)
        self.dropout = nn.Dropout(0.4) if kept else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.net[:-1](x)
        return self.net[-1]((self.dropout or nn.Dropout(0.4))(h))


@sick("cnn", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.85)
def dropout_layer_made_in_forward(seed: int, fixed: bool) -> Training:
    return program(DropoutMadeAnew(fixed), data.shapes(), adam(3e-3), 10)


@sick("transformer", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.8)
def attention_dropout_as_a_constant(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(8, 2, 8, pooled=True)
    for block in model.blocks:
        attention = block.attention
        attention.dropout = 0.2
        if not fixed:  # the flag is looked up where it never changes
            attention.__class__ = type("Always", (nets.Attention,), {"training": property(lambda _: True, _ignored)})
    return program(model, data.which_first(), adamw(3e-3), 10)


def _ignored(module: nn.Module, value: bool) -> None:
    pass


# fit

_SMALL = ("label-noise",)


@sick("mlp", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.8)
def wide_net_on_thirty_rows(seed: int, fixed: bool) -> Training:
    table = data.clusters(2400, spread=1.5)
    table = table if fixed else table.take(30)
    return program(nets.mlp(12, 128, 128, 5), table, adam(1e-3), 5 if fixed else 120, batch=32)


@sick("cnn", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.85)
def sixty_drawings(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(2000, noise=0.45)
    drawings = drawings if fixed else drawings.take(60)
    return program(nets.cnn(norm=False), drawings, adam(3e-3), 6 if fixed else 50, batch=32)


def _risen(outcome: Outcome) -> bool:
    """Tell whether the validation loss ended far above its best."""
    return outcome.losses[-1] > 1.4 * min(outcome.losses)


@sick("mlp", "overfitting", also=_SMALL, proof=shown(_risen), bar=0.6)
def trained_far_past_the_best_epoch(seed: int, fixed: bool) -> Training:
    """Overlapping classes, a wide net, no brake; the twin stops in time."""
    table = data.clusters(1500, spread=1.9)
    return program(nets.mlp(12, 128, 128, 5), table, adam(2e-3), 3 if fixed else 40)


@sick("gpt", "overfitting", "too-little-data", also=_SMALL, proof=shown(_risen), bar=0.6)
def language_model_on_thirty_lines(seed: int, fixed: bool) -> Training:
    lines = data.coin_language(900)
    lines = lines if fixed else lines.take(30)
    model = nets.Transformer(6, 6, 12, causal=True)
    return program(model, lines, adamw(4e-3), 4 if fixed else 90, loss=token_loss)


@sick("regression", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.5)
def noisy_regression_learned_by_heart(seed: int, fixed: bool) -> Training:
    table = data.friedman(1600, noise=0.6)
    table = table if fixed else table.take(50)
    optimizer = adam(3e-3)
    return program(nets.mlp(8, 96, 96, 1), table, optimizer, 4 if fixed else 120, loss=nn.MSELoss(), metric=R2)


@sick("mlp", "underfitting", also=("undertrained", "dead-relu", "missing-nonlinearity"), proof=harmed(0.2), bar=0.85)
def bottleneck_of_one_unit(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 32, 16 if fixed else 1, 32, 9, act=nn.Tanh)
    return program(model, data.clusters(1500, classes=9), adam(3e-3), 14)


@sick("mlp", "underfitting", also=("undertrained", "missing-nonlinearity"), proof=harmed(0.2), bar=0.85)
def straight_lines_on_a_chequered_board(seed: int, fixed: bool) -> Training:
    """Logistic regression cannot; a hidden layer can."""
    model = nets.mlp(2, 64, 64, 2, act=nn.Tanh) if fixed else nn.Linear(2, 2)
    return program(model, data.chequers(1800), adam(1e-2), 40 if fixed else 20)


@sick("autoencoder", "underfitting", also=("undertrained", "dead-relu"), proof=harmed(0.2), bar=0.85)
def code_of_one_number(seed: int, fixed: bool) -> Training:
    """The data have three degrees of freedom."""
    code = 4 if fixed else 1
    model = nn.Sequential(nets.mlp(32, 32, code), nets.mlp(code, 32, 32))
    return program(model, data.signals(), adam(4e-3), 15, loss=nn.MSELoss(), metric=R2)


_HELD = ("underfitting", "undertrained", "layer-collapse", "vanishing-gradients")


@sick("mlp", "over-regularised", also=_HELD, proof=harmed(0.2), bar=0.85)
def weight_decay_of_a_half_in_sgd(seed: int, fixed: bool) -> Training:
    optimizer = sgd(0.1, weight_decay=1e-4 if fixed else 0.4)
    return program(nets.mlp(12, 32, 32, 5), data.clusters(), optimizer, 14)


@sick("cnn", "over-regularised", also=(*_HELD, "lr-too-low"), proof=harmed(0.1), bar=0.85)
def nearly_everything_dropped(seed: int, fixed: bool) -> Training:
    rate = 0.2 if fixed else 0.97
    whole = nets.cnn(norm=False)
    model = nn.Sequential(
        *whole[:-1], nn.Dropout(rate), nn.Linear(24, 24), nn.ReLU(), nn.Dropout(rate), nn.Linear(24, 6)
    )
    return program(model, data.shapes(), adam(2e-3), 10)


@sick("regression", "over-regularised", also=_HELD, proof=harmed(0.3), bar=0.8)
def penalty_larger_than_the_loss(seed: int, fixed: bool) -> Training:
    """The sum of squared weights is added by hand, with a factor of 0.5."""

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        loss = loss + (1e-5 if fixed else 0.5) * sum(p.square().sum() for p in training.model.parameters())
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(8, 48, 1), data.friedman(), adam(5e-3), 14, loss=nn.MSELoss(), metric=R2, step=step)


class _Factors(nn.Module):
    """A level and some factors of each user and item."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(80, factors), nn.Embedding(50, factors)
        self.user_level, self.item_level = nn.Embedding(80, 1), nn.Embedding(50, 1)
        for table in (self.users, self.items, self.user_level, self.item_level):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        who, what = x[:, 0], x[:, 1]
        told = (self.users(who) * self.items(what)).sum(1)
        return told + self.user_level(who)[:, 0] + self.item_level(what)[:, 0]


@sick("recommender", "overfitting", "too-little-data", also=("lr-too-high",), proof=harmed(0.08), bar=0.8)
def factors_that_know_every_rating(seed: int, fixed: bool) -> Training:
    """Sixty-four factors for thirty ratings of a user, and no decay: the loss on new ones never rises, and stays."""
    model = _Factors(3 if fixed else 64)
    optimizer = adam(1e-2, weight_decay=4e-4 if fixed else 0.0)
    return program(model, data.ratings(), optimizer, 25, loss=nn.MSELoss(), metric=R2, batch=64)
