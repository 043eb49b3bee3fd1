"""Cutting long tables to a number of rows; the true number stays in the table and is shown."""

from __future__ import annotations

from msgspec.structs import replace

from .blocks import Block, Cell, Group, Page, Table


def folded(page: Page, *, each: int, together: int, appendix: int | None = None) -> Page:
    """Return the page with at most ``each`` rows in a table and ``together`` rows in all of them.

    Short tables stay whole: only the longest are cut, all to one length. ``appendix``: for paper, the most rows of a
    table that a reader of the screen has to unfold.
    """
    hidden = each if appendix is None else appendix
    lengths = [min(len(t.rows), hidden) if t.folded else len(t.rows) for t in page.tables]
    limit = min(each, _common_limit(lengths, together))
    sections = [replace(s, blocks=[_cut(b, limit, min(limit, hidden)) for b in s.blocks]) for s in page.sections]
    if appendix is not None:
        sections = [replace(s, blocks=[_whole(b) for b in s.blocks]) for s in sections]
    return replace(page, sections=sections)


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


def _cut(block: Block, limit: int, hidden: int) -> Block:
    if isinstance(block, Group):
        return replace(block, blocks=[_cut(inner, limit, hidden) for inner in block.blocks])
    limit = hidden if isinstance(block, Table) and block.folded else limit
    if not isinstance(block, Table) or len(block.rows) <= limit:
        return block
    # a row with a problem stays, wherever it stands
    order = sorted(range(len(block.rows)), key=lambda i: not _alarming(block.rows[i]))
    kept = sorted(order[:limit])
    return replace(block, rows=[block.rows[i] for i in kept], total_rows=max(block.total_rows, len(block.rows)))


def _alarming(row: list[Cell]) -> bool:
    return any(cell.tone in ("error", "warning") for cell in row)
