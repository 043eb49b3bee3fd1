"""Saying shapes in fewer words: what is the rule anyway is left out, and a box is called a box.

Every shape comes with the settings of a line even where it is only filled, every box as four lines, and every ground of
a table as a piece of its own that is not to be read aloud.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_N = rb"(-?[\d.]+)"
_SIDES = re.compile(rb"^" + _N + rb" " + _N + rb" m\n" + _N + rb" \2 l\n\3 " + _N + rb" l\n\1 \4 l\nh\n", re.M)
_NOWHERE = re.compile(rb"^-?[\d.]+ -?[\d.]+ m\n(?=-?[\d.]+ -?[\d.]+ (?:m|-?[\d.]+ -?[\d.]+ re)\n)", re.M)
_STAYS = re.compile(rb"^1 0 0 1 0 0 cm\n", re.M)
_OF_LINES = re.compile(rb"^\[\] 0 d\n0 J\n0 j\n4 M\n(?=BT\n|(?:(?:-?[\d.]+ )+(?:m|l|c|re)\n|h\n)+f\*?\n)", re.M)
_PIECE = rb"/Artifact\nBMC\n((?:(?!EMC$|BMC$|BDC$)[^\n]*\n)*)EMC\n"
_PIECES = re.compile(rb"(?:" + _PIECE.replace(b"((?:", b"(?:(?:") + rb")+", re.M)
_BODY = re.compile(_PIECE, re.M)
_GROUND = re.compile(rb"^q\n((?:/\S+ gs\n)?[\d. ]+ rg\n)((?:(?:-?[\d.]+ ){4}re\n)+)f\nQ\n", re.M)
_NEAR = 0.02  # of a point: places are told to a hundredth


def plainer(stream: bytes) -> bytes:
    """Return drawing instructions for the same picture in fewer bytes."""
    stream = _OF_LINES.sub(b"", _NOWHERE.sub(b"", _SIDES.sub(_box, _STAYS.sub(b"", stream))))
    return _PIECES.sub(_as_one, stream)


def _box(found: re.Match[bytes]) -> bytes:
    x, y, right, low = (float(found[i]) for i in range(1, 5))
    return _drawn(x, y, right - x, low - y)


def _drawn(*box: float) -> bytes:
    return b" ".join(f"{v + 0.0:.2f}".rstrip("0").rstrip(".").encode() for v in box) + b" re\n"


def _as_one(found: re.Match[bytes]) -> bytes:
    """Pass over what follows each other as one piece, and fill grounds of one colour at once."""
    return b"/Artifact\nBMC\n" + b"".join(_grounds(b"".join(_BODY.findall(found[0])))) + b"EMC\n"


def _grounds(body: bytes) -> Iterator[bytes]:
    at, paint, boxes = 0, b"", b""
    for found in _GROUND.finditer(body):
        if found.start() != at or found[1] != paint:
            yield from _filled(paint, boxes)
            yield body[at : found.start()]
            paint, boxes = found[1], b""
        boxes += found[2]
        at = found.end()
    yield from _filled(paint, boxes)
    yield body[at:]


def _filled(paint: bytes, boxes: bytes) -> Iterator[bytes]:
    """Yield the instructions that fill boxes with a colour; those that stand side by side are one."""
    if not boxes:
        return
    out: list[list[float]] = []
    for line in boxes.splitlines():
        x, y, width, height = (float(v) for v in line.split()[:4])
        beside = out and abs(out[-1][1] - y) + abs(out[-1][3] - height) + abs(sum(out[-1][::2]) - x) <= _NEAR
        if beside:
            out[-1][2] = x + width - out[-1][0]
        else:
            out.append([x, y, width, height])
    yield b"q\n" + paint + b"".join(_drawn(*box) for box in out) + b"f\nQ\n"
