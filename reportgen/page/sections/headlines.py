"""The first screen: the few diagnoses that decide the verdict, each with one picture and what to do."""

from __future__ import annotations

import re

from ...document.facts import Diagnosis, Report, Severity
from ..blocks import Headline, Link, Tone
from ..evidence import picture
from ..formats import count
from ..icons import icon
from ..language import plural
from ..places import place
from ..wording import advice, describe, diagnosis_title, summary

SHOWN = 3
_SENTENCE = re.compile(r".*?(?:[.;](?=\s)|[。；])", re.S)
_LONG = 150


def ranked(report: Report) -> list[Diagnosis]:
    """Return the diagnoses, the worst first, otherwise in the order given."""
    return sorted(report.diagnoses, key=lambda d: -d.severity.rank)


def _grave(report: Report) -> list[tuple[int, Diagnosis]]:
    return [(i, d) for i, d in enumerate(ranked(report), 1) if d.severity is not Severity.INFO]


def headlines(report: Report) -> list[Headline]:
    """Return the worst diagnoses with their evidence."""
    return [_headline(report, place, diagnosis) for place, diagnosis in _grave(report)[:SHOWN]]


def further(report: Report) -> list[Link]:
    """Return links to the diagnoses that follow those of the first screen."""
    rest = _grave(report)[SHOWN:]
    links = [_link(place, diagnosis) for place, diagnosis in rest[:SHOWN]]
    n = len(rest) - len(links)
    if n > 0:
        text = plural("and {n} more diagnosis", "and {n} more diagnoses", n).format(n=count(n))
        links.append(Link(target="diagnoses", text=text))
    return links


def _tone(diagnosis: Diagnosis) -> Tone:
    return "error" if diagnosis.severity is Severity.ERROR else "warning"


def subject(diagnosis: Diagnosis) -> str:
    """Name what a diagnosis is about; '' for all of the model or of the data."""
    section = diagnosis.findings[0].section if diagnosis.findings else ""
    return "" if diagnosis.subject == "data" else place(diagnosis.subject, section)


def _link(place: int, diagnosis: Diagnosis) -> Link:
    where = subject(diagnosis)
    text = diagnosis_title(diagnosis) + (f" · {where}" if where else "")
    return Link(target=f"diagnosis-{place}", text=text, tone=_tone(diagnosis), icon=icon(_tone(diagnosis)))


def _headline(report: Report, place: int, diagnosis: Diagnosis) -> Headline:
    drawn = picture(report, diagnosis)
    told = describe(diagnosis.findings[0]) if diagnosis.findings else summary(diagnosis)
    return Headline(
        target=f"diagnosis-{place}",
        tone=_tone(diagnosis),
        icon=icon(_tone(diagnosis)),
        title=diagnosis_title(diagnosis),
        subject=subject(diagnosis),
        picture=drawn.drawing if drawn is not None else None,
        caption=drawn.caption if drawn is not None else told,
        advice=_first(advice(diagnosis), whole=len(diagnosis.advice) <= _LONG),
    )


def _first(told: str, *, whole: bool) -> str:
    """Return the first sentence of an advice; the whole of it stands with the diagnosis.

    ``whole``: it is short. Told by the English, so that a page says the same in every language.
    """
    if whole:
        return told
    found = _SENTENCE.match(told)
    first = found.group() if found is not None else told
    return (first[:-1] + " …") if first[-1] in ";；" else first
