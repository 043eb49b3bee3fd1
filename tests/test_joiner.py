"""Small batches read as one: nothing is lost, and what is read off them is the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.probe import joiner
from reportgen.probe.joiner import Joiner
from reportgen.subject.data import Batch


class Reader:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, Batch]] = []

    def __call__(self, output: Any, batch: Batch) -> None:
        self.seen.append((output, batch))

    @property
    def sizes(self) -> list[int]:
        return [batch.n_samples for _, batch in self.seen]


def test_small_batches_come_as_one_and_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner, "SAMPLES", 12)
    read, x, y = Reader(), torch.randn(30, 3), torch.arange(30)
    join = Joiner(read)
    for i in range(0, 30, 5):
        part = slice(i, i + 5)
        carried = {"site": [*"abcde"], "age": y[part]}
        join.add({"a": x[part] + 1}, Batch((x[part],), {"k": y[part]}, {"t": y[part]}, carried=carried))
    join.settle()
    join.settle()
    assert read.sizes == [5, 15, 10]
    torch.testing.assert_close(torch.cat([b.args[0] for _, b in read.seen]), x)
    torch.testing.assert_close(torch.cat([output["a"] for output, _ in read.seen]), x + 1)
    for key, found in (("k", [b.kwargs["k"] for _, b in read.seen]), ("t", [b.target["t"] for _, b in read.seen])):
        assert torch.cat(found).tolist() == y.tolist(), key
    assert [s for _, b in read.seen for s in b.carried["site"]] == [*"abcde"] * 6
    assert torch.cat([b.carried["age"] for _, b in read.seen]).tolist() == y.tolist()


def test_memory_that_a_loader_fills_again_is_not_waited_with() -> None:
    read, x = Reader(), torch.zeros(4, 2)
    join = Joiner(read)
    join.add((), Batch((torch.ones(4, 2),)))
    for i in range(3):
        join.add((), Batch((x.fill_(i),)))
    join.settle()
    assert read.seen[1][1].args[0][:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_what_cannot_be_joined_goes_by_itself() -> None:
    read = Reader()
    join = Joiner(read)
    same = Batch((torch.randn(4, 2),), {}, torch.arange(4))
    for batch in (
        same,
        same,
        same,
        Batch((torch.randn(4, 3),), {}, torch.arange(4)),  # another shape
        Batch((torch.randn(4, 2),), {}, torch.tensor(1.0)),  # a target for all of them
        Batch((torch.randn(4, 2),), {}, None),
        Batch((torch.randn(4, 70_000),), {}, torch.arange(4)),  # large
        same,
        same,
    ):
        join.add((), batch)
    join.settle()
    assert read.sizes == [4, 8, 4, 4, 4, 4, 8]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_report_is_the_same_with_and_without(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3), torch.randn(200, 5)
    y = (x @ torch.randn(5, 3)).argmax(1)
    data = [(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]

    def weighted(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target, reduction=reduction)

    def report() -> Any:
        options = reportgen.Options(trial_budget=0)
        made = reportgen.examine(model, data, train_data=data, loss=weighted, options=options)
        parts = (made.evaluation, made.train_evaluation, made.dataset, made.splits, made.pictures)
        return [msgspec.to_builtins(part) for part in parts]

    together = report()
    monkeypatch.setattr(joiner, "SMALL", -1)
    alike(together, report())


def alike(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            if key != "bars":  # of the tensor that was measured whole
                alike(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            alike(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-9)
    else:
        assert a == b
