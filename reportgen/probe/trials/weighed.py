"""Weights inside a loss: does each sample's share meet its own weight, or those of all samples of the batch?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .lab import Loss, value_of

_PRODUCTS = {"mul", "__mul__", "__rmul__", "multiply", "div", "divide", "true_divide", "__truediv__", "mul_", "div_"}


def weights_crossed(loss: Loss, output: Tensor, target: Any, samples: int) -> dict[str, float]:
    """Return as ``weighed`` how many products broadcasting makes of one, where weights of all samples meet each share.

    A share of the loss has a derivative by the outputs; weights have none, are not below 0, and differ. Of (N, 1) and
    (N,), or (N, H, W) and (N, 1, H, W), a product holds N values for one: each share times the weight of each sample,
    so that their mean is that of the shares times that of the weights, as if there were none.
    """
    with torch.enable_grad(), _Watch(samples) as seen:
        value_of(loss, output.detach().clone().requires_grad_(True), target)
    return {"weighed": seen.weighed} if seen.weighed else {}


class _Watch(TorchFunctionMode):
    """Looks at the products that a loss makes."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples, self.weighed = samples, 0.0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _PRODUCTS and len(args) > 1 and isinstance(made, Tensor):
            pair = [a for a in args[:2] if isinstance(a, Tensor)]
            if len(pair) == 2 and pair[0].requires_grad != pair[1].requires_grad:
                share, weights = pair if pair[0].requires_grad else pair[::-1]
                if _meets_all(share, weights, made, self.samples):
                    self.weighed = max(self.weighed, made.numel() / max(share.numel(), weights.numel()))
        return made


def _meets_all(share: Tensor, weights: Tensor, made: Tensor, samples: int) -> bool:
    """Tell whether samples lie along two dimensions of a product, along one of each factor, by another count of dims.

    Whoever wants all pairs writes them so, with as many dimensions on either side.
    """
    if share.dim() == weights.dim():
        return False
    sizes = [[1] * (made.dim() - t.dim()) + list(t.shape) for t in (share, weights)]
    along = [
        {d for d in range(made.dim()) if own[d] == samples > 1 and other[d] == 1}
        for own, other in (sizes, reversed(sizes))
    ]
    return all(along) and bool((weights >= 0).all()) and bool((weights != weights.flatten()[0]).any())
