"""Whether a loss takes labels for columns of the outputs, or asks only which samples are labelled alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .seeding import seed_generators

_SAME = 1e-5  # of the loss, whose sums may run in another order
_SEED = 0


def asks_alike(loss: Callable[[Any, Any], Any], output: Tensor, target: Tensor) -> bool | None:
    """Tell whether classes may change their names without the loss noticing, while samples may not change their labels.

    Triplet, n-pair and supervised contrastive losses are such: outputs are places in a space, and no column of them
    belongs to a class. Noise is added to the outputs, as all classes look alike where all outputs are one. None where
    the batch cannot tell: a single class, labels that are left out, or a loss that takes no such targets.
    """
    names, place = torch.unique(target, return_inverse=True)
    if len(names) < 2 or bool((names < 0).any()):
        return None
    drawn = torch.randn(output.shape, generator=torch.Generator().manual_seed(_SEED))
    said = output.detach() + drawn.to(output)
    renamed = [names[(place + 1) % len(names)], names.flip(0)[place]]
    exchanged = target.roll(1)
    try:
        with torch.random.fork_rng(devices=[]):
            own, *others, swapped = (_value(loss, said, t) for t in (target, *renamed, exchanged))
    except Exception:  # a loss that refuses such targets,
        return None
    if not all(map(math.isfinite, (own, *others, swapped))):
        return None
    slack = _SAME * max(abs(own), abs(swapped))
    return all(abs(other - own) <= slack for other in others) and abs(swapped - own) > slack


def _value(loss: Callable[[Any, Any], Any], output: Tensor, target: Tensor) -> float:
    seed_generators(_SEED)  # a loss may draw its pairs
    with torch.no_grad():
        return float(loss(output, target))
