"""Second fresh cases: faults of the output and the loss. What was reported where stands in brackets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import data, fresh2_data, nets
from .case import Metric, Training, harmed, sick
from .fresh2_programs import LIKELIHOOD, RECALLS, SLOW, TRUST, WILD, Series, classifier, cosine, tokens
from .metrics import R2
from .programs import adam, adamw, program, sgd, unit_scaled

# softmax and sigmoid once too often


@sick("cnn", "double-softmax", also=("wrong-output-activation", *SLOW), proof=harmed(0.2), bar=0.85)
def letters_whose_last_layer_is_a_softmax(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(*classifier(6, norm=False), *([] if fixed else [nn.Softmax(dim=1)]))
    table = fresh2_data.letters(1200, kinds="bdpqxz")
    return cosine(program(model, table, sgd(0.05, momentum=0.9), 12, metric=TRUST))


def _many(n: int = 2000, labels: int = 5) -> data.Data:
    """Rare labels, each on its own part of a row."""
    x = torch.randn(n, 10)
    score = x @ torch.randn(10, labels) + 0.5 * x[:, :labels] * x[:, labels : 2 * labels]
    return data.split(x, (score > score.quantile(0.8, 0)).float())


_AT_HALF = Metric("balanced_accuracy", lambda output, y: RECALLS.score(output - 0.5, y), lambda y: 0.5)


@sick("multi-label", "double-softmax", also=("wrong-output-activation", *SLOW), proof=harmed(0.1), bar=0.75)
def sigmoid_before_a_loss_on_logits(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nets.mlp(10, 48, 5), *([] if fixed else [nn.Sigmoid()]))
    metric = RECALLS if fixed else _AT_HALF
    return cosine(program(model, _many(), adam(6e-3), 12, loss=nn.BCEWithLogitsLoss(), metric=metric))


@sick("gru", "double-softmax", also=("wrong-output-activation", *SLOW), proof=harmed(0.2), bar=0.5)
def probabilities_of_the_next_word_into_cross_entropy(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(13, 16), nn.GRU(16, 24, batch_first=True)
            self.head = nn.Linear(24, 13)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.head(self.rnn(self.embed(x))[0])
            return scores if fixed else scores.softmax(-1)

    return cosine(program(Net(), fresh2_data.sentences(), adamw(8e-3), 8, loss=tokens, metric=LIKELIHOOD))


# the last activation


@sick("mlp", "wrong-output-activation", also=("underfitting", "layer-collapse"), proof=harmed(0.2), bar=0.8)
def softmax_over_the_one_unit_of_a_yes_or_no(seed: int, fixed: bool) -> Training:
    """The one probability is always one."""
    loans = fresh2_data.loans(1800, share=0.5, sharp=6.0)
    table = data.Data(loans.x, loans.y[:, None].float(), loans.x_val, loans.y_val[:, None].float())
    model = nn.Sequential(nets.mlp(9, 24, 1), nn.Sigmoid() if fixed else nn.Softmax(dim=1))
    told = Metric(
        "accuracy",
        lambda output, y: float(((output > 0.5) == (y > 0.5)).float().mean()),
        lambda y: max(float(y.mean()), 1 - float(y.mean())),
    )
    return cosine(program(model, table, adamw(5e-3, weight_decay=0.05), 12, loss=nn.BCELoss(), metric=told))


@sick(
    "autoencoder",
    "wrong-output-activation",
    also=("saturated-activations", "underfitting", "unscaled-target"),
    proof=harmed(0.05),
    bar=0.85,
)
def tanh_over_humps_that_reach_higher(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(*nets.mlp(24, 48, 6, 48, 24, act=nn.ELU), nn.Identity() if fixed else nn.Tanh())
    return cosine(program(model, fresh2_data.waves2(), adam(5e-3), 14, loss=nn.MSELoss(), metric=R2))


@sick("cnn-regression", "wrong-output-activation", also=("dead-relu", "underfitting"), proof=harmed(0.2), bar=0.9)
def relu_over_a_sine_and_a_cosine(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(216, 32), nn.ReLU(), nn.Linear(32, 2)),
        *([] if fixed else [nn.ReLU()]),
    )
    return cosine(program(model, fresh2_data.dials(), adam(3e-3), 10, loss=nn.MSELoss(), metric=R2))


# the loss


def _nearest(output: Tensor, y: Tensor) -> float:
    return float((output.round() == y).float().mean())


_BY_NUMBER = Metric("accuracy", _nearest, lambda y: float(y.long().flatten().bincount().max() / len(y)))


@sick("mlp", "wrong-loss", also=("underfitting", "wrong-output-activation"), proof=harmed(0.05), bar=0.8)
def kinds_by_number_with_squared_error(seed: int, fixed: bool) -> Training:
    """One output is drawn towards the number of the kind, as if kinds were lengths."""
    table = fresh2_data.corners(1800, kinds=4)
    if fixed:
        return cosine(program(nets.mlp(10, 32, 4), table, adam(5e-3), 12))
    table = replace(table, y=table.y[:, None].float(), y_val=table.y_val[:, None].float())
    return cosine(program(nets.mlp(10, 32, 1), table, adam(5e-3), 12, loss=nn.MSELoss(), metric=_BY_NUMBER))


@sick(
    "conv1d", "wrong-loss", also=("exploding-gradients", "wrong-output-activation", *SLOW), proof=harmed(0.1), bar=0.9
)
def nll_loss_of_plain_scores(seed: int, fixed: bool) -> Training:
    """The loss expects logarithms of probabilities and falls without end when given scores."""
    layers = [nn.Conv1d(1, 12, 9, stride=2), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 16, 7, stride=2), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(176, 3), *([nn.LogSoftmax(1)] if fixed else []))
    return cosine(program(model, fresh2_data.beats(1200), adam(3e-3), 8, loss=nn.NLLLoss()))


def _overlap(output: Tensor, votes: Tensor) -> float:
    return float(torch.minimum(output.softmax(1), votes).sum(1).mean())


@sick("soft-labels", "wrong-loss", also=("underfitting", "undertrained", "double-softmax"), proof=harmed(0.1), bar=0.7)
def divergence_of_probabilities_not_of_their_logarithms(seed: int, fixed: bool) -> Training:
    """``KLDivLoss`` wants the logarithm of what was told (microsoft/ProDA 20, matchmaker 18); targets are ten votes."""
    table = fresh2_data.corners(1800, kinds=4)
    doubt = 0.15 + 0.4 * torch.rand(4, 1) * torch.ones(1, 4) / 4 + 0.6 * torch.eye(4)
    y, y_val = (torch.distributions.Multinomial(10, doubt[y]).sample() / 10 for y in (table.y, table.y_val))
    divergence = nn.KLDivLoss(reduction="batchmean")

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return divergence(output.log_softmax(1) if fixed else output.softmax(1), y)

    metric = Metric("overlap", _overlap, lambda y: _overlap(y.mean(0).log().expand_as(y), y))
    table = replace(table, y=y, y_val=y_val)
    return cosine(program(nets.mlp(10, 32, 4), table, adamw(5e-3), 10, loss=loss, metric=metric))


# shapes


@sick("regression", "loss-shape-broadcast", also=("underfitting", "layer-collapse"), proof=harmed(0.5), bar=0.9)
def squared_error_of_a_column_and_a_row(seed: int, fixed: bool) -> Training:
    """Written out by hand, so that not even a warning is printed (deepset-ai/FARM 229)."""
    table = unit_scaled(fresh2_data.pump())
    table = replace(table, y=table.y[:, 0], y_val=table.y_val[:, 0])

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return ((output - (y[:, None] if fixed else y)) ** 2).mean()

    return cosine(program(nets.mlp(4, 32, 32, 1), table, adam(5e-3), 12, loss=loss, metric=R2))


@sick("forecast", "loss-shape-broadcast", also=("underfitting", "layer-collapse"), proof=harmed(0.4), bar=0.85)
def next_swing_against_the_whole_batch(seed: int, fixed: bool) -> Training:
    """The output is squeezed, the target is not."""
    table = fresh2_data.pendulums(ahead=1)

    class Net(Series):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out if fixed else out.squeeze(1)

    return cosine(program(Net(1, 1), table, adam(8e-3), 10, loss=nn.SmoothL1Loss(), metric=R2))


# the sign


@sick("density-regression", "loss-sign-flipped", also=(*WILD, "saturated-activations"), proof=harmed(0.5), bar=0.75)
def likelihood_made_small(seed: int, fixed: bool) -> Training:
    """The logarithm of the density is what is brought down, with its deviation held in bounds."""
    x = torch.rand(1200, 1) * 4 - 2
    y = (2 * x).sin() + (0.05 + 0.12 * (x + 2)) * torch.randn(1200, 1)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        density = torch.distributions.Normal(output[:, :1], output[:, 1:].clamp(-3, 2).exp())
        likelihood = density.log_prob(y).mean()
        return -likelihood if fixed else likelihood

    metric = Metric("r2", lambda output, y: R2.score(output[:, :1], y), lambda y: 0.0)
    model = nets.mlp(1, 32, 32, 2, act=nn.Tanh)
    return cosine(program(model, data.split(x, y / 0.8), adam(8e-3), 16, loss=loss, metric=metric))


@sick("cnn", "loss-sign-flipped", also=(*WILD, "saturated-activations"), proof=harmed(0.5), bar=0.9)
def letters_by_an_optimizer_left_to_maximise(seed: int, fixed: bool) -> Training:
    """Copied from a program that climbed a reward."""
    optimizer = adam(2e-3, maximize=not fixed)
    return cosine(program(classifier(4, norm=False), fresh2_data.letters(1200), optimizer, 10))


class Descent(Optimizer):
    """Plain steps, written by hand."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p += group["lr"] * p.grad


class Down(Descent):
    """The same down the slope."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad


@sick("mlp", "loss-sign-flipped", also=(*WILD, "lr-too-high"), proof=harmed(0.3), bar=0.85)
def step_written_by_hand_with_a_plus(seed: int, fixed: bool) -> Training:
    optimizer = lambda m: (Down if fixed else Descent)(m.parameters(), 0.2)  # noqa: E731
    return cosine(program(nets.mlp(10, 48, 3), fresh2_data.corners(1800), optimizer, 14))
