"""Turning matplotlib's SVG into an element tree that may stand in a page among others.

What goes: prolog, comments, metadata, style sheets (theirs would act on the whole page). What changes: style attributes
become presentation attributes, which every content policy lets through; ids get a prefix of their own, because two
figures name their clip paths alike and the browser would then take the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from .svg import ATTRIBUTES, TAGS, Element, checked, element, gathered

_REFERENCE = re.compile(r"#([\w.-]+)")
_DROPPED = frozenset(("metadata", "style", "desc"))
_INHERITED = (
    ("stroke-linejoin", "round"),
    ("stroke-linecap", "butt"),
    ("font-family", "Report Sans, DejaVu Sans, sans-serif"),
    ("font-size", "9px"),
)
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_LONG_NUMBERS_STAY = ("transform",)
_PATH = re.compile(r"[A-Za-z]|-?[\d.]+(?:e-?\d+)?")


def cleaned(svg: bytes, prefix: str, title: str) -> Element:
    """Return the drawing as elements: no styles, no strange ids, a role and a title."""
    root = ElementTree.fromstring(svg)
    referred = [m for node in root.iter() for v in node.attrib.values() for m in _REFERENCE.findall(v)]
    used = {old: f"{prefix}-{i}" for i, old in enumerate(dict.fromkeys(referred))}
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    body = _tidy([b for child in root if (b := _convert(child, used)) is not None])
    head = [*_INHERITED, ("class", "plot"), ("viewBox", root.attrib["viewBox"])]
    # a point of print is four thirds of a pixel
    head += [("width", f"{width * 4 / 3:.0f}"), ("height", f"{height * 4 / 3:.0f}"), ("role", "img")]
    return checked("svg", head, [element("title", title), *gathered(body)])


def _convert(node: ElementTree.Element, used: Mapping[str, str]) -> Element | None:
    tag = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
    if tag in _DROPPED or tag not in TAGS:
        return None
    children: list[Element | str] = [node.text] if tag in ("text", "tspan") and node.text else []
    children += gathered(_tidy([c for child in node if (c := _convert(child, used)) is not None]))
    attributes = _attributes(node, used)
    if tag in ("g", "defs") and not children:
        return None
    return checked(tag, attributes.items(), children)


def _tidy(children: list[Element]) -> list[Element]:
    """Put what stands in groups without attributes in their place, and lines that look alike in one path.

    Only texts may stand between lines that are joined, so nothing comes to lie above or below another shape.
    """
    flat = [c for child in children for c in (_inside(child) if child.tag == "g" and not child.attributes else [child])]
    out: list[Element] = []
    last: int | None = None
    for child in flat:
        if child.tag == "path" and last is not None and _looks(child) == _looks(out[last]):
            attributes = tuple((k, v + dict(child.attributes)["d"] if k == "d" else v) for k, v in out[last].attributes)
            out[last] = Element("path", attributes)
            continue
        if child.tag != "text":
            joins = child.tag == "path" and dict(child.attributes).get("fill") == "none" and not child.children
            last = len(out) if joins else None
        out.append(child)
    return out


def _inside(group: Element) -> list[Element]:
    return [child for child in group.children if isinstance(child, Element)]


def _looks(path: Element) -> dict[str, str]:
    return {key: value for key, value in path.attributes if key != "d"}


def _path(data: str) -> str:
    """Write path data with one decimal, a tenth of a point, and no space that can be spared."""
    parts = _PATH.findall(data)
    out = ""
    for part in parts:
        text = part if part.isalpha() else f"{float(part):.1f}".removesuffix(".0")
        spaced = out and not out[-1].isalpha() and not part.isalpha() and not text.startswith("-")
        out += f" {text}" if spaced else text
    return out


def _attributes(node: ElementTree.Element, used: Mapping[str, str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in [*node.attrib.items(), *_style(node.attrib.get("style", ""))]:
        key = key.rpartition("}")[2]
        if key not in ATTRIBUTES or (key == "id" and value not in used) or value.startswith("rotate(-0 "):
            continue
        if key == "font-family" or (key, value) in _INHERITED:  # once, at the root
            continue
        if key == "id":
            value = used[value]
        elif key in ("href", "clip-path"):
            value = _REFERENCE.sub(lambda m: f"#{used[m[1]]}", value)
        elif key not in _LONG_NUMBERS_STAY:
            value = _NUMBER.sub(lambda m: f"{float(m.group()):.1f}".removesuffix(".0"), value)
        out[key] = value
    if "d" in out:
        out["d"] = _path(out["d"])
    return out


def _style(style: str) -> list[tuple[str, str]]:
    """Split a style attribute; 'font: 12px Sans' becomes size and family."""
    out: list[tuple[str, str]] = []
    for declaration in filter(None, (d.strip() for d in style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            match = re.match(r"(?:\w+ )*?([\d.]+)px (.*)", value)
            if match:
                out += [("font-size", match[1]), ("font-family", match[2].replace("'", ""))]
        else:
            out.append((key, value.replace("'", "")))
    return out
