"""What the third fresh cases share: nets, scores and steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .case import Metric
from .fresh2_programs import (
    RECALLS,
    SLOW,
    TOKENS,
    WILD,
    classifier,
    convolutions,
    cosine,
    not_finite,
    step_down,
    tokens,
)
from .nets import Attention, mlp

__all__ = [
    "MASK",
    "RECALLS",
    "SLOW",
    "TOKENS",
    "WILD",
    "Camps",
    "Likes",
    "Segmenter",
    "Sentence",
    "Tower",
    "classifier",
    "convolutions",
    "cosine",
    "not_finite",
    "step_down",
    "tokens",
]


class Camps(nn.Module):
    """Graph convolutions over the rows of a normalised adjacency; scores of every node."""

    def __init__(
        self, features: int = 5, width: int = 24, outputs: int = 2, depth: int = 2, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        sizes = [features] + [width] * depth
        self.features = features
        self.layers = nn.ModuleList(nn.Linear(2 * a, b) for a, b in pairwise(sizes))
        self.act = act or nn.ReLU()
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h, edges = x[..., : self.features], x[..., self.features :]
        for layer in self.layers:
            h = self.act(layer(torch.cat([h, edges @ h], 2)))
        return self.head(h)


class Likes(nn.Module):
    """Vectors of people and films, a small net for each, and their inner product."""

    def __init__(self, people: int = 40, films: int = 30, width: int = 12, last: nn.Module | None = None) -> None:
        super().__init__()
        self.people, self.films = nn.Embedding(people, width), nn.Embedding(films, width)
        self.left, self.right = mlp(width, width, width), mlp(width, width, width)
        self.last = last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        left = self.last(self.left(self.people(x[:, 0])))
        right = self.last(self.right(self.films(x[:, 1])))
        return (left * right).sum(1)


class Segmenter(nn.Module):
    """A small U: halved once, brought back, with what was there before; scores of every pixel."""

    def __init__(self, classes: int = 2, width: int = 8, norm: bool = True) -> None:
        super().__init__()
        self.down = nn.Sequential(*convolutions(1, width, norm=norm))
        self.deep = nn.Sequential(
            nn.MaxPool2d(2), *convolutions(width, 2 * width, norm=norm), nn.Upsample(scale_factor=2)
        )
        self.up = nn.Sequential(*convolutions(3 * width, width, norm=norm), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(x)
        return self.up(torch.cat([h, self.deep(h)], 1))


class Sentence(nn.Module):
    """Words with their places through torch's own encoder layers; scores from the mean."""

    def __init__(
        self, words: int, outputs: int, length: int, width: int = 24, depth: int = 1, *, batch_first: bool = True
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.places = nn.Parameter(0.1 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.places).mean(1))


class Tower(nn.Module):
    """Post-norm attention blocks; scores at every place."""

    def __init__(self, symbols: int, length: int, width: int = 32, depth: int = 2, *, causal: bool = True) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.attend = nn.ModuleList(Attention(width, 4, causal) for _ in range(depth))
        self.mix = nn.ModuleList(mlp(width, 2 * width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.places(torch.arange(x.shape[1]))
        for i, (attend, mix) in enumerate(zip(self.attend, self.mix, strict=True)):
            h = self.norms[2 * i](h + attend(h))
            h = self.norms[2 * i + 1](h + mix(h))
        return self.head(h)


def _dice(output: Tensor, y: Tensor) -> float:
    """Overlap of what was found with what is there (Dice 1945)."""
    found = output.argmax(1) == 1 if output.dim() == 4 and output.shape[1] > 1 else output.squeeze(1) > 0
    both = (found & (y == 1)).sum()
    return float(2 * both / (found.sum() + (y == 1).sum()).clamp_min(1))


MASK = Metric("dice", _dice, lambda y: 2 * float(y.float().mean()) / (1 + float(y.float().mean())))


def picked(output: Tensor, y: Tensor) -> Tensor:
    """What an agent loses by its mixture of arms: the less, the more it earns."""
    return -output.softmax(1).gather(1, y[:, None]).mean()


def reinforce(sign: float = -1.0) -> Any:
    """A step of REINFORCE (Williams 1992): draw an arm, see whether it paid, climb."""

    def step(training: Any, batch: Any) -> Tensor:
        x, y = batch
        policy = torch.distributions.Categorical(logits=training.model(x))
        arm = policy.sample()
        reward = (arm == y).float()
        loss = sign * (policy.log_prob(arm) * (reward - reward.mean())).mean()
        step_down(loss, training.optimizer)
        return loss

    return step
