"""Turning matplotlib's SVG into an element tree that may stand in a page among others.

What goes: prolog, comments, metadata, style sheets (theirs would act on the whole page). What changes: style attributes
become presentation attributes, which every content policy lets through; ids get a prefix of their own, because two
figures name their clip paths alike and the browser would then take the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from .stamps import stamp
from .svg import ATTRIBUTES, TAGS, Element, checked, element, gathered

_REFERENCE = re.compile(r"#([\w.-]+)")
_DROPPED = frozenset(("metadata", "style", "desc"))
_INHERITED = (
    ("stroke-linejoin", "round"),
    ("stroke-linecap", "butt"),
    ("font-family", "Report Sans, DejaVu Sans, sans-serif"),
    ("font-size", "9px"),
)
_FRAME = frozenset(("class", "height", "id", "preserveAspectRatio", "role", "viewBox", "width", "x", "y"))
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_LONG_NUMBERS_STAY = ("transform",)
_PATH = re.compile(r"[A-Za-z]|-?[\d.]+(?:e-?\d+)?")


def cleaned(
    svg: bytes, prefix: str, title: str, *, foreign: bool = False, height: float | None = None, class_: str = "plot"
) -> Element:
    """Return the drawing as elements: no styles, no strange ids, a role and a title.

    ``foreign``: not matplotlib's, so paths stay as they are. ``height`` in pixels, otherwise by the drawing's points.
    Raises ValueError for what is no drawing, or would act or fetch.
    """
    root = ElementTree.fromstring(svg)
    if not foreign:
        stamp(root)
    referred = [m for node in root.iter() for v in node.attrib.values() for m in _REFERENCE.findall(v)]
    known = {node.attrib.get("id") for node in root.iter()}
    prefix = prefix.removesuffix("-plot")
    used = {old: f"{prefix}-{i}" for i, old in enumerate(id for id in dict.fromkeys(referred) if id in known)}
    box = _box(root)
    # a point of print is four thirds of a pixel
    factor = 4 / 3 if height is None else height / float(box[3])
    parts = [b for child in root if (b := _convert(child, used, foreign)) is not None]
    own = {k: v for k, v in _attributes(root, used, foreign).items() if k not in _FRAME}
    defaults = {key: value for key, value in _INHERITED if class_ == "plot"}
    head = [*(defaults | own).items(), ("class", class_), ("viewBox", " ".join(box))]
    head += [("width", f"{float(box[2]) * factor:.0f}"), ("height", f"{float(box[3]) * factor:.0f}"), ("role", "img")]
    return checked("svg", head, [element("title", title), *gathered(parts if foreign else _tidy(parts))])


def _box(root: ElementTree.Element) -> list[str]:
    """Return the view box, from width and height where it has none."""
    if root.tag.rpartition("}")[2] != "svg":
        raise ValueError("it is no SVG")
    box = root.attrib.get("viewBox", "").replace(",", " ").split()
    if len(box) != 4:
        box = ["0", "0", *(re.sub(r"[^\d.].*", "", root.attrib.get(key, "")) for key in ("width", "height"))]
    if not all(re.fullmatch(r"-?[\d.]+", v) for v in box) or min(float(v) for v in box[2:]) <= 0:
        raise ValueError("it has no size")
    return box


def _convert(node: ElementTree.Element, used: Mapping[str, str], foreign: bool) -> Element | None:
    tag = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
    if tag in _DROPPED or tag not in TAGS:
        return None
    children: list[Element | str] = [node.text] if tag in ("text", "tspan") and node.text else []
    inner = [c for child in node if (c := _convert(child, used, foreign)) is not None]
    children += gathered(inner if foreign else _tidy(inner))
    attributes = _attributes(node, used, foreign)
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
    """Write path data with one decimal, a tenth of a point, and no space or letter that can be spared."""
    out, command, at = "", "", ["", ""]
    for letter, numbers in _commands(data):
        if letter == "L" and numbers[0] == at[0]:
            letter, numbers, at = "V", numbers[1:], numbers
        elif letter == "L" and numbers[1] == at[1]:
            letter, numbers, at = "H", numbers[:1], numbers
        else:
            at = numbers[-2:] or at
        for k, text in enumerate(numbers):
            # a command that is said once holds on; after a move it would be a line
            spaced = k > 0 or (letter == command and letter != "M")
            lead = ("" if text.startswith("-") else " ") if spaced else letter
            out += lead + text
        if not numbers:
            out += letter
        command = letter
    return out


def _commands(data: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a path one by one: a letter, and its numbers as short as they can be."""
    letter = ""
    numbers: list[str] = []
    for part in _PATH.findall(data):
        if part.isalpha():
            if letter:
                yield letter, numbers
            letter, numbers = part, []
        else:
            numbers.append(_short(float(part)))
    if letter:
        yield letter, numbers


def _short(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _attributes(node: ElementTree.Element, used: Mapping[str, str], foreign: bool) -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in [*node.attrib.items(), *_style(node.attrib.get("style", ""))]:
        key = key.rpartition("}")[2]
        if key not in ATTRIBUTES or (key == "id" and value not in used) or value.startswith("rotate(-0 "):
            continue
        if key == "font-family" or (key, value) in _INHERITED:  # once, at the root
            continue
        if key == "id":
            value = used[value]
        elif key == "href" and value.startswith("data:"):
            value = "".join(value.split())
        elif "#" in value and (key == "href" or "url(" in value):
            value = _REFERENCE.sub(lambda m: f"#{used.get(m[1], 'nowhere')}", value)
        elif key not in _LONG_NUMBERS_STAY and not foreign:
            value = _NUMBER.sub(lambda m: _short(float(m.group())), value)
        out[key] = " ".join(value.split())
    if "d" in out and not foreign:
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
