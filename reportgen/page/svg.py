"""The one place where SVG elements are built and written: every text is escaped, nothing active gets in."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
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
_GATHERED = ("circle", "path", "rect", "text", "use")


def gathered(children: Iterable[Element]) -> list[Element]:
    """Say once, in a group around them, what most of the neighbours of one kind have in common.

    Something is said for all only where each of them says it: the others keep their own word, which counts for more.
    """
    out: list[Element] = []
    for tag, run in groupby(children, key=lambda child: child.tag):
        alike = [_within(child) if tag == "g" else child for child in run]
        shared = _shared(alike) if tag in _GATHERED and len(alike) >= _RUN else {}
        if not shared:
            out += alike
            continue
        said = set(shared.items())
        bare = [Element(e.tag, tuple(a for a in e.attributes if a not in said), e.children) for e in alike]
        out.append(Element("g", tuple(sorted(said)), tuple(bare)))
    return out


def _shared(alike: list[Element]) -> dict[str, str]:
    counts = Counter(pair for e in alike for pair in e.attributes if pair[0] in _INHERITED)
    told = Counter(key for e in alike for key, _value in e.attributes)
    shared: dict[str, str] = {}
    for (key, value), n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if told[key] == len(alike) and n >= _RUN:
            shared.setdefault(key, value)
    return shared


def _within(group: Element) -> Element:
    """Gather inside a group; what all that stands there has in common the group says itself."""
    if any(isinstance(child, str) for child in group.children):
        return group
    children = gathered(child for child in group.children if isinstance(child, Element))
    if (
        len(children) == 1
        and children[0].tag == "g"
        and not set(dict(children[0].attributes)) & set(dict(group.attributes))
    ):
        return Element("g", (*group.attributes, *children[0].attributes), children[0].children)
    return Element("g", group.attributes, tuple(children))


def line(points: Iterable[tuple[float, float]]) -> str:
    """Return the path data of a line through points, to a tenth: what has moved since the last one, and no more."""
    out, moves, at = "", list[tuple[int, int]](), (0, 0)
    for i, (px, py) in enumerate(points):
        here = (round(10 * px), round(10 * py))
        dx, dy = here[0] - at[0], here[1] - at[1]
        if i == 0:
            out = f"M{decimal(dx / 10)} {decimal(dy / 10)}"
        elif moves and _straight_on(moves[-1], (dx, dy)):
            moves[-1] = (moves[-1][0] + dx, moves[-1][1] + dy)
        else:
            moves.append((dx, dy))
        at = here
    return out + "".join(_move(dx, dy) for dx, dy in moves)


def _straight_on(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a move goes on along the axis, and the way, of the one before it: there is no corner to be drawn."""
    return any(before[k] == after[k] == 0 and before[1 - k] * after[1 - k] >= 0 for k in (0, 1))


def _move(dx: int, dy: int) -> str:
    if dx and dy:
        down = decimal(dy / 10)
        return f"l{decimal(dx / 10)}{'' if down.startswith('-') else ' '}{down}"
    return f"h{decimal(dx / 10)}" if dx else f"v{decimal(dy / 10)}" if dy else ""


_FITS = 426  # pixels up to which a phone of 360 shrinks words of 12 to no less than 9; it scrolls what is wider
_WIDE = 660  # pixels from which a chart takes the whole width of a page


def drawing(width: float, height: float, title: str, *children: Element, class_: str = "") -> Element:
    """Build a whole drawing. Its title is what a screen reader says and what hovering shows."""
    if class_ == "chart" and width > _FITS:
        class_ = "chart wide" if width > _WIDE else "chart mid"
    return element(
        "svg",
        element("title", title),
        *gathered(children),
        class_=class_ or None,
        viewBox=f"0 0 {decimal(width)} {decimal(height)}",
        width=width,
        height=height,
        role="img",
    )


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is at a size in pixels; signs of East Asian scripts take a square."""
    return sum(_wide(c) for c in text) * size


def _wide(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.0
    return 0.34 if sign in " .,:;'|()[]iljtfI" else 0.8 if sign in "mwMW×+%@…" else 0.62


def kept_inside(text: str, x: float, size: float, width: float) -> float:
    """Return where the middle of a text lies that would be at x, moved so far that no letter is cut at an edge."""
    half = width_of(text, size) / 2 + 2  # letters differ a little between fonts
    return round(min(max(x, half), max(width - half, half)), 1)


def shortened(text: str, size: float, room: float) -> str:
    """Cut a text from the right until there is room for it, in pixels."""
    while len(text) > 2 and width_of(text, size) > room:
        text = text[:-2] + "…"
    return text


def gutter(labels: Iterable[str]) -> int:
    """Return the pixels that names of rows take to the left of a chart, with the gap behind them."""
    return 16 + math.ceil(max((width_of(label, 12) for label in labels), default=0.0))


def ornament(width: float, height: float, title: str, *children: Element, class_: str = "") -> Element:
    """Build a drawing that repeats what stands beside it in words, so screen readers pass it by; PDF wants a title."""
    box = f"0 0 {decimal(width)} {decimal(height)}"
    size = {"width": width, "height": height}
    words = element("title", title)
    return element("svg", words, *children, class_=class_ or None, viewBox=box, aria_hidden="true", **size)


def decimal(value: float) -> str:
    """Write a coordinate with two decimals at most; one suffices beyond 10."""
    text = (
        f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".") if value != int(value) else f"{value:.0f}"
    )
    return "0" if text == "-0" else text


def _text(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def serialise(node: Element | str, *, html: bool = False) -> str:
    """Write an element as text for inlining in a page: as XML, or as HTML, which can do without most quotes."""
    parts: list[str] = []
    _write(node, parts, html)
    return "".join(parts)


# nothing that could end a value without quotes, and no slash that could end the element
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9#().,:%+-]+")


def _write(node: Element | str, parts: list[str], html: bool) -> None:
    if isinstance(node, str):
        parts.append(_text(node))
        return
    parts.append(f"<{node.tag}")
    told = [(html and _NEEDS_NO_QUOTES.fullmatch(value) is not None, key, value) for key, value in node.attributes]
    if not node.children:
        told.sort(key=lambda part: not part[0])  # after a quote an element may end without a space
    parts += [f" {key}={value}" if bare else f' {key}="{_quoted(value)}"' for bare, key, value in told]
    ends_bare = bool(told) and told[-1][0]
    if not node.children:
        parts.append(" />" if ends_bare else "/>")
        return
    parts.append(">")
    for child in node.children:
        _write(child, parts, html)
    parts.append(f"</{node.tag}>")


def _quoted(value: str) -> str:
    return _text(value).replace('"', "&quot;")
