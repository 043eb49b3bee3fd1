"""Rules on what a fresh copy of the model learns of either split: whether both hold the same, and any, relation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ...document.facts import EvaluationFacts, Finding, Report, Severity
from ...document.samples import Apart
from ...document.trials import Trial
from ..context import Context, same_units
from ..thresholds import Thresholds
from .alike import is_dealt_otherwise, is_grouped
from .flow import faded_at_start
from .trials import is_coupled

SECTION = "trials"
_OF_INTERVAL = 1.96  # standard errors from the middle of a 95 % interval to its end
_ALIKE = 200  # samples of each split
_FAR = 3.0  # lengths that a matrix had at its start
_TENFOLD = (5.0, 20.0)
WAYS = ("faster", "slower", "thawed", "owned", "unregularised")
"""In which ``other-ways`` goes on with the training."""


def trial_of(report: Report, context: Context) -> Trial | None:
    return report.tried("learned-anew") if context.state == "trained" and context.real_data else None


def error_of(trial: Trial, asked: str, *scores: float) -> float:
    """Return the standard error of a score, or of the difference of two.

    Binomial; of R² by 2/sqrt(n); of maps by their deviation between samples.
    """
    n = trial.numbers[f"asked_{asked}"]
    if trial.detail.get("kind") == "maps":
        return max(trial.numbers.get("spread", 0.5), 0.05) * math.sqrt(len(scores) / n)
    if trial.detail.get("kind") == "classes":
        return math.sqrt(sum(max(s * (1 - s), 0.01) for s in scores) / n)
    return math.sqrt(sum(4 * max(1 - s, 0.01) ** 2 for s in scores) / n) / 2


def _above(trial: Trial, learned: str, asked: str) -> float:
    """Return by how much a copy is better than a constant answer."""
    return trial.numbers[f"{learned}_{asked}"] - trial.numbers[f"commonest_{asked}"]


def is_clear(trial: Trial, learned: str, asked: str, limits: Thresholds) -> bool:
    error = error_of(trial, asked, trial.numbers[f"{learned}_{asked}"])
    return _above(trial, learned, asked) > max(limits.anew_gap, limits.anew_errors * error)


def splits_disagree(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """What a fresh copy learns from half of the training data holds in their other half, but not in the data given.

    Accuracy or R² of the copy on training samples that it has not seen is above that of a constant answer by 0.15 and
    four standard errors, and more than half of that is lost on the data given, by 0.15 and four standard errors too: it
    is not memory that fails, so the splits are prepared differently (token ids, columns, units, labels) or drawn from
    other sources. A warning. Not judged where training samples have near doubles among themselves, or stand in tight
    groups, which make the unseen half look known. Wrong for a split by time, by person or by place that is meant to be
    hard.
    """
    trial = trial_of(report, context)
    if trial is None or not is_clear(trial, "training", "training", limits) or _has_doubles(report, limits):
        return
    own, other = trial.numbers["training_training"], trial.numbers["training_given"]
    error = math.hypot(error_of(trial, "training", own), error_of(trial, "given", other))
    kept, had = _above(trial, "training", "given"), _above(trial, "training", "training")
    if own - other <= max(limits.anew_gap, limits.anew_errors * error) or kept > limits.skill_kept * had:
        return
    yield Finding(
        rule="splits-disagree",
        severity=Severity.WARNING,
        subject="data",
        section=SECTION,
        evidence=evidence_of(trial, "training"),
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors, "kept": limits.skill_kept},
        detail={
            "kind": trial.detail.get("kind", ""),
            "given": "learnable" if is_clear(trial, "given", "given", limits) else "",
        },
    )


def only_given_learns(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A fresh copy learns nothing from half of the training data, though it learns from half of the data given.

    Both from at most 512 samples and by the same steps: learned from the data given, it is better than a constant
    answer on their other half by 0.15 and four standard errors; learned from at least as many training samples, it is
    not better on either split by a third of that, and neither is the model itself, nor one that learned from the
    training data with its weights or with scaled ones. The training labels have nothing to do with the training inputs:
    rows that slipped, labels shuffled, or an augmentation that destroys what the label says. An error. Numbers are
    asked only where outputs are in the units of the targets: R² says nothing of scores that rank.
    """
    trial = trial_of(report, context)
    if trial is None or not is_clear(trial, "given", "given", limits):
        return
    if trial.detail.get("kind") == "numbers" and not same_units(report):
        return
    n, had = trial.numbers, _above(trial, "given", "given")
    best = max(_above(trial, "training", "training"), _above(trial, "training", "given"))
    # what the run itself, or a copy that starts otherwise, took from the training data holds in the data given
    others = [n[key] - n["commonest_given"] for key in ("as_is", "onward", "scaled") if key in n]
    best = max(best, *others)
    if n["learned_training"] < n["learned_given"] or best > had / 3:
        return
    redrawn = report.splits is not None and report.splits.redrawn
    yield Finding(
        rule="only-given-learns",
        severity=Severity.ERROR,
        subject="training data",
        section=SECTION,
        evidence=evidence_of(trial, "given"),
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
        detail={"kind": trial.detail.get("kind", "")} | ({"redrawn": "yes"} if redrawn else {}),
    )


def training_labels_noisier(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A fresh copy that learned from half of the training data agrees more with the data given than with their others.

    Splits that are drawn alike are equally hard to what has seen neither: the two accuracies differ by chance alone,
    with a binomial standard error. That on training samples which the copy has not seen is lower by a tenth and by four
    standard errors, though it learned (0.15 and four standard errors above the commonest class): a share of the
    training labels is wrong, whatever the inputs are, and also where the model has learned them by heart. A warning.
    Not judged where training samples are augmented, which are harder by nature, where classes are dealt out otherwise
    in the splits, or where an output depends on the other samples of its batch: then the two were asked in other
    company. Wrong where the training data were chosen to be hard, or the data given to be easy.
    """
    trial = report.tried("unseen-half") or report.tried("learned-anew")
    train, given, splits = report.train_dataset, report.dataset, report.splits
    if trial is None or context.state != "trained" or not context.real_data or trial.detail.get("kind") != "classes":
        return
    if train is None or given is None or (splits is not None and splits.redrawn) or is_coupled(report, limits):
        return
    if not is_clear(trial, "training", "given", limits) or is_dealt_otherwise(train, given, limits):
        return
    own, other = trial.numbers["training_training"], trial.numbers["training_given"]
    error = math.hypot(error_of(trial, "training", own), error_of(trial, "given", other))
    if other - own <= max(limits.noisier, limits.anew_errors * error):
        return
    yield Finding(
        rule="training-labels-noisier",
        severity=Severity.WARNING,
        subject="training data",
        section=SECTION,
        evidence={"own": own, "other": other, "samples": trial.numbers["learned_training"]},
        threshold={"difference": limits.noisier, "errors": limits.anew_errors},
        detail={"kind": "classes"},
    )


def fitted_labels_noisier(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The model agrees less with the samples that it was fitted to than with those that it has not seen.

    In eval mode, one answer a sample: accuracy on the training data is lower by a tenth and four standard errors,
    binomial, and so is the mean recall of the classes by three, which does not depend on how often each occurs (a
    sampler, or wrong labels, change that). That recall is better than a guess on the data given by four. Of several
    answers of yes and no, and where yes is hardly ever said, how yes ranks is asked, which depends on shares no more:
    an area under the ROC curve is lower by a twentieth and four standard errors (1.96 of them reach the end of its 95 %
    interval), and the worst is told. Inputs of the two splits cannot be told apart (see ``splits-labelled-otherwise``).
    A fit can only make it agree more with what it was fitted to, so a share of the training labels is wrong. A warning.
    Not judged where training samples are augmented, or where an output depends on the other samples of its batch. Wrong
    where the training data were chosen to be hard in a way that their inputs do not show.
    """
    splits, fitted, unseen = report.splits, report.train_evaluation, report.evaluation
    if context.state != "trained" or not context.real_data or fitted is None or unseen is None:
        return
    if splits is None or splits.redrawn or splits.apart is None or not _are_alike(splits.apart):
        return
    if is_coupled(report, limits):
        return
    found = _agrees_less(_table(fitted), _table(unseen), limits)
    kind, line = "classes", limits.noisier
    if not found:
        found, kind, line = _ranks_worse(fitted, unseen, limits), "ranks", limits.noisier / 2
    if found:
        yield Finding(
            rule="fitted-labels-noisier",
            severity=Severity.WARNING,
            subject="training data",
            section="evaluation",
            evidence=found | {"samples": fitted.n_samples},
            threshold={"difference": line, "errors": limits.anew_errors},
            detail={"kind": kind},
        )


def _agrees_less(
    fitted: list[list[int]] | None, unseen: list[list[int]] | None, limits: Thresholds
) -> dict[str, float]:
    """Return accuracies and mean recalls of both splits, where those of the samples it was fitted to are lower."""
    if fitted is None or unseen is None or len(fitted) != len(unseen):
        return {}
    n, m = (sum(map(sum, table)) for table in (fitted, unseen))
    own, other = (sum(row[i] for i, row in enumerate(t)) / sum(map(sum, t)) for t in (fitted, unseen))
    error = math.sqrt(own * (1 - own) / n + other * (1 - other) / m)
    (recall, spread), (recall_unseen, spread_unseen) = _mean_recall(fitted), _mean_recall(unseen)
    lower = other - own > max(limits.noisier, limits.anew_errors * error)
    lower = lower and recall_unseen - recall > 3 * math.hypot(spread, spread_unseen)
    if not lower or recall_unseen - 1 / len(unseen) <= limits.anew_errors * spread_unseen:
        return {}
    return {"own": own, "other": other, "recall": recall, "recall_unseen": recall_unseen}


def _ranks_worse(fitted: EvaluationFacts, unseen: EvaluationFacts, limits: Thresholds) -> dict[str, float]:
    """Return the areas under the ROC curves of the answer whose fitted samples rank worst beside those unseen."""
    known = {curve.label: curve for curve in unseen.curves}
    found: list[dict[str, float]] = []
    for curve in fitted.curves:
        other = known.get(curve.label)
        if other is None:
            continue
        error = math.hypot(curve.auc - curve.auc_low, other.auc - other.auc_low) / _OF_INTERVAL
        if other.auc - curve.auc > max(limits.noisier / 2, limits.anew_errors * error):
            found.append({"own": curve.auc, "other": other.auc})
    if not found:
        return {}
    return max(found, key=lambda f: f["other"] - f["own"]) | {"answers": float(len(found))}


def _table(facts: EvaluationFacts | None) -> list[list[int]] | None:
    """Return a confusion table of one answer a sample, each class of which has some."""
    if facts is None or facts.classification is None:
        return None
    table = facts.classification.confusion
    return table if sum(map(sum, table)) == facts.n_samples and all(map(sum, table)) else None


def _mean_recall(table: list[list[int]]) -> tuple[float, float]:
    """Return the mean recall of the classes, and its standard error."""
    known = [(row[i] / sum(row), sum(row)) for i, row in enumerate(table)]
    return sum(r for r, _ in known) / len(known), math.sqrt(sum(r * (1 - r) / n for r, n in known)) / len(known)


def splits_labelled_otherwise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A fresh copy that learned from half of the training data is right on more of their others than of the data given.

    The other way round than ``training-labels-noisier``: samples that it has seen neither of, by a tenth and four
    standard errors, binomial, where more than half of what it knows is kept (else see ``splits-disagree``). And inputs
    of the two splits cannot be told apart: the area of ``d-splits-apart`` and the share of nearest neighbours from the
    same split lie within three standard errors of chance, from 200 samples on. Inputs being alike, it is labels that
    are not: those of one split are wrong in part. Labels of a weak model or of a keyword follow a rule that is easily
    learned, and holds elsewhere as often as it is right. A warning. Not judged where training samples are augmented or
    have near doubles, where classes are dealt out otherwise, or where an output depends on the other samples of its
    batch. Wrong where what the label means has changed in time between the two, and is meant to.
    """
    trial = report.tried("unseen-half") or report.tried("learned-anew")
    train, given, splits = report.train_dataset, report.dataset, report.splits
    if trial is None or context.state != "trained" or not context.real_data or trial.detail.get("kind") != "classes":
        return
    if train is None or given is None or splits is None or splits.redrawn or splits.apart is None:
        return
    if not _are_alike(splits.apart) or _has_doubles(report, limits) or is_coupled(report, limits):
        return
    own, other = trial.numbers["training_training"], trial.numbers["training_given"]
    error = math.hypot(error_of(trial, "training", own), error_of(trial, "given", other))
    kept, had = _above(trial, "training", "given"), _above(trial, "training", "training")
    if own - other <= max(limits.noisier, limits.anew_errors * error) or kept <= limits.skill_kept * had:
        return
    if is_dealt_otherwise(train, given, limits):
        return
    yield Finding(
        rule="splits-labelled-otherwise",
        severity=Severity.WARNING,
        subject="labels",
        section=SECTION,
        evidence={
            "own": own,
            "other": other,
            "samples": trial.numbers["learned_training"],
            "area": splits.apart.area,
        },
        threshold={"difference": limits.noisier, "errors": limits.anew_errors},
        detail={"kind": "classes"},
    )


def _are_alike(apart: Apart) -> bool:
    """Tell whether inputs of the two splits cannot be told apart, by enough samples to see it."""
    line = 0.5 + 3 * math.sqrt((2 * apart.n + 1) / (12 * apart.n**2))
    mixed = apart.neighbours <= apart.null_mean + 3 * apart.null_std
    return apart.n >= _ALIKE and apart.area <= line and mixed and apart.copies <= 0.1


def learns_nothing(report: Report, context: Context) -> bool:
    """Tell whether fresh copies, learned from half of either split, are nowhere better than a constant answer.

    Nor is one that starts from weights scaled layer by layer, or from those of the model.
    """
    trial = trial_of(report, context)
    if trial is None:
        return False
    splits = ("training", "given")
    pairs = [(learned, asked) for learned in splits for asked in splits]
    n = trial.numbers
    scores = [(n[f"{a}_{b}"], b) for a, b in pairs] + [(n[key], "given") for key in ("scaled", "onward") if key in n]
    return all(told - n[f"commonest_{b}"] <= 2 * error_of(trial, b, told, n[f"commonest_{b}"]) for told, b in scores)


def is_ahead(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a fresh copy came clearly further on the data given than the whole run did."""
    trial = trial_of(report, context)
    if trial is None:
        return False
    fresh, now = trial.numbers["training_given"], trial.numbers["as_is"]
    error = error_of(trial, "given", fresh, now)
    return fresh - now > max(limits.anew_gap, limits.anew_errors * error)


def comes_on(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether the model's own weights came clearly further by plain steps of Adam than the run brought them."""
    trial = trial_of(report, context)
    if trial is None or "onward" not in trial.numbers or not context.outcome_known:
        return False
    onward, now = trial.numbers["onward"], trial.numbers["as_is"]
    return onward - now > max(limits.anew_gap, limits.anew_errors * error_of(trial, "given", onward, now))


def fresh_copy_ahead(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A fresh copy comes further by 300 plain steps on at most 512 samples than the model did by its whole run.

    Weights drawn as PyTorch draws them, Adam at 3e-3, batches of 32: accuracy or R² on the data given is above that of
    the model by 0.15 and four standard errors. Data and architecture hold more than the run made of them. Where the
    model's own weights trained alike stay behind (less than half of the way to the fresh copy) it is where they are
    that holds them: how they were initialised, or what the run did to them; otherwise rate, schedule or regularisation.
    It was the steps where half of the matrices went further from their start than three times their length there: what
    they began with is then a tenth of what they are. It was the rate where the model's own weights catch up, and going
    on from them lowers the loss in proportion to it, over a hundredfold range: with ten times the rate five to twenty
    times as much as before, and that again as much more than with a tenth of it. It was the start where matrices began
    with less than half of the size that PyTorch gives them, the median of them, and what layers put out at the first
    step fell by 0.3 decades a layer and more than a hundredfold. A warning. Wrong where the loss asks for something
    else than that answer.
    """
    trial = trial_of(report, context)
    if trial is None or not context.outcome_known or not is_ahead(report, context, limits):
        return
    n = trial.numbers
    stuck = "onward" in n and n["onward"] < (n["as_is"] + n["training_given"]) / 2
    far = carried(report) if stuck else 0.0
    faded = faded_at_start(report.training, limits)
    if faded:
        held = "start"
    elif stuck:
        held = "steps" if far else "weights"
    else:
        held = "rate" if "onward" in n and goes_with_rate(report) else "settings"
    yield Finding(
        rule="fresh-copy-ahead",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={key: n[key] for key in ("as_is", "onward") if key in n}
        | {"fresh": n["training_given"], "samples": n["learned_training"]}
        | ({"faded": faded} if faded else {"moved": far} if far else {}),
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
        detail={"kind": trial.detail.get("kind", ""), "held": held},
    )


def mixed_helps(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a fresh copy is far ahead of the model, and its own weights get there too, in mixed batches.

    By the plain steps of ``learned-anew``, or by those of its own optimizer at the rate of the run.
    """
    trial, onward = trial_of(report, context), report.tried("trained-on")
    if trial is None or not context.outcome_known or not is_ahead(report, context, limits) or goes_with_rate(report):
        return False
    n = trial.numbers
    reached = max(n.get("onward", n["as_is"]), onward.numbers.get("score_after", n["as_is"]) if onward else n["as_is"])
    return reached >= (n["as_is"] + n["training_given"]) / 2


def rests_on_frozen(report: Report) -> bool:
    """Tell whether the frozen weights were learned before, and training them too would bring the most: it is meant."""
    trial = report.tried("other-ways")
    if trial is None or trial.numbers.get("learned", 0.0) <= 0.5:
        return False
    return trial.numbers["thawed"] == min(trial.numbers[way] for way in WAYS if way in trial.numbers)


def goes_with_rate(report: Report) -> bool:
    """Tell whether going on lowers the loss in proportion to the learning rate, which far from a minimum it does."""
    trial = report.tried("other-ways")
    n = trial.numbers if trial is not None else {}
    if not {"faster", "same", "slower"} <= n.keys():
        return False
    fast, same, slow = (n["before"] - n[key] for key in ("faster", "same", "slower"))
    if min(same, slow) <= 0:
        return False
    return all(_TENFOLD[0] <= ratio <= _TENFOLD[1] for ratio in (fast / same, same / slow))


def carried(report: Report) -> float:
    """Return how far half of the matrices went from their start, over their length there; 0 where that is not far."""
    history = report.training
    matrices = [p for p in history.parameters if p.is_matrix and p.trainable] if history is not None else []
    known = [p.moved for p in matrices if p.moved is not None]
    middle = median(known) if known else 0.0
    return middle if middle > _FAR else 0.0


def scale_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A deep net that learns little from PyTorch's own initialisation learns much from weights scaled layer by layer.

    Six affine layers or more; a fresh copy trained for 300 steps, and one whose layers were scaled to outputs of
    deviation 1 before (Mishkin and Matas 2016): the second is ahead on the data given by 0.15 and four standard errors.
    Signals and gradients fade with depth, or grow, as the last layer's deviation over the first one's tells: norm
    layers, skip connections or another initialisation keep them. A warning.
    """
    trial = trial_of(report, context)
    if trial is None or "scaled" not in trial.numbers or not context.outcome_known:
        return
    n = trial.numbers
    error = error_of(trial, "given", n["scaled"], n["training_given"])
    best = max(n["training_given"], n["as_is"])
    if n["scaled"] - best <= max(limits.anew_gap, limits.anew_errors * error):
        return
    yield Finding(
        rule="scale-helps",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={
            "scaled": n["scaled"],
            "fresh": n["training_given"],
            "as_is": n["as_is"],
            "growth": n.get("growth", 1.0),
        },
        threshold={"gap": limits.anew_gap, "errors": limits.anew_errors},
        detail={"kind": trial.detail.get("kind", ""), "direction": "grow" if n.get("growth", 1.0) > 10 else "fade"},
    )


def evidence_of(trial: Trial, learned: str) -> dict[str, float]:
    n = trial.numbers
    return {
        "own": n["training_training"],
        "other": n["training_given"],
        "given": n["given_given"],
        "constant": n["commonest_training"],
        "constant_given": n["commonest_given"],
        "samples": n[f"learned_{learned}"],
    }


def _has_doubles(report: Report, limits: Thresholds) -> bool:
    twins = report.train_dataset.twins if report.train_dataset is not None else None
    if report.splits is not None and is_grouped(report.splits):
        return True
    return twins is not None and twins.found > limits.near_duplicates * twins.n + 6 * math.sqrt(twins.n * twins.chance)


RULES = (
    splits_disagree,
    only_given_learns,
    training_labels_noisier,
    fitted_labels_noisier,
    splits_labelled_otherwise,
    scale_helps,
    fresh_copy_ahead,
)
