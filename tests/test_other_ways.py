"""Real small trainings held back by one setting, and the same without it, through the front door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from reportgen.document.facts import Report

from .loops import causes, watched

Prepare = Callable[[nn.Sequential], Optimizer]


def trained(prepare: Prepare, *, dropout: float = 0.0, epochs: int = 8) -> Report:
    """Train a classifier of rings, which no linear model can tell apart, and examine it."""
    torch.manual_seed(1)
    y = torch.arange(600) % 3
    x = torch.randn(600, 6)
    x = x / x.norm(dim=1, keepdim=True) * (1.0 + y[:, None] + 0.1 * torch.randn(600, 1))
    train = DataLoader(TensorDataset(x[:400], y[:400]), 20, shuffle=True)
    val = DataLoader(TensorDataset(x[400:], y[400:]), 40)
    model = nn.Sequential(
        nn.Linear(6, 48), nn.ReLU(), nn.Dropout(dropout), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3)
    )
    return watched(model, prepare(model), nn.CrossEntropyLoss(), train, val, epochs)


def low_rate(model: nn.Sequential) -> Optimizer:
    return Adam(model.parameters(), lr=3e-5)


def high_rate(model: nn.Sequential) -> Optimizer:
    return SGD(model.parameters(), lr=1.5, momentum=0.9)


def strong_decay(model: nn.Sequential) -> Optimizer:
    return Adam(model.parameters(), lr=3e-3, weight_decay=0.3)


def frozen_by_mistake(model: nn.Sequential) -> Optimizer:
    for layer in (model[0], model[3]):
        nn.init.normal_(layer.weight, std=0.02)
        layer.requires_grad_(False)
    return Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)


def plain(model: nn.Sequential) -> Optimizer:
    return Adam(model.parameters(), lr=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (low_rate, "lr-too-low"),
        (high_rate, "lr-too-high"),
        (strong_decay, "over-regularised"),
        (frozen_by_mistake, "frozen-layers"),
    ],
)
def test_what_held_the_run_back_is_named(prepare: Prepare, cause: str) -> None:
    facts = trained(prepare)
    assert cause in causes(facts)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [6, 12])
def test_the_same_run_with_good_settings_is_left_alone(epochs: int) -> None:
    facts = trained(plain, epochs=epochs)
    assert causes(facts) == set()
    assert not [f for f in facts.findings if f.rule.endswith("-helps")]
