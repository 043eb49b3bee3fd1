"""Numbers and names as a reader sees them."""

from __future__ import annotations

import math

import pytest

from reportgen.page import formats
from reportgen.page.formats import MINUS, NBSP
from reportgen.page.language import speaking

from .builders import HOSTILE_NAMES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (123456.0, "123,456"),
        (0.5, "0.500"),
        (-0.01234, f"{MINUS}0.0123"),
        (9.999, "10.00"),
        (1234.5, "1,234"),
        (1.5e-7, f"1.50e{MINUS}7"),
        (2.5e9, "2.50e9"),
        (math.inf, "∞"),
        (-math.inf, f"{MINUS}∞"),
        (math.nan, "NaN"),
        (5e-324, f"4.94e{MINUS}324"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (1e-12, "< 0.1 %"),
        (0.9999999, "> 99.9 %"),
        (0.0005, "0.1 %"),
        (0.12345, "12.3 %"),
        (None, "—"),
        (math.nan, "—"),
    ],
)
def test_a_percentage_never_lies_by_rounding(share: float | None, text: str) -> None:
    assert formats.percent(share) == text.replace(" ", NBSP)


def test_no_share_between_looks_like_none_or_all() -> None:
    shown = {formats.percent(i / 10_000) for i in range(1, 10_000)}
    assert not shown & {f"{n}{NBSP}%" for n in ("0", "0.0", "100", "100.0")}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (0, "0"), (999, "999"), (11_689_512, "11.7 M"), (999_700, "1.00 M"), (1_810_000_000, "1.81 G")],
)
def test_si(value: int | None, text: str) -> None:
    assert formats.si(value) == text.replace(" ", NBSP)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (46_800_000, "44.6 MiB")]
)
def test_size(value: int | None, text: str) -> None:
    assert formats.size(value) == text.replace(" ", NBSP)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0 ms"),
        (1e-9, "< 1 ms"),
        (0.004, "4 ms"),
        (0.25, "250 ms"),
        (0.9996, "1.0 s"),
        (61.0, "61.0 s"),
        (119.97, "2 min 00 s"),
        (1834.2, "30 min 34 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert formats.seconds(value).replace(NBSP, " ") == text


def test_thresholds_carry_no_idle_zeros() -> None:
    assert [formats.short(v) for v in (0.5, 1e-5, 100.0, 0.25)] == ["0.5", f"1e{MINUS}5", "100", "0.25"]
    assert [formats.brief(v) for v in (0.5, 0.04666, -0.1183, 1.0)] == ["0.5", "0.0467", f"{MINUS}0.118", "1"]


def test_a_place_along_a_run_is_told_in_full() -> None:
    assert [formats.along(v) for v in (48_750.0, 2.5, 12_345_678.0, 0.0)] == ["48,750", "2.5", "12,345,678", "0"]
    assert formats.at_place("step", 1106.0) == "step 1,106"
    with speaking("zh"):
        assert formats.at_place("步", 1106.0) == "第 1,106 步"


def test_hidden_characters_become_visible() -> None:
    assert formats.name("a\x1b[31m\u202eb\u200b\n\ud800") == r"a\x1b[31m\u202eb\u200b\n\ud800"
    assert formats.name("\U000e0041") == r"\U000e0041"
    assert formats.name("模型.卷积") == "模型.卷积"
    assert formats.name("") == "(model)"


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_a_name_is_one_printable_line(text: str) -> None:
    shown = formats.name(text)
    assert shown.isprintable()
    assert len(shown) >= len(text)


def test_a_long_list_says_how_much_is_missing() -> None:
    assert formats.listing([str(i) for i in range(12)], 3) == "0, 1, 2 and 9 more"
    assert formats.listing(["a"], 3) == "a"


def test_shape() -> None:
    assert formats.shape([64, 3, 7, 7]) == "64 × 3 × 7 × 7"
    assert formats.shape([]) == "scalar"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T05:57:23+00:00", "2026-11-22 05:57 UTC"),
        ("2026-11-22T05:57:23+08:00", "2026-11-22 05:57 UTC+0800"),
        ("2026-11-22T05:57:23", "2026-11-22 05:57"),
        ("last\nweek", "last\\nweek"),
    ],
)
def test_a_point_in_time_is_told_to_the_minute_with_its_zone(text: str, shown: str) -> None:
    assert formats.moment(text) == shown


def test_a_short_shape_stays_on_one_line_and_a_long_one_may_break() -> None:
    assert " " not in formats.whole("64 × 16 × 16 × 16")
    assert " " in formats.whole("1024 × 1024 × 1024 × 1024")


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("BatchNorm2d", "BatchNorm2d"),
        ("TransformerEncoderLayer", "Transformer|EncoderLayer"),
        ("1.layers.0.self_attn.out_proj", "1.layers.0.self_|attn.out_proj"),
        ("1.layers.0.linear2 (input)", "1.layers.0.|linear2 (input)"),
        ("no gradient, never moved", "no gradient, never moved"),
        ("x" * 60, "x" * 24 + "|" + "x" * 24 + "|" + "x" * 12),
        ("16 × 12 × 16, 16 × 12", "16\u00a0×\u00a012\u00a0×\u00a016, 16\u00a0×\u00a012"),
        ("", ""),
    ],
)
def test_long_names_break_at_dots_underscores_and_capitals(text: str, broken: str) -> None:
    assert "|".join(formats.pieces(text)) == broken


@pytest.mark.parametrize(
    ("value", "around", "shown"),
    [
        (-8.54e-10, [-2.4, 2.8], "~0"),
        (6.19e-12, [1.0], "~0"),
        (0.0, [1.0], "0"),
        (1e-5, [1.0], "1.00e−5"),
        (1.3e-41, [2e-41], "1.30e−41"),
        (3e-9, [None, math.nan], "3.00e−9"),
        (None, [1.0], "—"),
    ],
)
def test_what_is_nothing_beside_its_range_is_told_so(
    value: float | None, around: list[float | None], shown: str
) -> None:
    assert formats.beside(value, around) == shown


def test_numbers_of_a_sentence_have_a_minus_and_names_their_hyphen() -> None:
    assert formats.signed("by -0.56 in rank (-1.2)") == "by −0.56 in rank (−1.2)"
    for name in ("resnet-1.5", "layer -1", "--seed -1", "lr 1e-3", "a-0.5b"):
        assert formats.signed(name) == name
