"""Text files in whatever encoding they came, opened without reading them whole; what is no text is said to be none."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import HistoryError, one_line

HEAD = 1 << 16
_MAX_LINE = 1 << 26
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_STRANGERS = (
    (b"PK\x03\x04", "is a zip archive, perhaps a checkpoint", "Weights are given as --checkpoint, not as --history."),
    (b"\x80\x02", "is a pickle, perhaps a checkpoint", "Weights are given as --checkpoint, not as --history."),
    (b"\x80\x04", "is a pickle", "Save the run as CSV or JSON; pickles are not read."),
    (b"\x89HDF", "is an HDF5 file", "Save the run as CSV or JSON."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "Fetch it with 'git lfs pull'."),
)
EXPECTED = (
    "Expected a TensorBoard folder, a metrics.csv, a trainer_state.json, a CSV with a header, lines of JSON, "
    "or a JSON object of lists."
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_TENSOR = re.compile(r"tensor\(\s*([^,)\s]+).*\)")
_MISSING = {"", "none", "null", "na", "n/a", "-", "--", "<na>"}
_NONFINITE = {
    **dict.fromkeys(("nan", "-nan", "+nan"), math.nan),
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), math.inf),
    **dict.fromkeys(("-inf", "-infinity"), -math.inf),
}


def head(path: Path) -> bytes:
    """Return the first bytes of a file that exists and is not empty."""
    if path.exists() and not path.is_file():
        raise HistoryError(f"{path} is no regular file.", hint=EXPECTED)
    try:
        with path.open("rb") as file:
            start = file.read(HEAD)
    except FileNotFoundError as error:
        raise HistoryError(f"{path} does not exist.", hint=EXPECTED) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise HistoryError(f"{path} cannot be read: {one_line(error)}.") from error
    if not start.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise HistoryError(f"{path} is empty; nothing had been logged to it.", hint=EXPECTED)
    return start


def encoding_of(path: Path, start: bytes) -> str:
    """Tell the encoding of a text file by its first bytes; what is no text is a HistoryError."""
    for magic, what, hint in _STRANGERS:
        if start.startswith(magic):
            raise HistoryError(f"{path} {what}; it is no history.", hint=hint)
    if start.lstrip().startswith(b"<"):
        raise HistoryError(f"{path} is an HTML or XML page; it is no history.", hint=EXPECTED)
    for bom, encoding in _BOMS:
        if start.startswith(bom):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut in two
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "latin-1"
    strange = sum(byte < 9 or 13 < byte < 32 for byte in start)
    if strange and (encoding == "latin-1" or strange > len(start) // 20):
        raise HistoryError(f"{path} is no text and no TensorBoard event file.", hint=EXPECTED)
    return encoding


def lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file without their ends, one at a time; null characters are taken out."""
    try:
        with path.open(encoding=encoding, errors="replace", newline=None) as file:
            while line := file.readline(_MAX_LINE):
                if len(line) == _MAX_LINE:
                    raise HistoryError(f"{path} has a line of more than {_MAX_LINE >> 20} MiB.", hint=EXPECTED)
                yield line.rstrip("\r\n").replace("\x00", "")
    except (OSError, UnicodeError) as error:
        raise HistoryError(f"{path} cannot be read: {one_line(error)}.") from error


def number(text: str) -> float | None:
    """Return what a cell says: a number, NaN or infinity included; None for one that is empty or no number.

    A printed tensor, ``tensor(0.25, device='cuda:0')``, is its value.
    """
    text = text.strip().strip('"').strip()
    printed = _TENSOR.fullmatch(text)
    if printed:
        text = printed[1]
    if text.lower() in _NONFINITE:
        return _NONFINITE[text.lower()]
    if not _NUMBER.fullmatch(text):
        return None
    return float(text)


def is_missing(text: str) -> bool:
    """Tell an empty cell, or a word for one."""
    return text.strip().lower() in _MISSING
