"""What the loss makes of a label of 0, and of targets that it takes for weights: outputs are made up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...subject.data import Batch
from ..seeding import seed_generators
from .lab import Lab, Loss, NotApplicableError, Result, output_of, value_of
from .sample import is_by_sample

_SCALES = (0.1, 1.0, 5.0)  # of the outputs: a margin is of any size
_MOST = 1 << 12  # values of one sample's target
_EXACT = 1e-6


def zero_as_label(lab: Lab) -> Result:
    """Hand the loss made-up outputs with every target 0, then 1, then -1, and see where it pulls them.

    Only where all targets are 0 or 1, and both occur. ``flat``: 1 where the derivative by the outputs is zero
    throughout with targets of 0; ``both``: 1 where it is that of 1 and that of -1 put together. ``apart``: share of the
    samples whose outputs are pulled in opposite directions by 1 and -1; ``along``: in the same; ``turned``: cosine
    between what 1 and -1 pull at all samples together. ``bent``: how far the derivative is from a straight line in the
    target, as that of a loss is which a target weighs or switches off.
    """
    batch = lab.targeted(64, least=16)
    target = batch.target
    if not isinstance(target, Tensor) or target.is_complex() or target.dtype == torch.bool:
        raise NotApplicableError("the targets are not all 0 or 1")
    ones = target == 1
    if not bool((ones | (target == 0)).all()) or not 0 < int(ones.sum()) < target.numel():
        raise NotApplicableError("the targets are not all 0 or 1")
    if not is_by_sample(batch) or target[0].numel() > _MOST:
        raise NotApplicableError("the targets have no row for each sample")
    if target[0].numel() > 1 and bool((ones.flatten(1).sum(1) == 1).all()):
        raise NotApplicableError("the targets name one class each")
    seed_generators(lab.seed)
    with torch.no_grad():
        said = output_of(lab.model, batch)
    made = {scale: _made_up(said, scale) for scale in _SCALES}
    pulls = {scale: [_pull(lab.loss, outputs, target, to) for to in (0, 1, -1)] for scale, outputs in made.items()}
    unit = max(float(pull.abs().max()) for three in pulls.values() for pull in three)
    if not unit > 0 or unit == float("inf"):
        raise NotApplicableError("the loss of made-up outputs has no finite derivative")
    sums = [torch.stack([three[k].sum(0) for three in pulls.values()]).flatten() for k in (1, 2)]
    dots = torch.cat([(one * less).sum(1) / unit**2 for _, one, less in pulls.values()])
    return Result(
        {
            "flat": float(all(float(nil.abs().max()) <= _EXACT * unit for nil, _, _ in pulls.values())),
            "both": float(all(float((n - o - m).abs().max()) <= _EXACT * unit for n, o, m in pulls.values())),
            "bent": max(float((o + m - 2 * n).abs().max()) for n, o, m in pulls.values()) / unit,
            "apart": float((dots < -_EXACT).double().mean()),
            "along": float((dots > _EXACT).double().mean()),
            "turned": float(torch.nn.functional.cosine_similarity(sums[0], sums[1], 0)),
            "zeros": float((~ones).double().mean()),
            "samples": float(batch.n_samples),
        }
    )


def _made_up(said: Any, scale: float) -> list[Tensor] | Tensor:
    """Return random outputs in the shape of the model's, positive where all of its own are.

    Of several of one shape, the even rows lie close together: what compares two of them meets near ones and far ones.
    """
    told = [said] if isinstance(said, Tensor) else list(said) if type(said) in (tuple, list) else []
    if not told or not all(isinstance(t, Tensor) and t.is_floating_point() and t.dim() for t in told):
        raise NotApplicableError("the outputs are no floating-point tensors")
    near = torch.randn_like(told[0])
    made = []
    for own in told:
        new = torch.randn_like(own)
        if own.shape == near.shape:
            new[::2] = near[::2] + 0.3 * new[::2]
        made.append((new.abs() if bool((own >= 0).all()) else new) * scale)
    return made[0] if isinstance(said, Tensor) else made


def _pull(loss: Loss, said: list[Tensor] | Tensor, target: Tensor, to: int) -> Tensor:
    """Return the derivative of the loss by the outputs, a row a sample, where every target is ``to``."""
    with torch.enable_grad():
        leaves = [t.detach().clone().requires_grad_(True) for t in ([said] if isinstance(said, Tensor) else said)]
        try:
            made = leaves[0] if isinstance(said, Tensor) else type(said)(leaves)
            value = value_of(loss, made, torch.full_like(target, to))
            found = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else []
        except NotApplicableError:
            raise
        except Exception as error:  # the caller's code
            raise NotApplicableError("the loss refuses made-up outputs") from error
    rows = [g.detach().double().reshape(len(g), -1) for g in found if g is not None]
    return torch.cat(rows, 1) if rows else torch.zeros(len(target), 1, dtype=torch.float64)


def inputs_as_weights(lab: Lab) -> Result:
    """Ask a loss whose targets are the inputs themselves whether it takes them for weights of classes.

    Only where targets are the inputs, and outputs have as many numbers. ``doubled``: the loss with targets twice as
    large over the loss; ``shifted``: with 1 added to all outputs, over the loss. A cross-entropy gives 2 and 1: it
    is a sum of log-probabilities weighted by the targets. ``low``, ``high``: the least and the largest sum of a
    sample's targets; ``present``: share of the targets that are not zero; ``fractions``: of these, that are no whole
    numbers.
    """
    batch = lab.targeted(64, least=8)
    output, target = _reconstruction(lab, batch)
    loss = _told(lab.loss, output, target)
    if loss == 0:
        raise NotApplicableError("the loss of these outputs is zero")
    rows = target.double().flatten(1)
    there = rows[rows != 0]
    return Result(
        {
            "doubled": _told(lab.loss, output, 2 * target) / loss,
            "shifted": _told(lab.loss, output + 1, target) / loss,
            "low": float(rows.sum(1).min()),
            "high": float(rows.sum(1).max()),
            "present": float((rows != 0).double().mean()),
            "fractions": float((there != there.round()).double().mean()) if there.numel() else 0.0,
        }
    )


def _reconstruction(lab: Lab, batch: Batch) -> tuple[Tensor, Tensor]:
    target = batch.target
    first = batch.first
    if not isinstance(target, Tensor) or not target.is_floating_point() or not isinstance(first, Tensor):
        raise NotApplicableError("the targets are not the inputs")
    if target.numel() != first.numel() or not bool((target.reshape(-1) == first.reshape(-1)).all()):
        raise NotApplicableError("the targets are not the inputs")
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.numel() != target.numel():
        raise NotApplicableError("outputs and targets are not of one size")
    return output.detach(), target.detach()


def _told(loss: Loss, output: Tensor, target: Tensor) -> float:
    with torch.no_grad():
        try:
            value = float(value_of(loss, output, target))
        except NotApplicableError:
            raise
        except Exception as error:  # the caller's code
            raise NotApplicableError("the loss refuses made-up outputs") from error
    if value != value or abs(value) == float("inf"):
        raise NotApplicableError("the loss of made-up outputs is not finite")
    return value
