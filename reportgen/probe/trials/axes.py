"""Along which dimension of the outputs do probabilities sum to 1?"""

from __future__ import annotations

from torch import Tensor

from .lab import Lab, NotApplicableError, Result, answer


def sums_to_one(lab: Lab) -> Result:
    """Sum outputs of three dimensions or more, and their exponentials, along each dimension but that of samples.

    ``classes``: largest |sum - 1| along the dimension of the classes, which is the one that integer targets lack, of
    whichever of the two sums comes nearer to 1; ``elsewhere``: the same along the dimension, ``dim``, where it is
    least of all others. Where a softmax was taken over places in time or space, the second is rounding alone.
    """
    batch = lab.some(32)
    target = batch.target
    if not isinstance(target, Tensor) or target.is_floating_point():
        raise NotApplicableError("the targets are no classes by place")
    output = answer(lab.model, batch, lab.seed)
    classes = _of_classes(output, target)
    if classes is None:
        raise NotApplicableError("the targets are no classes by place")
    errors = {dim: _error(output, dim) for dim in range(1, output.dim()) if output.shape[dim] > 1}
    others = {dim: error for dim, error in errors.items() if dim != classes}
    if classes not in errors or not others:
        raise NotApplicableError("the targets are no classes by place")
    dim = min(others, key=others.__getitem__)
    return Result({"classes": errors[classes], "elsewhere": others[dim], "dim": float(dim)})


def _of_classes(output: Tensor, target: Tensor) -> int | None:
    """Return the dimension of the outputs that the targets lack, where there is but one that it can be."""
    shape = tuple(output.shape)
    fit = [dim for dim in range(1, len(shape)) if shape[:dim] + shape[dim + 1 :] == tuple(target.shape)]
    return fit[0] if len(fit) == 1 and len(shape) > 2 else None


def _error(output: Tensor, dim: int) -> float:
    """Return how far sums are from 1: of the exponentials, or of the numbers themselves where none is negative."""
    logs = float(output.logsumexp(dim).abs().max())
    return min(logs, float((output.sum(dim) - 1).abs().max())) if float(output.min()) >= 0 else logs
