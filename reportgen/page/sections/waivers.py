"""What the project accepts: findings that it waived, and what it set for the rules."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...document.facts import Report
from ...document.findings import RuleSettings, Waived, Waiver
from ...health.policy import day_of, is_expired
from ..blocks import Cell, Column, Table
from ..cells import of_name, of_text
from ..formats import count, name, short
from ..language import _, plural, term
from ..wording import describe, rule_title
from ..words_evidence import limit


def waived_table(report: Report) -> Table | None:
    """List the findings that were waived, struck through, with the reason."""
    n = len(report.waived)
    if not n:
        return None
    title = plural("{n} finding waived by the project", "{n} findings waived by the project", n).format(n=count(n))
    columns = [
        Column(_("Finding"), "prose"),
        Column(_("Where"), "name"),
        Column(_("Severity"), "text"),
        Column(_("Waived"), "prose"),
    ]
    rows = [_waived(w) for w in report.waived]
    return Table(id="waived", caption=title, folded=title, columns=columns, rows=rows, total_rows=n)


def _waived(waived: Waived) -> list[Cell]:
    finding = waived.finding
    reason = _("waived: {reason}").format(reason=name(waived.reason))
    until = "" if waived.until is None else " " + _("(until {day})").format(day=waived.until.isoformat())
    return [
        Cell(describe(finding), rule_title(finding.rule), "struck"),
        of_name(finding.subject),
        of_text(term(finding.severity.value)),
        of_text(reason + until),
    ]


def settings_table(report: Report) -> Table | None:
    """List what the project set for rules, and what became of each waiver."""
    rows = []
    for rule, settings in report.rules.items():
        rows += [[of_name(rule), of_text(told), of_text(_("in force"))] for told in _set(rule, settings)]
        rows += [[of_name(rule), of_text(_told(w)), _became(report, rule, w)] for w in settings.waive]
    rows += [
        [of_text(_("all rules")), of_name(f"{field} = {short(value)}"), of_text(_("in force"))]
        for field, value in report.thresholds.items()
    ]
    if not rows:
        return None
    columns = [Column(_("Rule"), "name"), Column(_("Setting"), "prose"), Column(_("Effect"), "prose")]
    title = _("What the project set for the rules")
    return Table(id="rule-settings", caption=title, columns=columns, rows=rows, total_rows=len(rows))


def _set(rule: str, settings: RuleSettings) -> list[str]:
    told = [_("off")] if settings.off else []
    if settings.severity is not None:
        told.append(_("severity {level}").format(level=term(settings.severity.value)))
    return [*told, *(limit(rule, key, value) for key, value in settings.thresholds.items())]


def _told(waiver: Waiver) -> str:
    until = "" if waiver.until is None else " " + _("(until {day})").format(day=waiver.until.isoformat())
    return _("waiver for {layer}: {reason}").format(layer=name(waiver.layer), reason=name(waiver.reason)) + until


def _became(report: Report, rule: str, waiver: Waiver) -> Cell:
    if is_expired(waiver, day_of(report.meta.created)):
        return of_text(_("expired: findings count again"), "warning")
    n = sum(w.finding.rule == rule and fnmatchcase(w.finding.subject, waiver.layer) for w in report.waived)
    if n:
        return of_text(plural("{n} finding", "{n} findings", n).format(n=count(n)))
    return of_text(_("matched nothing"), "muted")
