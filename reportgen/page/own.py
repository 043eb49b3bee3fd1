"""Sections of one's own, from the same blocks; and the order in which a house wants all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from ..arguments import expect
from ..errors import OptionError
from ..look import Look
from .blocks import Block, Cell, Column, ColumnKind, Figure, Group, Page, Pictures, Section, Table, flat
from .cleaner import cleaned
from .formats import name, number
from .glossary import unlinked
from .plots import drawn_by
from .svg import Element, element

ALWAYS = ("diagnoses", "coverage")
_ID = re.compile(r"[a-z][a-z0-9-]*")


def slug(text: str) -> str:
    """Return a text as an id: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def figure(drawing: Any, *, title: str, caption: str = "") -> Figure:
    """Return a matplotlib ``Figure`` as a block: its SVG without styles and strange ids, with a title that is read.

    Raises OptionError for what is no figure.
    """
    fits = hasattr(drawing, "savefig") and hasattr(drawing, "canvas")
    expect("The figure", drawing, fits, "a matplotlib.figure.Figure")
    id = f"own-{slug(title)}"
    return Figure(
        id=id, title=name(title), caption=caption, drawing=_on_white(cleaned(drawn_by(drawing, id), id, title))
    )


def _on_white(drawing: Element) -> Element:
    """Put a ground behind a figure whose colours we do not know: dark text must not come to stand on a dark page."""
    title, *rest = drawing.children
    return replace(drawing, children=(title, element("path", d="M0 0h9999v9999H0z", fill="#fff"), *rest))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, note: str = "") -> Table:
    """Return rows as a block: the first column names the row, numbers are aligned. Raises OptionError."""
    body = [[_cell(value) for value in row] for row in rows]
    for row in body:
        expect(f"A row of {caption!r}", len(row), len(row) == len(columns), f"{len(columns)} values, one a column")
    made = [Column(title, _kind([row[i] for row in body], i)) for i, title in enumerate(columns)]
    id = f"own-{slug(caption)}"
    return Table(id=id, caption=caption, note=note, columns=made, rows=body, total_rows=len(body))


def _cell(value: object) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(number(float(value)), float(value))
    return Cell("" if value is None else str(value), None if value is None else str(value))


def _kind(cells: Sequence[Cell], place: int) -> ColumnKind:
    if place == 0:
        return "name"
    return "text" if any(isinstance(cell.sort, str) for cell in cells) else "number"


def arranged(page: Page, look: Look, own: Sequence[Section], known: Iterable[str]) -> Page:
    """Return the page with sections of one's own, in the order that the house wants. Raises OptionError.

    ``known``: the ids of all sections that a page may have.
    """
    sections = list(page.sections)
    for section in own:
        _check_own(section, sections)
        place = next((i for i, s in enumerate(sections) if s.id == section.after), None)
        if place is None:
            place = next((i - 1 for i, s in enumerate(sections) if s.id == "coverage"), len(sections) - 1)
        sections.insert(place + 1, section)
    possible = {*known, *(s.id for s in sections)}
    for key in ("order", "hide"):
        for id in getattr(look, key):
            if id not in possible:
                raise OptionError(
                    f"Page setting {key}: no section {id!r}.", hint=f"Known: {', '.join(sorted(possible))}."
                )
    kept_out = [id for id in look.hide if id in ALWAYS]
    if kept_out:
        hint = "A report without it would say less than the truth."
        raise OptionError(f"Page setting hide: {kept_out[0]} always stays.", hint=hint)
    first = look.order if "diagnoses" in look.order else ["diagnoses", *look.order]
    rank = {id: i for i, id in enumerate(first)}
    shown = [s for s in sections if s.id not in look.hide]
    if "glossary" in look.hide:
        shown = [unlinked(s) for s in shown]
    return replace(page, sections=sorted(shown, key=lambda s: rank.get(s.id, len(rank))))


def _check_own(section: Section, others: Sequence[Section]) -> None:
    expect("A section", section, isinstance(section, Section), "a reportgen.page.Section")
    if not _ID.fullmatch(section.id):
        raise OptionError(f"The section id {section.id!r} cannot be linked to.", hint="Expected such as 'our-bench'.")
    taken = {id for s in others for id in _ids(s)}
    double = next((id for id in _ids(section) if id in taken), None) or _doubled(_ids(section))
    if double is not None:
        raise OptionError(
            f"Two parts of the page have the id {double!r}.", hint="Give the section's parts other titles."
        )


def _ids(section: Section) -> list[str]:
    blocks: list[Block] = [*flat(section.blocks), *(b for b in section.blocks if isinstance(b, Group))]
    inner = [f.id for b in blocks if isinstance(b, Pictures) for f in b.figures]
    return [section.id, *(str(b.id) for b in blocks if hasattr(b, "id")), *inner]


def _doubled(ids: Sequence[str]) -> str | None:
    return next((id for i, id in enumerate(ids) if id in ids[:i]), None)
