"""Codes of categories that each split may have numbered for itself: which number of the one is which of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_CODES = 512
_LEAST = 3
_REPEATED = 4  # samples to a code on average, at least: numbers that hardly repeat are no categories


def renumbered(known: Tensor, given: Tensor, asked: Tensor) -> Iterator[Tensor]:
    """Yield the table ``asked`` (N, F) with its codes numbered as in the training data, in one way after another.

    ``known`` and ``given``: rows of either split, to count codes in. First as an encoder does that was fitted again on
    fewer categories, in their order: the increasing map of codes that makes the counts of the data given likeliest by
    the shares of the training data. Then by the order of how often they occur, for encoders without an order of their
    own. Each by column, and once with one map for all columns, as tokens have.
    """
    if known.shape[1:] != given.shape[1:] or not known.shape[1]:
        return
    columns = [[(known[:, k], given[:, k])] for k in range(known.shape[1])]
    for match in (_increasing, _by_frequency):
        maps = [_map(pairs, match) for pairs in columns]
        if any(found is not None for found in maps):
            yield torch.stack([_applied(asked[:, k], found) for k, found in enumerate(maps)], 1)
        if len(columns) > 1:
            found = _map([pair for pairs in columns for pair in pairs], match)
            if found is not None:
                yield _applied(asked, found)


Codes = tuple[Tensor, Tensor]


def _map(pairs: list[tuple[Tensor, Tensor]], match: Callable[[Tensor, Tensor], Tensor]) -> Codes | None:
    """Return codes of the data given, ascending, and the codes of the training data that they stand for."""
    ours, theirs = (torch.cat([pair[side].flatten().double().cpu() for pair in pairs]) for side in (0, 1))
    if any(bool((part != part.round()).any()) for part in (ours, theirs)):
        return None
    (a, n_a), (b, n_b) = (torch.unique(part, return_counts=True) for part in (ours, theirs))
    few = _LEAST <= len(b) <= len(a) <= _CODES
    if not few or _REPEATED * len(a) > len(ours) or _REPEATED * len(b) > len(theirs):
        return None
    place = match(n_a, n_b)
    likely = ((n_a + 0.5) / (n_a.sum() + 0.5 * len(a))).log()
    same = torch.where(torch.isin(b, a), likely[torch.searchsorted(a, b).clamp_max(len(a) - 1)], likely.min())
    # an encoder that is the same is left alone: a map with so many steps fits a little better by chance
    if float((n_b * (likely[place] - same)).sum()) <= len(b):
        return None
    return b, a[place]


def _increasing(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the places, ascending, at which counts ``theirs`` are likeliest by the shares of counts ``ours``."""
    likely = ((ours + 0.5) / (ours.sum() + 0.5 * len(ours))).log()
    best = torch.zeros(len(ours), dtype=torch.float64)  # of the codes so far, all of them left of this place
    came = []
    for count in theirs.tolist():
        ending = best + count * likely
        most, at = ending.cummax(0)
        came.append(at)
        best = torch.cat([torch.tensor([-torch.inf], dtype=torch.float64), most[:-1].double()])
    places, bound = [], len(ours) - 1
    for at in reversed(came):
        places.append(int(at[bound]))
        bound = places[-1] - 1
    return torch.tensor(places[::-1])


def _by_frequency(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the place whose rank among counts ``ours`` is that of each of the counts ``theirs``."""
    rank = theirs.argsort(descending=True, stable=True).argsort()
    return ours.argsort(descending=True, stable=True)[rank]


def _applied(values: Tensor, found: Codes | None) -> Tensor:
    """Return the values with their codes replaced; those that the map does not know stay."""
    if found is None:
        return values
    codes, stand_for = (part.to(values.device) for part in found)
    place = torch.searchsorted(codes, values.double().contiguous()).clamp_max(len(codes) - 1)
    return torch.where(codes[place] == values, stand_for[place], values.double()).to(values.dtype)
