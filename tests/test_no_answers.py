"""Outputs that are no answers to the labels beside them: embeddings, and logits of targets without a loss."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.health.context import same_units
from reportgen.probe.evaluation import EvaluationProbe
from reportgen.probe.relabelled import asks_alike
from reportgen.subject.data import Batch

DRAWN = torch.Generator().manual_seed(0)
OUTPUT, LABEL = torch.randn(60, 12, generator=DRAWN), torch.randint(5, (60,), generator=DRAWN)


def triplet(output: Tensor, label: Tensor) -> Tensor:
    apart, alike = torch.cdist(output, output), label[:, None] == label
    return F.softplus((apart - 1e3 * ~alike).amax(1) - (apart + 1e3 * alike).amin(1)).mean()


def contrastive(output: Tensor, label: Tensor) -> Tensor:
    unit = F.normalize(output, dim=1)
    like = (unit @ unit.T / 0.2).fill_diagonal_(-1e4).log_softmax(1)
    pairs = (label[:, None] == label).float().fill_diagonal_(0)
    return -(like * pairs).sum() / pairs.sum()


def drawn_triplet(output: Tensor, label: Tensor) -> Tensor:
    return triplet(output + torch.randn_like(output), label)


def views(output: Tensor, label: Tensor) -> Tensor:
    return output.square().mean()


def focal(output: Tensor, label: Tensor) -> Tensor:
    left = F.cross_entropy(output, label, reduction="none")
    return ((1 - (-left).exp()) ** 2 * left).mean()


def margin(output: Tensor, label: Tensor) -> Tensor:
    return F.multi_margin_loss(output, label)


def squared(output: Tensor, label: Tensor) -> Tensor:
    return F.mse_loss(output.softmax(1), F.one_hot(label, output.shape[1]).float())


@pytest.mark.parametrize("loss", [triplet, contrastive, drawn_triplet])
def test_losses_that_ask_which_labels_are_alike(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    before = torch.get_rng_state()
    assert asks_alike(loss, OUTPUT, LABEL)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "loss", [F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1), focal, margin, squared, views]
)
@pytest.mark.parametrize("output", [OUTPUT, torch.zeros(60, 12), OUTPUT[:1].expand(60, 12)], ids=["", "zero", "one"])
@pytest.mark.parametrize("label", [LABEL, LABEL % 2], ids=["five", "two"])
def test_losses_of_classes_notice_their_names(
    loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, label: Tensor
) -> None:
    assert asks_alike(loss, output, label) is False


def test_a_batch_of_one_class_or_with_labels_left_out_tells_nothing() -> None:
    assert asks_alike(triplet, OUTPUT, torch.zeros_like(LABEL)) is None
    assert asks_alike(F.cross_entropy, OUTPUT, torch.where(LABEL == 0, -100, LABEL)) is None
    assert asks_alike(F.cross_entropy, OUTPUT[:, :3], LABEL) is None


@pytest.mark.parametrize("cut", [1, 6])
def test_an_embedding_has_no_accuracy(cut: int) -> None:
    probe, stated = (EvaluationProbe(triplet, task, None) for task in (None, "multiclass"))
    order = LABEL.argsort()
    for output, label in zip(OUTPUT[order].split(60 // cut), LABEL[order].split(60 // cut), strict=True):
        for one in (probe, stated):
            one.update(output, Batch((output,), {}, label))
    assert probe.facts() is None
    assert "embedding" in probe.trouble
    assert stated.facts() is not None


def learned(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return optimizer


def blobs(classes: int, seed: int) -> tuple[Tensor, Tensor]:
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(0)) * 2
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (300,), generator=generator)
    return centres[label] + torch.randn(300, 8, generator=generator), label


def alarms(report: reportgen.Report) -> set[str]:
    return {d.cause for d in report.diagnoses if d.severity in ("warning", "error")}


@pytest.mark.slow
def test_a_model_of_triplets_is_not_held_against_the_commonest_class() -> None:
    torch.manual_seed(0)
    x, y = blobs(5, 1)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 12))
    optimizer = learned(model, triplet, x, y)
    given, told = (DataLoader(TensorDataset(*data), 50) for data in (blobs(5, 2), (x, y)))
    history = {"train_loss": [0.7, 0.5, 0.4, 0.3, 0.25, 0.22, 0.2, 0.19]}
    report = reportgen.examine(model, given, train_data=told, loss=triplet, optimizer=optimizer, history=history)
    assert report.evaluation is None
    assert "underfitting" not in alarms(report)


@pytest.mark.parametrize(("width", "told"), [(12, False), (5, True)])
def test_without_a_loss_spare_columns_are_no_classes(width: int, told: bool) -> None:
    """An embedding of twelve numbers beside five labels; five columns that never learned are scores all the same."""
    torch.manual_seed(0)
    x, y = blobs(5, 1)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, width))
    with torch.no_grad():
        model[2].bias[1 if width == 5 else 9] = 100.0
    history = {"train_loss": [5.3, 5.1, 4.9, 4.8, 4.75, 4.74, 4.74, 4.74]}
    report = reportgen.examine(model, DataLoader(TensorDataset(x, y), 50), history=history)
    assert ("underfitting" in alarms(report)) == told


def test_without_a_loss_outputs_below_all_targets_may_be_logits() -> None:
    torch.manual_seed(0)
    x = torch.rand(300, 12).round()
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 12))
    learned(model, F.binary_cross_entropy_with_logits, x, 0.05 + 0.9 * x)
    data = DataLoader(TensorDataset(x, 0.05 + 0.9 * x), 50)
    report = reportgen.examine(model, data, history={"train_loss": [0.7, 0.6, 0.5, 0.4, 0.35, 0.3]})
    assert report.evaluation is not None
    assert report.evaluation.regression is not None
    assert not same_units(report)
    assert "underfitting" not in alarms(report)
    # the same numbers, of a run that logged the mean squared error of them, are what they seem
    logged = reportgen.examine(model, data, history={"train_loss": [9.0, 8.0, 7.0, report.evaluation.regression.mse]})
    assert same_units(logged)
    signed = report.evaluation.regression.target
    below = msgspec.structs.replace(report.evaluation.regression, target=msgspec.structs.replace(signed, min=-1.0))
    assert same_units(
        msgspec.structs.replace(report, evaluation=msgspec.structs.replace(report.evaluation, regression=below))
    )


@pytest.mark.parametrize(
    ("value", "low", "same"),
    [
        (1.146 / 2 * 1.03, -3.0, False),  # a loss of logits that happens to be of about that size
        (1.146 / 2 * 1.001, -3.0, True),
        (1.146 * 1.01, 0.1, True),  # batches of unequal sizes
        (1.146 * 1.04, 0.1, False),
    ],
)
def test_a_loss_of_ones_own_is_told_by_a_value_that_is_close(value: float, low: float, same: bool) -> None:
    data = DataLoader(TensorDataset(torch.randn(100, 4), torch.rand(100, 3)), 50)
    report = reportgen.examine(nn.Linear(4, 3), data, loss=nn.MSELoss())
    assert report.evaluation is not None
    assert report.evaluation.regression is not None
    assert report.evaluation.outputs is not None
    numbers = msgspec.structs.replace(report.evaluation.regression, mse=1.146, mae=0.95, r2=-8.5)
    facts = msgspec.structs.replace(
        report.evaluation,
        regression=numbers,
        loss=value,
        outputs=msgspec.structs.replace(report.evaluation.outputs, min=low),
    )
    subject = msgspec.structs.replace(report.subject, loss="distil")
    known = msgspec.structs.replace(report, evaluation=facts, subject=subject)
    told = known.tried("loss-of-answers")
    assert told is not None
    # of answers beside the right ones nothing is known, as where a loss refuses them
    kept = {name: n for name, n in told.numbers.items() if name not in ("over", "under", "doubled")}
    assert known.trials is not None
    trials = msgspec.structs.replace(
        known.trials,
        trials=[msgspec.structs.replace(t, numbers=kept) if t is told else t for t in known.trials.trials],
    )
    assert same_units(known)  # a distance, whatever its value
    assert same_units(msgspec.structs.replace(known, trials=trials)) == same
