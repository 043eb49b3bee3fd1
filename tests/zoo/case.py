"""What a case is made of, and what most of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 6
"""Samples in a batch."""


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def wanted(n: int = ROWS, classes: int = 3) -> Tensor:
    return torch.arange(n) % classes


def rows(*shape: int) -> list[Any]:
    """Two batches of features and classes."""
    return [(rand(ROWS, *shape), wanted()) for _ in range(2)]


def dense(n_in: int, n_out: int, n: int = ROWS) -> int:
    """FLOPs of a dense layer over a batch."""
    return 2 * n * n_in * n_out


@dataclass(frozen=True)
class Case:
    """A model, the data it reads, and what must be said of it."""

    build: Callable[[], Any]
    data: Callable[[], Iterable[Any] | None]
    parameters: int
    flops: int | None
    """Of the first batch by hand; None where it is not known."""
    loss: Callable[[Any, Any], Tensor] | None = nn.functional.cross_entropy
    calls: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Input and output of modules."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Other fields of the architecture."""
    unused: tuple[str, ...] = ()
    """Modules whose parameters nothing read, leaves that nothing called."""
    uncounted: tuple[str, ...] = ()
    """Operators without a formula."""
    absent: dict[str, str] = field(default_factory=dict)
    """Parts that are not measured, or only in part, and words of the reason; all others must be measured."""
    rows: tuple[str, ...] | None = None
    """Layers that have a row of activations, in their order; None where it is not checked."""
    remarks: dict[str, str] = field(default_factory=dict)
    """Words that the coverage adds to a part which was measured."""
    silent: bool = False
    """The second call of the model differs from the first (it draws random numbers), so outputs are not compared."""
    check: Callable[[Any], None] | None = None
    """Anything else about the report."""


NO_TARGET = {"evaluation": "no target", "gradients": "no target"}
NOTHING_TRAINABLE = {"gradients": "no parameter takes a gradient"}
