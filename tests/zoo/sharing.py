"""Modules and parameters that are used more than once, or by others than their owner."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .case import Case, dense, rand, rows, wanted


class Reused(nn.Module):
    """One module called three times in a forward pass: one row, three calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.act = nn.Linear(4, 5), nn.Linear(5, 5), nn.ReLU()
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        for _ in range(3):
            x = self.act(self.again(x))
        return self.last(x)


class ReusedShapes(nn.Module):
    """One activation on tensors of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 8), nn.Linear(8, 3), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.b(self.act(self.a(x))))


class TwoNames(nn.Module):
    """One module under two names: a row under the first."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 4)
        self.right = self.left
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.left(x) + self.right(x))


class Tied(nn.Module):
    """The embedding is the output layer, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).mean(1))


class TransposedTie(nn.Module):
    """An autoencoder whose decoder is a transposed view of its encoder's memory: two parameters, one storage."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False)
        self.decoder.weight = nn.Parameter(self.encoder.weight.detach().t())

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class FunctionalTie(nn.Module):
    """The transposed weight is passed to a function; there is no second module."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.encoder(x), self.encoder.weight.t())


class FlatStorage(nn.Module):
    """All parameters are slices of one flat tensor."""

    def __init__(self) -> None:
        super().__init__()
        flat = rand(4 * 3 + 3)
        self.fc = nn.Linear(4, 3)
        self.fc.weight, self.fc.bias = nn.Parameter(flat[:12].view(3, 4)), nn.Parameter(flat[12:])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class BorrowedWeights(nn.Module):
    """A parent that reads the parameters of a child it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.holder = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.holder.weight, self.holder.bias)


class Recursive(nn.Module):
    """A module that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor, left: int = 2) -> Tensor:
        x = self.fc(x)
        return self(x, left - 1) if left else x[:, :3]


class Siamese(nn.Module):
    """One branch for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head((self.branch(a) - self.branch(b)).abs())


class SharedNorm(nn.Module):
    """A batch norm that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.b(self.norm(self.a(x))))[:, :3]


def tied(report: object, names: list[str]) -> None:
    assert report.architecture.tied == [names]  # type: ignore[attr-defined]


CASES = {
    "module reused": Case(
        Reused,
        lambda: rows(4),
        parameters=25 + 30 + 18,
        flops=dense(4, 5) + 3 * dense(5, 5) + dense(5, 3),
        calls={"first": 1, "again": 3, "act": 4, "last": 1},
        rows=("first", "act", "again", "last"),
    ),
    "module reused on two widths": Case(
        ReusedShapes,
        lambda: rows(4),
        parameters=40 + 27,
        flops=dense(4, 8) + dense(8, 3),
        calls={"act": 2},
        shapes={"act": ("6 × 8", "6 × 8")},
    ),
    "module under two names": Case(
        TwoNames, lambda: rows(4), 20 + 15, 2 * dense(4, 4) + dense(4, 3), calls={"left": 2}, rows=("left", "head")
    ),
    "tied parameters": Case(
        Tied,
        lambda: [(torch.arange(12).view(6, 2) % 7, wanted(6, 7))] * 2,
        parameters=28,
        flops=dense(4, 7),
        check=lambda report: tied(report, ["embed.weight", "head.weight"]),
    ),
    "one storage, transposed": Case(
        TransposedTie,
        lambda: [(rand(6, 4), rand(6, 4))] * 2,
        parameters=12,
        flops=2 * dense(4, 3),
        loss=F.mse_loss,
        check=lambda report: tied(report, ["encoder.weight", "decoder.weight"]),
    ),
    "weight used twice by function": Case(
        FunctionalTie, lambda: [(rand(6, 4), rand(6, 4))] * 2, 15, 2 * dense(4, 3), loss=F.mse_loss
    ),
    "parameters in one flat storage": Case(
        FlatStorage, lambda: rows(4), 15, dense(4, 3), check=lambda report: _none_tied(report)
    ),
    "parameters read by the parent": Case(
        BorrowedWeights,
        lambda: rows(4),
        parameters=15,
        flops=dense(4, 3),
        calls={"holder": 0},
        rows=(),
        check=lambda report: _executed(report),
    ),
    "module that calls itself": Case(
        Recursive, lambda: rows(4), 20, 3 * dense(4, 4), calls={"": 3, "fc": 3}, facts={"batch_size": 6}
    ),
    "siamese branches": Case(
        Siamese,
        lambda: [(rand(6, 4), rand(6, 4), wanted())] * 2,
        parameters=30 + 21,
        flops=2 * dense(4, 6) + dense(6, 3),
        calls={"branch": 2, "branch.0": 2},
    ),
    "shared batch norm": Case(
        SharedNorm, lambda: rows(4), 20 + 20 + 8, 2 * dense(4, 4), calls={"norm": 2}, facts={"buffers": 9}
    ),
}


def _none_tied(report: object) -> None:
    assert report.architecture.tied == []  # type: ignore[attr-defined]


def _executed(report: object) -> None:
    assert report.activations.not_executed == []  # type: ignore[attr-defined]
