"""The bench itself: what it calls healthy is well, what it calls sick suffers, and its splits are what they say.

The last test is the short score that every change has to pass.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reportgen.document.findings import RuleScore
from reportgen.health.rules import RULES
from reportgen.health.scorecard import scorecard
from tests.faults import score, verdict
from tests.faults.case import CASES, GROUP_OF
from tests.faults.catalogue import SHORT, SPLITS, chosen, seeds_of, split_of
from tests.faults.loop import run

# what the short score reached when it was last raised; it may only go up
HITS = 5

SICK = [case for case in CASES.values() if not case.healthy]
HEALTHY = [case for case in CASES.values() if case.healthy]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_every_cause_has_a_case_in_each_split() -> None:
    for split in SPLITS:
        covered = {cause for case in SICK if split_of(case) == split for cause in case.causes}
        assert covered == set(GROUP_OF)


def test_there_are_enough_cases_of_enough_families() -> None:
    assert len(SICK) >= 60
    assert len(HEALTHY) >= 40
    assert len({case.family for case in HEALTHY}) >= 14


def test_splits_share_neither_cases_nor_seeds() -> None:
    splits = [chosen(split) for split in SPLITS]
    tune, report = chosen("tune"), chosen("report")
    assert sum(map(len, splits)) == len(CASES)
    assert len({case.name for part in splits for case in part}) == len(CASES)
    assert 0.4 < len(tune) / len(tune + report) < 0.6
    seeds = [seed for split in SPLITS for seed in seeds_of(split, 99)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("split", ["fresh", "fresh2", "fresh3"])
def test_fresh_cases_are_scored_only_when_asked_for(split: str) -> None:
    fresh = {case.name for case in chosen(split)}
    assert not fresh & {case.name for case in chosen("all")}
    assert not fresh & set(SHORT)
    assert fresh == {case.name for case in CASES.values() if case.module.startswith(f"{split}_")}
    assert sum(CASES[name].healthy for name in fresh) >= 20


def test_the_short_score_is_half_sick_and_of_both_splits() -> None:
    short = chosen(short=True)
    assert len(short) == len(SHORT)
    assert 2 * sum(case.healthy for case in short) == len(short)
    assert {split_of(case) for case in short} == {"tune", "report"}


def test_the_same_seed_gives_the_same_program() -> None:
    case = CASES["mlp-on-clusters"]
    first, again = run(case, 3), run(case, 3)
    assert first.steps == again.steps
    assert first.score == again.score
    assert run(case, 4).steps != first.steps


def _verdict(kind: str, named: list[str], false: list[str], rules: list[str]) -> verdict.Verdict:
    proofs = {cause: rules for cause in named}
    hit = kind == "sick" and "dead-relu" in named
    return verdict.Verdict(
        *("c", "mlp", "tune", 0, kind, ["dead-relu"]),
        named=named,
        false=false,
        rules=rules,
        proofs=proofs,
        hit=hit,
        group_hit=hit,
    )


def test_the_scorecard_counts_each_rule_on_sick_and_clean_runs() -> None:
    runs = [
        _verdict("sick", ["dead-relu"], [], ["silent"]),
        _verdict("sick", [], [], []),
        _verdict("twin", ["lr-too-high"], ["lr-too-high"], ["loud"]),
        _verdict("healthy", [], [], []),
    ]
    runs += [replace(runs[0], crash="ValueError"), replace(runs[3], unfit=True)]
    card = verdict.scorecard(runs, "2026-11-21", "all")
    assert (card.measured, card.split, card.cases, card.seeds, card.runs) == ("2026-11-21", "all", 1, 1, 4)
    assert card.rules["silent"] == RuleScore(known=2, fired=1, healthy=2)
    assert card.rules["loud"] == RuleScore(healthy=2, false=1)
    assert card.rules["dead-relu"] == RuleScore(healthy=2)
    assert set(card.rules) == {*RULES, "silent", "loud"}
    runs = runs[:4]
    text = "\n".join(verdict.summary(runs))
    assert "recall                   0.500 (1 of 2; 95 % 0.095 to 0.905)" in text
    assert "false alarms per clean run 0.500" in text


def test_the_command_writes_every_run_and_the_scorecard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, card = tmp_path / "runs.json", tmp_path / "card.json"
    arguments = ["--split", "all", "--only", "tumours-one-logit", "--json", str(runs), "--scorecard", str(card)]
    assert score.main(arguments) == 0
    (told,) = json.loads(runs.read_text(encoding="utf-8"))
    assert (told["case"], told["kind"], told["crash"]) == ("tumours-one-logit", "healthy", "")
    written = scorecard(card)
    assert written is not None
    assert (written.split, written.cases, written.seeds, written.runs) == ("all", 1, 1, 1)
    assert {rule for rule, score in written.rules.items() if score.false} == set(told["rules"])
    assert "tumours-one-logit" in capsys.readouterr().out


def test_a_crash_is_a_miss_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(score, "run", broken)
    result = score.judge_one(("mlp-on-clusters", "healthy", 0))
    assert "RuntimeError: no such thing" in result.crash
    assert result.mark == "CRASH"
    assert "crashes 1" in verdict.summary([result])


# a GAN's losses say nothing about overfitting
_NO_CURVE = {"gan"}


def _assert_well(case: str, seed: int, fixed: bool) -> None:
    outcome = run(CASES[case], seed, fixed)
    assert outcome.score >= CASES[case].bar
    assert outcome.score >= outcome.constant + 0.1
    assert all(math.isfinite(loss) for loss in outcome.steps)
    if CASES[case].family not in _NO_CURVE:
        assert outcome.train_score - outcome.score < 0.12
        best = min(outcome.losses)
        assert outcome.losses[-1] - best <= 0.6 * abs(best)  # a loss may be negative


@pytest.mark.bench
@pytest.mark.parametrize("name", [case.name for case in HEALTHY])
def test_healthy_cases_are_well(name: str) -> None:
    _assert_well(name, seeds_of(split_of(CASES[name]), 1)[0], False)


@pytest.mark.bench
@pytest.mark.parametrize("name", [case.name for case in SICK])
def test_faults_do_harm_and_their_repair_heals(name: str) -> None:
    case = CASES[name]
    seed = seeds_of(split_of(case), 1)[0]
    _assert_well(name, seed, True)
    assert case.proof is not None
    assert case.proof(run(case, seed), run(case, seed, True))


@pytest.mark.slow
def test_short_score() -> None:
    """No crash, no alarm on what is well, and the faults that everybody meets are named."""
    verdicts = list(score.judge_all(score.jobs("all", 1, short=True, kinds=("sick", "healthy"))))
    told = "\n".join(map(score.line, verdicts))
    assert not any(v.crash for v in verdicts), told
    assert not any(v.false for v in verdicts if not v.sick), told
    sick = [v for v in verdicts if v.sick]
    assert sum(v.hit for v in sick) >= HITS, told
