"""The log of a run on disk: append-only JSON lines, one observation each, under a line with the format's version.

What has been flushed survives the death of the process. A line that was cut short is read around. One process at a
time writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

import msgspec

from ..document.codec import whole_characters
from ..document.history import Event, History
from ..errors import HistoryError
from .bookkeeping import book
from .ledger import Ledger
from .observations import JOURNAL_VERSION, Happening, Observation, Session
from .told import history_of

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # no such locks on this system: a file beside the log stands in
    fcntl = None

_SESSION = b'{"type":"session"'  # how the line of a session begins
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Observation)
_HEAD = msgspec.json.Decoder(dict[str, object])


def read_journal(path: str | Path) -> History:
    """Read the log that a monitor wrote, whether or not its run came to an end.

    Raises HistoryError when the file cannot be read, is no such log, or is newer than this program.
    """
    return history_of(read_ledger(Path(path)))


def is_journal(path: Path) -> bool:
    """Tell whether a file begins like the log of a monitor."""
    try:
        with path.open("rb") as file:
            return _version(file.readline(1 << 16)) is not None
    except OSError:
        return False


def read_ledger(path: Path, *, live: bool = False) -> Ledger:
    """Read a log into the ledger that a later session can go on with."""
    ledger, damaged = Ledger(live=live), 0
    for number, line in enumerate(_lines(path)):
        if number == 0 or line.startswith(_SESSION):
            _check_version(path, line, first=number == 0)
        try:
            book(ledger, _DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, IndexError, ValueError):
            damaged += 1
    if damaged:
        lines = "line" if damaged == 1 else "lines"
        detail = f"{damaged} damaged {lines} of {path.name} left out"
        book(ledger, Happening(event=Event(kind="note", detail=detail)))
    return ledger


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield line
    except OSError as error:
        raise HistoryError(
            f"Cannot read {path}: {error.strerror or error}.", hint="Expected the log of a reportgen.Monitor."
        ) from None


def _version(line: bytes) -> int | None:
    try:
        head = _HEAD.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    version = head.get("version")
    return version if head.get("type") == "session" and isinstance(version, int) and version > 0 else None


def _check_version(path: Path, line: bytes, *, first: bool) -> None:
    version = _version(line)
    if version is None and first:
        raise HistoryError(
            f"{path} is no log of a monitor: its first line names no version.",
            hint="Expected a file that reportgen.Monitor(..., log=...) wrote.",
        )
    if version is not None and version > JOURNAL_VERSION:
        raise HistoryError(
            f"{path} has format version {version}; this reportgen reads up to {JOURNAL_VERSION}.",
            hint="Install a newer reportgen.",
        )


class Journal:
    """A log open for appending, and locked. Lines wait in memory until ``flush``."""

    def __init__(self, path: str | Path) -> None:
        """Open or create the file, with its folder; raise HistoryError when another process writes it."""
        self.path = Path(path)
        self._waiting: list[bytes] = []
        self._lock_file: Path | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise HistoryError(
                f"Cannot write the log {self.path}: {error.strerror or error}.", hint="Give another path as log=."
            ) from None
        try:
            self._lock()
        except BaseException:
            self._file.close()
            raise

    def resume(self) -> Ledger | None:
        """Return what the file already tells, None when it is new; a line cut short is closed off."""
        if self._is_empty():
            return None
        ledger = read_ledger(self.path, live=True)
        if not _ends_whole(self.path):
            self._file.write(b"\n")
        return ledger

    def _is_empty(self) -> bool:
        """Tell whether there is nothing to go on with; a head that was cut short in writing is taken away."""
        with self.path.open("rb") as file:
            first = file.readline(1 << 16)
        if first and not first.endswith(b"\n") and _SESSION.startswith(first[: len(_SESSION)]):
            self._file.truncate(0)
            return True
        return not first

    def add(self, seen: Observation) -> None:
        try:
            line = _ENCODER.encode(seen)
        except UnicodeEncodeError:  # a name or a text with half a character in it
            line = _ENCODER.encode(whole_characters(msgspec.to_builtins(seen)))
        self._waiting.append(line)

    def flush(self) -> None:
        """Hand all waiting lines to the operating system, in one write."""
        if self._waiting:
            data = memoryview(b"\n".join(self._waiting) + b"\n")
            self._waiting.clear()
            while data:
                data = data[self._file.write(data) :]

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file without what waits."""
        self._waiting.clear()
        self._file.close()
        if self._lock_file is not None:
            self._lock_file.unlink(missing_ok=True)

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise self._taken(_last_writer(self.path)) from None
            return
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            with lock.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            raise self._taken(lock.read_text(encoding="utf-8")) from None
        self._lock_file = lock

    def _taken(self, pid: str) -> HistoryError:
        who = f"process {pid}" if pid else "another process"
        beside = "" if fcntl is not None else f" If that process is gone, delete {self.path.name}.lock."
        return HistoryError(
            f"The log {self.path} is being written by {who}.", hint=f"Give every run a log of its own.{beside}"
        )


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        _to_last(file, 1)
        return file.read(1) == b"\n"


def _to_last(file: IO[bytes], n: int) -> None:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - n))


def _last_writer(path: Path) -> str:
    """Return the process id in the last session line; '' when there is none to read."""
    pid = ""
    try:
        for line in _lines(path):
            if line.startswith(_SESSION):
                pid = str(msgspec.json.decode(line, type=Session).pid or "")
    except (HistoryError, msgspec.DecodeError, UnicodeDecodeError):
        pass
    return pid
