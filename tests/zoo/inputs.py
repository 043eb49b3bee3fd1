"""Models by what they are called with."""

from __future__ import annotations

import warnings
from collections import UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from .case import NO_TARGET, ROWS, Case, dense, rand, rows, wanted


class Plain(nn.Module):
    """One tensor in, one out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class TwoTensors(Plain):
    """Two positional tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.fc(x + y)


class TupleInput(Plain):
    """One argument, a tuple of tensors."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        return self.fc(pair[0] * pair[1])


class NestedLists(Plain):
    """One argument, lists in lists."""

    def forward(self, tree: list[list[Tensor]]) -> Tensor:  # type: ignore[override]
        return self.fc(sum(leaf for branch in tree for leaf in branch))


class KeywordOnly(Plain):
    """Nothing may be given by position."""

    def forward(self, *, x: Tensor, scale: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.fc(x if scale is None else x * scale)


class DictInput(Plain):
    """One argument, a dict with keys that are no parameters."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.fc(batch["left"] - batch["right"])


@dataclass
class Graph:
    """A batch in a class of the user's own."""

    nodes: Tensor
    edges: Tensor
    y: Tensor


class DataclassInput(Plain):
    """One argument, a dataclass that carries its target along."""

    def forward(self, graph: Graph) -> Tensor:  # type: ignore[override]
        return self.fc(graph.nodes + graph.nodes[graph.edges])


Named = namedtuple("Named", "x y")


class NamedTupleBatch(Plain):
    """A loader of named tuples is one of (input, target)."""


class Encoding(UserDict):  # type: ignore[type-arg]
    """As tokenizers return: a mapping that is no dict."""


class MappingInput(Plain):
    """Keyword arguments from a mapping that is no dict."""

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.fc(features * mask)


class PackedInput(nn.Module):
    """A packed sequence into an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, packed: PackedSequence) -> Tensor:
        _, (hidden, _) = self.rnn(packed)
        return self.fc(hidden[-1])


class NoInput(nn.Module):
    """Called without anything: a learned table."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = nn.Parameter(rand(2, 4))
        self.fc = nn.Linear(4, 3)

    def forward(self) -> Tensor:
        return self.fc(self.seed)


class IntegerInput(nn.Module):
    """Tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4, padding_idx=0)
        self.fc = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.embed(tokens).mean(1))


class BooleanInput(Plain):
    """Bits."""

    def forward(self, bits: Tensor) -> Tensor:
        return self.fc(bits.float())


class ScalarInput(nn.Module):
    """A tensor without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, t: Tensor) -> Tensor:
        return self.gain * t


class OptionalMiddle(Plain):
    """None between two tensors."""

    def forward(self, x: Tensor, mask: Tensor | None, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.fc(x + y if mask is None else x * mask)


class VariableArguments(Plain):
    """Any number of tensors."""

    def forward(self, *parts: Tensor) -> Tensor:
        return self.fc(torch.stack(parts).sum(0))


class StringArgument(Plain):
    """A text beside the tensor."""

    def forward(self, x: Tensor, mode: str) -> Tensor:  # type: ignore[override]
        return self.fc(x if mode == "plain" else -x)


def packed() -> list[Any]:
    def one() -> PackedSequence:
        return pack_sequence([rand(n, 4) for n in (3, 2, 2)])

    return [(one(), wanted(3)), (one(), wanted(3))]


def encodings() -> list[Any]:
    return [Encoding(features=rand(ROWS, 4), mask=torch.ones(ROWS, 1), labels=wanted()) for _ in range(2)]


def graphs() -> list[Any]:
    return [Graph(rand(ROWS, 4), torch.arange(ROWS).flip(0), wanted()) for _ in range(2)]


FC = {"parameters": 15, "flops": dense(4, 3), "rows": ("fc",)}


class Padded(Plain):
    """Nested tensors: rows of different lengths in one."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.nested.to_padded_tensor(x, 0.0)).mean(1)


def nested(layout: torch.layout) -> list[tuple[Tensor, Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are a prototype
        parts = [rand(n, 4) for n in (2, 5, 1)]
        return [(torch.nested.nested_tensor(parts, layout=layout), wanted(3)) for _ in range(2)]


def padded(layout: torch.layout, shape: str) -> Case:
    def check(report: Any) -> None:
        assert (report.subject.n_samples, report.subject.input_shapes) == (6, [shape])
        assert report.dataset.features[0].stats.count == 2 * 8  # of all rows of both batches
        assert report.evaluation.n_samples == 6

    return Case(
        Padded,
        lambda: nested(layout),
        parameters=15,
        flops=dense(4, 3, 15),
        absent={"dataset": "nested tensors: neither copies"},
        rows=("fc",),
        check=check,
    )


CASES = {
    "nested input": padded(torch.strided, "3 × ragged × 4"),
    "nested input, jagged": padded(torch.jagged, "3 × ragged × 4"),
    "plain": Case(Plain, lambda: rows(4), **FC, shapes={"fc": ("6 × 4", "6 × 3"), "": ("6 × 4", "6 × 3")}),
    "two tensors": Case(
        TwoTensors,
        lambda: [(rand(ROWS, 4), rand(ROWS, 4), wanted())] * 2,
        **FC,
        shapes={"": ("6 × 4, 6 × 4", "6 × 3")},
    ),
    "tuple input": Case(TupleInput, lambda: [((rand(ROWS, 4), rand(ROWS, 4)), wanted())] * 2, **FC),
    "nested lists": Case(
        NestedLists,
        lambda: [([[rand(ROWS, 4)], [rand(ROWS, 4), rand(ROWS, 4)]], wanted())] * 2,
        **FC,
        shapes={"": ("6 × 4, 6 × 4, 6 × 4", "6 × 3")},
    ),
    "keyword-only arguments": Case(KeywordOnly, lambda: [{"x": rand(ROWS, 4), "labels": wanted()}] * 2, **FC),
    "dict input": Case(
        DictInput, lambda: [{"left": rand(ROWS, 4), "right": rand(ROWS, 4).flip(0), "target": wanted()}] * 2, **FC
    ),
    "dataclass input": Case(DataclassInput, graphs, **FC),
    "named tuple batch": Case(NamedTupleBatch, lambda: [Named(rand(ROWS, 4), wanted())] * 2, **FC),
    "mapping that is no dict": Case(MappingInput, encodings, **FC),
    "packed sequence": Case(
        PackedInput,
        packed,
        parameters=4 * 5 * (4 + 5 + 2) + 18,
        flops=2 * 7 * 20 * (4 + 5) + dense(5, 3, 3),
        shapes={"rnn": ("7 × 4", "7 × 5, 1 × 3 × 5, 1 × 3 × 5"), "fc": ("3 × 5", "3 × 3")},
        facts={"batch_size": 3},
        rows=("rnn", "fc"),
    ),
    "no input at all, found out": Case(
        NoInput,
        lambda: None,
        parameters=8 + 15,
        flops=dense(4, 3, 2),
        absent={"dataset": "noise", "evaluation": "noise", "gradients": "noise"},
    ),
    "no input at all, empty tuples": Case(
        NoInput, lambda: [(), ()], parameters=8 + 15, flops=dense(4, 3, 2), absent=NO_TARGET
    ),
    "integer input": Case(
        IntegerInput,
        lambda: [(torch.arange(12).view(ROWS, 2) % 11, wanted())] * 2,
        parameters=44 + 15,
        flops=dense(4, 3),
        rows=("embed", "fc"),
    ),
    "boolean input": Case(BooleanInput, lambda: [(rand(ROWS, 4) > 0, wanted())] * 2, 15, dense(4, 3)),
    "scalar input": Case(
        ScalarInput,
        lambda: [(torch.tensor(2.0), torch.tensor(1.0))] * 2,
        parameters=1,
        flops=0,
        loss=nn.functional.mse_loss,
        absent={"evaluation": "no batch"},
    ),
    "none between tensors": Case(OptionalMiddle, lambda: [(rand(ROWS, 4), None, rand(ROWS, 4), wanted())] * 2, **FC),
    "any number of tensors": Case(VariableArguments, lambda: [(*[rand(ROWS, 4)] * 3, wanted())] * 2, **FC),
    "a text beside the tensor": Case(StringArgument, lambda: [(rand(ROWS, 4), "plain", wanted())] * 2, **FC),
    "one sample": Case(Plain, lambda: [(rand(1, 4), wanted(1))] * 2, 15, dense(4, 3, 1)),
    "ragged last batch": Case(
        Plain,
        lambda: [(rand(ROWS, 4), wanted()), (rand(1, 4), wanted(1))],
        **FC,
        check=lambda report: _is(report.activations.rows[0].stats.count, 7 * 3),
    ),
    "tensors alone": Case(Plain, lambda: [rand(ROWS, 4)] * 2, **FC, absent=NO_TARGET),
}


def _is(found: object, expected: object) -> None:
    assert found == expected
