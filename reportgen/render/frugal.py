"""Laying out a document in less memory than WeasyPrint takes by itself: a third less, for the very same bytes.

Three things are spared. Its own style sheet gives every element a marker and five boxes of footnotes: six styles that
are computed and kept, though only list items have markers and no report has footnotes. Once the pages are laid out,
what they were made from is still held, by the places that links lead to and by the shapes that text would flow around.
And the boxes of all pages are kept until the last tag is made of them.

All stand on names that are WeasyPrint's own; a release without them is used as it is.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import streams

_TOGETHER = 2  # pages whose boxes go at a time: to look for them takes time
_NOTES = re.compile(r"^::(?:foot)?note-\w+ \{[^}]*\}$", re.M)


def laid_out(html: str, fetcher: Any, fonts: Any, options: Mapping[str, Any]) -> Any:
    """Return WeasyPrint's document of a page, ready to be written."""
    import weasyprint
    from weasyprint.document import Document, Page

    page = _plain(weasyprint)(string=html, url_fetcher=fetcher)
    if not all(hasattr(Document, name) for name in ("_build_layout_context", "_render")):
        return page.render(font_config=fonts, **options)
    contexts: list[Any] = []

    class Paged(Document):  # type: ignore[misc]
        @classmethod
        def _build_layout_context(cls, *args: Any) -> Any:
            contexts.append(super()._build_layout_context(*args))
            return contexts[-1]

    document = Paged._render(page, fonts, None, None, weasyprint.DEFAULT_OPTIONS | dict(options))
    while contexts:
        vars(contexts.pop()).clear()
    gc.collect()
    leaving = _leaving(Page)
    for number, made in enumerate(document.pages):
        if "_page_box" in vars(made):
            made.__class__, made.number = leaving, number
        made.paint = _whole(made.paint)
    return document


def _leaving(page: Any) -> Any:
    """Return the class of pages that let go of their boxes where tags are made of them, which is after painting."""

    class Leaving(page):  # type: ignore[misc]
        number, painted = 0, False

        def paint(self, stream: Any, scale: float = 1) -> None:
            super().paint(stream, scale)
            self.painted = True

        @property
        def _page_box(self) -> Any:
            if not self.painted:
                return self.__dict__["_page_box"]
            if self.number % _TOGETHER == 0:
                gc.collect()  # a table and its columns hold each other
            return self.__dict__.pop("_page_box")

    return Leaving


def _whole(paint: Callable[..., None]) -> Callable[..., None]:
    """Return how a page is painted and its instructions put together at once: thousands of small ones take more."""

    def painted(stream: Any, scale: float = 1) -> None:
        paint(stream, scale)
        stream.stream = [streams.written(stream)]

    return painted


def _plain(weasyprint: Any) -> Any:
    """Return the class of documents without the boxes that no report has."""
    from weasyprint import html as defaults

    class Plain(weasyprint.HTML):  # type: ignore[misc]
        def _ua_stylesheets(self, forms: bool = False) -> list[Any]:
            rules = getattr(defaults, "UA", None)
            if rules is None:
                return list(super()._ua_stylesheets(forms))
            spare = _NOTES.sub("", rules).replace("\n::marker {", "\nli::marker {")
            return [weasyprint.CSS(string=spare)]  # the styles of counters are handed on by themselves

    return Plain
