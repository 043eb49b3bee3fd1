"""Recurrent layers: their gates, and how far a plain one stretches its state."""

from __future__ import annotations

from ...document.facts import WeightRow
from ..blocks import Block, Cell, Column, Table
from ..cells import of_count, of_name, of_number, of_text
from ..formats import number
from ..language import _
from ..reasons import told

MAX_ROWS = 100


def blocks(rows: list[WeightRow]) -> list[Block]:
    """Return a table of gates, and one of spectral radii."""
    return [*_gates(rows), *_radii(rows)]


def _gates(rows: list[WeightRow]) -> list[Block]:
    known = [(row.name, gate) for row in rows for gate in row.gates]
    if not known:
        return []
    columns = [
        Column(_("Recurrent weight"), "name"),
        Column(_("Gate"), "text"),
        Column(_("Bias"), "number", _("mean over the units of both biases together; in brackets least and largest")),
        Column(_("Held shut"), "number", _("units whose bias alone saturates the gate, far beyond what is read there")),
        Column(_("Held open")),
        Column(_("Units")),
    ]
    body = []
    for n, g in known[:MAX_ROWS]:
        bias = Cell(f"{number(g.bias)} ({number(g.low)} … {number(g.high)})", g.bias)
        body.append(
            [of_name(n), of_text(told(g.name)), bias, of_count(g.closed), of_count(g.opened), of_count(g.units)]
        )
    caption = _("Gates of recurrent layers")
    return [Table(id="gates", caption=caption, columns=columns, rows=body, total_rows=len(known), folded=caption)]


def _radii(rows: list[WeightRow]) -> list[Block]:
    known = [row for row in rows if row.radius is not None]
    if not known:
        return []
    columns = [
        Column(_("Recurrent weight"), "name"),
        Column(_("Spectral radius"), "number", _("by default initialisation 0.58, by an orthogonal one 1")),
    ]
    body = [[of_name(row.name), of_number(row.radius)] for row in known[:MAX_ROWS]]
    caption = _("Plain recurrent layers")
    return [Table(id="radii", caption=caption, columns=columns, rows=body, total_rows=len(known))]
