"""Can a model of pictures tell where something is, and does the target ask for it?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...subject.data import Batch
from .lab import Lab, spread
from .order import ridge_skill
from .sample import changed, first_samples

_LEAST_SIDE = 12
_MOST = 1024  # samples of a split
_LEAST = 80
_COLUMNS = 1 << 14  # of a picture
_DRAWS = 3


def shifted(said: Callable[[Batch], Tensor], batch: Batch) -> float | None:
    """Return how far the outputs move, in their spread, where the content of pictures is moved as a whole.

    Noise fills a quarter of the sides, on a ground of zeros, away from all edges, once at each of two places that lie
    2, 4 or 8 pixels apart; the smallest movement counts, for a stride may be any of these. Convolutions whose maps are
    averaged, or of which the largest value is kept, cannot tell such pictures apart. None where the pictures are small
    or the outputs do not vary.
    """
    pictures = batch.first
    if (
        pictures is None
        or pictures.dim() != 4
        or not pictures.is_floating_point()
        or min(pictures.shape[2:]) < _LEAST_SIDE
    ):
        return None
    n, c, h, w = pictures.shape
    noise = torch.randn((n, c, h // 4, w // 4), generator=torch.Generator().manual_seed(0)).to(pictures)

    def at(top: int, left: int) -> Tensor:
        blank = torch.zeros_like(pictures)
        blank[:, :, top : top + h // 4, left : left + w // 4] = noise
        return said(changed(batch, lambda _: blank))

    top, left = 3 * h // 8 // 8 * 8 or h // 4, 3 * w // 8 // 8 * 8 or w // 4
    base = at(top, left)
    unit = spread(base)
    if not unit > 1e-6 * float(base.abs().max()):
        return None
    ways = [by for by in (2, 4, 8) if by <= min(h, w) // 6]
    return min(float((at(top + by, left + by) - base).abs().max()) for by in ways) / unit


def worth_of_place(lab: Lab) -> dict[str, float]:
    """Return what a linear learner makes of pictures as they are, and of the same each moved to another place.

    Ridge regression on all pixels, fitted on training data and scored on the data given: ``ordered`` and ``mixed``,
    accuracy or R² (the mean over several numbers); pictures are rolled around by a distance of their own, and the best
    of 3 such draws counts.
    """
    known, asked = _table(lab.wide_training), _table(lab.wide_given)
    if known is None or asked is None or known[0].shape[1:] != asked[0].shape[1:] or known[1].dtype != asked[1].dtype:
        return {}
    (x, y), (x_new, y_new) = known, asked
    if y.shape[1:] != y_new.shape[1:] or not bool((y != y[0]).any()):
        return {}
    generator = torch.Generator().manual_seed(lab.seed)
    ordered = ridge_skill(x.flatten(1), y, x_new.flatten(1), y_new)
    rolled = [(_rolled(x, generator), _rolled(x_new, generator)) for _ in range(_DRAWS)]
    mixed = max(ridge_skill(a.flatten(1), y, b.flatten(1), y_new) for a, b in rolled)
    return {"ordered": ordered, "mixed": mixed, "asked": float(len(y_new))}


def _table(batches: list[Batch]) -> tuple[Tensor, Tensor] | None:
    """Return pictures (N, C, H, W) and a class or a row of numbers for each."""
    whole = first_samples(batches, _MOST)
    if whole is None or whole.first is None or not isinstance(whole.target, Tensor) or whole.n_samples < _LEAST:
        return None
    x, y = whole.first.detach().cpu(), whole.target.detach().cpu()
    if x[0].numel() > _COLUMNS or len(y) != len(x) or not bool(torch.isfinite(x).all()):
        return None
    numbers = y.is_floating_point()
    if y.dim() > 2 or (not numbers and y.numel() != len(y)) or not bool(torch.isfinite(y.double()).all()):
        return None
    return x.float(), y.double() if numbers else y.flatten()


def _rolled(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Roll every picture around by a distance of its own."""
    n, _, h, w = pictures.shape
    down = (torch.arange(h) + torch.randint(h, (n, 1), generator=generator)) % h
    right = (torch.arange(w) + torch.randint(w, (n, 1), generator=generator)) % w
    rows = pictures.gather(2, down[:, None, :, None].expand_as(pictures))
    return rows.gather(3, right[:, None, None, :].expand_as(pictures))
