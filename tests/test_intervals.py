"""Intervals of scores against what drawing the samples anew gives, with scikit-learn's figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics

from reportgen.document.evaluation import EvaluationFacts
from reportgen.document.scores import wilson
from reportgen.probe.evaluation import EvaluationProbe
from reportgen.probe.scoring.intervals import of_confusion
from reportgen.subject.data import Batch

Array = NDArray[Any]


def evaluated(task: str, output: Array, target: Array) -> EvaluationFacts:
    probe = EvaluationProbe(None, task)  # type: ignore[arg-type]
    z = torch.tensor(output, dtype=torch.float32)
    probe.update(z, Batch((z,), {}, torch.tensor(target)))
    facts = probe.facts()
    assert facts is not None
    return facts


def drawn(figure: Callable[[Array, Array], float], output: Array, target: Array) -> tuple[float, float]:
    """Return the 95 % interval of a figure over 400 draws of as many samples."""
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        rows = rng.integers(len(target), size=len(target))
        found.append(figure(target[rows], output[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def ends(facts: EvaluationFacts, name: str) -> tuple[float, float, float]:
    score = facts.score(name)
    assert score is not None, name
    assert score.low is not None
    assert score.high is not None
    return score.value, score.low, score.high


@pytest.mark.parametrize("apart", [0.5, 1.5, 3.0])
def test_average_precision_is_as_uncertain_as_when_samples_are_drawn_anew(apart: float) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=300)
    z = rng.normal(0, 1, 300) + apart * y
    value, low, high = ends(evaluated("binary", z[:, None], y[:, None].astype(float)), "average_precision")
    assert value == pytest.approx(metrics.average_precision_score(y, z), abs=2e-3)
    wanted = drawn(metrics.average_precision_score, z, y)
    # close to 1 an interval that is even in log-odds is the wider one
    assert 0.85 <= (high - low) / (wanted[1] - wanted[0]) <= 1.35
    assert low == pytest.approx(wanted[0], abs=0.35 * (wanted[1] - wanted[0]))


def test_scores_that_part_all_samples_say_no_more_than_their_number() -> None:
    y = np.arange(40) % 2
    value, low, high = ends(evaluated("binary", (4.0 * y - 2)[:, None], y[:, None].astype(float)), "average_precision")
    assert (value, low, high) == (1.0, pytest.approx(wilson(20, 20)[0]), 1.0)


def labels() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    y = (rng.normal(size=(400, 4)) + rng.normal(size=(400, 1)) > [0.0, 0.5, 1.0, 1.5]).astype(float)
    return 2 * y - 1 + rng.normal(0, 1.2, y.shape) + rng.normal(0, 0.5, (400, 1)), y


def macro(kind: str) -> Callable[[Array, Array], float]:
    return lambda y, z: metrics.f1_score(y, z > 0, average=kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "figure", "widest"),
    [
        ("micro_f1", macro("micro"), 1.2),
        ("macro_f1", macro("macro"), 2.2),
        ("macro_roc_auc", lambda y, z: metrics.roc_auc_score(y, z), 2.2),
        ("mean_average_precision", lambda y, z: metrics.average_precision_score(y, z), 2.2),
    ],
)
def test_means_over_labels(name: str, figure: Callable[[Array, Array], float], widest: float) -> None:
    z, y = labels()
    value, low, high = ends(evaluated("multilabel", z, y), name)
    assert value == pytest.approx(figure(y, z), abs=2e-3)
    wanted = drawn(figure, z, y)
    # of a mean the interval is the widest that it can be: labels of one sample may err together
    assert 0.85 <= (high - low) / (wanted[1] - wanted[0]) <= widest
    assert low < value < high


def test_always_yes_is_what_f1_is_held_against() -> None:
    z, y = labels()
    facts = evaluated("multilabel", z, y)
    for name, kind in (("micro_f1", "micro"), ("macro_f1", "macro")):
        score = facts.score(name)
        assert score is not None
        assert score.baseline == pytest.approx(metrics.f1_score(y, np.ones_like(y), average=kind))


def test_labels_that_are_all_right_say_no_more_than_their_number() -> None:
    y = np.tile([[1.0, 0.0], [0.0, 1.0]], (15, 1))
    facts = evaluated("multilabel", 4 * y - 2, y)
    assert ends(facts, "macro_f1") == (1.0, pytest.approx(wilson(15, 15)[0]), 1.0)
    assert ends(facts, "micro_f1") == (1.0, pytest.approx(wilson(30, 30)[0]), 1.0)


def test_a_class_that_is_always_named_leaves_balanced_accuracy_uncertain() -> None:
    balanced = of_confusion(np.array([[0, 29, 25], [0, 0, 50], [0, 0, 46]]))[0]
    assert balanced.name == "balanced_accuracy"
    assert balanced.value == pytest.approx(1 / 3)
    assert balanced.low is not None
    assert balanced.high is not None
    # by hand: no hit of 54 and of 50 may be some, all of 46 may be fewer
    up = (wilson(0, 54)[1] ** 2 + wilson(0, 50)[1] ** 2) ** 0.5 / 3
    assert balanced.high == pytest.approx(1 / 3 + up)
    assert balanced.low == pytest.approx(1 / 3 - (1 - wilson(46, 46)[0]) / 3)


def test_balanced_accuracy_is_as_uncertain_as_when_samples_are_drawn_anew() -> None:
    rng = np.random.default_rng(3)
    y = rng.choice(3, 400, p=[0.6, 0.3, 0.1])
    said = np.where(rng.uniform(size=400) < 0.7, y, rng.integers(3, size=400))
    found = of_confusion(metrics.confusion_matrix(y, said))[0]
    wanted = drawn(metrics.balanced_accuracy_score, said, y)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) == pytest.approx(wanted[1] - wanted[0], rel=0.25)


def targets() -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    y = rng.normal([0.0, 5000.0, 0.0], [1.0, 100.0, 0.01], (300, 3))
    return y + rng.normal(0, [0.5, 30.0, 0.002], y.shape), y


def test_several_targets_have_an_interval_and_a_trivial_answer() -> None:
    p, y = targets()
    facts = evaluated("regression", p, y.astype(np.float32))
    value, low, high = ends(facts, "r2")
    assert value == pytest.approx(metrics.r2_score(y, p), abs=1e-3)
    wanted = drawn(metrics.r2_score, p, y)
    assert 0.85 <= (high - low) / (wanted[1] - wanted[0]) <= 2.2
    mae = facts.score("mae")
    assert mae is not None
    median = np.broadcast_to(np.median(y, 0), y.shape)
    assert mae.baseline == pytest.approx(metrics.mean_absolute_error(y, median), rel=0.02)


def test_several_targets_are_shown_in_their_own_spreads() -> None:
    p, y = targets()
    facts = evaluated("regression", p, y.astype(np.float32)).regression
    assert facts is not None
    assert facts.standardised
    shown = np.array(facts.sample)
    every = np.stack([(v - y.mean(0)) / y.std(0) for v in (y, p)], -1).reshape(-1, 2)
    for row in shown:
        assert np.abs(every - row).sum(1).min() < 1e-2
    # of the tenths of targets in one unit, each holds as many of each of the three as of the others, about
    assert len(facts.deciles) == 10
    assert facts.deciles[0].high < -1
    assert facts.deciles[9].low > 1
    error = np.abs(every[:, 0] - every[:, 1]).mean()
    assert sum(d.mae * d.n for d in facts.deciles) / sum(d.n for d in facts.deciles) == pytest.approx(error, rel=0.05)


def test_a_single_target_keeps_its_unit() -> None:
    p, y = targets()
    facts = evaluated("regression", p[:, 1:2], y[:, 1:2].astype(np.float32)).regression
    assert facts is not None
    assert not facts.standardised
    assert min(t for t, _ in facts.sample) > 4000
