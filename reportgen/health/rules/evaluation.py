"""Rules on outputs, loss and outcome."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import EvaluationFacts, Finding, OutputFacts, Report, Severity
from ...document.scores import accuracy, explained, wilson
from ..context import Context
from ..thresholds import Thresholds

SECTION = "evaluation"


def double_softmax(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Probabilities are handed to a loss that applies softmax (or sigmoid) itself.

    All outputs are >= 0, every row sums to 1 within 1e-3, and the loss is CrossEntropyLoss or equals the
    cross-entropy of the outputs within 1e-4. For one output: inside [0, 1], and spread over it, on at least 256
    samples, with BCEWithLogitsLoss: logits of both classes lie on both sides of 0. The loss then has a floor, ln(1 +
    (K-1)/e) for K classes, and gradients are small, though accuracy may look fine. Log-probabilities into
    cross-entropy are harmless and pass.
    """
    evaluation = report.evaluation
    outputs = evaluation.outputs if evaluation is not None else None
    if evaluation is None or outputs is None:
        return
    loss = report.subject.loss or ""
    softmax = (
        outputs.row_sum_error is not None
        and outputs.row_sum_error <= limits.row_sum_error
        and outputs.min >= 0
        and ("CrossEntropyLoss" in loss or _same_loss(evaluation, outputs, limits))
    )
    sigmoid = (
        evaluation.task == "binary"
        and "BCEWithLogitsLoss" in loss
        and outputs.min >= 0
        and outputs.max <= 1
        and outputs.max - outputs.min > limits.sigmoid_spread
        and evaluation.n_samples >= limits.sigmoid_samples
    )
    if softmax or sigmoid:
        evidence = {"min": outputs.min, "max": outputs.max}
        if outputs.row_sum_error is not None:
            evidence["row_sum_error"] = outputs.row_sum_error
        if evaluation.loss is not None:
            evidence["loss"] = evaluation.loss
        yield Finding(
            rule="double-softmax",
            severity=Severity.ERROR,
            subject="output",
            section=SECTION,
            evidence=evidence,
            threshold={"row_sum_error": limits.row_sum_error},
            detail={"loss": loss, "activation": "softmax" if softmax else "sigmoid"},
        )


def _same_loss(evaluation: EvaluationFacts, outputs: OutputFacts, limits: Thresholds) -> bool:
    if evaluation.loss is None or outputs.cross_entropy is None:
        return False
    return abs(evaluation.loss - outputs.cross_entropy) <= limits.cross_entropy_match * max(outputs.cross_entropy, 1.0)


def o_baseline_skill(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A trained model that is no better than a constant guess on the data given.

    Classifiers: accuracy not above the share of the commonest class, and balanced accuracy not clearly above 1/K (a
    model that was trained to find rare classes may well give up plain accuracy). Regressions: R² <= 0. Several answers
    of yes and no a sample: their loss is not below that of naming how common each is, no more are right than the
    commoner answer would be, and their areas under the ROC curve lie on average no further above 0.5 than twice the way
    to the lower end of their 95 % intervals. Thirty samples at least. Not judged where outputs are distances, small
    where the answer is yes; nor, where no loss was given, with more or fewer columns than labels go, or outputs below 0
    where no target is: an embedding, or logits. Wrong when the data are not what the model was made for.
    """
    evaluation = report.evaluation
    if evaluation is None or context.state != "trained" or evaluation.n_samples < 30 or not context.outcome_known:
        return
    evidence: dict[str, float] = {}
    if evaluation.classification is not None:
        score = accuracy(evaluation.classification.confusion)
        if score is not None and score.value <= score.majority < 1 and not context.outcome_ok:
            evidence = {"accuracy": score.value, "upper": score.high, "baseline": score.majority}
    elif evaluation.regression is not None:
        r2 = explained(evaluation.regression)
        evidence = {"r2": r2, "baseline": 0.0} if r2 is not None and r2 <= 0 else {}
    elif evaluation.task == "multilabel":
        evidence = guessed_answers(evaluation)
    if evidence:
        yield Finding(
            rule="o-baseline-skill",
            severity=Severity.ERROR,
            subject="output",
            section=SECTION,
            evidence=evidence,
            threshold={"baseline": evidence["baseline"]},
        )


def guessed_answers(evaluation: EvaluationFacts) -> dict[str, float]:
    """Return how many of several answers a sample are right, where neither cuts nor ranks tell more than a constant."""
    sure, curves, rows = evaluation.calibration, evaluation.curves, evaluation.labels
    total = sum(row.tp + row.fp + row.fn + row.tn for row in rows)
    if sure is None or not curves or not total or sure.nll < sure.baseline_nll:
        return {}
    right = sum(row.tp + row.tn for row in rows) / total
    common = sum(max(row.tp + row.fn, row.tn + row.fp) for row in rows) / total
    area, low = sum(c.auc for c in curves) / len(curves), sum(c.auc_low for c in curves) / len(curves)
    if right > common or area - 0.5 > 2 * (area - low):
        return {}
    return {"accuracy": right, "upper": wilson(round(right * total), total)[1], "baseline": common}


def loss_shape(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Outputs and targets of different shapes go into an elementwise loss of torch, which broadcasts them.

    (N, 1) against (N,) makes every output meet every target: the loss is lowest where all outputs are the mean. Judged
    only for MSELoss, L1Loss, SmoothL1Loss and HuberLoss, by shapes, so a fact; a loss of your own may reshape first.
    """
    evaluation = report.evaluation
    if evaluation is None or evaluation.outputs is None or evaluation.outputs.same_shape:
        return
    if evaluation.task == "regression" and report.subject.loss in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"):
        evidence = {} if evaluation.loss is None else {"loss": evaluation.loss}
        if evaluation.regression is not None:
            evidence["mse"] = evaluation.regression.mse
        yield Finding(
            rule="loss-shape",
            severity=Severity.ERROR,
            subject="output",
            section=SECTION,
            evidence=evidence,
            detail={"loss": report.subject.loss},
        )


RULES = (loss_shape, double_softmax, o_baseline_skill)
