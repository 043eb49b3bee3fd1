"""Weights that a run began with: real trainings by hand, sick and healthy, through the front door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import init
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report


def trained(draw: Callable[[Tensor], object], *, frozen: bool = False) -> Report:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    x = torch.randn(480, 12)
    y = (x[:, 0] > 0).long() + (x[:, 1] + x[:, 2] > 0).long()
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    for layer in (model[0], model[2], model[4]):
        assert isinstance(layer, nn.Linear)
        draw(layer.weight)
    model[2].requires_grad_(not frozen)
    optimizer, loss = Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3), nn.CrossEntropyLoss()
    train = DataLoader(TensorDataset(x[:320], y[:320]), 20, shuffle=True)
    val = DataLoader(TensorDataset(x[320:], y[320:]), 40)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for epoch in range(12):
            for a, b in train:
                optimizer.zero_grad()
                value = loss(model(a), b)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            with torch.no_grad():
                monitor.log(epoch=epoch, val_loss=sum(float(loss(model(a), b)) for a, b in val) / len(val))
    return monitor.report(val, train_data=train, loss=loss)


def severity(report: Report) -> str | None:
    return next((f.severity.value for f in report.findings if f.rule == "init-offset"), None)


def test_weights_from_zero_to_one_are_the_cause_named() -> None:
    report = trained(init.uniform_)
    assert severity(report) == "warning"
    assert [d.cause for d in report.diagnoses if d.severity.rank] == ["bad-init"]
    assert report.training is not None
    first = report.training.parameters[0]
    assert first.start_mean == pytest.approx(0.5, abs=0.03)
    assert first.start_rms == pytest.approx(3**-0.5, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        init.kaiming_normal_,
        init.orthogonal_,
        lambda w: init.uniform_(w, -0.05, 0.2),  # 0.75 of its size off zero, and yet it learns
        lambda w: None,
    ],
)
def test_runs_that_work_are_left_alone(draw: Callable[[Tensor], object]) -> None:
    report = trained(draw)
    assert severity(report) in (None, "info")
    assert not [d for d in report.diagnoses if d.severity.rank]


def test_equal_and_frozen_weights_are_told_by_others() -> None:
    assert severity(trained(lambda w: init.constant_(w, 0.02))) is None
    frozen = trained(lambda w: init.uniform_(w) if w.shape == (64, 64) else None, frozen=True)
    assert severity(frozen) is None
