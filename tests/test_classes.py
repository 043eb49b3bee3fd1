"""Classes told by their number: found where the numbers have no order, and not of grades and counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import DatasetFacts, Finding, Severity
from reportgen.document.trials import Trial, TrialFacts
from reportgen.page import words_anew, words_trials
from reportgen.probe.trials import classes
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, NotApplicableError, Result
from reportgen.subject.data import Batch

from .test_rules_model import BAD, causes, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


class Single(nn.Module):
    """A body with one output."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(-1)  # type: ignore[no-any-return]


class Flat(Single):
    """One that has no place for several outputs."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()  # type: ignore[no-any-return]


CENTRES = 0.9 * torch.randn(7, 8, generator=torch.Generator().manual_seed(3))


def clusters(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 7, (n,), generator=g)
    return CENTRES[y] + 0.7 * torch.randn(n, 8, generator=g), y


def grades(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 8, generator=g)
    told = x[:, 0] + x[:, 1] * x[:, 2]
    return x, torch.bucketize(told, torch.tensor([-1.5, -0.5, 0.5, 1.5]))


def noisy_grades(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x, y = grades(n, g)
    return x, (y + torch.randint(-1, 2, (n,), generator=g)).clamp(0, 4)


def counts(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 8, generator=g)
    return x, torch.poisson((0.7 * x[:, 0]).exp(), generator=g).clamp(max=9).long()


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def data(draw: Draw, n: int, seed: int, dtype: torch.dtype) -> list[Batch]:
    x, y = draw(n, torch.Generator().manual_seed(seed))
    return [Batch((x[i : i + 32],), {}, y[i : i + 32].to(dtype)) for i in range(0, n, 32)]


def asked(draw: Draw, *, epochs: int, dtype: torch.dtype = torch.float32, model: nn.Module | None = None) -> Result:
    torch.manual_seed(0)
    model = model or Single()
    training, given = data(draw, 1024, 0, dtype), data(draw, 512, 1, dtype)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in training:
            optimizer.zero_grad()
            squared(model(batch.args[0]), batch.target).backward()
            optimizer.step()
    outfit = trials.Outfit(model, (optimizer,), squared)
    return classes.as_classes(trials.Lab(outfit, frozenset(), given, training, Clock(120.0), 0, given, training))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_classes_without_an_order_are_told_apart(dtype: torch.dtype) -> None:
    result = asked(clusters, epochs=1, dtype=dtype)
    n = result.numbers
    assert n["right_apart"] > 0.8 > 0.6 > max(n["right"], n["right_fresh"])
    assert n["error_fresh"] > 0.8 * n["error_dealt"]
    facts = report(BAD, training=run(), trials=tried("as-classes", **n))
    assert severity(facts, "loss-mismatch") == "warning"
    assert "wrong-loss" in causes(facts)
    kind = {"kind": "told apart"}
    finding = Finding(
        rule="loss-mismatch",
        severity=Severity.WARNING,
        subject="loss",
        section="evaluation",
        evidence=dict(n),
        detail=kind,
    )
    assert words_trials.RULES["loss-mismatch"][1](finding).endswith(".")
    assert words_anew.OUTCOMES["as-classes"](n, {}).endswith(".")


@pytest.mark.parametrize("draw", [grades, noisy_grades, counts])
@pytest.mark.parametrize("epochs", [1, 12])
def test_grades_and_counts_are_left_alone(draw: Draw, epochs: int) -> None:
    result = asked(draw, epochs=epochs)
    n = result.numbers
    assert "error_dealt" not in n or n["error_fresh"] < 0.75 * n["error_dealt"]
    facts = report(BAD, training=run(), trials=tried("as-classes", **n))
    assert severity(facts, "loss-mismatch") is None
    assert words_anew.OUTCOMES["as-classes"](n, {}).endswith(".")


TOLD = {"classes": 5.0, "samples": 512.0, "right": 0.3, "right_fresh": 0.45, "right_apart": 0.97, "error_fresh": 0.1}


@pytest.mark.parametrize(("dealt", "expected"), [(0.11, "warning"), (0.8, None)])
def test_an_order_that_helps_is_one(dealt: float, expected: str | None) -> None:
    """Grades of a model that is not done yet are told better as classes, too."""
    facts = report(BAD, training=run(), trials=tried("as-classes", **TOLD, error_dealt=dealt))
    assert severity(facts, "loss-mismatch") == expected


@pytest.mark.parametrize(("apart", "expected"), [(None, "warning"), (0.97, "warning"), (0.5, "info")])
def test_numbers_of_classes_that_are_told_no_better_as_such_are_grades(apart: float | None, expected: str) -> None:
    data = DatasetFacts(
        n_samples=400, n_batches=4, shape="N x 8", dtype="float32", target_classes=5, label_min=0, label_max=4
    )
    numbers = {"right": 0.0, "wrong": 4.0}
    made = [Trial(name="loss-of-answers", status="done", numbers=numbers, detail={"answers": "class numbers"})]
    if apart is not None:
        made.append(Trial(name="as-classes", status="done", numbers=TOLD | {"right_apart": apart, "error_dealt": 0.8}))
    facts = report(BAD, training=run(), dataset=data, trials=TrialFacts(trials=made, budget=20.0))
    assert severity(facts, "loss-mismatch") == expected


def test_why_it_is_not_asked() -> None:
    with pytest.raises(NotApplicableError, match="no place for an output for each class"):
        asked(clusters, epochs=1, model=Flat())
    with pytest.raises(NotApplicableError, match="not 3 to 20 whole numbers in a row"):
        asked(lambda n, g: (x := torch.randn(n, 8, generator=g), x[:, 0] > 0), epochs=1)
    with pytest.raises(NotApplicableError, match="not 3 to 20 whole numbers in a row"):
        asked(lambda n, g: (x := torch.randn(n, 8, generator=g), x[:, 0]), epochs=1)


def test_targets_that_are_not_finite_are_no_numbers_in_a_row() -> None:
    def broken(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = clusters(n, g)
        return x, torch.where(y > 3, torch.tensor(-torch.inf), y.float())

    with pytest.raises(NotApplicableError, match="not 3 to 20 whole numbers in a row"):
        asked(broken, epochs=0)


def test_the_orders_are_unlike_the_true_one() -> None:
    for n in (3, 4, 7, 20):
        orders = classes._orders(n)
        assert len(orders) == 2
        assert all(sorted(order) == list(range(n)) for order in orders)
        assert list(range(n)) not in orders
        assert list(reversed(range(n))) not in orders
