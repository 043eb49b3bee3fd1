"""Fresh cases: gradients, activations, numbers and scales."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, fresh_data, nets
from .case import Outcome, Training, harmed, shown, sick
from .metrics import R2
from .programs import adam, program, sgd, unit_scaled

SLOW = ("underfitting", "undertrained")
STUCK = ("bad-init", "lr-too-low", "layer-collapse", "saturated-activations", "no-weight-update", *SLOW)
WILD = (
    *("exploding-gradients", "dead-relu", "saturated-activations", "layer-collapse"),
    *("lr-too-high", "numerical-instability", "non-finite-weights", "underfitting"),
)


def _not_finite(outcome: Outcome) -> bool:
    state = outcome.training.model.state_dict().values()
    return any(not t.isfinite().all() for t in state if t.is_floating_point())


@sick("conv1d", "vanishing-gradients", also=STUCK, proof=harmed(0.3), bar=0.85)
def eight_sigmoid_convolutions(seed: int, fixed: bool) -> Training:
    layers: list[nn.Module] = []
    for i in range(8):
        layers += [nn.Conv1d(1 if i == 0 else 12, 12, 5, padding=2), nn.ReLU() if fixed else nn.Sigmoid()]
        layers += [nn.MaxPool1d(2)] if i in (1, 4) else []
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(12, 4))
    return program(model, fresh_data.tones(), adam(3e-3), 14)


@sick("mlp", "vanishing-gradients", also=("dead-relu", *STUCK), proof=harmed(0.3), bar=0.85)
def eighteen_layers_as_they_are_initialised(seed: int, fixed: bool) -> Training:
    """The default scale shrinks a ReLU net by more than half a layer."""
    model = nets.mlp(64, *[32] * 17, 10)
    for layer in model if fixed else ():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return program(model, fresh_data.handwriting(), adam(1e-3), 10)


class Tower(nn.Module):
    """Residual blocks without any norm."""

    def __init__(self, depth: int, gain: float) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 24), nn.Linear(24, 4)
        self.blocks = nn.ModuleList(nets.mlp(24, 24, 24) for _ in range(depth))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + self.gain * block(x)
        return self.head(x)


@sick("resnet", "exploding-gradients", also=("bad-init", *WILD), proof=harmed(0.15), bar=0.85)
def branches_added_with_a_gain(seed: int, fixed: bool) -> Training:
    return program(Tower(16, 0.25 if fixed else 5.0), fresh_data.plain_classes(), sgd(0.02, momentum=0.9), 8)


def _from_zero_to_one(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, 0, 1)
    return model


@sick("mlp", "bad-init", also=("lr-too-low", *WILD, "vanishing-gradients"), proof=harmed(0.1), bar=0.9)
def weights_drawn_from_zero_to_one(seed: int, fixed: bool) -> Training:
    model = nets.mlp(64, 64, 64, 10)
    model = model if fixed else _from_zero_to_one(model)
    return program(model, fresh_data.handwriting(), adam(2e-3), 8)


@torch.no_grad()
def _mostly_dead(outcome: Outcome) -> bool:
    """Tell whether some ReLU layer is nearly all zero on the validation data."""
    fired: list[float] = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: fired.append(float((o > 0).any(0).float().mean())))
        for m in outcome.training.model.modules()
        if isinstance(m, nn.ReLU)
    ]
    outcome.training.model.eval()(outcome.training.val.dataset.tensors[0])
    for hook in hooks:
        hook.remove()
    return min(fired) < 0.3


@sick(
    "mlp",
    "dead-relu",
    "lr-too-high",
    also=(*SLOW, "layer-collapse", "vanishing-gradients", "no-weight-update"),
    proof=shown(_mostly_dead),
    bar=0.85,
)
def one_wild_epoch_before_the_rate_was_lowered(seed: int, fixed: bool) -> Training:
    model = nets.mlp(2, 48, 48, 2)
    training = program(model, fresh_data.moons(), sgd(0.1, momentum=0.9), 12)

    def begin(training: Training, epoch: int) -> None:
        model.train()
        if not fixed:
            training.optimizer.param_groups[0]["lr"] = 6.0 if epoch == 0 else 0.1

    training.begin_epoch = begin
    return training


class Stable(nn.Module):
    """Takes the largest entry of a row off, as one does before an exponential."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.max(1, keepdim=True).values


@sick(
    "mlp",
    "dead-relu",
    also=("layer-collapse", "vanishing-gradients", "detached-graph", "no-weight-update", *SLOW),
    proof=harmed(0.3),
    bar=0.85,
)
def largest_entry_taken_off_before_a_relu(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        *(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.Identity() if fixed else Stable(), nn.ReLU()),
        nn.Linear(48, 10),
    )
    return program(model, fresh_data.handwriting(), adam(2e-3), 8)


@sick("mlp", "saturated-activations", "bad-init", also=("vanishing-gradients", *SLOW), proof=harmed(0.1), bar=0.85)
def steep_sigmoids(seed: int, fixed: bool) -> Training:
    """Hidden weights of the size of raw pixels drive every sigmoid to an end."""
    model = nets.mlp(64, 48, 48, 10, act=nn.Sigmoid)
    if not fixed:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=4.0)
    return program(model, fresh_data.handwriting(), adam(4e-3), 10)


class Sharp(nn.Module):
    """A GRU-like cell written by hand whose gates are taken at a tenth of their temperature."""

    def __init__(self, sharpness: float, width: int = 24) -> None:
        super().__init__()
        self.into, self.gate, self.head = nn.Linear(1 + width, width), nn.Linear(1 + width, width), nn.Linear(width, 1)
        self.tanh, self.sigmoid, self.sharpness = nn.Tanh(), nn.Sigmoid(), sharpness

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.head.in_features)
        for t in range(x.shape[1]):
            both = torch.cat([x[:, t], h], 1)
            keep = self.sigmoid(self.sharpness * self.gate(both))
            h = keep * h + (1 - keep) * self.tanh(self.sharpness * self.into(both))
        return self.head(h)


@sick(
    "rnn",
    "saturated-activations",
    also=("vanishing-gradients", "exploding-gradients", *SLOW),
    proof=harmed(0.15),
    bar=0.8,
)
def gates_at_a_fortieth_of_their_temperature(seed: int, fixed: bool) -> Training:
    table = fresh_data.load_curve(700, 16)
    return program(Sharp(1.0 if fixed else 40.0), table, adam(5e-3), 10, loss=nn.MSELoss(), metric=R2)


# numbers


class HandNorm(nn.Module):
    """Layer norm written as the mean of squares less the square of the mean."""

    def __init__(self, stable: bool) -> None:
        super().__init__()
        self.stable = stable

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        var = (x - mean).square().mean(1, keepdim=True) if self.stable else (x**2).mean(1, keepdim=True) - mean**2
        return (x - mean) / var.sqrt()


@sick(
    "mlp",
    "numerical-instability",
    also=("non-finite-weights", "unnormalised-input"),
    proof=shown(_not_finite),
    bar=0.85,
)
def variance_as_a_difference_of_large_numbers(seed: int, fixed: bool) -> Training:
    """The rows sit a few thousand above zero, where the difference of two squares has no digits left."""
    table = fresh_data.plain_classes()
    table = replace(table, x=table.x + 5000, x_val=table.x_val + 5000)
    model = nn.Sequential(HandNorm(fixed), nets.mlp(8, 32, 4))
    return program(model, table, adam(4e-3), 10)


@sick("mlp", "numerical-instability", also=("non-finite-weights", "lr-too-high"), proof=shown(_not_finite), bar=0.85)
def adam_in_half_precision(seed: int, fixed: bool) -> Training:
    """The constant that keeps Adam from dividing by zero is itself zero in float16."""
    table = fresh_data.moons()
    model = nets.mlp(2, 32, 32, 2)
    if not fixed:
        model, table = model.half(), replace(table, x=table.x.half(), x_val=table.x_val.half())

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output.float(), y)

    return program(model, table, adam(4e-3), 10, loss=loss)


@sick(
    "forecast", "nan-in-data", also=("numerical-instability", "non-finite-weights"), proof=shown(_not_finite), bar=0.8
)
def gaps_of_a_sensor(seed: int, fixed: bool) -> Training:
    table = fresh_data.load_curve()
    holes = torch.rand(table.x.shape) < 0.002
    hole = 0.0 if fixed else float("nan")
    table = replace(table, x=table.x.masked_fill(holes, hole))
    return program(nets.Recurrent(nn.GRU, 1, 24, 1), table, adam(5e-3), 10, loss=nn.MSELoss(), metric=R2)


# scale


@sick("mlp", "unnormalised-input", also=WILD, proof=harmed(0.15), bar=0.85)
def wines_as_they_are_measured(seed: int, fixed: bool) -> Training:
    table = fresh_data.wine()
    table = data.standardised(table) if fixed else table
    return program(nets.mlp(13, 24, 3, act=nn.Tanh), table, sgd(0.05), 25, batch=16)


@sick("gru", "unnormalised-input", also=(*WILD, "vanishing-gradients", "undertrained"), proof=harmed(0.1), bar=0.85)
def series_at_the_level_of_a_price(seed: int, fixed: bool) -> Training:
    """Which of two rhythms a price of about 40 000 has, swinging by a few hundred."""
    table = data.waves(800, kinds=3)
    if not fixed:
        table = replace(table, x=40_000 + 300 * table.x, x_val=40_000 + 300 * table.x_val)
    return program(nets.Recurrent(nn.GRU, 1, 24, 3), table, adam(5e-3), 12)


@sick("regression", "unscaled-target", also=("lr-too-low", "exploding-gradients", *SLOW), proof=harmed(0.3), bar=0.8)
def kilowatt_hours_as_they_are_billed(seed: int, fixed: bool) -> Training:
    table = fresh_data.energy()
    scaled = unit_scaled(table)
    table = scaled if fixed else replace(scaled, y=table.y, y_val=table.y_val)
    return program(nets.mlp(5, 32, 32, 1), table, adam(3e-3), 14, loss=nn.MSELoss(), metric=R2)
