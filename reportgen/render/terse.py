"""What a PDF says without drawing it, in its shortest form: texts by one byte a character, places by whole points.

Texts come as hexadecimal digits of two-byte characters as soon as one is not plain, as a minus sign is: four bytes
each. Where links are and where they lead comes in millionths of a point.
"""

from __future__ import annotations

from typing import Any

# ISO 32000-1, table D.2: what stands elsewhere than in Latin-1
_OWN = dict(zip("•†‡…—–ƒ⁄‹›−‰„“”‘’‚™ﬁﬂŁŒŠŸŽıłœšž", range(0x80, 0x9F), strict=True)) | {"€": 0xA0}
_TEXTS = ("Alt", "ActualText", "Title", "Contents")


def shorten(pdf: Any) -> None:
    """Write descriptions, titles and places as short as they can be."""
    for thing in (*pdf.objects, pdf.info):
        if not isinstance(thing, dict):
            continue
        for key in _TEXTS:
            text = getattr(thing.get(key), "string", None)
            if isinstance(text, str):
                thing[key] = literal(text)
        for place in (thing.get("Rect"), thing.get("Dest")):
            _whole(place)
    named = pdf.catalog.get("Names", {}).get("Dests", {}).get("Names", [])
    # each name is followed by its place; titles are named on a screen, for what is read aloud there
    pairs = [pair for pair in zip(named[::2], named[1::2], strict=True) if not pair[0].string.endswith("-title")]
    named[:] = [part for pair in pairs for part in pair]
    for place in named[1::2]:
        _whole(place)


def literal(text: str) -> bytes:
    """Return a text as a PDF has it, between brackets."""
    if all(" " <= c <= "~" or ("\xa1" <= c <= "\xff" and c != "\xad") or c in _OWN for c in text):
        data = bytes(_OWN.get(c, ord(c)) for c in text)
    else:
        data = b"\xfe\xff" + text.encode("utf-16-be")
    for sign in (b"\\", b"(", b")"):
        data = data.replace(sign, b"\\" + sign)
    return b"(" + data.replace(b"\r", b"\\r") + b")"


def _whole(place: Any) -> None:
    if isinstance(place, list):
        place[:] = [round(part) if isinstance(part, float) else part for part in place]
