"""Samples that are nearly the same, in one split and across two, in bounded memory and against chance."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..document.samples import Twins
from ..subject.data import Batch

KEPT = 1024
SIDE = 8  # of the thumbnail of a picture
LENGTH = 256  # of what is kept of anything else
LEAST_VALUES = 8
LEAST = 100  # samples
NEIGHBOURS = 5
RATIO = 0.2
"""A sample has a twin where its nearest neighbour is at less than a fifth of the distance of its fifth nearest."""


class Region:
    """All samples of one region of input space, made smaller whenever it holds more than ``2 * KEPT`` of them.

    A random sample would keep one of two twins and lose the other. Here both are kept or both are lost: the region is
    an intersection of half-spaces, the same in every split but for where it was cut.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._labels: list[Tensor] = []
        """One class a sample, beside its row; 0 where targets are of another kind."""
        self._held = 0
        self._possible = True
        self.cuts: list[float] = []
        self.pictures = False
        """Rows are thumbnails, whose values are all of one unit."""

    def update(self, batch: Batch) -> None:
        """Add one batch; inputs that are no real numbers of one size, or too few of them, end the matter."""
        x = batch.first
        fits = x is not None and x.dim() >= 2 and len(x) == batch.n_samples and x.layout == torch.strided
        if not self._possible or x is None or not fits or not (x.is_floating_point() or x.dtype == torch.uint8):
            self._possible = False
            return
        rows = _described(x.detach())
        if rows is None or (self._rows and rows.shape[1] != self._rows[0].shape[1]):
            self._possible = False
            return
        self.pictures = _is_picture(x)
        inside = torch.isfinite(rows).all(1) & _inside(rows, self.cuts)
        self._rows.append(rows[inside])
        self._labels.append(_labels(batch)[inside])
        self._held += int(inside.sum())
        while self._held > 2 * KEPT:
            self._cut()

    def _cut(self) -> None:
        rows = torch.cat(self._rows)
        along = rows @ _direction(len(self.cuts), rows.shape[1])
        cut = float(along.median())
        inside = rows[along > cut]
        if len(inside) in (0, len(rows)):  # all alike: nothing can be told apart
            self._possible, self._rows, self._labels, self._held = False, [], [], 0
            return
        self.cuts.append(cut)
        self._labels = [torch.cat(self._labels)[along > cut]]
        self._rows, self._held = [inside], len(inside)

    def table(self, cuts: list[float] | None = None) -> Tensor | None:
        """Return the different rows kept (N, D), of those inside the cuts of the other split too."""
        if not self._possible or not self._rows:
            return None
        rows = torch.cat(self._rows)
        rows = rows[_inside(rows, cuts or [])]
        return torch.unique(rows, dim=0) if len(rows) else None

    def labelled(self, cuts: list[float]) -> tuple[Tensor, Tensor] | None:
        """Return the same with the class of each row (N,)."""
        if not self._possible or not self._rows:
            return None
        rows, labels = torch.cat(self._rows), torch.cat(self._labels)
        inside = _inside(rows, cuts)
        if not bool(inside.any()):
            return None
        rows, labels = rows[inside], labels[inside]
        distinct, place = torch.unique(rows, dim=0, return_inverse=True)
        of_each = torch.zeros(len(distinct), dtype=labels.dtype)
        of_each[place] = labels
        return distinct, of_each

    def facts(self) -> Twins | None:
        """Look for twins within the split; equal rows count once, for copies are counted elsewhere."""
        rows = self.table()
        return None if rows is None else _twins(rows, rows, inside=True)


def across(training: Region, given: Region) -> Twins | None:
    """Look for twins of the data given among the training data, equal ones left out."""
    known, asked = training.table(given.cuts), given.table(training.cuts)
    if known is None or asked is None or known.shape[1] != asked.shape[1]:
        return None
    _, place = torch.unique(torch.cat([known, asked]), dim=0, return_inverse=True)
    return _twins(known, asked[~torch.isin(place[len(known) :], place[: len(known)])], inside=False)


def _labels(batch: Batch) -> Tensor:
    """Return one class a sample (B,); zeros where the targets are of another kind."""
    target, none = batch.target, torch.zeros(batch.n_samples, dtype=torch.float64)
    if not isinstance(target, Tensor) or target.is_nested or target.layout != torch.strided or target.is_complex():
        return none
    if target.numel() != batch.n_samples:
        return none
    told = target.detach().reshape(-1).double().cpu()
    return told if bool((told == told.round()).all()) else none


def _is_picture(x: Tensor) -> bool:
    return x.dim() == 4 and min(x.shape[2:]) >= SIDE


def _described(x: Tensor) -> Tensor | None:
    """Return a short description of each sample (B, D): a thumbnail without brightness and contrast, or a thinned row.

    Pictures are pooled to 8 x 8 and standardised one by one; anything else is pooled to at most 256 values.
    """
    if _is_picture(x):
        rows = _shortened(F.adaptive_avg_pool2d(x.float(), SIDE).flatten(1).cpu())
        rows = rows - rows.mean(1, keepdim=True)
        return rows / rows.std(1, keepdim=True).clamp_min(1e-6)
    rows = x.flatten(1).float().cpu()
    if rows.shape[1] < LEAST_VALUES:
        return None
    return _shortened(rows)


def _shortened(rows: Tensor) -> Tensor:
    return F.adaptive_avg_pool1d(rows[:, None], LENGTH)[:, 0] if rows.shape[1] > LENGTH else rows.clone()


def _direction(place: int, size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(place))


def _inside(rows: Tensor, cuts: list[float]) -> Tensor:
    """Tell which rows lie inside all cuts."""
    inside = torch.ones(len(rows), dtype=torch.bool)
    for place, cut in enumerate(cuts):
        inside &= rows @ _direction(place, rows.shape[1]) > cut
    return inside


def dimension_of(rows: Tensor) -> float | None:
    """Return the dimension of the data that rows (N, D) are of, of which equal ones count once; None for too few.

    Where density is even over the first neighbours, the volumes within them are those of uniform points: (r5 / r10)^d
    is the middle one of nine, of median 1/2, and doubles, being nearer than r5, have no part in it (compare Facco,
    d'Errico, Rodriguez and Laio 2017).
    """
    rows = torch.unique(rows, dim=0)
    found = _nearest(rows, rows, inside=True) if len(rows) >= LEAST else None
    return found[1] if found is not None else None


def _twins(known: Tensor, asked: Tensor, *, inside: bool) -> Twins | None:
    """Count samples whose nearest neighbour is far nearer than their fifth, and what chance makes of them.

    As for ``dimension_of`` (r1 / r5)^d is the least of four uniform numbers: P(r1 / r5 < a) = 1 - (1 - a^d)^4, with
    density cancelled.
    """
    found = _nearest(known, asked, inside=inside) if min(len(known), len(asked)) >= LEAST else None
    if found is None:
        return None
    ratio, dimension = found
    chance = 1 - (1 - RATIO**dimension) ** (NEIGHBOURS - 1)
    return Twins(n=len(ratio), found=int((ratio < RATIO).sum()), chance=chance, dimension=dimension)


def _nearest(known: Tensor, asked: Tensor, *, inside: bool) -> tuple[Tensor, float] | None:
    """Return the distance to the nearest neighbour over that to the fifth (N,), and the dimension of the data."""
    width = known.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width)).double()
    centre = known.mean(0).double()
    # centred and in double precision, for near points far from zero are told apart by their last digits
    distance = torch.cdist((asked.double() - centre) / width, (known.double() - centre) / width)
    if inside:
        distance.fill_diagonal_(torch.inf)
    nearest = distance.topk(2 * NEIGHBOURS, dim=1, largest=False).values
    nearest = nearest[torch.isfinite(nearest[:, -1])]
    ratio = nearest[:, 0] / nearest[:, NEIGHBOURS - 1]
    middle = float((nearest[:, NEIGHBOURS - 1] / nearest[:, -1]).median()) if len(nearest) else math.nan
    if not 0 < middle < 1:
        return None
    return ratio, math.log(0.5) / math.log(middle)
