"""Looking texts up in a gettext catalogue. English is the source language, so a missing text is itself.

``_`` reads the language of the page being built from a context variable: no argument rides through every section,
and two threads may build in two languages.
"""

from __future__ import annotations

import gettext
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_LOCALES = Path(__file__).resolve().parents[1] / "locales"
_current: ContextVar[str] = ContextVar("language", default="en")


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("reportgen", _LOCALES, languages=[language], fallback=True)


def translate(language: str) -> Callable[[str], str]:
    """Return the look-up for a language; without a catalogue every text stays as it is."""
    return _catalogue(language).gettext


def _(text: str) -> str:
    """Translate into the language of the page being built."""
    return _catalogue(_current.get()).gettext(text)


def N_(text: str) -> str:  # noqa: N802 (its name in gettext)
    """Mark a text for the catalogue that is translated only when it is shown."""
    return text


def plural(one: str, many: str, n: int) -> str:
    """Translate a text that depends on a number."""
    return _catalogue(_current.get()).ngettext(one, many, n)


def spoken() -> str:
    """Return the language of the page being built."""
    return _current.get()


def term(text: str) -> str:
    """Translate a word of a fact (a key, a kind) where the catalogue has it; else it stays as it is."""
    return _(text) if text else text


def sentences(parts: Iterable[str]) -> str:
    """Join whole sentences; Chinese puts no space between them."""
    return ("" if spoken() == "zh" else " ").join(parts)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Build in this language inside the block."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)
