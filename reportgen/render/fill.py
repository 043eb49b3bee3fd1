"""Filling the template of a page: ours, or ours with a house's blocks in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..look import Look
from ..page import theme
from ..page.blocks import Page
from ..page.language import translate
from . import house
from .assets import environment, sheet, style_hash

_SPACED = re.compile(r"(?<=[。；，：、！？]) (?=[^ <])")


def screen_css(look: Look) -> str:
    """Return the whole style sheet of an HTML page: ours, the house's colours, the house's own rules."""
    extra = house.extra_css(look.templates) if look.templates is not None else ""
    return sheet("report.css") + theme.rules(look) + extra.strip()


def fill(page: Page, style: Mapping[str, str], *, carried: str | None = None, templates: str | None = None) -> str:
    """Return the page as HTML, and with the packed data of the report.

    ``style``: its ``css`` to be inlined, or the ``link`` to a file beside it; a ``notice`` for its foot. ``carried``:
    empty where there was too much of it; None where none is wanted. ``templates``: a folder of somebody's own.
    """
    from markupsafe import Markup

    css = style.get("css", "")
    # nothing from a report passes here: it is our style sheet, or one that has been looked through
    assets = {
        "css": Markup(css),
        "hash": style_hash(css),
        "link": style.get("link", ""),
        "notice": style.get("notice", ""),
    }
    context = {"page": page, "assets": assets, "carried": carried, "_": translate(page.lang)}
    if templates is None or not house.has_page(templates):
        return _set(environment().get_template("page.html.j2").render(context), page.lang)
    made = house.template(templates, environment(own=templates))
    return _set(house.told(Path(templates) / house.PAGE, lambda: made.render(context)), page.lang)


def _set(html: str, language: str) -> str:
    """Take out the spaces that joined sentences have: full-width signs bring their own."""
    return _SPACED.sub("", html) if language == "zh" else html
