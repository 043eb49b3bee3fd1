"""What a project says about rules: thresholds, severity, off, and findings that it waives with a reason.

The table has the same shape in a settings file and in Python, by rule:
``{"dead-relu": {"threshold": 0.6, "severity": "info", "waive": [{"layer": "head.*", "reason": "..."}]}}``.
``threshold`` is the limit of a warning, or the only one that a rule has; others go by their names. In place of a table
``"off"`` or a severity will do.
"""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ..document.facts import Finding, Severity
from ..document.findings import RuleSettings, Waived, Waiver
from ..errors import OptionError
from .defaults import DEFAULTS
from .limits import LIMITS, main_limit
from .rules import RULES

_KEYS = ("off", "severity", "waive")


def policy_of(table: Mapping[str, Any]) -> dict[str, RuleSettings]:
    """Read the settings of rules; an unknown rule or threshold is an OptionError that lists the nearest ones."""
    known = tuple(dict.fromkeys([*RULES, *DEFAULTS]))  # a few rules give findings of two names
    out = {}
    for rule, given in table.items():
        if rule not in known:
            raise OptionError(f"There is no rule named {rule!r}.", hint=_nearest(rule, known, "reportgen rules"))
        out[rule] = _settings(rule, given)
    return out


def _settings(rule: str, given: Any) -> RuleSettings:
    if given == "off":
        return RuleSettings(off=True)
    if given in tuple(Severity):
        return RuleSettings(severity=Severity(given))
    if not isinstance(given, Mapping):
        told = "a table, a severity (info, warning, error) or 'off'"
        raise OptionError(f"The setting of rule {rule} is {given!r}.", hint=f"Expected {told}.")
    thresholds = _thresholds(rule, given)
    held = {key: given[key] for key in _KEYS if key in given}
    try:
        settings = msgspec.convert(held | {"thresholds": thresholds}, RuleSettings)
    except msgspec.ValidationError as error:
        hint = "Expected off = true, severity = 'info', waive = [{layer = 'head.*', reason = '...'}]."
        raise OptionError(f"A setting of rule {rule} has a value that it cannot have: {error}.", hint=hint) from None
    for waiver in settings.waive:
        if not waiver.reason.strip() or not waiver.layer:
            raise OptionError(
                f"A waiver of rule {rule} has no {'reason' if waiver.layer else 'layer'}.",
                hint="Say why the finding is accepted, as the report shows it.",
            )
    return settings


def _thresholds(rule: str, given: Mapping[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    for key, value in given.items():
        if key in _KEYS:
            continue
        name = _limit(rule, key)
        if name in out:
            raise OptionError(f"Rule {rule} has its threshold {name} set twice.", hint=f"Leave {key} out.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            hint = "Expected a finite number; off = true switches a rule off."
            raise OptionError(f"Threshold {key} of rule {rule} is {value!r}.", hint=hint)
        out[name] = float(value)
    return out


def _limit(rule: str, key: str) -> str:
    """Return the name of a threshold of a rule, as declared."""
    names = LIMITS.get(rule, {})
    if key in names:
        return key
    main = main_limit(rule)
    if key == "threshold" and main is not None:
        return main
    if not names:
        what = "It has no thresholds; off, severity and waive can be set."
    else:
        what = _nearest(key, (*names, *_KEYS), f"reportgen rules {rule}")
    raise OptionError(f"Rule {rule} has no threshold named {key!r}.", hint=what)


def _nearest(name: str, known: tuple[str, ...], command: str) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:8]
    return f"Nearest: {', '.join(near)}. `{command}` tells all."


def applied(
    findings: list[Finding], rules: Mapping[str, RuleSettings], today: datetime.date | None
) -> tuple[list[Finding], list[Waived]]:
    """Return the findings that count, with the severities that the project set, and those that it waived.

    ``today`` is the day of the report, so that judging an old one again gives the same; without it no waiver expires.
    """
    counted, waived = [], []
    for finding in findings:
        settings = rules.get(finding.rule)
        if settings is not None and settings.off:
            continue
        waiver = _waiver(finding, settings, today) if settings is not None else None
        if waiver is not None:
            waived.append(Waived(finding=finding, reason=waiver.reason, until=waiver.until))
        elif settings is not None and settings.severity is not None and finding.severity is not Severity.INFO:
            counted.append(msgspec.structs.replace(finding, severity=settings.severity))
        else:
            counted.append(finding)
    return counted, waived


def _waiver(finding: Finding, settings: RuleSettings, today: datetime.date | None) -> Waiver | None:
    held = (w for w in settings.waive if fnmatchcase(finding.subject, w.layer) and not is_expired(w, today))
    return next(held, None)


def is_expired(waiver: Waiver, today: datetime.date | None) -> bool:
    """Tell whether the last day of a waiver has passed."""
    return waiver.until is not None and today is not None and today > waiver.until


def day_of(created: str) -> datetime.date | None:
    """Return the day of ``Meta.created``; None when it tells none."""
    try:
        return datetime.date.fromisoformat(created[:10])
    except ValueError:
        return None
