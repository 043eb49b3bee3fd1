"""Second fresh cases: initialisation, gradient flow, activations, numerics and scale. Reports stand in brackets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from . import data, fresh2_data, nets
from .case import Metric, Training, harmed, shown, sick
from .fresh2_programs import SLOW, WILD, Pooled, Series, classifier, convolutions, cosine, not_finite, step_down
from .metrics import R2
from .programs import adam, adamw, program, sgd, unit_scaled

# initialisation


def _set(model: nn.Module, change: Any) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
            change(module)
    return model


def _all_equal(module: Any) -> None:
    nn.init.constant_(module.weight, 0.05)
    nn.init.zeros_(module.bias)


@sick("mlp", "bad-init", also=("layer-collapse", *SLOW), proof=harmed(0.1), bar=0.85)
def every_weight_the_same(seed: int, fixed: bool) -> Training:
    """Units that start equal stay equal."""
    model = nets.mlp(10, 32, 32, 3, act=nn.Tanh)
    model = model if fixed else _set(model, _all_equal)
    return cosine(program(model, fresh2_data.corners(1600), adam(4e-3), 12))


class Added(nn.Module):
    """A frozen layer and two thin ones beside it, both of which may start at zero."""

    def __init__(self, base: nn.Linear, *, both_zero: bool, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        down = torch.randn(rank, base.in_features) / base.in_features**0.5
        self.down = nn.Parameter(torch.zeros_like(down) if both_zero else down)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * x @ self.down.T @ self.up.T


@sick("lora", "bad-init", also=("no-weight-update", "vanishing-gradients", *SLOW), proof=harmed(0.1), bar=0.85)
def both_thin_layers_start_at_zero(seed: int, fixed: bool) -> Training:
    """The gradient of each is a product with the other: both stay zero for ever."""
    table = fresh2_data.corners(2400, kinds=4)
    first = nets.mlp(10, 48, 48, 4)
    optimizer = AdamW(first.parameters(), lr=4e-3)
    for _ in range(150):
        rows = torch.randint(0, 800, (32,))
        step_down(F.cross_entropy(first(table.x[rows]), table.y[rows]), optimizer)
    turn = torch.linalg.qr(torch.eye(10) + 0.5 * torch.randn(10, 10)).Q
    moved = data.Data(table.x[800:] @ turn, table.y[800:], table.x_val @ turn, table.y_val)
    layers = [Added(m, both_zero=not fixed) if isinstance(m, nn.Linear) else m for m in first]
    trained = lambda m: AdamW([p for p in m.parameters() if p.requires_grad], lr=6e-3)  # noqa: E731
    return cosine(program(nn.Sequential(*layers), moved, trained, 12))


def _unit_normal(module: Any) -> None:
    nn.init.normal_(module.weight)


@sick(
    "cnn",
    "bad-init",
    "exploding-gradients",
    also=(*WILD, "saturated-activations", "lr-too-high", "lr-too-low"),
    proof=harmed(0.1),
    bar=0.9,
)
def filters_of_unit_spread(seed: int, fixed: bool) -> Training:
    """``normal_`` with its default of one, in four layers."""
    model = nn.Sequential(*convolutions(1, 12, 16, 16, 24, norm=False, pool=False), nn.AdaptiveMaxPool2d(1))
    model = nn.Sequential(*model, nn.Flatten(), nn.Linear(24, 4))
    model = model if fixed else _set(model, _unit_normal)
    return cosine(program(model, fresh2_data.letters(1200), adam(3e-3), 10))


# gradient flow


class Long(nn.Module):
    """A recurrent net of any kind whose first mark counts."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.head = kind(5, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def _first_mark(n: int = 1200, length: int = 50) -> data.Data:
    """One of four signs in the first place, then noise, (N, T, 5)."""
    y = torch.arange(n) % 4
    x = 0.3 * torch.randn(n, length, 5)
    x[:, 0, :4] += F.one_hot(y, 4) * 2.0
    x[:, 0, 4] += 1
    return data.split(x, y)


@sick("rnn", "vanishing-gradients", also=("exploding-gradients", *SLOW), proof=harmed(0.15), bar=0.9)
def sign_forgotten_after_fifty_steps(seed: int, fixed: bool) -> Training:
    """A plain recurrent net with a short memory from its start on; the twin's states start as they are kept."""
    model = Long(nn.RNN)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_((0.98 if fixed else 0.2) * torch.linalg.qr(torch.randn(24, 24)).Q)
        model.rnn.weight_ih_l0.mul_(0.5)
    return cosine(program(model, _first_mark(), adam(3e-3), 10))


@sick("mlp", "vanishing-gradients", "bad-init", also=("saturated-activations", *SLOW), proof=harmed(0.08), bar=0.8)
def ten_tanh_layers_that_start_small(seed: int, fixed: bool) -> Training:
    """Each layer passes on a fifth of what it gets."""
    model = nets.mlp(10, *[24] * 10, 3, act=nn.Tanh)

    def start(module: Any) -> None:
        gain = nn.init.calculate_gain("tanh") if fixed else 0.2
        nn.init.xavier_normal_(module.weight, gain if module.out_features > 3 else 1.0)

    return cosine(program(_set(model, start), fresh2_data.corners(3600), adam(1e-3), 6))


class Ladder(nn.Module):
    """Ten residual steps without a norm; each may add with a gain above one."""

    def __init__(self, gain: float, width: int = 24) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(10, width), nn.Linear(width, 3)
        self.steps = nn.ModuleList(nn.Linear(width, width) for _ in range(10))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for step in self.steps:
            h = h + self.gain * F.relu(step(h))
        return self.head(h)


@sick(
    "resnet",
    "exploding-gradients",
    also=(*WILD, "lr-too-high", "bad-init", "overfitting"),
    proof=harmed(0.1),
    bar=0.85,
)
def ten_residual_steps_each_of_gain_four(seed: int, fixed: bool) -> Training:
    model = Ladder(0.3 if fixed else 4.0)
    return cosine(program(model, fresh2_data.corners(1600), sgd(0.02, momentum=0.9), 12))


@sick("rnn", "exploding-gradients", "bad-init", also=(*WILD, "lr-too-high"), proof=harmed(0.3), bar=0.9)
def recurrent_weight_drawn_from_zero_to_one(seed: int, fixed: bool) -> Training:
    """``torch.rand`` in a cell with ReLU: each of thirty steps makes the state a dozen times larger."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.RNN(5, 24, nonlinearity="relu", batch_first=True), nn.Linear(24, 4)
            with torch.no_grad():
                start = 0.98 * torch.eye(24) if fixed else torch.rand(24, 24)
                self.rnn.weight_hh_l0.copy_(start)
                self.rnn.weight_ih_l0.mul_(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    return cosine(program(Net(), _first_mark(2000, 30), adam(1.5e-3), 8))


# activations


@sick(
    "cnn", "dead-relu", also=("bad-init", "vanishing-gradients", "layer-collapse", *SLOW), proof=harmed(0.1), bar=0.85
)
def filters_silenced_by_their_biases(seed: int, fixed: bool) -> Training:
    """A bias of -4 silences nearly all filters from the start on."""
    model = nn.Sequential(*convolutions(3, 12, 24, norm=False), Pooled(), nn.Linear(48, 4))
    if not fixed:
        _set(model[:-1], lambda m: nn.init.constant_(m.bias, -4.0))
    return cosine(program(model, fresh2_data.fabrics(1000), adam(3e-3), 8))


@sick(
    "regression",
    "dead-relu",
    "unnormalised-input",
    also=("bad-init", "lr-too-high", "vanishing-gradients", "layer-collapse", *SLOW),
    proof=harmed(0.3),
    bar=0.85,
)
def heat_in_kelvins_over_a_few_units(seed: int, fixed: bool) -> Training:
    """Columns far off zero: the first steps push the few units out of reach of every row."""
    table = unit_scaled(fresh2_data.pump())
    if not fixed:
        shift = torch.tensor([100.0, 80.0, 330.0, 60.0])
        table = replace(table, x=table.x + shift, x_val=table.x_val + shift)
    return cosine(program(nets.mlp(4, 16, 16, 1), table, sgd(0.02, momentum=0.9), 14, loss=nn.MSELoss(), metric=R2))


class Gaze(nn.Module):
    """One head of attention over words, then a mean; scores may be multiplied where they should be divided."""

    def __init__(self, *, multiplied: bool, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.head, self.scale = nn.Linear(width, 3), width**0.5 if multiplied else width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        weights = (self.query(h) @ self.key(h).transpose(1, 2) * self.scale).softmax(2)
        return self.head((weights @ self.value(h)).mean(1))


@sick(
    "transformer",
    "saturated-activations",
    also=("overfitting", "vanishing-gradients", *SLOW),
    proof=harmed(0.02),
    bar=0.85,
)
def scores_multiplied_by_the_root_of_the_width(seed: int, fixed: bool) -> Training:
    table = fresh2_data.moods(1800, share=0.4)
    return cosine(program(Gaze(multiplied=not fixed), table, adamw(3e-3, weight_decay=0.1), 6))


@sick(
    "mlp",
    "saturated-activations",
    also=("bad-init", "overfitting", "vanishing-gradients", *SLOW),
    proof=harmed(0.05),
    bar=0.85,
)
def tanh_layers_that_start_at_their_ends(seed: int, fixed: bool) -> Training:
    model = nets.mlp(10, 48, 48, 3, act=nn.Tanh)
    if not fixed:
        _set(model[:-1], lambda m: nn.init.normal_(m.weight, std=3.0))
    return cosine(program(model, fresh2_data.corners(1600), adam(3e-3), 12))


# nothing between the layers


@sick("cnn", "missing-nonlinearity", also=("underfitting", "overfitting"), proof=harmed(0.1), bar=0.85)
def convolutions_with_nothing_between(seed: int, fixed: bool) -> Training:
    act = nn.ReLU if fixed else nn.Identity
    layers = (nn.Conv2d(1, 12, 3, padding=1), act(), nn.Conv2d(12, 16, 4, stride=2), act(), nn.Conv2d(16, 16, 3), act())
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 4))
    return cosine(program(model, fresh2_data.letters(3000), adam(3e-3), 7))


@sick("mlp", "missing-nonlinearity", also=("underfitting",), proof=harmed(0.2), bar=0.8)
def relu_made_and_never_called(seed: int, fixed: bool) -> Training:
    """``forward`` goes from layer to layer and leaves ``self.act`` out."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(6, 32), nn.Linear(32, 32), nn.Linear(32, 3)
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            if fixed:
                return self.three(self.act(self.two(self.act(self.one(x)))))
            return self.three(self.two(self.one(x)))

    return cosine(program(Net(), fresh2_data.shells(3000), adam(5e-3), 10))


# numerics


@sick(
    "density-regression", "numerical-instability", also=("non-finite-weights", *SLOW), proof=shown(not_finite), bar=0.7
)
def spread_that_may_be_zero(seed: int, fixed: bool) -> Training:
    """A variance that comes out of a ReLU: its logarithm is taken, and it is divided by."""
    x = torch.rand(1400, 1) * 4 - 2
    y = (2 * x).sin() + (0.05 + 0.12 * (x + 2)) * torch.randn(1400, 1)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        variance = F.softplus(output[:, 1:]) + 1e-3 if fixed else F.relu(output[:, 1:])
        return 0.5 * (variance.log() + (y - output[:, :1]) ** 2 / variance).mean()

    metric = Metric("r2", lambda output, y: R2.score(output[:, :1], y), lambda y: 0.0)
    model = nets.mlp(1, 32, 32, 2, act=nn.Tanh)
    return cosine(program(model, data.split(x, y / 0.8), adam(8e-3), 16, loss=loss, metric=metric))


@sick("text", "numerical-instability", also=("non-finite-weights", *SLOW), proof=shown(not_finite), bar=0.9)
def mean_over_words_that_are_not_there(seed: int, fixed: bool) -> Training:
    """One note is empty: nothing is divided by nothing (keras 11643, NeMo-Automodel 3796)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(31, 16, padding_idx=0), nets.mlp(16, 16, 3)

        def forward(self, x: Tensor) -> Tensor:
            there = (x > 0).float()[..., None]
            count = there.sum(1)
            return self.head((self.embed(x) * there).sum(1) / (count.clamp_min(1) if fixed else count))

    notes = fresh2_data.moods(1600, share=0.5)
    empty = torch.arange(len(notes.x)) == 5
    table = replace(notes, x=(notes.x + 1).masked_fill(empty[:, None], 0), x_val=notes.x_val + 1)
    return cosine(program(Net(), table, adam(5e-3), 8))


@sick(
    "mlp", "numerical-instability", also=("non-finite-weights", "nan-in-data", *SLOW), proof=shown(not_finite), bar=0.85
)
def rows_scaled_by_their_own_spread(seed: int, fixed: bool) -> Training:
    """Four rows are constant; their spread is zero and nothing was added to it."""

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spread = x.std(1, keepdim=True)
            return (x - x.mean(1, keepdim=True)) / (spread + 1e-3 if fixed else spread)

    table = fresh2_data.paces(1200)
    x, y = table.x.clone(), table.y.clone()
    for i in range(4):  # the phone lay still and its sensor was stuck
        x[7 + 120 * i], y[7 + 120 * i] = 0.1 * (i + 1), 0
    model = nn.Sequential(nn.Flatten(), Own(), *nets.mlp(96, 48, 4))
    return cosine(program(model, replace(table, x=x, y=y), adam(2e-3), 8))


# numbers that are none


def _logged(x: Tensor, *, guarded: bool) -> Tensor:
    return (x.clamp_min(0) + 1).log() if guarded else x.log()


@sick(
    "mlp", "nan-in-data", also=("numerical-instability", "non-finite-weights", *SLOW), proof=shown(not_finite), bar=0.8
)
def logarithm_of_counts_that_may_be_zero(seed: int, fixed: bool) -> Training:
    """``log`` of a count of zero is minus infinity, which the scaling turns into no number."""
    table = fresh2_data.corners(1600)
    counts = [torch.poisson((2.2 + 0.7 * x).clamp(-3, 4).exp()) for x in (table.x, table.x_val)]
    logs = [_logged(x, guarded=fixed) for x in counts]
    return cosine(
        program(nets.mlp(10, 32, 3), data.standardised(replace(table, x=logs[0], x_val=logs[1])), adamw(4e-3), 8)
    )


@sick(
    "regression",
    "nan-in-data",
    also=("numerical-instability", "non-finite-weights", *SLOW),
    proof=shown(not_finite),
    bar=0.9,
)
def places_of_a_hand_that_were_not_measured(seed: int, fixed: bool) -> Training:
    """One target in a hundred was not measured and was read as no number; the twin leaves these rows out."""
    table = fresh2_data.arm(1300)
    gone = torch.rand(len(table.y)) < 0.01
    gone[0] = True
    if fixed:
        table = replace(table, x=table.x[~gone], y=table.y[~gone])
    else:
        table = replace(table, y=table.y.masked_fill(gone[:, None], math.nan))
    return cosine(program(nets.mlp(3, 48, 48, 2, act=nn.SiLU), table, adam(5e-3), 12, loss=nn.MSELoss(), metric=R2))


# scale


@sick("cnn", "unnormalised-input", also=(*WILD, "lr-too-high", "saturated-activations"), proof=harmed(0.1), bar=0.9)
def cloth_from_zero_to_255(seed: int, fixed: bool) -> Training:
    table = fresh2_data.fabrics(1000)
    if not fixed:
        x, x_val = ((x * 40 + 120).round().clamp(0, 255) for x in (table.x, table.x_val))
        table = replace(table, x=x, x_val=x_val)
    return cosine(program(classifier(4, 3, norm=False), table, sgd(0.03, momentum=0.9), 10))


@sick(
    "mlp",
    "unnormalised-input",
    also=("lr-too-high", "saturated-activations", "dead-relu", *SLOW),
    proof=harmed(0.1),
    bar=0.8,
)
def time_of_the_request_in_seconds_since_1970(seed: int, fixed: bool) -> Training:
    """One column is larger than all others by nine orders."""
    loans = fresh2_data.loans(1800, share=0.5, sharp=6.0)

    def timed(x: Tensor) -> Tensor:
        time = torch.rand(len(x), 1)
        return torch.cat([x, (time - 0.5) * 3.4 if fixed else 1.6e9 + 3e7 * time], 1)

    table = replace(loans, x=timed(loans.x), x_val=timed(loans.x_val))
    return cosine(program(nets.mlp(10, 24, 2), table, adamw(4e-3, weight_decay=0.05), 10))


@sick("regression", "unscaled-target", also=("lr-too-low", *SLOW), proof=harmed(0.3), bar=0.9)
def impedance_in_milliohms(seed: int, fixed: bool) -> Training:
    table = fresh2_data.impedance(1200)
    scaled = unit_scaled(table)
    table = scaled if fixed else replace(scaled, y=table.y * 1000, y_val=table.y_val * 1000)
    return cosine(program(nets.mlp(4, 32, 32, 1), table, adam(5e-3), 16, loss=nn.MSELoss(), metric=R2))


@sick("forecast", "unscaled-target", also=(*WILD, "lr-too-high", "dead-relu"), proof=harmed(0.1), bar=0.9)
def swings_told_in_hundredths_of_a_degree(seed: int, fixed: bool) -> Training:
    """The targets are ten thousand times what they would be in radians, and the steps are plain."""
    table = fresh2_data.pendulums()
    if not fixed:
        table = replace(table, y=table.y * 5730, y_val=table.y_val * 5730)
    return cosine(program(Series(1, 4), table, sgd(0.1, momentum=0.9), 20, loss=nn.MSELoss(), metric=R2))
