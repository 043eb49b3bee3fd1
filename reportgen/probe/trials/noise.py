"""How much gradients of small batches differ: the batch size up to which a larger one buys a better direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result
from .learning import answered, backward
from .sample import first_samples, is_by_sample, rows

LEAST, MOST = 8, 32  # micro-batches
SAMPLES = 256
ENTRIES = 4096  # looked at in each tensor, evenly spaced


def gradient_noise(lab: Lab) -> Result:
    """Estimate the simple noise scale, tr S / |G|², from the gradients of micro-batches of training samples.

    With K of b samples, their mean g and S_b their covariance: |G|² = |g|² - tr S_b / K, tr S = b tr S_b (McCandlish et
    al. 2018, from averages, as a mean of ratios is biased). ``low`` and ``high``: two standard errors of the ratio's
    inverse, |G|²/tr S, by the jackknife over micro-batches; where that reaches zero there is no ``high``. In eval mode,
    so that the samples alone differ.
    """
    whole = first_samples(lab.training, SAMPLES)
    if whole is None or whole.target is None or not is_by_sample(whole):
        raise NotApplicableError("no samples with targets that can be dealt out anew")
    size = max(1, whole.n_samples // MOST)
    count = whole.n_samples // size
    if count < LEAST:
        raise NotApplicableError(f"{whole.n_samples} samples, too few")
    work = lab.fresh()
    parameters = [p for p in work.model.parameters() if p.requires_grad and p.numel()]
    work.model.eval()
    found = []
    for i in range(count):
        if i % 4 == 0:
            lab.clock.need(12)
        seed_generators(lab.seed)
        work.model.zero_grad(set_to_none=True)
        _, value = answered(work, rows(whole, torch.arange(i * size, (i + 1) * size)))
        if not value.requires_grad or not math.isfinite(float(value.detach())):
            raise NotApplicableError("the loss is not finite, or no parameter reaches it")
        backward(value)
        found.append(torch.cat([_some(p) for p in parameters]))
    gradients = torch.stack(found)
    if not bool(torch.isfinite(gradients).all()):
        raise NotApplicableError("the gradients are not finite")
    return Result(_scale(gradients, size))


def _some(parameter: Tensor) -> Tensor:
    """Return entries of a gradient, scaled so that their squares add up to those of all; zeros where it has none."""
    step = -(-parameter.numel() // ENTRIES)
    gradient = parameter.grad
    if gradient is None or gradient.layout != torch.strided or gradient.is_complex():
        return torch.zeros(len(range(0, parameter.numel(), step)), dtype=torch.float64)
    taken = gradient.detach().reshape(-1)[::step].double().cpu()
    return taken * math.sqrt(parameter.numel() / max(len(taken), 1))


def _scale(gradients: Tensor, size: int) -> dict[str, float]:
    """Return the noise scale in samples and its bounds, from one gradient a row of ``size`` samples each."""
    n = len(gradients)
    gram = gradients @ gradients.T
    every = _inverse(gram, size)
    kept = ~torch.eye(n, dtype=torch.bool)
    left_out = torch.tensor([_inverse(gram[kept[i]][:, kept[i]], size) for i in range(n)], dtype=torch.float64)
    error = math.sqrt(float((n - 1) / n * (left_out - left_out.mean()).square().sum()))
    numbers = {"inverse": every, "error": error, "batches": float(n), "batch": float(size)}
    if every > 0:
        numbers["scale"] = 1 / every
    if every + 2 * error > 0:
        numbers["low"] = 1 / (every + 2 * error)
    if every - 2 * error > 0:
        numbers["high"] = 1 / (every - 2 * error)
    return numbers


def _inverse(gram: Tensor, size: int) -> float:
    """Return |G|²/tr S from the inner products of K gradients of ``size`` samples."""
    n = len(gram)
    mean_square = float(gram.mean())
    spread = (float(gram.trace()) - n * mean_square) / (n - 1)
    if spread <= 0:
        raise NotApplicableError("all gradients are the same")
    return (mean_square - spread / n) / (size * spread)
