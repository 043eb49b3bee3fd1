"""Report <-> JSON. A file carries its format version; older files are upgraded one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..arguments import PATH, expect, is_path
from ..errors import DocumentError
from .facts import Report

FORMAT_VERSION = 1  # 1: the first format

# version -> the function that lifts a decoded document from that version to the next
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def encode(report: Report) -> bytes:
    """Return the report as JSON: fields and keys in their order, one line, UTF-8, a newline at the end, no NaN."""
    try:
        return msgspec.json.encode(report) + b"\n"
    except UnicodeEncodeError:  # a name with half a character in it, which no UTF-8 file can hold
        return msgspec.json.encode(whole_characters(msgspec.to_builtins(report))) + b"\n"


def whole_characters(value: Any) -> Any:
    """Replace lone surrogates in every text by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    return value


def decode(data: bytes, where: str = "the document") -> Report:
    """Read a report back from JSON, upgrading older formats; raise DocumentError when it is none."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(
            f"{where} is not JSON ({error}).", hint="Expected a report.json written by reportgen."
        ) from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DocumentError(
            f"{where} is JSON, but no report: its format_version is {version!r}, expected 1 to {FORMAT_VERSION}.",
            hint="Expected a report.json written by reportgen.",
        )
    if version > FORMAT_VERSION:
        raise DocumentError(
            f"{where} has format version {version}; this reportgen reads up to {FORMAT_VERSION}.",
            hint="Install a newer reportgen.",
        )
    for step in range(version, FORMAT_VERSION):
        raw = UPGRADES[step](raw)
    try:
        return msgspec.convert(raw, Report)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DocumentError(f"{where} is a damaged report: {error}.", hint="Write it again.") from None


def read(path: str | Path) -> Report:
    """Read a report from a JSON file."""
    expect("path", path, is_path(path), PATH)
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"Cannot read {path}: {error.strerror or error}.",
            hint="Expected a report.json written by reportgen.",
        ) from None
    return decode(data, str(path))


def schema() -> bytes:
    """Return the JSON Schema of the current format."""
    table = msgspec.json.schema(Report)
    return msgspec.json.format(msgspec.json.encode(table, order="deterministic")) + b"\n"
