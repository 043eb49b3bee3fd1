"""Findings -> diagnoses: the root cause first, its consequences folded beneath.

``SYNDROMES`` is read from top to bottom. Each entry takes the findings that prove it and folds those that follow from
it; what is left goes on to the next. A finding that no syndrome took becomes a diagnosis of its own by ``DEFAULTS``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..document.facts import Diagnosis, Finding, Severity
from .advice import ADVICE
from .defaults import DEFAULTS
from .notes import NOTES
from .syndromes import SYNDROMES

_SERIOUS = Severity.WARNING.rank


def diagnose(findings: list[Finding]) -> list[Diagnosis]:
    """Join findings into diagnoses, the worst first."""
    left = list(findings)
    diagnoses: list[Diagnosis] = []
    for syndrome in SYNDROMES:
        serious = [f for f in left if f.rule in syndrome.proofs and f.severity.rank >= _SERIOUS]
        if not serious or not syndrome.holds(serious):
            continue
        proofs = [f for f in left if f.rule in syndrome.proofs]
        folded = [f for f in left if f.rule in syndrome.folds and f.rule not in syndrome.proofs]
        left = [f for f in left if f not in proofs and f not in folded]
        diagnoses.append(_diagnosis(syndrome.cause, proofs, folded))
    by_cause: dict[tuple[str, str], list[Finding]] = {}
    for finding in left:
        by_cause.setdefault((_default(finding), finding.rule if is_note(finding) else ""), []).append(finding)
    diagnoses += [_diagnosis(cause, proofs, []) for (cause, _), proofs in by_cause.items()]
    return sorted(diagnoses, key=lambda d: -d.severity.rank)


def is_note(finding: Finding) -> bool:
    """Tell whether a finding is a remark that claims no cause."""
    return finding.severity is Severity.INFO and finding.rule in NOTES


def _default(finding: Finding) -> str:
    if finding.detail.get("by") == "unused":
        return "unused-parameters"
    if finding.rule == "param-zero-grad" and finding.detail.get("constant") == "yes":
        return "bad-init"
    if finding.rule == "update-ratio":
        return {"low": "lr-too-low", "none": "no-weight-update"}.get(finding.detail.get("direction", ""), "lr-too-high")
    if finding.rule == "w-scale" and finding.detail.get("begun") == "usual":
        return "lr-too-high" if finding.detail.get("direction") == "high" else "over-regularised"
    if finding.rule == "plain-helps" and finding.detail.get("reason") in ("schedule", "warm-up"):
        return "lr-schedule-collapse"
    if finding.rule == "w-at-default-init" and finding.detail.get("moved") == "yes":
        return "lr-too-low"
    if finding.rule == "lr-extreme" and finding.detail.get("direction") == "low":
        return "lr-too-low"
    if finding.rule == "grad-depth-slope" and finding.detail.get("direction") == "exploding":
        return "exploding-gradients"
    return DEFAULTS[finding.rule]


def advice_for(cause: str, proofs: Sequence[Finding]) -> str:
    """Return what to do about a cause, or about what was merely noted; '' of a cause unknown here."""
    noted = bool(proofs) and all(is_note(f) for f in proofs)
    return NOTES.get(proofs[0].rule, "") if noted else ADVICE.get(cause, "")


def _diagnosis(cause: str, proofs: list[Finding], folded: list[Finding]) -> Diagnosis:
    """Put the strongest proof first. Folded findings never make a diagnosis more severe than a proof or they are."""
    proofs = sorted(proofs, key=lambda f: -f.severity.rank)
    severity = max((f.severity for f in [*proofs, *folded]), key=lambda s: s.rank)
    return Diagnosis(
        cause=cause,
        severity=severity,
        subject=proofs[0].subject,
        findings=proofs,
        consequences=sorted(folded, key=lambda f: -f.severity.rank),
        advice=advice_for(cause, proofs),
    )
