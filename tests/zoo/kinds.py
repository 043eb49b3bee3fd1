"""Models that something was done to: wrapped, compiled, scripted, exported, reparametrised."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from .case import Case, dense, rand, rows


class Net(nn.Module):
    """What is beneath."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def compiled(model: nn.Module) -> Any:
    """Wrap a model as ``torch.compile`` does. The generator of code is never asked, and its import takes seconds."""
    return torch.compile(model, backend="eager")


class PartlyCompiled(nn.Module):
    """One block compiled, its parent not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = compiled(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class PartlyScripted(nn.Module):
    """One block in TorchScript, its parent not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = quietly(lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.ReLU())))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Symmetric(nn.Module):
    """A parametrization of the user's own."""

    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).transpose(-1, -2)


def quietly(build: Callable[[], Any]) -> Any:
    """Build under torch's own warnings that its ways are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


def compiled_in_place() -> nn.Module:
    model = Net()
    model.compile(backend="eager")
    return model


def replicated() -> nn.Module:
    return quietly(lambda: nn.DataParallel(Net()))


def weight_norm() -> nn.Module:
    model = Net()
    parametrizations.weight_norm(model.head)
    return model


def old_weight_norm() -> nn.Module:
    model = Net()
    quietly(lambda: nn.utils.weight_norm(model.head))
    return model


def spectral_norm() -> nn.Module:
    model = Net()
    parametrizations.spectral_norm(model.head)
    return model


def symmetric() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    nn.utils.parametrize.register_parametrization(model[0], "weight", Symmetric())
    return model


def pruned() -> nn.Module:
    model = Net()
    prune.l1_unstructured(model.head, "weight", amount=0.5)
    return model


def exported() -> Any:
    return torch.export.export(Net().eval(), (rand(6, 4),), dynamic_shapes=({0: torch.export.Dim("n")},))


def frozen() -> Any:
    return quietly(lambda: torch.jit.freeze(torch.jit.script(Net().eval())))


def program_module() -> Any:
    return torch.export.export(Net().eval(), (rand(6, 4),), dynamic_shapes=({0: torch.export.Dim("n")},)).module()


NET = {"data": lambda: rows(4), "parameters": 40 + 27, "flops": dense(4, 8) + dense(8, 3)}
LAYERS = ("body.0", "body.1", "head")


def took(*names: str) -> Callable[[Any], None]:
    def check(report: Any) -> None:
        assert report.subject.wrappers == list(names)
        assert report.subject.name == "Net"

    return check


CASES = {
    "compiled": Case(lambda: compiled(Net()), **NET, rows=LAYERS, check=took("OptimizedModule")),
    "compiled in place": Case(compiled_in_place, **NET, rows=LAYERS, check=took("torch.compile")),
    "compiled in part": Case(PartlyCompiled, **NET),
    "replicated": Case(replicated, **NET, rows=LAYERS, check=took("DataParallel")),
    "replicated and compiled": Case(
        lambda: compiled(replicated()), **NET, rows=LAYERS, check=took("OptimizedModule", "DataParallel")
    ),
    "scripted": Case(
        lambda: quietly(lambda: torch.jit.script(Net())), **NET, absent={"activations": "TorchScript"}, rows=()
    ),
    "traced": Case(
        lambda: quietly(lambda: torch.jit.trace(Net().eval(), rand(6, 4))),
        **NET,
        absent={"activations": "TorchScript"},
    ),
    "scripted and frozen": Case(
        frozen,
        lambda: rows(4),
        0,
        dense(4, 8) + dense(8, 3),
        absent={"activations": "TorchScript", "gradients": "no parameter takes a gradient"},
        rows=(),
    ),
    "compiled leaf in a sequence": Case(
        lambda: nn.Sequential(compiled(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3)),
        **NET,
        rows=("0._orig_mod", "1", "2"),
    ),
    "module of a program": Case(program_module, **NET),
    "scripted in part": Case(PartlyScripted, **NET, absent={"activations": "TorchScript"}),
    "exported": Case(exported, **NET, rows=LAYERS, check=took("ExportedProgram")),
    "exported, on its own example": Case(
        exported,
        lambda: None,
        67,
        dense(4, 8) + dense(8, 3),
        absent={"dataset": "noise", "evaluation": "noise", "gradients": "noise"},
    ),
    "weight norm": Case(weight_norm, lambda: rows(4), 40 + 27 + 3, dense(4, 8) + dense(8, 3), rows=LAYERS),
    "weight norm of old": Case(old_weight_norm, lambda: rows(4), 40 + 27 + 3, dense(4, 8) + dense(8, 3)),
    "spectral norm": Case(spectral_norm, lambda: rows(4), 67, None, rows=LAYERS),
    "symmetric by parametrization": Case(
        symmetric, lambda: rows(4), 20 + 15, dense(4, 4) + dense(4, 3), rows=("0", "1")
    ),
    "pruned": Case(pruned, lambda: rows(4), 67, dense(4, 8) + dense(8, 3), rows=LAYERS, facts={"buffers": 24}),
}
