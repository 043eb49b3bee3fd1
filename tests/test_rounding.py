"""Single against double precision: by hand, and what a report makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report

pytestmark = pytest.mark.usefixtures("without_learning")


class OnePass(nn.Module):
    """Standardises rows by sqrt(E[x²] - E[x]²), or by two passes."""

    def __init__(self, *, two: bool) -> None:
        super().__init__()
        self.two, self.body = two, nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).square().mean(1, keepdim=True) if self.two else x.square().mean(1, keepdim=True) - mean**2
        out: Tensor = self.body((x - mean) / variance.sqrt())
        return out


class Steep(nn.Module):
    """Log-probabilities by the logarithm of a softmax of wide scores, or at once."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused, self.head = fused, nn.Linear(16, 3)
        nn.init.normal_(self.head.weight, std=60.0)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(x)
        return scores.log_softmax(1) if self.fused else scores.softmax(1).log()


class Rooted(nn.Module):
    """The root of a distance, whose derivative at nothing is infinite once rounding has made it nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        root = ((1 + 1e-9 * self.scale * x) - 1).sum(1).abs().sqrt()
        return torch.stack([root, (self.scale * x).sum(1), x[:, 0]], 1)


class Codes(nn.Module):
    """Rounds on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out + (out.round() - out).detach()


class Half(nn.Module):
    """Computes in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 3, dtype=torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x.bfloat16())
        return out.float()


def report(model: nn.Module, *, offset: float = 0.0, loss: nn.Module | None = None) -> Report:
    torch.manual_seed(0)
    x = torch.randn(96, 16) + offset
    y = torch.arange(96) % 3
    return reportgen.examine(
        model, DataLoader(TensorDataset(x, y), 32), loss=loss or nn.CrossEntropyLoss(), options=reportgen.Options()
    )


def numbers(found: Report) -> dict[str, float]:
    assert found.trials is not None
    trial = found.trials.done("in-double")
    assert trial is not None, [t.reason for t in found.trials.trials if t.name == "in-double"]
    return trial.numbers


def severity(found: Report) -> str | None:
    return next((f.severity.value for f in found.findings if f.rule == "precision-lost"), None)


def test_a_difference_of_large_numbers() -> None:
    torch.manual_seed(1)
    sick, well = report(OnePass(two=False), offset=3e4), report(OnePass(two=True), offset=3e4)
    assert numbers(sick)["lost"] > 0 or numbers(sick)["difference"] > 0.05
    assert severity(sick) == "error"
    assert [d.cause for d in sick.diagnoses if d.severity.value == "error"] == ["numerical-instability"]
    assert numbers(well)["lost"] == 0
    assert numbers(well)["difference"] < 0.01
    assert severity(well) is None


def test_a_logarithm_of_what_underflows() -> None:
    torch.manual_seed(1)
    sick = report(Steep(fused=False), loss=nn.NLLLoss())
    torch.manual_seed(1)
    well = report(Steep(fused=True), loss=nn.NLLLoss())
    assert numbers(sick)["loss_lost"] == 1
    assert severity(sick) == "error"
    assert numbers(well).get("loss_lost", 0) == 0
    assert severity(well) is None


def test_a_gradient_that_rounding_makes_infinite() -> None:
    found = numbers(report(Rooted(), loss=nn.CrossEntropyLoss()))
    assert found["lost"] == 0
    assert found["gradient_lost"] == 1


def test_the_difference_is_that_of_two_passes_by_hand() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 3))
    found = numbers(report(model))
    assert 0 < found["difference"] < 1e-5
    assert found["samples"] == 32
    assert severity(report(model)) is None


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 3)),
        nn.Sequential(*[layer for _ in range(30) for layer in (nn.Linear(16, 16), nn.ReLU())], nn.Linear(16, 3)),
        nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 3)),
    ],
)
def test_healthy_models_lie_far_below(model: nn.Module) -> None:
    found = report(model)
    assert numbers(found)["lost"] == 0
    assert numbers(found).get("difference", 0.0) < 1e-3
    assert severity(found) is None


def test_rounding_on_purpose_is_no_error() -> None:
    torch.manual_seed(0)
    assert severity(report(Codes())) in (None, "info")


def test_weights_that_broke_are_drawn_anew() -> None:
    model = OnePass(two=False)
    nn.init.constant_(model.body[0].weight, math.nan)  # type: ignore[arg-type]
    found = report(model, offset=3e4)
    assert numbers(found)["anew"] == 1
    assert severity(found) == "error"
    assert bool(model.body[0].weight.isnan().all())  # type: ignore[union-attr]


def test_what_is_not_in_single_precision_is_left_out() -> None:
    found = report(Half())
    assert found.trials is not None
    assert found.trials.done("in-double") is None
