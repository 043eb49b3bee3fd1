"""Models that keep what nobody registered, change themselves while they run, or answer to any name."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .case import NOTHING_TRAINABLE, Case, dense, rows
from .inputs import Plain


@dataclass
class Memory:
    """State in a class of the user's own."""

    seen: list[int] = field(default_factory=list)
    n: int = 0


class Keeps(Plain):
    """Keeps what it saw in every kind of attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.list: list[Any] = [[0]]
        self.table: dict[Any, Any] = {"of": {"tensors": torch.zeros(3)}}
        self.last, self.array, self.queue = deque([1], maxlen=2), np.zeros(3), {1}
        self.total, self.memory, self.space = torch.zeros(3), Memory(), SimpleNamespace(n=0)
        self.dice, self.noise = random.Random(0), torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        self.list.append(x)
        self.list[0][0] += 1
        self.table[len(self.table)] = x
        self.table["of"]["tensors"] += 1
        self.last.append(2)
        self.queue.add(len(self.list))
        self.array += 1
        self.total += 1
        self.memory.seen.append(1)
        self.memory.n += 1
        self.space.n += 1
        self.dice.random()
        torch.randn(1, generator=self.noise)
        self.made_up = 1
        return self.fc(x)


class HiddenLayers(nn.Module):
    """Layers in a plain list: no parameters of the model, and yet trained and counted by norms."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)]
        self.scale = torch.ones((), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x * self.scale


class Replaces(Plain):
    """Has a new layer and a new parameter after each pass."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.fc(x)
        self.fc, self.extra = nn.Linear(4, 3), nn.Parameter(torch.zeros(3))
        return out


class SwitchesMode(Plain):
    """Puts itself in training mode while it is evaluated."""

    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return self.fc(x)


class AnswersToAnything(Plain):
    """Every attribute exists."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return lambda *args, **kwargs: None


class NoTruth(Plain):
    """Has no length, and neither truth nor equality."""

    def __len__(self) -> int:
        raise TypeError("no length")

    def __bool__(self) -> bool:
        raise TypeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise TypeError("no equality")

    __hash__ = nn.Module.__hash__


def dotted() -> nn.Module:
    """Names with dots and markup in them, which add_module would refuse."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    names = ("a.b", "<script>alert(1)</script>", "层 & 'more'")
    parts = list(model)
    model._modules.clear()
    model._modules.update(zip(names, parts, strict=True))
    return model


ONE = {"parameters": 15, "flops": dense(4, 3)}

CASES = {
    "keeps what it saw": Case(Keeps, lambda: rows(4), **ONE),
    "layers in a plain list": Case(
        HiddenLayers, lambda: rows(4), 0, dense(4, 4) + dense(4, 3), absent=NOTHING_TRAINABLE
    ),
    "replaces its layer": Case(Replaces, lambda: rows(4), 15, None, silent=True),
    "switches its mode": Case(SwitchesMode, lambda: rows(4), **ONE),
    "answers to any name": Case(AnswersToAnything, lambda: rows(4), **ONE),
    "no truth, no length": Case(NoTruth, lambda: rows(4), **ONE),
    "names with dots": Case(dotted, lambda: rows(4), 20 + 15, dense(4, 4) + dense(4, 3)),
}
