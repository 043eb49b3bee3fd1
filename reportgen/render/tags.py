"""Slimming the tags of a PDF before it is written: they are for readers that speak, and half of the bytes of a table.

Every run of text comes with an element of its own, every box with a division, and every cell with the names of all its
headings. A run says nothing that the cell or paragraph around it does not say, a division says nothing at all, and a
heading that tells its scope is found without names.
"""

from __future__ import annotations

from typing import Any

_TEXT = ("/Span", "/NonStruct")
_GROUPS = ("/Div", "/NonStruct")


def slim(pdf: Any) -> list[Any]:
    """Fold runs of text and divisions into what holds them, and tell headings by their scope.

    Returns what nothing points to now.
    """
    elements = {o.reference: o for o in pdf.objects if _is_element(o)}
    moved: dict[bytes, bytes] = {}
    for reference, element in reversed(elements.items()):  # what is held comes behind what holds it
        parent = elements.get(element["P"])
        if parent is None:
            continue
        if element["S"] in _TEXT and _holds_text_alone(element) and _same_page(element, parent):
            moved[reference] = parent.reference
        elif element["S"] in _GROUPS and _groups_elements(element, elements):
            for kid in element["K"]:
                elements[kid]["P"] = parent.reference
        else:
            continue
        place = parent["K"].index(reference)
        parent["K"][place : place + 1] = element["K"]
        element.clear()
    _point_to(moved, pdf)
    for element in elements.values():
        _scope(element, elements)
        _whole(element)
        if "K" in element:  # behind what neighbours share, which then is one piece to the packing
            element["K"] = element.pop("K")
    return [element for element in elements.values() if not element]


def _is_element(thing: Any) -> bool:
    return isinstance(thing, dict) and thing.get("Type") == "/StructElem"


def _holds_text_alone(element: Any) -> bool:
    return set(element) == {"Type", "S", "K", "Pg", "P"} and all(isinstance(kid, int) for kid in element["K"])


def _groups_elements(element: Any, elements: dict[bytes, Any]) -> bool:
    return not set(element) - {"Type", "S", "K", "Pg", "P"} and all(kid in elements for kid in element["K"])


def _same_page(element: Any, parent: Any) -> bool:
    return bool(element["Pg"] == parent.get("Pg"))


def _point_to(moved: dict[bytes, bytes], pdf: Any) -> None:
    """Let the text of each page lead to the element that holds it now."""
    root = next((o for o in pdf.objects if isinstance(o, dict) and o.get("Type") == "/StructTreeRoot"), None)
    if root is None:
        return
    tree = next(o for o in pdf.objects if o.reference == root["ParentTree"])
    for entry in tree["Nums"]:
        if isinstance(entry, list):
            entry[:] = [_last(reference, moved) for reference in entry]


def _last(reference: bytes, moved: dict[bytes, bytes]) -> bytes:
    while reference in moved:
        reference = moved[reference]
    return reference


def _whole(element: Any) -> None:
    """Tell the box of a figure in whole points."""
    box = element.get("A", {}).get("BBox") if element.get("S") == "/Figure" else None
    if box is not None:
        box[:] = [round(float(place)) for place in box]


def _scope(element: Any, elements: dict[bytes, Any]) -> None:
    """Replace the names of headings by the scope of the heading: its column in the head of a table, its row below."""
    if element.get("S") == "/TH":
        element.pop("ID", None)
        row = elements.get(element["P"], {})
        head = elements.get(row.get("P", b""), {}).get("S") == "/THead"
        element["A"]["Scope"] = "/Column" if head else "/Row"
    elif element.get("S") == "/TD" and "A" in element:
        element["A"].pop("Headers", None)
        if len(element["A"]) == 1:  # its owner, and nothing owned
            del element["A"]
