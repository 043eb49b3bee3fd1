"""A class for each place of a map: overlap of truth and prediction by class."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...document.evaluation import RegionScore, Score
from .answers import Answers, shuffled

MAX_REGIONS = 256
_DRAWS = 200
# a sample counts k times in a draw, k Poisson with mean 1: cumulative probabilities of 0, 1, ... 6
_POISSON = torch.tensor([sum(math.exp(-1) / math.factorial(j) for j in range(k + 1)) for k in range(7)])


class RegionScores:
    """Outputs (N, C, ...) or (N, 1, ...) against class numbers (N, ...)."""

    def __init__(self, n_classes: int, names: list[str] | None, ignore: int) -> None:
        self.binary = n_classes == 1
        self.n_classes, self._ignore, self._names = max(n_classes, 2), ignore, names or []
        self.confusion = torch.zeros(self.n_classes, self.n_classes, dtype=torch.int64)
        self.samples = torch.zeros(self.n_classes, dtype=torch.int64)
        self.drawn = torch.zeros(3, _DRAWS, self.n_classes, dtype=torch.float64)  # intersection, union, truth
        self.nll = torch.zeros(2, dtype=torch.float64)
        self.ignored = 0
        self.probabilities: bool | None = None

    def update(self, output: Tensor, target: Tensor, places: Tensor) -> Answers:
        """Add one batch; ``places`` (N,) are those of its samples in the data."""
        n = len(output)
        y = target.reshape(n, -1)
        z = output.reshape(n, output.shape[1], -1).float()
        legal = (y >= 0) & (y < self.n_classes) & (y != self._ignore) & ~z.isnan().any(1)
        y = y.long().where(legal, 0)
        logs = self._logs(z)
        named = logs.argmax(1)
        loss = -logs.gather(1, y[:, None])[:, 0].double().where(legal, 0.0)
        counts = legal.sum(1)
        mean = (loss.sum(1) / counts).cpu()
        mean[counts.cpu() == 0] = math.nan
        self.nll += torch.stack([loss.sum().cpu(), counts.sum().double().cpu()])
        self.ignored += int((~legal).sum())
        self._count(y.cpu(), named.cpu(), legal.cpu(), places)

        def describe(i: int) -> tuple[str, str]:
            return self._told(y[i][legal[i]]), self._told(named[i][legal[i]])

        return Answers(mean, None, None, describe)

    def _told(self, places: Tensor) -> str:
        """Name the classes that occur in the places of one sample."""
        counts = torch.bincount(places, minlength=self.n_classes)
        return ", ".join(self.name(c) for c in counts.nonzero().flatten().tolist()[:6])

    def _logs(self, z: Tensor) -> Tensor:
        """Return log-probabilities (N, C, places); the first batch tells logits from probabilities."""
        if self.probabilities is None:
            inside = bool(((z >= 0) & (z <= 1)).all())
            self.probabilities = inside and (self.binary or float((z.sum(1) - 1).abs().max()) <= 1e-3)
        if self.binary:
            x = torch.logit(z, eps=1e-6) if self.probabilities else z
            # a half is no yes: the first of equals is named
            return torch.cat([F.logsigmoid(-x), F.logsigmoid(x)], 1)
        return z.clamp_min(1e-38).log() if self.probabilities else F.log_softmax(z, 1)

    def _count(self, y: Tensor, named: Tensor, legal: Tensor, places: Tensor) -> None:
        n, k = len(y), self.n_classes
        index = (torch.arange(n)[:, None] * k + y) * k + named
        tables = torch.bincount(index[legal], minlength=n * k * k).view(n, k, k)
        self.confusion += tables.sum(0)
        hit = tables.diagonal(dim1=1, dim2=2).double()
        truth, given = tables.sum(2).double(), tables.sum(1).double()
        union = truth + given - hit
        self.samples += (union > 0).sum(0)
        # the weights of a sample hang on its place alone, so that parts add up to the same draws
        keys = shuffled((places[:, None] + 1) * 1_000_003 + torch.arange(_DRAWS))
        weights = torch.bucketize((keys.double() / 2**63).float(), _POISSON, right=True).double()  # (N, draws)
        for row, values in zip(self.drawn, (hit, union, truth), strict=True):
            row += weights.T @ values

    def merge(self, other: RegionScores) -> None:
        self.confusion += other.confusion
        self.samples += other.samples
        self.drawn += other.drawn
        self.nll += other.nll
        self.ignored += other.ignored
        if self.probabilities is None:
            self.probabilities = other.probabilities

    def name(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else str(index)

    def _overlap(self) -> tuple[Tensor, Tensor]:
        table = self.confusion.double()
        hit = table.diagonal()
        return hit, table.sum(0) + table.sum(1) - hit

    def regions(self) -> list[RegionScore]:
        hit, union = self._overlap()
        low, high = _bounds(self.drawn[0] / self.drawn[1])
        few = self.samples < 2  # of one sample alone there is no spread
        return [
            RegionScore(
                label=self.name(i),
                intersection=int(hit[i]),
                union=int(union[i]),
                iou=float(hit[i] / union[i]) if union[i] else None,
                low=None if few[i] or math.isnan(low[i]) else float(low[i]),
                high=None if few[i] or math.isnan(high[i]) else float(high[i]),
                samples=int(self.samples[i]),
            )
            for i in range(self.n_classes)
        ]

    def scores(self) -> list[Score]:
        total = int(self.confusion.sum())
        if not total:
            return []
        hit, union = self._overlap()
        known = union > 0
        truth = self.confusion.sum(1).double()
        share, k = float(truth.max()) / total, int((truth > 0).sum())
        drawn_hit, drawn_union, drawn_truth = self.drawn[:, :, known]
        size = union[known] + hit[known]
        dice = 2 * hit[known] / size
        rows = (
            ("mean_iou", (hit / union)[known].mean(), (drawn_hit / drawn_union).nanmean(1), share / k),
            (
                "mean_dice",
                dice.mean(),
                (2 * drawn_hit / (drawn_hit + drawn_union)).nanmean(1),
                2 * share / (1 + share) / k,
            ),
            ("pixel_accuracy", hit.sum() / total, drawn_hit.sum(1) / drawn_truth.sum(1), share),
        )
        out = []
        for name, value, drawn, baseline in rows:
            low, high = _bounds(drawn[:, None])
            spread = int(self.samples.max()) > 1 and not math.isnan(low[0])
            ends = (float(low[0]), float(high[0])) if spread else (None, None)
            out.append(Score(name=name, value=float(value), low=ends[0], high=ends[1], baseline=baseline))
        return out

    def mean_nll(self) -> float | None:
        total, n = self.nll.tolist()
        return total / n if n and math.isfinite(total) else None


def _bounds(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle 95 % of draws, by column."""
    ends = torch.nanquantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype), dim=0)
    return ends[0], ends[1]
