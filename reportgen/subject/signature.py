"""What a model's forward asks for: which keywords it takes, and whether it wants the target too."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

TARGET_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Signature:
    """The arguments of one forward."""

    names: frozenset[str] | None = None
    """What it takes as keywords; None when it takes any, or cannot be asked."""
    needed: tuple[str, ...] = ()
    """What it cannot do without."""
    order: tuple[str, ...] = ()
    """What it takes by position."""
    empty: bool = False
    """It takes no arguments at all."""
    target: str | None = None
    """The argument that is a target by its name."""

    @property
    def needs_target(self) -> bool:
        """The forward cannot be called without the target."""
        return self.target in self.needed


def signature_of(model: nn.Module) -> Signature:
    """Look at a model's forward; what cannot be asked is taken to accept anything."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return Signature()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    found = {p.name for p in named}
    return Signature(
        names=None if any_name else frozenset(found),
        needed=tuple(p.name for p in named if p.default is p.empty),
        order=tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        empty=not parameters,
        # the only argument is the input, whatever it is called
        target=next((key for key in TARGET_KEYS if key in found), None) if len(parameters) > 1 else None,
    )


def loss_in(output: Any) -> Tensor | None:
    """Return the loss that a model computed itself: the output, its entry or attribute ``loss``, or its first item."""
    found: Any = output
    if isinstance(output, (tuple, list)) and not hasattr(output, "_fields"):
        found = output[0] if output else None
    elif isinstance(output, Mapping):
        found = output.get("loss")
    elif not isinstance(output, Tensor):
        found = getattr(output, "loss", None)
    # a batch of one row with one output is no loss, unless its name says so
    bare = isinstance(output, (Tensor, tuple, list))
    is_loss = isinstance(found, Tensor) and found.numel() == 1 and not (bare and found.dim())
    return found if is_loss and found.is_floating_point() else None


class OwnLoss:
    """The loss that a model returns when it is given the targets, as a loss function."""

    __name__ = "the model's own loss"

    def __call__(self, output: Any, target: Any) -> Tensor:
        """Take the loss out of an output. Raises TypeError where it holds none."""
        found = loss_in(output)
        if found is None:
            raise TypeError(f"the model's output ({type(output).__name__}) holds no loss of its own")
        return found.reshape(()) if found.dim() else found
