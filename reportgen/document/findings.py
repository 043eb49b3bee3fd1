"""What is judged: findings, the diagnoses that they prove, and what the project said about rules."""

from __future__ import annotations

import datetime
from enum import StrEnum

from msgspec import Struct


class Severity(StrEnum):
    """How much a finding or a diagnosis matters."""

    INFO = "info"
    """True, interesting, harmless."""
    WARNING = "warning"
    """Act on it."""
    ERROR = "error"
    """The result cannot be trusted, or training is broken."""

    @property
    def rank(self) -> int:
        return ("info", "warning", "error").index(self.value)


class Finding(Struct, frozen=True, kw_only=True):
    """One rule that fired: numbers and the threshold they met. Its text is made when it is presented."""

    rule: str
    severity: Severity
    subject: str
    """Layer, parameter or series; 'model' for the whole."""
    section: str
    evidence: dict[str, float] = {}
    threshold: dict[str, float] = {}
    detail: dict[str, str] = {}
    """Evidence that is no number: the name of a layer, of a loss, of a dtype."""


class Diagnosis(Struct, frozen=True, kw_only=True):
    """A root cause with the findings that prove it, and its consequences folded beneath."""

    cause: str
    severity: Severity
    subject: str
    findings: list[Finding]
    consequences: list[Finding] = []
    advice: str = ""
    unchecked: list[str] = []
    """Measurements that bear on the cause, or on a candidate, and were not made; see ``health.doubts``."""
    candidates: list[str] = []
    """Other causes that the evidence does not rule out."""
    decided_by: str = ""
    """The trial that would tell them apart."""


class Waiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding that the project knows of and accepts."""

    layer: str
    """Pattern (``head.*``) for the subject of a finding; '*' for all."""
    reason: str
    until: datetime.date | None = None
    """The last day on which it holds; None: always."""


class RuleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the project set for one rule."""

    off: bool = False
    severity: Severity | None = None
    """Of its warnings and errors; what only informs stays as it is."""
    thresholds: dict[str, float] = {}
    """By the names that ``reportgen rules`` tells."""
    waive: list[Waiver] = []


class Waived(Struct, frozen=True, kw_only=True):
    """A finding that a waiver took out of the judgement."""

    finding: Finding
    reason: str
    until: datetime.date | None = None


class RuleScore(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule did on the bench; findings of severity warning or error count."""

    known: int = 0
    """Runs with a fault that the rule is there to prove."""
    fired: int = 0
    """Of those, runs on which it fired."""
    healthy: int = 0
    """Runs of healthy programs and of repaired ones."""
    false: int = 0
    """Of those, runs on which it fired."""


class Scorecard(Struct, frozen=True, kw_only=True):
    """What the rules did on programs whose faults are known."""

    version: str
    """Of reportgen, when it was measured."""
    measured: str
    """The day, ISO 8601."""
    split: str
    """Which cases: those that thresholds were chosen on, those kept apart, or all."""
    cases: int
    seeds: int
    """Of each case."""
    runs: int
    rules: dict[str, RuleScore] = {}
