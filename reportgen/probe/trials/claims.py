"""What the loss asks of numbers and of shares, told without the model: outputs and targets are made up."""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from torch import Tensor

from ...subject.data import Batch
from .lab import Lab, NotApplicableError, Result, output_of, taken, value_of

_SIGMAS = (10.0, 100.0)
_FACTORS = [f for c in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0) for f in (c, 1 / c)]
_COLUMNS = 8
_POWERS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def far_targets(lab: Lab) -> Result:
    """Move all targets away from the outputs, up and down, by 10 and by 100 units.

    A unit is their standard deviation, or the largest output where that is more; whole numbers are moved by whole ones.
    ``base``: loss with the targets as they are; ``up_10``, ``up_100``, ``down_10``, ``down_100`` where it is finite.
    What is far off is wrong by any measure of distance, and unlikely by any distribution. Only for targets that are
    numbers of three values at least. Of several columns one may be a weight or a reward: see ``_weighed``.
    """
    output, batch, target = _asked(lab)
    if int(torch.unique(target).numel()) < 3:
        raise NotApplicableError("the targets are no numbers of three values or more")
    unit = max(float(target.double().std()), float(output.double().abs().max()), 1e-6)
    if bool((target == target.round()).all()):
        unit = math.ceil(unit)
    numbers = {"base": _told(lab, output, batch, target)}
    if not math.isfinite(numbers["base"]):
        raise NotApplicableError("the loss of made-up outputs is not finite")
    for name, sign in (("up", 1.0), ("down", -1.0)):
        for times in _SIGMAS:
            value = _told(lab, output, batch, target + sign * times * unit)
            if math.isfinite(value):
                numbers[f"{name}_{times:.0f}"] = value
    if target.dim() == 2 and 2 <= target.shape[1] <= _COLUMNS:
        with suppress(NotApplicableError):
            numbers |= _weighed(lab, output, batch, target)
    return Result(numbers)


def _weighed(lab: Lab, output: Tensor, batch: Batch, target: Tensor) -> dict[str, float]:
    """Return by how much the loss of a sample goes with the column of targets that it is a straight line in.

    ``slope_low`` and ``slope_high`` over samples, of the steepest such column, and ``slope_low_10`` where outputs are
    ten times as large. A policy's loss -log p(action) x reward has slopes of 0 and more, without bound; weighted by its
    probability they are bounded.
    """

    def slopes(said: Tensor, wanted: Tensor) -> Tensor:
        asked = wanted.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = value_of(lab.loss, said, asked)
            (found,) = torch.autograd.grad(value, asked, allow_unused=True) if value.requires_grad else (None,)
        return torch.zeros_like(wanted) if found is None else found

    def measured(said: Tensor, wanted: Tensor) -> Tensor:
        return taken(lambda: slopes(said, wanted), "the loss refuses targets that are followed")

    half = len(target) // 2
    whole, of_half = measured(output, target), measured(output[:half], target[:half])
    found: dict[str, float] = {}
    for k in range(target.shape[1]):
        doubled = target.clone()
        doubled[:, k] *= 2
        size = float(whole[:, k].abs().max())
        if not 0 < size < math.inf or float((measured(output, doubled)[:, k] - whole[:, k]).abs().max()) > 1e-4 * size:
            continue
        # a mean over the samples gives each of them a share, a sum does not
        share = float(of_half[:, k].abs().sum() / whole[:half, k].abs().sum().clamp_min(1e-30))
        times = len(target) if share > 1.5 else 1
        low, high = float(whole[:, k].min()) * times, float(whole[:, k].max()) * times
        if max(-low, high) > max(-found.get("slope_low", 0.0), found.get("slope_high", 0.0)):
            larger = float(measured(10 * output, target)[:, k].min()) * times
            found = {"slope_low": low, "slope_high": high, "slope_low_10": larger}
    return found


def shares(lab: Lab) -> Result:
    """Hand the loss the targets themselves, their logarithms, and sharper ones, where targets are shares that sum to 1.

    ``logs_p``: loss of log(t^p / sum t^p), ``shares_p`` of t^p / sum t^p, for powers p of 0.5 to 32; 1 is the right
    answer. A proper loss is lowest there in the form that it takes; one with a temperature at some power in between.
    ``sums``: largest distance of a row of outputs from a sum of 1, 9 where one is negative; ``log_sums``: of their
    logsumexp from 0. ``softened``: derivative of the loss by the outputs where these are the targets times one number
    (the best of 1/20 to 20), over that where all are 0; ``met``: where they are the logarithms of the targets. A loss
    that takes a softmax of the targets, at any temperature, is at rest at the first.
    """
    output, batch, target = _asked(lab)
    if output.dim() < 2 or output.shape != target.shape or output.shape[1] < 2:
        raise NotApplicableError("outputs and targets are no rows of shares")
    wanted = target.double()
    if float(wanted.min()) <= 0 or float((wanted.sum(1) - 1).abs().max()) > 1e-4:
        raise NotApplicableError("outputs and targets are no rows of shares")
    numbers: dict[str, float] = {}
    for power in _POWERS:
        logs = (power * wanted.log()).log_softmax(1)
        for name, said in (("logs", logs), ("shares", logs.exp())):
            value = _told(lab, said.to(output), batch, target)
            if math.isfinite(value):
                numbers[f"{name}_{power:g}"] = value
    with suppress(NotApplicableError):
        still = _pull(lab, torch.zeros_like(output), batch)
        if still > 0:
            numbers["softened"] = min(_pull(lab, (wanted * c).to(output), batch) for c in _FACTORS) / still
            numbers["met"] = _pull(lab, wanted.log().to(output), batch) / still
    told = output.double()
    numbers["sums"] = float((told.sum(1) - 1).abs().max()) if float(told.min()) >= 0 else 9.0
    numbers["log_sums"] = float(told.logsumexp(1).abs().max())
    return Result(numbers)


def _asked(lab: Lab) -> tuple[Tensor, Batch, Tensor]:
    batch = lab.targeted(64, least=8)
    torch.manual_seed(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    target = batch.target
    if not isinstance(output, Tensor) or not isinstance(target, Tensor) or output.is_complex() or output.is_nested:
        raise NotApplicableError("outputs or targets are no single tensor")
    if not target.is_floating_point() or not output.is_floating_point() or len(output) != len(target):
        raise NotApplicableError("the targets are no numbers, one row a sample")
    if not bool(torch.isfinite(output).all()) or not bool(torch.isfinite(target).all()):
        raise NotApplicableError("the outputs are not all finite")
    return output.detach(), batch, target


def _pull(lab: Lab, output: Tensor, batch: Batch) -> float:
    """Return the size of the derivative of the loss by the outputs."""
    with torch.enable_grad():
        leaf = output.clone().requires_grad_(True)
        try:
            (pull,) = torch.autograd.grad(value_of(lab.loss, leaf, batch.target), leaf)
        except Exception as error:  # the caller's code
            raise NotApplicableError("the loss refuses made-up outputs") from error
    size = float(pull.double().norm())
    if not math.isfinite(size):
        raise NotApplicableError("the loss of made-up outputs is not finite")
    return size


def _told(lab: Lab, output: Tensor, batch: Batch, target: Tensor) -> float:
    """Return the loss; not a number where it refuses: a distribution checks its domain."""
    with torch.no_grad():
        try:
            value = lab.loss(output, target.to(batch.target) if isinstance(batch.target, Tensor) else target)
        except NotApplicableError:
            raise
        except Exception:  # the caller's code
            return math.nan
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex() else math.nan
