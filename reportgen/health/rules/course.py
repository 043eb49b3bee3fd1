"""Rules on how far a run came and how it went: plateau, undertraining, spikes, first loss, best epoch, resumption."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from ...document.facts import Finding, Report, Severity
from ...document.scores import accuracy
from ..context import Context, entropy_of
from ..curves import Curve, both, finite, is_adversarial, losses, scalar
from ..robust import noise, running_median, spearman, theil_sen
from ..thresholds import Thresholds
from .fit import behind_neighbours
from .flow import same_anew, signal_by_depth, size_at_first, stretches_in_time
from .training import h_diverged, h_never_learned, h_nonfinite, h_overfit, noted

_ACCURACIES = ("accuracy", "acc", "f1", "auc", "r2")
_UP_TO_ONE = (*_ACCURACIES[:-1], "recall", "precision", "iou", "dice", "jaccard", "hit", "top1", "map", "ndcg")
_TOP = 0.95  # of a score that ends at 1


def _trend(values: list[float]) -> float:
    """Return how far the robust straight line through the values goes."""
    return theil_sen(values) * (len(values) - 1)


def h_underfit(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss levelled off far above zero: at more than 0.6 of what a constant prediction reaches.

    The last third is flat (under 3 %). Needs the entropy of the labels, and at most 1000 classes. A warning unless the
    model is clearly better than a constant guess: then the noise in the labels may be the reason. Wrong for label
    smoothing and mixup, whose losses have a floor.
    """
    curve, _ = losses(report.training, limits)
    if curve is None or context.chance is None or curve.end <= limits.underfit_chance * context.chance:
        return
    flat = abs(_trend(curve.tail)) < max(limits.underfit_slope * abs(curve.end), 2 * curve.noise)
    table = report.evaluation.classification if report.evaluation is not None else None
    worse = (h_diverged(report, context, limits), h_never_learned(report, context, limits))
    if not flat or table is None or len(table.classes) > 1000 or any(True for rule in worse for _ in rule):
        return
    yield noted(
        "h-underfit",
        Severity.INFO if context.outcome_ok else Severity.WARNING,
        "train_loss",
        {"end": curve.end, "chance": context.chance},
        {"end": limits.underfit_chance * context.chance},
    )


def h_plateau(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss was within 5 % of its drop from its end after the first 30 % of the run already.

    The rest of the run changed little: that is what a converged run looks like, or one that got stuck.
    """
    curve, _ = losses(report.training, limits)
    if curve is None or len(curve.y) < 10 or curve.drop <= 6 * curve.noise:
        return
    line = curve.end + 0.05 * curve.drop
    reached = next((i for i in range(len(curve.smooth)) if max(curve.smooth[i:]) <= line), len(curve.y))
    if reached < limits.plateau_by * len(curve.y):
        yield noted(
            "h-plateau",
            Severity.INFO,
            "train_loss",
            {"reached": curve.x[reached], "end": curve.end, "of": curve.x[-1]},
            {"share": limits.plateau_by},
        )


def h_still_improving(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The run was stopped while its losses still fell.

    The robust trend of the validation loss over the last third of the run is a fall of more than 5 % of the whole drop
    and three sigma: it informs. A warning when the training loss, too, is still falling by more than a fifth of its
    drop in that third (an exponential decay does so only within its first time constant) and stands above 0.4 of its
    start. Eight epochs at least. It only informs, too, where a score of the validation data that ends at 1 rests: above
    0.95, or no longer rising after it rose. Wrong for a short run that was meant as a trial.
    """
    train, val = losses(report.training, limits)
    curve = val or train
    if curve is None or train is None or len(curve.y) < 8:
        return
    worse = (rule(report, context, limits) for rule in (h_diverged, h_never_learned, h_overfit))
    if any(True for rule in worse for _ in rule):
        return
    fall, line = -_trend(curve.tail), max(0.05 * max(curve.drop, 0.0), 3 * curve.noise)
    if fall <= line:
        return
    steep = [_steep(c, limits) for c in (train, val) if c is not None]
    yield noted(
        "h-still-improving",
        Severity.WARNING if all(steep) and not _score_rests(report, context, limits) else Severity.INFO,
        "val_loss" if val is not None else "train_loss",
        {"fall": fall, "drop": curve.drop, "end": curve.end},
        {"fall": line},
    )


def _score_rests(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether what the user asks of new data is reached, or no longer grows, though the loss goes on falling.

    Losses of pairs and of margins have no rest of their own. A score that never rose says nothing, and neither does
    one of a model that is no better than a constant guess.
    """
    if context.outcome_known and not context.outcome_ok:
        return False
    names = [s.name for s in report.training.series] if report.training is not None else []
    named = [name for name in names if name.startswith("val_") and _is_up_to_one(name)]
    curves = [scalar(report.training, name, limits) for name in named]
    scores = [c for c in curves if c is not None and min(c.y) >= 0 and max(c.y) <= 1]
    return bool(scores) and all(_rests(score) for score in scores)


def _is_up_to_one(name: str) -> bool:
    return any(part.endswith(_UP_TO_ONE) for part in name.split("_")[1:])


def _rests(score: Curve) -> bool:
    rise = max(score.smooth) - score.y[0]
    return median(score.tail) >= _TOP or (rise > 6 * score.noise and _trend(score.tail) <= 0.05 * rise)


def _steep(curve: Curve, limits: Thresholds) -> bool:
    drop = max(curve.start, curve.y[0]) - curve.end
    fall = -theil_sen(curve.y[-max(4, len(curve.y) // 3) :]) * len(curve.y) / 3
    high = curve.end > limits.undertrained_end * abs(max(curve.start, curve.y[0]))
    return drop > 6 * curve.noise and fall > limits.undertrained_fall * drop and high


def h_val_below_train(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The validation loss lay below the training loss by more than three sigma for most of the run.

    Usual with dropout, augmentation or label smoothing, which make training harder, and because the training loss of
    an epoch is an average over it; otherwise the validation data are easier than the training data, or among them.
    """
    train, val = losses(report.training, limits)
    if train is None or val is None or len(train.y) != len(val.y):
        return
    # the mean over an epoch describes the model of half an epoch earlier
    shifted = [(a + b) / 2 for a, b in pairwise(train.y)] + [train.y[-1]]
    sigma = 3 * math.hypot(train.noise, val.noise)
    below = sum(t - v > sigma for t, v in zip(shifted, val.y, strict=True))
    if below > limits.below_share * len(val.y):
        yield noted(
            "h-val-below-train",
            Severity.INFO,
            "val_loss",
            {"epochs": below, "of": len(val.y), "train_end": train.end, "end": val.end},
            {"share": limits.below_share},
        )


def h_init_loss(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The very first loss against that of a guess that takes all K classes for equally likely, ln K.

    Far above it the untrained model is confidently wrong: its initial outputs are too large. More than 30 % above
    informs; more than three times is a warning unless the model works well all the same (better than a constant, and
    not worse than its neighbours, which are asked as for ``o-below-neighbours``), more than ten times in any case but
    where most of its weights are frozen: those were learned elsewhere, and what they say at first is no draw. Only
    for a plain cross-entropy, of samples or of tokens (its value agrees with one computed from the outputs, or its name
    says so where the outputs are not finite any more), and only where the first step was logged. Of squared errors the
    guess is an answer of 0, the mean square of the targets; that counts from ten times on where the run broke off or
    diverged, and weights drawn anew begin far lower (a loss that is a sum is as large with any weights), or the last
    layer's outputs at the first step make up that loss (their mean square is within a factor of two). So it does
    where the run fell short and a plain recurrent layer began with weights that stretch its state at every step, and
    with a state beyond 10, which no bounded one has. (Karpathy, "A Recipe for Training Neural Networks"; Pascanu,
    Mikolov and Bengio 2013.)
    """
    classes, history = _plain_cross_entropy(report), report.training
    guess = math.log(classes) if classes is not None else _power_of_targets(report)
    first = finite(history.get("train_loss", "step"))[:1] if history is not None else []
    if guess is None or not first or first[0][0] > 2:
        return
    loss = first[0][1]
    ratio = loss / guess
    if ratio <= (1 + limits.init_loss_info if classes is not None else limits.init_loss_far):
        return
    by = _amplifier(report, context, limits)
    short = behind_neighbours(report, context, limits) is not None
    in_time = by == "time" and (short or not context.outcome_ok)
    if classes is None and by != "weights" and not in_time and not (by == "architecture" and _of_outputs(report, loss)):
        return
    far = ratio > limits.init_loss_far and not _rests_on_given(report)
    bad = far or (ratio > limits.init_loss_warning and (short or not context.outcome_ok))
    yield noted(
        "h-init-loss",
        Severity.WARNING if bad else Severity.INFO,
        "train_loss",
        {"loss": loss, "guess": guess, "ratio": ratio},
        {"ratio": limits.init_loss_warning},
        by=by,
        kind="classes" if classes is not None else "numbers",
    )


def _rests_on_given(report: Report) -> bool:
    """Tell whether most of the weights are frozen."""
    parameters = report.training.parameters if report.training is not None else []
    frozen = sum(math.prod(p.shape) for p in parameters if not p.trainable)
    return 2 * frozen > sum(math.prod(p.shape) for p in parameters)


def _of_outputs(report: Report, loss: float) -> bool:
    """Tell whether a first loss is the mean square of what the last layer put out at the first step."""
    size = size_at_first(report.training)
    return size is not None and 0.5 <= size**2 / loss <= 2


def _power_of_targets(report: Report) -> float | None:
    """Return the mean square of targets that are numbers, where the loss is told to be the mean of squared errors."""
    data, name = report.train_dataset or report.dataset, (report.subject.loss or "").lower().replace("_", "")
    target = data.target if data is not None else None
    if name not in ("mseloss", "mse") or target is None or target.nonfinite or not target.rms:
        return None
    return target.rms**2


def _amplifier(report: Report, context: Context, limits: Thresholds) -> str:
    """Say what makes the first outputs large: 'architecture' or 'weights' (by depth, or broken), 'time', or ''."""
    grown = next(signal_by_depth(report, context, limits), None)
    if grown is not None:
        return grown.detail["by"]
    if stretches_in_time(report) and not same_anew(report):
        return "time"
    broken = any(True for rule in (h_diverged, h_nonfinite) for _ in rule(report, context, limits))
    if not broken:
        return ""
    return "architecture" if same_anew(report) else "weights"


def _plain_cross_entropy(report: Report) -> int | None:
    """Return the number of classes, where the loss is the cross-entropy of the outputs and nothing else."""
    facts, data = report.evaluation, report.train_dataset or report.dataset
    name = (report.subject.loss or "").lower().replace("_", "")
    broken = facts is not None and facts.loss is None and facts.outputs is None  # the outputs are not finite
    if broken and data is not None and name in ("crossentropyloss", "crossentropy", "nllloss"):
        return data.target_classes if (data.target_classes or 0) > 1 else None
    if facts is not None and facts.tokens is not None and facts.loss is not None:
        same = math.isclose(facts.tokens.nll, facts.loss, rel_tol=0.01, abs_tol=1e-4)
        return facts.tokens.vocabulary if same and facts.tokens.vocabulary > 1 else None
    if facts is None or facts.task != "multiclass" or facts.classification is None or facts.outputs is None:
        return None
    own, loss = facts.outputs.cross_entropy, facts.loss
    if own is None or loss is None or not math.isclose(own, loss, rel_tol=0.01, abs_tol=1e-4):
        return None
    return len(facts.classification.classes) if len(facts.classification.classes) > 1 else None


def h_spikes(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Sudden rises of the training loss by step, and whether it came down again.

    A spike lies more than six robust sigma above the running median of the log-loss and is at least double of it. It
    informs; a warning when the loss never came back within a fifth (and the noise) of where it had been, with a tenth
    of the run left, and the model is not known to work. Wrong for curricula, and for a restart at the very end.
    """
    history = report.training
    points = finite(history.get("train_loss", "step")) if history is not None and not is_adversarial(history) else []
    values = [y for _, y in points]
    if history is None or len(values) < 50 or min(values) <= 0:
        return
    logs = [math.log(v) for v in values]
    level = running_median(logs, max(9, (len(logs) // 20) | 1))
    rest = [v - m for v, m in zip(logs, level, strict=True)]
    sigma = 1.4826 * median([abs(r) for r in rest])
    line = max(limits.spike_sigma * sigma, math.log(2))
    hit = [i for i, r in enumerate(rest) if r > line]
    if not hit:
        return
    worst = max(hit, key=rest.__getitem__)
    lost = [i for i in hit if len(values) // 50 < i < 0.9 * len(values) and _lost(logs, level, i)]
    told = any(True for _ in h_diverged(report, context, limits))
    yield noted(
        "h-spikes",
        Severity.WARNING if lost and not context.outcome_ok and not told else Severity.INFO,
        "train_loss",
        {"spikes": len(hit), "step": points[worst][0], "factor": math.exp(rest[worst]), "lost": len(lost)},
        {"sigma": limits.spike_sigma},
    )


def _lost(logs: list[float], level: list[float], place: int) -> bool:
    """Tell whether the smoothed log-loss never again came within a fifth of where the loss stood before ``place``.

    Nor within three standard errors of those two medians, by the noise right before: single batches near a loss of zero
    differ by any factor.
    """
    width = max(6, len(level) // 20)
    before, after = logs[max(0, place - width // 2) : place], level[place + width :]
    if not before or not after:
        return False
    start = max(0, place - 2 * width)
    sigma = 1.4826 * median(abs(v - m) for v, m in zip(logs[start:place], level[start:place], strict=True))
    error = 1.25 * sigma * math.sqrt(1 / len(before) + 1 / width)
    return min(after) > median(before) + max(math.log(1.2), 3 * error)


def h_metric_loss_disagree(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Loss and metric of one split do not move together over the run.

    Rank correlation (Spearman) of −loss with the metric below 0.3, over eight epochs at least in which the metric
    moved: it informs. A warning when on the training data a falling loss goes with a falling metric (below −0.5, and
    the metric ends below its start by more than its noise): the loss rewards the wrong thing. It informs where the loss
    came down to that of a constant guess, from above, for then nothing was learned at all.
    """
    history = report.training
    if history is None or is_adversarial(history):
        return
    for split in ("train", "val"):
        name = next((f"{split}_{m}" for m in _ACCURACIES if history.get(f"{split}_{m}")), None)
        loss, metric = both(history, f"{split}_loss", name, limits) if name is not None else (None, None)
        if split == "val" and any(True for _ in h_overfit(report, context, limits)):
            continue  # told there
        if loss is None or metric is None or len(loss.y) != len(metric.y) or len(loss.y) < 8:
            continue
        moved = max(metric.smooth) - min(metric.smooth)
        agreement = spearman([-v for v in loss.y], metric.y)
        if agreement is None or agreement >= limits.metric_agreement or moved <= 4 * metric.noise:
            continue
        fell = loss.y[0] - loss.end > max(3 * loss.noise, 0.02 * abs(loss.y[0]))
        worse = metric.y[0] - metric.end > max(4 * metric.noise, 0.02)
        taught = fell and not _is_constant(report, loss.end)
        inverted = split == "train" and agreement < -0.5 and taught and worse and not context.outcome_ok
        yield noted(
            "h-metric-loss-disagree",
            Severity.WARNING if inverted else Severity.INFO,
            name or split,
            {"agreement": agreement, "first": metric.y[0], "end": metric.end},
            {"agreement": limits.metric_agreement},
        )


def _is_constant(report: Report, loss: float) -> bool:
    """Tell whether a loss is that of the best constant guess: within 5 % of the entropy of the labels."""
    table = report.evaluation.classification if report.evaluation is not None else None
    entropy = entropy_of([sum(row) for row in table.confusion]) if table is not None else 0.0
    return abs(loss - entropy) < 0.05 * entropy


def h_val_noise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The validation data are too few to tell the last epochs apart.

    The range of the validation accuracy over the last third is above nothing but below two standard errors,
    2·sqrt(p(1−p)/n): which of these epochs is called best is chance.
    """
    curve = scalar(report.training, "val_accuracy", limits)
    table = report.evaluation.classification if report.evaluation is not None else None
    score = accuracy(table.confusion) if table is not None else None
    if curve is None or score is None or not 0 < curve.end < 1:
        return
    n = sum(map(sum, table.confusion)) if table is not None else 0
    reach, error = max(curve.tail) - min(curve.tail), math.sqrt(curve.end * (1 - curve.end) / n)
    if 0 < reach < 2 * error:
        yield noted(
            "h-val-noise",
            Severity.INFO,
            "val_accuracy",
            {"range": reach, "error": error, "samples": n},
            {"range": 2 * error},
        )


def h_best_not_last(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The validation loss was clearly lower at an earlier epoch than at the end.

    The end lies above the best value of the smoothed curve by more than 5 % of it and the noise. Keep that checkpoint.
    """
    _, val = losses(report.training, limits)
    if val is None or len(val.y) - 1 - val.best < max(1, len(val.y) // 20):
        return
    if any(True for _ in h_overfit(report, context, limits)):  # says it
        return
    rise = val.end - val.smooth[val.best]
    line = max(limits.overfit_rise * abs(val.smooth[val.best]), 2 * val.noise)
    if rise > line:
        yield noted(
            "h-best-not-last",
            Severity.INFO,
            "val_loss",
            {"best": val.smooth[val.best], "best_epoch": val.x[val.best], "end": val.end},
            {"rise": line},
        )


def h_resume_gap(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss jumped where the run was resumed.

    Median of the twenty values after the gap above that of the twenty before by more than 10 % and six sigma: the
    state of the optimizer, the schedule or the order of the data was probably not restored. It informs.
    """
    history = report.training
    for gap in [e for e in history.events if e.kind == "gap"] if history is not None else []:
        place = gap.step if gap.step is not None else gap.epoch
        series = history.get("train_loss", "step" if gap.step is not None else "epoch") if history is not None else None
        if place is None or series is None:
            continue
        before = [y for x, y in finite(series) if x <= place][-20:]
        after = [y for x, y in finite(series) if x > place][:20]
        if len(before) < 5 or len(after) < 5:
            continue
        jump = median(after) - median(before)
        line = max(0.1 * abs(median(before)), 6 * noise(before) / math.sqrt(min(len(before), len(after))))
        if jump > line:
            yield noted(
                "h-resume-gap",
                Severity.INFO,
                "train_loss",
                {"at": place, "before": median(before), "after": median(after)},
                {"rise": line},
                axis=series.axis,
            )


RULES = (
    h_underfit,
    h_plateau,
    h_still_improving,
    h_val_below_train,
    h_init_loss,
    h_spikes,
    h_metric_loss_disagree,
    h_val_noise,
    h_best_not_last,
    h_resume_gap,
)
