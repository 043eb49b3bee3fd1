"""Cutting long tables to a number of rows; the true number stays in the table and is shown."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from .blocks import Block, Cell, Group, Page, Table


def folded(page: Page, *, each: int, together: int, appendix: int | None = None, beside: int | None = None) -> Page:
    """Return the page with at most ``each`` rows in a table and ``together`` rows in all of them.

    Short tables stay whole: only the longest are cut, all to one length. ``appendix``: for paper, the most rows of a
    table that a reader of the screen has to unfold. ``beside``: where one table joins what is known of every layer,
    the most rows of all those together that tell one kind of fact of each.
    """
    if beside is not None and (joining := next((t.id for t in page.tables if t.joins), "")):
        few = _common_limit([len(t.rows) for t in page.tables if t.of_layers], beside)

        def outlined(table: Table) -> Table:
            if not table.of_layers or len(table.rows) <= few:
                return table
            return replace(_with_rows(table, _spread(table.rows, few)), elsewhere=joining)

        page = _each(page, outlined)
    hidden = each if appendix is None else appendix
    lengths = [min(len(t.rows), hidden) if t.folded else len(t.rows) for t in page.tables]
    limit = min(each, _common_limit(lengths, together))
    page = _each(page, lambda t: _with_rows(t, _first(t.rows, min(limit, hidden) if t.folded else limit)))
    return page if appendix is None else _each(page, lambda t: replace(t, whole=True))


def _each(page: Page, change: Callable[[Table], Table]) -> Page:
    """Return the page with its tables changed, those in groups too."""

    def changed(block: Block) -> Block:
        if isinstance(block, Group):
            return replace(block, blocks=[changed(inner) for inner in block.blocks])
        return change(block) if isinstance(block, Table) else block

    return replace(page, sections=[replace(s, blocks=[changed(b) for b in s.blocks]) for s in page.sections])


def _with_rows(table: Table, places: list[int]) -> Table:
    if len(places) == len(table.rows):
        return table
    total = max(table.total_rows, len(table.rows))
    return replace(table, rows=[table.rows[i] for i in places], total_rows=total)


def _first(rows: list[list[Cell]], limit: int) -> list[int]:
    """Return the places of the first rows; one with a problem stays, wherever it stands."""
    return sorted(sorted(range(len(rows)), key=lambda i: not _alarming(rows[i]))[:limit])


def _spread(rows: list[list[Cell]], limit: int) -> list[int]:
    """Return the places of rows with a problem, of outer modules, and of others evenly over the depth of the model."""
    kept: list[int] = []
    levels: dict[tuple[bool, int], list[int]] = {}
    for i, row in enumerate(rows):
        levels.setdefault((not _alarming(row), row[0].indent), []).append(i)
    for (_harmless, depth), level in sorted(levels.items()):
        room = limit - len(kept)
        if len(level) > room and depth > 0 and 2 * len(kept) >= limit:
            break  # a few of the inner modules would say less than none
        n = min(room, len(level))
        kept += [level[k * len(level) // n] for k in range(n)]
    return sorted(kept)


def _common_limit(lengths: list[int], together: int) -> int:
    """Return the largest length to which all can be cut so that their sum fits."""
    left, ordered = together, sorted(lengths)
    for i, length in enumerate(ordered):
        share = max(left, 0) // (len(ordered) - i)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


def _alarming(row: list[Cell]) -> bool:
    return any(cell.tone in ("error", "warning") for cell in row)
