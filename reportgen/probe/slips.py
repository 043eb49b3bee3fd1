"""Do labels belong to their rows? Rows in the order of their file, asked with the labels of rows beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ..document.samples import RowPart, Rows
from ..subject.data import tensors
from .averaged import in_rows
from .sequence import LEFT_OUT

PARTS = 8
LENGTH = 128  # rows of a part
REACH = 8  # rows up and down
LEAST = 240  # rows
_VALUES = 4096  # of a sample: larger ones are left alone, for reading them may cost much
_SECONDS = 2.0
_COLUMNS = 256
_PAIRED = 64  # columns that are compared from row to row
_TOKENS = 64
_NEIGHBOURS = 5
_CHAINED = 6.0  # standard errors, from which rows come in some order
_EVEN = 3.0  # labels that the sum comes from, at least: of fewer the null has a long tail, and is not judged by


def rows_of(data: Any) -> Rows | None:
    """Read up to 8 stretches of 128 rows and hold their labels, and those of rows beside them, against the inputs.

    An answer is the share of each class among the 5 nearest rows of other stretches (features standardised), or the
    mean of their targets. What a label scores with the answer of its row is summed over a stretch and compared with all
    ways to deal the labels out within it: mean and variance of the permutation null in closed form (Hoeffding 1951).
    ``shifted`` does the same with the labels of neighbours moved along. None where samples cannot be asked for by
    place, are large, or are no rows of numbers or of tokens with one target each, or several numbers.
    """
    read = _read(data)
    if read is None:
        return None
    stretches, n_rows = read
    x = _columns(torch.cat([part[1] for part in stretches]))
    y = torch.cat([part[2] for part in stretches])
    bounds = [0]
    for part in stretches:
        bounds.append(bounds[-1] + len(part[2]))
    if x is None or not bool((y != y[0]).any()) or not bool(torch.isfinite(y.double()).all()):
        return None
    near = _nearest(x, bounds)
    parts = [_part(near, y, bounds, k, stretches[k][0]) for k in range(len(stretches))]
    whole = [_z(near, y, bounds, shift) for shift in range(-REACH, REACH + 1)]
    chained = _chained(x, bounds)
    return Rows(
        n=len(y),
        of=n_rows,
        chained=chained,
        whole=whole,
        parts=parts,
        # means of windows hang together from row to row
        averaged=in_rows(stretches) if chained >= _CHAINED and y.dim() == 1 else None,
    )


def _read(data: Any) -> tuple[list[tuple[int, Tensor, Tensor]], int] | None:
    """Return stretches of rows, (first row, inputs, targets) each, and the number of all rows."""
    source = getattr(data, "dataset", None)
    if source is None or not hasattr(source, "__getitem__") or isinstance(source, IterableDataset):
        return None
    began = time.perf_counter()
    found: list[tuple[int, Tensor, Tensor]] = []
    try:
        size = len(source)
        if size < LEAST:
            return None
        for first, last in _stretches(size):
            inputs, targets = [], []
            for place in range(first, last):
                sample = source[place]
                if time.perf_counter() - began > _SECONDS or not _is_small(sample):
                    return None
                inputs.append(next(tensors(sample[0])).detach().cpu())
                targets.append(torch.as_tensor(sample[-1]).detach().cpu().reshape(-1))
            y = torch.stack(targets)
            several = y.shape[1] > 1 and not y.is_floating_point()
            if several or y.shape[1] > _VALUES or y.is_complex() or bool((y == LEFT_OUT).any()):
                return None
            y = y[:, :: -(-y.shape[1] // _COLUMNS)]
            found.append((first, torch.stack(inputs), y if y.shape[1] > 1 else y[:, 0]))
    except Exception:  # the data set is the caller's, and may answer to nothing but its own sampler
        return None
    return found, size


def _stretches(size: int) -> list[tuple[int, int]]:
    """Return where the stretches begin and end: the whole file where it is short, else evenly spaced ones."""
    if size <= PARTS * LENGTH:
        cuts = [round(k * size / PARTS) for k in range(PARTS + 1)]
        return list(pairwise(cuts))
    starts = [round(k * (size - LENGTH) / (PARTS - 1)) for k in range(PARTS)]
    return [(start, start + LENGTH) for start in starts]


def _is_small(sample: Any) -> bool:
    """Tell whether a sample is an input of few numbers, and a target."""
    if not isinstance(sample, Sequence) or isinstance(sample, str) or len(sample) != 2:
        return False
    x = next(tensors(sample[0]), None)
    return x is not None and 0 < x.numel() <= _VALUES and x.layout == torch.strided and not x.is_complex()


def _columns(x: Tensor) -> Tensor | None:
    """Return rows of numbers (N, F): values, or counts of the commonest tokens; scaled to unit spread."""
    if x.is_floating_point() or x.dtype == torch.uint8:
        rows = x.flatten(1).double()
        rows = rows[:, :: -(-rows.shape[1] // _COLUMNS)]
    elif x.dim() == 2 and x.dtype != torch.bool:
        values, place = torch.unique(x, return_inverse=True)
        rank = torch.bincount(place.flatten()).argsort(descending=True).argsort()
        width = min(len(values), _TOKENS)
        rows = torch.nn.functional.one_hot(rank[place].clamp_max(width), width + 1).sum(1)[:, :width].double()
    else:
        return None
    if not bool(torch.isfinite(rows).all()):
        return None
    spread = rows.std(0)
    rows = rows[:, spread > 0]
    return (rows - rows.mean(0)) / rows.std(0) if rows.shape[1] else None


def _nearest(x: Tensor, bounds: list[int]) -> Tensor:
    """Return the nearest rows of other stretches, (N, 5)."""
    distance = torch.cdist(x, x)
    for first, last in pairwise(bounds):
        distance[first:last, first:last] = torch.inf
    return distance.topk(_NEIGHBOURS, dim=1, largest=False).indices


def _part(near: Tensor, y: Tensor, bounds: list[int], k: int, place: int) -> RowPart:
    """Hold the labels of one stretch, and of the rows beside, against what rows of other stretches say."""
    first, last = bounds[k], bounds[k + 1]
    ours = y[first:last]
    worth = _worth(y[near[first:last]], ours, y)
    scores = {shift: _standing(worth, shift) for shift in range(-REACH, REACH + 1)}
    best = max((s for s in scores if s), key=scores.__getitem__)
    return RowPart(
        first=place,
        last=place + last - first - 1,
        own=scores[0] if _is_even(worth) else None,
        shift=best,
        shifted=scores[best],
    )


def _z(near: Tensor, y: Tensor, bounds: list[int], shift: int) -> float:
    """Move all labels along within their stretches and say how well they fit then, in standard deviations."""
    moved = torch.cat([part.roll(-shift, 0) for part in torch.split(y, [b - a for a, b in pairwise(bounds)])])
    scores = []
    for first, last in pairwise(bounds):
        worth = _worth(moved[near[first:last]], moved[first:last], moved)
        scores.append(_standing(worth, 0))
    return sum(scores) / math.sqrt(len(scores))


def _worth(told: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Return what the label of each row scores with the answer of each other, (rows, labels).

    Of targets that are several numbers the mean of what each of them scores, all brought to one size.
    """
    if y.dim() > 1:
        size = known.double().std(0)
        size = torch.where(size > 0, size, torch.ones_like(size))
        answer, truth = told.double().mean(1) / size, y.double() / size
        return (answer - answer.mean(0)) @ (truth - truth.mean(0)).T / y.shape[1]
    if y.is_floating_point() and bool((known != known.round()).any()):
        answer, truth = told.double().mean(1), y.double()
        return torch.outer(answer - answer.mean(), truth - truth.mean())
    return (told[:, :, None] == y).double().mean(1)


def _centred(worth: Tensor) -> tuple[Tensor, float]:
    """Return what labels score above what their row and their value score anyway, and the deviation of its sum."""
    centred = worth - worth.mean(0) - worth.mean(1, keepdim=True) + worth.mean()
    return centred, math.sqrt(float(centred.square().sum()) / (len(worth) - 1))


def _is_even(worth: Tensor) -> bool:
    """Tell whether enough labels make up the sum for deviations to tell how likely it is.

    By the participation ratio of their squares, (Σc²)² / (n Σc⁴): of a rare class two rows that meet by chance stand
    many deviations out.
    """
    centred, spread = _centred(worth)
    squares = centred.square()
    return spread > 1e-9 and float(squares.sum().square() / squares.square().sum()) >= _EVEN * len(worth)


def _standing(worth: Tensor, shift: int) -> float:
    """Return how many standard deviations the labels moved by ``shift`` rows stand above labels dealt out at random; 0
    where single labels weigh too much to tell."""
    if not _is_even(worth):
        return 0.0
    n = len(worth)
    centred, spread = _centred(worth)
    rows = torch.arange(max(0, -shift), min(n, n - shift))
    # labels that moved out of the stretch are missing, and the sum is that much shorter
    total = float(centred[rows, rows + shift].sum()) * math.sqrt(n / len(rows))
    return total / spread


def _chained(x: Tensor, bounds: list[int]) -> float:
    """Return the largest rank correlation of any column with any column some rows on, in standard errors.

    Rows that come in no particular order have none: 8 steps of 64 by 64 columns stay below 6.
    """
    columns = x[:, :: -(-x.shape[1] // _PAIRED)]
    ranks = columns.argsort(dim=0, stable=True).argsort(0).double()
    _, same = zip(*(torch.unique(c, return_inverse=True) for c in columns.T), strict=True)
    for k, place in enumerate(same):  # ties get their mean rank
        total = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(0, place, ranks[:, k])
        ranks[:, k] = (total / torch.bincount(place))[place]
    ranks = (ranks - ranks.mean(0)) / ranks.std(0).clamp_min(1e-12)
    most = 0.0
    for step in range(1, REACH + 1):
        pairs = [(ranks[a : b - step], ranks[a + step : b]) for a, b in pairwise(bounds) if b - a > step]
        here, on = (torch.cat(side) for side in zip(*pairs, strict=True))
        most = max(most, float((here.T @ on).abs().max()) / math.sqrt(len(here)))
    return most
