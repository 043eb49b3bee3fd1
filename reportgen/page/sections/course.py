"""Weights over several checkpoints: which layers learn, which rest, where one jumped."""

from __future__ import annotations

from statistics import median

from ...document.course import Course, CourseRow
from ...health.rules.matrices import jump_of, usual_steps
from ...health.thresholds import Thresholds
from .. import figures
from ..blocks import Block, Cell, Column, Table
from ..cells import missing, of_chart, of_name, of_number, of_text
from ..formats import count, listing, number
from ..language import _, plural

MAX_ROWS = 400
MAX_CHARTS = 100
_LEARNING = 1e-3  # relative movement of others, beside which one that stays is told


def blocks(course: Course | None) -> list[Block]:
    """Return one table: a row a tensor, those that rest or jumped first, then by movement."""
    if course is None or not course.rows:
        return []
    matrices = [row for row in course.rows if len(row.shape) >= 2 and any(row.norms)] or course.rows
    typical = median(sum(row.moved) for row in matrices)
    usual = usual_steps(course.rows)
    told = [(row, remark(row, usual, course.checkpoints, typical)) for row in course.rows]
    told.sort(key=lambda pair: (not pair[1], len(pair[0].shape) < 2, -sum(pair[0].moved)))
    ranked = any(row.stable_ranks for row in course.rows)
    columns = [
        Column(_("Tensor"), "name"),
        Column(_("Moved"), "number", _("norm of the last step between checkpoints over the norm before it")),
        Column(_("Steps"), "chart", _("the same from checkpoint to checkpoint")),
        Column(_("Cosine"), "number", _("between the last two checkpoints")),
        Column(_("Norm"), "number", _("first and last")),
    ]
    columns += [Column(_("Stable rank"), "number", _("first and last"))] if ranked else []
    columns += [Column(_("Remarks"), "text")]
    body = []
    for i, (row, words) in enumerate(told[:MAX_ROWS]):
        chart = figures.sparkline(row.moved, _("movement")) if i < MAX_CHARTS else None
        cells = [of_name(row.name), of_number(row.moved[-1]), of_chart(chart), of_number(row.cosines[-1])]
        cells += [_ends(row.norms)] + ([_ends(row.stable_ranks)] if ranked else [])
        body.append([*cells, of_text(words)])
    n = len(course.rows)
    caption = plural("{n} tensor over {names}", "{n} tensors over {names}", n).format(
        n=count(n), names=listing(course.checkpoints, 12)
    )
    note = _summary(matrices, usual) + " "
    note += _("Layers that were frozen on purpose rest too. Learning rates that fall make all movements smaller.")
    if course.left_out:
        text = _("{n} that are not in all files in one shape, or not finite, were left out.")
        note += " " + text.format(n=count(course.left_out))
    return [Table(id="course", caption=caption, note=note, columns=columns, rows=body, total_rows=n)]


def _summary(matrices: list[CourseRow], usual: list[float]) -> str:
    """Count the matrices that learn to the end, those that rest, wholly or at last, and those that jumped."""
    resting = sum(not row.moved[-1] for row in matrices)
    text = _("Of {n} matrices {learning} moved in the last step, {resting} did not; {jumped} jumped.")
    return text.format(
        n=count(len(matrices)),
        learning=count(len(matrices) - resting),
        resting=count(resting),
        jumped=count(sum(jump_of(row, usual, Thresholds()) is not None for row in matrices)),
    )


def remark(row: CourseRow, usual: list[float], checkpoints: list[str], typical: float) -> str:
    """Say that a tensor rests while others learn, since when it moves, or where it jumped."""
    if not any(row.moved):
        return _("at rest") if typical > _LEARNING else ""
    if not row.moved[0] and typical > _LEARNING:
        since = next(i for i, moved in enumerate(row.moved) if moved)
        return _("at rest until {name}").format(name=checkpoints[since])
    if len(row.moved) > 1 and not row.moved[-1] and typical > _LEARNING:
        last = max(i for i, moved in enumerate(row.moved) if moved)
        return _("at rest since {name}").format(name=checkpoints[last + 1])
    jump = jump_of(row, usual, Thresholds())
    return _("jumped before {name}").format(name=checkpoints[jump[0] + 1]) if jump is not None else ""


def _ends(values: list[float]) -> Cell:
    return Cell(f"{number(values[0])} → {number(values[-1])}", values[-1]) if values else missing()
