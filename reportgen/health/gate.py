"""The CI gate: does a report hold a diagnosis that is at least so severe."""

from __future__ import annotations

from ..document.facts import Diagnosis, Report, Severity


def offending(report: Report, fail_on: Severity) -> list[Diagnosis]:
    """Return the diagnoses of at least the severity ``fail_on``, the worst first."""
    hit = [d for d in report.diagnoses if d.severity.rank >= fail_on.rank]
    return sorted(hit, key=lambda d: -d.severity.rank)
