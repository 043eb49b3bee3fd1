"""Every rule on facts where it must fire and on facts where it must not, and the joining of findings to causes."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

from reportgen.document.codec import FORMAT_VERSION
from reportgen.document.evaluation import TargetScore
from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    ArchitectureFacts,
    BufferRow,
    ChannelFacts,
    Classification,
    DatasetFacts,
    Diagnosis,
    EvaluationFacts,
    FeatureStats,
    Finding,
    GradientFacts,
    GradientRow,
    Meta,
    NormRow,
    OutputFacts,
    Regression,
    Report,
    Severity,
    SubjectFacts,
    WeightFacts,
    WeightRow,
)
from reportgen.document.history import Event, History, LayerRun, ParameterRun, Series
from reportgen.document.samples import TensorRow
from reportgen.document.stats import TensorStats
from reportgen.errors import OptionError
from reportgen.health.causes import ADVICE, diagnose
from reportgen.health.defaults import DEFAULTS
from reportgen.health.gate import offending
from reportgen.health.judge import judge
from reportgen.health.rules import RULES
from reportgen.health.syndromes import SYNDROMES
from reportgen.health.thresholds import Thresholds
from reportgen.page import wording
from reportgen.probe.reduce import tensor_stats

GOOD = Classification(classes=["a", "b"], confusion=[[200, 5], [5, 190]])
BAD = Classification(classes=["a", "b"], confusion=[[200, 0], [200, 0]])


def stats(mean: float = 0.0, std: float = 1.0, n: int = 1000, **more: Any) -> TensorStats:
    base = TensorStats(count=n, sum=mean * n, m2=std * std * n, min=mean - 3 * std, max=mean + 3 * std)
    return structs.replace(base, **more)


def report(**parts: Any) -> Report:
    subject = SubjectFacts(
        name="Net", kind="model", inputs="real", n_samples=400, n_batches=10, loss=parts.pop("loss", None)
    )
    return Report(format_version=FORMAT_VERSION, title="t", meta=Meta(), subject=subject, **parts)


def found(facts: Report, rule: str) -> list[Finding]:
    return [f for f in judge(facts).findings if f.rule == rule]


def weight(name: str = "w", **more: Any) -> WeightRow:
    base = WeightRow(
        name=name,
        module="Linear",
        shape=[10, 100],
        dtype="float32",
        role="weight",
        trainable=True,
        fan_in=100,
        stats=stats(std=0.06),
    )
    return structs.replace(base, **more)


def weights(*rows: WeightRow) -> dict[str, Any]:
    n = sum(row.stats.count for row in rows if row.stats)
    size = ArchitectureFacts(rows=[], parameters=n, trainable=n, buffers=0, parameter_bytes=0, buffer_bytes=0)
    return {"weights": WeightFacts(rows=list(rows)), "architecture": size}


def evaluated(table: Classification, **more: Any) -> EvaluationFacts:
    return EvaluationFacts(task="multiclass", n_samples=sum(map(sum, table.confusion)), classification=table, **more)


def layer(silent: int = 0, constant: int = 0, channels: int = 100, **more: Any) -> ActivationRow:
    facts = ChannelFacts(
        call=0,
        n_channels=channels,
        n_samples=more.pop("n_samples", 400),
        n_batches=10,
        silent=silent,
        constant=constant,
    )
    base = ActivationRow(
        name="relu", kind="ReLU", order=1, calls=10, shape="", stats=stats(), channels=[facts], rectifier=True
    )
    return structs.replace(base, **more)


@pytest.mark.parametrize(("later", "severity"), [((60, 70), "info"), ((100, 100), "error")])
def test_a_state_that_begins_with_zeros_is_no_dead_layer(later: tuple[int, ...], severity: str) -> None:
    """What a layer reads at the first step of a sequence; at the others half of the units may rest."""
    row = layer(name="h2h (input)", kind="function", functional=True, n_samples=600)
    (first,) = row.channels
    calls = [structs.replace(first, call=i, silent=n) for i, n in enumerate((100, *later))]
    facts = report(activations=activations(structs.replace(row, channels=calls)), evaluation=evaluated(GOOD))
    assert [f.severity for f in found(facts, "dead-relu")] == [severity]


def activations(*rows: ActivationRow, norms: tuple[NormRow, ...] = ()) -> ActivationFacts:
    return ActivationFacts(mode="eval", n_batches=10, n_samples=400, rows=list(rows), norms=list(norms))


def curves(train: list[float | None], val: list[float] | None = None, **more: list[float]) -> History:
    named: dict[str, Any] = {"train_loss": train, **({"val_loss": val} if val else {}), **more}
    series = [
        Series(
            name=name,
            axis="epoch",
            x=[float(i + 1) for i in range(len(y))],
            y=y,
            n=len(y),
            nonfinite=sum(v is None for v in y),
            first_nonfinite=next((float(i + 1) for i, v in enumerate(y) if v is None), None),
        )
        for name, y in named.items()
    ]
    return History(series=series, epochs=len(train), steps=10 * len(train))


# ---------------------------------------------------------------------------------------------------- weights


def test_param_nonfinite() -> None:
    assert not found(report(**weights(weight())), "param-nonfinite")
    (finding,) = found(report(**weights(weight(), weight("bad", stats=stats(nan=2, pos_inf=1)))), "param-nonfinite")
    assert (finding.severity, finding.subject) == (Severity.ERROR, "bad")
    assert finding.evidence == {"nan": 2, "inf": 1, "count": 1000}


@pytest.mark.parametrize(("calls", "cause"), [((0, 40), "non-finite-weights"), ((40, 0), "bn-statistics")])
def test_statistics_that_were_lost_before_the_run_are_part_of_the_weights(calls: tuple[int, int], cause: str) -> None:
    """A norm that stood in eval mode all along kept what it was given: a file in half precision holds no 90 000."""
    parts = weights(weight())
    broken = BufferRow(name="bn.running_var", shape=[8], dtype="float32", stats=stats(5.0, 1.0, pos_inf=8, n=8))
    parts["weights"] = structs.replace(parts["weights"], buffers=[broken])
    norm = LayerRun(name="bn", kind="BatchNorm1d", order=0, train_calls=calls[0], eval_calls=calls[1])
    judged = judge(report(**parts, training=structs.replace(curves([1.0] * 9), layers=[norm])))
    assert [d.cause for d in judged.diagnoses if d.severity is Severity.ERROR] == [cause]


@pytest.mark.parametrize(("lost", "cause"), [(0, "bn-statistics"), (1, "non-finite-weights")])
def test_statistics_that_are_lost_are_no_weights(lost: int, cause: str) -> None:
    """One batch that was not finite stays in running statistics; where weights are lost too, it is they that count."""
    parts = weights(weight(stats=stats(nan=lost)))
    broken = BufferRow(name="bn.running_mean", shape=[8], dtype="float32", stats=stats(nan=8, n=8))
    parts["weights"] = structs.replace(parts["weights"], buffers=[broken])
    judged = judge(report(**parts, activations=activations(layer(stats=stats(nan=9)))))
    assert [d.cause for d in judged.diagnoses if d.severity is Severity.ERROR] == [cause]


def test_param_frozen_only_informs() -> None:
    assert not found(report(**weights(weight())), "param-frozen")
    (finding,) = found(report(**weights(weight(), weight("b", trainable=False))), "param-frozen")
    assert finding.severity is Severity.INFO
    assert finding.evidence["share"] == 0.5


@pytest.mark.parametrize(
    ("std", "severity"),
    [
        (0.0577, None),
        (0.1414, None),
        (0.2, None),
        (1.0, Severity.INFO),
        (5.0, Severity.WARNING),
        (1e-3, Severity.WARNING),
    ],
)
def test_w_scale(std: float, severity: Severity | None) -> None:
    got = [f.severity for f in found(report(**weights(weight(stats=stats(std=std)))), "w-scale")]
    assert got == ([] if severity is None else [severity])


def test_w_scale_passes_over_weights_without_a_scale() -> None:
    for harmless in (
        weight(stats=stats(std=50.0), before_norm=True),
        weight(stats=stats(std=0.0)),
        weight(stats=stats(std=50.0), role="embedding", fan_in=None),
        weight(stats=stats(std=50.0, nan=1)),
    ):
        assert not found(report(**weights(harmless)), "w-scale")


def test_w_at_default_init_needs_a_trained_model() -> None:
    fresh = weights(
        weight(at_default_init=True), weight("b", at_default_init=False), weight("c", at_default_init=False)
    )
    assert not found(report(**fresh), "w-at-default-init")
    (finding,) = found(report(**fresh, training=curves([1.0] * 3)), "w-at-default-init")
    assert finding.severity is Severity.WARNING
    assert diagnose([finding])[0].cause == "frozen-layers"
    every = weights(weight(at_default_init=True), weight("b", at_default_init=True))
    judged = judge(report(**every, training=curves([1.0] * 3), evaluation=evaluated(BAD)))
    assert [d.cause for d in judged.diagnoses] == ["no-weight-update"]
    frozen = weights(weight(at_default_init=True, trainable=False))
    assert not found(report(**frozen, training=curves([1.0] * 3)), "w-at-default-init")


def test_weights_that_moved_by_next_to_nothing_are_no_frozen_ones() -> None:
    """Whether a run moves 10^-4 of a weight or nothing of it is seen in the run alone."""
    both = (weight("a", at_default_init=True), weight("b", at_default_init=True))
    history = curves([2.3, 2.3, 2.3, 2.3])
    parameters = [
        ParameterRun(name=n, module="Linear", shape=[10, 100], is_matrix=True, trainable=True, changed=True)
        for n in "ab"
    ]
    moved = structs.replace(history, parameters=parameters)
    for outcome, training, expected in (
        (BAD, history, ["no-weight-update"]),
        (BAD, moved, ["lr-too-low"]),
        (GOOD, moved, []),  # a wide layer may learn by moving so little
    ):
        judged = judge(report(**weights(*both), training=training, evaluation=evaluated(outcome)))
        assert [d.cause for d in judged.diagnoses if d.severity is not Severity.INFO] == expected
    few = (*both[:1], weight("b", at_default_init=False), weight("c", at_default_init=False))
    seen = report(**weights(*few), training=moved, evaluation=evaluated(BAD))
    assert not found(seen, "w-at-default-init")


# ------------------------------------------------------------------------------------------------ activations


def test_act_nonfinite_names_the_first_layer() -> None:
    rows = [
        layer(name="a", order=0),
        layer(name="c", order=2, stats=stats(nan=4)),
        layer(name="b", order=1, stats=stats(nan=1)),
    ]
    (finding,) = found(report(activations=activations(*rows)), "act-nonfinite")
    assert (finding.subject, finding.evidence["layers"], finding.severity) == ("b", 2, Severity.ERROR)
    masked = activations(layer(stats=stats(neg_inf=3)))
    assert [f.severity for f in found(report(activations=masked), "act-nonfinite")] == [Severity.INFO]


@pytest.mark.parametrize(
    ("silent", "outcome", "more", "severity"),
    [
        (8, BAD, {}, None),
        (38, BAD, {}, Severity.INFO),
        (60, GOOD, {}, Severity.INFO),
        (60, BAD, {}, Severity.WARNING),
        (60, BAD, {"n_samples": 100}, Severity.INFO),
        (100, GOOD, {}, Severity.ERROR),
        (100, BAD, {"bypassed": True}, Severity.WARNING),
        (100, BAD, {"rectifier": False}, None),
        (100, BAD, {"stats": stats(nan=1)}, None),
    ],
)
def test_dead_relu(silent: int, outcome: Classification, more: dict[str, Any], severity: Severity | None) -> None:
    facts = report(activations=activations(layer(silent, **more)), evaluation=evaluated(outcome))
    assert [f.severity for f in found(facts, "dead-relu")] == ([] if severity is None else [severity])


def test_noise_says_nothing_of_dead_units() -> None:
    facts = report(activations=activations(layer(100)))
    noise = structs.replace(facts, subject=structs.replace(facts.subject, inputs="synthetic"))
    assert found(facts, "dead-relu")
    assert not found(noise, "dead-relu")


def test_constant_channel() -> None:
    last = layer(name="head", order=9, rectifier=False)
    some, most = layer(constant=20, rectifier=False), layer(constant=60, rectifier=False)
    trained = {"training": curves([1.0] * 3)}
    assert not found(report(activations=activations(layer(constant=5), last), **trained), "constant-channel")
    for row, outcome, severity in ((some, BAD, "info"), (most, BAD, "warning"), (most, GOOD, "info")):
        facts = report(activations=activations(row, last), evaluation=evaluated(outcome), **trained)
        assert [f.severity for f in found(facts, "constant-channel")] == [severity]
    collapsed = report(activations=activations(layer(constant=100, rectifier=False)), **trained)
    assert [f.severity for f in found(collapsed, "constant-channel")] == ["error"]
    untrained = activations(most, norms=(norm(0.0, fresh=True),))
    assert not found(report(activations=untrained), "constant-channel")


def norm(mean_gap: float, log_var_gap: float = 0.0, n: int = 400, fresh: bool = False, tracked: int = 50) -> NormRow:
    return NormRow(
        name="bn",
        n_channels=8,
        n_samples=n,
        batches_tracked=0 if fresh else tracked,
        at_default=fresh,
        mean_gap=mean_gap,
        log_var_gap=log_var_gap,
    )


@pytest.mark.parametrize(
    ("row", "outcome", "severity"),
    [
        (norm(0.06, 0.08), BAD, None),
        (norm(0.19, 0.46), BAD, None),
        (norm(0.9), BAD, "warning"),
        (norm(3.0), BAD, "error"),
        (norm(3.0), GOOD, "warning"),
        (norm(0.0, 11.0), BAD, "error"),
        (norm(3.0, n=30), BAD, None),
        (norm(3.0, fresh=True), BAD, None),
    ],
)
def test_bn_stats_mismatch(row: NormRow, outcome: Classification, severity: str | None) -> None:
    facts = report(activations=activations(norms=(row,)), evaluation=evaluated(outcome))
    assert [f.severity for f in found(facts, "bn-stats-mismatch")] == ([] if severity is None else [severity])


def test_bn_never_updated_needs_a_trained_model() -> None:
    facts = report(activations=activations(norms=(norm(0.0, fresh=True),)))
    assert not found(facts, "bn-never-updated")
    trained = structs.replace(facts, training=curves([1.0] * 3))
    assert [f.severity for f in found(trained, "bn-never-updated")] == ["error"]
    # without a history a model that clearly works is known to be trained
    works = structs.replace(facts, evaluation=evaluated(GOOD))
    assert [f.severity for f in found(works, "bn-never-updated")] == ["warning"]
    # an old file has no counter; its statistics show that it was trained
    old = report(activations=activations(norms=(norm(0.0, tracked=0),)), training=curves([1.0] * 3))
    assert not found(old, "bn-never-updated")


# -------------------------------------------------------------------------------------------------- gradients


def gradients(*sizes: float, **more: Any) -> dict[str, Any]:
    rows = [
        GradientRow(
            name=f"l{i}.weight",
            module="Linear",
            order=i,
            is_matrix=True,
            requires_grad=True,
            n_none=0,
            n_zero=0,
            stats=stats(std=size),
        )
        for i, size in enumerate(sizes)
    ]
    rows = [structs.replace(row, **more.get(row.name.split(".")[0], {})) for row in rows]
    facts = GradientFacts(loss="l", mode="train", n_batches=4, n_samples=100, rows=rows)
    return {"gradients": facts, **weights(*(weight(row.name) for row in rows))}


def test_grad_nonfinite_names_the_first_in_backward_order() -> None:
    bad = {"stats": stats(nan=3)}
    assert not found(report(**gradients(1, 1, 1)), "grad-nonfinite")
    (finding,) = found(report(**gradients(1, 1, 1, l0=bad, l1=bad)), "grad-nonfinite")
    assert (finding.subject, finding.evidence["tensors"]) == ("l1.weight", 2)


def test_param_no_grad_and_unused_are_told_apart() -> None:
    cut = {"n_none": 4, "stats": None}
    assert not found(report(**gradients(1, 1)), "param-no-grad")
    (finding,) = found(report(**gradients(*[1] * 20, l0=cut)), "param-no-grad")
    assert finding.severity is Severity.WARNING  # 5 % of the elements
    (finding,) = found(report(**gradients(1, 1, l0=cut)), "param-no-grad")
    assert finding.severity is Severity.ERROR
    sometimes = {"n_none": 3}
    assert not found(report(**gradients(1, 1, l0=sometimes)), "param-no-grad")
    frozen = cut | {"requires_grad": False}
    assert not found(report(**gradients(1, 1, l0=frozen)), "param-no-grad")
    unused = cut | {"order": None}
    facts = report(**gradients(1, 1, l0=unused))
    assert not found(facts, "param-no-grad")
    assert [f.severity for f in found(facts, "param-unused")] == ["info"]


@pytest.mark.parametrize(
    ("sizes", "severity", "direction"),
    [
        ([10 ** (0.84 * i) for i in range(10)], "error", "vanishing"),
        ([10 ** (0.55 * i) for i in range(10)], "warning", "vanishing"),
        ([10 ** (-0.84 * i) for i in range(10)], "error", "exploding"),
        ([10 ** (0.31 * i) for i in range(12)], None, ""),  # a deep default-init ReLU MLP
        ([300] * 5 + [1] * 20, None, ""),  # early layers of a ResNet
        ([10 ** (2.0 * i) for i in range(4)], None, ""),  # too few layers
        ([1e-9] + [1.0] * 20, None, ""),  # one odd layer is no trend
    ],
)
def test_grad_depth_slope(sizes: list[float], severity: str | None, direction: str) -> None:
    got = found(report(**gradients(*sizes)), "grad-depth-slope")
    assert [f.severity for f in got] == ([] if severity is None else [severity])
    assert all(f.detail["direction"] == direction for f in got)


def test_exact_zeros_are_no_vanishing_gradient() -> None:
    zero = {"stats": stats(std=0.0), "n_zero": 4}
    facts = report(**gradients(*[1.0] * 10, **{f"l{i}": zero for i in range(6)}))
    assert not found(facts, "grad-depth-slope")


# --------------------------------------------------------------------------------------------------- training


def noisy(values: list[float], seed: int, sigma: float = 0.02) -> list[float]:
    rng = random.Random(seed)
    return [v * math.exp(rng.gauss(0, sigma)) for v in values]


E = 30
HEALTHY = {
    "exponential": ([2.3 * math.exp(-e / 6) + 0.1 for e in range(E)], [2.3 * math.exp(-e / 6) + 0.2 for e in range(E)]),
    "step drop": ([1.5 if e < 15 else 0.4 for e in range(E)], [1.6 if e < 15 else 0.6 for e in range(E)]),
    "warm-up bump": (
        [2.3, 2.5, 2.6] + [2.3 * math.exp(-e / 5) for e in range(E - 3)],
        [2.3, 2.5, 2.6] + [2.3 * math.exp(-e / 5) + 0.1 for e in range(E - 3)],
    ),
    "train to zero, validation flat": (
        [2.3 * math.exp(-e / 3) + 1e-4 for e in range(E)],
        [2.3 * math.exp(-e / 3) + 0.3 for e in range(E)],
    ),
    "validation below training": (
        [2 * math.exp(-e / 8) + 0.5 for e in range(E)],
        [2 * math.exp(-e / 8) + 0.3 for e in range(E)],
    ),
    "restarts": (
        [1.5 * math.exp(-(e % 10) / 4) + 0.5 - e * 0.01 for e in range(E)],
        [1.5 * math.exp(-(e % 10) / 4) + 0.6 - e * 0.01 for e in range(E)],
    ),
    "five epochs": ([2.3, 1.1, 0.8, 0.7, 0.6], [2.0, 1.2, 1.0, 0.9, 0.9]),
    "slightly rising tail": (
        [2.3 * math.exp(-e / 4) + 0.01 for e in range(E)],
        [2.3 * math.exp(-e / 4) + 0.06 + 0.0005 * e for e in range(E)],
    ),
}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_curves_raise_no_alarm(name: str, seed: int) -> None:
    train, val = HEALTHY[name]
    judged = judge(report(training=curves(noisy(train, seed), noisy(val, seed + 100))))
    assert [f.rule for f in judged.findings if f.severity is not Severity.INFO] == []


@pytest.mark.parametrize("seed", range(20))
def test_sick_curves_are_told(seed: int) -> None:
    def rules(train: list[float | None], val: list[float] | None = None, **more: Any) -> set[str]:
        got = judge(report(training=curves(train, val), **more)).findings
        return {f.rule for f in got if f.severity is not Severity.INFO}

    fall = [2.3 * math.exp(-e / 5) + 0.05 for e in range(E)]
    overfit = [2.3 * math.exp(-e / 3) + 0.5 + 0.04 * max(0, e - 8) for e in range(E)]
    assert "h-overfit" in rules(noisy(fall, seed), noisy(overfit, seed + 50))
    diverged = [2.3 * math.exp(-e / 5) if e < 15 else 5.0 for e in range(E)]
    assert "h-diverged" in rules(noisy(diverged, seed))
    assert "h-never-learned" in rules(noisy([0.6931] * E, seed, 0.002), evaluation=evaluated(BAD))
    swinging = [1.0 if e % 2 else 0.4 for e in range(E)]
    assert "h-oscillating" in rules(noisy(swinging, seed))
    assert "h-nonfinite" in rules([*noisy(fall, seed), None])


def test_the_first_non_finite_step_is_named() -> None:
    (finding,) = found(report(training=curves([1.0, 0.5, None, None])), "h-nonfinite")
    assert finding.evidence == {"values": 2, "first": 3, "of": 4}


def test_a_rising_loss_with_a_metric_that_holds_is_over_confidence() -> None:
    fall = [2.3 * math.exp(-e / 5) + 0.05 for e in range(E)]
    rise = [2.3 * math.exp(-e / 3) + 0.5 + 0.04 * max(0, e - 8) for e in range(E)]
    good = [0.5 + 0.4 * (1 - math.exp(-e / 5)) for e in range(E)]
    falls = [0.9 - 0.01 * max(0, e - 8) for e in range(E)]
    judged = judge(report(training=curves(fall, rise, val_accuracy=good)))
    assert {f.rule: f.severity for f in judged.findings} == {"h-overconfident": "info"}
    assert found(report(training=curves(fall, rise, val_accuracy=falls)), "h-overfit")


@pytest.mark.parametrize(
    ("ratios", "severity", "direction"),
    [
        ([2e-3] * 10, None, ""),
        ([0.4, 0.1, *[2e-2] * 10], None, ""),  # the first steps of Adam on a wide layer
        ([14.0, 5.0, *[8e-3] * 10], "warning", "high"),
        ([0.2] * 10, "warning", "high"),
        ([0.07] * 10, "info", "high"),
        ([1e-6] * 10, "info", "low"),
    ],
)
def test_update_ratio(ratios: list[float], severity: str | None, direction: str) -> None:
    fall = [2.3 * math.exp(-e / 5) + 0.05 for e in range(12)]
    got = found(report(training=curves(fall, update_ratio=ratios)), "update-ratio")
    assert [f.severity for f in got] == ([] if severity is None else [severity])
    assert all(f.detail["direction"] == direction for f in got)


def test_tiny_steps_and_a_loss_that_stands_still_are_a_rate_too_low() -> None:
    history = curves([2.303, 2.302, 2.303, 2.302, 2.303, 2.302], update_ratio=[1e-7] * 6)
    (diagnosis,) = [d for d in judge(report(training=history)).diagnoses if d.severity is not Severity.INFO]
    assert diagnosis.cause == "lr-too-low"
    assert "h-never-learned" in {f.rule for f in diagnosis.consequences}


# ---------------------------------------------------------------------------------------- data and evaluation


def data(*features: TensorStats, **more: Any) -> DatasetFacts:
    rows = [FeatureStats(index=i, stats=s) for i, s in enumerate(features)]
    return structs.replace(DatasetFacts(n_samples=400, n_batches=10, shape="", dtype="float32", features=rows), **more)


@pytest.mark.parametrize(
    ("facts", "outcome", "severity"),
    [
        (data(stats(0, 1)), BAD, None),
        (data(stats(0.3, 0.37)), BAD, None),  # pixels in 0..1
        (data(stats(-0.1, 2.6)), BAD, None),  # the range of normalised ImageNet
        (data(stats(30, 95)), GOOD, "warning"),
        (data(stats(30, 95, max=255.0), integer_valued=True), GOOD, "error"),
        (data(stats(30, 95), normalised_first=True), BAD, "info"),
        (data(stats(5, 1)), BAD, "warning"),
        (data(stats(5, 1)), GOOD, "info"),
        (data(stats(-1, 0.05), stats(0, 1), stats(0, 1)), BAD, None),  # a pixel at the border that hardly moves
        (data(stats(0, 0.01)), BAD, "warning"),
        (data(stats(0, 0.001), stats(0, 1)), BAD, None),
        (data(stats(30, 95), dtype="uint8"), BAD, None),
        (data(stats(30, 95), n_samples=5), BAD, None),
    ],
)
def test_d_input_scale(facts: DatasetFacts, outcome: Classification, severity: str | None) -> None:
    got = found(report(dataset=facts, evaluation=evaluated(outcome)), "d-input-scale")
    assert [f.severity for f in got] == ([] if severity is None else [severity])


@pytest.mark.parametrize(("first", "end", "expected"), [(20, 0.68, "warning"), (20, 0.2, "info"), (0, 0.68, "info")])
def test_inputs_far_from_zero_that_shut_the_first_layer(first: int, end: float, expected: str) -> None:
    """They do harm to a model that works too, if it works by what still passes."""
    ends = [
        structs.replace(
            layer(channels=24, name=str(order), order=order, kind="Sigmoid"),
            channels=[
                ChannelFacts(
                    call=0, n_channels=24, n_samples=400, n_batches=10, silent=0, constant=0, saturated=saturated
                )
            ],
        )
        for order, saturated in ((1, first), (3, 0))
    ]
    facts = report(
        dataset=data(stats(120, 18)),
        evaluation=evaluated(GOOD),
        activations=activations(*ends, layer(order=5, name="head")),
        training=curves([1.0, 0.9, 0.8, *[end] * 9]),
    )
    assert [f.severity for f in found(facts, "d-input-scale")] == [expected]
    assert ("saturated-activations" in {d.cause for d in judge(facts).diagnoses if d.severity != "info"}) is False


def test_inputs_that_the_model_rescales_itself_are_no_fault() -> None:
    raw = data(stats(120, 80))
    for first, fires in ((stats(0, 1), False), (stats(120, 80), True), (stats(9, 0.4), True)):
        seen = structs.replace(activations(), first_input=first)
        assert bool(found(report(dataset=raw, activations=seen), "d-input-scale")) is fires


def test_nan_in_the_training_data_counts_too() -> None:
    facts = report(dataset=data(stats()), train_dataset=data(stats(nan=1)), **weights(weight(stats=stats(nan=1))))
    (diagnosis,) = judge(facts).diagnoses
    assert (diagnosis.cause, diagnosis.subject) == ("nan-in-data", "training input 0")


def test_nan_in_a_further_input_of_a_run_that_broke() -> None:
    rows = [
        TensorRow(name="0.codes", role="input", shape="N x 3", dtype="int64", stats=stats()),
        TensorRow(name="0.numbers", role="input", shape="N x 4", dtype="float32", stats=stats(nan=5)),
        TensorRow(name="0.mask", role="input", shape="N x 4", dtype="float32", stats=stats(pos_inf=5)),
        TensorRow(name="price", role="target", shape="N", dtype="float32", stats=stats()),
    ]
    facts = structs.replace(data(stats()), tensors=rows)
    broke = History(events=[Event(kind="nonfinite", step=1, subject="net.0", part="activation")], steps=9)
    (finding,) = found(report(dataset=facts, training=broke), "d-nonfinite")
    assert (finding.subject, finding.evidence["nan"]) == ("input 0.numbers", 5)
    # a model that fills the gaps, or masks them, works with them
    assert not found(report(dataset=facts, training=History(steps=9)), "d-nonfinite")
    assert not found(report(dataset=facts), "d-nonfinite")


def test_d_nonfinite() -> None:
    assert not found(report(dataset=data(stats())), "d-nonfinite")
    judged = judge(
        report(
            dataset=data(stats(), stats(nan=2)),
            activations=activations(layer(stats=stats(nan=9))),
            **weights(weight(stats=stats(nan=1))),
        )
    )
    (diagnosis,) = judged.diagnoses
    assert diagnosis.cause == "nan-in-data"
    assert {f.rule for f in diagnosis.consequences} == {"act-nonfinite", "param-nonfinite"}


def outputs(low: float, high: float, row_sum: float | None, ce: float | None = None) -> OutputFacts:
    return OutputFacts(min=low, max=high, row_sum_error=row_sum, log_sum_exp_error=None, cross_entropy=ce)


@pytest.mark.parametrize(
    ("facts", "loss", "fires"),
    [
        (evaluated(GOOD, loss=1.5, outputs=outputs(0, 1, 1e-6)), "CrossEntropyLoss", True),
        (evaluated(GOOD, loss=1.5, outputs=outputs(0, 1, 1e-6, ce=1.5)), "my_loss", True),
        (evaluated(GOOD, loss=0.1, outputs=outputs(0, 1, 1e-6, ce=1.5)), "nll_of_log", False),
        (evaluated(GOOD, loss=0.1, outputs=outputs(-9, 9, 7.0, ce=0.1)), "CrossEntropyLoss", False),
        (evaluated(GOOD, loss=0.1, outputs=outputs(-9, 0, 7.0, ce=0.1)), "CrossEntropyLoss", False),  # log-softmax
    ],
)
def test_double_softmax(facts: EvaluationFacts, loss: str, fires: bool) -> None:
    got = found(report(evaluation=facts, loss=loss), "double-softmax")
    assert [f.severity for f in got] == ([Severity.ERROR] if fires else [])


def test_double_sigmoid_needs_many_samples_and_a_spread() -> None:
    facts = structs.replace(evaluated(GOOD), task="binary", outputs=outputs(0.0, 1.0, None))
    narrow = structs.replace(facts, outputs=outputs(0.1, 0.3, None))  # logits of a fresh model
    assert not found(report(evaluation=narrow, loss="BCEWithLogitsLoss"), "double-softmax")
    assert found(report(evaluation=facts, loss="BCEWithLogitsLoss"), "double-softmax")
    assert not found(report(evaluation=facts, loss="BCELoss"), "double-softmax")
    few = structs.replace(facts, n_samples=40)
    assert not found(report(evaluation=few, loss="BCEWithLogitsLoss"), "double-softmax")


def test_o_baseline_skill() -> None:
    trained = {"training": curves([1.0, 0.9])}
    assert not found(report(evaluation=evaluated(GOOD), **trained), "o-baseline-skill")
    assert found(report(evaluation=evaluated(BAD), **trained), "o-baseline-skill")
    assert not found(report(evaluation=evaluated(BAD)), "o-baseline-skill")  # not known to be trained
    rare = Classification(classes=["a", "b"], confusion=[[300, 60], [4, 36]])  # accuracy below, recall far above chance
    assert not found(report(evaluation=evaluated(rare), **trained), "o-baseline-skill")

    # rare events: the common class is the best decision, and the probabilities are still worth something
    events = Classification(classes=["no", "yes"], confusion=[[380, 0], [20, 0]])
    for entropy, fires in ((0.15, False), (0.1985, True)):
        facts = structs.replace(evaluated(events), task="binary", outputs=outputs(-9, 2, None, ce=entropy))
        assert bool(found(report(evaluation=facts, **trained), "o-baseline-skill")) is fires

    def regressor(r2: float) -> EvaluationFacts:
        facts = Regression(r2=r2, mae=1, mse=1, target=stats(), residual=stats())
        return EvaluationFacts(task="regression", n_samples=100, regression=facts)

    assert found(report(evaluation=regressor(-0.2), **trained), "o-baseline-skill")
    assert not found(report(evaluation=regressor(0.4), **trained), "o-baseline-skill")

    # sixty-four pixels, one of which is nearly always dark: its own R² ruins the mean, and says nothing
    pixels = [TargetScore(name=str(i), n=100, r2=0.7, mae=0.4, rmse=0.55, std=1.0, bias=0.0) for i in range(63)]
    pixels.append(TargetScore(name="63", n=100, r2=-300.0, mae=0.1, rmse=0.17, std=0.01, bias=0.0))
    facts = Regression(r2=-4.0, mae=0.4, mse=0.3, target=stats(), residual=stats(), targets=pixels)
    several = EvaluationFacts(task="regression", n_samples=100, regression=facts)
    assert not found(report(evaluation=several, **trained), "o-baseline-skill")
    # two targets of very different units, the larger of which is missed
    mixed = [
        TargetScore(name="metres", n=100, r2=0.9, mae=0.2, rmse=0.3, std=1.0, bias=0.0),
        TargetScore(name="dollars", n=100, r2=-0.1, mae=1e5, rmse=1.1e5, std=1.05e5, bias=0.0),
    ]
    facts = structs.replace(facts, r2=0.4, targets=mixed)
    assert not found(report(evaluation=structs.replace(several, regression=facts), **trained), "o-baseline-skill")
    facts = structs.replace(facts, r2=-0.1, targets=mixed[1:] * 2)
    assert found(report(evaluation=structs.replace(several, regression=facts), **trained), "o-baseline-skill")


def test_loss_shape() -> None:
    facts = Regression(r2=0.0, mae=1, mse=1, target=stats(), residual=stats())
    wrong = structs.replace(outputs(-1, 1, None), same_shape=False)
    for shapes, loss, fires in (
        (wrong, "MSELoss", True),
        (wrong, "my_loss", False),
        (outputs(-1, 1, None), "MSELoss", False),
    ):
        evaluation = EvaluationFacts(task="regression", n_samples=100, loss=2.0, regression=facts, outputs=shapes)
        assert bool(found(report(evaluation=evaluation, loss=loss), "loss-shape")) is fires


def test_optimizer_missing_params() -> None:
    held, left = weight("a", in_optimizer=True), weight("b", in_optimizer=False)
    frozen = weight("c", in_optimizer=False, trainable=False)
    assert not found(report(**weights(held, frozen)), "optimizer-missing-params")
    assert not found(report(**weights(weight("a"))), "optimizer-missing-params")
    for rows, outcome, severity in (
        ((held, left), BAD, "warning"),
        ((held, left), GOOD, "info"),  # a backbone left out on purpose
        ((left,), GOOD, "error"),
    ):
        got = found(report(**weights(*rows), evaluation=evaluated(outcome)), "optimizer-missing-params")
        assert [f.severity for f in got] == [severity]


def test_a_head_left_out_of_the_optimizer_is_no_frozen_backbone() -> None:
    rows = [weight("body", in_optimizer=True), weight("head", in_optimizer=False)]
    order = [
        GradientRow(
            name=n, module="Linear", requires_grad=True, is_matrix=True, order=i, n_none=0, n_zero=0, stats=stats()
        )
        for i, n in enumerate(("body", "head"))
    ]
    seen = GradientFacts(mode="train", n_batches=4, n_samples=64, loss="l", rows=order)
    facts = report(**weights(*rows), evaluation=evaluated(GOOD), gradients=seen)
    assert [f.severity for f in found(facts, "optimizer-missing-params")] == ["warning"]
    swapped = structs.replace(seen, rows=[structs.replace(r, order=1 - i) for i, r in enumerate(order)])
    facts = report(**weights(*rows), evaluation=evaluated(GOOD), gradients=swapped)
    assert [f.severity for f in found(facts, "optimizer-missing-params")] == ["info"]
    random = [structs.replace(row, at_default_init=not row.in_optimizer) for row in rows]
    facts = report(**weights(*random), evaluation=evaluated(GOOD), gradients=swapped)
    assert [f.severity for f in found(facts, "optimizer-missing-params")] == ["warning"]


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda w: w, "warning"),
        (lambda w: 0.4 * w, "info"),  # vectors of words that were learned elsewhere
        (lambda w: (w - w.mean(0)) / w.std(0, correction=0), "info"),  # features, standardised
        (lambda w: w + 0.5 * torch.randn(4), "info"),  # learned: columns have means
    ],
)
def test_an_embedding_left_out_as_it_was_drawn(change: Callable[[Tensor], Tensor], severity: str) -> None:
    torch.manual_seed(0)
    values = change(torch.nn.Embedding(60, 4).weight.detach().clone())
    left = weight("people", in_optimizer=False, role="embedding", stats=tensor_stats(values))
    facts = report(**weights(left, weight("body", in_optimizer=True)), evaluation=evaluated(GOOD))
    assert [f.severity for f in found(facts, "optimizer-missing-params")] == [severity]


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda w: w, "warning"),
        (lambda w: 0.8 * w, "info"),
        (lambda w: w + 0.2 * torch.randn(16), "info"),  # learned: beyond the bound
        (lambda w: w.clamp(-0.2, 0.2), "info"),
    ],
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_small_recurrent_layer_left_out_as_it_was_drawn(
    change: Callable[[Tensor], Tensor], severity: str, kind: type[nn.RNNBase]
) -> None:
    torch.manual_seed(0)
    values = change(kind(3, 16).weight_hh_l0.detach().clone())
    left = weight("rnn.weight_hh_l0", in_optimizer=False, shape=list(values.shape), stats=tensor_stats(values))
    facts = report(**weights(left, weight("body", in_optimizer=True)), evaluation=evaluated(GOOD))
    assert [f.severity for f in found(facts, "optimizer-missing-params")] == [severity]


def test_steps_of_exactly_zero_are_no_rate_too_low() -> None:
    history = curves([2.303, 2.302, 2.303, 2.302, 2.303, 2.302], update_ratio=[0.0] * 6)
    (diagnosis,) = [d for d in judge(report(training=history)).diagnoses if d.severity is not Severity.INFO]
    assert diagnosis.cause == "no-weight-update"


def test_tiny_steps_behind_a_dead_layer_are_its_consequence() -> None:
    history = curves([2.303, 2.302, 2.303, 2.302, 2.303, 2.302], update_ratio=[1e-7] * 6)
    facts = report(training=history, activations=activations(layer(100)), evaluation=evaluated(BAD))
    assert {d.cause for d in judge(facts).diagnoses if d.severity is not Severity.INFO} == {"dead-relu"}


# ----------------------------------------------------------------------------------------------------- engine


def test_every_rule_has_a_cause_words_advice_and_a_docstring() -> None:
    emitted = {*RULES, "h-overconfident"}
    causes = {
        *DEFAULTS.values(),
        *(s.cause for s in SYNDROMES),
        "no-weight-update",
        "lr-too-low",
        "exploding-gradients",
    }
    assert emitted == set(DEFAULTS)
    assert causes <= set(ADVICE)
    for rule in emitted:
        assert wording.rule_title(rule) != rule
    for cause in causes:
        assert wording.cause_title(cause) != cause
    for name, rule in RULES.items():
        assert len(inspect.getdoc(rule) or "") > 60, name
    for syndrome in SYNDROMES:
        assert {*syndrome.proofs, *syndrome.folds} <= emitted


def test_a_cause_folds_its_consequences_and_takes_the_worst_severity() -> None:
    def finding(rule: str, severity: Severity, **detail: str) -> Finding:
        return Finding(rule=rule, severity=severity, subject="x", section="s", detail=detail)

    findings = [
        finding("d-input-scale", Severity.WARNING),
        finding("dead-relu", Severity.ERROR),
        finding("h-nonfinite", Severity.ERROR),
        finding("param-frozen", Severity.INFO),
    ]
    first, second = diagnose(findings)
    assert (first.cause, first.severity) == ("unnormalised-input", Severity.ERROR)
    assert {f.rule for f in first.consequences} == {"dead-relu", "h-nonfinite"}
    assert (second.cause, second.severity) == ("frozen-layers", Severity.INFO)
    # an observation proves nothing: without a serious proof every finding stands for itself
    mild = [finding("d-input-scale", Severity.INFO), finding("dead-relu", Severity.ERROR)]
    assert {d.cause for d in diagnose(mild)} == {"dead-relu", "unnormalised-input"}


def test_units_that_sorted_batches_shut_follow_from_their_order() -> None:
    def finding(rule: str, severity: Severity) -> Finding:
        return Finding(rule=rule, severity=severity, subject="x", section="s")

    dead = [finding("dead-relu", Severity.ERROR), finding("dead-rising", Severity.INFO)]
    # accuracies that run along with the blocks fall as the loss does
    blocks = finding("h-metric-loss-disagree", Severity.WARNING)
    (only,) = diagnose([finding("d-order", Severity.WARNING), blocks, *dead])
    assert only.cause == "unshuffled-data"
    assert {f.rule for f in only.consequences} == {"dead-relu", "dead-rising", "h-metric-loss-disagree"}
    # a series that is read in its order does no harm, and explains nothing
    assert {d.cause for d in diagnose([finding("d-order", Severity.INFO), *dead])} == {"dead-relu", "unshuffled-data"}


def told(rule: str, severity: Severity = Severity.WARNING, **evidence: float) -> Finding:
    return Finding(rule=rule, severity=severity, subject="x", section="s", evidence=evidence)


@pytest.mark.parametrize(
    ("findings", "causes"),
    [
        # a class whose samples were renamed is rare for that reason
        ([told("splits-labelled-otherwise"), told("d-class-imbalance")], ["label-noise"]),
        ([told("d-label-noise"), told("d-class-imbalance")], ["label-noise", "class-imbalance"]),
        # a loss that compares strangers teaches nothing
        ([told("loss-crossed", Severity.ERROR), told("d-label-signal"), told("dead-relu")], ["loss-shape-broadcast"]),
        ([told("loss-crossed", Severity.ERROR), told("loss-sign", Severity.ERROR)], ["loss-shape-broadcast"]),
        ([told("loss-sign", Severity.ERROR)], ["loss-sign-flipped"]),
        ([told("missing-zero-grad", Severity.ERROR), told("attention-logits")], ["missing-zero-grad"]),
        # where answers hang on the neighbours, labels may look unrelated
        ([told("batch-coupling", Severity.ERROR), told("d-label-signal")], ["batch-mixing"]),
        # what the order of the samples cost was not lost to new samples
        ([told("batch-coupling", mixed=1.0, as_read=0.4), told("o-skill-lost")], ["batch-mixing"]),
        # what knows its training data, and guesses on new ones, did learn
        ([told("o-skill-lost"), told("o-baseline-skill", Severity.ERROR)], ["overfitting"]),
        ([told("o-baseline-skill", Severity.ERROR)], ["underfitting"]),
        ([told("leakage", Severity.ERROR), told("o-baseline-skill", Severity.ERROR)], ["data-leakage", "underfitting"]),
        # norms in eval mode hold the fit back
        ([told("eval-mode-training"), told("o-below-neighbours")], ["eval-mode-training"]),
    ],
)
def test_what_follows_from_labels_losses_and_orders(findings: list[Finding], causes: list[str]) -> None:
    assert [d.cause for d in diagnose(findings)] == causes


def test_a_norm_that_couples_and_costs_nothing_explains_no_overfitting() -> None:
    coupled = structs.replace(told("batch-coupling"), detail={"by": "batch norm"})
    assert {d.cause for d in diagnose([coupled, told("o-skill-lost")])} == {"batch-mixing", "overfitting"}


def test_a_rule_that_fails_is_a_row_and_not_a_lost_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("in a rule")

    monkeypatch.setitem(RULES, "dead-relu", broken)
    judged = judge(report(**weights(weight(stats=stats(nan=1)))))
    assert judged.diagnoses
    assert [(row.part, row.failed) for row in judged.coverage] == [("rule dead-relu", True)]


def test_judging_an_empty_report_finds_nothing() -> None:
    assert judge(report()).findings == []


def test_thresholds_can_be_set_and_wrong_ones_are_refused() -> None:
    facts = report(activations=activations(layer(60)), evaluation=evaluated(BAD))
    lax = Thresholds().replace({"dead_relu_warning": 0.7})
    assert [f.severity for f in judge(facts, lax).findings if f.rule == "dead-relu"] == ["info"]
    with pytest.raises(OptionError, match="dead_relu_warning"):
        Thresholds().replace({"dead_relu_warnin": 0.7})


def test_the_gate_takes_what_is_at_least_so_severe() -> None:
    facts = judge(report(**weights(weight(stats=stats(nan=1)), weight("b", trainable=False))))
    assert [d.severity for d in offending(facts, Severity.WARNING)] == ["error"]
    assert len(offending(facts, Severity.INFO)) == 2


def test_words_survive_a_rule_of_another_version() -> None:
    alien = Finding(rule="new-rule", severity=Severity.INFO, subject="x", section="s", evidence={"a": 1.5})
    assert wording.describe(alien) == "x: a: 1.50."
    stripped = Finding(rule="dead-relu", severity=Severity.INFO, subject="x", section="s")
    assert wording.describe(stripped)


@pytest.mark.parametrize(
    ("cause", "rule", "said", "unsaid"),
    [
        ("overfitting", "h-overfit", "has been rising", "far better than new ones"),
        ("overfitting", "o-outdone", "far better than new ones", "rising"),
        ("underfitting", "o-baseline-skill", "no better than a constant guess", "falls short"),
        ("underfitting", "o-below-neighbours", "falls short", "constant guess"),
        ("data-leakage", "leakage", "samples that were learned", "made of the target"),
        ("data-leakage", "d-target-averaged", "made of the target", "samples that were learned"),
    ],
)
def test_a_diagnosis_says_what_its_proof_showed_and_no_more(cause: str, rule: str, said: str, unsaid: str) -> None:
    proof = Finding(rule=rule, severity=Severity.WARNING, subject="model", section="evaluation")
    told = wording.summary(Diagnosis(cause=cause, severity=Severity.WARNING, subject="model", findings=[proof]))
    assert said in told
    assert unsaid not in told


def test_every_cause_said_otherwise_by_its_proof_is_one_that_the_rule_can_prove() -> None:
    proving = {(s.cause, rule) for s in SYNDROMES for rule in s.proofs} | {(c, r) for r, c in DEFAULTS.items()}
    assert set(wording._BY_PROOF) <= proving
