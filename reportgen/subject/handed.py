"""What a caller hands in beside the model: loss, optimizers, data and options, checked before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from ..arguments import check_loss, expect, shown
from ..errors import DataError
from ..options import Options

Loss = Callable[[Any, Any], Any]


def check_handed(loss: object, options: object, **data: object) -> None:
    """Refuse arguments of another kind. Raises OptionError, or DataError for data that cannot be iterated."""
    check_loss(loss)
    expect("options", options, options is None or isinstance(options, Options), "reportgen.Options(...)")
    for name, given in data.items():
        if given is not None and not isinstance(given, (Iterable, Dataset)) and not hasattr(given, "__getitem__"):
            raise DataError(
                f"{name} is {shown(given)}, which cannot be iterated.",
                hint="Expected a DataLoader or another iterable of batches.",
            )


def optimizers_in(optimizer: Optimizer | Sequence[Optimizer] | None) -> tuple[Optimizer, ...]:
    """Return the optimizers, each out of what may be wrapped around it. Raises OptionError for anything else."""
    given: Any = optimizer if isinstance(optimizer, (list, tuple)) else [] if optimizer is None else [optimizer]
    given = list(optimizer.values()) if isinstance(optimizer, Mapping) else given
    found: list[Optimizer] = []
    for one in given:
        within = stepped_by(one)
        expect("optimizer", one, bool(within), "a torch.optim.Optimizer, or several in a list")
        found += within
    return tuple(found)


def stepped_by(given: Any) -> list[Optimizer]:
    """Return the optimizers that make the steps of what was given: itself, or those that it holds, or none.

    Accelerate, Lightning and others wrap one. A class that steps several need not be an optimizer; one that is, but was
    made without its base class, has no place for hooks.
    """
    while isinstance(getattr(given, "optimizer", None), Optimizer):
        given = given.optimizer
    if isinstance(given, Optimizer) and hasattr(given, "_optimizer_step_post_hooks"):
        return [given]
    held: list[Any] = []
    for value in vars(given).values() if hasattr(given, "__dict__") else ():
        held += value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else [value]
    return [one for one in held if isinstance(one, Optimizer) and hasattr(one, "_optimizer_step_post_hooks")]


def owned_by(optimizers: tuple[Optimizer, ...]) -> set[int] | None:
    """Return the ids of the parameters that the optimizers hold; None without an optimizer."""
    if not optimizers:
        return None
    return {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}


def name_of(loss: Loss) -> str:
    """Return the name of a loss: its class, or that of the function."""
    return type(loss).__name__ if isinstance(loss, nn.Module) else getattr(loss, "__name__", type(loss).__name__)
