"""Page -> Markdown for a job summary or a pull request: verdict, diagnoses, key figures, coverage."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from ..page.blocks import Block, Diagnoses, DiagnosisCard, Page, Table, Tile
from ..page.formats import visible
from ..page.language import translate
from .assets import folder

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_BYTES = 64_000  # the limit of a comment; a job summary may hold more
MAX_CARDS = 40
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|#~$!&]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# a mention would notify people, a bare address or issue number would become a link
_LINKS = re.compile(r"@(?=\w)|(?<=\w)://|\bwww\.(?=\w)")
_LIST = re.compile(r"^(\s*)(?:([-+=])|(\d+)([.)](?=\s|$)))")  # a backslash before a digit would be shown


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    text = " ".join(visible(text).split())
    text = _SPECIAL.sub(lambda m: _ENTITIES.get(m.group()) or "\\" + m.group(), text)
    text = _LINKS.sub(lambda m: m.group().replace("@", "&#64;").replace(":", "&#58;").replace("www.", "www&#46;"), text)
    return _LIST.sub(lambda m: f"{m[1]}\\{m[2]}" if m[2] else f"{m[1]}{m[3]}\\{m[4]}", text)


def _shown(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) else value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # HTML's escapes are wrong here: ``finalize`` escapes every expression for Markdown instead
    return Environment(
        loader=FileSystemLoader(folder()),
        autoescape=False,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_markdown(page: Page) -> bytes:
    """Return the summary, of at most 64 kB: the worst diagnoses come first and the rest is counted."""
    for limit in (MAX_CARDS, 10, 3, 0):
        text = _summary(page, limit)
        if len(text) <= MAX_BYTES:
            return text
    return text[: MAX_BYTES - 8].decode("utf-8", "ignore").encode() + b"\n\n...\n"


def _told(card: DiagnosisCard) -> list[str]:
    """Return the findings as sentences that say where."""
    pairs = [(row[0].text, row[1].text) for row in card.evidence.rows]
    return [text if where in text else f"{where}: {text}" for text, where in pairs]


def _in_words(tile: Tile) -> str:
    """Say what a tile shows: Markdown has no place for a picture that travels inside."""
    return ", ".join(tile.lines) or "; ".join(image.alt for image in tile.images)


def _summary(page: Page, limit: int) -> bytes:
    found = [b for s in page.sections for b in s.blocks if isinstance(b, Diagnoses)]
    cards = [c for b in found for c in b.cards]
    notes = [c for b in found for c in b.notes]
    waived = [b for s in page.sections for b in s.blocks if isinstance(b, Table) and b.id == "waived"]
    coverage = page.section("coverage")
    rows: list[Block] = coverage.blocks if coverage is not None else []
    context = {
        "page": page,
        "cards": [(c, _told(c)) for c in cards[:limit]],
        "more": len(cards) - len(cards[:limit]),
        "notes": notes[:limit],
        "waived": [row for b in waived for row in b.rows][:limit],
        "waived_title": "".join(b.caption for b in waived),
        "coverage": [r for b in rows if isinstance(b, Table) for r in b.rows][:100],
        "galleries": [(g.title, [_in_words(t) for t in g.tiles]) for g in page.galleries] if limit else [],
        "_": translate(page.lang),
    }
    return _environment().get_template("summary.md.j2").render(context).strip().encode("utf-8") + b"\n"
