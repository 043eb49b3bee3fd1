"""Samples that come in tight groups of one size, as copies of one original do, and whose groups two splits share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..document.samples import Families
from .twins import Region

OTHERS = 9
"""Most other members of a group that are looked for."""
ASKED = 512
LEAST = 50
_RANKS = (10, 20)  # neighbours whose distances tell the dimension
_GAP = 1e-3
"""Chance of a gap as wide between two neighbours of points of even density."""

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
    few = torch.linspace(0, len(asked[0]) - 1, min(ASKED, len(asked[0]))).long()
    distances, places = _neighbours(known, asked, few, standardised=standardised)
    if len(distances) < LEAST:
        return None
    middle = float((distances[:, _RANKS[0] - 1] / distances[:, _RANKS[1] - 1]).median())
    if not 0 < middle < 1:
        return None
    dimension = math.log(0.5) / math.log(middle)
    k = torch.arange(1, OTHERS + 1, dtype=torch.float64)
    inside, beyond = distances[:, :OTHERS], distances[:, 1 : OTHERS + 1]
    chance, widest = (inside / beyond).pow(dimension * k).min(1)
    first = len(known[0]) if known is not None else len(asked[0])
    in_first = (places[:, :OTHERS] < first) & (torch.arange(OTHERS) <= widest[:, None])
    n = len(distances)
    counts = torch.bincount(widest[(chance < _GAP) & in_first.any(1)], minlength=OTHERS).double()
    bound = (k * k.log() - k - torch.lgamma(k + 1)).exp()
    error = (bound * (1 - bound) * (k + 1) / n).sqrt()
    best = int(((counts / n - bound) / error).argmax())
    return Families(
        n=n,
        found=int(counts[best]),
        size=best + 2,
        bound=float(bound[best]),
        error=float(error[best]),
        dimension=dimension,
    )


def _neighbours(known: _Labelled | None, asked: _Labelled, few: Tensor, *, standardised: bool) -> tuple[Tensor, Tensor]:
    """Return the distances (N, 20) of the nearest others of the same class, in both splits, and where they stand.

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
    if distance.shape[1] < _RANKS[1]:
        return distance[:0], distance[:0].long()
    nearest, places = distance.topk(_RANKS[1], dim=1, largest=False)
    enough = torch.isfinite(nearest[:, -1]) & (nearest[:, OTHERS - 1] > 0)
    return nearest[enough], places[enough]
