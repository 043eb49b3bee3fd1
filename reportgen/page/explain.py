"""One rule in plain text, for ``reportgen rules NAME``: what it measures, when it fires, what to do, when it errs."""

from __future__ import annotations

import ast
import inspect
import sys

from ..document.findings import Scorecard
from ..health.advice import ADVICE
from ..health.defaults import DEFAULTS
from ..health.limits import LIMITS, main_limit
from ..health.notes import NOTES
from ..health.rules import RULES, Rule
from ..health.syndromes import SYNDROMES
from ..health.thresholds import Thresholds
from .formats import short
from .language import _, plural, spoken
from .lines import wrapped
from .wording import cause_title, doubt, rule_title

_WIDTH = 100


def explain(rule: str, card: Scorecard | None) -> str:
    """Return all that is known of a rule; ``rule`` must be a key of ``RULES``."""
    parts = [
        f"{rule}: {rule_title(rule)}",
        _told(account(rule)),
        _evidence(RULES[rule]),
        _thresholds(rule),
        _proves(rule),
        _advice(rule),
        _titled(_("When this is wrong"), doubt(rule) or _("It states a fact; where it was measured, it is so.")),
        _record(rule, card),
        _settings(rule),
    ]
    return "\n\n".join(part for part in parts if part)


def account(rule: str) -> str:
    """Return what a rule says of itself: what it measures, when it fires, when it is wrong."""
    return _(inspect.getdoc(RULES[rule]) or rule)


def _told(text: str) -> str:
    """Break the lines of a translation; those of a docstring are broken already."""
    if spoken() == "en":
        return text
    return "\n\n".join("\n".join(wrapped(paragraph, _WIDTH)) for paragraph in text.split("\n\n"))


def _wrapped(text: str) -> str:
    return "\n".join("  " + line for line in wrapped(text, _WIDTH - 2))


def _titled(title: str, text: str) -> str:
    return f"{title}\n{_wrapped(text)}"


def _evidence(rule: Rule) -> str:
    """Name the numbers of its findings, as its source writes them: there is no second list that could differ."""
    tree = ast.parse(inspect.getsource(sys.modules[rule.__module__]))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    names: dict[str, None] = {}
    waiting, seen = [rule.__name__], set()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.keyword) and node.arg == "evidence" and isinstance(node.value, ast.Dict):
                names |= {str(key.value): None for key in node.value.keys if isinstance(key, ast.Constant)}
            if isinstance(node, ast.Name):
                waiting.append(node.id)
    return _titled(_("Evidence"), ", ".join(names)) if names else ""


def _thresholds(rule: str) -> str:
    names, usual = LIMITS.get(rule, {}), Thresholds()
    if not names:
        return _titled(_("Thresholds"), _("none that can be set"))
    width = max(map(len, names))
    main, also = main_limit(rule), _("  (also: threshold)")
    lines = [
        f"  {name:{width}}  {short(getattr(usual, field))}{also if name == main else ''}"
        for name, field in names.items()
    ]
    return "\n".join([_("Thresholds"), *lines])


def _proves(rule: str) -> str:
    causes = [s.cause for s in SYNDROMES if rule in s.proofs]
    causes = list(dict.fromkeys([*causes, DEFAULTS[rule]] if rule in DEFAULTS else causes))
    told = [f"  {cause}: {cause_title(cause)}" for cause in causes]
    return "\n".join([_("Speaks for the cause"), *told]) if told else ""


def _advice(rule: str) -> str:
    advice = ADVICE.get(DEFAULTS.get(rule, ""), "")
    note = NOTES.get(rule, "")
    told = [_wrapped(_(advice))] if advice else []
    told += [_wrapped(_("Where it only informs: {note}").format(note=_(note)))] if note else []
    return "\n".join([_("What to do"), *told]) if told else ""


def _record(rule: str, card: Scorecard | None) -> str:
    if card is None or rule not in card.rules:
        return _titled(_("Record"), _("not measured"))
    score = card.rules[rule]
    known = _("no known case")
    if score.known:
        known = _("fires on {fired} of {known} known cases").format(fired=score.fired, known=score.known)
    healthy = _("{known}, {false} of {healthy} healthy ones").format(
        known=known, false=score.false, healthy=score.healthy
    )
    seeds = plural("{n} seed", "{n} seeds", card.seeds).format(n=card.seeds)
    measured = _(
        "measured with version {version} on {day}: {runs} runs of {cases} cases ({split}), {seeds} each"
    ).format(version=card.version, day=card.measured, runs=card.runs, cases=card.cases, split=card.split, seeds=seeds)
    return "\n".join([_("Record"), f"  {healthy}", f"  {measured}"])


def _settings(rule: str) -> str:
    names, usual = LIMITS.get(rule, {}), Thresholds()
    name = main_limit(rule) or next(iter(names), None)
    limit = f"{name} = {getattr(usual, names[name]):g}\n  " if name is not None else ""
    head = _("To change it, in pyproject.toml (in reportgen.toml without tool.reportgen)")
    own, pattern, until = (
        _("of its warnings and errors"),
        _("pattern for what it is about; the reason is shown in the report"),
        _("may be left out"),
    )
    return (
        f"{head}\n"
        f"  [tool.reportgen.rules.{rule}]\n"
        f'  {limit}severity = "info"      # {own}\n'
        f"  off = true\n"
        f"  [[tool.reportgen.rules.{rule}.waive]]\n"
        f'  layer = "head.*"       # {pattern}\n'
        f'  reason = "..."\n'
        f"  until = 2030-12-31     # {until}"
    )
