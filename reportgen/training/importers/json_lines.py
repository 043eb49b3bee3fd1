"""JSON: one object a line, a list of objects, or an object of lists (Keras' History.history)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...document.history import Event
from ...errors import HistoryError
from .names import column
from .points import Log
from .text import EXPECTED, lines, number

_MAX_DEPTH = 4
_MAX_TEXTS = 100


def parsed(text: str) -> Any:
    """Return what a piece of JSON says, or None where it is none; NaN and Infinity are understood."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_lines(path: Path, encoding: str) -> Log:
    """Read one object a line; a last line that was cut off is left out."""
    log, n_bad, n_lines, last_bad = Log("jsonl"), 0, 0, False
    for line in lines(path, encoding):
        if not line.strip():
            continue
        n_lines += 1
        item = parsed(line)
        last_bad = not isinstance(item, dict)
        if isinstance(item, dict):
            add_row(log, item)
        else:
            n_bad += 1
    if last_bad and n_bad == 1 and n_lines > 1:
        log.note("the last line was cut off and left out")
    elif n_bad:
        log.note(f"{n_bad} of {n_lines} lines were no JSON objects and were left out")
    if not log.columns:
        raise HistoryError(f"{path} holds no line with a number in it.", hint=EXPECTED)
    return log


def read_rows(rows: Iterable[Any], where: str) -> Log:
    """Read a list of objects, each as a line would be."""
    log = Log("json")
    for item in rows:
        if isinstance(item, dict):
            add_row(log, item)
    if not log.columns:
        raise HistoryError(f"{where} holds no object with a number in it.", hint=EXPECTED)
    return log


def add_row(log: Log, item: Mapping[str, Any]) -> None:
    """Add one object: numbers are scalars, objects within are groups (``train/loss``), text is kept as an event."""
    values: dict[str, float] = {}
    places: dict[str, float | None] = {"step": None, "epoch": None}
    for name, value in _flat(item):
        kind = column(name)
        figure = number_in(value)
        if figure is None:
            if isinstance(value, str) and kind == "scalar" and len(log.events) < _MAX_TEXTS:
                log.events.append(Event(kind="text", subject=name, detail=_encodable(value[:2000])))
        elif kind == "scalar":
            values[name] = figure
        elif kind in places and places[kind] is None:
            places[kind] = figure
    log.add(values, places["step"], places["epoch"])


def _flat(item: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, value in item.items():
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            yield from _flat(value, f"{prefix}{key}/", depth + 1)
        else:
            yield _encodable(f"{prefix}{key}"), value


def _encodable(text: str) -> str:
    """Replace halves of characters, which JSON can hold and no file can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def number_in(value: Any) -> float | None:
    """Return a number, also one in text ('nan'), a NumPy scalar or a tensor of one element; None for all else."""
    if type(value) is float:
        return value
    if value is None or isinstance(value, (bool, bytes)):
        return None
    if isinstance(value, str):
        return number(value)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    except OverflowError:  # an integer beyond all floats
        return float("inf") if value > 0 else float("-inf")


def read_columns(columns: Mapping[str, Any], where: str) -> Log:
    """Read an object of lists. ``epoch`` and ``step`` among them are the places, else the places are counted from 1.

    Without places, lists as long as those of the validation are by epoch, and longer ones by step.
    """
    log = Log("columns")
    lists = {name: found for name, value in _flat(columns) if (found := _listed(value)) is not None}
    scalars = {name: value for name, value in lists.items() if column(name) == "scalar"}
    if not any(len(values) for values in scalars.values()):
        found = ", ".join(list(map(str, columns))[:8]) or "nothing"
        raise HistoryError(f"{where} holds no list of numbers; found: {found}.", hint=EXPECTED)
    places = {kind: next((v for n, v in lists.items() if column(n) == kind), None) for kind in ("step", "epoch")}
    if places["step"] is None and places["epoch"] is None:
        _add_counted(log, scalars)
    else:
        for i in range(max(len(values) for values in scalars.values())):
            row = {n: f for n, v in scalars.items() if i < len(v) and (f := number_in(v[i])) is not None}
            step, epoch = (number_in(v[i]) if v is not None and i < len(v) else None for v in places.values())
            log.add(row, step, epoch)
    if not log.columns:
        raise HistoryError(f"{where} holds no list of numbers.", hint=EXPECTED)
    return log


def _add_counted(log: Log, scalars: Mapping[str, Sequence[Any]]) -> None:
    """Add lists without places, each by its own running number: epochs for the shortest that recur, steps beyond."""
    from .names import taken_apart

    validated = [len(v) for n, v in scalars.items() if taken_apart(n).split in ("val", "test") and len(v)]
    n_epochs = max(validated, default=0) or min(len(v) for v in scalars.values() if len(v))
    for name, values in scalars.items():
        by_epoch = len(values) <= n_epochs
        log.axes[name] = "epoch" if by_epoch else "step"
        for i, value in enumerate(values, start=1):
            figure = number_in(value)
            if figure is not None:
                log.add({name: figure}, None if by_epoch else i, i if by_epoch else None)


def _listed(value: Any) -> Sequence[Any] | None:
    """Return the values of a list, an array, a tensor or a column of a table by their places; None of all else."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__getitem__"):
        return None
    try:
        return list(value)
    except TypeError:  # an array without dimensions
        return None
