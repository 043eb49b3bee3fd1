"""Is a feature a mean over rows of a series with the target of its own row in it, as of a window that was centred?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..document.samples import Averaged

LONGEST = 63  # rows of a window
_SHORT = 31  # that are looked for at every place
BESIDE = 8  # rows that a window may lie off its own row
COLUMNS = 64
VALUES = 20  # different targets: of few values sums meet by chance
EXACT = 1e-5  # of the variance, what rounding leaves
_OFF = 1e-7
_CLEARER = 100.0
_TRIED = 2  # stretches in which windows are looked for; the others have to agree
_ALIKE = 0.1  # deviation of a lagged target, against that of the target
_EQUAL = 0.05
_AGAINST = -0.4
_NONE = 1e-3
_LEAST = 0.01  # weight of the own row in a running mean, and of all before it
_ROUNDED = 1e-9
_OPEN = 0.99


def in_rows(stretches: list[tuple[int, Tensor, Tensor]]) -> Averaged | None:
    """Look for a column that is the mean of the targets of a window of rows with its own row in it.

    Windows of 2 to 63 rows, in the order of the file; exact but for rounding, in half of the stretches at least, and a
    hundred times closer than that of any window (or single row) that leaves the own row out: in a series that goes on
    by a rule of its own, what is past tells as much.
    """
    y = torch.cat([part[2] for part in stretches])
    if not y.is_floating_point() or len(torch.unique(y)) < VALUES:
        return None
    parts = [(x.flatten(1).double(), y.double()) for _, x, y in stretches]
    width = parts[0][0].shape[1]
    if width > COLUMNS or not all(bool(torch.isfinite(x).all() and torch.isfinite(y).all()) for x, y in parts):
        return None
    for x, y in parts[len(parts) // 2 :][:_TRIED]:
        found = _search(x, y)
        if found is None and (running := _running(x, y)) is not None:
            column, weight, rest, without = running
            agreed = [_rest_running(x[:, [column]], y, 0)[0] for x, y in parts]
            if sum(float(r) <= EXACT for r in agreed) >= len(parts) / 2:
                return Averaged(
                    feature=column,
                    by="running",
                    length=max(2, round(2 / weight - 1)),
                    weight=weight,
                    r2=1 - rest,
                    without=1 - without,
                    n=sum(len(y) for _, y in parts),
                )
        if found is None:
            continue
        column, length, before, rest, without = found
        agreed = [_rest(x[:, [column]], y, length, before) for x, y in parts]
        if sum(float(r) <= EXACT for r in agreed) >= len(parts) / 2:
            return Averaged(
                feature=column,
                by="rows",
                length=length,
                before=before,
                r2=1 - rest,
                without=1 - without,
                n=sum(len(y) for _, y in parts),
            )
    return None


def _search(x: Tensor, y: Tensor) -> tuple[int, int, int, float, float] | None:
    """Return the column that a window tells best: column, length, rows before the own one, and what is left of it."""
    inside = torch.full((x.shape[1],), torch.inf, dtype=torch.float64)
    outside = inside.clone()
    windows = torch.zeros(x.shape[1], 2, dtype=torch.long)
    for length in range(1, LONGEST + 1):
        for before in _places(length):
            rest = _rest(x, y, length, before)
            if length > 1 and 0 <= before < length:
                better = rest < inside
                windows[better] = torch.tensor([length, before])
                inside = torch.minimum(inside, rest)
            else:
                outside = torch.minimum(outside, rest)
    clear = (inside < EXACT) & (outside > _CLEARER * inside.clamp_min(_OFF))
    places = clear.nonzero().flatten().tolist()
    # columns of one length at several places are a signal that was blurred, and the target is what it was before
    lengths = [int(windows[k, 0]) for k in places]
    if not places or len(set(lengths)) < len(lengths):
        return None
    column = min(places, key=lambda k: float(inside[k]))
    return column, *windows[column].tolist(), float(inside[column]), float(outside[column])


def _places(length: int) -> list[int]:
    """Return how many rows before its own a window may begin: of a long one, which end or have their middle there."""
    if length <= _SHORT:
        return [*range(-BESIDE, length + BESIDE)]
    middle = (length - 1) // 2
    return [-2, -1, 0, 1, middle, middle + 1, length - 2, length - 1, length, length + 1]


def _rest(x: Tensor, y: Tensor, length: int, before: int) -> Tensor:
    """Return the share of each column's variance that the sums of y over rows -before to length-before-1 leave."""
    n = len(y)
    total = torch.cat([torch.zeros(1, dtype=y.dtype), (y - y.mean()).cumsum(0)])
    sums = total[length:] - total[:-length]
    first, last = max(0, before), min(n - 1, n - length + before)
    if last - first < n // 2:
        return torch.full((x.shape[1],), torch.inf, dtype=torch.float64)
    a, b = x[first : last + 1], sums[first - before : last - before + 1]
    a, b = a - a.mean(0), b - b.mean()
    spread = a.square().sum(0) * b.square().sum()
    left = 1 - (a * b[:, None]).sum(0).square() / spread.clamp_min(1e-300)
    return torch.where(spread > 0, left.clamp_min(0), torch.inf)


def _running(x: Tensor, y: Tensor) -> tuple[int, float, float, float] | None:
    """Return the column that is an exponential mean of the targets; weight of the last, and what is left of its moves.

    x(t) = (1 - a) x(t - 1) + a y(t), on whatever scale: what the column before leaves open is told by the target of
    the row, exactly, and not by that of any other row within reach.
    """
    inside, kept = _rest_running(x, y, 0)
    outside = torch.stack([_rest_running(x, y, k)[0] for k in range(-BESIDE, BESIDE + 1) if k]).amin(0)
    fits = (inside < EXACT) & (outside > _CLEARER * inside.clamp_min(_OFF)) & (kept > _LEAST) & (kept < 1 - _LEAST)
    places = fits.nonzero().flatten().tolist()
    if not places:
        return None
    column = min(places, key=lambda k: float(inside[k]))
    return column, 1 - float(kept[column]), float(inside[column]), float(outside[column])


def _rest_running(x: Tensor, y: Tensor, off: int) -> tuple[Tensor, Tensor]:
    """Return what the target ``off`` rows on leaves of what a column's last value leaves, and the weight of that."""
    first, last = max(1, -off), len(y) - max(0, off)
    before, now = x[first - 1 : last - 1], x[first:last]
    goal = y[first + off : last + off, None].expand_as(now)
    before, now, goal = (part - part.mean(0) for part in (before, now, goal))
    square = before.square().sum(0).clamp_min(1e-300)
    along, across = (now * before).sum(0) / square, (goal * before).sum(0) / square
    move, way = now - along * before, goal - across * before
    own, size = move.square().sum(0), way.square().sum(0)
    weight = (move * way).sum(0) / size.clamp_min(1e-300)
    left = (move - weight * way).square().sum(0) / own.clamp_min(1e-300)
    # of a column that hardly moves on its own, what is left is rounding
    moves = (own > _ROUNDED * now.square().sum(0)) & (weight > 0)
    return torch.where(moves, left, torch.inf), along - weight * across


def in_columns(table: tuple[Tensor, Tensor] | None, kind: str, step: int) -> Averaged | None:
    """Look for a column that is the mean of the target and of other columns, which are the target at other times.

    Rows may come in any order. The target is a linear function of some columns, but for rounding, and is not (R² below
    0.99) without one of these; the others have a weight of -1 all, the deviation of the target, and no correlation with
    it below -0.4. Numbers that were put together from columns that have nothing to do with each other are spread more
    than each of these, or run against them.
    """
    if table is None or kind != "numbers" or step > 1:
        return None
    x, y = table[0].double(), table[1]
    n, width = x.shape
    if not 2 <= width <= COLUMNS or n < 4 * width or len(torch.unique(y)) < VALUES:
        return None
    x, y = x - x.mean(0), y - y.mean()
    spread, own = x.std(0), float(y.std())
    moving = (spread > 0).nonzero().flatten()
    units = x[:, moving] / spread[moving]
    size, weights, left = _fitted(units, y / own)
    if left > EXACT or size < _NONE:
        return None
    weights = weights * own / spread[moving]
    used = (weights.abs() * spread[moving] > _NONE * own).nonzero().flatten().tolist()
    for place in used:
        others = [k for k in used if k != place]
        told, alike = weights[others], spread[moving[others]] / own
        against = (x[:, moving[others]] * y[:, None]).mean(0) / (spread[moving[others]] * own)
        if not others or bool(((told + 1).abs() > _EQUAL).any() or ((alike - 1).abs() > _ALIKE).any()):
            continue
        if bool((against < _AGAINST).any()):
            continue
        rest = [k for k in range(len(moving)) if k != place]
        without = 1 - _fitted(units[:, rest], y / own)[2]
        if float(weights[place]) > 0 and without < _OPEN:
            column = int(moving[place])
            return Averaged(feature=column, by="columns", length=len(used), r2=1 - left, without=without, n=n)
    return None


def _fitted(units: Tensor, y: Tensor) -> tuple[float, Tensor, float]:
    """Return the smallest singular value over the largest, the weights, and what they leave of the variance."""
    u, s, v = torch.linalg.svd(units, full_matrices=False)
    weights = v.T @ ((u.T @ y) / s.clamp_min(1e-12))
    left = float((y - units @ weights).square().sum() / y.square().sum())
    return float(s[-1] / s[0]), weights, left
