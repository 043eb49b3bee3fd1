"""Rules on what a run began with: its weights, and the statistics of its norms."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.history import LayerRun, ParameterRun
from ..context import Context, norms_at_start
from ..curves import losses
from ..thresholds import Thresholds
from .activations import dead_relu
from .fit import behind_neighbours
from .relearned import is_ahead
from .training import h_diverged, h_nonfinite, is_poor, noted

_LEAST = 64  # entries, of which the mean of draws about zero is at most a few tenths of their size


def init_offset(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices whose entries, at the start of the run, did not lie about zero.

    |mean| above half of the root mean square, over up to 4096 entries: draws about zero have 1/sqrt(n), uniform ones
    from 0 to 1 have 0.87. All units of a layer then answer the sum of its inputs, and outputs grow with the fan-in
    itself instead of its root. A warning where the run broke off or diverged, its fit is poor, units died, or a fresh
    copy comes further (``fresh-copy-ahead``); otherwise it informs. Matrices of one single value count, but for the
    last: what comes behind and rounding drive their units apart, late and little; those that are still alike
    ``equal-units`` tells. Frozen ones are left out. Wrong for weights that are held positive on purpose. (Glorot and
    Bengio 2010.)
    """
    history = report.training
    own = [p for p in history.parameters if _has_start(p)] if history is not None else []
    alike = report.tried("equal-units")
    told = alike is not None and alike.numbers["equal"] > 0
    matrices = [p for p in own if _varies(p) or not (told or p is own[-1])]
    found = [p for p in matrices if _offset(p) > limits.init_offset]
    if history is None or not found:
        return
    train, _ = losses(history, limits)
    broken = any(True for rule in (h_diverged, h_nonfinite) for _ in rule(report, context, limits))
    dead = any(f.severity.rank for f in dead_relu(report, context, limits))
    bad = broken or dead or (train is not None and is_poor(train, context)) or is_ahead(report, context, limits)
    worst = max(found, key=_offset)
    yield noted(
        "init-offset",
        Severity.WARNING if bad else Severity.INFO,
        worst.name,
        {
            "mean": worst.start_mean or 0.0,
            "rms": worst.start_rms or 0.0,
            "matrices": len(found),
            "of": len(matrices),
        },
        {"offset": limits.init_offset},
    )


def _has_start(p: ParameterRun) -> bool:
    """Tell whether a parameter is a trained matrix that did not begin at zero."""
    size = 1
    for side in p.shape:
        size *= side
    return p.is_matrix and p.trainable and size >= _LEAST and p.start_mean is not None and bool(p.start_rms)


def _varies(p: ParameterRun) -> bool:
    """Tell whether a matrix began with values of its own, and not with one single value."""
    mean, rms = p.start_mean or 0.0, p.start_rms or 0.0
    return rms**2 - mean**2 > 1e-6 * rms**2


def _offset(p: ParameterRun) -> float:
    return abs(p.start_mean or 0.0) / (p.start_rms or 1.0)


def zero_start(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices that started at zero and can never leave it: each waits for another one that is zero too.

    An experiment on a copy: three steps leave them exactly zero, and once they are drawn at random a gradient reaches
    them. So it is with both thin matrices of a low-rank adapter at zero, where one of them is meant to be. After a run,
    only of those that were zero at its start, and did not move. A warning; it informs where nothing says how they
    started, for weights that were pruned away are zero too.
    """
    trial = report.tried("zero-start")
    if trial is None or not trial.numbers.get("woken"):
        return
    names = trial.detail.get("names", "").split(", ")
    runs = {p.name: p for p in report.training.parameters} if report.training is not None else {}
    if runs:
        names = [n for n in names if (p := runs.get(n)) is not None and p.start_rms == 0 and not p.changed]
    if not names:
        return
    yield Finding(
        rule="zero-start",
        severity=Severity.WARNING if runs or context.state == "untrained" else Severity.INFO,
        subject=names[0],
        section="trials",
        evidence={"matrices": len(names), "zero": trial.numbers["zero"]},
        threshold={"matrices": 0},
        detail={"names": ", ".join(names[:5])},
    )


def norms_off_at_start(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Batch norms that the run held in eval mode, by statistics that were far from what they read at its first step.

    Such a norm puts out w·(x - running mean)/sqrt(running var + eps) + b. Where the statistics describe what it reads,
    the root mean square of that is sqrt(mean w² + mean b²), whatever the data; the ratio of the two at the first look,
    before any weight moved, is 1 then (measured: 1.00 to 1.06; 1.4 for inputs times 1.3 plus 0.3 deviations). Far:
    above 2.2 (means two deviations off, or variances five times as large), or below 0.32 (a tenth of the variance).
    Only norms that were in eval mode at every look, three at least, and whose statistics are not those that they are
    made with. A warning where the run broke off or diverged, the model does not work, or neighbours tell the targets
    better; otherwise it informs. Wrong where the first batch was unlike all others.
    """
    found = [(row, ratio) for row, ratio in held_norms(report) if is_far(ratio, limits)]
    if not found:
        return
    broken = any(True for rule in (h_diverged, h_nonfinite) for _ in rule(report, context, limits))
    failed = context.outcome_known and not context.outcome_ok
    bad = broken or failed or behind_neighbours(report, context, limits) is not None
    worst, ratio = max(found, key=lambda item: abs(math.log(item[1])))
    yield noted(
        "norms-off-at-start",
        Severity.WARNING if bad else Severity.INFO,
        worst.name,
        {"ratio": ratio, "norms": len(found)},
        {"high": limits.norm_start_high, "low": limits.norm_start_low},
    )


def batch_norms(report: Report) -> set[str]:
    """Return the names of layers whose running statistics were measured, whatever their class is called."""
    return {row.name for row in report.activations.norms} if report.activations is not None else set()


def held_norms(report: Report) -> list[tuple[LayerRun, float]]:
    """Return the batch norms that the run kept in eval mode by statistics they came with.

    With each goes the root mean square of its outputs at the first look, over what its gain and its bias make of
    numbers of mean 0 and variance 1.
    """
    history = report.training
    if history is None:
        return []
    fresh = set(norms_at_start(report.weights)) if report.weights is not None else set()
    starts, norms = {p.name: p.start_rms for p in history.parameters}, batch_norms(report)
    found = []
    for row in history.layers:
        if "BatchNorm" not in row.kind and row.name not in norms:
            continue
        if row.eval_calls < 3 or row.train_calls or row.name in fresh:
            continue
        seen = row.rms.y[0] if row.rms is not None and row.rms.y else None
        # a norm without gain and bias multiplies by 1 and adds 0
        gain, bias = starts.get(f"{row.name}.weight", 1.0), starts.get(f"{row.name}.bias", 0.0)
        if seen and gain and bias is not None:
            found.append((row, seen / math.hypot(gain, bias)))
    return found


def is_far(ratio: float, limits: Thresholds) -> bool:
    """Tell whether statistics are far from what a norm reads."""
    return not limits.norm_start_low <= ratio <= limits.norm_start_high


RULES = (init_offset, zero_start, norms_off_at_start)
