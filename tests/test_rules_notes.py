"""Remarks on attention, spread, number formats, depth and single classes: where they must come and where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy import stats as reference

from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    ArchitectureFacts,
    AttentionRow,
    ChannelFacts,
    Classification,
    EvaluationFacts,
    Finding,
    GradientFacts,
    GradientRow,
    Regression,
    Report,
    SpreadFacts,
)
from reportgen.document.history import History
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.judge import judge

from . import builders
from .test_rules import report, stats


def rows(*found: ActivationRow, **more: Any) -> ActivationFacts:
    return ActivationFacts(mode="eval", n_batches=10, n_samples=400, rows=list(found), **more)


def row(name: str, order: int, kind: str = "Linear", **more: Any) -> ActivationRow:
    channels = [ChannelFacts(call=0, n_channels=64, n_samples=400, n_batches=10, silent=0, constant=0)]
    base: dict[str, Any] = {"calls": 10, "shape": "40 × 64", "stats": stats(), "channels": channels}
    return ActivationRow(name=name, kind=kind, order=order, **(base | more))


def spread(**more: float) -> SpreadFacts:
    base: dict[str, Any] = {"n_samples": 400, "n_batches": 10, "participation": 40.0, "participation_null": 55.0}
    return SpreadFacts(**(base | {"mean_r2": 0.01, "mean_r2_null": 0.0025, "drift": 1.0} | more))


def found(facts: Report, rule: str) -> list[Finding]:
    return [f for f in judge(facts).findings if f.rule == rule]


def only(facts: Report, rule: str, severity: str = "info") -> Finding:
    (finding,) = found(facts, rule)
    assert finding.severity == severity
    return finding


TRAINED = {"training": History(epochs=5, steps=50)}


def test_batches_that_are_not_drawn_alike() -> None:
    def facts(drift: float, n_batches: int = 10) -> Report:
        first = row("a", 0, spread=spread(drift=drift, n_batches=n_batches))
        return report(activations=rows(row("b", 1, spread=spread(drift=50.0)), first))

    finding = only(facts(4.0), "batch-drift")
    assert finding.subject == "a"
    assert finding.evidence["p"] == pytest.approx(reference.f.sf(4.0, 9, 390))
    assert not found(facts(2.5), "batch-drift")
    assert not found(facts(4.0, n_batches=6), "batch-drift")
    # three batches less: F of 3.5 with few samples is chance
    few = structs.replace(spread(drift=3.5), n_samples=18, n_batches=8)
    assert not found(report(activations=rows(row("a", 0, spread=few))), "batch-drift")


def test_channels_that_move_together_before_the_last_layers() -> None:
    def facts(place: int, share: float, **more: Any) -> Report:
        narrow = spread(participation=55.0 * share)
        layers = [row(str(i), i, spread=narrow if i == place else spread()) for i in range(6)]
        return report(activations=rows(*layers), **(TRAINED | more))

    finding = only(facts(1, 0.03), "channel-redundancy")
    assert (finding.subject, finding.evidence["share"]) == ("1", pytest.approx(0.03))
    assert not found(facts(1, 0.2), "channel-redundancy")
    assert not found(facts(4, 0.03), "channel-redundancy")  # features of a classifier collapse at its end
    assert not found(facts(1, 0.03, training=None), "channel-redundancy")


def attention(entropy: float, logit: float) -> ActivationFacts:
    heads = AttentionRow(
        name="attn", n_queries=64, causal=False, entropy=[entropy, entropy], logit_std=[1.0, 1.0], logit_max=logit
    )
    return rows(row("a", 0), attention=[heads])


def test_logits_of_attention_beyond_ten_thousand() -> None:
    assert only(report(activations=attention(0.5, 2e4)), "attention-logits", "warning").evidence["logit_max"] == 2e4
    assert not found(report(activations=attention(0.5, 50.0)), "attention-logits")
    good = Classification(classes=["a", "b"], confusion=[[200, 5], [5, 190]])
    works = EvaluationFacts(task="multiclass", n_samples=400, classification=good)
    assert only(report(activations=attention(0.5, 2e4), evaluation=works), "attention-logits")


@pytest.mark.parametrize(
    ("flat", "sharp", "solved", "severity"),
    [(3, 1, 0.0, "warning"), (3, 1, 1.0, "info"), (2, 0, 0.0, "info"), (3, 5, 0.0, "info")],
)
def test_layer_upon_layer_that_looks_everywhere_and_cannot_learn(
    flat: int, sharp: int, solved: float, severity: str
) -> None:
    heads = [
        AttentionRow(name=f"{i}", n_queries=16, causal=False, entropy=[h, h], logit_std=[1.0, 1.0], logit_max=1.0)
        for i, h in enumerate([0.999] * flat + [0.6] * sharp)
    ]
    trial = Trial(
        name="one-batch",
        status="done",
        numbers={"solved": solved, "start": 1.5, "end": 1.4, "samples": 32.0, "tries": 2.0},
    )
    facts = report(
        activations=rows(row("a", 0), attention=heads), trials=TrialFacts(trials=[trial], budget=20.0), **TRAINED
    )
    only(facts, "attention-uniform", severity)


@pytest.mark.parametrize(("given_given", "severity"), [(0.24, "warning"), (0.6, "info")])
def test_layer_upon_layer_where_no_copy_learns_anything_either(given_given: float, severity: str) -> None:
    heads = [
        AttentionRow(name=f"{i}", n_queries=16, causal=False, entropy=[1.0], logit_std=[1.0], logit_max=1.0)
        for i in range(6)
    ]
    splits = ("training", "given")
    numbers = {f"{name}_{split}": 0.25 for name in ("commonest", *splits) for split in splits}
    numbers |= {f"{name}_{split}": 400.0 for name in ("asked", "learned") for split in splits}
    trial = Trial(
        name="learned-anew",
        status="done",
        numbers=numbers | {"given_given": given_given, "as_is": 0.3},
        detail={"kind": "classes"},
    )
    facts = report(
        activations=rows(row("a", 0), attention=heads), trials=TrialFacts(trials=[trial], budget=20.0), **TRAINED
    )
    only(facts, "attention-uniform", severity)


def test_heads_that_all_look_everywhere() -> None:
    assert only(report(activations=attention(0.999, 1.0), **TRAINED), "attention-uniform").evidence["layers"] == 1
    assert not found(report(activations=attention(0.9, 1.0), **TRAINED), "attention-uniform")
    assert not found(report(activations=attention(0.999, 1.0)), "attention-uniform")


def structure(**dtypes: int) -> ArchitectureFacts:
    total = sum(dtypes.values())
    return ArchitectureFacts(
        rows=[], parameters=total, trainable=total, buffers=0, parameter_bytes=0, buffer_bytes=0, dtypes=dtypes
    )


def test_activations_near_the_end_of_float16() -> None:
    def facts(largest: float, **dtypes: int) -> Report:
        wide = row("a", 0, stats=stats(min=-largest, max=1.0))
        return report(activations=rows(wide), architecture=structure(**dtypes))

    assert only(facts(40_000, float32=9), "fp16-range").evidence["of_float16"] == pytest.approx(40_000 / 65_504)
    assert only(facts(40_000, float16=9), "fp16-range", "warning")
    assert only(facts(20_000, float16=9), "fp16-range")
    assert not found(facts(5_000, float16=9), "fp16-range")


def test_gradients_that_float16_would_lose() -> None:
    def facts(scale: float) -> Report:
        values = np.random.default_rng(0).normal(0, scale, 4000).astype(np.float32)
        grads = builders.stats(values.tolist())
        lost = float((values.astype(np.float16) == 0).mean())
        gradient = GradientRow(
            *(), name="w", module="Linear", order=0, is_matrix=True, requires_grad=True, n_none=0, n_zero=0, stats=grads
        )
        facts = report(gradients=GradientFacts(loss="x", mode="train", n_batches=1, n_samples=8, rows=[gradient]))
        told = found(facts, "fp16-gradients")
        # rounding to nearest keeps what is above half of the smallest number; the rule counts all that is below it
        assert bool(told) == (scale < 1e-6)
        if told:
            assert told[0].evidence["share"] >= lost
        return facts

    facts(1e-3)
    facts(1e-8)


def test_formats_that_are_mixed() -> None:
    finding = only(report(architecture=structure(float32=90, float64=10)), "mixed-dtypes")
    assert (finding.evidence["share"], finding.detail["rarest"]) == (0.1, "float64")
    assert not found(report(architecture=structure(float32=90, int64=10)), "mixed-dtypes")


def scored(confusion: list[list[int]]) -> Report:
    table = Classification(classes=[f"c{i}" for i in range(len(confusion))], confusion=confusion)
    n = sum(map(sum, confusion))
    return report(evaluation=EvaluationFacts(task="multiclass", n_samples=n, classification=table))


def test_a_class_that_is_left_behind() -> None:
    finding = only(scored([[95, 3, 2], [2, 96, 2], [40, 35, 25]]), "o-per-class")
    assert (finding.subject, finding.evidence["recall"]) == ("c2", 0.25)
    assert not found(scored([[95, 3, 2], [2, 96, 2], [15, 15, 70]]), "o-per-class")
    assert not found(scored([[95, 3, 2], [2, 96, 2], [5, 4, 3]]), "o-per-class")  # too few to say
    assert not found(scored([[0, 100, 0], [0, 100, 0], [0, 100, 0]]), "o-per-class")  # nothing works


def test_two_classes_that_are_confused() -> None:
    sick = [[90, 10, 0, 0], [0, 60, 40, 0], [3, 3, 90, 4], [3, 3, 4, 90]]
    finding = only(scored(sick), "o-confused-pair")
    assert (finding.subject, finding.detail["other"], finding.evidence["share"]) == ("c1", "c2", 0.4)
    assert finding.evidence["p"] == pytest.approx(12 * reference.binom.sf(39, 40, 1 / 3))
    even = [[70, 10, 10, 10], [10, 70, 10, 10], [10, 10, 70, 10], [10, 10, 10, 70]]
    assert not found(scored(even), "o-confused-pair")


def regressed(bias: float, n: int = 400) -> Report:
    target, residual = stats(mean=5.0, std=2.0, n=n), stats(mean=bias, std=0.5, n=n)
    table = Regression(r2=0.9, mae=0.4, mse=0.25, target=target, residual=residual)
    return report(evaluation=EvaluationFacts(task="regression", n_samples=n, regression=table), loss="MSELoss")


def test_predictions_that_are_off_on_the_whole() -> None:
    assert only(regressed(0.4), "o-regression-bias").evidence["of_std"] == pytest.approx(0.2)
    assert only(regressed(-0.4), "o-regression-bias")
    assert not found(regressed(0.1), "o-regression-bias")
    assert not found(regressed(0.4, n=16), "o-regression-bias")


def test_depth_without_norms() -> None:
    deep = [row(str(i), i) for i in range(9)]
    assert only(report(activations=rows(*deep)), "norm-missing").evidence["layers"] == 9
    assert not found(report(activations=rows(*deep[:7])), "norm-missing")
    assert not found(report(activations=rows(*deep, row("n", 9, "BatchNorm1d"))), "norm-missing")
    assert not found(report(activations=rows(*deep, row("n", 9, bypassed=True))), "norm-missing")


def test_batch_norms_trained_on_few_values() -> None:
    def facts(size: int | None, shape: str) -> Report:
        run = History(epochs=5, steps=50, batch_size=size)
        return report(activations=rows(row("bn", 0, "BatchNorm2d", shape=shape)), training=run)

    assert only(facts(4, "40 × 64"), "bn-small-batch").evidence["values"] == 4
    assert only(facts(4, "40 × 64 × 8 × 8"), "bn-small-batch").evidence["values"] == 256
    assert not found(facts(32, "40 × 64"), "bn-small-batch")
    assert not found(facts(None, "40 × 64"), "bn-small-batch")
    # the first tensor of a batch of graphs is (2, edges): what the norm reads are the nodes
    size = ArchitectureFacts(
        rows=[], parameters=1, trainable=1, buffers=0, parameter_bytes=0, buffer_bytes=0, batch_size=2
    )
    assert not found(structs.replace(facts(2, "1074 × 32"), architecture=size), "bn-small-batch")
    assert only(structs.replace(facts(2, "2 × 32"), architecture=size), "bn-small-batch", "warning")
    bad = Classification(classes=["a", "b"], confusion=[[200, 0], [200, 0]])
    fails = EvaluationFacts(task="multiclass", n_samples=400, classification=bad)
    assert only(structs.replace(facts(4, "40 × 64"), evaluation=fails), "bn-small-batch", "warning")
