"""Facts -> the same report with findings and diagnoses."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..document.facts import Coverage, Finding, Report
from ..document.findings import RuleSettings
from ..errors import one_line
from .causes import diagnose
from .context import context_of
from .doubts import with_doubts
from .limits import limits_by_rule
from .policy import applied, day_of
from .rules import RULES
from .scorecard import scorecard
from .thresholds import Thresholds

_RULE = "rule "
_OFF = "switched off in the settings"


def judge(report: Report, limits: Thresholds | None = None, rules: Mapping[str, RuleSettings] | None = None) -> Report:
    """Run every rule and join what fired. A rule that fails is a row of the coverage table, not a lost report.

    ``rules`` is what the project set for single rules, as ``policy_of`` reads it. A report that was judged before is
    judged anew, from its facts alone.
    """
    limits, rules = limits or Thresholds(), dict(rules or {})
    context = context_of(report, limits)
    own = limits_by_rule(limits, {name: settings.thresholds for name, settings in rules.items()})
    findings: list[Finding] = []
    rows: list[Coverage] = []
    for name, rule in RULES.items():
        if name in rules and rules[name].off:
            rows.append(Coverage(part=_RULE + name, status="not measured", reason=_OFF))
            continue
        try:
            findings += rule(report, context, own.get(name, own[""]))
        except Exception as error:
            rows.append(Coverage(part=_RULE + name, status="not measured", reason=one_line(error), failed=True))
    counted, waived = applied(findings, rules, day_of(report.meta.created))
    counted.sort(key=lambda f: -f.severity.rank)
    return msgspec.structs.replace(
        report,
        subject=msgspec.structs.replace(report.subject, state=context.state),
        coverage=[*(row for row in report.coverage if not row.part.startswith(_RULE)), *rows],
        findings=counted,
        diagnoses=with_doubts(diagnose(counted), report),
        waived=waived,
        rules=rules,
        thresholds=limits.set,
        scorecard=scorecard(),
    )
