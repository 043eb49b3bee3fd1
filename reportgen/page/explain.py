"""One rule in plain text, for ``reportgen rules NAME``: what it measures, when it fires, what to do, when it errs."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap

from ..document.findings import Scorecard
from ..health.advice import ADVICE
from ..health.causes import DEFAULTS, SYNDROMES
from ..health.limits import LIMITS, main_limit
from ..health.notes import NOTES
from ..health.rules import RULES, Rule
from ..health.thresholds import Thresholds
from .formats import short
from .wording import cause_title, doubt, rule_title

_WIDTH = 100


def explain(rule: str, card: Scorecard | None) -> str:
    """Return all that is known of a rule; ``rule`` must be a key of ``RULES``."""
    parts = [
        f"{rule}: {rule_title(rule)}",
        inspect.getdoc(RULES[rule]) or "",
        _evidence(RULES[rule]),
        _thresholds(rule),
        _proves(rule),
        _advice(rule),
        f"When this is wrong\n{_wrapped(doubt(rule) or 'It states a fact; where it was measured, it is so.')}",
        _record(rule, card),
        _settings(rule),
    ]
    return "\n\n".join(part for part in parts if part)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


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
    return f"Evidence\n{_wrapped(', '.join(names))}" if names else ""


def _thresholds(rule: str) -> str:
    names, usual = LIMITS.get(rule, {}), Thresholds()
    if not names:
        return "Thresholds\n  none that can be set"
    width = max(map(len, names))
    main = main_limit(rule)
    lines = [
        f"  {name:{width}}  {short(getattr(usual, field))}{'  (also: threshold)' if name == main else ''}"
        for name, field in names.items()
    ]
    return "\n".join(["Thresholds", *lines])


def _proves(rule: str) -> str:
    causes = [s.cause for s in SYNDROMES if rule in s.proofs]
    causes = list(dict.fromkeys([*causes, DEFAULTS[rule]] if rule in DEFAULTS else causes))
    told = [f"  {cause}: {cause_title(cause)}" for cause in causes]
    return "\n".join(["Speaks for the cause", *told]) if told else ""


def _advice(rule: str) -> str:
    advice = ADVICE.get(DEFAULTS.get(rule, ""), "")
    note = NOTES.get(rule, "")
    told = [_wrapped(advice)] if advice else []
    told += [_wrapped(f"Where it only informs: {note}")] if note else []
    return "\n".join(["What to do", *told]) if told else ""


def _record(rule: str, card: Scorecard | None) -> str:
    if card is None or rule not in card.rules:
        return "Record\n  not measured"
    score = card.rules[rule]
    known = f"fires on {score.fired} of {score.known} known cases" if score.known else "no known case"
    seeds = "1 seed" if card.seeds == 1 else f"{card.seeds} seeds"
    return (
        f"Record\n  {known}, {score.false} of {score.healthy} healthy ones\n"
        f"  measured with version {card.version} on {card.measured}: {card.runs} runs of {card.cases} cases "
        f"({card.split}), {seeds} each"
    )


def _settings(rule: str) -> str:
    names, usual = LIMITS.get(rule, {}), Thresholds()
    name = main_limit(rule) or next(iter(names), None)
    limit = f"{name} = {getattr(usual, names[name]):g}\n  " if name is not None else ""
    return (
        f"To change it, in pyproject.toml (in reportgen.toml without tool.reportgen)\n"
        f"  [tool.reportgen.rules.{rule}]\n"
        f'  {limit}severity = "info"      # of its warnings and errors\n'
        f"  off = true\n"
        f"  [[tool.reportgen.rules.{rule}.waive]]\n"
        f'  layer = "head.*"       # pattern for what it is about; the reason is shown in the report\n'
        f'  reason = "..."\n'
        f"  until = 2030-12-31     # may be left out"
    )
