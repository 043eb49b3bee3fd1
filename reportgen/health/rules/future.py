"""A rule on models that see what they are asked for: the future of a sequence, or the targets themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "trials"
_BEYOND = 0.3


def causal_leak(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A model that predicts the next element sees it: changing later elements moves earlier outputs.

    The later half of each sequence is replaced; largest movement of an output before it, over the spread of all
    outputs, above 1e-3. Judged only where the target is the input shifted by one (up to four elements, all channels or
    one, or shifted by a loss that leaves out the last answer), so that the future is the answer, and only where outputs
    do not already depend on the other samples of the batch. Or a decoder is handed its targets as they stand, not moved
    on by one: one input is the targets, beside another sequence; answers depend on it at their own place and before
    alone, and follow it wherever it leads: mixed up over the samples, it is named in more than half of the changed
    places, 0.3 more than the targets are (of numbers: answers explain so much of its variance).
    """
    yield from _given(report, limits)
    trial, coupled = report.tried("later-tokens"), report.tried("neighbours")
    if trial is None or trial.numbers["change"] <= limits.coupling:
        return
    if coupled is not None and coupled.numbers["change"] > limits.coupling:
        return
    yield Finding(
        rule="causal-leak",
        severity=Severity.ERROR,
        subject="output",
        section=SECTION,
        evidence=trial.numbers,
        threshold={"change": limits.coupling},
    )


def _given(report: Report, limits: Thresholds) -> Iterator[Finding]:
    trial = report.tried("targets-given")
    n = trial.numbers if trial is not None else {}
    if not n or n["ahead"] > limits.coupling or n["behind"] <= limits.coupling:
        return  # read in both directions, or place by place, as what rebuilds its input may
    if n["followed"] > limits.given_followed and n["followed"] > n["kept"] + _BEYOND:
        yield Finding(
            rule="causal-leak",
            severity=Severity.ERROR,
            subject="targets",
            section=SECTION,
            evidence={key: n[key] for key in ("followed", "kept", "length")},
            threshold={"followed": limits.given_followed},
            detail={"kind": "given"},
        )


RULES = (causal_leak,)
