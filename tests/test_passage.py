"""How many numbers of a sample reach its outputs, and what a poor fit behind a single one is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from reportgen.document.facts import EvaluationFacts
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.scores import Regression
from reportgen.document.stats import TensorStats
from reportgen.page import words_claims
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.probe.trials.passage import numbers_passed
from reportgen.subject.data import Batch

from .test_rules import activations, layer
from .test_rules_fit import scored
from .test_rules_model import causes, report, run, severity, tried
from .test_trials import lab


class Ordinal(nn.Module):
    """Scores of grades that differ by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1, bias=False))
        self.cuts = nn.Parameter(torch.tensor([1.0, 0.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.cuts


class Maps(nn.Module):
    """Pictures through a code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, code))
        self.up = nn.Sequential(nn.Linear(code, 32), nn.GELU(), nn.Linear(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x)).view(-1, 1, 8, 8)


def through(code: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, code), nn.Linear(code, 16), nn.Tanh(), nn.Linear(16, 5)
    )


def passed(model: nn.Module, x: Tensor) -> dict[str, float]:
    return numbers_passed(lab(model.eval(), Batch((x,), {}, torch.zeros(len(x))))).numbers


@pytest.mark.parametrize("make", [through, Maps])
@pytest.mark.parametrize("code", [1, 2, 8])
def test_a_layer_of_one_unit_leaves_one_direction(make: type[nn.Module], code: int) -> None:
    torch.manual_seed(code)
    x = torch.randn(16, 1, 8, 8) if make is Maps else torch.randn(16, 6)
    numbers = passed(make(code), x)
    assert (numbers["second"] < 1e-4) == (code == 1)
    assert numbers["width"] == (64 if make is Maps else 5)
    assert words_claims.OUTCOMES["numbers-passed"](numbers, {}).endswith(".")


def test_what_is_meant_to_be_one_number_or_has_too_few_is_not_asked() -> None:
    torch.manual_seed(0)
    for model in (Ordinal(), nn.Linear(6, 2), nn.Sequential(nn.Linear(6, 3), nn.Threshold(1e9, 0.0))):
        with pytest.raises(NotApplicableError):
            passed(model, torch.randn(16, 6))
    with pytest.raises(NotApplicableError):
        passed(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 5)), torch.randint(0, 9, (16, 6)))


@pytest.mark.parametrize(("second", "r2", "expected"), [(1e-7, 0.3, "warning"), (1e-7, 0.95, None), (0.02, 0.3, None)])
def test_a_poor_fit_through_one_number_underfits(second: float, r2: float, expected: str | None) -> None:
    fit = Regression(r2=r2, mae=0.5, mse=1 - r2, target=TensorStats(), residual=TensorStats(), sample=[])
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=400, regression=fit),
        trials=tried("numbers-passed", second=second, width=64.0),
        training=run([1.0 * 0.9**e for e in range(20)]),
    )
    assert severity(facts, "too-narrow") == expected
    assert ("underfitting" in causes(facts)) == (expected == "warning")


@pytest.mark.parametrize(
    ("silent", "more", "r2", "named"),
    [
        (5, {}, 0.3, {"dead-relu"}),
        (5, {"bypassed": True}, 0.3, {"layer-collapse"}),
        (4, {}, 0.3, {"layer-collapse"}),
        (5, {}, 0.95, set()),
    ],
)
def test_one_channel_that_is_left_of_several_is_the_number_that_passes(
    silent: int, more: dict[str, Any], r2: float, named: set[str]
) -> None:
    fit = Regression(r2=r2, mae=0.5, mse=1 - r2, target=TensorStats(), residual=TensorStats(), sample=[])
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=400, regression=fit),
        trials=tried("numbers-passed", second=1e-7, width=6.0),
        training=run([1.0 * 0.9**e for e in range(20)]),
        activations=activations(layer(silent, channels=6, n_samples=400, **more)),
    )
    assert named <= causes(facts)
    assert ("dead-relu" in causes(facts)) == ("dead-relu" in named)
    assert ("layer-collapse" in causes(facts)) == ("layer-collapse" in named)


@pytest.mark.parametrize(
    ("channels", "told", "cause"), [(6, 0.95, "layer-collapse"), (1, 0.95, "underfitting"), (6, 0.72, None)]
)
def test_a_single_number_that_neighbours_beat_was_made_of_many(channels: int, told: float, cause: str | None) -> None:
    """A mean over the features where one over the places was meant: no layer is narrow, and the fit is fair."""
    across = Signal(kind="classes", n=400, k=5, score=told, null_mean=0.5, null_std=0.02)
    facts = replace(
        scored(0.85, 0.7, splits=SplitFacts(across=across)),
        trials=tried("numbers-passed", second=1e-7, width=6.0),
        activations=activations(layer(0, channels=channels, n_samples=400)),
    )
    assert severity(facts, "too-narrow") == ("warning" if cause else None)
    assert causes(facts) == ({cause} if cause else set())
