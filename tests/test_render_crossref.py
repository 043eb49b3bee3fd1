"""The index at the end of a PDF says the same in a tenth of the bytes."""

from __future__ import annotations

import io

import pikepdf
import pytest

from reportgen.render import crossref


@pytest.fixture(scope="module")
def plain() -> bytes:
    import pydyf

    document = pydyf.PDF()
    for n in range(400):
        document.add_object(pydyf.Dictionary({"Number": n}))
    page = {"Type": "/Page", "Parent": document.pages.reference, "Resources": pydyf.Dictionary()}
    document.add_page(pydyf.Dictionary(page | {"MediaBox": pydyf.Array([0, 0, 9, 9])}))
    out = io.BytesIO()
    document.write(out, version=b"1.7", compress=True)
    return out.getvalue()


def test_the_packed_document_holds_the_same_objects(plain: bytes) -> None:
    packed = crossref.packed(plain)
    assert len(plain) - len(packed) > 400
    before, after = (pikepdf.open(io.BytesIO(data)) for data in (plain, packed))
    assert len(after.objects) == len(before.objects)
    numbers = [o.Number for o in after.objects if isinstance(o, pikepdf.Dictionary) and "/Number" in o]
    assert sorted(map(int, numbers)) == list(range(400))
    assert after.check_pdf_syntax() == []


def test_rows_come_back_by_adding_up(plain: bytes) -> None:
    rows = bytes(range(240)) * 2
    told, width = crossref._differences(rows, 5), 5
    above, again = bytes(width), b""
    for i in range(0, len(told), width + 1):
        assert told[i] == 2
        above = bytes((a + b) & 255 for a, b in zip(told[i + 1 : i + 1 + width], above, strict=True))
        again += above
    assert again == rows


def test_what_has_another_end_is_left_alone(plain: bytes) -> None:
    assert crossref.packed(crossref.packed(plain)) == crossref.packed(plain)
    for other in (b"", b"%PDF-1.4\nno index here\n%%EOF\n", plain + b"more", plain.replace(b"/XRef", b"/xxxx")):
        assert crossref.packed(other) == other
