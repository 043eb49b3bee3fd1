"""Faults that leave a model working after all, or that look like another fault: sick, and the healthy thing beside."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.document.evaluation import LabelCounts, RegionScore
from reportgen.document.facts import (
    Classification,
    DatasetFacts,
    EvaluationFacts,
    Regression,
    Report,
    WeightFacts,
    WeightRow,
)
from reportgen.document.history import LoopFacts, OptimizerRun
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.judge import judge
from reportgen.page import wording

from .test_left_alone import Made, points, trained
from .test_left_alone import causes as causes_of
from .test_rules_model import GOOD, causes, report, run, series, severity, tried

LEVEL = [2.3, 1.6, *[1.5] * 18]
STEADY = [1e-2] * 20
COSINE = [1e-2 * 0.5 * (1 + math.cos(math.pi * e / 20)) for e in range(20)]
DROPPED = [1e-2 * 0.1**e for e in range(20)]
LOWERED = [1e-2 * 0.1 ** min(e, 3) for e in range(20)]  # to a thousandth, by which weights still move


def ways(**numbers: float) -> TrialFacts:
    usual = {"before": 1.5, "same": 0.5, "steps": 120.0, "rate": 1e-2, "decay": 0.0, "drop": 0.0}
    return tried("other-ways", **usual | numbers)


def weight(rms: float) -> WeightFacts:
    stats = TensorStats(count=6400, sum=0.0, m2=6400 * rms * rms, min=-3 * rms, max=3 * rms)
    row = WeightRow(
        name="fc.weight",
        module="Linear",
        role="weight",
        shape=[64, 100],
        dtype="float32",
        fan_in=100,
        trainable=True,
        stats=stats,
    )
    return WeightFacts(rows=[row])


@pytest.mark.parametrize(
    ("rates", "rms", "same", "cause"),
    [
        (DROPPED, 0.058, 0.5, "lr-schedule-collapse"),
        (STEADY, 0.005, 0.5, "over-regularised"),  # the default scale is 0.058 here
        (STEADY, 0.058, 0.5, None),
        (COSINE, 0.058, 0.5, None),  # something else held it back
        (STEADY, 0.005, 1.4, None),  # there was little left to gain
    ],
)
def test_a_loop_that_holds_the_run_back(rates: list[float], rms: float, same: float, cause: str | None) -> None:
    history = run(LEVEL, LEVEL, series=[series("learning_rate", rates)])
    facts = report(None, trials=ways(same=same), training=history, weights=weight(rms))
    assert severity(facts, "plain-helps") == ("warning" if cause else None)
    assert causes(facts) == ({cause} if cause else set())


@pytest.mark.parametrize(
    ("rms", "fresh", "told"),
    [
        (0.005, 1.1, True),
        (0.005, 3.0, False),  # the run gained more than it lacks
        (0.058, 1.1, False),  # nothing is pulled to zero
    ],
)
def test_what_a_penalty_left_is_held_against_a_fresh_copy(rms: float, fresh: float, told: bool) -> None:
    logged = [9.0, 2.0, *[1.0] * 18]  # most of what fell was the penalty
    history = run(logged, [0.8, 0.9, *[0.96] * 18], series=[series("learning_rate", STEADY)])
    trials = ways(before=0.96, same=0.5)
    trials.trials.append(Trial(name="fresh-start", status="done", numbers={"loss": fresh}))
    facts = report(None, trials=trials, training=history, weights=weight(rms))
    assert severity(facts, "plain-helps") == ("warning" if told else None)
    if told:
        assert causes(facts) == {"over-regularised"}


@pytest.mark.parametrize(
    ("rates", "same", "told"),
    [
        (LOWERED, 0.26, True),
        (LOWERED, 0.28, False),
        (DROPPED, 0.45, False),  # a run that had come to its floor goes up at the full rate
        (COSINE, 0.15, False),
        ([1e-2] * 13 + [1e-5] * 7, 0.15, False),  # a late drop
        ([1e-2] * 5 + [1e-8] * 15, 0.285, True),  # nothing moved for most of the run
        ([1e-2] * 5 + [1e-8] * 15, 0.295, False),
        ([1e-2] * 13 + [1e-8] * 7, 0.285, False),
    ],
)
def test_a_rate_that_was_gone_by_half_time_is_told_by_a_tenth_of_the_loss(
    rates: list[float], same: float, told: bool
) -> None:
    good = [2.3, 0.8, *[0.3] * 18]  # a good fit, which half of what the run gained is not left of
    history = run(good, good, series=[series("learning_rate", rates)])
    facts = report(None, trials=ways(before=0.3, same=same), training=history, weights=weight(0.058))
    assert severity(facts, "plain-helps") == ("warning" if told else None)
    assert causes(facts) == ({"lr-schedule-collapse"} if told else set())


@pytest.mark.parametrize(
    ("rates", "same", "faster", "told"),
    [
        (LOWERED, 0.28, 0.1, True),
        (LOWERED, 0.28, 0.25, False),  # ten times the rate brings little, so the floor is near
        (LOWERED, 0.296, 0.1, False),
        (COSINE, 0.28, 0.1, False),
    ],
)
def test_a_rate_that_was_gone_early_is_told_by_ten_times_its_peak(
    rates: list[float], same: float, faster: float, told: bool
) -> None:
    good = [2.3, 0.8, *[0.3] * 18]
    history = run(good, good, series=[series("learning_rate", rates)])
    facts = report(None, trials=ways(before=0.3, same=same, faster=faster), training=history, weights=weight(0.058))
    assert severity(facts, "plain-helps") == ("warning" if told else None)


@pytest.mark.parametrize(
    ("made", "peak", "same", "told"),
    [
        (1e-2, 2e-4, 1.0, True),
        (1e-2, 2e-3, 1.0, False),  # a fifth of it, which may be meant
        (1e-2, 2e-4, 2.3, False),  # the full rate brings no more than the run did
        (None, 2e-4, 1.0, False),  # no schedule
    ],
)
@pytest.mark.parametrize("name", ["initial_lr", "max_lr"])  # the latter is what OneCycleLR was to come to
def test_a_warm_up_longer_than_the_run(made: float | None, peak: float, same: float, told: bool, name: str) -> None:
    falling = [2.5 - 0.007 * e for e in range(20)]
    settings = {"lr": 1e-7} | ({name: made} if made else {})
    loop = LoopFacts(optimizers=[OptimizerRun(name="Adam", n_steps=400, settings=settings)])
    rates = series("learning_rate", [peak * (e + 1) / 20 for e in range(20)])
    history = structs.replace(run(falling, falling, series=[rates]), loop=loop)
    facts = report(None, trials=ways(before=2.36, same=same), training=history, weights=weight(0.058))
    assert severity(facts, "plain-helps") == ("warning" if told else None)
    assert ("lr-schedule-collapse" in causes(facts)) is told


@pytest.mark.parametrize(("end", "told"), [(400.0, True), (3.0, False)])
def test_a_rate_that_was_gone_after_the_first_step(end: float, told: bool) -> None:
    """The whole number of a share that is left is 1 at first, and 0 ever after; of a rate at rest changes are kept."""
    flat = [2.3 + 0.001 * (-1) ** e for e in range(20)]
    by_step = structs.replace(series("train_loss", flat, "step"), x=[20.0 * (e + 1) for e in range(20)])
    rates = structs.replace(series("learning_rate", [1e-2, 0.0, 0.0], "step"), x=[1.0, 2.0, end])
    facts = report(None, training=run(flat, flat, series=[rates, by_step]), weights=weight(0.058))
    assert (severity(facts, "lr-schedule-collapse") == "warning") is told
    assert ("lr-schedule-collapse" in causes(facts)) is told


def test_neighbours_count_by_their_vote() -> None:
    across = Signal(kind="classes", n=400, k=5, score=0.7, vote=0.9, null_mean=0.5, null_std=0.02)
    table = Classification(classes=["a", "b"], confusion=[[130, 70], [70, 130]])
    facts = report(table, training=run(), splits=SplitFacts(across=across))
    assert severity(facts, "o-below-neighbours") == "warning"
    lower = structs.replace(facts, splits=SplitFacts(across=structs.replace(across, vote=0.7)))
    assert severity(lower, "o-below-neighbours") is None


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[300, 70], [6, 24]], None),  # trained for the recall of a class of one in fifteen
        ([[300, 70], [24, 6]], "warning"),  # it misses both
        ([[240, 60], [40, 60]], "warning"),  # classes that are not rare: accuracy is what is asked for
    ],
)
def test_recall_that_is_bought_with_accuracy_is_no_poor_fit(table: list[list[int]], expected: str | None) -> None:
    across = Signal(kind="classes", n=400, k=5, score=0.97, vote=0.97, null_mean=0.92, null_std=0.01)
    facts = report(
        Classification(classes=["a", "b"], confusion=table), training=run(LEVEL), splits=SplitFacts(across=across)
    )
    assert severity(facts, "o-below-neighbours") == expected


@pytest.mark.parametrize(
    ("solved", "departure", "expected"), [(0.0, 0.3, "warning"), (1.0, 0.3, None), (0.0, 0.0, None)]
)
def test_a_classifier_with_too_little_room(solved: float, departure: float, expected: str | None) -> None:
    rows = [[40] * 5 for _ in range(5)]
    rows[0][0], rows[1][1] = 120, 120
    table = Classification(classes=list("abcde"), confusion=rows)
    trials = TrialFacts(
        trials=[
            *tried("one-batch", solved=solved, accuracy=0.5, samples=32.0, start=1.6, end=1.2, steps=200.0).trials,
            *tried("affinity", departure=departure, collapsible=1.0, affine_layers=2.0, redundant=0.0).trials,
        ],
        budget=20.0,
    )
    assert severity(report(table, training=run(LEVEL), trials=trials), "too-narrow") == expected


BLOWN = [2e5, 9e4, 6e4, 6.2e4, 8e4, 3e6, 5e9, 1e13, 1e18, 1e24]


@pytest.mark.parametrize(
    ("mean", "begins", "curve", "causes_of_it"),
    [
        (300.0, 6e4, BLOWN, {"unscaled-target"}),
        (300.0, 2.0, BLOWN, {"lr-too-high"}),  # a loss that the size of the targets does not go into
        (3.0, 6e4, BLOWN, {"lr-too-high"}),
        (300.0, 6e4, [2e5, 9e4, 6e4, 5e4, 4e4, 3e4, 2e4, 1e4, 9e3, 8e3], set()),
    ],
)
def test_a_run_that_large_targets_blow_up(
    mean: float, begins: float, curve: list[float], causes_of_it: set[str]
) -> None:
    target = TensorStats(count=400, sum=400 * mean, m2=400 * (mean / 4) ** 2, min=mean / 2, max=mean * 2)
    fit = Regression(
        r2=-5.0 if causes_of_it else 0.9, mse=1.0, mae=1.0, target=target, residual=structs.replace(target, sum=0.0)
    )
    told = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", target=target)
    trials = TrialFacts(trials=[Trial(name="fresh-start", status="done", numbers={"loss": begins})], budget=20.0)
    facts = report(None, training=run(curve), trials=trials, evaluation=told, train_dataset=data)
    assert causes(facts) == causes_of_it


@pytest.mark.parametrize(
    ("std", "r2", "expected"), [(400.0, 0.4, "warning"), (400.0, 0.9, None), (20.0, 0.4, None), (5e3, 0.9, "info")]
)
def test_targets_too_large_to_be_learned_in_time(std: float, r2: float, expected: str | None) -> None:
    def stats(width: float) -> TensorStats:
        return TensorStats(count=400, sum=0.0, m2=400 * width * width, min=-3 * width, max=3 * width)

    fit = Regression(r2=r2, mse=(1 - r2) * std**2, mae=std, target=stats(std), residual=stats(std * (1 - r2) ** 0.5))
    both = {
        n: EvaluationFacts(task="regression", n_samples=400, regression=fit) for n in ("evaluation", "train_evaluation")
    }
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", target=stats(std))
    assert severity(report(None, training=run(), train_dataset=data, **both), "d-target-scale") == expected


@pytest.mark.parametrize(("hits", "expected"), [(0, "warning"), (1, "warning"), (4, "info")])
def test_rare_classes_of_a_few_samples_each_are_held_against_it_together(hits: int, expected: str) -> None:
    rows = [[5 - hits * (i < 3), *[hits * (i < 3 and i == j) for j in range(4)]] for i in range(4)]
    table = Classification(classes=list("abcde"), confusion=[[380, 0, 0, 0, 0], *rows])
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", class_counts=[380, 5, 5, 5, 5])
    told = report(table, training=run(), train_dataset=data)
    assert severity(told, "d-class-imbalance") == expected
    (finding,) = [f for f in judge(told).findings if f.rule == "d-class-imbalance"]
    if expected == "warning":
        assert (finding.evidence["classes"], finding.evidence["recall"]) == (4, 3 * hits / 20)
        assert "rare classes together" in wording.describe(finding)


@pytest.mark.parametrize(("spread", "expected"), [(0.3, "warning"), (1e-7, "info")])
def test_one_answer_whatever_the_input_is_no_fault_of_the_rare_class(spread: float, expected: str) -> None:
    table = Classification(classes=list("ab"), confusion=[[180, 0], [20, 0]])
    data = DatasetFacts(n_samples=200, n_batches=4, shape="N x 8", dtype="float32", class_counts=[180, 20])
    trials = tried("inputs-permuted", spread=spread, input_spread=1.0, samples=64.0)
    told = report(table, training=run(), train_dataset=data, trials=trials)
    assert severity(told, "d-class-imbalance") == expected
    assert severity(told, "input-ignored") == (None if expected == "warning" else "error")
    assert ("class-imbalance" in causes(told)) == (expected == "warning")


@pytest.mark.parametrize(
    ("spread", "r2", "n_beside", "expected"),
    [
        (0.1, -0.6, 400, "warning"),
        (0.8, -0.6, 400, None),
        (0.1, 0.3, 400, None),
        (0.1, -0.6, 0, None),
        (1e-7, 0, 0, "error"),
    ],
)
def test_a_generator_is_held_against_the_real_samples(
    spread: float, r2: float, n_beside: int, expected: str | None
) -> None:
    unit = TensorStats(count=400, sum=0.0, m2=400.0, min=-3.0, max=3.0)
    numbers = Regression(r2=r2, mae=1.0, mse=1.0, target=unit, residual=unit)
    history = run()
    assert history.loop is not None
    history = structs.replace(history, loop=structs.replace(history.loop, n_beside=n_beside))
    facts = report(
        None,
        training=history,
        evaluation=EvaluationFacts(task="regression", n_samples=400, regression=numbers),
        trials=tried("inputs-permuted", spread=spread, real_spread=0.9, input_spread=1.0, samples=64.0),
    )
    assert severity(facts, "input-ignored") == expected
    if expected == "warning":
        assert "posterior-collapse" in causes(facts)


def test_rare_classes_are_held_against_the_common_one() -> None:
    counts = [340, 20, 20, 20]
    lost = Classification(classes=list("abcd"), confusion=[[330, 4, 3, 3], *[[18, 1, 1, 0]] * 3])
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", class_counts=counts)
    assert severity(report(lost, training=run(), train_dataset=data), "d-class-imbalance") == "warning"
    found = Classification(
        classes=list("abcd"), confusion=[[330, 4, 3, 3], [2, 18, 0, 0], [2, 0, 18, 0], [2, 0, 0, 18]]
    )
    assert severity(report(found, training=run(), train_dataset=data), "d-class-imbalance") == "info"


@pytest.mark.parametrize(
    ("table", "change", "expected"), [(GOOD, 0.1, "warning"), (GOOD, 1e-3, "info"), (None, 0.1, "info")]
)
def test_noise_that_stays_on_in_a_classifier(table: Classification | None, change: float, expected: str) -> None:
    trial = tried("eval-twice", {"source": "sampling"}, change=change, same_seed=0.0)
    assert severity(report(table, trials=trial, training=run()), "eval-nondeterminism") == expected


@pytest.mark.parametrize(
    ("loss", "yes", "expected"),
    [("CrossEntropyLoss", 30, "warning"), ("BCEWithLogitsLoss", 30, None), ("CrossEntropyLoss", 10, None)],
)
def test_several_labels_under_a_loss_of_one(loss: str, yes: int, expected: str | None) -> None:
    labels = [LabelCounts(label=str(i), tp=yes, fp=5, fn=yes // 2, tn=100 - yes - yes // 2 - 5) for i in range(4)]
    facts = report(None, evaluation=EvaluationFacts(task="multilabel", n_samples=100, labels=labels), training=run())
    facts = structs.replace(facts, subject=structs.replace(facts.subject, loss=loss))
    assert severity(facts, "loss-mismatch") == expected


def net(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    between: list[nn.Module] = [nn.BatchNorm1d(32)] if norm else []
    return nn.Sequential(nn.Linear(6, 32), *between, nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


def fitted(model: nn.Module, parts: Callable[[nn.Module], list[Tensor]] | None = None) -> Report:
    x = points()
    return trained(model, x, x[:, :3].argmax(1), F.cross_entropy, parts=parts)


def test_a_layer_in_the_middle_that_no_optimizer_holds() -> None:
    def without(layer: str) -> Callable[[nn.Module], list[Tensor]]:
        return lambda model: [p for n, p in model.named_parameters() if not n.startswith(layer)]

    assert causes_of(fitted(net(), without("2."))) == {"params-not-in-optimizer"}
    assert causes_of(fitted(net(), without("0."))) == {"params-not-in-optimizer"}  # as it was drawn
    kept = net()
    with torch.no_grad():
        kept[0].weight.mul_(torch.linspace(0.6, 1.4, 32)[:, None])  # type: ignore[operator]
    assert causes_of(fitted(kept, without("0."))) == set()  # as a backbone that is kept


def test_a_layer_that_another_is_called_in_place_of() -> None:
    def made(second: str) -> Made:
        torch.manual_seed(0)
        layers = {"a": nn.Linear(6, 32), "b": nn.Linear(32, 32), "c": nn.Linear(32, 32), "d": nn.Linear(32, 3)}
        return Made(lambda s, x: s.d(s.get_submodule(second)(s.b(s.a(x).relu()).relu()).relu()), **layers)

    assert causes_of(fitted(made("b"))) == {"unused-parameters"}
    assert causes_of(fitted(made("c"))) == set()


@pytest.mark.slow
def test_one_part_in_eval_mode_while_the_rest_trains() -> None:
    class Half(nn.Sequential):
        def train(self, mode: bool = True) -> Half:
            super().train(mode)
            self[1].eval()
            return self

    layers = [nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()]
    torch.manual_seed(0)
    facts = fitted(Half(*layers, nn.Linear(32, 3)))
    assert [f.detail["direction"] for f in facts.findings if f.rule == "eval-mode-training"] == ["part"]
    assert "eval-mode-training" in causes_of(facts)
    assert causes_of(fitted(net(norm=True))) == set()


@pytest.mark.parametrize(
    ("mean", "std", "residual", "optimizer", "rate", "expected"),
    [
        (150.0, 77.0, 150.0, "Adam", 1e-3, "warning"),
        (150.0, 77.0, 150.0, "SGD", 1e-6, "warning"),
        (150.0, 77.0, 150.0, "Adam", 1e-5, None),  # such a rate reaches nothing
        (150.0, 77.0, 60.0, "Adam", 1e-3, None),  # the mean is not what is missing
        (3.0, 1.0, 3.0, "Adam", 1e-3, None),
    ],
)
def test_large_targets_that_were_not_met_in_the_mean(
    mean: float, std: float, residual: float, optimizer: str, rate: float, expected: str | None
) -> None:
    def stats(middle: float, width: float) -> TensorStats:
        return TensorStats(count=400, sum=400 * middle, m2=400 * width**2, min=middle - width, max=middle + width)

    mse = residual**2 + 77.0**2
    fit = Regression(
        r2=1 - mse / std**2, mse=mse, mae=residual, target=stats(mean, std), residual=stats(residual, 77.0)
    )
    both = {
        n: EvaluationFacts(task="regression", n_samples=400, regression=fit) for n in ("evaluation", "train_evaluation")
    }
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 8", dtype="float32", target=stats(mean, std))
    history = run(series=[series("learning_rate", [rate] * 4)])
    loop = LoopFacts(optimizers=[OptimizerRun(name=optimizer, n_steps=400)], n_backwards_seen=400)
    history = structs.replace(history, loop=loop)
    assert severity(report(None, training=history, train_dataset=data, **both), "d-target-scale") == expected


@pytest.mark.parametrize(("hit", "expected"), [(40, "warning"), (1500, "info")])
def test_a_rare_class_of_maps_is_lost_where_few_of_its_places_are_found(hit: int, expected: str) -> None:
    counts = [38_000, 2000]
    there = [
        RegionScore(label="ground", intersection=37_500, union=38_500, iou=0.97, samples=100),
        RegionScore(label="thing", intersection=hit, union=2500, iou=hit / 2500, samples=100),
    ]
    evaluation = EvaluationFacts(task="segmentation", n_samples=100, regions=there)
    data = DatasetFacts(n_samples=100, n_batches=4, shape="N x 1 x 20 x 20", dtype="float32", class_counts=counts)
    told = report(None, training=run(), train_dataset=data, dataset=data, evaluation=evaluation)
    assert severity(told, "d-class-imbalance") == expected
    # the same maps in floating point, as binary cross-entropy wants them
    yes = TensorStats(count=40_000, sum=2000.0, m2=2000 - 2000**2 / 40_000, min=0.0, max=1.0)
    data = structs.replace(data, class_counts=None, target=yes)
    told = report(None, training=run(), train_dataset=data, dataset=data, evaluation=evaluation)
    assert severity(told, "d-class-imbalance") == expected
    grey = structs.replace(data, target=structs.replace(yes, m2=900.0))  # of values between
    told = report(None, training=run(), train_dataset=grey, dataset=grey, evaluation=evaluation)
    assert severity(told, "d-class-imbalance") is None
