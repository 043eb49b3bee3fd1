"""Rare classes that a model knows better than it says, and rare classes that nobody could tell better."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import Classification, DatasetFacts, Report
from reportgen.health.judge import judge
from reportgen.page import wording, words_claims
from reportgen.probe.trials import favoured
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import report, run, severity, tried

N = 2000


class Said(nn.Module):
    """Puts out what the first columns of its input say, times and plus something."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.unused = change, nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def drawn(seed: int, classes: int, share: float, sharp: float) -> tuple[Tensor, Tensor]:
    """Draw true log-odds of rare classes, and the classes from them: nobody can know more than these scores say."""
    generator = torch.Generator().manual_seed(seed)
    scores = sharp * torch.randn(N, classes, generator=generator)
    low, high = -20.0, 20.0  # of the bias that makes the rare classes as rare as they are to be
    for _ in range(50):
        bias = (low + high) / 2
        shifted = torch.cat([scores[:, :1] + bias, scores[:, 1:]], 1)
        low, high = (bias, high) if float(shifted.softmax(1)[:, 0].mean()) < 1 - share else (low, bias)
    return shifted, torch.multinomial(shifted.softmax(1), 1, generator=generator)[:, 0]


def measured(x: Tensor, y: Tensor, change: Callable[[Tensor], Tensor]) -> dict[str, float]:
    batches = [Batch((x[i : i + 250],), {}, y[i : i + 250]) for i in range(0, N, 250)]
    lab = trials.laboratory(Said(change), None, (), batches[4:], batches[:4], Clock(60.0), 0)
    return favoured.rare_favoured(lab).numbers


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda scores: factor * scores


def held(numbers: dict[str, float]) -> Report:
    data = DatasetFacts(n_samples=N, n_batches=8, shape="4", dtype="float32", features=[], class_counts=[1900, 100])
    by_class = Classification(classes=["common", "rare"], confusion=[[900, 0], [20, 30]])
    return report(by_class, training=run(), train_dataset=data, trials=tried("rare-favoured", None, **numbers))


def told(numbers: dict[str, float]) -> str | None:
    return severity(held(numbers), "d-class-imbalance")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("classes", "share", "sharp"), [(2, 0.05, 3.0), (2, 0.1, 6.0), (5, 0.12, 4.0), (3, 0.04, 8.0)])
def test_scores_that_say_all_that_can_be_known_lose_by_every_change(
    seed: int, classes: int, share: float, sharp: float
) -> None:
    x, y = drawn(seed, classes, share, sharp)
    numbers = measured(x, y, lambda s: s)
    assert abs(numbers["gained"] - numbers["claimed"]) < 4 * max(numbers["spread"], 1)
    assert told(numbers) == "info"
    # scores that are too sure, and too unsure, of whatever class
    for factor in (0.5, 2.0):
        assert told(measured(x, y, _times(factor))) == "info"
    assert words_claims.OUTCOMES["rare-favoured"](numbers, {}).endswith(".")


@pytest.mark.parametrize("seed", range(4))
def test_rare_classes_that_are_known_and_not_named(seed: int) -> None:
    x, y = drawn(seed, 4, 0.2, 3.0)
    numbers = measured(x, y, lambda s: s + torch.tensor([2.0, 0.0, 0.0, 0.0]))  # the commonest is far too likely
    assert numbers["rare_then"] > 1.5 * numbers["rare_found"]
    assert numbers["gained"] > numbers["lost"]
    assert told(numbers) == "warning"


def test_one_logit_for_yes_or_no_counts_as_two_classes() -> None:
    x, y = drawn(0, 2, 0.08, 8.0)
    both = measured(x, y, lambda s: s + torch.tensor([3.0, 0.0]))
    one = measured(x, y.float()[:, None], lambda s: s[:, 1:] - s[:, :1] - 3.0)
    assert one == pytest.approx(both)
    probability = measured(x, y.float(), lambda s: (s[:, 1] - s[:, 0] - 3.0).sigmoid())
    assert probability == pytest.approx(both, rel=1e-4)


def test_the_finding_says_what_changes() -> None:
    x, y = drawn(1, 4, 0.2, 3.0)
    numbers = measured(x, y, lambda s: s + torch.tensor([2.0, 0.0, 0.0, 0.0]))
    (finding,) = [f for f in judge(held(numbers)).findings if f.rule == "d-class-imbalance"]
    assert finding.evidence["gained"] == numbers["gained"]
    assert "right before alone" in wording.describe(finding)


def test_classes_of_like_size_and_answers_of_another_kind() -> None:
    x, y = drawn(0, 2, 0.4, 2.0)
    with pytest.raises(NotApplicableError):
        measured(x, y, lambda s: s)
    with pytest.raises(NotApplicableError):
        measured(x, x[:, 0], lambda s: s)
