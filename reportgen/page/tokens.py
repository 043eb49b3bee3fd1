"""Tokens by their names, where the report knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from .formats import name

Names = Mapping[str, str]
_RUN = 4


def called(token: int, names: Names) -> str:
    """Name one token; by its number where nothing else is known. A space at its beginning or end is shown."""
    text = names.get(str(token))
    if text is None:
        return str(token)
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return name("␣" * before + inner + "␣" * (after if inner else 0)) if text else "''"


def line(tokens: Iterable[int], names: Names) -> str:
    """Name tokens one after the other; of a run of the same one, such as padding, the length is told."""
    said: list[str] = []
    for token, run in groupby(tokens):
        n = sum(1 for _ in run)
        said += [f"{called(token, names)} ×{n}"] if n >= _RUN else [called(token, names)] * n
    return " ".join(said)


def renamed(text: str, names: Names) -> str:
    """Name the tokens in a text that holds their numbers."""
    return " ".join(called(int(part), names) if part.isdigit() else part for part in text.split()) if names else text
