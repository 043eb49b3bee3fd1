"""Recurrent layers from their weights alone: how far a state is stretched each step, and gates that cannot move."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..document.matrices import GateFacts
from ..subject.shapes import is_plain
from .stacks import Part

LARGEST = 2048  # states up to which a matrix is multiplied with itself
_DOUBLE = 512
_SQUARINGS = 10
_STUCK = 4.0  # sigmoid(4) = 0.982
_SPREADS = 5.0

Fetch = Callable[[str], Tensor | None]


def radius(matrix: Tensor) -> float | None:
    """Return the spectral radius of a square matrix (H, H), the largest |eigenvalue|; None where it is too large.

    Gelfand's formula, ‖Wᵏ‖^(1/k) with k = 1024: too large by less than one percent for matrices of this size.
    """
    side = matrix.shape[0]
    if matrix.dim() != 2 or matrix.shape != (side, side) or not 0 < side <= LARGEST:
        return None
    power = matrix.double() if side <= _DOUBLE else matrix.float()
    logarithm, k = 0.0, 1
    for _ in range(_SQUARINGS):
        size = float(torch.linalg.matrix_norm(power))
        if size == 0 or not math.isfinite(size):
            return 0.0 if size == 0 else None
        logarithm += math.log(size) / k
        power = power / size
        power = power @ power
        k *= 2
    size = float(torch.linalg.matrix_norm(power))
    return math.exp(logarithm + math.log(size) / k) if size > 0 else 0.0


class _Layer(NamedTuple):
    """Weights and bias of all gates of a layer, the gates one after the other."""

    norms: Tensor
    """(G·H,) of all weights that one unit reads with."""
    bias: Tensor


def gates(name: str, parts: tuple[Part, ...], fetch: Fetch) -> list[GateFacts]:
    """Describe the gates of an LSTM or GRU by the recurrent weight of that name; ``fetch`` returns its neighbours.

    A gate of a unit is stuck where its bias saturates it (|b| > 4) and lies more than five times farther from zero than
    the other terms spread, for inputs and states of unit size: these would move it less than once in a million steps.
    """
    layer = _layer(name, fetch)
    if layer is None or len(layer.bias) != sum(part.channels for part in parts):
        return []
    found, first = [], 0
    for part in parts:
        place = slice(first, first + part.channels)
        first += part.channels
        if "gate" not in part.name or part.name == "new gate":  # what is proposed is no gate
            continue
        bias, norms = layer.bias[place], layer.norms[place]
        far = bias.abs() > torch.clamp(_SPREADS * norms, min=_STUCK)
        found.append(
            GateFacts(
                name=part.name,
                units=part.channels,
                bias=float(bias.mean()),
                low=float(bias.min()),
                high=float(bias.max()),
                closed=int((far & (bias < 0)).sum()),
                opened=int((far & (bias > 0)).sum()),
            )
        )
    return found


def _layer(name: str, fetch: Fetch) -> _Layer | None:
    other = {key: fetch(re.sub("weight_hh", key, name)) for key in ("weight_hh", "weight_ih", "bias_ih", "bias_hh")}
    tensors = [t.detach() for t in other.values() if t is not None]
    if len(tensors) < 4 or not all(is_plain(t) for t in tensors):
        return None
    recurrent, inputs, first, second = tensors
    if recurrent.dim() != 2 or inputs.dim() != 2 or not len(recurrent) == len(inputs) == len(first) == len(second):
        return None
    norms = torch.hypot(*(torch.linalg.vector_norm(t.float(), dim=1).double() for t in (recurrent, inputs)))
    layer = _Layer(norms, first.double() + second.double())
    return layer if all(bool(torch.isfinite(t).all()) for t in layer) else None
