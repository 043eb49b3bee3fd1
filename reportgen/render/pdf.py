"""Page -> PDF by WeasyPrint: nothing is fetched, and the same page gives the same bytes."""

from __future__ import annotations

import base64
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..page.blocks import Page
from ..page.fold import folded
from .assets import fill

MAX_TABLE_ROWS = 300
MAX_ROWS = 900  # of all tables together: each costs milliseconds
TAGGED_UP_TO = 500  # rows of all tables; tags cost time and bytes beyond that


def to_pdf(page: Page) -> bytes:
    """Return the page as PDF; tables are cut to 300 rows and say so."""
    weasyprint = _weasyprint()
    short = folded(page, each=MAX_TABLE_ROWS, together=MAX_ROWS)
    fetcher = _fetcher(weasyprint)
    variant = "pdf/ua-1" if short.n_rows <= TAGGED_UP_TO else None
    with _no_collection():
        document = weasyprint.HTML(string=fill(short, "print.css"), url_fetcher=fetcher)
        styles = [weasyprint.CSS(string=_faces(), url_fetcher=fetcher, font_config=(fonts := _fonts()))]
        return bytes(document.write_pdf(stylesheets=styles, font_config=fonts, pdf_variant=variant))


def _weasyprint() -> Any:
    try:
        import weasyprint
    except OSError as error:
        raise OutputError(
            f"PDF needs system libraries that are missing here ({str(error).splitlines()[0]}).",
            hint="Install Pango: libpango-1.0-0 and libpangoft2-1.0-0 on Debian and Ubuntu, pango on macOS and Fedora; "
            "or write .html.",
        ) from None
    return weasyprint


def _fetcher(weasyprint: Any) -> Any:
    """Return a fetcher that knows data: only; a page that asks for more is a bug and fails."""
    from weasyprint.urls import URLFetcher

    return URLFetcher(allowed_protocols=("data",), fail_on_errors=True)


def _fonts() -> Any:
    from weasyprint.text.fonts import FontConfiguration

    return FontConfiguration()


@cache
def _faces() -> str:
    """Return the faces of the fonts that matplotlib brings: the same on every machine, so the bytes are the same."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = (
        ("DejaVuSans.ttf", "Report Sans", 400),
        ("DejaVuSans-Bold.ttf", "Report Sans", 700),
        ("DejaVuSansMono.ttf", "Report Mono", 400),
        ("STIXGeneral.ttf", "Report Serif", 400),
        ("STIXGeneralBol.ttf", "Report Serif", 700),
    )
    rules = []
    for file, family, weight in files:
        data = base64.b64encode((folder / file).read_bytes()).decode("ascii")
        source = f"url(data:font/ttf;base64,{data})"
        rules.append(f'@font-face{{font-family:"{family}";font-weight:{weight};src:{source}}}')
    return "\n".join(rules)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spare the garbage collector: a layout makes many objects and no garbage worth a search."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
