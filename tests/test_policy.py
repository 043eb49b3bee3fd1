"""What a project sets for rules: thresholds, severities, off, waivers; in a file, in Python, in the report."""

from __future__ import annotations

import ast
import datetime
import inspect
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from reportgen import settings
from reportgen.cli import main
from reportgen.cli.flags import settings_of
from reportgen.document.codec import decode, encode
from reportgen.document.facts import Diagnosis, Report, Severity
from reportgen.document.findings import RuleScore, Scorecard
from reportgen.errors import OptionError
from reportgen.health.gate import offending
from reportgen.health.judge import judge
from reportgen.health.limits import COMMON, LIMITS, limits_by_rule, main_limit
from reportgen.health.policy import policy_of
from reportgen.health.rules import RULES
from reportgen.health.scorecard import FILE, scorecard
from reportgen.health.thresholds import Thresholds
from reportgen.page.build import build
from reportgen.page.explain import explain
from reportgen.page.wording import describe
from reportgen.render.html import to_html
from reportgen.render.junit import to_junit
from reportgen.render.markdown import escaped, to_markdown

from .test_rules import BAD, activations, evaluated, layer, report

REASON = "a sparse layer by design"


def sick(created: str = "2026-11-21T10:00:00+00:00") -> Report:
    """A layer of whose channels 60 % are silent, in a model that does not work: a warning."""
    facts = report(activations=activations(layer(60)), evaluation=evaluated(BAD))
    return structs.replace(facts, meta=structs.replace(facts.meta, created=created))


def judged(table: dict[str, Any], facts: Report | None = None) -> Report:
    return decode(encode(judge(facts or sick(), rules=policy_of(table))))


def dead(facts: Report) -> list[tuple[str, float]]:
    return [(f.severity.value, f.threshold["warning"]) for f in facts.findings if f.rule == "dead-relu"]


def waiver(**more: Any) -> dict[str, Any]:
    return {"dead-relu": {"waive": [{"layer": "*", "reason": REASON} | more]}}


def test_a_threshold_a_severity_and_off() -> None:
    assert dead(judged({})) == [("warning", 0.5)]
    assert dead(judged({"dead-relu": {"threshold": 0.7}})) == [("info", 0.7)]
    assert dead(judged({"dead-relu": {"warning": 0.7}})) == [("info", 0.7)]
    assert dead(judged({"dead-relu": {"severity": "error"}})) == [("error", 0.5)]
    assert dead(judged({"dead-relu": "info"})) == [("info", 0.5)]
    off = judged({"dead-relu": "off"})
    assert dead(off) == []
    assert ("rule dead-relu", "switched off in the settings") in [(c.part, c.reason) for c in off.coverage]


def test_an_observation_is_never_made_an_alarm() -> None:
    assert dead(judged({"dead-relu": {"threshold": 0.7, "severity": "error"}})) == [("info", 0.7)]


def _dead_relu(facts: Report) -> list[Diagnosis]:
    return [d for d in facts.diagnoses if d.cause == "dead-relu"]


def test_a_waived_finding_counts_for_nothing_and_is_kept_with_its_reason() -> None:
    plain, kept = judged({}), judged(waiver())
    assert _dead_relu(plain)
    assert not _dead_relu(kept)
    assert len(offending(kept, Severity.INFO)) == len(offending(plain, Severity.INFO)) - 1
    ((held, reason),) = [(w.finding, w.reason) for w in kept.waived]
    assert (held.rule, held.severity, reason) == ("dead-relu", "warning", REASON)
    assert [f for f in plain.findings if f.rule == "dead-relu"] == [held]


@pytest.mark.parametrize(("pattern", "hit"), [("rel*", True), ("relu", True), ("x*", False), ("relu.*", False)])
def test_a_waiver_holds_for_the_layers_that_it_names(pattern: str, hit: bool) -> None:
    facts = sick()
    assert facts.activations is not None
    rows = [structs.replace(row, name="relu") for row in facts.activations.rows]
    facts = structs.replace(facts, activations=structs.replace(facts.activations, rows=rows))
    assert bool(judged(waiver(layer=pattern), facts).waived) is hit


def test_a_waiver_ends_with_its_last_day_by_the_date_of_the_report() -> None:
    table = waiver(until=datetime.date(2026, 11, 21))
    assert judged(table).waived
    late = judged(table, sick("2026-11-22T00:00:00+00:00"))
    assert not late.waived
    assert _dead_relu(late)
    assert judge(late, rules=late.rules).findings == late.findings
    assert judged(table, sick("")).waived


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"dead-rel": {}}, "no rule named 'dead-rel'.*dead-relu"),
        ({"dead-relu": {"warnin": 1}}, "no threshold named 'warnin'.*warning"),
        ({"w-scale": {"threshold": 1}}, "no threshold named 'threshold'.*low, high"),
        ({"d-nonfinite": {"share": 1}}, "no thresholds; off"),
        ({"dead-relu": {"severity": "grave"}}, "grave"),
        ({"dead-relu": {"waive": [{"layer": "x"}]}}, "reason"),
        ({"dead-relu": {"waive": [{"layer": "x", "reason": "  "}]}}, "no reason"),
        ({"dead-relu": {"waive": [{"layer": "", "reason": "x"}]}}, "no layer"),
        ({"dead-relu": {"waive": [{"layer": "x", "reason": "y", "untill": "z"}]}}, "untill"),
        ({"dead-relu": {"waive": {"layer": "x"}}}, "waive"),
        ({"dead-relu": {"off": "yes"}}, "off"),
        ({"dead-relu": 3}, "Expected a table"),
        ({"dead-relu": {"threshold": True}}, "Expected a finite number"),
        ({"dead-relu": {"threshold": float("inf")}}, "off = true"),
        ({"dead-relu": {"threshold": 1, "warning": 2}}, "twice"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(table: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        policy_of(table)
    assert "\n" not in str(caught.value)


def test_a_settings_file_sets_rules(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.reportgen.rules.dead-relu]\nthreshold = 0.6\nseverity = "info"\n'
        f'[[tool.reportgen.rules.dead-relu.waive]]\nlayer = "head.*"\nreason = "{REASON}"\nuntil = 2030-12-31\n'
    )
    given = settings.load(tmp_path / "pyproject.toml", {}).options.rules
    (rule,) = policy_of(given).values()
    assert (rule.thresholds, rule.severity) == ({"warning": 0.6}, "info")
    assert rule.waive[0].until == datetime.date(2030, 12, 31)


def _reads(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> set[str]:
    """Return the thresholds that a rule reads, by its source and that of its helpers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(function))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "limits":
            found.add(node.attr)
        helper = getattr(function, "__globals__", {}).get(node.id) if isinstance(node, ast.Name) else None
        if inspect.isfunction(helper) and helper not in seen and helper.__module__.startswith("reportgen."):
            seen.add(helper)
            found |= _reads(helper, seen)
    return found & set(Thresholds.__struct_fields__)


def test_every_threshold_is_declared_by_the_rules_that_read_it() -> None:
    """A rule that lacks here needs its row in health/limits.py."""
    declared = {rule: set(names.values()) for rule, names in LIMITS.items()}
    owned = {field for names in declared.values() for field in names}
    assert owned | set(COMMON) == set(Thresholds.__struct_fields__)
    for rule, function in RULES.items():
        assert declared.get(rule, set()) <= _reads(function, {function}), rule
    assert set(LIMITS) <= set(RULES)


def test_each_rule_has_a_setting_of_its_own_and_conditions_are_shared() -> None:
    table = {"dead-relu": {"warning": 0.9}, "dead-smooth": {"info": 0.3}, "h-diverged": {"drop": 0.8}}
    own = limits_by_rule(Thresholds(), table)

    def of(rule: str) -> Thresholds:
        return own.get(rule, own[""])

    assert of("dead-relu").dead_relu_warning == 0.9
    assert of("dead-smooth").dead_relu_warning == 0.5
    assert (of("dead-smooth").dead_relu_info, of("dead-relu").dead_relu_info) == (0.3, 0.1)
    # whether it diverged is asked by others too, and must mean one thing
    assert of("h-overfit").diverged_drop == of("h-diverged").diverged_drop == 0.8
    assert limits_by_rule(Thresholds(), {}) == {"": Thresholds()}


def test_threshold_stands_for_the_limit_of_a_warning_or_the_only_one() -> None:
    assert main_limit("dead-relu") == "warning"
    assert main_limit("idle-block") == "change"
    assert main_limit("w-scale") is None
    assert main_limit("d-nonfinite") is None


def test_a_flag_sets_a_threshold_of_one_rule() -> None:
    given = settings_of({"threshold": ["dead-relu.warning=0.6", "dead-relu.info=0.2", "shift=1"]})
    assert given == {"thresholds": {"shift": 1.0}, "rules": {"dead-relu": {"warning": 0.6, "info": 0.2}}}
    assert settings_of({"threshold": None}) == {}
    with pytest.raises(OptionError, match=r"no number.*dead-relu\.warning=0\.6"):
        settings_of({"threshold": ["dead-relu.warning"]})


def test_the_package_brings_what_was_measured() -> None:
    card = scorecard()
    assert card is not None
    assert (FILE.name, FILE.parent.name) == ("scorecard.json", "health")
    assert card.runs > card.cases > 0
    for score in card.rules.values():
        assert 0 <= score.fired <= score.known
        assert 0 <= score.false <= score.healthy
    assert judged({}).scorecard == card


CARD = Scorecard(
    version="0.1.0",
    measured="2026-11-21",
    split="report",
    cases=30,
    seeds=2,
    runs=120,
    rules={
        "dead-relu": RuleScore(known=60, fired=57, healthy=400),
        "h-overfit": RuleScore(healthy=400, false=1),
        "w-scale": RuleScore(healthy=400),
    },
)


def text_of(facts: Report) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", to_html(build(facts)).decode()))


def test_the_report_shows_waived_findings_struck_through_with_the_reason() -> None:
    facts = judged(waiver(until=datetime.date(2030, 1, 1)))
    told = describe(facts.waived[0].finding)
    assert f"<s>{told}</s>" in to_html(build(facts)).decode()
    assert f"waived: {REASON} (until 2030-01-01)" in text_of(facts)
    assert "1 finding waived." in text_of(facts)
    assert f"~~{escaped(told)}~~ waived: {REASON}" in to_markdown(build(facts)).decode()
    assert f'<skipped message="waived: {REASON}"' in to_junit(facts).decode()
    assert "<failure" not in to_junit(facts).decode()


def test_provenance_tells_what_was_set_and_what_became_of_each_waiver() -> None:
    table = {
        "dead-relu": {"info": 0.2, "waive": [{"layer": "*", "reason": REASON}, {"layer": "nowhere", "reason": "x"}]},
        "w-scale": {"severity": "info", "waive": [{"layer": "*", "reason": "y", "until": datetime.date(2020, 1, 1)}]},
        "h-spikes": "off",
    }
    page = build(judged(table))
    (block,) = [b for b in page.section("provenance").blocks if getattr(b, "id", "") == "rule-settings"]  # type: ignore[union-attr]
    told = [tuple(cell.text for cell in row) for row in block.rows]  # type: ignore[union-attr]
    assert told == [
        ("dead-relu", "a note from: 20\xa0%", "in force"),
        ("dead-relu", f"waiver for *: {REASON}", "1 finding"),
        ("dead-relu", "waiver for nowhere: x", "matched nothing"),
        ("w-scale", "severity info", "in force"),
        ("w-scale", "waiver for *: y (until 2020-01-01)", "expired: findings count again"),
        ("h-spikes", "off", "in force"),
    ]


def test_thresholds_set_for_all_rules_are_in_the_report() -> None:
    facts = judge(sick(), Thresholds().replace({"dead_relu_info": 0.2}))
    assert facts.thresholds == {"dead_relu_info": 0.2}
    assert "dead_relu_info = 0.2" in text_of(facts)


def test_the_appendix_prints_the_record_of_each_rule() -> None:
    facts = structs.replace(judged({}), scorecard=CARD)
    text = text_of(facts)
    assert "57 / 60" in text
    assert "0 / 400" in text
    assert "a dash: no faulty program for it was tried" in text
    assert "version 0.1.0" in text
    assert "kept apart from the choice of thresholds" in text
    assert "Not measured: this version brings no scorecard." in text_of(structs.replace(facts, scorecard=None))


def test_a_scorecard_is_read_from_its_file_and_a_lost_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    assert scorecard(path) is None
    (tmp_path / "bad.json").write_text("{")
    assert scorecard(tmp_path / "bad.json") is None
    (tmp_path / "good.json").write_bytes(msgspec.json.encode(CARD))
    assert scorecard(tmp_path / "good.json") == CARD


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_explains_itself(rule: str) -> None:
    text = explain(rule, None)
    assert inspect.getdoc(RULES[rule]) in text
    for part in ("Thresholds", "When this is wrong", "Record\n  not measured", f"[tool.reportgen.rules.{rule}]"):
        assert part in text
    for name in LIMITS.get(rule, {}):
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name


def test_the_example_of_an_explanation_is_valid() -> None:
    for rule in RULES:
        example = explain(rule, None).split("reportgen.toml without tool.reportgen)\n")[1]
        policy_of(tomllib.loads(example)["tool"]["reportgen"]["rules"])


def test_an_explanation_tells_the_evidence_and_the_record() -> None:
    text = explain("dead-relu", CARD)
    assert "share, silent, channels, samples" in text
    assert "fires on 57 of 60 known cases, 0 of 400 healthy ones" in text
    assert "warning  0.5" in text
    assert "no known case, 1 of 400 healthy ones" in explain("h-overfit", CARD)


def test_judging_again_gives_the_same_report_and_another_policy_another_one() -> None:
    first = judged(waiver() | {"h-spikes": "off"})
    assert judge(first, rules=first.rules) == first
    assert judge(judge(first), rules=first.rules) == first
    assert _dead_relu(judge(first))


def test_the_gate_judges_again_by_the_settings_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # nothing but the dead layer is wrong with this one
    facts = judge(report(activations=activations(layer(100))))
    Path("report.json").write_bytes(encode(facts))

    def check(*flags: str) -> int:
        monkeypatch.setattr(sys, "argv", ["reportgen", "check", "report.json", *flags])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    assert check() == 1
    Path("reportgen.toml").write_text(f'[[rules.dead-relu.waive]]\nlayer = "*"\nreason = "{REASON}"\n')
    assert check() == 1
    assert check("--rejudge") == 0
    Path("reportgen.toml").write_text('[rules.dead-rel]\nseverity = "info"\n')
    assert check("--rejudge") == 2
    assert "dead-relu" in capsys.readouterr().err
