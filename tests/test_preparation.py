"""Data given whose inputs are prepared otherwise than those of training: what brings them back, and what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import Report
from reportgen.document.samples import SplitFacts
from reportgen.page import words_preparation
from reportgen.probe.trials import preparation
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, NotApplicableError, Result
from reportgen.subject.data import Batch

from .test_rules_model import BAD, FLAT, GOOD, causes, report, run, severity, tried

Change = Callable[[Tensor], Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A corner of one of three colours in one of four places: nothing of it is as before when it is changed."""
    g = seeded(seed)
    x, y = 0.3 * torch.randn(n, 3, 6, 6, generator=g), torch.randint(12, (n,), generator=g)
    for i, k in enumerate(y.tolist()):
        x[i, k % 3, 2 * (k // 6) : 2 * (k // 6) + 2, 3 * (k // 3 % 2)] += 2.0
    return x, y % 5


def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
    g = seeded(seed)
    x = torch.randn(n, 4, generator=g)
    x = torch.stack([x[:, 0], x[:, 1].exp(), x[:, 2].sign() + 0.1 * x[:, 2], x[:, 3].abs() - 3], 1)
    return x, (x[:, 0] + x[:, 2] > x[:, 1] - 1).long()


def series(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A ramp that rises or falls after a while of nothing; the number is how far it comes."""
    g = seeded(seed)
    height = torch.randn(n, 1, generator=g)
    ramp = torch.cat([torch.zeros(6), torch.linspace(0, 1, 6)])
    return (height * ramp + 0.1 * torch.randn(n, 12, generator=g))[..., None], height


def learned(data: tuple[Tensor, Tensor], outputs: int) -> nn.Module:
    torch.manual_seed(0)
    x, y = data
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 48), nn.ReLU(), nn.Linear(48, outputs))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    loss = nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    for _ in range(150):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model


def asked(make: Callable[[int, int], tuple[Tensor, Tensor]], outputs: int, change: Change) -> Result:
    training, (x, y) = make(400, 1), make(200, 2)
    model = learned(training, outputs)
    ours, theirs = [Batch((training[0],), {}, training[1])], [Batch((change(x),), {}, y)]
    loss = nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    return preparation.prepared_otherwise(
        trials.laboratory(model, loss, (), theirs, ours, Clock(600.0), 0, (theirs, ours))
    )


@pytest.mark.parametrize(
    ("make", "outputs", "change", "what"),
    [
        (pictures, 5, lambda x: x[:, [2, 1, 0]], "channels"),
        (pictures, 5, lambda x: x[:, [1, 2, 0]], "channels"),
        (pictures, 5, lambda x: x.flip(3), "mirrored"),
        (pictures, 5, lambda x: x.flip(2), "upside down"),
        (pictures, 5, lambda x: x.transpose(2, 3), "rows for columns"),
        (pictures, 5, lambda x: x.rot90(1, (2, 3)), "turned"),
        (pictures, 5, lambda x: x.rot90(2, (2, 3)), "half turned"),
        (pictures, 5, lambda x: 2 - x, "light for dark"),
        (pictures, 5, lambda x: x * 60 + 120, "scaled"),
        (rows, 2, lambda x: x[:, [2, 3, 1, 0]], "columns"),
        (rows, 2, lambda x: x * torch.tensor([30.0, 1, 1, 0.02]) + 5, "scaled"),
        (series, 1, lambda x: x.flip(1), "backwards"),
    ],
)
def test_the_change_that_was_made_is_found(make: Any, outputs: int, change: Change, what: str) -> None:
    result = asked(make, outputs, change)
    n = result.numbers
    assert result.detail["what"] == what
    assert n["best"] - n["given"] > (n["training"] - n["given"]) / 2
    assert n["best"] > 0.7
    assert words_preparation.OUTCOMES["prepared-otherwise"](n, result.detail).endswith(".")


@pytest.mark.parametrize(("make", "outputs"), [(pictures, 5), (rows, 2), (series, 1)])
def test_splits_that_are_prepared_alike_are_not_asked(make: Any, outputs: int) -> None:
    with pytest.raises(NotApplicableError, match="nothing of what was learned"):
        asked(make, outputs, lambda x: x)


def test_what_was_learned_by_heart_is_brought_back_by_nothing() -> None:
    def noise(n: int, seed: int) -> tuple[Tensor, Tensor]:
        return torch.randn(n, 3, 6, 6, generator=seeded(seed)), torch.randint(5, (n,), generator=seeded(seed + 9))

    n = asked(noise, 5, lambda x: x).numbers
    assert n["training"] > 0.9
    assert n["best"] < 0.35


def test_places_stay_where_their_targets_are() -> None:
    x = torch.randn(50, 3, 6, 6, generator=seeded(0))
    moved = {"mirrored", "upside down", "half turned", "rows for columns", "turned"}
    assert {name for name, _ in preparation._changes(x, x, fixed=False)} >= moved
    assert not {name for name, _ in preparation._changes(x, x, fixed=True)} & moved


def told(table: Any = BAD, **numbers: float) -> Report:
    usual = {"training": 0.95, "given": 0.3, "constant": 0.2, "best": 0.9, "samples": 200.0}
    what = tried("prepared-otherwise", {"kind": "classes", "what": "channels"}, **usual | numbers)
    return report(table, trials=what, training=run(FLAT), splits=SplitFacts())


def test_a_change_that_brings_the_skill_back_tells_of_splits_prepared_differently() -> None:
    assert severity(told(), "prepared-otherwise") == "error"
    assert "train-val-mismatch" in causes(told())


@pytest.mark.parametrize(
    "numbers",
    [
        {"best": 0.5},  # a third of the way
        {"given": 0.78, "best": 0.9},
        {"best": 0.7, "samples": 40.0, "given": 0.4},
    ],
)
def test_a_little_that_is_won_is_no_proof(numbers: dict[str, float]) -> None:
    assert severity(told(GOOD, **numbers), "prepared-otherwise") is None
