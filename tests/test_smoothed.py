"""Rounds of averages over neighbours that make all places of a sample one, and deep models that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.evaluation import EvaluationFacts, Score
from reportgen.page import words_checks
from reportgen.probe.trials import run as trials
from reportgen.probe.trials import smoothed
from reportgen.probe.trials.lab import Clock, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import BAD, causes, report, run, severity, tried

PLACES = 20


class Graph(nn.Module):
    """Graph convolutions over the adjacency that comes with the features; ``kept``: with a shortcut."""

    def __init__(self, depth: int, *, kept: bool = False) -> None:
        super().__init__()
        self.first, self.kept = nn.Linear(6, 24), kept
        self.layers = nn.ModuleList(nn.Linear(24, 24) for _ in range(depth - 1))
        self.out = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        near = x[..., 6:] + torch.eye(PLACES)
        near = near / near.sum(2, keepdim=True)
        h = (near @ self.first(x[..., :6])).relu()
        for layer in self.layers:
            h = (near @ layer(h)).relu() + (h if self.kept else 0)
        said: Tensor = self.out(h)
        return said


class Plain(nn.Module):
    """As deep, place by place or by convolutions of three places."""

    def __init__(self, depth: int, *, mixing: bool) -> None:
        super().__init__()
        self.first, self.mixing = nn.Linear(26, 24), mixing
        layers = (nn.Conv1d(24, 24, 3, padding=1) if mixing else nn.Linear(24, 24) for _ in range(depth - 1))
        self.layers, self.named, self.out = nn.ModuleList(layers), nn.Identity(), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for layer in self.layers:
            h = self.named((layer(h.transpose(1, 2)).transpose(1, 2) if self.mixing else layer(h)).relu())
        said: Tensor = self.out(h)
        return said


def _measured(model: nn.Module, target: Tensor | None = None) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    links = (torch.rand(16, PLACES, PLACES, generator=generator) < 0.3).float().triu(1)
    x = torch.cat([torch.randn(16, PLACES, 6, generator=generator), links + links.transpose(1, 2)], 2)
    y = torch.randint(0, 3, (16, PLACES), generator=generator) if target is None else target
    batch = Batch((x,), {}, y)
    loss = nn.CrossEntropyLoss()
    return smoothed.places_smoothed(trials.laboratory(model, loss, (), [batch], [batch], Clock(60.0), 0)).numbers


def _told(numbers: dict[str, float], accuracy: float = 0.4) -> object:
    assert words_checks.OUTCOMES["places-smoothed"](numbers, {}).endswith(".")
    scores = [Score(name="accuracy", value=accuracy, baseline=0.35)]
    facts = EvaluationFacts(task="tokens", n_samples=16, scores=scores)
    return report(BAD, train_evaluation=facts, training=run(), trials=tried("places-smoothed", **numbers))


@pytest.mark.parametrize(
    ("depth", "kept", "expected"), [(16, False, "warning"), (12, False, "warning"), (2, False, None), (12, True, None)]
)
def test_rounds_of_averages_over_neighbours(depth: int, kept: bool, expected: str | None) -> None:
    torch.manual_seed(0)
    numbers = _measured(Graph(depth, kept=kept))
    facts = _told(numbers)
    assert severity(facts, "places-smoothed") == expected
    assert ("layer-collapse" in causes(facts)) == (expected is not None)


@pytest.mark.parametrize("mixing", [True, False])
@pytest.mark.parametrize("depth", [8, 16, 30])
def test_depth_alone_smooths_nothing(depth: int, mixing: bool) -> None:
    torch.manual_seed(0)
    assert severity(_told(_measured(Plain(depth, mixing=mixing))), "places-smoothed") is None


def test_what_works_informs_and_one_target_for_all_places_is_not_asked() -> None:
    torch.manual_seed(0)
    numbers = _measured(Graph(16))
    assert severity(_told(numbers, accuracy=0.9), "places-smoothed") == "info"
    with pytest.raises(NotApplicableError, match="one class at each"):
        _measured(Graph(16), torch.randint(0, 3, (16, 1)).expand(16, PLACES))
    with pytest.raises(NotApplicableError, match="no row for each place"):
        _measured(Graph(16), torch.randint(0, 3, (16, 7)))


def test_scores_of_a_large_vocabulary_are_not_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = _measured(Graph(2))
    monkeypatch.setattr(smoothed, "_MOST", 16 * PLACES * 24)
    assert _measured(Graph(2)) == whole
    monkeypatch.setattr(smoothed, "_MOST", 16 * PLACES * 24 - 1)
    with pytest.raises(NotApplicableError, match="no two layers"):
        _measured(Graph(2))
