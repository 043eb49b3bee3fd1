"""Fresh healthy programs: what is rebuilt, or made from noise."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from . import data, fresh_data, nets
from .case import Metric, Training, healthy
from .metrics import ACCURACY, R2
from .programs import adam, program, sgd


class Denoiser(nn.Module):
    """Says which noise was added to a point, given how far the noising has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(2 + 4, 64, 64, 2, act=nn.SiLU)

    def forward(self, noised: Tensor, time: Tensor) -> Tensor:
        angle = time * math.pi / 2
        return self.net(torch.cat([noised, angle.sin(), angle.cos(), (4 * angle).sin(), (4 * angle).cos()], 1))


@healthy("diffusion", bar=0.4)
def noise_told_from_points_of_a_ring(seed: int) -> Training:
    points = data.ring_points(4500).y
    time = torch.rand(len(points), 1)
    noise = torch.randn_like(points)
    noised = (time * math.pi / 2).cos() * points + (time * math.pi / 2).sin() * noise
    n = len(points) * 3 // 4
    train = torch.utils.data.TensorDataset(noised[:n], time[:n], noise[:n])
    model = Denoiser()
    return Training(
        model,
        AdamW(model.parameters(), lr=3e-3),
        nn.MSELoss(),
        torch.utils.data.DataLoader(train, batch_size=64, shuffle=True),
        data.loader(noised[n:], time[n:], noise[n:]),
        12,
        R2,
    )


class Coupling(nn.Module):
    """Half of a vector is moved and stretched by what the other half says."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.net, self.first = nets.mlp(1, 32, 2, act=nn.Tanh), first

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1) if self.first else x.flip(1).chunk(2, 1)
        stretch, move = self.net(a).chunk(2, 1)
        stretch = stretch.tanh()
        pair = torch.cat([a, b * stretch.exp() + move], 1)
        return (pair if self.first else pair.flip(1)), stretch


class Flow(nn.Module):
    """Couplings in turn; returns the log density of a point."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 0) for i in range(6))

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(len(x), 1)
        for layer in self.layers:
            x, stretch = layer(x)
            total = total + stretch
        return total - 0.5 * x.square().sum(1, keepdim=True) - math.log(2 * math.pi)


@healthy("flow", bar=0.2)
def density_of_two_moons(seed: int) -> Training:
    """The score is what is won over a normal density, in nats."""
    moons = fresh_data.moons(1000, 0.08)
    table = data.Data(moons.x, moons.x, moons.x_val, moons.x_val)
    metric = Metric("gain", lambda output, y: float(output.mean()) + math.log(2 * math.pi) + 1, lambda y: 0.0)
    return program(Flow(), table, adam(3e-3), 20, loss=lambda output, y: 4 - output.mean(), metric=metric)


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder turned over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.15 * torch.randn(8, 32))
        self.down, self.up = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(32))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.linear(x, self.weight, self.down), 0.3) @ self.weight + self.up


@healthy("autoencoder", bar=0.8)
def decoder_tied_to_the_encoder(seed: int) -> Training:
    return program(Tied(), data.signals(), sgd(0.1, momentum=0.9), 15, loss=nn.MSELoss(), metric=R2)


@healthy("autoencoder", bar=0.6)
def digits_cleaned_of_noise(seed: int) -> Training:
    """What goes in is noisy, what is asked for is clean."""
    digits = fresh_data.handwriting()
    table = replace(digits, x=digits.x + 0.3 * torch.randn_like(digits.x), y=digits.x, y_val=digits.x_val)
    table = replace(table, x_val=digits.x_val + 0.3 * torch.randn_like(digits.x_val))
    return program(nets.mlp(64, 48, 16, 48, 64), table, adam(3e-3), 14, loss=nn.MSELoss(), metric=R2)


@healthy("metric-learning", bar=0.8)
def digits_by_their_nearest_prototype(seed: int) -> Training:
    """Classes are points in a space of eight numbers; scores are minus squared distances."""

    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.points = nets.mlp(64, 48, 8), nn.Parameter(torch.randn(10, 8))

        def forward(self, x: Tensor) -> Tensor:
            return -torch.cdist(self.encoder(x), self.points).square()

    return program(Prototypes(), fresh_data.handwriting(), adam(3e-3), 8, metric=ACCURACY)
