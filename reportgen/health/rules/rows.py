"""The rule on labels that do not belong to their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ...document.facts import Finding, Report, Severity
from ...document.samples import RowPart, Rows
from ..context import Context
from ..thresholds import Thresholds

_CHANCE = 3.0  # standard deviations: below it labels fit no better than when they are dealt out at random
_CLEAR = 6.0
_STRONG = 8.0
_SURPLUS = 1.5


def d_rows_slipped(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Labels belong to other rows: all of them, or those of a part of the file, are some rows off or were dealt out.

    Up to 8 stretches of 128 rows in the order of the data set. How well labels fit their inputs is told by the 5
    nearest rows of other stretches, against all ways to deal the labels out within the stretch (Hoeffding 1951).
    Judged only where rows come in no order: no column is correlated with any column up to 8 rows on, by six standard
    errors. An error: labels fit within three standard deviations of chance, and those of up to 8 rows on or back by
    more than eight (in a part of the file: six, where another part fits by six too). A warning: in a part no labels
    near by fit, within three, while the others do by more than eight. Where rows come in an order it informs that
    labels some rows on fit by half more: a target may be meant to lie ahead. Read only where samples can be asked for
    by place, have one target, or several numbers, and are small.
    """
    for name, data in (("training data", report.train_dataset), ("data", report.dataset)):
        rows = data.rows if data is not None else None
        found = _finding(rows, name) if rows is not None and context.real_data else None
        if found is not None:
            yield found


def _finding(rows: Rows, name: str) -> Finding | None:
    reach = len(rows.whole) // 2
    scores = {shift: z for shift, z in zip(range(-reach, reach + 1), rows.whole, strict=True)}
    best = max((s for s in scores if s), key=scores.__getitem__)
    evidence = {"shift": float(best), "own": scores[0], "shifted": scores[best], "rows": float(rows.n)}
    if rows.chained >= _CLEAR:
        ahead = scores[best] > max(_SURPLUS * scores[0], _CLEAR) and scores[best] - scores[0] > _STRONG
        return _told(name, Severity.INFO, "ordered", evidence) if ahead else None
    if scores[0] < _CHANCE and scores[best] > _STRONG:
        return _told(name, Severity.ERROR, "shifted", evidence)
    judged = [(part, part.own) for part in rows.parts if part.own is not None]
    fine = [own for _, own in judged if own > _CLEAR]
    slipped = [part for part, own in judged if own < _CHANCE and part.shifted > _CLEAR]
    lost = [part for part, own in judged if own < _CHANCE and part.shifted <= _CLEAR]
    if fine and slipped:
        return _told(name, Severity.ERROR, "part shifted", _of_parts(slipped, rows))
    if len(fine) > 1 and lost and median(fine) > _STRONG:
        return _told(name, Severity.WARNING, "part unrelated", _of_parts(lost, rows))
    return None


def _of_parts(parts: list[RowPart], rows: Rows) -> dict[str, float]:
    """Return where the first of the parts begins and the last one ends, and how well labels fit in the first."""
    return {
        "shift": float(parts[0].shift),
        "own": parts[0].own or 0.0,
        "shifted": parts[0].shifted,
        "first": float(parts[0].first),
        "last": float(parts[-1].last),
        "parts": float(len(parts)),
        "rows": float(rows.n),
    }


def _told(name: str, severity: Severity, kind: str, evidence: dict[str, float]) -> Finding:
    return Finding(
        rule="d-rows-slipped",
        severity=severity,
        subject=name,
        section="dataset",
        evidence=evidence,
        threshold={"own": _CHANCE, "shifted": _STRONG},
        detail={"kind": kind},
    )


def tags_slipped(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The labels of a sequence fit the tokens of another place, the same for all, and the model finds nothing in them.

    Each token's commonest label, of one half of the sequences, is right in the other half more often for labels so many
    places away than for those beside it, by 0.15 and four standard errors (binomial, of the difference), while the
    model's own answers are no better than the commonest label, within two standard errors. One start token too many or
    too few moves all labels along. A warning. What is to come is asked of a model on purpose where it learns some of
    it.
    """
    trial = report.tried("tags-slipped")
    if trial is None or context.state != "trained" or not context.real_data:
        return
    n = trial.numbers
    error = math.sqrt(sum(max(n[key] * (1 - n[key]), 0.01) for key in ("own", "moved")) / n["asked"])
    guess = math.sqrt(max(n["commonest"] * (1 - n["commonest"]), 0.01) / n["asked"])
    ahead = n["moved"] - n["own"] > max(limits.anew_gap, limits.anew_errors * error)
    if not ahead or n["model"] > n["commonest"] + 2 * guess:
        return
    yield Finding(
        rule="tags-slipped",
        severity=Severity.WARNING,
        subject="labels",
        section="trials",
        evidence=dict(n),
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
    )


RULES = (d_rows_slipped, tags_slipped)
