"""Is a column the mean of the targets of all rows with the same category, those of the data given among them?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..document.samples import Encoded
from ..subject.data import Batch

_ROWS = 1 << 14
_COLUMNS = 64
_FIRST = 512  # rows
_DISTINCT = 0.9  # of the rows: most categories may have one
_VALUES = 20  # that occur in both splits: a line through two of them meets no others by chance
_FEW = 5  # values of a yes or no: both ends, and three shares between
_BY_CHANCE = 1e-5  # of shares that are met to the row
_AT_ENDS = 20  # rows
_CLASSES = 16
_PAIRS = 200
_LOOKED_AT = 256  # values, to choose among the pairs
_RELATED = 0.3  # correlation of smoothed means with plain ones, at least
_TOGETHER = 30  # categories of one value
_EXACT = 1e-4  # of the standard deviation of the column, which single precision keeps


class TableRows:
    """All rows of a table with one target each; nothing where they are many, or no table."""

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._n = 0
        self._possible = True

    def update(self, batch: Batch) -> None:
        """Add the rows of one batch."""
        x, y = batch.first, batch.target
        self._possible &= (
            x is not None and x.dim() == 2 and x.is_floating_point() and 1 < x.shape[1] <= _COLUMNS
        ) and (isinstance(y, Tensor) and not y.is_complex() and y.numel() == len(x))
        if not self._possible or x is None or not isinstance(y, Tensor):
            self._rows.clear()
            return
        self._n += len(x)
        self._possible = self._n <= _ROWS
        self._rows.append((x.detach().cpu().clone(), y.detach().reshape(-1).cpu().clone()))

    def table(self) -> tuple[Tensor, Tensor] | None:
        """Return inputs (N, F) and targets (N,) in double precision."""
        if not self._possible or not self._rows or len({x.shape[1] for x, _ in self._rows}) != 1:
            return None
        x, y = (torch.cat(parts).double() for parts in zip(*self._rows, strict=True))
        return (x, y) if bool(torch.isfinite(x).all() & torch.isfinite(y).all()) else None


def encoded(training: TableRows, given: TableRows) -> Encoded | None:
    """Return a column that is the mean target of all rows of each of its values, and not of the training rows.

    The mean may be scaled and moved (a column that was standardised), or drawn towards a common one by a number of rows
    that it counts for (smoothing). Of classes it may be that of their numbers or the share of one of them. Where few
    rows share a category, shares of yes take few values, from 0 to 1; see ``_of_few``. None where no column is.
    """
    ours, theirs = training.table(), given.table()
    if ours is None or theirs is None or ours[0].shape[1] != theirs[0].shape[1]:
        return None
    x, y = torch.cat([ours[0], theirs[0]]), torch.cat([ours[1], theirs[1]])
    known = len(ours[1])
    wanted = [y]
    classes = torch.unique(y)
    if 2 < len(classes) <= _CLASSES and bool((classes == classes.round()).all()):
        wanted += [(y == label).double() for label in classes]
    found: list[Encoded] = []
    for column in range(x.shape[1]):
        some = x[:_FIRST, column]
        if len(torch.unique(some)) == _FIRST:  # of values that are shared, some meet
            continue
        values, place = torch.unique(x[:, column], return_inverse=True)
        shared = len(set(place[:known].tolist()) & set(place[known:].tolist()))
        if len(values) > _DISTINCT * len(x) or shared < _FEW:
            continue
        if shared >= _VALUES:
            found += _of_many(column, values, place, wanted, known)
        elif len(classes) == 2:
            found += _of_few(column, values, place, (y == classes[1]).double(), known)
    return max(found, key=lambda e: e.told, default=None)


def _of_many(column: int, values: Tensor, place: Tensor, wanted: list[Tensor], known: int) -> list[Encoded]:
    both = torch.bincount(place, minlength=len(values)).double()
    first = torch.bincount(place[:known], minlength=len(values)).double()
    shared, seen, asked = (first > 0) & (first < both), first > 0, place[known:]
    found = []
    for target in wanted:
        sums = torch.zeros_like(both).index_add_(0, place, target)
        off = _off(values, sums, both)
        if off >= _EXACT:
            continue
        own = torch.zeros_like(both).index_add_(0, place[:known], target[:known])
        alone = _off(values[seen], own[seen], first[seen])
        if 0.1 * alone > _EXACT:
            told = _told((own / first)[asked], values[asked], target[known:], shared[asked])
            found.append(Encoded(feature=column, values=len(values), told=told, off=off, train_off=alone))
    return found


def _of_few(column: int, values: Tensor, place: Tensor, yes: Tensor, known: int) -> list[Encoded]:
    """Find a column whose few values are the shares of yes among all rows with each of them, to the row.

    The least value has no yes at all, the largest nothing else, in twenty rows or more each; of those between, each
    share would be met exactly by so many rows drawn with it with a chance of a few percent, and all of them together
    with less than 1e-5. ``told``: squared correlation with the targets given.
    """
    both = torch.bincount(place, minlength=len(values)).double()
    sums = torch.zeros_like(both).index_add_(0, place, yes)
    ends = bool(sums[0] == 0) and bool(sums[-1] == both[-1]) and float(both[[0, -1]].min()) >= _AT_ENDS
    shares = (values - values[0]) / (values[-1] - values[0]).clamp_min(1e-300)
    off = float((sums / both - shares).abs().max() / shares.std(correction=0))
    between = (sums > 0) & (sums < both)
    if not ends or off >= _EXACT or not bool(between.any()):
        return []
    n, k = both[between], sums[between]
    choices = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    chance = float((choices + k * (k / n).log() + (n - k) * (1 - k / n).log()).sum())
    if chance > math.log(_BY_CHANCE):
        return []
    first = torch.bincount(place[:known], minlength=len(values)).double()
    own = torch.zeros_like(both).index_add_(0, place[:known], yes[:known])
    alone = float((own / first - shares)[first > 0].abs().max() / shares.std(correction=0))
    told = float(torch.corrcoef(torch.stack([shares[place[known:]], yes[known:]]))[0, 1].square().nan_to_num(0.0))
    return [Encoded(feature=column, values=len(values), told=told, off=off, train_off=alone)] if alone > _EXACT else []


def _told(expected: Tensor, values: Tensor, truth: Tensor, shared: Tensor) -> float:
    """Return the share of what training means leave open that the column tells of the targets given."""
    expected = torch.stack([expected[shared], torch.ones(int(shared.sum())).double()], 1)
    column, left = (part[shared] - expected @ _fitted(expected, part[shared]) for part in (values, truth))
    return float((column @ left).square() / (column.square().sum() * left.square().sum()).clamp_min(1e-300))


def _off(values: Tensor, sums: Tensor, counts: Tensor) -> float:
    """Return how far values lie from means at most, in standard deviations: the nearer of a line and of smoothing."""
    spread = values.std(correction=0).clamp_min(1e-300)
    means = sums / counts
    scale, offset = _fitted(torch.stack([means, torch.ones_like(means)], 1), values).tolist()
    off = float((scale * means + offset - values).abs().max())
    if float(torch.corrcoef(torch.stack([values, means]))[0, 1]) < _RELATED:
        return off / float(spread)
    return min(off, _off_smoothed(values, sums, counts)) / float(spread)


def _off_smoothed(values: Tensor, sums: Tensor, counts: Tensor) -> float:
    """Return the same of value = (sum + rows·common) / (count + rows), for the best of the lines through two values.

    That is linear in rows and rows·common. Where several categories have one value, their rows are counted together,
    and rows as often as there are categories: a whole number of times.
    """
    smoothed = values * counts - sums
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(len(values), (_PAIRS,), generator=generator) for _ in range(2))
    first, second = first[first != second], second[first != second]
    rows = (smoothed[second] - smoothed[first]) / (values[first] - values[second])
    common = values[first] + smoothed[first] / rows
    rows, common = rows[rows > 0], common[rows > 0]
    if not len(rows):
        return float("inf")
    some = torch.randperm(len(values), generator=generator)[:_LOOKED_AT]
    away = _away(rows[:, None], common[:, None], values[some], smoothed[some], counts[some])  # (pairs, values)
    best = int(away.amax(1).argmin())
    return float(_away(rows[best], common[best], values, smoothed, counts).max())


def _away(rows: Tensor, common: Tensor, values: Tensor, smoothed: Tensor, counts: Tensor) -> Tensor:
    once = rows * (common - values)
    times = (smoothed / once).nan_to_num(1.0).round().clamp(1, _TOGETHER)
    return ((times * once - smoothed) / counts).abs()


def _fitted(columns: Tensor, wanted: Tensor) -> Tensor:
    """Return the weights of columns (N, 2) by least squares."""
    found: Tensor = torch.linalg.lstsq(columns, wanted[:, None]).solution
    return found.flatten()
