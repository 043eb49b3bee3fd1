"""Report -> Page: the one place that knows the reading order."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Report, SubjectFacts
from .blocks import Page, Section
from .formats import count, name
from .language import _, plural, speaking
from .sections import (
    activations,
    architecture,
    coverage,
    dataset,
    depth,
    diagnoses,
    evaluation,
    gradients,
    layers,
    overview,
    provenance,
    rules,
    training,
    trials,
    weights,
)

SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    diagnoses.section,
    overview.section,
    evaluation.section,
    training.section,
    architecture.section,
    weights.section,
    activations.section,
    gradients.section,
    dataset.section,
    trials.section,
    layers.section,
    coverage.section,
    provenance.section,
    rules.section,
)


def build(report: Report, language: str = "en") -> Page:
    """Arrange a report as a page."""
    with speaking(language):
        return Page(
            title=name(report.title or report.subject.name),
            subtitle=_subtitle(report.subject),
            lang=language,
            created=name(report.meta.created) if report.meta.created else "",
            verdict=overview.verdict(report),
            lead=overview.lead(report),
            strip=depth.strip(report),
            sections=[s for make in SECTIONS if (s := make(report)) is not None],
        )


def _subtitle(subject: SubjectFacts) -> str:
    if subject.kind == "run":
        return ", ".join((name(subject.name), _("the history of a training run")))
    kind = {"model": _("model"), "checkpoint": _("checkpoint file")}[subject.kind]
    if subject.state != "unknown":
        kind = {"trained": _("trained {kind}"), "untrained": _("untrained {kind}")}[subject.state].format(kind=kind)
    seen = {
        "real": plural("seen on {n} sample", "seen on {n} samples", subject.n_samples),
        "synthetic": plural("seen on {n} made-up input", "seen on {n} made-up inputs", subject.n_samples),
        "none": _("not run on any data"),
    }[subject.inputs]
    return ", ".join((name(subject.name), kind, seen.format(n=count(subject.n_samples))))
