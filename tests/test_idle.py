"""Parameters that get no gradient: cut off from the loss, or used nowhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report


class Blocks(nn.Module):
    """Two blocks behind one another; or both are given the input, or the first is cut off."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = self.first(x)
        if self.kind == "cut":
            h = h.detach()
        if self.kind == "unused":
            h = x
        if self.kind == "shown":
            return self.head(self.second(x)), h
        out: Tensor = self.head(self.second(h))
        return out


def examined(kind: str, *, steps: int = 0) -> Report:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(128, 8)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    model, loss = Blocks(kind), nn.CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr=1e-2)
    data = DataLoader(TensorDataset(x, y), 32)
    if not steps:
        return reportgen.examine(model, data, loss=loss, optimizer=optimizer)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for _ in range(steps):
            for a, b in data:
                optimizer.zero_grad()
                loss(model(a), b).backward()
                optimizer.step()
    return monitor.report(data, loss=loss)


def proofs(report: Report) -> dict[str, str]:
    return {d.cause: d.findings[0].rule for d in report.diagnoses if d.severity.rank}


@pytest.mark.parametrize("steps", [0, 12])
def test_what_is_used_nowhere_is_not_cut_off(steps: int) -> None:
    report = examined("unused", steps=steps)
    assert report.trials is not None
    trial = report.trials.done("without-gradient")
    assert trial is not None
    assert trial.numbers == {"without": 2.0, "depends": 0.0}
    assert trial.detail["names"] == "first.0.bias, first.0.weight"
    assert "unused-parameters" in proofs(report)
    assert "detached-graph" not in proofs(report)


@pytest.mark.parametrize("steps", [0, 12])
def test_what_is_cut_off_is_used(steps: int) -> None:
    report = examined("cut", steps=steps)
    assert report.trials is not None
    trial = report.trials.done("without-gradient")
    assert trial is not None
    assert trial.numbers == {"without": 2.0, "depends": 1.0}
    assert "detached-graph" in proofs(report)
    assert "unused-parameters" not in proofs(report)


class Beside(nn.Module):
    """Vectors of items are read past their layer."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(20, 6), nn.Embedding(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        return (self.user(x[:, 0]) * self.item.weight.data[x[:, 1]]).sum(1)


@pytest.mark.slow
def test_a_weight_that_is_read_past_its_layer_is_cut_off() -> None:
    torch.manual_seed(0)
    model, pairs = Beside(), torch.randint(0, 20, (400, 2))
    data = DataLoader(TensorDataset(pairs, torch.randn(400)), 20)
    with reportgen.Monitor(model, optimizer := torch.optim.Adam(model.parameters(), 1e-2)) as monitor:
        for x, y in data:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            monitor.log(train_loss=loss.detach())
    report = monitor.report(data, loss=nn.MSELoss())
    assert "detached-graph" in proofs(report)
    assert "unused-parameters" not in proofs(report)


def test_what_another_output_shows_is_used() -> None:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(64, 8), torch.arange(64) % 3), 32)
    report = reportgen.examine(Blocks("shown"), data, loss=lambda out, y: nn.functional.cross_entropy(out[0], y))
    assert report.trials is not None
    trial = report.trials.done("without-gradient")
    assert trial is not None
    assert trial.numbers["depends"] == 1


def test_a_whole_graph_needs_no_trial() -> None:
    report = examined("whole")
    assert report.trials is not None
    assert report.trials.done("without-gradient") is None
    assert not {"unused-parameters", "detached-graph"} & set(proofs(report))
