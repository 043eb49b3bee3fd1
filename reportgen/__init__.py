"""Examine a PyTorch model and write one standalone report about it.

The public names are resolved when they are first asked for, so that ``import reportgen`` costs nothing and reading a
report never imports torch. Nothing inside the package imports this module.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .document.codec import read as read
    from .document.facts import Diagnosis as Diagnosis
    from .document.facts import Finding as Finding
    from .document.facts import Report as Report
    from .document.facts import Severity as Severity
    from .document.history import History as History
    from .errors import ReportgenError as ReportgenError
    from .look import Look as Look
    from .monitor import Monitor as Monitor
    from .options import Options as Options
    from .pipeline import examine as examine
    from .render.write import write as write
    from .training.fit import fit as fit
    from .training.histories import read_history as read_history

__version__ = "0.1.0"

_WHERE = {
    "Diagnosis": ".document.facts",
    "Finding": ".document.facts",
    "History": ".document.history",
    "Look": ".look",
    "Monitor": ".monitor",
    "Options": ".options",
    "Report": ".document.facts",
    "ReportgenError": ".errors",
    "Severity": ".document.facts",
    "examine": ".pipeline",
    "fit": ".training.fit",
    "read": ".document.codec",
    "read_history": ".training.histories",
    "write": ".render.write",
}

__all__ = [  # noqa: RUF022 (the order of use)
    "examine",
    "Monitor",
    "fit",
    "write",
    "read",
    "read_history",
    "Options",
    "Look",
    "Report",
    "Diagnosis",
    "Finding",
    "History",
    "Severity",
    "ReportgenError",
]


def __getattr__(name: str) -> Any:
    if name == "page":
        return import_module(".page", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module 'reportgen' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name], __name__), name)
    globals()[name] = value
    _show_in_notebooks()
    return value


def _show_in_notebooks() -> None:
    """Let a report that is the last line of a notebook's cell be seen there.

    A report is plain data and knows nothing of pages; only here, above all rooms, can it be told how it is shown.
    """
    facts = sys.modules.get(f"{__name__}.document.facts")
    if facts is not None:
        facts.Report._repr_html_ = _repr_html_


def _repr_html_(report: Report) -> str:
    from .render.notebook import frame

    return frame(report)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
