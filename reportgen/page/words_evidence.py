"""The numbers that findings rest on, and the limits that they are held against: each with its name and its unit."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from ..health.signs import EITHER, sign
from .formats import NBSP, amount, brief, name, percent, words
from .language import N_, _, term
from .names_by_rule import OF_RULE
from .names_measured import FLAG, NAMES, NUMBER, SHARE, TIMES, Unit

# what is told of names; other details choose the words of the sentence, and are no news beside it
_TOLD = {
    "activation": N_("activation"),
    "after": N_("after"),
    "all": N_("number formats"),
    "before": N_("before"),
    "dtype": N_("number format"),
    "first": N_("first"),
    "last": N_("last"),
    "layer": N_("layer"),
    "layers": N_("layers concerned"),
    "loss": N_("loss"),
    "names": N_("names"),
    "other": N_("the other class"),
    "output": N_("output"),
    "pairs": N_("pairs"),
    "rarest": N_("the rarest"),
    "reached": N_("still reached"),
    "shapes": N_("shapes"),
    "target": N_("target"),
}
_UNTOLD = frozenset(
    "alone answer axis begun by channel column direction driven embedding examples given".split()  # noqa: SIM905
    + "held kept kind moved reason redrawn".split()  # noqa: SIM905
    + "role source training turn value way what when".split()  # noqa: SIM905
)


def quantity(rule: str, key: str) -> str:
    """Return the name of a number of evidence, or of a limit, as it is read."""
    return _(_known(rule, key)[0])


def measured(rule: str, key: str, value: float) -> str:
    """Return a number of evidence with its unit."""
    return _shown(rule, key, value, amount)


def numbers(finding: Finding) -> list[str]:
    """Return what was measured, each number with its name and its unit, and the names that belong to it."""
    told = [_said(finding.rule, key, measured(finding.rule, key, v)) for key, v in finding.evidence.items()]
    for key, text in finding.detail.items():
        if key in _TOLD and text:
            told.append(_("{key}: {value}").format(key=_(_TOLD[key]), value=name(term(text))))
    return told


def limits(finding: Finding) -> list[str]:
    """Return the limits that it was held against, each with its name, its unit, and the side on which it is raised."""
    told = [_crossed(finding, key, value) for key, value in finding.threshold.items()]
    either = finding.rule in EITHER
    return [_("{limit}, or").format(limit=t) if either and t is not told[-1] else t for t in told]


def _crossed(finding: Finding, key: str, value: float) -> str:
    unit = _known(finding.rule, key)[1]
    side = "" if unit == FLAG else sign(finding.rule, key, value, finding.detail.get("direction", ""))
    if not side:
        return limit(finding.rule, key, value)
    return f"{quantity(finding.rule, key)} {side}{NBSP}{_shown(finding.rule, key, value, brief)}"


def limit(rule: str, key: str, value: float) -> str:
    """Return one limit of a rule with its name and its unit."""
    return _said(rule, key, _shown(rule, key, value, brief))


def _said(rule: str, key: str, value: str) -> str:
    return _("{key}: {value}").format(key=quantity(rule, key), value=value)


def _shown(rule: str, key: str, value: float, digits: Callable[[float], str]) -> str:
    unit = _known(rule, key)[1]
    if unit == FLAG:
        return _("yes") if value else _("no")
    if unit == SHARE:
        return percent(value).replace(f".0{NBSP}%", f"{NBSP}%")
    return f"{brief(value)}{NBSP}×" if unit == TIMES else digits(value)


def _known(rule: str, key: str) -> tuple[str, Unit]:
    """Return name and unit; of a key that another version wrote, its own words."""
    return OF_RULE.get(rule, {}).get(key) or NAMES.get(key) or (words(key), NUMBER)
