"""Real small trainings under a monitor: loops with one fault, and healthy loops that look alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report

from .loops import causes

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, int], None]


def trained(step: Step, *, accumulation: int | None = None) -> Report:
    """Train a classifier of three clusters by the loop given, under a monitor, and examine it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    y = torch.arange(480) % 3
    x = torch.randn(480, 8) + 2.5 * nn.functional.one_hot(y, 8)
    train = DataLoader(TensorDataset(x[:320], y[:320]), 16, shuffle=True)
    val = DataLoader(TensorDataset(x[320:], y[320:]), 32)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))
    optimizer, loss = torch.optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss()
    monitor = reportgen.Monitor(model, optimizer, loss=loss, accumulation=accumulation)
    n = 0
    with monitor:
        for epoch in range(8):
            model.train()
            for a, b in train:
                n += 1
                value = loss(model(a), b)
                step(model, optimizer, value, n)
                monitor.log(train_loss=value.detach())
            model.eval()
            with torch.no_grad():
                monitor.log(epoch=epoch, val_loss=sum(float(loss(model(a), b)) for a, b in val) / len(val))
    return monitor.report(val, train_data=train, loss=loss)


def usual(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def accumulates_four(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    (loss / 4).backward()
    if n % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()


def clips(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()


def never_clears(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    loss.backward()
    optimizer.step()


def never_steps(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    optimizer.zero_grad()
    loss.backward()


def clears_before_the_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()


def stays_in_eval_mode(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, n: int) -> None:
    usual(model, optimizer, loss, n)
    model.eval()


@pytest.mark.parametrize(("step", "accumulation"), [(usual, None), (accumulates_four, 4), (clips, None)])
def test_healthy_loops_raise_no_alarm(step: Step, accumulation: int | None) -> None:
    assert causes(trained(step, accumulation=accumulation)) == set()


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (never_clears, "missing-zero-grad"),
        (never_steps, "no-weight-update"),
        (clears_before_the_step, "no-weight-update"),
        (stays_in_eval_mode, "eval-mode-training"),
    ],
)
def test_faults_of_the_loop_are_named(step: Step, cause: str) -> None:
    assert causes(trained(step)) == {cause}
