"""Putting the letters of a chart's words together: they come one by one, each with its own place.

Letters on one line are one text, as they are everywhere else: a tenth of the bytes of a page with charts. Where a
letter stands elsewhere than the widths before it say, as behind a space, the text tells the gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

Widths = Mapping[bytes, Mapping[int, float]]
"""Of the glyphs of each font, in thousandths of its size."""

_TEXT = re.compile(rb"^BT\n(.*?)^ET$", re.S | re.M)
_OTHER_MODE = re.compile(rb"^[1-7] Tr$", re.M)
_PLACE = re.compile(rb"1 0 0 -1 (\S+) (\S+) Tm")
_FONT = re.compile(rb"(/\S+) (\S+) Tf")
_GLYPHS = re.compile(rb"\[<([0-9a-f]+)>\] TJ")
_NEAR = 0.02  # of a unit: places are told to a hundredth

Letters = tuple[bytes, bytes, bytes, bytes]
"""What stands together: x, y, the instruction that chooses the font, and the glyphs in hexadecimal digits."""


def joined(stream: bytes, widths: Widths) -> bytes:
    """Return drawing instructions with the letters of each text in as few runs as there are lines."""
    if _OTHER_MODE.search(stream):  # letters that are stroked, or not to be seen
        return stream
    return _TEXT.sub(lambda found: b"BT\n" + _joined(found[1], widths) + b"ET", stream)


def _joined(text: bytes, widths: Widths) -> bytes:
    letters = _letters(text)
    return text if letters is None else b"".join(line + b"\n" for line in _lines(letters, widths))


def _letters(text: bytes) -> list[Letters] | None:
    """Return what a text draws; None where there is more in it than upright glyphs of some font at their places."""
    out: list[Letters] = []
    place = font = None
    for line in text.splitlines():
        if found := _PLACE.fullmatch(line):
            place = found[1], found[2]
        elif _FONT.fullmatch(line):
            font = line
        elif (found := _GLYPHS.fullmatch(line)) and place is not None and font is not None:
            out.append((*place, font, found[1]))
            place = None
        elif line != b"0 Tr":  # what a text does anyway: fill
            return None
    return out


def _lines(letters: Sequence[Letters], widths: Widths) -> Iterator[bytes]:
    line, chosen, run, pen = b"", b"", b"", 0.0
    for x, y, font, glyphs in letters:
        name, size = font.split()[0], float(font.split()[1])
        gap = float(x) - pen
        if run and (y, font) == (line, chosen) and size > 0 and abs(gap) < 3 * size:
            run += b"" if abs(gap) <= _NEAR else b">%d<" % round(-1000 * gap / size)
            pen += 0.0 if abs(gap) <= _NEAR else gap
        else:
            yield from [_told(run)] if run else []
            yield b"1 0 0 -1 " + x + b" " + y + b" Tm"
            yield from [font] if font != chosen else []
            line, chosen, run, pen = y, font, b"", float(x)
        run += glyphs
        pen += size * sum(widths[name].get(int(glyphs[i : i + 4], 16), 0.0) for i in range(0, len(glyphs), 4)) / 1000
    yield from [_told(run)] if run else []


def _told(run: bytes) -> bytes:
    return b"[<" + run + b">] TJ"
