"""A training history from wherever it is: a file or folder of any known kind, a dict of lists, or a History."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import structs

from ..arguments import check_mapping
from ..document.history import History
from ..errors import HistoryError
from .importers import json_lines, tables, tensorboard, text, trainer_state
from .importers.points import Log, history_of
from .journal import is_journal, read_journal

_INSIDE = ("history.jsonl", "metrics.csv", "metrics.jsonl", "log.jsonl", "training.csv", "log.csv", "history.json")


def read_history(
    source: History | Mapping[str, Any] | str | Path, *, names: Mapping[str, str] | None = None
) -> History:
    """Return the history that ``source`` is or holds.

    A path may lead to the log of a monitor, a TensorBoard folder or event file, a Lightning ``metrics.csv`` or its
    folder, a Hugging Face ``trainer_state.json`` or the folder of an output or a checkpoint, a CSV with a header
    (Keras' CSVLogger), one JSON object a line, a JSON list of objects, or a JSON object of lists. The content decides,
    not the suffix. A mapping holds lists by name, as Keras' ``History.history`` does.

    Scalars are named ``train_*`` and ``val_*`` by the rules of ``importers.names``; ``names`` maps a name of the file
    to one of ours where the rules are wrong: ``{"my_metric": "val_accuracy"}``. Long curves are thinned. Raises
    HistoryError when nothing can be read; what was left out is told in ``History.events``.
    """
    if isinstance(source, History):
        return source
    check_mapping("names", names, "{'my_metric': 'val_accuracy'}")
    told = dict(names or {})
    if isinstance(source, Mapping):
        log = json_lines.read_columns(source, "The history")
        return _made(log, told)
    if not isinstance(source, (str, Path)):
        raise HistoryError(
            f"history is {type(source).__name__}, which is no training history.",
            hint="Expected what reportgen.fit returned, a path, or a dict of lists.",
        )
    path = Path(source)
    return _read_folder(path, told) if path.is_dir() else _read_file(path, told)


def _read_folder(folder: Path, names: dict[str, str]) -> History:
    """Read what a folder holds: a log of a known name, the state of a Trainer, or event files."""
    for name in _INSIDE[:2]:
        if (folder / name).is_file():
            return _read_file(folder / name, names)
    state = trainer_state.inside(folder)
    if state is not None:
        return _read_file(state, names)
    for name in _INSIDE[2:]:
        if (folder / name).is_file():
            return _read_file(folder / name, names)
    # Lightning's logger makes NAME/version_N below the folder that it is given
    versions = sorted(
        chain.from_iterable(folder.glob(f"{above}metrics.csv") for above in ("version_*/", "*/version_*/"))
    )
    if len(versions) == 1:
        return _read_file(versions[0], names)
    if versions:
        listed = ", ".join(str(path.parent) for path in versions[:8]) + (", ..." if len(versions) > 8 else "")
        raise HistoryError(f"{folder} holds {len(versions)} runs: {listed}.", hint="Name one of them.")
    if not tensorboard.files_in(folder):
        raise HistoryError(f"{folder} holds no history.", hint=text.EXPECTED)
    return _made(tensorboard.read(folder), names)


def _read_file(path: Path, names: dict[str, str]) -> History:
    start = text.head(path)
    if tensorboard.MARK in start[:64]:
        return _made(tensorboard.read(path), names)
    if is_journal(path):
        return _renamed(read_journal(path), names)
    encoding = text.encoding_of(path, start)
    begin = start.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n\x00")
    if begin[:1] in ("{", "["):
        return _read_json(path, encoding, begin, names)
    log = tables.read(path, encoding)
    if log.source == "lightning csv":
        log.hyperparameters = _lightning_settings(path.parent / "hparams.yaml")
    return _made(log, names)


def _read_json(path: Path, encoding: str, begin: str, names: dict[str, str]) -> History:
    """Tell lines of objects from one document by the first line."""
    first = begin.partition("\n")[0]
    if begin.startswith("{") and isinstance(row := json_lines.parsed(first), dict):
        lists = any(isinstance(value, list) for value in row.values())
        if not lists:
            return _made(json_lines.read_lines(path, encoding), names)
    document = json_lines.parsed("\n".join(text.lines(path, encoding)))
    if document is None and begin.startswith("{"):
        return _made(json_lines.read_lines(path, encoding), names)
    if document is None:
        raise HistoryError(f"{path} is JSON that breaks off or is damaged.", hint=text.EXPECTED)
    if trainer_state.is_state(document):
        return _made(trainer_state.read(document, str(path)), names)
    if isinstance(document, list):
        return _made(json_lines.read_rows(document, str(path)), names)
    return _made(json_lines.read_columns(document, str(path)), names)


def _lightning_settings(path: Path) -> dict[str, float | str | bool | None]:
    """Return the plain settings of the hparams.yaml beside a metrics.csv; PyYAML comes with Lightning."""
    try:
        import yaml

        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception:  # no file, no library, or one with classes in it, which are not made here
        return {}
    plain = settings if isinstance(settings, dict) else {}
    kept = {str(k): v for k, v in plain.items() if v is None or isinstance(v, (bool, int, float, str))}
    return {k: v for k, v in kept.items() if not isinstance(v, (int, float)) or abs(v) < 2**53}


def _renamed(history: History, names: dict[str, str]) -> History:
    """Rename scalars of a log whose names are ours already."""
    _check_names(names, [series.name for series in history.series])
    series = [structs.replace(s, name=names.get(s.name, s.name)) for s in history.series]
    return structs.replace(history, series=series)


def _check_names(names: dict[str, str], known: Collection[str]) -> None:
    """Refuse a name that was given and is nowhere in the log."""
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise HistoryError(f"The history holds no {strange!r}.", hint=f"It holds {', '.join(list(known)[:20])}.")


def _made(log: Log, names: dict[str, str]) -> History:
    _check_names(names, log.columns)
    return history_of(log, names)
