"""Rules on curves, measured: how often they alarm on healthy runs, and how many sick ones they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from reportgen.document.codec import FORMAT_VERSION
from reportgen.document.facts import Finding, Meta, Report, Severity, SubjectFacts
from reportgen.document.history import History
from reportgen.health.judge import judge

from .histories import HEALTHY, SICK

SEEDS = [30, pytest.param(100, marks=pytest.mark.slow)]
Record = Callable[[str, object], None]


def report(history: History) -> Report:
    subject = SubjectFacts(name="Net", kind="model", inputs="none", n_samples=0, n_batches=0)
    return Report(format_version=FORMAT_VERSION, title="t", meta=Meta(), subject=subject, training=history)


def alarms(history: History) -> list[Finding]:
    judged = judge(report(history))
    assert not [row for row in judged.coverage if row.failed]
    return [f for f in judged.findings if f.severity is not Severity.INFO]


def rng(make: Callable[[Random], History], seed: int) -> Random:
    return Random(f"{make.__name__} {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: make.__name__)
def test_healthy_runs_raise_no_alarm(make: Callable[[Random], History], seeds: int, record_property: Record) -> None:
    fired = Counter(f.rule for seed in range(seeds) for f in alarms(make(rng(make, seed))))
    record_property("alarms", dict(fired))
    assert sum(fired.values()) <= max(1, 0.01 * seeds), fired


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("make", SICK, ids=lambda make: make.__name__)
def test_sick_runs_are_found(make: Callable[[Random], History], seeds: int, record_property: Record) -> None:
    found = [{f.rule for f in alarms(make(rng(make, seed)))} for seed in range(seeds)]
    recall = sum(bool(rules & set(SICK[make])) for rules in found) / seeds
    others = Counter(rule for rules in found for rule in rules - set(SICK[make]))
    record_property("recall", recall)
    assert recall >= 0.95, others
