"""Rules on what a generator makes, held against real samples."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.pictures import GenerationFacts
from ..context import Context
from ..thresholds import Thresholds

SECTION = "pictures"
_USUAL = 0.8  # a null below it says that the real samples are too few, or of one piece, to tell anything
_LARGE = 0.01  # share of equal inputs from which equal outputs prove nothing


def mode_collapse(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Generated samples are all alike, or leave out whole kinds of the real ones: mode collapse.

    Coverage (Naeem et al. 2020): the share of real samples with a generated one within the distance of their fifth
    real neighbour; the null is that of one half of the real samples by the other. All alike: a generated sample is ten
    times nearer to the next one than real ones are to each other; an error where next to nothing is covered. Kinds
    left out: less than 60 % of the null is covered, though what is made lies among the real samples as often as real
    ones do (precision of Kynkaanniemi et al. 2019). Samples that are poor and yet differ are no collapse. Silent on an
    untrained model, on inputs that repeat, and where output and target belong together.
    """
    facts = report.pictures.generation if report.pictures is not None else None
    if facts is None or facts.paired or context.state == "untrained" or _repeats(report):
        return
    told = _against_null(facts)
    if told is None:
        return
    covered, among = told
    alike = facts.apart is not None and facts.apart < limits.collapse_apart
    if not alike and not (covered < limits.collapse_covered and among >= limits.collapse_among):
        return
    gone = alike and covered < limits.collapse_gone
    evidence = {"coverage": facts.coverage, "coverage_expected": facts.coverage_expected, "spread": facts.spread}
    evidence |= {"apart": facts.apart, "covered": covered, "samples": facts.n_fake, "copies": facts.copies}
    yield Finding(
        rule="mode-collapse",
        severity=Severity.ERROR if gone else Severity.WARNING,
        subject="output",
        section=SECTION,
        evidence={name: float(value) for name, value in evidence.items() if value is not None},
        threshold={"apart": limits.collapse_apart} if alike else {"covered": limits.collapse_covered},
        detail={"reason": "alike" if alike else "left out"},
    )


def _against_null(facts: GenerationFacts) -> tuple[float, float] | None:
    """Return coverage, and the share of generated samples among the real, over what real samples have."""
    expected, usual = facts.coverage_expected, facts.inside_expected
    if facts.coverage is None or facts.inside is None or expected is None or usual is None:
        return None
    if min(expected, usual) < _USUAL:
        return None
    return facts.coverage / expected, facts.inside / usual


def _repeats(report: Report) -> bool:
    copies = report.dataset.copies if report.dataset is not None else None
    return copies is not None and copies.kept - copies.distinct > _LARGE * copies.kept


RULES = (mode_collapse,)
