"""Rules on the course of a run. A loss is lower-is-better; five epochs are the least that says anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from msgspec import Struct

from ...document.facts import Finding, Report, Severity
from ...document.history import Series
from ..context import Context
from ..robust import noise, running_median, theil_sen
from ..thresholds import Thresholds

SECTION = "training"


class Curve(Struct, frozen=True):
    """A loss by epoch, and what the rules ask of it."""

    y: list[float]
    smooth: list[float]
    end: float
    """Median of the last tenth, three points at least."""
    drop: float
    """From the start to the lowest point of the smoothed curve."""
    noise: float


def curve_of(series: Series | None, limits: Thresholds) -> Curve | None:
    """Prepare a series; None when it is too short or not finite."""
    if series is None or len(series.y) < limits.history_epochs:
        return None
    y = [v for v in series.y if v is not None]
    if len(y) < len(series.y):
        return None
    n = len(y)
    smooth = running_median(y, max(3, (n // 15) | 1))
    return Curve(y, smooth, median(y[-max(3, n // 10) :]), max(median(y[:3]), y[0]) - min(smooth), noise(y))


def _loss(report: Report, split: str, limits: Thresholds) -> Curve | None:
    history = report.training
    return curve_of(history.get(f"{split}_loss", "epoch"), limits) if history is not None else None


def h_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss stopped being a finite number during the run.

    Every logged value is looked at; the first one that is NaN or infinite is named, by step where steps were logged.
    """
    if report.training is None:
        return
    for name in ("train_loss", "val_loss"):
        hit = [s for s in report.training.series if s.name == name and s.nonfinite]
        # the finer axis tells more exactly where it began
        for series in sorted(hit, key=lambda s: s.axis != "step")[:1]:
            yield Finding(
                rule="h-nonfinite",
                severity=Severity.ERROR,
                subject=name,
                section=SECTION,
                evidence={"values": series.nonfinite, "first": series.first_nonfinite or 0.0, "of": series.n},
                threshold={"nonfinite": 0},
                detail={"axis": series.axis},
            )


def h_diverged(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss ended far above its best.

    End − minimum > max(half of the drop, 4 sigma, a tenth of the minimum), and end > 1.25 times the minimum; or the
    loss never fell below its start and ended at twice of it. Wrong for adversarial and reinforcement losses,
    curricula and restarts.
    """
    curve = _loss(report, "train", limits)
    if curve is None:
        return
    low = min(curve.smooth)
    rise = curve.end - low
    line = max(limits.diverged_drop * max(curve.drop, 0.0), 4 * curve.noise, 0.1 * abs(low))
    if rise > line and curve.end > limits.diverged_ratio * low:
        yield Finding(
            rule="h-diverged",
            severity=Severity.ERROR,
            subject="train_loss",
            section=SECTION,
            evidence={"end": curve.end, "best": low, "rise": rise},
            threshold={"rise": line},
        )


def h_never_learned(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss hardly moved over the whole run.

    Start − end < max(3 sigma, 2 % of the start), and the end is above 0.95 of what the best constant prediction reaches
    (the entropy of the labels) where that is known; without it this is a warning.
    """
    curve = _loss(report, "train", limits)
    if curve is None or any(True for _ in h_diverged(report, context, limits)):
        return
    fall = curve.y[0] - curve.end
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


def h_overfit(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The validation loss rose again, and kept rising, while the training loss fell.

    The best epoch lies at least max(3, a tenth) before the end; the rise since is above 5 % of the best value, 5 % of
    the whole drop and the noise; the slope since is positive; the training loss fell in that time. If the validation
    metric still holds, the model is over-confident rather than over-fitted, which only informs. (Compare Prechelt
    1998.)
    """
    train, val = _loss(report, "train", limits), _loss(report, "val", limits)
    if train is None or val is None or any(True for _ in h_diverged(report, context, limits)):
        return
    n = len(val.y)
    best = val.smooth.index(min(val.smooth))
    rise = val.end - val.smooth[best]
    line = max(
        limits.overfit_rise * abs(val.smooth[best]),
        limits.overfit_rise * max(val.drop, 0.0),
        3 * val.noise / math.sqrt(max(3, n // 10)),
    )
    rising = n - 1 - best >= max(3, n // 10) and rise > line and theil_sen(val.smooth[best:]) > 0
    if not rising or len(train.smooth) != n or not train.end < train.smooth[best]:
        return
    holds = _metric_holds(report, best)
    yield Finding(
        rule="h-overconfident" if holds else "h-overfit",
        severity=Severity.INFO if holds else Severity.WARNING,
        subject="val_loss",
        section=SECTION,
        evidence={"best": val.smooth[best], "best_epoch": best + 1, "end": val.end, "train_end": train.end},
        threshold={"rise": line},
    )


def _metric_holds(report: Report, best: int) -> bool:
    """Tell whether the validation accuracy at the end is no worse than where the validation loss was best."""
    series = report.training.get("val_accuracy", "epoch") if report.training is not None else None
    values = [v for v in series.y if v is not None] if series is not None else []
    if series is None or len(values) <= best or len(values) < len(series.y):
        return False
    around = median(values[max(0, best - 1) : best + 2])
    return median(values[-3:]) >= around - noise(values)


def h_oscillating(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The training loss by epoch jumps up and down to the end of the run.

    Median of |Δ ln L| over the last two thirds above 0.2, which must also be above 5 % of the drop; twelve epochs at
    least. Wrong for a loss near zero, where ratios are noise.
    """
    curve = _loss(report, "train", limits)
    if curve is None or len(curve.y) < 12 or min(curve.y) <= 0:
        return
    tail = curve.y[len(curve.y) // 3 :]
    jump = median(abs(math.log(b / a)) for a, b in pairwise(tail))
    if jump > limits.oscillation and jump * median(tail) > 0.05 * max(curve.drop, 1e-9):
        yield Finding(
            rule="h-oscillating",
            severity=Severity.WARNING,
            subject="train_loss",
            section=SECTION,
            evidence={"jump": jump},
            threshold={"jump": limits.oscillation},
        )


def update_ratio(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Size of a real optimizer step against the weights: ‖Δw‖/‖w‖, median over the weight matrices.

    Over the run, healthy medians lie at 7e-4 to 2.1e-2; above 0.1 is a warning; below 2e-5 only together with a loss
    that stands still; exactly 0 says that no step reaches the weights at all. One of the first three steps above 1 is
    a warning too: it is larger than the weights it moves, so that nothing of the initialisation is left (later the
    weights have grown, and the ratio looks harmless). Wrong for weights that start near zero (LoRA).
    """
    series = report.training.get("update_ratio") if report.training is not None else None
    points = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None] if series is not None else []
    if len(points) < 3:
        return
    typical, first = median(y for _, y in points), max((y for x, y in points if x <= 3), default=0.0)
    high = typical > limits.update_ratio_high or first > limits.update_ratio_first
    # a tiny step is a fault only together with a loss that stands still
    low = typical < limits.update_ratio_low and any(True for _ in h_never_learned(report, context, limits))
    if not high and limits.update_ratio_info_low <= typical <= limits.update_ratio_info_high:
        return
    yield Finding(
        rule="update-ratio",
        severity=Severity.WARNING if high or low else Severity.INFO,
        subject="model",
        section=SECTION,
        evidence={"ratio": typical, "first": first, "steps": len(points)},
        threshold={
            "low": limits.update_ratio_low,
            "high": limits.update_ratio_high,
            "first": limits.update_ratio_first,
        },
        detail={"direction": _direction(typical, high=high or typical > limits.update_ratio_info_high)},
    )


def _direction(typical: float, *, high: bool) -> str:
    return "high" if high else "none" if typical == 0 else "low"


RULES = (h_nonfinite, h_diverged, h_never_learned, h_overfit, h_oscillating, update_ratio)
