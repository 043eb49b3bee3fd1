"""Facts -> blocks: asserted on data, not on HTML."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from reportgen.document.facts import Coverage, Diagnosis, Severity
from reportgen.page.blocks import (
    Block,
    Cell,
    Column,
    ColumnKind,
    Diagnoses,
    DiagnosisCard,
    Figure,
    KeyValues,
    Page,
    Pictures,
    Section,
    Table,
)
from reportgen.page.build import build
from reportgen.page.cells import in_rows
from reportgen.page.fold import folded
from reportgen.page.language import speaking, translate

from . import builders


def section(page: Page, id: str) -> Section:
    found = page.section(id)
    assert found is not None
    return found


def table(page: Page, id: str) -> Table:
    return next(t for t in all_tables(page) if t.id == id)


def all_tables(page: Page) -> list[Table]:
    tables = list(page.tables)
    for block in (b for s in page.sections for b in s.blocks if isinstance(b, Diagnoses)):
        for c in (*block.cards, *block.notes):
            tables += [t for t in (c.evidence, c.further, c.consequences) if t is not None]
    return tables


def cards(page: Page) -> list[DiagnosisCard]:
    return [c for b in section(page, "diagnoses").blocks if isinstance(b, Diagnoses) for c in b.cards]


def column(t: Table, title: str) -> list[str]:
    i = [c.title for c in t.columns].index(title)
    return [row[i].text for row in t.rows]


@pytest.mark.parametrize("name", builders.ALL)
def test_every_row_fits_its_columns_and_counts_are_true(name: str) -> None:
    for t in all_tables(builders.page(name)):
        assert {len(r) for r in t.rows} <= {len(t.columns)}, t.id
        assert t.total_rows >= len(t.rows), t.id


@pytest.mark.parametrize("name", builders.ALL)
def test_ids_are_unique(name: str) -> None:
    page = builders.page(name)
    ids = [t.id for t in all_tables(page)] + [s.id for s in page.sections] + [c.id for c in cards(page)]
    figures = [f for s in page.sections for b in s.blocks for f in (b.figures if isinstance(b, Pictures) else [b])]
    ids += [f.id for f in figures if isinstance(f, Figure)]
    assert len(ids) == len(set(ids))


def test_nothing_measured_is_not_called_healthy() -> None:
    page = builders.page("smallest")
    assert page.verdict.words == "Nothing was measured"
    assert page.verdict.tone == "muted"
    assert column(table(page, "coverage-table"), "Status") == ["not measured"] * 7


def test_the_verdict_counts_and_names_what_is_wrong() -> None:
    page = builders.page("classifier")
    assert page.verdict.words == "2 errors, 1 warning"
    assert [head.target for head in page.verdict.heads] == ["diagnosis-1", "diagnosis-2", "diagnosis-3"]
    assert page.verdict.causes == []
    assert [c.id for c in cards(page)] == ["diagnosis-1", "diagnosis-2", "diagnosis-3"]
    assert "Not measured: spectra." in page.verdict.detail


def test_a_healthy_report_says_no_more_than_was_measured() -> None:
    page = builders.page("regressor")
    assert page.verdict.words == "No problem found in what was measured"
    assert "gradients" in page.verdict.detail


def test_observations_do_not_spoil_the_verdict() -> None:
    info = Diagnosis(cause="frozen-layers", severity=Severity.INFO, subject="model", findings=[])
    page = build(replace(builders.regressor(), diagnoses=[info]))
    assert page.verdict.tone == "ok"
    assert not cards(page)
    block = section(page, "diagnoses").blocks[0]
    assert isinstance(block, Diagnoses)
    assert len(block.notes) == 1
    assert block.notes_summary == "1 observation that is no fault by itself"


def test_a_diagnosis_shows_evidence_and_folds_the_rest() -> None:
    dead = next(c for c in cards(builders.page("classifier")) if c.further is not None)
    assert len(dead.evidence.rows) == 6
    assert dead.further is not None
    assert dead.further.folded == "3 more findings of the same cause"
    softmax = cards(builders.page("classifier"))[0]
    assert softmax.consequences is not None
    assert softmax.consequences.folded == "2 consequences"
    assert column(softmax.evidence, "Measured")[0].startswith("departure of row sums from 1: ")


def test_absent_parts_have_no_section_but_a_reason() -> None:
    page = builders.page("regressor")
    assert [s.id for s in page.sections] == ["diagnoses", "evaluation", "coverage", "provenance", "glossary", "rules"]
    rows = table(page, "coverage-table").rows
    assert [c.text for c in rows[1]] == ["gradients", "not measured", "no loss was given"]


def test_weights_draw_matrices_first_and_say_what_is_left_out() -> None:
    t = table(builders.page("huge"), "parameters")
    drawn = [row for row in t.rows if any(c.chart is not None for c in row)]
    assert len(drawn) == 100
    assert all("conv" in row[0].text for row in drawn)
    assert "at most 100 tensors" in t.note


def test_architecture_totals_agree_with_the_column() -> None:
    report = builders.classifier()
    assert report.architecture is not None
    shown = column(table(build(report), "layers"), "Parameters")
    assert sum(int(v.replace(",", "")) for v in shown if v) == report.architecture.parameters


def test_a_reason_has_a_column_only_where_something_was_not_measured() -> None:
    all_of_it = replace(builders.smallest(), coverage=[Coverage(part="weights", status="measured")])
    reason = "no optimizer was given"
    part_of_it = replace(
        all_of_it, coverage=[*all_of_it.coverage, Coverage(part="training", status="not measured", reason=reason)]
    )
    tables = [next(t for t in build(r).tables if t.id == "coverage-table") for r in (all_of_it, part_of_it)]
    assert [len(t.columns) for t in tables] == [2, 3]
    assert tables[1].rows[1][2].text == reason


def test_scores_of_a_class_never_predicted() -> None:
    report = builders.classifier()
    evaluation = report.evaluation
    assert evaluation is not None
    assert evaluation.classification is not None
    made = replace(evaluation.classification, classes=["a", "b"], confusion=[[4, 0], [3, 0]])
    page = build(replace(report, evaluation=replace(evaluation, classification=made)))
    assert column(table(page, "class-scores"), "Precision") == ["57.1\u00a0%", "not defined"]


def test_many_classes_are_folded_with_their_number() -> None:
    report = replace(builders.classifier(), evaluation=builders.classification(200))
    page = build(report)
    figure = next(b for b in section(page, "evaluation").blocks if isinstance(b, Figure))
    assert figure.folded == "Confusion matrix of 200 classes"
    assert "200 classes are drawn in 50 groups" in figure.caption
    assert table(page, "class-scores").folded == "Scores of 200 classes"


def test_curves_join_train_and_validation() -> None:
    page = builders.page("classifier")
    shown = next(b for b in section(page, "training").blocks if isinstance(b, Pictures))
    titles = [f.title for f in shown.figures]
    assert titles == ["Loss by epoch", "Loss by step", "Accuracy by epoch", "Learning rate by epoch"]
    best = column(table(page, "scalars"), "Best at")
    assert best[1] == "epoch 21"  # where the validation loss was lowest
    assert best[4] == ""  # a learning rate has no best


def test_regression_shows_its_errors() -> None:
    page = builders.page("regressor")
    pairs = next(b for b in section(page, "evaluation").blocks if isinstance(b, KeyValues)).pairs
    shown = {p.label: p.value for p in pairs}
    assert (shown["R²"], shown["MAE"], shown["RMSE"]) == ("0.958", "0.320", "0.400")


def test_missing_numbers_are_a_dash_with_words() -> None:
    t = table(builders.page("hostile"), "parameters")
    cell = t.rows[0][[c.title for c in t.columns].index("mean")]
    assert (cell.text, cell.spoken, cell.sort) == ("—", "not measured", None)


def with_an_alarm(page: Page, id: str, place: int) -> Page:
    """Return the page with an error in a row of a table."""

    def alarmed(block: Block) -> Block:
        if not isinstance(block, Table) or block.id != id:
            return block
        rows = [[*row[:-1], Cell("broken", None, "error")] if i == place else row for i, row in enumerate(block.rows)]
        return replace(block, rows=rows)

    return replace(page, sections=[replace(s, blocks=[alarmed(b) for b in s.blocks]) for s in page.sections])


def alarms(of: Table) -> list[str]:
    return [row[0].text for row in of.rows if any(cell.tone == "error" for cell in row)]


def test_folding_cuts_only_the_longest_and_keeps_what_alarms() -> None:
    page = with_an_alarm(builders.page("huge"), "layer-outputs", 700)
    short = folded(page, each=300, together=600)
    assert short.n_rows <= 600
    full, cut = table(page, "layer-outputs"), table(short, "layer-outputs")
    assert cut.total_rows == len(full.rows)
    assert len(cut.rows) < 700
    assert alarms(cut) == [full.rows[700][0].text]
    assert len(table(short, "scalars").rows) == len(table(page, "scalars").rows)


@pytest.mark.parametrize(("hidden", "kept"), [(4, True), (5, False)])
def test_no_table_is_cut_for_a_few_rows(hidden: int, kept: bool) -> None:
    page = build(builders.classifier())
    most = max(len(t.rows) for t in page.tables)
    short = folded(page, each=most - hidden, together=9999)
    assert (short == page) is kept


def test_where_one_table_joins_all_kinds_those_of_one_kind_are_cut_and_name_it() -> None:
    page = with_an_alarm(builders.page("huge"), "layer-outputs", 701)
    short = folded(page, each=1800, together=1800, beside=200)
    assert len(table(short, "joined").rows) == len(table(page, "joined").rows)
    of_layers = [t for t in short.tables if t.of_layers]
    assert sum(len(t.rows) for t in of_layers) <= 200
    assert {t.elsewhere for t in of_layers} == {"joined"}
    rest = [t for t in short.tables if not t.of_layers]
    assert rest == [t for t in page.tables if not t.of_layers]
    names, every = ([r[0].text for r in table(p, "parameters").rows] for p in (short, page))
    assert max(every.index(b) - every.index(a) for a, b in pairwise(names)) <= 2 * len(every) / len(names)
    assert alarms(table(short, "layer-outputs")) == [table(page, "layer-outputs").rows[701][0].text]


def test_rows_of_layers_with_findings_are_kept_in_every_table() -> None:
    """The joined table tells which layers: their modules, tensors and outputs stay, whatever stands in their rows."""
    page = builders.page("huge")
    names = [row[0].text for row in table(page, "joined").rows]
    place = next(i for i in range(700, len(names)) if names[i].endswith("conv1"))
    layer, page = names[place], with_an_alarm(page, "joined", place)
    short = folded(page, each=1800, together=1800, beside=200)
    for id in ("layers", "layer-outputs"):
        assert layer in [row[0].text.split(" ")[0] for row in table(short, id).rows]
    for id in ("parameters", "parameter-gradients"):
        assert layer in [row[0].text.rpartition(".")[0] for row in table(short, id).rows]


def test_of_a_ranked_table_the_first_rows_are_kept() -> None:
    page = builders.page("huge")
    short = folded(page, each=1800, together=1800, beside=200)
    full, cut = table(page, "norms"), table(short, "norms")
    assert full.ranked
    assert 0 < len(cut.rows) < len(full.rows)
    assert cut.rows == full.rows[: len(cut.rows)]


def test_a_joined_table_that_is_cut_itself_is_not_said_to_have_every_layer() -> None:
    page = builders.page("huge")

    def shortened(block: Block) -> Block:
        return replace(block, total_rows=5000) if isinstance(block, Table) and block.joins else block

    page = replace(page, sections=[replace(s, blocks=[shortened(b) for b in s.blocks]) for s in page.sections])
    short = folded(page, each=1800, together=1800, beside=200)
    assert {t.elsewhere for t in short.tables} == {""}


def test_on_paper_where_the_joined_table_is_cut_too_no_table_names_it() -> None:
    page = builders.page("huge")
    short = folded(page, each=300, together=900, appendix=300, beside=200)
    assert table(short, "joined").omitted
    assert {t.elsewhere for t in short.tables} == {""}


def test_of_modules_in_each_other_the_outer_ones_are_kept() -> None:
    page = build(builders.classifier(26))
    short = folded(page, each=1800, together=1800, beside=220)
    full, cut = ([r[0] for r in table(p, "layers").rows] for p in (page, short))
    assert max(cell.indent for cell in full) == 2
    assert cut == [cell for cell in full if cell.indent < 2]


def test_without_a_table_that_joins_them_nothing_is_cut_for_it() -> None:
    page = builders.page("huge")
    alone = replace(page, sections=[s for s in page.sections if s.id != "by-layer"])
    assert folded(alone, each=5000, together=5000, beside=200) == folded(alone, each=5000, together=5000)


def test_parts_without_a_coverage_row_are_still_listed() -> None:
    report = replace(builders.smallest(), coverage=[Coverage(part="a", status="partial")])
    assert column(table(build(report), "coverage-table"), "Part") == ["a"]


def test_an_unknown_language_is_english() -> None:
    assert translate("xx")("Diagnoses") == "Diagnoses"
    with speaking("xx"):
        assert build(builders.smallest(), "xx").sections[0].title == "Diagnoses"


def test_one_row_is_no_rows() -> None:
    assert in_rows("Samples", 1) == "Samples, 1 row"
    assert in_rows("Samples", 2) == "Samples, 2 rows"


@pytest.mark.parametrize(
    ("kinds", "layout"),
    [
        (["name", "number"], ""),
        (["prose", "text", "number"], "told"),  # a phone shows the cells of a row beneath each other
        (["name", "number", "number", "prose"], ""),  # which number is which could not be told then
        (["name", *["number"] * 9], "dense"),
    ],
)
def test_a_table_is_laid_out_by_what_its_columns_hold(kinds: list[ColumnKind], layout: str) -> None:
    table = Table(id="t", caption="", columns=[Column("x", k) for k in kinds], rows=[[Cell("a")] * len(kinds)])
    assert table.layout == layout


@pytest.mark.parametrize(("name", "shape", "layout"), [(10, 20, ""), (45, 20, "long"), (40, 40, "long")])
def test_a_row_longer_than_the_page_may_break(name: int, shape: int, layout: str) -> None:
    columns = [Column("x", "name"), Column("y", "text"), Column("z", "text")]
    table = Table(id="t", caption="", columns=columns, rows=[[Cell("n" * name), Cell("s" * shape), Cell("s" * shape)]])
    assert table.layout == layout
