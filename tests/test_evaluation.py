"""Evaluation in a stream, against scikit-learn and numpy on the whole."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from reportgen.probe.evaluation import EvaluationProbe, infer_task
from reportgen.subject.data import Batch


def stream(outputs: Tensor, targets: Tensor, loss: nn.Module | None = None, size: int = 7) -> EvaluationProbe:
    probe = EvaluationProbe(loss, None, None)
    for out, target in zip(outputs.split(size), targets.split(size), strict=True):
        probe.update(out, Batch((out,), {}, target))
    return probe


def test_a_classifier() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    facts = stream(outputs, targets, nn.CrossEntropyLoss()).facts()
    assert facts is not None
    assert facts.task == "multiclass"
    assert facts.classification is not None
    wanted = metrics.confusion_matrix(targets, outputs.argmax(1), labels=range(4))
    assert facts.classification.confusion == wanted.tolist()
    assert facts.loss == pytest.approx(metrics.log_loss(targets, outputs.double().softmax(1)), rel=1e-5)
    assert facts.outputs is not None
    assert facts.outputs.cross_entropy == pytest.approx(facts.loss, rel=1e-6)


def test_a_regressor() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(3, 2, (60, 1))
    predicted = y + rng.normal(0.5, 0.3, (60, 1))
    facts = stream(torch.tensor(predicted), torch.tensor(y), nn.MSELoss()).facts()
    assert facts is not None
    assert facts.regression is not None
    assert facts.regression.r2 == pytest.approx(metrics.r2_score(y, predicted), rel=1e-9)
    assert facts.regression.mae == pytest.approx(metrics.mean_absolute_error(y, predicted), rel=1e-9)
    assert facts.regression.mse == pytest.approx(metrics.mean_squared_error(y, predicted), rel=1e-9)
    assert facts.regression.residual.mean == pytest.approx((predicted - y).mean(), rel=1e-9)
    assert len(facts.regression.sample) == 60


def test_a_binary_classifier_by_logits_and_by_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, targets = (
        torch.randn(40, 1, generator=generator) * 3,
        torch.randint(2, (40, 1), generator=generator).float(),
    )
    wanted = metrics.confusion_matrix(targets, logits > 0).tolist()
    for outputs in (logits, logits.sigmoid()):
        facts = stream(outputs, targets).facts()
        assert facts is not None
        assert facts.task == "binary"
        assert facts.classification is not None
        assert facts.classification.confusion == wanted


def test_long_data_are_sampled_evenly() -> None:
    y = torch.arange(5000.0)
    facts = stream(y.unsqueeze(1), y.unsqueeze(1), size=100).facts()
    assert facts is not None
    assert facts.regression is not None
    kept = [t for t, _ in facts.regression.sample]
    assert 200 <= len(kept) <= 401
    assert len({b - a for a, b in pairwise(kept)}) == 1


def test_ignored_labels_and_nan_rows_are_left_out() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan"), 0.0], [1.0, 0.0]])
    facts = stream(outputs, torch.tensor([0, -100, 0, 1])).facts()
    assert facts is not None
    assert facts.classification is not None
    assert facts.classification.confusion == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("output", "target", "task"),
    [
        (torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]), "multiclass"),
        (torch.randn(5, 2), torch.randn(5, 2), "regression"),
        (torch.randn(5), torch.tensor([0.0, 1, 1, 0, 1]), "binary"),
        (torch.randn(5, 1), torch.tensor([0, 1, 1, 0, 1]), "binary"),
        (torch.randn(5, 1), torch.randn(5), "regression"),
        (torch.randn(4, 3), torch.randint(2, (4, 3)).float(), "several yes-or-no"),
        (torch.randn(5, 7, 3), torch.randint(3, (5, 7)), "no task known"),
    ],
)
def test_the_task_is_found_out_or_said_to_be_unknown(output: Tensor, target: Tensor, task: str) -> None:
    assert task in infer_task(output, target)


def test_without_targets_there_is_a_reason_and_no_figures() -> None:
    probe = EvaluationProbe(None, None, None)
    probe.update(torch.randn(3, 2), Batch((torch.randn(3, 2),)))
    assert probe.facts() is None
    assert "no target" in probe.trouble
