"""Rules on what hooks saw of a run: each on facts where it must fire, and on the healthy facts that look alike."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgspec import structs

from reportgen.document.codec import FORMAT_VERSION
from reportgen.document.facts import (
    ActivationFacts,
    Classification,
    EvaluationFacts,
    Finding,
    Meta,
    NormRow,
    OutputFacts,
    Report,
    Severity,
    SubjectFacts,
)
from reportgen.document.history import Event, History, LayerRun, LoopFacts, OptimizerRun, ParameterRun, Series, Trace
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.causes import diagnose
from reportgen.health.judge import judge
from reportgen.page import wording

from .histories import history, noisy, series

GOOD = Classification(classes=["a", "b"], confusion=[[200, 5], [5, 190]])
BAD = Classification(classes=["a", "b"], confusion=[[200, 0], [200, 0]])
FAIR = Classification(classes=["a", "b"], confusion=[[140, 60], [60, 140]])
FALL = [2.3 * 0.8**e + 0.05 for e in range(20)]
STUCK = [0.70 + 0.0001 * (e % 3) for e in range(20)]
SLOW = [0.80 - 0.006 * e for e in range(20)]


def report(run: History, table: Classification | None = None, **more: Any) -> Report:
    subject = SubjectFacts(name="Net", kind="model", inputs="real", n_samples=400, n_batches=10)
    if table is not None:
        more["evaluation"] = EvaluationFacts(task="multiclass", n_samples=400, classification=table)
    return Report(format_version=FORMAT_VERSION, title="t", meta=Meta(), subject=subject, training=run, **more)


def found(facts: Report, rule: str) -> list[Finding]:
    judged = judge(facts)
    assert not [row for row in judged.coverage if row.failed]
    hit = [f for f in judged.findings if f.rule == rule]
    for finding in hit:
        # not the list of numbers that stands in for a sentence that failed
        assert wording.describe(finding).endswith(".")
        assert f"{finding.subject}: {next(iter(finding.evidence), '')} " not in wording.describe(finding)
    return hit


def severity(facts: Report, rule: str) -> str | None:
    got = found(facts, rule)
    assert len(got) <= 1
    return got[0].severity.value if got else None


def causes(facts: Report) -> set[str]:
    return {d.cause for d in judge(facts).diagnoses if d.severity is not Severity.INFO}


def run(train: list[float] | None = None, **more: Any) -> History:
    loop = {"optimizers": [OptimizerRun(name="SGD", n_steps=1000)], "n_backwards_seen": 1000}
    loop |= more.pop("loop", {})
    parts = [series("train_loss", train or FALL), *more.pop("series", [])]
    return History(series=parts, epochs=20, steps=1000, loop=LoopFacts(**loop), **more)  # type: ignore[arg-type]


def parameter(name: str = "fc.weight", **more: Any) -> ParameterRun:
    base = ParameterRun(
        name=name,
        module="Linear",
        shape=[10, 100],
        is_matrix=True,
        trainable=True,
        optimizer=0,
        group=0,
        n_steps=1000,
        n_looked=20,
        moved=0.5,
        changed=True,
    )
    return structs.replace(base, **more)


def trace(*y: float) -> Trace:
    return Trace(x=[50.0 * (i + 1) for i in range(len(y))], y=list(y))


# ------------------------------------------------------------------------------------------------------- loop


@pytest.mark.parametrize(
    ("stale", "checked", "expected"),
    [
        (990, 1000, "error"),
        (200, 1000, "warning"),
        (0, 1000, None),  # accumulation over several passes, cleared after its step
        (2, 2, None),  # too few to say
        (20, 1000, None),
    ],
)
def test_missing_zero_grad(stale: int, checked: int, expected: str | None) -> None:
    facts = report(run(loop={"n_stale": stale, "n_fresh_checked": checked}))
    assert severity(facts, "missing-zero-grad") == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"n_again": 11}, "error"),
        ({"n_again": 2}, None),
        ({"n_again": 3}, "warning"),
        ({"n_twice": 11}, "warning"),
        ({"n_twice": 4}, None),  # now and then
        ({}, None),
    ],
)
def test_losses_that_come_back(seen: dict[str, int], expected: str | None) -> None:
    facts = report(run(loop={"n_followed": 12, "n_fresh_checked": 100, **seen}))
    assert severity(facts, "missing-zero-grad") == expected


def test_gradients_not_cleared_explain_a_divergence() -> None:
    wild = [2.0, 1.0, 0.9, 0.8, 4.0, 9.0, 12.0, 30.0, 40.0, 60.0]
    assert causes(report(run(wild))) == {"lr-too-high"}
    stale = {"n_stale": 990, "n_fresh_checked": 1000}
    assert causes(report(run(wild, loop=stale), BAD)) == {"missing-zero-grad"}


def norm_layer(**more: Any) -> LayerRun:
    return structs.replace(LayerRun(name="bn", kind="BatchNorm2d", order=1, eval_calls=10), **more)


@pytest.mark.parametrize(
    ("train", "evaluated", "layer", "at_default", "trainable", "expected"),
    [
        (5, 35, norm_layer(train_calls=5), True, True, "warning"),  # eval mode after the first validation
        (0, 40, norm_layer(), True, True, "warning"),  # from the start
        (0, 40, norm_layer(), False, True, None),  # statistics from elsewhere, frozen on purpose
        (0, 40, norm_layer(), True, False, None),
        (0, 40, norm_layer(kind="FrozenBN"), True, False, None),  # told by its statistics, not by its class
        (0, 40, norm_layer(kind="FrozenBN"), True, True, "warning"),
        (0, 40, norm_layer(kind="Dropout", name="drop"), False, True, "warning"),
        (39, 1, norm_layer(), True, True, None),
        (40, 0, norm_layer(), True, True, None),
    ],
)
def test_eval_mode_training(
    train: int, evaluated: int, layer: LayerRun, at_default: bool, trainable: bool, expected: str | None
) -> None:
    norms = [
        NormRow(
            name="bn",
            n_channels=8,
            n_samples=400,
            batches_tracked=10,
            at_default=at_default,
            mean_gap=0.0,
            log_var_gap=0.0,
        )
    ]
    seen = ActivationFacts(mode="eval", n_batches=10, n_samples=400, rows=[], norms=norms)
    facts = run(
        loop={"n_train_steps": train, "n_eval_steps": evaluated},
        layers=[layer],
        parameters=[parameter("bn.weight", trainable=trainable, is_matrix=False)],
    )
    got = severity(report(facts, GOOD, activations=seen), "eval-mode-training")
    assert (None if got == "info" else got) == expected


def test_validation_in_train_mode() -> None:
    val = [series("val_loss", FALL)]
    loop = {"n_train_steps": 20, "n_train_validations": 8}
    assert severity(report(run(loop=loop, series=val)), "eval-mode-training") == "warning"
    # activation checkpointing runs its first pass without gradients, in train mode
    assert not found(report(run(loop=loop | {"n_eval_validations": 8}, series=val)), "eval-mode-training")
    assert not found(report(run(loop=loop)), "eval-mode-training")
    assert causes(report(run(loop=loop, series=val))) == {"eval-mode-training"}
    left_on = report(run(loop=loop | {"n_dropped_validations": 8}, series=val))
    assert causes(left_on) == {"dropout-active-in-eval"}
    assert "its dropout was not" in wording.describe(found(left_on, "eval-mode-training")[0])


CREEPING = [0.96 * 0.93**e for e in range(20)]


@pytest.mark.parametrize(
    ("loss", "optimizer", "clipped", "factor", "table", "expected"),
    [
        (STUCK, "SGD", 990, 0.01, BAD, "warning"),
        (SLOW, "SGD", 990, 0.01, None, "warning"),
        (CREEPING, "SGD", 990, 0.01, GOOD, "warning"),  # a fit that is good and still grows
        (CREEPING, "SGD", 990, 0.3, GOOD, "info"),
        (CREEPING, "Adam", 990, 0.01, GOOD, "info"),
        (STUCK, "AdamW", 990, 0.01, BAD, "info"),  # the length of the gradient does not matter to it
        (FALL, "SGD", 990, 0.01, GOOD, "info"),
        (STUCK, "SGD", 990, 0.7, BAD, "info"),
        (FALL, "SGD", 200, 0.01, GOOD, None),
    ],
)
def test_clip_fraction(
    loss: list[float], optimizer: str, clipped: int, factor: float, table: Classification | None, expected: str | None
) -> None:
    loop = {
        "optimizers": [OptimizerRun(name=optimizer, n_steps=1000)],
        "n_clip_checked": 1000,
        "n_clipped": clipped,
        "clip_factor": factor,
        "clip_norm": 0.01,
    }
    facts = report(run(loss, loop=loop), table)
    assert severity(facts, "clip-fraction") == expected
    if expected == "warning":
        assert causes(facts) == {"gradient-clipping-too-small"}


def test_grad_spikes() -> None:
    rng = Random(0)
    norms = noisy([1.0] * 200, rng, 0.2)
    steady = series("gradient_norm", norms, "step")
    assert not found(report(run(series=[steady])), "grad-spikes")
    spiked = series("gradient_norm", [*norms[:100], 50.0, *norms[101:]], "step")
    assert severity(report(run(series=[spiked])), "grad-spikes") == "info"
    growing = series("gradient_norm", [v * 1.05**i for i, v in enumerate(norms)], "step")
    assert severity(report(run(STUCK, series=[growing]), BAD), "grad-spikes") == "warning"
    assert severity(report(run(FALL, series=[growing]), GOOD), "grad-spikes") == "info"
    clipped = {"n_clipped": 100, "n_clip_checked": 200}
    assert severity(report(run(STUCK, series=[growing], loop=clipped), BAD), "grad-spikes") == "info"


def test_the_first_non_finite_event_is_named() -> None:
    events = [
        Event(kind="nonfinite", step=7, subject="loss", part="loss"),
        Event(kind="nonfinite", step=7, subject="encoder.sqrt", part="activation", detail="loss 0.3, rate 0.01"),
        Event(kind="nonfinite", step=8, subject="fc.weight", part="weight"),
    ]
    (finding,) = found(report(run(events=events)), "run-nonfinite")
    assert (finding.subject, finding.evidence["step"], finding.severity.value) == ("encoder.sqrt", 7, "error")
    assert "encoder.sqrt" in wording.describe(finding)
    assert "rate 0.01" in wording.describe(finding)
    born = [
        Event(kind="nonfinite", step=2, subject=n, part=part) for n, part in (("a.weight", "weight"), ("a", "gradient"))
    ]
    assert found(report(run(events=born)), "run-nonfinite")[0].detail["part"] == "gradient"
    assert causes(report(run(events=born))) == {"numerical-instability"}
    overflow = [Event(kind="nonfinite", step=3, subject="fc.weight", part="gradient")]
    scaled = {"scaler_first": 65536.0, "scaler_last": 32768.0, "scaler_halvings": 1}
    assert severity(report(run(events=overflow, loop=scaled)), "run-nonfinite") == "info"
    assert severity(report(run(events=overflow)), "run-nonfinite") == "error"


@pytest.mark.parametrize(
    ("losses", "norms", "calm"),
    [
        ([2.0, 1.5, 1.0, 0.7, 0.5, 0.4, 0.3], [1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 1.0], True),
        ([2.0, 1.5, 1.0, 0.7, 0.5, 40.0, 9e9], [1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 1.0], False),
        ([2.0, 1.5, 1.0, 0.7, 0.5, 0.4, 0.3], [1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 90.0], False),
        ([2.0, 1.5, 1.0], [1.0, 1.2, 0.9], False),
    ],
)
def test_a_loss_that_breaks_when_it_is_low_is_computed_wrongly(
    losses: list[float], norms: list[float], calm: bool
) -> None:
    logged = [series("train_loss", losses, "step"), series("gradient_norm", norms, "step")]
    events = [Event(kind="nonfinite", step=len(losses) + 1, subject="loss", part="loss")]
    (broke,) = found(report(run(series=logged, events=events)), "run-nonfinite")
    assert broke.detail.get("calm") == ("yes" if calm else None)
    long_steps = Finding(
        rule="update-ratio",
        severity=Severity.WARNING,
        subject="model",
        section="training",
        detail={"direction": "high"},
    )
    (first, *_) = diagnose([long_steps, broke])
    assert first.cause == ("numerical-instability" if calm else "lr-too-high")


@pytest.mark.parametrize(("right", "cause"), [(0.99, "bn-statistics"), (0.3, "lr-too-high")])
def test_statistics_alone_hold_back_what_fits_in_training_mode(right: float, cause: str) -> None:
    gap = Finding(
        rule="eval-train-gap",
        severity=Severity.ERROR,
        subject="model",
        section="trials",
        evidence={"norms_accuracy": right},
    )
    slower = Finding(rule="slower-helps", severity=Severity.WARNING, subject="model", section="trials")
    assert {d.cause for d in diagnose([gap, slower])} == {"bn-statistics", cause}
    order = Finding(rule="position-unseen", severity=Severity.WARNING, subject="model", section="trials")
    causes_told = {d.cause for d in diagnose([gap, order])}
    assert ("missing-position-info" in causes_told) is (right < 0.9)


@pytest.mark.parametrize(
    ("halvings", "last", "expected"),
    [(0, 65536.0, None), (12, 1024.0, None), (200, 2.0, "warning"), (25, 0.5, "warning")],
)
def test_amp_scaler(halvings: int, last: float, expected: str | None) -> None:
    loop = {"scaler_first": 65536.0, "scaler_last": last, "scaler_halvings": halvings}
    assert severity(report(run(loop=loop)), "amp-scaler") == expected


def test_dead_rising() -> None:
    def layers(*silent: float, rectifier: bool = True) -> list[LayerRun]:
        return [LayerRun(name="relu", kind="ReLU", order=1, rectifier=rectifier, silent=trace(*silent))]

    dying = (0.1, 0.1, 0.2, 0.6, 0.9, 0.98, 0.98)
    assert severity(report(run(layers=layers(*dying)), BAD), "dead-rising") == "warning"
    assert severity(report(run(layers=layers(*dying)), GOOD), "dead-rising") == "info"
    assert not found(report(run(layers=layers(*[0.7] * 7)), BAD), "dead-rising")  # small batches, silent all along
    assert not found(report(run(layers=layers(0.1, 0.1, 0.2, 0.2, 0.3, 0.35, 0.35)), BAD), "dead-rising")
    assert not found(report(run(layers=layers(*dying, rectifier=False)), BAD), "dead-rising")


def test_an_optimizer_that_maximizes() -> None:
    def climbs(loss: list[float], maximize: bool) -> str | None:
        optimizer = OptimizerRun(name="SGD", n_steps=100, settings={"maximize": maximize})
        return severity(report(run(loss, loop={"optimizers": [optimizer]})), "optimizer-maximizes")

    assert climbs(FALL[::-1], True) == "error"
    assert climbs(FALL, True) is None
    assert climbs(FALL[::-1], False) is None


# ---------------------------------------------------------------------------------------------- what was reached


def test_no_weight_update() -> None:
    still, moves = parameter(changed=False, moved=0.0), parameter("b", changed=True)
    assert causes(report(run(STUCK, parameters=[still]))) == {"no-weight-update"}
    assert not found(report(run(parameters=[still, moves])), "no-weight-update")
    assert not found(report(run(parameters=[structs.replace(still, changed=None)])), "no-weight-update")
    frozen = structs.replace(still, trainable=False)
    assert not found(report(run(parameters=[frozen, moves])), "no-weight-update")
    never = {"optimizers": [OptimizerRun(name="SGD", n_steps=0)], "n_backwards_seen": 100}
    (finding,) = found(report(run(parameters=[still], loop=never)), "no-weight-update")
    assert finding.detail["reason"] == "no step"
    # a run that was stopped before its first steps
    short = {"optimizers": [OptimizerRun(name="SGD", n_steps=0)], "n_backwards_seen": 1}
    assert not found(report(run(parameters=[still], loop=short)), "no-weight-update")


def test_parameters_that_never_moved() -> None:
    still = parameter("a.weight", changed=False)
    assert severity(report(run(parameters=[still, parameter()])), "param-not-moved") == "warning"
    no_gradient = structs.replace(still, n_grad_zero=20)
    assert not found(report(run(parameters=[no_gradient, parameter()])), "param-not-moved")
    bias = structs.replace(still, is_matrix=False, shape=[10])
    assert not found(report(run(parameters=[bias, parameter()])), "param-not-moved")


def test_run_no_grad() -> None:
    def check(**more: Any) -> str | None:
        cut = parameter("encoder.weight", **{"n_grad_none": 20, "changed": False, **more})
        layers = [LayerRun(name=n, kind="Linear", order=i, train_calls=20) for i, n in enumerate(("encoder", "fc"))]
        return severity(report(run(parameters=[cut, parameter()], layers=layers)), "run-no-grad")

    assert check() == "error"
    assert check(shape=[1, 10]) == "warning"
    assert check(changed=True) is None  # a moving average updates it
    assert check(n_grad_none=19) is None  # a phase of the training in which it was held
    assert check(n_looked=2, n_grad_none=2) is None
    assert check(trainable=False) is None
    unused = parameter("other.weight", n_grad_none=20, changed=False)
    assert not found(report(run(parameters=[unused, parameter()])), "run-no-grad")


def test_run_unused() -> None:
    def check(
        table: Classification | None = None, inputs: dict[str, float] | None = None, end: float = 0.1, **more: Any
    ) -> str | None:
        idle = parameter("second.weight", **{"n_grad_none": 20, "changed": False, **more})
        layers = [
            LayerRun(name="fc", kind="Linear", order=0, train_calls=20),
            LayerRun(name="second", kind="", order=1),
        ]
        losses = [1.0, 0.9, 0.8, *[end] * 9]
        facts = report(run(losses, parameters=[idle, parameter()], layers=layers), table)
        trial = Trial(name="inputs-permuted", status="done", numbers={"spread": 0.9, "samples": 64.0} | (inputs or {}))
        return severity(structs.replace(facts, trials=TrialFacts(trials=[trial], budget=20.0)), "run-unused")

    assert check() == "warning"
    assert check(table=GOOD, shape=[2, 100]) == "info"
    assert check(table=GOOD, shape=[2, 100], end=0.75) == "warning"  # works, by what the other layers see
    # the input that it was made for goes nowhere
    assert check(table=GOOD, shape=[2, 100], inputs={"input_0": 0.9, "input_1": 0.0}) == "warning"
    assert check(table=GOOD, shape=[2, 100], inputs={"input_0": 0.9, "input_1": 0.1}) == "info"
    assert check(table=GOOD, shape=[2, 100], inputs={"input_0": 0.0, "input_1": 0.0}) == "info"
    assert check(shape=[1, 10]) == "info"  # a pooler that the head does not use
    assert check(optimizer=None) is None
    assert check(n_grad_none=3) is None  # an expert that is seldom chosen
    assert check(trainable=False) is None


def test_zero_gradients_everywhere_are_not_cut_off_anywhere() -> None:
    every = [parameter(f"{n}.weight", n_grad_zero=20, changed=False) for n in "ab"]
    assert causes(report(run(STUCK, parameters=every), BAD)) == {"no-weight-update"}


def test_param_zero_grad() -> None:
    def check(table: Classification | None = None, **more: Any) -> str | None:
        cut = parameter("encoder.weight", **{"n_grad_zero": 20, "changed": False, **more})
        return severity(report(run(parameters=[cut, parameter()]), table), "param-zero-grad")

    assert check(BAD) == "error"
    assert check(GOOD) == "warning"
    assert check(GOOD, shape=[1, 10]) == "info"
    assert check(is_matrix=False) is None  # the last bias of a siamese net
    assert check(n_grad_zero=1) is None  # the first step behind a head of zeros


# -------------------------------------------------------------------------------------------------- optimizer


def ratios(*y: float) -> list[ParameterRun]:
    return [parameter("a.weight", update_ratio=trace(*y)), parameter("b.weight", update_ratio=trace(*y))]


def test_update_ratios_come_from_the_parameters_too() -> None:
    assert not found(report(run(parameters=ratios(*[2e-3] * 10))), "update-ratio")
    assert severity(report(run(parameters=ratios(*[0.3] * 10))), "update-ratio") == "warning"
    slow = report(run(STUCK, parameters=ratios(*[1e-6] * 10)))
    assert causes(slow) == {"lr-too-low"}
    assert causes(report(run(SLOW, parameters=ratios(*[5e-5] * 10)))) == {"lr-too-low"}


def test_the_first_steps_of_a_model_of_one_matrix_leave_nothing_behind() -> None:
    """Wherever it begins, a convex loss leads to the same weights."""
    first = [parameter("a.weight", update_ratio=Trace(x=[1.0, 50.0, 100.0, 150.0], y=[1.5, 0.02, 0.01, 0.01]))]
    assert severity(report(run(parameters=first)), "update-ratio") in (None, "info")
    assert (
        severity(report(run(parameters=[*first, structs.replace(first[0], name="b.weight")])), "update-ratio")
        == "warning"
    )
    frozen = structs.replace(first[0], name="b.weight", trainable=False, update_ratio=None)
    assert severity(report(run(parameters=[*first, frozen])), "update-ratio") in (None, "info")
    high = [parameter("a.weight", update_ratio=trace(*[0.3] * 10))]
    assert severity(report(run(parameters=high)), "update-ratio") == "warning"


@pytest.mark.parametrize(
    ("moved", "rewritten", "outcome", "expected"),
    [
        (4e-4, True, BAD, "error"),
        (4e-4, False, BAD, None),  # steps that undo one another
        (3e-2, True, BAD, None),  # an average of the weights that went along
        (4e-4, True, GOOD, None),
    ],
)
def test_weights_that_are_put_back_after_each_step(
    moved: float, rewritten: bool, outcome: Classification, expected: str | None
) -> None:
    rows = [structs.replace(p, moved=moved, n_steps=400) for p in ratios(*[5e-3] * 10)]
    loop = {"optimizers": [OptimizerRun(name="Adam", n_steps=400, rewritten=rewritten)], "n_backwards_seen": 30}
    facts = report(run(STUCK, parameters=rows, loop=loop), outcome)
    assert severity(facts, "no-weight-update") == expected
    if expected:
        (finding,) = found(facts, "no-weight-update")
        assert "nearer to their start than one step is long" in wording.describe(finding)
        assert causes(facts) == {"no-weight-update"}


@pytest.mark.parametrize(
    ("at", "moved", "outcome", "expected"),
    [
        (6.0, 7.0, BAD, "warning"),
        (6.0, 3.0, BAD, None),  # as far as healthy runs go
        (6.0, 7.0, GOOD, None),
        (50.0, 7.0, BAD, None),  # late: weights may grow in the course of a run
    ],
)
def test_one_of_the_first_ten_steps_that_carried_weights_off_for_nothing(
    at: float, moved: float, outcome: Classification, expected: str | None
) -> None:
    steps = Trace(x=[1.0, at, 100.0, 150.0], y=[0.05, 0.6, 0.001, 0.001])
    rows = [structs.replace(parameter(f"{n}.weight", update_ratio=steps), moved=moved) for n in "ab"]
    facts = report(run(STUCK, parameters=rows), outcome)
    assert (severity(facts, "update-ratio") == "warning") is (expected is not None)
    if expected:
        assert causes(facts) == {"lr-too-high"}


def test_the_end_of_a_decay_is_no_rate_too_low() -> None:
    rates = series("learning_rate", [1.0 if i < 4 else 1e-6 for i in range(10)], "step")
    rates = structs.replace(rates, x=[50.0 * (i + 1) for i in range(10)])
    steps = ratios(*[2e-3] * 4, *[1e-7] * 6)
    assert not found(report(run(parameters=steps, series=[rates])), "update-ratio")


def test_lr_extreme_needs_steps_to_show_for_it() -> None:
    high = series("learning_rate", [5.0] * 20)
    assert severity(report(run(series=[high], parameters=ratios(*[0.08] * 10))), "lr-extreme") == "info"
    assert not found(report(run(series=[high], parameters=ratios(*[2e-3] * 10))), "lr-extreme")


def test_a_rate_far_too_low_is_not_told_as_too_high() -> None:
    low = report(run(series=[series("learning_rate", [1e-7] * 20)], parameters=ratios(*[1e-7] * 10)))
    assert severity(low, "lr-extreme") == "info"
    assert not {d.cause for d in judge(low).diagnoses} & {"lr-too-high"}


def test_param_group_zero_lr() -> None:
    zero, warm_up = series("learning_rate_1", [0.0] * 20), series("learning_rate", [0.0, *[0.1] * 18, 0.0])
    (finding,) = found(report(run(series=[zero, warm_up])), "param-group-zero-lr")
    assert (finding.subject, finding.severity.value) == ("learning_rate_1", "warning")
    assert severity(report(run(series=[zero, warm_up]), GOOD), "param-group-zero-lr") == "info"


def test_adam_eps_floor() -> None:
    low = [parameter("a", eps_floor=0.9), parameter("b", eps_floor=0.8)]
    assert severity(report(run(STUCK, parameters=low), BAD), "adam-eps-floor") == "warning"
    assert severity(report(run(FALL, parameters=low), GOOD), "adam-eps-floor") == "info"
    assert not found(report(run(STUCK, parameters=[parameter(eps_floor=0.1)]), BAD), "adam-eps-floor")


def test_adam_stale_v_needs_spikes() -> None:
    stale = [parameter("embedding.weight", stale_v=trace(1.0, 1.1, 5.0, 1.0))]
    values = noisy([1.0] * 200, Random(1), 0.05)
    spiked = series("train_loss", [*values[:150], 8.0, *values[151:]], "step")
    calm = series("train_loss", values, "step")
    assert severity(report(history(spiked, parameters=stale)), "adam-stale-v") == "info"
    assert not found(report(history(calm, parameters=stale)), "adam-stale-v")


def test_optimizer_state_nonfinite() -> None:
    bad = [parameter("a"), parameter("b", state_nonfinite=3)]
    (finding,) = found(report(run(parameters=bad)), "optimizer-state-nonfinite")
    assert (finding.subject, finding.severity.value) == ("b", "error")


def test_weight_decay_dominance() -> None:
    heavy = [parameter("a", decay_share=5.0), parameter("b", decay_share=3.0)]
    assert causes(report(run(STUCK, parameters=heavy), BAD)) == {"over-regularised"}
    assert severity(report(run(FALL, parameters=heavy), GOOD), "weight-decay-dominance") == "info"
    light = [parameter("a", decay_share=0.05), parameter("b", decay_share=3.0)]
    assert not found(report(run(STUCK, parameters=light), BAD), "weight-decay-dominance")


# ----------------------------------------------------------------------------------------------------- course


def with_first_loss(first: float, table: Classification | None, loss: float = 0.3, own: float = 0.3) -> Report:
    outputs = OutputFacts(min=-1, max=1, row_sum_error=1.0, log_sum_exp_error=1.0, cross_entropy=own)
    facts = EvaluationFacts(task="multiclass", n_samples=400, loss=loss, outputs=outputs, classification=table)
    steps = series("train_loss", [first, *[0.5] * 60], "step")
    return structs.replace(report(history(steps)), evaluation=facts)


def test_losses_of_a_few_single_batches_are_no_oscillation() -> None:
    jumps = [0.8 * 1.5 ** (-1) ** i for i in range(20)]
    few = series("train_loss", jumps, "step")
    by_step = History(series=[few], steps=20)
    assert not found(report(by_step), "h-oscillating")
    assert severity(report(run(jumps)), "h-oscillating") == "warning"


def test_h_init_loss() -> None:
    assert not found(with_first_loss(0.75, GOOD), "h-init-loss")
    assert severity(with_first_loss(1.2, GOOD), "h-init-loss") == "info"
    assert severity(with_first_loss(5.0, BAD, loss=0.7, own=0.7), "h-init-loss") == "warning"
    assert severity(with_first_loss(5.0, GOOD), "h-init-loss") == "info"
    assert severity(with_first_loss(50.0, GOOD), "h-init-loss") == "warning"
    # an adapter beside frozen weights says at first what those were taught
    parts = [parameter("base.weight", trainable=False), parameter("a.weight", shape=[2, 100])]
    given, own = (
        structs.replace(facts, training=structs.replace(facts.training, parameters=p))
        for facts in [with_first_loss(50.0, GOOD)]
        for p in (parts, [structs.replace(p, trainable=True) for p in parts])
    )
    assert (severity(given, "h-init-loss"), severity(own, "h-init-loss")) == ("info", "warning")
    known = Signal(kind="classes", n=400, k=5, score=0.9, vote=0.99, null_mean=0.5, null_std=0.02)
    behind = structs.replace(with_first_loss(5.0, FAIR), splits=SplitFacts(across=known))
    assert severity(with_first_loss(5.0, FAIR), "h-init-loss") == "info"
    assert severity(behind, "h-init-loss") == "warning"  # what neighbours tell it never learned
    assert not found(with_first_loss(50.0, BAD, own=0.2), "h-init-loss")  # weights, smoothing, or another loss


def test_h_underfit() -> None:
    flat = [0.66 if e else 0.8 for e in range(20)]
    assert severity(report(run(flat), GOOD), "h-underfit") == "info"
    assert severity(report(run(flat), BAD), "h-underfit") == "warning"
    # views of a sample that are drawn together and apart: the labels say nothing of that loss
    free = TrialFacts(
        trials=[Trial(name="loss-without-target", status="done", numbers={"ignored": 1.0, "samples": 64.0})],
        budget=20.0,
    )
    assert not found(structs.replace(report(run(flat), BAD), trials=free), "h-underfit")
    assert not found(report(run(FALL), GOOD), "h-underfit")


def test_h_plateau() -> None:
    early = [2.3, 1.0, *[0.2] * 18]
    assert severity(report(run(early)), "h-plateau") == "info"
    assert not found(report(run(FALL)), "h-plateau")


def test_h_val_below_train() -> None:
    train = [v + 0.5 for v in FALL]
    below, above = series("val_loss", [v + 0.1 for v in FALL]), series("val_loss", [v + 0.6 for v in FALL])
    assert severity(report(run(train, series=[below])), "h-val-below-train") == "info"
    assert not found(report(run(train, series=[above])), "h-val-below-train")


def test_h_metric_loss_disagree() -> None:
    inverted = [0.5 - 0.02 * e for e in range(20)]
    right = [0.5 + 0.02 * e for e in range(20)]
    upside = report(run(FALL, series=[series("train_accuracy", inverted)]), BAD)
    assert severity(upside, "h-metric-loss-disagree") == "warning"
    assert "loss-sign-flipped" in causes(upside)
    assert not found(report(run(FALL, series=[series("train_accuracy", right)]), BAD), "h-metric-loss-disagree")
    still = report(run(FALL, series=[series("train_accuracy", noisy([0.5] * 20, Random(0), 0.01))]), BAD)
    assert not found(still, "h-metric-loss-disagree")


@pytest.mark.parametrize(
    ("optimizer", "rate", "table", "expected"),
    [
        ("Adam", 3.0, BAD, "warning"),
        ("Adam", 3.0, GOOD, None),
        ("SGD", 3.0, BAD, None),  # what a step of it is hangs on the gradient
        ("Adam", 0.1, BAD, None),
    ],
)
def test_a_rate_of_adam_as_large_as_weights_are(
    optimizer: str, rate: float, table: Classification, expected: str | None
) -> None:
    history = run(STUCK, series=[series("learning_rate", [rate] * 20)])
    facts = report(structs.replace(history, optimizer=optimizer, loop=None, parameters=[]), table)
    assert severity(facts, "lr-extreme") == expected
    assert ("lr-too-high" in causes(facts)) is (expected == "warning")


def test_a_loss_that_came_down_to_a_constant_guess_rewards_nothing() -> None:
    """The best constant guess of two classes, of 0.53 and 0.47, has a loss of 0.691."""
    falling = [0.74 - 0.048 * min(e, 8) / 8 for e in range(20)]
    worse = [0.61 - 0.004 * e for e in range(20)]
    table = Classification(classes=["a", "b"], confusion=[[150, 62], [140, 48]])
    for curve, expected in ((falling, "info"), ([v - 0.15 for v in falling], "warning")):
        facts = report(run(curve, series=[series("train_accuracy", worse)]), table)
        assert severity(facts, "h-metric-loss-disagree") == expected


def test_h_val_noise_and_the_gap() -> None:
    rng = Random(2)
    noisy_end = [min(0.97, 0.5 + 0.1 * e) + rng.uniform(-0.003, 0.003) for e in range(20)]
    accuracy = series("val_accuracy", noisy_end)
    assert severity(report(run(series=[accuracy]), GOOD), "h-val-noise") == "info"
    assert not found(
        report(run(series=[series("val_accuracy", [0.5 + 0.02 * e for e in range(20)])]), GOOD), "h-val-noise"
    )
    fitted = EvaluationFacts(task="multiclass", n_samples=400, classification=perfect())
    worse = Classification(classes=["a", "b"], confusion=[[150, 50], [50, 150]])
    assert severity(report(run(), worse, train_evaluation=fitted), "h-generalisation-gap") == "info"
    assert not found(report(run(), GOOD, train_evaluation=fitted), "h-generalisation-gap")
    train, val = series("train_accuracy", [1.0] * 20), series("val_accuracy", [0.7] * 20)
    assert severity(report(run(series=[train, val]), GOOD), "h-generalisation-gap") == "info"
    assert not found(report(run(series=[train, accuracy]), GOOD), "h-generalisation-gap")


def perfect() -> Classification:
    return Classification(classes=["a", "b"], confusion=[[200, 0], [0, 200]])


def test_a_loss_that_doubled_and_a_wide_gap_are_overfitting_though_the_metric_holds() -> None:
    rise = [0.8, 0.6, 0.5, *[0.5 + 0.04 * e for e in range(17)]]
    parts = [series("val_loss", rise), series("val_accuracy", [0.5, 0.7, *[0.75] * 18])]
    fitted = EvaluationFacts(task="multiclass", n_samples=400, classification=perfect())
    worse = Classification(classes=["a", "b"], confusion=[[150, 50], [50, 150]])
    assert severity(report(run(series=parts), worse, train_evaluation=fitted), "h-overfit") == "warning"
    assert severity(report(run(series=parts), GOOD, train_evaluation=fitted), "h-overconfident") == "info"


@pytest.mark.parametrize(
    ("end", "share", "expected"),
    [(0.68, 0.84, "h-overfit"), (0.68, 0.94, "h-overconfident"), (0.6, 0.84, "h-overconfident")],
)
def test_how_far_a_loss_must_rise_where_the_metric_holds(end: float, share: float, expected: str) -> None:
    """By three tenths, with a gap of a tenth: what was learned by heart helps nobody, though it does little harm."""
    rise = [0.8, 0.6, 0.5, *[0.5 + (end - 0.5) * e / 16 for e in range(17)]]
    parts = [series("val_loss", rise), series("val_accuracy", [0.5, 0.7, *[share] * 18])]
    fitted = EvaluationFacts(task="multiclass", n_samples=400, classification=perfect())
    right = round(200 * share)
    table = Classification(classes=["a", "b"], confusion=[[right, 200 - right], [200 - right, right]])
    facts = report(run(series=parts), table, train_evaluation=fitted)
    assert severity(facts, expected) == ("warning" if expected == "h-overfit" else "info")


def test_h_best_not_last() -> None:
    rise = [*[1.0 - 0.05 * e for e in range(10)], *[0.55 + 0.02 * (e % 3) + 0.1 for e in range(10)]]
    facts = report(run([0.5] * 10 + [0.6] * 10, series=[series("val_loss", rise)]))
    assert {f.severity.value for f in found(facts, "h-best-not-last")} == {"info"}
    assert not found(report(run(series=[series("val_loss", FALL)])), "h-best-not-last")


def test_h_resume_gap() -> None:
    rng = Random(3)
    before, after = noisy([0.5] * 50, rng, 0.02), noisy([0.9] * 50, rng, 0.02)
    gap = [Event(kind="gap", step=50)]
    jump = history(series("train_loss", before + after, "step"), events=gap)
    assert severity(report(jump), "h-resume-gap") == "info"
    smooth = history(series("train_loss", before + before, "step"), events=gap)
    assert not found(report(smooth), "h-resume-gap")


def test_remarks_claim_no_cause() -> None:
    facts = judge(report(run([2.3, 1.0, *[0.2] * 18]), GOOD))
    (remark,) = [d for d in facts.diagnoses if d.findings[0].rule == "h-plateau"]
    assert wording.diagnosis_title(remark) == "Early plateau"
    assert "0.2" in wording.summary(remark)
    assert "fewer epochs" in remark.advice


def test_validation_by_step_is_held_against_training_by_step() -> None:
    rng = Random(4)
    train = series("train_loss", noisy([2.3 * 0.995**i + 0.01 for i in range(1000)], rng, 0.2), "step")
    marks = [float(50 * (i + 1)) for i in range(20)]
    rising = [1.0 - 0.1 * i if i < 6 else 0.4 + 0.08 * (i - 5) for i in range(20)]
    val = Series(name="val_loss", axis="step", x=marks, y=list(noisy(rising, rng, 0.01)), n=20)
    (finding,) = found(report(history(train, val)), "h-overfit")
    assert finding.evidence["best_epoch"] in marks


def test_a_part_in_eval_mode_is_told_in_words() -> None:
    part = Finding(
        rule="eval-mode-training",
        severity=Severity.WARNING,
        subject="body.norm",
        section="training",
        evidence={"layers": 1.0, "steps": 20.0},
        detail={"direction": "part"},
    )
    assert "body.norm" in wording.describe(part)


@pytest.mark.parametrize(("end", "expected"), [(0.1, None), (0.9, "error")])
@pytest.mark.parametrize("train", [[1.0, 0.8, 0.7, 0.75, 0.9, 1.1, 1.3, 1.4, 1.5, 1.55], [1.0, 1.02] * 5])
def test_a_training_loss_that_asks_for_more_and_more_while_the_validation_loss_falls(
    train: list[float], end: float, expected: str | None
) -> None:
    epochs = [float(i + 1) for i in range(10)]
    val = [1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1] if end < 0.5 else [1.0, 1.01, 0.99, 1.0, 1.02] * 2
    history = History(
        series=[
            Series(name="train_loss", axis="epoch", n=10, x=epochs, y=list(train)),
            Series(name="val_loss", axis="epoch", n=10, x=epochs, y=list(val)),
        ],
        epochs=10,
    )
    judged = report(history)
    rules = {"h-diverged", "h-never-learned"}
    found = {f.rule for f in judge(judged).findings if f.rule in rules and f.severity is not Severity.INFO}
    assert bool(found) == (expected is not None)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([894.2, 2.35e6, None, None], "error"),  # each step made it a thousand times as large
        ([1.0, 3e3, 4e9, None], "error"),
        ([894.2, 2.35e4, None], None),  # one wild value may be the fault of a batch
        ([894.2, None, None], None),
        ([1.0, 0.9, 1.1, 0.8, 0.9, 0.7, 0.8, 1e6, None], None),
    ],
)
def test_a_loss_that_the_first_steps_broke(steps: list[float | None], expected: str | None) -> None:
    by_step = Series(name="train_loss", axis="step", n=len(steps), x=[float(i + 1) for i in range(len(steps))], y=steps)
    history = History(series=[by_step], steps=len(steps))
    assert severity(report(history), "h-diverged") == expected


@pytest.mark.parametrize(("end", "expected"), [(-1.16, None), (-1.09, "warning")])
def test_a_reward_that_is_earned_is_told_by_the_validation_loss(end: float, expected: str | None) -> None:
    """The training loss of a policy says nothing of its level; what is earned, with its sign turned, does."""
    epochs = [float(i + 1) for i in range(12)]
    surrogate = [-0.109, -0.1, -0.11, -0.105, -0.1, -0.095, -0.1, -0.098, -0.096, -0.094, -0.092, -0.09]
    earned = [-1.09 + (end + 1.09) * min(i / 8, 1.0) for i in range(12)]
    named = (("train_loss", surrogate), ("val_loss", earned))
    history = History(series=[Series(name=n, axis="epoch", n=12, x=epochs, y=y) for n, y in named], epochs=12)
    rules = {f.rule: f.severity.value for f in judge(report(history)).findings if f.severity is not Severity.INFO}
    assert rules.get("h-never-learned") == expected
