"""Packing the index at the end of a PDF: each row as its difference from the one above.

The index says of every object where it lies. Written row by row it hardly packs, for every row is new; its differences
are nearly always the same. The form is the "up" predictor of PNG, which every reader of PDF 1.5 knows.
"""

from __future__ import annotations

import re
import zlib

_INDEX = re.compile(rb"<</Type /XRef(.*?)/W \[(\d+) (\d+) (\d+)\](.*?)/Length \d+>>\nstream\n", re.S)
_END = re.compile(rb"\nendstream\nendobj\nstartxref\n\d+\n%%EOF\n\Z")
_UP = b"\x02"


def packed(pdf: bytes) -> bytes:
    """Return the same PDF with its index packed; as it was where its end has another form."""
    start = pdf.rfind(b"<</Type /XRef")
    head, end = _INDEX.match(pdf, max(start, 0)), _END.search(pdf)
    if start < 0 or head is None or end is None or b"Predictor" in head[0]:
        return pdf
    width = sum(int(head[i]) for i in (2, 3, 4))
    rows = zlib.decompress(pdf[head.end() : end.start()])
    data = zlib.compress(_differences(rows, width), 9)
    form = b"/DecodeParms <</Predictor 12/Columns %d>>/Length %d>>\nstream\n" % (width, len(data))
    told = pdf[start : head.end()].replace(head[0][head[0].rindex(b"/Length ") :], form)
    # nothing lies behind the index, so no place that it tells changes
    return pdf[:start] + told + data + pdf[end.start() :]


def _differences(rows: bytes, width: int) -> bytes:
    above, out = bytes(width), bytearray()
    for i in range(0, len(rows), width):
        row = rows[i : i + width]
        out += _UP + bytes((a - b) & 255 for a, b in zip(row, above, strict=True))
        above = row
    return bytes(out)
