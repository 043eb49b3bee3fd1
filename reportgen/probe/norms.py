"""What enters the normalisation layers: batch statistics against running ones, and rows with no variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..document.facts import LayerNormRow, NormRow
from ..subject.shapes import dense_rows
from .channels import ChannelAccumulator
from .derived import affine_of, before_norm
from .reduce import as_real

ROWS = 8  # rows of each sample that are looked at before a layer norm
TINY = 10.0  # times eps


def norm_row(name: str, module: _BatchNorm, seen: ChannelAccumulator) -> NormRow | None:
    """Hold what a batch norm read, worked back from its output, against its running statistics; medians over channels.

    Channels without a gain say nothing of what was read; None where no channel does.
    """
    norm = affine_of(module)
    if norm is None or not seen.count or module.running_mean is None or module.running_var is None:
        return None
    told = norm.gain != 0
    if len(norm.gain) != seen.n_channels or not bool(told.any()):
        return None
    x = before_norm(seen, norm)
    mean = x.sums / (seen.count / seen.n_channels)
    running_var = module.running_var.double() + module.eps
    mean_gap = ((mean - module.running_mean.double()).abs() / running_var.sqrt())[told].median()
    log_gap = ((x.variances() + module.eps) / running_var).log().abs()[told].median()
    if not bool(torch.isfinite(mean_gap) & torch.isfinite(log_gap)):
        return None
    tracked = module.num_batches_tracked
    # a gain of next to nothing takes back what the division blew up
    felt = norm.gain.abs() > 1e-2 * norm.gain.abs().median()
    tiny = int(((module.running_var.double() < TINY * module.eps) & felt).sum())
    return NormRow(
        tiny_var=tiny,
        name=name,
        n_channels=module.num_features,
        n_samples=seen.n_samples,
        batches_tracked=None if tracked is None else int(tracked),
        at_default=bool((module.running_mean == 0).all() & (module.running_var == 1).all()),
        mean_gap=float(mean_gap),
        log_var_gap=float(log_gap),
    )


class LayerNormInput:
    """Counts rows that enter a layer norm with hardly any variance, over ``ROWS`` rows of each sample."""

    def __init__(self, module: nn.LayerNorm) -> None:
        self.n_rows = 0
        self.tiny: Tensor | int = 0
        self.eps = module.eps
        self._size = len(module.normalized_shape)

    def see(self, x: Tensor) -> None:
        """Take note of one input (B, ..., normalised dimensions)."""
        real = as_real(x)
        if real is None or not real.numel() or real.dim() <= self._size:
            return
        rows = real.flatten(real.dim() - self._size)  # (B, ..., D)
        rows = rows.reshape(len(rows), -1, rows.shape[-1])
        step = max(1, rows.shape[1] // ROWS)
        few = rows[:, step // 2 :: step].double()
        variance = (few - few.mean(-1, keepdim=True)).square_().mean(-1)
        self.tiny = self.tiny + (variance < TINY * self.eps).sum()
        self.n_rows += variance.numel()

    def row(self, name: str) -> LayerNormRow | None:
        return LayerNormRow(name=name, n_rows=self.n_rows, eps=self.eps, tiny=int(self.tiny)) if self.n_rows else None


def first_tensor(args: tuple[Any, ...]) -> Tensor | None:
    """Return the first positional argument of a call when it is a tensor, the rows of a nested one."""
    return dense_rows(args[0]) if args and isinstance(args[0], Tensor) else None
