"""What must be known before a single rule may speak: is the model trained, does it work, how good was the probe."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from ..document.facts import EvaluationFacts, Report
from ..document.scores import beats_constant
from .thresholds import Thresholds


class Context(Struct, frozen=True, kw_only=True):
    """Gates that rules share."""

    state: Literal["untrained", "trained", "unknown"]
    outcome_ok: bool
    """The metric on the data given is clearly better than the trivial baseline."""
    outcome_known: bool
    real_data: bool
    n_samples: int
    chance: float | None
    """Cross-entropy of the best constant prediction on the data given; None for other tasks."""


def context_of(report: Report, limits: Thresholds) -> Context:
    """Derive the gates from the facts."""
    evaluation = report.evaluation
    return Context(
        state=state_of(report),
        outcome_ok=evaluation is not None and _outcome_ok(evaluation, limits),
        outcome_known=evaluation is not None,
        real_data=report.subject.inputs == "real",
        n_samples=report.subject.n_samples,
        chance=_chance(report),
    )


def state_of(report: Report) -> Literal["untrained", "trained", "unknown"]:
    """Tell whether training has touched the model: by its history, its batch norms, its weights."""
    if report.training is not None and report.training.steps > 0:
        return "trained"
    norms = [n.batches_tracked for n in report.activations.norms] if report.activations else []
    tracked = [n for n in norms if n is not None]
    if any(tracked):
        return "trained"
    if tracked:
        return "untrained"
    tested = (
        [row.at_default_init for row in report.weights.rows if row.at_default_init is not None]
        if report.weights
        else []
    )
    if tested and sum(tested) >= 0.5 * len(tested):
        return "untrained"
    return "unknown"


def _outcome_ok(evaluation: EvaluationFacts, limits: Thresholds) -> bool:
    if evaluation.classification is not None:
        return beats_constant(evaluation.classification.confusion)
    if evaluation.regression is not None:
        return evaluation.regression.r2 is not None and evaluation.regression.r2 > limits.outcome_r2
    return False


def _chance(report: Report) -> float | None:
    """Return the entropy of the labels: the cross-entropy that a constant prediction can reach at best."""
    evaluation = report.evaluation
    if evaluation is None or evaluation.task != "multiclass" or evaluation.classification is None:
        return None
    counts = [sum(row) for row in evaluation.classification.confusion]
    n = sum(counts)
    return -sum(c / n * math.log(c / n) for c in counts if c) if n else None
