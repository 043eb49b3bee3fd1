"""What a report said of one run, held against what is true of it; and the sums over many runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median

from reportgen.document.findings import RuleScore, Scorecard
from reportgen.document.scores import wilson
from reportgen.health.rules import RULES

from .case import GROUP_OF, Case, Outcome

_ALARMS = ("warning", "error")


@dataclass(frozen=True)
class Verdict:
    """One run: which causes were named, and which of them rightly."""

    case: str
    family: str
    split: str
    seed: int
    kind: str
    """'sick', 'twin' or 'healthy'."""
    expected: list[str]
    named: list[str] = field(default_factory=list)
    """Causes of diagnoses of severity warning or error."""
    false: list[str] = field(default_factory=list)
    """Of those, the ones that are neither expected nor a true consequence."""
    rules: list[str] = field(default_factory=list)
    """Rules with a finding of severity warning or error."""
    proofs: dict[str, list[str]] = field(default_factory=dict)
    """Cause named -> rules whose findings prove it."""
    hit: bool = False
    group_hit: bool = False
    crash: str = ""
    score: float | None = None
    """What the model is worth, seen from outside; None when it is not finite."""
    unfit: bool = False
    """A twin or a healthy program that did not reach its bar with this seed: the bench is to blame, not the report."""
    seconds: float = 0.0

    @property
    def sick(self) -> bool:
        return self.kind == "sick"

    @property
    def mark(self) -> str:
        """One word for the line of this run."""
        if self.crash:
            return "CRASH"
        word = ("hit" if self.hit else "MISS") if self.sick else "quiet"
        return f"{word} FALSE" if self.false and self.sick else "ALARM" if self.false else word


def judged(case: Case, kind: str, seed: int, split: str, outcome: Outcome) -> Verdict:
    """Hold the diagnoses of a report against the causes of the case."""
    report = outcome.report
    alarms = [d for d in report.diagnoses if d.severity in _ALARMS]
    named = {d.cause for d in alarms}
    expected = case.causes if kind == "sick" else frozenset()
    allowed = expected | (case.also if kind == "sick" else frozenset())
    groups = {GROUP_OF[c] for c in expected}
    return Verdict(
        case=case.name,
        family=case.family,
        split=split,
        seed=seed,
        kind=kind,
        expected=sorted(case.causes),
        named=sorted(named),
        false=sorted(named - allowed),
        rules=sorted({f.rule for f in report.findings if f.severity in _ALARMS}),
        proofs={d.cause: sorted({f.rule for f in d.findings if f.severity in _ALARMS}) for d in alarms},
        hit=bool(named & expected),
        group_hit=any(GROUP_OF.get(c) in groups for c in named),
        score=outcome.score if math.isfinite(outcome.score) else None,
        unfit=kind != "sick" and not outcome.score >= case.bar,
        seconds=round(outcome.seconds, 2),
    )


def share(part: int, whole: int) -> str:
    """Write a share with its 95 % interval."""
    if not whole:
        return "none"
    low, high = wilson(part, whole)
    return f"{part / whole:.3f} ({part} of {whole}; 95 % {low:.3f} to {high:.3f})"


def summary(verdicts: list[Verdict]) -> list[str]:
    """Return the lines of the score."""
    sick = [v for v in verdicts if v.sick]
    clean = [v for v in verdicts if not v.sick]
    lines = ["", "recall by cause"]
    lines += _recalls((c, v.hit) for v in sick for c in v.expected)
    lines += ["", "recall by group of causes (any cause of the group named)"]
    lines += _recalls((g, v.group_hit) for v in sick for g in {GROUP_OF[c] for c in v.expected})
    right = sum(len(set(v.named) - set(v.false)) for v in sick)
    wrong = sum(len(v.false) for v in sick)
    lines += [
        "",
        f"recall                   {share(sum(v.hit for v in sick), len(sick))}",
        f"precision on sick runs   {share(right, right + wrong)}",
        f"precision over all runs  {share(right, right + wrong + sum(len(v.false) for v in clean))}",
    ]
    for kind, title in (("healthy", "healthy runs alarmed   "), ("twin", "repaired twins alarmed ")):
        runs = [v for v in clean if v.kind == kind]
        lines.append(f"{title}  {share(sum(bool(v.false) for v in runs), len(runs))}")
        if counts := Counter(c for v in runs for c in v.false):
            lines.append("  " + ", ".join(f"{cause} × {n}" for cause, n in counts.most_common()))
    if counts := Counter(c for v in sick for c in v.false):
        lines.append("wrong causes named of sick runs: " + ", ".join(f"{c} × {n}" for c, n in counts.most_common()))
    if unfit := sorted({f"{v.case} (seed {v.seed})" for v in clean if v.unfit}):
        lines.append("programs of the bench that were not well: " + ", ".join(unfit))
    alarms = sum(len(v.false) for v in clean)
    lines.append(f"false alarms per clean run {alarms / max(1, len(clean)):.3f}")
    lines.append(f"crashes {sum(bool(v.crash) for v in verdicts)}")
    if times := [v.seconds for v in verdicts if not v.crash]:
        lines.append(f"seconds a run, with training: median {median(times):.1f}, longest {max(times):.1f}")
    return lines


def _recalls(pairs: Iterable[tuple[str, bool]]) -> list[str]:
    hits: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for key, hit in pairs:
        hits[key] += hit
        runs[key] += 1
    return [f"  {key:32}{hits[key]:4} of {runs[key]}" for key in sorted(runs)]


def scorecard(verdicts: list[Verdict], measured: str, split: str) -> Scorecard:
    """Sum up by rule: on how many known sick runs it fired, and on how many clean ones.

    The known runs of a rule are the sick ones with a cause that the rule proved, by itself or with others, in any run
    where that cause was true. Only findings of severity warning or error count. Rules that never fired stand there
    too; runs that crashed, and clean ones that were not well, do not count.
    """
    told = [v for v in verdicts if not v.crash and not v.unfit]
    cases = {v.case for v in told}
    return Scorecard(
        version=metadata.version("reportgen"),
        measured=measured,
        split=split,
        cases=len(cases),
        seeds=max((len({v.seed for v in told if v.case == case}) for case in cases), default=0),
        runs=len(told),
        rules=_by_rule(told),
    )


def _by_rule(verdicts: list[Verdict]) -> dict[str, RuleScore]:
    causes: dict[str, set[str]] = {}
    for v in verdicts:
        for cause in set(v.proofs) & set(v.expected) if v.sick else ():
            for rule in v.proofs[cause]:
                causes.setdefault(rule, set()).add(cause)
    clean = [v for v in verdicts if not v.sick]
    card = {}
    for rule in sorted({*RULES, *(r for v in verdicts for r in v.rules)}):
        known = [v for v in verdicts if v.sick and causes.get(rule, set()) & set(v.expected)]
        card[rule] = RuleScore(
            known=len(known),
            fired=sum(rule in v.rules for v in known),
            healthy=len(clean),
            false=sum(rule in v.rules for v in clean),
        )
    return card
