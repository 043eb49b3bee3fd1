"""What the second fresh cases share: schedules, scores and small blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler

from .case import Metric, Outcome, Training
from .data import loader

SLOW = ("underfitting", "undertrained")
WILD = ("exploding-gradients", "dead-relu", "layer-collapse", "numerical-instability", "non-finite-weights", *SLOW)


def cosine(training: Training) -> Training:
    """Let the rate fall to nothing along a cosine, step by step."""
    training.scheduler = lr_scheduler.CosineAnnealingLR(training.optimizer, training.epochs * len(training.train))
    training.scheduler_every = "step"
    return training


def step_down(loss: Tensor, optimizer: Any) -> None:
    """Take one step down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def tokens(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy at every place that is not padding."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=-100)


TOKENS = Metric(
    "accuracy",
    lambda output, y: float((output.argmax(-1) == y)[y >= 0].float().mean()),
    lambda y: float(y[y >= 0].bincount().max() / (y >= 0).sum()),
)


def _likelihood(output: Tensor, y: Tensor) -> float:
    """What a right word was given, as the geometric mean of its shares: one over the perplexity."""
    return float((-tokens(output, y)).exp())


LIKELIHOOD = Metric(
    "likelihood",
    _likelihood,
    lambda y: _likelihood((y[y >= 0].bincount() + 1e-3).log().expand(*y.shape, -1), y),
)

TRUST = Metric(
    "trust",
    lambda output, y: float(output.softmax(1).gather(1, y[:, None]).mean()),
    lambda y: float(1 / (y.max() + 1)),
)
"""What the right class is given, on average."""

PIXELS = Metric(
    "accuracy",
    lambda output, y: float((output.argmax(1) == y).float().mean()),
    lambda y: float(y.flatten().bincount().max() / y.numel()),
)


def _recalls(output: Tensor, y: Tensor) -> float:
    """Mean of recall and specificity over the labels."""
    told, real = output > 0, y > 0.5
    hit = (told & real).sum(0) / real.sum(0).clamp_min(1)
    left = (~told & ~real).sum(0) / (~real).sum(0).clamp_min(1)
    return float((hit + left).mean() / 2)


RECALLS = Metric("balanced_accuracy", _recalls, lambda y: 0.5)


def convolutions(channels: int, *widths: int, norm: bool = True, pool: bool = True) -> list[nn.Module]:
    """Convolutions of three pixels with batch norm and ReLU; the picture is halved after each but the last."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise((channels, *widths))):
        layers.append(nn.Conv2d(a, b, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(b)] if norm else []
        layers.append(nn.ReLU())
        layers += [nn.MaxPool2d(2)] if pool and i < len(widths) - 1 else []
    return layers


def classifier(classes: int, channels: int = 1, *, norm: bool = True, widths: tuple[int, ...] = (12, 24)) -> nn.Module:
    """A small convolutional net whose maps are pooled by their mean and their peak."""
    return nn.Sequential(*convolutions(channels, *widths, norm=norm), Pooled(), nn.Linear(2 * widths[-1], classes))


class Pooled(nn.Module):
    """Mean and peak of every map."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class Words(nn.Module):
    """Vectors of symbols, read by a recurrent layer; scores from its last state."""

    def __init__(self, symbols: int, outputs: int, width: int = 24, kind: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.rnn = kind(width, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


class Series(nn.Module):
    """A recurrent layer over numbers; outputs from its last state, or from each."""

    def __init__(
        self, inputs: int, outputs: int, width: int = 24, kind: type[nn.RNNBase] = nn.GRU, *, each: bool = False
    ) -> None:
        super().__init__()
        self.rnn, self.head, self.each = kind(inputs, width, batch_first=True), nn.Linear(width, outputs), each

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(x)
        return self.head(h if self.each else h[:, -1])


def not_finite(outcome: Any) -> bool:
    """Whether a weight or buffer of the model handed over is no number."""
    state = outcome.training.model.state_dict().values()
    return any(not t.isfinite().all() for t in state if t.is_floating_point())


@torch.no_grad()
def differs(outcome: Any) -> bool:
    """Whether two evaluations of one batch differ."""
    outcome.training.begin_validation(outcome.training)
    model, x = outcome.training.model, next(iter(outcome.training.val))[0]
    return not torch.equal(model(x), model(x))


@torch.no_grad()
def neighbours_matter(outcome: Any) -> bool:
    """Whether a sample's output depends on the others of its batch, in eval mode."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:24]
    ends = [*range(4), *range(12, 16)]
    whole, other = model(x[:16])[ends], model(torch.cat([x[:4], x[16:24], x[12:16]]))[ends]
    return not torch.allclose(whole, other, atol=1e-3)


def one_by_one(training: Training) -> Training:
    """Give a program its validation samples once more as it meets them in use: each by itself."""
    x, y = training.val.dataset.tensors
    training.fresh = loader(x, y, batch=1)
    return training


def worse_alone(by: float) -> Callable[[Outcome, Outcome], bool]:
    """Neighbours have a say, and what is told of samples one by one suffers by that much."""

    def proof(sick: Outcome, twin: Outcome) -> bool:
        assert sick.fresh_score is not None
        assert twin.fresh_score is not None
        if neighbours_matter(twin):
            return False
        return neighbours_matter(sick) and not sick.fresh_score > twin.fresh_score - by

    return proof


def too_good(by: float) -> Callable[[Outcome, Outcome], bool]:
    """The future has a say, and what was reached looks better than can be reached without it by that much."""
    return lambda sick, twin: future_matters(sick) and not future_matters(twin) and sick.score > twin.score + by


@torch.no_grad()
def future_matters(outcome: Any) -> bool:
    """Whether what is said of the first half of a row depends on the second."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:8]
    half = x.shape[1] // 2
    later = torch.cat([x[:, :half], x[:, half:].flip(0)], 1)
    return not torch.allclose(model(x)[:, :half], model(later)[:, :half], atol=1e-4)
