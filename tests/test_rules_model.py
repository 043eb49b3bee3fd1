"""Rules on weights that are handed over, signals on a long way, and capacity: sick facts, and healthy ones beside."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import nn

import reportgen
from reportgen.document.codec import FORMAT_VERSION
from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    ChannelFacts,
    Classification,
    EvaluationFacts,
    Finding,
    GradientFacts,
    GradientRow,
    Meta,
    OutputFacts,
    Regression,
    Report,
    Severity,
    SpreadFacts,
    SubjectFacts,
    WeightFacts,
    WeightRow,
)
from reportgen.document.history import History, LayerRun, LoopFacts, OptimizerRun, ParameterRun, Series, Trace
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.judge import judge
from reportgen.health.signs import EITHER, sign
from reportgen.page import wording
from reportgen.probe import weights

GOOD = Classification(classes=["a", "b"], confusion=[[200, 5], [5, 190]])
BAD = Classification(classes=["a", "b"], confusion=[[200, 0], [200, 0]])
FALL = [2.3 * 0.8**e + 0.05 for e in range(20)]
FLAT = [0.693] * 20


def series(name: str, y: list[float], axis: Any = "epoch") -> Series:
    return Series(name=name, axis=axis, x=[float(i) for i in range(len(y))], y=list(y), n=len(y))


def run(train: list[float] | None = None, val: list[float] | None = None, **more: Any) -> History:
    curves = [series("train_loss", train or FALL), *([series("val_loss", val)] if val else []), *more.pop("series", [])]
    loop = LoopFacts(optimizers=[OptimizerRun(name="Adam", n_steps=400)], n_backwards_seen=400)
    return History(series=curves, epochs=20, steps=400, loop=loop, **more)


HALF = Classification(classes=["0", "1"], confusion=[[140, 60], [60, 140]])  # works, and is far from right


def report(table: Classification | None = GOOD, **more: Any) -> Report:
    subject = SubjectFacts(name="Net", kind="model", inputs="real", n_samples=400, n_batches=10)
    if table is not None:
        more.setdefault("evaluation", EvaluationFacts(task="multiclass", n_samples=400, classification=table))
    return Report(format_version=FORMAT_VERSION, title="t", meta=Meta(), subject=subject, **more)


def tried(name: str, detail: dict[str, str] | None = None, **numbers: float) -> TrialFacts:
    return TrialFacts(trials=[Trial(name=name, status="done", numbers=numbers, detail=detail or {})], budget=20.0)


# a warning of theirs has another way too, of which the limits do not tell
_OTHER_WAYS = {"d-target-scale", "embedding-collapsed", "h-diverged", "one-batch", "optimizer-state-missing"}
_OTHER_WAYS |= {"precision-lost", "update-ratio"}


def crossed(finding: Finding) -> bool:
    """Tell whether the numbers lie on the side of their limits that the page says raises the finding."""
    told = []
    for key, limit in finding.threshold.items():
        side, value = sign(finding.rule, key, limit, finding.detail.get("direction", "")), finding.evidence.get(key)
        if side and value is not None:
            told.append({"<": value < limit, "≥": value >= limit, ">": value > limit}[side])
    if finding.severity is Severity.INFO or finding.rule in _OTHER_WAYS:
        return True
    return not told or (any(told) if finding.rule in EITHER else all(told))


def severity(facts: Report, rule: str) -> str | None:
    judged = judge(facts)
    assert not [row for row in judged.coverage if row.failed]
    hit: list[Finding] = [f for f in judged.findings if f.rule == rule]
    for finding in hit:
        assert crossed(finding)
        assert wording.describe(finding).endswith(".")
        assert f"{finding.subject}: {next(iter(finding.evidence), '')} " not in wording.describe(finding)
    assert len(hit) <= 1
    return hit[0].severity.value if hit else None


def causes(facts: Report) -> set[str]:
    return {d.cause for d in judge(facts).diagnoses if d.severity is not Severity.INFO}


# ------------------------------------------------------------------------------------------------------- handover


def moved(changed: bool, ratios: list[float]) -> ParameterRun:
    return ParameterRun(
        name="fc.weight",
        module="Linear",
        shape=[10, 100],
        is_matrix=True,
        trainable=True,
        optimizer=0,
        group=0,
        n_steps=400,
        n_looked=len(ratios),
        moved=0.3 if changed else 0.0,
        changed=changed,
        update_ratio=Trace(x=[float(i) for i in range(len(ratios))], y=list(ratios)),
    )


def test_weights_that_moved_and_are_those_of_the_start_were_set_back() -> None:
    back = report(BAD, training=run(parameters=[moved(False, [1e-3] * 8)]))
    assert severity(back, "weights-set-back") == "error"
    assert severity(back, "no-weight-update") is None
    assert causes(back) == {"checkpoint-not-loaded"}
    assert severity(report(training=run(parameters=[moved(True, [1e-3] * 8)])), "weights-set-back") is None
    still = report(BAD, training=run(FLAT, parameters=[moved(False, [0.0] * 8)]))
    assert severity(still, "weights-set-back") is None
    assert severity(still, "no-weight-update") == "error"


@pytest.mark.parametrize(("measured", "expected"), [(0.09, None), (0.4, None), (1.4, "warning"), (2.3, "error")])
def test_a_loss_far_above_that_of_the_run(measured: float, expected: str | None) -> None:
    evaluation = EvaluationFacts(task="multiclass", n_samples=400, classification=GOOD, loss=measured)
    facts = report(None, evaluation=evaluation, training=run(FALL, [v + 0.02 for v in FALL]))
    assert severity(facts, "measured-otherwise") == expected
    tokens = report(None, trials=tried("as-it-is", loss=measured, samples=100.0), training=run(FALL, FALL))
    assert severity(tokens, "measured-otherwise") == expected
    if expected:
        assert causes(facts) == {"checkpoint-not-loaded"}


def test_a_run_that_hardly_learned_has_no_way_back_up() -> None:
    evaluation = EvaluationFacts(task="multiclass", n_samples=400, classification=BAD, loss=0.75)
    facts = report(None, evaluation=evaluation, training=run([0.70] * 20, [0.69] * 20))
    assert severity(facts, "measured-otherwise") is None


class Frozen(nn.Module):
    """Two layers that are frozen, and a head; trained weights stand in for pretrained ones."""

    def __init__(self, pretrained: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.neck, self.head = nn.Linear(20, 30), nn.Linear(30, 30), nn.Linear(30, 3)
        for layer in (self.body, self.neck):
            layer.requires_grad_(False)
            if pretrained:
                layer.weight.data.add_(0.1 * torch.randn_like(layer.weight))

    def facts(self) -> WeightFacts:
        return weights.of_model(self, None)


@pytest.mark.parametrize("seed", range(5))
def test_frozen_layers_that_hold_nothing_are_found(seed: int) -> None:
    torch.manual_seed(seed)
    fresh, known = Frozen(False), Frozen(True)
    for layer in (fresh.body, fresh.neck):
        layer.reset_parameters()
    assert severity(report(weights=fresh.facts(), training=run()), "frozen-at-init") == "warning"
    assert causes(report(weights=fresh.facts(), training=run())) == {"frozen-layers"}
    assert severity(report(weights=known.facts(), training=run()), "frozen-at-init") is None
    fresh.neck.requires_grad_(True)
    assert causes(report(weights=fresh.facts(), training=run())) == {"frozen-layers"}
    for p in fresh.parameters():
        p.requires_grad_(True)
    assert severity(report(weights=fresh.facts(), training=run()), "frozen-at-init") is None


def test_the_range_of_a_fresh_layer_by_hand() -> None:
    values = [(2 * i + 1) / 1000 - 1 for i in range(1000)]  # even between -1 and 1
    stats = TensorStats(
        count=1000, sum=0.0, m2=math.fsum(v * v for v in values) / 25, min=min(values) / 5, max=max(values) / 5
    )
    row = WeightRow(
        name="w",
        module="Linear",
        shape=[40, 25],
        dtype="float32",
        role="weight",
        trainable=False,
        fan_in=25,
        stats=stats,
    )
    facts = WeightFacts(rows=[row, structs.replace(row, name="v")])
    assert severity(report(weights=facts, training=run()), "frozen-at-init") == "warning"
    wide = structs.replace(row, name="v", stats=structs.replace(stats, max=0.21))
    assert severity(report(weights=WeightFacts(rows=[row, wide]), training=run()), "frozen-at-init") is None


@pytest.mark.parametrize(("scale", "table", "expected"), [(1e-3, BAD, "warning"), (1e-3, GOOD, None), (0.5, BAD, None)])
def test_weights_pulled_to_nothing(scale: float, table: Classification, expected: str | None) -> None:
    stats = TensorStats(count=1000, sum=0.0, m2=1000 * (scale / 10) ** 2, min=-scale, max=scale)
    row = WeightRow(
        name="fc.weight",
        module="Linear",
        shape=[10, 100],
        dtype="float32",
        role="weight",
        trainable=True,
        fan_in=100,
        stats=stats,
    )
    parameter = structs.replace(moved(True, [1e-3] * 8), moved=0.99, start_rms=0.058)
    both = [row, structs.replace(row, name="out.weight")]
    parameters = [parameter, structs.replace(parameter, name="out.weight")]
    facts = report(table, weights=WeightFacts(rows=both), training=run(FLAT, parameters=parameters))
    assert severity(facts, "weights-shrunk") == expected
    # a usual step is large beside them
    large = [structs.replace(p, update_ratio=Trace(x=[0.0, 50.0, 100.0], y=[0.2, 0.2, 0.2])) for p in parameters]
    stepped = structs.replace(facts, training=run(FLAT, parameters=large))
    assert severity(stepped, "update-ratio") == "warning"
    assert ("lr-too-high" in causes(stepped)) is (expected is None)
    # a single matrix of what is not linear rightly ends near zero
    alone = report(table, weights=WeightFacts(rows=[row]), training=run(FLAT, parameters=[parameter]))
    assert severity(alone, "weights-shrunk") is None
    assert severity(alone, "w-scale") in (None, "info")


@pytest.mark.parametrize(
    ("momentum", "refreshed", "expected"), [(0.99, 0.4, "warning"), (0.1, 0.4, None), (0.99, 0.49, None)]
)
def test_statistics_of_the_last_batches(momentum: float, refreshed: float, expected: str | None) -> None:
    numbers = {"eval_loss": 0.5, "norms_loss": 0.45, "refreshed_loss": refreshed, "stale_batches": 7.0, "batches": 8.0}
    trial = tried("train-and-eval", momentum=momentum, samples=256.0, only_norms=3.0, only_eval=2.0, **numbers)
    facts = report(trials=trial, training=run())
    assert severity(facts, "bn-stale") == expected
    assert causes(facts) == ({"bn-statistics"} if expected else set())


@pytest.mark.parametrize(("fresh", "expected"), [(1.2, "info"), (0.15, "error"), (None, "error")])
def test_twice_a_loss_that_is_next_to_nothing(fresh: float | None, expected: str) -> None:
    numbers = {"eval_loss": 0.05, "norms_loss": 0.02, "worse_batches": 8.0, "batches": 8.0, "samples": 256.0}
    trials = tried("train-and-eval", **numbers).trials
    if fresh is not None:
        trials = [*trials, *tried("fresh-start", loss=fresh).trials]
    facts = report(None, trials=TrialFacts(trials=trials, budget=20.0), training=run())
    assert severity(facts, "eval-train-gap") == expected


@pytest.mark.parametrize(
    ("last", "momentum", "expected"),
    [(0.477, 0.1, "info"), (0.08, 0.1, "error"), (0.13, 0.1, "error"), (0.477, 0.99, "error")],
)
def test_statistics_that_the_last_steps_left_behind(last: float, momentum: float, expected: str) -> None:
    scores = {"only_norms": 32.0, "only_eval": 1.0, "eval_accuracy": 0.87, "norms_accuracy": 0.99}
    numbers = {"eval_loss": 0.37, "norms_loss": 0.1, "refreshed_loss": 0.36, "stale_batches": 2.0, "batches": 8.0}
    trial = tried("train-and-eval", momentum=momentum, samples=256.0, **scores, **numbers)
    val = [1.6, 1.1, 0.6, 0.4, 0.24, 0.13, 0.08, last]
    history = run([1.7, 1.4, 0.9, 0.5, 0.3, 0.18, 0.1, 0.1], val)
    assert severity(report(trials=trial, training=history), "eval-train-gap") == expected
    averaged = LoopFacts(optimizers=[OptimizerRun(name="SGD", n_steps=99, rewritten=True)])
    facts = report(trials=trial, training=structs.replace(history, loop=averaged))
    assert severity(facts, "eval-train-gap") == "error"


@pytest.mark.parametrize(
    ("drop", "solved", "train", "expected"),
    [(0.97, 1.0, FLAT, "warning"), (0.5, 1.0, FLAT, None), (0.97, 0.0, FLAT, None), (0.9, 1.0, FALL, None)],
)
def test_a_dropout_that_leaves_nothing(drop: float, solved: float, train: list[float], expected: str | None) -> None:
    trials = TrialFacts(
        trials=[
            *tried("train-and-eval", drop=drop, eval_loss=0.7, train_loss=0.8, samples=256.0, batches=8.0).trials,
            *tried("one-batch", solved=solved, accuracy=1.0, samples=32.0, start=1.0, end=0.1, tries=1.0).trials,
        ],
        budget=20.0,
    )
    assert severity(report(BAD, trials=trials, training=run(train)), "dropout-too-strong") == expected


# ----------------------------------------------------------------------------------------------------------- flow


def layers(sizes: list[float]) -> list[LayerRun]:
    return [
        LayerRun(name=str(i), kind="Linear", order=i, train_calls=5, rms=Trace(x=[1.0, 50.0], y=[size, 1.0]))
        for i, size in enumerate(sizes)
    ]


def test_outputs_that_grow_from_layer_to_layer_are_a_bad_start() -> None:
    grown = [2.8**i for i in range(7)]
    diverged = [5.0, 9.0, 40.0, 200.0, 900.0, 4000.0, 2e4, 1e5]
    facts = report(BAD, training=run(diverged, layers=layers(grown)))
    assert severity(facts, "signal-by-depth") == "warning"
    assert causes(facts) == {"bad-init"}
    assert severity(report(GOOD, training=run(layers=layers(grown))), "signal-by-depth") == "info"
    assert (
        severity(report(BAD, training=run(diverged, layers=layers([1.3**i for i in range(7)]))), "signal-by-depth")
        is None
    )
    assert (
        severity(report(BAD, training=run(diverged, layers=layers([0.4**i for i in range(9)]))), "signal-by-depth")
        is None
    )


@pytest.mark.parametrize(
    ("scale", "cause"), [(0.1, "exploding-gradients"), (0.14, "exploding-gradients"), (1.0, "bad-init")]
)
def test_growth_that_no_weight_explains_is_the_architecture(scale: float, cause: str) -> None:
    grown, diverged = [2.8**i for i in range(7)], [5.0, 9.0, 40.0, 200.0, 900.0, 4000.0, 2e4, 1e5]
    drawn = [
        ParameterRun(
            name=f"{i}.weight",
            module="Linear",
            shape=[100, 100],
            is_matrix=True,
            trainable=True,
            optimizer=0,
            changed=True,
            start_mean=0.0,
            start_rms=scale,
        )
        for i in range(7)
    ]
    facts = report(BAD, training=run(diverged, layers=layers(grown), parameters=drawn))
    assert causes(facts) == {cause}


@pytest.mark.parametrize(
    ("kind", "ratio", "table", "expected"),
    [
        ("RNN", 3e-3, BAD, "warning"),
        ("RNN", 3e-3, GOOD, "info"),
        ("RNN", 0.3, BAD, None),
        ("LSTM", 3e-3, BAD, None),
        ("LSTM", 1e-7, BAD, "warning"),
    ],
)
def test_gradient_by_time(kind: str, ratio: float, table: Classification, expected: str | None) -> None:
    trial = tried("gradient-by-time", {"layer": "rnn", "kind": kind}, ratio=ratio, early=ratio, late=1.0, steps=30.0)
    assert severity(report(table, trials=trial, training=run()), "gradient-by-time") == expected


STANDS = {"commonest": 0.3, "asked": 300.0}


@pytest.mark.parametrize(
    ("kind", "start", "expected"), [("RNN", 0.95, "warning"), ("RNN", 0.35, None), ("GRU", 0.95, None)]
)
def test_less_of_a_loss_by_time_is_enough_where_the_answer_stands_at_the_start(
    kind: str, start: float, expected: str | None
) -> None:
    numbers = {"ratio": 0.02, "early": 0.02, "late": 1.0, "steps": 80.0, "start": start, "rest": 0.3} | STANDS
    trial = tried("gradient-by-time", {"layer": "rnn", "kind": kind}, **numbers)
    assert severity(report(BAD, trials=trial, training=run(LEVEL, LEVEL)), "gradient-by-time") == expected


@pytest.mark.parametrize(
    ("start", "rest", "table", "expected", "named"),
    [
        (0.95, 0.3, BAD, "warning", {"vanishing-gradients"}),  # what a higher rate found by luck follows from it
        (0.95, 0.9, BAD, "warning", {"lr-too-low"}),
        (0.3, 0.9, BAD, "info", {"lr-too-low"}),  # nobody needs the start
        (0.75, 0.97, BAD, "warning", {"lr-too-low"}),  # both tell
        (0.35, 0.3, BAD, "warning", {"lr-too-low"}),
        (0.95, 0.3, GOOD, "info", {"lr-too-low"}),
    ],
)
def test_where_the_answer_stands_tells_whether_a_gradient_is_missed(
    start: float, rest: float, table: Classification, expected: str, named: set[str]
) -> None:
    numbers = {"ratio": 1e-8, "early": 1e-8, "late": 1.0, "steps": 60.0, "start": start, "rest": rest} | STANDS
    trial = tried("gradient-by-time", {"layer": "rnn", "kind": "RNN"}, **numbers).trials
    ways = {"before": 1.4, "same": 1.4, "faster": 0.4, "slower": 1.4, "steps": 120.0, "rate": 1e-3}
    ways |= {"decay": 0.0, "drop": 0.0, "samples": 300.0}
    faster = tried("other-ways", **ways).trials
    facts = report(table, trials=TrialFacts(trials=[*trial, *faster], budget=20.0), training=run(LEVEL, LEVEL))
    assert severity(facts, "gradient-by-time") == expected
    assert causes(facts) == named


LEVEL = [1.41, *[1.4] * 19]


# ------------------------------------------------------------------------------------------------------- capacity


def layer(name: str, order: int, participation: float, width: int = 16) -> ActivationRow:
    channels = ChannelFacts(call=0, n_channels=width, n_samples=400, n_batches=4, silent=0, constant=0)
    spread = SpreadFacts(
        n_samples=400,
        n_batches=4,
        participation=participation,
        participation_null=15.0,
        mean_r2=1.0,
        mean_r2_null=1 / 399,
    )
    stats = TensorStats(count=6400, sum=0.0, m2=6400.0, min=-3.0, max=3.0)
    return ActivationRow(
        name=name, kind="Mean", order=order, calls=4, shape="", stats=stats, channels=[channels], spread=spread
    )


def test_one_number_left_of_a_layer() -> None:
    def facts(*rows: ActivationRow) -> Report:
        return report(
            activations=ActivationFacts(mode="eval", n_batches=4, n_samples=400, rows=list(rows)), training=run()
        )

    assert severity(facts(layer("a", 0, 3.0), layer("b", 1, 1.0)), "rank-one") == "warning"
    assert causes(facts(layer("a", 0, 3.0), layer("b", 1, 1.0))) == {"layer-collapse"}
    assert severity(facts(layer("a", 0, 3.0), layer("b", 1, 1.01)), "rank-one") is None
    assert severity(facts(layer("a", 0, 1.0), layer("b", 1, 1.0)), "rank-one") is None
    assert severity(facts(layer("a", 0, 3.0), layer("b", 1, 1.0, width=2)), "rank-one") is None
    assert severity(facts(layer("a", 0, 3.0), layer("n", 1, 1.0, width=1), layer("b", 2, 1.0)), "rank-one") is None


@pytest.mark.parametrize(
    ("right", "bypassed", "expected"),
    [(0.95, True, "info"), (0.95, False, "warning"), (0.5, True, "warning"), (0.5, False, "warning")],
)
def test_a_gate_made_of_one_number_in_a_model_that_works(right: float, bypassed: bool, expected: str) -> None:
    rows = [layer("block.a", 0, 3.0), structs.replace(layer("block.b", 1, 1.0), bypassed=bypassed)]
    activations = ActivationFacts(mode="eval", n_batches=4, n_samples=400, rows=rows)
    hits = round(200 * right)
    table = [[hits, 200 - hits], [200 - hits, hits]]
    assert (
        severity(
            report(Classification(classes=["a", "b"], confusion=table), activations=activations, training=run()),
            "rank-one",
        )
        == expected
    )


@pytest.mark.parametrize(
    ("r2", "solved", "departure", "end", "expected"),
    [
        (0.55, 0.0, 0.1, 0.3, "warning"),
        (0.55, 1.0, 0.1, 0.3, None),
        (0.9, 0.0, 0.1, 0.3, None),
        (0.55, 0.0, 1e-6, 0.3, None),
        (0.55, 0.0, 0.1, 0.02, None),  # a cosine: it is content, whatever the outputs' length
    ],
)
def test_a_model_that_is_too_narrow(
    r2: float, solved: float, departure: float, end: float, expected: str | None
) -> None:
    fit = Regression(r2=r2, mae=0.5, mse=1 - r2, target=TensorStats(), residual=TensorStats(), sample=[])
    evaluation = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    facts = TrialFacts(
        trials=[
            *tried("one-batch", solved=solved, error_share=0.2, samples=32.0, start=1.0, end=end).trials,
            *tried("affinity", departure=departure, affine_layers=4.0, collapsible=2.0, redundant=0.0).trials,
        ],
        budget=20.0,
    )
    level = [1.0, 0.7, 0.62, *[0.6] * 12]
    got = severity(report(None, evaluation=evaluation, trials=facts, training=run(level)), "too-narrow")
    assert got == expected


def test_shares_of_mixed_labels_are_no_numbers_that_a_classifier_fails_to_learn() -> None:
    fit = Regression(r2=-18.0, mae=4.0, mse=19.0, target=TensorStats(), residual=TensorStats(), sample=[])
    mixed = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    facts = TrialFacts(
        trials=[
            *tried("one-batch", solved=0.0, error_share=149.0, samples=32.0, start=0.45, end=0.27).trials,
            *tried("affinity", departure=0.1, affine_layers=4.0, collapsible=2.0, redundant=0.0).trials,
        ],
        budget=20.0,
    )
    level = run([1.0, 0.7, 0.62, *[0.6] * 12])
    assert severity(report(GOOD, train_evaluation=mixed, trials=facts, training=level), "too-narrow") is None


@pytest.mark.parametrize(
    ("train", "val", "score", "after", "expected"),
    [
        ((1.24, 0.96, 0.65, 0.43, 0.3), [1.2, 0.9, 0.6, 0.4, 0.3], 0.8, 0.29, "warning"),
        ((1.24, 0.96, 0.65, 0.43, 0.3), [1.2, 0.9, 0.6, 0.4, 0.3], 0.8, 0.31, None),  # going on does harm
        ((1.24, 0.96, 0.65, 0.43, 0.3), [1.2, 0.9, 0.6, 0.5, 0.42], 0.8, 0.4, None),  # learned by heart
        ((1.24, 0.96, 0.5, 0.33, 0.3), [1.2, 0.9, 0.6, 0.4, 0.3], 0.8, 0.29, None),  # coming to rest
        ((1.24, 0.96, 0.65, 0.43, 0.3), [1.2, 0.9, 0.6, 0.4, 0.3], 0.95, 0.29, None),  # good enough
        ((0.65, 0.43, 0.3), [0.6, 0.4, 0.3], 0.8, 0.29, None),  # too few to show a course
    ],
)
def test_a_run_stopped_in_free_fall(
    train: tuple[float, ...], val: list[float], score: float, after: float, expected: str | None
) -> None:
    steps = [1.5, *[loss for loss in train for _ in range(50)]]
    numbers = {"before": val[-1], "after": after, "samples": 450.0, "steps": 60.0, "score_before": score}
    history = run(val, val, series=[series("train_loss", steps, "step")])
    trial = tried("trained-on", score_after=score + 0.01, **numbers)
    assert severity(report(None, trials=trial, training=history), "cut-short") == expected


@pytest.mark.parametrize(
    ("epochs", "each", "end", "after", "score", "expected"),
    [
        (15, 3, 0.33, 0.2, 0.8, "warning"),
        (15, 40, 0.33, 0.2, 0.8, None),  # a run of many steps is judged by its curves
        (15, 3, 0.33, 0.3, 0.8, None),  # hardly better for three times as many steps
        (15, 3, 0.33, 0.2, 0.7, None),
        (15, 3, 0.418, 0.2, 0.8, None),  # come to rest
    ],
)
def test_a_loop_that_breaks_off_each_epoch_leaves_much_to_learn(
    epochs: int, each: int, end: float, after: float, score: float, expected: str | None
) -> None:
    val = [1.0 - 0.58 * e / (epochs - 4) for e in range(epochs - 3)]
    val += [val[-1] + (end - val[-1]) * k / 3 for k in (1, 2, 3)]
    steps = [loss + 0.02 for loss in val for _ in range(each)]
    numbers = {"before": 0.33, "after": after, "samples": 400.0, "steps": 120.0, "score_before": 0.67}
    history = run(val, val, series=[series("train_loss", steps, "step")])
    trial = tried("trained-on", score_after=score, **numbers)
    assert severity(report(GOOD, trials=trial, training=history), "cut-short") == expected


def test_what_comes_later_cannot_be_learned_by_heart_from_what_came_before() -> None:
    fit = Regression(r2=0.6, mae=0.5, mse=0.4, target=TensorStats(), residual=TensorStats(), sample=[])
    trials = [
        *tried("one-batch", solved=0.0, error_share=0.2, samples=32.0, start=1.0, end=0.3).trials,
        *tried("affinity", departure=0.1, affine_layers=4.0, collapsible=2.0, redundant=0.0).trials,
    ]
    evaluation = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    level = run([1.0, 0.7, 0.62, *[0.6] * 12])
    for change, expected in ((0.0, None), (0.5, "warning")):
        later = tried("later-tokens", change=change, later_change=1.8, length=25.0, cut=12.0).trials
        facts = TrialFacts(trials=[*trials, *later], budget=20.0)
        assert severity(report(None, evaluation=evaluation, trials=facts, training=level), "too-narrow") == expected


def test_a_latent_variable_that_holds_nothing() -> None:
    numbers = {"active": 0.0, "dimensions": 4.0, "samples": 64.0}
    empty = report(None, trials=tried("latent-units", divergence=0.19, **numbers), training=run())
    assert causes(empty) == {"posterior-collapse"}
    full = report(None, trials=tried("latent-units", divergence=10.9, **numbers), training=run())
    assert severity(full, "latent-collapse") is None


@pytest.mark.parametrize(
    ("surer", "accuracy", "expected"),
    [(0.58, 0.57, "warning"), (0.60, 0.57, None), (0.58, 0.95, None), (0.58, 0.3, None)],
)
def test_mistakes_where_the_model_is_sure(surer: float, accuracy: float, expected: str | None) -> None:
    trial = tried(
        "as-it-is",
        surer=surer,
        surer_error=0.03,
        accuracy=accuracy,
        commonest=0.25,
        samples=360.0,
        loss=1.3,
        answers=360.0,
    )
    assert severity(report(trials=trial, training=run()), "sure-and-wrong") == expected


def test_mistakes_where_neighbours_know_the_label_are_the_models() -> None:
    numbers = {"surer": 0.58, "surer_error": 0.03, "accuracy": 0.57, "commonest": 0.25, "samples": 360.0}
    trial = tried("as-it-is", loss=1.3, answers=360.0, **numbers)
    for vote, expected in ((0.99, None), (0.6, "warning")):  # a share of wrong labels is wrong for neighbours too
        known = Signal(kind="classes", n=360, k=5, score=vote, null_mean=0.2, null_std=0.01, vote=vote)
        facts = report(trials=trial, training=run(), splits=SplitFacts(across=known))
        assert severity(facts, "sure-and-wrong") == expected


@pytest.mark.parametrize(("fresh", "expected"), [(0.99, None), (0.6, "warning")])
def test_mistakes_that_a_fresh_copy_does_not_make_are_the_runs(fresh: float, expected: str | None) -> None:
    """A recurrent net whose state never held the start of a sequence guesses, and is sure of it."""
    numbers = {"surer": 0.55, "surer_error": 0.04, "accuracy": 0.48, "commonest": 0.27, "samples": 200.0}
    n = {f"{name}_{split}": 0.28 for name in ("commonest", "training", "given") for split in ("training", "given")}
    n |= {f"{name}_{split}": 200.0 for name in ("asked", "learned") for split in ("training", "given")}
    trials = [
        *tried("as-it-is", loss=1.3, answers=200.0, **numbers).trials,
        *tried("learned-anew", {"kind": "classes"}, **n | {"as_is": 0.46, "training_given": fresh}).trials,
    ]
    facts = report(BAD, trials=TrialFacts(trials=trials, budget=20.0), training=run())
    assert severity(facts, "sure-and-wrong") == expected


@pytest.mark.parametrize(
    ("val", "after", "last", "expected"),
    [
        ([0.6, 0.4, 0.33, 0.31], 0.25, 0.4, "warning"),
        ([0.6, 0.4, 0.33, 0.31], 0.30, 0.4, None),
        ([0.6, 0.4, 0.33, 0.34], 0.25, 0.4, None),
        ([0.6, 0.4, 0.33, 0.31], 0.25, 0.1, None),
        ([0.9 - 0.05 * i for i in range(10)], 0.25, 0.4, None),
    ],
)
def test_a_run_cut_short(val: list[float], after: float, last: float, expected: str | None) -> None:
    steps = [1.0, *[0.6] * 30, *[last] * 20]
    history = run(val, val, series=[series("train_loss", steps, "step")])
    facts = report(
        None, trials=tried("trained-on", before=0.31, after=after, samples=200.0, steps=120.0), training=history
    )
    assert severity(facts, "cut-short") == expected
    good = tried("trained-on", before=0.31, after=after, samples=200.0, steps=120.0, score_before=0.95)
    assert severity(report(None, trials=good, training=history), "cut-short") is None


@pytest.mark.parametrize(
    ("after", "score", "expected"), [(0.09, 0.99, "warning"), (0.12, 0.99, None), (0.09, 0.97, None)]
)
def test_a_good_score_is_short_where_going_on_halves_what_it_lacks(
    after: float, score: float, expected: str | None
) -> None:
    history = run(
        [0.9, 0.6, 0.4], [0.9, 0.6, 0.4], series=[series("train_loss", [1.0, *[0.6] * 30, *[0.4] * 20], "step")]
    )
    numbers = {"before": 0.31, "after": after, "score_before": 0.95, "score_after": score}
    facts = report(trials=tried("trained-on", samples=300.0, steps=120.0, **numbers), training=history)
    assert severity(facts, "cut-short") == expected
    limits = [f.threshold for f in judge(facts).findings if f.rule == "cut-short"]
    assert all(set(limit) == {"gain", "loss"} for limit in limits)
    # of fewer samples as much may be chance
    few = report(trials=tried("trained-on", samples=100.0, steps=120.0, **numbers), training=history)
    assert severity(few, "cut-short") is None


@pytest.mark.parametrize(
    ("train", "val", "scores", "expected"),
    [
        ((0.75, 0.36, 0.24), [0.5, 0.3, 0.22], (0.77, 0.85), "warning"),
        ((0.75, 0.36, 0.24), [0.5, 0.3, 0.22], (0.77, 0.80), None),  # what more steps gain is little
        ((0.75, 0.36, 0.24), [0.5, 0.24, 0.22], (0.77, 0.85), None),  # the validation loss has come to rest
        ((0.75, 0.25, 0.24), [0.5, 0.3, 0.22], (0.77, 0.85), None),  # the training loss has
        ((0.75, 0.36, 0.24), [0.5, 0.3, 0.22], (0.92, 0.96), None),  # good enough
    ],
)
def test_a_run_of_a_few_epochs_in_full_fall(
    train: tuple[float, ...], val: list[float], scores: tuple[float, float], expected: str | None
) -> None:
    steps = [1.2, *[loss for loss in train for _ in range(50)]]
    history = run(val, val, series=[series("train_loss", steps, "step")])
    numbers = {"before": 0.22, "after": 0.15, "samples": 450.0, "steps": 120.0}
    stats = TensorStats(count=450, sum=0.0, m2=450.0, min=-3, max=3)
    fit = Regression(r2=scores[0], mse=0.22, mae=0.3, target=stats, residual=stats)
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=450, regression=fit),
        trials=tried("trained-on", score_before=scores[0], score_after=scores[1], **numbers),
        training=history,
    )
    assert severity(facts, "cut-short") == expected
    # of half as many steps, as much as a quarter each time comes to
    half = run(val, val, series=[series("train_loss", steps[::2], "step")])
    assert severity(structs.replace(facts, training=half), "cut-short") is None
    far = tried("trained-on", score_before=scores[0], score_after=scores[0] + 0.6 * (1 - scores[0]), **numbers)
    assert severity(structs.replace(facts, training=half, trials=far), "cut-short") == (
        "warning" if expected or scores[1] == 0.8 else None
    )
    # a fourth of the run's steps say nothing of what the run lacked
    short = run(val, val, series=[series("train_loss", steps[::5], "step")])
    assert severity(structs.replace(facts, training=short), "cut-short") is None


def test_a_generator_with_one_sample_is_named() -> None:
    loop = LoopFacts(
        optimizers=[OptimizerRun(name="Adam", n_steps=400), OptimizerRun(name="Adam", n_steps=400)],
        n_backwards_seen=1600,
    )
    history = structs.replace(run(), loop=loop)
    trial = tried("inputs-permuted", spread=0.0, input_spread=1.0, samples=64.0)
    assert causes(report(None, trials=trial, training=history)) == {"posterior-collapse"}
    assert causes(report(None, trials=trial, training=run())) == {"layer-collapse"}


# --------------------------------------------------------------------------------------------- through the front door


def test_a_state_kept_without_a_copy_is_told_at_the_end() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    y = x[:, :3].argmax(1)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=1e-2), nn.CrossEntropyLoss()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]

    def trained(restore: bool) -> set[str]:
        model.load_state_dict(start)
        with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
            for epoch in range(8):
                for a, b in batches:
                    optimizer.zero_grad()
                    value = loss(model(a), b)
                    value.backward()
                    optimizer.step()
                    monitor.log(train_loss=value.detach())
                with torch.no_grad():
                    monitor.log(epoch=epoch, val_loss=loss(model(x), y))
            if restore:
                model.load_state_dict(start)
        return causes(monitor.report(batches, loss=loss))

    assert trained(True) == {"checkpoint-not-loaded"}
    assert trained(False) == set()


@pytest.mark.parametrize(
    ("batches", "first", "expected"),
    [
        (200, "1 (BatchNorm2d)", "warning"),  # two at a time: every answer hangs on one neighbour
        (10, "1 (BatchNorm2d)", "info"),
        (400, "1 (BatchNorm2d)", "info"),  # alone
        (200, "1 (Softmax)", "error"),
    ],
)
def test_a_norm_of_the_batch_counts_by_how_many_are_in_it(batches: int, first: str, expected: str) -> None:
    facts = report(GOOD, trials=tried("neighbours", {"first": first}, change=0.4, noise=0.0))
    facts = structs.replace(facts, subject=structs.replace(facts.subject, n_samples=400, n_batches=batches))
    assert severity(facts, "batch-coupling") == expected


@pytest.mark.parametrize(("given", "expected"), [(BAD, "warning"), (GOOD, "info")])
def test_a_norm_that_sees_one_sample_at_a_time_is_judged_by_what_is_lost(given: Any, expected: str) -> None:
    """It takes the statistics of the sample, as is meant in pictures of a style."""
    facts = report(given, trials=tried("neighbours", {"first": "1 (BatchNorm2d)"}, change=0.4, noise=0.0))
    facts = structs.replace(facts, subject=structs.replace(facts.subject, n_samples=200, n_batches=200))
    facts = structs.replace(facts, train_evaluation=report(GOOD).evaluation)
    working = structs.replace(facts, evaluation=facts.evaluation if given is GOOD else report(HALF).evaluation)
    assert severity(working, "batch-coupling") == expected
    assert causes(working) == ({"batch-mixing"} if expected == "warning" else set())


@pytest.mark.parametrize(
    ("first", "expected"),
    [("", {"batch-mixing"}), ("head.2 (Softmax)", {"batch-mixing"}), ("mix (Mixer)", {"batch-mixing", "wrong-loss"})],
)
def test_shares_of_the_batch_are_no_scores_to_a_loss(first: str, expected: set[str]) -> None:
    met = tried("neighbours", {"first": first}, change=0.4, noise=0.0).trials
    shifted = tried("loss-shifted", loss=3.0, shifted=2.0).trials
    outputs = OutputFacts(min=-9.0, max=9.0, row_sum_error=9.0, log_sum_exp_error=1.2, cross_entropy=0.4)
    evaluation = EvaluationFacts(task="multiclass", n_samples=400, classification=GOOD, outputs=outputs)
    facts = report(None, evaluation=evaluation, trials=TrialFacts(trials=[*met, *shifted], budget=20.0))
    assert causes(facts) == expected


@pytest.mark.parametrize(
    ("loss", "lowest", "expected"),
    [("NLLLoss", -40.0, True), ("NLLLoss", 0.02, False), ("NLLLoss", -0.03, False), ("GaussianNLLLoss", -4.0, False)],
)
def test_a_likelihood_below_zero_is_none_of_probabilities(loss: str, lowest: float, expected: bool) -> None:
    """A bonus for entropy may take it a little below; a density goes below as it likes."""
    facts = report(training=run([2.3, 0.5, lowest]))
    facts = structs.replace(facts, subject=structs.replace(facts.subject, loss=loss))
    assert (severity(facts, "loss-mismatch") == "error") == expected


@pytest.mark.parametrize(("cross_entropy", "expected"), [(2.6, "error"), (2.2, None), (None, None)])
def test_a_little_luck_with_classes_is_no_outcome(cross_entropy: float | None, expected: str | None) -> None:
    """Answers of random weights lean on the class: here accuracy is 0.16 where chance is 0.1."""
    rows = [[6 if t == p else 4 if (t + p) % 2 else 3 for p in range(10)] for t in range(10)]
    outputs = OutputFacts(min=-9.0, max=9.0, row_sum_error=9.0, log_sum_exp_error=1.2, cross_entropy=cross_entropy)
    table = Classification(classes=list("abcdefghij"), confusion=[[4 * n for n in row] for row in rows])
    evaluation = EvaluationFacts(task="multiclass", n_samples=1500, classification=table, outputs=outputs)
    assert severity(report(None, evaluation=evaluation, training=run([2.6] * 6)), "h-never-learned") == expected


def falling(decades: float, layers: int) -> GradientFacts:
    """Return gradients of so many layers; from each to the one before they fall by so many decades."""
    rows = [
        GradientRow(
            name=f"l{i}",
            module="Linear",
            requires_grad=True,
            is_matrix=True,
            order=i,
            n_none=0,
            n_zero=0,
            stats=TensorStats(count=1000, sum=0.0, m2=1000 * 10 ** (2 * decades * i - 10), min=-1.0, max=1.0),
        )
        for i in range(layers)
    ]
    return GradientFacts(mode="train", n_batches=4, n_samples=64, loss="l", rows=rows)


@pytest.mark.parametrize(
    ("decades", "right", "expected"),
    [
        (0.5, 50, "warning"),  # 3e-4 over eight layers
        (0.5, 95, None),  # the model works
        (0.4, 50, None),
        (0.31, 50, None),  # a deep network of ReLUs as it is drawn
    ],
)
def test_gradients_vanish_fast_over_few_layers(decades: float, right: int, expected: str | None) -> None:
    table = Classification(classes=["a", "b"], confusion=[[right, 100 - right], [100 - right, right]])
    curve = [0.9, 0.7, 0.695, 0.694, 0.693, 0.693]
    found = report(table, gradients=falling(decades, 8), training=run(curve))
    assert severity(found, "grad-depth-slope") == expected


@pytest.mark.parametrize(("curve", "expected"), [([2.3] * 6, "warning"), ([2.3, 1.2, 0.6, 0.4, 0.3, 0.2], None)])
def test_gradients_vanish_slowly_over_many_layers(curve: list[float], expected: str | None) -> None:
    table = Classification(classes=["a", "b"], confusion=[[50, 50], [50, 50]])
    assert severity(report(table, gradients=falling(0.22, 30), training=run(curve)), "grad-depth-slope") == expected


@pytest.mark.parametrize(
    ("mixed", "right", "expected"),
    [(0.95, 60, "warning"), (0.75, 70, "info"), (0.72, 60, "info"), (None, 60, "info")],
)
def test_answers_lost_to_the_order_of_the_data(mixed: float | None, right: int, expected: str) -> None:
    numbers = {"noise": 1e-6, "replaced": 0.9, "fewer": 0.4, "reordered": 0.0, "change": 0.9}
    numbers |= {"mixed": mixed, "mixed_samples": 100.0} if mixed is not None else {}
    table = Classification(classes=["a", "b"], confusion=[[right, 100 - right], [100 - right, right]])
    trials = tried("neighbours", {"first": "1 (BatchNorm1d)"}, **numbers)
    facts = report(table, trials=trials, training=run(FALL))
    assert severity(facts, "batch-coupling") == expected
