"""Can the answers lie on both sides of zero? Told by making all affine layers put out anything at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .lab import Lab, NotApplicableError, Result, answer

_SIZES = (0.0, 1.0, 1.0, 40.0, 40.0)


def two_sides(lab: Lab) -> Result:
    """Let every affine layer put out normal numbers of size 0, 1 and 40, and see how low and how high answers come.

    ``low`` and ``high``: extremes of the answers, the model's own included; ``moved``: their deviation while layers are
    driven. An inner product of rectified vectors stays at 0 or above whatever its layers say. Only where targets are
    yes or no, one for each answer, and a tenth of the samples says either.
    """
    batch = lab.targeted(least=16)
    target = batch.target
    if not isinstance(target, Tensor) or not bool(((target == 0) | (target == 1)).all()):
        raise NotApplicableError("the targets are not yes or no")
    own = answer(lab.model, batch, lab.seed)
    if own.numel() != target.numel():
        raise NotApplicableError("outputs and targets are not of one size")
    if not 0.1 <= float(target.double().mean()) <= 0.9:
        raise NotApplicableError("the targets are all the same")
    generator, size = torch.Generator().manual_seed(lab.seed), [0.0]

    def draw(module: nn.Module, args: object, output: object) -> object:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        return (size[0] * torch.randn(output.shape, generator=generator)).to(output)

    handles = [m.register_forward_hook(draw) for m in lab.model.modules() if isinstance(m, (nn.Linear, _ConvNd))]
    drawn: list[Tensor] = []
    try:
        for wanted in _SIZES if handles else ():
            size[0] = wanted
            drawn.append(answer(lab.model, batch, lab.seed))
    finally:
        for handle in handles:
            handle.remove()
    if not drawn or any(made.shape != own.shape for made in drawn):
        raise NotApplicableError("no affine layer ran")
    said = torch.stack([own, *drawn])
    numbers = {"low": float(said.min()), "high": float(said.max()), "moved": float(said[1:].std())}
    return Result(numbers | {"samples": float(batch.n_samples)})
