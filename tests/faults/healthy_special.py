"""Trainings that are well: without labels, by pairs, fine-tuned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from . import data, nets
from .case import Training, healthy
from .loop import plain_step
from .metrics import ACCURACY, BALANCED_ACCURACY, BINARY_ACCURACY, R2, RING
from .programs import (
    adam,
    program,
    sgd,
)

# without labels


def rebuild(output: Any, x: Tensor) -> Tensor:
    """Loss of a variational autoencoder, both parts per sample."""
    rebuilt, mean, log_var = output
    divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
    return (rebuilt - x).square().sum(1).mean() + 0.05 * divergence


@healthy("autoencoder", bar=0.85)
def autoencoder(seed: int) -> Training:
    model = nn.Sequential(nets.mlp(32, 32, 4), nets.mlp(4, 32, 32))
    return program(model, data.signals(), adam(4e-3), 15, loss=nn.MSELoss(), metric=R2)


@healthy("vae", bar=0.8)
def variational_autoencoder(seed: int) -> Training:
    return program(nets.VAE(), data.signals(), adam(4e-3), 18, loss=rebuild, metric=R2)


def adversarial_step(training: Training, batch: Any) -> Tensor:
    """Train the critic, then the generator against it (non-saturating)."""
    noise, real = batch
    model: nets.GAN = training.model
    for_generator, for_critic = training.optimizer
    fake = model(noise)
    critic_loss = F.softplus(-model.critic(real)).mean() + F.softplus(model.critic(fake.detach())).mean()
    for_critic.zero_grad()
    critic_loss.backward()
    for_critic.step()
    loss = F.softplus(-model.critic(fake)).mean()
    for_generator.zero_grad()
    loss.backward()
    for_generator.step()
    return loss


def adversarial(epochs: int = 40) -> Training:
    """A GAN on a ring; the score is how alike generated and real points are."""
    model = nets.GAN()
    train, val = data.ring_points(1200).loaders(64)

    def distance(output: Tensor, target: Tensor) -> Tensor:
        return torch.cdist(output, target).min(1).values.mean()

    optimizers = [
        Adam(model.generator.parameters(), lr=1e-3, betas=(0.5, 0.99)),
        Adam(model.critic.parameters(), lr=2e-3, betas=(0.5, 0.99)),
    ]
    return Training(model, optimizers, distance, train, val, epochs, RING, step=adversarial_step, supervised=False)


@healthy("gan", bar=0.7)
def generative_adversarial(seed: int) -> Training:
    return adversarial()


class Siamese(nn.Module):
    """Distance of two samples in a learned space."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nets.mlp(12, 32, 8)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.tower(a) - self.tower(b)).square().sum(1, keepdim=True).add(1e-6).sqrt()


def contrastive(distance: Tensor, same: Tensor) -> Tensor:
    """Pull pairs of one class together, push others a margin apart (Hadsell 2006)."""
    return (same * distance.square() + (1 - same) * (2 - distance).relu().square()).mean()


@healthy("siamese", bar=0.8)
def siamese_pairs(seed: int) -> Training:
    table = data.clusters(1200, classes=3)

    def pairs(x: Tensor, y: Tensor) -> TensorDataset:
        # half of the pairs alike
        partner = torch.stack([torch.nonzero(y == c).flatten()[torch.randint(0, int((y == c).sum()), (1,))] for c in y])
        partner = torch.where(torch.rand(len(y)) < 0.4, partner.flatten(), torch.randperm(len(y)))
        return TensorDataset(x, x[partner], (y == y[partner]).float()[:, None])

    model = Siamese()
    train = DataLoader(pairs(table.x, table.y), batch_size=32, shuffle=True)
    val = DataLoader(pairs(table.x_val, table.y_val), batch_size=128)
    score = replace(BINARY_ACCURACY, score=lambda d, same: BINARY_ACCURACY.score(1 - d, same))
    return Training(model, Adam(model.parameters(), lr=3e-3), contrastive, train, val, 12, score)


# fine-tuning


def pretrained_cnn() -> nn.Sequential:
    """A convolutional net that was trained on four kinds of drawings before."""
    training = program(nets.cnn(4), data.shapes(700, classes=4), adam(3e-3), 5)
    for _ in range(training.epochs):
        for batch in training.train:
            plain_step(training, batch)
    return training.model


@healthy("fine-tuning", bar=0.75)
def frozen_backbone(seed: int) -> Training:
    model = pretrained_cnn()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(), adam(1e-2), 8)
    training.optimizer = Adam(model[-1].parameters(), lr=1e-2)

    def backbone_in_eval(training: Training, epoch: int) -> None:
        training.model.eval()
        training.model[-1].train()

    training.begin_epoch = backbone_in_eval
    return training


@healthy("fine-tuning", bar=0.85)
def two_learning_rates(seed: int) -> Training:
    """The pretrained part moves twenty times more slowly than the head."""
    model = pretrained_cnn()
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(), adam(1e-3), 6)
    groups = [{"params": model[:-1].parameters(), "lr": 5e-4}, {"params": model[-1].parameters(), "lr": 1e-2}]
    training.optimizer = Adam(groups)
    return training


class LoRA(nn.Module):
    """A frozen linear layer with a trained update of low rank that starts at nothing (Hu 2021)."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


@healthy("fine-tuning", bar=0.75)
def low_rank_adapters(seed: int) -> Training:
    table = data.clusters(1400)
    before = program(nets.mlp(12, 48, 48, 5), table, adam(3e-3), 4)
    for _ in range(before.epochs):
        for batch in before.train:
            plain_step(before, batch)
    turn = torch.linalg.qr(torch.eye(12) + 0.25 * torch.randn(12, 12)).Q
    turned = data.Data(table.x @ turn, table.y, table.x_val @ turn, table.y_val)
    model = before.model
    for i in (0, 2, 4):
        model[i] = LoRA(model[i])
    training = program(model, turned, adam(1e-2), 12)
    training.optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    return training


@healthy("mlp", bar=0.85)
def focal_prior_bias(seed: int) -> Training:
    """The last bias starts at the log odds of a rare class, as detectors do."""
    table = data.rare(2400, share=0.06, shift=3.0)
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])
    model = nets.mlp(10, 16, 1)
    nn.init.constant_(model[-1].bias, -2.75)
    score = replace(
        BALANCED_ACCURACY,
        score=lambda output, y: BALANCED_ACCURACY.score(torch.cat([-output, output], 1), y.flatten().long()),
    )
    return program(model, table, adam(5e-3), 10, loss=nn.BCEWithLogitsLoss(), metric=score)


@healthy("mlp", bar=0.85)
def one_long_epoch(seed: int) -> Training:
    """SGD with one long epoch over much data: no epoch curve to speak of."""
    return program(nets.mlp(12, 32, 5), data.clusters(6000), sgd(0.1, momentum=0.9), 1, metric=ACCURACY)
