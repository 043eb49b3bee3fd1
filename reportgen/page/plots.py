"""Somebody's own figures of matplotlib as SVG, in the looks of the page.

pyplot is never touched and the caller's rcParams are whole again afterwards. rc_context changes settings of the whole
process for a moment, so one lock serves all threads that draw here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from .palette import INK, MUTED, RULE

_lock = Lock()
_SETTINGS = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
    "axes.unicode_minus": True,
}
# settings that name the program around the figure rather than its looks
_NOT_OURS = ("backend", "interactive", "toolbar", "webagg", "tk.", "docstring", "savefig.directory", "figure.hooks")


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(_NOT_OURS)}
    settings.update({**_SETTINGS, "svg.hashsalt": salt})
    with _lock, mpl.rc_context(settings), warnings.catch_warnings():
        # text stays text, so a glyph that the measuring font lacks is the reader's browser's to find
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def drawn_by(figure: Any, salt: str) -> bytes:
    """Return the SVG of somebody's own ``matplotlib.figure.Figure``, which stays as it was."""
    out = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with _settings(salt):
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue()
