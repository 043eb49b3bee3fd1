"""Training inputs that are two training samples mixed or cut into one, and whose target the loop asked for.

The rows were kept by a monitor: what went into the model, what came out, and the gradient that came back to it. Which
target a loss was given shows in that gradient: the same loss, asked with the target of either sample, tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..document.samples import Asked, Mixed
from ..subject.data import Batch

ENTRIES = 1 << 8  # of an input that are looked at
_MOST = 1 << 14  # training samples among which the parts are looked for
_WIDE = 1 << 10  # numbers in one target
_DIRECTIONS = 4
_FEWEST = 6  # entries of an input: fewer lie between two others by chance
_TOLERANCE = 1e-4  # between directions along unit normals; four of them agree by chance in one of 1e16 pairs
_SAME = 1e-5  # distance from a training sample, over the length of a row, that is none
_FITS = 1e-5  # share of a gradient's square that a target leaves over
_APART = 1e-3  # share that the other explanations leave over at least
_LESSER = 0.4  # share of a part that is the lesser one beyond doubt
_SLIGHT = 0.1  # share of a part that is next to nothing, and of whose target next to nothing is seen
_CLASSES = 64  # that are asked for one by one
_MANY = 3  # rows of a batch
_EQUAL = 0.01  # from one half, at which neither part is the larger one
_EARLY = 24  # rows that lie between no two samples, after which no more are looked at
_ROWS = 6  # of a look whose entries are held against those of samples one by one
_ASKED = 16  # entries of a row that are looked at first
_NEAREST = 4  # samples of which a row may hold pieces


@dataclass(frozen=True)
class Look:
    """A few samples of one training batch as they went through the model."""

    inputs: Tensor
    """(rows, entries): see ``spaced``."""
    outputs: Tensor
    gradients: Tensor
    """Of the loss by the outputs, up to a factor."""


def spaced(x: Tensor, rows: int) -> Tensor:
    """Return evenly spaced entries of the first rows: (rows, entries)."""
    flat = x[:rows].detach().reshape(min(rows, len(x)), -1)
    return flat[:, :: max(1, math.ceil(flat.shape[1] / ENTRIES))]


@dataclass
class _Pair:
    """The two training samples that a row lies between."""

    row: int
    first: int
    second: int
    share: float
    """Of the first."""


@dataclass
class Mixtures:
    """Reads the training samples, and tells which of the looked-at rows lie between two of them.

    A row x = w a + (1 - w) b sees its parts in opposite directions. Directions are told by their products with four
    fixed normal vectors, sorted by the first; nothing else is kept of a sample but its target. A row that was cut from
    two has each entry from one of them: of the samples that most of its entries come from, two make it up.
    """

    looks: Sequence[Look]
    _rows: Tensor | None = None
    _normals: Tensor | None = None
    _products: list[Tensor] = field(default_factory=list)
    """(samples, rows + directions + 1): with the rows, the normal vectors and itself."""
    _targets: list[Tensor] = field(default_factory=list)
    _pieces: Pieces | None = None
    _n: int = 0
    _open: bool = True

    def update(self, batch: Batch) -> None:
        """Take the samples of a batch."""
        first, target = batch.first, batch.target
        if not self._open or not self.looks or first is None or self._n >= _MOST:
            return
        if not isinstance(target, Tensor) or not first.is_floating_point() or not first.dim() or not len(first):
            self._open = False
            return
        x = spaced(first, len(first)).double().cpu()
        if self._rows is None:
            self._begin(x.shape[1])
        if self._rows is None or self._normals is None or x.shape[1] != self._rows.shape[1]:
            self._open = False
            return
        if target.dim() == 0 or len(target) != len(x) or target[0].numel() > _WIDE:
            self._open = False
            return
        self._products.append(torch.cat([x @ self._rows.T, x @ self._normals, x.square().sum(1, keepdim=True)], 1))
        self._targets.append(target.detach().cpu())
        if self._pieces is not None:
            self._pieces.update(x, self._n)
        self._n += len(x)

    def read(self, batches: Iterable[Batch]) -> None:
        """Take the samples of several batches in the place of all that were taken before."""
        self._products, self._targets, self._rows, self._n = [], [], None, 0
        for batch in batches:
            if self._n >= _MOST or not self._open:
                break
            self.update(batch)

    def _begin(self, width: int) -> None:
        looks = [look for look in self.looks if look.inputs.shape[1] == width and look.inputs.is_floating_point()]
        rows = torch.cat([look.inputs.double().cpu() for look in looks]) if looks else None
        if rows is None or width < _FEWEST or not bool(torch.isfinite(rows).all()):
            self._open = False
            return
        self.looks, self._rows = looks, rows
        self._pieces = Pieces.of(looks)
        normals = torch.randn(width, _DIRECTIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._normals = normals

    def facts(self, loss: Callable[[Any, Any], Any] | None) -> Mixed | None:
        """Return what the rows are made of, and which targets were asked for; None where that cannot be told."""
        if not self._open or loss is None or self._rows is None or not self._products:
            return None
        pairs = self._pairs()
        targets = torch.cat(self._targets)
        told = [_told(look, found, targets, loss) for look, found in self._by_look(pairs)]
        asked = [share for look in told for share in look.asked]
        due = [s * s + (1 - s) ** 2 for s in asked]
        spread = sum(s * (1 - s) * (2 * s - 1) ** 2 for s in asked)
        batches = [
            look.asked for look in told if len(look.asked) >= _MANY and all(abs(s - 0.5) > _EQUAL for s in look.asked)
        ]
        larger = [[max(s, 1 - s) for s in batch] for batch in batches]
        chances = [math.prod(own) + math.prod(1 - s for s in own) for own in larger]
        return Mixed(
            rows=len(self._rows),
            mixed=len(pairs),
            judged=sum(look.judged for look in told),
            one=len(asked),
            lesser=sum(share < _LESSER for share in asked),
            share=sum(asked) / len(asked) if asked else None,
            due=sum(due) / len(due) if due else None,
            error=math.sqrt(spread) / len(asked) if asked else None,
            batches=len(batches),
            together=sum(len({s > 0.5 for s in batch}) == 1 for batch in batches),
            together_due=sum(chances),
            together_error=math.sqrt(sum(p * (1 - p) for p in chances)),
        )

    def asked(self, loss: Callable[[Any, Any], Any] | None) -> Asked | None:
        """Return which classes were asked for with inputs that are training samples as they are; None without classes.

        Each class that occurs is asked for in turn: the gradient says which it was.
        """
        if not self._open or loss is None or self._rows is None or not self._products:
            return None
        targets = torch.cat(self._targets)
        classes = torch.unique(targets)
        if targets.dim() != 1 or targets.is_floating_point() or not 3 <= len(classes) <= _CLASSES:
            return None
        seen: list[tuple[list[int], int, bool]] = []
        outputs = torch.cat([look.outputs for look in self.looks])
        gradients = torch.cat([look.gradients for look in self.looks]).double().cpu()
        for row, same in self._plain():
            if outputs[row].dim() != 1 or outputs[row].numel() < 3 or not bool(gradients[row].any()):
                continue
            asked = _gradient(loss, outputs[row].expand(len(classes), -1), classes).reshape(len(classes), -1)
            left = [_left(gradients[row], one, None) for one in asked]
            best, second = sorted(left)[:2]
            if best < _FITS and second > _APART:
                found = int(classes[left.index(best)])
                seen.append((targets[same].tolist(), found, found == int(outputs[row].argmax())))
        own = [(labels[0], found) for labels, found, _ in seen]
        commonest = {a: Counter(b for c, b in own if c == a).most_common(1)[0][0] for a, _ in own}
        return Asked(
            rows=len(seen),
            other=sum(found not in labels for labels, found, _ in seen),
            unforeseen=sum(found not in labels and not foreseen for labels, found, foreseen in seen),
            mapped=sum(commonest[a] == b for a, b in own),
            classes=len(commonest),
            images=len(set(commonest.values())),
            chance=sum((n / len(targets)) ** 2 for n in Counter(targets.tolist()).values()),
        )

    def _plain(self) -> list[tuple[int, Tensor]]:
        """Return the rows that are training samples as they are, and which ones."""
        assert self._rows is not None
        table, n = torch.cat(self._products), len(self._rows)
        lengths = self._rows.square().sum(1)
        found = []
        for at in range(n):
            far = (table[:, -1] - 2 * table[:, at] + lengths[at]).clamp_min(0).sqrt()
            same = (far <= _SAME * math.sqrt(float(lengths[at]))).nonzero().flatten()
            if len(same):
                found.append((at, same))
        return found

    def _pairs(self) -> list[_Pair]:
        assert self._rows is not None
        assert self._normals is not None
        table = torch.cat(self._products)
        n = len(self._rows)
        with_normals, squares = table[:, n:-1], table[:, -1]
        lengths = self._rows.square().sum(1)
        pairs: list[_Pair] = []
        searched = 0
        for at, row in enumerate(self._rows):
            far = (squares - 2 * table[:, at] + lengths[at]).clamp_min(0).sqrt()
            if float(far.min()) <= _SAME * math.sqrt(float(lengths[at])):
                continue  # a training sample as it is
            if not pairs and searched == _EARLY:
                break
            searched += 1
            directions = (with_normals - row @ self._normals) / far[:, None]
            if (found := _opposite(directions)) is not None:
                i, j = found
                pairs.append(_Pair(at, i, j, float(far[j] / (far[i] + far[j]))))
        return pairs or (self._pieces.pairs() if self._pieces is not None else [])

    def _by_look(self, pairs: list[_Pair]) -> list[tuple[Look, list[_Pair]]]:
        out, start = [], 0
        for look in self.looks:
            end = start + len(look.inputs)
            own = [_Pair(p.row - start, p.first, p.second, p.share) for p in pairs if start <= p.row < end]
            out.append((look, own))
            start = end
        return out


@dataclass
class Pieces:
    """Samples that entries of a few rows were taken from, as they are."""

    rows: Tensor
    """(rows, entries)"""
    places: list[int]
    """Of these rows among all."""
    telling: Tensor
    """(rows, entries): what is not the ground that most entries of the row lie on."""
    asked: Tensor
    """(rows, a few places)"""
    known: list[list[tuple[int, int, Tensor]]]
    """Of each row: number of entries that a sample shares, its place, and which."""
    open: list[int]
    """Rows that no sample makes up alone."""

    @staticmethod
    def of(looks: Sequence[Look]) -> Pieces:
        starts = [sum(len(look.inputs) for look in looks[:i]) for i in range(len(looks))]
        rows = torch.cat([look.inputs[:_ROWS].double().cpu() for look in looks]).float()
        places = [start + i for start, look in zip(starts, looks, strict=True) for i in range(len(look.inputs[:_ROWS]))]
        telling = rows != rows.mode(1, keepdim=True).values
        order = torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) + telling
        asked = order.topk(min(_ASKED, rows.shape[1]), 1).indices
        return Pieces(rows, places, telling, asked, [[] for _ in places], list(range(len(places))))

    def update(self, x: Tensor, start: int) -> None:
        """Take samples; only one that shares one of a few entries with a row is held against all of it."""
        if not self.open:
            return
        x, rows, telling = x.float(), self.rows[self.open], self.telling[self.open]
        asked = self.asked[self.open]
        hit = (x[:, asked] == rows.gather(1, asked)) & telling.gather(1, asked)
        samples, at = hit.any(2).nonzero(as_tuple=True)
        same = (x[samples] == rows[at]) & telling[at]
        counts = same.sum(1)
        for k in (counts >= _FEWEST).nonzero().flatten().tolist():
            row, n = self.open[int(at[k])], int(counts[k])
            known = self.known[row]
            if len(known) < _NEAREST or n > known[-1][0]:
                known.append((n, start + int(samples[k]), same[k]))
                known.sort(key=lambda one: -one[0])
                del known[_NEAREST:]
        self.open = [row for row in self.open if not self._is_whole(row)]

    def _is_whole(self, row: int) -> bool:
        """Tell whether all of a row comes from one sample."""
        return bool(self.known[row]) and self.known[row][0][0] == int(self.telling[row].sum())

    def pairs(self) -> list[_Pair]:
        """Return the rows that two samples make up."""
        out = []
        for place, telling, known in zip(self.places, self.telling, self.known, strict=True):
            whole = int(telling.sum())
            if not known or known[0][0] == whole:
                continue
            for (_, i, first), (_, j, second) in combinations(known, 2):
                own, other = int((first & ~second).sum()), int((second & ~first).sum())
                if int((first | second).sum()) == whole and min(own, other) >= _FEWEST:
                    out.append(_Pair(place, i, j, own / (own + other)))
                    break
        return out


def _opposite(directions: Tensor) -> tuple[int, int] | None:
    """Return two rows that are each other's negative, the nearest pair; None where there is none."""
    keys, order = directions[:, 0].sort()
    low = torch.searchsorted(keys, -directions[:, 0] - _TOLERANCE)
    high = torch.searchsorted(keys, -directions[:, 0] + _TOLERANCE)
    best: tuple[float, int, int] | None = None
    for step in range(min(int((high - low).max()), 64)):
        here = (low + step < high).nonzero().flatten()
        there = order[low[here] + step]
        gap = (directions[here] + directions[there]).abs().amax(1)
        place = int(gap.argmin())
        if float(gap[place]) < _TOLERANCE and (best is None or float(gap[place]) < best[0]):
            best = (float(gap[place]), int(here[place]), int(there[place]))
    return None if best is None else best[1:]


@dataclass
class _Told:
    judged: int = 0
    """Mixed rows of which neither part is slight, and whose parts have different targets."""
    asked: list[float] = field(default_factory=list)
    """Share of the part whose target was asked for, of rows where it was that of one part alone."""


def _told(look: Look, pairs: list[_Pair], targets: Tensor, loss: Callable[[Any, Any], Any]) -> _Told:
    """Hold the gradients of a look against those of either part's target, and of both by their shares."""
    known = []
    for pair in pairs:
        a, b = targets[pair.first], targets[pair.second]
        if torch.equal(a, b):
            continue
        seen = look.gradients[pair.row].double().cpu().flatten()
        first, second = (_gradient(loss, look.outputs[pair.row][None], t[None]) for t in (a, b))
        known.append((pair.share, seen, first, second))
    told = _Told()
    scale = _scale(known)
    if scale is not None and math.isnan(scale):
        return told
    for share, seen, first, second in known:
        if not _SLIGHT < share < 1 - _SLIGHT:
            continue
        told.judged += 1
        both = share * first + (1 - share) * second
        left = [_left(seen, by, scale) for by in (first, second, both)]
        if min(left[:2]) < _FITS and sorted(left)[1] > _APART:
            told.asked.append(share if left[0] < left[1] else 1 - share)
    return told


def _scale(known: list[tuple[float, Tensor, Tensor, Tensor]]) -> float | None:
    """Return the factor of all gradients of a look where they have one direction only; else None: each has its own.

    It is the one that most rows agree on, each with the target of either part; NaN where fewer than three do.
    """
    if not known or known[0][1].numel() > 2:
        return None
    ratios = [[float(seen @ by / (by @ by).clamp_min(1e-30)) for by in (a, b)] for _, seen, a, b in known]
    agreed = {
        one: sum(any(abs(r / one - 1) < 0.01 for r in own) for own in ratios)
        for own in ratios
        for one in own
        if one > 0
    }
    best = max(agreed, key=lambda one: agreed[one], default=math.nan)
    return best if agreed.get(best, 0) >= 3 else math.nan


def _left(seen: Tensor, by: Tensor, scale: float | None) -> float:
    """Return the share of a gradient's square that another leaves over, times its best factor or the one given."""
    own, square = float(seen @ seen), float(by @ by)
    if not own or not square:
        return 1.0
    factor = max(float(seen @ by) / square, 0.0) if scale is None else scale
    rest = float((seen - factor * by).square().sum()) / own
    return rest if rest == rest else 1.0


def _gradient(loss: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> Tensor:
    leaf = outputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf, targets.to(leaf.device))
        (found,) = torch.autograd.grad(value.sum(), leaf)
    return found.double().cpu().flatten()
