"""Colours of the drawings. The style sheet gives each its counterpart on a dark page, by these very values."""

from __future__ import annotations

INK = "#1f2933"
MUTED = "#5d6b7a"
RULE = "#d5dce3"
BAR = "#3d6f9e"
ACCENT = "#0b6e75"
ERROR = "#b3261e"
WARNING = "#9a5b00"
INFO = "#2f5f8f"
OK = "#23704a"
PAPER = "#ffffff"

TONES = {"error": ERROR, "warning": WARNING, "info": INFO, "ok": OK, "muted": MUTED, "": MUTED}

SERIES = ("#1f5a92", "#b4560f", "#23704a", "#9a6df2", "#332500", "#590044")
DASHES = (None, "6 3", "2 3", "8 3 2 3", "4 2", "1 3")

# one hue from pale to deep, for heat maps; level 0 means none at all
HEAT = ("#f1f4f7", "#dbe7f1", "#bdd4e7", "#97bbd8", "#6c9dc5", "#467fae", "#2b6294", "#174874", "#0b3256")
