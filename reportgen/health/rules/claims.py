"""Rules on what the loss asks of made-up outputs and targets: the right distance, the right shares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ...document.facts import Finding, Report, Severity
from ...document.trials import Trial
from ..context import Context
from ..thresholds import Thresholds

SECTION = "trials"
_AT_REST = 1e-3
_BENT = 1e-3
_APART = 0.05
_TURNED = 0.9
_LINEAR = 9.0  # fall from 10 to 100 deviations over that from 0 to 10, of a straight line
_POWERS = ("0.5", "1", "2", "4", "8", "16", "32")


def falls_with_distance(report: Report) -> dict[str, float]:
    """Return the loss at hand and that of targets far away, where it falls without end the further they are; else {}.

    On both sides at least as a straight line does. Where targets on one side are refused (counts), steeper than a
    straight line on the other; but not where they cost more there until the loss overflows. A likelihood without its
    constants is a line in the targets. Not of a loss that is the same for right and for wrong answers, as the
    difference of a critic's scores of both is.
    """
    trial = report.tried("far-targets")
    n = trial.numbers if trial is not None else {}
    sides = [side for side in ("up", "down") if f"{side}_10" in n and f"{side}_100" in n]
    if not sides or any(n.get(f"{side}_10", n["base"]) > n["base"] for side in ("up", "down")):
        return {}
    if _pairs_nothing(report, n["base"]):
        return {}
    least = _LINEAR * (0.9 if len(sides) == 2 else 1.05)
    for side in sides:
        first, then = n["base"] - n[f"{side}_10"], n[f"{side}_10"] - n[f"{side}_100"]
        if first <= 0 or then < least * first:
            return {}
    return {"near": n["base"], "far": max(n[f"{side}_100"] for side in sides)}


def _pairs_nothing(report: Report, loss: float) -> bool:
    """Tell whether outputs that equal their targets cost what targets dealt out otherwise do, but for rounding."""
    answers = report.tried("loss-of-answers")
    if answers is None:
        return False
    right, wrong = answers.numbers["right"], answers.numbers["wrong"]
    return abs(right - wrong) <= 1e-5 * max(abs(loss), abs(right), abs(wrong))


def loss_of_shares(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Targets are shares that sum to 1, and the loss does not ask for these shares of the outputs as they are.

    It is lowest where outputs are the logarithms of the targets, and falls when one number is added to all of them, as
    the Kullback-Leibler divergence does; but the outputs are no logarithms of shares (their logsumexp is more than 0.1
    from 0): probabilities, or raw scores. An error. Or it is the lower the surer the answer is, whatever the targets
    ask, up to all on one class: shares handed on where logarithms were due. A warning where the model does not work,
    else it informs. Or it applies a softmax to the targets, which are shares already, and asks for what is left, nearly
    the same for every class: it stays where it is when one number is added to all outputs, and its derivative is 0
    (less than a thousandth of that at outputs of 0) where outputs are the targets times one number, and is not (above a
    twentieth) where they are the logarithms of the targets. An error. Wrong for losses that distrust soft labels on
    purpose.
    """
    trial, shifted = report.tried("shares"), report.tried("loss-shifted")
    if trial is None:
        return
    n = trial.numbers
    if n.get("softened", 1.0) < _AT_REST and n["met"] > 0.05 and _applies_softmax(shifted):
        yield _finding(Severity.ERROR, {"softened": n["softened"], "met": n["met"]}, "softened")
        return
    logs, plain = _course(n, "logs"), _course(n, "shares")
    if _lowest_at_target(logs) and shifted is not None:
        fall = (shifted.numbers["loss"] - shifted.numbers["shifted"]) * shifted.numbers["width"]
        if fall > 0.5 and n["log_sums"] > 0.1:
            kind = "probabilities" if n["sums"] < limits.row_sum_error else "scores"
            yield _finding(Severity.ERROR, {"log_sum_exp_error": n["log_sums"]}, kind)
        return
    asked = plain if n["sums"] < limits.row_sum_error else logs
    if asked and not _lowest_at_target(plain) and _falls_to_the_end(asked):
        severity = Severity.INFO if context.outcome_ok else Severity.WARNING
        yield _finding(severity, {"asked": asked[1], "surest": asked[-1]}, "surest")


def _applies_softmax(shifted: Trial | None) -> bool:
    """Tell whether the loss stays where it is when one number is added to all outputs."""
    return shifted is not None and abs(shifted.numbers["loss"] - shifted.numbers["shifted"]) < 1e-4


def _finding(severity: Severity, evidence: dict[str, float], kind: str) -> Finding:
    return Finding(
        rule="loss-of-shares",
        severity=severity,
        subject="loss",
        section=SECTION,
        evidence=evidence,
        detail={"kind": kind},
    )


def shifted_twice(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The data move the targets of a sequence ahead, and the loss moves them once more.

    The training targets are the input moved by one element or more, at every place; and the loss compares the output at
    a place with the target at a later one, as that of language models does which takes its labels unmoved. Both are
    facts: changed targets show at which output the loss looks. The model learns what comes after the next token. An
    error. Wrong where just that is asked for.
    """
    trial = report.tried("targets-ahead")
    if trial is None or trial.numbers["data"] < 1 or trial.numbers["loss"] < 1:
        return
    yield Finding(
        rule="shifted-twice",
        severity=Severity.ERROR,
        subject="targets",
        section=SECTION,
        evidence={"data": trial.numbers["data"], "loss": trial.numbers["loss"]},
    )


def zero_as_label(report: Report) -> str:
    """Tell whether the loss is one of labels -1 and 1, and the targets are 0 and 1; '' where it is not.

    Targets of 0 pull at no output anywhere, or do what 1 and -1 do together; 1 and -1 pull in opposite directions, and
    never in the same; and the loss is no straight line in the target, as one is which targets weigh or switch off.
    """
    trial = report.tried("zero-as-label")
    n = trial.numbers if trial is not None else {}
    if not n or not (n["flat"] or n["both"]) or n["along"] or n["bent"] < _BENT:
        return ""
    opposite = n["apart"] > _APART or n["turned"] < -_TURNED
    return ("zero as none" if n["flat"] else "zero as both") if opposite else ""


def inputs_are_weights(report: Report) -> dict[str, float]:
    """Return what shows that a cross-entropy is handed the inputs themselves as shares of classes; else {}.

    Twice the targets make twice the loss, and one number added to all outputs does not change it; and the inputs are
    mostly fractions, in a tenth of the places at least, and sum to another number than 1.
    """
    trial = report.tried("inputs-as-weights")
    n = trial.numbers if trial is not None else {}
    if not n or abs(n["doubled"] - 2) > 1e-3 or abs(n["shifted"] - 1) > 1e-3:
        return {}
    if n["fractions"] < 0.5 or n["present"] < 0.1 or max(abs(n["low"] - 1), abs(n["high"] - 1)) < 0.05:
        return {}
    return {"low": n["low"], "high": n["high"]}


def _course(numbers: dict[str, float], form: str) -> list[float]:
    """Return the losses of ever sharper answers; nothing where one is not finite."""
    found = [numbers.get(f"{form}_{power}") for power in _POWERS]
    return [v for v in found if v is not None] if None not in found else []


def takes_logarithms(report: Report) -> bool:
    """Tell whether targets are shares that the loss wants the logarithms of, or logits."""
    trial = report.tried("shares")
    return trial is not None and _lowest_at_target(_course(trial.numbers, "logs"))


def wants_logarithms(report: Report) -> bool:
    """Tell whether the loss is lowest where outputs are the logarithms of the targets, as one with a log link is."""
    trial = report.tried("loss-domain")
    if trial is None or "logarithm" not in trial.numbers:
        return False
    others = [trial.numbers[key] for key in ("equal", "above", "below") if key in trial.numbers]
    return bool(others) and trial.numbers["logarithm"] < min(others)


def _lowest_at_target(course: list[float]) -> bool:
    return bool(course) and all(course[1] < v for place, v in enumerate(course) if place != 1)


def _falls_to_the_end(course: list[float]) -> bool:
    falling = all(b <= a for a, b in pairwise(course[1:]))
    return falling and course[1] - course[-1] > 0.02 * max(abs(course[1]), abs(course[-1]))


RULES = (loss_of_shares, shifted_twice)
