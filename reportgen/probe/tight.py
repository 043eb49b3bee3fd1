"""Tight groups among samples, of any size: the frames of one patient, the copies of one original."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST = 40
"""Other members of a group that are looked for."""
_RANKS = (5, 10, 20, 40)  # distances to these and to twice as far ones tell the dimension
GAP = 1e-3
"""Chance of a gap as wide between two neighbours of points of even density."""
_TIGHT = 0.67
"""The last of a group is nearer than this part of the way to the next: in many dimensions all gaps are narrow."""
_LEAST = 10
_LARGEST = 0.2  # of all samples


def tight_groups(distance: Tensor) -> Tensor | None:
    """Return the number of the group of each sample (N,); None unless most samples stand in one, and groups are many.

    ``distance`` is (N, N) with infinity on its diagonal. A group of k others ends where the next sample is so much
    farther off, by half at least, that points of even density have such a gap one time in a thousand:
    (r_k / r_k+1)^(d k), which is uniform for them (Rényi 1953). d is the largest dimension that neighbours of any rank
    tell, for those of one group and of the next tell one that is too small. Two samples are together where each is in
    the group of the other.
    """
    n = len(distance)
    if n < 2 * MOST + 2:
        return None
    nearest, places = distance.topk(2 * MOST, dim=1, largest=False)
    middles = [float((nearest[:, k - 1] / nearest[:, 2 * k - 1]).median()) for k in _RANKS]
    middles = [m for m in middles if 0 < m < 1]
    if not middles:
        return None
    dimension = max(math.log(0.5) / math.log(m) for m in middles)
    k = torch.arange(1, MOST + 1)
    ratio = nearest[:, :MOST] / nearest[:, 1 : MOST + 1]
    chance, widest = torch.where(ratio < _TIGHT, ratio.pow(dimension * k), 1.0).min(1)
    grouped = chance < GAP
    if not bool(grouped.double().mean() > 0.5):
        return None
    near = torch.zeros(n, n, dtype=torch.bool)
    near.scatter_(1, places[:, :MOST], (torch.arange(MOST) <= widest[:, None]) & grouped[:, None])
    near &= near.T.clone()
    group = torch.arange(n)
    while True:  # the smallest number goes round in each group
        lowest = torch.where(near, group, n).amin(1).minimum(group)
        if bool((lowest == group).all()):
            break
        group = lowest
    numbers, counts = torch.unique(group, return_counts=True)
    if len(numbers) < 2 * _LEAST or int(counts.max()) > _LARGEST * n:
        return None
    return torch.searchsorted(numbers, group)
