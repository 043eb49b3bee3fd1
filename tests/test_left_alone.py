"""Healthy programs that look odd, each beside the fault that it resembles: small trainings through the front door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report

from .loops import Loss, causes, watched


class Made(nn.Module):
    """A model whose forward is a function of itself and its input."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._run = run

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self, x)


def trained(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    given: tuple[Tensor, Tensor] | None = None,
    parts: Callable[[nn.Module], list[Tensor]] | None = None,
) -> Report:
    """Train on the first 400 samples for six epochs, and examine on the rest or on ``given``.

    ``parts``: what the optimizer is given; None = all.
    """
    train = DataLoader(TensorDataset(x[:400], y[:400]), 20, shuffle=True)
    val = DataLoader(TensorDataset(*(given or (x[400:], y[400:]))), 40)
    optimizer = torch.optim.Adam(parts(model) if parts else model.parameters(), lr=1e-2)
    return watched(model, optimizer, loss, train, val, 6)


def points(seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(600, 6)


@pytest.mark.slow
def test_softmax_over_one_unit_is_a_fault_at_the_output_and_none_as_a_gate() -> None:
    x = points()
    parts = {"a": nn.Linear(6, 32), "b": nn.Linear(32, 1)}
    yes = (x[:, 0] > x[:, 1]).float()[:, None]
    sick = Made(lambda s, x: s.b(s.a(x).relu()).softmax(1), **parts)
    assert causes(trained(sick, x, yes, nn.BCELoss())) == {"wrong-output-activation"}
    twin = Made(lambda s, x: s.b(s.a(x).relu()).sigmoid(), a=nn.Linear(6, 32), b=nn.Linear(32, 1))
    assert causes(trained(twin, x, yes, nn.BCELoss())) == set()
    gate = Made(
        lambda s, x: s.b((h := s.a(x).relu()) * s.k(h).softmax(-1)),
        a=nn.Linear(6, 32),
        k=nn.Linear(32, 1),
        b=nn.Linear(32, 3),
    )
    assert causes(trained(gate, x, x[:, :3].argmax(1), nn.CrossEntropyLoss())) == set()


@pytest.mark.slow
def test_a_head_of_zeros_before_and_after_training() -> None:
    x = points()
    y = x[:, :3].argmax(1)
    model = Made(lambda s, x: s.b(s.n(s.a(x)).relu()), a=nn.Linear(6, 32), n=nn.LayerNorm(32), b=nn.Linear(32, 3))
    for parameter in model.get_submodule("b").parameters():
        nn.init.zeros_(parameter)
    loss = nn.CrossEntropyLoss()
    before = reportgen.examine(model, DataLoader(TensorDataset(x, y), 32), loss=loss)
    assert causes(before) == set()
    assert causes(trained(model, x, y, loss)) == set()


def test_targets_that_the_loss_leaves_out_are_no_class() -> None:
    x = points()
    y = x[:, :3].argmax(1)
    y[torch.arange(600) % 3 == 0] = -100
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    facts = trained(model, x, y, nn.CrossEntropyLoss())
    assert causes(facts) == set()
    assert facts.train_dataset is not None
    assert facts.train_dataset.target_classes == 3
    assert facts.train_dataset.label_min == 0
    assert facts.train_dataset.order is not None
    told = int((y[:400] >= 0).sum())
    assert facts.train_dataset.order.n == told
    assert facts.train_dataset.signal is not None
    assert facts.train_dataset.signal.n == told


@pytest.mark.slow
def test_tokens_that_the_loss_leaves_out_are_no_class() -> None:
    torch.manual_seed(0)
    x = torch.randint(1, 20, (600, 12))
    y = (x % 5).masked_fill(torch.rand(600, 12) < 0.4, -100)
    model = Made(
        lambda s, x: s.b(s.r(s.e(x))[0]),
        e=nn.Embedding(20, 32),
        r=nn.GRU(32, 32, batch_first=True),
        b=nn.Linear(32, 5),
    )
    assert causes(trained(model, x, y, lambda o, t: F.cross_entropy(o.transpose(1, 2), t))) == set()


@pytest.mark.slow
def test_darker_validation_pictures_are_a_matter_of_the_splits_alone() -> None:
    torch.manual_seed(0)
    y = torch.arange(600) % 3
    x = 0.5 * torch.rand(600, 3, 8, 8)
    x[torch.arange(600), y] += 0.35

    def net() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )

    loss = nn.CrossEntropyLoss()
    assert causes(trained(net(), x, y, loss, given=(0.12 * x[400:], y[400:]))) == {"train-val-mismatch"}
    assert causes(trained(net(), x, y, loss)) == set()
