"""Whether the latent variable of a variational model holds anything of its input."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ...subject.data import tensors
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, output_of

_ACTIVE = 0.01  # variance over samples of the posterior mean, in units of the prior (Burda et al. 2016)


def latent_units(lab: Lab) -> Result:
    """Count the latent dimensions whose posterior mean follows the input.

    Made where a model returns, beside its reconstruction, two tensors (N, d) of one shape one behind the other: mean
    and logarithm of the variance of a Gaussian posterior, or its deviation. ``active``: dimensions whose mean varies
    over samples by more than 0.01 (Burda, Grosse and Salakhutdinov 2016, Importance weighted autoencoders).
    ``divergence``: Kullback-Leibler divergence from N(0, 1), in nats a sample.
    """
    batch = lab.samples(64, least=8)
    seed_generators(lab.seed)
    with torch.no_grad():
        output = output_of(lab.model, batch)
    if isinstance(output, Tensor):
        raise NotApplicableError("the model returns one tensor, and no posterior beside it")
    mean, log_var = _posterior(list(tensors(output)), batch.n_samples)
    mean, log_var = mean.double(), log_var.double()
    if bool((log_var > 0).all()):  # a deviation: variances above that of the prior everywhere would make no posterior
        log_var = 2 * log_var.log()
    divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp())
    follow = mean.var(0, correction=0)
    return Result(
        {
            "dimensions": float(mean.shape[1]),
            "active": float((follow > _ACTIVE).sum()),
            "largest": float(follow.max()),
            "divergence": float(divergence.sum(1).mean()),
            "samples": float(batch.n_samples),
        }
    )


def _posterior(found: list[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Find mean and log-variance among the outputs: the last two neighbours of one shape (N, d)."""
    floats = [t.detach() for t in found if t.is_floating_point()]
    pairs = [(a, b) for a, b in pairwise(floats[1:]) if a.shape == b.shape and a.dim() == 2 and len(a) == n]
    if not pairs:
        raise NotApplicableError("no two outputs look like mean and variance of a posterior")
    mean, log_var = pairs[-1]
    if not bool(torch.isfinite(mean).all() and torch.isfinite(log_var).all()):
        raise NotApplicableError("the outputs are not all finite")
    return mean, log_var
