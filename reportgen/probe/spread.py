"""How many directions the channels of a layer span, and whether batches differ: a sketch of fixed size.

One vector a sample (the mean over its places) keeps the number of independent observations honest. All sums are plain
and in float64, so parts merge by adding.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..document.facts import SpreadFacts

PROBES = 48
MAX_WIDTH = 4096
EXACT_WIDTH = 128  # up to here the covariance itself is no dearer than its sketch
MIN_HELD = 1 << 12  # values that wait, or as many as the sketch holds: several batches cost little more than one
_ROUNDING = 1e-10  # of the variance of values: a hundred-thousandth of their deviation, a hundred times float32's step
_BASE = 32  # probes that span the low-rank part; the others estimate what it leaves out


@lru_cache(maxsize=256)
def probes(n_channels: int, device: torch.device) -> Tensor:
    """Return the (C, K) signs that every part of a run shares: float64, the same in every process; the identity where
    the covariance is kept whole."""
    if n_channels <= EXACT_WIDTH:
        return torch.eye(n_channels, dtype=torch.float64, device=device)
    generator = torch.Generator().manual_seed(n_channels)
    signs = torch.randint(0, 2, (n_channels, PROBES), generator=generator, dtype=torch.float64)
    return signs.mul_(2.0).sub_(1.0).to(device)


class Spread:
    """Sums over vectors g of C channels: g, g², batch means², and g (gᵀZ) for PROBES columns of random signs Z."""

    def __init__(self, n_channels: int, device: torch.device) -> None:
        self.n_samples = self.n_batches = 0
        self.sums = torch.zeros(n_channels, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.sums)
        self.mean_squares = torch.zeros_like(self.sums)
        """Sum over batches of batch size · batch mean²."""
        self._probes = probes(n_channels, device)
        self.sketch = torch.zeros_like(self._probes)
        self._exact = n_channels <= EXACT_WIDTH
        self._held: list[Tensor] = []
        self._places = 1

    def update(self, sums: Tensor, places: int) -> None:
        """Add one batch: sums over places (B, C), which are kept until there are enough of them."""
        if self._held and (self._places != places or self._held[0].shape != sums.shape):
            self._add_held()
        self._places = places
        self._held.append(sums)
        if len(self._held) * sums.numel() >= max(MIN_HELD, self.sketch.numel()):
            self._add_held()

    def _add_held(self) -> None:
        """Add the batches that wait, of one size all."""
        held, self._held = self._held, []
        if not held:
            return
        vectors = torch.cat(held).to(torch.float64).nan_to_num_(0.0, 0.0, 0.0).div_(self._places)
        size = len(held[0])
        totals = vectors.view(len(held), size, -1).sum(1)
        self.sums += totals.sum(0)
        self.mean_squares += torch.linalg.vecdot(totals, totals, dim=0) / size
        if self._exact:
            self.sketch.addmm_(vectors.T, vectors)
        else:
            self.squares += torch.linalg.vecdot(vectors, vectors, dim=0)
            self.sketch.addmm_(vectors.T, vectors @ self._probes)
        self.n_samples += len(vectors)
        self.n_batches += len(held)

    def merge(self, other: Spread) -> None:
        """Add another part."""
        self._add_held()
        other._add_held()
        for name in ("sums", "squares", "mean_squares", "sketch"):
            getattr(self, name).add_(getattr(other, name))
        self.n_samples += other.n_samples
        self.n_batches += other.n_batches

    def facts(self, variances_within: Tensor | None = None) -> SpreadFacts | None:
        """Return what the sums say; None of a single sample, of values that do not vary or are not finite.

        ``variances_within``: those of each channel's values (C,), over places too. Where the means of samples vary next
        to nothing against them, as those of the same tokens in another order, all that they hold is rounding.
        """
        self._add_held()
        n, width = self.n_samples, len(self.sums)
        if n < 2 or width < 2:
            return None
        mean = self.sums / n
        squares = self.sketch.diagonal() if self._exact else self.squares
        variances = (squares / n - mean.square()).clamp_(min=0.0)
        # below the rounding of the sums a variance is noise of the subtraction
        noise = 1e-12 * (squares / n)
        if variances_within is not None:
            noise = torch.maximum(noise, _ROUNDING * variances_within)
        variances = variances.where(variances > noise, 0.0)
        trace = float(variances.sum())
        if not 0.0 < trace < 1e150:
            return None
        seen = self.sketch / n - torch.outer(mean, mean @ self._probes)
        own = float(variances.square().sum())
        squared = min(max(_trace_of_square(seen, self._probes), own, trace * trace / width), trace * trace)
        crossed = trace * trace - own
        return SpreadFacts(
            n_samples=n,
            n_batches=self.n_batches,
            participation=trace * trace / squared,
            participation_null=width * n / (width + n),
            mean_r2=max(squared - own, 0.0) / crossed if crossed > 1e-9 * trace * trace else None,
            mean_r2_null=1.0 / (n - 1),
            drift=self._drift(mean, squares),
        )

    def _drift(self, mean: Tensor, squares: Tensor) -> float | None:
        n, batches = self.n_samples, self.n_batches
        if batches < 2 or n <= batches:
            return None
        between = (self.mean_squares - n * mean.square()).clamp_(min=0.0) / (batches - 1)
        within = (squares - self.mean_squares).clamp_(min=0.0) / (n - batches)
        known = within > 1e-12 * squares / n
        return float((between[known] / within[known]).median()) if bool(known.any()) else None


def _trace_of_square(seen: Tensor, signs: Tensor) -> float:
    """Estimate tr(S²) from S·Z with random signs Z.

    Half of the probes span a low-rank part of S (Nyström), whose square is known exactly; the others, independent of
    them, estimate the difference, E‖S z‖² = tr(S²) (Hutchinson 1989). Unbiased, and exact where S has low rank.
    """
    if signs.shape[0] == signs.shape[1]:
        return float(seen.square().sum())
    basis, image, rest = signs[:, :_BASE], seen[:, :_BASE], seen[:, _BASE:]
    core = torch.linalg.pinv(basis.T @ image, rtol=1e-9, hermitian=False)
    core = (core + core.T) / 2
    gram = image.T @ image
    low_rank = float(torch.trace(core @ gram @ core @ gram))
    estimated = image @ (core @ (image.T @ signs[:, _BASE:]))
    return low_rank + float((rest.square().sum(0) - estimated.square().sum(0)).mean())
