"""What an initialisation leaves in a weight, and what training adds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import init
from torch.optim import Adam

from reportgen.probe.initial import is_arranged

DRAWS: list[Callable[[Tensor], object]] = [
    lambda w: init.normal_(w, std=0.02),
    init.uniform_,
    init.orthogonal_,
    init.xavier_uniform_,
    init.trunc_normal_,
    lambda w: init.sparse_(w, 0.5),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_of_any_kind_and_size_have_no_structure(draw: Callable[[Tensor], object]) -> None:
    torch.manual_seed(0)
    found = []
    for shape in [(6, 48), (48, 48), (10, 64), (300, 33)] * 5:
        weight = torch.empty(shape)
        draw(weight)
        found.append(is_arranged(weight))
    assert sum(map(bool, found)) <= 2  # of 20, at one in forty


def test_layers_that_were_trained_have() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 12)
    y = (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] > 0).long()
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    fresh = [is_arranged(p) for p in model.parameters()]
    optimizer = Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    trained = [is_arranged(p) for p in model.parameters()]
    assert [fresh[i] for i in (0, 2)] == [False, False]
    assert [trained[i] for i in (0, 2)] == [True, True]
    assert fresh[1] is trained[1] is None  # vectors


def test_what_cannot_be_tested() -> None:
    assert is_arranged(torch.zeros(20, 20)) is None
    assert is_arranged(torch.full((20, 20), float("nan"))) is None
    assert is_arranged(torch.randn(3, 400)) is None
    assert is_arranged(torch.ones(20, 20, dtype=torch.int8)) is None


def test_only_evenly_taken_rows_and_columns_of_large_weights_are_looked_at() -> None:
    torch.manual_seed(0)
    weight = torch.randn(400, 64, 3, 3)
    assert is_arranged(weight) is False
    weight += 0.3 * torch.randn(400, 1, 1, 1) * torch.randn(1, 64, 3, 3)
    before = weight.clone()
    assert is_arranged(weight) is True
    assert torch.equal(weight, before)
