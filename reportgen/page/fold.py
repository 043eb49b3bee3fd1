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
        page = _shortened(page, lambda t: few if t.of_layers else len(t.rows), joining)
    hidden = each if appendix is None else appendix
    lengths = [min(len(t.rows), hidden) if t.folded else len(t.rows) for t in page.tables]
    limit = min(each, _common_limit(lengths, together))
    page = _shortened(page, lambda t: min(limit, hidden) if t.folded else limit)
    if appendix is None:
        return page
    return replace(page, sections=[replace(s, blocks=[_whole(b) for b in s.blocks]) for s in page.sections])


def _shortened(page: Page, most: Callable[[Table], int], elsewhere: str = "") -> Page:
    """Return the page with so many rows of each table; ``elsewhere``: the table that has what they lack."""

    def cut(block: Block) -> Block:
        if isinstance(block, Group):
            return replace(block, blocks=[cut(inner) for inner in block.blocks])
        if not isinstance(block, Table) or len(block.rows) <= (limit := most(block)):
            return block
        # a row with a problem stays, wherever it stands; of modules in each other the outer ones
        order = sorted(range(len(block.rows)), key=lambda i: (not _alarming(block.rows[i]), block.rows[i][0].indent))
        rows = [block.rows[i] for i in sorted(order[:limit])]
        total = max(block.total_rows, len(block.rows))
        return replace(block, rows=rows, total_rows=total, elsewhere=elsewhere or block.elsewhere)

    return replace(page, sections=[replace(s, blocks=[cut(b) for b in s.blocks]) for s in page.sections])


def _whole(block: Block) -> Block:
    if isinstance(block, Group):
        return replace(block, blocks=[_whole(inner) for inner in block.blocks])
    return replace(block, whole=True) if isinstance(block, Table) else block


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
