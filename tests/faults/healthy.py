"""Trainings that are well, of every family: none of them may be told to have a fault."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parametrizations, prune
from torch.optim import LBFGS, Adam, AdamW, RMSprop, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from . import data, nets
from .case import Training, healthy
from .loop import plain_step
from .metrics import ACCURACY, BALANCED_ACCURACY, BINARY_ACCURACY, R2, RING
from .programs import (
    adam,
    adamw,
    clusters_mlp,
    counting_gpt,
    curve_mlp,
    program,
    sgd,
    shapes_cnn,
    tagging_rnn,
    token_loss,
    unit_scaled,
    waves_recurrent,
)

# tables


@healthy("mlp", bar=0.85)
def mlp_on_clusters(seed: int) -> Training:
    return clusters_mlp()


@healthy("mlp", bar=0.9)
def logistic_regression_on_tumours(seed: int) -> Training:
    table = data.standardised(data.cancer())
    return program(nn.Linear(30, 2), table, sgd(0.1), 15)


@healthy("mlp", bar=0.9)
def tumours_one_logit(seed: int) -> Training:
    table = data.standardised(data.cancer())
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])
    model = nets.mlp(30, 16, 1, dropout=0.2)
    return program(model, table, adamw(3e-3), 12, loss=nn.BCEWithLogitsLoss(), metric=BINARY_ACCURACY)


@healthy("mlp", bar=0.85)
def tanh_mlp_on_spirals(seed: int) -> Training:
    return program(nets.mlp(2, 48, 48, 3, act=nn.Tanh), data.spirals(), adam(1e-2), 25)


@healthy("mlp", bar=0.85)
def raw_table_behind_batch_norm(seed: int) -> Training:
    """Raw columns are fine where the first layer normalises them."""
    model = nn.Sequential(nn.BatchNorm1d(30), nets.mlp(30, 24, 2))
    return program(model, data.cancer(), adamw(2e-3), 10)


@healthy("mlp", bar=0.8)
def dropout_half(seed: int) -> Training:
    model = nets.mlp(12, 96, 96, 5, dropout=0.5)
    return program(model, data.clusters(), adam(3e-3), 18)


@healthy("mlp", bar=0.8)
def tiny_batches(seed: int) -> Training:
    return program(nets.mlp(12, 24, 5), data.clusters(500), sgd(0.02), 8, batch=2)


@healthy("mlp", bar=0.85)
def one_batch_an_epoch(seed: int) -> Training:
    return program(nets.mlp(12, 48, 5), data.clusters(), adam(2e-2), 60, batch=1000)


@healthy("mlp", bar=0.85)
def strong_weight_decay(seed: int) -> Training:
    return program(nets.mlp(12, 64, 64, 5), data.clusters(), adamw(3e-3, weight_decay=0.1), 12)


@healthy("mlp", bar=0.85)
def rmsprop_selu(seed: int) -> Training:
    model = nets.mlp(12, 32, 32, 5, act=nn.SELU)
    return program(model, data.clusters(), lambda m: RMSprop(m.parameters(), lr=2e-3), 12)


@healthy("mlp", bar=0.85)
def lbfgs_full_batch(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        def closure() -> Tensor:
            training.optimizer.zero_grad()
            loss = training.loss(training.model(batch[0]), batch[1])
            loss = loss + 1e-3 * sum(p.square().sum() for p in training.model.parameters())
            loss.backward()
            return loss

        return training.optimizer.step(closure).detach()

    def build(model: nn.Module) -> LBFGS:
        return LBFGS(model.parameters(), lr=0.5, max_iter=4, history_size=10)

    return program(nets.mlp(12, 24, 5, act=nn.Tanh), data.clusters(), build, 15, batch=1000, step=step)


@healthy("mlp", bar=0.85)
def gradient_accumulation(seed: int) -> Training:
    """Four small batches to a step."""
    seen = [0]

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        (loss / 4).backward()
        seen[0] += 1
        if seen[0] % 4 == 0:
            training.optimizer.step()
            training.optimizer.zero_grad()
        return loss

    return program(nets.mlp(12, 32, 32, 5), data.clusters(), adam(5e-3), 14, batch=8, step=step)


@healthy("mlp", bar=0.85)
def gradient_clipping(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(training.model.parameters(), 1.0)
        training.optimizer.step()
        return loss

    return program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.03, momentum=0.9), 9, step=step)


@healthy("mlp", bar=0.85)
def label_smoothing(seed: int) -> Training:
    return clusters_mlp(loss=nn.CrossEntropyLoss(label_smoothing=0.1))


@healthy("mlp", bar=0.8)
def mixup(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        share = float(torch.distributions.Beta(0.3, 0.3).sample())
        other = torch.randperm(len(x))
        output = training.model(share * x + (1 - share) * x[other])
        loss = share * training.loss(output, y) + (1 - share) * training.loss(output, y[other])
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(12, 48, 48, 5), data.clusters(), adam(3e-3), 14, step=step)


@healthy("mlp", bar=0.7)
def class_weights_on_rare_class(seed: int) -> Training:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 8.0]))
    table = data.rare(2400, share=0.1, shift=1.6)
    return program(nets.mlp(10, 16, 2), table, adam(2e-3), 8, loss=loss, metric=BALANCED_ACCURACY)


@healthy("mlp", bar=0.8)
def oversampled_rare_class(seed: int) -> Training:
    table = data.rare(2400, share=0.1, shift=1.8)
    training = program(nets.mlp(10, 16, 2), table, adam(2e-3), 8, metric=BALANCED_ACCURACY)
    weights = (1 / table.y.bincount().float())[table.y].tolist()
    sampler = WeightedRandomSampler(weights, len(table.y))
    training.train = DataLoader(TensorDataset(table.x, table.y), batch_size=32, sampler=sampler)
    return training


@healthy("mlp", bar=0.85)
def imbalanced_but_learned(seed: int) -> Training:
    table = data.rare(2400, share=0.1, shift=3.0)
    return program(nets.mlp(10, 16, 2), table, adam(3e-3), 8, metric=BALANCED_ACCURACY)


@healthy("mlp", bar=0.8)
def early_stop(seed: int) -> Training:
    return program(nets.mlp(12, 64, 5), data.clusters(1200), adam(4e-3), 60, patience=3)


@healthy("mlp", bar=0.8)
def some_noise_in_labels_of_a_hard_task(seed: int) -> Training:
    """Classes that overlap: nobody can do much better, and nothing is wrong."""
    return program(nets.mlp(12, 24, 5), data.clusters(1500, spread=1.25), adamw(2e-3), 10)


@healthy("mlp", bar=0.75)
def several_labels_at_once(seed: int) -> Training:
    model = nets.mlp(10, 48, 6)
    table = data.labelled_many(1500)
    return program(model, table, adam(4e-3), 14, loss=nn.BCEWithLogitsLoss(), metric=BINARY_ACCURACY)


@healthy("mlp", bar=0.85)
def pruned_mlp(seed: int) -> Training:
    """Half of the weights of the hidden layer are held at zero."""
    model = nets.mlp(12, 64, 64, 5)
    prune.random_unstructured(model[2], "weight", amount=0.5)
    return program(model, data.clusters(), adam(3e-3), 12)


@healthy("mlp", bar=0.85)
def weight_norm_mlp(seed: int) -> Training:
    model = nets.mlp(12, 32, 32, 5)
    parametrizations.weight_norm(model[2])
    return program(model, data.clusters(), adam(3e-3), 12)


@healthy("mlp", bar=0.85)
def averaged_weights(seed: int) -> Training:
    """An exponential moving average of the weights is what is handed over."""
    training = clusters_mlp(epochs=14)
    average = copy.deepcopy(training.model)

    def step(training: Training, batch: Any) -> Tensor:
        loss = plain_step(training, batch)
        with torch.no_grad():
            for a, p in zip(average.parameters(), training.model.parameters(), strict=True):
                a.lerp_(p, 0.1)
        return loss

    training.step = step

    def hand_over(training: Training) -> None:
        training.model.load_state_dict(average.state_dict())

    training.finish = hand_over
    return training


# schedules


@healthy("schedule", bar=0.85)
def warm_up_then_constant(seed: int) -> Training:
    training = clusters_mlp()
    training.scheduler = lr_scheduler.LinearLR(training.optimizer, start_factor=0.01, total_iters=60)
    training.scheduler_every = "step"
    return training


@healthy("schedule", bar=0.85)
def cosine_to_zero(seed: int) -> Training:
    training = clusters_mlp(epochs=14)
    training.scheduler = lr_scheduler.CosineAnnealingLR(training.optimizer, T_max=14)
    return training


@healthy("schedule", bar=0.85)
def one_cycle(seed: int) -> Training:
    training = program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.02, momentum=0.9), 12)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, max_lr=0.15, total_steps=12 * len(training.train))
    training.scheduler_every = "step"
    return training


@healthy("schedule", bar=0.85)
def warm_restarts(seed: int) -> Training:
    training = program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.1, momentum=0.9), 14)
    training.scheduler = lr_scheduler.CosineAnnealingWarmRestarts(training.optimizer, T_0=2, T_mult=2)
    return training


@healthy("schedule", bar=0.85)
def steps_late_in_training(seed: int) -> Training:
    training = shapes_cnn(epochs=9)
    training.scheduler = lr_scheduler.MultiStepLR(training.optimizer, [5, 7], gamma=0.2)
    return training


@healthy("schedule", bar=0.85)
def plateau_schedule(seed: int) -> Training:
    training = program(nets.mlp(12, 32, 32, 5), data.clusters(), sgd(0.1, momentum=0.9), 14)
    training.scheduler = lr_scheduler.ReduceLROnPlateau(training.optimizer, patience=2, factor=0.3)
    return training


# images


@healthy("cnn", bar=0.9)
def cnn_with_batch_norm(seed: int) -> Training:
    return shapes_cnn()


@healthy("cnn", bar=0.85)
def cnn_without_norm(seed: int) -> Training:
    return shapes_cnn(12, norm=False)


@healthy("cnn", bar=0.9)
def cnn_on_bytes_scaled_to_one(seed: int) -> Training:
    """Inputs in 0..1 instead of standard scale."""
    drawings = data.digits()
    drawings = data.Data(drawings.x / 16, drawings.y, drawings.x_val / 16, drawings.y_val)
    return program(nets.cnn(10), drawings, adam(3e-3), 6)


@healthy("cnn", bar=0.85)
def cnn_with_group_norm_gelu(seed: int) -> Training:
    def norm(width: int) -> nn.Module:
        return nn.GroupNorm(3, width)

    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), norm(12), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), norm(24), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(24 * 9, 6)),
    )
    return program(model, data.shapes(1400), adamw(2e-3), 8)


@healthy("cnn", bar=0.85)
def depthwise_separable(seed: int) -> Training:
    def block(a: int, b: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False)
        return [depthwise, nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
    model = nn.Sequential(
        *(stem, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), *block(16, 24), *block(24, 24)),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 6)),
    )
    return program(model, data.shapes(), adam(4e-3), 10)


@healthy("cnn", bar=0.85)
def cnn_in_bfloat16(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return shapes_cnn(7, step=step)


@healthy("cnn", bar=0.85)
def shifted_and_noisy_augmentation(seed: int) -> Training:
    """Training pictures are rolled and get noise; training loss lies above validation loss."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        shift = tuple(int(v) for v in torch.randint(-2, 3, (2,)))
        x = x.roll(shift, (2, 3)) + 0.3 * torch.randn_like(x)
        return plain_step(training, (x, y))

    return shapes_cnn(9, step=step)


@healthy("resnet", bar=0.85)
def small_resnet_sgd(seed: int) -> Training:
    optimizer = sgd(0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    training = program(nets.resnet(), data.shapes(1400), optimizer, 9)
    training.scheduler = lr_scheduler.CosineAnnealingLR(training.optimizer, 9)
    return training


@healthy("resnet", bar=0.85)
def resnet_zero_gamma(seed: int) -> Training:
    """Every residual branch starts at nothing."""
    model = nets.resnet()
    for module in model.modules():
        if isinstance(module, nets.Residual):
            nn.init.zeros_(module.norm2.weight)
    return program(model, data.shapes(1400), adam(4e-3), 8)


@healthy("vit", bar=0.8)
def small_vit(seed: int) -> Training:
    training = program(nets.ViT(), data.shapes(1800), adamw(3e-3, weight_decay=0.05), 14)
    total = 14 * len(training.train)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, max_lr=4e-3, total_steps=total)
    training.scheduler_every = "step"
    return training


# sequences


@healthy("gpt", bar=0.6)
def small_gpt(seed: int) -> Training:
    return counting_gpt()


@healthy("gpt", bar=0.6)
def gpt_with_tied_embeddings(seed: int) -> Training:
    training = counting_gpt()
    training.model.head.weight = training.model.embed.weight
    with torch.no_grad():
        training.model.embed.weight.mul_(0.2)
    training.optimizer = AdamW(training.model.parameters(), lr=3e-3)
    return training


@healthy("gpt", bar=0.6)
def language_that_is_mostly_chance(seed: int) -> Training:
    """A quarter of the symbols cannot be foretold, so the loss stays high."""
    model = nets.Transformer(6, 6, 12, causal=True, depth=1)
    return program(model, data.coin_language(), adamw(2e-3), 7, loss=token_loss)


@healthy("transformer", bar=0.8)
def transformer_classifier(seed: int) -> Training:
    model = nets.Transformer(8, 2, 8, pooled=True)
    return program(model, data.which_first(), adamw(3e-3), 10)


@healthy("lstm", bar=0.9)
def lstm_on_waves(seed: int) -> Training:
    return waves_recurrent()


@healthy("gru", bar=0.9)
def gru_tagger(seed: int) -> Training:
    return tagging_rnn()


@healthy("lstm", bar=0.9)
def lstm_long_memory(seed: int) -> Training:
    """The forget gates are opened, as is usual for long memory."""
    model = nets.Recurrent(nn.LSTM, 4, 24, 4, symbols=True)
    with torch.no_grad():
        model.rnn.bias_hh_l0[24:48] = 2.0
    return program(model, data.first_symbol(900, 12), adam(1e-2), 12)


class Masked(nn.Module):
    """Sequences of different lengths, padded with symbol 0 and averaged over what is real."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 24, padding_idx=0)
        self.rnn = nn.GRU(24, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        real = (x > 0).float()[..., None]
        h, _ = self.rnn(self.embed(x))
        return self.head((h * real).sum(1) / real.sum(1))


@healthy("gru", bar=0.85)
def padded_and_masked(seed: int) -> Training:
    sequences = data.which_first(1400)

    def padded(x: Tensor) -> Tensor:
        return F.pad(x + 1, (0, 6))

    sequences = data.Data(padded(sequences.x), sequences.y, padded(sequences.x_val), sequences.y_val)
    return program(Masked(), sequences, adam(8e-3), 12)


@healthy("conv1d", bar=0.9)
def convolution_over_time(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU()),
        *(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 3)),
    )
    series = data.waves()
    series = data.Data(series.x.transpose(1, 2), series.y, series.x_val.transpose(1, 2), series.y_val)
    return program(model, series, adam(4e-3), 10)


# regression


@healthy("regression", bar=0.9)
def curve_regression(seed: int) -> Training:
    return curve_mlp()


@healthy("regression", bar=0.8)
def friedman_regression(seed: int) -> Training:
    return program(nets.mlp(8, 48, 1), data.friedman(), adamw(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@healthy("regression", bar=0.8)
def house_prices_scaled(seed: int) -> Training:
    table = unit_scaled(data.houses())
    return program(nets.mlp(5, 32, 1), table, adam(5e-3), 12, loss=nn.SmoothL1Loss(), metric=R2)


@healthy("regression", bar=0.3)
def noisy_targets(seed: int) -> Training:
    """Half of the variance of the target is noise."""
    table = data.friedman(1500, noise=0.9)
    return program(nets.mlp(8, 24, 1), table, adamw(3e-3), 8, loss=nn.MSELoss(), metric=R2)


@healthy("regression", bar=0.8)
def positive_targets_softplus(seed: int) -> Training:
    table = data.friedman()
    table = data.Data(table.x, (table.y / 2).exp(), table.x_val, (table.y_val / 2).exp())
    model = nn.Sequential(nets.mlp(8, 48, 1), nn.Softplus())
    return program(model, table, adam(5e-3), 16, loss=nn.MSELoss(), metric=R2)


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
