"""Whether the latent variable of a variational model holds anything of its input."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ...subject.data import Batch, tensors
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, output_of
from .learning import in_training, without_dropout

_ACTIVE = 0.01  # variance over samples of the posterior mean, in units of the prior (Burda et al. 2016)


def latent_units(lab: Lab) -> Result:
    """Count the latent dimensions whose posterior mean follows the input.

    Made where a model returns, beside its reconstruction, two tensors (N, d) of one shape one behind the other: mean
    and logarithm of the variance of a Gaussian posterior, or its deviation; and where a pass in training mode draws
    numbers, dropout left aside, as what is sampled from a posterior must. ``active``: dimensions whose mean varies
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
    if not _draws(lab, batch):
        raise NotApplicableError("no number is drawn in a pass, as a latent variable would be")
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


def _draws(lab: Lab, batch: Batch) -> bool:
    """Tell whether a pass in training mode draws random numbers, with dropout switched off."""
    work = lab.fresh()
    in_training(work.model, batch.n_samples)
    with torch.no_grad(), without_dropout(work.model):
        seed_generators(lab.seed)
        before = _generators()
        output_of(work.model, batch)
        return any(not torch.equal(a, b) for a, b in zip(before, _generators(), strict=True))


def _generators() -> list[Tensor]:
    """Return the states of the generators of the processor and of all devices in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]  # type: ignore[no-untyped-call]


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
