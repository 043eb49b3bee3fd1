"""The same pass in single and in double precision: what rounding alone makes of the outputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...subject.data import Batch
from ..layers import main_tensor
from ..seeding import seed_generators
from .drawn import draw_all
from .lab import Lab, NotApplicableError, Outfit, Result, output_of, taken, value_of
from .sample import doubled

_VARIES = 1e-3  # of the outputs' size


class _Pass(NamedTuple):
    rows: Tensor
    """Outputs in float64: (samples, values)."""
    loss: float | None
    gradient: bool | None
    """Whether the gradient of the loss is finite; None where there is none."""


def in_double(lab: Lab) -> Result:
    """Run one batch in float32 and in float64, from the same weights in eval mode, and hold the two together.

    ``lost``: samples whose float32 outputs are not finite where those in float64 are; ``difference``: median over the
    other samples of the distance between the two, over the spread of the outputs, where they vary. ``loss_lost`` and
    ``gradient_lost``: 1 where the loss, or its gradient, is finite in float64 alone. Weights that are not finite are
    drawn anew.
    """
    floats = [p for p in lab.model.parameters() if p.is_floating_point()]
    if not floats or any(p.dtype != torch.float32 for p in floats):
        raise NotApplicableError("the parameters are not in float32 throughout")
    batch = lab.samples(32, least=2)
    anew = not all(bool(p.isfinite().all()) for p in floats)
    single = _passed(lab, batch, anew, double=False)
    exact = _passed(lab, doubled(batch), anew, double=True)
    if single.rows.shape != exact.rows.shape:
        raise NotApplicableError("the outputs have another shape in double precision")
    fine = exact.rows.isfinite().all(1)
    both = fine & single.rows.isfinite().all(1)
    if not bool(fine.any()):
        raise NotApplicableError("the outputs are not finite in double precision either")
    numbers = {"samples": float(fine.sum()), "lost": float((fine & ~both).sum()), "anew": float(anew)}
    unit = float((exact.rows[fine] - exact.rows[fine].mean(0)).square().mean().sqrt())
    # of outputs that hardly vary rounding is a large part of what there is, and no fault
    if bool(both.any()) and unit > _VARIES * float(exact.rows[fine].square().mean().sqrt()):
        apart = (single.rows[both] - exact.rows[both]).square().mean(1).sqrt()
        numbers["difference"] = float(apart.median()) / unit
    if single.loss is not None and exact.loss is not None and math.isfinite(exact.loss):
        numbers["loss_lost"] = float(not math.isfinite(single.loss))
    if exact.gradient and single.gradient is not None:
        numbers["gradient_lost"] = float(not single.gradient)
    return Result(numbers)


def _passed(lab: Lab, batch: Batch, anew: bool, *, double: bool) -> _Pass:
    work = lab.fresh()
    if anew:
        draw_all(work.model, lab.seed)
    if double:
        taken(work.model.double, "the model does not go into double precision")
        if isinstance(work.loss, nn.Module):
            work.loss.double()
    work.model.eval()
    seed_generators(lab.seed)
    with torch.enable_grad():
        output = output_of(work.model, batch)
        tensor = main_tensor(output)
        if tensor is None or tensor.is_complex() or tensor.shape[:1] != (batch.n_samples,) or not tensor.numel():
            raise NotApplicableError("the output has no row for each sample")
        rows = tensor.detach().double().reshape(batch.n_samples, -1)
        loss, gradient = _differentiated(work, output, batch)
    return _Pass(rows, loss, gradient)


def _differentiated(work: Outfit, output: object, batch: Batch) -> tuple[float | None, bool | None]:
    """Return the loss and whether its gradient is finite; None for what cannot be had."""
    if work.loss is None or batch.target is None:
        return None, None
    weights = [p for p in work.model.parameters() if p.requires_grad]
    try:
        value = value_of(work.loss, output, batch.target)
        if not value.requires_grad or not weights:
            return float(value.detach()), None
        gradients = torch.autograd.grad(value, weights, allow_unused=True)
    except Exception:  # a loss that refuses double precision; the outputs are compared all the same
        return None, None
    found = [g for g in gradients if g is not None and g.layout == torch.strided]
    return float(value.detach()), all(bool(g.isfinite().all()) for g in found) if found else None
