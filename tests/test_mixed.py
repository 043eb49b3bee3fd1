"""Inputs that two training samples were mixed into and that keep the target of one, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

import reportgen
from reportgen.document.facts import Report
from reportgen.page import wording

Step = Callable[[nn.Module, Any, Tensor, Tensor], Tensor]
CROSS_ENTROPY = nn.CrossEntropyLoss()
pytestmark = pytest.mark.slow  # nearly all of them train a model


def table(outputs: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    centres = 2 * torch.randn(8, 10, generator=g)
    which = torch.randint(0, 8, (480,), generator=g)
    return centres[which] + torch.randn(480, 10, generator=g), which % outputs


def pictures() -> tuple[Tensor, Tensor]:
    """A bright bar, upright or lying, on noise; a few corners are black."""
    g = torch.Generator().manual_seed(6)
    x, y = 0.5 * torch.rand(480, 1, 12, 12, generator=g), torch.randint(0, 2, (480,), generator=g)
    for picture, label in zip(x, y, strict=True):
        at = int(torch.randint(0, 8, (), generator=g))
        bar = 0.5 + torch.rand(12, 5, generator=g)
        picture[0, :, at : at + 5] = bar
        picture[0] = picture[0].T.clone() if label else picture[0]
        picture[0, :2, :2] = 0
    return x, y


def report_of(step: Step, data: tuple[Tensor, Tensor], loss: Any, outputs: int, collate: Any = None) -> Report:
    torch.manual_seed(1)
    x, y = data
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 32), nn.ReLU(), nn.Linear(32, outputs))
    train = DataLoader(TensorDataset(x[:400], y[:400]), batch_size=20, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    monitor = reportgen.Monitor(model, optimizer, loss=loss, options=reportgen.Options(trial_budget=0))
    with monitor:
        for _ in range(10):
            for a, b in train:
                optimizer.zero_grad()
                step(model, loss, a, b).backward()
                optimizer.step()
    return monitor.report([(x[400:], y[400:])], train_data=train)


def shares(kind: str, n: int) -> Tensor:
    if kind == "by sample":
        return torch.rand(n)
    return torch.full((n,), float(torch.rand(())) if kind == "by batch" else 0.2)


def mixed(asked: str, kind: str = "by batch") -> Step:
    """``asked``: whose target is asked for."""

    def step(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
        share, other = shares(kind, len(x)), torch.randperm(len(x))
        wide = share.view(-1, *[1] * (x.dim() - 1))
        output = model(wide * x + (1 - wide) * x[other])
        if asked == "both":
            losses = [[loss(o[None], t[None]) for o, t in zip(output, ts, strict=True)] for ts in (y, y[other])]
            return (share * torch.stack(losses[0]) + (1 - share) * torch.stack(losses[1])).mean()
        first = {"first": share >= 0, "larger": share >= 0.5, "drawn": torch.rand(len(x)) < share}[asked]
        return loss(output, torch.where(first.view(-1, *[1] * (y.dim() - 1)), y, y[other]))

    return step


def cut(*, keep: bool) -> Step:
    def step(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
        other, wide = torch.randperm(len(x)), int(torch.randint(2, 11, ()))
        inputs = x.clone()
        inputs[..., :wide] = x[other][..., :wide]
        output, share = model(inputs), 1 - wide / 12
        return loss(output, y) if keep else share * loss(output, y) + (1 - share) * loss(output, y[other])

    return step


def erased(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
    inputs = x.clone()
    inputs[:, :, 2:5, 3:7] = 0
    return loss(model(inputs), y)


def noisy(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
    return loss(model(x + 0.1 * torch.randn_like(x)), y)


def plain(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
    return loss(model(x), y)


def half(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
    return loss(model((x + x.roll(1, 0)) / 2), y)


def numbers() -> tuple[Tensor, Tensor]:
    x, _ = table()
    return x, (x[:, :1].sin() + x[:, 1:2]) / 2


SICK: dict[str, tuple[Step, tuple[Tensor, Tensor], Any, int]] = {
    "by batch": (mixed("first"), table(), CROSS_ENTROPY, 4),
    "by sample": (mixed("first", "by sample"), table(), CROSS_ENTROPY, 4),
    "always the lesser part": (mixed("first", "always"), table(), CROSS_ENTROPY, 4),
    "smoothed": (mixed("first"), table(), nn.CrossEntropyLoss(label_smoothing=0.1), 4),
    "two classes": (mixed("first"), table(2), CROSS_ENTROPY, 2),
    "numbers": (mixed("first"), numbers(), nn.MSELoss(), 1),
    "pieces": (cut(keep=True), pictures(), CROSS_ENTROPY, 2),
}
HEALTHY: dict[str, tuple[Step, tuple[Tensor, Tensor], Any, int]] = {
    "not mixed": (plain, table(), CROSS_ENTROPY, 4),
    "noise": (noisy, table(), CROSS_ENTROPY, 4),
    "both targets": (mixed("both"), table(), CROSS_ENTROPY, 4),
    "both targets of two": (mixed("both"), table(2), CROSS_ENTROPY, 2),
    "both targets, numbers": (mixed("both"), numbers(), nn.MSELoss(), 1),
    "target of the larger part": (mixed("larger", "by sample"), table(), CROSS_ENTROPY, 4),
    "target drawn by share": (mixed("drawn"), table(), CROSS_ENTROPY, 4),
    "target drawn by share of each": (mixed("drawn", "by sample"), table(), CROSS_ENTROPY, 4),
    "pairs by halves": (half, table(), CROSS_ENTROPY, 4),
    "pieces with both targets": (cut(keep=False), pictures(), CROSS_ENTROPY, 2),
    "a piece erased": (erased, pictures(), CROSS_ENTROPY, 2),
    "pictures as they are": (plain, pictures(), CROSS_ENTROPY, 2),
}


@pytest.mark.parametrize("kind", SICK)
def test_inputs_mixed_with_one_target_kept_are_named(kind: str) -> None:
    report = report_of(*SICK[kind])
    (found,) = (f for f in report.findings if f.rule == "inputs-mixed")
    assert found.severity == "warning"
    assert wording.describe(found).endswith(".")
    assert "wrong-augmentation" in {d.cause for d in report.diagnoses if d.severity != "info"}


@pytest.mark.parametrize("kind", HEALTHY)
def test_nothing_is_said_of_targets_that_fit_their_inputs(kind: str) -> None:
    report = report_of(*HEALTHY[kind])
    assert not [f for f in report.findings if f.rule == "inputs-mixed"]
    assert report.train_dataset is not None
    assert report.train_dataset.mixed is not None
    as_they_are = kind in ("not mixed", "noise", "a piece erased", "pictures as they are")
    assert (report.train_dataset.mixed.mixed == 0) == as_they_are


def test_samples_mixed_by_the_loader_are_held_against_its_data_set() -> None:
    def collate(samples: list[Any]) -> Any:
        x, y = default_collate(samples)
        share = float(torch.rand(()))
        return share * x + (1 - share) * x[torch.randperm(len(x))], y

    report = report_of(plain, table(), CROSS_ENTROPY, 4, collate)
    assert [f.rule for f in report.findings if f.rule == "inputs-mixed"]
    assert [d.cause for d in report.diagnoses if d.severity != "info"].count("wrong-augmentation") == 1


def otherwise(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Step:
    """``change(x, y, named)``: what the loop makes of a batch; ``named``: what the model says."""

    def step(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            named = model(x).argmax(1)
        x, y = change(x, y, named)
        return loss(model(x), y)

    return step


def some(y: Tensor, share: float) -> Tensor:
    return torch.where(torch.rand(len(y)) < share, y[torch.randperm(len(y))], y)


def asked_of(step: Step, data: tuple[Tensor, Tensor] | None = None) -> tuple[Report, list[str]]:
    report = report_of(step, data or table(), CROSS_ENTROPY, 4)
    assert report.train_dataset is not None
    assert report.train_dataset.asked is not None
    found = [f for f in report.findings if f.rule == "asked-otherwise"]
    assert all(wording.describe(f).endswith(".") for f in found)
    return report, [f.detail["kind"] for f in found]


@pytest.mark.parametrize(
    ("change", "kind", "cause"),
    [
        (lambda x, y, named: (x[torch.randperm(len(x))], y), "all", "label-corruption"),
        (lambda x, y, named: (x, y.roll(1)), "all", "label-corruption"),
        (lambda x, y, named: (x, (y + 1) % 4), "renumbered", "label-corruption"),
        (lambda x, y, named: (x, some(y, 0.5)), "in part", "label-noise"),
    ],
    ids=["inputs shuffled", "labels moved", "renumbered", "half of the labels"],
)
def test_a_loop_that_asks_for_other_classes_is_named(change: Any, kind: str, cause: str) -> None:
    report, kinds = asked_of(otherwise(change))
    assert kinds == [kind]
    assert cause in {d.cause for d in report.diagnoses if d.severity != "info"}


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y, named: (x, y),
        lambda x, y, named: (x, some(y, 0.1)),
        lambda x, y, named: (x, named),
        lambda x, y, named: (x, torch.zeros_like(y)),
        lambda x, y, named: (x[:5], y[:5]),
    ],
    ids=["as they are", "a tenth drawn anew", "what the model says", "another task", "a part of the batch"],
)
def test_labels_of_the_data_and_those_made_on_purpose_are_left_alone(change: Any) -> None:
    assert asked_of(otherwise(change))[1] == []


def focal(said: Tensor, y: Tensor) -> Tensor:
    lost = nn.functional.cross_entropy(said, y, reduction="none")
    return ((1 - (-lost).exp()) ** 2 * lost).mean()


@pytest.mark.parametrize(
    "own",
    [focal, nn.CrossEntropyLoss(label_smoothing=0.2), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0, 4.0]))],
    ids=["focal", "smoothed", "weighted"],
)
def test_a_loss_of_the_loop_s_own_asks_for_no_other_class(own: Any) -> None:
    assert asked_of(lambda model, loss, x, y: own(model(x), y))[1] == []


def test_what_cannot_be_told_is_left_open() -> None:
    whole = (torch.randint(0, 9, (480, 10)), torch.randint(0, 4, (480,)))

    def step(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
        return loss(model(x.float()), y)

    assert report_of(step, (whole[0].float(), whole[1]), CROSS_ENTROPY, 4).train_dataset.mixed is not None  # type: ignore[union-attr]
    x, y = table()
    model = nn.Linear(10, 4)
    assert (
        reportgen.examine(
            model, [(x, y)], train_data=[(x, y)], loss=CROSS_ENTROPY, options=reportgen.Options(trial_budget=0)
        ).train_dataset.mixed
        is None
    )  # type: ignore[union-attr]
