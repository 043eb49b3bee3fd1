"""Units at the ends of functions that no module stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.document.facts import ChannelFacts
from reportgen.page import words_claims
from reportgen.probe.trials import ends
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules import activations, layer
from .test_rules_fit import scored
from .test_rules_model import BAD, GOOD, causes, report, run, severity, tried
from .test_trials import Made

X = torch.randn(600, 10, generator=torch.Generator().manual_seed(0))


def lab(model: nn.Module, x: Tensor = X) -> Lab:
    batches = [Batch((part,), {}, (part.flatten(1)[:, 0] > 0).long()) for part in x.split(100)]
    return trials.laboratory(model, nn.CrossEntropyLoss(), (), batches, [], Clock(60.0), 0)


def net(forward: Callable[[Any, Tensor], Tensor], gain: float) -> nn.Module:
    torch.manual_seed(1)
    model = Made(forward, a=nn.Linear(10, 32), b=nn.Linear(32, 32), c=nn.Linear(32, 2))
    with torch.no_grad():
        model.a.weight.mul_(gain)
        model.a.bias.mul_(gain)
    return model


FORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "torch.tanh": lambda s, x: s.c(torch.tanh(s.a(x))),
    "a method": lambda s, x: s.c(s.a(x).tanh()),
    "in place": lambda s, x: s.c(s.a(x).tanh_()),
    "torch.sigmoid": lambda s, x: s.c(torch.sigmoid(s.a(x))),
    "behind another": lambda s, x: s.c(F.relu(s.b(torch.tanh(s.a(x))))),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_share_of_stuck_units_is_that_of_the_values(name: str) -> None:
    model = net(FORMS[name], 300.0)
    result = ends.function_ends(lab(model))
    z = model.a(X)
    near = torch.sigmoid(z).sub(0.5).abs() > 0.47 if "sigmoid" in name else torch.tanh(z).abs() > 0.97
    assert result.numbers["share"] == pytest.approx(float((near.double().mean(0) > 0.95).double().mean()))
    assert result.numbers["values"] == pytest.approx(float(near.double().mean()))
    assert result.numbers["samples"] == 600
    assert result.detail == {"kind": "sigmoid" if "sigmoid" in name else "tanh", "behind": "a"}
    assert words_claims.OUTCOMES["function-ends"](result.numbers, result.detail).endswith(".")
    assert result.numbers["share"] > 0.5
    failed = report(BAD, training=run(), trials=tried("function-ends", result.detail, **result.numbers))
    assert severity(failed, "saturation") == "warning"
    assert "saturated-activations" in causes(failed)
    works = report(GOOD, training=run(), trials=tried("function-ends", result.detail, **result.numbers))
    assert severity(works, "saturation") == "info"


@pytest.mark.parametrize("name", FORMS)
def test_functions_in_their_middle(name: str) -> None:
    numbers = ends.function_ends(lab(net(FORMS[name], 1.0))).numbers
    assert numbers["share"] < 0.1
    assert severity(report(BAD, training=run(), trials=tried("function-ends", None, **numbers)), "saturation") is None


class Cell(nn.Module):
    """A layer of long short-term memory by hand: its gates may stand open or shut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(10, 64), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        i, f, g, o = (500 * self.a(x)).chunk(4, 1)
        state = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * torch.ones_like(i)
        return self.c(torch.sigmoid(o) * torch.tanh(state))


LEFT_OUT: dict[str, nn.Module] = {
    "gates": Cell(),
    "what is returned": net(lambda s, x: torch.tanh(s.a(x)), 300.0),
    "a view of it": net(lambda s, x: torch.sigmoid(s.a(x)).reshape(-1, 4, 8), 300.0),
    "modules": nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 2), nn.Sigmoid()),
    "recurrent modules": nn.GRUCell(10, 4),
    "none at all": nn.Linear(10, 2),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_meant_to_stand_at_an_end_is_left_out(name: str) -> None:
    with pytest.raises(NotApplicableError):
        ends.function_ends(lab(LEFT_OUT[name]))


def test_maps_have_channels_and_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Made(lambda s, x: s.c(torch.tanh(s.a(x)).mean((2, 3))), a=nn.Conv2d(1, 6, 3), c=nn.Linear(6, 2))
    with torch.no_grad():
        model.a.weight.zero_()
        model.a.bias.copy_(torch.tensor([9.0, -9.0, 9.0, 0.1, 0.2, 0.3]))
    numbers = ends.function_ends(lab(model, torch.randn(320, 1, 6, 6))).numbers
    assert (numbers["channels"], numbers["share"]) == (6, 0.5)
    assert not model.a._forward_hooks
    assert not model.a._forward_pre_hooks


@pytest.mark.parametrize(
    ("values", "given", "expected"), [(0.75, 0.6, "warning"), (0.75, 0.95, None), (0.4, 0.6, None)]
)
@pytest.mark.parametrize("by", ["module", "function"])
def test_units_that_leap_from_end_to_end_are_stuck_at_both(
    by: str, values: float, given: float, expected: str | None
) -> None:
    """Weights of unit size under a tanh: no unit stays at one end, and next to no gradient comes through."""
    facts = scored(0.9, given)
    if by == "function":
        numbers = {"share": 0.0, "channels": 64.0, "values": values, "samples": 800.0}
        facts = replace(facts, trials=tried("function-ends", {"kind": "tanh", "behind": "a"}, **numbers))
    else:
        channels = [ChannelFacts(call=0, n_channels=64, n_samples=800, n_batches=10, silent=0, constant=0, saturated=0)]
        hidden = replace(layer(name="1", kind="Tanh", order=1), channels=channels, saturated_share=values)
        facts = replace(facts, activations=activations(hidden, layer(name="2", order=2)))
    assert severity(facts, "saturation") == expected
    assert ("saturated-activations" in causes(facts)) == bool(expected)
