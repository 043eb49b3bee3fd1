"""Second fresh healthy programs: rebuilt, made from noise, and other optimizers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS, Adam, RMSprop

from . import data, fresh2_data, nets
from .case import Metric, Training, healthy
from .fresh2_programs import Pooled, classifier, convolutions, cosine, step_down
from .metrics import ACCURACY, R2, RING
from .programs import adam, adamw, program, sgd, unit_scaled

# rebuilt


@healthy("autoencoder", bar=0.9)
def humps_through_a_narrow_waist(seed: int) -> Training:
    model = nets.mlp(24, 48, 4, 48, 24, act=nn.ELU)
    return cosine(program(model, fresh2_data.waves2(), adam(5e-3), 16, loss=nn.MSELoss(), metric=R2))


@healthy("autoencoder", bar=0.7)
def hands_rebuilt_by_convolutions(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(12, 8, 3, stride=2, padding=1), nn.GELU()),
        *(nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1), nn.GELU()),
        nn.ConvTranspose2d(12, 1, 4, stride=2, padding=1),
    )
    hands = fresh2_data.dials(1200, noise=0.05)
    table = data.Data(hands.x, hands.x, hands.x_val, hands.x_val)
    return cosine(program(model, table, adam(6e-3), 10, loss=nn.MSELoss(), metric=R2))


class Hidden(nn.Module):
    """A third of a row is hidden and told from the rest; which third is given beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(48, 64, 64, 24, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@healthy("self-supervised", bar=0.8)
def hidden_parts_of_humps_told_from_the_rest(seed: int) -> Training:
    table = fresh2_data.waves2(1800)

    def cut(x: Tensor) -> Tensor:
        start = torch.randint(0, 17, (len(x), 1))
        seen = ((torch.arange(24) < start) | (torch.arange(24) >= start + 8)).float()
        return torch.cat([x * seen, seen], 1)

    table = replace(table, x=cut(table.x), x_val=cut(table.x_val))
    return cosine(program(Hidden(), table, adam(4e-3), 16, loss=nn.MSELoss(), metric=R2))


def _bound(output: Any, x: Tensor) -> Tensor:
    rebuilt, mean, log_var = output
    divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
    return 5 * (rebuilt - x).square().sum(1).mean() + divergence


@healthy("vae", bar=0.75)
def humps_from_a_code_of_four(seed: int) -> Training:
    return cosine(program(nets.VAE(24, 64, 4), fresh2_data.waves2(), adam(6e-3), 16, loss=_bound, metric=R2))


class Quantised(nn.Module):
    """An autoencoder whose code is four choices from a table of 16 vectors; gradients pass straight through."""

    def __init__(self, *, straight: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = nets.mlp(24, 48, 16), nets.mlp(16, 48, 24)
        self.table = nn.Parameter(torch.randn(16, 4) * 0.5)
        self.straight = straight

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.encoder(x).reshape(len(x), 4, 4)
        chosen = self.table[torch.cdist(z.flatten(0, 1), self.table).argmin(1)].reshape_as(z)
        code = z + (chosen - z).detach() if self.straight else chosen
        return self.decoder(code.flatten(1)), z, chosen


def quantised_loss(output: Any, x: Tensor) -> Tensor:
    """Rebuilding, pulling the table to the codes, and the codes a little to the table."""
    rebuilt, z, chosen = output
    return F.mse_loss(rebuilt, x) + F.mse_loss(chosen, z.detach()) + 0.25 * F.mse_loss(z, chosen.detach())


@healthy("vq-vae", bar=0.7)
def humps_from_four_choices(seed: int) -> Training:
    return cosine(program(Quantised(), fresh2_data.waves2(), adam(6e-3), 20, loss=quantised_loss, metric=R2))


# made from noise


class Pair(nn.Module):
    """A generator, which is the model in use, and its critic."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nets.mlp(2, 64, 64, 2)
        self.critic = nets.mlp(2, 64, 64, 1, act=nn.LeakyReLU)

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)


def against_a_critic(model: Pair, table: data.Data, epochs: int, *, pull: float = 0.0) -> Training:
    """Wasserstein steps: the critic with a gradient penalty, the generator once in three of them.

    ``pull`` weighs a further term that holds what was made to the real points of the batch, one to one.
    """
    rates = (1e-3, 3e-3)
    parts = zip((model.generator, model.critic), rates, strict=True)
    both = [Adam(m.parameters(), lr=rate, betas=(0.5, 0.9)) for m, rate in parts]
    held = [0]

    def step(training: Training, batch: Any) -> Tensor:
        noise, real = batch
        made = model.generator(noise)
        share = torch.rand(len(real), 1)
        between = (share * real + (1 - share) * made.detach()).requires_grad_(True)
        (slope,) = torch.autograd.grad(model.critic(between).sum(), between, create_graph=True)
        loss = model.critic(made.detach()).mean() - model.critic(real).mean()
        step_down(loss + 2 * (slope.norm(dim=1) - 1).square().mean(), both[1])
        held[0] += 1
        if held[0] % 3 == 0:
            made = model.generator(noise)
            step_down(pull * (made - real).square().mean() - model.critic(made).mean(), both[0])
        return loss.detach()

    def begin(training: Training, epoch: int) -> None:
        model.train()
        for optimizer, rate in zip(both, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * (1 - epoch / epochs)

    train, val = table.loaders(64)
    near = lambda output, y: 1 - torch.tensor(RING.score(output, y))  # noqa: E731
    return Training(model, both, near, train, val, epochs, RING, step=step, begin_epoch=begin, supervised=False)


@healthy("gan", bar=0.8)
def points_of_a_grid_made_against_a_critic(seed: int) -> Training:
    return against_a_critic(Pair(), fresh2_data.lattice(3600), 26)


class Steps(nn.Module):
    """Tells the noise in a point from how far the noising went."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(8, 64, 64, 2, act=nn.SiLU)

    def forward(self, point: Tensor, time: Tensor) -> Tensor:
        waves = [(f * math.pi * time).sin() for f in (0.5, 1, 2)] + [(f * math.pi * time).cos() for f in (0.5, 1, 2)]
        return self.net(torch.cat([point, *waves], 1))


@healthy("diffusion", bar=0.45)
def noise_told_from_points_of_a_grid(seed: int) -> Training:
    clean = fresh2_data.lattice(6000).y
    time, noise = torch.rand(len(clean), 1), torch.randn(len(clean), 2)
    noised = (time * math.pi / 2).cos() * clean + (time * math.pi / 2).sin() * noise
    n = len(clean) * 3 // 4
    train = torch.utils.data.TensorDataset(noised[:n], time[:n], noise[:n])
    loader = torch.utils.data.DataLoader(train, batch_size=64, shuffle=True)
    val = data.loader(noised[n:], time[n:], noise[n:])
    model = Steps()
    return cosine(Training(model, Adam(model.parameters(), lr=5e-3), nn.MSELoss(), loader, val, 10, R2))


class Autoregressive(nn.Module):
    """Density of a pair: bells for the first number, and for the second given the first; returns log density."""

    def __init__(self, bells: int = 4) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(3, bells) * 0.5)
        self.second, self.bells = nets.mlp(1, 32, 3 * bells, act=nn.Tanh), bells

    def forward(self, x: Tensor) -> Tensor:
        first = _bells(x[:, :1], self.first.expand(len(x), 3, self.bells))
        return first + _bells(x[:, 1:], self.second(x[:, :1]).unflatten(1, (3, self.bells)))


def _bells(x: Tensor, shape: Tensor) -> Tensor:
    """Log density of a mixture of bells, (N, 1)."""
    weight, mean, log_std = shape[:, 0].log_softmax(1), shape[:, 1], shape[:, 2].clamp(-4, 2)
    z = (x - mean) * (-log_std).exp()
    return (weight - log_std - 0.5 * z * z - 0.5 * math.log(2 * math.pi)).logsumexp(1, keepdim=True)


@healthy("density", bar=0.2)
def density_of_a_grid_one_number_after_the_other(seed: int) -> Training:
    """The score is what is won over one bell for each number, in nats."""
    points = fresh2_data.lattice(2600, noise=0.2)
    table = data.Data(points.y, points.y, points.y_val, points.y_val)
    metric = Metric("gain", lambda output, y: float(output.mean()) + math.log(2 * math.pi) + 1, lambda y: 0.0)
    return cosine(program(Autoregressive(), table, adam(1e-2), 14, loss=lambda o, y: 4 - o.mean(), metric=metric))


# other optimizers, and other copies of the weights


@healthy("full-batch", bar=0.9)
def impedance_by_curvature(seed: int) -> Training:
    """L-BFGS over all of the table at once."""

    def step(training: Training, batch: Any) -> Tensor:
        def closure() -> Tensor:
            training.optimizer.zero_grad()
            loss = training.loss(training.model(batch[0]), batch[1])
            loss.backward()
            return loss

        return training.optimizer.step(closure).detach()

    optimizer = lambda m: LBFGS(m.parameters(), lr=0.5, max_iter=6, line_search_fn="strong_wolfe")  # noqa: E731
    table = unit_scaled(fresh2_data.impedance(800))
    model = nets.mlp(4, 16, 1, act=nn.Tanh)
    return program(model, table, optimizer, 16, loss=nn.MSELoss(), metric=R2, batch=560, step=step)


@healthy("mlp", bar=0.85)
def corners_by_rmsprop_with_weight_norm(seed: int) -> Training:
    norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(norm(nn.Linear(10, 32)), nn.ReLU(), norm(nn.Linear(32, 32)), nn.ReLU(), nn.Linear(32, 3))
    optimizer = lambda m: RMSprop(m.parameters(), lr=2e-3)  # noqa: E731
    return cosine(program(model, fresh2_data.corners(1800), optimizer, 12))


@healthy("ema", bar=0.9)
def letters_by_a_running_mean_with_its_norms(seed: int) -> Training:
    """The running mean takes the statistics of the norms along."""
    model = classifier(4)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(model(batch[0]), batch[1])
        step_down(loss, training.optimizer)
        average.update_parameters(model)
        return loss

    def finish(training: Training) -> None:
        model.load_state_dict(average.module.state_dict())

    return cosine(program(model, fresh2_data.letters(), adamw(4e-3), 8, step=step, finish=finish))


@healthy("siamese", bar=0.85)
def same_cloth_or_not(seed: int) -> Training:
    """Two pictures side by side, (N, 6, S, S): one body for both, a score from how far apart they land."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*convolutions(3, 12, 24), Pooled(), nn.Linear(48, 16))
            self.head = nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.body(x[:, :3]), self.body(x[:, 3:])
            return self.head((a - b).square())

    cloth = fresh2_data.fabrics(1000)

    def paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        same = torch.arange(len(x)) % 2
        chance = torch.rand(len(x), len(x)).masked_fill((y[:, None] == y[None]) != same[:, None].bool(), -1)
        other = chance.fill_diagonal_(-1).argmax(1)
        return torch.cat([x, x[other]], 1), same

    table = data.Data(*paired(cloth.x, cloth.y), *paired(cloth.x_val, cloth.y_val))
    return cosine(program(Net(), table, adam(4e-3), 8))


class Both(nn.Module):
    """One body, a class and a number; returned side by side, (N, 4 + 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolutions(3, 12, 24, norm=False), Pooled())
        self.kind, self.shade = nn.Linear(48, 4), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return torch.cat([self.kind(h), self.shade(h)], 1)


@healthy("multi-task", bar=0.9)
def weave_and_shade_of_cloth(seed: int) -> Training:
    cloth = fresh2_data.fabrics(1000)
    sets = ((cloth.x, cloth.y), (cloth.x_val, cloth.y_val))
    y, y_val = (torch.stack([y.float(), x.flatten(1).std(1) * 3 - 3], 1) for x, y in sets)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output[:, :4], y[:, 0].long()) + F.mse_loss(output[:, 4], y[:, 1])

    score = lambda output, y: ACCURACY.score(output[:, :4], y[:, 0].long())  # noqa: E731
    metric = Metric("accuracy", score, lambda y: ACCURACY.constant(y[:, 0]))
    table = data.Data(cloth.x, y, cloth.x_val, y_val)
    return cosine(program(Both(), table, adam(4e-3), 10, loss=loss, metric=metric))


@healthy("noise-robust", bar=0.8)
def steps_of_a_phone_with_noise_on_the_input(seed: int) -> Training:
    """Noise on the input in training only, and plain SGD."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.2 * torch.randn_like(x) if self.training else x

    model = nn.Sequential(Noisy(), nn.Flatten(), *nets.mlp(96, 64, 4, act=nn.SELU))
    return cosine(program(model, fresh2_data.paces(1600, noise=0.2), sgd(0.1, momentum=0.9), 12))
