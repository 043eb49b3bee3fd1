"""Numbers: errors, explained variance and their spread, from sums of powers."""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor

from ...document.evaluation import Decile, Regression, Score, TargetScore
from ...document.scores import Z95
from ...document.stats import TensorStats
from ..reduce import bin_counts, histogram_of, slice_stats, strided
from .answers import Answers, PairSample

MAX_TARGETS = 64
_SAMPLE, _SHOWN = 2000, 400
_LEAST_FOR_DECILES = 100
_LARGEST = 1e300
# e: residual, d: target less a pivot
_N, _D, _D2, _D3, _D4, _E, _ABS, _E2, _E4, _E2D, _E2D2 = range(11)


class NumberScores:
    """Outputs against targets of as many numbers: one for all, or by column where samples have 2 to 64 of them."""

    def __init__(self, n_columns: int) -> None:
        self.n_columns = n_columns if 1 < n_columns <= MAX_TARGETS else 1
        self.pivot: Tensor | None = None
        self.moments = torch.zeros(11, self.n_columns, dtype=torch.float64)
        self.target, self.residual = TensorStats(), TensorStats()
        self.sample = PairSample(_SAMPLE, 3)
        """Target, prediction, and which target it is."""
        self.ignored = 0

    def update(self, output: Tensor, target: Tensor, places: Tensor) -> Answers:
        """Add one batch, on the CPU; ``places`` (N,) are those of its samples in the data."""
        n = len(output)
        p, y = (x.reshape(n, -1).double() for x in (output, target))
        legal = torch.isfinite(p) & torch.isfinite(y)
        self.ignored += int((~legal).sum())
        error = (p - y).where(legal, 0.0)
        if bool(legal.any()):
            self._add(p, y, legal)
            width = p.shape[1]
            cells = (places[:, None] * width + torch.arange(width))[legal]
            which = (torch.arange(width) % self.n_columns).double().expand(n, width)[legal]
            self.sample.update(cells, torch.stack([y[legal], p[legal], which], 1))
        counts = legal.sum(1)
        loss = error.square().sum(1) / counts
        loss[counts == 0] = math.nan

        def describe(i: int) -> tuple[str, str]:
            return _told(y[i]), _told(p[i])

        return Answers(loss, None, None, describe)

    def _add(self, p: Tensor, y: Tensor, legal: Tensor) -> None:
        for name, values in (("target", y[legal]), ("residual", (p - y)[legal])):
            setattr(self, name, getattr(self, name).merge(_stats(values)))
        columns = self.n_columns
        p, y, legal = (x if columns > 1 else x.reshape(-1, 1) for x in (p, y, legal))
        if self.pivot is None:
            self.pivot = y.where(legal, 0.0).sum(0) / legal.sum(0).clamp_min(1)
        keep = legal.double()
        d, e = ((y - self.pivot).where(legal, 0.0), (p - y).where(legal, 0.0))
        d2, e2 = d * d, e * e
        powers = (keep, d, d2, d2 * d, d2 * d2, e, e.abs(), e2, e2 * e2, e2 * d, e2 * d2)
        self.moments += torch.stack([x.sum(0) for x in powers])

    def merge(self, other: NumberScores) -> None:
        self.target, self.residual = self.target.merge(other.target), self.residual.merge(other.residual)
        self.sample.merge(other.sample)
        self.ignored += other.ignored
        if other.pivot is None:
            return
        if self.pivot is None:
            self.pivot, self.moments = other.pivot, other.moments.clone()
        else:
            self.moments += _moved(other.moments, other.pivot - self.pivot)

    def regression(self) -> Regression | None:
        n = self.moments[_N]
        total = float(n.sum())
        if not total:
            return None
        mse, mae = float(self.moments[_E2].sum()) / total, float(self.moments[_ABS].sum()) / total
        if not math.isfinite(mse):  # errors so large that their squares leave float64
            return None
        found = [v for v in self._r2().tolist() if math.isfinite(v)]
        drawn, shown = self._alike(self.sample.ordered()), self._alike(self.sample.ordered(_SHOWN))
        return Regression(
            r2=sum(found) / len(found) if found else None,
            mae=mae,
            mse=mse,
            target=self.target,
            residual=self.residual,
            sample=[(t, p) for t, p in shown.tolist()],
            standardised=self.n_columns > 1,
            targets=self._columns() if self.n_columns > 1 else [],
            deciles=_deciles(drawn),
            spread_correlation=_spread_correlation(drawn),
        )

    def _alike(self, drawn: Tensor) -> Tensor:
        """Return targets and predictions (N, 2), of several targets in their own standard deviations from their means.

        In their own units one target would be all that is seen. A target that does not vary has no such unit.
        """
        if self.n_columns == 1 or self.pivot is None:
            return drawn[:, :2]
        varied = self._r2().isfinite()
        middle = self.pivot + self.moments[_D] / self.moments[_N].clamp_min(1)
        which = drawn[:, 2].long()
        kept, which = drawn[varied[which], :2], which[varied[which]]
        return (kept - middle[which, None]) / self._variance().sqrt()[which, None]

    def _variance(self) -> Tensor:
        n = self.moments[_N].clamp_min(1)
        return (self.moments[_D2] / n - (self.moments[_D] / n).square()).clamp_min(0)

    def _r2(self) -> Tensor:
        """Return R² by column, NaN where targets do not vary beyond the rounding of the sums."""
        n, variance = self.moments[_N].clamp_min(1), self._variance()
        varied = (self.moments[_N] >= 2) & (variance > 1e-12 * self.moments[_D2] / n)
        return torch.where(varied, 1 - self.moments[_E2] / n / variance, math.nan)

    def _columns(self) -> list[TargetScore]:
        n = self.moments[_N].clamp_min(1)
        r2, deviation = self._r2().tolist(), self._variance().sqrt().tolist()
        columns = [self.moments[_N].tolist(), *((self.moments[k] / n).tolist() for k in (_ABS, _E2, _E))]
        return [
            TargetScore(
                name=str(i),
                n=int(count),
                r2=r2[i] if math.isfinite(r2[i]) else None,
                mae=mae,
                rmse=math.sqrt(mse),
                std=min(deviation[i], _LARGEST),
                bias=bias,
            )
            for i, (count, mae, mse, bias) in enumerate(zip(*columns, strict=True))
        ]

    def scores(self) -> list[Score]:
        facts = self.regression()
        if facts is None:
            return []
        n, mse = float(self.moments[_N].sum()), facts.mse
        fourth = float(self.moments[_E4].sum()) / n
        out = []
        if facts.r2 is not None:
            low, high = _ends(facts.r2, self._r2_half())
            out.append(Score(name="r2", value=facts.r2, low=low, high=high and min(high, 1.0), baseline=0.0))
        low, high = _ends(facts.mae, Z95 * math.sqrt(max(mse - facts.mae * facts.mae, 0.0) / n))
        mae = Score(name="mae", value=facts.mae, low=low and max(low, 0.0), high=high, baseline=self._mae_of_median())
        low, high = _ends(mse, Z95 * math.sqrt(max(fourth - mse * mse, 0.0) / n))
        ends = (None, None) if low is None or high is None else (math.sqrt(max(low, 0.0)), math.sqrt(high))
        deviation = math.sqrt(float((self._variance() * self.moments[_N]).sum()) / n)
        baseline = deviation if math.isfinite(deviation) else None
        return [*out, mae, Score(name="rmse", value=math.sqrt(mse), low=ends[0], high=ends[1], baseline=baseline)]

    def _mae_of_median(self) -> float | None:
        """Return what always naming the median of each target costs, over the samples drawn."""
        rows = self.sample.rows
        parts = [part for i in range(self.n_columns) if len(part := rows[rows[:, 2] == i, 0])]
        return float(sum((part - part.median()).abs().sum() for part in parts) / len(rows)) if parts else None

    def _r2_half(self) -> float | None:
        """Return half of the interval of R², a ratio of two means, by the delta method.

        Of several targets the mean of the halves: targets may err together, and then no more is known than of one.
        """
        halves = [self._r2_half_of(i) for i, r2 in enumerate(self._r2().tolist()) if math.isfinite(r2)]
        known = [half for half in halves if half is not None]
        return sum(known) / len(known) if known and len(known) == len(halves) else None

    def _r2_half_of(self, column: int) -> float | None:
        n = float(self.moments[_N, column])
        if n < 10:
            return None
        m = (self.moments[:, column] / n).tolist()
        d, variance = m[_D], float(self._variance()[column])
        if variance <= 0:
            return None
        ratio = m[_E2] / variance
        fourth = m[_D4] - 4 * d * m[_D3] + 6 * d * d * m[_D2] - 3 * d * d * d * d
        joint = m[_E2D2] - 2 * d * m[_E2D] + d * d * m[_E2]
        # var(e² − ratio (y − mean)²)
        spread = m[_E4] - 2 * ratio * joint + ratio * ratio * fourth
        if not 0 <= spread < math.inf:
            return None
        return Z95 * math.sqrt(spread / n) / variance


def _ends(value: float, half: float | None) -> tuple[float | None, float | None]:
    """Return both ends of an interval; None where powers of very large numbers left float64."""
    return (None, None) if half is None or not math.isfinite(half) else (value - half, value + half)


def _stats(values: Tensor) -> TensorStats:
    taken, stride = strided(values, 1 << 16)
    return msgspec.structs.replace(slice_stats(values), histogram=histogram_of(bin_counts(taken), stride))


def _moved(m: Tensor, by: Tensor) -> Tensor:
    """Return the moments about a pivot that lies ``by`` below."""
    out = m.clone()
    n, d, d2, d3, d4 = m[:5]
    out[_D] = d + by * n
    out[_D2] = d2 + 2 * by * d + by**2 * n
    out[_D3] = d3 + 3 * by * d2 + 3 * by**2 * d + by**3 * n
    out[_D4] = d4 + 4 * by * d3 + 6 * by**2 * d2 + 4 * by**3 * d + by**4 * n
    out[_E2D] = m[_E2D] + by * m[_E2]
    out[_E2D2] = m[_E2D2] + 2 * by * m[_E2D] + by**2 * m[_E2]
    return out


def _deciles(drawn: Tensor) -> list[Decile]:
    if len(drawn) < _LEAST_FOR_DECILES:
        return []
    rows = drawn[torch.argsort(drawn[:, 0], stable=True)]
    out = []
    for part in torch.tensor_split(rows, 10):
        error = part[:, 1] - part[:, 0]
        mae, bias = float(error.abs().mean()), float(error.mean())
        out.append(Decile(low=float(part[0, 0]), high=float(part[-1, 0]), n=len(part), mae=mae, bias=bias))
    return out


def _spread_correlation(drawn: Tensor) -> float | None:
    """Return Spearman's correlation of |residual| with the prediction."""
    if len(drawn) < _LEAST_FOR_DECILES:
        return None
    from scipy.stats import spearmanr  # here, because most reports never need it

    error, prediction = (drawn[:, 1] - drawn[:, 0]).abs().numpy(), drawn[:, 1].numpy()
    if not error.std() or not prediction.std():
        return None
    value = float(spearmanr(error, prediction).statistic)
    return value if math.isfinite(value) else None


def _told(row: Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in row[:4].tolist()) + (", …" if len(row) > 4 else "")
