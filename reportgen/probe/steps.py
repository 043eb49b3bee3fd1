"""The parts of an examination: what each cost, what became of it, and on which machine."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import TypeVar

import msgspec
import torch

from ..document import places
from ..document.facts import Coverage, Meta
from ..errors import ReportgenError, one_line
from ..options import Options
from .provenance import git_commit, told

T = TypeVar("T")


class NotMeasuredError(Exception):
    """A part cannot be measured with this model or these data; the message says why, in words.

    ``failed``: it was tried and went wrong, as against not possible.
    """

    def __init__(self, message: str, *, failed: bool = False) -> None:
        super().__init__(message)
        self.failed = failed


@dataclass
class Steps:
    """Runs the parts one by one: what a part cost, and what became of it."""

    coverage: list[Coverage] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    hashes: dict[str, str] = field(default_factory=dict)
    """Fingerprints of what was read."""

    def run(self, part: str, measure: Callable[[], T]) -> T | None:
        """Measure one part; an error is a row of the coverage table. Errors that the user can mend go through."""
        started = time.perf_counter()
        try:
            result = measure()
        except ReportgenError:
            raise
        except NotMeasuredError as reason:
            self.skip(part, str(reason), failed=reason.failed)
            return None
        except Exception as error:
            self.skip(part, one_line(error), failed=True)
            return None
        finally:
            self.seconds[part] = round(time.perf_counter() - started, 4)
        self.coverage.append(Coverage(part=part, status="measured"))
        return result

    def skip(self, part: str, reason: str, *, failed: bool = False) -> None:
        self.coverage.append(Coverage(part=part, status="not measured", reason=reason, failed=failed))

    def partial(self, part: str, reason: str, *, failed: bool = False) -> None:
        """Lower a part that was measured to measured in part."""
        row = Coverage(part=part, status="partial", reason=reason, failed=failed)
        self.coverage = [row if c.part == part and c.status == "measured" else c for c in self.coverage]

    def remark(self, part: str, remarks: list[str]) -> None:
        """Add to the row of a part what a reader should know about it, whatever became of it."""
        for i, row in enumerate(self.coverage):
            if row.part == part and remarks:
                reason = "; ".join([row.reason, *remarks] if row.reason else remarks)
                self.coverage[i] = msgspec.structs.replace(row, reason=reason)

    def complete(self, meta: Meta, options: Options) -> Meta:
        """Complete the facts of the run: when, how, with what and on what it was made, and what its parts cost."""
        versions = {"python": platform.python_version()}
        for name in ("reportgen", "torch", "torchvision", "torchinfo"):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        cores, threads = os.cpu_count(), torch.get_num_threads()
        used = "1 thread" if threads == 1 else f"{threads} threads"
        return msgspec.structs.replace(
            meta,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=places.command(sys.argv),
            commit=git_commit(),
            options=told(options),
            sections=options.sections,
            language=options.language,
            hashes={what: digest for what, digest in self.hashes.items() if digest},
            versions=versions,
            machine=f"{platform.system()} {platform.machine()}, {cores} cores, {used}",
            seconds=self.seconds | {"total": round(time.perf_counter() - self.began, 4)},
        )
