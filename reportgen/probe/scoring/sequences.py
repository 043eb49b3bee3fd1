"""A class for each position of a sequence: perplexity, next-token accuracy, loss by position."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...document.evaluation import Calibration, Score, TokenScores
from ...document.scores import Z95, wilson
from .answers import Answers
from .reliability import Reliability

_NUMBERS = 1 << 22  # scores that are lifted at a time
_FIRST = 5
_POSITIONS = 32  # places 0, 1, 2 to 3, 4 to 7, ...


class SequenceScores:
    """Outputs (N, T, K) against token numbers (N, T)."""

    def __init__(self, n_classes: int, ignore: int, *, shifted: bool) -> None:
        self.n_classes, self._ignore, self.shifted = n_classes, ignore, shifted
        self.support = torch.zeros(n_classes, dtype=torch.int64)
        self.by_position = torch.zeros(2, _POSITIONS, dtype=torch.float64)
        # by sequence: number, its square, and for NLL, hits and hits among five: x, x², x·n
        self.sums = torch.zeros(3, 3, dtype=torch.float64)
        self.tokens = torch.zeros(3, dtype=torch.float64)  # sequences, tokens, sum of their squared numbers
        self.reliability = Reliability()
        self.ignored = 0

    def update(self, output: Tensor, target: Tensor) -> Answers:
        """Add one batch, on any device; what is kept is on the CPU."""
        if self.shifted:
            output, target = output[:, :-1], target[:, 1:]
        n, length = target.shape
        legal = (target >= 0) & (target < self.n_classes) & (target != self._ignore)
        told = _of_rows(output.reshape(n * length, -1), target.reshape(-1).long(), legal.reshape(-1)).cpu()
        legal, target = legal.cpu(), target.cpu()
        loss, named, confidence = told[0].view(n, length), told[1].view(n, length).long(), told[2].view(n, length)
        legal &= ~loss.isnan()
        self.ignored += int((~legal).sum())
        self._count(loss, told[3].view(n, length), named, confidence, target.long(), legal)
        counts = legal.sum(1)
        mean = loss.where(legal, 0.0).sum(1) / counts
        mean[counts == 0] = math.nan

        def describe(i: int) -> tuple[str, str]:
            chosen = legal[i].nonzero().flatten()[:12]
            return _told(target[i][chosen]), _told(named[i][chosen])

        return Answers(mean, None, None, describe)

    def _count(
        self, loss: Tensor, rank: Tensor, named: Tensor, confidence: Tensor, target: Tensor, legal: Tensor
    ) -> None:
        counts = legal.sum(1).double()
        used = counts > 0
        self.tokens += torch.stack([used.sum().double(), counts.sum(), counts.square().sum()])
        right = named == target
        for k, values in enumerate((loss, right.double(), (rank < _FIRST).double())):
            by_sequence = values.where(legal, 0.0).sum(1)
            self.sums[k] += torch.stack([by_sequence.sum(), by_sequence.square().sum(), (by_sequence * counts).sum()])
        self.support += torch.bincount(target[legal], minlength=self.n_classes)
        place = torch.arange(target.shape[1])
        group = torch.where(place > 0, place.clamp_min(1).double().log2().floor().long() + 1, 0).clamp_max(31)
        rows = torch.stack([legal.double().sum(0), loss.where(legal, 0.0).sum(0)])
        self.by_position.index_add_(1, group, rows)
        self.reliability.update(confidence[legal], right[legal], float(loss[legal].sum()), 0.0)

    def merge(self, other: SequenceScores) -> None:
        self.support += other.support
        self.by_position += other.by_position
        self.sums += other.sums
        self.tokens += other.tokens
        self.reliability.merge(other.reliability)
        self.ignored += other.ignored

    def _mean(self, k: int) -> tuple[float, float | None]:
        """Return a mean over tokens and half of its interval: the tokens of one sequence are not independent."""
        sequences, n, squares = self.tokens.tolist()
        x, xx, xn = self.sums[k].tolist()
        mean = x / n
        if sequences < 2:
            return mean, None
        spread = max(xx - 2 * mean * xn + mean * mean * squares, 0.0) * sequences / (sequences - 1)
        return mean, Z95 * math.sqrt(spread) / n

    def _entropy(self) -> float:
        p = self.support.double() / max(int(self.support.sum()), 1)
        return float(-(p * p.clamp_min(1e-300).log()).sum())

    def tokens_facts(self) -> TokenScores | None:
        n = int(self.tokens[1])
        if not n or not math.isfinite(float(self.sums[0, 0])):  # a target that the model rules out costs without end
            return None
        first = [0, *(1 << k for k in range(_POSITIONS - 1))]
        rows = zip(first, *self.by_position.tolist(), strict=True)
        return TokenScores(
            n_tokens=n,
            n_ignored=self.ignored,
            nll=float(self.sums[0, 0]) / n,
            entropy=self._entropy(),
            vocabulary=self.n_classes,
            seen=int((self.support > 0).sum()),
            shifted=self.shifted,
            by_position=[(place, int(count), total / count) for place, count, total in rows if count],
        )

    def scores(self) -> list[Score]:
        n = int(self.tokens[1])
        if not n:
            return []
        nll, half = self._mean(0)
        entropy = self._entropy()
        ends = (None, None) if half is None else (nll - half, nll + half)
        perplexities = [None if e is None else math.exp(min(e, 700.0)) for e in ends]
        out = [
            Score(
                name="perplexity",
                value=math.exp(min(nll, 700.0)),
                low=perplexities[0],
                high=perplexities[1],
                baseline=math.exp(entropy),
            ),
            Score(name="nll", value=nll, low=ends[0], high=ends[1], baseline=entropy),
        ]
        if not math.isfinite(nll):
            out = []
        frequency = self.support.double().sort(descending=True).values / n
        for k, name, baseline in ((1, "accuracy", frequency[0]), (2, "top_5_accuracy", frequency[:5].sum())):
            if k == 2 and self.n_classes <= _FIRST:
                continue
            value, half = self._mean(k)
            low, high = (None, None) if half is None else (max(value - half, 0.0), min(value + half, 1.0))
            if value in (0.0, 1.0):  # all alike, which says nothing of the spread: as many sequences, right or wrong
                n_sequences = int(self.tokens[0])
                low, high = wilson(round(value) * n_sequences, n_sequences)
            out.append(Score(name=name, value=value, low=low, high=high, baseline=float(baseline)))
        return out

    def calibration(self) -> Calibration | None:
        return self.reliability.facts(self._entropy(), 0.0, squared=False)


def _of_rows(z: Tensor, y: Tensor, legal: Tensor) -> Tensor:
    """Return (4, rows): loss, class named, its probability, how many of the first five rank before the target.

    The loss is NaN where the target is not known.
    A few rows at a time: scores over a vocabulary are the largest tensors of a language model.
    """
    parts = []
    step = max(1, _NUMBERS // z.shape[1])
    safe = y.clamp(0, z.shape[1] - 1)
    for rows, target, known in zip(*(torch.split(t, step) for t in (z, safe, legal)), strict=True):
        x = rows.float()
        high, named = x.topk(min(_FIRST, x.shape[1]), 1)  # one look for the class named and for those behind it
        own = x.gather(1, target[:, None])
        whole = (x - high[:, :1]).exp_().sum(1).log() + high[:, 0]
        loss = (whole - own[:, 0]).double().masked_fill(~known, math.nan)
        before = (high > own).sum(1)
        parts.append(torch.stack([loss, named[:, 0].double(), (high[:, 0] - whole).exp().double(), before.double()]))
    return torch.cat(parts, 1)


def _told(tokens: Tensor) -> str:
    return " ".join(map(str, tokens.tolist()))
