"""A handful of block kinds that a page is made of: plain data, text and numbers, drawings as element trees.

A new kind of content is a new arrangement of these blocks; a new output format is a new way to write them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal, TypeAlias

from msgspec import Struct

from .svg import Element, width_of

Tone: TypeAlias = Literal["", "ok", "info", "warning", "error", "muted", "struck"]
ColumnKind: TypeAlias = Literal["name", "text", "number", "chart", "prose"]

LONG_NAME = 44  # characters that still stand in one line
LONG_LINE = 980  # pixels of a whole row: the least width of a page with its contents beside it
LETTER, AIR = 13.8, 22  # pixels of a letter, and around a cell
CLOSE_LETTER, CLOSE_AIR = 13.1, 10  # where many columns stand closer
CHART = 68  # pixels
DENSE = 10  # columns
CHUNK_ROWS = 100  # rows to a chunk: a browser lays out only the chunks that are on screen


class Prose(Struct, frozen=True, kw_only=True):
    """Paragraphs."""

    kind: ClassVar[str] = "prose"
    paragraphs: list[str]


class Pair(Struct, frozen=True, kw_only=True):
    """A label and its value."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""
    term: str = ""
    """Place of the glossary that explains the label."""


class KeyValues(Struct, frozen=True, kw_only=True):
    """Labelled values without a table around them."""

    kind: ClassVar[str] = "key_values"
    title: str = ""
    pairs: list[Pair]


class Cell(Struct, frozen=True):
    """One cell: its text, the raw number or text behind it, a tone, perhaps a small chart."""

    text: str
    sort: float | str | None = None
    tone: Tone = ""
    chart: Element | None = None
    indent: int = 0
    spoken: str = ""
    """What a screen reader says where the text is only a sign."""
    link: str = ""
    """Place in the page that tells more."""

    @property
    def plain(self) -> bool:
        """There is nothing but the text."""
        return self.chart is None and not (self.tone or self.spoken or self.link)

    @property
    def blank(self) -> bool:
        """There is nothing at all, which needs no class of its own."""
        return not self.text and self.plain


class Column(Struct, frozen=True):
    """Heading of a column; ``hint`` explains it beneath the table, where the glossary does not (``term``)."""

    title: str
    kind: ColumnKind = "number"
    hint: str = ""
    term: str = ""
    """Place of the glossary that explains the heading."""
    said_again: bool = False
    """A phone, which shows the cells of a row beneath each other, says the heading before each cell."""

    @property
    def mark(self) -> str:
        """Class of the cells beneath; numbers, the commonest, need none."""
        return {"name": "m", "text": "t", "prose": "p", "chart": "c", "number": ""}[self.kind]


class Table(Struct, frozen=True, kw_only=True):
    """Rows under headings; the first column names the row."""

    kind: ClassVar[str] = "table"
    id: str
    caption: str
    note: str = ""
    columns: list[Column]
    rows: list[list[Cell]]
    total_rows: int = 0
    """Rows there are in truth; more than ``rows`` when the table was cut, and then the page says so."""
    folded: str = ""
    """Summary line with the count, when the table is to be unfolded by the reader."""
    joins: bool = False
    """Every layer has a row here, so that tables of one kind of fact can be shorter."""
    of_layers: bool = False
    """One kind of fact of each layer or tensor."""
    ranked: bool = False
    """The most noticeable rows come first, whatever the order of the model."""
    elsewhere: str = ""
    """Place of the table that has the layers left out here."""
    whole: bool = False
    """On paper, where a table's headings come again on every page, and not between chunks."""

    @property
    def omitted(self) -> int:
        return max(self.total_rows - len(self.rows), 0)

    @property
    def hints(self) -> list[Column]:
        """Columns that are explained beneath the table: on hovering, neither a finger nor paper would tell."""
        return [column for column in self.columns if column.hint and not column.term]

    @property
    def layout(self) -> str:
        """Name the layout: chunks line up only under columns of fixed width, and only long names may break.

        Many columns stand closer; of tables of words a phone shows the cells of a row beneath each other.
        """
        if len(self.rows) > CHUNK_ROWS:
            return "even"
        named = [i for i, column in enumerate(self.columns) if column.kind in ("name", "text")]
        longest = [max((row[i].text for row in self.rows), key=len, default="") for i in range(len(self.columns))]
        kinds_of_columns = [column.kind for column in self.columns]
        dense = len(self.columns) >= DENSE
        wide = "prose" not in kinds_of_columns and self._width(longest, dense) > LONG_LINE
        long = wide or any(len(longest[i]) > LONG_NAME for i in named)
        words = "prose" in kinds_of_columns and kinds_of_columns.count("number") <= 1
        kinds = {"long": long, "dense": dense, "told": words}
        return " ".join(kind for kind, holds in kinds.items() if holds)

    def _width(self, longest: list[str], dense: bool) -> float:
        """Return about how many pixels a row takes that is not broken."""
        letter, air = (CLOSE_LETTER, CLOSE_AIR) if dense else (LETTER, AIR)
        cells = (
            max(width_of(text, letter), width_of(column.title, letter * 0.95), CHART if column.kind == "chart" else 0)
            for text, column in zip(longest, self.columns, strict=True)
        )
        return sum(cells) + air * len(self.columns)

    @property
    def chunks(self) -> list[list[list[Cell]]]:
        step = len(self.rows) or 1 if self.whole else CHUNK_ROWS
        return [self.rows[i : i + step] for i in range(0, len(self.rows), step)]


class Figure(Struct, frozen=True, kw_only=True):
    """One drawing with its title and a caption that says how to read it."""

    kind: ClassVar[str] = "figure"
    id: str
    title: str
    caption: str = ""
    drawing: Element
    folded: str = ""

    @property
    def scrolls(self) -> bool:
        """Whether a narrow screen scrolls the drawing rather than shrink it, so that a keyboard has to get there."""
        kinds = dict(self.drawing.attributes).get("class", "").split()
        return any(kind in kinds for kind in ("mid", "wide", "flow"))


class Sign(Struct, frozen=True):
    """A sign of a drawing, and what it means."""

    icon: Element
    text: str


class Strip(Figure, frozen=True, kw_only=True):
    """A drawing beneath the signs that it has."""

    key: list[Sign]


class Pictures(Struct, frozen=True, kw_only=True):
    """Several drawings side by side."""

    kind: ClassVar[str] = "pictures"
    id: str
    title: str = ""
    caption: str = ""
    figures: list[Figure]
    small: bool = False
    """Three in a row rather than two."""


class Bitmap(Struct, frozen=True, kw_only=True):
    """A small image file, and what it shows in words."""

    kind: Literal["png", "webp"]
    data: bytes
    width: int
    """As it is shown, in CSS pixels; a multiple of the pixels in the file."""
    height: int
    alt: str
    beside: str = ""
    """Address of a file beside the page; '' where the image stands inside."""

    @property
    def source(self) -> str:
        """The address of the image: one that needs no other place, unless it lies beside the page."""
        return self.beside or f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode('ascii')}"


class Tile(Struct, frozen=True, kw_only=True):
    """Images or small drawings of one thing, and a few lines beneath."""

    images: list[Bitmap] = []
    charts: list[Element] = []
    lines: list[str] = []
    tone: Tone = ""


class Gallery(Struct, frozen=True, kw_only=True):
    """Tiles side by side under one caption."""

    kind: ClassVar[str] = "gallery"
    id: str
    title: str
    caption: str = ""
    note: str = ""
    tiles: list[Tile]


class Code(Struct, frozen=True, kw_only=True):
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    folded: str = ""


class Outline(Struct, frozen=True, kw_only=True):
    """An ordered list, unfolded by the reader."""

    kind: ClassVar[str] = "outline"
    id: str
    folded: str
    """Summary line."""
    items: list[str]


class DiagnosisCard(Struct, frozen=True, kw_only=True):
    """One diagnosis, ready to be read."""

    id: str
    tone: Tone
    severity: str
    """The severity in words."""
    icon: Element
    title: str
    subject: str
    summary: str
    evidence: Table
    further: Table | None = None
    """The findings after the first few."""
    consequences: Table | None = None
    advice: str = ""
    unchecked: str = ""
    candidates: str = ""
    """Other causes with the same marks, and the trial that would decide."""
    doubts: list[str] = []
    """When this diagnosis is wrong."""


class Diagnoses(Struct, frozen=True, kw_only=True):
    """Diagnoses, the worst first; the harmless ones are folded under ``notes``."""

    kind: ClassVar[str] = "diagnoses"
    cards: list[DiagnosisCard]
    notes: list[DiagnosisCard] = []
    notes_summary: str = ""


class Terms(Struct, frozen=True, kw_only=True):
    """Words that the page uses: what each means, its formula, and where it comes from."""

    kind: ClassVar[str] = "terms"
    terms: list[Term]


class Term(Struct, frozen=True, kw_only=True):
    """One word of the glossary."""

    id: str
    title: str
    text: str
    formula: str = ""
    source: str = ""


class Group(Struct, frozen=True, kw_only=True):
    """Blocks under a heading of their own."""

    kind: ClassVar[str] = "group"
    id: str
    title: str
    blocks: list[Block]


Block: TypeAlias = Prose | KeyValues | Table | Figure | Pictures | Gallery | Code | Outline | Diagnoses | Terms | Group


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks, and those inside of groups in their place."""
    for block in blocks:
        if isinstance(block, Group):
            yield from flat(block.blocks)
        else:
            yield block


class Section(Struct, frozen=True, kw_only=True):
    """One topic."""

    id: str
    title: str
    intro: str = ""
    blocks: list[Block] = []
    badge: str = ""
    """A few words for the contents."""
    after: str = ""
    """Of a section of one's own: the id of the section that it follows; '' is after all that was measured."""


class Headline(Struct, frozen=True, kw_only=True):
    """One of the diagnoses that decide the verdict: what it is, its evidence in one picture, and what to do."""

    target: str
    tone: Tone
    icon: Element
    title: str
    subject: str
    picture: Element | None
    caption: str
    """What the picture shows, or in words what was found, where there is none."""
    advice: str


class Verdict(Struct, frozen=True, kw_only=True):
    """The first thing that is read."""

    tone: Tone
    words: str
    meaning: str = ""
    """What it means for whoever wants to use the model."""
    detail: str
    icon: Element
    heads: list[Headline] = []
    """The diagnoses that decide it, at most three."""
    causes: list[Link] = []
    """Those that follow."""


class Link(Struct, frozen=True, kw_only=True):
    """A place in the page."""

    target: str
    text: str
    tone: Tone = ""
    icon: Element | None = None


class Page(Struct, frozen=True, kw_only=True):
    """A whole report, ready to be written in any format."""

    title: str
    subtitle: str
    lang: str
    created: str
    verdict: Verdict
    lead: list[Pair]
    strip: Strip | None = None
    """The whole network by depth: where it is healthy, where not, and where it was not measured."""
    sections: list[Section]
    logo: Element | None = None
    footer: str = ""

    @property
    def galleries(self) -> list[Gallery]:
        return [b for s in self.sections for b in flat(s.blocks) if isinstance(b, Gallery)]

    @property
    def n_rows(self) -> int:
        """Rows of all tables together: what a reader scrolls and a printer lays out."""
        return sum(len(t.rows) for t in self.tables)

    @property
    def tables(self) -> list[Table]:
        return [b for s in self.sections for b in flat(s.blocks) if isinstance(b, Table)]

    def section(self, id: str) -> Section | None:
        return next((s for s in self.sections if s.id == id), None)
