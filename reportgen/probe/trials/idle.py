"""Parameters that get no gradient: does anything depend on them? And what trains that the model does not hold?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Outfit, Result, output_of, taken, value_of
from .learning import answered, backward, enter_strangers, leaves_of


def without_gradient(lab: Lab) -> Result:
    """Move all trainable parameters of a copy that get no gradient, far, and see whether outputs or loss change.

    ``without``: how many there are. ``depends``: 1 where any output or the loss changes at all: then the graph is
    cut between them, else what they make is used nowhere. Both passes in eval mode, from the same random numbers.
    Where no loss was given, gradients of the outputs count.
    """
    batch = lab.targeted(32) if lab.outfit.loss is not None else lab.some(32)
    work = lab.fresh()
    work.model.eval()
    reached = _reached(work, batch)
    left = {name: p for name, p in work.model.named_parameters() if p.requires_grad and id(p) not in reached}
    if not left:
        raise NotApplicableError("every trainable parameter gets a gradient")
    before, again = _seen(lab, work, batch), _seen(lab, work, batch)
    if before is None or again is None or not _are_equal(before, again):
        raise NotApplicableError("the loss is not finite, or two passes over one input differ")
    _move(left.values(), lab.seed)
    after = _seen(lab, work, batch)
    depends = after is None or not _are_equal(before, after)
    return Result({"without": float(len(left)), "depends": float(depends)}, {"names": ", ".join(sorted(left))})


def _reached(work: Outfit, batch: Batch) -> set[int]:
    """Return the ids of the parameters that a backward pass reaches."""
    if work.loss is None:
        return {id(leaf) for leaf in leaves_of(_with_graph(work, batch))}
    for p in work.model.parameters():
        p.grad = None
    _, value = answered(work, batch)
    if value.requires_grad:
        backward(value)
    return {id(p) for p in work.model.parameters() if p.grad is not None}


def _with_graph(work: Outfit, batch: Batch) -> list[Tensor]:
    with torch.enable_grad():
        return [t for t in tensors(output_of(work.model, batch)) if t.requires_grad]


def outputs_alone(lab: Lab) -> Result:
    """Walk the graph of the outputs to its leaves where no loss was given: what needs a gradient and is not held?

    ``strangers``: tensors that belong neither to ``model.parameters()`` nor to an optimizer nor to the data; in eval
    mode.
    """
    if lab.outfit.loss is not None:
        raise NotApplicableError("a loss was given, and tells more")
    batch, work = lab.some(32).fresh(), lab.fresh()  # the graph ends in these very tensors
    work.model.eval()
    numbers: dict[str, float] = {}
    detail: dict[str, str] = {}
    enter_strangers(lab, work, leaves_of(_with_graph(work, batch)), batch, numbers, detail)
    return Result(numbers, detail)


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
        value = 0.0
        if lab.outfit.loss is not None:
            told = taken(lambda: value_of(lab.loss, output, batch.target), "the loss refuses outputs of eval mode")
            value = float(told)
    found = list(tensors(output))
    if not math.isfinite(value) or not all(bool(t.isfinite().all()) for t in found):
        return None
    return found, value


def _are_equal(one: tuple[list[Tensor], float], other: tuple[list[Tensor], float]) -> bool:
    pairs = zip(one[0], other[0], strict=False)
    return one[1] == other[1] and len(one[0]) == len(other[0]) and all(torch.equal(a, b) for a, b in pairs)
