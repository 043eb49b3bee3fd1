"""Rules on what the model looks up in tables by codes of its inputs."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..skill import skill_of
from ..thresholds import Thresholds
from .training import h_overfit

SECTION = "trials"


def code_of_each_sample(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """An embedding is indexed by a value that each sample has for itself: the number of a row, an id of the sample.

    Each training sample then has a vector of its own to write its answer into, and the rows of other samples are never
    trained. Told by what is looked up for up to 1024 samples of each split: no code occurs twice, and none of the data
    given is one of the training data, where draws from as many codes would have made ten pairs at least in either
    case. A warning where skill (see ``o-skill-lost``) on the training data is higher than on the data given by 0.15 and
    four standard errors, or the curves tell of overfitting; otherwise it informs. Wrong where codes of samples are
    fitted on purpose, and those of new samples will be fitted too.
    """
    trial = report.tried("lookups")
    if trial is None or "distinct" not in trial.numbers or not context.real_data:
        return
    n = trial.numbers
    pairs = n["samples"] * (n["samples"] - 1) / (2 * n["places"])
    across = n["samples"] * n["given"] / n["places"]
    if n["distinct"] < n["samples"] or n["known"] or min(pairs, across) < limits.code_pairs:
        return
    skill = skill_of(report, context)
    apart = skill is not None and skill.train - skill.given > max(limits.few_gap, 4 * skill.error)
    lost = apart or any(f.severity is Severity.WARNING for f in h_overfit(report, context, limits))
    yield Finding(
        rule="code-of-each-sample",
        severity=Severity.WARNING if lost else Severity.INFO,
        subject=trial.detail.get("table") or "model",
        section=SECTION,
        evidence={key: n[key] for key in ("samples", "distinct", "given", "known")} | {"pairs": min(pairs, across)},
        threshold={"pairs": limits.code_pairs},
    )


def coded_columns(report: Report) -> set[int]:
    """Return the columns of a table that are looked up as codes, so that they have no scale."""
    trial = report.tried("lookups")
    names = trial.detail.get("columns", "") if trial is not None else ""
    return {int(name) for name in names.split(", ") if name}


RULES = (code_of_each_sample,)
