"""What was measured and what was not, and why."""

from __future__ import annotations

from ...document.facts import Coverage, Report
from ..blocks import Cell, Column, Section, Table, Tone
from ..cells import of_name, of_text
from ..formats import name
from ..language import _
from ..reasons import told


def section(report: Report) -> Section | None:
    """Show the coverage table; a part that is absent above has its reason here."""
    columns = [Column(_("Part"), "name"), Column(_("Status"), "text"), Column(_("Reason"), "prose")]
    rows = [_row(c) for c in rows_of(report)]
    if not any(row[-1].text for row in rows):  # all was measured
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table = Table(
        id="coverage-table", caption=_("Parts of the examination"), columns=columns, rows=rows, total_rows=len(rows)
    )
    intro = _("“Not measured” is not “fine”: nothing in this report speaks for a part that was not measured.")
    return Section(id="coverage", title=_("Coverage"), intro=intro, blocks=[table])


def _row(row: Coverage) -> list[Cell]:
    words = {"measured": _("measured"), "partial": _("partial"), "not measured": _("not measured")}
    tones: dict[str, Tone] = {"measured": "ok", "partial": "warning", "not measured": "muted"}
    reason = name(told(row.reason)) if row.reason else ""
    return [of_name(told(row.part)), Cell(words[row.status], row.status, tones[row.status]), of_text(reason)]


def rows_of(report: Report) -> list[Coverage]:
    """Return what was measured; of a document that does not tell, at least which parts are there."""
    if report.coverage:
        return report.coverage
    parts = ("architecture", "weights", "activations", "gradients", "training", "dataset", "evaluation")
    return [Coverage(part=p, status="measured" if getattr(report, p) is not None else "not measured") for p in parts]
