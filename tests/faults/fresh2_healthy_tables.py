"""Second fresh healthy programs: tables, pairs, sets and graphs."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler

from . import data, fresh2_data, nets
from .case import Metric, Training, healthy
from .fresh2_programs import cosine, step_down
from .metrics import ACCURACY, BALANCED_ACCURACY, BINARY_ACCURACY, R2
from .programs import adam, adamw, program, sgd, unit_scaled


@healthy("mlp", bar=0.85)
def nested_shells(seed: int) -> Training:
    return cosine(program(nets.mlp(6, 32, 32, 3, act=nn.GELU), fresh2_data.shells(2600), adam(6e-3), 14))


@healthy("mlp", bar=0.85)
def corners_with_layer_norm_and_warm_up(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Linear(10, 48), nn.LayerNorm(48), nn.SiLU(), nn.Linear(48, 48), nn.LayerNorm(48), nn.SiLU()),
        nn.Linear(48, 3),
    )
    training = program(model, fresh2_data.corners(1600), adamw(3e-3, weight_decay=0.05), 12)
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.LambdaLR(
        training.optimizer, lambda i: min((i + 1) / 30, max(0.0, (total - i) / (total - 30)))
    )
    training.scheduler_every = "step"
    return training


@healthy("regression", bar=0.9)
def impedance_of_a_circuit(seed: int) -> Training:
    table = unit_scaled(fresh2_data.impedance())
    return cosine(program(nets.mlp(4, 32, 32, 1, act=nn.Tanh), table, adam(8e-3), 20, loss=nn.MSELoss(), metric=R2))


@healthy("regression", bar=0.85)
def along_a_rolled_sheet(seed: int) -> Training:
    table = fresh2_data.swiss_roll(1400)
    return cosine(program(nets.mlp(3, 48, 48, 1), table, adam(8e-3), 20, loss=nn.L1Loss(), metric=R2))


class Rows(nn.Module):
    """Residual blocks for rows: x + f(norm(x))."""

    def __init__(self, inputs: int, outputs: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(self.norm(h))


@healthy("regression", bar=0.95)
def hand_of_a_robot(seed: int) -> Training:
    return cosine(program(Rows(3, 2), fresh2_data.arm(1200), adamw(4e-3), 14, loss=nn.MSELoss(), metric=R2))


_LEVELS = torch.tensor([0.1, 0.5, 0.9])


def _pinball(output: Tensor, y: Tensor) -> Tensor:
    error = y - output
    return torch.maximum(_LEVELS * error, (_LEVELS - 1) * error).mean()


def _median_r2(output: Tensor, y: Tensor) -> float:
    return R2.score(output[:, 1:2], y)


@healthy("quantile-regression", bar=0.8)
def three_quantiles_of_a_pump(seed: int) -> Training:
    metric = Metric("r2_of_median", _median_r2, lambda y: 0.0)
    table = unit_scaled(fresh2_data.pump(1400))
    return cosine(program(nets.mlp(4, 48, 48, 3, act=nn.SiLU), table, adam(6e-3), 20, loss=_pinball, metric=metric))


class Thresholds(nn.Module):
    """One score for a row, held against three learned thresholds that keep their order."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nets.mlp(8, 32, 1)
        self.first, self.gaps = nn.Parameter(torch.tensor([-1.0])), nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        bars = torch.cat([self.first, self.first + F.softplus(self.gaps).cumsum(0)])
        return self.body(x) - bars  # (N, 3), score of being above each


def _grade(output: Tensor, y: Tensor) -> float:
    return float(((output > 0).sum(1) == y).float().mean())


def _above(output: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, (y[:, None] > torch.arange(3)).float())


@healthy("ordinal", bar=0.7)
def grades_of_urgency(seed: int) -> Training:
    metric = Metric("accuracy", _grade, ACCURACY.constant)
    return cosine(program(Thresholds(), fresh2_data.triage(2400), adam(6e-3), 12, loss=_above, metric=metric))


class Factors(nn.Module):
    """Vectors and biases of users and things; the score is their product."""

    def __init__(self, users: int = 60, things: int = 50, width: int = 4) -> None:
        super().__init__()
        self.users, self.things = nn.Embedding(users, width), nn.Embedding(things, width)
        self.user_bias, self.thing_bias = nn.Embedding(users, 1), nn.Embedding(things, 1)
        for table in (self.users, self.things):
            nn.init.normal_(table.weight, std=0.3)
        for table in (self.user_bias, self.thing_bias):
            nn.init.zeros_(table.weight)

    def forward(self, pair: Tensor) -> Tensor:
        user, thing = pair[:, 0], pair[:, 1]
        score = (self.users(user) * self.things(thing)).sum(1, keepdim=True)
        return score + self.user_bias(user) + self.thing_bias(thing)


@healthy("recommendation", bar=0.75)
def tastes_of_sixty_users(seed: int) -> Training:
    return program(
        *(Factors(), fresh2_data.clicks(2900), adamw(1e-2, weight_decay=0.4), 10),
        loss=nn.BCEWithLogitsLoss(),
        metric=BINARY_ACCURACY,
    )


@healthy("mlp", bar=0.8)
def loans_by_one_logit(seed: int) -> Training:
    data_ = fresh2_data.loans(1800, sharp=5.0)
    table = data.Data(data_.x, data_.y[:, None].float(), data_.x_val, data_.y_val[:, None].float())
    return cosine(
        program(
            *(nets.mlp(9, 24, 1), table, adamw(5e-3, weight_decay=0.05), 12),
            loss=nn.BCEWithLogitsLoss(),
            metric=BINARY_ACCURACY,
        )
    )


@healthy("imbalanced", bar=0.8)
def rare_defaults_with_a_focal_loss(seed: int) -> Training:
    """One in eight fails; the loss looks away from what is known already, and weighs the rare class."""

    def focal(output: Tensor, y: Tensor) -> Tensor:
        log_p = output.log_softmax(1).gather(1, y[:, None])[:, 0]
        weight = torch.where(y == 1, 0.85, 0.15)
        return -(2 * weight * (1 - log_p.exp()) ** 2 * log_p).mean()

    table = fresh2_data.loans(3000, share=0.12, sharp=9.0)
    return cosine(program(nets.mlp(9, 24, 2), table, adam(5e-3), 10, loss=focal, metric=BALANCED_ACCURACY))


@healthy("mlp", bar=0.8)
def half_of_all_units_dropped(seed: int) -> Training:
    model = nets.mlp(10, 96, 96, 3, dropout=0.5)
    return cosine(program(model, fresh2_data.corners(1400), sgd(0.05, momentum=0.9, nesterov=True), 14))


class Sparse(nn.Module):
    """Four experts, of which the two best by the gate speak for a row."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(10, 4)
        self.experts = nn.ModuleList(nets.mlp(10, 16, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x)
        best, which = scores.topk(2, 1)
        weight = torch.zeros_like(scores).scatter(1, which, best.softmax(1))
        return (torch.stack([expert(x) for expert in self.experts], 2) * weight[:, None]).sum(2)


@healthy("mixture-of-experts", bar=0.8)
def two_of_four_experts(seed: int) -> Training:
    """The gate is paid for an even use of the experts."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        share = training.model.gate(x).softmax(1).mean(0)
        loss = training.loss(training.model(x), y) + 0.05 * (4 * (share * share).sum() - 1)
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(Sparse(), fresh2_data.corners(2000, kinds=4), adam(6e-3), 12, step=step))


class Bell(nn.Module):
    """Mean and log deviation of a bell curve for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(1, 32, 32, 2, act=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _bell_loss(output: Tensor, y: Tensor) -> Tensor:
    mean, log_std = output[:, :1], output[:, 1:].clamp(-5, 3)
    return (log_std + 0.5 * ((y - mean) / log_std.exp()) ** 2).mean() + 0.5 * math.log(2 * math.pi)


@healthy("density-regression", bar=0.75)
def noise_that_grows_along_a_curve(seed: int) -> Training:
    x = torch.rand(1400, 1) * 4 - 2
    y = (2 * x).sin() + (0.05 + 0.12 * (x + 2)) * torch.randn(1400, 1)
    metric = Metric("r2", lambda output, y: R2.score(output[:, :1], y), lambda y: 0.0)
    return cosine(program(Bell(), data.split(x, y / 0.8), adam(8e-3), 20, loss=_bell_loss, metric=metric))


class Bonds(nn.Module):
    """Messages along the bonds of a small graph, summed over its atoms."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.near, self.own = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.head = nn.LayerNorm(width), nets.mlp(width, width, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        h, bonds = F.silu(self.first(x[..., :4])), x[..., 4:]
        h = h + F.silu(self.own(h) + bonds @ self.near(h))
        h = h * (bonds @ h)
        return self.head(self.norm(h.sum(1) / 8))


@healthy("graph", bar=0.8)
def worth_of_the_bonds(seed: int) -> Training:
    return cosine(program(Bonds(), fresh2_data.molecules(1600), adam(5e-3), 20, loss=nn.MSELoss(), metric=R2))


class Cloud(nn.Module):
    """The same net for each point, its greatest answer over the cloud, batch norm between."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.one, self.norm1 = nn.Linear(4, width), nn.BatchNorm1d(width)
        self.two, self.norm2 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.head = nets.mlp(2 * width, width, 3, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        n, p, _ = x.shape
        flat = torch.cat([x, x.norm(dim=2, keepdim=True)], 2).reshape(n * p, 4)
        h = F.gelu(self.norm1(self.one(flat)))
        h = F.gelu(self.norm2(self.two(h))).reshape(n, p, -1)
        return self.head(torch.cat([h.amax(1), h.mean(1)], 1))


@healthy("point-cloud", bar=0.9)
def balls_cubes_and_discs(seed: int) -> Training:
    return cosine(program(Cloud(), fresh2_data.clouds(), adam(3e-3), 12))


def _hazard(output: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of when it ended, or that it had not yet: y holds the interval and whether it ended."""
    when, ended = y[:, :1].long(), y[:, 1:]
    lived = (torch.arange(output.shape[1]) < when).float()
    here = F.one_hot(when[:, 0], output.shape[1]).float()
    return -(lived * F.logsigmoid(-output) + here * ended * F.logsigmoid(output)).sum(1).mean()


def _order(output: Tensor, y: Tensor) -> float:
    """Share of pairs whose order of ends is told rightly."""
    lifetime = F.logsigmoid(-output).cumsum(1).exp().sum(1)
    when, ended = y[:, 0], y[:, 1] > 0.5
    pairs = (when[:, None] < when[None]) & ended[:, None]
    right = lifetime[:, None] < lifetime[None]
    return float(right[pairs].float().mean())


@healthy("survival", bar=0.7)
def hazard_of_eight_years(seed: int) -> Training:
    x = torch.randn(1600, 6)
    rate = (0.9 * x[:, 0] - 0.7 * x[:, 1] + 0.5 * x[:, 2] * x[:, 3]).exp() / 5
    life, watched = -torch.rand(1600).log() / rate, torch.rand(1600) * 12
    when = torch.minimum(life, watched).clamp_max(7.99).floor()
    ended = ((life < watched) & (life < 8)).float()
    metric = Metric("concordance", _order, lambda y: 0.5)
    table = data.split(x, torch.stack([when, ended], 1))
    return cosine(program(nets.mlp(6, 16, 8), table, adamw(5e-3, weight_decay=0.1), 10, loss=_hazard, metric=metric))


class Tree(nn.Module):
    """A soft tree of depth three: each fork sends a row left or right by a share."""

    def __init__(self) -> None:
        super().__init__()
        self.forks, self.leaves = nn.Linear(10, 7), nn.Parameter(0.1 * torch.randn(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        right = self.forks(x).sigmoid()  # (N, 7)
        share = x.new_ones(len(x), 1)
        for depth in range(3):
            go = right[:, 2**depth - 1 : 2 ** (depth + 1) - 1]
            share = torch.stack([share * (1 - go), share * go], 2).flatten(1)
        return share @ self.leaves


@healthy("soft-tree", bar=0.75)
def a_tree_of_soft_forks(seed: int) -> Training:
    return cosine(program(Tree(), fresh2_data.corners(1500, kinds=3, apart=2.2), adam(3e-2), 20))


class Physics(nn.Module):
    """A value at each time that starts at one by its form."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(1, 32, 32, 1, act=nn.Tanh)

    def forward(self, t: Tensor) -> Tensor:
        return 1 + t * self.net(t)


@healthy("physics-informed", bar=0.95)
def cooling_from_its_equation_alone(seed: int) -> Training:
    """u' = -1.5 u + sin 4t with u(0) = 1; the answers are only looked at in validation."""
    t = torch.rand(600, 1) * 2
    a, b = 1.5, 4.0
    particular = (a * (b * t).sin() - b * (b * t).cos()) / (a * a + b * b)
    exact = particular + (1 + b / (a * a + b * b)) * (-a * t).exp()

    def step(training: Training, batch: Any) -> Tensor:
        t = batch[0].clone().requires_grad_(True)
        u = training.model(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        loss = (slope + a * u - (b * t).sin()).square().mean()
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(Physics(), data.split(t, exact), adam(1e-2), 30, loss=nn.MSELoss(), metric=R2, step=step))
