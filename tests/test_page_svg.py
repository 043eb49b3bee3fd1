"""Drawings: nothing gets in that could act, and the figures say what the numbers say."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from reportgen.page import axes, cleaner, figures, plots
from reportgen.page.palette import DASHES, SERIES
from reportgen.page.svg import Element, decimal, drawing, element, line, serialise, width_of

from .builders import HOSTILE, HOSTILE_NAMES, normal, stats


def parsed(drawn: Element | None) -> ElementTree.Element:
    assert drawn is not None
    return ElementTree.fromstring(serialise(drawn))


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_text_and_attributes_are_escaped(text: str) -> None:
    root = parsed(drawing(10, 10, text, element("text", text, fill=text.replace("url(", ""))))
    assert [child.tag for child in root] == ["title", "text"]


@pytest.mark.parametrize(
    ("tag", "attributes"),
    [
        ("script", {}),
        ("foreignObject", {}),
        ("image", {"href": "x"}),
        ("rect", {"onload": "alert(1)"}),
        ("rect", {"style": "fill:red"}),
        ("use", {"href": "https://example.org/x.svg"}),
        ("rect", {"fill": "url(https://example.org/x)"}),
    ],
)
def test_active_parts_are_refused(tag: str, attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="SVG"):
        element(tag, **attributes)


def test_coordinates_are_short() -> None:
    assert [decimal(v) for v in (1.0, 0.333333, -0.001, 120.5)] == ["1", "0.33", "0", "120.5"]


def test_a_drawing_has_a_role_and_a_title() -> None:
    root = parsed(figures.histogram(stats([0.1 * i for i in range(-20, 40)])))
    assert root.attrib["role"] == "img"
    assert root.find("title") is not None
    assert root.attrib["viewBox"] == "0 0 96 22"


def test_a_histogram_marks_zero_where_zero_is_inside() -> None:
    import random

    inside = parsed(figures.histogram(normal(random.Random(0), 0.0, 1.0, 300)))
    outside = parsed(figures.histogram(normal(random.Random(0), 9.0, 1.0, 300)))
    assert (len(inside.findall("path")), len(outside.findall("path"))) == (2, 1)


def test_a_histogram_path_ends_where_it_began() -> None:
    import random

    path = parsed(figures.histogram(normal(random.Random(1), 0.0, 1.0, 300))).findall("path")[0].attrib["d"]
    rises = [int(v) for v in re.findall(r"v(-?\d+)", path)]
    assert sum(rises) == 0
    assert sum(int(v) for v in re.findall(r"h(\d+)", path)) == 96


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [float("nan")]])
def test_no_histogram_without_a_spread(values: list[float]) -> None:
    assert figures.histogram(stats(values)) is None


def test_a_sparkline_breaks_at_gaps() -> None:
    path = parsed(figures.sparkline([1.0, None, 2.0, 3.0], "t")).findall("path")[0].attrib["d"]
    assert path.count("M") == 2
    assert figures.sparkline([None, 1.0], "t") is None


def test_matrix_paths_are_few() -> None:
    n = 32
    counts = [[(r * c) % 17 for c in range(n)] for r in range(n)]
    text = serialise(figures.matrix(counts, [str(i) for i in range(n)], "m"))
    assert len(text) < 12_000
    assert text.count("<path") <= 9


def test_matrix_numbers_are_shown_for_few_classes() -> None:
    root = parsed(figures.matrix([[5, 1], [0, 6]], ["a", HOSTILE], "m"))
    shown = {t.text for t in root.iter("text")}
    assert shown >= {"5", "1", "6", "a"}
    assert "0" not in shown  # an empty cell is none


def test_strip_levels_and_hover() -> None:
    rows = [figures.StripRow("std", [1.0, None, 0.0, 1e-6])]
    root = parsed(figures.strip(["a", "b", "c", HOSTILE], rows, ["error", "", "warning", "info"], "net"))
    hovers = [found for e in root.iter("path") if (found := e.findtext("title")) is not None]
    assert hovers == ["a", "b", "c", HOSTILE]


def curve(labels: list[str]) -> Element:
    lines = [axes.Line(label, [1.0, 2.0, 3.0], [1.0, None, 0.2 + i]) for i, label in enumerate(labels)]
    return axes.curves("Loss", lines, x_label="epoch", y_label="loss")


def test_a_name_of_a_curve_is_text_and_nothing_else() -> None:
    first = serialise(curve(["train_loss", HOSTILE]))
    assert first == serialise(curve(["train_loss", HOSTILE]))
    root = ElementTree.fromstring(first)
    assert root.attrib["role"] == "img"
    assert root.findtext("title") == "Loss"


def test_labels_are_text_whatever_they_hold() -> None:
    labels = [HOSTILE, "$x^2", "_hidden", "模型", "a & b"]
    text = serialise(curve(labels))
    assert "<img" not in text
    root = ElementTree.fromstring(text)
    shown = {"".join(t.itertext()).strip() for t in root.iter("text")}
    assert shown >= {HOSTILE, "$x^2", "_hidden", "模型", "a & b"}


def test_curves_differ_by_more_than_colour() -> None:
    """Without any colour each still has a dash and a marker that no other has."""
    lines = [axes.Line(str(i), [0.0, 1.0, 2.0], [0.0, 1.0 + i, 2.0]) for i in range(6)]
    root = parsed(axes.curves("Curves", lines, x_label="x", y_label="y"))
    drawn: dict[str, list[dict[str, str]]] = {colour: [] for colour in SERIES}
    for path in root.iter("path"):
        colour = path.get("stroke", path.get("fill", ""))
        if colour in drawn:
            drawn[colour].append(dict(path.attrib))
    dashes = {next(p.get("stroke-dasharray") for p in paths if p["d"].count("M") == 1) for paths in drawn.values()}
    assert len(dashes) == len(DASHES) == 6
    # the marker at the first point: its strokes, and whether they are filled
    markers = {
        next(
            (re.sub(r"^M[^a-z]*", "", re.split(r"(?<=.)M", p["d"])[0]), p.get("stroke-linecap"), "fill" in p)
            for p in paths
            if p["d"].count("M") == 3
        )
        for paths in drawn.values()
    }
    assert len(markers) == 6


def test_the_last_tick_is_not_cut_at_the_edge() -> None:
    root = parsed(axes.curves("Loss", [axes.Line("a", [1.0, 50_000.0], [1.0, 0.5])], x_label="step", y_label="loss"))
    (last,) = [t for t in root.iter() if t.text == "50,000"]
    width = float(root.get("width") or 0)
    assert width - 30 < float(last.get("x") or 0) <= width - width_of("50,000", 12) / 2


def test_curves_lie_where_the_ticks_say() -> None:
    """A point is as far between two ticks as its value is, on either kind of axis."""
    for values in ([0.0, 0.25, 0.5, 1.0], [1e-6, 1e-4, 1e-2, 1.0, 1.0]):
        line = axes.Line("a", [float(i) for i in range(len(values))], list(values))
        root = parsed(axes.curves("Curves", [line], x_label="x", y_label="y"))
        log = values[0] > 0
        # words that end at the axis, one beneath the other; names of axes are centred
        ends = [t for t in root.iter("text") if t.get("text-anchor") == "end"]
        ends += [t for g in root.iter("g") if g.get("text-anchor") == "end" for t in g.iter("text")]
        told = [t for t in ends if t.get("text-anchor", "end") == "end"]
        rows = {float((t.text or "").replace("\u2212", "-")): float(t.get("y", "nan")) - 4 for t in told}
        assert len(rows) >= 3
        measure = (lambda v: np.log10(v)) if log else (lambda v: v)
        slope, start = np.polyfit([measure(v) for v in rows], list(rows.values()), 1)
        curve_path = next(p for p in root.iter("path") if p.get("stroke") == SERIES[0] and p.get("stroke-width") == "2")
        at = [float(v) for v in re.findall(r"-?[\d.]+", curve_path.get("d", ""))[:2]]
        assert at[1] == pytest.approx(slope * measure(values[0]) + start, abs=0.6)


def marks(drawn: Element) -> list[float]:
    """Return where the round marks of curves stand, from left to right."""
    paths = [e.get("d", "") for e in parsed(drawn).iter() if e.get("stroke-width") == "6"]
    return sorted(float(x) for d in paths for x in re.findall(r"M([\d.]+) ", d))


def test_every_value_is_marked_where_there_is_room() -> None:
    few = axes.Line("a", [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0, 3.0])
    assert len(marks(axes.curves("c", [few], x_label="epoch", y_label="loss"))) == 4


def test_marks_among_crowded_values_are_evenly_far_apart_and_a_lone_curve_has_none() -> None:
    steps = [float(s) for s in (*range(1, 20), 30, 50, 80, 110, 170, 260, 420, 530)]
    crowded = axes.Line("a", steps, [1.0 + 0.1 * (i % 3) for i in range(len(steps))])
    assert marks(axes.curves("c", [crowded], x_label="step", y_label="norm")) == []
    lines = [crowded, axes.Line("b", [1.0, 530.0], [2.0, 2.0])]
    marked = marks(axes.curves("c", lines, x_label="step", y_label="norm"))[1:]  # the first stands beside the name
    assert 4 <= len(marked) <= 13
    assert min(b - a for a, b in pairwise(marked)) > 25


def test_the_best_value_tells_the_epoch_or_the_step() -> None:
    best = axes.Line("val_loss", [1.0, 2.0, 3.0], [3.0, 1.0, 2.0], best=(2.0, 1.0))
    assert "at step 2" in serialise(axes.curves("c", [best], x_label="step", y_label="loss"))


def test_odd_curves_are_drawn_or_left_out() -> None:
    for y in ([None, None], [1e308, -1e308], [0.0, 0.0], [5e-324, 1.0], [3.0, None], [1.0, 1.0 + 1e-12]):
        for made in (axes.curves, axes.depth_profile):
            text = serialise(made("t", [axes.Line("a", [1.0, 2.0], list(y))], x_label="x", y_label="y"))
            assert "nan" not in text
            assert "inf" not in text
    lone = serialise(axes.curves("t", [axes.Line("a", [1.0, 2.0, 3.0], [1.0, None, 2.0])], x_label="x", y_label="y"))
    assert lone.count("h.01") == 2  # a value between gaps is a dot


@pytest.mark.parametrize(
    ("step", "values", "words"),
    [
        (0.25, [0.0, 0.25], ["0", "0.25"]),
        (2500.0, [5000.0], ["5,000"]),
        (0.1, [-0.5], ["\u22120.5"]),
        (1e-5, [2e-5], ["2e\u22125"]),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(step: float, values: list[float], words: list[str]) -> None:
    assert [axes._word(v, step) for v in values] == words


def test_thinning_keeps_extremes_and_gaps() -> None:
    y: list[float | None] = [0.0] * 10_000
    y[1234], y[5000], y[7777] = 99.0, None, -5.0
    x, thin = axes.thinned([float(i) for i in range(10_000)], y)
    assert len(x) == len(thin) <= 500
    assert {99.0, -5.0, None} <= set(thin)


def test_plots_leave_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    def drawn() -> bytes:
        figure = Figure(figsize=(3, 2))
        figure.add_subplot().plot([1, 2, 3])
        return plots.drawn_by(figure, "s")

    plain = drawn()
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "path")
    before = mpl.rcParams.copy()
    assert drawn() == plain
    assert mpl.rcParams.copy() == before


def test_a_line_has_corners_only() -> None:
    assert line([(0, 0), (0, 2), (0, 5), (3, 5), (7, 5), (8, 6)]) == "M0 0v5h7l1 1"
    assert line([(0, 0), (0, 5), (0, 3), (0, 3)]) == "M0 0v5v-2"  # it turns round
    assert line([(0, 0), (2, 1), (4, 2)]) == "M0 0l2 1l2 1"
    assert line([(4, 4), (4, 4)]) == "M4 4"


def test_names_of_rows_have_the_room_they_take() -> None:
    short, long = (parsed(figures.bars(names, [1.0, 2.0], "t")) for names in (["0", "1"], ["0", "layer4.1.conv2"]))
    lefts = [float(root.findall(".//rect")[0].attrib["x"]) for root in (short, long)]
    assert lefts[0] < 40 < lefts[1]
    widths = [float(root.attrib["width"]) for root in (short, long)]
    assert widths[1] - widths[0] == pytest.approx(lefts[1] - lefts[0])


def test_many_bars_stand_closer_and_their_words_do_not_meet() -> None:
    few, many = (parsed(figures.bars([str(i) for i in range(n)], [1.0] * n, "t")) for n in (10, 30))
    assert float(few.attrib["height"]) == 220
    assert float(many.attrib["height"]) == 480
    for root in (few, many):
        feet = sorted({float(e.attrib["y"]) for e in root.iterfind(".//{*}text")})
        assert min(b - a for a, b in pairwise(feet)) >= 14


def test_cleaning_joins_lines_and_moves_nothing() -> None:
    svg = b"""<svg viewBox="0 0 90 60"><g id="a"><g><path d="M 10.04 50 L 10.04 2.26"
        style="fill: none; stroke: #123456"/>
        <text x="1" y="2" style="font: 9px 'Sans'">1</text></g><g><path d="M 20 50 L 20 -1e-05"
        style="fill: none; stroke: #123456"/></g></g><rect x="0" y="0" width="5" height="5"/><path d="M 30 50 L 30 2"
        style="fill: none; stroke: #123456"/><path d="M 40 50 L 41 2 Z" style="fill: #123456"/>
        <path d="M 50 50 L 51 2 Z" style="fill: #123456"/></svg>"""
    drawn = cleaner.cleaned(svg, "p", "title")
    paths = [dict(node.attributes)["d"] for node in drawn.children if isinstance(node, Element) and node.tag == "path"]
    # two grid lines in one path; one above the rectangle stays above it; filled shapes stay apart
    assert paths == ["M10 50V2.3M20 50V0", "M30 50V2", "M40 50L41 2Z", "M50 50L51 2Z"]
    assert [node.tag for node in drawn.children if isinstance(node, Element)][1:4] == ["path", "text", "rect"]


@pytest.mark.parametrize("names", [["a"], ["train_loss", "val_loss"], ["a rather long name of a curve"] * 3, ["b"] * 9])
def test_no_name_of_a_curve_stands_on_a_curve(names: list[str]) -> None:
    """The legend lies above the highest point that a curve may reach, and inside the picture."""
    lines = [axes.Line(n, [0.0, 1.0, 2.0], [3.0, 1.0, 3.0 + i], best=(1.0, 1.0)) for i, n in enumerate(names)]
    root = parsed(axes.curves("Curves", lines, x_label="epoch", y_label="loss"))
    texts = [e for e in root.iter("text") if (e.text or "").startswith((*names, "best"))]
    assert len(texts) == 2 * len(names)
    assert min(float(e.get("y", "nan")) - 12 for e in texts) >= 0
    assert max(float(e.get("x", "nan")) + 6 * len(e.text or "") for e in texts) < float(root.attrib["width"])
    frame = next(
        p.get("d", "") for p in root.iter("path") if re.fullmatch(r"M[\d.]+ [\d.]+V[\d.]+H[\d.]+", p.get("d", ""))
    )
    top, bottom = (float(v) for v in re.findall(r"[\d.]+", frame)[1:3])
    assert max(float(e.get("y", "nan")) for e in texts) <= top
    assert bottom - top > 60  # room is left for the curves
