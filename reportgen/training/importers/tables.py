"""CSV: Keras' CSVLogger, Lightning's metrics.csv, and any table with a header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ...errors import HistoryError
from .names import column, normal
from .points import Log
from .text import EXPECTED, is_missing, lines, number

_SEPARATORS = (",", ";", "\t", "|")
_MAX_COLUMNS = 5000


def read(path: Path, encoding: str) -> Log:
    """Read a table whose first line names its columns; each cell is a number, empty, or left out.

    Columns may be sparse. A header that comes again (a log that was appended to) is passed over, and a last line that
    was cut off is left out. Where semicolons separate, a comma may stand for the point in numbers.
    """
    source = lines(path, encoding)
    header_line = next((line for line in source if line.strip() and not line.startswith("#")), "")
    separator = _separator(header_line)
    header = _header(path, header_line, separator)
    log = Log("lightning csv" if _is_lightning(header) else "csv")
    kinds = [column(name) for name in header]
    n_rows = n_short = n_strange = 0
    last_was_short = False
    for cells in _rows(source, separator, header):
        n_rows += 1
        last_was_short = len(cells) != len(header)
        n_short += last_was_short
        if last_was_short and len(cells) < len(header):
            continue  # the last of its cells may be half a number
        values: dict[str, float] = {}
        places: dict[str, float | None] = {"step": None, "epoch": None}
        for name, kind, cell in zip(header, kinds, cells, strict=False):
            value = number(cell)
            if value is None and separator == ";":
                value = number(cell.replace(",", "."))
            if value is None:
                n_strange += not is_missing(cell) and kind == "scalar"
            elif kind == "scalar":
                values[name] = value
            elif kind in places and places[kind] is None:
                places[kind] = value
        log.add(values, places["step"], places["epoch"])
    _told(log, n_short, n_strange, last_was_short=last_was_short)
    if not log.columns:
        what = "has no row below its header" if not n_rows else "has no column of numbers"
        raise HistoryError(f"{path} {what} ({', '.join(header)[:200]}).", hint=EXPECTED)
    return log


def _separator(header: str) -> str:
    """Take the separator that the header has most of."""
    return max(_SEPARATORS, key=lambda s: (header.count(s), -_SEPARATORS.index(s)))


def _header(path: Path, line: str, separator: str) -> list[str]:
    header = [cell.strip() for cell in _cells(line, separator)]
    numbers = [cell for cell in header if number(cell) is not None]
    if not header or (numbers and len(numbers) * 2 >= len(header)):
        what = "begins with numbers" if header else "has no line that could name columns"
        raise HistoryError(
            f"{path} {what}; expected a line that names the columns.",
            hint="Put such as 'epoch,train_loss,val_loss' before them.",
        )
    if len(header) == 1 and (" " in header[0] or column(header[0]) != "scalar"):
        raise HistoryError(
            f"{path} has one column, {header[0][:60]!r}; expected several, separated by commas, semicolons or tabs.",
            hint=EXPECTED,
        )
    if len(header) > _MAX_COLUMNS:
        raise HistoryError(f"{path} has {len(header)} columns; expected {_MAX_COLUMNS} at most.", hint=EXPECTED)
    seen: set[str] = set()
    for i, name in enumerate(header):
        header[i] = name if name not in seen else f"{name}_{i + 1}"
        seen.add(header[i])
    return header


def _rows(source: Iterator[str], separator: str, header: list[str]) -> Iterator[list[str]]:
    for line in source:
        if not line.strip() or line.startswith("#"):
            continue
        cells = _cells(line, separator)
        if [cell.strip() for cell in cells] != header:
            yield cells


def _cells(line: str, separator: str) -> list[str]:
    """Take one line apart, so that a quote that is never closed does not swallow the rest of the file.

    A line with a cell beyond the limit of the csv module, which holds for the whole process, has none.
    """
    try:
        return next(csv.reader([line], delimiter=separator, strict=False), [])
    except csv.Error:
        return []


def _is_lightning(header: list[str]) -> bool:
    """Tell Lightning's table: both places, and scalars beside them."""
    return {"epoch", "step"} <= {normal(name) for name in header}


def _told(log: Log, n_short: int, n_strange: int, *, last_was_short: bool) -> None:
    if last_was_short and n_short == 1:
        log.note("the last line was cut off and left out")
    elif n_short:
        log.note(f"{n_short} lines had fewer or more cells than the header names")
    if n_strange:
        log.note(f"{n_strange} cells held no number and were left out")
