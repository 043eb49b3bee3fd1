"""Lines of a terminal: Chinese characters are two columns wide, and stand without spaces between them."""

from __future__ import annotations

import re
import unicodedata

# a space, a character, or a word; with the marks that may begin no line, or end none
_PIECES = re.compile(r"\s+|（?[\u2e80-\uffef][，。；：、）]*|（?[^\s\u2e80-\uffef]+[，。；：、）]*")


def columns(text: str) -> int:
    """Return the columns that a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of so many columns: between words, and between Chinese characters."""
    lines, line, used = [], "", 0
    for piece in _PIECES.findall(text):
        taken = columns(piece)
        if used + taken > width and line.strip():
            lines.append(line.rstrip())
            line, used = "", 0
        if line or not piece.isspace():
            line, used = line + piece, used + taken
    return [*lines, line.rstrip()] if line.strip() or not lines else lines
