"""Intervals by resampling counts: for figures whose spread has no plain formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...document.evaluation import Score
from ...document.scores import Z95, wilson

_DRAWS = 400
_NUMBERS = 1 << 21  # that are drawn at once

Counts = NDArray[np.int64]


def of_confusion(table: Counts) -> list[Score]:
    """Return balanced accuracy, Matthews correlation and mean F1 of a confusion matrix, rows being the truth.

    Intervals come from 400 draws of as many samples from the cells (bootstrap); that of balanced accuracy from the
    Wilson intervals of its recalls, as draws never leave a recall of 0 or 1. Where no mistake was seen, the lower end
    is that of Wilson for the accuracy. Baselines are those of always naming the commonest class.
    """
    truth, total = table.sum(1), int(table.sum())
    seen = truth > 0
    if not total or int(seen.sum()) < 2:  # of one class alone none of them says anything
        return []
    values = _figures(truth[None], table.sum(0)[None], np.diagonal(table)[None])
    right = int(np.trace(table))
    if right == total:
        low = wilson(total, total)[0]
        bounds = [(low, 1.0)] * 3
    else:
        drawn = _drawn(table)
        bounds = [tuple(np.quantile(d[np.isfinite(d)], (0.025, 0.975)).tolist()) for d in drawn]
        bounds[0] = _of_mean(np.diagonal(table)[seen], truth[seen])
    share, k = truth.max() / total, int(seen.sum())
    baselines = (1 / k, 0.0, 2 * share / (1 + share) / k)
    names = ("balanced_accuracy", "mcc", "macro_f1")
    return [
        Score(name=name, value=float(value[0]), low=low, high=high, baseline=float(baseline))
        for name, value, (low, high), baseline in zip(names, values, bounds, baselines, strict=True)
        if math.isfinite(value[0])
    ]


def _of_mean(hits: Counts, totals: Counts) -> tuple[float, float]:
    """Return the interval of a mean of independent shares, from the Wilson interval of each (Zou and Donner 2008)."""
    shares = hits / totals
    ends = np.array([wilson(int(hit), int(total)) for hit, total in zip(hits, totals, strict=True)])
    down, up = (float(np.sqrt(((ends[:, side] - shares) ** 2).sum())) / len(shares) for side in (0, 1))
    return max(float(shares.mean()) - down, 0.0), min(float(shares.mean()) + up, 1.0)


def f1_scores(counts: Tensor, together: Tensor) -> list[Score]:
    """Return mean F1 and F1 over all labels of counts (labels, truth, answer), beside those of always saying yes.

    ``together``: sums over samples of hits², hits times mistakes and mistakes². Intervals are of the infinitesimal
    jackknife. That of a single F1 is known from its counts; of their mean it is the mean of the intervals, the widest
    that it can be, as labels of one sample may err together.
    """
    hits, misses = counts[:, 1, 1].double(), (counts[:, 1, 0] + counts[:, 0, 1]).double()
    out, yes = [], counts[:, 1].sum(1).double()
    defined = hits + misses > 0
    if bool(defined.any()):
        found = [_f1(*pair) for pair in zip(hits[defined].tolist(), misses[defined].tolist(), strict=True)]
        value, low, high = (sum(ends) / len(found) for ends in zip(*found, strict=True))
        always = (2 * yes / (yes + counts.sum((1, 2))).clamp_min(1))[defined]
        out.append(Score(name="macro_f1", value=value, low=low, high=high, baseline=float(always.mean())))
        h, m = float(hits.sum()), float(misses.sum())
        a, b = 2 * m / (2 * h + m) ** 2, -2 * h / (2 * h + m) ** 2
        hh, hm, mm = together.tolist()
        half, value = Z95 * math.sqrt(max(a * a * hh + 2 * a * b * hm + b * b * mm, 0.0)), 2 * h / (2 * h + m)
        ends = (max(value - half, 0.0), min(value + half, 1.0)) if h and m else _f1(h, m)[1:]
        baseline = float(2 * yes.sum() / (yes.sum() + counts.sum()))
        out.append(Score(name="micro_f1", value=value, low=ends[0], high=ends[1], baseline=baseline))
    return out


def _f1(hits: float, misses: float) -> tuple[float, float, float]:
    """Return F1 = 2 hits / (2 hits + misses) and its interval; that of Wilson where all are of one kind."""
    if not hits or not misses:
        low, high = wilson(int(hits), int(hits + misses))
        return float(hits > 0), low, high
    whole = 2 * hits + misses
    value = 2 * hits / whole
    half = Z95 * math.sqrt(hits * (2 * misses / whole**2) ** 2 + misses * (2 * hits / whole**2) ** 2)
    return value, max(value - half, 0.0), min(value + half, 1.0)


def _figures(truth: NDArray[Any], named: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return the three figures for rows of (true counts, predicted counts, hits) by class: each (R, K) -> (R,).

    Matthews correlation for several classes: Gorodkin 2004.
    """
    truth, named, right = truth.astype(float), named.astype(float), right.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(truth > 0, right / truth, np.nan)
        f1 = np.where(truth + named > 0, 2 * right / (truth + named), np.nan)
        total, hits = truth.sum(1), right.sum(1)
        numerator = hits * total - (truth * named).sum(1)
        spread = (total**2 - (named**2).sum(1)) * (total**2 - (truth**2).sum(1))
        mcc = np.where(spread > 0, numerator / np.sqrt(spread), 0.0)
    return _mean(recall), mcc, _mean(f1)


def _mean(values: NDArray[Any]) -> NDArray[Any]:
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(1) / np.maximum(known.sum(1), 1))


def _drawn(table: Counts) -> tuple[NDArray[Any], ...]:
    from scipy.sparse import csr_matrix  # here, because most of the package does without

    rows, columns = np.nonzero(table)
    counts, k = table[rows, columns], len(table)
    cells = np.arange(len(counts))
    ones = np.ones(len(counts))
    hit = rows == columns
    to_truth = csr_matrix((ones, (cells, rows)), shape=(len(counts), k))
    to_named = csr_matrix((ones, (cells, columns)), shape=(len(counts), k))
    to_right = csr_matrix((ones[hit], (cells[hit], rows[hit])), shape=(len(counts), k))
    random, total = np.random.default_rng(0), int(counts.sum())
    at_once = max(1, min(_DRAWS, _NUMBERS // max(len(counts), k)))
    parts = []
    for start in range(0, _DRAWS, at_once):
        draws = random.multinomial(total, counts / total, size=min(at_once, _DRAWS - start))
        parts.append(_figures(draws @ to_truth, draws @ to_named, draws @ to_right))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
