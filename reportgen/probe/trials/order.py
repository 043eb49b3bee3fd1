"""Does the order of a sequence tell the target? Asked of a simple learner, for a model that cannot see any order."""

from __future__ import annotations

import torch
from torch import Tensor

from ...subject.data import Batch
from .lab import Lab
from .sample import first_samples

_MOST = 1024  # samples of a split
_LEAST = 80
_WORDS = 64  # columns for elements, and again for pairs of neighbours; rarer ones share them
_LENGTH = 128
_PENALTY = 1.0
_DRAWS = 5


def worth_of_order(lab: Lab) -> dict[str, float]:
    """Return what a linear learner makes of sequences as they are, and of the same with elements in another order.

    It is given each place's element and how often each pair of neighbours occurs; ridge regression on one column a
    class, or on the numbers, fitted on training data and scored on the data given: ``ordered`` and ``mixed``, accuracy
    or R². The second learner has as many columns and the same elements, so that the difference is what order alone
    tells; the best of 5 orders counts. Nothing is returned where inputs are no sequences of whole numbers or of
    vectors, or targets are not one a sample.
    """
    known, asked = _table(lab.wide_training), _table(lab.wide_given)
    if known is None or asked is None or known[0].shape[1:] != asked[0].shape[1:]:
        return {}
    (x, y), (x_new, y_new) = known, asked
    if y.dtype != y_new.dtype or not bool((y != y[0]).any()):
        return {}
    codes = _coded(torch.cat([x, x_new]))
    codes, fresh = codes[: len(x)], codes[len(x) :]
    generator = torch.Generator().manual_seed(lab.seed)
    ordered = _skill(codes, y, fresh, y_new)
    mixed = [_skill(_dealt(codes, generator), y, _dealt(fresh, generator), y_new) for _ in range(_DRAWS)]
    return {"ordered": ordered, "mixed": max(mixed), "asked": float(len(y_new))}


def worth_of_start(lab: Lab, share: float) -> dict[str, float]:
    """Return what the same learner makes of the first so many steps of sequences alone, and of all others.

    ``start`` and ``rest``: accuracy or R² on the data given; ``commonest``: of a constant answer; ``asked``: samples.
    Nothing where inputs or targets are of another kind.
    """
    known, asked = _table(lab.wide_training), _table(lab.wide_given)
    if known is None or asked is None or known[0].shape[1:] != asked[0].shape[1:]:
        return {}
    (x, y), (x_new, y_new) = known, asked
    cut = max(2, round(share * x.shape[1]))
    if y.dtype != y_new.dtype or not bool((y != y[0]).any()) or x.shape[1] < cut + 2:
        return {}
    codes = _coded(torch.cat([x, x_new]))
    codes, fresh = codes[: len(x)], codes[len(x) :]
    constant = 0.0 if y.is_floating_point() else float(torch.unique(y_new, return_counts=True)[1].max()) / len(y_new)
    return {
        "start": _skill(codes[:, :cut], y, fresh[:, :cut], y_new),
        "rest": _skill(codes[:, cut:], y, fresh[:, cut:], y_new),
        "commonest": constant,
        "asked": float(len(y_new)),
    }


def _table(batches: list[Batch]) -> tuple[Tensor, Tensor] | None:
    """Return sequences (N, T) or (N, T, C) and one target a sample."""
    whole = first_samples(batches, _MOST)
    if whole is None or whole.first is None or not isinstance(whole.target, Tensor) or whole.n_samples < _LEAST:
        return None
    x, y = whole.first.detach().cpu(), whole.target.detach().cpu()
    if y.numel() != len(x) or x.dim() not in (2, 3) or not 2 <= x.shape[1] <= _LENGTH or x.is_complex():
        return None
    if x.is_floating_point() and (x.dim() == 2 or not bool(torch.isfinite(x).all())):
        return None
    y = y.flatten()
    return (x, y.double() if y.is_floating_point() else y) if bool(torch.isfinite(y.double()).all()) else None


def _coded(x: Tensor) -> Tensor:
    """Return elements as columns (N, T, C): codes one-hot (the commonest; rarer ones share columns), vectors scaled."""
    if x.is_floating_point():
        return ((x - x.mean((0, 1))).double() / x.double().std((0, 1)).clamp_min(1e-12)).float()
    flat = x.reshape(len(x), x.shape[1], -1)[..., 0]
    values, place = torch.unique(flat, return_inverse=True)
    rank = torch.bincount(place.flatten()).argsort(descending=True).argsort()
    width = min(len(values), _WORDS)
    return torch.nn.functional.one_hot(rank[place] % width, width).float()


def _dealt(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Put the elements of every sample in an order of its own."""
    order = torch.rand(codes.shape[:2], generator=generator).argsort(1)
    return codes.gather(1, order[..., None].expand_as(codes))


def _skill(codes: Tensor, y: Tensor, fresh: Tensor, truth: Tensor) -> float:
    return ridge_skill(_described(codes), y, _described(fresh), truth)


def ridge_skill(known: Tensor, y: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Fit on the first and score on the second: accuracy of classes (N,), R² of numbers (N,) or (N, K), their mean.

    By the dual of ridge regression: (N, N), whatever the columns of the tables (N, D). Thousands of columns are
    multiplied in single precision, which the penalty outweighs by far.
    """
    centre, width = known.mean(0), known.std(0)
    keep = width > 0
    known, asked = ((part[:, keep] - centre[keep]) / width[keep] for part in (known, asked))
    classes = torch.unique(y)
    numbers = y.is_floating_point()
    wanted = y.reshape(len(y), -1) if numbers else (y[:, None] == classes).double()
    level = wanted.mean(0)
    inner = (known @ known.T).double()
    inner.diagonal().add_(_PENALTY * known.shape[1])
    weights = known.T @ torch.linalg.solve(inner, wanted - level).float()
    told = (asked @ weights).double() + level
    if not numbers:
        return float((classes[told.argmax(1)] == truth).double().mean())
    truth = truth.reshape(len(truth), -1)
    left = (told - truth).square().mean(0) / truth.var(0, correction=0).clamp_min(1e-300)
    return float(1 - left.mean())


def _described(codes: Tensor) -> Tensor:
    """Return the element at each place, how much of each element there is, and of each pair of neighbours."""
    n, length, _ = codes.shape
    few = codes[..., :_WORDS]
    pairs = torch.einsum("nti,ntj->nij", few[:, 1:], few[:, :-1]) / (length - 1)
    return torch.cat([codes.reshape(n, -1), codes.mean(1), pairs.reshape(n, -1)], 1)
