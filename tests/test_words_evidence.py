"""Every number of evidence and every limit has a name for people, with its unit, in both languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from reportgen.document.facts import Finding, Severity
from reportgen.health.limits import LIMITS
from reportgen.health.rules import RULES
from reportgen.health.signs import BELOW, EITHER, UNTOLD
from reportgen.page import words_evidence
from reportgen.page.build import build
from reportgen.page.language import speaking
from reportgen.page.names_by_rule import OF_RULE
from reportgen.page.names_measured import NAMES
from reportgen.page.sections.diagnoses import section
from reportgen.page.wording import describe

from . import builders

SOURCES = sorted((Path(__file__).parents[1] / "reportgen" / "health" / "rules").glob("*.py"))
_KEY = re.compile("[a-z][a-z0-9_]*")
# dicts of the rules that are no evidence: words by kind, ways that are tried, places of a cut
_OTHER = {"small", "large"}


def dictionaries(tree: ast.AST, argument: str) -> set[str]:
    """Keys of the dicts that go into findings under this argument, where they are written there or in a name."""
    names = {argument}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == argument:
            found |= keys(node.value)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id in names for t in targets):
                found |= keys(node.value)
    return found


def keys(node: ast.AST) -> set[str]:
    dicts = [d for d in ast.walk(node) if isinstance(d, ast.Dict)]
    return {k.value for d in dicts for k in d.keys if isinstance(k, ast.Constant) and isinstance(k.value, str)} - _OTHER


def noted(tree: ast.AST) -> set[str]:
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "noted"]
    return {key for call in calls for argument in call.args[3:5] for key in keys(argument)}


TREES = [ast.parse(path.read_text("utf-8")) for path in SOURCES]
WRITTEN = {k for tree in TREES for k in dictionaries(tree, "evidence") | dictionaries(tree, "threshold") | noted(tree)}


def test_every_number_that_a_rule_writes_has_a_name() -> None:
    assert len(WRITTEN) > 120
    assert sorted(WRITTEN - set(NAMES) - {key for own in OF_RULE.values() for key in own}) == []


def test_the_fall_of_a_loss_is_no_share_of_dropout() -> None:
    assert "dropout" not in words_evidence.quantity("h-still-improving", "drop")
    assert "dropout" not in words_evidence.quantity("h-diverged", "drop")
    for rule in ("dropout-too-strong", "faster-helps", "freedom-helps"):
        assert "dropout" in words_evidence.quantity(rule, "drop")


def test_every_limit_that_can_be_set_has_a_name() -> None:
    known = {rule: set(NAMES) | set(OF_RULE.get(rule, {})) for rule in LIMITS}
    assert [(rule, key) for rule, own in LIMITS.items() for key in own if key not in known[rule]] == []


def test_names_belong_to_rules_that_there_are() -> None:
    assert sorted(set(OF_RULE) - set(RULES)) == []


def test_details_are_told_or_chosen_not_to_be() -> None:
    written = {k for tree in TREES for k in dictionaries(tree, "detail")}
    assert len(written) > 20
    assert sorted(written - set(words_evidence._TOLD) - words_evidence._UNTOLD) == []


@pytest.mark.parametrize("table", [NAMES, *OF_RULE.values()])
def test_names_are_words_and_not_keys(table: dict[str, tuple[str, str]]) -> None:
    names = [name for name, _unit in table.values()]
    assert [name for name in names if "_" in name or not name] == []
    with speaking("zh"):
        # what is the same in Chinese is a sign or a name of code
        same = {name for name in names if words_evidence._(name) == name}
    assert same <= {"eps", "R²"}


def finding(rule: str, **numbers: float) -> Finding:
    return Finding(rule=rule, severity=Severity.WARNING, subject="3", section="activations", evidence=numbers)


def test_numbers_have_their_unit_and_sensible_digits() -> None:
    told = words_evidence.numbers(finding("dead-relu", share=0.765625, silent=49, channels=64, may_fire=0.0075566))
    assert told == [
        "share of silent channels: 76.6\u00a0%",
        "silent channels: 49",
        "channels: 64",
        "may still fire, with a probability up to: 0.8\u00a0%",
    ]
    assert words_evidence.numbers(finding("h-init-loss", loss=23.02585, ratio=10.0)) == [
        "first loss: 23.0",
        "first loss, of that of a guess: 10\u00a0×",
    ]
    assert words_evidence.numbers(finding("loss-sign", maximize=1.0)) == ["told to maximise: yes"]
    assert words_evidence.limit("dead-relu", "warning", 0.5) == "a warning from: 50\u00a0%"


def test_a_number_of_another_version_keeps_its_own_words() -> None:
    assert words_evidence.numbers(finding("rule-of-tomorrow", new_number=0.5)) == ["new number: 0.500"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["classifier", "checkpoint"])
def test_no_key_reaches_the_cards(name: str, language: str) -> None:
    report = getattr(builders, name)()
    page = build(report, language).section("diagnoses")
    assert page is not None
    cards = [card for block in page.blocks for card in getattr(block, "cards", []) + getattr(block, "notes", [])]
    cells = [row[i].text for card in cards for row in card.evidence.rows for i in (2, 3)]
    assert cells
    assert [cell for cell in cells if re.search(r"[a-z]_[a-z]| = ", cell)] == []
    assert section(report) is not None


def test_numbers_of_sentences_and_limits_have_the_digits_of_tables() -> None:
    seen = Finding(
        rule="h-metric-loss-disagree",
        severity=Severity.INFO,
        subject="val_accuracy",
        section="training",
        evidence={"agreement": -0.11834, "first": 0.10001, "end": 0.10274},
        threshold={"agreement": 0.31623},
    )
    assert "−0.118; the metric went from 0.1 to 0.103." in describe(seen)
    assert words_evidence.limits(seen)[0].endswith("0.316")


def test_a_limit_tells_on_which_side_a_finding_is_raised() -> None:
    def told(rule: str, threshold: dict[str, float], **detail: str) -> list[str]:
        found = Finding(rule=rule, severity=Severity.WARNING, subject="a", section="s", threshold=threshold)
        return [t.replace("\xa0", " ") for t in words_evidence.limits(replace(found, detail=detail))]

    assert told("latent-collapse", {"divergence": 1.0}) == ["KL divergence, in nats < 1"]
    assert told("d-duplicates", {"share": 0.05}) == ["share of copies ≥ 5 %"]
    assert told("param-nonfinite", {"nonfinite": 0.0})[0].endswith("> 0")
    one, other = told("w-scale", {"low": 0.02, "high": 30.0})
    assert one.endswith("< 0.02, or")  # either is enough
    assert other.endswith("≥ 30")
    assert told("grad-depth-slope", {"ratio": 1e-4}, direction="vanishing")[0].endswith("< 0.0001")
    assert told("grad-depth-slope", {"ratio": 1e4}, direction="exploding")[0].endswith("≥ 10,000")


def test_sides_are_told_of_rules_and_numbers_that_exist() -> None:
    for table in (BELOW, UNTOLD):
        assert set(table) <= set(RULES)
        assert {key for row in table.values() for key in row.split()} <= WRITTEN | {"r2", "accuracy", "skill"}
    assert set(RULES) >= EITHER
