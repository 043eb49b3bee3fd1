"""How the columns of a printed table share the paper."""

from __future__ import annotations

import io

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from reportgen.page.blocks import Cell, Column, ColumnKind, Table
from reportgen.render.columns import CAPACITY, shares, style
from reportgen.render.pdf import _font

from . import builders

KINDS: list[ColumnKind] = ["name", "text", "number", "chart", "prose"]


def table(kinds: list[ColumnKind], lengths: list[int]) -> Table:
    columns = [Column("x", kind) for kind in kinds]
    return Table(id="t", caption="", columns=columns, rows=[[Cell("x" * n) for n in lengths]])


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 400)), min_size=1, max_size=14))
def test_the_width_is_shared_out_whole(columns: list[tuple[ColumnKind, int]]) -> None:
    found = shares(table([kind for kind, _ in columns], [n for _, n in columns]))
    assert all(share > 0 for share in found)
    assert sum(found) == pytest.approx(1.0)


def test_numbers_keep_their_room_beside_long_names() -> None:
    found = shares(table(["name", "number", "number"], [300, 12, 60]))
    assert found[1] * CAPACITY >= 12
    assert found[2] * CAPACITY >= 60


def test_names_give_way_before_numbers_do() -> None:
    kinds: list[ColumnKind] = ["name", "text", *["number"] * 9]
    found = shares(table(kinds, [40, 26, *[9] * 9]))
    assert min(found[2:]) * CAPACITY >= 9
    assert found[0] > found[1]


def test_a_word_of_wide_letters_has_room_in_a_table_of_many_columns() -> None:
    """Numbers have dots, which are narrow; a name in a word has none."""
    titles = ["Parameters", "FLOPs", "Weight rms", "Output std", "Silent", "Gradient rms", "Step"]
    cells = ["584", "8.85 M", "0.0976", "2.00", "0 %", "0.0151", "0.000895"]
    columns = [Column("Layer", "name"), Column("Found", "text"), Column("Kind", "text"), *map(Column, titles)]
    columns += [Column("Weights", "chart"), Column("Steps over the run", "chart")]
    row = [Cell("0"), Cell("Observation", tone="info"), Cell("BatchNorm2d"), *map(Cell, cells), Cell(""), Cell("")]
    font = TTFont(io.BytesIO(_font("report-font:sans")))
    signs = sum(font["hmtx"][font.getBestCmap()[ord(sign)]][0] for sign in "BatchNorm2d")
    points = 6.4 * signs / font["head"].unitsPerEm
    paper = 178 / 25.4 * 72
    assert shares(Table(id="t", caption="", columns=columns, rows=[row]))[2] * paper >= points + 2 / 25.4 * 72


def test_every_table_of_a_report_has_its_rules() -> None:
    page = builders.page("huge")
    css = style(page)
    for one in page.tables:
        assert css.count(f"#{one.id} col:") == len(one.columns)


def test_a_word_is_not_cut_where_other_columns_can_give_way() -> None:
    columns = [Column("Finding", "prose"), Column("Severity", "text"), Column("Diagnosis", "prose")]
    row = [Cell("word " * 30), Cell("Observation", tone="info"), Cell("another " * 8)]
    plain = shares(Table(id="t", caption="", columns=columns, rows=[[row[0], Cell("Observation"), row[2]]]))
    bold = shares(Table(id="t", caption="", columns=columns, rows=[row]))
    assert bold[1] * CAPACITY >= 1.1 * len("Observation")
    assert bold[1] > plain[1]
    layers = [Column("Layer", "name"), Column("Kind", "text"), *[Column("x")] * 11]
    full = Table(id="t", caption="", columns=layers, rows=[[Cell("a"), Cell("AdaptivePooling"), *[Cell("0" * 9)] * 11]])
    assert shares(full)[1] > shares(full)[0]
