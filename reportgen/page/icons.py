"""Signs of severity that differ in shape, so that nothing rests on colour alone."""

from __future__ import annotations

from ..document.findings import Severity
from .language import _
from .palette import PAPER, TONES
from .svg import Element, element, ornament

_SHAPES = {
    "error": "M6 1h8l5 5v8l-5 5H6l-5-5V6z",
    "warning": "M10 1.5 19.5 18.5H.5z",
    "info": "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0-18z",
    "ok": "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0-18z",
    "muted": "M2 2h16v16H2z",
}
_MARKS = {
    "error": "M6.5 6.5l7 7M13.5 6.5l-7 7",
    "warning": "M10 7.5v5M10 15v1",
    "info": "M10 9v5.5M10 5.5v1",
    "ok": "M5.8 10.4l2.9 2.9 5.6-6",
    "muted": "M5.5 10h9",
}


def icon(tone: str) -> Element:
    """Draw the sign of a tone; the word stands beside it in the page."""
    tone = tone if tone in _SHAPES else "muted"
    words = {
        "error": _("error"),
        "warning": _("warning"),
        "info": _("observation"),
        "ok": _("no problem found"),
        "muted": _("not measured"),
    }
    return ornament(
        20,
        20,
        words[tone],
        element("path", d=_SHAPES[tone], fill=TONES[tone]),
        element("path", d=_MARKS[tone], fill="none", stroke=PAPER, stroke_width=2, stroke_linecap="round"),
        class_="icon",
    )


def severity_word(severity: Severity) -> str:
    """Name a severity."""
    return {"error": _("Error"), "warning": _("Warning"), "info": _("Observation")}[severity.value]
