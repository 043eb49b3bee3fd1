"""Samples that come in tight groups of one size, as copies of one original do, and whose groups two splits share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..document.samples import Families
from .tight import GAP
from .twins import Region

ASKED = 512
LEAST = 50
LOOKS = (range(1, 10), range(10, 40))
"""Other members of a group that are looked for: of small groups, and where there are none, of larger ones."""
_Labelled = tuple[Tensor, Tensor]
"""Rows (N, D), and the class of each (N,)."""


def across(training: Region, given: Region) -> Families | None:
    """Look for groups of one size among both splits together; of those with a member in the training data.

    Of points of even density in d dimensions (r_k / r_k+1)^d is the largest of k uniform numbers (Rényi 1953), so that
    its k-th power is uniform itself. The number of neighbours in a cluster is binomial for independent draws, and mixed
    Poisson where clusters are many: none of those has a single value more often than e^-k k^k / k!.
    """
    known, asked = training.labelled(given.cuts), given.labelled(training.cuts)
    if known is None or asked is None or known[0].shape[1] != asked[0].shape[1]:
        return None
    return _told(known, asked, standardised=not (training.pictures and given.pictures))


def within(split: Region) -> Families | None:
    """Look for groups of one size among the samples of one split; their members count wherever they stand in it."""
    found = split.labelled([])
    return None if found is None else _told(None, found, standardised=not split.pictures)


def _told(known: _Labelled | None, asked: _Labelled, *, standardised: bool) -> Families | None:
    """Look at samples of ``asked``; a group counts that has a member in ``known``, or any where that is None."""
    found = [_looked_for(known, asked, others, standardised=standardised) for others in LOOKS]
    return next((f for f in found if f is not None and f.clear), found[0])


def _looked_for(known: _Labelled | None, asked: _Labelled, others: range, *, standardised: bool) -> Families | None:
    most = others[-1]
    few = torch.linspace(0, len(asked[0]) - 1, min(ASKED, len(asked[0]))).long()
    distances, places = _neighbours(known, asked, few, most + 1, standardised=standardised)
    if len(distances) < LEAST:
        return None
    middle = float((distances[:, most] / distances[:, 2 * most + 1]).median())
    if not 0 < middle < 1:
        return None
    dimension = math.log(0.5) / math.log(middle)
    k = torch.arange(1, most + 1, dtype=torch.float64)
    chance, widest = (distances[:, :most] / distances[:, 1 : most + 1]).pow(dimension * k).min(1)
    first = len(known[0]) if known is not None else len(asked[0])
    in_first = (places[:, :most] < first) & (torch.arange(most) <= widest[:, None])
    n = len(distances)
    counts = torch.bincount(widest[(chance < GAP) & in_first.any(1)], minlength=most).double()
    bound = (k * k.log() - k - torch.lgamma(k + 1)).exp()
    error = (bound * (1 - bound) * (k + 1) / n).sqrt()
    beyond_chance = (counts / n - bound) / error
    beyond_chance[: others[0] - 1] = -math.inf
    best = int(beyond_chance.argmax())
    return Families(
        n=n,
        found=int(counts[best]),
        size=best + 2,
        bound=float(bound[best]),
        error=float(error[best]),
        dimension=dimension,
    )


def _neighbours(
    known: _Labelled | None, asked: _Labelled, few: Tensor, size: int, *, standardised: bool
) -> tuple[Tensor, Tensor]:
    """Return the distances (N, 2 * size) of the nearest others of the same class, in both splits, and their places.

    Samples of classes with fewer others are left out: a class is no group. Places count the training data first.
    """
    parts = [asked] if known is None else [known, asked]
    pool, labels = torch.cat([rows for rows, _ in parts]), torch.cat([classes for _, classes in parts])
    width = pool.std(0) if standardised else torch.ones(pool.shape[1])
    pool = ((pool - pool.mean(0)) / torch.where(width > 0, width, torch.ones_like(width))).double()
    own = few + len(pool) - len(asked[0])
    distance = torch.cdist(pool[own], pool)
    distance[torch.arange(len(own)), own] = math.inf
    distance[labels[own][:, None] != labels[None]] = math.inf
    if distance.shape[1] < 2 * size:
        return distance[:0], distance[:0].long()
    nearest, places = distance.topk(2 * size, dim=1, largest=False)
    enough = torch.isfinite(nearest[:, -1]) & (nearest[:, size - 2] > 0)
    return nearest[enough], places[enough]
