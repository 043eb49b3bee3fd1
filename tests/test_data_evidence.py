"""What is wrong with data is shown in a picture that is drawn from the facts."""

from __future__ import annotations

import ast
import random
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from reportgen.document.facts import DatasetFacts, Diagnosis, FeatureStats, Finding, Report, Severity
from reportgen.health.syndromes import SYNDROMES
from reportgen.page import places
from reportgen.page.data_evidence import _BY_RULE, _PARTS, _SIDE_BY_SIDE, of_data
from reportgen.page.evidence import picture
from reportgen.page.evidence_bars import Bar, Range, bars, binned, ranges, shared_axis
from reportgen.page.language import speaking
from reportgen.page.palette import ERROR
from reportgen.page.svg import serialise
from reportgen.page.words_evidence import quantity

from . import builders


def finding(rule: str, subject: str = "data", **evidence: float) -> Finding:
    return Finding(rule=rule, severity=Severity.WARNING, subject=subject, section="dataset", evidence=evidence)


def data(mean: float, std: float, **more: object) -> DatasetFacts:
    column = builders.normal(random.Random(0), mean, std, 900)
    facts = DatasetFacts(n_samples=900, n_batches=9, shape="100 x 2", dtype="float32", target=column)
    still = FeatureStats(index=0, stats=builders.normal(random.Random(1), 0.0, 1.0, 900))
    return replace(facts, features=[still, FeatureStats(index=1, stats=column)], **more)


def report(train: DatasetFacts, given: DatasetFacts) -> Report:
    return replace(builders.smallest(), train_dataset=train, dataset=given)


def test_a_part_of_a_whole_is_as_long_as_its_share() -> None:
    drawn = of_data(builders.smallest(), finding("leakage", shared=80, compared=160, copies_in_training=0.0))
    assert drawn is not None
    svg = serialise(drawn.drawing)
    assert re.search(rf'd="M0 16h150v9H0z" fill="{ERROR}"', svg)  # half of 300
    assert "80 of 160, 50.0\u00a0%" in svg


def test_the_longest_of_numbers_side_by_side_takes_the_whole_length() -> None:
    drawn = of_data(builders.smallest(), finding("d-order", same=400, expected=100, samples=500, excess=0.9))
    assert drawn is not None
    lengths = [float(n) for n in re.findall(r'd="M0 \d+h([\d.]+)v9H0z"', serialise(drawn.drawing))]
    assert lengths == [300, 75]


def test_nothing_is_drawn_of_what_is_nothing_or_unknown() -> None:
    assert bars([Bar("a", 0.0, "0")], "t") is None
    assert of_data(builders.smallest(), finding("leakage", compared=0)) is None
    assert of_data(builders.smallest(), finding("d-input-scale", "input 7")) is None
    assert of_data(builders.smallest(), finding("dead-relu", share=0.5)) is None


def test_a_column_on_a_raw_scale_stands_beside_where_it_is_expected() -> None:
    facts = data(500.0, 40.0)
    drawn = of_data(report(facts, facts), finding("d-input-scale", "input 1", mean=500.0, std=40.0))
    assert drawn is not None
    axis = shared_axis([facts.features[1].stats], (-2.0, 2.0))
    assert axis is not None
    assert axis[0] == -2.0
    assert 540 < axis[1] < 660  # the middle 99 % of N(500, 40), on bins of an eighth of an octave
    assert "input 1" in drawn.caption


@pytest.mark.parametrize(("high", "within"), [(1.0, 60.0), (40.0, 300.0)])
def test_targets_stand_beside_what_the_last_activation_reaches(high: float, within: float) -> None:
    """A sigmoid, or a rectifier, before targets from -2 to 2: reach is drawn no further than the targets need."""
    facts = data(0.0, 1.0)
    told = replace(finding("output-range", "output", low=0.0, high=high, outside=0.4), section="evaluation")
    drawn = of_data(report(facts, facts), told)
    assert drawn is not None
    svg = serialise(drawn.drawing)
    assert "within reach" in svg
    assert drawn.caption.startswith("Targets")
    start, width = map(float, re.findall(r'd="M([\d.]+) 12h([\d.]+)V', svg)[0])
    assert 0 < start < 300 - width + 1
    assert width == pytest.approx(within, rel=0.7)
    assert start + width <= 300.1
    alone = replace(finding("output-range", "output", low=0.0, high=1.0), section="evaluation")
    assert of_data(report(facts, facts), alone) is None


@pytest.mark.parametrize(("high", "right"), [(1.0, 175.0), (40.0, 250.0)])
def test_scores_stand_beside_what_the_last_activation_reached(high: float, right: float) -> None:
    """A sigmoid, or a rectifier, before a loss that applies softmax: the axis is even around zero, and wider."""
    bare = finding("output-range", "output", low=0.0, high=high)
    drawn = of_data(builders.smallest(), replace(bare, threshold={"bound": 2.0}, detail={"kind": "scores"}))
    assert drawn is not None
    assert drawn.caption.startswith("Scores")
    assert f">0 to {high:g}" in serialise(drawn.drawing).replace(".00", "").replace(".0", "")
    start, width = map(float, re.findall(r'd="M([\d.]+) 12h([\d.]+)V', serialise(drawn.drawing))[0])
    assert start == pytest.approx(150, abs=1)
    assert start + width == pytest.approx(right, abs=30)


def test_a_weight_that_is_not_finite_shows_how_much_of_it_is_not() -> None:
    """All of it may be: then there is no distribution to show instead."""
    facts = replace(finding("param-nonfinite", "conv1.weight", nan=3, inf=1, count=16), section="weights")
    told = Diagnosis(cause="non-finite-weights", severity=Severity.ERROR, subject="conv1.weight", findings=[facts])
    drawn = picture(builders.smallest(), told)
    assert drawn is not None
    assert "4 of 16, 25.0\xa0%" in serialise(drawn.drawing)
    assert "conv1.weight" in drawn.caption


def test_a_column_of_both_splits_shares_one_axis() -> None:
    drawn = of_data(report(data(0.0, 1.0), data(8.0, 1.0)), finding("d-train-val-shift", "input 1"))
    assert drawn is not None
    svg = serialise(drawn.drawing)
    paths = re.findall(r'd="M0 [\d.]+((?:V[\d.]+h[\d.]+)+)', svg)
    assert len(paths) == 2
    heights = [[float(v) for v in re.findall(r"V([\d.]+)h", path)] for path in paths]
    peaks = [row.index(min(row)) / len(row) for row in heights]
    assert peaks[0] < 0.35 < 0.65 < peaks[1]
    assert "training data" in svg
    assert "data given" in svg


def test_classes_of_both_splits_have_a_bar_each() -> None:
    train, given = data(0, 1, class_counts=[10, 80, 10]), data(0, 1, class_counts=[40, 40])
    drawn = of_data(report(train, given), finding("d-target-shift", "targets"))
    assert drawn is not None
    assert "class 0 to class 2" in drawn.caption
    drawn = of_data(report(train, given), finding("d-class-imbalance", "labels", **{"class": 2.0}))
    assert drawn is not None
    assert serialise(drawn.drawing).count("l3 5h-6z") == 1


def test_every_cause_of_data_has_a_picture() -> None:
    """Rules about data that may warn are drawn, but those whose number is a single one with its limit."""
    folder = Path(__file__).parents[1] / "reportgen" / "health" / "rules"
    rules = {
        k.value.value
        for path in ("dataset.py", "labels.py", "samples.py", "splits.py", "alike.py")
        for node in ast.walk(ast.parse((folder / path).read_text("utf-8")))
        if isinstance(node, ast.Call)
        for k in node.keywords
        if k.arg == "rule" and isinstance(k.value, ast.Constant)
    }
    assert len(rules) >= 18
    assert rules - set(_BY_RULE) == {"d-splits-apart", "d-label-range", "d-label-constant"}
    assert {rule for s in SYNDROMES for rule in s.proofs} >= {"leakage", "d-order", "d-input-scale"}


@pytest.mark.parametrize("rule", [*_PARTS, *_SIDE_BY_SIDE])
def test_pictures_speak_chinese(rule: str) -> None:
    keys = _PARTS[rule][:2] if rule in _PARTS else _SIDE_BY_SIDE[rule][0]
    with speaking("zh"):
        drawn = of_data(builders.smallest(), finding(rule, **{key: 0.5 for key in keys if key}))
        assert drawn is not None
        words = re.sub("<[^>]*>", "", serialise(drawn.drawing)) + drawn.caption
        assert not re.search("[A-Za-z]{4}", re.sub("(eval|train) 模式", "", words))  # the names of modes are code


@pytest.mark.parametrize("rule", [*_PARTS, *_SIDE_BY_SIDE])
def test_names_of_bars_leave_room_for_their_numbers(rule: str) -> None:
    """Fifty letters fit above a bar; "100 of 1,000, 10.0 %" takes eighteen of them, a number alone eight."""
    keys, room = (_PARTS[rule][:1], 32) if rule in _PARTS else (_SIDE_BY_SIDE[rule][0], 42)
    with speaking("en"):
        assert [quantity(rule, key) for key in keys if len(quantity(rule, key)) > room] == []


def test_the_first_picture_of_a_diagnosis_is_that_of_its_data() -> None:
    proof = finding("leakage", shared=8, compared=16)
    diagnosis = Diagnosis(cause="data-leakage", severity=Severity.ERROR, subject="data", findings=[proof])
    drawn = picture(builders.smallest(), diagnosis)
    assert drawn is not None
    assert drawn.caption == "Inputs given that are in the training data, of all inputs given"


def test_a_fact_that_is_no_number_stands_beside_the_loss() -> None:
    fact = Finding(rule="loss-shape", severity=Severity.ERROR, subject="loss", section="evaluation")
    told = Diagnosis(
        cause="loss-shape-broadcast",
        severity=Severity.ERROR,
        subject="loss",
        findings=[fact],
        consequences=[],
        advice="",
    )
    with_run = replace(builders.smallest(), training=builders.history())
    drawn = picture(with_run, told)
    assert drawn is not None
    assert "Loss" in drawn.caption
    assert picture(builders.smallest(), told) is None
    remark = replace(told, findings=[replace(fact, severity=Severity.INFO)])
    assert picture(with_run, remark) is None


def test_a_drawing_of_a_range_stays_inside_of_its_box() -> None:
    facts = data(3.0, 1.0)
    axis = shared_axis([facts.target])
    assert axis is not None
    row = Range("label", binned(facts.target, axis))
    svg = serialise(ranges([row, row], axis, "t", (-9.0, 99.0, "x")))
    assert "label" in svg
    assert all(0 <= float(x) <= 300 for x in re.findall(r' x="(-?[\d.]+)"', svg))


@pytest.mark.parametrize(
    ("subject", "section", "english", "chinese"),
    [
        ("model", "activations", "", ""),
        ("3", "activations", "layer 3", "层 3"),
        ("output", "activations", "output", "output"),  # the name of a layer stays
        ("output", "trials", "output", "输出"),
        ("input 12", "dataset", "input 12", "输入 12"),
        ("train_loss", "training", "training loss", "训练损失"),
        ("encoder.0.weight", "weights", "encoder.0.weight", "encoder.0.weight"),
    ],
)
def test_places_are_words_unless_they_are_names(subject: str, section: str, english: str, chinese: str) -> None:
    assert places.place(subject, section) == english
    with speaking("zh"):
        assert places.place(subject, section) == chinese
