"""Links of a PDF: one to each place that can be pressed, and each says in words where it leads.

WeasyPrint makes one of every box within a link, an icon or a page number too, and hands it no more than the name of its
target. A reader that speaks then meets the same link three times over, and is told "diagnosis-1".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any

_LINK = re.compile(r'<a [^>]*?href="?#?([^" >]+)[^>]*>(.*?)</a>', re.S)
_BESIDE = re.compile(r'<svg.*?</svg>|<span class="?badge"?>.*?</span>|<[^>]*>', re.S)


def told(html: str) -> dict[str, str]:
    """Return the words of the links of a page by what they lead to, those of the first one."""
    out: dict[str, str] = {}
    for target, inner in _LINK.findall(html):
        if words := " ".join(unescape(_BESIDE.sub("", inner)).split()):
            out.setdefault(unescape(target), words)
    return out


def slim(pdf: Any, words: Mapping[str, str]) -> list[Any]:
    """Leave one annotation to each link, and give it its words; return what nothing points to now."""
    objects = {o.reference: o for o in pdf.objects}
    gone = list(_doubles(objects))
    spare = {o.reference for o in gone}
    for thing in objects.values():
        if isinstance(thing, dict) and "Annots" in thing:
            thing["Annots"][:] = [reference for reference in thing["Annots"] if reference not in spare]
        if isinstance(thing, dict) and thing.get("Subtype") == "/Link" and "Contents" in thing:
            contents = thing["Contents"]
            contents.string = words.get(contents.string, contents.string)
    numbers = {o["StructParent"] for o in gone if "StructParent" in o}
    for thing in objects.values():
        if isinstance(thing, dict) and "Nums" in thing:
            pairs = zip(thing["Nums"][::2], thing["Nums"][1::2], strict=True)
            thing["Nums"][:] = [part for pair in pairs if pair[0] not in numbers for part in pair]
    return gone


def _doubles(objects: Mapping[bytes, Any]) -> Iterator[Any]:
    """Take the links within links out of the tags; yield their annotations, and the objects that named them."""
    for element in objects.values():
        if (
            not isinstance(element, dict)
            or element.get("Type") != "/StructElem"
            or not _within_a_link(element, objects)
        ):
            continue
        if element["S"] == "/Link":
            element["S"] = "/Span"
        for kid in list(element["K"]):
            named = objects.get(kid) if isinstance(kid, bytes) else None
            if isinstance(named, dict) and named.get("Type") == "/OBJR":
                element["K"].remove(kid)
                yield named
                yield objects[named["Obj"]]


def _within_a_link(element: Any, objects: Mapping[bytes, Any]) -> bool:
    holder = objects.get(element["P"], {})
    while holder.get("Type") == "/StructElem":
        if holder["S"] == "/Link":
            return True
        holder = objects.get(holder["P"], {})
    return False
