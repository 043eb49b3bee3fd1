"""Which of several findings is the root, where one may follow from another: sick facts, healthy ones beside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    ChannelFacts,
    DatasetFacts,
    FeatureStats,
    Report,
    WeightFacts,
    WeightRow,
)
from reportgen.document.history import Event, ParameterRun
from reportgen.document.stats import TensorStats
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.judge import judge
from reportgen.page import wording
from reportgen.probe.trials import pairing, shape
from reportgen.probe.trials.lab import NotApplicableError

from .test_checks import lab
from .test_rules_model import BAD, FALL, FLAT, GOOD, causes, report, run, series, tried


def severity(facts: Report, rule: str) -> str | None:
    """Return the severity of the worst finding of a rule."""
    judged = judge(facts)
    assert not [row for row in judged.coverage if row.failed]
    hit = [f for f in judged.findings if f.rule == rule]
    assert all(wording.describe(f).endswith(".") for f in hit)
    return max((f.severity for f in hit), key=lambda s: s.rank).value if hit else None


# ------------------------------------------------------------------------------------------------ silent units


def called(*silent: int, functional: bool = True, n: int = 64, order: int = 1) -> ActivationFacts:
    """A layer of ``n`` units and as many calls as numbers of silent units."""
    channels = [
        ChannelFacts(call=i, n_channels=n, n_samples=400, n_batches=10, silent=s, constant=0)
        for i, s in enumerate(silent)
    ]
    stats = TensorStats(count=1000, sum=500.0, m2=900.0, min=0.0, max=3.0)
    row = ActivationRow(
        name="again (input)" if functional else "act",
        kind="function" if functional else "ReLU",
        order=order,
        calls=10 * len(silent),
        shape="",
        stats=stats,
        channels=channels,
        rectifier=True,
        functional=functional,
    )
    return ActivationFacts(mode="eval", n_batches=10, n_samples=400, rows=[row])


@pytest.mark.parametrize("table", [GOOD, BAD])
def test_a_state_that_begins_with_zeros_is_no_dead_layer(table: Any) -> None:
    assert severity(report(table, activations=called(64, 3, 2, 2)), "dead-relu") is None


@pytest.mark.parametrize(
    ("silent", "functional", "expected"),
    [
        ((64,), True, "error"),  # one call, and all of it silent
        ((64, 64, 64), True, "error"),  # the state never leaves zero
        ((64, 40, 40), True, "warning"),  # most of it never does
        ((2, 64, 2), True, "error"),  # a later step silences all
        ((64, 2), False, "error"),  # a module that reads two other layers
    ],
)
def test_what_falls_silent_later_is_dead(silent: tuple[int, ...], functional: bool, expected: str) -> None:
    facts = report(BAD, activations=called(*silent, functional=functional))
    assert severity(facts, "dead-relu") == expected


def test_a_loop_over_one_layer_is_measured_by_call() -> None:
    """A layer at rest, h <- relu(W h + x) from zeros: the pass itself, and the rule on its facts."""

    class Settled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.given, self.again, self.head = nn.Linear(6, 32), nn.Linear(32, 32), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            given, h = self.given(x), torch.zeros(len(x), 32)
            for _ in range(4):
                h = torch.relu(0.3 * self.again(h) + given)
            return self.head(h)

    torch.manual_seed(0)
    data = [(torch.randn(64, 6), torch.randint(0, 2, (64,))) for _ in range(5)]
    told = reportgen.examine(Settled(), data, loss=nn.CrossEntropyLoss(), options=reportgen.Options(trial_budget=0))
    assert told.activations is not None
    (row,) = [r for r in told.activations.rows if r.name == "again (input)"]
    assert row.channels[0].silent == 32
    assert not [f for f in told.findings if f.rule == "dead-relu"]


# ------------------------------------------------------------------------------------------------ weights


def weight(scale: float, fan_in: int = 100, nonfinite: int = 0) -> WeightFacts:
    n = 10 * fan_in
    rms = scale / fan_in**0.5
    stats = TensorStats(count=n, sum=0.0, m2=rms * rms * n, min=-2 * rms, max=2 * rms, nan=nonfinite)
    row = WeightRow(
        name="fc.weight",
        module="Linear",
        shape=[10, fan_in],
        dtype="float32",
        role="weight",
        trainable=True,
        fan_in=fan_in,
        stats=stats,
    )
    return WeightFacts(rows=[row])


def began(scale: float, fan_in: int = 100) -> ParameterRun:
    return ParameterRun(
        name="fc.weight",
        module="Linear",
        shape=[10, fan_in],
        is_matrix=True,
        trainable=True,
        start_rms=scale / fan_in**0.5,
        n_steps=400,
    )


def test_weights_that_the_run_made_large_were_not_begun_so() -> None:
    moved = report(BAD, weights=weight(40.0), training=run(FLAT, parameters=[began(0.58)]))
    drawn = report(BAD, weights=weight(40.0), training=run(FLAT, parameters=[began(39.0)]))
    unknown = report(BAD, weights=weight(40.0), training=run(FLAT))
    assert severity(moved, "w-scale") == severity(drawn, "w-scale") == severity(unknown, "w-scale") == "warning"
    assert "lr-too-high" in causes(moved)
    assert "bad-init" not in causes(moved)
    # less is enough where it is known what they began with, and that nothing came of it
    for table, start, expected in ((BAD, 0.58, "warning"), (GOOD, 0.58, "info"), (BAD, 12.0, "info")):
        facts = report(table, weights=weight(15.0), training=run(FLAT, parameters=[began(start)]))
        assert severity(facts, "w-scale") == expected
    assert "bad-init" in causes(drawn)
    assert "bad-init" in causes(unknown)


def test_weights_that_grew_in_a_model_that_works_are_its_own_affair() -> None:
    facts = report(GOOD, weights=weight(40.0), training=run(FALL, parameters=[began(0.58)]))
    assert severity(facts, "w-scale") == "info"
    assert not causes(facts) & {"bad-init", "lr-too-high"}


@pytest.mark.parametrize(
    ("size", "table", "expected"), [(2.0, GOOD, "info"), (400.0, GOOD, "warning"), (2.0, BAD, "warning")]
)
def test_large_weights_fit_tiny_inputs(size: float, table: Any, expected: str) -> None:
    stats = TensorStats(count=1000, sum=0.0, m2=1000 * size * size, min=-2 * size, max=2 * size)
    row = ActivationRow(name="fc", kind="Linear", order=1, calls=10, shape="", stats=stats)
    seen = ActivationFacts(mode="eval", n_batches=10, n_samples=400, rows=[row])
    facts = report(table, weights=weight(40.0), activations=seen, training=run(FALL, parameters=[began(39.0)]))
    assert severity(facts, "w-scale") == expected


def small_inputs() -> DatasetFacts:
    stats = TensorStats(count=400, sum=0.0, m2=400 * 1e-10, min=-3e-5, max=3e-5)
    return DatasetFacts(
        n_samples=400, n_batches=10, dtype="float32", shape="N × 1", features=[FeatureStats(index=0, stats=stats)]
    )


def test_weights_that_break_after_the_run_are_the_root() -> None:
    """Inputs of any scale did no harm to a run that was finite to its end."""
    val = [0.9 * v for v in FALL]
    done = report(None, weights=weight(1.0, nonfinite=3), dataset=small_inputs(), training=run(FALL, val))
    assert causes(done) == {"non-finite-weights"}
    assert severity(done, "d-input-scale") == "info"


def test_weights_that_broke_in_the_run_are_not() -> None:
    broken = Event(kind="nonfinite", part="activation", step=7, subject="fc")
    val = [0.9 * v for v in FALL]
    facts = report(None, weights=weight(1.0, nonfinite=3), training=run(FALL, val, events=[broken]))
    assert "non-finite-weights" not in causes(facts)
    assert "numerical-instability" in causes(facts)
    unseen = report(None, weights=weight(1.0, nonfinite=3), dataset=small_inputs(), training=run(FALL))
    assert severity(unseen, "d-input-scale") == "warning"  # no validation tells what the last step made


def test_a_layer_that_nothing_reaches_is_no_frozen_one() -> None:
    """Behind dead units, or under a clip that leaves no step, weights stay as they were drawn."""
    facts = weight(0.58)
    untouched = structs.replace(facts, rows=[structs.replace(facts.rows[0], at_default_init=True)])
    dead = report(BAD, weights=untouched, activations=called(64, functional=False), training=run(FLAT))
    assert severity(dead, "w-at-default-init") is not None
    assert causes(dead) == {"dead-relu"}


# ------------------------------------------------------------------------------------------------ precision


def columns(*features: tuple[float, float]) -> DatasetFacts:
    """Columns of a mean and a deviation."""
    rows = [
        FeatureStats(index=i, stats=TensorStats(count=400, sum=400 * m, m2=400 * s * s, min=m - 2 * s, max=m + 2 * s))
        for i, (m, s) in enumerate(features)
    ]
    return DatasetFacts(n_samples=400, n_batches=10, dtype="float32", shape="N × 2", features=rows)


@pytest.mark.parametrize(
    ("data", "numbers", "cause"),
    [
        (columns((0, 1), (1.6e9, 9e6)), {"difference": 70.0}, "unnormalised-input"),
        (columns((0, 1), (120, 60)), {"difference": 70.0}, "numerical-instability"),  # what forward does, not the sum
        (columns((0, 1), (0, 1)), {"difference": 70.0}, "numerical-instability"),
        (columns((0, 1), (1.6e9, 9e6)), {"difference": 70.0, "lost": 3.0}, "numerical-instability"),
    ],
)
def test_a_column_that_rounds_the_others_away(data: DatasetFacts, numbers: dict[str, float], cause: str) -> None:
    told = tried("in-double", **({"lost": 0.0, "samples": 32.0} | numbers))
    facts = report(BAD, trials=told, dataset=data, training=run(FLAT))
    assert cause in causes(facts)
    assert len(causes(facts) & {"unnormalised-input", "numerical-instability"}) == 1


# ------------------------------------------------------------------------------------------------ loss and output


class Spread(nn.Module):
    """A mean and a log-variance of it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.spread(x)


def every_pair(output: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    mean, spread = output
    return (0.5 * spread + 0.5 * (y[:, 0] - mean).square() * (-spread).exp()).mean()


def own_pair(output: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    mean, spread = output
    return F.gaussian_nll_loss(mean, y, spread.exp())


@pytest.mark.parametrize(("loss", "expected"), [(every_pair, "error"), (own_pair, None)])
def test_pairs_of_several_outputs(loss: Any, expected: str | None) -> None:
    torch.manual_seed(0)
    numbers = pairing.loss_of_pairs(lab(Spread(), torch.randn(16, 4), torch.randn(16, 1), loss)).numbers
    assert severity(report(BAD, trials=tried("loss-of-pairs", **numbers)), "loss-crossed") == expected


def test_the_range_is_that_of_the_layer_that_makes_the_output() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    with pytest.raises(NotApplicableError, match="no part in the first output"):
        shape.head_range(lab(Spread(), x, y, own_pair))
    assert shape.head_range(lab(nn.Linear(4, 1), x, y, nn.MSELoss())).numbers["high"] == 40


def climbing(loss: list[float], accuracy: list[float], measured: float) -> Report:
    trials = [
        Trial(name="loss-of-answers", status="done", numbers={"right": 0.98, "wrong": 0.01, "pull": 0.1},
              detail={"answers": "scores"}),
        Trial(name="one-step", status="done", numbers={"slope": -0.9, "connected": 1.0, "trainable": 4.0}),
        Trial(name="as-it-is", status="done",
              numbers={"loss": 0.01, "samples": 400.0, "accuracy": measured, "commonest": 0.3}),
    ]  # fmt: skip
    history = run(loss, loss, series=[series("val_accuracy", accuracy)])
    return report(None, trials=TrialFacts(trials=trials, budget=1.0), training=history)


def test_a_positive_loss_is_climbed_where_the_accuracy_falls_with_it() -> None:
    falling = [0.3 * 0.8**e + 0.01 for e in range(20)]
    rising = [1 - 0.8**e for e in range(20)]
    assert severity(climbing(FALL, falling, 0.01), "loss-sign") == "error"
    # distances: small where right; an accuracy that is logged knows it
    assert severity(climbing(FALL, rising, 0.01), "loss-sign") is None
    assert severity(climbing(FALL, falling, 0.29), "loss-sign") is None


@pytest.mark.parametrize(
    ("val", "expected"),
    [
        ([0.73, 0.76, 0.68, 0.62, 0.47], "warning"),  # one rise before it got going
        ([0.73, 0.76, 0.68, 0.70, 0.47], None),
        ([0.46, 0.76, 0.68, 0.62, 0.47], None),
    ],
)
def test_a_short_run_may_begin_with_a_rise(val: list[float], expected: str | None) -> None:
    history = run(val, val, series=[series("train_loss", [1.0, *[0.6] * 30, *[0.5] * 20], "step")])
    told = tried("trained-on", before=0.47, after=0.1, samples=200.0, steps=120.0, score_before=0.47)
    assert severity(report(None, trials=told, training=history), "cut-short") == expected


def test_labels_that_anything_else_learned_are_no_noise() -> None:
    """Fresh copies that start badly learn nothing of the training data; one with scaled weights did."""
    numbers = {
        "commonest_training": 0.28, "commonest_given": 0.28, "asked_training": 512.0, "asked_given": 360.0,
        "learned_training": 512.0, "learned_given": 360.0, "training_training": 0.29, "training_given": 0.32,
        "given_given": 0.5, "given_training": 0.45, "as_is": 0.24,
    }  # fmt: skip
    judged = [
        severity(
            report(BAD, trials=tried("learned-anew", {"kind": "classes"}, **numbers, **more), training=run(FLAT)),
            "only-given-learns",
        )
        for more in ({}, {"scaled": 0.83}, {"scaled": 0.3}, {"onward": 0.8})
    ]
    assert judged == ["error", None, "error", None]
