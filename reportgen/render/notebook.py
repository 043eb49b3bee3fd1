"""A report inside a notebook: in a frame of its own, so that neither's styles reach the other."""

from __future__ import annotations

from html import escape

from ..document.facts import Report
from ..page.build import build, spoken
from ..page.formats import visible
from .html import to_html

HEIGHT = 720  # pixels


def frame(report: Report) -> str:
    """Return the report as an ``<iframe>`` that holds the whole page and may run nothing."""
    page = build(report, spoken(report))
    inside = to_html(page).decode("utf-8")
    title = escape(visible(f"{page.title}: {page.verdict.words}"))
    # the notebook's own style sheets end at the frame, so its size has to be said here
    return (
        f'<iframe sandbox="" title="{title}" srcdoc="{escape(inside)}" width="100%" height="{HEIGHT}" frameborder="0">'
        "</iframe>"
    )
