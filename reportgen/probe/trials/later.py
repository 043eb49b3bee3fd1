"""Change the later half of a sequence: in a model that predicts what comes next, earlier outputs must not move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from .lab import UNSTEADY, Lab, NotApplicableError, Result, answer, value_of
from .sample import changed

_AHEAD = 4  # elements that a target may lie ahead
_CHANNELS = 64
_SHORTEST = 4


class _Series(NamedTuple):
    """An input whose later elements are the targets of earlier positions."""

    tensor: Tensor
    dim: int
    """Of time."""
    channel: tuple[int, int] | None = None
    """Dimension and place of the one channel that is asked for, where it is one of several."""


def later_tokens(lab: Lab) -> Result:
    """Change the later half of a sequence in a model that predicts later elements: earlier outputs must not move.

    Made only where targets are the input moved up to four elements along time, so that the future is the answer: tokens
    as numbers or one-hot, series (N, T), (N, T, C), (N, C, T) or time first, all of their channels or one; or the input
    itself under a loss that leaves out the answer to the last token, because it moves the targets itself. ``change``:
    largest movement of an earlier output over the spread of all outputs.
    """
    batch = lab.samples(16, least=2)
    series = _found(lab, batch)
    place, dim = series.tensor, series.dim
    n = batch.n_samples
    base = answer(lab.model, batch, lab.seed)
    length = place.shape[dim]
    by_time = _by_time(base, place, dim)
    unit = float(base.std()) or 1.0
    if float((answer(lab.model, batch, lab.seed) - base).abs().max()) > 1e-3 * unit:
        raise NotApplicableError(UNSTEADY)
    cut = length // 2
    donor = place.roll(1, 0) if n > 1 and dim else place.flip(dim)
    future = torch.cat([place.narrow(dim, 0, cut), donor.narrow(dim, cut, length - cut)], dim)
    if series.channel is not None:  # other channels may be known ahead: the day of the week
        along, k = series.channel
        future = place.index_copy(
            along, torch.tensor([k], device=place.device), future.narrow(along, k, 1).to(place.dtype)
        )
    if torch.equal(future, place):
        raise NotApplicableError("the sequences do not differ")
    altered = changed(batch, lambda t: future if t is place else t)
    moved = (_by_time(answer(lab.model, altered, lab.seed), place, dim) - by_time).abs()
    return Result(
        {
            "change": float(moved[:cut].max()) / unit,
            "later_change": float(moved[cut:].max()) / unit,
            "length": float(length),
            "cut": float(cut),
        }
    )


def both_ways(lab: Lab) -> Result:
    """Change either half of sequences of tokens, whatever the targets are: see which answers in the other one move.

    ``ahead``: largest movement of an output in the first half when the second changes, ``behind``: the other way round,
    both over the spread of all outputs.
    """
    batch = lab.samples(16, least=2)
    found = [t for t in tensors((batch.args, batch.kwargs)) if t.dim() == 2 and not t.is_floating_point()]
    place = found[0] if len(found) == 1 and found[0].dtype != torch.bool else None
    if place is None or place.shape[1] < _SHORTEST:
        raise NotApplicableError("the input is no sequence of tokens")
    base = answer(lab.model, batch, lab.seed)
    by_time = _by_time(base, place, 1)
    unit = float(base.std()) or 1.0
    if float((answer(lab.model, batch, lab.seed) - base).abs().max()) > 1e-3 * unit:
        raise NotApplicableError(UNSTEADY)
    cut, donor = place.shape[1] // 2, place.roll(1, 0)
    if torch.equal(donor[:, :cut], place[:, :cut]) or torch.equal(donor[:, cut:], place[:, cut:]):
        raise NotApplicableError("the sequences do not differ")

    def moved(other: Tensor) -> Tensor:
        altered = changed(batch, lambda t: other if t is place else t)
        return (_by_time(answer(lab.model, altered, lab.seed), place, 1) - by_time).abs()

    later = moved(torch.cat([place[:, :cut], donor[:, cut:]], 1))
    earlier = moved(torch.cat([donor[:, :cut], place[:, cut:]], 1))
    return Result({"ahead": float(later[:cut].max()) / unit, "behind": float(earlier[cut:].max()) / unit})


def _found(lab: Lab, batch: Batch) -> _Series:
    target = batch.target
    if not isinstance(target, Tensor):
        raise NotApplicableError("the data hold no target tensor")
    for series, sequence, dim, wanted in _candidates(batch, target):
        if _is_ahead(sequence, wanted, dim):
            return series
    for tensor in tensors((batch.args, batch.kwargs)):
        whole = tensor.dim() == 2 and not tensor.is_floating_point() and tensor.shape[1] > 3
        if whole and torch.equal(tensor, target.to(tensor.dtype)) and _last_is_left_out(lab, batch, tensor.shape[1]):
            return _Series(tensor, 1)
    raise NotApplicableError("the target is not the input shifted by one, so nothing says that order runs one way")


def _candidates(batch: Batch, target: Tensor) -> Iterator[tuple[_Series, Tensor, int, Tensor]]:
    """Go through inputs and the ways to read a sequence from them: (what to change, sequence, its time, targets)."""
    for tensor in tensors((batch.args, batch.kwargs)):
        if tensor.dim() not in (2, 3):
            continue
        if tensor.numel() == target.numel():
            wanted = target.reshape(tensor.shape)
            for dim in (1, 2, 0)[: tensor.dim()] if tensor.dim() == 3 else (1, 0):
                yield _Series(tensor, dim), tensor, dim, wanted
        if tensor.dim() == 2:
            continue
        for dim, other in ((1, 2), (2, 1)):
            n, length = tensor.shape[0], tensor.shape[dim]
            if tensor.shape[other] == 1 or target.numel() != n * length:
                continue
            wanted = target.reshape(n, length)
            if _is_one_hot(tensor, other):
                yield _Series(tensor, dim), tensor.argmax(other), 1, wanted
            for k in range(min(tensor.shape[other], _CHANNELS)):
                yield _Series(tensor, dim, (other, k)), tensor.select(other, k), 1, wanted


def _is_one_hot(tensor: Tensor, dim: int) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all()) and bool((tensor.sum(dim) == 1).all())


def _is_ahead(sequence: Tensor, wanted: Tensor, dim: int) -> bool:
    """Tell whether targets are later elements of the sequence, and not its elements as they stand."""
    length = sequence.shape[dim]
    if not bool((sequence != sequence.flatten()[0]).any()) or torch.equal(sequence, wanted.to(sequence.dtype)):
        return False
    for step in range(1, _AHEAD + 1):
        if length < 3 * step + 1:
            break
        ahead, next_ = sequence.narrow(dim, step, length - step), wanted.narrow(dim, 0, length - step)
        told = next_ >= 0 if not next_.is_floating_point() else torch.ones_like(next_, dtype=torch.bool)
        varied = bool((ahead != ahead.flatten()[0]).any())
        if varied and bool(told.any()) and bool((ahead == next_)[told].all()):
            return True
    return False


def _last_is_left_out(lab: Lab, batch: Batch, length: int) -> bool:
    """Tell whether the loss takes no notice of the answer to the last token, but of all others."""
    if lab.outfit.loss is None:
        return False
    output = answer(lab.model, batch, lab.seed)
    if output.dim() != 3 or output.shape[1] != length:
        return False
    with torch.enable_grad():
        leaf = output.clone().requires_grad_(True)
        try:
            (pull,) = torch.autograd.grad(value_of(lab.loss, leaf, batch.target), leaf)
        except Exception:  # the caller's code, or a loss that takes no notice of the outputs
            return False
    noticed = pull.abs().amax((0, 2)) > 0
    return not bool(noticed[-1]) and bool(noticed[:-1].all())


def _by_time(output: Tensor, sequence: Tensor, dim: int) -> Tensor:
    """Bring time to dimension 0: (time, others). It stands where the input has it, second, last, or beside samples."""
    length, samples = sequence.shape[dim], 0 if dim else 1
    n = sequence.shape[samples]
    if output.dim() > 1 and output.shape[samples] == n:
        for place in dict.fromkeys((dim, 1 - samples, output.dim() - 1)):
            if place < output.dim() and place != samples and output.shape[place] == length:
                return output.movedim(place, 0).reshape(length, -1)
    if output.shape[0] != n * length:
        raise NotApplicableError("the output has no row for each position")
    whole = output.reshape(n, length, -1) if dim else output.reshape(length, n, -1)
    return whole.movedim(1 if dim else 0, 0).reshape(length, -1)
