"""Confidence against frequency, and the temperature at which the likelihood is highest."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...document.evaluation import Calibration

_FINE = 1000
_BINS = 15
TEMPERATURES = [2 ** (k / 4) for k in range(-16, 21)]
MAX_TEMPERED = 4096  # answers a sample, beyond which no temperature is looked for: each costs all of them again
_WHOLE = 1 << 21  # numbers that are divided by all temperatures at once


class Reliability:
    """Counts and sums of confidences in a thousand even bins; sums of losses, as they are and by temperature."""

    def __init__(self) -> None:
        self.table = torch.zeros(4, _FINE, dtype=torch.float64)  # answers, confidence, its square, right
        self.sums = torch.zeros(3, dtype=torch.float64)  # answers, NLL, Brier
        self.by_temperature = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
        self.tempered = 0

    def update(self, confidence: Tensor, right: Tensor, nll: float, brier: float) -> None:
        """Add answers: confidence and right are (N,), the losses their sums."""
        p = confidence.double()
        rows = torch.stack([torch.ones_like(p), p, p * p, right.double()])
        self.table.index_add_(1, (p * _FINE).long().clamp_(0, _FINE - 1), rows)
        self.sums += torch.tensor([len(p), nll, brier], dtype=torch.float64)

    def temper(self, logits: Tensor, target: Tensor) -> None:
        """Add what each temperature makes of the loss: logits (N, K) with classes (N,), or (N,) with 0 and 1."""
        x = logits.float()
        x = x if x.dim() == 1 else x - x.amax(1, keepdim=True)
        factors = torch.tensor([1 / t for t in TEMPERATURES])
        for part, y in zip(torch.split(x, _chunk(x)), torch.split(target, _chunk(x)), strict=True):
            self.by_temperature += _losses(part, y, factors)
        self.tempered += len(x)

    def merge(self, other: Reliability) -> None:
        self.table += other.table
        self.sums += other.sums
        self.by_temperature += other.by_temperature
        self.tempered += other.tempered

    def facts(self, baseline_nll: float, baseline_brier: float, *, squared: bool = True) -> Calibration | None:
        """Return what was counted; None of nothing. ``squared``: squared errors were added up."""
        n, nll, brier = self.sums.tolist()
        if not n or not math.isfinite(nll):
            return None
        groups = self._groups()
        gaps = [abs(right - confident) for _, confident, _, right in groups]
        # a sum of independent yes-or-no answers is nearly normal, and the mean of its modulus is known
        spreads = [math.sqrt(max(confident - square, 0.0)) for _, confident, square, _ in groups]
        fitted = self._fitted()
        return Calibration(
            n=int(n),
            bins=[(int(count), confident, int(right)) for count, confident, _, right in groups],
            ece=sum(gaps) / n,
            ece_null=sum(spreads) * math.sqrt(2 / math.pi) / n,
            ece_null_std=math.sqrt(sum(s * s for s in spreads) * (1 - 2 / math.pi)) / n,
            nll=nll / n,
            brier=brier / n if squared else None,
            baseline_nll=baseline_nll,
            baseline_brier=baseline_brier if squared else None,
            temperature=fitted[0] if fitted else None,
            temperature_nll=fitted[1] if fitted else None,
        )

    def _groups(self) -> list[list[float]]:
        """Gather the fine bins into about fifteen of equal mass."""
        wanted = float(self.table[0].sum()) / _BINS
        out: list[list[float]] = []
        current = [0.0] * 4
        for column in self.table.T.tolist():
            if not column[0]:
                continue
            # closed before it grows too large: one crowded bin stands alone
            if current[0] and current[0] + column[0] > 1.5 * wanted:
                out.append(current)
                current = [0.0] * 4
            current = [a + b for a, b in zip(current, column, strict=True)]
            if current[0] >= wanted:
                out.append(current)
                current = [0.0] * 4
        return [*out, current] if current[0] else out

    def _fitted(self) -> tuple[float, float] | None:
        """Return temperature and NLL where a parabola through the lowest three points is lowest."""
        if not self.tempered:
            return None
        losses = (self.by_temperature / self.tempered).tolist()
        best = min(range(len(losses)), key=losses.__getitem__)
        if not all(map(math.isfinite, losses)) or best in (0, len(losses) - 1):
            return None  # no optimum inside: perfect separation, or outputs without information
        before, here, after = losses[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        return TEMPERATURES[best] * 2 ** (shift / 4), here - 0.25 * (before - after) * shift


def _chunk(x: Tensor) -> int:
    return max(1, _WHOLE // (len(TEMPERATURES) * (x.shape[1] if x.dim() > 1 else 1)))


def _losses(x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
    if x.dim() == 1:
        signed = torch.where(y > 0.5, x, -x)
        return F.softplus(-signed * factors[:, None]).double().sum(1)
    own = x.gather(1, y.long().unsqueeze(1)).squeeze(1)
    whole = torch.logsumexp(x * factors[:, None, None], 2)  # (temperatures, N)
    return (whole - own * factors[:, None]).double().sum(1)
