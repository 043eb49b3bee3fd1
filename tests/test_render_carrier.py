"""The data that a page carries along."""

from __future__ import annotations

import base64
import bz2
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies

from reportgen.document.codec import encode
from reportgen.document.facts import Report
from reportgen.errors import DocumentError
from reportgen.render import carrier, html
from reportgen.render.write import render

from . import builders


def page_of(report: Report, path: Path) -> Path:
    path.write_bytes(render(report, ".html"))
    return path


@pytest.mark.parametrize("title", ["plain", '</template><template id="report-data">eJwDAAAAAAE=</template>'])
def test_a_page_gives_its_data_back_to_the_byte(tmp_path: Path, title: str) -> None:
    report = msgspec.structs.replace(builders.smallest(), title=title)
    assert encode(carrier.extract(page_of(report, tmp_path / "r.html"))) == encode(report)


def test_too_much_data_stays_outside_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "TOGETHER", 100)
    path = page_of(builders.smallest(), tmp_path / "r.html")
    assert "too large to travel inside" in path.read_text()
    with pytest.raises(DocumentError, match="carries no data"):
        carrier.extract(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<html></html>", "carries no data"),
        (b"%PDF-1.7", "is a PDF"),
        (b'<template id="report-data">AAAA</template>', "damaged"),
        (b'<template id="report-data">A</template>', "damaged"),
        (b'<template id="report-data">%s</template>' % base64.b64encode(zlib.compress(b"{}")), "no report"),
    ],
)
def test_what_carries_no_report_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "r.html"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=what):
        carrier.extract(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "_MOST_UNPACKED", 1000)
    path = tmp_path / "r.html"
    bomb = base64.b64encode(zlib.compress(b" " * 100_000))
    path.write_bytes(b'<template id="report-data">%s</template>' % bomb)
    with pytest.raises(DocumentError, match="unpack to more than"):
        carrier.extract(path)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_either_way_of_packing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(carrier, "_SHORT", limit)
    report = builders.checkpoint()
    assert encode(carrier.extract(page_of(report, tmp_path / "r.html"))) == encode(report)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
def test_a_bomb_of_the_other_kinds_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "r.html"
    bomb = pack(b" " * (1 << 20))
    monkeypatch.setattr(carrier, "_MOST_UNPACKED", 1 << 16)
    path.write_bytes(b'<template id="report-data">%s</template>' % base64.b64encode(bomb))
    with pytest.raises(DocumentError, match="unpack to more than"):
        carrier.extract(path)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
@pytest.mark.parametrize("spoilt", [slice(0, -20), slice(0, 12)])
def test_data_that_break_off_are_damaged(tmp_path: Path, pack: Callable[[bytes], bytes], spoilt: slice) -> None:
    path = tmp_path / "r.html"
    torn = pack(encode(builders.checkpoint()))[spoilt]
    path.write_bytes(b'<template id="report-data">%s</template>' % base64.b64encode(torn))
    with pytest.raises(DocumentError, match="damaged"):
        carrier.extract(path)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, zlib.compress])
def test_data_with_a_wrong_byte_are_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "r.html"
    spoilt = bytearray(pack(encode(builders.checkpoint())))
    spoilt[len(spoilt) // 2] ^= 255
    path.write_bytes(b'<template id="report-data">%s</template>' % base64.b64encode(bytes(spoilt)))
    with pytest.raises(DocumentError, match="damaged"):
        carrier.extract(path)


def test_numbers_of_single_precision_are_shorter_and_come_back_to_the_bit() -> None:
    single = 0.10332414507865906  # what float32 has for 0.103324145
    told = [single, -single * 2**90, single * 2**-90, 0.1234567890123, 1e300, 5e-324, 3.4028234663852886e38, 0.5, 17]
    data = msgspec.json.encode({"a": told, "0.10332414507865906": '0.10332414507865906, \\" 0.10332415f'})
    short = carrier._shorter(data)
    assert b"[0.103324145f,-" in short
    assert len(short) < len(data) - 20
    assert carrier._as_it_was(short) == data


@given(
    strategies.recursive(
        strategies.one_of(
            strategies.integers(-20, 20),
            strategies.just([0] * 40),
            strategies.just([[0.0] * 12, [10] + [0] * 11]),
            strategies.floats(allow_nan=False, allow_infinity=False),
            strategies.floats(width=32, allow_nan=False, allow_infinity=False),
            strategies.text(alphabet='0,.*"\\f1e-[]'),
        ),
        lambda inner: strategies.lists(inner, max_size=30) | strategies.dictionaries(strategies.text("0,*f"), inner),
        max_leaves=40,
    )
)
def test_what_is_written_shorter_comes_back(told: object) -> None:
    data = msgspec.json.encode(told)
    assert carrier._as_it_was(carrier._shorter(data)) == data


def test_a_large_confusion_matrix_is_packed_as_fast_as_what_it_tells() -> None:
    matrix = [[60 if i == j else 0 for j in range(300)] for i in range(300)]
    data = msgspec.json.encode({"text": ",0,0,0,0,0,0,0,0,0,0", "matrix": matrix})
    short = carrier._shorter(data)
    assert len(short) < len(data) / 20
    assert carrier._as_it_was(short) == data


def test_a_bomb_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    bomb = bz2.compress(b'{"a":[' + b"900000000*0," * 400 + b"0]}")
    path.write_bytes(b'<template id="report-data">%s</template>' % base64.b64encode(bomb))
    with pytest.raises(DocumentError, match="unpack to more than"):
        carrier.extract(path)


def test_data_that_fit_are_carried_however_their_beginning_packs() -> None:
    noise = random.Random(0)
    first = [noise.randrange(10**6) for _ in range(20_000)]
    told = carrier.packed(msgspec.json.encode([first, ["weight"] * 300_000]))
    assert told
    assert carrier.packed(msgspec.json.encode([first, ["weight"] * 300_000]), most=len(told) - 1) == ""


def test_no_time_is_spent_on_data_that_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = random.Random(0)
    data = msgspec.json.encode([["weight"] * 40_000, [noise.randrange(10**6) for _ in range(300_000)]])
    monkeypatch.setattr(carrier, "_shorter", pytest.fail)
    assert carrier.packed(data) == ""


def test_a_page_of_older_packing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    data = encode(builders.checkpoint())
    path.write_bytes(b'<template id="report-data">%s</template>' % base64.b64encode(zlib.compress(data)))
    assert encode(carrier.extract(path)) == data
