"""Yes or no: one answer a sample, or several."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...document.evaluation import Calibration, Classification, Curve, LabelCounts, Score
from ...document.scores import wilson
from .answers import Answers, mean_score
from .classes import SHOWN_CURVES, mean_area, of_curve
from .intervals import f1_scores, of_confusion
from .reliability import MAX_TEMPERED, Reliability
from .separation import MAX_LABELS, Separation

_PACKED = 62  # labels in a whole number
_SETS = 10_000  # sets of labels that are counted


@dataclass
class _Reading:
    """What follows from taking outputs as logits, or from taking them as probabilities."""

    counts: Tensor
    """(labels, truth, answer)."""
    whole: Tensor
    """Samples, those with every label right, labels right, and the square of their share: (4,)."""
    together: Tensor
    """Sums over samples of hits², hits times mistakes, and mistakes², counted over the labels of one: (3,)."""
    reliability: Reliability
    separation: Separation | None


class YesNoScores:
    """Outputs (N, L) against targets (N, L) of 0 and 1; other targets and NaN are ignored."""

    def __init__(self, n_labels: int, names: list[str] | None) -> None:
        self.n_labels, self._names = n_labels, names or []
        self._sets: Counter[int] | None = Counter() if 1 < n_labels <= _PACKED else None
        """How often each set of labels is the true one, as bits; None where there are too many to count."""
        self.as_logits = self._reading()
        self.as_probabilities: _Reading | None = self._reading()
        self.ignored = 0

    def _reading(self) -> _Reading:
        return _Reading(
            torch.zeros(self.n_labels, 2, 2, dtype=torch.int64),
            torch.zeros(4, dtype=torch.float64),
            torch.zeros(3, dtype=torch.float64),
            Reliability(),
            Separation(self.n_labels) if self.n_labels <= MAX_LABELS else None,
        )

    def update(self, output: Tensor, target: Tensor) -> Answers:
        """Add one batch, on the CPU."""
        x, y = output.double(), target.double()
        legal = ((y == 0) | (y == 1)) & ~x.isnan()
        self.ignored += int((~legal).sum())
        seen = x[legal]
        if self.as_probabilities is not None and len(seen) and not bool(((seen >= 0) & (seen <= 1)).all()):
            # probabilities lie in [0, 1]; logits of the whole data practically never do
            self.as_probabilities = None
        yes = y > 0.5
        self._count(yes, legal)
        answers = self._answers(self._add(self.as_logits, x, yes, legal), yes, legal)
        if self.as_probabilities is not None:
            parts = self._add(self.as_probabilities, torch.logit(x.clamp(0, 1)), yes, legal)
            answers.as_probabilities = self._answers(parts, yes, legal)
        return answers

    def _count(self, yes: Tensor, legal: Tensor) -> None:
        """Count the sets of true labels; a sample with a label left out is held against none."""
        if self._sets is None:
            return
        bits = (yes.long() << torch.arange(self.n_labels)).sum(1)[legal.all(1)]
        found, times = np.unique(bits.numpy(), return_counts=True)
        self._sets.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
        if len(self._sets) > _SETS:
            self._sets = None

    def _answers(self, parts: tuple[Tensor, Tensor], yes: Tensor, legal: Tensor) -> Answers:
        loss, p = parts
        named = p > 0.5
        right = ((named == yes) | ~legal).all(1)

        def describe(i: int) -> tuple[str, str]:
            return self._told(yes[i]), self._told(named[i])

        sure = torch.where(named, p, 1 - p).where(legal, 1.0).amin(1)
        n_legal = legal.sum(1)
        mean = loss.where(legal, 0.0).sum(1) / n_legal
        mean[n_legal == 0] = math.nan
        return Answers(mean, right, sure, describe)

    def _told(self, answers: Tensor) -> str:
        if self.n_labels == 1:
            return self._class(int(answers[0]))
        chosen = answers.nonzero().flatten().tolist()
        return ", ".join(self._label(i) for i in chosen[:6]) + (", …" if len(chosen) > 6 else "") or "–"

    def _class(self, index: int) -> str:
        return self._names[index] if len(self._names) == 2 else str(index)

    def _label(self, index: int) -> str:
        return self._names[index] if index < len(self._names) else str(index)

    def _add(self, reading: _Reading, logits: Tensor, yes: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
        """Add up, and return loss and p(yes), both (N, L)."""
        p = torch.sigmoid(logits)
        # a half is no yes; the mean of a loss without end would be none
        named = p > 0.5
        loss = F.softplus(torch.where(yes, -logits, logits))
        loss = loss.where(torch.isfinite(loss), 100.0)  # as the loss of torch has it
        index = (torch.arange(self.n_labels) * 4 + yes.long() * 2 + named.long())[legal]
        reading.counts.view(-1).scatter_add_(0, index, torch.ones_like(index))
        n_legal, hits = legal.sum(1), ((named == yes) & legal).sum(1)
        share = hits[n_legal > 0].double() / n_legal[n_legal > 0]
        all_right = float((share == 1).sum())
        parts = (len(share), all_right, float(share.sum()), float(share.square().sum()))
        reading.whole += torch.tensor(parts, dtype=torch.float64)
        found, missed = (yes & named & legal).sum(1).double(), ((yes != named) & legal).sum(1).double()
        reading.together += torch.stack([found @ found, found @ missed, missed @ missed])
        q, truth = p[legal], yes[legal]
        brier = float((q - truth.double()).square().sum())
        reading.reliability.update(q, truth, float(loss[legal].sum()), brier)
        if self.n_labels <= MAX_TEMPERED:
            reading.reliability.temper(logits.clamp(-1e4, 1e4)[legal], truth)
        if reading.separation is not None:
            reading.separation.update(logits, yes, legal)
        return loss, p

    def merge(self, other: YesNoScores) -> None:
        self.ignored += other.ignored
        self._sets = None if self._sets is None or other._sets is None else self._sets + other._sets
        if self.as_probabilities is not None and other.as_probabilities is not None:
            _merge_reading(self.as_probabilities, other.as_probabilities)
        else:
            self.as_probabilities = None
        _merge_reading(self.as_logits, other.as_logits)

    def reading(self) -> _Reading:
        return self.as_logits if self.as_probabilities is None else self.as_probabilities

    @property
    def nll(self) -> float | None:
        n, total, _ = self.reading().reliability.sums.tolist()
        return total / n if n else None

    def classification(self) -> Classification | None:
        """Return the two by two table of a single answer."""
        table = self.reading().counts[0]
        if self.n_labels > 1 or not int(table.sum()):
            return None
        return Classification(classes=[self._class(0), self._class(1)], confusion=table.tolist())

    def labels(self) -> list[LabelCounts]:
        if self.n_labels == 1:
            return []
        rows = self.reading().counts.flatten(1).tolist()
        return [
            LabelCounts(label=self._label(i), tn=tn, fp=fp, fn=fn, tp=tp) for i, (tn, fp, fn, tp) in enumerate(rows)
        ]

    def scores(self) -> list[Score]:
        counts = self.reading().counts
        if not int(counts.sum()):
            return []
        return self._of_one(counts[0]) if self.n_labels == 1 else self._of_several(counts)

    def _of_one(self, table: Tensor) -> list[Score]:
        total, right = int(table.sum()), int(table.diagonal().sum())
        low, high = wilson(right, total)
        majority = float(table.sum(1).max()) / total
        out = [Score(name="accuracy", value=right / total, low=low, high=high, baseline=majority)]
        out += of_confusion(table.numpy())
        curves = self._all_curves()
        return out + (of_curve(curves[0]) if curves else [])

    def _of_several(self, counts: Tensor) -> list[Score]:
        n, exact, right, squares = self.reading().whole.tolist()
        low, high = wilson(round(exact), round(n))
        yes = counts[:, 1].sum(1).double() / counts.sum((1, 2)).clamp_min(1)
        same = max(self._sets.values(), default=0) / n if self._sets else None
        out = [Score(name="exact_match", value=exact / n, low=low, high=high, baseline=same)]
        # of samples, not of labels: those of one sample are not independent
        by_label = mean_score("label_accuracy", n, right, squares, float(torch.maximum(yes, 1 - yes).mean()))
        out += [by_label] if by_label is not None else []
        out += f1_scores(counts, self.reading().together)
        curves = self._all_curves()
        if curves:
            prevalence = sum(c.positives / (c.positives + c.negatives) for c in curves) / len(curves)
            ends = [(c.average_precision, c.ap_low, c.ap_high) for c in curves]
            mean, low, high = (sum(found) / len(curves) for found in zip(*ends, strict=True))
            out.append(mean_area(curves))
            out.append(Score(name="mean_average_precision", value=mean, low=low, high=high, baseline=prevalence))
        return out

    def calibration(self) -> Calibration | None:
        counts = self.reading().counts.double()
        share = counts[:, 1].sum(1) / counts.sum((1, 2)).clamp_min(1)
        weight = counts.sum((1, 2)) / counts.sum().clamp_min(1)
        logs = [s * s.clamp_min(1e-300).log() for s in (share, 1 - share)]
        entropy = float(-(weight * (logs[0] + logs[1])).sum())
        return self.reading().reliability.facts(entropy, float((weight * share * (1 - share)).sum()))

    def _all_curves(self) -> list[Curve]:
        separation = self.reading().separation
        if separation is None:
            return []
        names = [self._class(1)] if self.n_labels == 1 else [self._label(i) for i in range(self.n_labels)]
        found = (separation.curve(i, name) for i, name in enumerate(names))
        return [curve for curve in found if curve is not None]

    def curves(self) -> list[Curve]:
        return sorted(self._all_curves(), key=lambda c: c.auc)[:SHOWN_CURVES]


def _merge_reading(one: _Reading, other: _Reading) -> None:
    one.counts += other.counts
    one.whole += other.whole
    one.together += other.together
    one.reliability.merge(other.reliability)
    if one.separation is not None and other.separation is not None:
        one.separation.merge(other.separation)
