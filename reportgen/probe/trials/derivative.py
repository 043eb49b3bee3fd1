"""The gradient held against finite differences: is a path cut on which the loss depends on a parameter?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...subject.data import Batch, call
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Outfit, Result, taken, value_of
from .learning import backward
from .sample import doubled

_TENSORS = 8
_STEPS = (1e-4, 2.5e-5)
_SAMPLES = 8
_STABLE = 0.05
_LASTING = 0.9
_ROUNDING = 1000 * torch.finfo(torch.float64).eps  # of the loss


def gradient_check(lab: Lab) -> Result:
    """Compare the gradient of a copy in float64 with differences of its loss.

    See ``_checked``. What a forward pass makes anew (a state of zeros) comes in float64 too.
    """
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return _checked(lab)
    finally:
        torch.set_default_dtype(usual)


def _checked(lab: Lab) -> Result:
    """Check the tensors with the most elements.

    Each tensor is moved along its own gradient by 1e-4 and 2.5e-5 of its norm; where both central differences agree
    within 5 %, and no large difference from the gradient shrinks by more than a tenth from one to the other, the
    derivative counts as known; not so if what the step makes of the loss cannot be told from rounding. ``worst``:
    largest relative difference from what the backward pass says; ``off``: tensors beyond a tenth; ``checked``: tensors
    with a known derivative. A ``detach``, ``.data`` or ``no_grad`` on one of several paths leaves every parameter with
    a gradient, but not the whole of it.
    """
    batch = lab.targeted(_SAMPLES, least=1)
    work = lab.fresh()
    taken(work.model.double, "the model cannot be computed in float64")
    work.model.eval()
    batch = doubled(batch)
    loss = _loss_of(lab, work, batch)
    base = float(loss().detach())
    with torch.no_grad():
        again = float(loss())
    if not math.isfinite(base) or again != base:
        raise NotApplicableError("the loss is not finite, or two passes over one input differ")
    for p in work.model.parameters():
        p.grad = None
    with torch.enable_grad():
        value = loss()
        turned = _watched(value)
        backward(value)
    if turned:
        raise NotApplicableError("a function of the model turns gradients round on purpose")
    found = {
        name: p
        for name, p in work.model.named_parameters()
        if p.grad is not None and p.is_floating_point() and bool(p.grad.any())
    }
    largest = sorted(found, key=lambda name: -found[name].numel())[:_TENSORS]
    whole = math.sqrt(sum(float(p.grad.square().sum()) for p in found.values() if p.grad is not None))
    off: dict[str, float] = {}
    checked = 0
    for name in largest:
        lab.clock.need(4)
        known = _derivative(found[name], loss, whole, _ROUNDING * abs(base))
        if known is not None:
            checked += 1
            off |= {name: known} if known > 0.1 else {}
    if not checked:
        raise NotApplicableError("no derivative could be told by differences")
    worst = max(off, key=off.__getitem__, default="")
    numbers = {"checked": float(checked), "off": float(len(off)), "worst": off.get(worst, 0.0)}
    return Result(numbers, {"where": worst, "names": ", ".join(sorted(off, key=lambda n: -off[n])[:4])})


def _watched(value: Tensor) -> list[float]:
    """Return a list that is filled, as gradients flow, by functions written by hand that hand them on turned round.

    As a reversal layer does, between features and what is not to be told from them (Ganin and Lempitsky 2015).
    """
    found: list[float] = []

    def look(handed: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> None:
        for own in handed:
            for back in given:
                tensors = isinstance(own, Tensor) and isinstance(back, Tensor)  # or None, where none is asked for
                if not tensors or own.shape != back.shape or not bool(back.any()):
                    continue
                factor = float((own * back).sum() / back.square().sum())
                if factor < 0 and torch.allclose(own, factor * back):
                    found.append(factor)

    seen: set[Any] = set()
    open_nodes: list[Any] = [value.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            node.register_hook(look)
        open_nodes += [after for after, _ in node.next_functions]
    return found


def _derivative(parameter: nn.Parameter, loss: Callable[[], Tensor], whole: float, least: float) -> float | None:
    """Return by how much the derivative along the gradient differs from its length, relatively; None if unknown.

    ``least``: difference of the loss that can be told from rounding.
    """
    assert parameter.grad is not None
    length = float(parameter.grad.norm())
    size = float(parameter.detach().norm())
    if length < 1e-6 * whole or not size:
        return None
    along, kept = parameter.grad / length, parameter.detach().clone()
    slopes = []
    with torch.no_grad():
        for share in _STEPS:
            values = []
            for sign in (1.0, -1.0):
                parameter.copy_(kept + sign * share * size * along)
                values.append(float(loss()))
            slopes.append((values[0] - values[1]) / (2 * share * size))
        parameter.copy_(kept)
    far, near = slopes
    if 2 * _STEPS[1] * size * max(abs(near), length) < least:
        return None
    if not (math.isfinite(far) and math.isfinite(near)) or abs(far - near) > _STABLE * max(abs(far), abs(near)):
        return None
    # what a cut path lacks it lacks at every step; what curvature and kinks add shrinks with the step
    if abs(near - length) < _LASTING * abs(far - length):
        return 0.0 if abs(near - length) <= 0.1 * max(abs(near), length) else None
    return abs(near - length) / max(abs(near), length)


def _loss_of(lab: Lab, work: Outfit, batch: Batch) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        seed_generators(lab.seed)
        rule = work.loss if work.loss is not None else lab.loss
        output = taken(lambda: call(work.model, batch), "the model refuses numbers in float64")
        return taken(lambda: value_of(rule, output, batch.target), "the loss refuses numbers in float64")

    return loss
