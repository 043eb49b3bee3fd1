"""Rules on samples and labels of one split: copies, order, range, what neighbours say."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.evaluation import Regression
from ...document.facts import DatasetFacts, EvaluationFacts, Finding, Report, Severity
from ...document.history import History
from ...document.samples import Order
from ...document.scores import accuracy
from ..context import Context, is_affine, needs_no_targets, same_units
from ..curves import finite, learning_rates
from ..skill import score_of
from ..thresholds import Thresholds
from .claims import wants_logarithms
from .evaluation import guessed_answers
from .optimizer import is_adaptive
from .reach import is_in_part
from .relearned import learns_nothing, mixed_helps
from .training import h_diverged

SECTION = "dataset"

_WITHIN = 0.1  # of labels that a batch holds more of than all data do


def _splits(report: Report) -> Iterator[tuple[str, DatasetFacts]]:
    if report.train_dataset is not None:
        yield "training data", report.train_dataset
    if report.dataset is not None:
        yield "data", report.dataset


def _natural(data: DatasetFacts) -> bool:
    """Tell whether inputs repeat by nature: few tokens, small tables of codes."""
    copies = data.copies
    return copies is None or copies.distinct < 0.9 * copies.kept


def d_duplicates(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Samples whose input occurs more than once in one split, bit for bit.

    Found by a 64-bit hash of every input; above some 30 000 different ones by a fair sketch of the smallest hashes. It
    only informs, from 5 % on: copies weigh some samples more, and inputs of few possible values repeat by nature.
    """
    for name, data in _splits(report):
        copies = data.copies
        if copies is None or copies.kept < 30 or copies.kept - copies.distinct < limits.duplicates * copies.kept:
            continue
        yield Finding(
            rule="d-duplicates",
            severity=Severity.INFO,
            subject=name,
            section=SECTION,
            evidence={"copies": copies.kept - copies.distinct, "samples": copies.kept},
            threshold={"share": limits.duplicates},
        )


def d_conflicting_labels(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """One and the same input with different targets, within one split.

    A warning where more than 1 % of the samples (and five at least) are concerned, though inputs hardly repeat; where
    they repeat by nature (fewer than 90 % different), or a sample has many targets (a text and its next words), it
    informs: the same few words may go on in several ways. So it does where targets are numbers, which have noise, and
    where it is one single input that has several targets, as an empty text or a silent window does.
    """
    numbers = report.evaluation is not None and report.evaluation.task == "regression"
    for name, data in _splits(report):
        copies = data.copies
        if copies is None or copies.conflicting < max(5, limits.conflicting * copies.kept):
            continue
        empty = copies.conflicting_inputs == 1
        yield Finding(
            rule="d-conflicting-labels",
            severity=Severity.INFO if numbers or _natural(data) or data.order is None or empty else Severity.WARNING,
            subject=name,
            section=SECTION,
            evidence={"samples": copies.conflicting, "of": copies.kept},
            threshold={"share": limits.conflicting},
        )


def d_order(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training samples come in an order that their labels betray: sorted, or in blocks of one class.

    Neighbours with the same label in one pass over the training data, against a random order of the same labels
    (expected sum c(c-1)/n): a warning where half of what could be above chance is, (same - expected)/(n - expected) >
    0.5, at more than six standard deviations. Samplers that balance batches lie below chance and pass, and so do
    batches that are in an order inside, while each of them holds its classes as all data do (the same excess below 0.1
    where every batch is dealt out anew), as where true and made-up samples are put one behind the other. Targets that
    are numbers: correlation of neighbours above 0.5 and six standard errors; it informs where the model works (time
    series), else warns, and warns where mixed batches bring a copy much further (``fresh-copy-ahead``), or where the
    targets go one way from the first to the last (99 % of neighbours that differ), as those of a sorted table do. Rows
    that come site by site or sorted by another column than the target (correlation of neighbours in a column of the
    inputs above 0.9) warn where a fresh copy comes much further in mixed batches, and the model's own weights do so too
    (``fresh-copy-ahead``). Wrong where the loader given is not the one that training used.
    """
    data = report.train_dataset
    order = data.order if data is not None else None
    if order is None or order.n < 60:
        return
    evidence, severity = _excess(order, context, limits)
    if "correlation" in evidence and mixed_helps(report, context, limits):
        severity = Severity.WARNING
    if evidence:
        yield Finding(
            rule="d-order",
            severity=severity,
            subject="training data",
            section=SECTION,
            evidence=evidence,
            threshold={"excess": limits.order_excess} | ({"one_way": limits.one_way} if "one_way" in evidence else {}),
        )
    elif order.inputs is not None and order.inputs > limits.order_inputs and mixed_helps(report, context, limits):
        yield Finding(
            rule="d-order",
            severity=Severity.WARNING,
            subject="training data",
            section=SECTION,
            evidence={"inputs": order.inputs, "samples": order.n},
            threshold={"inputs": limits.order_inputs},
        )


def _excess(order: Order, context: Context, limits: Thresholds) -> tuple[dict[str, float], Severity]:
    if order.same is not None and order.expected is not None:
        chance = order.expected / (order.n - 1)
        spread = math.sqrt(max((order.n - 1) * chance * (1 - chance), 1.0))
        excess = (order.same - order.expected) / max(order.n - 1 - order.expected, 1.0)
        within = 1.0 if order.mixed is None else (order.mixed - chance) / max(1 - chance, 1e-12)
        if excess > limits.order_excess and order.same - order.expected > 6 * spread and within > _WITHIN:
            evidence = {"same": order.same, "expected": order.expected, "samples": order.n, "excess": excess}
            return evidence, Severity.WARNING
    elif order.correlation is not None and order.correlation > max(limits.order_excess, 6 / math.sqrt(order.n)):
        evidence = {"correlation": order.correlation, "samples": order.n}
        if order.one_way is not None and order.one_way > limits.one_way:
            return evidence | {"one_way": order.one_way}, Severity.WARNING
        mild = context.outcome_ok or not context.outcome_known
        return evidence, Severity.INFO if mild else Severity.WARNING
    return {}, Severity.INFO


def d_label_range(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Class labels outside of the classes that the model has outputs for.

    The smallest label is below 0 (-100, which losses leave out, does not count), or the largest is not below the number
    of outputs. A fact, and an error: such a label cannot be learned. Not judged under another loss than a
    cross-entropy: an embedding may have any width. Nor where no loss was given and a run has learned from such labels,
    as a cross-entropy would have refused them: thresholds between grades are one fewer than the grades.
    """
    evaluation = report.evaluation
    if evaluation is None or evaluation.task != "multiclass" or evaluation.classification is None:
        return
    loss = (report.subject.loss or "").lower()
    if loss and not any(word in loss for word in ("crossentropy", "cross_entropy", "nll")):
        return
    n = len(evaluation.classification.confusion)
    run, learned = report.training, report.train_dataset
    if not loss and run is not None and run.steps and learned is not None and _outside(learned, n):
        return
    for name, data in _splits(report):
        ends = _outside(data, n)
        if ends is None:
            continue
        yield Finding(
            rule="d-label-range",
            severity=Severity.ERROR,
            subject=name,
            section=SECTION,
            evidence={"min": ends[0], "max": ends[1], "classes": n},
            threshold={"min": 0, "max": n - 1},
        )


def _outside(data: DatasetFacts, n: int) -> tuple[int, int] | None:
    """Return the smallest and the largest label, where one of them is none of the first ``n`` whole numbers."""
    low, high = data.label_min, data.label_max
    if low is None or high is None or (low >= 0 and high < n):
        return None
    return low, high


def d_label_constant(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """All training samples have the same label, so there is nothing to learn.

    One class among at least 30 samples of the training data, of a model with two outputs or more, or with yes-or-no
    answers. An error; of data that are only evaluated it informs. Not said where the loss is the same whatever the
    targets, as one of pairs is whose right order stands in the inputs. It informs where both splits have that label
    alone, and a trained model that is right in four fifths of both still is not in all: it cannot give one answer to
    whatever comes in, as a difference of two scores cannot.
    """
    evaluation = report.evaluation or report.train_evaluation
    if evaluation is None or evaluation.task == "regression" or needs_no_targets(report):
        return
    found = [(name, data) for name, data in _splits(report) if data.target_classes == 1 and data.n_samples >= 30]
    shares = [score_of(facts) for facts in (report.train_evaluation, report.evaluation)]
    meant = len(found) == 2 and all(share is not None and 0.8 <= share < 1 for share in shares)
    for name, data in found:
        yield Finding(
            rule="d-label-constant",
            severity=Severity.ERROR if data is report.train_dataset and not meant else Severity.INFO,
            subject=name,
            section=SECTION,
            evidence={"classes": 1, "samples": data.n_samples},
            threshold={"classes": 2},
        )


def d_label_signal(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The nearest neighbours of a sample say nothing about its target: labels and inputs look unrelated.

    Share of 5 nearest neighbours (features standardised, up to 512 samples) with the sample's own class, against 200
    permutations of the targets: within three standard deviations. Where targets are several numbers it is R², the mean
    over them; of sequences of tokens with one class, what the words of one half, their places or pairs say of the other
    by naive Bayes, against 100 permutations. On hard data neighbours are a weak guide, so alone it informs; it is an
    error in a trained model that does no better than a guess on the data given while it has learned the training data
    by heart: accuracy there is 0.3 and five standard errors above. A warning where no one learns anything: neighbours
    say nothing in either split, the model guesses on the data given, and fresh copies that learned from half of either
    split are nowhere better than a constant answer; not so where a tenth of the model never ran in training or got no
    gradient, or it is affine for want of activations, which copies lack too. What words say is no error, and no warning
    of attention without positions or of recurrent layers: words far apart they do not see. Wrong where a task is too
    hard for all three.
    """
    data = report.train_dataset or report.dataset
    signal = data.signal if data is not None else None
    if signal is None or signal.n < 100 or signal.z >= 3:
        return
    evidence = {"score": signal.score, "chance": signal.null_mean, "z": signal.z, "samples": signal.n}
    lost = _is_lost_on_all(report, context, limits) and not is_in_part(report, limits)
    lost = lost and (signal.k > 0 or not _may_lie_apart(report, limits))
    severity = Severity.WARNING if lost else Severity.INFO
    yield Finding(
        rule="d-label-signal",
        severity=Severity.ERROR if signal.k and _by_heart(report, context) else severity,
        subject="labels",
        section=SECTION,
        evidence=evidence,
        threshold={"z": 3},
        detail={} if signal.k else {"by": "words"},
    )


def _by_heart(report: Report, context: Context) -> bool:
    """Tell whether the training data were learned and the data given are guessed."""
    train, given = report.train_evaluation, report.evaluation
    if train is None or given is None or train.classification is None or given.classification is None:
        return False
    ours, theirs = accuracy(train.classification.confusion), accuracy(given.classification.confusion)
    if ours is None or theirs is None or context.state != "trained" or context.outcome_ok:
        return False
    error = math.sqrt(max(theirs.majority * (1 - theirs.majority), 1e-9) / max(theirs.total, 1))
    return ours.value > theirs.value + max(0.3, 5 * error) and theirs.low <= theirs.majority


def _is_lost_on_all(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether neighbours, the model and fresh copies of it all fail to find anything that holds elsewhere."""
    splits, given = report.splits, report.evaluation
    if splits is None or given is None or not context.outcome_known or context.outcome_ok:
        return False
    signals = (splits.training_signal, splits.given_signal)
    if any(s is None or s.n < 100 or s.z >= 3 for s in signals) or not learns_nothing(report, context):
        return False
    if is_affine(report, limits):
        return False
    return _is_guess(given)


def _may_lie_apart(report: Report, limits: Thresholds) -> bool:
    """Tell whether labels may follow from words far apart, which a model that fails has lost for another reason.

    Attention without positions sees no order, and a recurrent layer forgets; copies do so too.
    """
    trial = report.tried("tokens-reordered")
    if trial is None:
        return True
    n = trial.numbers
    return bool(n.get("recurrent")) or (bool(n.get("attention")) and n["change"] < limits.order_change)


def _is_guess(evaluation: EvaluationFacts) -> bool:
    """Tell whether answers are no better than the commonest class, or than the mean, or than how often each is yes."""
    if evaluation.labels:
        return bool(guessed_answers(evaluation))
    if evaluation.classification is not None:
        score = accuracy(evaluation.classification.confusion)
        return score is not None and score.low <= score.majority
    r2 = evaluation.regression.r2 if evaluation.regression is not None else None
    return r2 is not None and r2 <= 2 / math.sqrt(max(evaluation.n_samples, 1))


def d_padding(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Most positions of the sequences are padding.

    Share of positions in a run of one token up to the end of their sequence above one half: work and, unless the loss
    leaves them out, learning goes into nothing. It informs.
    """
    data = report.dataset
    if data is not None and data.padding is not None and data.padding.share > limits.padding:
        yield Finding(
            rule="d-padding",
            severity=Severity.INFO,
            subject="inputs",
            section=SECTION,
            evidence={"share": data.padding.share, "token": data.padding.token},
            threshold={"share": limits.padding},
        )


def d_target_scale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Targets of a regression lie far from where an untrained network puts out: near 0, of order 1.

    |mean|/std above 10, std above 1000, or std below 0.001, in the training data if given. A warning in a trained model
    that is no better than the mean of the targets, or has an R² below 0.7 on its training data with a std above 100;
    else it informs, because what is learned is learned. A warning too where targets of a size (root mean square) above
    10 were not even met in the mean: of the squared error on the training data, which is above that of the mean of the
    targets, the mean residual makes up more than half (with Adam and its kin at a rate of 1e-4 at least: below, the
    rate is what kept it). And where the run diverged from a loss as large as targets of a size above 100 make it, a
    tenth of their mean square at least, for the gradient of a squared error grows with them. Not judged where the loss
    is lowest at the logarithms of the targets: these have another scale.
    """
    evaluation, data = report.evaluation, report.train_dataset or report.dataset
    target = data.target if data is not None else None
    if evaluation is None or evaluation.task != "regression" or target is None or not target.std:
        return
    if wants_logarithms(report):
        return
    offset = abs(target.mean or 0.0) / target.std
    fit = report.train_evaluation.regression if report.train_evaluation is not None else None
    short = fit is not None and fit.r2 is not None and fit.r2 < limits.poor_r2 and target.std > limits.target_std_poor
    unmet = fit is not None and same_units(report) and _is_unmet(fit, report.training, limits)
    blown = _is_blown_up(report, context, limits, math.hypot(target.mean or 0.0, target.std))
    usual = offset <= limits.target_offset and 1 / limits.target_std < target.std <= limits.target_std
    if usual and not short and not unmet and not blown:
        return
    failed = context.state == "trained" and (short or unmet or blown or not context.outcome_ok)
    yield Finding(
        rule="d-target-scale",
        severity=Severity.WARNING if failed else Severity.INFO,
        subject="targets",
        section=SECTION,
        evidence={"mean": target.mean or 0.0, "std": target.std, "offset": offset}
        | ({"missed": fit.residual.mean or 0.0} if fit is not None and unmet else {}),
        threshold={"offset": limits.target_offset, "std": limits.target_std},
    )


def _is_blown_up(report: Report, context: Context, limits: Thresholds, size: float) -> bool:
    """Tell whether a run diverged from a loss that large targets made large."""
    fresh = report.tried("fresh-start")
    if size <= limits.target_std_poor or fresh is None or fresh.numbers["loss"] < 0.1 * size**2:
        return False
    return any(f.severity is Severity.ERROR for f in h_diverged(report, context, limits))


def _is_unmet(fit: Regression, history: History | None, limits: Thresholds) -> bool:
    """Tell whether outputs stayed so far from large targets that they are worse than the mean of these."""
    peak = max((y for s in learning_rates(history) for _, y in finite(s)), default=1.0) if history is not None else 1.0
    if history is not None and is_adaptive(history) and peak < limits.target_rate:
        return False
    size = math.hypot(fit.target.mean or 0.0, fit.target.std or 0.0)
    if fit.r2 is None or fit.r2 >= 0 or size <= limits.target_size or fit.targets:
        return False
    return (fit.residual.mean or 0.0) ** 2 > 0.5 * fit.mse


def d_constant_feature(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Columns or channels of the input that never change.

    Standard deviation exactly 0 over all samples, of inputs with at most 64 columns or channels. It informs: they cost
    a little and carry nothing.
    """
    data = report.train_dataset or report.dataset
    if data is None or data.n_samples < 30 or len(data.features) < 2:
        return
    still = [f.index for f in data.features if f.stats.finite and f.stats.min == f.stats.max]
    if still:
        yield Finding(
            rule="d-constant-feature",
            severity=Severity.INFO,
            subject=f"input {still[0]}",
            section=SECTION,
            evidence={"constant": len(still), "features": len(data.features)},
            threshold={"std": 0},
        )


RULES = (
    d_duplicates,
    d_conflicting_labels,
    d_order,
    d_label_range,
    d_label_constant,
    d_label_signal,
    d_padding,
    d_target_scale,
    d_constant_feature,
)
