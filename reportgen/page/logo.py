"""A house's logo as a drawing inside the page: an SVG, cleaned, or the bytes of a PNG."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

from ..errors import OptionError
from .cleaner import cleaned
from .language import _
from .svg import Element, drawing, element

HEIGHT = 40.0  # pixels
_MOST = 200_000
_PNG = b"\x89PNG\r\n\x1a\n"


def logo(path: str, words: str) -> Element:
    """Read a logo. Raises OptionError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise OptionError(f"The logo {path} cannot be read: {error.strerror or error}.") from None
    if len(data) > _MOST:
        raise OptionError(
            f"The logo {path} has {len(data):,} bytes.", hint=f"Expected {_MOST:,} at most: it goes into every page."
        )
    title = words or _("Logo")
    return _png(data, title, path) if data.startswith(_PNG) else _svg(data, title, path)


def _png(data: bytes, title: str, path: str) -> Element:
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if not (width and height) or data[12:16] != b"IHDR":
        raise OptionError(f"The logo {path} is a damaged PNG.")
    shown = round(width / height * HEIGHT, 1)
    source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    picture = element("image", href=source, width=shown, height=HEIGHT)
    return drawing(shown, HEIGHT, title, picture, class_="logo")


def _svg(data: bytes, title: str, path: str) -> Element:
    try:
        if b"<!ENTITY" in data:
            raise ValueError("it declares entities")
        return cleaned(data, "logo", title, foreign=True, height=HEIGHT, class_="logo")
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        reason = str(error) or "no drawing"
        raise OptionError(
            f"The logo {path} is no SVG or PNG that can be shown: {reason}.",
            hint="Expected shapes with fills, without scripts, styles or files of their own.",
        ) from None
