"""The colours of the page by name, and a house's own in their place, once their contrast has been checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import OptionError
from ..look import Look
from . import palette

# the values of the style sheets; a test holds them together
LIGHT = {
    "paper": "#ffffff",
    "tint": "#f6f8fa",
    "ink": "#1b2430",
    "muted": "#55616e",
    "rule": "#dde3e9",
    "strong": "#9aa7b4",
    "link": "#0b5c86",
    "error": "#b3261e",
    "error-bg": "#fdf1ef",
    "warning": "#8a5200",
    "warning-bg": "#fdf5e4",
    "info": "#2f5f8f",
    "info-bg": "#eff5fb",
    "ok": "#1f6a43",
    "ok-bg": "#eef7f1",
    "bar": "#3d6f9e",
}
DARK = {
    "paper": "#13171c",
    "tint": "#1b2128",
    "ink": "#e5e9ee",
    "muted": "#a3aeba",
    "rule": "#2b333c",
    "strong": "#566270",
    "link": "#86c3ee",
    "error": "#ff9d92",
    "error-bg": "#2e1a1a",
    "warning": "#efbf70",
    "warning-bg": "#2b2214",
    "info": "#93c2f0",
    "info-bg": "#17263a",
    "ok": "#83d2a6",
    "ok-bg": "#15281f",
    "bar": "#6ba3d6",
}
_DRAWN = {
    "bar": palette.BAR,
    "error": palette.ERROR,
    "warning": palette.WARNING,
    "info": palette.INFO,
    "ok": palette.OK,
    "muted": palette.MUTED,
    "ink": palette.INK,
    "rule": palette.RULE,
}
TEXT, GRAPHIC = 4.5, 3.0  # least contrasts, WCAG 2.2, 1.4.3 and 1.4.11
_HEX = re.compile(r"#[0-9a-f]{6}")
_TONES = ("error", "warning", "info", "ok")


def luminance(colour: str) -> float:
    """Return the relative luminance of '#rrggbb', from 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colours(look: Look) -> tuple[dict[str, str], dict[str, str]]:
    """Return the house's colours for light and for dark pages. Raises OptionError, for a poor contrast too."""
    light, dark = _read(look.colours, "colours"), _read(look.dark, "dark")
    _check(LIGHT | light, light, "colours")
    _check(DARK | dark, dark, "dark")
    return light, dark


def _read(given: Mapping[str, str], table: str) -> dict[str, str]:
    out = {}
    for key, value in given.items():
        if key not in LIGHT:
            raise OptionError(f"Page {table}: there is no colour {key!r}.", hint=f"Known are {', '.join(LIGHT)}.")
        text = value.strip().lower()
        text = "#" + "".join(2 * c for c in text[1:]) if re.fullmatch(r"#[0-9a-f]{3}", text) else text
        if not _HEX.fullmatch(text):
            raise OptionError(f"Page {table}: {key} is {value!r}.", hint="Expected a colour such as '#0b5c86'.")
        out[key] = text
    return out


def _check(all_of: Mapping[str, str], given: Mapping[str, str], table: str) -> None:
    """Hold every pair that meets on the page against the least contrast, if the house set one of the two."""
    grounds = ["paper", *(f"{tone}-bg" for tone in _TONES)]
    pairs = [(text, ground, TEXT) for ground in grounds for text in ("ink", "muted")]
    pairs += [("link", "paper", TEXT), ("ink", "tint", TEXT), ("bar", "paper", GRAPHIC)]
    pairs += [(tone, ground, TEXT) for tone in _TONES for ground in ("paper", f"{tone}-bg")]
    for front, ground, least in pairs:
        found = contrast(all_of[front], all_of[ground])
        if (front in given or ground in given) and found < least:
            raise OptionError(
                f"Page {table}: {front} {all_of[front]} on {ground} {all_of[ground]} has a contrast of {found:.1f}.",
                hint=f"Expected at least {least:g}, or it cannot be read: choose a darker or a lighter one.",
            )


def rules(look: Look) -> str:
    """Return the style rules for the screen that put the house's colours in place; '' where it has none."""
    light, dark = colours(look)
    out = _scheme("@media (prefers-color-scheme:light),print", light) if light else ""
    return out + (_scheme("@media screen and (prefers-color-scheme:dark)", dark) if dark else "")


def _scheme(when: str, chosen: Mapping[str, str]) -> str:
    body = ";".join(f"--{key}:{value}" for key, value in chosen.items())
    drawn = "".join(
        f'[fill="{_DRAWN[key]}"]{{fill:{value}}}[stroke="{_DRAWN[key]}"]{{stroke:{value}}}'
        for key, value in chosen.items()
        if key in _DRAWN
    )
    return f"{when}{{:root{{{body}}}{drawn}}}"


def printed(text: str, look: Look) -> str:
    """Return a page or a style sheet for print with the house's colours in place of ours."""
    for key, value in colours(look)[0].items():
        for ours in {LIGHT[key], _DRAWN.get(key, LIGHT[key])}:
            text = text.replace(ours, value)
    return text
