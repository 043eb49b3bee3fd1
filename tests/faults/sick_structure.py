"""Faults of the structure."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .healthy_special import adversarial
from .metrics import R2
from .programs import adam, adamw, counting_gpt, program, token_loss

# structure


@torch.no_grad()
def _neighbours_matter(outcome: Outcome) -> bool:
    """Tell whether a sample's output changes with the samples beside it."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:16]
    whole = model(x)
    reordered, fewer = model(x.flip(0)).flip(0), model(x[:8])
    return not (torch.allclose(whole, reordered, atol=1e-4) and torch.allclose(whole[:8], fewer, atol=1e-4))


class Attended(nn.Module):
    """Weights over the steps of a sequence; the softmax ought to run over time, which is dimension 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.score, self.head = nn.Linear(16, 1), nn.Linear(16, 3)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(self.embed(x))
        return self.head((self.score(h).softmax(self.dim) * h).sum(1) * (1 if self.dim else 3))


@sick("gru", "batch-mixing", also=("wrong-output-activation",), proof=shown(_neighbours_matter), bar=0.85)
def attention_over_the_batch(seed: int, fixed: bool) -> Training:
    return program(Attended(1 if fixed else 0), data.waves(), adam(8e-3), 12)


class Reshaped(nn.Module):
    """(N, T, C) becomes (T, N, C) by permute, or by a view that takes the numbers as they lie."""

    def __init__(self, permuted: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 24)
        self.head = nn.Linear(24, 3)
        self.permuted = permuted

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        h, _ = self.rnn(x.permute(1, 0, 2) if self.permuted else x.reshape(t, n, c))
        return self.head(h[-1])


@sick("lstm", "batch-mixing", also=("underfitting", "undertrained", "overfitting"), proof=harmed(0.3), bar=0.85)
def view_for_a_permute(seed: int, fixed: bool) -> Training:
    return program(Reshaped(fixed), data.waves(), adam(2e-3), 16)


class Centred(nn.Module):
    """Takes the mean off: of each picture, or (by the wrong dimension) of the batch."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.net = nets.cnn(norm=False)
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - x.mean(self.dims, keepdim=True))


@sick("cnn", "batch-mixing", proof=shown(_neighbours_matter), bar=0.85)
def mean_taken_over_the_batch(seed: int, fixed: bool) -> Training:
    return program(Centred((2, 3) if fixed else (0,)), data.shapes(), adam(3e-3), 10)


@sick("transformer", "batch-mixing", also=("underfitting", "undertrained"), proof=shown(_neighbours_matter), bar=0.8)
def attention_module_without_batch_first(seed: int, fixed: bool) -> Training:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(8, 24)
            self.positions = nn.Parameter(0.2 * torch.randn(8, 24))
            self.layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, batch_first=fixed, norm_first=True)
            self.head = nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.embed(x) + self.positions).mean(1))

    return program(Encoder(), data.which_first(1500), adam(3e-3), 10)


@torch.no_grad()
def _sees_the_future(outcome: Outcome) -> bool:
    """Tell whether a later symbol changes the scores before it."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:16]
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % int(x.max() + 1)
    return not torch.allclose(model(x)[:, :-1], model(changed)[:, :-1], atol=1e-4)


@sick(
    "gpt", "causal-leak", also=("data-leakage", "undertrained", "underfitting"), proof=shown(_sees_the_future), bar=0.6
)
def mask_forgotten_in_a_language_model(seed: int, fixed: bool) -> Training:
    return counting_gpt(10, causal=fixed)


class OverTime(nn.Module):
    """A language model of convolutions, padded on the left only or on both sides."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 16)
        self.first, self.second = nn.Conv1d(16, 24, 3), nn.Conv1d(24, 24, 3)
        self.head = nn.Linear(24, 6)
        self.padding = (2, 0) if causal else (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).transpose(1, 2)
        h = self.first(F.pad(h, self.padding)).relu()
        h = self.second(F.pad(h, self.padding)).relu()
        return self.head(h.transpose(1, 2))


@sick("conv1d", "causal-leak", also=("data-leakage",), proof=shown(_sees_the_future), bar=0.6)
def convolutions_padded_on_both_sides(seed: int, fixed: bool) -> Training:
    return program(OverTime(fixed), data.coin_language(), adam(4e-3), 8, loss=token_loss)


@sick("lstm", "causal-leak", also=("data-leakage",), proof=shown(_sees_the_future), bar=0.6)
def language_model_that_reads_both_ways(seed: int, fixed: bool) -> Training:
    model = nets.Recurrent(nn.LSTM, 6, 20, 6, symbols=True)
    model.every_step = True
    if not fixed:
        model.rnn = nn.LSTM(20, 20, batch_first=True, bidirectional=True)
        model.head = nn.Linear(40, 6)
    return program(model, data.coin_language(), adam(5e-3), 8, loss=token_loss)


@sick("transformer", "missing-position-info", also=("underfitting", "undertrained"), proof=harmed(0.3), bar=0.85)
def transformer_without_positions(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(8, 2, 8, pooled=True, positions=fixed)
    return program(model, data.which_first(), adamw(3e-3), 10)


class Bag(nn.Module):
    """Looks at windows of some symbols and averages what it saw."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 16)
        self.windows = nn.Conv1d(16, 32, window)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.windows(self.embed(x).transpose(1, 2)).relu().mean(2))


@sick(
    "conv1d",
    "missing-position-info",
    also=("underfitting", "undertrained", "layer-collapse", "dead-relu"),
    proof=harmed(0.3),
    bar=0.85,
)
def window_of_a_single_symbol(seed: int, fixed: bool) -> Training:
    """Two symbols, one after the other: the class is which came first."""
    return program(Bag(2 if fixed else 1), data.which_first(1200, length=2, symbols=4), adam(5e-3), 8)


@sick(
    "transformer",
    "missing-position-info",
    also=("underfitting", "undertrained"),
    proof=harmed(0.1),
    bar=0.85,
)
def tagger_that_cannot_count(seed: int, fixed: bool) -> Training:
    """The tag is whether the symbol before was smaller, which needs to know which one stood before."""
    model = nets.Transformer(6, 2, 10, positions=fixed)
    return program(model, data.tagging(1200), adamw(5e-3), 18, loss=token_loss)


def _elbo(weight: float) -> Any:
    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        return (rebuilt - x).square().sum(1).mean() + weight * divergence

    return loss


@sick(
    "vae", "posterior-collapse", also=("underfitting", "over-regularised", "layer-collapse"), proof=harmed(0.4), bar=0.8
)
def divergence_weighted_fifty_times(seed: int, fixed: bool) -> Training:
    return program(nets.VAE(), data.signals(), adam(4e-3), 16, loss=_elbo(0.05 if fixed else 50.0), metric=R2)


@sick(
    "vae", "posterior-collapse", also=("underfitting", "over-regularised", "layer-collapse"), proof=harmed(0.4), bar=0.8
)
def reconstruction_averaged_divergence_summed(seed: int, fixed: bool) -> Training:
    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        square = (rebuilt - x).square()
        return (square.sum(1).mean() if fixed else square.mean()) + divergence * (0.1 if fixed else 1.0)

    return program(nets.VAE(), data.signals(), adam(4e-3), 16, loss=loss, metric=R2)


@sick(
    "gan",
    "posterior-collapse",
    also=("layer-collapse", "underfitting", "bad-init", "dead-relu"),
    proof=harmed(0.3),
    bar=0.6,
)
def noise_that_is_multiplied_away(seed: int, fixed: bool) -> Training:
    """The generator gets zeros instead of noise, so all its points are one."""
    training = adversarial()

    class Silenced(nn.Module):
        def forward(self, noise: Tensor) -> Tensor:
            return noise if fixed else noise * 0.0

    training.model.generator.insert(0, Silenced())
    return training
