"""Rules on probabilities that a model gives out: are they those of the answers, and do they point the right way."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.evaluation import Calibration
from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "evaluation"
_LEAST = 500


def o_calibration(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Confidence that is not the frequency of being right, beyond what so many samples make by chance. Informs only.

    Expected calibration error minus what a perfectly calibrated model shows on average at these counts (bins of equal
    mass; a calibrated model has 0.021 at 1000 samples and 15 bins): above 0.05, and four of its standard deviations;
    500 answers at least. Too sure or too unsure by the mean confidence against the share that is right. A model may
    rank answers well and still be off here, as after mixup or label smoothing, so it is no warning. (Guo et al. 2017;
    Roelofs et al. 2022.)
    """
    told = report.evaluation.calibration if report.evaluation is not None else None
    if told is None or not context.outcome_ok or told.n < _LEAST:
        return
    excess = told.ece - told.ece_null
    if excess <= max(limits.calibration, 4 * told.ece_null_std):
        return
    gap = _gap(told)
    evidence = {"ece": told.ece, "null": told.ece_null, "gap": gap, "samples": told.n}
    if told.temperature is not None:
        evidence["temperature"] = told.temperature
    yield Finding(
        rule="o-calibration",
        severity=Severity.INFO,
        subject="output",
        section=SECTION,
        evidence=evidence,
        threshold={"excess": limits.calibration},
        detail={"direction": "high" if gap > 0 else "low"},
    )


def _gap(told: Calibration) -> float:
    """Return mean confidence minus the share of answers that are right (or yes)."""
    sure = sum(total for _, total, _ in told.bins)
    right = sum(hits for _, _, hits in told.bins)
    return (sure - right) / max(sum(n for n, _, _ in told.bins), 1)


def o_inverted(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The scores of a yes-or-no model rank the answers the wrong way round.

    Area under the ROC curve with the upper end of its 95 % interval (DeLong 1988) below 0.4, at ten answers of either
    kind: the model knows something, with the sign turned. Labels 0 and 1 are swapped between training and these data,
    or the score was negated. An error in a trained model. It informs where the model ranks its training data the wrong
    way too and its yes and no on them are a guess (the 95 % interval of their balanced accuracy holds 0.5): then
    nothing was learned, and which way it leans is chance. Wrong where small scores mean yes on purpose (distances).
    """
    evaluation = report.evaluation
    if evaluation is None or evaluation.task != "binary" or context.state != "trained" or not context.outcome_known:
        return
    for curve in evaluation.curves[:1]:
        if min(curve.positives, curve.negatives) >= 10 and curve.auc_high < limits.inverted_auc:
            yield Finding(
                rule="o-inverted",
                severity=Severity.INFO if _guesses(report, limits) else Severity.ERROR,
                subject="output",
                section=SECTION,
                evidence={"auc": curve.auc, "high": curve.auc_high, "yes": curve.positives, "no": curve.negatives},
                threshold={"auc": limits.inverted_auc},
            )


def _guesses(report: Report, limits: Thresholds) -> bool:
    """Tell whether training data are ranked the wrong way as well, and answered no better or worse than by a guess."""
    facts = report.train_evaluation
    if facts is None or not any(curve.auc_high < limits.inverted_auc for curve in facts.curves[:1]):
        return False
    told = [(s.low, s.high) for s in facts.scores if s.name == "balanced_accuracy"]
    return any(low is not None and high is not None and low <= 0.5 <= high for low, high in told)


RULES = (o_calibration, o_inverted)
