"""The rules by id. A rule is a function of facts, gates and thresholds; its docstring is what the user reads of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...document.facts import Finding, Report
from ..context import Context
from ..thresholds import Thresholds
from . import (
    activations,
    alike,
    attention,
    capacity,
    checks,
    course,
    dataset,
    evaluation,
    fit,
    flow,
    generation,
    gradients,
    handover,
    hub,
    labels,
    loop,
    matrices,
    optimizer,
    outputs,
    position,
    precision,
    probabilities,
    reach,
    recurrent,
    relearned,
    repairs,
    rounding,
    rows,
    samples,
    scores,
    splits,
    spread,
    start,
    structure,
    training,
    trials,
    units,
    weights,
)

Rule = Callable[[Report, Context, Thresholds], Iterator[Finding]]

_BY_SECTION: tuple[tuple[Rule, ...], ...] = (
    weights.RULES,
    matrices.RULES,
    hub.RULES,
    recurrent.RULES,
    activations.RULES,
    units.RULES,
    gradients.RULES,
    training.RULES,
    course.RULES,
    optimizer.RULES,
    loop.RULES,
    reach.RULES,
    dataset.RULES,
    labels.RULES,
    rows.RULES,
    splits.RULES,
    samples.RULES,
    structure.RULES,
    attention.RULES,
    spread.RULES,
    precision.RULES,
    scores.RULES,
    evaluation.RULES,
    outputs.RULES,
    trials.RULES,
    position.RULES,
    handover.RULES,
    flow.RULES,
    start.RULES,
    rounding.RULES,
    generation.RULES,
    capacity.RULES,
    alike.RULES,
    fit.RULES,
    probabilities.RULES,
    repairs.RULES,
    relearned.RULES,
    checks.RULES,
)

RULES: dict[str, Rule] = {rule.__name__.replace("_", "-"): rule for section in _BY_SECTION for rule in section}
