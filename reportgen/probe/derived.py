"""Figures that need no look of their own, because another tensor's give them: half of the price of a convolutional net.

In eval mode a batch norm is y = gain · x + offset by channel, so the sums and extremes of y are those of x, to float32
rounding. Behind a rectifier the extremes are those before it, cut at its ends.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..subject.shapes import whole
from .channels import ChannelAccumulator, Range

_LARGEST_OFFSET = 800.0  # times the gain on a unit of running deviation: beyond it float32 rounding drowns the range


CUTS = (nn.ReLU, nn.ReLU6)  # what they put out has the extremes of what they read, cut at their ends


class Affine(NamedTuple):
    """A batch norm in eval mode: (C,) each, float64."""

    gain: Tensor
    offset: Tensor


def affine_of(norm: _BatchNorm) -> Affine | None:
    """Return what a batch norm does in eval mode; None where it has no running statistics."""
    if norm.training or norm.running_mean is None or norm.running_var is None or norm.running_mean.is_meta:
        return None
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * whole(norm.weight.detach())
    offset = -norm.running_mean.double() * gain
    if norm.bias is not None:
        offset = offset + whole(norm.bias.detach())
    return Affine(gain, offset)


def tells_its_input(norm: _BatchNorm) -> bool:
    """Tell whether what a norm reads can be worked back from its output, to 1e-4 of the width of every channel."""
    known = affine_of(norm)
    if known is None or norm.running_var is None or norm.running_var.device.type != "cpu":
        return False
    if norm.running_var.dtype not in (torch.float32, torch.float64):
        return False
    unit = known.gain.abs() * (norm.running_var.double() + norm.eps).sqrt()
    return bool((known.offset.abs() <= _LARGEST_OFFSET * unit).all() & (unit > 0).all())


def before_norm(seen: ChannelAccumulator, norm: Affine) -> ChannelAccumulator:
    """Work the figures of what a norm reads back from those of its output. There is no histogram."""
    gain, offset = norm
    x = ChannelAccumulator(seen.n_channels, seen.sums.device)
    x.n_samples, x.n_batches, x.count, x.n_taken = seen.n_samples, seen.n_batches, seen.count, seen.n_taken
    x.glanced = seen.glanced
    places = (seen.count - int(seen.nonfinite.sum())) / max(seen.n_channels, 1)
    taken = (seen.n_taken - int(seen.taken_nonfinite)) / max(seen.n_channels, 1)
    x.sums[:] = (seen.sums - places * offset) / gain
    y, squares = seen.moments
    x.moments[0] = (y - taken * offset) / gain
    x.moments[1] = (squares - 2 * offset * y + taken * offset.square()) / gain.square()
    a, b = (seen.low.double() - offset) / gain, (seen.high.double() - offset) / gain
    x.low[:], x.high[:] = torch.minimum(a, b), torch.maximum(a, b)
    return x


def rectified_range(module: nn.Module, read: Range | None) -> Range | None:
    """Return the extremes behind a rectifier from those before it."""
    if read is None or not isinstance(module, CUTS):
        return None
    end = 6.0 if isinstance(module, nn.ReLU6) else None
    return Range(read.low.clamp(0.0, end), read.high.clamp(0.0, end))
