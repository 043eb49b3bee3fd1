"""Third fresh healthy programs: pairs, several tasks, and what is made up. All of them work."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Metric, Training, healthy
from .data import Data, split
from .fresh3_programs import convolutions, cosine, step_down
from .fresh3_sick_steps import NEIGHBOURS
from .fresh3_sick_structure import Sampled
from .metrics import ACCURACY, BINARY_ACCURACY, R2, RING
from .programs import adam, program

# two at a time


@healthy("contrastive", bar=0.75)
def views_that_find_each_other(seed: int) -> Training:
    def loss(output: Tensor, _: Tensor) -> Tensor:
        left, right = F.normalize(output[:, 0], dim=1), F.normalize(output[:, 1], dim=1)
        return F.cross_entropy(left @ right.T / 0.1, torch.arange(len(left)))

    data = fresh3_data.views(1600)
    return cosine(program(nets.mlp(16, 64, 64, 12), data, adam(3e-3), 10, loss=loss, metric=NEIGHBOURS, batch=64))


@healthy("triplet", bar=0.75)
def hardest_of_a_batch(seed: int) -> Training:
    """Triplet loss with the hardest other of a batch: it hovers about its margin before it falls."""

    def loss(output: Tensor, y: Tensor) -> Tensor:
        points = F.normalize(output[:, 0], dim=1)
        apart = torch.cdist(points, points)
        same = y[:, None] == y
        far = torch.where(same, apart, torch.zeros(())).amax(1)
        near = torch.where(same, torch.full((), 9.0), apart).amin(1)
        return F.softplus(4 * (far - near)).mean()

    data = fresh3_data.views(1600)
    return cosine(program(nets.mlp(16, 64, 12), data, adam(4e-3), 10, loss=loss, metric=NEIGHBOURS, batch=48))


class Twins(nn.Module):
    """One net for both of a pair; what differs is weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nets.mlp(16, 48, 24), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.body(x[:, 0]) - self.body(x[:, 1])).abs())


@healthy("siamese", bar=0.85)
def pairs_of_one_kind_or_two(seed: int) -> Training:
    """The last bias of the body has no gradient, as it falls out of the difference."""
    table = fresh3_data.views(3000, noise=0.2)
    x, y = torch.cat([table.x, table.x_val]), torch.cat([table.y, table.y_val])
    other = torch.where(torch.rand(len(x)) < 0.5, torch.arange(len(x)), torch.randperm(len(x)))
    data = split(torch.stack([x[:, 0], x[other, 1]], 1), (y == y[other]).float()[:, None])
    return cosine(program(Twins(), data, adam(4e-3), 12, loss=nn.BCEWithLogitsLoss(), metric=BINARY_ACCURACY))


class Shared(nn.Module):
    """One body with two heads: the kind of a glyph and where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolutions(1, 12, 24))
        self.kind, self.place = nn.Linear(24, 5), nn.Conv2d(24, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.kind(h.amax((2, 3))), self.place(h).flatten(1)


@healthy("multi-task", bar=0.85)
def kinds_and_places_at_once(seed: int) -> Training:
    """Two losses of different size, added with weights."""
    table = fresh3_data.glyphs(1300)

    def both(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y[:, None].float(), F.avg_pool2d(x, 2).flatten(1)], 1)

    data = Data(table.x, both(table.x, table.y), table.x_val, both(table.x_val, table.y_val))

    def loss(output: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(output[0], y[:, 0].long()) + 3 * F.mse_loss(output[1], y[:, 1:])

    metric = Metric(
        "accuracy",
        lambda o, y: ACCURACY.score(o, y[:, 0].long()),
        lambda y: float(y[:, 0].long().bincount().max() / len(y)),
    )
    return cosine(program(Shared(), data, adam(6e-3), 10, loss=loss, metric=metric))


# made up


class Coupled(nn.Module):
    """Affine couplings (Dinh 2017); gives the log density of points."""

    def __init__(self, layers: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets.mlp(1, 32, 32, 2, act=nn.Tanh) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        log_det = torch.zeros(len(x))
        for k, net in enumerate(self.nets):
            keep, move = x[:, k % 2, None], x[:, 1 - k % 2, None]
            scale, shift = net(keep).chunk(2, 1)
            scale = scale.tanh()
            move = move * scale.exp() + shift
            log_det = log_det + scale[:, 0]
            x = torch.cat([keep, move] if k % 2 == 0 else [move, keep], 1)
        return log_det - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


@healthy("flow", bar=-1.75)
def density_of_a_flower(seed: int) -> Training:
    """A normalising flow: the loss is a log density and may be of any sign."""
    points = fresh3_data.flower(1800)
    data = Data(points.y, points.y, points.y_val, points.y_val)
    metric = Metric("density", lambda o, y: float(o.mean()), lambda y: -2.1)
    return cosine(program(Coupled(), data, adam(4e-3), 20, loss=lambda o, y: -o.mean(), metric=metric, batch=64))


class Denoiser(nn.Module):
    """Told a point with noise on it and how much, it tells the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(4, 64, 64, 2, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        angle = x[:, 2:] * math.pi / 2
        return self.net(torch.cat([x[:, :2], angle.sin(), angle.cos()], 1))


@healthy("diffusion", bar=0.5)
def noise_on_a_flower(seed: int) -> Training:
    """Noise is drawn anew for every batch; much of it cannot be told, so the loss stays high."""

    def noised(points: Tensor) -> tuple[Tensor, Tensor]:
        t, noise = torch.rand(len(points), 1), torch.randn_like(points)
        angle = t * math.pi / 2
        return torch.cat([angle.cos() * points + angle.sin() * noise, t], 1), noise

    points = fresh3_data.flower(2200)
    x, y = noised(points.y)
    x_val, y_val = noised(points.y_val)
    training = program(Denoiser(), Data(x, y, x_val, y_val), adam(4e-3), 20, loss=nn.MSELoss(), metric=R2, batch=64)

    def step(training: Training, batch: Any) -> Tensor:
        x, noise = noised(points.y[torch.randint(0, len(points.y), (64,))])
        loss = training.loss(training.model(x), noise)
        step_down(loss, training.optimizer)
        return loss

    training.step = step
    return cosine(training)


@healthy("gan", bar=0.8)
def noise_to_a_flower(seed: int) -> Training:
    model = nets.GAN(2, 48)
    made = torch.optim.Adam(model.generator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    told = torch.optim.Adam(model.critic.parameters(), lr=2e-3, betas=(0.5, 0.9))

    def step(training: Training, batch: Any) -> Tensor:
        noise, real = batch
        for _ in range(2):
            fake = model.generator(torch.randn_like(noise)).detach()
            step_down(F.softplus(-model.critic(real)).mean() + F.softplus(model.critic(fake)).mean(), told)
        loss = F.softplus(-model.critic(model.generator(noise))).mean()
        step_down(loss, made)
        return loss

    train, val = fresh3_data.flower().loaders(64)
    loss = lambda output, y: F.softplus(-model.critic(output)).mean()  # noqa: E731
    return Training(model, [made, told], loss, train, val, 50, RING, step=step, supervised=False)


class Tied(nn.Module):
    """An autoencoder that decodes with the matrices it encodes with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(0.2 * torch.randn(32, 28)), nn.Parameter(0.2 * torch.randn(5, 32))
        self.a, self.b, self.c = (nn.Parameter(torch.zeros(k)) for k in (32, 32, 28))

    def forward(self, x: Tensor) -> Tensor:
        code = F.linear(torch.tanh(F.linear(x, self.first, self.a)), self.second)
        return F.linear(torch.tanh(F.linear(code, self.second.T, self.b)), self.first.T, self.c)


@healthy("autoencoder", bar=0.85)
def decoded_with_the_matrices_of_the_encoder(seed: int) -> Training:
    """Noise is put on what is given and not on what is asked for (Vincent 2008)."""
    data = fresh3_data.steps_and_slopes(1400)

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        loss = training.loss(training.model(x + 0.2 * torch.randn_like(x)), y)
        step_down(loss, training.optimizer)
        return loss

    return cosine(program(Tied(), data, adam(5e-3), 16, loss=nn.MSELoss(), metric=R2, step=step))


@healthy("vae", bar=0.6)
def variational_steps_and_slopes(seed: int) -> Training:
    """Errors and divergences both summed over their parts, as in PyTorch's example."""

    def loss(output: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        again, mean, spread = output
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).sum()
        return ((again - x).square().sum() / 0.3 + divergence) / len(x)

    return cosine(program(Sampled(), fresh3_data.steps_and_slopes(1400), adam(4e-3), 16, loss=loss, metric=R2))
