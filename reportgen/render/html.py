"""Page -> one standalone HTML file: no request, no script, the same bytes each time."""

from __future__ import annotations

from urllib.parse import quote

from ..look import Look
from ..page.blocks import Page
from ..page.fold import MAX_ROWS_OF_A_KIND, folded
from . import typeface
from .carrier import packed
from .fill import fill, screen_css

_SOME = "~"  # in place of the data, while the length of the page without them is measured
_PLACE = f'<template id="report-data">{_SOME}</template>'  # every name in a page is escaped
MAX_ROWS = 1800  # of all tables together: half a megabyte
TOGETHER = 500_000  # bytes of a page with its data; where these make it larger they are left out, and the page says so
_ROWS_OF_A_FONT = 88  # so many fewer in Chinese: a page that carries a font is to be about as small


def to_html(page: Page, data: bytes | None = None, look: Look | None = None, link: str = "") -> bytes:
    """Return the page as HTML; very long tables are cut and say so.

    ``data``: the JSON of the report, for the page to carry along. ``link``: the name of the file beside it that holds
    ``style_sheet``; without it the style sheet stands in the page.
    """
    look = look or Look()
    short = folded(page, each=MAX_ROWS, together=MAX_ROWS, beside=rows_of_a_kind(page, link))
    if data is None:
        return _lettered(short, look, link, None)[0].encode("utf-8")
    images = [i.data for g in short.galleries for t in g.tiles for i in t.images if not i.beside]
    carried = packed(data, images)
    html, style = _lettered(short, look, link, _SOME if carried else "")
    if carried and len(html.encode("utf-8")) + len(carried) > TOGETHER:
        carried, (html, style) = "", _lettered(short, look, link, "")
    if not carried:
        return html.encode("utf-8")
    if html.count(_PLACE) == 1:  # a page is not filled twice for it
        return html.replace(_PLACE, _PLACE.replace(_SOME, carried)).encode("utf-8")
    return fill(short, style, carried=carried, templates=look.templates).encode("utf-8")


def rows_of_a_kind(page: Page, link: str = "") -> int:
    """Return the most rows of the tables that tell one kind of fact of each layer, all together."""
    carries_font = page.lang.startswith("zh") and not link  # with a link it lies beside the page
    return MAX_ROWS_OF_A_KIND - (_ROWS_OF_A_FONT if carries_font else 0)


def _lettered(page: Page, look: Look, link: str, carried: str | None) -> tuple[str, dict[str, str]]:
    """Return the page with a font of the Chinese characters in it, and its style."""
    style = {"link": link} if link else {"css": screen_css(look)}
    html = fill(page, style, carried=carried, templates=look.templates)
    if characters := typeface.chinese(html):
        font = typeface.found(look.font)
        if font is None:
            style["notice"] = typeface.NOTICE
        elif not link:
            style["css"] += typeface.face(font, characters)
        html = fill(page, style, carried=carried, templates=look.templates)
    return html, style


def style_sheet(look: Look, html: bytes, link: str) -> tuple[bytes, bytes | None]:
    """Return the style sheet for a file beside the page, and the Chinese characters that the page needs as a font.

    ``link``: the name of the file beside it that is to hold the font. None: it needs none, or there is none.
    """
    characters = typeface.chinese(html.decode("utf-8"))
    font = typeface.found(look.font) if characters else None
    if font is None:
        return screen_css(look).encode("utf-8"), None
    css = screen_css(look) + typeface.face_at(quote(link))
    return css.encode("utf-8"), typeface.subset(font, characters, "woff2")[0]
