"""The evaluation section: what is drawn, in what order, and what is folded."""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.evaluation import Calibration, Curve, TokenScores
from reportgen.document.facts import EvaluationFacts
from reportgen.page import score_figures
from reportgen.page.blocks import Figure, Pictures, Section, Table
from reportgen.page.build import build
from reportgen.page.formats import percent
from reportgen.page.planes import Axis, Trace, plane, ticks
from reportgen.page.sections import dataset, evaluation, overview
from reportgen.page.sections.classes import MAX_CLASSES, classifier, likeness_order
from reportgen.page.sections.examples import prepared
from reportgen.page.svg import Element, serialise, width_of
from reportgen.page.tokens import line
from reportgen.probe.dataset import DatasetProbe
from reportgen.probe.evaluation import EvaluationProbe
from reportgen.render.html import to_html
from reportgen.subject.data import Batch
from tests import builders


def seen(output: object, target: object, x: Tensor | None = None, **carried: object) -> EvaluationFacts:
    probe = EvaluationProbe(None)
    first = torch.randn(40, 3) if x is None else x
    probe.update(output, Batch((first,), {}, target, carried=carried))
    facts = probe.facts()
    assert facts is not None, probe.trouble
    return facts


def shown(facts: EvaluationFacts) -> Section:
    section = evaluation.section(msgspec.structs.replace(builders.smallest(), evaluation=facts))
    assert section is not None
    return section


def tables(section: Section) -> dict[str, Table]:
    return {b.id: b for b in section.blocks if isinstance(b, Table)}


def drawn(section: Section) -> set[str]:
    figures = {f.id for b in section.blocks if isinstance(b, Pictures) for f in b.figures}
    return figures | {b.id for b in section.blocks if isinstance(b, Figure)}


def test_a_classifier_is_shown_with_its_intervals_and_the_trivial_answer() -> None:
    y = torch.arange(40) % 4
    facts = seen(torch.randn(40, 4) + 3 * F.one_hot(y, 4), y, site=["a", "b"] * 20)
    section = shown(facts)
    found = tables(section)
    accuracy = found["scores"].rows[0]
    assert accuracy[0].text == "Accuracy"
    assert accuracy[3].text == "25.0\u00a0%"
    assert " to " in accuracy[2].text
    assert {"confusion", "roc", "precision-recall", "calibration"} <= drawn(section)
    assert found["class-scores"].folded
    assert found["examples"].folded
    assert [row[0].text for row in found["slices"].rows] == ["site", "site"]


def test_yes_or_no_has_its_thresholds() -> None:
    y = (torch.arange(40) % 3 == 0).long()
    section = shown(seen(torch.randn(40) + 2 * y, y))
    rows = tables(section)["thresholds"].rows
    assert [row[0].text for row in rows[:3]] == ["0.05", "0.1", "0.2"]
    assert rows[-1][0].text.startswith("best F1")


def test_each_task_has_a_section_of_its_own_figures() -> None:
    torch.manual_seed(0)
    y = torch.randn(200, 1)
    section = shown(seen(y + 0.1 * torch.randn(200, 1), y, torch.randn(200, 3)))
    assert {"agreement", "residuals", "residuals-by-prediction", "error-by-decile"} <= drawn(section)
    section = shown(seen(torch.randn(40, 2), torch.randn(40, 2)))
    assert len(tables(section)["targets"].rows) == 2
    section = shown(seen(torch.randn(40, 6, 9), torch.randint(9, (40, 6))))
    assert tables(section)["scores"].rows[0][0].text == "Perplexity"
    assert "loss-by-position" in drawn(section)
    section = shown(seen(torch.randn(40, 3, 4, 4), torch.randint(3, (40, 4, 4))))
    assert [row[0].text for row in tables(section)["regions"].rows] == ["0", "1", "2"]
    section = shown(seen(torch.randn(40, 3), torch.randint(2, (40, 3))))
    assert len(tables(section)["class-scores"].rows) == 3
    assert "roc" in drawn(section)


def test_heads_are_shown_together_and_one_by_one_with_ids_of_their_own() -> None:
    outputs = {"kind": torch.randn(40, 3), "size": torch.randn(40, 1), "other": torch.randn(40, 3)}
    targets = {"kind": torch.randint(3, (40,)), "size": torch.randn(40, 1), "other": torch.randint(3, (40,))}
    section = shown(seen(outputs, targets))
    assert [row[0].text for row in tables(section)["heads"].rows] == ["kind", "size", "other"]
    ids = [b.id for b in section.blocks if hasattr(b, "id")]
    assert len(ids) == len(set(ids))
    assert {"head-0-confusion", "head-1-agreement", "head-2-confusion"} <= set(ids) | drawn(section)


def test_classes_that_are_taken_for_each_other_come_to_stand_together() -> None:
    n = 36
    table = [[40 if i == j else 0 for j in range(n)] for i in range(n)]
    for i in range(n // 2):  # each of the first half is taken for one of the second
        table[i][i + n // 2] = table[i + n // 2][i] = 12
    order = likeness_order(table)
    assert sorted(order) == list(range(n))
    beside = {frozenset(pair) for pair in pairwise(order)}
    assert all({i, i + n // 2} in beside for i in range(n // 2))


@pytest.mark.parametrize("n", [30, 31])
def test_a_confusion_matrix_of_more_than_thirty_classes_is_folded(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n).repeat(4)
    z = 3 * torch.eye(n)[y] + torch.randn(len(y), n, generator=generator)
    probe = EvaluationProbe(None)
    probe.update(z, Batch((z,), target=y))
    facts = probe.facts()
    assert facts is not None
    assert facts.classification is not None
    shown = [b for b in classifier(facts.classification, "") if isinstance(b, Figure) and b.id == "confusion"]
    assert [bool(figure.folded) for figure in shown] == [n > 30]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (-3, 17, [0, 5, 10, 15]),
        (0, 0.0042, [0, 0.002, 0.004]),
        (2, 2, [2]),
    ],
)
def test_ticks_are_round_numbers_inside(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


def test_a_plane_puts_its_points_where_the_axes_say() -> None:
    drawing = plane([Trace([(0, 0), (1, 1)], dots=True, hover=["low", "high"])], Axis("x"), Axis("y"), "title")
    circles = [dict(child.attributes) for child in drawing.children if getattr(child, "tag", "") == "circle"]
    assert [(c["cx"], c["cy"]) for c in circles] == [("52", "196"), ("290", "8")]
    assert "<title>high</title>" in serialise(drawing)


def drawn_words(drawing: Element) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)", serialise(drawing))


def test_positions_are_written_where_the_losses_of_theirs_stand() -> None:
    scores = TokenScores(
        n_tokens=8, n_ignored=0, nll=1.0, entropy=2.0, vocabulary=4, seen=4, by_position=[(1, 4, 1.5), (4, 4, 0.5)]
    )
    words = drawn_words(score_figures.by_position(scores, "").drawing)
    assert words[:2] == ["1", "4–7"]
    assert "position" in words
    far = [(1 << i, 1, 1.0) for i in range(14)]
    crowd = drawn_words(score_figures.by_position(replace(scores, by_position=far), "").drawing)
    named = [word for word in crowd if "–" in word]
    assert 2 <= len(named) < 10
    assert sum(width_of(word, 11) for word in named) < 300


def test_the_part_of_a_calibration_error_beyond_chance_is_the_difference_of_what_is_shown() -> None:
    facts = Calibration(
        n=9, bins=[], ece=0.02954, ece_null=0.02646, ece_null_std=0.0, nll=1.0, brier=None, baseline_nll=1.0,
        baseline_brier=None,
    )  # fmt: skip
    pair = score_figures.calibration_pairs(facts)[0]
    assert (pair.label, pair.value, pair.note) == (
        "Calibration error beyond chance",
        "0.4\u00a0%",
        "3.0\u00a0% less 2.6\u00a0% by chance",
    )


def test_curves_beside_each_other_have_numbers_of_as_many_digits() -> None:
    curves = [
        Curve(
            label=str(i), positives=9, negatives=9, auc=value, auc_low=0.5, auc_high=1.0, average_precision=value,
            ap_low=0.5, ap_high=1.0, points=[(0.5, 9, 0)],
        )
        for i, value in enumerate((1.0, 0.99996, 0.5))
    ]  # fmt: skip
    for figure, word in ((score_figures.roc, "AUC"), (score_figures.precision_recall, "AP")):
        named = [word for word in drawn_words(figure(curves, "").drawing) if ":" in word]
        assert named == [f"0: {word} 1.000", f"1: {word} 1.000", f"2: {word} 0.500"]


def test_labels_are_shown_by_split_and_by_task() -> None:
    probes, inputs = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        probe = DatasetProbe(nn.Linear(1, 1))
        target = {"kind": torch.arange(40) % (3 + seed), "tags": torch.randint(2, (40, 2)).float()}
        inputs.append(torch.randn(40, 3) + seed)
        probe.update(Batch((inputs[-1],), {}, target))
        probes.append(probe.facts())
    report = msgspec.structs.replace(builders.smallest(), train_dataset=probes[0], dataset=probes[1])
    section = dataset.section(report)
    assert section is not None
    figures = {b.id: b for b in section.blocks if isinstance(b, Figure)}
    assert [f.title for f in figures.values()] == ["Samples by class of kind", "Samples by label of tags"]
    assert "by more than 25.0\u00a0%" in figures["classes"].caption  # the class that training lacks
    assert "35.0\u00a0% / 25.0\u00a0%" in serialise(figures["classes"].drawing)
    shift = tables(section)["feature-shift"]
    assert shift.folded
    moved = [float(str(row[1].sort)) for row in shift.rows]
    assert moved == sorted(moved, key=abs, reverse=True)
    wanted = (inputs[1].mean(0) - inputs[0].mean(0)) / inputs[0].std(0, correction=0)
    assert moved[0] == pytest.approx(float(wanted.max()), rel=1e-5)
    assert len(tables(section)["batch-tensors"].rows) == 3


def test_the_first_screen_names_the_score_of_the_task() -> None:
    facts = seen(torch.randn(40, 6, 9), torch.randint(9, (40, 6)))
    pairs = overview.lead(msgspec.structs.replace(builders.smallest(), evaluation=facts))
    found = {pair.label: pair for pair in pairs}
    assert "95 % interval" in found["Perplexity"].note


def test_samples_whose_picture_is_shown_are_no_rows_again() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), DataLoader(TensorDataset(x, y), 20)
    report = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0))
    assert report.pictures is not None
    assert report.evaluation is not None
    pictured = {view.place for view in report.pictures.samples if view.role == "worst"}
    assert pictured & {e.index for e in report.evaluation.examples}
    shown = prepared(report.evaluation, report).examples
    assert not pictured & {e.index for e in shown}
    assert {e.reason for e in shown} <= {"next", "confident"}
    html = to_html(build(report)).decode()
    assert ("Those with the highest loss are among the pictures." in html) is any(e.reason == "next" for e in shown)
    alone = msgspec.structs.replace(report, pictures=None)
    assert prepared(report.evaluation, alone).examples == report.evaluation.examples


class Rows(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x)
        return out


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(30, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(x).mean(1))
        return out


@pytest.mark.parametrize("kind", ["narrow", "wide", "tokens"])
def test_rows_and_tokens_stand_in_one_table_each_sample_once(kind: str) -> None:
    torch.manual_seed(1)
    x = torch.randint(30, (60, 7)) if kind == "tokens" else torch.randn(60, 5 if kind == "narrow" else 30)
    model = Words() if kind == "tokens" else Rows(x.shape[1])
    y = torch.randint(3, (60,))
    options = reportgen.Options(trial_budget=0, class_names=["a", "b", "c"])
    report = reportgen.examine(model, DataLoader(TensorDataset(x, y), 20), options=options)
    sections = {section.id: section for section in build(report).sections}
    in_pictures = [b.id for b in sections["pictures"].blocks] if "pictures" in sections else []
    assert "samples-rows" not in in_pictures
    table = tables(sections["evaluation"])["examples"]
    places = [int(row[0].text) for row in table.rows]
    assert len(set(places)) == len(places)
    by_place = dict(zip(places, table.rows, strict=True))
    assert report.pictures is not None
    with torch.no_grad():
        p = model(x).softmax(1)
    for view in report.pictures.samples:
        if view.role != "reference":
            continue
        _place, why, target, said, sure, loss, text = (cell.text for cell in by_place[view.place])
        assert "typical" in why
        assert target == "abc"[int(y[view.place])]
        assert said == "abc"[int(p[view.place].argmax())]
        assert sure == percent(float(p[view.place].max()))
        assert by_place[view.place][5].sort == pytest.approx(float(-p[view.place, y[view.place]].log()), rel=1e-3)
        assert loss
        shown_values = text.removesuffix(", …").split(" " if kind == "tokens" else ", ")
        if kind == "tokens":
            assert shown_values == [str(v) for v in x[view.place].tolist()]
        else:
            numbers = [float(v.replace("−", "-").replace("\u2212", "-")) for v in shown_values]
            assert numbers == pytest.approx(x[view.place, :10].tolist(), rel=0.01, abs=1e-3)
            assert text.endswith("…") == (kind == "wide")
    worst = max(range(60), key=lambda i: float(-p[i, y[i]].log()))
    assert by_place[worst][1].text.startswith("highest loss")


def test_runs_of_one_token_are_told_by_their_length() -> None:
    names = {"0": "<pad>", "1": "a"}
    assert line([1, 1, 1, 2, 0, 0, 0, 0, 0, 1], names) == "a a a 2 <pad> ×5 a"
    assert line([], names) == ""


def test_numbers_below_zero_have_the_sign_of_all_others() -> None:
    y = torch.linspace(-3, -1, 40)[:, None]
    cells = [cell.text for row in tables(shown(seen(y + 0.5, y)))["examples"].rows for cell in row[2:4]]
    assert cells
    assert all(text.startswith("−") and "-" not in text for text in cells)


def test_only_mistakes_that_are_sure_are_said_to_be_labelled_wrong() -> None:
    y = torch.randn(60, 1)
    note = tables(shown(seen(y + 0.1 * torch.randn(60, 1), y)))["examples"].note
    assert "confidence" not in note
    z = torch.randn(60, 3)
    note = tables(shown(seen(z, torch.randint(3, (60,)))))["examples"].note
    assert "confidence" in note


def test_a_table_says_which_classes_were_named_in_a_map() -> None:
    y = torch.zeros(12, 4, 4, dtype=torch.long)
    y[:, 0] = 2
    z = torch.zeros(12, 3, 4, 4)
    z[:, 1] = 5.0
    (row, *_rest) = tables(shown(seen(z, y)))["examples"].rows
    assert [cell.text for cell in row[2:4]] == ["0, 2", "1"]


def test_several_targets_are_drawn_in_their_own_spreads() -> None:
    y = torch.randn(200, 3) * torch.tensor([1.0, 1000.0, 0.01])
    section = shown(seen(y + 0.3 * torch.randn(200, 3) * y.std(0), y))
    figures = {f.id: f for b in section.blocks if isinstance(b, Pictures) for f in b.figures}
    assert {"agreement", "residuals", "residuals-by-prediction", "error-by-decile"} <= figures.keys()
    for id in ("agreement", "residuals", "error-by-decile"):
        assert "standard deviations" in figures[id].caption


def test_of_very_many_classes_the_worst_are_listed() -> None:
    """300 classes occur, class 7 is always mistaken, and 700 do not occur."""
    target = torch.arange(600) % 300
    logits = F.one_hot(target, 1000).float()
    logits[target == 7] = F.one_hot(torch.tensor(8), 1000).float()
    listed = tables(shown(seen(logits, target, torch.randn(600, 3))))["class-scores"]
    assert listed.total_rows == 1000
    assert len(listed.rows) == MAX_CLASSES
    assert {"7", "8"} <= {row[0].text for row in listed.rows}
    assert all(row[1].text == "2" for row in listed.rows)
    assert "lowest F1" in listed.note
