"""Drawing the boxes of a model one beneath the other, with arcs for what does not go to the next box."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from .boxes import Arc, Diagram
from .figures import mark
from .formats import name
from .language import _
from .palette import ACCENT, HEAT, INK, MUTED, TONES
from .svg import Element, decimal, element, width_of

MAX_ARCS = 90
_LEFT, _WIDTH, _HEIGHT, _PITCH = 22, 362, 24, 31
_LANE, _LANES = 9, 10
_FONT = 11.5


class Label(Struct, frozen=True):
    """What is written in and about a box."""

    name: str
    kind: str
    output: str
    share: float = 0.0
    """Of all parameters."""
    tone: str = ""
    hover: str = ""
    block: bool = False
    """It can be shown from inside: drawn with a double edge."""


def draw(diagram: Diagram, labels: Sequence[Label], title: str) -> Element:
    """Draw a diagram. The pale part of a box is its share of all parameters."""
    parts = [*_boxes(labels), *_arcs(diagram)]
    lanes = max([0, *_lanes(_far(diagram)).values()]) + 1
    width = _LEFT + _WIDTH + 12 + _LANE * min(lanes, _LANES)
    height = len(labels) * _PITCH
    words = element("title", title)
    told = element("desc", _("The same stands as a list below the drawing."))
    box = f"0 0 {width} {height}"
    return element(
        "svg",
        words,
        told,
        *parts,
        class_="flow",
        viewBox=box,
        width=width,
        height=height,
        font_size=_FONT,
        role="img",
    )


def _boxes(labels: Sequence[Label]) -> list[Element]:
    """Return shares, edges, signs and texts; what looks alike is one path."""
    edges: dict[str, list[str]] = {}
    shares, texts, signs = [], [], []
    for i, label in enumerate(labels):
        y = i * _PITCH + 1
        edges.setdefault(label.tone, []).append(f"M{_LEFT} {y}h{_WIDTH}v{_HEIGHT}h-{_WIDTH}z")
        if label.block:
            edges[label.tone].append(f"M{_LEFT + 3} {y + _HEIGHT + 2.5}h{_WIDTH - 6}")
        if label.share > 0:
            wide = decimal(max(round(min(label.share, 1.0) * _WIDTH, 1), 1.0))
            shares.append(f"M{_LEFT} {y}h{wide}v{_HEIGHT}h-{wide}z")
        if label.tone:
            place = f"translate(0 {y + 3})"
            signs.append(element("path", d=mark(_LEFT - 14, label.tone), fill=TONES[label.tone], transform=place))
        texts.append(_text(label, y))
    out = [element("path", d="".join(shares), fill=HEAT[1])] if shares else []
    for tone, paths in sorted(edges.items()):
        edge = {"stroke": TONES[tone], "stroke_width": "1.5" if tone else ".8"}
        out.append(element("path", d="".join(paths), fill="none", **edge))
    return [*out, *signs, *texts]


def _text(label: Label, y: float) -> Element:
    output = shapes(label.output, 126)
    room = _WIDTH - 14 - width_of(output, _FONT) - 9
    kind = clipped(label.kind, max(0.45 * room, room - width_of(label.name, _FONT) - 8))
    shown = clipped(label.name, room - width_of(kind, _FONT) - 8)
    line = y + 16
    first = element("text", shown, x=_LEFT + 7, y=line, fill=INK) if shown else None
    place = _LEFT + 7 + (width_of(shown, _FONT) + 7 if shown else 0)
    second = element("text", kind, x=place, y=line, fill=MUTED)
    last = element("text", output, x=_LEFT + _WIDTH - 7, y=line, text_anchor="end", fill=MUTED) if output else None
    hover = [element("title", label.hover)] if label.hover else []
    return element("g", *hover, *(part for part in (first, second, last) if part is not None))


def shapes(text: str, width: float) -> str:
    """Return the shapes of outputs, of several as many as there is room for, and how many more there are."""
    every = text.split(", ")
    for shown in range(len(every), 0, -1):
        more = f", +{len(every) - shown}" if shown < len(every) else ""
        told = ", ".join(every[:shown]) + more
        if width_of(told, _FONT) <= width:
            return clipped(told, width)
    return clipped(every[0], width - width_of(more, _FONT)) + more


def clipped(text: str, width: float) -> str:
    """Cut a text in its middle, where dotted names and shapes say least."""
    shown = name(text) if text else ""
    if width_of(shown, _FONT) <= width:
        return shown
    keep = max(2, int(len(shown) * width / max(width_of(shown, _FONT), 1)) - 1)
    tail = keep // 2
    return shown[: keep - tail] + "…" + shown[len(shown) - tail :]


def _far(diagram: Diagram) -> list[Arc]:
    far = [arc for arc in diagram.arcs if arc.target != arc.source + 1]
    return sorted(far, key=lambda arc: (arc.target - arc.source, arc.source))[:MAX_ARCS]


def left_out(diagram: Diagram) -> int:
    """Return how many arcs there was no room for, the longest."""
    return sum(arc.target != arc.source + 1 for arc in diagram.arcs) - len(_far(diagram))


def _lanes(arcs: Sequence[Arc]) -> dict[Arc, int]:
    """Give every arc a lane, the short ones near the boxes; arcs in one lane do not run beside each other."""
    taken: list[list[tuple[int, int]]] = []
    lanes = {}
    for arc in arcs:
        free = (i for i, lane in enumerate(taken) if all(arc.target <= a or arc.source >= b for a, b in lane))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((arc.source, arc.target))
        lanes[arc] = lane
    return lanes


def _arcs(diagram: Diagram) -> list[Element]:
    near = [arc.source for arc in diagram.arcs if arc.target == arc.source + 1]
    middle, gap = _LEFT + _WIDTH // 2, _PITCH - _HEIGHT
    ticks = "".join(f"M{middle} {i * _PITCH + 1 + _HEIGHT}v{gap}" for i in near)
    out = [element("path", d=ticks, stroke=MUTED, stroke_width=1.5)] if near else []
    paths: dict[str, list[str]] = {"skip": [], "branch": []}
    heads = []
    for arc, lane in _lanes(_far(diagram)).items():
        edge = _LEFT + _WIDTH
        x = edge + 8 + _LANE * min(lane, _LANES - 1)
        start, end = arc.source * _PITCH + _HEIGHT - 4, arc.target * _PITCH + 9
        way = "skip" if arc.way == "skip" else "branch"
        paths[way].append(f"M{edge} {start}H{x - 5}q5 0 5 5V{end - 5}q0 5-5 5H{edge + 4}")
        heads.append(f"M{edge} {end}l6-3.5v7z")
    if paths["branch"]:
        dashes = {"stroke_dasharray": "4 2"}
        out.append(element("path", d="".join(paths["branch"]), fill="none", stroke=MUTED, stroke_width=1.2, **dashes))
    if paths["skip"]:
        out.append(element("path", d="".join(paths["skip"]), fill="none", stroke=ACCENT, stroke_width=1.5))
    return [*out, element("path", d="".join(heads), fill=INK)] if heads else out
