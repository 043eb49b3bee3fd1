"""Trainings that are well: tables and schedules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parametrizations, prune
from torch.optim import LBFGS, RMSprop, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from . import data, nets
from .case import Training, healthy
from .loop import plain_step
from .metrics import BALANCED_ACCURACY, BINARY_ACCURACY
from .programs import (
    adam,
    adamw,
    clusters_mlp,
    program,
    sgd,
    shapes_cnn,
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
