"""Fresh healthy programs: ways of training."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from . import data, fresh_data, nets
from .case import Training, healthy
from .metrics import BALANCED_ACCURACY, R2
from .programs import adam, adamw, program, sgd, unit_scaled


@healthy("distillation", bar=0.9)
def student_of_a_larger_net(seed: int) -> Training:
    table = fresh_data.handwriting()
    teacher = nets.mlp(64, 96, 10)
    optimizer = Adam(teacher.parameters(), lr=3e-3)
    for _ in range(150):
        rows = torch.randint(0, len(table.x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(teacher(table.x[rows]), table.y[rows]).backward()
        optimizer.step()
    teacher.requires_grad_(False).eval()

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        with torch.no_grad():
            soft = (teacher(x) / 3).softmax(1)
        scores = training.model(x)
        loss = 0.5 * F.cross_entropy(scores, y) + 0.5 * 9 * F.kl_div(
            (scores / 3).log_softmax(1), soft, reduction="batchmean"
        )
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(64, 24, 10), table, adam(4e-3), 10, step=step)


@healthy("mlp", bar=0.9)
def moving_average_handed_over(seed: int) -> Training:
    model = nets.mlp(64, 48, 10)
    average = copy.deepcopy(model)

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 0.05)
        return loss

    def finish(training: Training) -> None:
        model.load_state_dict(average.state_dict())

    return program(model, fresh_data.handwriting(), adam(2e-3), 8, step=step, finish=finish)


@healthy("sharpness-aware", bar=0.85)
def uphill_first_then_down(seed: int) -> Training:
    """Sharpness-aware steps: two passes, and the gradient of the second is used at the first place."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        parameters = list(training.model.parameters())
        training.optimizer.zero_grad()
        loss = training.loss(training.model(x), y)
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        moves = [0.03 * p.grad / (norm + 1e-12) for p in parameters]
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.add_(move)
        training.optimizer.zero_grad()
        training.loss(training.model(x), y).backward()
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.sub_(move)
        training.optimizer.step()
        return loss.detach()

    return program(nets.mlp(2, 32, 32, 2), fresh_data.moons(), sgd(0.1, momentum=0.9), 14, step=step)


@healthy("imbalanced", bar=0.75)
def one_in_thirty_with_weights(seed: int) -> Training:
    table = data.rare(2600, 0.03, shift=2.4)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 20.0]))
    return program(nets.mlp(10, 16, 2), table, adamw(2e-3, weight_decay=0.05), 8, loss=loss, metric=BALANCED_ACCURACY)


@healthy("regression", bar=0.85)
def heavy_tailed_noise_and_huber(seed: int) -> Training:
    table = unit_scaled(fresh_data.energy())
    noise = torch.distributions.Laplace(0.0, 1.0)
    y, y_val = (t + 0.15 * noise.sample(t.shape) for t in (table.y, table.y_val))
    table = replace(table, y=y, y_val=y_val)
    return program(nets.mlp(5, 32, 32, 1), table, adam(4e-3), 16, loss=nn.SmoothL1Loss(), metric=R2)


@healthy("hypernetwork", bar=0.8)
def net_that_writes_the_weights_of_another(seed: int) -> Training:
    """A task number makes a small net for the row."""

    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = nets.mlp(3, 24, 4 * 6 + 6)
            self.body = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            made = self.make(x[:, 4:])
            weight, out = made[:, :24].reshape(-1, 6, 4), made[:, 24:]
            h = torch.tanh(torch.einsum("nij,nj->ni", weight, self.body(x[:, :4])))
            return (h * out).sum(1, keepdim=True)

    x, task = torch.randn(1000, 4), torch.randint(0, 3, (1000,))
    y = torch.einsum("nj,nj->n", x, torch.randn(3, 4)[task]).tanh() + 0.05 * torch.randn(1000)
    table = data.split(torch.cat([x, F.one_hot(task, 3).float()], 1), y[:, None] / 0.75)
    return program(Hyper(), table, adam(6e-3), 18, loss=nn.MSELoss(), metric=R2)


@healthy("policy-gradient", bar=0.6)
def moves_learned_from_rewards(seed: int) -> Training:
    """A one-step game: the move is drawn, the reward is all that is told; a running mean is taken off it."""
    state, want = torch.randn(900, 6), torch.randn(6, 4)
    table = data.split(state, (state @ want).argmax(1))
    mean = torch.zeros(())

    def step(training: Training, batch: Any) -> Tensor:
        x, best = batch
        moves = torch.distributions.Categorical(logits=training.model(x))
        move = moves.sample()
        reward = (move == best).float()
        loss = -(moves.log_prob(move) * (reward - mean)).mean() - 0.01 * moves.entropy().mean()
        mean.mul_(0.95).add_(0.05 * reward.mean())
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(6, 32, 4), table, adam(8e-3), 25, step=step, supervised=False)


def _restarts(model: nn.Module) -> SGD:
    return SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)


@healthy("schedule", bar=0.9)
def momentum_cleared_at_each_restart(seed: int) -> Training:
    model = nets.mlp(64, 48, 48, 10)
    training = program(model, fresh_data.handwriting(), _restarts, 9)

    def begin(training: Training, epoch: int) -> None:
        model.train()
        training.optimizer.param_groups[0]["lr"] = 0.1 * 0.25 ** (epoch % 3)
        if epoch % 3 == 0:
            training.optimizer.state.clear()

    training.begin_epoch = begin
    return training
