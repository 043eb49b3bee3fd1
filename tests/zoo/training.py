"""Models that behave in training in another way, or draw random numbers, or keep state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .case import Case, dense, rows


class Checkpointed(nn.Module):
    """Recomputes its body in the backward pass: done once for all that counts."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, self.stem(x), use_reentrant=self.reentrant))


class TrainingOnly(nn.Module):
    """An auxiliary head that only training calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.auxiliary = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.body(x))
        out = self.head(x)
        return out + 0.1 * self.auxiliary(x) if self.training else out


class Regularised(nn.Module):
    """Dropout and batch norm: nothing of a report's passes may stay in them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.drop, self.b = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.drop(torch.relu(self.norm(self.a(x)))))


class Noisy(nn.Module):
    """Random in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + torch.randn_like(x))


class Counting(nn.Module):
    """Counts its calls in a buffer and in a number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.n = nn.Linear(4, 3), 0
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        self.calls += 1
        return self.fc(x)


class Detached(nn.Module):
    """No gradient passes its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).detach())


class NoGrad(nn.Module):
    """Runs without gradients by decree."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class DataDependent(nn.Module):
    """Another path for another batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.n = nn.Linear(4, 3), nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.a(x) if self.n % 2 else self.b(x)


class Hooked(nn.Module):
    """Brings hooks of its own, one of which changes what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.a.register_forward_hook(lambda module, args, out: out * 2)
        self.b.register_forward_pre_hook(lambda module, args: (args[0] + 1,))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


def norms_frozen() -> nn.Module:
    """Batch norms in evaluation mode inside a model in training mode."""
    model = Regularised().train()
    model.norm.eval()
    return model


def _only_in_training(report: Any) -> None:
    assert report.activations.not_executed == []
    assert report.activations.training_only == ["auxiliary"]


STEMMED = 20 + 40 + 27
WORK = dense(4, 4) + dense(4, 8) + dense(8, 3)
TWO = dense(4, 8) + dense(8, 3)
CALLED_ONCE = {"stem": 1, "body": 1, "body.0": 1, "head": 1}

CASES = {
    "checkpointed": Case(lambda: Checkpointed(reentrant=False), lambda: rows(4), STEMMED, WORK, calls=CALLED_ONCE),
    "checkpointed by re-entry": Case(
        lambda: Checkpointed(reentrant=True), lambda: rows(4), STEMMED, WORK, calls=CALLED_ONCE
    ),
    "executed in training only": Case(
        TrainingOnly,
        lambda: rows(4),
        40 + 27 + 27,
        TWO,
        calls={"auxiliary": 0},
        unused=("auxiliary",),
        check=_only_in_training,
    ),
    "dropout and batch norm": Case(
        Regularised, lambda: rows(4), 40 + 16 + 27, TWO, rows=("a", "norm", "b (input)", "b"), facts={"buffers": 17}
    ),
    "batch norm frozen by hand": Case(norms_frozen, lambda: rows(4), 40 + 16 + 27, TWO),
    "random in evaluation": Case(Noisy, lambda: rows(4), 15, dense(4, 3), silent=True),
    "counts its calls": Case(Counting, lambda: rows(4), 15, dense(4, 3), facts={"buffers": 1}),
    "no gradient past the middle": Case(Detached, lambda: rows(4), 67, TWO),
    "no gradient by decree": Case(NoGrad, lambda: rows(4), 15, dense(4, 3)),
    "another path for another batch": Case(
        DataDependent, lambda: rows(4), 30, dense(4, 3), unused=("b",), rows=("b", "a"), silent=True
    ),
    "hooks of its own": Case(Hooked, lambda: rows(4), 67, TWO, rows=("a", "b")),
}
