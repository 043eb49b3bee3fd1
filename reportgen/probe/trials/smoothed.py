"""Do the places of a sample keep apart on their way through a model that answers at each of them?"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...subject.data import Batch, tensors
from .drawn import draw_trainable
from .lab import Lab, NotApplicableError, Result, output_of
from .sample import changed

_SAMPLES = 16
_LEAST_PLACES = 4
_WIDTH = 4
_TRIED = 8
_NEAR = 0.1
_MOST = 1 << 24  # numbers


def places_smoothed(lab: Lab) -> Result:
    """Follow the directions of what layers put out at the places of a sample, in a copy with weights drawn anew.

    Targets are one class at each place, which differ within a sample: nodes of a graph, elements of a sequence. Biases
    of the copy are 0: they are the same at all places, and depth alone makes them most of what is left.
    ``apart_first`` and ``apart_last``: 1 minus the mean cosine between two places of a sample, of the first and of the
    last layer with four numbers or more at each place; ``own``: what an input that is exchanged at one place, by that
    of another sample, moves there in the last layer, over what it moves at the other places in the mean, the median
    over eight places; measured where ``apart_last`` is below 0.1. Rounds of averaging over neighbours end in the same
    direction everywhere, whatever the weights (over-smoothing, Li, Han and Wu 2018), and nothing knows its place:
    ``apart_last`` near 0, ``own`` near 1.
    """
    batch = lab.samples(_SAMPLES, least=2, training=True)
    target = batch.target
    if not isinstance(target, Tensor) or target.is_floating_point() or target.dim() != 2:
        raise NotApplicableError("the targets are not one class at each of several places")
    if target.shape[1] < _LEAST_PLACES or not bool((target != target[:, :1]).any()):
        raise NotApplicableError("the targets are not one class at each of several places")
    shape = target.shape
    places = [t for t in tensors((batch.args, batch.kwargs)) if t.shape[:2] == shape]
    if not places:
        raise NotApplicableError("the inputs have no row for each place of the targets")
    fresh = lab.fresh().model.eval()
    draw_trainable(fresh, lab.seed)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if "bias" in name.rpartition(".")[2]:
                parameter.zero_()
    first, last = _first_and_last(fresh, batch, shape)
    numbers = {"apart_first": _apart(first), "apart_last": _apart(last), "places": float(shape[1])}
    if numbers["apart_last"] < _NEAR:
        numbers["own"] = _own(lab, fresh, batch, places, last)
    return Result(numbers | {"samples": float(batch.n_samples)})


def _own(lab: Lab, model: nn.Module, batch: Batch, places: list[Tensor], last: Tensor) -> float:
    """Return what an input exchanged at one place moves there, over what it moves elsewhere; the median."""
    n = last.shape[1]
    owns = []
    for place in range(0, n, -(-n // _TRIED)):
        lab.clock.need(1)
        there = _first_and_last(model, changed(batch, partial(_exchanged, place, places)), last.shape[:2])[1]
        moved = (F.normalize(there, dim=2) - F.normalize(last, dim=2)).norm(dim=2)
        others = (moved.sum(1) - moved[:, place]) / (n - 1)
        known = others > 0
        owns.append(float((moved[:, place][known] / others[known]).median()) if bool(known.any()) else float(n))
    return median(owns)


def _exchanged(place: int, places: list[Tensor], tensor: Tensor) -> Tensor:
    if not any(tensor is t for t in places):
        return tensor
    other = tensor.clone()
    other[:, place] = tensor[:, place].roll(1, 0)
    return other


def _first_and_last(model: nn.Module, batch: Batch, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return what the first and the last layer to run put out at each place, (samples, places, numbers), in float64."""
    found: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        told = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(told, Tensor) or told.dim() != 3 or told.shape[:2] != shape or told.shape[2] < _WIDTH:
            return
        if told.numel() <= _MOST:  # the scores of a large vocabulary are left out
            found[1 if found else 0 :] = [told.detach().double()]

    handles = [m.register_forward_hook(note) for m in model.modules() if not any(True for _ in m.children())]
    try:
        with torch.no_grad():
            output_of(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if len(found) < 2:
        raise NotApplicableError("no two layers put out four numbers or more at each place")
    return found[0], found[-1]


def _apart(outputs: Tensor) -> float:
    """Return 1 minus the mean cosine between two places of a sample."""
    units, places = F.normalize(outputs, dim=2), outputs.shape[1]
    alike = (units.sum(1).square().sum(1) - units.square().sum((1, 2))) / (places * (places - 1))
    return float(1 - alike.mean())
