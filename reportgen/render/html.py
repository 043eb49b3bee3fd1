"""Page -> one standalone HTML file: no request, no script, the same bytes each time."""

from __future__ import annotations

from ..page.blocks import Page
from ..page.fold import folded
from .assets import fill
from .carrier import packed

MAX_ROWS = 1800  # of all tables together: half a megabyte


def to_html(page: Page, data: bytes | None = None) -> bytes:
    """Return the page as HTML; very long tables are cut and say so.

    ``data``: the JSON of the report, for the page to carry along.
    """
    short = folded(page, each=MAX_ROWS, together=MAX_ROWS)
    return fill(short, "report.css", None if data is None else packed(data)).encode("utf-8")
