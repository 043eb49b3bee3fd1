"""The one place where SVG elements are built and written: every text is escaped, nothing active gets in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct

from .formats import visible

TAGS = frozenset(
    (
        "svg",
        "title",
        "desc",
        "g",
        "defs",
        "clipPath",
        "path",
        "rect",
        "line",
        "polyline",
        "circle",
        "ellipse",
        "polygon",
        "image",
        "linearGradient",
        "radialGradient",
        "stop",
        "text",
        "tspan",
        "use",
    )
)
_PAINT = (
    "fill fill-opacity fill-rule opacity stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin "
    "stroke-miterlimit stroke-opacity stroke-width clip-path clip-rule clipPathUnits"
)
_GRADIENT = "fx fy gradientTransform gradientUnits offset stop-color stop-opacity"
_PLACE = "cx cy d dx dy height points preserveAspectRatio r rx ry transform viewBox width x x1 x2 y y1 y2"
_REST = "aria-hidden class dominant-baseline font-family font-size font-style font-weight href id role text-anchor"
ATTRIBUTES = frozenset(f"{_PAINT} {_PLACE} {_GRADIENT} {_REST}".split())
_PICTURE = re.compile(r"data:image/(png|webp);base64,[A-Za-z0-9+/]+=*")
_LOCAL = re.compile(r"url\(#[\w.-]+\)|#[\w.-]+")


class Element(Struct, frozen=True):
    """One SVG element. Children are elements or text."""

    tag: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: tuple[Element | str, ...] = ()


def element(tag: str, *children: Element | str, **attributes: str | float | None) -> Element:
    """Build an element; ``stroke_width=1`` is stroke-width, ``class_`` is class, None is left out."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return checked(tag, ((k, v if isinstance(v, str) else decimal(v)) for k, v in pairs if v is not None), children)


def checked(tag: str, attributes: Iterable[tuple[str, str]], children: Iterable[Element | str]) -> Element:
    """Build an element from parts that may come from outside; refuse what could act or fetch."""
    pairs = tuple(attributes)
    if tag not in TAGS:
        raise ValueError(f"SVG element <{tag}> is not among the drawing elements: {', '.join(sorted(TAGS))}.")
    for key, value in pairs:
        if key not in ATTRIBUTES:
            raise ValueError(f"SVG attribute {key!r} is not a presentation attribute that reportgen draws with.")
        inside = _PICTURE if tag == "image" and key == "href" else _LOCAL
        if (key == "href" or "url(" in value) and not inside.fullmatch(value):
            raise ValueError(f"SVG attribute {key}={value!r} points outside its own drawing.")
    return Element(tag, pairs, tuple(children))


_INHERITED = frozenset(
    (
        "fill",
        "fill-opacity",
        "font-size",
        "stroke",
        "stroke-dasharray",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-width",
        "text-anchor",
    )
)
_RUN = 3  # neighbours from which a group around them is shorter


def gathered(children: Iterable[Element]) -> list[Element]:
    """Say once, in a group around them, what neighbours of one kind have in common."""
    out: list[Element] = []
    for _tag, run in groupby(children, key=lambda child: child.tag):
        alike = list(run)
        shared = set.intersection(*(set(e.attributes) for e in alike)) if len(alike) >= _RUN else set()
        shared = (
            {pair for pair in shared if pair[0] in _INHERITED} if alike[0].tag in ("path", "text", "use") else set()
        )
        if not shared:
            out += alike
            continue
        bare = [Element(e.tag, tuple(a for a in e.attributes if a not in shared), e.children) for e in alike]
        out.append(Element("g", tuple(sorted(shared)), tuple(bare)))
    return out


def drawing(width: float, height: float, title: str, *children: Element, class_: str = "") -> Element:
    """Build a whole drawing. Its title is what a screen reader says and what hovering shows."""
    return element(
        "svg",
        element("title", title),
        *gathered(children),
        class_=class_ or None,
        viewBox=f"0 0 {decimal(width)} {decimal(height)}",
        width=width,
        height=height,
        font_family="Report Sans, sans-serif" if class_ == "chart" else None,
        role="img",
    )


def ornament(width: float, height: float, title: str, *children: Element, class_: str = "") -> Element:
    """Build a drawing that repeats what stands beside it in words, so screen readers pass it by; PDF wants a title."""
    box = f"0 0 {decimal(width)} {decimal(height)}"
    size = {"width": width, "height": height}
    words = element("title", title)
    return element("svg", words, *children, class_=class_ or None, viewBox=box, aria_hidden="true", **size)


def decimal(value: float) -> str:
    """Write a coordinate with two decimals at most."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))
    return "0" if text == "-0" else text


def _text(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def serialise(node: Element | str) -> str:
    """Write an element as text for inlining in a page."""
    parts: list[str] = []
    _write(node, parts)
    return "".join(parts)


def _write(node: Element | str, parts: list[str]) -> None:
    if isinstance(node, str):
        parts.append(_text(node))
        return
    parts.append(f"<{node.tag}")
    parts.extend(f' {key}="{_text(value).replace(chr(34), "&quot;")}"' for key, value in node.attributes)
    if not node.children:
        parts.append("/>")
        return
    parts.append(">")
    for child in node.children:
        _write(child, parts)
    parts.append(f"</{node.tag}>")
