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
_TRIED, _PLACES = 1 << 15, 8  # bytes at each of so many places
_LOOSE = 1.35  # of what may stand in a page: the guess is 1.0 to 1.65 times what it comes to, mostly 1.2
_XZ, _BZ = b"\xfd7zXZ\0", b"BZh"
# of a gallery; the quotes of a text are escaped
_IMAGE = re.compile(rb'<img class=px src="data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)"')
_STANDS_FOR = re.compile(rb'"data":"image (\d+) of this page"')
_CARRIED = re.compile(rb'<template id="report-data">([^<]*)</template>')
_PLAIN, _SAFE = b"&<>", b",./"
_TEXT_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+\.\d{7,}(?:e[+-]?\d+)?')
_TEXT_NUMBER_OR_ZEROS = re.compile(_TEXT_OR_NUMBER.pattern + rb"|(?<=[\[,])(?:0,){8,}")
_TEXT_OR_SHORTENED = re.compile(rb'"(?:[^"\\]|\\.)*"|(-?[\d.]+(?:e[+-]?\d+)?)f|(\d{1,9})\*0,')


def packed(data: bytes, images: Sequence[bytes] = (), most: int = _MOST) -> str:
    """Return the JSON of a report as text for a page; empty where that would be more than ``most`` bytes.

    ``images``: files that the page shows, in its order; they are not carried a second time.
    """
    for place, image in enumerate(dict.fromkeys(images)):
        shown = b'"data":"' + base64.b64encode(image) + b'"'
        data = data.replace(shown, b'"data":"image %d of this page"' % place)
    if len(data) > _TRIED * _PLACES and _guessed(data) > _LOOSE * most:
        return ""
    data = _shorter(data)
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


def _guessed(data: bytes) -> float:
    """Return how long the packed text may be, from some of it: no time is spent on what cannot fit."""
    some = b"".join(data[i * len(data) // _PLACES :][:_TRIED] for i in range(_PLACES))
    return 1.25 * len(bz2.compress(some)) * len(data) / len(some)


def _shorter(data: bytes) -> bytes:
    """Write numbers that single precision holds with the digits that takes and an f, a tenth of all bytes, and a row
    of zeros, of which large confusion matrices consist, as how many they are: the packing takes a fifth of the time."""

    def shorter(found: re.Match[bytes]) -> bytes:
        told = found[0]
        if told.startswith(b'"'):
            return told
        if told.startswith(b"0,"):
            return b"%d*0," % (len(told) // 2)
        value = float(told)
        if not 1e-37 < abs(value) < 1e38 or _single(value) != value:
            return told
        short = next(s for digits in (6, 7, 8, 9) if _single(float(s := f"{value:.{digits}g}")) == value)
        return short.encode("ascii") + b"f" if json.encode(value) == told else told

    return _TEXT_NUMBER_OR_ZEROS.sub(shorter, data)


def _as_it_was(data: bytes) -> bytes | None:
    """Undo ``_shorter``; None where that would be more than any report has."""
    zeros = sum(int(found[2]) for found in _TEXT_OR_SHORTENED.finditer(data) if found[2] is not None)
    if 2 * zeros > _MOST_UNPACKED:
        return None

    def longer(found: re.Match[bytes]) -> bytes:
        if found[2] is not None:
            return b"0," * int(found[2])
        return found[0] if found[1] is None else json.encode(_single(float(found[1])))

    return _TEXT_OR_SHORTENED.sub(longer, data)


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
    data = None if data is None else _as_it_was(data)
    if data is None:
        raise DocumentError(
            f"The data in {path} unpack to more than {_MOST_UNPACKED >> 20} MiB.", hint="No report is that large."
        )
    images = list(dict.fromkeys(_IMAGE.findall(page)))

    def restored(found: re.Match[bytes]) -> bytes:
        place = int(found[1])
        return b'"data":"' + images[place] + b'"' if place < len(images) else found[0]

    return decode(_STANDS_FOR.sub(restored, data), f"the data in {path}")


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
