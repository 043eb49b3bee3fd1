"""The table that joins all that is known of a layer, and the part of its own for a layer with findings."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from reportgen.document.facts import Diagnosis, Finding, Severity
from reportgen.page.blocks import Group, Section, Table, flat
from reportgen.page.build import build
from reportgen.page.sections import by_layer
from reportgen.page.sections.by_layer import MAX_LAYERS, joined

from . import builders


def section() -> Section:
    found = builders.page("classifier").section("by-layer")
    assert found is not None
    return found


def test_each_layer_is_one_row_with_its_numbers_from_every_part() -> None:
    report = builders.classifier()
    rows = {layer.name: layer for layer in joined(report)}
    assert report.activations is not None
    assert report.weights is not None
    assert report.gradients is not None
    assert list(rows) == [r.name for r in sorted(report.activations.rows, key=lambda r: r.order) if r.name]
    layer = rows["layer1.0.conv1"]
    assert layer.weight == next(w for w in report.weights.rows if w.name == "layer1.0.conv1.weight")
    assert layer.gradient == next(g for g in report.gradients.rows if g.name == "layer1.0.conv1.weight")
    assert layer.output is not None
    assert layer.structure is not None
    assert layer.structure.kind == layer.output.kind == "Conv2d"


def test_the_row_shows_what_the_other_tables_show() -> None:
    table = section().blocks[0]
    assert isinstance(table, Table)
    titles = [c.title for c in table.columns]
    row = next(r for r in table.rows if r[0].text == "layer1.0.conv1")
    cells = dict(zip(titles, row, strict=True))
    report = builders.classifier()
    assert report.weights is not None
    weight = next(w for w in report.weights.rows if w.name == "layer1.0.conv1.weight")
    assert weight.stats is not None
    assert cells["Weight rms"].sort == weight.stats.rms
    assert cells["Weights"].chart is not None


def test_columns_that_no_layer_fills_are_left_out() -> None:
    page = build(replace(builders.classifier(), gradients=None, training=None))
    table = next(t for t in page.tables if t.id == "joined")
    assert not {"Gradient rms", "Step", "Steps over the run"} & {c.title for c in table.columns}


def test_layers_with_findings_have_a_part_that_leads_to_the_diagnosis() -> None:
    made = section()
    groups = [b for b in made.blocks if isinstance(b, Group)]
    assert {g.title for g in groups} >= {"fc", "layer3.6.relu", "conv1"}
    assert groups[0].title == "fc"  # the only error first
    for group in groups:
        found = [b for b in flat([group]) if isinstance(b, Table)]
        assert all(row[-1].link.startswith("diagnosis-") for t in found for row in t.rows)
    table = made.blocks[0]
    assert isinstance(table, Table)
    assert {r[0].text: r[0].link for r in table.rows if r[0].link} == {g.title: g.id for g in groups}


def test_the_shapes_of_a_layer_are_figures_that_each_fit_a_line() -> None:
    """An arrow between two long ones stood alone on its line."""
    layer = next(x for x in joined(builders.classifier()) if x.name == "conv1")
    assert layer.structure is not None
    told = []
    for output in (layer.structure.input_shape, "32 × 10"):
        pairs = by_layer._of_structure(replace(layer, structure=replace(layer.structure, output_shape=output)))
        told.append([p.label for p in pairs if "×" in p.value][:-1])
        assert all("→" not in p.value and " " not in p.value for p in pairs)
    assert told == [["Input and output"], ["Input", "Output"]]


def test_a_finding_about_every_layer_does_not_make_a_page_for_each() -> None:
    report = builders.classifier()
    found = [
        Finding(rule="w-scale", severity=Severity.WARNING, subject=layer.name, section="weights")
        for layer in joined(report)
    ]
    sick = Diagnosis(cause="bad-init", severity=Severity.WARNING, subject="model", findings=found)
    made = build(replace(report, diagnoses=[sick])).section("by-layer")
    assert made is not None
    assert sum(isinstance(b, Group) for b in made.blocks) == MAX_LAYERS
    assert f"Of {len(found)} layers with findings the {MAX_LAYERS} worst have a part of their own" in made.intro


def test_of_very_many_layers_those_with_findings_have_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_layer, "MAX_ROWS", 40)
    report = builders.classifier()
    known = joined(report)
    assert len(known) > 45
    last = known[-2].name
    finding = Finding(rule="constant-channel", severity=Severity.WARNING, subject=last, section="activations")
    diagnosis = replace(report.diagnoses[0], findings=[finding], consequences=[])
    found = build(replace(report, diagnoses=[*report.diagnoses, diagnosis])).section("by-layer")
    assert found is not None
    table = found.blocks[0]
    assert isinstance(table, Table)
    names = [row[0].text for row in table.rows]
    assert (len(names), table.total_rows) == (40, len(known))
    assert last in names
    order = [layer.name for layer in known]
    assert names == sorted(names, key=order.index)
    assert max(b - a for a, b in pairwise(order.index(name) for name in names)) <= 4


def test_a_finding_of_the_model_stands_at_the_layers_that_it_names() -> None:
    report = builders.classifier(3)
    one, other = (layer.name for layer in joined(report)[2:4])
    finding = Finding(rule="eval-train-gap", severity=Severity.ERROR, subject="model", section="trials")
    finding = replace(finding, detail={"layers": f"{one}, {other}"})
    diagnosis = replace(report.diagnoses[0], subject="model", findings=[finding], consequences=[])
    known = joined(replace(report, diagnoses=[diagnosis]))
    assert [layer.name for layer in known if layer.worst is Severity.ERROR] == [one, other]
