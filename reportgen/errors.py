"""Everything that can go wrong, as one tree.

ReportgenError                something the user can mend
├── TargetError               'pkg.mod:name' leads nowhere, or not to what was wanted
├── CheckpointError           a weights file is missing, unsafe, damaged, or does not fit the model
├── DataError                 a loader yields nothing, or something that is no batch
├── ForwardError              the model refuses the input it was given
├── TrainingError             a training that this program ran broke off
├── HistoryError              a training history cannot be read
├── OptionError               a setting has a value that it cannot have
├── DocumentError             a report file is no report, or newer than this program
└── OutputError               a result cannot be written

A message says what happened and what was expected; ``hint`` says what to do next. The command line
prints both and leaves with ``exit_code``; the library raises and never prints.
"""

from __future__ import annotations


class ReportgenError(Exception):
    """Base of all errors that the user can mend."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}" if self.hint else message


class TargetError(ReportgenError):
    """An import target leads nowhere, or not to what was wanted."""


class CheckpointError(ReportgenError):
    """A weights file is missing, unsafe, damaged, or does not fit the model."""


class DataError(ReportgenError):
    """A loader yields nothing, or something that is no batch."""


class ForwardError(ReportgenError):
    """The model refuses the input it was given."""


class TrainingError(ReportgenError):
    """A training that this program ran broke off."""


class HistoryError(ReportgenError):
    """A training history cannot be read."""


class OptionError(ReportgenError):
    """A setting has a value that it cannot have."""


class DocumentError(ReportgenError):
    """A report file is no report, or newer than this program."""


class OutputError(ReportgenError):
    """A result cannot be written."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """Tell a foreign error in one line: its class and the start of its message."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else f"{text[:limit]} ..."
