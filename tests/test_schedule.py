"""When a run is looked at closely, and what a look counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.training.samples import n_nonfinite
from reportgen.training.schedule import GRADIENTS, LOOKS, PORTRAITS, Due, Schedule


@pytest.mark.parametrize("schedule", [GRADIENTS, LOOKS, PORTRAITS])
def test_gaps_grow_to_a_set_share_of_the_run(schedule: Schedule) -> None:
    due = Due(schedule)
    looked = [step for step in range(1, 200_001) if due.at(step)]
    gaps = [b - a for a, b in pairwise(looked)]
    assert looked[: schedule.first] == list(range(1, schedule.first + 1))
    assert gaps == sorted(gaps)
    assert gaps[-1] <= max(schedule.gap, schedule.share * looked[-2])
    assert len(looked) < 2500


@pytest.mark.parametrize(
    ("schedule", "looked"),
    [
        (GRADIENTS, [*range(1, 17), 20, 25, 31, 38]),
        (LOOKS, [1, 2, 3, 4, 6, 9, 13, 19, 28]),
        (PORTRAITS, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_the_first_looks(schedule: Schedule, looked: list[int]) -> None:
    due = Due(schedule)
    assert [step for step in range(1, 41) if due.at(step)] == looked


def test_closer_looks_fall_on_steps_whose_gradients_are_looked_at() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with reportgen.Monitor(model, optimizer, progress=False) as monitor:
        for _ in range(300):
            optimizer.zero_grad()
            model(torch.randn(4, 2)).square().mean().backward()
            optimizer.step()
    series = {s.name: set(s.x) for s in monitor.history().series if s.axis == "step"}
    due = Due(GRADIENTS)
    assert series["gradient_norm"] == {step for step in range(1, 301) if due.at(step)}
    assert len(series["update_ratio"]) > 10
    assert series["update_ratio"] < series["gradient_norm"]


@pytest.mark.parametrize(
    ("x", "n"),
    [
        (torch.tensor([]), 0),
        (torch.tensor([1.0, 3e38, -3e38]), 0),
        (torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]), 3),
        (torch.tensor([float("nan")] * 2, dtype=torch.float64), 2),
        (torch.tensor([6e4, float("inf")], dtype=torch.float16), 1),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), 0),
        (torch.eye(3).to_sparse(), 0),
    ],
)
def test_values_that_are_not_finite_are_counted(x: Tensor, n: int) -> None:
    assert n_nonfinite(x) == n
