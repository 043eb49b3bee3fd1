"""The appendix: what every rule did on programs whose faults are known, and what it said here."""

from __future__ import annotations

from collections import Counter

from ...document.facts import Report
from ...document.findings import RuleScore, Scorecard
from ..blocks import Cell, Column, Section, Table
from ..cells import missing, of_text
from ..formats import DASH, count, name
from ..language import _, plural
from ..wording import rule_title

_WORDS = {"tune": "those that thresholds were chosen on", "report": "kept apart from the choice of thresholds"}


def section(report: Report) -> Section | None:
    """Show the record of the rules that judged."""
    card = report.scorecard
    return Section(
        id="rules",
        title=_("Record of the rules"),
        intro=_("Not measured: this version brings no scorecard.") if card is None else _measured_on(card),
        blocks=[] if card is None else [_table(report, card)],
    )


def _measured_on(card: Scorecard) -> str:
    told = _(
        "Measured with version {version} on {day}: {runs} runs of {cases} small programs ({split}), {seeds} "
        "each, faulty ones beside the same programs repaired and healthy ones. A rule counts as fired where it gave a "
        "warning or an error. Few known cases say little: 3 of 3 may still be 0.4 in truth."
    )
    return told.format(
        version=name(card.version),
        day=name(card.measured),
        runs=count(card.runs),
        cases=count(card.cases),
        seeds=plural("{n} seed", "{n} seeds", card.seeds).format(n=count(card.seeds)),
        split=_(_WORDS[card.split]) if card.split in _WORDS else name(card.split),
    )


def _table(report: Report, card: Scorecard) -> Table:
    here = Counter(f.rule for f in report.findings)
    waived = Counter(w.finding.rule for w in report.waived)
    off = {rule for rule, settings in report.rules.items() if settings.off}
    rules = list(dict.fromkeys([*card.rules, *here]))
    quiet = [r for r in rules if r not in off and not here[r] and not waived[r] and _untried(card.rules.get(r))]
    silent = [r for r in rules if r not in off and not here[r] and not waived[r]]
    perfect = [r for r in silent if r not in quiet and _missed_nothing(card.rules.get(r))]
    rows = []
    shown = set(rules) - set(quiet) - set(perfect)
    for rule in sorted(shown, key=lambda r: (not (here[r] or waived[r]) and r not in off, r)):
        score = card.rules.get(rule)
        rows.append(
            [
                Cell(name(rule), rule),
                of_text(rule_title(rule)),
                _said(here[rule], waived[rule], rule in off),
                missing() if score is None else Cell(_known(score), score.fired / max(score.known, 1)),
                missing() if score is None else Cell(_healthy(score), score.false),
            ]
        )
    columns = [
        Column(_("Rule"), "name"),
        Column(_("What it looks at"), "prose"),
        Column(_("Here"), "text"),
        Column(_("Known cases"), "number", _("How many of the faulty programs with a cause of its own it fired on.")),
        Column(_("Healthy ones"), "number", _("How many healthy programs, and faulty ones after the repair.")),
    ]
    title = _("The record of the rules: {shown} of {n} in a table").format(shown=count(len(rows)), n=count(len(rules)))
    note = _("A rule with nothing under “here” was silent; a dash: no faulty program for it was tried.")
    if perfect:
        cases = [_("{name} ({n})").format(name=name(r), n=count(card.rules[r].known)) for r in sorted(perfect)]
        note += " " + _(
            "Not in the table: {n} rules that were silent here, fired on every faulty program that was made for them "
            "(in brackets: how many), and on no healthy one: {names}."
        ).format(n=count(len(perfect)), names=_(", ").join(cases))
    if quiet:
        note += " " + _(
            "Not in the table: {n} rules for which no faulty program was tried, and that fired neither here nor on any "
            "healthy program. “reportgen rules” lists them all."
        ).format(n=count(len(quiet)))
    return Table(
        id="scorecard", caption=title, note=note, folded=title, columns=columns, rows=rows, total_rows=len(rows)
    )


def _untried(score: RuleScore | None) -> bool:
    """Tell whether there is nothing to say of a rule but that it raised no false alarm."""
    return score is not None and not score.known and not score.false


def _missed_nothing(score: RuleScore | None) -> bool:
    return score is not None and score.known > 0 and score.fired == score.known and not score.false


def _said(found: int, waived: int, off: bool) -> Cell:
    if off:
        return of_text(_("switched off"), "muted")
    told = [_("{n} found").format(n=count(found))] if found else []
    told += [_("{n} waived").format(n=count(waived))] if waived else []
    return of_text(_(", ").join(told))


def _known(score: RuleScore) -> str:
    if not score.known:
        return DASH
    return f"{count(score.fired)} / {count(score.known)}"


def _healthy(score: RuleScore) -> str:
    return f"{count(score.false)} / {count(score.healthy)}"
