"""Rules on the loss of a run: did it blow up, learn, overfit. Five epochs are the least that says anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, median

from ...document.facts import Finding, Report, Severity
from ...document.history import History
from ...document.scores import accuracy
from ..context import Context, draws
from ..curves import Curve, both, finite, is_adversarial, learning_rates, losses, scalar
from ..robust import noise, spearman
from ..skill import came_to_rest_well
from ..thresholds import Thresholds

SECTION = "training"
_AT_ONCE = 6  # steps


def noted(
    rule: str, severity: Severity, subject: str, evidence: dict[str, float], threshold: dict[str, float], **detail: str
) -> Finding:
    """Make a finding of this section."""
    return Finding(
        rule=rule,
        severity=severity,
        subject=subject,
        section=SECTION,
        evidence=evidence,
        threshold=threshold,
        detail=detail,
    )


def h_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss stopped being a finite number during the run.

    Every logged value is looked at; the first one that is NaN or infinite is named, by step where steps were logged.
    An error; a warning where it was finite again at the end and hardly ever otherwise (a bad batch).
    """
    if report.training is None:
        return
    for name in ("train_loss", "val_loss"):
        hit = [s for s in report.training.series if s.name == name and s.nonfinite]
        # the finer axis tells more exactly where it began
        for series in sorted(hit, key=lambda s: s.axis != "step")[:1]:
            passing = bool(series.y) and series.y[-1] is not None and series.nonfinite <= 0.01 * series.n
            yield Finding(
                rule="h-nonfinite",
                severity=Severity.WARNING if passing else Severity.ERROR,
                subject=name,
                section=SECTION,
                evidence={"values": series.nonfinite, "first": series.first_nonfinite or 0.0, "of": series.n},
                threshold={"nonfinite": 0},
                detail={"axis": series.axis},
            )


def h_diverged(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss ended far above its best.

    End − minimum > max(half of the drop, 4 sigma, a tenth of the minimum), and end > 1.25 times the minimum; or the end
    is ten times the first steps; or two of the last three values before it stopped being finite were ten times the
    first, or it broke within six steps, the last of which was a hundred times the first. A loss whose minimum lies
    below zero must have ended as far above zero: one that fades to zero from below is that of a policy gradient, whose
    advantages vanish as the policy gets good. Left out where several optimizers step apart (adversarial losses), where
    the learning rate went up again in the last fifth (a restart), and where the accuracy (or another score) of the same
    data ended as high as it ever was, or the validation loss fell by a fifth and ended at its lowest: then the loss
    changed, not the model (curricula, a weight that is annealed, an opponent that got better).
    """
    curve, val = losses(report.training, limits)
    if curve is None:
        yield from _blown_up(report.training, limits)
        return
    low = min(curve.smooth)
    rise = curve.end - low
    # what jumps about after it has diverged is no measure of the noise before
    sigma = noise(curve.y[: curve.best + 1]) if curve.best >= 4 else curve.noise
    line = max(limits.diverged_drop * max(curve.drop, 0.0), 4 * sigma, 0.1 * abs(low))
    far = curve.end > (limits.diverged_ratio * low if low > 0 else -low)
    # what blew up within the first epoch shows no low in the means by epoch
    blown = min(curve.y) > 0 and 0 < limits.blown_up_ratio * curve.start < curve.end
    if blown:
        low, rise, line = curve.start, curve.end - curve.start, limits.blown_up_ratio * curve.start
    if not blown and val is not None and _is_at_best(val):
        return
    if (blown or (rise > line and far)) and not _restarted(report.training) and not _score_holds(report, limits):
        yield _diverged(curve.end, low, line)


def _is_at_best(val: Curve) -> bool:
    """Tell whether a validation loss fell by a fifth and ended within a tenth of its fall of the lowest value.

    Of one that goes below zero, as minus a reward does, no share can be told: it fell where it did beyond its noise.
    """
    fell = val.drop > max(4 * val.noise, 0.2 * abs(val.y[0]) if min(val.y) > 0 else 0.0)
    return fell and val.end - min(val.smooth) < 0.1 * val.drop


def _score_holds(report: Report, limits: Thresholds) -> bool:
    """Tell whether a score of the training data rose over the run and ended at its best, within its noise."""
    for name in ("train_accuracy", "train_f1", "train_auc", "train_r2", "train_reward", "train_return"):
        curve = scalar(report.training, name, limits)
        if curve is not None:
            best = max(curve.smooth)
            return best - curve.y[0] > 4 * curve.noise and curve.end >= best - max(2 * curve.noise, 0.01 * abs(best))
    return False


def _diverged(end: float, low: float, line: float) -> Finding:
    return Finding(
        rule="h-diverged",
        severity=Severity.ERROR,
        subject="train_loss",
        section=SECTION,
        evidence={"end": end, "best": low, "rise": end - low},
        threshold={"rise": line},
    )


def _blown_up(history: History | None, limits: Thresholds) -> Iterator[Finding]:
    """Look for growth in the last finite values before the loss was none any more."""
    if history is None or is_adversarial(history):
        return
    series = history.get("train_loss", "step") or history.get("train_loss")
    if series is None or None not in series.y:
        return
    before = [v for v in series.y[: series.y.index(None)] if v is not None]
    line = limits.blown_up_ratio * abs(before[0]) if before else math.inf
    # one wild value may be the fault of a batch; growth shows in two, or where the first steps already broke it
    grew = len(before) >= 3 and sum(v > line for v in before[-3:]) >= 2
    at_once = 2 <= len(before) <= _AT_ONCE and before[-1] > limits.blown_up_ratio * line
    if before and before[0] and (grew or at_once):
        yield _diverged(before[-1], min(before), line)


def _restarted(history: History | None) -> bool:
    """Tell whether the rate rose again shortly before the end: the loss has had no time to come down again."""
    for series in learning_rates(history) if history is not None else []:
        rates = [y for _, y in finite(series)]
        low = math.inf
        for place, rate in enumerate(rates):
            if place < len(rates) // 3:  # a warm-up rises too
                continue
            low = min(low, rate)
            if place >= 0.8 * len(rates) - 1 and rate > 2 * low:
                return True
    return False


def h_never_learned(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss hardly moved over the whole run.

    Start − end < max(3 sigma, 2 % of the start), and the end is above 0.95 of what the best constant prediction reaches
    (the entropy of the labels) where that is known; without it this is a warning. The start is that of the first steps
    where steps were logged: the mean of a first epoch may already be the mean of a trained model. Left out for a loss
    that wanders about zero, as that of a policy gradient does, or draws answers from the outputs, and where a score of
    the training data rose, or the validation loss fell by a fifth and ended at its lowest.
    """
    curve, val = losses(report.training, limits)
    if curve is None or any(True for _ in h_diverged(report, context, limits)):
        return
    if (
        draws(report)
        or _wanders_about_zero(curve)
        or _score_holds(report, limits)
        or (val is not None and _is_at_best(val))
    ):
        return
    fall = max(curve.start, curve.y[0]) - curve.end
    small = max(3 * curve.noise, limits.never_learned_drop * abs(curve.y[0]))
    if fall >= small or context.outcome_ok:
        return
    if context.chance is not None and curve.end <= limits.never_learned_chance * context.chance:
        return
    evidence = {"start": curve.y[0], "end": curve.end}
    if context.chance is not None:
        evidence["chance"] = context.chance
    yield Finding(
        rule="h-never-learned",
        severity=Severity.ERROR if context.chance is not None else Severity.WARNING,
        subject="train_loss",
        section=SECTION,
        evidence=evidence,
        threshold={"fall": small},
    )


def _wanders_about_zero(curve: Curve) -> bool:
    """Tell whether a loss lies on both sides of zero, and began and ended there: its level says nothing."""
    near = max(3 * curve.noise, 0.1 * (max(curve.y) - min(curve.y)))
    return min(curve.y) < 0 < max(curve.y) and abs(curve.end) < near and min(curve.smooth) < curve.y[0] + near


def h_overfit(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The validation loss rose again, and kept rising, while the training loss fell.

    The best epoch lies at least max(3, a tenth) before the end; the rise since is above 10 % of the best value, 5 % of
    the whole drop and the noise; the rank correlation with time since is positive beyond chance (2.3 sigma); the
    training loss fell in that time, and ended below where the run began. If the validation metric still holds, the
    model is over-confident rather than over-fitted, which only informs, unless the loss rose by three tenths and the
    training metric stands 0.1 (and three standard errors) above that of the validation data. (Compare Prechelt 1998.)
    """
    train, val = losses(report.training, limits)
    if train is None or val is None or any(True for _ in h_diverged(report, context, limits)):
        return
    n, best = len(val.y), val.best
    rise = val.end - val.smooth[best]
    line = max(
        limits.overfit_rise * abs(val.smooth[best]),
        limits.overfit_rise_of_drop * max(val.drop, 0.0),
        3 * val.noise / math.sqrt(max(3, n // 10)),
    )
    rising = n - 1 - best >= max(3, n // 10) and rise > line and _climbs(val.y[best + 1 :])
    # a run that ended above its own start has not fitted anything too well
    if not rising or len(train.smooth) != n or not train.end < min(train.smooth[best], max(train.start, train.y[0])):
        return
    holds = _metric_holds(report, best) and not (
        rise > limits.overfit_rise_far * abs(val.smooth[best]) and _gap(report, limits) is not None
    )
    yield Finding(
        rule="h-overconfident" if holds else "h-overfit",
        severity=Severity.INFO if holds else Severity.WARNING,
        subject="val_loss",
        section=SECTION,
        evidence={"best": val.smooth[best], "best_epoch": val.x[best], "end": val.end, "train_end": train.end},
        threshold={"rise": line},
    )


def _climbs(values: list[float]) -> bool:
    """Tell whether values rise with time beyond chance: Spearman's ρ·sqrt(n−1) above 2.3."""
    agreement = spearman(range(len(values)), values)
    return agreement is not None and agreement * math.sqrt(len(values) - 1) > 2.3


def _metric_holds(report: Report, best: int) -> bool:
    """Tell whether the validation accuracy at the end is no worse than where the validation loss was best."""
    series = report.training.get("val_accuracy", "epoch") if report.training is not None else None
    values = [v for v in series.y if v is not None] if series is not None else []
    if series is None or len(values) <= best or len(values) < len(series.y):
        return False
    around = median(values[max(0, best - 1) : best + 2])
    return median(values[-3:]) >= around - noise(values)


def h_generalisation_gap(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training accuracy stands clearly above the validation accuracy at the end of the run.

    Gap > max(0.1, 3·sqrt(p(1−p)/n)) with the validation accuracy p on n samples. It informs: a model may fit its
    training data whole and still generalise as well as any other. Losses are never compared by their ratio, which
    grows without end as the training loss nears zero.
    """
    gap = _gap(report, limits)
    if gap is None:
        return
    train, val, line = gap
    yield Finding(
        rule="h-generalisation-gap",
        severity=Severity.INFO,
        subject="accuracy",
        section=SECTION,
        evidence={"train": train, "val": val, "gap": train - val},
        threshold={"gap": line},
    )


def _gap(report: Report, limits: Thresholds) -> tuple[float, float, float] | None:
    """Return training accuracy, validation accuracy and the threshold, where their difference is beyond it."""
    pair = _measured_accuracies(report) or _logged_accuracies(report, limits)
    n = report.evaluation.n_samples if report.evaluation is not None else 0
    if pair is None or not n or max(pair) > 1:  # in per cent, or no accuracy at all
        return None
    train, val = pair
    line = max(limits.generalisation_gap, 3 * math.sqrt(max(val * (1 - val), 0.0) / n))
    return (train, val, line) if train - val > line else None


def _measured_accuracies(report: Report) -> tuple[float, float] | None:
    """Return the accuracies of the finished model on training and validation data, both in eval mode."""
    scores = [
        accuracy(facts.classification.confusion) if facts is not None and facts.classification is not None else None
        for facts in (report.train_evaluation, report.evaluation)
    ]
    train, val = scores
    return (train.value, val.value) if train is not None and val is not None else None


def _logged_accuracies(report: Report, limits: Thresholds) -> tuple[float, float] | None:
    if report.training is None:
        return None
    train, val = both(report.training, "train_accuracy", "val_accuracy", limits)
    return (train.end, val.end) if train is not None and val is not None else None


def h_oscillating(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss by epoch jumps up and down to the end of the run.

    Median of |Δ ln L| beyond its trend over the last two thirds above 0.2, which must also be above 5 % of the drop,
    with a turn at more than half of the epochs (noise turns at two thirds; the waves of a schedule with restarts seldom
    do); twelve epochs at least. Where there is a validation loss it must jump, too, by half as much: weights that are
    thrown about show in both, while dropout and small batches trouble the training loss alone. It informs where a
    schedule took the rate down and the run ended at its best with a model that works. Wrong for
    a loss near zero, where ratios are noise.
    """
    curve, val = losses(report.training, limits)
    if curve is None or len(curve.y) < 12 or min(curve.y) <= 0 or _is_of_single_steps(report.training, curve):
        return
    tail = curve.y[len(curve.y) // 3 :]
    steps = [math.log(b / a) for a, b in pairwise(tail)]
    jump = _jump(tail)
    turns = sum(a * b < 0 for a, b in pairwise(steps))
    matters = jump * median(tail) > 0.05 * max(curve.drop, 1e-9)
    calm = val is not None and min(val.y) > 0 and _jump(val.y[len(val.y) // 3 :]) < limits.oscillation / 2
    if turns > 0.5 * (len(steps) - 1) and jump > limits.oscillation and matters and not calm:
        yield Finding(
            rule="h-oscillating",
            severity=Severity.INFO if came_to_rest_well(report, context, limits) else Severity.WARNING,
            subject="train_loss",
            section=SECTION,
            evidence={"jump": jump, "turns": turns / max(len(steps) - 1, 1)},
            threshold={"jump": limits.oscillation, "turns": 0.5},
        )


def _is_of_single_steps(history: History | None, curve: Curve) -> bool:
    """Tell whether a run without epochs is so short that its stretches are the losses of a few batches each."""
    by_step = history.get("train_loss", "step") if history is not None else None
    by_epoch = history.get("train_loss", "epoch") if history is not None else None
    return by_epoch is None and by_step is not None and by_step.n < 4 * len(curve.y)


def _jump(values: list[float]) -> float:
    """Return the typical change of the logarithm from one value to the next, beyond the trend."""
    steps = [math.log(b / a) for a, b in pairwise(values)]
    trend = fmean(steps)
    return median(abs(step - trend) for step in steps)


def is_lost(curve: Curve, context: Context) -> bool:
    """Tell whether the run ended with a poor fit: far from done by its own loss, and not known to work."""
    if context.outcome_known:
        return not context.outcome_ok
    return curve.end > (0.6 * context.chance if context.chance is not None else 0.5 * abs(curve.start))


def is_poor(curve: Curve, context: Context) -> bool:
    """Tell whether the fit is poor, also where it beats a constant guess: above 0.6 of what that or the start gives."""
    return is_lost(curve, context) or curve.end > 0.6 * (context.chance or abs(curve.start))


RULES = (h_nonfinite, h_diverged, h_never_learned, h_overfit, h_generalisation_gap, h_oscillating)
