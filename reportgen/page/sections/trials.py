"""Trials on a copy of the model, and what came out."""

from __future__ import annotations

from ...document.facts import Report
from ...document.trials import Trial
from ..blocks import Block, Cell, Column, Section, Table
from ..cells import of_name, of_text
from ..formats import name, seconds
from ..language import _, plural
from ..reasons import told
from ..words_trials import outcome, titles


def section(report: Report) -> Section | None:
    """Show every trial with its result, and those that could not be made with the reason."""
    facts = report.trials
    if facts is None:
        return None
    done = [t for t in facts.trials if t.status == "done"]
    skipped = [t for t in facts.trials if t.status == "skipped"]
    blocks: list[Block] = []
    if done:
        blocks.append(_done(done, report.meta.seconds))
    if skipped:
        blocks.append(_skipped(skipped))
    intro = _(
        "Short trials on copies of the model: some questions no statistic settles. The model itself, its "
        "optimizer and its data were not touched."
    )
    return Section(id="trials", title=_("Trials"), intro=intro, blocks=blocks)


def _done(trials: list[Trial], cost: dict[str, float]) -> Table:
    columns = [Column(_("Question"), "prose"), Column(_("Result"), "prose"), Column(_("Time"))]
    known = titles()
    rows = [
        [of_text(known.get(t.name, name(t.name))), of_text(outcome(t)), _cost(cost.get(f"trial {t.name}"))]
        for t in trials
    ]
    n = len(trials)
    caption = plural("{n} trial", "{n} trials", n).format(n=n)
    return Table(id="experiments", caption=caption, columns=columns, rows=rows, total_rows=n)


def _cost(value: float | None) -> Cell:
    return Cell(seconds(value), value)


def _skipped(trials: list[Trial]) -> Table:
    columns = [Column(_("Question"), "prose"), Column(_("Why not"), "prose")]
    known = titles()
    rows = [[of_text(known.get(t.name, name(t.name))), of_name(told(t.reason))] for t in trials]
    n = len(trials)
    caption = plural("{n} trial that was not made", "{n} trials that were not made", n).format(n=n)
    return Table(id="experiments-skipped", caption=caption, columns=columns, rows=rows, total_rows=n, folded=caption)
