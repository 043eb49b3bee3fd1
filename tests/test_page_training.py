"""The section on the run: what is drawn, what is folded and said so, and that a long run is no heavier."""

from __future__ import annotations

import gettext
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from unittest import mock

import pytest
from msgspec.structs import replace

from reportgen.document.facts import Finding, Severity
from reportgen.document.history import Bars, Event, HistogramRun, History, LoopFacts, OptimizerRun, Series, Trace
from reportgen.page import axes, language, wording, words_run
from reportgen.page.blocks import Block, Figure, KeyValues, Pictures, Section, Table
from reportgen.page.build import build
from reportgen.page.palette import HEAT
from reportgen.page.run_figures import HeatRow, Hill, PanelLine, _spread, heat, panel, ridgeline
from reportgen.page.sections import training
from reportgen.page.sections.run_log import event_blocks, loop_blocks
from reportgen.page.svg import Element, serialise
from reportgen.render.html import to_html

from . import builders


def section(history: History) -> Section:
    made = training.section(replace(builders.smallest(), training=history))
    assert made is not None
    return made


@cache
def watched() -> Section:
    return section(builders.watched())


def block(made: Section, id: str) -> Block:
    return next(b for b in made.blocks if getattr(b, "id", "") == id)


def elements(node: Element, tag: str) -> Iterator[Element]:
    for child in node.children:
        if isinstance(child, Element):
            if child.tag == tag:
                yield child
            yield from elements(child, tag)


def texts(node: Element) -> list[str]:
    return [str(c) for t in elements(node, "text") for c in t.children if isinstance(c, str)]


def pairs(made: Section, title: str) -> dict[str, str]:
    shown = next(b for b in made.blocks if isinstance(b, KeyValues) and b.title == title)
    return {p.label: f"{p.value} {p.note}".strip().replace("\u00a0", " ") for p in shown.pairs}


def test_everything_of_a_watched_run_is_shown() -> None:
    made = watched()
    ids = [getattr(b, "id", "") for b in made.blocks]
    wanted = "curves panels scalars update-ratios gradient-norms output-sizes silent-shares hills parameter-runs log"
    assert [i for i in ids if i in wanted.split()] == wanted.split()
    figures = [f for b in made.blocks if isinstance(b, Pictures) for f in b.figures]
    figures += [b for b in made.blocks if isinstance(b, Figure)]
    for figure in figures:
        # a text alternative that is more than nothing
        (title,) = [c for c in figure.drawing.children if isinstance(c, Element) and c.tag == "title"]
        assert title.children
        assert dict(figure.drawing.attributes)["role"] == "img"


def test_the_loop_is_told_in_words() -> None:
    told = pairs(watched(), "The loop")
    assert told["Backward passes per step"] == "2 declared: 2"
    assert told["Gradients"].startswith("cleared before each step")
    assert told["Clipping"] == "10.0 % of the steps to a norm of 1, 80.0 % of the length, median"
    assert told["Mode while training"].startswith("train mode")
    assert told["Loss scale"] == "65,536 → 32,768 halved once"
    assert told["Waiting for data"].startswith("40.0 % of the time")
    loop = LoopFacts(n_fresh_checked=10, n_stale=9, n_train_steps=1, n_eval_steps=3, n_train_validations=4)
    sick = section(replace(builders.watched(), loop=loop))
    told = pairs(sick, "The loop")
    assert told["Gradients"].startswith("not cleared before 90.0 % of the steps")
    assert told["Mode while training"].startswith("eval mode at 75.0 %")
    assert told["Mode while validating"].startswith("train mode")


def test_what_happened_is_listed_in_its_order() -> None:
    log = block(watched(), "log")
    assert isinstance(log, Table)
    assert [row[1].text for row in log.rows] == ["text", "output not finite", "resumed"]
    assert log.rows[1][1].tone == "error"
    many = [builders.Event(kind="text", step=i, detail=f"line {i}") for i in range(2000)]
    many.insert(1500, builders.Event(kind="nonfinite", step=1500, subject="loss", part="loss"))
    long = block(section(replace(builders.watched(), events=many)), "log")
    assert isinstance(long, Table)
    assert (len(long.rows), long.total_rows) == (200, 2001)
    assert any(row[1].tone == "error" for row in long.rows)


def test_parameters_that_need_a_look_say_why() -> None:
    rows = block(watched(), "parameter-runs")
    assert isinstance(rows, Table)
    remarks = [row[-1].text for row in rows.rows[:5]]
    assert remarks == ["", "frozen", "in no optimizer, never moved", "no gradient, never moved", ""]


def test_rates_of_all_groups_share_one_figure() -> None:
    made = block(watched(), "curves")
    assert isinstance(made, Pictures)
    (rate,) = [f for f in made.figures if f.title.startswith("Learning rate")]
    assert {"learning_rate/0", "learning_rate/1"} <= set(texts(rate.drawing))


def test_the_best_epoch_is_marked() -> None:
    made = block(section(builders.history()), "curves")
    assert isinstance(made, Pictures)
    assert any(
        text.startswith("best val_loss") and text.endswith("at epoch 21") for text in texts(made.figures[0].drawing)
    )


def test_many_layers_are_folded_by_a_rule_that_is_stated() -> None:
    made = block(section(builders.watched(layers=200)), "update-ratios")
    assert isinstance(made, Figure)
    assert "Of 200 rows the 20 with the smallest and the 20 with the largest medians are drawn." in made.caption
    assert len([t for t in texts(made.drawing) if "weight" in t]) == 40


@pytest.mark.slow
def test_a_long_run_costs_what_a_short_one_does() -> None:
    """A million steps and a hundred scalars against a thousand steps and six: same bytes to a factor, same figures."""
    short = replace(builders.smallest(), training=builders.watched())
    long = replace(builders.smallest(), training=builders.watched(100, 2000, 200, 24, 1_000_000))
    sizes, drawn = [], []
    for report in (short, long):
        with mock.patch.object(axes, "curves", wraps=axes.curves) as slow:
            page = to_html(build(report))
        sizes.append(len(page))
        drawn.append(slow.call_count)
        ids = Counter(re.findall(rb' id="?([^" >]+)', page))
        assert max(ids.values()) == 1
        assert b"style=" not in page
    assert drawn[0] == drawn[1] <= 5
    assert sizes[1] < 700_000
    made = block(section(builders.watched(100, 2000, 200, 24, 1_000_000)), "panels")
    assert isinstance(made, Pictures)
    assert len(made.figures) == 24
    assert "more are in the table only" in made.caption


@pytest.mark.parametrize("value", [None, 0.0, -1.0, 1e308, float("inf")])
def test_odd_values_are_drawn_or_left_out(value: float | None) -> None:
    rows = [HeatRow("a", [(1.0, value), (2.0, 1.0)]), HeatRow("b" * 100, [(1.0, value)])]
    assert "NaN" not in serialise(heat(rows, "t", axis="step", log=True, span=(1e-3, 1.0)))
    finite = value if value is not None and abs(value) < 1e300 else None
    drawn = serialise(panel([PanelLine("a", [1.0, 2.0], [finite, 1.0])], "t", axis="step"))
    assert "nan" not in drawn
    series = [Series(name="val_x", axis="step", x=[1.0, 2.0, 3.0], y=[finite, 1.0, 2.0], n=3)]
    assert section(History(series=series, steps=3))


def test_hills_keep_their_counts() -> None:
    """All of a distribution inside the range is drawn, in the right places."""
    hill = Hill(1.0, -1.0, 1.0, [10, 0, 30, 60])
    spread = _spread(hill, -1.0, 1.0)
    assert sum(spread) == pytest.approx(100)
    assert sum(spread[:8]) == pytest.approx(10)
    assert sum(spread[24:]) == pytest.approx(60)
    point = Hill(1.0, 0.5, 0.5, [7])
    assert sum(_spread(point, 0.0, 1.0)) == 7
    assert "NaN" not in serialise(ridgeline([point, point], "t", axis="step"))


def test_hills_say_when_not_all_are_drawn() -> None:
    made = block(section(builders.watched(layers=40)), "hills")
    assert isinstance(made, Pictures)
    assert len(made.figures) == 8
    assert "8 of 40 distributions are drawn" in made.caption
    empty = [HistogramRun(name="a", part="other", axis="epoch", moments=[Bars(x=1.0, low=0, high=1, counts=[0])] * 2)]
    bare = section(replace(builders.watched(), histograms=empty))
    assert not [b for b in bare.blocks if getattr(b, "id", "") == "hills"]


def test_levels_of_heat_follow_the_values() -> None:
    rows = [HeatRow("low", [(1.0, 1e-5), (2.0, 1e-5)]), HeatRow("high", [(1.0, 1e-1), (2.0, 1e-1)])]
    drawn = heat(rows, "t", axis="step", log=True, span=(1e-5, 1e-1))
    cells = list(elements(drawn, "path"))
    assert [dict(p.attributes)["stroke"] for p in cells] == [HEAT[1], HEAT[8]]


def test_a_trace_without_values_is_no_row() -> None:
    run = builders.watched(layers=1)
    silent = replace(run.parameters[0], update_ratio=Trace(x=[1.0, 2.0], y=[None, None]))
    ids = [getattr(b, "id", "") for b in section(replace(run, parameters=[silent])).blocks]
    assert "update-ratios" not in ids


def test_optimizers_that_followed_one_another_say_when() -> None:
    def staged(name: str, n: int, first: int, last: int) -> OptimizerRun:
        settings: dict[str, float | str | bool | None] = {
            "lr": 0.1,
            "foreach": None,
            "amsgrad": False,
            "nesterov": True,
        }
        return OptimizerRun(name=name, n_steps=n, settings=settings, first_step=first, last_step=last, label=name[:1])

    loop = LoopFacts(optimizers=[staged("SGD", 20, 1, 20), staged("AdamW", 1980, 21, 2000)])
    table = next(b for b in loop_blocks(History(steps=2000, loop=loop)) if isinstance(b, Table))
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[:3] for row in rows] == [["SGD", "S", "20 (1–20)"], ["AdamW", "A", "1,980 (21–2,000)"]]
    assert rows[0][-1] == "lr = 0.1, nesterov = True"


def test_a_run_gone_on_with_says_how_far_it_had_come() -> None:
    gap = Event(kind="gap", step=14, value=16.0)
    (table,) = event_blocks(History(steps=28, events=[gap]))
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]][:2] == ["step 14", "resumed"]
    assert "16" in table.rows[0][3].text


class Quoted(gettext.NullTranslations):
    """A catalogue that marks all that goes through it."""

    def gettext(self, message: str) -> str:
        return f"«{message}»"


@pytest.mark.parametrize("rule", sorted(words_run.RULES))
def test_every_word_on_a_run_goes_through_the_catalogue(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_catalogue", lambda name: Quoted())
    for axis, subject in (("epoch", "val_loss"), ("step", "fc.weight")):
        for part in ("loss", "gradient", "activation", "weight"):
            for reason in ("no step", "cleared", "zero gradient", "no effect"):
                detail = {"axis": axis, "part": part, "reason": reason, "names": "fc", "before": "x"}
                finding = Finding(
                    rule=rule,
                    severity=Severity.INFO,
                    subject=subject,
                    section="training",
                    evidence=Evidence(),
                    threshold={},
                    detail=detail,
                )
                told = wording.describe(finding)
                assert told.startswith("«"), told
                assert told.endswith("»"), told
    assert wording.rule_title(rule).startswith("«")
    assert wording.doubt(rule) == "" or wording.doubt(rule).startswith("«")


class Evidence(dict[str, float]):
    """Any number that a sentence asks for."""

    def __missing__(self, key: str) -> float:
        return 2.5


def test_causes_of_a_run_go_through_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_catalogue", lambda name: Quoted())
    assert all(wording.cause_title(cause).startswith("«") for cause in words_run.CAUSES)
