"""Third fresh cases: activations, numerics and scale. What was reported where stands in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Training, harmed, shown, sick
from .fresh3_programs import SLOW, WILD, Camps, Segmenter, cosine, not_finite, picked, step_down
from .fresh3_sick_steps import NEIGHBOURS
from .metrics import R2
from .programs import adam, program, sgd, token_loss

NOT_A_NUMBER = ("non-finite-weights", "exploding-gradients", "numerical-instability", *SLOW)

# activations


@sick("mlp", "dead-relu", "bad-init", also=("layer-collapse", "vanishing-gradients", *SLOW), proof=harmed(0.1), bar=0.7)
def biases_of_a_layer_begun_too_low(seed: int, fixed: bool) -> Training:
    """Biases of a layer start at -6, and most of its units never fire."""
    model = nets.mlp(8, 64, 64, 4)
    model[2].bias.data.fill_(0.0 if fixed else -2.5)
    return cosine(program(model, fresh3_data.soils(2400), sgd(0.05, momentum=0.9), 16))


@sick(
    "graph",
    "dead-relu",
    "lr-too-high",
    also=("layer-collapse", "wrong-output-activation", *WILD),
    proof=harmed(0.1),
    bar=0.75,
)
def graph_net_shocked_by_its_first_steps(seed: int, fixed: bool) -> Training:
    """Embeddings of which nine tenths are zero after a few steps (OpenNTF 349, graph_neural_net 9)."""
    return cosine(
        program(Camps(depth=3), fresh3_data.networks(), sgd(0.05 if fixed else 3.0, momentum=0.9), 8, loss=token_loss)
    )


class Scaled(nn.Module):
    """Multiplies by a number on the way."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@sick(
    "regression",
    "saturated-activations",
    also=("vanishing-gradients", "unnormalised-input", "bad-init", "exploding-gradients", *SLOW),
    proof=harmed(0.1),
    bar=0.85,
)
def hyperbolic_tangents_of_large_sums(seed: int, fixed: bool) -> Training:
    """Hidden sums a hundred times too large for a tanh."""
    model = nn.Sequential(
        *(nn.Linear(5, 48), Scaled(1.0 if fixed else 150.0), nn.Tanh()),
        *(nn.Linear(48, 48), Scaled(1.0 if fixed else 150.0), nn.Tanh(), nn.Linear(48, 1)),
    )
    return cosine(program(model, fresh3_data.rentals(), adam(4e-3), 20, loss=nn.MSELoss(), metric=R2))


@sick("graph", "missing-nonlinearity", also=("underfitting",), proof=harmed(0.05), bar=0.75)
def graph_convolutions_with_nothing_between(seed: int, fixed: bool) -> Training:
    """The nonlinearity stands in ``__init__`` and not in ``forward`` (tanimutomo/gcmc 12: ReLU in the wrong place)."""
    model = Camps(act=nn.ReLU() if fixed else nn.Identity())
    return cosine(program(model, fresh3_data.networks(), adam(5e-3), 10, loss=token_loss))


@sick("cnn", "missing-nonlinearity", also=("underfitting",), proof=harmed(0.1), bar=0.85)
def convolutions_and_mean_pooling_alone(seed: int, fixed: bool) -> Training:
    """Strided convolutions and mean pooling: an affine map of the picture."""
    act = nn.ReLU if fixed else nn.Identity
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), act(), nn.AvgPool2d(2), nn.Conv2d(12, 24, 3, padding=1), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)),
    )
    return cosine(program(model, fresh3_data.gratings3(1200), adam(8e-3), 8))


# numbers that are none


def _triplets(eps: float):
    """Pull views of one thing together, push the next thing away, by distances of which a root is taken."""

    def loss(output: Tensor, _: Tensor) -> Tensor:
        a, b = output[:, 0].relu(), output[:, 1].relu()
        near = ((a - b).square().sum(1) + eps).sqrt()
        far = ((a - b.roll(1, 0)).square().sum(1) + eps).sqrt()
        return (near - far + 1).relu().mean()

    return loss


@sick("triplet", "numerical-instability", also=NOT_A_NUMBER, proof=shown(not_finite), bar=0.5)
def root_of_a_distance_of_zero(seed: int, fixed: bool) -> Training:
    """The slope of a root at 0 is infinite; two views that are equal are enough (pytorch 4320, dssm 17)."""
    table = fresh3_data.views()
    table.x[::40, 1] = table.x[::40, 0]
    loss = _triplets(1e-8 if fixed else 0.0)
    return program(nets.mlp(16, 48, 24), table, adam(2e-3), 8, loss=loss, metric=NEIGHBOURS)


@sick("policy", "numerical-instability", also=NOT_A_NUMBER, proof=shown(not_finite), bar=0.6)
def deviation_of_a_single_reward(seed: int, fixed: bool) -> Training:
    """Rewards are standardised in a batch; the last batch has one, whose deviation is no number (pytorch 4320)."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        output = training.model(x)
        arm = (output.detach() - torch.rand_like(output).clamp_min(1e-6).log().neg().log()).argmax(1)
        reward = (arm == y).float()
        reward = (reward - reward.mean()) / (reward.std(unbiased=not fixed) + 1e-6)
        loss = -(output.log_softmax(1).gather(1, arm[:, None])[:, 0] * reward).mean()
        step_down(loss, training.optimizer)
        return loss

    data = fresh3_data.bandit(2400).take(52 * 32 + 1)
    return program(nets.mlp(6, 48, 48, 4), data, adam(4e-3), 20, loss=picked, step=step)


@sick("regression", "nan-in-data", also=(*NOT_A_NUMBER, "unnormalised-input"), proof=shown(not_finite), bar=0.85)
def column_that_never_varies_is_standardised(seed: int, fixed: bool) -> Training:
    """(x - mean) / std of a column of ones is 0 / 0."""
    table = fresh3_data.rentals()
    x, x_val = (torch.cat([t, torch.ones(len(t), 1)], 1) for t in (table.x, table.x_val))
    mean, std = x.mean(0), x.std(0)
    if fixed:
        std = std.clamp_min(1e-6)
    table = fresh3_data.Data((x - mean) / std, table.y, (x_val - mean) / std, table.y_val)
    return cosine(program(nets.mlp(6, 48, 48, 1), table, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2))


@sick("segmentation", "nan-in-data", also=NOT_A_NUMBER, proof=shown(not_finite), bar=0.7)
def pictures_with_holes(seed: int, fixed: bool) -> Training:
    """A few scans hold NaN where the camera saw nothing (prs-eth/Marigold 111)."""
    data, _ = fresh3_data.lesions()
    if not fixed:
        data.x[5::60, 0, 2:5, 2:5] = torch.nan

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output, y)

    from .fresh3_programs import MASK

    return cosine(program(Segmenter(norm=False), data, adam(5e-3), 8, loss=loss, metric=MASK))


# scale


@sick(
    "regression", "unnormalised-input", also=(*WILD, "lr-too-high", "saturated-activations"), proof=harmed(0.2), bar=0.8
)
def a_column_of_seconds_since_1970(seed: int, fixed: bool) -> Training:
    """Beside columns of size 1 stands a time in seconds, 1.6e9 and on."""
    table = fresh3_data.rentals()
    x, x_val = (torch.cat([t, 1.6e9 + 3e7 * torch.rand(len(t), 1)], 1) for t in (table.x, table.x_val))
    if fixed:
        x, x_val = ((t - x.mean(0)) / x.std(0) for t in (x, x_val))
    table = fresh3_data.Data(x, table.y, x_val, table.y_val)
    return cosine(program(nets.mlp(6, 48, 48, 1), table, adam(5e-3), 16, loss=nn.MSELoss(), metric=R2))


@sick("cnn", "unnormalised-input", also=(*WILD, "lr-too-high"), proof=harmed(0.1), bar=0.85)
def pixels_from_0_to_255_by_plain_descent(seed: int, fixed: bool) -> Training:
    """Bytes as they come, no batch norm, plain gradient descent."""
    table = fresh3_data.glyphs(1200)
    if not fixed:
        low = table.x.min()
        table = fresh3_data.Data((table.x - low) * 40, table.y, (table.x_val - low) * 40, table.y_val)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 5)),
    )
    return cosine(program(model, table, sgd(0.05, momentum=0.9), 14))


@sick("forecast", "unscaled-target", also=(*SLOW, "lr-too-low"), proof=harmed(0.3), bar=0.85)
def prices_of_shares_as_they_are(seed: int, fixed: bool) -> Training:
    """Closing prices about 4000 by an LSTM at the usual rate: the answer creeps up from 0."""
    table = fresh3_data.markets()
    if not fixed:
        table = fresh3_data.Data(table.x, 4000 + 300 * table.y, table.x_val, 4000 + 300 * table.y_val)
    model = nets.Recurrent(nn.LSTM, 1, 24, 1)
    return cosine(program(model, table, adam(5e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("regression", "unscaled-target", also=(*WILD, "lr-too-high", "lr-too-low"), proof=harmed(0.3), bar=0.8)
def wages_in_single_crowns_by_plain_descent(seed: int, fixed: bool) -> Training:
    """Targets in the ten thousands: squares of errors of 1e9, and descent that throws the net away."""
    table = fresh3_data.rentals()
    if not fixed:
        table = fresh3_data.Data(table.x, 9000 * table.y + 30000, table.x_val, 9000 * table.y_val + 30000)
    model = nets.mlp(5, 48, 48, 1, act=nn.Tanh)
    return cosine(program(model, table, sgd(0.02, momentum=0.9), 20, loss=nn.MSELoss(), metric=R2))
