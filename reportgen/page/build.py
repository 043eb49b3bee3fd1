"""Report -> Page: the one place that knows the reading order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..document.facts import Report
from ..look import Look
from ..options import LANGUAGES
from .blocks import Page, Section
from .formats import count, moment, name
from .glossary import unlinked, with_glossary
from .language import _, plural, speaking
from .logo import logo
from .own import ALWAYS, arranged
from .reasons import TITLES, told
from .sections import (
    activations,
    architecture,
    attention,
    by_layer,
    coverage,
    dataset,
    deployment,
    depth,
    diagnoses,
    evaluation,
    gradients,
    overview,
    pictures,
    provenance,
    rules,
    training,
    trials,
    weights,
)

SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    diagnoses.section,
    evaluation.section,
    pictures.section,
    training.section,
    architecture.section,
    weights.section,
    activations.section,
    attention.section,
    gradients.section,
    dataset.section,
    deployment.section,
    trials.section,
    overview.section,
    by_layer.section,
    coverage.section,
    provenance.section,
    rules.section,
)


IDS = (*(make.__module__.rpartition(".")[2].replace("_", "-") for make in SECTIONS), "glossary")


def spoken(report: Report) -> str:
    """Return the language that a report asks to be shown in; English where this version does not know it."""
    return report.meta.language if report.meta.language in LANGUAGES else "en"


def build(report: Report, language: str = "en", look: Look | None = None, own: Sequence[Section] = ()) -> Page:
    """Arrange a report as a page, with sections of one's own and in the order of ``look``."""
    look = look or Look()
    with speaking(language):
        page = Page(
            title=name(_title(report)),
            subtitle=_subtitle(report),
            lang=language,
            created=moment(report.meta.created) if report.meta.created else "",
            verdict=overview.verdict(report),
            lead=overview.lead(report),
            strip=depth.strip(report),
            sections=_chosen(report, with_glossary(_made(report))),
            logo=logo(look.logo, look.logo_text) if look.logo is not None else None,
            footer=look.footer,
        )
        return arranged(page, look, own, IDS)


def _made(report: Report) -> list[Section]:
    asked = report.meta.sections
    makers = [make for id, make in zip(IDS, SECTIONS, strict=False) if not asked or id in (*asked, *ALWAYS)]
    return [section for make in makers if (section := make(report)) is not None]


def _chosen(report: Report, sections: list[Section]) -> list[Section]:
    """Leave out the glossary where it was not asked for."""
    if not report.meta.sections or "glossary" in report.meta.sections:
        return sections
    return [unlinked(s) for s in sections if s.id != "glossary"]


def _title(report: Report) -> str:
    return _shown(report.title or report.subject.name)


def _shown(title: str) -> str:
    return told(title) if title in TITLES else title


def _subtitle(report: Report) -> str:
    subject = report.subject
    if subject.kind == "run":
        history = _("the history of a training run")
        same = name(_shown(subject.name)) == name(_title(report))
        return history[:1].upper() + history[1:] if same else _(", ").join((name(_shown(subject.name)), history))
    kind = {"model": _("model"), "checkpoint": _("checkpoint file")}[subject.kind]
    if subject.state != "unknown":
        kind = {"trained": _("trained {kind}"), "untrained": _("untrained {kind}")}[subject.state].format(kind=kind)
    seen = {
        "real": plural("seen on {n} sample", "seen on {n} samples", subject.n_samples),
        "synthetic": plural("seen on {n} made-up input", "seen on {n} made-up inputs", subject.n_samples),
        "none": _("not run on any data"),
    }[subject.inputs]
    parts = [name(subject.name), kind, seen.format(n=count(subject.n_samples))]
    if parts[0] == name(_title(report)):  # said just above
        parts = [kind[:1].upper() + kind[1:], *parts[2:]]
    return _(", ").join(parts)
