"""Markers of matplotlib's curves as one path: a reference for each point takes three times the bytes of a dot.

They come as a definition and a group of references to it. A round marker becomes strokes of no length with round ends;
one of a few straight edges is written out at every place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

_HREF = "{http://www.w3.org/1999/xlink}href"
_PART = re.compile(r"[A-Za-z]|-?[\d.]+(?:e-?\d+)?")
_MOST_EDGES = 4
_STYLED = frozenset(("fill", "stroke", "stroke-linejoin", "stroke-width"))


def stamp(root: ElementTree.Element) -> None:
    """Replace, in place, references to a marker by paths that look the same, and its definition where none is left."""
    above = {child: parent for parent in root.iter() for child in parent}
    for definition in [node for node in root.iter() if _tag(node) == "defs" and len(node) == 1]:
        marker = definition[0]
        uses = [node for node in root.iter() if _tag(node) == "use" and _meant(node) == f"#{marker.get('id')}"]
        groups = list(dict.fromkeys(above[use] for use in uses))
        drawn = [_stamped(marker, group) for group in groups]
        if uses and all(path is not None for path in drawn):
            above[definition].remove(definition)
            for group, path in zip(groups, drawn, strict=True):
                if path is not None:
                    parent = above[group]
                    parent[list(parent).index(group)] = path


def _stamped(marker: ElementTree.Element, group: ElementTree.Element) -> ElementTree.Element | None:
    """Return the path for a marker and a group of references; None for what is something else, or not worth it."""
    styles = {use.get("style", "") for use in group}
    meant = {_meant(use) for use in group}
    if _tag(marker) != "path" or _tag(group) != "g" or len(styles) > 1 or len(meant) > 1:
        return None
    style = _style(marker.get("style", "")) | _style(styles.pop())
    places = [(float(use.get("x", "0")), float(use.get("y", "0"))) for use in group]
    drawn = _drawn(_PART.findall(marker.get("d", "")), style, places)
    if drawn is None or not set(style) <= _STYLED:
        return None
    told = ";".join(f"{key}:{value}" for key, value in drawn.items() if key != "d")
    clip = {"clip-path": group.get("clip-path", "")} if group.get("clip-path") else {}
    return ElementTree.Element("path", {"d": drawn["d"], "style": told, **clip})


def _meant(node: ElementTree.Element) -> str:
    return node.get(_HREF, node.get("href", ""))


def _drawn(parts: Sequence[str], style: dict[str, str], places: Sequence[tuple[float, float]]) -> dict[str, str] | None:
    letters = "".join(p for p in parts if p.isalpha()).lower().removesuffix("z")
    numbers = [float(p) for p in parts if not p.isalpha()]
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    if re.fullmatch(f"ml{{2,{_MOST_EDGES}}}", letters):
        return style | {"d": "".join(_outline(points, place) for place in places)}
    edge = float(style.get("stroke-width", "1"))
    radius = _radius(letters, points)
    if radius is None or style.get("fill") != style.get("stroke"):
        return None
    dots = "".join(f"M {x} {y} h 0.1 " for x, y in places)
    stroke = {"stroke": style["stroke"], "stroke-width": f"{2 * radius + edge:.1f}", "stroke-linecap": "round"}
    return {"d": dots, "fill": "none", **stroke}


def _outline(points: Sequence[tuple[float, float]], place: tuple[float, float]) -> str:
    moved = [f"{x + place[0]} {y + place[1]}" for x, y in points]
    return "M " + " L ".join(moved) + " z "


def _radius(letters: str, points: Sequence[tuple[float, float]]) -> float | None:
    """Return the radius of a circle about the origin, of eight curves whose ends all lie on it; None for all else."""
    if letters != "m" + 8 * "c":
        return None
    lengths = [math.hypot(x, y) for x, y in points[::3]]
    return lengths[0] if max(lengths) - min(lengths) < 0.02 * max(lengths) else None


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _style(text: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in text.split(";") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}
