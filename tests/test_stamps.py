"""Markers of curves: one path instead of a reference each, at the same places and as large."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from reportgen.page import cleaner, plots
from reportgen.page.stamps import stamp
from reportgen.page.svg import Element, serialise

_USE = "{http://www.w3.org/2000/svg}use"


def drawn(marker: str, **style: object) -> tuple[bytes, list[tuple[float, float]]]:
    """Return a drawing of four markers, and where matplotlib puts them."""
    figure = Figure(figsize=(3, 2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    figure.patch.set_visible(False)
    axes.plot([0, 1, 2, 4], [1.0, 3.0, 2.0, 5.0], marker=marker, linestyle="none", color="#123456", **style)
    svg = plots.drawn_by(figure, "p")
    places = [
        (float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in ElementTree.fromstring(svg).iter(_USE)
    ]
    assert len(places) == 4
    return svg, places


def paths(svg: bytes) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def walk(node: Element, held: dict[str, str]) -> None:
        said = held | dict(node.attributes)
        found.extend([said] if node.tag == "path" else [])
        for child in node.children:
            if isinstance(child, Element):
                walk(child, said)

    walk(cleaner.cleaned(svg, "p", "title"), {})
    return found


def test_round_markers_are_dots_of_the_same_size_at_the_same_places() -> None:
    svg, places = drawn("o", markersize=5)
    (path,) = paths(svg)
    moves = [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+)[ ]?(-?[\d.]+)h0\.1", path["d"])]
    assert moves == [(pytest.approx(x, abs=0.06), pytest.approx(y, abs=0.06)) for x, y in places]
    assert (path["fill"], path["stroke"], path["stroke-linecap"]) == ("none", "#123456", "round")
    assert float(path["stroke-width"]) == pytest.approx(5 + 1, abs=0.1)  # the disc and the edge around it


@pytest.mark.parametrize(("marker", "corners"), [("s", 4), ("D", 4), ("^", 3), ("v", 3)])
def test_markers_of_few_edges_are_written_out_around_their_places(marker: str, corners: int) -> None:
    svg, places = drawn(marker, markersize=6)
    (path,) = paths(svg)
    shapes = [s for s in path["d"].split("M") if s]
    assert len(shapes) == 4
    for shape, (x, y) in zip(shapes, places, strict=True):
        xs, ys, at = [], [], [0.0, 0.0]
        for letter, numbers in re.findall(r"(^|[LHV])([-\d. ]+)", shape):
            values = [float(v) for v in re.findall(r"-?[\d.]+", numbers)]
            if letter in ("H", "V"):
                at[letter == "V"] = values[0]
                xs, ys = [*xs, at[0]], [*ys, at[1]]
                continue
            for a, b in zip(values[::2], values[1::2], strict=True):
                at = [a, b]
                xs, ys = [*xs, a], [*ys, b]
        assert len(set(zip(xs, ys, strict=True))) == corners
        assert (min(xs) + max(xs)) / 2 == pytest.approx(x, abs=0.11)
        assert (min(ys) + max(ys)) / 2 == pytest.approx(y, abs=0.11)
        assert max(xs) - min(xs) == pytest.approx(6 * (math.sqrt(2) if marker == "D" else 1), abs=0.21)


@pytest.mark.parametrize(
    ("marker", "style"),
    [("o", {"markerfacecolor": "none"}), ("P", {}), ("o", {"alpha": 0.5}), ("*", {})],
    ids=["ring", "many edges", "pale", "star"],
)
def test_what_is_neither_stays_as_it_was(marker: str, style: dict[str, object]) -> None:
    svg, places = drawn(marker, **style)
    root = ElementTree.fromstring(svg)
    stamp(root)
    assert len(list(root.iter(_USE))) == len(places)


def test_the_marker_of_a_legend_stays() -> None:
    """It is a reference to the definition that the curve has."""
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    for i, marker in enumerate("os"):
        axes.plot([1.0, 2.0, 3.0], [1.0, 3.0, 2.0 + i], marker=marker, label=marker)
    axes.legend()
    axes.axis("off")
    text = serialise(cleaner.cleaned(plots.drawn_by(figure, "c"), "c", "Curves"))
    assert "nowhere" not in text
    assert "<use" not in text
    assert text.count("h0.1") == 4  # three points and the legend of the first curve
    assert len(re.findall(r"M[^M]*z", text)) >= 4  # squares: those of the second
