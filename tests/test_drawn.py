"""Weights drawn anew: what is drawn, what stays, what refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reportgen.probe.trials.drawn import draw_all, draw_trainable
from reportgen.probe.trials.lab import NotApplicableError


class Bare(nn.Module):
    """A matrix of its own, and nothing that draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(3 + 0.5 * torch.randn(200, 50))
        self.scale = nn.Parameter(torch.full((7,), 2.0))


@pytest.mark.parametrize("draw", [draw_all, draw_trainable])
def test_what_pytorch_would_make_of_the_same_seed(draw: object) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.MultiheadAttention(8, 2))
    for p in model.parameters():
        nn.init.constant_(p, 9.0)
    assert isinstance(model[1], nn.BatchNorm1d)
    model[1].running_mean.fill_(5.0)  # type: ignore[union-attr]
    assert callable(draw)
    draw(model, 3)
    torch.manual_seed(3)
    fresh = nn.Linear(4, 8)
    assert torch.equal(model[0].weight, fresh.weight)  # type: ignore[arg-type]
    assert torch.equal(model[1].running_mean, torch.zeros(8))  # type: ignore[arg-type]
    assert float(model[2].in_proj_weight.detach().max()) < 1  # type: ignore[union-attr, operator, arg-type]


def test_what_is_frozen_stays_unless_all_is_drawn() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    model[1].running_mean.fill_(5.0)  # type: ignore[operator, union-attr]
    before = [model[0].weight.clone(), model[2].weight.clone()]  # type: ignore[operator]
    draw_trainable(model, 0)
    assert torch.equal(model[0].weight, before[0])  # type: ignore[arg-type]
    assert not torch.equal(model[2].weight, before[1])  # type: ignore[arg-type]
    assert float(model[1].running_mean[0]) == 5  # type: ignore[index, arg-type]
    draw_all(model, 0)
    assert not torch.equal(model[0].weight, before[0])  # type: ignore[arg-type]
    assert float(model[1].running_mean[0]) == 0  # type: ignore[index, arg-type]


def test_what_no_module_draws_keeps_its_mean_and_spread_or_refuses() -> None:
    torch.manual_seed(0)
    model = Bare()
    before = model.matrix.detach().clone()
    draw_trainable(model, 1)
    assert not torch.equal(model.matrix, before)
    assert float(model.matrix.detach().mean()) == pytest.approx(3, abs=0.02)  # four standard errors
    assert float(model.matrix.detach().std()) == pytest.approx(0.5, abs=0.015)
    assert model.scale.tolist() == [2.0] * 7
    with pytest.raises(NotApplicableError, match="Bare cannot be initialised anew"):
        draw_all(model, 1)


class Edges(nn.Module):
    """A layer over a graph, whose edges it holds as a buffer."""

    def __init__(self, edges: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.lin = nn.Linear(4, 4)


def test_buffers_without_parameters_beside_them_stay() -> None:
    model = Edges(torch.eye(5))
    before = model.lin.weight.detach().clone()
    draw_all(model, 0)
    assert torch.equal(model.edges, torch.eye(5))  # type: ignore[arg-type]
    assert not torch.equal(model.lin.weight, before)
    with pytest.raises(NotApplicableError, match="Edges"):
        draw_all(Edges(torch.full((5, 5), float("nan"))), 0)
