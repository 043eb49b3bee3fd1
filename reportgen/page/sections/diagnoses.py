"""What is wrong, how that is known, what to do, and when it is not so."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ...document.facts import Diagnosis, Finding, Report
from ..blocks import Block, Cell, Column, Diagnoses, DiagnosisCard, Section, Table, Tone
from ..cells import of_text
from ..icons import icon, severity_word
from ..language import _, plural
from ..places import place
from ..wording import advice, cause_title, describe, diagnosis_title, doubt, rule_title, summary
from ..words_doubts import candidates, unchecked
from ..words_evidence import limits, numbers
from .headlines import ranked, subject
from .overview import measured_anything
from .waivers import waived_table

SHOWN = 6  # findings of one diagnosis before the rest is folded
MAX_FINDINGS = 100


def section(report: Report) -> Section | None:
    """Show every diagnosis, the worst first, the harmless ones folded."""
    cards = [_card(i, d) for i, d in enumerate(ranked(report), 1)]
    grave = [c for c in cards if c.tone != "info"]
    notes = [c for c in cards if c.tone == "info"]
    n = len(notes)
    title = plural(
        "{n} observation that is no fault by itself", "{n} observations that are no faults by themselves", n
    ).format(n=n)
    blocks: list[Block] = [Diagnoses(cards=grave, notes=notes, notes_summary=title if notes else "")] if cards else []
    waived = waived_table(report)
    return Section(
        id="diagnoses",
        title=_("Diagnoses"),
        intro=_intro(report, len(grave)),
        blocks=blocks if waived is None else [*blocks, waived],
        badge=str(len(grave)) if grave else "",
    )


def _intro(report: Report, n: int) -> str:
    if n:
        return _(
            "Each diagnosis is a root cause with the measurements that prove it; its consequences are folded beneath, "
            "so mend the cause first. Read “when this is wrong” before acting."
        )
    if measured_anything(report):
        return _(
            "No rule gave an error or a warning on what was measured. That is no proof of health: the coverage "
            "table at the end says what was not looked at."
        )
    return _("Nothing was measured, so nothing can be said. The coverage table says why.")


def _card(place: int, diagnosis: Diagnosis) -> DiagnosisCard:
    tone: Tone = diagnosis.severity.value
    id, findings = f"diagnosis-{place}", diagnosis.findings
    first, rest = findings[:SHOWN], findings[SHOWN:]
    more = plural("{n} more finding of the same cause", "{n} more findings of the same cause", len(rest))
    result = plural("{n} consequence", "{n} consequences", len(diagnosis.consequences))
    return DiagnosisCard(
        id=id,
        tone=tone,
        severity=severity_word(diagnosis.severity),
        icon=icon(tone),
        title=diagnosis_title(diagnosis),
        subject=subject(diagnosis),
        summary=summary(diagnosis),
        evidence=_findings(f"{id}-evidence", _("Evidence"), first),
        further=_fold(f"{id}-further", more.format(n=len(rest)), rest),
        consequences=_fold(f"{id}-consequences", result.format(n=len(diagnosis.consequences)), diagnosis.consequences),
        advice=advice(diagnosis),
        unchecked=unchecked(diagnosis),
        candidates=candidates(diagnosis, [cause_title(cause) for cause in diagnosis.candidates]),
        doubts=list(dict.fromkeys(d for f in findings if (d := doubt(f.rule)))),
    )


def _fold(id: str, caption: str, findings: Sequence[Finding]) -> Table | None:
    return replace(_findings(id, caption, findings), folded=caption) if findings else None


def _findings(id: str, caption: str, findings: Sequence[Finding]) -> Table:
    columns = [
        Column(_("Finding"), "prose"),
        Column(_("Where"), "name"),
        Column(_("Measured"), "prose", said_again=True),
        Column(_("Raised where"), "prose", said_again=True),
    ]
    rows = [_finding(f) for f in findings[:MAX_FINDINGS]]
    return Table(id=id, caption=caption, columns=columns, rows=rows, total_rows=len(findings))


def _finding(finding: Finding) -> list[Cell]:
    where = of_text(place(finding.subject, finding.section) or _("whole model"))
    return [
        Cell(describe(finding), rule_title(finding.rule)),
        where,
        of_text("\n".join(numbers(finding)) or "–"),
        of_text("\n".join(limits(finding)) or "–"),
    ]
