"""Rare answers of yes in floating point: known and never given, against those that nothing tells apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Finding
from reportgen.page import wording

WIDTH = 8


def made(n: int, answers: int, told: float, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs and rare answers that hang on them; ``told``: correlation of each answer's score with an input."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, generator=generator)
    score = told * x[:, :answers] + (1 - told**2) ** 0.5 * torch.randn(n, answers, generator=generator)
    return x, (score > score.quantile(1 - share, 0)).float()


def found(answers: int, told: float, share: float, weight: float = 1.0) -> Finding | None:
    """Train a logistic regression, and return what is said of rare answers."""
    x, y = made(4000, answers, told, share, 1)
    torch.manual_seed(0)
    model = nn.Linear(WIDTH, answers)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([weight]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for part in torch.arange(3000).repeat(4).split(100):
            optimizer.zero_grad()
            loss(model(x[part]), y[part]).backward()
            optimizer.step()
    training, given = (DataLoader(TensorDataset(x[p], y[p]), 250) for p in (slice(0, 3000), slice(3000, None)))
    options = reportgen.Options(trial_budget=0, pictures=0)
    report = monitor.report(given, train_data=training, options=options)
    return next((f for f in report.findings if f.rule == "d-class-imbalance"), None)


@pytest.mark.parametrize("answers", [1, 4])
def test_a_rare_yes_that_is_known_and_never_given(answers: int) -> None:
    finding = found(answers, 0.7, 0.04)
    assert finding is not None
    assert finding.severity.value == "warning"
    assert finding.evidence["recall"] < 0.3
    assert "are found" in wording.describe(finding)


@pytest.mark.parametrize("answers", [1, 4])
@pytest.mark.parametrize(
    ("told", "share", "weight"),
    [
        (0.0, 0.04, 1.0),  # nothing tells it apart, so it is rightly never given
        (0.7, 0.04, 24.0),  # the loss weighs it
        (0.999, 0.06, 1.0),  # easy
    ],
)
def test_a_rare_yes_that_is_given_or_cannot_be(answers: int, told: float, share: float, weight: float) -> None:
    finding = found(answers, told, share, weight)
    assert finding is not None
    assert finding.severity.value == "info"


@pytest.mark.parametrize("answers", [1, 4])
def test_answers_that_are_not_rare(answers: int) -> None:
    assert found(answers, 0.7, 0.4) is None
