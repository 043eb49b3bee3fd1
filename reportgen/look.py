"""How a house wants its reports to look: colours, logo, footer, the order of the sections, templates of its own.

Plain data, read from ``[tool.reportgen.page]`` or made in Python; ``page`` and ``render`` carry it out.
"""

from __future__ import annotations

from msgspec import Struct

from .arguments import are_texts, expect


class Look(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The look of a page. Raises OptionError for a value that a setting cannot have."""

    colours: dict[str, str] = {}
    """Name -> '#rrggbb' on a light page and on paper: paper, ink, muted, link, bar, error, error-bg, ..."""
    dark: dict[str, str] = {}
    """The same on a dark page."""
    logo: str | None = None
    """An SVG or PNG file, which goes into the page."""
    logo_text: str = ""
    """What the logo says, for those who do not see it."""
    footer: str = ""
    """A line at the foot of the page."""
    order: list[str] = []
    """Sections by their ids, to come first in this order; the others follow as usual."""
    hide: list[str] = []
    """Sections that are left out; diagnoses and coverage always stay."""
    templates: str | None = None
    """A folder with a page.html.j2 that overrides blocks of the page, or an extra.css, or both."""
    font: str | None = None
    """A font file with Chinese characters, of which a page gets those it needs; None: one of the system's."""
    sidecar_css: bool = False
    """Put the style sheet of an HTML page in a file beside it, for servers that forbid styles inside a page."""

    def __post_init__(self) -> None:
        for key in ("colours", "dark"):
            table = getattr(self, key)
            fits = isinstance(table, dict) and are_texts([*table, *table.values()])
            expect(f"Page setting {key}", table, fits, "a table such as {link = '#0b5c86'}")
        for key in ("order", "hide"):
            value = getattr(self, key)
            expect(f"Page setting {key}", value, are_texts(value), "a list of sections such as ['evaluation']")
        for key in ("logo", "templates", "font"):
            value = getattr(self, key)
            expect(f"Page setting {key}", value, value is None or isinstance(value, str), "a path")
        for key in ("footer", "logo_text"):
            value = getattr(self, key)
            expect(f"Page setting {key}", value, isinstance(value, str), "a text")
        expect("Page setting sidecar_css", self.sidecar_css, isinstance(self.sidecar_css, bool), "true or false")
