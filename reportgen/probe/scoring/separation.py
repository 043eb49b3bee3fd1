"""How well scores part yes from no: counts in fixed bins, from which ROC, PR and every threshold follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...document.evaluation import Curve
from ...document.scores import Z95, wilson

# Log-odds x fall into even bins of asinh(x): 0.004 wide at 0, 0.04 at 10, and 2560 of them to either side
_SCALE, _SIDE = 256, 2560
N_BINS = 2 * _SIDE
MAX_LABELS = 64
_POINTS = 32
_SWEEP = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class Separation:
    """Counts of scores by label, truth and bin: (L, 2, N_BINS)."""

    def __init__(self, n_labels: int) -> None:
        self.counts = torch.zeros(n_labels, 2, N_BINS, dtype=torch.int64)

    def update(self, log_odds: Tensor, yes: Tensor, legal: Tensor) -> None:
        """Add scores (N, L) with their truth (N, L); those that are not ``legal`` (N, L) are left out."""
        place = (torch.asinh(log_odds) * _SCALE).floor().clamp_(-_SIDE, _SIDE - 1).nan_to_num_().long() + _SIDE
        label = torch.arange(log_odds.shape[1])
        index = ((label * 2 + yes.long()) * N_BINS + place)[legal]
        self.counts.view(-1).scatter_add_(0, index, torch.ones_like(index))

    def merge(self, other: Separation) -> None:
        self.counts += other.counts

    def curve(self, label: int, name: str, *, swept: bool = True) -> Curve | None:
        """Return the curves of one label; None where one side of it is missing. ``swept``: at even thresholds too."""
        negative, positive = self.counts[label].double()
        n, p = float(negative.sum()), float(positive.sum())
        if not n or not p:
            return None
        auc, low, high = _area(negative, positive)
        # from the highest bin down: what a threshold at the bin's lower edge calls yes
        tp, fp = positive.flip(0).cumsum(0), negative.flip(0).cumsum(0)
        step = torch.diff(tp, prepend=tp.new_zeros(1))
        ap = float((step / p * tp / (tp + fp).clamp_min(1)).sum())
        ap_low, ap_high = _log_odds_interval(ap, p, _deviation(ap, positive.flip(0), negative.flip(0)))
        f1 = 2 * tp / (tp + fp + p)

        def row(i: int) -> tuple[float, int, int]:
            return _EDGES[i], int(tp[i]), int(fp[i])

        return Curve(
            label=name,
            positives=int(p),
            negatives=int(n),
            auc=auc,
            auc_low=low,
            auc_high=high,
            average_precision=ap,
            ap_low=ap_low,
            ap_high=ap_high,
            points=[row(i) for i in _spread(tp / p + fp / n)],
            sweep=[row(_bin_of(t)) for t in _SWEEP] if swept else [],
            best=row(int(f1.argmax())) if swept else None,
        )


def _probability(bin: int) -> float:
    x = math.sinh((bin - _SIDE) / _SCALE)
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


_EDGES = [_probability(bin) for bin in range(N_BINS - 1, -1, -1)]


def _bin_of(threshold: float) -> int:
    """Return the place, from the highest bin down, of the bin whose lower edge is nearest to a threshold."""
    x = math.log(threshold / (1 - threshold))
    return N_BINS - 1 - (round(math.asinh(x) * _SCALE) + _SIDE)


def _spread(way: Tensor, n: int = _POINTS) -> list[int]:
    """Choose places at even steps of a rising quantity, the first and the last included."""
    wanted = torch.linspace(0, float(way[-1]), n, dtype=way.dtype)
    return sorted({int(i) for i in torch.searchsorted(way, wanted).clamp_max(len(way) - 1)})


def _area(negative: Tensor, positive: Tensor) -> tuple[float, float, float]:
    """Return the area under the ROC curve and its interval by DeLong's placements, of counts by ascending score."""
    n, p = float(negative.sum()), float(positive.sum())
    below = (negative.cumsum(0) - negative / 2) / n  # of each positive, the share of negatives it beats
    above = 1 - (positive.cumsum(0) - positive / 2) / p
    auc = float((positive * below).sum() / p)
    variance = 0.0
    for counts, placement, total in ((positive, below, p), (negative, above, n)):
        if total > 1:
            variance += float((counts * (placement - auc).square()).sum() / (total - 1) / total)
    half = Z95 * math.sqrt(variance)
    low, high = max(auc - half, 0.0), min(auc + half, 1.0)
    if auc in (0.0, 1.0):  # no pair is the wrong way round, which says nothing of the spread
        edge = wilson(int(min(n, p)), int(min(n, p)))[0]
        low, high = (edge, 1.0) if auc == 1.0 else (0.0, 1 - edge)
    return auc, low, high


def _deviation(ap: float, positive: Tensor, negative: Tensor) -> float:
    """Return the standard deviation of average precision, of counts by falling score.

    By the infinitesimal jackknife (Efron 1982): the square of what one sample more or less would change, over all
    samples. Nobody's bootstrap has to be drawn for it.
    """
    p = positive.sum()
    tp, called = positive.cumsum(0), (positive + negative).cumsum(0).clamp_min(1)
    share = positive / p / called.square()
    # a sample counts in the precision of every bin from its own on
    of_yes = (share * (called - tp)).flip(0).cumsum(0).flip(0) + (tp / called - ap) / p
    of_no = -(share * tp).flip(0).cumsum(0).flip(0)
    return math.sqrt(float((positive * of_yes.square() + negative * of_no.square()).sum()))


def _log_odds_interval(value: float, n: float, deviation: float) -> tuple[float, float]:
    """Return an interval that is even in log-odds; that of Wilson where there are none, or nothing varies."""
    if not 0 < value < 1 or not deviation:
        low, high = wilson(round(value * n), int(n))
        return low, high
    middle, half = math.log(value / (1 - value)), Z95 * deviation / (value * (1 - value))
    return tuple(1 / (1 + math.exp(-min(max(x, -700), 700))) for x in (middle - half, middle + half))  # type: ignore[return-value]
