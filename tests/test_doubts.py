"""What a diagnosis does not know: what was not checked, other candidates, and the trial that would decide."""

from __future__ import annotations

import pytest
from msgspec import structs

from reportgen.document.facts import Diagnosis, Finding, Report, Severity
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.advice import ADVICE
from reportgen.health.defaults import DEFAULTS
from reportgen.health.doubts import LATE, MORE_TIME, NEEDS, PARTS, RIVALS, with_doubts
from reportgen.health.judge import judge
from reportgen.health.rules import RULES
from reportgen.health.syndromes import SYNDROMES
from reportgen.page import wording, words_doubts
from reportgen.page.build import build
from reportgen.page.wording import cause_title
from reportgen.probe.trials.run import EXPERIMENTS
from reportgen.render.html import to_html
from reportgen.render.junit import to_junit
from reportgen.render.markdown import to_markdown

from . import builders
from .test_rules import BAD, GOOD, activations, evaluated, layer, report

CAUSES = {*DEFAULTS.values(), *(s.cause for s in SYNDROMES), "lr-too-low", "exploding-gradients", "no-weight-update"}


def diagnosis(cause: str, rule: str = "x", severity: Severity = Severity.WARNING) -> Diagnosis:
    finding = Finding(rule=rule, severity=severity, subject="model", section="s")
    return Diagnosis(cause=cause, severity=severity, subject="model", findings=[finding])


def one(cause: str, facts: Report, rule: str = "x", severity: Severity = Severity.WARNING) -> Diagnosis:
    (doubted,) = with_doubts([diagnosis(cause, rule, severity)], facts)
    return doubted


def test_tables_speak_of_causes_rules_and_parts_that_exist() -> None:
    assert set(NEEDS) <= CAUSES
    assert {p for parts in NEEDS.values() for p in parts} <= set(PARTS)
    assert set(PARTS) == set(words_doubts._PARTS)
    for cause, rivals in RIVALS.items():
        assert cause in NEEDS
        assert cause not in rivals.causes
        assert set(rivals.causes) <= set(NEEDS) & set(ADVICE)
        assert set(rivals.settled_by) <= set(RULES)
        assert set(rivals.always) <= set(rivals.causes)
        assert rivals.trial in words_doubts._TRIALS
    assert {r.trial for r in RIVALS.values()} | {MORE_TIME} == set(words_doubts._TRIALS)
    assert set(LATE) <= {name for name, _, _ in EXPERIMENTS}
    assert {rule for rules in LATE.values() for rule in rules} <= set(RULES)
    assert {rule for rules in LATE.values() for rule in rules} <= {p for s in SYNDROMES for p in s.proofs}


def late(*names: str) -> TrialFacts:
    rest = [Trial(name=name, status="skipped", reason="no time", late=True) for name in names]
    return TrialFacts(trials=rest, budget=1.0, out_of_time=bool(rest))


def test_an_experiment_left_out_for_time_that_could_have_named_the_cause() -> None:
    # what wrong augmentation leaves behind looks like imbalance
    doubted = one("class-imbalance", report(trials=late("learned-anew")), "d-class-imbalance")
    assert "experiments in time" in doubted.unchecked
    assert "wrong-augmentation" in doubted.candidates
    assert doubted.decided_by == MORE_TIME
    assert "trial_budget" in words_doubts.unchecked(doubted)
    assert "trial_budget" in words_doubts.candidates(doubted, ["Wrong augmentation"])


def test_a_class_that_is_rare_may_have_been_renamed() -> None:
    doubted = one("class-imbalance", report(trials=late("unseen-half")), "d-class-imbalance")
    assert "experiments in time" in doubted.unchecked
    assert "label-noise" in doubted.candidates


@pytest.mark.parametrize(
    ("names", "cause", "rule"),
    [
        ((), "class-imbalance", "d-class-imbalance"),  # all were made
        (("gradient-noise", "shuffled-labels"), "class-imbalance", "d-class-imbalance"),  # those tell no cause
        (("unseen-half",), "unscaled-target", "d-target-scale"),  # wrong labels do not make targets large
        (("learned-anew", "other-ways"), "nan-in-data", "d-nonfinite"),  # a fact, whatever they say
        (("learned-anew",), "wrong-augmentation", "d-labels-unrelated"),
    ],
)
def test_experiments_left_out_that_would_not_have_changed_the_answer(
    names: tuple[str, ...], cause: str, rule: str
) -> None:
    doubted = one(cause, report(trials=late(*names)), rule)
    assert "experiments in time" not in doubted.unchecked
    assert doubted.decided_by != MORE_TIME


def test_a_report_of_curves_alone_leaves_much_open() -> None:
    doubted = one("underfitting", report())
    assert set(doubted.unchecked) >= {"curves", "steps", "one batch", "training data"}
    assert doubted.candidates == ["label-noise", "lr-too-low", "label-corruption", "detached-graph"]
    assert doubted.decided_by == "one-batch"


def test_what_was_measured_rules_a_rival_out() -> None:
    full = builders.classifier()
    assert full.gradients is not None
    doubted = one("vanishing-gradients", full)
    assert "gradients" not in doubted.unchecked
    without = one("vanishing-gradients", structs.replace(full, gradients=None))
    assert "gradients" in without.unchecked
    # by the curves alone an explosion may be anything; with gradients and steps it would have been seen
    assert "exploding-gradients" in one("lr-too-high", report()).candidates
    watched = structs.replace(full, training=builders.watched())
    assert "exploding-gradients" not in one("lr-too-high", watched).candidates


def test_some_causes_no_measurement_tells_apart() -> None:
    watched = structs.replace(builders.classifier(), training=builders.watched())
    assert one("dead-relu", watched).candidates[0] == "bad-init"
    assert one("dead-relu", watched, "dead-rising").candidates == []
    assert "label-noise" in one("underfitting", watched).candidates
    assert one("underfitting", watched, "one-batch").candidates == []


def test_a_rival_that_is_diagnosed_is_no_candidate_and_a_fact_has_none() -> None:
    facts = report()
    pair = [diagnosis("dead-relu"), diagnosis("lr-too-high")]
    dead, rate = with_doubts(pair, facts)
    assert "lr-too-high" not in dead.candidates
    assert "exploding-gradients" in rate.candidates
    assert one("data-leakage", facts).candidates == ["train-val-mismatch"]
    assert one("data-leakage", facts, "leakage").candidates == []
    assert one("missing-zero-grad", facts).candidates == []


def test_observations_name_no_rivals() -> None:
    noted = one("dead-relu", report(), severity=Severity.INFO)
    assert (noted.candidates, noted.decided_by) == ([], "")
    assert noted.unchecked


@pytest.mark.parametrize("table", [BAD, GOOD])
def test_every_diagnosis_says_what_was_not_checked(table: object) -> None:
    judged = judge(report(activations=activations(layer(60)), evaluation=evaluated(table)))  # type: ignore[arg-type]
    assert judged.diagnoses
    for d in judged.diagnoses:
        assert "steps" in d.unchecked or "curves" in d.unchecked
        assert "other seeds" in words_doubts.unchecked(d)


def test_the_page_names_candidates_the_trial_and_what_was_not_checked() -> None:
    judged = judge(report(activations=activations(layer(60)), evaluation=evaluated(BAD)))
    (dead,) = [d for d in judged.diagnoses if d.cause == "dead-relu"]
    assert dead.candidates
    html, text = to_html(build(judged)).decode(), to_markdown(build(judged)).decode()
    for told in (html, text, to_junit(judged).decode()):
        assert cause_title(dead.candidates[0]) in told
        assert "Initialise anew" in told
        assert "other seeds" in told


def test_a_file_of_an_older_version_has_nothing_to_say_and_is_shown() -> None:
    assert words_doubts.candidates(diagnosis("dead-relu"), []) == ""
    alien = structs.replace(diagnosis("dead-relu"), unchecked=["new part"], candidates=["x"], decided_by="y")
    assert "new part; other seeds" in words_doubts.unchecked(alien)
    assert words_doubts.candidates(alien, ["X", "Y", "Z"]) == "With the same marks: “X”, “Y” or “Z”."


def test_every_rule_says_when_it_is_wrong() -> None:
    assert [rule for rule in RULES if not wording.doubt(rule)] == []
    assert wording.doubt("a rule of tomorrow") == ""


def test_other_data_are_spoken_of_where_there_were_data() -> None:
    found = diagnosis("dead-relu")
    assert words_doubts.unchecked(found) == "other seeds, and other data than these."
    assert words_doubts.unchecked(structs.replace(found, unchecked=["data"])) == "the data; other seeds."
