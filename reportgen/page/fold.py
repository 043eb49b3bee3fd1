"""Cutting long tables to a number of rows; the true number stays in the table and is shown."""

from __future__ import annotations

from msgspec.structs import replace

from .blocks import Block, Cell, Group, Page, Table


def folded(page: Page, *, each: int, together: int) -> Page:
    """Return the page with at most ``each`` rows in a table and ``together`` rows in all of them.

    Short tables stay whole: only the longest are cut, all to one length.
    """
    limit = min(each, _common_limit([len(t.rows) for t in page.tables], together))
    sections = [replace(s, blocks=[_cut(b, limit) for b in s.blocks]) for s in page.sections]
    return replace(page, sections=sections)


def _common_limit(lengths: list[int], together: int) -> int:
    """Return the largest length to which all can be cut so that their sum fits."""
    left, ordered = together, sorted(lengths)
    for i, length in enumerate(ordered):
        share = max(left, 0) // (len(ordered) - i)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


def _cut(block: Block, limit: int) -> Block:
    if isinstance(block, Group):
        return replace(block, blocks=[_cut(inner, limit) for inner in block.blocks])
    if not isinstance(block, Table) or len(block.rows) <= limit:
        return block
    # a row with a problem stays, wherever it stands
    order = sorted(range(len(block.rows)), key=lambda i: not _alarming(block.rows[i]))
    kept = sorted(order[:limit])
    return replace(block, rows=[block.rows[i] for i in kept], total_rows=max(block.total_rows, len(block.rows)))


def _alarming(row: list[Cell]) -> bool:
    return any(cell.tone in ("error", "warning") for cell in row)
