"""Trainings that are well: images, sequences, regression."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, lr_scheduler

from . import data, nets
from .case import Training, healthy
from .loop import plain_step
from .metrics import R2
from .programs import (
    adam,
    adamw,
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
