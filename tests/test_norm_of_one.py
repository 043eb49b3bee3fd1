"""Layer norms over a single value, of which nothing is left, and norms that keep something."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reportgen

from .test_rules_model import causes

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).float()[:, None]


def net(*last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), *last)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "sick"),
    [
        (net(nn.LayerNorm(1)), True),
        (net(nn.LayerNorm((1, 1))), True),
        (net(nn.BatchNorm1d(1)), False),
        (net(nn.RMSNorm(1)), False),
        (nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 1)), False),
    ],
)
def test_a_layer_norm_over_one_value_is_told(model: nn.Module, sick: bool) -> None:
    x, y = (X[:, None], Y[:, None]) if any(m.normalized_shape == (1, 1) for m in norms(model)) else (X, Y)
    report = reportgen.examine(model, [(x, y)], loss=nn.BCEWithLogitsLoss(), options=reportgen.Options(trial_budget=1))
    found = [f for f in report.findings if f.rule == "norm-of-one"]
    assert [f.severity.value for f in found] == (["error"] if sick else [])
    if sick:
        assert [f.subject for f in found] == ["3"]
        assert causes(report) == {"layer-collapse"}


def norms(model: nn.Module) -> list[nn.LayerNorm]:
    return [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
