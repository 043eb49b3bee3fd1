"""Page -> PDF by WeasyPrint: nothing is fetched, and the same page gives the same bytes."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..look import Look
from ..page.blocks import Page
from ..page.fold import MAX_ROWS_OF_A_KIND, folded
from ..page.theme import printed
from . import columns, crossref, frugal, links, numbering, outlines, parents, streams, tags, terse, typeface, weights
from .assets import sheet
from .carrier import nine_digits
from .fill import fill
from .thin import thinned

MAX_TABLE_ROWS = 300
MAX_APPENDIX = 30  # of a table that the screen shows folded
MAX_ROWS = 900  # of all tables together: each costs milliseconds
_FONTS = {  # address -> file, family, weight; base64 in the style sheet costs a second to read
    "report-font:sans": ("DejaVuSans.ttf", "Report Sans", 400),
    "report-font:sans-bold": ("DejaVuSans-Bold.ttf", "Report Sans", 700),
    "report-font:mono": ("DejaVuSansMono.ttf", "Report Mono", 400),
    "report-font:serif-bold": ("STIXGeneralBol.ttf", "Report Serif", 700),
}
_DRAWING = re.compile(
    r'<svg class=("chart (?:mid|wide)"|chart|flow|strip)(?: viewBox="0 0 (\S+) \S+")? width=\S+ height=([\d.]+)'
)
_ACROSS, _DOWN, _TALL = 672, 850, 300  # pixels of a page, and of a drawing that leaves room on it
_STRIP = 960  # pixels of what is as wide as there is room
_USUAL, _LEAST = 0.78, 0.68  # of a drawing's size: words of 12 pixels, which are 9 points, take 7, and no less than 6
_CHINESE = ("report-font:chinese", "report-font:chinese-bold")


def to_pdf(page: Page, data: bytes | None = None, look: Look | None = None) -> bytes:
    """Return the page as PDF; tables are cut to 300 rows and say so.

    ``data``: the JSON of the report, to be attached.
    """
    weasyprint, look = _weasyprint(), look or Look()
    from weasyprint.text.fonts import FontConfiguration

    short = folded(page, each=MAX_TABLE_ROWS, together=MAX_ROWS, appendix=MAX_APPENDIX, beside=MAX_ROWS_OF_A_KIND)
    fonts = FontConfiguration()
    filled = printed(fill(short, {"css": sheet("print.css")}, templates=look.templates), look)
    html, chinese = _lettered(_DRAWING.sub(_drawn, filled), look)
    fetcher = _fetcher(chinese, frozenset(html))
    gc.collect()  # fonts that were looked into
    with _no_collection():
        rules = _faces(chinese) + columns.style(short) + _widths(short)
        del page, short, filled
        styles = [weasyprint.CSS(string=rules, url_fetcher=fetcher, font_config=fonts)]
        attached = [] if data is None else [_attachment(weasyprint, data)]
        options = {"pdf_variant": "pdf/ua-1", "attachments": attached, "stylesheets": styles}
        words = links.told(html)
        gc.collect()  # what the page and its rules were read from
        document = frugal.laid_out(html, fetcher, fonts, options)
        return crossref.packed(bytes(document.write_pdf(finisher=partial(_finish, words), **options)))


def _drawn(found: re.Match[str]) -> str:
    """Begin a drawing anew for paper: words of all drawings are about as small, unless a column is narrower.

    The style sheet of a page does not reach into drawings here, as it does on a screen.
    """
    width, height = float(found[2] or _STRIP), float(found[3])
    scale = min(max(min(_ACROSS / width, _TALL / height), _LEAST), _USUAL, _DOWN / height)
    size = f"width={width * scale:.1f} height={height * scale:.1f}"
    return f'<svg class={found[1]} viewBox="0 0 {width:g} {height:g}" {size} font-family="Report Sans, sans-serif"'


def _finish(words: Mapping[str, str], document: Any, pdf: Any) -> None:
    document.pages.clear()
    gc.collect()
    numbering.take_out(pdf, links.slim(pdf, words))
    numbering.take_out(pdf, [*streams.slim(pdf), *tags.slim(pdf)])
    numbering.take_out(pdf, parents.gathered(pdf))
    terse.shorten(pdf)
    outlines.slim(pdf)
    weights.joined(pdf, typeface.FAMILY)


def _attachment(weasyprint: Any, data: bytes) -> Any:
    """Return the data of the report as a file inside the PDF, of no date, for the same report is the same bytes."""
    dawn = datetime(1980, 1, 1, tzinfo=UTC)
    return weasyprint.Attachment(
        string=nine_digits(data),
        name="report.json",
        description="The data of this report, numbers to nine digits",
        created=dawn,
        modified=dawn,
        relationship="Data",
    )


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


def _lettered(html: str, look: Look) -> tuple[str, dict[str, bytes]]:
    """Return the page with Chinese characters after the Latin ones in every font, and the fonts that have them.

    Without a font the page tells so, and what the system has may still fill in.
    """
    characters = typeface.chinese(html)
    path = typeface.found(look.font) if characters else None
    if path is None:
        foot = f"<p>{typeface.NOTICE}</p></footer>" if characters else "</footer>"
        return html.replace("</footer>", foot), {}
    for family in ("Sans", "Mono", "Serif"):
        html = html.replace(f'"Report {family}"', f'"Report {family}","{typeface.FAMILY}"')
    html = html.replace('font-family="Report Sans, ', f'font-family="Report Sans, {typeface.FAMILY}, ')
    plain = typeface.subset(path, characters, None)[0]
    bold = typeface.bold(path, characters)
    return html, dict(zip(_CHINESE, (plain,) if bold is None else (plain, bold), strict=False))


def _fetcher(chinese: dict[str, bytes], characters: frozenset[str]) -> Any:
    """Return a fetcher that knows data: and our own fonts; a page that asks for more is a bug and fails.

    ``characters``: of the page, which the fonts need outlines for.
    """
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    class Fetcher(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: dict[str, str] | None = None) -> Any:
            if url in chinese:
                return URLFetcherResponse(url, chinese[url], {"Content-Type": "font/ttf"})
            if url in _FONTS:
                return URLFetcherResponse(url, thinned(_font(url), characters), {"Content-Type": "font/ttf"})
            return super().fetch(url, headers)

    return Fetcher(allowed_protocols=("data",), fail_on_errors=True)


def _font(url: str) -> bytes:
    """Return a font that matplotlib brings: the same on every machine, so the bytes of the PDF are the same."""
    # matplotlib itself is not needed, and takes forty megabytes
    place = distribution("matplotlib").locate_file(f"matplotlib/mpl-data/fonts/ttf/{_FONTS[url][0]}")
    return Path(str(place)).read_bytes()


def _faces(chinese: dict[str, bytes]) -> str:
    faces = [
        f'font-family: "{family}"; font-weight: {weight}; src: url({u})' for u, (f, family, weight) in _FONTS.items()
    ]
    for url, weight in zip(_CHINESE, (400, 700), strict=True):
        if url in chinese:
            faces.append(f'font-family: "{typeface.FAMILY}"; font-weight: {weight}; src: url({url})')
    return "\n".join(f"@font-face {{ {face} }}" for face in faces)


def _widths(page: Page) -> str:
    """Return the widths of images as rules: WeasyPrint takes no notice of the attribute."""
    widths = sorted({i.width for g in page.galleries for t in g.tiles for i in t.images})
    return "\n".join(f'img[width="{w}"] {{ width: {w * 0.2:g}mm }}' for w in widths)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spare the garbage collector: a layout makes many objects and no garbage worth a search.

    Where it is asked for, it looks at these alone, not at all that was imported; what others froze stays frozen.
    """
    was_on, ours = gc.isenabled(), gc.get_freeze_count() == 0
    gc.disable()
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
        if was_on:
            gc.enable()
