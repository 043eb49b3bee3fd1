"""Rules on what the model can put out, against what the loss and the targets need."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import DatasetFacts, Finding, Report, Severity
from ...document.stats import TensorStats
from ...document.trials import Trial
from ..context import Context, needs_no_targets
from ..curves import finite
from ..thresholds import Thresholds
from .claims import inputs_are_weights, takes_logarithms, zero_as_label

SECTION = "evaluation"
_BINARY = ("bceloss", "bcewithlogitsloss", "binarycrossentropy", "binarycrossentropywithlogits")


def output_range(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The last activation cannot reach the targets, or bounds scores that the loss wants unbounded.

    The last affine layer of a copy is made to put out -40 to 40; what comes out behind it is the range of the last
    activation. Numbers: the share of the targets outside of it by a twentieth of their standard deviation, above 2 %;
    an error where the model does not work, a warning above 10 %, else it informs. Classes under a loss that applies
    softmax itself: a lower or upper bound inside [-2, 2] (sigmoid, tanh, ReLU) is a warning; log-probabilities are
    fine. A single unit that gives one value whatever comes in (softmax over one unit) is an error. Several yes-or-no
    answers a sample, each with a loss of its own, from a softmax: the targets of more than a tenth of the samples do
    not sum to 1, as the outputs always do; a warning, an error where the model does not work. Yes or no under a loss
    that is named as one of logits: answers that stay on one side of 0, the model's own and those of a copy all of whose
    affine layers put out anything at all, as an inner product of rectified vectors does, are a warning: such a model
    can never say the other. Classes by place: outputs, or their exponentials, that sum to 1 along another dimension
    (to a thousandth) and not along that of the classes (by a tenth or more), as a softmax over time gives, are a
    warning, an error where the model does not work.
    """
    yield from _along_another_axis(report, context)
    head = report.tried("head-range")
    if head is None:
        yield from _on_one_side(report, report.tried("two-sides"))
        return
    apart = head.numbers.get("rows_apart", 0.0)
    if _is_softmax(head) and head.numbers.get("width", 1.0) > 1 and apart > 0.1 and _each_by_itself(report):
        severity = Severity.WARNING if context.outcome_ok else Severity.ERROR
        yield _finding("output-range", severity, head, {"apart": apart}, {"apart": 0.1}, "shares")
        return
    if head.numbers["low"] == head.numbers["high"]:
        yield _finding("output-range", Severity.ERROR, head, {"reached": head.numbers["low"]}, {}, "constant")
    elif report.evaluation is not None and report.evaluation.task == "regression":
        yield from _numbers_out_of_reach(report, context, limits, head)
    elif _softmax_inside(report) and not _is_softmax(head) and head.numbers.get("log_sum_exp_error", 1.0) > 1e-3:
        low, high = head.numbers["low"], head.numbers["high"]
        if low > -limits.score_bound or high < limits.score_bound:
            bounds = {"low": low, "high": high}
            yield _finding("output-range", Severity.WARNING, head, bounds, {"bound": limits.score_bound}, "scores")
    elif not 0 <= head.numbers["low"] < head.numbers["high"] <= 1 + 1e-6:  # see ``probabilities-as-scores``
        yield from _on_one_side(report, head)


def _each_by_itself(report: Report) -> bool:
    """Tell by its name whether the loss compares each output with its own target, unlike a likelihood of shares."""
    name = (report.subject.loss or "").lower().replace("_", "")
    return any(word in name for word in ("bce", "binarycrossentropy", "mse", "l1loss", "huber", "focal"))


def _on_one_side(report: Report, trial: Trial | None) -> Iterator[Finding]:
    if trial is None or "withlogits" not in (report.subject.loss or "").lower().replace("_", ""):
        return
    low, high = trial.numbers["low"], trial.numbers["high"]
    if (low >= 0 or high <= 0) and trial.numbers.get("moved", high - low) > 0:
        yield _finding("output-range", Severity.WARNING, trial, {"low": low, "high": high}, {}, "one side")


def _along_another_axis(report: Report, context: Context) -> Iterator[Finding]:
    trial = report.tried("sums-to-one")
    if trial is None or trial.numbers["elsewhere"] > 1e-3 or trial.numbers["classes"] < 0.1:
        return
    severity = Severity.WARNING if context.outcome_ok else Severity.ERROR
    evidence = {key: trial.numbers[key] for key in ("dim", "elsewhere", "classes")}
    yield _finding("output-range", severity, trial, evidence, {"elsewhere": 1e-3, "classes": 0.1}, "other axis")


def _finding(
    rule: str, severity: Severity, head: Trial, evidence: dict[str, float], threshold: dict[str, float], kind: str
) -> Finding:
    return Finding(
        rule=rule,
        severity=severity,
        subject="output",
        section=SECTION,
        evidence=evidence,
        threshold=threshold,
        detail={"kind": kind, "layer": head.detail.get("layer", "")},
    )


def _numbers_out_of_reach(report: Report, context: Context, limits: Thresholds, head: Trial) -> Iterator[Finding]:
    data: DatasetFacts | None = report.train_dataset or report.dataset
    target = data.target if data is not None else None
    if target is None or not target.std:
        return
    if takes_logarithms(report):
        return
    low, high, drive = (head.numbers[key] for key in ("low", "high", "drive"))
    margin = 0.05 * target.std
    share = _share_below(target, low - margin) if low > -0.9 * drive else 0.0
    share += _share_above(target, high + margin) if high < 0.9 * drive else 0.0
    if share <= limits.unreachable:
        return
    severity = Severity.WARNING if share > 0.1 else Severity.INFO
    if not context.outcome_ok:
        severity = Severity.ERROR
    evidence = {"low": low, "high": high, "outside": share, "target_min": target.min or 0.0}
    evidence["target_max"] = target.max or 0.0
    yield _finding("output-range", severity, head, evidence, {"outside": limits.unreachable}, "numbers")


def _share_below(stats: TensorStats, value: float) -> float:
    return _share(stats, [n for _, high, n in _bins(stats) if high <= value])


def _share_above(stats: TensorStats, value: float) -> float:
    """Return the share in bins that lie above as a whole: of ones the bin reaches beyond 1."""
    return _share(stats, [n for low, _, n in _bins(stats) if low >= value])


def _bins(stats: TensorStats) -> list[tuple[float, float, int]]:
    return list(stats.histogram.ordered()) if stats.histogram is not None else []


def _share(stats: TensorStats, counts: list[int]) -> float:
    total = stats.histogram.total if stats.histogram is not None else 0
    return sum(counts) / total if total else 0.0


def _is_softmax(head: Trial) -> bool:
    sums = (head.numbers.get("row_sum_error", 1.0), head.numbers.get("last_sum_error", 1.0))
    return min(sums) < 1e-3 and head.numbers["low"] >= 0 and head.numbers["high"] <= 1 + 1e-6


def _softmax_inside(report: Report) -> bool:
    """Tell whether the loss applies softmax itself: adding one number to all scores does not change it.

    Nor does it change differences of embeddings, which a loss takes that asks for no targets, or only whether two of
    them are equal: such a loss does not rise when sure answers are wrong.
    """
    shifted, answers = report.tried("loss-shifted"), report.tried("loss-of-answers")
    if shifted is None or not shifted.numbers["pull"] or needs_no_targets(report):
        return False
    if answers is not None and answers.numbers.get("worst", math.inf) <= answers.numbers.get("perfect", -math.inf):
        return False
    n = shifted.numbers
    return bool(abs(n["shifted"] - n["loss"]) < 1e-4 * max(abs(n["loss"]), 1e-2) and n.get("width", 1.0) > 1)


def probabilities_as_scores(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The model ends in softmax or sigmoid, and the loss applies it again: told by experiments, for any loss.

    The last activation makes rows that sum to 1 whatever the last layer puts out, and the loss stays the same when one
    number is added to all outputs, as only a loss with a softmax of its own does. For yes-or-no answers: the last
    activation reaches from 0 to 1, and the loss is named as one of logits. Facts, so an error whatever the scores. So
    it is of one of several outputs whose rows sum to 1 and to which the loss, that follows it, lets 1 be added.
    """
    shifted = report.tried("loss-shifted")
    if shifted is not None and "head" in shifted.numbers:
        yield Finding(
            rule="probabilities-as-scores",
            severity=Severity.ERROR,
            subject=f"output {shifted.numbers['head']:.0f}",
            section=SECTION,
            evidence={"row_sum_error": shifted.numbers["sums"]},
            threshold={"row_sum_error": limits.row_sum_error},
            detail={"loss": report.subject.loss or "", "activation": "softmax"},
        )
        return
    head = report.tried("head-range")
    if head is None or not 0 <= head.numbers["low"] < head.numbers["high"] <= 1 + 1e-6:
        return
    softmax = _is_softmax(head) and _softmax_inside(report)
    name = (report.subject.loss or "").lower().replace("_", "")
    sigmoid = not _is_softmax(head) and "withlogits" in name
    if softmax or sigmoid:
        evidence = {"min": head.numbers["low"], "max": head.numbers["high"]}
        if softmax:
            evidence["row_sum_error"] = min(head.numbers[k] for k in ("row_sum_error", "last_sum_error"))
        yield Finding(
            rule="probabilities-as-scores",
            severity=Severity.ERROR,
            subject="output",
            section=SECTION,
            evidence=evidence,
            threshold={"row_sum_error": limits.row_sum_error},
            detail={"loss": report.subject.loss or "", "activation": "softmax" if softmax else "sigmoid"},
        )


def loss_mismatch(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss is made for another kind of output or target.

    Log-likelihood of raw scores: adding 1 to all outputs lowers the loss by 1, as it does where log-probabilities are
    expected, and the rows' logsumexp is more than 0.1 from 0: such a loss falls without end. So does one named NLLLoss
    whose value in training came below -1, where no log-probability leads. Binary cross-entropy with targets outside of
    [0, 1]. Both errors. Cross-entropy (by its name, or of up to 64 labels by a loss that stays the same when one number
    is added to all outputs) with more than 1.1 true labels a sample on average: a warning, because its classes exclude
    one another; over more labels a multinomial likelihood is common. Class numbers as quantities: one output for
    whole-numbered integer targets from 0 to at least 2 without a gap and at most 20 of them, under a loss that is
    lowest where outputs equal them: a warning, that informs where classes are told no better than numbers (experiment
    ``as-classes``). Whole numbers of any kind are taken for classes where a copy that told them as such gives 0.15 of
    the samples more than the model and a copy that learned numbers, whose squared error is no less than 0.8 of that of
    copies to which the numbers were dealt out in another order (measured: 0.85 to 1.5 of clusters, 0.1 to 0.65 of
    grades and counts). A loss of labels -1 and 1 that is given 0 and 1: a target of 0 pulls at no output (hinge, soft
    margin, ranking, cosine), or does what 1 and -1 do together (hinge of distances), though 1 and -1 pull in opposite
    directions; told from a loss that the target weighs or switches off, which is a straight line in it, or pulls one
    way. A cross-entropy whose targets are the inputs themselves, in fractions that do not sum to 1: it weighs
    log-probabilities by them, and never asks for the values. Both errors; they inform where the model works and the run
    logged a validation loss less than half or more than twice as large as this loss gives: its loop turned the targets
    into others.
    """
    name = (report.subject.loss or "").lower().replace("_", "")
    for data in (report.train_dataset, report.dataset):
        target = data.target if data is not None else None
        if target is not None and name in _BINARY:  # a loss of one's own may leave such targets out
            low, high = target.min or 0.0, target.max or 0.0
            if low < 0 or high > 1:
                yield _mismatch(Severity.ERROR, {"min": low, "max": high}, "targets outside of 0 to 1")
                return
    if told := _other_targets(report):
        other = context.outcome_ok and not _was_trained_on(report)
        yield _mismatch(Severity.INFO if other else Severity.ERROR, *told)
        return
    several = _labels_a_sample(report)
    own = 0 < _labels(report) <= limits.labels_apart and _softmax_inside(report)
    if several > 1.1 and (own or name in ("crossentropyloss", "crossentropy")):
        yield _mismatch(Severity.WARNING, {"labels": several}, "several labels")
    if _raw_likelihood(report):
        outputs = report.evaluation.outputs if report.evaluation is not None else None
        error = outputs.log_sum_exp_error if outputs is not None else None
        yield _mismatch(Severity.ERROR, {"log_sum_exp_error": error or 0.0}, "raw scores")
    elif name == "nllloss" and (lowest := _lowest_loss(report)) < -1:
        yield _mismatch(Severity.ERROR, {"lowest": lowest}, "below zero")
    yield from _numbered_classes(report, limits)


def _numbered_classes(report: Report, limits: Thresholds) -> Iterator[Finding]:
    """Say that the number of a class is told as a quantity."""
    apart = report.tried("as-classes")
    n = {} if apart is None else apart.numbers
    gain = n["right_apart"] - max(n["right"], n["right_fresh"]) if "right_apart" in n else 0.0
    if gain > limits.apart_right and n["error_fresh"] > limits.apart_order * n["error_dealt"]:
        beside = {"gain": gain, "of_dealt": n["error_fresh"] / max(n["error_dealt"], 1e-12)}
        limit = {"gain": limits.apart_right, "of_dealt": limits.apart_order}
        yield _mismatch(Severity.WARNING, n | beside, "told apart", limit)
        return
    answers = report.tried("loss-of-answers")
    data = report.train_dataset or report.dataset
    if answers is None or data is None or answers.detail.get("answers") != "class numbers":
        return
    n_classes = data.target_classes or 0
    lowest = abs(answers.numbers["right"]) < 1e-6 * max(abs(answers.numbers["wrong"]), 1e-12)
    if not lowest or data.label_min != 0 or data.label_max != n_classes - 1 or not 3 <= n_classes <= 20:
        return
    # where classes are told no better than numbers, or numbers well, they are grades or counts
    harm = apart is None or gain > limits.apart_right
    yield _mismatch(Severity.WARNING if harm else Severity.INFO, {"classes": n_classes}, "class numbers")


def _other_targets(report: Report) -> tuple[dict[str, float], str] | None:
    """Return what shows that the loss is made for labels of -1 and 1, or for shares of classes."""
    trial = report.tried("zero-as-label")
    if trial is not None and (kind := zero_as_label(report)):
        return {"zeros": trial.numbers["zeros"]}, kind
    if found := inputs_are_weights(report):
        return found, "inputs as weights"
    return None


def _was_trained_on(report: Report) -> bool:
    """Tell whether the loss gives about what the run logged last of the data given; yes where nothing was logged."""
    trial = report.tried("as-it-is")
    logged = [y for _, y in finite(report.training.get("val_loss") if report.training is not None else None)]
    if trial is None or not logged:
        return True
    low, high = sorted((abs(trial.numbers["loss"]), abs(logged[-1])))
    return high <= 2 * low


def _lowest_loss(report: Report) -> float:
    """Return the least training loss of any step, 0 where none is below."""
    history = report.training
    series = [s for s in history.series if s.name == "train_loss"] if history is not None else []
    return min((y for s in series for y in s.y if y is not None and math.isfinite(y)), default=0.0)


def _raw_likelihood(report: Report) -> bool:
    shifted = report.tried("loss-shifted")
    outputs = report.evaluation.outputs if report.evaluation is not None else None
    if shifted is None or outputs is None or outputs.log_sum_exp_error is None or report.evaluation is None:
        return False
    if needs_no_targets(report):  # such as a log-density, which is the logsumexp of what its parts say
        return False
    down = shifted.numbers["shifted"] - shifted.numbers["loss"]
    exact = max(1e-3, 1e-6 * abs(shifted.numbers["loss"]))  # a loss far below zero is known to no more than that
    return report.evaluation.task == "multiclass" and abs(down + 1) < exact < 0.5 and outputs.log_sum_exp_error > 0.1


def _labels_a_sample(report: Report) -> float:
    """Return the mean number of true labels of a sample, where each may have several; else 0."""
    facts = report.evaluation
    if facts is None or facts.task != "multilabel" or not facts.n_samples:
        return 0.0
    return sum(row.tp + row.fn for row in facts.labels) / facts.n_samples


def _labels(report: Report) -> int:
    return len(report.evaluation.labels) if report.evaluation is not None else 0


def _mismatch(
    severity: Severity, evidence: dict[str, float], kind: str, threshold: dict[str, float] | None = None
) -> Finding:
    return Finding(
        rule="loss-mismatch",
        severity=severity,
        subject="loss",
        section=SECTION,
        evidence=evidence,
        threshold=threshold or {},
        detail={"kind": kind},
    )


def loss_broadcast(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss changes with the shape of the outputs: right answers in the model's shape are not right.

    Targets are handed to the loss as outputs, once in the shape that the model gives and once in their own: another
    value means that (N, 1) and (N,) are broadcast against each other. Told for any loss, one of your own too. A warning
    where torch itself warns that sizes differ and each target of a sample meets several outputs of it, (N, 4) against
    (N, 1): all are drawn to one answer. It informs where these explain 90 % of the targets' variance together, as an
    ensemble of heads does. Numbers that the loss made itself of such sizes, so that it compares more pairs than it was
    given, are an error; so are weights of samples that differ, where each share of the loss is multiplied by those of
    all samples of the batch, (N, 1) by (N,): their mean is left.
    """
    shifted = report.tried("loss-shifted")
    if shifted is not None and "spread_over" in shifted.numbers:
        works = shifted.numbers["explained"] > limits.heads_agree
        yield Finding(
            rule="loss-broadcast",
            severity=Severity.INFO if works else Severity.WARNING,
            subject="output",
            section=SECTION,
            evidence={key: shifted.numbers[key] for key in ("spread_over", "explained")},
            threshold={"explained": limits.heads_agree},
            detail={"loss": report.subject.loss or ""},
        )
    made = next((key for key in ("crossed", "weighed") if shifted is not None and key in shifted.numbers), None)
    if shifted is not None and made is not None:
        yield Finding(
            rule="loss-broadcast",
            severity=Severity.ERROR,
            subject="loss",
            section=SECTION,
            evidence={made: shifted.numbers[made]},
            threshold={made: 1.0},
            detail={"loss": report.subject.loss or ""},
        )
        return
    answers = report.tried("loss-of-answers")
    if answers is None or answers.numbers.get("same_shape", 1.0) or "aligned" not in answers.numbers:
        return
    n = answers.numbers
    if n["right"] - n["aligned"] > 0.01 * max(abs(n["wrong"]), 1e-12):
        yield Finding(
            rule="loss-broadcast",
            severity=Severity.ERROR,
            subject="output",
            section=SECTION,
            evidence={"right": n["right"], "aligned": n["aligned"]},
            threshold={"difference": 0.0},
            detail={"loss": report.subject.loss or ""},
        )


RULES = (output_range, probabilities_as_scores, loss_mismatch, loss_broadcast)
