"""Models by what they return."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .case import NOTHING_TRAINABLE, Case, dense, rand, rows, wanted


class Returns(nn.Module):
    """A dense layer whose result is dressed by a function."""

    def __init__(self, dress: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.dress = dress

    def forward(self, x: Tensor) -> Any:
        return self.dress(self.fc(x))


@dataclass
class Outcome:
    """An output of the user's own class."""

    logits: Tensor
    extra: Tensor | None = None


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As transformers has it: a dataclass that is an ordered dict, read by key, attribute and index."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) is not None:
                self[field.name] = value

    def __getitem__(self, key: Any) -> Any:
        return tuple(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


@dataclass
class ClassifierOutput(ModelOutput):
    """With a loss that is only there in training."""

    loss: Tensor | None = None
    logits: Tensor | None = None


Scores = namedtuple("Scores", "logits hidden")


class Nothing(nn.Module):
    """Returns None, and works by its side effects."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> None:
        self.fc(x)


class Decides(nn.Module):
    """Returns classes, not scores."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).argmax(1)


class Changing(nn.Module):
    """Other outputs in training than in evaluation, as detectors and Inception have them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        out = self.fc(x)
        return {"scores": out} if self.training else out


def case(dress: Callable[[Tensor], Any], read: Callable[[Any], Tensor], shape: str) -> Case:
    return Case(
        lambda: Returns(dress),
        lambda: rows(4),
        parameters=15,
        flops=dense(4, 3),
        loss=lambda out, y: F.cross_entropy(read(out), y),
        shapes={"": ("6 × 4", shape)},
        rows=("fc",),
    )


CASES = {
    "tuple output": case(lambda t: (t, t.sum()), lambda out: out[0], "6 × 3, scalar"),
    "nested output": case(lambda t: [[t], {"a": (t,)}], lambda out: out[0][0], "6 × 3, 6 × 3"),
    "dict output": case(lambda t: {"logits": t, "n": 3}, lambda out: out["logits"], "6 × 3"),
    "named tuple output": case(lambda t: Scores(t, t[:, :2]), lambda out: out.logits, "6 × 3, 6 × 2"),
    "dataclass output": case(Outcome, lambda out: out.logits, "6 × 3"),
    "model output": case(lambda t: ClassifierOutput(logits=t), lambda out: out.logits, "6 × 3"),
    "many outputs": case(lambda t: [t] * 9, lambda out: out[0], "6 × 3, 6 × 3, 6 × 3, 6 × 3, … 5 more"),
    "output that is its input": Case(
        nn.Identity,
        lambda: [(rand(6, 3), wanted())] * 2,
        parameters=0,
        flops=0,
        rows=(),
        facts={"peak_bytes": 0},
        absent=NOTHING_TRAINABLE,
    ),
    "no output": Case(
        Nothing,
        lambda: rows(4),
        parameters=15,
        flops=dense(4, 3),
        shapes={"": ("6 × 4", "no tensor")},
        absent={"evaluation": "no batch", "gradients": "cross_entropy_loss()"},
    ),
    "integer output": Case(
        Decides, lambda: rows(4), 15, dense(4, 3), absent={"evaluation": "no batch", "gradients": ""}
    ),
    "other outputs in training": Case(
        Changing,
        lambda: rows(4),
        15,
        dense(4, 3),
        absent={"gradients": "in eval mode, as training mode failed: the loss raised"},
        check=lambda report: _equal(report.gradients.mode, "eval"),
    ),
}


def _equal(found: object, expected: object) -> None:
    assert found == expected
