"""The words for findings and diagnoses, made when they are presented: ids and numbers in, sentences out."""

from __future__ import annotations

from ..document.facts import Diagnosis, Finding


def describe(finding: Finding) -> str:
    """Say in one sentence what was found, with its numbers."""
    numbers = ", ".join(f"{k} {v:.4g}" for k, v in sorted(finding.evidence.items()))
    return f"{finding.rule}: {numbers}"


def rule_title(rule: str) -> str:
    """Name a rule for a heading or a table cell."""
    return rule


def doubt(rule: str) -> str:
    """Say when this rule is wrong; '' when it cannot be."""
    return ""


def cause_title(cause: str) -> str:
    """Name a root cause for a heading."""
    return cause


def summary(diagnosis: Diagnosis) -> str:
    """Say in one or two sentences what is wrong and what it does."""
    return diagnosis.cause
