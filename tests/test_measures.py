"""Targets of which some are in another unit, and noise of many forms that is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec import structs
from scipy.stats import ks_2samp

from reportgen.document.evaluation import TargetScore
from reportgen.document.facts import EvaluationFacts, Regression, Report
from reportgen.document.stats import TensorStats
from reportgen.health.judge import judge
from reportgen.health.rules.measures import _gap, _line, _two_lines
from reportgen.page import wording

from .test_rules_model import causes, report, run, severity

Drawn = tuple[np.ndarray, np.ndarray]
STATS = TensorStats(count=400, sum=0.0, m2=400.0, min=-3, max=3)


def examined(drawn: Drawn, *, part: str = "evaluation", **more: object) -> Report:
    told, truth = drawn
    pairs = [(float(t), float(p)) for t, p in zip(truth, told, strict=True)]
    fit = Regression(r2=0.4, mse=1.0, mae=0.5, target=STATS, residual=STATS, sample=pairs)
    facts = EvaluationFacts(task="regression", n_samples=400, regression=structs.replace(fit, **more))
    return report(None, training=run(), **{part: facts})


def units(times: float, share: float, *, seed: int = 0, noise: float = 1.5, blur: float = 0.5) -> Drawn:
    """Kilograms of which some are written in another unit; the model says the mean of both."""
    draw = np.random.default_rng(seed)
    weight = 72 + 9 * draw.normal(size=400)
    other = draw.random(400) < share
    truth = np.where(other, times * weight, weight) + noise * draw.normal(size=400)
    return weight * (1 - share + share * times) + blur * draw.normal(size=400), truth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("times", "share"), [(2.205, 0.12), (2.205, 0.3), (0.4536, 0.1), (1000.0, 0.05), (1.6, 0.2)])
def test_some_in_another_unit_lie_on_a_line_of_their_own(times: float, share: float, seed: int) -> None:
    facts = examined(units(times, share, seed=seed))
    assert severity(facts, "two-measures") == "warning"
    assert "label-corruption" in causes(facts)
    told = next(f for f in judge(facts).findings if f.rule == "two-measures")
    assert told.evidence["times"] == pytest.approx(times, rel=0.15)
    assert told.evidence["share"] == pytest.approx(share, abs=0.05)
    assert "times as large" in wording.describe(told)
    assert severity(examined(units(times, share, seed=seed), part="train_evaluation"), "two-measures") == "warning"


def normal(draw: np.random.Generator) -> np.ndarray:
    return draw.normal(size=400)


NOISE: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "normal": lambda draw, p: p + 0.3 * normal(draw),
    "hardly any": lambda draw, p: p + 1e-3 * normal(draw),
    "much": lambda draw, p: p + 3 * normal(draw),
    "grows with the answer": lambda draw, p: (p + 4) * (1 + 0.2 * normal(draw)),
    "lognormal": lambda draw, p: np.exp(p + 0.3 * normal(draw)),
    "counts": lambda draw, p: draw.poisson(np.exp(p + 1)).astype(float),
    "heavy tails": lambda draw, p: p + 0.2 * draw.standard_t(2, 400),
    "no variance": lambda draw, p: p + 0.1 * draw.standard_cauchy(400),
    "one in five is zero": lambda draw, p: np.where(draw.random(400) < 0.2, 0.0, p + 4 + 0.1 * normal(draw)),
    "one in five is larger by a constant": lambda draw, p: p + 4 * (draw.random(400) < 0.2) + 0.1 * normal(draw),
    "grades": lambda draw, p: np.round(2 * p) / 2,
    "outliers": lambda draw, p: np.where(draw.random(400) < 0.05, 8 * normal(draw), p) + 0.1 * normal(draw),
    "a cube": lambda draw, p: (p + 2) ** 3,
    "an exponential": lambda draw, p: np.exp(1.5 * p),
    "a step": lambda draw, p: np.where(np.abs(p) < 0.7, 3 * p, p) + 0.05 * normal(draw),
    "bent": lambda draw, p: np.where(p > 0, 3 * p, p) + 0.1 * normal(draw),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", sorted(NOISE))
def test_noise_is_no_other_unit(noise: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    told = normal(draw)
    assert severity(examined((told, NOISE[noise](draw, told))), "two-measures") is None


def test_several_targets_few_samples_and_constant_answers_are_left_alone() -> None:
    drawn = units(2.2, 0.2)
    assert severity(examined(drawn, standardised=True), "two-measures") is None
    two = [TargetScore(name="a", n=400, r2=0.4, mae=0.5, rmse=1.0, std=1.0, bias=0.0)] * 2
    assert severity(examined(drawn, targets=two), "two-measures") is None
    assert severity(examined((drawn[0][:80], drawn[1][:80])), "two-measures") is None
    assert severity(examined((np.zeros(400), drawn[1])), "two-measures") is None
    untrained = structs.replace(examined(drawn), training=None)
    assert severity(untrained, "two-measures") is None


def test_the_gap_is_that_of_smirnov() -> None:
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=60).round(1), draw.normal(0.4, 1.2, size=200).round(1)
    known = ks_2samp(one, other).statistic
    assert _gap([(0.0, p) for p in one], [(0.0, p) for p in other]) == pytest.approx(known)
    assert _gap([], [(0.0, 1.0)]) == 1.0


def test_a_line_is_that_of_least_squares() -> None:
    told, truth = units(1.0, 0.0)
    line = _line(list(zip(truth.tolist(), told.tolist(), strict=True)))
    assert line is not None
    slope, level = np.polyfit(told, truth, 1)
    assert (line.slope, line.level) == pytest.approx((slope, level))
    assert line.told == pytest.approx(np.corrcoef(told, truth)[0, 1] ** 2)


def test_two_lines_leave_of_one_what_noise_there_is() -> None:
    told, truth = units(2.2, 0.2, noise=0.0, blur=0.0)
    found = _two_lines(list(zip(truth.tolist(), told.tolist(), strict=True)))
    assert found is not None
    most, other, share, left = found
    assert other.slope / most.slope == pytest.approx(2.2)
    assert 0.15 < share < 0.25
    assert left == pytest.approx(0.0, abs=1e-12)
