"""Report -> a file: the suffix chooses the format, and a file is there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ..arguments import PATH, expect, is_path
from ..document.codec import encode
from ..document.facts import Report
from ..errors import OptionError, OutputError
from ..look import Look
from ..options import LANGUAGES
from ..page import theme
from ..page.blocks import Page, Section
from ..page.build import build, spoken
from ..page.language import speaking
from ..page.logo import logo


class Manner(Struct, frozen=True, kw_only=True):
    """How a report is to be presented."""

    language: str = "en"
    look: Look = Look()
    sections: Sequence[Section] = ()
    """Of one's own."""

    def page(self, report: Report) -> Page:
        return build(report, self.language, self.look, self.sections)


def _html(report: Report, manner: Manner) -> bytes:
    from .html import to_html

    return to_html(manner.page(report), encode(report), manner.look)


def _pdf(report: Report, manner: Manner) -> bytes:
    from .pdf import to_pdf

    return to_pdf(manner.page(report), encode(report), manner.look)


def _markdown(report: Report, manner: Manner) -> bytes:
    from .markdown import to_markdown

    return to_markdown(manner.page(report))


def _junit(report: Report, manner: Manner) -> bytes:
    from .junit import to_junit

    with speaking(manner.language):
        return to_junit(report)


def _json(report: Report, manner: Manner) -> bytes:
    return encode(report)


FORMATS: dict[str, Callable[[Report, Manner], bytes]] = {
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".md": _markdown,
    ".json": _json,
    ".xml": _junit,
}


def check_path(path: str | Path) -> None:
    """Raise when a report could not be written there: before hours of measuring, not after."""
    check_suffix(path)
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"Cannot write {path}.", hint=_advice(path))


def check_suffix(path: str | Path) -> str:
    """Return the suffix of a path, or raise when it names no format."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(
            f"The suffix {suffix!r} of {path} names no format.", hint=f"Choose one of {', '.join(FORMATS)}."
        )
    return suffix


def check_look(look: Look) -> None:
    """Raise OptionError for a look that cannot be had: before hours of measuring, not after."""
    from . import house, typeface

    theme.colours(look)
    if look.font is not None:
        typeface.found(look.font)
    if look.logo is not None:
        logo(look.logo, look.logo_text)
    if look.templates is not None:
        house.check(look.templates)


def render(
    report: Report,
    suffix: str,
    *,
    language: str | None = None,
    look: Look | None = None,
    sections: Sequence[Section] = (),
) -> bytes:
    """Return the report in the format of a suffix, such as '.html'; see ``write``."""
    if suffix.lower() not in FORMATS:
        raise OptionError(f"{suffix!r} names no format.", hint=f"Choose one of {', '.join(FORMATS)}.")
    language = language or spoken(report)
    return FORMATS[suffix.lower()](report, Manner(language=language, look=look or Look(), sections=sections))


def write(
    report: Report,
    path: str | Path,
    *,
    language: str | None = None,
    look: Look | None = None,
    sections: Sequence[Section] = (),
) -> Path:
    """Write the report to a file, in the format that the suffix names.

    Of a report that several processes made together the first process's is written; the others do nothing here.
    ``language``: 'en' or 'zh'; that of the options it was made with if left out.
    ``look``: colours, logo, footer and order of a house. ``sections``: one's own, ``reportgen.page.Section``.
    """
    expect("path", path, is_path(path), PATH)
    expect("report", report, isinstance(report, Report), "what reportgen.examine or reportgen.read returned")
    expect("language", language, language is None or language in LANGUAGES, "one of 'en', 'zh'")
    expect("look", look, look is None or isinstance(look, Look), "a reportgen.Look")
    path, manner = Path(path), Manner(language=language or spoken(report), look=look or Look(), sections=sections)
    suffix = check_suffix(path)
    if report.meta.process:
        return path
    if manner.look.sidecar_css and suffix in (".html", ".htm"):
        _write_parts(report, manner, path)
        return path
    write_bytes(FORMATS[suffix](report, manner), path)
    return path


def _write_parts(report: Report, manner: Manner, path: Path) -> None:
    """Write a page, its style sheet and font beside it, and its images in a folder beside it, which comes first.

    More servers let a font in a file through than one inside a style sheet; browsers ask for it where they have none.
    """
    from . import beside
    from .html import style_sheet, to_html

    sheet, folder = path.with_suffix(".css"), path.with_suffix(".images")
    page, images = beside.images(manner.page(report), folder.name)
    html = to_html(page, encode(report), manner.look, sheet.name)
    if images:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"Cannot write {folder}: {reason}.", hint=_advice(folder)) from None
    for name, data in images.items():
        write_bytes(data, folder / name)
    css, letters = style_sheet(manner.look, html, path.with_suffix(".woff2").name)
    if letters is not None:
        write_bytes(letters, path.with_suffix(".woff2"))
    write_bytes(css, sheet)
    write_bytes(html, path)


def write_bytes(data: bytes, path: Path) -> None:
    """Put bytes in a file by way of a temporary one beside it, so that no reader sees half a report."""
    place = Path(os.path.realpath(path))  # through a link, not over it
    if place.exists() and not place.is_file():
        raise OutputError(f"Cannot write {path}: {place} is no regular file.", hint=_advice(path))
    temporary = place.with_name(f".{place.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, place)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"Cannot write {path}: {reason}.", hint=_advice(path)) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _advice(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist: create it first."
    return "The path is a folder: name a file." if path.is_dir() else "Choose a folder that you may write to."
