"""What two codes with a number tell of new pairs: a null model for recommenders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import EvaluationFacts, Regression
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.health.judge import judge
from reportgen.page import wording
from reportgen.probe.factors import PairRows, across
from reportgen.subject.data import Batch

from .test_rules_model import causes, report, run, severity

USERS, ITEMS = 60, 50


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ratings(n: int, rank: int, *, noise: float = 0.1, levels: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw pairs of codes and what the same tastes make of them."""
    drawn = seeded(7)
    u, v = torch.randn(USERS, rank, generator=drawn), torch.randn(ITEMS, rank, generator=drawn)
    b, c = torch.randn(USERS, generator=drawn), torch.randn(ITEMS, generator=drawn)
    g = seeded(seed)
    codes = torch.stack([torch.randint(USERS, (n,), generator=g), torch.randint(ITEMS, (n,), generator=g)], 1)
    one, other = codes.T
    y = levels * (b[one] + c[other]) + ((u[one] * v[other]).sum(1) / rank**0.5 if rank else 0.0)
    return codes, y + noise * torch.randn(n, generator=g)


def rows(codes: Tensor, y: Tensor, *, apart: bool = False) -> PairRows:
    held = PairRows()
    for x, t in zip(codes.split(100), y.split(100), strict=True):
        held.update(Batch((x[:, 0], x[:, 1]) if apart else (x,), {}, t))
    return held


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("rank", "noise"), [(0, 0.1), (1, 0.1), (3, 0.1), (5, 0.15)])
def test_what_low_rank_tells_of_new_pairs_is_found(rank: int, noise: float, apart: bool) -> None:
    train, given = ratings(6000, rank, noise=noise), ratings(1000, rank, noise=noise, seed=1)
    signal = across(rows(*train, apart=apart), rows(*given, apart=apart))
    assert signal is not None
    assert (signal.kind, signal.n, signal.k) == ("numbers", 1000, 0)
    best = 1 - noise**2 / float(given[1].var())
    assert best - 0.06 < signal.score <= best + 0.01


def test_numbers_that_hang_on_no_code_are_not_told() -> None:
    codes, _ = ratings(4000, 0)
    y = torch.randn(4000, generator=seeded(3))
    signal = across(rows(codes[:3000], y[:3000]), rows(codes[3000:], y[3000:]))
    assert signal is not None
    assert -0.2 < signal.score < 0.02


def test_levels_alone_are_those_of_a_regression_on_codes() -> None:
    """With few rows of many tastes a level of each code is what can be learned; numpy solves the same by dummies."""
    train, given = ratings(1500, 0, noise=0.5), ratings(500, 0, noise=0.5, seed=1)
    signal = across(rows(*train), rows(*given))
    assert signal is not None

    def dummies(codes: Tensor) -> Tensor:
        hot = nn.functional.one_hot
        return torch.cat([hot(codes[:, 0], USERS), hot(codes[:, 1], ITEMS)], 1).double()

    fitted = torch.linalg.lstsq(dummies(train[0]), train[1].double()[:, None]).solution
    left = (dummies(given[0]) @ fitted)[:, 0] - given[1].double()
    assert signal.score == pytest.approx(
        1 - float(left.square().mean() / given[1].double().var(correction=0)), abs=0.05
    )


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.randn(400, 2), torch.randn(400)),
        (torch.randint(9, (400, 3)), torch.randn(400)),
        (torch.randint(9, (400, 2)), torch.randint(3, (400,))),
        (torch.randint(9, (400, 2)) - 5, torch.randn(400)),
        (torch.randint(9, (400, 2)), torch.randn(400, 2)),
        (torch.randint(9, (90, 2)), torch.randn(90)),
        (torch.randint(9, (400, 2)), torch.ones(400)),
        (torch.randint(9, (400, 2)) * 10**6, torch.randn(400)),
        (torch.randint(9, (400, 2)), torch.full((400,), float("nan"))),
    ],
)
def test_other_tables_are_left_alone(x: Tensor, y: Tensor) -> None:
    held = PairRows()
    held.update(Batch((x,), {}, y))
    assert across(held, held) is None


def test_numbers_for_all_samples_are_no_codes() -> None:
    held = PairRows()
    held.update(Batch((torch.tensor(3), torch.tensor(5)), {}, torch.randn(400)))
    held.update(Batch((torch.randint(9, (400, 2)).to_sparse(),), {}, torch.randn(400)))
    assert held.table() is None


def test_pairs_of_codes_that_were_never_seen_are_not_asked() -> None:
    codes, y = ratings(2000, 2)
    strange = codes.clone()
    strange[:, 0] += USERS
    assert across(rows(codes, y), rows(strange, y)) is None


@pytest.mark.parametrize(("model", "expected"), [(0.4, "warning"), (0.9, None)])
def test_a_model_of_too_few_factors_is_behind(model: float, expected: str | None) -> None:
    stats = TensorStats(count=1000, sum=0.0, m2=1000.0, min=-3, max=3)
    fit = Regression(r2=model, mse=1 - model, mae=0.3, target=stats, residual=stats)
    both = {
        name: EvaluationFacts(task="regression", n_samples=1000, regression=fit)
        for name in ("evaluation", "train_evaluation")
    }
    signal = Signal(kind="numbers", n=1000, k=0, score=0.95, null_mean=0.0, null_std=0.03)
    facts = report(None, splits=SplitFacts(across=signal), training=run(), **both)
    assert severity(facts, "o-below-neighbours") == expected
    if expected:
        assert causes(facts) == {"underfitting"}
        told = next(f for f in judge(facts).findings if f.rule == "o-below-neighbours")
        assert "eight factors" in wording.describe(told)
