"""Parameters that get no gradient: does anything depend on them?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Outfit, Result, output_of, taken, value_of
from .learning import answered, backward


def without_gradient(lab: Lab) -> Result:
    """Move all trainable parameters of a copy that get no gradient, far, and see whether outputs or loss change.

    ``without``: how many there are. ``depends``: 1 where any output or the loss changes at all: then the graph is
    cut between them, else what they make is used nowhere. Both passes in eval mode, from the same random numbers.
    """
    batch = lab.targeted(32)
    work = lab.fresh()
    work.model.eval()
    for p in work.model.parameters():
        p.grad = None
    _, value = answered(work, batch)
    if value.requires_grad:
        backward(value)
    left = {name: p for name, p in work.model.named_parameters() if p.requires_grad and p.grad is None}
    if not left:
        raise NotApplicableError("every trainable parameter gets a gradient")
    before, again = _seen(lab, work, batch), _seen(lab, work, batch)
    if before is None or again is None or not _are_equal(before, again):
        raise NotApplicableError("the loss is not finite, or two passes over one input differ")
    _move(left.values(), lab.seed)
    after = _seen(lab, work, batch)
    depends = after is None or not _are_equal(before, after)
    return Result({"without": float(len(left)), "depends": float(depends)}, {"names": ", ".join(sorted(left))})


def _move(parameters: Iterable[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters:
            noise = torch.randn(p.shape, generator=generator).to(p)
            p.add_(noise * (p.abs().mean() + 0.1))


def _seen(lab: Lab, work: Outfit, batch: Batch) -> tuple[list[Tensor], float] | None:
    """Return all outputs and the loss; None where they are not finite."""
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(work.model, batch)
        value = float(taken(lambda: value_of(lab.loss, output, batch.target), "the loss refuses outputs of eval mode"))
    found = list(tensors(output))
    if not math.isfinite(value) or not all(bool(t.isfinite().all()) for t in found):
        return None
    return found, value


def _are_equal(one: tuple[list[Tensor], float], other: tuple[list[Tensor], float]) -> bool:
    pairs = zip(one[0], other[0], strict=False)
    return one[1] == other[1] and len(one[0]) == len(other[0]) and all(torch.equal(a, b) for a, b in pairs)
