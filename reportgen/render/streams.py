"""Slimming what a PDF draws: numbers with the digits that a printer can show, and no part drawn by way of another.

Positions come with six decimals, a millionth of a third of a millimetre: every one is new to the packing. And every
text of a chart that is centred or set to the right comes as a drawing of its own, whose description is longer than it.
"""

from __future__ import annotations

import re
from typing import Any

from .clips import unclipped
from .runs import Widths, joined
from .shapes import plainer

# a number with a fraction that stands alone: not part of a name such as /a1.0, nor inside a string
_NUMBER = re.compile(rb"(?<![\w./<-])-?\d*\.\d+(?![\w.>])")
_NO_GAP = re.compile(rb">0?<")
_KERNED = re.compile(rb"^\[.*\] TJ$", re.M)
# a drawing that is made transparent as a whole follows the setting for that, and stays one
_DRAWN = re.compile(rb"(?<= cm\n)/(x\d+) Do$", re.M)


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
            stream.stream = [_with_texts(written(stream), known[pages[0]["Resources"]], forms, known, gone)]
    widths = _widths(known[pages[0]["Resources"]], known) if pages else {}
    for stream in pdf.objects:
        if stream.reference in contents or stream.reference in forms:
            stream.stream = [plainer(joined(unclipped(_slimmed(written(stream))), widths))]
    return gone


def written(stream: Any) -> bytes:
    """Return the instructions of a drawing as they stand in the file; marked content comes with dictionaries."""
    return b"\n".join(
        part if isinstance(part, bytes) else bytes(part.data) if hasattr(part, "data") else str(part).encode("ascii")
        for part in stream.stream
    )


def _widths(resources: Any, known: Any) -> Widths:
    """Return how wide the glyphs of each font are."""
    out: dict[bytes, dict[int, float]] = {}
    for name, reference in known[resources["Font"]].items():
        glyphs = out[b"/" + name.encode("ascii")] = {}
        for font in known[reference].get("DescendantFonts", []):
            told = known[font].get("W", [])
            for first, widths in zip(told[::2], told[1::2], strict=True):
                glyphs |= dict(enumerate(widths, first))
    return out


def _with_texts(drawn: bytes, resources: Any, forms: Any, known: Any, gone: list[Any]) -> bytes:
    """Put a text that was a drawing of its own where it is drawn."""

    def put(found: re.Match[bytes]) -> bytes:
        place = found[1].decode()
        form = forms.get(resources["XObject"].get(place))
        own = None if form is None else known[form.extra["Resources"]]
        if form is None or own is None or own["XObject"] or own["Pattern"] or own["Shading"]:
            return found[0]
        resources["ExtGState"].update(own["ExtGState"])
        del resources["XObject"][place]
        gone.extend((form, own))
        return written(form)

    return _DRAWN.sub(put, drawn)


def _slimmed(drawn: bytes) -> bytes:
    closer = _KERNED.sub(lambda found: _NO_GAP.sub(b"", found[0]).replace(b">0]", b">]"), drawn)
    return _NUMBER.sub(_rounded, closer)


def _rounded(found: re.Match[bytes]) -> bytes:
    """Round to a hundredth of a point; small factors, such as those of a matrix, to four digits."""
    value = float(found[0])
    size = abs(value)
    decimals = 2 if size >= 10 else 3 if size >= 0.1 else 4 if size >= 0.01 else 6
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return b"0" if text in ("-0", "") else text.encode("ascii")
