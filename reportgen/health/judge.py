"""Facts -> the same report with findings and diagnoses."""

from __future__ import annotations

import msgspec

from ..document.facts import Coverage, Finding, Report
from ..errors import one_line
from .causes import diagnose
from .context import context_of
from .rules import RULES
from .thresholds import Thresholds


def judge(report: Report, limits: Thresholds | None = None) -> Report:
    """Run every rule and join what fired. A rule that fails is a row of the coverage table, not a lost report."""
    limits = limits or Thresholds()
    context = context_of(report, limits)
    findings: list[Finding] = []
    failed: list[Coverage] = []
    for name, rule in RULES.items():
        try:
            findings += rule(report, context, limits)
        except Exception as error:
            failed.append(Coverage(part=f"rule {name}", status="not measured", reason=one_line(error), failed=True))
    findings.sort(key=lambda f: -f.severity.rank)
    return msgspec.structs.replace(
        report,
        subject=msgspec.structs.replace(report.subject, state=context.state),
        coverage=[*report.coverage, *failed],
        findings=findings,
        diagnoses=diagnose(findings),
    )
