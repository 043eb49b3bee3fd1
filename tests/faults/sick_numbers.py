"""Faults of the activations, the numbers and the scale."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from . import data, nets
from .case import Training, harmed, sick
from .healthy_special import Siamese, contrastive
from .metrics import BINARY_ACCURACY, R2
from .programs import (
    adam,
    clusters_mlp,
    program,
    sgd,
    shapes_cnn,
    unit_scaled,
)

_UNTRAINED = ("underfitting", "undertrained", "lr-too-low", "no-weight-update")

# activations


@sick(
    "mlp",
    "dead-relu",
    "bad-init",
    also=("underfitting", "layer-collapse", "no-weight-update"),
    proof=harmed(0.3),
    bar=0.85,
)
def biases_far_below_zero(seed: int, fixed: bool) -> Training:
    training = clusters_mlp()
    nn.init.constant_(training.model[2].bias, 0.0 if fixed else -12.0)
    return training


@sick(
    "cnn",
    "dead-relu",
    "bad-init",
    also=("underfitting", "layer-collapse", "no-weight-update"),
    proof=harmed(0.3),
    bar=0.85,
)
def negative_kernels_on_positive_pictures(seed: int, fixed: bool) -> Training:
    training = shapes_cnn(10, norm=False)
    with torch.no_grad():
        if not fixed:  # what comes out of the first ReLU is never negative
            training.model[3].weight.copy_(-training.model[3].weight.abs())
            training.model[3].bias.fill_(-0.1)
    return training


@sick(
    "mlp",
    "saturated-activations",
    "bad-init",
    also=("underfitting", "vanishing-gradients", "undertrained", "overfitting", "exploding-gradients"),
    proof=harmed(0.1),
    bar=0.85,
)
def tanh_driven_to_its_ends(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 32, 32, 5, act=nn.Tanh)
    if not fixed:
        for module in (model[0], model[2]):
            nn.init.normal_(module.weight, std=8.0)
    return program(model, data.clusters(), sgd(0.05), 20)


class SharpAttention(nn.Module):
    """Attention whose scores are multiplied where they should be divided."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 24)
        self.positions = nn.Parameter(0.5 * torch.randn(8, 24))
        self.qkv = nn.Linear(24, 72)
        self.head = nets.mlp(24, 24, 2)
        self.softmax = nn.Softmax(dim=-1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.embed(x) + self.positions).chunk(3, -1)
        weights = self.softmax(q @ k.transpose(1, 2) * self.scale)
        return self.head((weights @ v).mean(1))


@sick(
    "transformer",
    "saturated-activations",
    also=("underfitting", "undertrained", "exploding-gradients", "vanishing-gradients", "lr-too-high", "overfitting"),
    proof=harmed(0.03),
    bar=0.85,
)
def attention_scores_multiplied(seed: int, fixed: bool) -> Training:
    return program(SharpAttention(24**-0.5 if fixed else 150.0), data.which_first(1600), adam(4e-3), 12)


@sick("mlp", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.2), bar=0.85)
def activation_forgotten_on_spirals(seed: int, fixed: bool) -> Training:
    model = nets.mlp(2, 48, 48, 3, act=nn.Tanh if fixed else nn.Identity)
    return program(model, data.spirals(), adam(1e-2), 25)


@sick("regression", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.9)
def linear_layers_in_a_row_on_a_curve(seed: int, fixed: bool) -> Training:
    layers = [nn.Linear(1, 32), nn.Linear(32, 32), nn.Linear(32, 1)]
    if fixed:
        layers = [layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]]
    return program(nn.Sequential(*layers), data.curve(), adam(5e-3), 20, loss=nn.MSELoss(), metric=R2)


@sick("cnn", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.8)
def convolutions_without_activation(seed: int, fixed: bool) -> Training:
    act = nn.ReLU if fixed else nn.Identity
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), act(), nn.AvgPool2d(2), nn.Conv2d(12, 24, 3, padding=1), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 6)),
    )
    return program(model, data.shapes(1200), adam(8e-3), 12)


# numbers

_BROKEN = ("non-finite-weights", "exploding-gradients", "lr-too-high", "underfitting")


@sick("siamese", "numerical-instability", also=_BROKEN, proof=harmed(0.2), bar=0.8)
def root_of_a_zero_distance(seed: int, fixed: bool) -> Training:
    """Some pairs are a sample with itself: sqrt has an infinite slope at 0."""

    class Bare(Siamese):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            square = (self.tower(a) - self.tower(b)).square().sum(1, keepdim=True)
            return (square + 1e-6 if fixed else square).sqrt()

    table = data.clusters(1200, classes=3)

    def pairs(x: Tensor, y: Tensor) -> TensorDataset:
        partner = torch.randperm(len(y))
        alike = torch.rand(len(y)) < 0.4
        partner = torch.where(alike, torch.arange(len(y)), partner)  # itself
        near = x[partner] + torch.where(alike & (torch.rand(len(y)) < 0.9), 0.3, 0.0)[:, None] * torch.randn_like(x)
        return TensorDataset(x, near, (y == y[partner]).float()[:, None])

    model = Bare()
    train = DataLoader(pairs(table.x, table.y), batch_size=32, shuffle=True)
    val = DataLoader(pairs(table.x_val, table.y_val), batch_size=128)
    metric = replace(BINARY_ACCURACY, score=lambda d, same: BINARY_ACCURACY.score(1 - d, same))
    return Training(model, Adam(model.parameters(), lr=3e-3), contrastive, train, val, 12, metric)


@sick("mlp", "numerical-instability", also=(*_BROKEN, "saturated-activations"), proof=harmed(0.2), bar=0.9)
def logarithm_of_a_probability_that_reaches_zero(seed: int, fixed: bool) -> Training:
    """The classes lie so far apart that scores pass 17, where a float32 sigmoid is exactly 1."""
    table = data.rare(1500, share=0.4, shift=6.0)
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])

    def loss(output: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return F.binary_cross_entropy_with_logits(output, y)
        p = output.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    return program(nets.mlp(10, 32, 1), table, adam(0.02), 12, loss=loss, metric=BINARY_ACCURACY)


class SoftArgmax(nn.Module):
    """Where a bump is: the mean place under a softmax written by hand, with or without the largest taken off first."""

    def __init__(self, shifted: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 1, 5, padding=2))
        self.shifted = shifted

    def forward(self, x: Tensor) -> Tensor:
        score = 150 * self.features(x)[:, 0]
        weight = (score - score.amax(1, keepdim=True) if self.shifted else score).exp()
        place = torch.linspace(-1.7, 1.7, x.shape[2])
        return (weight * place).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


@sick("conv1d", "numerical-instability", also=(*_BROKEN, "bad-init"), proof=harmed(0.2), bar=0.85)
def exponential_that_overflows(seed: int, fixed: bool) -> Training:
    """exp(89) is the end of float32."""
    return program(SoftArgmax(fixed), data.bumps(), adam(4e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("mlp", "nan-in-data", also=("numerical-instability", *_BROKEN), proof=harmed(0.2), bar=0.9)
def missing_values_left_in_a_table(seed: int, fixed: bool) -> Training:
    table = data.standardised(data.cancer())
    holes = torch.rand(table.x.shape) < 0.002
    table.x[holes] = 0.0 if fixed else torch.nan
    return program(nets.mlp(30, 16, 2), table, adam(3e-3), 10)


@sick("regression", "nan-in-data", also=("numerical-instability", *_BROKEN), proof=harmed(0.2), bar=0.7)
def logarithm_of_zero_in_the_target(seed: int, fixed: bool) -> Training:
    """Some counts are 0; log(0) is -inf, log1p(0) is 0."""
    table = data.friedman()

    def counts(y: Tensor) -> Tensor:
        count = (3 * y + 3).round().clamp_min(0)
        return count.log1p() if fixed else count.log()

    table = data.Data(table.x, counts(table.y), table.x_val, counts(table.y_val).nan_to_num(neginf=0.0))
    return program(nets.mlp(8, 32, 1), table, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("cnn", "nan-in-data", also=("numerical-instability", "bn-statistics", *_BROKEN), proof=harmed(0.2), bar=0.9)
def pictures_divided_by_their_maximum(seed: int, fixed: bool) -> Training:
    """Two pictures are black, and 0 / 0 is no number."""
    drawings = data.shapes()
    drawings.x[:2] = 0.0
    largest = drawings.x.abs().amax((1, 2, 3), keepdim=True)
    largest_val = drawings.x_val.abs().amax((1, 2, 3), keepdim=True)
    x = drawings.x / (largest.clamp_min(1e-6) if fixed else largest)
    drawings = data.Data(x * 3, drawings.y, drawings.x_val / largest_val * 3, drawings.y_val)
    return program(nets.cnn(), drawings, adam(3e-3), 8)


# scale

_RAW = ("dead-relu", "lr-too-high", "exploding-gradients", "numerical-instability", "underfitting", "undertrained")


@sick(
    "mlp",
    "unnormalised-input",
    also=(*_RAW, "saturated-activations", "vanishing-gradients", "lr-too-low"),
    proof=harmed(0.05),
    bar=0.9,
)
def raw_tumour_table_into_tanh(seed: int, fixed: bool) -> Training:
    table = data.cancer()
    table = data.standardised(table) if fixed else table
    return program(nets.mlp(30, 16, 16, 2, act=nn.Tanh), table, sgd(0.1), 15)


@sick("regression", "unnormalised-input", also=(*_RAW, "non-finite-weights"), proof=harmed(0.1), bar=0.8)
def raw_columns_of_houses(seed: int, fixed: bool) -> Training:
    """People in tens of thousands beside rooms below ten; only the price is scaled."""
    table = data.houses()
    scaled = unit_scaled(table)
    if not fixed:
        scaled = data.Data(table.x, scaled.y, table.x_val, scaled.y_val)
    return program(nets.mlp(5, 32, 1), scaled, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick(
    "cnn",
    "unnormalised-input",
    also=(*_RAW, "layer-collapse", "non-finite-weights"),
    proof=harmed(0.1),
    bar=0.85,
)
def bytes_into_a_net_without_norm(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(1200)

    def stored(x: Tensor) -> Tensor:
        picture = (x * 40 + 110).clamp(0, 255).round()
        return (picture - 110) / 40 if fixed else picture

    drawings = data.Data(stored(drawings.x), drawings.y, stored(drawings.x_val), drawings.y_val)
    return program(nets.cnn(norm=False), drawings, sgd(0.03, momentum=0.8), 12)


_FAR = ("exploding-gradients", "lr-too-high", "lr-too-low", "underfitting", "undertrained", "numerical-instability")


@sick("regression", "unscaled-target", also=_FAR, proof=harmed(0.2), bar=0.8)
def prices_in_dollars(seed: int, fixed: bool) -> Training:
    table = data.houses()
    scaled = unit_scaled(table)
    if not fixed:
        scaled = data.Data(scaled.x, table.y, scaled.x_val, table.y_val)
    return program(nets.mlp(5, 32, 1), scaled, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("regression", "unscaled-target", also=(*_FAR, "dead-relu", "non-finite-weights"), proof=harmed(0.2), bar=0.8)
def years_as_they_are_written(seed: int, fixed: bool) -> Training:
    """The target is a year around 1975 with a spread of ten."""
    table = data.friedman()
    if not fixed:
        table = data.Data(table.x, 1975 + 10 * table.y, table.x_val, 1975 + 10 * table.y_val)
    return program(nets.mlp(8, 48, 1), table, sgd(0.05, momentum=0.5), 25, loss=nn.MSELoss(), metric=R2)
