"""Cutting long tables to a number of rows; the true number stays in the table and is shown."""

from __future__ import annotations

from msgspec.structs import replace

from .blocks import Block, Page, Table


def folded(page: Page, limit: int) -> Page:
    """Return the page with at most so many rows in each table."""
    sections = [replace(s, blocks=[_cut(b, limit) for b in s.blocks]) for s in page.sections]
    return replace(page, sections=sections)


def _cut(block: Block, limit: int) -> Block:
    if not isinstance(block, Table) or len(block.rows) <= limit:
        return block
    total = max(block.total_rows, len(block.rows))
    return replace(block, rows=block.rows[:limit], total_rows=total)
