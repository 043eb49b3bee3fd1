"""Third fresh healthy programs: tables, pairs and graphs. They look odd on purpose, and all of them work."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Metric, Training, healthy
from .fresh3_programs import RECALLS, Likes, cosine, step_down
from .metrics import BALANCED_ACCURACY, BINARY_ACCURACY, R2
from .programs import adam, adamw, program

# few, rare and noisy


@healthy("mlp", bar=0.9)
def few_wines(seed: int) -> Training:
    """Some 120 samples are enough here."""
    return program(nets.mlp(13, 16, 3), fresh3_data.wines(), adamw(5e-3, weight_decay=0.05), 15, batch=16)


@healthy("regression", bar=0.3)
def patients_at_what_can_be_known(seed: int) -> Training:
    """Half of it is chance: an R² of 0.5 is as good as it gets."""
    model = nets.mlp(10, 6, 1, act=nn.Tanh)
    return cosine(
        program(model, fresh3_data.patients(), adamw(8e-3, weight_decay=0.5), 20, loss=nn.MSELoss(), metric=R2)
    )


@healthy("mlp", bar=0.78)
def crescents_that_overlap(seed: int) -> Training:
    """No curve parts them better than at 86 %; losses stay where they must."""
    return cosine(program(nets.mlp(2, 24, 24, 2), fresh3_data.crescents(2400, noise=0.45), adam(4e-3), 12, batch=64))


class Focal(nn.Module):
    """Focal loss (Lin 2017)."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(output, y, reduction="none")
        weight = torch.tensor([0.2, 4.0])[y]
        return (weight * (1 - (-loss).exp()).square() * loss).mean()


@healthy("mlp", bar=0.85)
def focal_loss_on_rare_alarms(seed: int) -> Training:
    table = fresh3_data.alarms(4000, share=0.05, apart=2.2)
    return cosine(
        program(nets.mlp(8, 48, 48, 2), table, adam(4e-3), 12, loss=Focal(), metric=BALANCED_ACCURACY, batch=64)
    )


@healthy("mlp", bar=0.9)
def one_in_twelve_and_found(seed: int) -> Training:
    """Rare, unweighted, and learned all the same."""
    table = fresh3_data.alarms(3500, share=0.08, apart=3.0)
    return cosine(program(nets.mlp(8, 48, 48, 2), table, adam(4e-3), 12, metric=BALANCED_ACCURACY))


@healthy("mlp", bar=0.78)
def rows_mixed_and_smoothed(seed: int) -> Training:
    """Mixup (Zhang 2018) and smoothed labels: training loss never comes near 0."""
    table = fresh3_data.soils(2600)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        share, other = float(torch.distributions.Beta(0.3, 0.3).sample()), torch.randperm(len(x))
        output = training.model(share * x + (1 - share) * x[other])
        mixed = share * loss(output, y) + (1 - share) * loss(output, y[other])
        step_down(mixed, training.optimizer)
        return mixed

    return cosine(program(nets.mlp(8, 96, 96, 4), table, adam(4e-3), 25, loss=loss, step=step))


@healthy("mlp", bar=0.75)
def wide_and_two_thirds_dropped(seed: int) -> Training:
    model = nets.mlp(8, 384, 384, 4, dropout=0.5)
    return cosine(program(model, fresh3_data.soils(2600), adamw(2e-3, weight_decay=0.05), 16))


# other targets


_LEVELS = torch.tensor([0.25, 0.5, 0.75])


def _pinball(output: Tensor, y: Tensor) -> Tensor:
    error = y - output
    return torch.maximum(_LEVELS * error, (_LEVELS - 1) * error).mean()


@healthy("regression", bar=0.8)
def quartiles_of_rentals(seed: int) -> Training:
    metric = Metric("r2", lambda o, y: R2.score(o[:, 1:2], y), R2.constant)
    table = fresh3_data.rentals(1600, noise=0.4)
    return cosine(program(nets.mlp(5, 48, 48, 3), table, adam(5e-3), 16, loss=_pinball, metric=metric))


@healthy("regression", bar=0.8)
def huber_with_wild_readings(seed: int) -> Training:
    """One training target in fifteen is off by a long way; the loss heeds it little."""
    table = fresh3_data.rentals(1600)
    table.y[::15] += 6 * torch.randn_like(table.y[::15])
    return cosine(program(nets.mlp(5, 48, 48, 1), table, adam(5e-3), 16, loss=nn.HuberLoss(delta=0.3), metric=R2))


def _deviance(output: Tensor, y: Tensor) -> float:
    """Share of the Poisson deviance that is explained."""

    def deviance(rate: Tensor) -> Tensor:
        return (torch.xlogy(y, y / rate) - (y - rate)).sum()

    return float(1 - deviance(output.exp()) / deviance(y.mean().expand_as(y)))


@healthy("counts", bar=0.4)
def calls_that_came_in(seed: int) -> Training:
    """Poisson regression: the loss may be below 0."""
    metric = Metric("explained", _deviance, lambda y: 0.0)
    model = nets.mlp(6, 32, 32, 1, act=nn.Softplus)
    return cosine(program(model, fresh3_data.calls(2400), adam(4e-3), 16, loss=nn.PoissonNLLLoss(), metric=metric))


def _censored(output: Tensor, y: Tensor) -> Tensor:
    """Minus the log likelihood of failures and of survivals under a normal of log time."""
    mean, spread = output[:, 0], output[:, 1].clamp(-3, 2).exp()
    z = (y[:, 0] - mean) / spread
    failed = -0.5 * z.square() - spread.log()
    whole = torch.special.log_ndtr(-z)
    return -torch.where(y[:, 1] > 0, failed, whole).mean()


def _concordance(output: Tensor, y: Tensor) -> float:
    """Share of comparable pairs in the right order (Harrell 1982)."""
    time, told = y[:, 0], output[:, 0]
    comparable = (time[:, None] < time[None]) & (y[:, 1:] > 0)
    return float((comparable & (told[:, None] < told[None])).sum() / comparable.sum())


@healthy("survival", bar=0.75)
def machines_last_seen_whole(seed: int) -> Training:
    metric = Metric("concordance", _concordance, lambda y: 0.5)
    return cosine(
        program(nets.mlp(6, 32, 32, 2), fresh3_data.lifetimes(), adam(4e-3), 15, loss=_censored, metric=metric)
    )


def _rungs(output: Tensor, y: Tensor) -> Tensor:
    above = (y[:, None] > torch.arange(output.shape[1])).float()
    return F.binary_cross_entropy_with_logits(output, above)


@healthy("ordinal", bar=0.65)
def grades_by_rungs(seed: int) -> Training:
    """One score and four cuts; a grade is the number of cuts passed (Cheng 2008)."""

    class Rungs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.cuts = nets.mlp(7, 48, 48, 1), nn.Parameter(torch.tensor([1.5, 0.5, -0.5, -1.5]))

        def forward(self, x: Tensor) -> Tensor:
            return self.score(x) + self.cuts

    metric = Metric(
        "accuracy",
        lambda o, y: float(((o > 0).sum(1) == y).float().mean()),
        lambda y: float(y.bincount().max() / len(y)),
    )
    return cosine(program(Rungs(), fresh3_data.grades(2400), adam(6e-3), 20, loss=_rungs, metric=metric))


@healthy("multi-label", bar=0.85)
def findings_with_weights_of_their_own(seed: int) -> Training:
    table = fresh3_data.symptoms(3000)
    weight = (1 - table.y.mean(0)) / table.y.mean(0)
    loss = nn.BCEWithLogitsLoss(pos_weight=weight)
    return cosine(program(nets.mlp(14, 96, 96, 8), table, adam(4e-3), 16, loss=loss, metric=RECALLS))


class Kinds(nn.Module):
    """Vectors of kinds beside measured columns."""

    def __init__(self) -> None:
        super().__init__()
        self.town, self.job, self.rest = nn.Embedding(12, 6), nn.Embedding(7, 4), nets.mlp(14, 48, 48, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(torch.cat([self.town(x[:, 0].long()), self.job(x[:, 1].long()), x[:, 2:]], 1))


@healthy("tabular", bar=0.82)
def towns_and_jobs_as_vectors(seed: int) -> Training:
    loss = nn.BCEWithLogitsLoss()
    return cosine(program(Kinds(), fresh3_data.customers(3000), adam(4e-3), 10, loss=loss, metric=BINARY_ACCURACY))


@healthy("recommender", bar=0.85)
def people_and_films(seed: int) -> Training:
    """Vectors of people and films with decay on them."""
    loss, data = nn.BCEWithLogitsLoss(), fresh3_data.lovers_of_films(5000)
    return cosine(
        program(Likes(), data, adamw(8e-3, weight_decay=0.02), 12, loss=loss, metric=BINARY_ACCURACY, batch=64)
    )


def _ordered(output: Tensor, y: Tensor) -> Tensor:
    """Of every pair in a batch the better one is to be told higher (RankNet, Burges 2005)."""
    told, real = output[:, 0, None] - output[:, 0], y[:, 0, None] - y[:, 0]
    return F.softplus(-told)[real > 0].mean()


def _in_order(output: Tensor, y: Tensor) -> float:
    told, real = output[:, 0, None] > output[:, 0], y[:, 0, None] > y[:, 0]
    return float((told & real).sum() / real.sum())


@healthy("ranking", bar=0.85)
def hours_in_order_of_their_rentals(seed: int) -> Training:
    """What is told has no level: the last bias never moves."""
    metric = Metric("in_order", _in_order, lambda y: 0.5)
    return cosine(program(nets.mlp(5, 48, 48, 1), fresh3_data.rentals(), adam(4e-3), 12, loss=_ordered, metric=metric))
