"""Counting the objects of a PDF anew once some of them are gone: a number that stays taken costs as much as a cell."""

from __future__ import annotations

from typing import Any


def take_out(pdf: Any, gone: list[Any]) -> None:
    """Take objects that nothing points to out of a document: those behind them move up, and references follow."""
    left_out = {thing.number for thing in gone}
    old = {thing.number: thing.reference for thing in pdf.objects}
    pdf.objects[:] = [thing for thing in pdf.objects if thing.number not in left_out]
    numbers: dict[bytes, bytes] = {}
    for number, thing in enumerate(pdf.objects):
        before, thing.number = old[thing.number], number
        numbers[before] = thing.reference
    pages = pdf.pages["Kids"]  # flat: number, generation, R
    pages[::3] = [int(numbers[b"%d 0 R" % number].split()[0]) for number in pages[::3]]
    for thing in (*pdf.objects, pdf.info):
        _redirect(thing, numbers)
        _redirect(getattr(thing, "extra", None), numbers)


def _redirect(holder: Any, numbers: dict[bytes, bytes]) -> None:
    """Put the new references into dictionaries and lists, and those within; texts are objects, never plain bytes."""
    places = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
    for place, value in list(places):
        if isinstance(value, bytes) and value in numbers:
            holder[place] = numbers[value]
        elif isinstance(value, dict | list):
            _redirect(value, numbers)
