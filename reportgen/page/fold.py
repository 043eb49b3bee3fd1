"""Cutting long tables to a number of rows; the true number stays in the table and is shown."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from .blocks import Block, Cell, Group, Page, Table

MAX_ROWS_OF_A_KIND = 200  # of tables that tell one kind of fact of each layer, where another one joins all kinds
_SPARED = 4  # rows: a cut that hides no more than these saves nothing but tells a reader that something is missing
_GRAVITY = {"info": 1, "warning": 2, "error": 3}


def folded(page: Page, *, each: int, together: int, appendix: int | None = None, beside: int | None = None) -> Page:
    """Return the page with at most ``each`` rows in a table and ``together`` rows in all of them.

    Short tables stay whole: only the longest are cut, all to one length. ``appendix``: for paper, the most rows of a
    table that a reader of the screen has to unfold. ``beside``: where one table joins what is known of every layer,
    the most rows of all those together that tell one kind of fact of each.
    """
    joining = next((t for t in page.tables if t.joins), None) if beside is not None else None
    noted = _noted(joining) if joining is not None else None
    if joining is not None and beside is not None:
        few, elsewhere = _common_limit([len(t.rows) for t in page.tables if t.of_layers], beside), joining.id

        def outlined(table: Table) -> Table:
            if not table.of_layers or len(table.rows) <= few:
                return table
            return replace(_cut(table, few, noted), elsewhere=elsewhere)

        page = _each(page, outlined)
    hidden = each if appendix is None else appendix
    lengths = [min(len(t.rows), hidden) if t.folded else len(t.rows) for t in page.tables]
    limit = min(each, _common_limit(lengths, together))
    page = _each(page, lambda t: _cut(t, min(limit, hidden) if t.folded else limit, noted))
    if any(t.joins and t.omitted for t in page.tables):  # then no table has what was cut from the others
        page = _each(page, lambda t: replace(t, elsewhere=""))
    return page if appendix is None else _each(page, lambda t: replace(t, whole=True))


def _each(page: Page, change: Callable[[Table], Table]) -> Page:
    """Return the page with its tables changed, those in groups too."""

    def changed(block: Block) -> Block:
        if isinstance(block, Group):
            return replace(block, blocks=[changed(inner) for inner in block.blocks])
        return change(block) if isinstance(block, Table) else block

    return replace(page, sections=[replace(s, blocks=[changed(b) for b in s.blocks]) for s in page.sections])


def _cut(table: Table, limit: int, noted: dict[str, int] | None) -> Table:
    """Return a table with so many rows: those with findings first, and of a table in the order of the model others
    from all along it. ``noted``: how bad the worst finding about each layer is; None where no table joins them."""
    if len(table.rows) <= limit + _SPARED:
        return table
    grave = [max(_gravity(row), _of_layer(row, noted or {})) for row in table.rows]
    if noted is None or table.ranked or not (table.of_layers or table.joins):
        places = sorted(sorted(range(len(grave)), key=lambda i: -grave[i])[:limit])
    else:
        places = _spread(table.rows, grave, limit)
    total = max(table.total_rows, len(table.rows))
    return replace(table, rows=[table.rows[i] for i in places], total_rows=total)


def _spread(rows: list[list[Cell]], grave: list[int], limit: int) -> list[int]:
    """Return the places of rows with findings, of outer modules, and of others evenly over the depth of the model."""
    kept: list[int] = []
    levels: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(rows):
        levels.setdefault((-grave[i], 0 if grave[i] else row[0].indent), []).append(i)
    for (gravity, depth), level in sorted(levels.items()):
        room = limit - len(kept)
        if not gravity and len(level) > room and depth > 0 and 2 * len(kept) >= limit:
            break  # a few of the inner modules would say less than none
        n = min(room, len(level))
        kept += [level[k * len(level) // n] for k in range(n)]
    return sorted(kept)


def _noted(joining: Table) -> dict[str, int]:
    """Return how bad the worst finding about each layer is, by its name."""
    return {row[0].text: grave for row in joining.rows if (grave := _gravity(row))}


def _of_layer(row: list[Cell], noted: dict[str, int]) -> int:
    """Return how bad the worst finding is about the layer that a row is of, or whose tensor it is."""
    name = row[0].text.split(" ")[0]
    return max(noted.get(name, 0), noted.get(name.rpartition(".")[0], 0)) if noted else 0


def _common_limit(lengths: list[int], together: int) -> int:
    """Return the largest length to which all can be cut so that their sum fits."""
    left, ordered = together, sorted(lengths)
    for i, length in enumerate(ordered):
        share = max(left, 0) // (len(ordered) - i)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


def _gravity(row: list[Cell]) -> int:
    return max(_GRAVITY.get(cell.tone, 0) for cell in row) if row else 0
