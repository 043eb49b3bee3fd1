"""Does one single feature tell the target? Sorted by it, samples of one class would lie side by side."""

from __future__ import annotations

from typing import Literal

import torch
from msgspec import structs
from torch import Tensor

from ..document.samples import Filled, Shortcut

LEAST = 100
PERMUTATIONS = 20
_OFF_LATTICE = 0.2  # of the unit; distances of numbers in no order are anywhere between 0 and 0.5 away from a multiple
_MIXED = 0.01  # share of other classes among rows that have a value
_VALUES = 10


def shortcut(table: tuple[Tensor, Tensor] | None, kind: Literal["classes", "numbers"], step: int) -> Shortcut | None:
    """Return the feature that tells the target best; None for fewer than 100 samples or two features.

    ``table`` is (inputs (N, F), targets (N)), ``step`` how far apart in the input its features lie. For classes the
    score is the share of neighbours in the order of the feature that share their class, for numbers the squared
    correlation. The null is the best feature's score with permuted targets, the highest of 20. The second best is not
    the other of two columns that add up to a whole: a label of yes or no stands in one as in the other.
    """
    if table is None or len(table[0]) < LEAST or table[0].shape[1] < 2:
        return None
    x, y = table
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randperm(len(x), generator=generator)  # ties must not come in the order of loading
    x, y = x[mixed], y[mixed]
    score = _purity if kind == "classes" else _squared_correlation
    order = x.argsort(0) if kind == "classes" else x
    scores = score(order, y)
    best = int(scores.argmax())
    others = scores[~_goes_with(x, best)]
    null = [float(score(order, y[torch.randperm(len(y), generator=generator)]).max()) for _ in range(PERMUTATIONS)]
    return Shortcut(
        kind=kind,
        n=len(x),
        feature=best * step,
        score=float(scores[best]),
        second=float(others.max()) if others.numel() else 0.0,
        null=max(null),
        gap=_gap(x[:, best].double(), y) if kind == "classes" else None,
        places=_places(x[:, best].double()),
    )


def _goes_with(x: Tensor, best: int) -> Tensor:
    """Tell of each feature whether it is the best one, or what that one leaves of a whole: yes beside no."""
    centred = x.double() - x.double().mean(0)
    size = centred.square().sum(0).sqrt()
    same = (centred * centred[:, best : best + 1]).sum(0) < -(1 - 1e-9) * size * size[best]
    same[best] = True
    return same


def filled(table: tuple[Tensor, Tensor] | None, kind: Literal["classes", "numbers"], step: int) -> Filled | None:
    """Return the feature that has a value of its own for one class alone, and the same value for all others.

    The commonest value of a feature counts as empty. Rows that have another one are of one class (99 %), they are 20 at
    least, and their values are of 10 kinds or more, so that it is no flag; of several such features the one that is
    filled for most of its class. None where there is none, for fewer than 100 samples or two features.
    """
    if table is None or kind != "classes" or len(table[0]) < LEAST or table[0].shape[1] < 2:
        return None
    x, y = table
    has = x != x.mode(0).values
    n = has.sum(0)
    found: list[Filled] = []
    for label in torch.unique(y).tolist():
        own = has[y == label]
        pure = (own.sum(0) >= (1 - _MIXED) * n) & (n >= 20) & (len(own) < len(y))
        for feature in pure.nonzero().flatten().tolist():
            if len(torch.unique(x[has[:, feature], feature])) < _VALUES:
                continue
            inside = int(own[:, feature].sum())
            found.append(
                Filled(
                    feature=feature * step,
                    label=int(label),
                    filled=int(n[feature]),
                    inside=inside,
                    of=len(own),
                    n=len(y),
                )
            )
    found.sort(key=lambda f: -f.share)
    if not found:
        return None
    return structs.replace(found[0], second=found[1].share if len(found) > 1 else 0.0)


def _places(values: Tensor) -> int | None:
    """Return how many places there are from the smallest value to the largest where all differ and lie on a lattice.

    Rows that are numbered leave gaps where a sample or a split left some of them out: distances are whole multiples of
    the smallest one, and there are about as many places as rows.
    """
    distances = values.sort().values.diff()
    if len(distances) < LEAST // 2 or not float(distances.min()) > 0:
        return None
    steps = (distances / distances.min()).round()
    unit = distances.sum() / steps.sum()
    if float((distances / unit - steps).abs().max()) > _OFF_LATTICE or float(steps.sum()) > 1e9:
        return None
    return int(steps.sum()) + 1


def halves_meet(table: tuple[Tensor, Tensor] | None) -> float | None:
    """Return the share of pairs of different rows that agree in every second column, whichever half.

    Where whole rows repeat by chance, being of few possible values, halves of them do so far more often. None for fewer
    than 100 rows or four columns.
    """
    if table is None or len(table[0]) < LEAST or table[0].shape[1] < 4:
        return None
    x = table[0]
    whole, *parts = (torch.unique(part, dim=0, return_inverse=True)[1] for part in (x, x[:, ::2], x[:, 1::2]))
    n = len(x)
    met = [_equal_pairs(part) - _equal_pairs(whole) for part in parts]
    return sum(met) / (n * (n - 1) / 2)


def _equal_pairs(kinds: Tensor) -> float:
    counts = torch.bincount(kinds).double()
    return float((counts * (counts - 1) / 2).sum())


def _purity(order: Tensor, y: Tensor) -> Tensor:
    labels = y[order]  # (N, F)
    return (labels[1:] == labels[:-1]).double().mean(0)


def _squared_correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.double(), y - y.mean()
    x = x - x.mean(0)
    spread = (x.square().sum(0) * y.square().sum()).clamp_min(1e-300)
    return (x * y[:, None]).sum(0).square() / spread


def _gap(x: Tensor, y: Tensor) -> float | None:
    """Return the least distance between class means in units of the widest class: how clearly values stand apart."""
    parts = [x[y == label] for label in sorted(set(y.tolist()))]
    parts = [part for part in parts if len(part) >= 5]
    if len(parts) < 2:
        return None
    means = torch.stack([part.mean() for part in parts]).sort().values
    widest = max(float(part.std()) for part in parts)
    least = float((means[1:] - means[:-1]).min())
    return min(least / max(widest, 1e-300), 1e9) if least > 0 else 0.0
