"""Making the cells of tables: text as it is read, and the raw value behind it."""

from __future__ import annotations

from collections.abc import Sequence

from ..document.stats import TensorStats
from . import figures
from .blocks import Cell, Column, Tone
from .formats import DASH, beside, count, name, number, percent, si
from .language import _, plural
from .svg import Element


def missing(why: str = "") -> Cell:
    """Show that something was not measured."""
    return Cell(DASH, None, "muted", spoken=why or _("not measured"))


def in_rows(title: str, n: int) -> str:
    """Name what is to be unfolded, with its rows."""
    return plural("{title}, {n} row", "{title}, {n} rows", n).format(title=title, n=n)


def of_number(value: float | None, tone: Tone = "") -> Cell:
    return missing() if value is None else Cell(number(value), value, tone)


def of_count(value: int | None, tone: Tone = "") -> Cell:
    return missing() if value is None else Cell(count(value), value, tone)


def of_si(value: int | None) -> Cell:
    return missing() if value is None else Cell(si(value), value)


def of_share(value: float | None, tone: Tone = "") -> Cell:
    return missing() if value is None else Cell(percent(value), value, tone)


def of_text(text: str, tone: Tone = "") -> Cell:
    return Cell(text, text, tone)


def of_name(text: str, tone: Tone = "", indent: int = 0) -> Cell:
    """Show a name from outside: every character of it visible."""
    shown = name(text)
    return Cell(shown, shown, tone, indent=indent)


def of_chart(chart: Element | None) -> Cell:
    return missing(_("no chart")) if chart is None else Cell("", None, chart=chart)


class ChartBudget:
    """Hands out a limited number of charts, so that a page of a thousand tensors stays small."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.refused = 0

    def histogram(self, stats: TensorStats | None) -> Cell:
        if stats is None or stats.histogram is None or not stats.histogram.total:
            return missing(_("no chart"))
        if not self.left:
            self.refused += 1
            return missing(_("chart left out"))
        self.left -= 1
        return of_chart(figures.histogram(stats))


def stats_columns() -> list[Column]:
    """Return the headings that ``stats_cells`` fills."""
    return [
        Column(_("mean"), "number", _("mean of the finite values")),
        Column(_("std"), "number", _("population standard deviation of the finite values")),
        Column(_("min")),
        Column(_("max")),
        Column(_("zeros"), "number", _("share of values that are exactly zero")),
    ]


def stats_cells(stats: TensorStats | None) -> list[Cell]:
    """Return mean, std, extremes and share of zeros; what is nothing beside the largest value is told so."""
    if stats is None:
        return [missing() for column in stats_columns()]
    ends = stats.min, stats.max
    mean, low, high = (missing() if v is None else Cell(beside(v, ends), v) for v in (stats.mean, stats.min, stats.max))
    return [mean, of_number(stats.std), low, high, of_share(stats.zero_share)]


def any_nonfinite(parts: Sequence[TensorStats | None]) -> bool:
    """Tell whether a column for non-finite counts says anything."""
    return any(p is not None and p.nonfinite for p in parts)


def of_nonfinite(stats: TensorStats | None) -> Cell:
    """Show how many values were NaN or infinite, by kind on hovering and for the ear."""
    if stats is None:
        return missing()
    if not stats.nonfinite:
        return Cell("0", 0)
    kinds = ((stats.nan, "NaN"), (stats.pos_inf, "+Inf"), (stats.neg_inf, "−Inf"))
    return Cell(", ".join(f"{count(n)} {kind}" for n, kind in kinds if n), stats.nonfinite, "error")
