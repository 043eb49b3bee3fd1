"""One class of several: confusion, ranks, calibration, and each class against the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ...document.evaluation import Calibration, Classification, Curve, Score
from ...document.scores import wilson
from .answers import Answers
from .intervals import of_confusion
from .reliability import MAX_TEMPERED, Reliability
from .separation import MAX_LABELS, Separation

MAX_CLASSES = 2000  # of a confusion matrix
_ROW_SUM = 1e-3
SHOWN_CURVES = 6


@dataclass
class _Reading:
    """What follows from taking outputs as logits, or from taking them as probabilities."""

    reliability: Reliability = field(default_factory=Reliability)
    separation: Separation | None = None


class ClassScores:
    """Outputs (N, K) against class indices (N,)."""

    def __init__(self, n_classes: int, names: list[str] | None, ignore: int) -> None:
        self.n_classes, self._ignore = n_classes, ignore
        self._names = names or []
        self._confusion = torch.zeros((n_classes, n_classes), dtype=torch.int64) if n_classes <= MAX_CLASSES else None
        self.support = torch.zeros(n_classes, dtype=torch.int64)
        self.right = self.right_of_five = self.ignored = 0
        self.cross_entropy = 0.0
        self.row_sum: float | None = None
        self.log_sum: float | None = None
        self.as_logits = self._reading()
        self.as_probabilities: _Reading | None = self._reading()

    def _reading(self) -> _Reading:
        return _Reading(separation=Separation(1 if self.n_classes == 2 else self.n_classes) if self._curved() else None)

    def _curved(self) -> bool:
        return self.n_classes <= MAX_LABELS

    def update(self, output: Tensor, target: Tensor) -> Answers:
        """Add one batch, on the CPU."""
        z, y = output.double(), target.long()
        legal = (y >= 0) & (y < self.n_classes) & (y != self._ignore)  # -100 is ignored by the loss too
        # NaN compares as the largest: a row of NaN would count as a prediction of its first class
        legal &= ~z.isnan().any(1)
        whole = torch.isfinite(z).all(1)
        if bool(whole.all()):
            self.row_sum = max(self.row_sum or 0.0, float((z.sum(1) - 1).abs().max()))
            self.log_sum = max(self.log_sum or 0.0, float(z.logsumexp(1).abs().max()))
        self.ignored += int((~legal).sum())
        named = z.argmax(1)
        self._count(z[legal], y[legal], named[legal])
        use = legal & whole
        told = self._probabilities(z[use], y[use]) if bool(use.any()) else ()

        def describe(i: int) -> tuple[str, str]:
            return self.name(int(y[i])), self.name(int(named[i]))

        def answers(parts: tuple[Tensor, Tensor] | None, other: Answers | None = None) -> Answers:
            loss, confidence = torch.full((2, len(z)), math.nan, dtype=torch.float64)
            if parts is not None:
                loss[use], confidence[use] = parts
            return Answers(loss, named == y, confidence, describe, other)

        if self.as_probabilities is None:
            return answers(told[0] if told else None)
        return answers(told[0] if told else None, answers(told[1] if told else None))

    def name(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else str(index)

    def _count(self, z: Tensor, y: Tensor, named: Tensor) -> None:
        if not len(z):
            return
        if self._confusion is not None:
            self._confusion.view(-1).index_add_(0, y * self.n_classes + named, torch.ones_like(y))
        self.support += torch.bincount(y, minlength=self.n_classes)
        self.right += int((named == y).sum())
        own = z.gather(1, y[:, None])
        before = (z > own).sum(1) + ((z == own) & (torch.arange(self.n_classes) < y[:, None])).sum(1)
        self.right_of_five += int((before < 5).sum())

    def _probabilities(self, z: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Add up what probabilities tell; return loss and confidence under each reading that is possible."""
        told = [self._add(self.as_logits, F.log_softmax(z, 1), y, z)]
        self.cross_entropy += float(told[0][0].sum())
        likely = bool((z >= 0).all()) and float((z.sum(1) - 1).abs().max()) <= _ROW_SUM
        if self.as_probabilities is not None and likely:
            logs = z.clamp_min(1e-38).log()
            told.append(self._add(self.as_probabilities, logs, y, logs))
        else:
            self.as_probabilities = None
        return tuple(told)

    def _add(self, reading: _Reading, logs: Tensor, y: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        loss = -logs.gather(1, y[:, None]).squeeze(1)
        p = logs.exp()
        confidence, named = p.max(1)
        brier = float(p.square().sum() + len(y) - 2 * p.gather(1, y[:, None]).sum())
        reading.reliability.update(confidence, named == y, float(loss.sum()), brier)
        if self.n_classes <= MAX_TEMPERED:
            reading.reliability.temper(logits, y)
        if reading.separation is not None:
            odds = logs - torch.log1p(-p.clamp_max(1 - 1e-16))
            truth = y[:, None] == torch.arange(self.n_classes)
            if self.n_classes == 2:
                odds, truth = odds[:, 1:], truth[:, 1:]
            reading.separation.update(odds, truth, torch.ones_like(truth))
        return loss, confidence

    def merge(self, other: ClassScores) -> None:
        if self._confusion is not None and other._confusion is not None:
            self._confusion += other._confusion
        self.support += other.support
        self.right += other.right
        self.right_of_five += other.right_of_five
        self.ignored += other.ignored
        self.cross_entropy += other.cross_entropy
        self.row_sum, self.log_sum = _larger(self.row_sum, other.row_sum), _larger(self.log_sum, other.log_sum)
        _merge_reading(self.as_logits, other.as_logits)
        if self.as_probabilities is not None and other.as_probabilities is not None:
            _merge_reading(self.as_probabilities, other.as_probabilities)
        else:
            self.as_probabilities = None

    @property
    def n(self) -> int:
        return int(self.support.sum())

    def reading(self) -> _Reading:
        """Return the reading that holds: probabilities while every row was one, else logits."""
        return self.as_logits if self.as_probabilities is None else self.as_probabilities

    def mean_cross_entropy(self) -> float | None:
        n = float(self.as_logits.reliability.sums[0])
        return self.cross_entropy / n if n and math.isfinite(self.cross_entropy) else None

    def classification(self) -> Classification | None:
        if self._confusion is None or not self.n:
            return None
        table = self._confusion.tolist()
        return Classification(classes=[self.name(i) for i in range(self.n_classes)], confusion=table)

    def scores(self) -> list[Score]:
        n = self.n
        if not n:
            return []
        frequency = self.support.double().sort(descending=True).values / n
        low, high = wilson(self.right, n)
        accuracy = Score(name="accuracy", value=self.right / n, low=low, high=high, baseline=float(frequency[0]))
        out = [accuracy]
        if self._confusion is not None:
            out += of_confusion(self._confusion.numpy())
        if self.n_classes > 5:
            low, high = wilson(self.right_of_five, n)
            value, baseline = self.right_of_five / n, float(frequency[:5].sum())
            out.append(Score(name="top_5_accuracy", value=value, low=low, high=high, baseline=baseline))
        curves = self._all_curves()
        if len(curves) == 1:
            out += of_curve(curves[0])
        elif curves and len(curves) == int((self.support > 0).sum()):
            out.append(mean_area(curves))
        return out

    def calibration(self) -> Calibration | None:
        frequency = self.support.double() / max(self.n, 1)
        entropy = float(-(frequency * frequency.clamp_min(1e-300).log()).sum())
        return self.reading().reliability.facts(entropy, float(1 - frequency.square().sum()))

    def _all_curves(self) -> list[Curve]:
        separation = self.reading().separation
        if separation is None:
            return []
        first = 1 if self.n_classes == 2 else 0
        n = len(separation.counts)
        found = (separation.curve(i, self.name(i + first), swept=n == 1) for i in range(n))
        return [curve for curve in found if curve is not None]

    def curves(self) -> list[Curve]:
        """Return the curves of the classes that are told apart worst."""
        return sorted(self._all_curves(), key=lambda c: c.auc)[:SHOWN_CURVES]


def of_curve(curve: Curve) -> list[Score]:
    """Return the areas of one curve as scores: the baselines are those of a score drawn at random."""
    prevalence = curve.positives / (curve.positives + curve.negatives)
    return [
        Score(name="roc_auc", value=curve.auc, low=curve.auc_low, high=curve.auc_high, baseline=0.5),
        Score(
            name="average_precision",
            value=curve.average_precision,
            low=curve.ap_low,
            high=curve.ap_high,
            baseline=prevalence,
        ),
    ]


def mean_area(curves: list[Curve]) -> Score:
    """Return the mean area under several ROC curves, between the means of the ends of their intervals.

    The widest that can be: the curves are of the same samples, and may all be too high or too low together.
    """
    value, low, high = (
        sum(found) / len(curves) for found in zip(*((c.auc, c.auc_low, c.auc_high) for c in curves), strict=True)
    )
    return Score(name="macro_roc_auc", value=value, low=low, high=high, baseline=0.5)


def _larger(a: float | None, b: float | None) -> float | None:
    return max(a, b) if a is not None and b is not None else a if b is None else b


def _merge_reading(one: _Reading, other: _Reading) -> None:
    one.reliability.merge(other.reliability)
    if one.separation is not None and other.separation is not None:
        one.separation.merge(other.separation)
