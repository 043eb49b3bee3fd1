"""Weights that are zero and stay zero: does no gradient ever reach them because they are?"""

from __future__ import annotations

import torch
from torch import nn

from ...subject.data import Batch
from ..reduce import as_real
from .lab import Lab, NotApplicableError, Outfit, Result
from .learning import answered, backward, in_training, refuse_sparse, without_dropout

_STEPS = 3  # by which a zero head, and then zero modulations behind it, have begun to move
_RATE = 1e-3


def zero_start(lab: Lab) -> Result:
    """Train a copy for three steps, then draw the matrices that are still zero at random: does a gradient reach them?

    ``zero``: trainable matrices that are all zero as they stand. ``still``: of those, the ones that are zero after
    three steps of Adam, for their gradient was exactly zero each time. ``woken``: of those, the ones that get a
    gradient once all of them are drawn. Two factors of one product are such: each waits for the other to move. One
    zero factor alone (an adapter's upper one, a head, the last layer of a branch) gets a gradient at once.
    """
    if not _zero(lab.model):
        raise NotApplicableError("no trainable matrix is all zero")
    batch = lab.targeted(32)
    work = lab.fresh()
    in_training(work.model, batch.n_samples)
    numbers = {"zero": float(len(_zero(work.model)))}
    with without_dropout(work.model):
        parameters = [p for p in work.model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=_RATE)
        for _ in range(_STEPS):
            _differentiate(lab, work, batch)
            refuse_sparse(parameters)
            optimizer.step()
        still = _zero(work.model)
        numbers["still"] = float(len(still))
        if not still:
            return Result(numbers)
        _draw(list(still.values()), lab.seed)
        _differentiate(lab, work, batch)
    woken = [name for name, p in still.items() if _has_gradient(p)]
    numbers |= {"woken": float(len(woken)), "elements": float(sum(still[name].numel() for name in woken))}
    return Result(numbers, {"names": ", ".join(woken)})


def _zero(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable matrices that hold nothing but zeros."""
    return {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and p.dim() > 1 and p.numel() and not isinstance(p, nn.UninitializedParameter)
        if (real := as_real(p)) is not None and not bool(real.count_nonzero())
    }


def _differentiate(lab: Lab, work: Outfit, batch: Batch) -> None:
    for p in work.model.parameters():
        p.grad = None
    torch.manual_seed(lab.seed)
    _, value = answered(work, batch)
    if not value.requires_grad or not bool(torch.isfinite(value.detach())):
        raise NotApplicableError("the loss is not finite, or no parameter reaches it")
    backward(value)


def _draw(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters:
            fan_in = max(p[0].numel(), 1)
            p.copy_(torch.randn(p.shape, generator=generator).to(p) / fan_in**0.5)


def _has_gradient(p: nn.Parameter) -> bool:
    real = as_real(p.grad) if p.grad is not None else None
    return real is not None and bool(real.isfinite().all()) and bool(real.count_nonzero())
