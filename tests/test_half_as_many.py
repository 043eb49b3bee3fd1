"""Whether more data would help, told by copies that learned from half as many."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.evaluation import Regression
from reportgen.document.facts import DatasetFacts, EvaluationFacts, Report
from reportgen.document.stats import TensorStats
from reportgen.page import wording, words_anew
from reportgen.probe.trials import fewer
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import causes, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Data = tuple[Tensor, Tensor]
WEIGHTS = torch.randn(10, 4, generator=torch.Generator().manual_seed(8))


def numbers(n: int, seed: int, noise: float) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    y = x @ WEIGHTS[:, :1] / WEIGHTS[:, :1].norm() + 0.5 * x[:, :1] * x[:, 1:2]
    return x, (y + noise * torch.randn(n, 1, generator=generator)) / (y.var() + noise**2).sqrt()


def classes(n: int, seed: int, noise: float) -> Data:
    x, y = numbers(n, seed, noise)
    return x, (y[:, 0] > 0).long()


def by_heart(data: Data, loss: Any, outputs: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, outputs))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
    return model


def laid_out(model: nn.Module, training: Data, given: Data, loss: Any, **more: Any) -> Lab:
    first, second = (Batch((x,), {}, y) for x, y in (training, given))
    return trials.laboratory(model, loss, (), [second], [first], Clock(120.0), 0, ([second], [first]), **more)


def regression(r2: float, n: int) -> EvaluationFacts:
    stats = TensorStats(count=n, sum=0.0, m2=float(n), min=-3.0, max=3.0)
    rest = TensorStats(count=n, sum=0.0, m2=(1 - r2) * n, min=-2.0, max=2.0)
    fit = Regression(r2=r2, mse=1 - r2, mae=(1 - r2) ** 0.5, target=stats, residual=rest)
    return EvaluationFacts(task="regression", n_samples=n, regression=fit)


def judged(found: dict[str, float], train: float, given: float) -> Report:
    data = DatasetFacts(n_samples=120, n_batches=4, shape="N x 10", dtype="float32")
    told = tried("half-as-many", {"kind": "numbers"}, **found)
    splits = {"train_evaluation": regression(train, 120), "evaluation": regression(given, 60)}
    return report(None, training=run(), train_dataset=data, trials=told, **splits)


def test_few_noisy_rows_learned_by_heart() -> None:
    training, given = numbers(120, 1, 0.8), numbers(60, 2, 0.8)
    found = fewer.half_as_many(laid_out(by_heart(training, nn.MSELoss(), 1), training, given, nn.MSELoss()))
    n = found.numbers
    assert n["full"] > n["half"] + 2 * n["error"]
    assert (n["learned"], n["samples"]) == (120, 180)
    facts = judged(n, 0.99, 0.4)
    assert severity(facts, "few-samples") == "warning"
    assert causes(facts) == {"too-little-data"}
    (finding,) = [f for f in facts.findings if f.rule == "few-samples"] or _found(facts)
    assert "half as many" in wording.describe(finding)
    assert words_anew.OUTCOMES["half-as-many"](n, found.detail).endswith(".")


def _found(facts: Report) -> list[Any]:
    from reportgen.health.judge import judge

    return [f for f in judge(facts).findings if f.rule == "few-samples"]


def test_the_error_of_the_difference_is_that_of_pairs() -> None:
    training, given = classes(150, 3, 1.0), classes(80, 4, 1.0)
    loss = nn.CrossEntropyLoss()
    n = fewer.half_as_many(laid_out(by_heart(training, loss, 2), training, given, loss)).numbers
    assert 0.5 < n["half"] <= n["full"] < 0.95
    assert 0 < n["error"] < (2 * n["full"] * (1 - n["full"]) / n["samples"]) ** 0.5  # of unpaired samples


FAR = {"full": 0.5, "half": 0.38, "error": 0.03, "constant": 0.0, "learned": 120.0, "samples": 180.0}


@pytest.mark.parametrize(
    ("change", "train", "given", "expected"),
    [
        ({}, 0.99, 0.45, "warning"),
        ({}, 0.99, 0.75, None),  # little is lost
        ({}, 0.85, 0.45, None),  # not by heart
        ({"half": 0.46}, 0.99, 0.45, None),  # more would not help
        ({"error": 0.08}, 0.99, 0.45, None),
        ({"full": 0.8, "half": 0.6}, 0.99, 0.45, None),  # what is lost is lost between the splits
        ({"learned": 400.0}, 0.99, 0.45, None),
    ],
)
def test_what_is_held_against_it(change: dict[str, float], train: float, given: float, expected: str | None) -> None:
    assert severity(judged(FAR | change, train, given), "few-samples") == expected


def test_random_targets_are_learned_no_better_from_more() -> None:
    generator = torch.Generator().manual_seed(0)
    training, given = (
        (torch.randn(n, 10, generator=generator), torch.randn(n, 1, generator=generator)) for n in (120, 60)
    )
    n = fewer.half_as_many(laid_out(by_heart(training, nn.MSELoss(), 1), training, given, nn.MSELoss())).numbers
    assert severity(judged(n, 0.99, -0.5), "few-samples") is None


def test_where_it_is_not_made() -> None:
    training, given = numbers(300, 1, 0.05), numbers(100, 2, 0.05)
    good = by_heart(training, nn.MSELoss(), 1)
    with pytest.raises(NotApplicableError, match="not far better"):
        fewer.half_as_many(laid_out(good, training, given, nn.MSELoss()))
    for many, more in ((numbers(600, 1, 0.8), {}), (numbers(120, 1, 0.8), {"augmented": True})):
        with pytest.raises(NotApplicableError, match="many, or augmented"):
            fewer.half_as_many(laid_out(good, many, given, nn.MSELoss(), **more))
    with pytest.raises(NotApplicableError, match="fewer than"):
        fewer.half_as_many(laid_out(good, numbers(20, 1, 0.8), given, nn.MSELoss()))
