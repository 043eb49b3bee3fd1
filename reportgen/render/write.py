"""Report -> a file: the suffix chooses the format, and a file is there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..arguments import PATH, expect, is_path
from ..document.codec import encode
from ..document.facts import Report
from ..errors import OptionError, OutputError
from ..page.build import build


def _html(report: Report, language: str) -> bytes:
    from .html import to_html

    return to_html(build(report, language), encode(report))


def _pdf(report: Report, language: str) -> bytes:
    from .pdf import to_pdf

    return to_pdf(build(report, language), encode(report))


def _markdown(report: Report, language: str) -> bytes:
    from .markdown import to_markdown

    return to_markdown(build(report, language))


def _junit(report: Report, language: str) -> bytes:
    from .junit import to_junit

    return to_junit(report)


def _json(report: Report, language: str) -> bytes:
    return encode(report)


FORMATS: dict[str, Callable[[Report, str], bytes]] = {
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


def render(report: Report, suffix: str, *, language: str = "en") -> bytes:
    """Return the report in the format of a suffix, such as '.html'."""
    if suffix.lower() not in FORMATS:
        raise OptionError(f"{suffix!r} names no format.", hint=f"Choose one of {', '.join(FORMATS)}.")
    return FORMATS[suffix.lower()](report, language)


def write(report: Report, path: str | Path, *, language: str = "en") -> Path:
    """Write the report to a file, in the format that the suffix names."""
    expect("path", path, is_path(path), PATH)
    expect("report", report, isinstance(report, Report), "what reportgen.examine or reportgen.read returned")
    path = Path(path)
    data = render(report, check_suffix(path), language=language)
    write_bytes(data, path)
    return path


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
