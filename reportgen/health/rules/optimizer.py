"""Rules on steps, rates and the optimizer's own state over a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ...document.facts import Finding, Report, Severity
from ...document.history import History, ParameterRun, Series
from ..context import Context
from ..curves import Curve, at_full_rate, finite, learning_rates, losses, rate_collapse, update_ratios
from ..robust import running_median, theil_sen
from ..skill import came_to_rest, came_to_rest_well, ended_at_its_best
from ..thresholds import Thresholds
from .course import h_spikes, h_still_improving, h_underfit
from .fit import o_below_neighbours
from .relearned import is_ahead
from .training import SECTION, h_never_learned, is_lost, is_poor

_FIRST = 10  # steps
_ADAPTIVE = ("adam", "lion", "adagrad", "adadelta", "rmsprop", "adafactor", "lamb", "muon", "sophia", "rprop")


def update_ratio(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Size of a real optimizer step against the weights: ‖Δw‖/‖w‖, median over the weight matrices.

    Over the run, while the learning rate stands at half of its peak at least, healthy medians lie at 7e-4 to 2.1e-2;
    above 0.1 is a warning; below 2e-5 only together with a loss that stands still, below 1e-4 also with one that was
    still falling steeply at the end, or where a fresh copy comes further (``fresh-copy-ahead``); exactly 0 says that no
    step reaches the weights at all. One of the first ten steps above 1 is a warning too: it is larger than the weights
    it moves, so that nothing of the initialisation is left (later the weights have grown, and the ratio looks
    harmless); a model of one matrix has one minimum wherever it begins. So is one of the first ten above 0.3 where
    the run carried its weights off: the matrices moved by more than five times the size that they had at the start
    (median; healthy runs come to 0.4 to 5, with first steps below 0.1), the training loss ended above 0.6 of what a
    constant guess (or the start) gives, and the model is no better than such a guess. Where it is one of the first
    three, it is enough that the model is behind its neighbours (``o-below-neighbours``), or that it is no better than
    a guess while a fresh copy learns (``fresh-copy-ahead``). So is one of the first three steps that moved one hidden
    or last matrix, which began at a usual scale, by more than ten times its size: the rate of its group, if not that of
    all, is far off. Large steps inform where a schedule took the rate down and
    the run ended at its best, with a model that works or that is one matrix; so does a median alone where it ended
    so, and calmly, with nine tenths of the skill there is on both splits, whatever the rate did. Wrong for weights that
    start near zero (LoRA). Not judged for LBFGS, whose step is a search of many along one line.
    """
    history = report.training
    points = update_ratios(history) if history is not None else []
    if history is None or len(points) < 3 or "LBFGS" in _optimizer_names(history):
        return
    typical = median(y for _, y in at_full_rate(history, points))
    start = max((y for x, y in points if x <= 3), default=0.0)
    first = max((y for x, y in points if x <= _FIRST), default=0.0) if _has_hidden(report) else 0.0
    line = limits.update_ratio_first_off
    off = _carried_off(report, context, limits, at_once=start > line) if max(start, first) > line else 0.0
    leap = max((_leap(p, limits) for p in history.parameters), default=0.0) if _has_hidden(report) else 0.0
    begun_high = first > limits.update_ratio_first or off > 0 or leap > limits.update_ratio_leap
    high = typical > limits.update_ratio_high or begun_high
    # a convex loss is learned wherever large steps led at first
    convex = not _has_hidden(report) and any(came_to_rest(report, curve) for curve in losses(history, limits))
    at_rest = convex or came_to_rest_well(report, context, limits)
    at_rest = at_rest or (not begun_high and ended_at_its_best(report, context, limits))
    # a tiny step is a fault only together with a loss to show for it
    low = typical < limits.update_ratio_low and any(True for _ in h_never_learned(report, context, limits))
    low = low or (
        typical < limits.update_ratio_info_low
        and (_cut_short(report, context, limits) or is_ahead(report, context, limits))
    )
    if not high and limits.update_ratio_info_low <= typical <= limits.update_ratio_info_high:
        return
    yield Finding(
        rule="update-ratio",
        severity=Severity.WARNING if low or (high and not at_rest) else Severity.INFO,
        subject="model",
        section=SECTION,
        evidence={"ratio": typical, "first": first, "steps": len(points)}
        | ({"off": off} if off else {})
        | ({"leap": leap} if leap > limits.update_ratio_leap else {}),
        threshold={
            "low": limits.update_ratio_low,
            "high": limits.update_ratio_high,
            "first": limits.update_ratio_first,
        }
        | ({"leap": limits.update_ratio_leap} if leap > limits.update_ratio_leap else {}),
        detail={"direction": _direction(typical, high=high or typical > limits.update_ratio_info_high)},
    )


def _leap(parameter: ParameterRun, limits: Thresholds) -> float:
    """Return the largest of the first three steps of a matrix that began at a usual scale, of its size; else 0."""
    if not parameter.is_matrix or not parameter.trainable or parameter.optimizer is None:
        return 0.0
    start = (parameter.start_rms or 0.0) * math.prod(parameter.shape[1:]) ** 0.5
    if not limits.weight_scale_info_low <= start <= limits.weight_scale_info_high:
        return 0.0
    return max((y for x, y in finite(parameter.update_ratio) if x <= 3), default=0.0)


def _has_hidden(report: Report) -> bool:
    """Tell whether there may be more than one matrix: of one alone a convex loss forgets where it began."""
    matrices = [p for p in report.training.parameters if p.is_matrix and p.trainable] if report.training else []
    return len(matrices) != 1


def _carried_off(report: Report, context: Context, limits: Thresholds, *, at_once: bool) -> float:
    """Return how far the weights went, of their size at the start, where it is very far and led to nothing; else 0.

    ``at_once``: by one of the first three steps.
    """
    train, _ = losses(report.training, limits)
    moved = [p.moved for p in _owned(report) if p.moved is not None]
    if train is None or not moved:
        return 0.0
    if at_once and context.outcome_known and not context.outcome_ok and is_ahead(report, context, limits):
        return median(moved)
    if median(moved) <= limits.carried_off:
        return 0.0
    if train.end <= 0.6 * (context.chance or abs(max(train.start, train.y[0]))):
        return 0.0
    behind = any(f.severity is Severity.WARNING for f in o_below_neighbours(report, context, limits))
    useless = context.outcome_known and not context.outcome_ok
    return median(moved) if useless or (at_once and behind) else 0.0


def _direction(typical: float, *, high: bool) -> str:
    return "high" if high else "none" if typical == 0 else "low"


def _cut_short(report: Report, context: Context, limits: Thresholds) -> bool:
    return any(f.severity is Severity.WARNING for f in h_still_improving(report, context, limits))


def lr_extreme(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A learning rate outside of what is usual, where the size of the steps confirms it.

    The peak above 1 (above 1e-2 for Adam and its kin) with an update ratio above 5e-2, or below 1e-6 with one below
    1e-4. Rates alone say nothing: they depend on the loss, the model and the optimizer. It informs. A warning where
    Adam or its kin was given 0.3 or more and the model is no better than a constant guess: each step moves a weight by
    about the rate, which is as much as weights are.
    """
    history = report.training
    rates = [y for series in learning_rates(history) for _, y in finite(series)] if history is not None else []
    if history is None or not rates:
        return
    peak, points = max(rates), update_ratios(history)
    known = len(points) >= 3
    typical = median(y for _, y in at_full_rate(history, points)) if known else 0.0
    most = limits.lr_high_adaptive if is_adaptive(history) else limits.lr_high
    absurd = is_adaptive(history) and peak >= limits.lr_absurd and context.outcome_known and not context.outcome_ok
    low = known and 0 < peak < limits.lr_low and typical < limits.update_ratio_info_low
    if absurd or (peak > most and typical > limits.update_ratio_info_high) or low:
        yield Finding(
            rule="lr-extreme",
            severity=Severity.WARNING if absurd else Severity.INFO,
            subject="learning rate",
            section=SECTION,
            evidence={"rate": peak} | ({"ratio": typical} if known else {}),
            threshold={"low": limits.lr_low, "high": limits.lr_absurd if absurd else most},
            detail={"direction": "high" if peak > most else "low"},
        )


def _optimizer_names(history: History) -> list[str]:
    names = [o.name for o in history.loop.optimizers] if history.loop is not None else []
    return names or [history.optimizer or ""]


def is_adaptive(history: History) -> bool:
    return any(word in (name or "").lower() for name in _optimizer_names(history) for word in _ADAPTIVE)


def lr_schedule_collapse(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The schedule took the learning rate to next to nothing while there was still much to learn.

    From the point where the rate fell below a hundredth of its peak for good, at least half of the run was left; in it
    the loss was flat; while the rate stood at a third of its peak at least the loss was still falling, or a fresh copy
    comes further at a steady rate (``fresh-copy-ahead``); and the end is a
    poor fit: no better than a constant guess, or above 0.6 of what such a guess (or the start) gives. A rate near zero
    at the end of a cosine or one-cycle schedule is healthy, and so are drops after a plateau.
    """
    history = report.training
    train, _ = losses(history, limits)
    if history is None or train is None or not is_poor(train, context):
        return
    for series in learning_rates(history):
        found = rate_collapse(series, limits)
        if found is None:
            continue
        place, share = found
        full = max(x for x, y in finite(series) if y >= 0.3 * max(v for _, v in finite(series)))
        before, after = _split(history, train, series, full)[0], _split(history, train, series, place)[1]
        falling = _was_falling(before) or is_ahead(report, context, limits)
        if not _flat(after) or not falling:
            continue
        yield Finding(
            rule="lr-schedule-collapse",
            severity=Severity.WARNING,
            subject=series.name,
            section=SECTION,
            evidence={
                "peak": max(y for _, y in finite(series)),
                "end": finite(series)[-1][1],
                "at": place,
                "left": share,
                "loss": train.end,
            },
            threshold={"rate": limits.collapse_rate, "left": limits.collapse_left},
            detail={"axis": series.axis},
        )
        return


def _split(history: History, train: Curve, rate: Series, place: float) -> tuple[list[float], list[float]]:
    """Return the training loss before and after a moment of the learning rate's axis, as finely as it is known."""
    points = finite(history.get("train_loss", rate.axis))
    if len(points) < 5:
        span = finite(rate)
        cut = round((place - span[0][0]) / max(span[-1][0] - span[0][0], 1e-12) * len(train.y))
        return train.y[:cut], train.y[cut:]
    return [y for x, y in points if x <= place], [y for x, y in points if x > place]


def _flat(values: list[float]) -> bool:
    """Tell whether a loss stood still: its robust trend is under 5 % of its level."""
    if len(values) < 3:
        return False
    smooth = running_median(values, max(3, (len(values) // 10) | 1))
    return abs(theil_sen(smooth) * len(smooth)) < 0.05 * abs(median(values))


def _was_falling(values: list[float]) -> bool:
    """Tell whether a loss fell by more than 5 % over its second half, or was too short to have come to rest."""
    if len(values) < 6:
        return True
    half = running_median(values, max(3, (len(values) // 10) | 1))[len(values) // 2 :]
    return -theil_sen(half) * len(half) > 0.05 * abs(median(half))


def param_group_zero_lr(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A parameter group whose learning rate was exactly zero over the whole run.

    Its parameters are handed to the optimizer and never moved. It informs where the model works: a rate of zero is one
    way to freeze layers.
    """
    history = report.training
    for series in learning_rates(history) if history is not None else []:
        values = [y for _, y in finite(series)]
        if len(values) >= 3 and max(values) == 0 == min(values):
            yield Finding(
                rule="param-group-zero-lr",
                severity=Severity.INFO if context.outcome_ok else Severity.WARNING,
                subject=series.name,
                section=SECTION,
                evidence={"values": series.n},
                threshold={"rate": 0},
            )


def _owned(report: Report) -> list[ParameterRun]:
    """Return the weight matrices that an optimizer moves."""
    parameters = report.training.parameters if report.training is not None else []
    return [p for p in parameters if p.is_matrix and p.trainable and p.optimizer is not None and p.n_steps > 0]


def adam_eps_floor(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Adam's second moment has sunk below its epsilon, so that it no longer adapts: tiny plain steps are left.

    √v̂ < ε for more than half of the elements of a matrix (those that never had a gradient left out). A warning where
    it is most matrices and the loss stands still at a poor fit; otherwise it informs: at the end of a run that fits its
    data whole, gradients are that small by right; so it does of the state in a checkpoint. (Wortsman et al. 2023.)
    """
    known = [(p.eps_floor, p.name) for p in _owned(report) if p.eps_floor is not None] or _floors_of_file(report)
    low = [one for one in known if one[0] > limits.eps_floor]
    if not low:
        return
    train, _ = losses(report.training, limits)
    lost = train is not None and is_lost(train, context)
    share, name = max(low, key=lambda one: one[0])
    yield Finding(
        rule="adam-eps-floor",
        severity=Severity.WARNING if lost and len(low) > len(known) / 2 else Severity.INFO,
        subject=name,
        section=SECTION,
        evidence={"share": share, "matrices": len(low), "of": len(known)},
        threshold={"share": limits.eps_floor},
    )


def _floors_of_file(report: Report) -> list[tuple[float, str]]:
    """Return shares of second moments below eps, zeros left out, of the weight matrices in a checkpoint."""
    rows = report.weights.rows if report.weights is not None else []
    states = report.weights.optimizers if report.weights is not None else []
    matrices = {row.name for row in rows if row.role == "weight"}
    seen = [(r, r.count - (r.unseen or 0)) for s in states for r in s.rows if r.name in matrices and not r.nonfinite]
    return [(row.floored / n, row.name) for row, n in seen if row.floored is not None and n]


def adam_stale_v(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Adam's second moment lagged behind the gradients when the loss spiked.

    √mean(g²/max(v̂, ε²)) above 2.3 at a looked-at step after the first ten: such steps are too long, and the loss
    spikes some steps later. Only together with spikes of the loss, for rare gradients (embeddings) raise it in any
    healthy run. It informs. (Wortsman et al. 2023; lower β2, or clip the update.)
    """
    spikes = list(h_spikes(report, context, limits))
    high = {
        p.name: max(values)
        for p in _owned(report)
        if (values := [y for x, y in finite(p.stale_v) if x > 10]) and max(values) > limits.stale_v
    }
    if not spikes or not high:
        return
    worst = max(high, key=high.__getitem__)
    yield Finding(
        rule="adam-stale-v",
        severity=Severity.INFO,
        subject=worst,
        section=SECTION,
        evidence={"ratio": high[worst], "matrices": len(high)},
        threshold={"ratio": limits.stale_v},
    )


def optimizer_state_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The optimizer's own state (momentum, second moments) holds NaN or infinity, after a run or in a file."""
    runs = report.training.parameters if report.training is not None else []
    states = report.weights.optimizers if report.weights is not None else []
    found = [(p.name, p.state_nonfinite) for p in runs] + [(r.name, r.nonfinite) for s in states for r in s.rows]
    bad = [(name, n) for name, n in found if n]
    if bad:
        yield Finding(
            rule="optimizer-state-nonfinite",
            severity=Severity.ERROR,
            subject=bad[0][0],
            section=SECTION,
            evidence={"values": sum(n for _, n in bad), "tensors": len(bad)},
            threshold={"nonfinite": 0},
        )


def weight_decay_dominance(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight decay moves the weights more than the loss does.

    ‖lr·λ·w‖ / ‖Δw‖ above 1 for most weight matrices (median over looked-at steps). A warning only with a poor fit: once
    a model has converged, decay and gradient hold each other and the steps left are small by right.
    """
    known = [p for p in _owned(report) if p.decay_share is not None]
    high = [p for p in known if (p.decay_share or 0.0) > limits.decay_share]
    if not known or len(high) <= len(known) / 2:
        return
    train, _ = losses(report.training, limits)
    poor = (train is not None and is_lost(train, context)) or any(True for _ in h_underfit(report, context, limits))
    yield Finding(
        rule="weight-decay-dominance",
        severity=Severity.WARNING if poor else Severity.INFO,
        subject=max(high, key=lambda p: p.decay_share or 0.0).name,
        section=SECTION,
        evidence={"share": median(p.decay_share or 0.0 for p in known), "matrices": len(high), "of": len(known)},
        threshold={"share": limits.decay_share},
    )


RULES = (
    update_ratio,
    lr_extreme,
    lr_schedule_collapse,
    param_group_zero_lr,
    adam_eps_floor,
    adam_stale_v,
    optimizer_state_nonfinite,
    weight_decay_dominance,
)
