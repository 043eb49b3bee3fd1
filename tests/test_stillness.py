"""Weights that are zero and can never leave it, and tensors that were computed where they were to be parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report
from reportgen.page import words_start


class Adapted(nn.Module):
    """A frozen layer with two thin matrices beside it."""

    def __init__(self, upper: float, lower: float) -> None:
        super().__init__()
        self.base = nn.Linear(8, 16)
        self.base.requires_grad_(False)
        self.lower = nn.Parameter(lower * torch.randn(2, 8))
        self.upper = nn.Parameter(upper * torch.randn(16, 2))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((self.base(x) + x @ self.lower.T @ self.upper.T).relu())
        return out


class Modulated(nn.Module):
    """A zero head behind zero modulations: the second begins to move one step after the first."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.shift, self.head = nn.Linear(8, 16), nn.Linear(8, 16, bias=False), nn.Linear(16, 3)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((self.body(x) + self.shift(x)).relu())
        return out


class Waves(nn.Module):
    """Features by fixed waves, whose frequencies are a parameter, or what a conversion of one leaves."""

    def __init__(self, *, converted: bool, listed: bool = False) -> None:
        super().__init__()
        drawn = nn.Parameter(torch.randn(8, 16))
        kept = drawn.double().float() if converted else drawn
        self.waves = [kept] if listed else kept
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        waves = self.waves[0] if isinstance(self.waves, list) else self.waves
        out: Tensor = self.head((x @ waves).sin())
        return out


def examined(model: nn.Module, *, steps: int = 0, spoil: bool = False) -> Report:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(128, 8)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    loss = nn.CrossEntropyLoss()
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    data = DataLoader(TensorDataset(x, y), 32)
    if not steps:
        return reportgen.examine(model, data, loss=loss, optimizer=optimizer)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for _ in range(steps):
            for a, b in data:
                optimizer.zero_grad()
                loss(model(a), b).backward()
                optimizer.step()
    if spoil:
        with torch.no_grad():
            model.get_parameter("lower").zero_()
            model.get_parameter("upper").zero_()
    return monitor.report(data, loss=loss)


def causes(report: Report) -> dict[str, str]:
    return {d.cause: d.findings[0].rule for d in report.diagnoses if d.severity.rank}


@pytest.mark.parametrize("steps", [0, 12])
def test_two_thin_matrices_at_zero_wait_for_each_other(steps: int) -> None:
    torch.manual_seed(1)
    report = examined(Adapted(0.0, 0.0), steps=steps)
    assert report.trials is not None
    trial = report.trials.done("zero-start")
    assert trial is not None
    assert (trial.numbers["still"], trial.numbers["woken"]) == (2, 2)
    assert trial.numbers["elements"] == 2 * 8 + 16 * 2
    # of a model as it stands nothing says whether it was pruned
    assert [f.severity.value for f in report.findings if f.rule == "zero-start"] == ["warning" if steps else "info"]
    assert causes(report).get("bad-init") == ("zero-start" if steps else None)
    assert "detached-graph" not in causes(report)
    assert "lower, upper" in words_start.RULES["zero-start"][1](
        next(f for f in report.findings if f.rule == "zero-start")
    )
    assert words_start.OUTCOMES["zero-start"](trial.numbers, trial.detail).endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 12])
@pytest.mark.parametrize("which", ["adapter", "modulation"])
def test_one_zero_factor_gets_a_gradient_in_time(which: str, steps: int) -> None:
    torch.manual_seed(1)
    report = examined(Adapted(0.0, 0.3) if which == "adapter" else Modulated(), steps=steps)
    assert not any(f.rule == "zero-start" for f in report.findings)
    assert "bad-init" not in causes(report)
    trial = report.trials.done("zero-start") if report.trials is not None else None
    if not steps:
        assert trial is not None
        assert trial.numbers["still"] == 0
        assert words_start.OUTCOMES["zero-start"](trial.numbers, {}).endswith(".")
    else:
        assert trial is None


def test_weights_cut_away_after_the_run_are_no_fault_of_its_start() -> None:
    torch.manual_seed(1)
    report = examined(Adapted(0.3, 0.3), steps=12, spoil=True)
    trial = report.trials.done("zero-start") if report.trials is not None else None
    assert trial is not None
    assert trial.numbers["woken"] == 2
    assert not any(f.rule == "zero-start" for f in report.findings)


@pytest.mark.parametrize("listed", [False, True])
def test_a_parameter_that_was_converted_where_it_was_made_is_not_registered(listed: bool) -> None:
    torch.manual_seed(1)
    report = examined(Waves(converted=True, listed=listed), steps=12)
    found = [f for f in report.findings if f.rule == "unregistered-parameters"]
    assert [f.subject for f in found] == ["waves"]
    assert found[0].evidence["stranger_elements"] == 8 * 16
    assert "unregistered-parameters" in causes(report)


def test_a_registered_one_is_not_told_of() -> None:
    torch.manual_seed(1)
    report = examined(Waves(converted=False), steps=12)
    assert report.trials is not None
    assert report.trials.done("one-step") is not None
    assert not any(f.rule == "unregistered-parameters" for f in report.findings)
