"""Parameters and buffers."""

import math
import warnings

import pytest
import torch
from torch import nn

from reportgen.probe import initial, weights


def test_every_parameter_has_its_row_and_its_figures() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))
    facts = weights.of_model(model)
    assert [row.name for row in facts.rows] == [name for name, _ in model.named_parameters()]
    for row, parameter in zip(facts.rows, model.parameters(), strict=True):
        w = parameter.detach().double()
        assert row.stats is not None
        assert row.stats.norm == pytest.approx(float(w.norm()), rel=1e-12, abs=1e-12)
        assert row.stats.std == pytest.approx(float(w.std(correction=0)), rel=1e-9, abs=1e-12)
        assert row.stats.histogram is not None
        assert row.stats.histogram.total == w.numel()
    assert [row.role for row in facts.rows] == ["weight", "norm", "norm", "weight", "bias"]
    assert [row.fan_in for row in facts.rows] == [27, None, None, 8, None]
    assert [row.before_norm for row in facts.rows] == [True, False, False, False, False]
    assert {row.name for row in facts.buffers} == {"1.running_mean", "1.running_var"}


def test_a_tied_parameter_is_measured_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

    first, second = weights.of_model(Tied()).rows
    assert (first.role, first.tied_to) == ("embedding", None)
    assert (second.tied_to, second.stats) == ("embed.weight", None)


def test_what_the_optimizer_holds_is_marked() -> None:
    model = nn.Linear(2, 2)
    held = weights.of_model(model, {id(model.weight)}).rows
    assert [row.in_optimizer for row in held] == [True, False]
    assert [row.in_optimizer for row in weights.of_model(model).rows] == [None, None]


def test_a_bare_file_is_read_by_names_and_shapes() -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)).state_dict()
    facts = weights.of_tensors(state).facts
    assert {row.name: row.role for row in facts.rows} == {
        "0.weight": "weight",
        "0.bias": "bias",
        "1.weight": "norm",
        "1.bias": "norm",
        "2.weight": "weight",
        "2.bias": "bias",
    }
    assert facts.rows[0].before_norm
    assert all(row.trainable is None for row in facts.rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [lambda: nn.Linear(64, 64), lambda: nn.Linear(300, 40), lambda: nn.Conv2d(16, 64, 3)])
def test_fresh_layers_are_known(make: object, seed: int) -> None:
    torch.manual_seed(seed)
    assert initial.at_default_init(make().weight) is True  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(5))
def test_what_multi_head_attention_projects_its_inputs_with_is_drawn_otherwise(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.MultiheadAttention(48, 4)
    assert weights.of_model(layer).rows[0].at_default_init is True
    with torch.no_grad():
        layer.in_proj_weight *= 1.1  # beyond the bound of Xavier's distribution
    assert weights.of_model(layer).rows[0].at_default_init is False


@pytest.mark.parametrize("seed", range(5))
def test_other_weights_are_not_taken_for_fresh(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(64, 64)
    x, y = torch.randn(512, 64), torch.randn(512, 64)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(x), y).backward()
        optimizer.step()
    assert initial.at_default_init(layer.weight) is False
    normal = torch.randn(64, 64) * 0.577 / 8
    assert initial.at_default_init(normal) is False
    low_rank = torch.rand(64, 1).sub(0.5) * 2 / 8 * torch.ones(1, 64)
    assert initial.at_default_init(low_rank) is False


def test_small_layers_cannot_be_told() -> None:
    assert initial.at_default_init(nn.Linear(4, 10).weight) is None
    assert initial.at_default_init(torch.full((64, 64), math.nan)) is False


def test_a_module_under_two_names_does_not_lose_the_rest() -> None:
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 3))
    rows = {row.name: row for row in weights.of_model(model).rows}
    assert rows["2.weight"].tied_to == "0.weight"
    assert rows["3.weight"].stats is not None


def test_scripted_models_have_weights_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its end
        model = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)))
    assert [row.name for row in weights.of_model(model).rows] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_first_convolution_of_one_channel_is_no_depthwise_one() -> None:
    state = {"0.weight": torch.randn(16, 1, 3, 3), "1.weight": torch.randn(16, 1, 3, 3), "2.weight": torch.randn(8, 16)}
    kinds = [row.kind for row in weights.of_tensors(state).facts.rows]
    assert kinds == ["convolution", "depthwise convolution", "linear"]
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Linear(16, 8))
    rows = [row for row in weights.of_model(model).rows if row.role == "weight"]
    assert [row.kind for row in rows] == ["convolution", "depthwise convolution", "linear"]
