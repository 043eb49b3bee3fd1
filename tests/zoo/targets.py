"""Models whose forward asks for the target, and loaders that yield something else than full batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset, TensorDataset

from .case import NO_TARGET, Case, dense, rand, rows, wanted
from .inputs import Plain


class Labelled(Plain):
    """As language models have it: labels are optional, and with them the output holds the loss."""

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> OrderedDict[str, Tensor]:  # type: ignore[override]
        scores = self.fc(inputs)
        out = OrderedDict(scores=scores)
        return out if labels is None else OrderedDict(loss=F.cross_entropy(scores, labels), **out)


class NeedsLabels(Plain):
    """Cannot be called without labels."""

    def forward(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        scores = self.fc(inputs)
        return F.cross_entropy(scores, labels), scores


class LossAlone(Plain):
    """Takes input and target, and returns nothing but the loss."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return F.cross_entropy(self.fc(x), y)


class LabelsInside(Plain):
    """Takes the whole batch as a dict, labels and all."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        scores = self.fc(batch["image"])
        return {"loss": F.cross_entropy(scores, batch["labels"]), "scores": scores}


class Conditioned(Plain):
    """Its ``y`` is a condition, and no target."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 3)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.fc(x) if y is None else self.fc(x) + self.table(y)


class Pair(Plain):
    """Two inputs by position, neither of which is a target."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        return self.fc(left) * self.fc(right)


class Stream(IterableDataset[Any]):
    """Samples one by one."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(rand(4), i % 3) for i in range(6)])


def named(x: str, y: str) -> list[dict[str, Tensor]]:
    return [{x: a, y: b} for a, b in rows(4)]


def empty() -> tuple[Tensor, Tensor]:
    return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)


def _own(report: Any) -> None:
    """The loss that the model returned is the one whose gradients were measured."""
    assert report.subject.loss == "the model's own loss"
    assert [row.n_none for row in report.gradients.rows] == [0, 0]
    if report.evaluation is not None:
        assert abs(report.evaluation.loss - sum(report.gradients.loss_values) / 2) < 1e-6
        assert report.evaluation.n_samples == 12


def _no_loss(report: Any) -> None:
    assert report.subject.loss is None
    assert report.evaluation is not None


def _six_rows(report: Any) -> None:
    assert (report.subject.n_batches, report.subject.n_samples) == (1, 6)
    assert report.subject.input_shapes == ["6 × 4"]


def _two_batches(report: Any) -> None:
    assert (report.subject.n_batches, report.subject.n_samples) == (2, 12)
    assert report.evaluation.n_samples == 12


FED = {"dataset": "the targets are handed to the model too, as labels"}
PUT_TOGETHER = {"dataset": "the data set yields samples; they were read 32 at a time"}
ONE = {"parameters": 15, "flops": dense(4, 3)}

CASES = {
    "labels make a loss": Case(
        Labelled, lambda: named("inputs", "labels"), **ONE, loss=None, remarks=FED, check=_own, rows=("fc",)
    ),
    "labels make a loss, by position": Case(Labelled, lambda: rows(4), **ONE, loss=None, remarks=FED, check=_own),
    "labels left to the loss": Case(
        Labelled, lambda: named("inputs", "labels"), **ONE, loss=lambda out, y: F.cross_entropy(out["scores"], y)
    ),
    "labels needed": Case(
        NeedsLabels, lambda: named("inputs", "labels"), **ONE, loss=None, remarks=FED, check=_own, rows=("fc",)
    ),
    "labels needed, with a loss": Case(
        NeedsLabels, lambda: rows(4), **ONE, loss=lambda out, y: F.cross_entropy(out[1], y), remarks=FED
    ),
    "loss alone": Case(
        LossAlone,
        lambda: rows(4),
        **ONE,
        loss=None,
        absent={"evaluation": "no batch"},
        remarks={"dataset": "handed to the model too, as y"},
        check=_own,
    ),
    "labels inside the only input": Case(
        LabelsInside, lambda: named("image", "labels"), **ONE, loss=None, remarks=FED, check=_own
    ),
    "a condition called y": Case(
        Conditioned,
        lambda: rows(4),
        24,
        dense(4, 3),
        loss=None,
        absent={"gradients": "no loss was given"},
        unused=("table",),
        check=_no_loss,
    ),
    "two inputs and no target": Case(
        Pair, lambda: [(rand(6, 4), rand(6, 4))] * 2, 15, 2 * dense(4, 3), absent=NO_TARGET, calls={"fc": 2}
    ),
    "samples of a data set": Case(
        Plain, lambda: TensorDataset(rand(6, 4), wanted()), **ONE, remarks=PUT_TOGETHER, check=_six_rows
    ),
    "samples of a stream": Case(Plain, Stream, **ONE, remarks=PUT_TOGETHER, check=_six_rows),
    "generator": Case(Plain, lambda: iter(rows(4)), **ONE, check=_two_batches),
    "an empty batch between two": Case(
        Plain,
        lambda: [rows(4)[0], empty(), rows(4)[1]],
        **ONE,
        remarks={"dataset": "1 empty batch left out"},
        check=_two_batches,
    ),
    "an empty batch first": Case(
        Plain,
        lambda: [empty(), *rows(4), empty()],
        **ONE,
        remarks={"dataset": "2 empty batches left out"},
        check=_two_batches,
    ),
}
