"""TensorBoard event folders, read through tensorboard's own record reader, one event at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...document.history import Bars, Event, HistogramRun
from ...errors import HistoryError, one_line
from .histograms import HistogramLog
from .names import SPLITS, Axis, column, taken_apart
from .points import Column, Log

MARK = b"brain.Event:"
_FILES = "tfevents"
_HPARAMS = "_hparams_/"
_MAX_TEXTS = 200
_MAX_FOLDERS = 20_000
_GLANCE = 200  # events of a sub-folder that are looked at to tell what it is


def files_in(folder: Path) -> dict[str, list[Path]]:
    """Map runs, by their path below ``folder`` ('.' is the folder itself), to their event files, the oldest first."""
    runs: dict[str, list[Path]] = {}
    for n, (place, _, names) in enumerate(os.walk(folder)):
        found = sorted(name for name in names if _FILES in name and not name.endswith(".profile-empty"))
        if found:
            runs[os.path.relpath(place, folder)] = [Path(place, name) for name in found]
        if n > _MAX_FOLDERS:
            raise HistoryError(f"{folder} holds more than {_MAX_FOLDERS} folders.", hint="Name the folder of one run.")
    return dict(sorted(runs.items()))


def read(path: Path) -> Log:
    """Read one run: an event file, or a folder of them with the sub-folders that its writer made.

    Sub-folders named after splits (Keras' ``train`` and ``validation``) are one run, and so are those that
    ``add_scalars`` and ``add_hparams`` of torch make. Several runs are a HistoryError that lists them.
    """
    _reader(path)  # before anything else, so that a missing library is told at once
    runs = {".": [path]} if path.is_file() else files_in(path)
    parts = _parts_of_one_run(path, runs)
    state = _State(Log("tensorboard"))
    for part in parts:
        for file in part.files:
            _read_file(file, part, state)
    _place_in_epochs(state)
    log = state.log
    if not log.columns and not state.histograms.result():
        raise HistoryError(
            f"{path} holds no scalars and no histograms.",
            hint="Was the writer flushed or closed? Expected what add_scalar or add_histogram wrote.",
        )
    if state.skipped:
        log.note(f"not read: {', '.join(sorted(state.skipped))}")
    axis: Axis = "epoch" if log.axes else "step"
    log.histograms = [
        HistogramRun(name=name, part=part, axis=axis, moments=[Bars(x=x, low=a, high=b, counts=c) for x, a, b, c in m])
        for name, part, m in state.histograms.result()
    ]
    return log


@dataclass(frozen=True)
class _Part:
    """Some event files, and what stands before or in place of their tags."""

    files: list[Path]
    prefix: str = ""
    name: str = ""
    """Instead of the tag: add_scalars writes one tag into several sub-folders."""


@dataclass
class _State:
    log: Log
    plugins: dict[str, str] = field(default_factory=dict)
    """Only the first event of a tag says what it is."""
    epochs: dict[float, float] = field(default_factory=dict)
    """Step -> epoch, where the epoch was logged as a scalar."""
    histograms: HistogramLog = field(default_factory=HistogramLog)
    n_texts: int = 0
    skipped: set[str] = field(default_factory=set)


def _parts_of_one_run(path: Path, runs: dict[str, list[Path]]) -> list[_Part]:
    if not runs:
        raise HistoryError(
            f"{path} holds no TensorBoard event file.", hint="Expected files named events.out.tfevents.*"
        )
    if len(runs) == 1:
        ((name, files),) = runs.items()
        return [_Part(files, _prefix(name))]
    parts, others = [], []
    for name, files in runs.items():
        if name == "." or _prefix(name):
            parts.append(_Part(files, _prefix(name)))
            continue
        child = _child(name, files) if "." in runs else None
        if child is None:
            others.append(name)
        else:
            parts.append(child)
    if others:
        listed = ", ".join(str(path / name) for name in list(runs)[:8]) + (", ..." if len(runs) > 8 else "")
        raise HistoryError(f"{path} holds {len(runs)} runs: {listed}.", hint="Name one of them.")
    return parts


def _prefix(run: str) -> str:
    return f"{SPLITS[run.lower()]}/" if run.lower() in SPLITS else ""


def _child(run: str, files: list[Path]) -> _Part | None:
    """Tell a sub-folder that the writer of the run made for one call of add_scalars or add_hparams."""
    tags: set[str] = set()
    for n, event in enumerate(_events(files[0], [])):
        tags |= {value.tag for value in event.summary.value}
        if n > _GLANCE:
            break
    if any(tag.startswith(_HPARAMS) for tag in tags):
        return _Part(files)
    # add_scalars("loss", {"train": ...}) writes the tag "loss" into the folder "loss_train"
    if len(tags) == 1 and run.startswith(next(iter(tags)).replace("/", "_") + "_"):
        return _Part(files, name=run)
    return None


def _reader(path: Path) -> Any:
    try:
        from tensorboard.backend.event_processing import event_file_loader
    except ImportError as error:
        raise HistoryError(
            f"{path} is a TensorBoard log, and reading it needs the library tensorboard.",
            hint="Install it: pip install 'reportgen[tensorboard]'.",
        ) from error
    return event_file_loader.RawEventFileLoader


def _events(file: Path, unread: list[int]) -> Iterator[Any]:
    """Yield the events of one file; appends to ``unread`` the bytes at its end that hold no whole record."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2

    seen = 0
    try:
        for record in _reader(file)(str(file)).Load():
            seen += len(record) + 16  # a record stands between its length, 8 bytes, and two checksums of 4
            yield event_pb2.Event.FromString(record)
    except DecodeError:
        pass
    except OSError as error:
        raise HistoryError(f"{file} cannot be read: {one_line(error)}.") from error
    except Exception as error:  # the reader's own errors on a damaged file are of many kinds
        if not seen:
            raise HistoryError(f"{file} is no TensorBoard event file: {one_line(error)}.") from error
    left = file.stat().st_size - seen
    if left > 0:
        unread.append(left)


def _read_file(file: Path, part: _Part, state: _State) -> None:
    unread: list[int] = []
    first = last = None
    for event in _events(file, unread):
        for value in event.summary.value:
            first = event.wall_time if first is None else first
            last = event.wall_time
            _take(value, float(event.step), part, state)
    if first is not None and last is not None:
        # file by file: what lies between them is the pause before a run was resumed
        state.log.seconds = (state.log.seconds or 0.0) + max(0.0, last - first)
    if unread:
        state.log.note(f"the last {unread[0]} bytes of an event file are torn or damaged and were left out")


def _take(value: Any, step: float, part: _Part, state: _State) -> None:
    """Enter one value where it belongs."""
    kind = value.WhichOneof("value")
    tag = part.name or part.prefix + value.tag
    if kind == "simple_value":
        _scalar(value.tag, tag, float(value.simple_value), step, state)
        return
    from tensorboard import data_compat
    from tensorboard.util import tensor_util

    if value.tag.startswith(_HPARAMS):
        _hyperparameters(value, state.log)
        return
    key = f"{part.prefix}{part.name}{value.tag}"
    if value.metadata.plugin_data.plugin_name:
        state.plugins[key] = value.metadata.plugin_data.plugin_name
    plugin = "histograms" if kind == "histo" else state.plugins.get(key, "")
    if plugin == "histograms":
        bars = tensor_util.make_ndarray(data_compat.migrate_value(value).tensor)
        state.histograms.add(tag, step, bars)
    elif kind == "tensor" and plugin in ("scalars", ""):
        array = tensor_util.make_ndarray(value.tensor)
        if array.size == 1 and array.dtype.kind in "fiu":
            _scalar(value.tag, tag, float(array.reshape(())), step, state)
    elif kind == "tensor" and plugin == "text":
        _text(tensor_util.make_ndarray(value.tensor), tag, step, state)
    else:
        state.skipped.add(plugin or kind or "unknown")


def _scalar(tag: str, name: str, value: float, step: float, state: _State) -> None:
    if column(tag) == "epoch":
        state.epochs[step] = value
    elif tag != "hp_metric" and not tag.startswith("hparam/"):  # what hparams repeats of a result is no curve
        state.log.add({name: value}, step, None)
        axis = taken_apart(name).axis if tag.startswith(("epoch_", "batch_")) else None
        if axis is not None:
            state.log.axes[name] = axis


def _text(array: Any, tag: str, step: float, state: _State) -> None:
    if state.n_texts >= _MAX_TEXTS:
        return
    state.n_texts += 1
    lines = [part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in array.reshape(-1)]
    subject = tag.removesuffix("/text_summary")
    state.log.events.append(Event(kind="text", step=int(step), subject=subject, detail="\n".join(lines)[:2000]))


def _hyperparameters(value: Any, log: Log) -> None:
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams import plugin_data_pb2

    try:
        data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
    except DecodeError:
        return
    for name, held in sorted(data.session_start_info.hparams.items()):
        kind = held.WhichOneof("kind")
        if kind in ("number_value", "string_value", "bool_value"):
            log.hyperparameters[name] = getattr(held, kind)


def _place_in_epochs(state: _State) -> None:
    """Give the values the epoch that was logged at their step, as Lightning and Hugging Face do it."""
    if not state.epochs:
        return
    for name, before in state.log.columns.items():
        if before.every > 1 or name in state.log.axes:
            continue
        epochs = [state.epochs.get(step) for step in before.steps]
        if None in epochs:
            continue
        after = Column()
        for step, epoch, value in zip(before.steps, epochs, before.values, strict=True):
            after.add(value, step, epoch)
        state.log.columns[name] = after
    for epoch in state.epochs.values():
        state.log.epochs.see(epoch)
