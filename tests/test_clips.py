"""Cuts to the very shape that is drawn are left out of a PDF, and no others."""

from __future__ import annotations

import pytest

from reportgen.render.clips import unclipped

ROW = b"""q
60 10 30.5 17.5 re
90.5 10 9.5 17.5 re
W
n
/Artifact
BMC
q
/a1.0 gs
0.953 0.965 0.976 rg
60 10 40 17.5 re
W
n
60 10 40 17.5 re
f
Q
EMC
Q
"""
BORDER = b"""q
198.45 90.49 m
60.47 90.49 l
60.47 89.36 l
198.45 89.36 l
W*
n
/a1.0 gs
0.604 0.655 0.706 rg
60.47 71.81 137.98 17.55 re
60.47 71.81 137.98 18.68 re
f*
Q
"""


def test_a_ground_is_drawn_once_and_cut_to_nothing() -> None:
    wanted = b"/Artifact\nBMC\nq\n/a1.0 gs\n0.953 0.965 0.976 rg\n60 10 40 17.5 re\nf\nQ\nEMC\n"
    assert unclipped(b"1 0 0 1 0 0 cm\n" + ROW) == b"1 0 0 1 0 0 cm\n" + wanted


def test_a_border_below_is_a_strip() -> None:
    assert unclipped(BORDER) == b"q\n/a1.0 gs\n0.604 0.655 0.706 rg\n60.47 89.36 137.98 1.13 re\nf\nQ\n"


@pytest.mark.parametrize(
    ("stream", "old", "new"),
    [
        (ROW, b"90.5 10 9.5 17.5 re", b"92.5 10 7.5 17.5 re"),  # a gap between the cells
        (ROW, b"90.5 10 9.5 17.5 re", b"90.5 10 9.5 12 re"),  # a cell that is lower
        (BORDER, b"198.45 89.36 l", b"180 89.36 l"),  # a corner cut off
        (BORDER, b"18.68 re", b"20 re"),  # a border as wide as is not seen
    ],
)
def test_what_is_cut_to_another_shape_stays_cut(stream: bytes, old: bytes, new: bytes) -> None:
    other = stream.replace(old, new)
    assert other != stream
    assert b"W" in unclipped(other)
