"""The way back from what is drawn to its tags: kept beside the tags, where it repeats them and packs to little.

A page lists for each piece of marked content the element that holds it. All these lists come as one at the very end,
too far from the elements for the packing to see that they name the same ones in the same order. Every link comes with
an object that says nothing but which link is meant, and running heads come as words to be read aloud on every page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_MARK = rb"^/\w+\n<</MCID %d>>\nBDC$"


def gathered(pdf: Any) -> list[Any]:
    """Put the lists beside the elements of their pages; return the objects that nothing points to now."""
    objects = {o.reference: o for o in pdf.objects}
    elements: dict[bytes, Any] = {
        r: o for r, o in objects.items() if isinstance(o, dict) and o.get("Type") == "/StructElem"
    }
    root = next((o for o in pdf.objects if isinstance(o, dict) and o.get("Type") == "/StructTreeRoot"), None)
    if root is None:
        return []
    entries = objects[root["ParentTree"]]["Nums"]
    lists = dict(zip(entries[::2], entries[1::2], strict=True))
    gone = list(_links(elements, objects))
    beside: dict[int, int] = {}
    last = {element.get("Pg"): element.number for element in elements.values()}
    for reference in pdf.page_references:
        page = objects[reference]
        holders = lists[page["StructParents"]]
        gone += _passed_over(elements, holders, objects[page["Contents"]])
        pdf.add_object(holders)
        entries[entries.index(holders)] = holders.reference
        beside[holders.number] = last.get(reference, 0)
    # the sort keeps the order of what stands at one place
    pdf.objects.sort(key=lambda thing: beside.get(thing.number, thing.number))
    return gone


def _links(elements: dict[bytes, Any], objects: dict[bytes, Any]) -> Iterator[Any]:
    """Say within the element which link it is; yield what said so before."""
    for element in elements.values():
        for place, kid in enumerate(element.get("K", [])):
            named = objects.get(kid) if isinstance(kid, bytes) else None
            if isinstance(named, dict) and named.get("Type") == "/OBJR":
                element["K"][place] = named
                yield named


def _passed_over(elements: dict[bytes, Any], holders: list[Any], contents: Any) -> Iterator[Any]:
    """Mark as beside the matter what stands at the end of a page and in no element; yield the elements it was in."""
    while holders and (element := elements[holders[-1]])["K"] == [len(holders) - 1]:
        if holders[-1] in elements[element["P"]]["K"]:
            return
        holders.pop()
        mark = re.compile(_MARK % len(holders), re.M)
        contents.stream = [mark.sub(b"/Artifact\nBMC", part) for part in contents.stream]
        yield element
