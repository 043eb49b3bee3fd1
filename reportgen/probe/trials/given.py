"""Whether a model that is handed its own targets as an input, as decoders are, hands them on as they stand."""

from __future__ import annotations

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from .lab import UNSTEADY, Lab, NotApplicableError, Result, answer
from .sample import changed

_ONLY = "the targets are no input beside others"
_ROW = "the output has no row for each position"


def targets_given(lab: Lab) -> Result:
    """Mix up an input that holds the targets, place by place over the samples, and see whether the answers follow it.

    Only where one input is the targets as they stand, (N, T) tokens or (N, T) and (N, T, C) numbers, and another is a
    sequence of its own that differs from sample to sample. ``followed``: share of the changed places whose answer is
    the changed input, of numbers the share of the variance of that input which answers explain; ``kept``: the same of
    the targets as they were. ``ahead``: largest movement of answers before the middle, over the spread of all answers,
    where that input is changed behind it; ``behind``: of answers behind the middle, where it is changed before it.
    """
    batch = lab.samples(64, least=8)
    target = batch.target
    if not isinstance(target, Tensor) or target.dim() not in (2, 3) or target.shape[1] < 4:
        raise NotApplicableError(_ONLY)
    known = torch.ones_like(target, dtype=torch.bool) if target.is_floating_point() else target >= 0
    fed = next((t for t in tensors((batch.args, batch.kwargs)) if _is_same(t, target, known)), None)
    if fed is None or not any(_is_other(t, fed, target) for t in tensors((batch.args, batch.kwargs))):
        raise NotApplicableError(_ONLY)
    base = _answers(lab, batch, target)
    unit = float(base.std()) or 1.0
    if float((_answers(lab, batch, target) - base).abs().max()) > 1e-3 * unit:
        raise NotApplicableError(UNSTEADY)
    generator = torch.Generator().manual_seed(lab.seed)
    order = torch.stack([torch.randperm(len(fed), generator=generator) for _ in range(fed.shape[1])], 1).to(fed.device)
    mixed = fed.gather(0, order.reshape(*order.shape, *[1] * (fed.dim() - 2)).expand_as(fed))
    cut = fed.shape[1] // 2

    def moved(now: Tensor, part: slice) -> float:
        shown = _answers(lab, changed(batch, lambda t: now if t is fed else t), target)
        return float((shown - base)[:, part].abs().max()) / unit

    later = torch.cat([fed[:, :cut], mixed[:, cut:]], 1)
    earlier = torch.cat([mixed[:, :cut], fed[:, cut:]], 1)
    numbers = {"ahead": moved(later, slice(cut)), "behind": moved(earlier, slice(cut, None))}
    said = _answers(lab, changed(batch, lambda t: mixed if t is fed else t), target)
    return Result(numbers | _followed(said, mixed, fed, known) | {"length": float(fed.shape[1])})


def _is_same(tensor: Tensor, target: Tensor, known: Tensor) -> bool:
    if tensor.shape != target.shape or tensor.is_floating_point() != target.is_floating_point():
        return False
    return bool((tensor == target)[known].all()) and bool((tensor != tensor[:1]).any())


def _is_other(tensor: Tensor, fed: Tensor, target: Tensor) -> bool:
    """Tell whether an input is a sequence of its own: no mask, no places, no lengths, and not the targets."""
    if tensor is fed or tensor.dim() != target.dim() or tensor.is_floating_point() != target.is_floating_point():
        return False
    if tensor.shape[1] < 2 or int(torch.unique(tensor).numel()) < 3 or not bool((tensor != tensor[:1]).any()):
        return False
    return tensor.shape != fed.shape or bool((tensor != fed).any())


def _answers(lab: Lab, batch: Batch, target: Tensor) -> Tensor:
    """Return outputs with the shape of numbers that are asked for, or (N, T, K) scores of tokens."""
    output = answer(lab.model, batch, lab.seed)
    if target.is_floating_point():
        if output.numel() != target.numel():
            raise NotApplicableError(_ROW)
        return output.reshape(target.shape)
    if target.dim() != 2 or output.numel() % target.numel() or output.numel() == target.numel():
        raise NotApplicableError(_ROW)
    n, length = target.shape
    if output.dim() == 3 and output.shape[:2] != target.shape and (output.shape[0], output.shape[2]) == (n, length):
        return output.movedim(1, 2)
    if output.shape[:2] != target.shape and (output.dim() != 2 or len(output) != n * length):
        raise NotApplicableError(_ROW)
    return output.reshape(n, length, -1)


def _followed(said: Tensor, mixed: Tensor, fed: Tensor, known: Tensor) -> dict[str, float]:
    differs = known & (mixed != fed)
    if not bool(differs.any()):
        raise NotApplicableError("the sequences do not differ")
    if not fed.is_floating_point():
        named = said.argmax(-1)
        return {
            "followed": float((named == mixed)[differs].double().mean()),
            "kept": float((named == fed)[differs].double().mean()),
        }
    spread = float(fed.double().var(correction=0)) or 1.0
    return {
        "followed": 1 - float((said - mixed).double().square().mean()) / spread,
        "kept": 1 - float((said - fed).double().square().mean()) / spread,
    }
