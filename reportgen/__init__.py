"""Examine a PyTorch model and write one standalone report about it.

The public names are resolved when they are first asked for, so that ``import reportgen`` costs nothing and reading a
report never imports torch. Nothing inside the package imports this module.
"""

from __future__ import annotations

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
    "Report",
    "Diagnosis",
    "Finding",
    "History",
    "Severity",
    "ReportgenError",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'reportgen' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
