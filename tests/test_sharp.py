"""Attention whose scores are multiplied where they should be divided, and the ways in which they are scaled rightly."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.evaluation import Classification
from reportgen.document.facts import Finding, Report
from reportgen.document.trials import TrialFacts
from reportgen.page import words_claims, words_units
from reportgen.probe.trials import run as trials
from reportgen.probe.trials import sharp
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import causes, run, severity, tried
from .test_rules_model import report as facts_of

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

WIDTH = 64
WORDS = torch.randint(0, 12, (32, 10), generator=torch.Generator().manual_seed(0))
Weights = Callable[[Tensor, Tensor], Tensor]


class Reads(nn.Module):
    """One head of attention over words, then a mean."""

    def __init__(self, weights: Weights, *, causal: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Embedding(12, WIDTH), nn.LayerNorm(WIDTH)
        self.parts, self.head, self.weights, self.causal = (
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, 3),
            weights,
            causal,
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.parts(self.norm(self.embed(x))).chunk(3, -1)
        return self.head((self.weights(q, k) @ v).mean(1))


class Fused(Reads):
    def __init__(self, scale: float | None) -> None:
        super().__init__(lambda q, k: q)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t[:, None] for t in self.parts(self.norm(self.embed(x))).chunk(3, -1))
        return self.head(F.scaled_dot_product_attention(q, k, v, scale=self.scale)[:, 0].mean(1))


def masked(scores: Tensor) -> Tensor:
    return scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)


def in_place(q: Tensor, k: Tensor) -> Tensor:
    scores = torch.bmm(q, k.mT)
    scores *= WIDTH**0.5
    return scores.softmax(2)


ROOT = math.sqrt(WIDTH)
AWAY = torch.where(torch.arange(10) < 5, 0.0, -100.0)  # as windows are kept apart
SICK: dict[str, nn.Module] = {
    "multiplied": Reads(lambda q, k: F.softmax(q @ k.transpose(1, 2) * ROOT, -1)),
    "divided by its inverse": Reads(lambda q, k: torch.softmax(torch.matmul(q, k.mT) / WIDTH**-0.5, -1)),
    "in place": Reads(in_place),
    "queries first": Reads(lambda q, k: ((q * ROOT) @ k.mT).softmax(-1)),
    "by a sum": Reads(lambda q, k: (torch.einsum("nqd,nkd->nqk", q, k) * ROOT).softmax(-1)),
    "masked": Reads(lambda q, k: nn.Softmax(-1)(masked(q @ k.mT * torch.tensor(WIDTH).sqrt()))),
    "kept apart": Reads(lambda q, k: F.softmax((q @ k.mT * ROOT + AWAY).reshape(-1, 10, 10), -1)),
    "fused": Fused(ROOT),
}


class Pools(nn.Module):
    """One query, which is learned or comes from the last word, and a mean of all words by its scores."""

    def __init__(self, weights: Callable[[Pools, Tensor], Tensor], size: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Embedding(12, WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.weights = nn.Parameter(size * torch.randn(WIDTH)), weights
        self.turn, self.score, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        words = self.norm(self.embed(x))
        return self.head((self.weights(self, words).reshape(*x.shape, 1) * words).sum(1))


def by_last(model: Pools, words: Tensor) -> Tensor:
    return torch.einsum("nd,ntd->nt", model.turn(words[:, -1]), words)


POOLED_SICK: dict[str, nn.Module] = {
    "one query": Pools(lambda m, h: F.softmax(h @ m.query * ROOT, -1)),
    "one query by a sum": Pools(lambda m, h: torch.einsum("ntd,d->nt", h, m.query).mul(ROOT).softmax(1)),
    "one query as a column": Pools(lambda m, h: F.softmax(h @ m.query[:, None] * ROOT, 1)),
    "last word": Pools(lambda m, h: torch.softmax(torch.bmm(h, m.turn(h[:, -1])[:, :, None]) * ROOT, 1)),
    "last word by a sum": Pools(lambda m, h: (by_last(m, h) * ROOT).softmax(1)),
}
POOLED_HEALTHY: dict[str, nn.Module] = {
    "layer": Pools(lambda m, h: F.softmax(m.score(h), 1)),
    "layer, sharper": Pools(lambda m, h: F.softmax(m.score(h) * 3, 1)),
    "layer behind tanh": Pools(lambda m, h: m.score(torch.tanh(m.turn(h))).squeeze(-1).softmax(-1)),
    "divided": Pools(lambda m, h: F.softmax(h @ m.query / ROOT, -1)),
    "as it is": Pools(lambda m, h: F.softmax(h @ m.query, -1)),
    "small query, multiplied": Pools(lambda m, h: F.softmax(h @ m.query * ROOT, -1), 0.02),
    "last word, divided": Pools(lambda m, h: F.softmax(by_last(m, h) / ROOT, 1)),
    "cosines": Pools(lambda m, h: F.softmax(F.normalize(h, dim=-1) @ F.normalize(m.query, dim=0) * 30, -1)),
}


def examined(model: nn.Module) -> Report:
    y = WORDS[:, 0] % 3
    return reportgen.examine(model, [(WORDS, y)], loss=nn.CrossEntropyLoss(), options=reportgen.Options(trial_budget=2))


def told(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.rule == "attention-scale"]


@pytest.mark.parametrize("name", SICK)
def test_scores_that_are_multiplied_by_the_root_of_the_width(name: str) -> None:
    report = examined(SICK[name])
    found = told(report)
    assert [f.severity.value for f in found] == ["warning"]
    assert found[0].evidence["factor"] == pytest.approx(ROOT)
    assert found[0].evidence["width"] == WIDTH
    assert "saturated-activations" in causes(report)
    assert "multiplied with 8" in words_units.RULES["attention-scale"][1](found[0])
    trial = report.tried("score-scale")
    assert trial is not None
    assert words_claims.OUTCOMES["score-scale"](trial.numbers, {}).endswith(".")


def cosines(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT


HEALTHY: dict[str, nn.Module] = {
    "divided": Reads(lambda q, k: F.softmax(q @ k.mT / ROOT, -1)),
    "queries divided": Reads(lambda q, k: F.softmax((q * WIDTH**-0.5) @ k.mT, -1)),
    "both divided": Reads(lambda q, k: F.softmax((q / WIDTH**0.25) @ (k / WIDTH**0.25).mT, -1)),
    "as they are": Reads(lambda q, k: F.softmax(q @ k.mT, -1)),
    "multiplied after all": Reads(lambda q, k: F.softmax((q / WIDTH) @ k.mT * ROOT, -1)),
    "cosines times the root": Reads(lambda q, k: F.softmax(cosines(q, k) * ROOT, -1)),
    "cosines, sharp": Reads(lambda q, k: F.softmax(cosines(q, k) * 100, -1)),
    "cosines, some keys far away": Reads(lambda q, k: F.softmax(cosines(q, k) * 10 + AWAY, -1)),
    "masked": Reads(lambda q, k: F.softmax(masked(q @ k.mT / ROOT), -1)),
    "bent at the ends": Reads(lambda q, k: F.softmax(50 * torch.tanh(q @ k.mT / ROOT / 50), -1)),
    "fused": Fused(1 / ROOT),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_scores_that_are_scaled_rightly_are_left_alone(name: str) -> None:
    report = examined(HEALTHY[name])
    assert report.tried("score-scale") is not None
    assert told(report) == []


@pytest.mark.parametrize("name", POOLED_SICK)
def test_scores_of_a_single_query_are_followed_too(name: str) -> None:
    report = examined(POOLED_SICK[name])
    (found,) = told(report)
    assert (found.severity, found.evidence["factor"]) == ("warning", pytest.approx(ROOT))
    assert "saturated-activations" in causes(report)


@pytest.mark.parametrize("name", POOLED_HEALTHY)
def test_a_single_query_that_is_scaled_rightly_is_left_alone(name: str) -> None:
    report = examined(POOLED_HEALTHY[name])
    assert report.tried("score-scale") is not None
    assert told(report) == []


def test_a_layer_of_scores_that_are_multiplied_by_a_large_number_is_told() -> None:
    (found,) = told(examined(Pools(lambda m, h: F.softmax(m.score(h) * 5 * ROOT, 1))))
    assert found.evidence["width"] == WIDTH


def lab(model: nn.Module) -> Lab:
    return trials.laboratory(model, None, (), [Batch((WORDS,), {}, WORDS[:, 0])], [], Clock(60.0), 0)


def test_factors_are_known_by_hand_along_every_way() -> None:
    for name, model in HEALTHY.items():
        n = sharp.score_scale(lab(model)).numbers
        wanted = {
            "as they are": 1.0,
            "cosines, sharp": 100.0,
            "cosines, some keys far away": 10.0,
            "cosines times the root": ROOT,
        }.get(name, 1 / ROOT)
        assert n["factor"] == pytest.approx(wanted), name
        assert n["spread"] == pytest.approx(n["own_spread"], rel=0.5), name  # neither has learned anything


def test_what_is_no_attention_by_a_number_is_not_asked() -> None:
    class Learned(Reads):
        def __init__(self) -> None:
            super().__init__(lambda q, k: F.softmax(q @ k.mT * self.sharpness, -1))
            self.sharpness = nn.Parameter(torch.tensor(ROOT))

    class Computed(Reads):
        def __init__(self) -> None:
            super().__init__(lambda q, k: F.softmax(q @ k.mT * self.sharpness.exp(), -1))
            self.sharpness = nn.Parameter(torch.tensor(ROOT).log())

    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Embedding(12, 8), nn.Flatten(), nn.Linear(80, 3), nn.Softmax(1))
    of_torch = nn.Sequential(nn.Embedding(12, 8), nn.TransformerEncoderLayer(8, 2, 8, batch_first=True))
    for model in (Learned(), Computed(), classifier, of_torch, Fused(None)):
        with pytest.raises(NotApplicableError, match="no product of queries and keys"):
            sharp.score_scale(lab(model))


@pytest.mark.parametrize(
    ("right", "solved", "expected"), [(120, 0.0, "warning"), (120, 1.0, "info"), (360, 0.0, "info")]
)
def test_sharp_scores_of_a_model_that_works_in_part(right: int, solved: float, expected: str) -> None:
    """A poor fit is held back by them where not even a batch can be learned; noise could be."""
    rest = (400 - right) // 4
    table = Classification(
        classes=list("abcde"), confusion=[[right if i == j else rest for j in range(5)] for i in range(5)]
    )
    numbers = {"width": 16.0, "factor": 200.0, "spread": 116.0, "own_hard": 0.5, "product": 2.0, "learned": 1.0}
    made = [
        *tried("score-scale", **numbers).trials,
        *tried("one-batch", solved=solved, accuracy=0.7, samples=32.0, start=1.6, end=0.9, steps=200.0).trials,
        *tried("affinity", departure=0.3, affine_layers=2.0, collapsible=0.0, redundant=0.0).trials,
    ]
    facts = facts_of(table, training=run([1.6, 1.3, 1.25, *[1.24] * 12]), trials=TrialFacts(trials=made, budget=20.0))
    assert severity(facts, "attention-scale") == expected
