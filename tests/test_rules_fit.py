"""Rules on how the splits compare and on going on in other ways: sick facts, and healthy ones beside."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from reportgen.document.facts import (
    Classification,
    DatasetFacts,
    EvaluationFacts,
    Regression,
    Report,
)
from reportgen.document.samples import Apart, Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.document.trials import TrialFacts
from reportgen.health.context import context_of
from reportgen.health.judge import judge
from reportgen.health.skill import skill_of
from reportgen.health.thresholds import Thresholds
from reportgen.page import wording

from .test_rules_model import BAD, FALL, GOOD, causes, report, run, series, severity, tried


def table(share: float, n: int = 400) -> Classification:
    """Two classes of equal size, so that skill is 2·accuracy − 1."""
    right = round(share * n / 2)
    return Classification(classes=["a", "b"], confusion=[[right, n // 2 - right], [n // 2 - right, right]])


def scored(train: float, given: float, n: int = 400, **more: Any) -> Report:
    both = {
        name: EvaluationFacts(task="multiclass", n_samples=n, classification=table(share, n))
        for name, share in (("train_evaluation", train), ("evaluation", given))
    }
    more.setdefault("training", run(FALL, [v + 0.5 for v in FALL]))
    return report(None, **both, **more)


def dataset(n: int = 400, **more: Any) -> DatasetFacts:
    return DatasetFacts(n_samples=n, n_batches=4, shape="N x 8", dtype="float32", **more)


def stats(mean: float, std: float, n: int = 400) -> TensorStats:
    return TensorStats(count=n, sum=mean * n, m2=std * std * n, min=mean - 3 * std, max=mean + 3 * std)


def test_skill_is_what_is_above_a_constant_answer() -> None:
    facts = scored(1.0, 0.75)
    skill = skill_of(facts, context_of(facts, Thresholds()))
    assert skill is not None
    assert (skill.train, skill.given) == (pytest.approx(1.0), pytest.approx(0.5))
    # standard error of an accuracy of 0.75 on 400 samples, over the room of one half
    assert skill.error == pytest.approx(2 * (0.75 * 0.25 / 400) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("train", "given", "n", "expected"),
    [(1.0, 0.6, 400, "warning"), (1.0, 0.85, 400, None), (0.8, 0.55, 400, None), (1.0, 0.7, 40, None)],
)
def test_skill_that_is_lost_on_new_data(train: float, given: float, n: int, expected: str | None) -> None:
    facts = scored(train, given, n)
    assert severity(facts, "o-skill-lost") == expected
    assert causes(facts) == ({"overfitting"} if expected else set())


@pytest.mark.parametrize(("train", "given", "expected"), [(0.99, 0.2, "warning"), (0.95, 0.7, None)])
def test_skill_of_a_regression(train: float, given: float, expected: str | None) -> None:
    def fit(r2: float) -> EvaluationFacts:
        facts = Regression(r2=r2, mse=1 - r2, mae=0.1, target=stats(0, 1), residual=stats(0, 0.1))
        return EvaluationFacts(task="regression", n_samples=400, regression=facts)

    facts = report(None, training=run(), train_evaluation=fit(train), evaluation=fit(given))
    assert severity(facts, "o-skill-lost") == expected


@pytest.mark.parametrize(
    ("samples", "given", "expected"),
    [(24, 0.8, "warning"), (24, 0.88, "warning"), (24, 0.99, None), (400, 0.8, None), (60, 0.8, None)],
)
def test_a_handful_of_samples(samples: int, given: float, expected: str | None) -> None:
    train = dataset(samples, class_counts=[samples // 2, samples // 2])
    assert severity(scored(1.0, given, train_dataset=train), "few-samples") == expected


@pytest.mark.parametrize(("given", "n", "expected"), [(0.8, 300, "warning"), (0.9, 40, None), (0.96, 300, None)])
def test_what_is_known_of_all_training_samples_has_no_error(given: float, n: int, expected: str | None) -> None:
    """Of a mere twenty: the error is that of the score on new ones."""
    facts = scored(1.0, given, n, train_dataset=dataset(20, class_counts=[10, 10]))
    assert facts.evaluation is not None
    few = structs.replace(facts.evaluation, n_samples=20, classification=table(1.0, 20))
    assert severity(structs.replace(facts, train_evaluation=few), "few-samples") == expected


@pytest.mark.parametrize(("n", "expected"), [(16, "warning"), (6, None)])
def test_fewer_training_samples_than_a_score_needs_elsewhere_are_all_that_there_are(n: int, expected: str) -> None:
    facts = scored(1.0, 0.7, train_dataset=dataset(n, class_counts=[n // 2, n - n // 2]))
    assert facts.evaluation is not None
    few = structs.replace(facts.evaluation, n_samples=n, classification=table(1.0, n))
    facts = structs.replace(facts, train_evaluation=few)
    assert severity(facts, "few-samples") == expected
    assert severity(facts, "o-skill-lost") is None


@pytest.mark.parametrize(
    ("told", "train", "given", "expected"),
    [
        (0.92, 0.99, 0.75, "warning"),
        (0.82, 0.99, 0.75, None),  # hardly ahead
        (0.92, 0.9, 0.75, None),  # behind on the training data too
        (0.7, 0.99, 0.75, None),  # an overfitted model may be better than any neighbours
    ],
)
def test_a_model_that_knows_its_samples_and_not_what_their_neighbours_tell(
    told: float, train: float, given: float, expected: str | None
) -> None:
    across = Signal(kind="classes", n=400, k=5, score=told, null_mean=0.5, null_std=0.02, vote=told)
    facts = scored(train, given, splits=SplitFacts(across=across))
    assert severity(facts, "o-outdone") == expected
    assert ("overfitting" in causes(facts)) == bool(expected)
    for found in judge(facts).findings:
        if found.rule == "o-outdone":
            assert "On its training data the model is right in 99" in wording.describe(found)


def test_a_factorisation_that_knows_its_ratings_by_heart_is_outdone_by_one_of_low_rank() -> None:
    def fit(r2: float) -> EvaluationFacts:
        numbers = Regression(r2=r2, mae=1 - r2, mse=1 - r2, target=stats(0, 1), residual=stats(0, (1 - r2) ** 0.5))
        return EvaluationFacts(task="regression", n_samples=1000, regression=numbers)

    for told, expected in ((0.93, "warning"), (0.83, None)):
        across = SplitFacts(across=Signal(kind="numbers", n=1000, k=0, score=told, null_mean=0.0, null_std=0.03))
        facts = report(None, training=run(FALL, FALL), evaluation=fit(0.78), train_evaluation=fit(0.97), splits=across)
        assert severity(facts, "o-outdone") == expected
        assert causes(facts) == ({"overfitting"} if expected else set())


@pytest.mark.parametrize(("skill", "drop", "expected"), [(0.7, 0.9, "warning"), (0.98, 0.9, None), (0.7, 0.5, None)])
def test_a_dropout_that_leaves_nothing_is_told_without_a_history(
    skill: float, drop: float, expected: str | None
) -> None:
    trials = [
        *tried("train-and-eval", drop=drop, eval_loss=0.7, train_loss=0.8, samples=256.0, batches=8.0).trials,
        *tried("one-batch", solved=1.0, accuracy=1.0, samples=32.0, start=1.0, end=0.1, tries=1.0).trials,
    ]
    facts = scored(skill, skill, training=None, trials=TrialFacts(trials=trials, budget=20.0))
    assert severity(facts, "dropout-too-strong") == expected
    (told,) = [f for f in judge(facts).findings if f.rule == "dropout-too-strong"] or [None]
    assert (told is None) or "skill on the training data" in wording.describe(told)


def apart(area: float, n: int = 300, copies: float = 0.0, redrawn: float | None = None) -> SplitFacts:
    found = Apart(n=n, area=area, neighbours=0.6, null_mean=0.5, null_std=0.01, copies=copies)
    return SplitFacts(apart=found, redrawn=redrawn)


@pytest.mark.parametrize(
    ("splits", "given", "expected"),
    [
        (apart(0.95), 0.7, "warning"),
        (apart(0.95), 0.99, "info"),  # the model copes with it
        (apart(0.95, redrawn=1.0), 0.7, "info"),  # augmentation is meant to change the inputs
        (apart(0.95, copies=0.5), 0.7, "info"),
        (apart(0.6), 0.7, None),
        (apart(0.75, n=60), 0.7, None),  # that few samples may lie so far apart by chance
    ],
)
def test_splits_that_can_be_told_apart(splits: SplitFacts, given: float, expected: str | None) -> None:
    facts = scored(1.0, given, splits=splits)
    assert severity(facts, "d-splits-apart") == expected
    if expected == "warning":
        assert causes(facts) == {"train-val-mismatch"}


@pytest.mark.parametrize(
    ("mean", "std", "given", "expected"),
    [(0.0, 1.0, 0.7, None), (2.0, 1.0, 0.7, "warning"), (0.0, 4.0, 0.7, "warning"), (2.0, 1.0, 0.99, "info")],
)
def test_targets_on_another_scale(mean: float, std: float, given: float, expected: str | None) -> None:
    both = {"train_dataset": dataset(target=stats(0, 1)), "dataset": dataset(target=stats(mean, std))}
    assert severity(scored(1.0, given, **both), "d-target-shift") == expected


@pytest.mark.parametrize(
    ("counts", "expected"), [([200, 200], None), ([230, 170], None), ([330, 70], "info"), ([12, 8], None)]
)
def test_classes_in_other_shares(counts: list[int], expected: str | None) -> None:
    given = dataset(sum(counts), class_counts=counts)
    both = {"train_dataset": dataset(class_counts=[200, 200]), "dataset": given}
    facts = scored(1.0, 0.7, splits=apart(0.9), **both)
    assert severity(facts, "d-target-shift") == expected
    # inputs of other shares of classes differ by that alone
    assert severity(facts, "d-splits-apart") == (expected or "warning")


@pytest.mark.parametrize(
    ("score", "model", "n", "expected"),
    [(0.9, 0.7, 400, "warning"), (0.8, 0.7, 400, None), (0.9, 0.72, 60, None), (0.6, 0.9, 400, None)],
)
def test_a_model_behind_its_neighbours(score: float, model: float, n: int, expected: str | None) -> None:
    across = Signal(kind="classes", n=n, k=5, score=score, null_mean=0.5, null_std=0.02)
    facts = scored(model, model, splits=SplitFacts(across=across))
    assert severity(facts, "o-below-neighbours") == expected
    assert causes(facts) == ({"underfitting"} if expected else set())


def test_neighbours_that_tell_nothing_are_no_measure() -> None:
    """Of labels that are nearly all of one class they are as often right as a constant answer."""
    across = Signal(kind="classes", n=200, k=5, score=0.965, null_mean=0.963, null_std=0.01)
    assert severity(scored(0.76, 0.76, splits=SplitFacts(across=across)), "o-below-neighbours") is None


def test_what_fits_its_training_data_does_not_underfit() -> None:
    across = SplitFacts(across=Signal(kind="classes", n=400, k=5, score=0.9, null_mean=0.5, null_std=0.02, vote=0.9))
    assert severity(scored(0.6, 0.6, splits=across), "o-below-neighbours") == "warning"
    assert severity(scored(0.97, 0.6, splits=across), "o-below-neighbours") is None
    # in eval mode it is poor on both, as where running statistics are at fault; the run says that it was learned
    poor = scored(0.6, 0.6, splits=across)
    for end, expected in ((0.98, None), (0.65, "warning"), (98.0, "warning")):
        assert poor.training is not None
        logged = structs.replace(poor.training, series=[*poor.training.series, series("train_accuracy", [end] * 20)])
        assert severity(structs.replace(poor, training=logged), "o-below-neighbours") == expected


@pytest.mark.parametrize(("own", "expected"), [(0.985, None), (0.1, "warning")])
def test_numbers_that_were_learned_by_heart_are_no_underfitting(own: float, expected: str | None) -> None:
    def fit(r2: float) -> EvaluationFacts:
        numbers = Regression(r2=r2, mae=1 - r2, mse=1 - r2, target=stats(0, 1), residual=stats(0, (1 - r2) ** 0.5))
        return EvaluationFacts(task="regression", n_samples=400, regression=numbers)

    across = Signal(kind="numbers", n=110, k=5, score=0.42, null_mean=-0.18, null_std=0.02)
    facts = report(
        None,
        training=run(FALL, FALL),
        evaluation=fit(0.17),
        train_evaluation=fit(own),
        splits=SplitFacts(across=across),
    )
    assert severity(facts, "o-below-neighbours") == expected


WAYS = {"before": 2.0, "same": 1.95, "steps": 120.0, "rate": 1e-4, "decay": 0.0, "drop": 0.0, "samples": 200.0}
SLOW = [2.3 - 0.015 * e for e in range(20)]


@pytest.mark.parametrize(
    ("numbers", "rule", "cause"),
    [
        ({"faster": 1.0, "slower": 1.99}, "faster-helps", "lr-too-low"),
        ({"faster": 2.4, "slower": 1.2}, "slower-helps", "lr-too-high"),
        ({"faster": 1.9, "slower": 2.0, "thawed": 1.0}, "thawing-helps", "frozen-layers"),
        ({"faster": 1.9, "slower": 2.0, "owned": 1.0}, "owning-helps", "params-not-in-optimizer"),
        ({"faster": 1.9, "slower": 2.0, "unregularised": 1.0, "decay": 1.0}, "freedom-helps", "over-regularised"),
    ],
)
def test_the_way_that_helps_names_the_cause(numbers: dict[str, float], rule: str, cause: str) -> None:
    facts = report(None, trials=tried("other-ways", **WAYS | numbers), training=run(SLOW, SLOW))
    assert severity(facts, rule) == "warning"
    assert causes(facts) == {cause}


def test_a_pretrained_body_that_is_frozen_is_meant() -> None:
    numbers: dict[str, Any] = WAYS | {"faster": 1.9, "slower": 2.0, "thawed": 1.0}
    across = SplitFacts(across=Signal(kind="classes", n=400, k=5, score=0.9, null_mean=0.5, null_std=0.02))
    for learned, expected in ((1.0, "info"), (0.0, "warning")):
        trials = tried("other-ways", **numbers, learned=learned)
        facts = scored(0.7, 0.7, splits=across, trials=trials, training=run(SLOW, SLOW))
        assert severity(facts, "thawing-helps") == severity(facts, "o-below-neighbours") == expected
    # even where next to nothing is left of a poor loss
    trials = tried("other-ways", **numbers | {"thawed": 0.3}, learned=1.0)
    facts = scored(0.7, 0.7, splits=across, trials=trials, training=run(SLOW, SLOW))
    assert severity(facts, "thawing-helps") == "info"
    # another change would bring more, so what is frozen is not what limits
    trials = tried("other-ways", **numbers | {"faster": 0.5}, learned=1.0)
    facts = scored(0.7, 0.7, splits=across, trials=trials, training=run(SLOW, SLOW))
    assert severity(facts, "o-below-neighbours") == "warning"


@pytest.mark.parametrize(
    ("numbers", "losses"),
    [
        ({"faster": 1.92, "same": 1.99}, SLOW),  # 4 % of the loss
        ({"faster": 1.3, "same": 1.7}, SLOW),  # going on as before gains nearly half of that
        ({"faster": 1.4}, [6.0 - 0.2 * e for e in range(20)]),  # little against what the run gained
        ({"faster": 1.0}, [20.0 - 0.1 * e for e in range(20)]),  # the loss of the run is another one
    ],
)
def test_a_way_that_helps_little_says_nothing(numbers: dict[str, float], losses: list[float]) -> None:
    facts = report(None, trials=tried("other-ways", **WAYS | numbers), training=run(losses, losses))
    assert severity(facts, "faster-helps") is None


@pytest.mark.parametrize(
    ("table", "ways", "expected"),
    [
        (BAD, {"same": 1.645, "faster": 1.61, "slower": 1.6503}, "warning"),
        (BAD, {"same": 1.645, "faster": 1.64, "slower": 1.6503}, None),  # not in proportion to the rate
        (BAD, {"same": 1.6506, "faster": 1.648, "slower": 1.65095}, None),  # next to nothing
        (GOOD, {"same": 1.645, "faster": 1.61, "slower": 1.6503}, None),  # it has learned, little as there is to gain
    ],
)
def test_a_guess_that_moves_with_the_rate(table: Any, ways: dict[str, float], expected: str | None) -> None:
    losses = [1.68 - 0.0015 * e for e in range(20)]
    facts = report(table, trials=tried("other-ways", **WAYS | {"before": 1.651} | ways), training=run(losses, losses))
    assert severity(facts, "faster-helps") == expected
    if expected:
        assert causes(facts) == {"lr-too-low"}


@pytest.mark.parametrize(
    ("vote", "freed", "expected"), [(0.95, 0.08, "warning"), (0.72, 0.08, None), (0.95, 0.4, None)]
)
def test_a_fit_behind_its_neighbours_that_dropout_holds_back(vote: float, freed: float, expected: str | None) -> None:
    """What the first losses of a run owe to dropout is no gain of the run."""
    known = SplitFacts(across=Signal(kind="classes", n=400, k=5, score=0.9, vote=vote, null_mean=0.5, null_std=0.02))
    numbers: dict[str, Any] = WAYS | {"before": 0.7, "same": 0.65, "faster": 1.0, "unregularised": freed, "drop": 0.85}
    fallen = [2.2, *[0.77] * 19]
    trials = tried("other-ways", **numbers)
    facts = scored(0.7, 0.7, splits=known, trials=trials, training=run(fallen, [0.7] * 20))
    assert severity(facts, "freedom-helps") == expected
    assert ("over-regularised" in causes(facts)) == (expected is not None)


def test_of_several_ways_the_best_is_the_diagnosis() -> None:
    trial = tried("other-ways", **WAYS, faster=1.2, slower=1.9, unregularised=0.8)
    facts = report(None, trials=trial, training=run(SLOW, SLOW))
    assert (severity(facts, "faster-helps"), severity(facts, "freedom-helps")) == ("info", "warning")
    assert causes(facts) == {"over-regularised"}


@pytest.mark.parametrize(
    ("losses", "attention", "expected"), [(SLOW, 1.0, "warning"), (SLOW, 0.0, "info"), (FALL, 1.0, "info")]
)
def test_a_model_that_cannot_see_order_and_fits_poorly(losses: list[float], attention: float, expected: str) -> None:
    trial = tried("tokens-reordered", change=0.0, attention=attention, recurrent=0.0, drawn=0.0)
    assert severity(report(trials=trial, training=run(losses)), "position-unseen") == expected
    # a recurrent layer sees order by nature
    trial = tried("tokens-reordered", change=0.0, attention=attention, recurrent=1.0, drawn=0.0)
    assert severity(report(trials=trial, training=run(losses)), "position-unseen") == "info"
