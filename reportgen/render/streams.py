"""Slimming what a PDF draws: numbers with the digits that a printer can show, and no part drawn by way of another.

Positions come with six decimals, a millionth of a third of a millimetre: every one is new to the packing. And every
text of a chart that is centred or set to the right comes as a drawing of its own, whose description is longer than it.
"""

from __future__ import annotations

import re
from typing import Any

from .clips import unclipped

# a number with a fraction that stands alone: not part of a name such as /a1.0, nor inside a string
_NUMBER = re.compile(rb"(?<![\w./<-])-?\d*\.\d+(?![\w.>])")
_NO_GAP = re.compile(rb">0?<")
_DRAWN = re.compile(rb"/(x\d+) Do")


def slim(pdf: Any) -> list[Any]:
    """Shorten the drawing instructions of pages and of drawings on them; return what nothing points to now."""
    objects: dict[bytes, Any] = {o.reference: o for o in pdf.objects}
    known = {reference: o for reference, o in objects.items() if isinstance(o, dict)}
    forms = {reference: o for reference, o in objects.items() if getattr(o, "extra", {}).get("Subtype") == "/Form"}
    pages = [o for o in known.values() if o.get("Type") == "/Page"]
    contents = {page["Contents"] for page in pages}
    gone: list[Any] = []
    for stream in pdf.objects:
        if stream.reference in contents:
            stream.stream = _with_texts(stream.stream, known[pages[0]["Resources"]], forms, known, gone)
    for stream in pdf.objects:
        if stream.reference in contents or stream.reference in forms:
            stream.stream = [unclipped(b"\n".join(_written(_slimmed(part)) for part in stream.stream))]
    return gone


def _written(part: Any) -> bytes:
    """Return an instruction as it stands in the file; marked content comes with a dictionary of its own."""
    return part if isinstance(part, bytes) else bytes(part.data) if hasattr(part, "data") else str(part).encode("ascii")


def _with_texts(parts: list[Any], resources: Any, forms: Any, known: Any, gone: list[Any]) -> list[Any]:
    """Put a text that was a drawing of its own where it is drawn."""
    out: list[Any] = []
    for part in parts:
        found = _DRAWN.fullmatch(part) if isinstance(part, bytes) else None
        place = found[1].decode() if found else ""
        form = forms.get(resources["XObject"].get(place))
        # a drawing that is made transparent as a whole follows the setting for that, and stays one
        own = known[form.extra["Resources"]] if form is not None and out[-1].endswith(b" cm") else None
        if form is None or own is None or own["XObject"] or own["Pattern"] or own["Shading"]:
            out.append(part)
            continue
        resources["ExtGState"].update(own["ExtGState"])
        del resources["XObject"][place]
        out += form.stream
        gone += [form, own]
    return out


def _slimmed(part: Any) -> Any:
    if not isinstance(part, bytes | str):
        return part  # the number of a piece of marked content
    text = part if isinstance(part, bytes) else part.encode("ascii")
    if text.endswith(b"TJ"):
        text = _NO_GAP.sub(b"", text).replace(b">0]", b">]")
    return _NUMBER.sub(_rounded, text)


def _rounded(found: re.Match[bytes]) -> bytes:
    """Round to a hundredth of a point; small factors, such as those of a matrix, to four digits."""
    value = float(found[0])
    size = abs(value)
    decimals = 2 if size >= 10 else 3 if size >= 0.1 else 4 if size >= 0.01 else 6
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return b"0" if text in ("-0", "") else text.encode("ascii")
