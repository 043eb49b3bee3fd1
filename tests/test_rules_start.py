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
from reportgen.document.history import ParameterRun
from reportgen.document.trials import TrialFacts

from .test_rules_model import GOOD, report, run, tried
from .test_rules_model import severity as severity_of


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


@pytest.mark.slow
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


@pytest.mark.parametrize(("as_is", "expected"), [(0.35, "warning"), (0.8, "info")])
def test_matrices_of_one_value_that_steps_drove_apart(as_is: float, expected: str) -> None:
    numbers = {"as_is": as_is, "training_given": 0.79, "training_training": 0.8, "commonest_given": 0.27}
    numbers |= {"asked_given": 500.0, "learned_training": 496.0, "onward": as_is}
    numbers |= {"asked_training": 496.0, "commonest_training": 0.27, "learned_given": 250.0}
    numbers |= {"given_training": 0.75, "given_given": 0.74}
    anew = tried("learned-anew", {"kind": "classes"}, **numbers).trials
    begun = [
        ParameterRun(
            name=f"{i}.weight",
            module="Linear",
            shape=[48, 48],
            is_matrix=True,
            trainable=True,
            start_mean=mean,
            start_rms=0.1,
        )
        for i, mean in enumerate((0.1, -0.1, 0.002))
    ]

    def told(equal: float, of: list[ParameterRun]) -> str | None:
        alike = tried("equal-units", {"equal": "0"}, tested=3.0, equal=equal, zero=0.0).trials
        trials = TrialFacts(trials=[*anew, *alike], budget=20.0)
        return severity_of(report(GOOD, trials=trials, training=run(parameters=of)), "init-offset")

    assert told(0.0, begun) == expected
    assert told(2.0, begun) is None  # those that are still alike are told as that
    assert told(0.0, [begun[2], begun[0]]) is None  # a head's rows are told apart by their classes


@pytest.mark.slow
def test_frozen_weights_are_told_by_others() -> None:
    frozen = trained(lambda w: init.uniform_(w) if w.shape == (64, 64) else None, frozen=True)
    assert severity(frozen) is None


def tuned(shift: Callable[[Tensor], Tensor], *, held: bool = True, affine: bool = True, rate: float = 0.02) -> Report:
    """Train a small net with batch norm on one source, then fine-tune it on what ``shift`` makes of new samples."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    x = torch.randn(900, 16) @ torch.randn(16, 16) / 4
    y = (x[:, 0] > 0).long() + (x[:, 1] + x[:, 2] > 0).long()
    model = nn.Sequential(
        nn.Linear(16, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 3),
    )
    loss = nn.CrossEntropyLoss()
    first = Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for part in torch.randperm(300).split(30):
            first.zero_grad()
            loss(model(x[part]), y[part]).backward()
            first.step()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.requires_grad_(affine)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    z = shift(x)
    train = DataLoader(TensorDataset(z[300:620], y[300:620]), 20, shuffle=True)
    val = DataLoader(TensorDataset(z[620:], y[620:]), 40)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for epoch in range(6):
            model.train()
            for norm in norms:
                norm.train(not held)
            for a, b in train:
                optimizer.zero_grad()
                value = loss(model(a), b)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            model.eval()
            with torch.no_grad():
                monitor.log(epoch=epoch, val_loss=sum(float(loss(model(a), b)) for a, b in val) / len(val))
    return monitor.report(val, train_data=train, loss=loss)


def other_camera(x: Tensor) -> Tensor:
    return 8 * x - 25


@pytest.mark.slow
@pytest.mark.parametrize("affine", [True, False])
def test_norms_held_by_the_statistics_of_another_source_are_named(affine: bool) -> None:
    report = tuned(other_camera, affine=affine)
    found = next(f for f in report.findings if f.rule == "norms-off-at-start")
    assert found.severity.value == "warning"
    assert found.evidence["norms"] == 2
    assert found.evidence["ratio"] > 5
    assert "bn-statistics" in {d.cause for d in report.diagnoses if d.severity.rank}
    assert not {"eval-mode-training", "dead-relu", "bad-init"} & {d.cause for d in report.diagnoses if d.severity.rank}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "held", "rate"),
    [
        (lambda x: x, True, 0.02),  # fine-tuning as it is usual
        (lambda x: x, True, 30.0),  # what breaks the run is the rate
        (lambda x: 1.3 * x + 0.3, True, 0.02),  # not far
        (other_camera, False, 0.02),  # the norms learn the new source
    ],
)
def test_norms_held_by_statistics_that_describe_the_data_are_no_fault(
    shift: Callable[[Tensor], Tensor], held: bool, rate: float
) -> None:
    report = tuned(shift, held=held, rate=rate)
    assert [f for f in report.findings if f.rule == "norms-off-at-start"] == []
    assert not {"eval-mode-training", "bn-statistics"} & {d.cause for d in report.diagnoses if d.severity.rank}
    if rate < 1 and held:
        assert [d.cause for d in report.diagnoses if d.severity.rank] == []
