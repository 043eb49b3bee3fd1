"""Page -> one standalone HTML file: no request, no script, the same bytes each time."""

from __future__ import annotations

from ..page.blocks import Page
from ..page.fold import folded
from .assets import fill

MAX_ROWS = 1800  # of all tables together: half a megabyte


def to_html(page: Page) -> bytes:
    """Return the page as HTML; very long tables are cut and say so."""
    return fill(folded(page, each=MAX_ROWS, together=MAX_ROWS), "report.css").encode("utf-8")
