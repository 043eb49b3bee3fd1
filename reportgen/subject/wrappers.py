"""Taking off what stands between a caller and the modules of a model: compilers, replicators, export formats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import OptionError, one_line

ExportedProgram = torch.export.ExportedProgram


def underneath(model: nn.Module | ExportedProgram) -> tuple[nn.Module, list[str]]:
    """Return the module whose layers a reader knows, and the names of what was taken off it.

    Replicators would copy a model, hooks and all, or wait for other processes; a compiled module has no layers left
    that a hook could watch. What lies beneath computes the same. An exported program becomes modules again, under the
    names that they had (a copy: the program itself is not touched).
    """
    if isinstance(model, ExportedProgram):
        try:
            return _copyable(torch.export.unflatten(model)), ["ExportedProgram"]
        except Exception as error:
            raise OptionError(
                f"The exported program cannot be turned into modules: {one_line(error)}.",
                hint="Export it anew with this version of torch, or examine the model it was made from.",
            ) from error
    if not hasattr(model, "_modules"):
        raise OptionError(
            f"The {type(model).__name__} was never initialised as a module.",
            hint="Call super().__init__() first in its __init__.",
        )
    taken = []
    while (inner := _inner(model)) is not None:
        taken.append(type(model).__name__)
        model = inner
    if any(_is_compiled(module) for module in model.modules()):
        taken.append("torch.compile")
    return model, taken


def _copyable(module: nn.Module) -> nn.Module:
    """Drop the stand-ins for tensors that tracing left in the graphs: nothing runs on them, and they refuse copying."""
    for inner in module.modules():
        graph = vars(inner).get("graph")
        for node in getattr(graph, "nodes", ()):
            for key in ("val", "example_value", "tensor_meta"):
                node.meta.pop(key, None)
    return module


def _inner(model: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps; None for a model that is none."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner: nn.Module = model.module
        return inner
    return _compiled_module(model)


def _compiled_module(module: nn.Module) -> nn.Module | None:
    dynamo: Any = sys.modules.get("torch._dynamo.eval_frame")  # without it nothing was compiled
    inner = module._orig_mod if dynamo is not None and isinstance(module, dynamo.OptimizedModule) else None
    return inner if isinstance(inner, nn.Module) else None


def _is_compiled(module: nn.Module) -> bool:
    return _compiled_module(module) is not None or getattr(module, "_compiled_call_impl", None) is not None


@contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled modules and functions inside a model as the Python they were written in."""
    # the stance is of the compiler, which nobody needs to load when nothing was compiled
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        yield
