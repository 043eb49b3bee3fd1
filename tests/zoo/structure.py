"""Models by what they hold: nothing, one parameter, thousands of layers, parameters without values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .case import NO_TARGET, NOTHING_TRAINABLE, ROWS, Case, dense, rand, rows, wanted


class OneParameter(nn.Module):
    """All that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(rand(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Loose(nn.Module):
    """Parameters in a list, a dict and beside modules."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.parts = nn.ParameterList([rand(4, 4), rand(4, 3)])
        self.named = nn.ParameterDict({"shift": torch.zeros(3)})
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts[:1]:
            x = self.norm(x * self.scale) @ part
        return x @ self.parts[1] + self.named["shift"]


class NoParameters(nn.Module):
    """Modules that hold nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.act = nn.AvgPool2d(2), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.pool(x)).mean(3)[:, :, 0]


class Empty(nn.Module):
    """No modules and no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] * 2


class BuffersOnly(nn.Module):
    """A fixed projection, not trained; and a table that is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", rand(4, 3))
        self.register_buffer("table", torch.arange(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.projection + self.table


class Frozen(nn.Module):
    """A frozen body below a trained head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


class Never(nn.Module):
    """A module that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class EmptyDimension(nn.Module):
    """Parameters without elements."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing, self.fc = nn.Parameter(torch.empty(0, 4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat((x, self.nothing)))


class Oddly(nn.Module):
    """Names with spaces, brackets and signs of other alphabets."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("größe <b>", nn.Linear(4, 4))
        self.add_module("層 1", nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self._modules["層 1"](self._modules["größe <b>"](x))  # type: ignore[misc]


class ShadowedName(nn.Module):
    """Attributes that mean something else than on any other module."""

    def __init__(self) -> None:
        super().__init__()
        self.training_data, self.kind, self.weight = "none", 3, "light"
        self.original_name = "Renamed"
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class Growing(nn.Module):
    """Makes its layer in its first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.lazy, self.head = nn.LazyLinear(8), nn.LazyConv1d(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lazy(x)[:, None])[:, :, 0]


def deep() -> nn.Module:
    layers = [layer for _ in range(1000) for layer in (nn.Linear(4, 4, bias=False), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(4, 3))


def nested() -> nn.Module:
    """Sixty containers inside one another."""
    model: nn.Module = nn.Linear(4, 3)
    for _ in range(60):
        model = nn.Sequential(model)
    return model


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


META = {part: "meta" for part in ("weights", "activations", "gradients", "dataset", "evaluation")}

CASES = {
    "one parameter": Case(OneParameter, lambda: rows(4), 12, dense(4, 3), rows=("",)),
    "parameters without modules": Case(
        Loose, lambda: rows(4), 4 + 16 + 12 + 3 + 8, dense(4, 4) + dense(4, 3), rows=("norm", "")
    ),
    "modules without parameters": Case(
        NoParameters, lambda: [(rand(6, 3, 4, 4), wanted())] * 2, 0, 0, rows=("pool", "act"), absent=NOTHING_TRAINABLE
    ),
    "nothing inside": Case(Empty, lambda: rows(4), 0, 0, rows=("",), absent=NOTHING_TRAINABLE),
    "buffers only": Case(
        BuffersOnly,
        lambda: rows(4),
        0,
        dense(4, 3),
        facts={"buffers": 15, "buffer_bytes": 72},
        absent=NOTHING_TRAINABLE,
    ),
    "frozen body": Case(
        Frozen,
        lambda: rows(4),
        40 + 27,
        dense(4, 8) + dense(8, 3),
        facts={"trainable": 27, "gradient_bytes": 4 * 27},
    ),
    "never executed": Case(
        Never,
        lambda: rows(4),
        30,
        dense(4, 3),
        calls={"forgotten": 0, "forgotten.0": 0},
        unused=("forgotten.0", "forgotten.1"),
        rows=("used",),
    ),
    "parameters without elements": Case(EmptyDimension, lambda: rows(4), 15, dense(4, 3)),
    "names in other alphabets": Case(Oddly, lambda: rows(4), 20 + 15, dense(4, 4) + dense(4, 3)),
    "attributes that shadow": Case(ShadowedName, lambda: rows(4), 15, dense(4, 3)),
    "lazy parameters": Case(
        Growing,
        lambda: rows(4),
        parameters=40 + 3 * 8 + 3,
        flops=dense(4, 8) + 2 * ROWS * 3 * 8,
        rows=("lazy", "head"),
    ),
    "two thousand layers": Case(deep, lambda: rows(4), 16_000 + 15, 1000 * dense(4, 4) + dense(4, 3)),
    "sixty containers": Case(nested, lambda: rows(4), 15, dense(4, 3)),
    "on the meta device": Case(on_meta, lambda: rows(4), 67, dense(4, 8) + dense(8, 3), absent=META, silent=True),
    "noise alone": Case(deep, lambda: [rand(ROWS, 4)], 16_015, 1000 * dense(4, 4) + dense(4, 3), absent=NO_TARGET),
}
