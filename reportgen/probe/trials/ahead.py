"""How far ahead lies what a model of sequences is asked for: in the data, and by the loss once more."""

from __future__ import annotations

import torch
from torch import Tensor

from ...subject.data import tensors
from .lab import Lab, NotApplicableError, Result, answer, value_of

_AHEAD = 4  # elements


def targets_ahead(lab: Lab) -> Result:
    """Count by how many elements the data move the targets of a sequence of tokens, and by how many the loss does.

    ``data``: the smallest step by which all targets are later elements of the input, 0 where they are the input itself.
    ``loss``: the target at one place is changed, and the output whose derivative of the loss changes lies so many
    places before it. Targets of whole numbers, (N, T), and outputs (N, T, K).
    """
    batch = lab.samples(16, least=2, training=True)
    target = batch.target
    if not isinstance(target, Tensor) or target.dim() != 2 or target.is_floating_point():
        raise NotApplicableError("the targets are no tokens, one for each place")
    found = [step for t in tensors((batch.args, batch.kwargs)) if (step := _step(t, target)) is not None]
    if not found:
        raise NotApplicableError("the targets are not the input, as it is or moved")
    output = answer(lab.model, batch, lab.seed)
    length = target.shape[1]
    if output.dim() != 3 or output.shape[:2] != target.shape:
        raise NotApplicableError("the output has no row for each position")
    place = length // 2
    other = target.clone()
    other[:, place] = torch.where(target[:, place] >= 0, (target[:, place] + 1) % output.shape[2], target[:, place])
    moved = (_pull(lab, output, other) - _pull(lab, output, target)).abs().amax((0, 2)).nonzero().flatten().tolist()
    if len(moved) != 1:
        raise NotApplicableError("the loss asks for no token at one place of the output")
    return Result({"data": float(min(found)), "loss": float(place - moved[0]), "length": float(length)})


def _step(tensor: Tensor, target: Tensor) -> int | None:
    """Return by how many elements the targets lie ahead of a sequence; None where they are no part of it."""
    if tensor.shape != target.shape or tensor.is_floating_point() or bool((tensor[:, 1:] == tensor[:, :-1]).all()):
        return None
    length = target.shape[1]
    for step in range(_AHEAD + 1):
        if length < 3 * step + 2:
            break
        ahead, wanted = tensor[:, step:], target[:, : length - step]
        told = wanted >= 0
        if bool(told.any()) and bool((ahead == wanted)[told].all()):
            return step
    return None


def _pull(lab: Lab, output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of the loss by the outputs."""
    with torch.enable_grad():
        leaf = output.clone().requires_grad_(True)
        try:
            (pull,) = torch.autograd.grad(value_of(lab.loss, leaf, target), leaf)
        except NotApplicableError:
            raise
        except Exception as error:  # the caller's code
            raise NotApplicableError("the loss refuses made-up outputs") from error
    return pull
