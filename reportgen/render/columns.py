"""How the columns of a printed table share the width of the paper: by what stands in them.

Paper does not scroll, and an automatic layout of hundreds of rows is slow; so widths are set from the lengths of texts.
Numbers keep the room they need; names and prose, which can break, share the rest.
"""

from __future__ import annotations

from ..page.blocks import Column, Page, Table

CAPACITY = 121.0  # characters of the print style sheet that fit across a page
_PADDING = 1.6
_CLOSER = 1.1  # tables of many columns are set smaller
_CHART = 16.0
_BREAKABLE = {"name": (12.0, 40.0), "text": (9.0, 26.0), "prose": (18.0, 80.0)}  # the least, and the most of use
_WORD = 18.0  # characters of a word that is kept whole
_LOOKED_AT = 300


def style(page: Page) -> str:
    """Return the rules that set the width of every column of the page's tables."""
    rules = []
    for table in page.tables:
        for place, share in enumerate(shares(table), 1):
            rules.append(f"#{table.id} col:nth-child({place}) {{ width: {100 * share:.2f}%; }}")
    return "\n".join(rules)


def shares(table: Table) -> list[float]:
    """Return the share of the width for each column; they sum to 1."""
    needed = [_needed(table, place, column) for place, column in enumerate(table.columns)]
    soft = [place for place, column in enumerate(table.columns) if column.kind in _BREAKABLE]
    left = CAPACITY * (_CLOSER if "dense" in table.layout else 1.0) - sum(needed)
    if left < 0:
        least = {place: min(needed[place], _least(table, place) + _PADDING) for place in soft}
        spare = sum(needed[place] - least[place] for place in soft)
        kept = max(0.0, 1 + left / spare) if spare > 0 else 0.0
        for place in soft:
            needed[place] = least[place] + kept * (needed[place] - least[place])
    total = sum(needed)
    return [width / total for width in needed]


def _least(table: Table, place: int) -> float:
    """Return the characters below which a column is not squeezed: its kind's, or a word that would be cut in two."""
    words = (word for row in table.rows[:_LOOKED_AT] for word in row[place].text.split())
    longest = max((_length(word) for word in words), default=0.0)
    return max(_BREAKABLE[table.columns[place].kind][0], _wide(table, place) * min(longest, _WORD))


def _wide(table: Table, place: int) -> float:
    """Return how much wider letters are than those of numbers, which have dots: of fixed pitch, bold, and plain."""
    if place == 0 and table.columns[0].kind in ("name", "text"):
        return 1.12
    if any(cell.tone not in ("", "muted") for cell in (row[place] for row in table.rows[:_LOOKED_AT])):
        return 1.12
    return 1.08 if table.columns[place].kind in _BREAKABLE else 1.0


def _needed(table: Table, place: int, column: Column) -> float:
    """Return the characters that a column wants: of its longest text, and of the longest word of its heading."""
    heading = max((len(word) for word in column.title.split()), default=0) * 1.1  # bold
    if column.kind == "chart":
        return max(_CHART, heading + _PADDING)
    cells = [row[place] for row in table.rows[:_LOOKED_AT]]
    longest = float(max((_length(cell.text) + 1.5 * cell.indent for cell in cells), default=0))
    if any(cell.chart is not None for cell in cells):
        longest = max(longest, _CHART)
    longest *= _wide(table, place)
    if column.kind in _BREAKABLE:
        longest = min(longest, _BREAKABLE[column.kind][1])
    return max(longest, heading) + _PADDING


def _length(text: str) -> float:
    """Return the length of a text in digits: spaces are half as wide, signs of multiplication and Chinese wider."""
    return len(text) - 0.5 * text.count(" ") + 0.35 * text.count("×") + 0.7 * sum(c >= "\u2e80" for c in text)
