"""Rule on data given that the model knows once their inputs are prepared in another way."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context
from ..thresholds import Thresholds


def prepared_otherwise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """One change to all inputs of the data given brings back what the model can do on its training data.

    Channels in another order, pictures mirrored, upside down, turned, with rows for columns or light for dark,
    sequences backwards, columns in another order, codes of categories numbered as they are there (told by how often
    they occur), or means and deviations of the training data: the score (accuracy,
    R², or the places of a class found in maps) rises by 0.15 and four standard errors, and more than half of the way to
    that on the training data. The splits are prepared differently: an error. Where one class is another one changed so
    (left and right, blue and red), labels that were renumbered look the same.
    """
    trial = report.tried("prepared-otherwise") if context.real_data else None
    if trial is None or not trial.detail.get("what"):
        return
    n = trial.numbers
    gained = n["best"] - n["given"]
    if gained <= max(limits.anew_gap, limits.anew_errors * _error(trial)) or gained <= (n["training"] - n["given"]) / 2:
        return
    yield Finding(
        rule="prepared-otherwise",
        severity=Severity.ERROR,
        subject="data",
        section="trials",
        evidence={"best": n["best"], "given": n["given"], "training": n["training"], "samples": n["samples"]},
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
        detail={"kind": trial.detail.get("kind", ""), "what": trial.detail["what"]},
    )


def _error(trial: Trial) -> float:
    """Return the standard error of the difference of two scores: see ``relearned``."""
    n, kind = trial.numbers, trial.detail.get("kind")
    best, given = n["best"], n["given"]
    if kind == "maps":
        return max(n.get("spread", 0.5), 0.05) * math.sqrt(2 / n["samples"])
    if kind == "classes":
        return math.sqrt(sum(max(s * (1 - s), 0.01) for s in (best, given)) / n["samples"])
    return math.sqrt(sum(max(1 - s, 0.01) ** 2 for s in (best, given)) / n["samples"])


RULES = (prepared_otherwise,)
