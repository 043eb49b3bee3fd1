"""Rules on the trial that goes on with the training in other ways: the change that helps names what held it back.

Each holds one way against going on as before. ``gain``: the loss on the data given before, minus after 120 steps. A way
counts where it gains 5 % of the loss, three times what going on as before gains, and half of what the whole run gained;
where several do, the one that gains most is a warning and the others inform. So a model that came as far as the data
let it is never told to change anything, whatever its settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from msgspec import structs

from ...document.facts import Finding, Report, Severity
from ...document.history import History, OptimizerRun
from ...document.trials import Trial
from ..context import Context, draws
from ..curves import Curve, finite, is_adversarial, learning_rates, losses, rate_collapse
from ..skill import skill_of
from ..thresholds import Thresholds
from .fit import behind_neighbours
from .flow import is_guessing
from .relearned import WAYS, carried, goes_with_rate, rests_on_frozen
from .training import h_overfit, is_poor
from .weights import UNIFORM

SECTION = "trials"
_IN_PROPORTION = 0.01  # of the loss
_ARRIVED = 0.1  # of the rate that an optimizer was made with
_STILL = 1e-4  # of the peak of a rate
_STEPS = 40  # of a run without curves


def _found(report: Report, context: Context, limits: Thresholds, way: str, rule: str) -> Iterator[Finding]:
    trial = report.tried("other-ways")
    course = _course(report, limits)
    if trial is None or course is None or context.state != "trained" or report.training is None:
        return
    n, (start, end, logged) = trial.numbers, course
    # where the loss of the run is made otherwise (penalties, sums), its fall cannot be held against a gain
    if not 0.5 < n["before"] / max(logged, 1e-12) < 2:
        return
    if any(f.severity is Severity.WARNING for f in h_overfit(report, context, limits)):
        return
    whole = max(start - end, 0.0)
    # what a part that stands still gained was the constant guess
    guessed = context.outcome_known and not context.outcome_ok
    wholes = {name: 0.0 if guessed and name in ("thawed", "owned") else whole for name in WAYS}
    gains = {name: gain for name in WAYS if (gain := _gain(trial, name, wholes[name], limits)) is not None}
    freed = _gain(trial, "unregularised", abs(n["before"]), limits)
    if freed is not None and behind_neighbours(report, context, limits) is not None:
        gains["unregularised"] = freed
    least = limits.way_gain
    if not gains and is_guessing(report, context) and goes_with_rate(report):
        gain, least = n["before"] - n["faster"], _IN_PROPORTION
        gains = {"faster": gain} if gain >= max(least * abs(n["before"]), limits.way_of_run * whole) else {}
    if way not in gains:
        return
    best = max(gains, key=gains.__getitem__)
    meant = way == "thawed" and rests_on_frozen(report) and not _serves_badly(report, context, n)
    yield Finding(
        rule=rule,
        severity=Severity.WARNING if best == way and not meant else Severity.INFO,
        subject="model",
        section=SECTION,
        evidence={
            "before": n["before"],
            "after": n[way],
            "same": n["same"],
            "whole": whole,
            "steps": n["steps"],
            "rate": n["rate"],
            "decay": n["decay"],
            "drop": n["drop"],
        },
        threshold={"gain": least, "of_run": limits.way_of_run, "times": limits.way_times},
        detail={"way": way},
    )


def _serves_badly(report: Report, context: Context, n: dict[str, float]) -> bool:
    skill = skill_of(report, context)
    return skill is not None and max(skill.train, skill.given) < 0.5 and 0 <= n["thawed"] < 0.1 * n["before"]


def _course(report: Report, limits: Thresholds) -> tuple[float, float, float] | None:
    """Return the training loss at the start and at the end of the run, and the loss that the trial should start from.

    A run of few epochs has no curves; its steps tell the two ends. None for a loss whose level says nothing.
    """
    if draws(report):
        return None
    train, val = losses(report.training, limits)
    if train is not None:
        return max(train.start, train.y[0]), train.end, val.end if val is not None else train.end
    history = report.training
    if history is None or is_adversarial(history):
        return None
    steps = [y for _, y in finite(history.get("train_loss", "step"))]
    if len(steps) < _STEPS:
        return None
    end = median(steps[-max(5, len(steps) // 10) :])
    return median(steps[:3]), end, end


def _gain(trial: Trial, way: str, whole: float, limits: Thresholds) -> float | None:
    n = trial.numbers
    if way not in n:
        return None
    gain, same = n["before"] - n[way], max(n["before"] - n["same"], 0.0)
    apart = way == "unregularised" and 0 <= n[way] < 0.1 * n["same"]
    more = 0.0 if apart else limits.way_times * same
    enough = gain >= max(limits.way_gain * abs(n["before"]), more, limits.way_of_run * whole)
    return gain if enough else None


def faster_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """With ten times the rate 120 steps on a copy gain more than half of what the whole run gained.

    The loss on the data given falls by 5 % at least, and by three times what going on at the same rate gains: the
    learning rate is too low. Of a model that is no better than a constant guess 1 % is enough, if the gain goes with
    the rate over a hundredfold range (``fresh-copy-ahead``), which only far from a minimum it does. Not said where the
    run overfitted or where its loss is made otherwise than the one given. Wrong where a low rate is meant (fine-tuning
    that must not move far).
    """
    yield from _found(report, context, limits, "faster", "faster-helps")


def slower_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """With a tenth of the rate 120 steps on a copy gain more than half of what the whole run gained.

    The loss on the data given falls by 5 % at least, and by three times what going on at the same rate gains: the
    learning rate is too high. A good run with a constant rate gains by a last decay too, but little against the whole.
    Said too of a poor fit that came as the rate fell: more than half of the fall of both losses lies behind the point
    where the rate was last at half of its peak, a third of the run or more lies before it, and 120 steps at the peak
    undo more than half of all that the run gained, while as many at a tenth of it undo nothing. And of a model whose
    matrices, half of them, the steps carried further than three times their length at the start, where 120 steps at the
    same rate take the loss up by a tenth, and as many at a tenth of it take a tenth off. Wrong where the run was to end
    with a schedule and was stopped before.
    """
    found = list(_found(report, context, limits, "slower", "slower-helps"))
    if not any(f.severity is Severity.WARNING for f in found):
        found = list(_gained_as_it_fell(report, context, limits)) or list(_thrown(report, context, limits)) or found
    yield from found


def _thrown(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Find weights that steps carried far, and keep from where they would fit."""
    trial, course = report.tried("other-ways"), _course(report, limits)
    if trial is None or course is None or "slower" not in trial.numbers or context.state != "trained":
        return
    n, (start, end, logged) = trial.numbers, course
    far = carried(report)
    if not far or not 0.5 < n["before"] / max(logged, 1e-12) < 2 or not n["before"] > 0:
        return
    line = limits.way_carried * n["before"]
    if n["same"] - n["before"] <= line or n["before"] - n["slower"] <= line:
        return
    if any(f.severity is Severity.WARNING for f in h_overfit(report, context, limits)):
        return
    yield Finding(
        rule="slower-helps",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={"after": n["slower"], "whole": max(start - end, 0.0), "moved": far}
        | {key: n[key] for key in ("before", "same", "steps", "rate", "decay", "drop")},
        threshold={"gain": limits.way_carried},
        detail={"way": WAYS[1]},
    )


def _gained_as_it_fell(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Find a run that learned what it did at the end of its schedule, where its peak undoes it."""
    trial, (train, val) = report.tried("other-ways"), losses(report.training, limits)
    if trial is None or train is None or "slower" not in trial.numbers or context.state != "trained":
        return
    n, (start, end, logged) = trial.numbers, (train.y[0], train.end, (val or train).end)
    whole, undone = start - end, n["same"] - n["before"]
    if whole <= 6 * train.noise or not is_poor(train, context) or not 0.5 < n["before"] / max(logged, 1e-12) < 2:
        return
    kept = n["slower"] - n["before"] <= 0.05 * whole
    if undone <= limits.way_of_run * whole or not kept or not _fell_late(report, train, val):
        return
    yield Finding(
        rule="slower-helps",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence={"after": n["slower"], "whole": whole}
        | {key: n[key] for key in ("before", "same", "steps", "rate", "decay", "drop")},
        threshold={"of_run": limits.way_of_run},
        detail={"way": WAYS[1]},
    )


def _fell_late(report: Report, train: Curve, val: Curve | None) -> bool:
    """Tell whether both losses fell by less than half until the rate was last at half of its peak, far into the run."""
    rates = learning_rates(report.training) if report.training is not None else []
    by_epoch = [points for series in rates if len(points := finite(series)) >= 5]
    if not by_epoch:
        return False
    points = max(by_epoch, key=lambda p: max(y for _, y in p))
    peak, first, last = max(y for _, y in points), points[0][0], points[-1][0]
    share = (max(x for x, y in points if y >= 0.5 * peak) - first) / max(last - first, 1e-12)
    if not 1 / 3 <= share <= 0.9:
        return False
    for curve in (train, val or train):
        # what was logged at that moment, and no later one
        place = int(share * (len(curve.y) - 1))
        if curve.y[0] - curve.smooth[place] >= 0.5 * (curve.y[0] - curve.end):
            return False
    return True


def thawing_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """With the frozen parameters trained too, 120 steps on a copy gain more than half of what the whole run gained.

    The loss on the data given falls by 5 % at least, and by three times what going on without them gains; of a model
    that is no better than a constant guess that alone is asked. A warning where more than half of what is frozen cannot
    be told from random draws; it informs where it was learned before, for who freezes a pretrained body means to, and
    pays with some of the fit. A body on which the trained rest has less than half of the skill there is, on both
    splits, while those few steps take nine tenths off the loss, does not serve the task, whatever it learned before: a
    warning too.
    """
    yield from _found(report, context, limits, "thawed", "thawing-helps")


def owning_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """With all trainable parameters in the optimizer, 120 steps on a copy gain more than half of what the run gained.

    The loss on the data given falls by 5 % at least, and by three times what going on without them gains; of a model
    that is no better than a constant guess that alone is asked. Wrong where they are left out for another reason than
    the fit.
    """
    yield from _found(report, context, limits, "owned", "owning-helps")


def freedom_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Without weight decay and dropout 120 steps on a copy gain more than half of what the whole run gained.

    The loss on the data given (not that on the training data) falls by 5 % at least, and by three times what going on
    with them gains: they hold the fit back more than they help. Of a fit that is behind its neighbours
    (``o-below-neighbours``) half of the loss is enough: what dropout does to the first losses of a run, it did not
    gain. Instead of three times the gain it is enough that a tenth is left of what going on with them leaves. Penalties
    inside the loss are not seen so.
    """
    yield from _found(report, context, limits, "unregularised", "freedom-helps")


def plain_helps(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Going on by the loss given, at the highest rate of the run, gains more than half of what the whole run gained.

    The run had come to rest (over its last third the training loss changed by less than 5 % of its drop), so the loop
    held it back by something that is not in model, loss and optimizer: a schedule that took the rate below a hundredth
    of its peak for half of the run, or a penalty in the loop that pulled half of the weight matrices below 0.3 of the
    default scale. A warning that names which; without either nothing is said. Of such a schedule a tenth of the loss on
    the data given is enough: what the full rate gains there in so few steps, it would have gained in the run, and where
    a run had come to its floor the full rate leads up again. A thirtieth is enough where ten times that rate gains
    three tenths: the floor is far; or where the rate fell below a ten-thousandth, as nothing moved any more. A run
    whose rate never came to a tenth of what its optimizer was made with, or its schedule was to bring it to (OneCycleLR
    stepped by the epoch), as by a warm-up that is longer than the run, need not have come to rest. Of a penalty, which
    a logged loss may hold, the run gained no more than a fresh copy's loss lies above that of the model.
    """
    trial = report.tried("other-ways")
    train, val = losses(report.training, limits)
    if trial is None or train is None or report.training is None or context.state != "trained":
        return
    n, whole = trial.numbers, max(max(train.start, train.y[0]) - train.end, 0.0)
    third = train.smooth[-max(2, len(train.smooth) // 3) :]
    level = abs(third[0] - third[-1]) < max(0.05 * max(train.drop, 0.0), 2 * train.noise)
    logged = val.end if val is not None else train.end
    gain = n["before"] - n["same"]
    never = _never_arrived(report.training)
    schedule = never or any(rate_collapse(series, limits) for series in learning_rates(report.training))
    fresh = report.tried("fresh-start")
    if not schedule and fresh is not None:  # what was logged may hold the penalty, which fell too
        whole = min(whole, max(fresh.numbers["loss"] - n["before"], 0.0))
    far = n["before"] - n.get("faster", n["before"]) >= 3 * limits.way_after_collapse * abs(n["before"])
    still = structs.replace(limits, collapse_rate=_STILL)
    far = far or any(rate_collapse(series, still) for series in learning_rates(report.training))
    alone = limits.way_after_collapse / (3 if far else 1)
    much = alone * abs(n["before"]) if schedule else math.inf
    if not (level or never) or gain < min(much, max(limits.way_gain * abs(n["before"]), limits.way_of_run * whole)):
        return
    if not 0.2 < n["before"] / max(logged, 1e-12) < 2:
        return
    if schedule or _are_pulled(report):
        yield Finding(
            rule="plain-helps",
            severity=Severity.WARNING,
            subject="model",
            section=SECTION,
            evidence={"before": n["before"], "after": n["same"], "whole": whole, "steps": n["steps"]},
            threshold={"gain": limits.way_gain, "of_run": limits.way_of_run, "alone": alone},
            detail={"reason": "warm-up" if never else "schedule" if schedule else "penalty"},
        )


def _never_arrived(history: History) -> bool:
    """Tell whether a schedule kept the rate below a tenth of what the optimizer was made with, or was to come to."""
    rates = [y for series in learning_rates(history) for _, y in finite(series)]
    named = [o.settings.get(name) for o in _optimizers(history) for name in ("initial_lr", "max_lr")]
    made = [float(rate) for rate in named if isinstance(rate, (int, float))]
    return bool(rates) and bool(made) and max(rates) < _ARRIVED * max(made)


def _optimizers(history: History) -> list[OptimizerRun]:
    return history.loop.optimizers if history.loop is not None else []


def _are_pulled(report: Report) -> bool:
    """Tell whether half of the weight matrices lie far below the scale that they are initialised with."""
    rows = report.weights.rows if report.weights is not None else []
    scales = [
        (row.stats.rms or 0.0) * math.sqrt(row.fan_in)
        for row in rows
        if row.trainable and row.fan_in and len(row.shape) > 1 and row.stats is not None and not row.before_norm
    ]
    return bool(scales) and sum(scale < 0.3 * UNIFORM for scale in scales) >= len(scales) / 2


RULES = (plain_helps, faster_helps, slower_helps, thawing_helps, owning_helps, freedom_helps)
