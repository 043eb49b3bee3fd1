"""The first screen: the worst diagnoses with a picture of their evidence, the network by depth, the key figures."""

from __future__ import annotations

import itertools
import re

import pytest
from msgspec.structs import replace

from reportgen.document.evaluation import Score
from reportgen.document.facts import Diagnosis, EvaluationFacts, Finding, Report, Severity
from reportgen.health.advice import ADVICE
from reportgen.page import evidence_figures
from reportgen.page.blocks import KeyValues
from reportgen.page.build import build
from reportgen.page.evidence import picture
from reportgen.page.evidence_figures import Curve, profile
from reportgen.page.language import speaking
from reportgen.page.palette import ERROR
from reportgen.page.sections import depth, overview
from reportgen.page.svg import serialise, width_of
from reportgen.page.wording import advice, describe

from . import builders


def finding(rule: str, section: str, subject: str, severity: Severity = Severity.WARNING, **evidence: float) -> Finding:
    threshold = {key: 0.5 for key in evidence}
    return Finding(
        rule=rule, severity=severity, subject=subject, section=section, evidence=evidence, threshold=threshold
    )


def diagnosis(*findings: Finding, cause: str = "overfitting", severity: Severity = Severity.WARNING) -> Diagnosis:
    return Diagnosis(cause=cause, severity=severity, subject=findings[0].subject, findings=list(findings))


def shown(report: Report, *findings: Finding) -> tuple[str, str]:
    drawn = picture(report, diagnosis(*findings))
    assert drawn is not None
    return serialise(drawn.drawing), drawn.caption


def test_a_curve_is_shown_for_what_happened_over_time() -> None:
    svg, caption = shown(builders.classifier(), finding("h-overfit", "training", "val_loss", rise=0.7))
    assert caption == "Loss by epoch"
    assert "training" in svg
    assert "validation" in svg


def test_names_of_curves_do_not_run_into_each_other() -> None:
    """A Chinese sign takes as much room as two letters."""
    drawn = evidence_figures.curves([Curve(name, [0.0, 1.0], [1.0, 2.0]) for name in ("训练", "验证")], "t", "轮")
    assert drawn is not None
    svg = serialise(drawn)
    (end,) = [float(x) + width_of("训练", 11) for x in re.findall(r'x="([\d.]+)"[^>]*>训练', svg)]
    starts = [float(x) for x in re.findall(r'd="M([\d.]+) 84h16"', svg)]
    assert len(starts) == 2
    assert end + 6 < starts[1]


def test_a_profile_marks_the_layers_that_were_found_and_no_others() -> None:
    report = builders.classifier()
    assert report.activations is not None
    rows = [replace(r, rectifier=r.kind == "ReLU") for r in report.activations.rows]
    report = replace(report, activations=replace(report.activations, rows=rows))
    names = [r.name for r in rows if r.rectifier and r.channels]
    found = [finding("dead-relu", "activations", name, share=0.6) for name in names[1:3]]
    svg, caption = shown(report, *found)
    assert caption == "Share of silent channels, rectifier by rectifier"
    signs = re.findall(rf'<path d="([^"]*l3 5h-6z[^"]*)" fill="{ERROR}"/>', svg)
    assert [path.count("l3 5h-6z") for path in signs] == [2]


def test_a_limit_is_drawn_where_there_is_nothing_else() -> None:
    svg, caption = shown(builders.regressor(), finding("o-baseline-skill", "evaluation", "model", skill=0.02))
    assert "0.0200" in svg
    assert "0.50" in svg
    assert caption.endswith("what was measured, and its limit")


def test_numbers_that_are_not_comparable_are_not_drawn() -> None:
    several = Finding(
        rule="x", severity=Severity.ERROR, subject="model", section="dataset", evidence={"a": 1.0, "b": 2.0}
    )
    assert picture(builders.smallest(), diagnosis(several)) is None


def test_three_are_shown_and_the_others_linked() -> None:
    many = [diagnosis(finding("h-overfit", "training", "val_loss", rise=float(i + 1))) for i in range(9)]
    verdict = build(replace(builders.classifier(), diagnoses=many)).verdict
    assert [h.target for h in verdict.heads] == ["diagnosis-1", "diagnosis-2", "diagnosis-3"]
    assert [c.target for c in verdict.causes] == ["diagnosis-4", "diagnosis-5", "diagnosis-6", "diagnoses"]
    assert verdict.causes[-1].text == "and 3 more diagnoses"


@pytest.mark.parametrize("severity", [Severity.ERROR, Severity.INFO])
def test_what_needs_no_action_is_not_on_the_first_screen(severity: Severity) -> None:
    found = diagnosis(finding("h-overfit", "training", "val_loss", severity, rise=0.7), severity=severity)
    heads = build(replace(builders.classifier(), diagnoses=[found])).verdict.heads
    assert len(heads) == (1 if severity is Severity.ERROR else 0)


def test_an_advice_is_as_long_in_every_language() -> None:
    """A Chinese text takes a third of the letters: a limit for each would cut the one and not the other."""
    told = [ADVICE[cause] for cause in ("double-softmax", "bn-statistics", "dead-relu")]
    many = [diagnosis(finding("x", "", "model", a=1.0), cause="x") for _text in told]
    many = [replace(d, advice=text) for d, text in zip(many, told, strict=True)]
    for d in many:
        shown_in = []
        for language in ("en", "zh"):
            with speaking(language):
                whole = advice(d)
            head = build(replace(builders.smallest(), diagnoses=[d]), language).verdict.heads[0].advice
            shown_in.append(head == whole)
        assert shown_in[0] == shown_in[1] == (len(d.advice) <= 150)
    assert {len(text) <= 150 for text in told} == {True, False}


def test_one_sample_is_no_samples() -> None:
    one = describe(finding("bn-small-batch", "training", "bn", batch_size=1.0, values=15.0))
    assert one == "Batches had 1 sample: 15 values a channel in bn."


def test_memory_beside_the_parameters_is_theirs() -> None:
    """Buffers are none: the section on the architecture says the same number of the same thing."""
    report = builders.classifier()
    assert report.architecture is not None
    page = build(replace(report, architecture=replace(report.architecture, buffer_bytes=10**9)))
    (size,) = [p.note.rpartition(", ")[2] for p in page.lead if p.label == "Parameters"]
    (section,) = [s for s in page.sections if s.id == "architecture"]
    told = [
        p.value for b in section.blocks if isinstance(b, KeyValues) for p in b.pairs if p.label == "Parameter memory"
    ]
    assert told == [size]


def test_the_strip_tells_healthy_from_sick_from_not_measured() -> None:
    report = builders.classifier()
    names = depth.layers(report)
    known = dict(zip(names, depth.states(report, names), strict=True))
    assert known["fc"] == "error"
    assert known["layer1.0.conv1"] == "ok"
    bare = replace(report, activations=None, weights=None, gradients=None, diagnoses=[])
    assert set(depth.states(bare, depth.layers(bare))) == {""}


def test_the_strip_tells_marks_of_consequences_from_those_of_causes() -> None:
    """One error above, and marks on many layers, would be a riddle."""
    report = builders.classifier(3)
    names = depth.layers(report)
    causes = [replace(d, consequences=[]) for d in report.diagnoses]
    bad = sum(depth.rank(s) > 2 for s in depth.states(replace(report, diagnoses=causes), names))
    assert 0 < bad < len(names)
    spread = replace(causes[0], consequences=[finding("dead-relu", "activations", layer) for layer in names])
    for diagnoses, told in (
        (causes, f"{bad} with an error or a warning"),
        (
            [spread, *causes[1:]],
            f"{len(names)} with an error or a warning, {len(names) - bad} of them as a consequence",
        ),
    ):
        drawn = depth.strip(replace(report, diagnoses=diagnoses))
        assert drawn is not None
        assert told in drawn.title


def test_the_strip_tells_of_what_belongs_to_no_layer_and_names_the_layers_that_are_marked() -> None:
    """A green strip under an error would be a contradiction."""
    report = builders.classifier(3)
    names = depth.layers(report)
    loss, output = finding("loss-sign", "trials", "loss"), finding("output-range", "evaluation", "output")
    whole = depth.strip(replace(report, diagnoses=[diagnosis(loss)]))
    assert whole is not None
    assert whole.title.endswith("layers, 1 diagnosis of the model or the data as a whole")
    assert whole.caption == ""
    noted = replace(diagnosis(loss), consequences=[finding("dead-relu", "activations", names[0], Severity.INFO)])
    still = depth.strip(replace(report, diagnoses=[noted]))  # an observation at a layer is no mark of the warning
    assert still is not None
    assert still.title.endswith("layers, 1 diagnosis of the model or the data as a whole")
    listed = replace(loss, detail={"layers": f"{names[0]}, {names[2]}"})
    named = depth.strip(replace(report, diagnoses=[diagnosis(listed)]))
    assert named is not None
    assert named.caption == f"Warning: {names[0]}, {names[2]}"
    placed = replace(output, detail={"layer": names[-1]})
    drawn = depth.strip(replace(report, diagnoses=[diagnosis(placed)]))
    assert drawn is not None
    assert drawn.title.endswith("1 with an error or a warning")
    assert drawn.caption == f"Warning: {names[-1]}"
    spread = [finding("dead-relu", "activations", layer) for layer in names]
    many = depth.strip(replace(report, diagnoses=[diagnosis(*spread)]))
    assert many is not None
    assert many.caption.endswith(f"and {len(names) - 4} more")


def test_a_strip_of_any_depth_shows_the_whole_network_and_loses_no_mark() -> None:
    names = [f"l{i}" for i in range(5000)]
    known = ["ok"] * 5000
    known[4321] = "error"
    parts = depth.stretches(names, known)
    assert len(parts) <= depth.COLUMNS
    assert sum(p.n for p in parts) == 5000
    assert (parts[0].first, parts[-1].last) == ("l0", "l4999")
    bad = [p for p in parts if p.state == "error"]
    assert len(bad) == 1
    assert int(bad[0].first[1:]) <= 4321 <= int(bad[0].last[1:])


def test_the_key_figures_have_the_best_of_the_run_and_the_price() -> None:
    pairs = {p.label: p for p in builders.page("classifier").lead}
    assert list(pairs) == [
        "Parameters",
        "Forward pass",
        "Best validation accuracy",
        "Accuracy",
        "Samples probed",
        "Cost of probing",
    ]
    series = builders.history().get("val_accuracy")
    assert series is not None
    assert pairs["Best validation accuracy"].value == f"{100 * max(y for y in series.y if y is not None):.1f}\u00a0%"
    assert pairs["Best validation accuracy"].note == f"epoch {len(series.y)}, {len(series.y)} in all"
    assert pairs["Cost of probing"].value == "11.9\u00a0s"


def test_bars_stand_on_zero() -> None:
    """Half as much is half as high, even where nothing is near zero."""
    drawn = profile([0.5, 1.0], [False, True], "t", ("input", "output"))
    assert drawn is not None
    tops = [float(y) for y in re.findall(r"V(-?[\d.]+)h", serialise(drawn))]
    ground = evidence_figures._BOTTOM
    assert (ground - tops[0]) / (ground - tops[1]) == pytest.approx(0.5, abs=0.02)


def gauge(
    rule: str, key: str, value: float, **limits: float
) -> tuple[float, list[float], list[tuple[float, float]], str]:
    """Where the number, its limits and the bands beyond them stand on a gauge, and its caption."""
    told = finding(rule, "training", "model", **{key: value})
    svg, caption = shown(builders.smallest(), replace(told, threshold=limits or {key: 0.5}))
    marker = re.search(r'd="M([\d.]+) 30l6', svg)
    assert marker is not None
    bands = [(float(a), float(b)) for a, b in re.findall(r'd="M([\d.]+) 27H([\d.]+)v10', svg)]
    return float(marker[1]), [float(x) for x in re.findall(r'd="M([\d.]+) 22V44', svg)], bands, caption


def test_numbers_stand_on_a_gauge_where_their_sizes_put_them() -> None:
    """From 8 to 292 pixels: 100 % against 90 %, a loss against its level, a deviation decades beyond its limit."""
    assert gauge("clip-fraction", "share", 1.0, share=0.9)[:3] == (292, [263.6], [(263.6, 292)])
    marker, (limit,), _band, caption = gauge("x", "end", 2.0, end=1.5)
    assert (marker, limit) == (292, 221)
    assert "logarithmic" not in caption
    marker, (limit,), _band, caption = gauge("x", "row_sum_error", 1.0, row_sum_error=1e-3)
    assert (marker - limit) / (292 - 8) == pytest.approx(3 / 4, abs=0.01)  # of four decades
    assert "logarithmic" in caption


def test_the_side_of_a_gauge_is_marked_that_is_beyond_the_limit() -> None:
    marker, (limit,), ((start, end),), _caption = gauge("x", "accuracy", 0.125, accuracy=0.95)
    assert start <= marker < limit == end
    marker, (low, high), bands, _caption = gauge("lr-extreme", "rate", 0.05, low=1e-6, high=0.01)
    assert bands == [(8, low), (high, 292)]
    assert high < marker
    levels = {"warning": 0.5, "error": 0.99}
    assert gauge("x", "share", 0.5625, **levels)[1:3] == ([150, 289.2], [(150, 292)])


def test_of_two_numbers_that_are_each_enough_the_one_is_shown_that_went_further() -> None:
    told = finding("bn-stats-mismatch", "activations", "model", mean_gap=0.001, log_var_gap=20.7)
    assert "log of the ratio of variances: 20.7" in shown(builders.smallest(), told)[0]


def test_a_layer_that_has_a_number_for_a_name_is_called_a_layer() -> None:
    found = diagnosis(finding("act-dead", "activations", "3", share=1.0))
    named = diagnosis(finding("act-dead", "activations", "conv1", share=1.0))
    heads = build(replace(builders.classifier(), diagnoses=[found, named])).verdict.heads
    assert [h.subject for h in heads] == ["layer 3", "conv1"]


def test_and_so_it_is_in_a_sentence() -> None:
    evidence = {"silent": 3, "channels": 16, "samples": 397, "share": 0.1875, "may_fire": 0.008}
    finding = Finding(
        rule="dead-relu", severity=Severity.WARNING, section="activations", subject="3", evidence=evidence
    )
    assert describe(finding).startswith("layer 3: ")
    assert describe(replace(finding, subject="conv3")).startswith("conv3: ")


def test_a_class_that_has_a_number_for_a_name_is_called_a_class() -> None:
    evidence = {"recall": 0.017, "mean": 0.3, "samples": 60, "classes": 1}
    found = Finding(rule="o-per-class", severity=Severity.INFO, section="evaluation", subject="2", evidence=evidence)
    assert describe(found).startswith("Of class 2 ")
    evidence = {"share": 0.4, "taken": 20, "errors": 30}
    pair = replace(found, rule="o-confused-pair", evidence=evidence, detail={"other": "3"})
    assert "of class 2 are taken for class 3" in describe(pair)
    assert describe(replace(found, subject="cat")).startswith("Of cat ")


def test_few_layers_have_a_box_each_though_all_are_alike() -> None:
    names = [f"l{i}" for i in range(depth.APART)]
    assert len(depth.stretches(names, ["ok"] * len(names))) == len(names)
    assert len(depth.stretches([*names, "one more"], ["ok"] * (len(names) + 1))) == 1


def test_a_share_is_held_against_the_limit_of_a_share() -> None:
    found = Finding(
        rule="grad-dead",
        severity=Severity.ERROR,
        subject="model",
        section="training",
        evidence={"tensors": 3.0, "share": 0.9953},
        threshold={"error": 0.1},
    )
    svg, _caption = shown(builders.smallest(), found)
    assert "share: 99.5\u00a0%" in svg
    assert "tensors" not in svg


def test_the_strip_of_a_bare_file_shows_the_owners_of_its_tensors() -> None:
    report = replace(builders.checkpoint(), architecture=replace(builders.architecture(1), rows=[]))
    names = ["fc"]
    assert depth.layers(report) == names
    assert depth.states(report, names) == ["error"]


def test_columns_of_many_layers_that_are_alike_are_one() -> None:
    names = [f"l{i}" for i in range(2000)]
    known = ["warning"] * 1800 + ["error"] + ["warning"] * 99 + ["ok"] * 100
    assert [p.state for p in depth.stretches(names, known)] == ["warning", "error", "warning", "ok"]
    assert len(depth.stretches(names[:10], known[:10])) == 10


def test_what_falls_by_many_powers_of_ten_has_a_logarithmic_axis_though_it_ends_in_zeros() -> None:
    values = [0.0] * 5 + [10.0**-k for k in range(8, -1, -2)]
    drawn = profile(values, [False] * 10, "t", ("input", "output"))
    assert drawn is not None
    tops = [float(y) for y in re.findall(r"V(-?[\d.]+)h", serialise(drawn))]
    steps = [a - b for a, b in itertools.pairwise(tops)]
    assert len(tops) == 5
    assert max(steps[1:]) - min(steps[1:]) < 0.2  # equal factors, equal steps


def test_marks_of_the_outermost_layers_stay_within_the_strip() -> None:
    """In a deep network a layer is a line of a pixel, and the mark above it as wide as ever, on a phone too."""
    report = builders.huge()
    names = depth.layers(report)
    first = finding("dead-relu", "activations", names[0])
    drawn = depth.strip(replace(report, diagnoses=[*report.diagnoses, diagnosis(first)]))
    assert drawn is not None
    known = depth.states(replace(report, diagnoses=[*report.diagnoses, diagnosis(first)]), names)
    assert (known[0], known[-1]) == ("warning", "error")
    signs = re.findall(
        r'<use href="#depth-\w+" x="([\d.]+)%"(?: transform="translate\((.+?)\)")?', serialise(drawn.drawing)
    )
    for width in (320, 960):
        middles = [float(share) / 100 * width + float(moved or 0) for share, moved in signs]
        assert min(middles) >= 7
        assert max(middles) <= width - 7


def test_the_strip_says_what_its_signs_and_colours_mean_and_no_others() -> None:
    report = builders.classifier()
    drawn = depth.strip(report)
    assert drawn is not None
    assert [k.text for k in drawn.key] == ["error", "warning", "observation", "nothing found"]
    bare = depth.strip(replace(report, activations=None, weights=None, gradients=None, diagnoses=[]))
    assert bare is not None
    assert [k.text for k in bare.key] == ["not measured"]


def test_a_run_that_was_broken_off_says_so_among_the_key_figures() -> None:
    run = replace(builders.history(), interrupted="RuntimeError: CUDA out of memory", steps=24)
    pairs = {pair.label: pair for pair in overview.lead(replace(builders.smallest(), training=run))}
    assert pairs["Ended early"].value == "step 24"
    assert pairs["Ended early"].note == "RuntimeError: CUDA out of memory"
    whole = overview.lead(replace(builders.smallest(), training=builders.history()))
    assert "Ended early" not in [pair.label for pair in whole]


def test_each_head_of_a_model_has_its_score_among_the_key_figures() -> None:
    kinds = builders.classification()
    both = EvaluationFacts(task="several", n_samples=10, loss=0.65, heads={"kind": kinds, "kind2": kinds})
    report = replace(builders.smallest(), evaluation=both)
    assert [p.label for p in overview.lead(report) if p.note.startswith("95")] == ["kind: Accuracy", "kind2: Accuracy"]
    alone = replace(report, evaluation=EvaluationFacts(task="several", n_samples=10, loss=0.65))
    alone = replace(alone, subject=replace(alone.subject, loss="loss"))
    assert [(p.label, p.note) for p in overview.lead(alone) if p.label == "Loss"] == [("Loss", "")]


def test_bars_on_a_logarithmic_axis_are_told_to_be() -> None:
    facts = builders.classifier().gradients
    assert facts is not None
    layers = [row for row in facts.rows if row.is_matrix and row.stats is not None]
    seen = finding("grad-depth-slope", "gradients", layers[0].name)

    def caption(base: float) -> str:
        rows = [replace(row, stats=builders.stats([base**i, -(base**i)])) for i, row in enumerate(layers)]
        return shown(replace(builders.classifier(), gradients=replace(facts, rows=rows)), seen)[1]

    assert caption(0.99) == "Gradient rms of each weight matrix, from input to output"
    assert caption(0.1) == "Gradient rms of each weight matrix, from input to output, on a logarithmic scale"


def test_a_score_stands_beside_what_a_trivial_answer_reaches() -> None:
    report = builders.classifier(3)
    assert report.evaluation is not None
    accuracy = next(pair for pair in build(report).lead if pair.label == "Accuracy")
    assert re.search(r"95 % interval .* to .*, commonest class \d", accuracy.note.replace("\xa0", " "))
    worse = EvaluationFacts(task="tokens", n_samples=9, scores=[Score(name="perplexity", value=35.1, baseline=27.8)])
    (pair,) = (p for p in build(replace(report, evaluation=worse)).lead if p.label == "Perplexity")
    assert (pair.value, pair.note) == ("35.1", "trivial answer 27.8")


def test_the_verdict_says_what_it_does_not_know() -> None:
    """A green verdict over a run whose model nobody looked at would promise too much."""
    run = replace(builders.classifier(3), architecture=None, weights=None, activations=None, gradients=None)
    told = build(replace(run, coverage=[], diagnoses=[])).verdict.detail
    assert "Not measured: " in told
    assert "architecture" in told
    assert "trained is not known" not in told  # there is no model
    report = builders.classifier(3)
    for state, expected in (("unknown", True), ("trained", False)):
        detail = build(replace(report, subject=replace(report.subject, state=state))).verdict.detail
        assert ("Whether it was trained is not known." in detail) is expected
