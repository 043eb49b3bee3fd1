"""Weights drawn anew: a copy as it is before it has learned anything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..seeding import seed_generators
from .lab import NotApplicableError


def draw_all(model: nn.Module, seed: int) -> None:
    """Draw all weights of a copy anew. Raises NotApplicableError where a module holds some and cannot draw them.

    Finite buffers of a module that has no parameters beside them (masks, codes of places, the edges of a graph) stay.
    """
    seed_generators(seed)
    for module in model.modules():
        if not module._parameters and not module._buffers:
            continue
        draw = _drawing(module)
        if draw is not None:
            draw()
        elif module._parameters or not all(bool(b.isfinite().all()) for b in module._buffers.values() if b is not None):
            raise NotApplicableError(f"{type(module).__name__} cannot be initialised anew")


def draw_trainable(model: nn.Module, seed: int) -> None:
    """Draw the trainable weights of a copy anew; what its modules cannot draw gets the mean and spread that it has.

    Frozen parameters, and the statistics of modules all of whose parameters are frozen, stay as they are.
    """
    seed_generators(seed)
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if not own or not all(p.requires_grad for p in own):
            continue
        draw = _drawing(module)
        if draw is not None:
            draw()
            continue
        with torch.no_grad():
            for p in own:
                if p.dim() > 1 and p.is_floating_point():
                    p.copy_(torch.randn_like(p) * p.std() + p.mean())


def _drawing(module: nn.Module) -> Callable[[], None] | None:
    """Return what draws a module's own weights; the private name is that of multi-head attention and its like."""
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
