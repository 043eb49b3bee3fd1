"""Samples worth a look: the highest losses, the surest mistakes, and a few that are typical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...document.samples import Example
from ...subject.data import Batch
from .answers import Answers, shuffled

Reason = Literal["worst", "confident", "typical"]
KEPT: dict[Reason, int] = {"worst": 6, "confident": 4, "typical": 4}
_ROW, _OF_WIDE, _TOKENS, _TEXT = 16, 10, 48, 400


@dataclass(frozen=True)
class Kept:
    """One sample and what it is shown with."""

    rank: float
    """The lower, the sooner it is shown."""
    facts: Example


class Examples:
    """The few samples of each kind, the same whatever the batches."""

    def __init__(self) -> None:
        self.kept: dict[Reason, list[Kept]] = {reason: [] for reason in KEPT}

    def update(self, answers: Answers, batch: Batch, places: Tensor) -> None:
        """Look at one batch; ``places`` (N,) are those of its samples in the data."""
        loss = answers.loss
        known = ~loss.isnan()
        if not bool(known.any()):
            return
        self._add("worst", -loss.where(known, -torch.inf), known, answers, batch, places)
        if answers.right is not None and answers.confidence is not None:
            wrong = known & ~answers.right & ~answers.confidence.isnan()
            self._add("confident", -answers.confidence.double(), wrong, answers, batch, places)
        rank = shuffled(places).double()
        self._add("typical", rank, known, answers, batch, places)

    def _add(
        self, reason: Reason, rank: Tensor, allowed: Tensor, answers: Answers, batch: Batch, places: Tensor
    ) -> None:
        held, n = self.kept[reason], KEPT[reason]
        if len(held) >= n:
            allowed = allowed & (rank < held[-1].rank)
        open_to = allowed.nonzero().flatten()
        if not len(open_to):
            return
        chosen = open_to[torch.argsort(rank[open_to], stable=True)[:n]].tolist()
        for i in chosen:
            held.append(Kept(float(rank[i]), _example(i, reason, answers, batch, int(places[i]), _input(batch, i))))
        self._trim(reason)

    def _trim(self, reason: Reason) -> None:
        self.kept[reason] = sorted(self.kept[reason], key=lambda k: (k.rank, k.facts.index))[: KEPT[reason]]

    def merge(self, other: Examples) -> None:
        for reason in KEPT:
            self.kept[reason] += other.kept[reason]
            self._trim(reason)

    def facts(self) -> list[Example]:
        return [kept.facts for held in self.kept.values() for kept in held]


def _input(batch: Batch, i: int) -> Tensor | None:
    x = batch.first
    if x is None or x.is_nested or x.layout != torch.strided or not x.dim() or i >= len(x):
        return None
    return x[i].detach().cpu() if x.dim() == 2 else x[i].detach()


def _example(i: int, reason: Reason, answers: Answers, batch: Batch, place: int, x: Tensor | None) -> Example:
    target, prediction = answers.describe(i)
    confidence = answers.confidence
    sure = None if confidence is None or bool(confidence[i].isnan()) else float(confidence[i])
    whole = x is not None and x.dim() == 1 and not x.is_floating_point() and not x.is_complex()
    row = x is not None and x.dim() == 1 and x.is_floating_point()
    width = 0 if x is None or not row else len(x) if len(x) <= _ROW else _OF_WIDE
    return Example(
        index=place,
        reason=reason,
        loss=float(answers.loss[i].clamp(-1e300, 1e300)),
        target=target,
        prediction=prediction,
        confidence=sure,
        shape=[] if x is None else list(x.shape),
        row=[]
        if x is None or not width
        else [v if abs(v) < float("inf") else 0.0 for v in x[:width].nan_to_num().tolist()],
        tokens=x[:_TOKENS].long().tolist() if x is not None and whole else [],
        text=text_of(batch, i),
    )


def text_of(batch: Batch, i: int) -> str:
    """Return the texts that the batch carries of one sample."""
    texts = [str(column[i]) for column in batch.carried.values() if _is_text(column, i)]
    return " · ".join(texts)[:_TEXT]


def _is_text(column: Any, i: int) -> bool:
    return isinstance(column, (list, tuple)) and i < len(column) and isinstance(column[i], str)
