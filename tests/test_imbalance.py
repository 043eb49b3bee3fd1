"""Rare answers of yes in floating point: known and never given, against those that nothing tells apart."""

from __future__ import annotations

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.evaluation import Curve
from reportgen.document.facts import Classification, DatasetFacts, Finding, Report
from reportgen.document.samples import Signal, SplitFacts
from reportgen.health.judge import judge
from reportgen.page import wording

from .test_rules_model import report, run, series, severity

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

WIDTH = 8


def made(n: int, answers: int, told: float, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs and rare answers that hang on them; ``told``: correlation of each answer's score with an input."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, generator=generator)
    score = told * x[:, :answers] + (1 - told**2) ** 0.5 * torch.randn(n, answers, generator=generator)
    return x, (score > score.quantile(1 - share, 0)).float()


def found(answers: int, told: float, share: float, weight: float = 1.0, *, whole: bool = False) -> Finding | None:
    """Train a logistic regression, and return what is said of rare answers; ``whole``: of classes in whole numbers."""
    x, y = made(4000, answers, told, share, 1)
    torch.manual_seed(0)
    model = nn.Linear(WIDTH, 2 if whole else answers)
    loss: nn.Module = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([weight]))
    if whole:
        y, loss = y[:, 0].long(), nn.CrossEntropyLoss(torch.tensor([1.0, weight]))
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


@pytest.mark.parametrize(
    ("told", "weight", "severity"),
    [
        (0.7, 1.0, "warning"),
        (0.0, 1.0, "info"),  # nothing tells it apart
        (0.2, 1.0, "info"),  # and next to nothing
        (0.7, 24.0, "info"),
    ],
)
def test_a_rare_class_in_whole_numbers_has_to_be_known_too(told: float, weight: float, severity: str) -> None:
    finding = found(1, told, 0.04, weight, whole=True)
    assert finding is not None
    assert finding.severity.value == severity


def ranked(auc: float, half: float, z: float | None, *logged: str) -> Report:
    """Return a model that never names the rare class, with the area of its scores and what neighbours say."""
    curve = Curve(
        label="1",
        positives=20,
        negatives=380,
        auc=auc,
        auc_low=auc - half,
        auc_high=auc + half,
        average_precision=0.4,
        ap_low=0.0,
        ap_high=0.2,
    )
    signal = Signal(kind="classes", n=400, k=5, score=0.9 + 0.01 * (z or 0.0), null_mean=0.9, null_std=0.01)
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 4", dtype="float32", class_counts=[380, 20])
    table = Classification(classes=["0", "1"], confusion=[[380, 0], [20, 0]])
    scores = report(table).evaluation
    assert scores is not None
    return judge(
        structs.replace(
            report(
                table,
                training=run(series=[series(n, [0.5, 0.9]) for n in logged]),
                dataset=data,
                splits=None if z is None else SplitFacts(across=signal),
            ),
            evaluation=structs.replace(scores, curves=[curve]),
        )
    )


@pytest.mark.parametrize(
    ("auc", "half", "z", "expected"),
    [
        (0.9, 0.05, 0.0, "warning"),  # known, and not named
        (0.62, 0.05, 8.0, "info"),  # it has learned what there is
        (0.52, 0.1, 1.0, "info"),  # nobody can tell
        (0.52, 0.1, 8.0, "warning"),  # neighbours can: the model has not learned it
        (0.52, 0.1, None, "warning"),
    ],
)
def test_what_a_model_does_not_rank_neighbours_may_know(
    auc: float, half: float, z: float | None, expected: str
) -> None:
    assert severity(ranked(auc, half, z), "d-class-imbalance") == expected


@pytest.mark.parametrize(
    ("auc", "logged", "expected"),
    [
        (0.9, ("val_auc",), "info"),  # clicks, say: how likely they are is asked, not whether likelier than not
        (0.9, ("val_roc_auc", "val_average_precision"), "info"),
        (0.9, ("val_auc", "val_accuracy"), "warning"),
        (0.9, ("val_auc", "val_recall"), "warning"),
        (0.9, ("train_auc",), "warning"),
        (0.9, (), "warning"),
        (0.52, ("val_auc",), "warning"),  # neighbours tell what the model does not
    ],
)
def test_what_is_judged_by_rank_is_not_cut_at_one_half(auc: float, logged: tuple[str, ...], expected: str) -> None:
    assert severity(ranked(auc, 0.05, 8.0, *logged), "d-class-imbalance") == expected


@pytest.mark.parametrize(("name", "expected"), [("val_auc", "info"), ("val_accuracy", "warning")])
def test_rare_answers_of_several_judged_by_rank(name: str, expected: str) -> None:
    x, y = made(1500, 4, 0.7, 0.04, 1)
    torch.manual_seed(0)
    model, loss = nn.Linear(WIDTH, 4), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for epoch in range(3):
            for part in torch.arange(1000).split(50):
                optimizer.zero_grad()
                loss(model(x[part]), y[part]).backward()
                optimizer.step()
            monitor.log(epoch=epoch, **{name: 0.8})
    training, given = (DataLoader(TensorDataset(x[p], y[p]), 250) for p in (slice(0, 1000), slice(1000, None)))
    told = monitor.report(given, train_data=training, options=reportgen.Options(trial_budget=0, pictures=0))
    assert [f.severity.value for f in told.findings if f.rule == "d-class-imbalance"] == [expected]
