"""The state of optimizers in a checkpoint: of true optimizers, against their own tensors, and of broken ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reportgen
from reportgen.document.states import OptimizerState
from reportgen.probe.states import state_of


def trained(make: Any, steps: int = 30) -> tuple[nn.Module, dict[str, Any]]:
    """Train an embedding and a layer; one row of the embedding never appears."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 3))
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randint(4, (16,))).square().mean().backward()
        optimizer.step()
    return model, optimizer.state_dict()


def described(model: nn.Module, state: dict[str, Any]) -> OptimizerState:
    found = state_of(state, [(name, tuple(p.shape)) for name, p in model.named_parameters()])
    assert found is not None
    return found


def test_the_moments_of_adam_are_counted() -> None:
    model, state = trained(lambda p: torch.optim.AdamW(p, lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1))
    found = described(model, state)
    assert (found.kind, found.parameters, found.with_state, found.step) == ("Adam", 3, 3, 30)
    assert (found.rates, found.betas, found.eps, found.weight_decay) == ([1e-3], [0.8, 0.95], 1e-6, 0.1)
    assert [row.name for row in found.rows] == ["0.weight", "1.weight", "1.bias"]
    assert [row.unseen for row in found.rows] == [8, 0, 0]
    for i, row in enumerate(found.rows):
        m, v = (state["state"][i][k].double() for k in ("exp_avg", "exp_avg_sq"))
        m, v = m / (1 - 0.8**30), v / (1 - 0.95**30)
        assert row.floored == int(((v.sqrt() < 1e-6) & (v > 0)).sum())
        seen = v > 0
        assert row.stale == pytest.approx(float((m[seen] ** 2 / v[seen]).mean().sqrt()), rel=1e-9)
        assert (row.nonfinite, row.negative) == (0, 0)


def test_steps_that_eps_limits_are_counted() -> None:
    model, state = trained(lambda p: torch.optim.Adam(p, eps=10.0))
    assert [row.floored for row in described(model, state).rows] == [32, 24, 3]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "SGD with momentum"),
        (lambda p: torch.optim.SGD(p, lr=0.1), "without moments"),
        (lambda p: torch.optim.RMSprop(p), "Adagrad or RMSprop"),
        (lambda p: torch.optim.Adagrad(p), "Adagrad or RMSprop"),
        (lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), amsgrad=True), "Adam"),
    ],
)
def test_other_optimizers_are_known(make: Any, kind: str) -> None:
    found = described(*trained(make))
    assert found.kind == kind
    assert found.rates


def test_broken_moments_are_counted() -> None:
    model, state = trained(torch.optim.Adam)
    state["state"][1]["exp_avg_sq"][0, 0] = -1
    state["state"][2]["exp_avg"][1] = math.nan
    rows = described(model, state).rows
    assert [row.negative for row in rows] == [0, 1, 0]
    assert [row.nonfinite for row in rows] == [0, 0, 1]
    assert rows[2].unseen is None


def test_parameters_are_named_only_where_all_shapes_agree() -> None:
    model, state = trained(torch.optim.Adam)
    other = [(name, tuple(p.shape)) for name, p in reversed(list(model.named_parameters()))]
    found = state_of(state, other)
    assert found is not None
    assert [row.name for row in found.rows] == ["parameter 0", "parameter 1", "parameter 2"]
    assert state_of({"state": {}, "param_groups": []}, []) is None
    assert state_of({"state": {0: 3}, "param_groups": [{"params": 7, "lr": "x"}]}, []) is not None


def test_a_checkpoint_tells_of_its_optimizer(tmp_path: Path) -> None:
    model, state = trained(torch.optim.Adam)
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "x.pt")
    report = reportgen.examine(tmp_path / "x.pt")
    assert report.weights is not None
    (found,) = report.weights.optimizers
    assert found == described(model, state)
    reportgen.write(report, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert "State of the optimizer" in page
    assert "parameters with state" in page
