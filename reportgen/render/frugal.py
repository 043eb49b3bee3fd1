"""Laying out a document in less memory than WeasyPrint takes by itself: a third less, for the very same bytes.

Two things are spared. Its own style sheet gives every element a marker and five boxes of footnotes: six styles that are
computed and kept, though only list items have markers and no report has footnotes. And once the pages are laid out,
what they were made from is still held by the places that links lead to.

Both stand on names that are WeasyPrint's own; a release without them is used as it is.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import streams

_NOTES = re.compile(r"^::(?:foot)?note-\w+ \{[^}]*\}$", re.M)


def laid_out(html: str, fetcher: Any, fonts: Any, options: Mapping[str, Any]) -> Any:
    """Return WeasyPrint's document of a page, ready to be written."""
    import weasyprint
    from weasyprint.document import Document

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
    for context in contexts:
        context.target_collector = None
    del contexts[:]
    gc.collect()
    for made in document.pages:
        made.paint = _whole(made.paint)
    return document


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
