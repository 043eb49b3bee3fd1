"""Scores from a confusion matrix, against hand-made figures and an outside reference."""

from __future__ import annotations

import random

import pytest

from reportgen.document.evaluation import Regression, TargetScore
from reportgen.document.scores import accuracy, beats_constant, confused, explained, macro, per_class, wilson
from reportgen.document.stats import TensorStats


def test_against_a_reference() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(0)
    truth = [rng.randrange(5) for i in range(500)]
    guess = [t if rng.random() < 0.7 else rng.randrange(5) for t in truth]
    matrix = [[int(n) for n in row] for row in metrics.confusion_matrix(truth, guess)]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, guess)
    for i, score in enumerate(per_class(matrix, [str(i) for i in range(5)])):
        assert (score.precision, score.recall, score.f1) == pytest.approx((precision[i], recall[i], f1[i]))
        assert score.support == support[i]


def test_what_is_not_defined_is_none() -> None:
    never_predicted, never_true, nowhere = per_class([[0, 5, 0], [0, 0, 0], [0, 0, 0]], ["a", "b", "c"])
    assert (never_predicted.precision, never_predicted.recall) == (None, 0.0)
    assert (never_true.precision, never_true.recall) == (0.0, None)
    assert (nowhere.precision, nowhere.recall, nowhere.f1) == (None, None, None)
    assert macro([nowhere], "f1") is None


def test_wilson_interval() -> None:
    # the textbook case: 15 of 50
    assert wilson(15, 50) == pytest.approx((0.1910, 0.4375), abs=1e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(0, 0) == (0.0, 1.0)


def test_accuracy_beside_the_majority() -> None:
    score = accuracy([[90, 0], [10, 0]])
    assert score is not None
    assert (score.value, score.majority, score.correct, score.total) == (0.9, 0.9, 90, 100)
    assert accuracy([[0, 0], [0, 0]]) is None


def test_what_is_explained_is_told_by_all_targets_or_by_the_mean_of_them() -> None:
    def regression(r2: float | None, *targets: TargetScore) -> Regression:
        return Regression(r2=r2, mae=1.0, mse=1.0, target=TensorStats(), residual=TensorStats(), targets=[*targets])

    def target(n: int, rmse: float, std: float) -> TargetScore:
        return TargetScore(name="", n=n, r2=None, mae=1.0, rmse=rmse, std=std, bias=0.0)

    # squared errors 10·4 + 20·9 = 220 of squared deviations 10·100 + 20·25 = 1500
    several = (target(10, 2.0, 10.0), target(20, 3.0, 5.0))
    assert explained(regression(-4.0, *several)) == pytest.approx(1 - 220 / 1500)
    assert explained(regression(0.9, *several)) == 0.9
    assert explained(regression(None, *several)) == pytest.approx(1 - 220 / 1500)
    assert explained(regression(0.4)) == 0.4
    assert explained(regression(None, target(10, 1.0, 0.0))) is None  # nothing varies


def test_commonest_mistakes_come_first() -> None:
    assert confused([[5, 2, 0], [9, 1, 0], [0, 0, 3]]) == [(1, 0, 9), (0, 1, 2)]


@pytest.mark.parametrize(
    ("confusion", "better"),
    [
        ([[40, 10], [10, 40]], True),
        ([[300, 60], [4, 36]], True),  # rare class found at the price of accuracy
        ([[90, 0], [10, 0]], False),
        ([[25, 25], [25, 25]], False),
        ([[5, 1], [0, 0]], False),  # one class only
        ([[0]], False),
    ],
)
def test_better_than_naming_one_class(confusion: list[list[int]], better: bool) -> None:
    assert beats_constant(confusion) is better
