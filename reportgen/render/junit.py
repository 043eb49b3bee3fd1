"""Report -> JUnit XML: a test case for each diagnosis and each part of the examination.

The shape is what strict readers accept: no ``file``, no ``skipped`` on the root, plain times, no control characters.
Readers show the text of a failure rather than its message attribute, so it holds everything; and they drop cases that
share class and name, so those are unique.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ..document.facts import Diagnosis, Report, Severity
from ..page.formats import name, visible
from ..page.language import _, term
from ..page.reasons import told
from ..page.wording import advice, cause_title, describe, diagnosis_title, summary
from ..page.words_doubts import candidates, unchecked

MAX_FINDINGS = 50


def to_junit(report: Report, fail_on: Severity = Severity.WARNING) -> bytes:
    """Return the report as JUnit XML; diagnoses of at least ``fail_on`` fail."""
    suite = ET.Element("testsuite", name=name(report.title or report.subject.name))
    failed = 0
    taken: dict[tuple[str, str], int] = {}
    for diagnosis in sorted(report.diagnoses, key=lambda d: -d.severity.rank):
        case = _case(suite, "diagnosis." + diagnosis.cause, _title(diagnosis), taken)
        if diagnosis.severity.rank >= fail_on.rank:
            failed += 1
            failure = ET.SubElement(case, "failure", type=diagnosis.severity.value, message=visible(_title(diagnosis)))
            failure.text = _text(diagnosis)
        else:
            ET.SubElement(case, "system-out").text = _text(diagnosis)
    skipped = len(report.waived)
    for waived in report.waived:
        case = _case(suite, "waived." + waived.finding.rule, name(waived.finding.subject), taken)
        ET.SubElement(case, "skipped", message=visible(_("waived: {reason}").format(reason=waived.reason)))
    for row in report.coverage:
        case = _case(suite, "coverage", name(row.part), taken)
        if row.status == "not measured":
            skipped += 1
            ET.SubElement(case, "skipped", message=visible(told(row.reason)) or _("not measured"))
    if not len(suite):
        _case(suite, "coverage", "report", taken)
    counts = {"tests": str(len(suite)), "failures": str(failed), "errors": "0", "time": _seconds(report)}
    suite.attrib.update(counts | {"skipped": str(skipped)})
    root = ET.Element("testsuites", {"name": "reportgen", **counts})
    root.append(suite)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _seconds(report: Report) -> str:
    return f"{report.meta.seconds.get('total', 0.0):.3f}"


def _case(suite: ET.Element, group: str, title: str, taken: dict[tuple[str, str], int]) -> ET.Element:
    group, title = visible(group), visible(title)
    n = taken[group, title] = taken.get((group, title), 0) + 1
    unique = title if n == 1 else f"{title} ({n})"
    return ET.SubElement(suite, "testcase", classname=f"reportgen.{group}", name=unique, time="0.000")


def _title(diagnosis: Diagnosis) -> str:
    where = "" if diagnosis.subject in ("", "model") else f": {name(diagnosis.subject)}"
    return diagnosis_title(diagnosis) + where


def _text(diagnosis: Diagnosis) -> str:
    severity = term(diagnosis.severity.value)
    lines = [_("{key}: {value}").format(key=severity, value=_title(diagnosis)), summary(diagnosis)]
    lines += [
        _("- {subject}: {text}").format(subject=name(f.subject), text=describe(f))
        for f in diagnosis.findings[:MAX_FINDINGS]
    ]
    rest = len(diagnosis.findings) - MAX_FINDINGS
    lines += [_("- and {n} more").format(n=rest)] if rest > 0 else []
    lines += [advice(diagnosis)] if diagnosis.advice else []
    others = candidates(diagnosis, [cause_title(cause) for cause in diagnosis.candidates])
    lines += [others] if others else []
    lines.append(_("Not checked: {parts}").format(parts=unchecked(diagnosis)))
    return visible("\n".join(lines))
