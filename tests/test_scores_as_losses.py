"""Scores that are minimised, among losses that want small outputs on purpose; and runs that carry their weights off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report
from reportgen.document.trials import Trial, TrialFacts
from reportgen.probe.trials import answers
from reportgen.probe.trials.lab import NotApplicableError

from .test_checks import lab
from .test_learned_anew import SCORES
from .test_rules_model import BAD, FALL, GOOD, causes, report, run, series, severity, tried
from .test_rules_run import found, parameter, trace

Loss = Callable[[Tensor, Tensor], Tensor]


def trained(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, log: Mapping[str, Callable[[Tensor, Tensor], float]]
) -> Report:
    half = len(x) // 2
    data = DataLoader(TensorDataset(x[:half], y[:half]), 32, shuffle=True, generator=torch.Generator().manual_seed(0))
    given, x, y = DataLoader(TensorDataset(x[half:], y[half:]), 32), x[half:], y[half:]
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for epoch in range(20):
            for a, b in data:
                optimizer.zero_grad()
                value = loss(model(a), b)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            with torch.no_grad():
                out = model(x)
            monitor.log(epoch=epoch, val_loss=float(loss(out, y)), **{k: f(out, y) for k, f in log.items()})
    return monitor.report(given, train_data=data, loss=loss, options=reportgen.Options(trial_budget=3))


def stripes(n: int = 320) -> tuple[Tensor, Tensor]:
    """Maps with one bright row of eight; the row is the mask."""
    g = torch.Generator().manual_seed(3)
    y = torch.zeros(n, 1, 8, 8)
    y[torch.arange(n), 0, torch.randint(0, 8, (n,), generator=g)] = 1
    return 2 * y + 0.3 * torch.randn(y.shape, generator=g), y


def overlap(p: Tensor, y: Tensor) -> Tensor:
    """The soft intersection over union, by sample."""
    both = (p * y).flatten(1).sum(1)
    return ((both + 1) / (p.flatten(1).sum(1) + y.flatten(1).sum(1) - both + 1)).mean()


def iou(p: Tensor, y: Tensor) -> float:
    return float(((p > 0.5) & (y > 0.5)).sum() / ((p > 0.5) | (y > 0.5)).sum().clamp_min(1))


def mapper(*last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1), *last)


MAPS: dict[str, tuple[Loss, tuple[nn.Module, ...], bool]] = {
    "overlap itself": (overlap, (nn.Sigmoid(),), True),
    "overlap of logits": (lambda o, y: overlap(o.sigmoid(), y), (), True),
    "one minus it": (lambda o, y: 1 - overlap(o, y), (nn.Sigmoid(),), False),
    "cross-entropy": (F.binary_cross_entropy_with_logits, (), False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_an_overlap_that_is_minimised(name: str) -> None:
    loss, last, sick = MAPS[name]
    facts = trained(mapper(*last), loss, *stripes(), {})
    assert severity_of(facts, "loss-sign") == ("error" if sick else None)
    serious = {d.cause for d in facts.diagnoses if d.severity.rank}
    assert serious == ({"loss-sign-flipped"} if sick else set())


@pytest.mark.slow
def test_a_mask_of_what_is_not_wanted_that_its_user_reads_so() -> None:
    """The model draws what lies beside the row, and the user's own overlap of what is left is high."""
    told = {"val_iou": lambda o, y: iou(1 - o, y)}
    assert severity_of(trained(mapper(nn.Sigmoid()), overlap, *stripes(), told), "loss-sign") is None


def severity_of(facts: Report, rule: str) -> str | None:
    return next((f.severity.value for f in facts.findings if f.rule == rule), None)


# ------------------------------------------------------------------------------------------------ what the loss says


def _right(o: Tensor, y: Tensor) -> Tensor:
    """The mean probability of the right class."""
    return o.softmax(1).gather(1, y[:, None]).mean()


CLASSES: dict[str, tuple[Loss, bool]] = {
    "probability": (_right, True),
    "soft F1": (lambda o, y: 2 * _right(o, y) / (1 + _right(o, y)), True),
    "one minus it": (lambda o, y: 1 - _right(o, y), False),
    "cross-entropy": (F.cross_entropy, False),
    "distances": (lambda o, y: F.cross_entropy(-o, y), False),
}


@pytest.mark.parametrize("name", CLASSES)
def test_answers_that_are_sure_tell_a_score(name: str) -> None:
    loss, is_score = CLASSES[name]
    torch.manual_seed(0)
    n = answers.loss_of_answers(lab(nn.Linear(4, 3), torch.randn(64, 4), torch.arange(64) % 3, loss)).numbers
    assert (abs(n["perfect"] - 1) < 0.05 and abs(n["worst"]) < 0.05) is is_score
    assert "above" not in n


def test_the_area_under_the_curve_is_that_of_the_ranks() -> None:
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(0)
    x = torch.randn(64, 4).round(decimals=1)
    model, y = nn.Linear(4, 1), (x[:, :1] > 0).float()
    n = answers.loss_of_answers(lab(model, x, y, F.binary_cross_entropy_with_logits)).numbers
    with torch.no_grad():
        expected = roc_auc_score(y.flatten(), model(x).flatten())
    assert n["above"] == pytest.approx(expected, abs=0.02)  # the samples are those of the laboratory
    with pytest.raises(NotApplicableError, match="all the same"):
        answers.loss_of_answers(lab(model, x, torch.ones(64, 1), F.binary_cross_entropy_with_logits))


def judged(kind: str, head: dict[str, float], history: Any = None, **numbers: float) -> Report:
    sure = {"right": 0.9, "wrong": 0.1, "pull": 0.1, "perfect": 1.0, "worst": 0.0} | numbers
    own = {"loss": 0.05, "samples": 400.0, "answers": 400.0, "classes": 10.0, "commonest": 0.12, "accuracy": 0.0}
    trials = [
        Trial(name="loss-of-answers", status="done", numbers=sure, detail={"answers": kind}),
        Trial(name="as-it-is", status="done", numbers=own | {k: v for k, v in numbers.items() if k in own}),
        Trial(name="head-range", status="done", numbers={"drive": 40.0} | head),
    ]
    return report(None, trials=TrialFacts(trials=trials, budget=1.0), training=history or run(FALL, FALL))


SIGNED, UNIT, DISTANCE = {"low": -40.0, "high": 40.0}, {"low": 0.0, "high": 1.0}, {"low": 0.0, "high": 400.0}


@pytest.mark.parametrize(
    ("kind", "head", "numbers", "expected"),
    [
        ("scores", SIGNED, {}, "error"),
        ("scores", SIGNED, {"accuracy": 0.09}, None),  # a guess is no answer on the wrong side
        ("scores", DISTANCE, {}, None),  # small where right
        ("scores", SIGNED, {"perfect": 40.0}, None),
        ("yes or no", UNIT, {"above": 0.02}, "error"),
        ("yes or no", UNIT, {"above": 0.55}, None),
        ("yes or no", UNIT, {}, None),
        ("yes or no", DISTANCE, {"above": 0.02}, None),  # pairs that are alike lie close together
        ("yes or no", SIGNED, {"above": 0.02}, None),
    ],
)
def test_a_score_that_is_minimised(
    kind: str, head: dict[str, float], numbers: dict[str, float], expected: str | None
) -> None:
    assert severity(judged(kind, head, **numbers), "loss-sign") == expected


def test_a_loss_that_stood_still_drove_nothing_down() -> None:
    flat = run([0.5] * 20, [0.5] * 20)
    assert severity(judged("scores", SIGNED, flat), "loss-sign") is None


@pytest.mark.parametrize(
    ("logged", "measured", "expected"),
    [
        ([0.02, *[0.0] * 19], 0.0, "error"),  # below any guess from the first epoch on
        ([0.02, *[0.0] * 19], 0.12, None),
        ([0.5, *[0.97] * 19], 0.0, None),  # the user takes the smallest for the answer, and it is right
        ([0.02, *[0.0] * 18, 0.12], 0.0, None),
    ],
)
def test_an_accuracy_that_was_logged_is_below_any_guess(
    logged: list[float], measured: float, expected: str | None
) -> None:
    history = run(FALL, FALL, series=[series("val_accuracy", logged)])
    assert severity(judged("scores", DISTANCE, history, perfect=3.0, accuracy=measured), "loss-sign") == expected


# ------------------------------------------------------------------------------------------------ weights carried off

LEVEL = [3.4, *[2.6] * 19]


@pytest.mark.parametrize(
    ("first", "moved", "losses", "table", "expected"),
    [
        (0.9, 7.0, LEVEL, BAD, "warning"),
        (0.05, 7.0, LEVEL, BAD, None),  # a long way in small steps
        (0.9, 3.0, LEVEL, BAD, None),
        (0.9, 7.0, FALL, BAD, None),  # the training data were learned
        (0.9, 7.0, LEVEL, GOOD, None),
    ],
)
def test_first_steps_as_large_as_the_weights(
    first: float, moved: float, losses: list[float], table: Any, expected: str | None
) -> None:
    steps = trace(first, *[0.02] * 9)
    steps = structs.replace(steps, x=[1.0, *steps.x[1:]])
    rows = [parameter(f"{name}.weight", update_ratio=steps, moved=moved) for name in "abc"]
    facts = report(table, training=run(losses, losses, parameters=rows))
    hit = found(facts, "update-ratio")
    assert [f.severity.value for f in hit] == ([expected] if expected else [])
    assert ("lr-too-high" in causes(facts)) == (expected is not None)
    if expected:
        assert hit[0].evidence["off"] == 7.0


@pytest.mark.parametrize(
    ("first", "fresh", "expected"),
    [
        (0.5, 0.95, "warning"),
        (0.05, 0.95, None),  # steps as usual: something else holds it
        (0.5, 0.52, None),  # a fresh copy does no better
    ],
)
def test_first_steps_that_a_fresh_copy_does_without(first: float, fresh: float, expected: str | None) -> None:
    steps = trace(first, *[0.02] * 9)
    steps = structs.replace(steps, x=[1.0, *steps.x[1:]])
    rows = [parameter(f"{name}.weight", update_ratio=steps, moved=2.0) for name in "abc"]
    scores = SCORES | {"as_is": 0.5, "training_given": fresh, "training_training": fresh}
    anew = tried("learned-anew", {"kind": "classes"}, **scores)
    facts = report(BAD, training=run(LEVEL, LEVEL, parameters=rows), trials=anew)
    assert [f.severity.value for f in found(facts, "update-ratio")] == ([expected] if expected else [])


@pytest.mark.parametrize(("at", "expected"), [(4.0, "warning"), (10.0, "warning"), (11.0, None)])
def test_one_of_the_first_ten_steps_is_larger_than_the_weights(at: float, expected: str | None) -> None:
    steps = structs.replace(trace(0.02, 3.5, *[0.02] * 8), x=[1.0, at, *[20.0 + i for i in range(8)]])
    rows = [parameter(f"{name}.weight", update_ratio=steps, moved=0.5) for name in "abc"]
    facts = report(BAD, training=run(FALL, FALL, parameters=rows))
    assert [f.severity.value for f in found(facts, "update-ratio")] == ([expected] if expected else [])
