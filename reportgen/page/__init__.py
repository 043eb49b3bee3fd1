"""Presenting facts as blocks of a page, without torch.

What is named here is what a section of one's own is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .blocks import Cell as Cell
from .blocks import Code as Code
from .blocks import Column as Column
from .blocks import Figure as Figure
from .blocks import Group as Group
from .blocks import KeyValues as KeyValues
from .blocks import Pair as Pair
from .blocks import Pictures as Pictures
from .blocks import Prose as Prose
from .blocks import Section as Section
from .blocks import Table as Table

if TYPE_CHECKING:
    from .own import figure as figure
    from .own import table as table

__all__ = [  # noqa: RUF022 (the order of use)
    "Section",
    "Prose",
    "KeyValues",
    "Pair",
    "table",
    "figure",
    "Table",
    "Column",
    "Cell",
    "Figure",
    "Pictures",
    "Group",
    "Code",
]


def __getattr__(name: str) -> Any:
    if name in ("figure", "table"):
        from . import own

        return getattr(own, name)
    raise AttributeError(f"module 'reportgen.page' has no attribute {name!r}")
