"""The diagram of a model: which boxes it has, and that its drawing is small, closed and readable."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from reportgen.document.facts import ArchitectureFacts, Diagnosis, Finding, Report, Severity
from reportgen.document.flow import FlowFacts, FlowNode
from reportgen.page.blocks import Block, Figure, Outline
from reportgen.page.boxes import Layout
from reportgen.page.diagram import clipped, shapes
from reportgen.page.sections import flow
from reportgen.page.svg import serialise, width_of
from reportgen.probe import architecture, forward
from reportgen.subject.data import Batch

from .builders import HOSTILE_NAMES, smallest


def facts_of(model: nn.Module, *shape: int) -> ArchitectureFacts:
    x = torch.randn(shape)
    return architecture.measure(model, forward.observe(model.eval(), Batch((x,))))


def report_of(facts: ArchitectureFacts, *diagnoses: Diagnosis) -> Report:
    return replace(smallest(), architecture=facts, diagnoses=list(diagnoses))


def shown(facts: ArchitectureFacts, limit: int = 42) -> list[str]:
    assert facts.flow is not None
    boxes = Layout(facts.flow, facts).overview(limit).boxes
    return [f"{b.name} {'+'.join(b.kinds)}{f' x{b.times}' if b.times > 1 else ''}".strip() for b in boxes]


def drawings(blocks: list[Block]) -> list[str]:
    return [serialise(b.drawing) for b in blocks if isinstance(b, Figure)]


class Block1(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm, self.up, self.act = nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.up(self.norm(x)))


def deep(n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), *(Block1() for _ in range(n)), nn.Linear(4, 2))


def test_a_norm_and_an_activation_stand_in_the_box_of_their_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1))
    assert shown(facts_of(model, 2, 3)) == [
        "input input",
        "0 Linear+BatchNorm1d+ReLU",
        "3 Linear+Softmax",
        "output",
    ]


def test_a_norm_stands_apart_where_what_it_reads_goes_elsewhere_too() -> None:
    assert shown(facts_of(deep(1), 2, 3)) == [
        "input input",
        "0 Linear",
        "1.norm LayerNorm",
        "1.up Linear+ReLU",
        "1 add",
        "2 Linear",
        "output",
    ]


def test_equal_blocks_are_folded_and_can_be_looked_into() -> None:
    facts = facts_of(deep(30), 2, 3)
    assert facts.flow is not None
    layout = Layout(facts.flow, facts)
    whole = layout.overview(42)
    assert [(b.name, b.kinds, b.times) for b in whole.boxes] == [
        ("input", ("input",), 1),
        ("0", ("Linear",), 1),
        ("1", ("Block1",), 30),
        ("31", ("Linear",), 1),
        ("", ("output",), 1),
    ]
    inside = layout.inside(whole.boxes[2], 30)
    assert [b.kinds for b in inside.boxes] == [(), ("LayerNorm",), ("Linear", "ReLU"), ("add",)]
    assert [(a.source, a.target, a.way) for a in inside.arcs] == [
        (0, 1, "sequential"),
        (0, 3, "skip"),
        (1, 2, "sequential"),
        (2, 3, "sequential"),
    ]


def test_blocks_of_another_size_or_build_are_not_folded_together() -> None:
    class Other(Block1):
        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.up(self.norm(x)))  # the same layers, and no addition

    Other.__name__ = "Block1"
    model = nn.Sequential(*(Block1() for _ in range(9)), *(Other() for _ in range(9)), nn.Linear(4, 2))
    assert shown(facts_of(model, 2, 4), 20) == ["input input", "0 Block1 x9", "9 Block1 x9", "18 Linear", "output"]


def test_repeats_side_by_side_are_told() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)) for _ in range(40))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([head(x) for head in self.heads], 1)

    facts = facts_of(Heads(), 2, 4)
    (box,) = [b for b in Layout(facts.flow, facts).overview(42).boxes if b.times > 1]  # type: ignore[arg-type]
    assert (box.times, box.parallel) == (40, True)
    assert "side by side" in " ".join(drawings(flow.blocks(report_of(facts))))


def test_thousands_of_layers_stay_bounded() -> None:
    gentle = nn.Sequential(*(m for _ in range(1000) for m in (nn.Linear(4, 4), nn.ReLU())))
    assert shown(facts_of(gentle, 2, 4)) == ["input input", "0 Linear+ReLU x1000", "output"]
    widths = [3 + i % 7 for i in range(1001)]
    uneven = nn.Sequential(*(nn.Linear(widths[i], widths[i + 1]) for i in range(1000)))
    facts = facts_of(uneven, 2, 3)
    boxes = shown(facts)
    assert len(boxes) == 42
    blocks = flow.blocks(report_of(facts))
    assert sum(map(len, drawings(blocks))) < 25_000
    assert "more boxes" in drawings(blocks)[0]
    assert "output" in boxes[-1]


def test_shares_of_the_boxes_are_those_of_the_parameters() -> None:
    model = nn.Sequential(nn.Linear(9, 9), nn.BatchNorm1d(9), nn.MultiheadAttention(9, 1), nn.Linear(9, 1, bias=False))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = model

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x))
            return self.d(self.c(x, x, x)[0])

    facts = facts_of(Net(), 2, 9)
    view = flow._View(report_of(facts), facts, Layout(facts.flow, facts))  # type: ignore[arg-type]
    shares = [label.share for label in view.labels(view.layout.overview(42))]
    assert shares == pytest.approx([0, (90 + 18) / 477, 360 / 477, 9 / 477, 0])
    assert sum(shares) == pytest.approx(1)


def test_a_diagnosis_marks_its_box_and_the_block_around_it() -> None:
    told = {"rule": "dead-units", "section": "activations", "severity": Severity.WARNING}
    finding = Finding(**told, subject="7.up.weight")
    diagnosis = Diagnosis(cause="dead-units", severity=Severity.WARNING, subject="7.up", findings=[finding])
    facts = facts_of(deep(3), 2, 3)
    report = report_of(facts, replace(diagnosis, subject="2.up", findings=[]))
    (listed,) = [b for b in flow.blocks(report) if isinstance(b, Outline)]
    assert [line for line in listed.items if line.endswith("; warning")] == [
        next(line for line in listed.items if line.startswith("2.up"))
    ]
    folded = report_of(facts_of(deep(30), 2, 3), diagnosis)
    (listed,) = [b for b in flow.blocks(folded) if isinstance(b, Outline)]
    assert [line.partition(":")[0] for line in listed.items if line.endswith("; warning")] == ["1"]
    assert 'fill="#9a5b00"' in drawings(flow.blocks(folded))[0]


def test_the_list_says_what_the_arcs_say() -> None:
    (listed,) = [b for b in flow.blocks(report_of(facts_of(deep(1), 2, 3))) if isinstance(b, Outline)]
    assert listed.items[4] == "1: add → 2 × 4; reads 2, 4"
    assert listed.items[1].startswith("0: Linear → 2 × 4; 29.6")


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_names_are_only_text(text: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._modules[text.replace(".", "")] = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return next(self.children())(x)

    (drawn,) = drawings(flow.blocks(report_of(facts_of(Odd(), 2, 3))))
    root = ElementTree.fromstring(drawn)
    assert {child.tag for child in root.iter()} <= {"svg", "title", "desc", "g", "path", "text"}


def test_long_and_wide_names_are_cut_to_their_place() -> None:
    assert clipped("layer1.conv", 200) == "layer1.conv"
    for text in ("a" * 200, "模型" * 40):
        assert width_of(clipped(text, 100), 11.5) <= 100 + width_of("模", 11.5)
        assert "…" in clipped(text, 100)


def test_of_several_outputs_whole_shapes_are_shown_and_the_rest_counted() -> None:
    assert shapes("200 × 8 × 16", 126) == "200 × 8 × 16"
    assert shapes("2 × 8, 2 × 4", 126) == "2 × 8, 2 × 4"
    assert shapes("200 × 8 × 16, 200 × 6, 200 × 6", 126) == "200 × 8 × 16, +2"
    assert shapes("20000 × 80000 × 16000 × 12000, 1", 126).endswith("…× 12000, +1")


def test_drawings_say_what_they_are_and_need_no_ids() -> None:
    for drawn in drawings(flow.blocks(report_of(facts_of(deep(30), 2, 3)))):
        root = ElementTree.fromstring(drawn)
        assert root.attrib["role"] == "img"
        assert root[0].tag == "title"
        assert root[1].tag == "desc"
        assert not re.search(r"\b(id|style|href)=", drawn)


def test_without_edges_the_order_stands_alone_with_the_reason() -> None:
    facts = facts_of(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), 2, 3)
    order = FlowFacts(nodes=[FlowNode(name="0"), FlowNode(name="1")], reason="operators could not be watched")
    figure, listed = flow.blocks(report_of(replace(facts, flow=order)))
    assert isinstance(figure, Figure)
    assert isinstance(listed, Outline)
    assert "operators could not be watched" in figure.caption
    assert "stroke-dasharray" not in serialise(figure.drawing)
    assert len(listed.items) == 2
    assert flow.blocks(report_of(replace(facts, flow=None))) == []
