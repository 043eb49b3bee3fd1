"""The data of a report, carried inside its own page, so that one file is both what people read and what tools read.

The JSON is compressed and stands as text in a ``<template>``: inert in every browser, without any script. The text is
base85 with signs of its own for the three that HTML would read, behind a tilde; older pages have base64.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import json

from ..document.codec import decode
from ..document.facts import Report
from ..errors import DocumentError

_MOST = 300_000  # bytes of text in a page
_MOST_UNPACKED = 1 << 28
_SHORT = 1 << 18  # bytes of JSON; more of them pack best by sorting, in a fifth of the time
# text has no width of words to which its bytes line up; no more is packed so than the dictionary holds
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "pb": 0, "dict_size": _SHORT}]
_TRIED = 1 << 17  # bytes
_XZ, _BZ = b"\xfd7zXZ\0", b"BZh"
# of a gallery; the quotes of a text are escaped
_IMAGE = re.compile(rb'<img class=px src="data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)"')
_STANDS_FOR = re.compile(rb'"data":"image (\d+) of this page"')
_CARRIED = re.compile(rb'<template id="report-data">([^<]*)</template>')
_PLAIN, _SAFE = b"&<>", b",./"
_TEXT_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+\.\d{7,}(?:e[+-]?\d+)?')
_TEXT_OR_SINGLE = re.compile(rb'"(?:[^"\\]|\\.)*"|(-?[\d.]+(?:e[+-]?\d+)?)f')


def packed(data: bytes, images: Sequence[bytes] = (), most: int = _MOST) -> str:
    """Return the JSON of a report as text for a page; empty where that would be more than ``most`` bytes.

    ``images``: files that the page shows, in its order; they are not carried a second time.
    """
    for place, image in enumerate(dict.fromkeys(images)):
        shown = b'"data":"' + base64.b64encode(image) + b'"'
        data = data.replace(shown, b'"data":"image %d of this page"' % place)
    # its beginning tells whether the whole could fit, before time is spent on it
    if len(data) > _TRIED and 5 * len(bz2.compress(data[:_TRIED])) / 4 * len(data) / _TRIED > 1.3 * most:
        return ""
    data = _singles(data)
    small = lzma.compress(data, filters=_FILTERS) if len(data) <= _SHORT else bz2.compress(data)
    if 5 * len(small) // 4 > most:
        return ""
    text = "~" + base64.b85encode(small).translate(bytes.maketrans(_PLAIN, _SAFE)).decode("ascii")
    return text if len(text) <= most else ""


def nine_digits(data: bytes) -> bytes:
    """Return JSON with numbers of nine digits, all that single precision tells apart; large ones keep theirs."""

    def shorter(found: re.Match[bytes]) -> bytes:
        told = found[0]
        if told.startswith(b'"') or abs(float(told)) >= 1e6:
            return told
        return json.encode(float(f"{float(told):.9g}"))

    return _TEXT_OR_NUMBER.sub(shorter, data)


def _singles(data: bytes) -> bytes:
    """Write numbers that single precision holds with the digits that takes and an f: a tenth of all bytes."""

    def shorter(found: re.Match[bytes]) -> bytes:
        told = found[0]
        if told.startswith(b'"'):
            return told
        value = float(told)
        if not 1e-37 < abs(value) < 1e38 or _single(value) != value:
            return told
        short = next(s for digits in (6, 7, 8, 9) if _single(float(s := f"{value:.{digits}g}")) == value)
        return short.encode("ascii") + b"f" if json.encode(value) == told else told

    return _TEXT_OR_NUMBER.sub(shorter, data)


def _doubles(data: bytes) -> bytes:
    """Write numbers that end in an f with all the digits that they had."""

    def longer(found: re.Match[bytes]) -> bytes:
        return found[0] if found[1] is None else json.encode(_single(float(found[1])))

    return _TEXT_OR_SINGLE.sub(longer, data)


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def extract(path: str | Path) -> Report:
    """Return the report whose data an HTML report carries. Raises DocumentError."""
    path = Path(path)
    try:
        page = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"Cannot read {path}: {error.strerror or error}.", hint=_EXPECTED) from None
    if page.startswith(b"%PDF"):
        raise DocumentError(
            f"{path} is a PDF.", hint="Its data are attached as report.json: any PDF viewer, or pdfdetach, saves them."
        )
    found = _CARRIED.findall(page)
    if not found:
        # every text from outside is escaped, so no name in a report can pass for the data
        raise DocumentError(f"{path} carries no data of a report.", hint=_EXPECTED)
    try:
        data = _unpacked(_binary(found[-1].strip()))
    except (binascii.Error, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise DocumentError(f"The data in {path} are damaged ({error}).", hint="Write the report again.") from None
    if data is None:
        raise DocumentError(
            f"The data in {path} unpack to more than {_MOST_UNPACKED >> 20} MiB.", hint="No report is that large."
        )
    images = list(dict.fromkeys(_IMAGE.findall(page)))

    def restored(found: re.Match[bytes]) -> bytes:
        place = int(found[1])
        return b'"data":"' + images[place] + b'"' if place < len(images) else found[0]

    return decode(_STANDS_FOR.sub(restored, _doubles(data)), f"the data in {path}")


def _binary(text: bytes) -> bytes:
    if not text.startswith(b"~"):
        return base64.b64decode(text)
    return base64.b85decode(text[1:].translate(bytes.maketrans(_SAFE, _PLAIN)))


def _unpacked(text: bytes) -> bytes | None:
    """Return the JSON; None where there is more of it than any report has."""
    if text.startswith((_XZ, _BZ)):
        xz = text.startswith(_XZ)
        opened = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28) if xz else bz2.BZ2Decompressor()
        data = opened.decompress(text, _MOST_UNPACKED)
        if not opened.eof and opened.needs_input:
            raise EOFError("they break off")
        return data if opened.eof else None
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(text, _MOST_UNPACKED)
    return None if unpacker.unconsumed_tail else data


_EXPECTED = "Expected an .html file written by reportgen; of a very large report the page says that data were left out."
