"""Rules on the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import DatasetFacts, FeatureStats, Finding, Report, Severity
from ...document.samples import TensorRow
from ...document.stats import TensorStats
from ..context import Context
from ..curves import losses
from ..thresholds import Thresholds
from .lookups import coded_columns
from .samples import d_shortcut
from .units import saturation
from .weights import ended_finite

SECTION = "dataset"


def d_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """NaN or infinity in the inputs or the targets.

    Counted over every element of the first input tensor and of floating-point targets, in all batches given; and NaN in
    further inputs, and in targets that are several, of a run that broke: a model that works fills them in, or its loss
    leaves them out, and a mask may hold infinity. NaN in inputs alone informs where nothing else ever lost its value: a
    run that was watched, whose losses are finite throughout, as are all outputs of layers, and a model that works. It
    fills them in.
    """
    parts: list[tuple[str, TensorStats]] = []
    for prefix, data in (("", report.dataset), ("training ", report.train_dataset)):
        if data is not None:
            parts += [(f"{prefix}input {f.index}", f.stats) for f in data.features]
            parts += [(f"{prefix}target", data.target)] if data.target is not None else []
            further = _further(data) if _broke(report) else []
            parts += [(f"{prefix}{row.role} {row.name}", row.stats) for row in further if row.stats.nan]
    bad = [(name, stats) for name, stats in parts if stats.nonfinite]
    if bad:
        yield Finding(
            rule="d-nonfinite",
            severity=Severity.INFO if _are_filled_in(report, context, bad) else Severity.ERROR,
            subject=bad[0][0],
            section=SECTION,
            evidence={
                "nan": sum(s.nan for _, s in bad),
                "inf": sum(s.pos_inf + s.neg_inf for _, s in bad),
                "features": len(bad),
            },
            threshold={"nonfinite": 0},
        )


def _are_filled_in(report: Report, context: Context, bad: list[tuple[str, TensorStats]]) -> bool:
    """Tell whether NaN is met in inputs alone, and the model takes it as a value that is missing."""
    evaluation, rows = report.evaluation, report.activations.rows if report.activations is not None else []
    if any("target" in name or stats.pos_inf or stats.neg_inf for name, stats in bad) or report.training is None:
        return False
    finite = evaluation is not None and evaluation.loss is not None and math.isfinite(evaluation.loss)
    whole = bool(rows) and not any(row.stats.nonfinite for row in rows)
    return finite and whole and context.outcome_known and context.outcome_ok and not _broke(report)


def _broke(report: Report) -> bool:
    """Tell whether a value stopped being finite in the run."""
    history = report.training
    if history is None:
        return False
    broken = (s.nonfinite for s in history.series if s.name in ("train_loss", "val_loss"))
    return any(broken) or any(e.kind == "nonfinite" for e in history.events)


def _further(data: DatasetFacts) -> list[TensorRow]:
    """Return the tensors that are neither the first input nor the only target."""
    inputs = [row for row in data.tensors if row.role == "input"]
    return inputs[1:] + [row for row in data.tensors if row.role == "target" and row.name != "target"]


def d_input_scale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Inputs on a raw scale: a standard deviation above 20, or far from zero on the whole.

    A channel or column with std > 20 is a warning, an error where values are whole and reach 200 to 255 (bytes that
    were never scaled). A median over channels of |mean|/std > 3 is a warning unless the model works and the units of
    its first layer are not stuck (``saturation``): the median, because a column that hardly ever moves lies far from
    zero in its own units and does no harm. An input with no std above 0.05 is a warning too. Not judged: noise, integer
    inputs (the model converts them itself), inputs that forward rescales before its first layer, columns that are codes
    and are only looked up, and one that numbers the rows and gives the target away (``d-shortcut``); of a model that
    begins with a normalisation layer it only informs. Where training data were given it is they that are judged: data
    given on another scale than theirs are for ``d-train-val-shift``. Wrong for physical units that the model is made
    for.
    """
    data = report.train_dataset if report.train_dataset is not None else report.dataset
    if data is None or not context.real_data or data.n_samples < limits.input_samples or "int" in data.dtype:
        return
    if _rescaled(report, limits):
        return
    left_out = coded_columns(report) | _row_numbers(report, context, limits)
    moving = [f for f in data.features if f.stats.std and not f.stats.nonfinite and f.index not in left_out]
    if not moving:
        return
    widest = max(moving, key=lambda f: f.stats.std or 0.0)
    typical = sorted(moving, key=_offset)[len(moving) // 2]
    # where weights broke after the run, it is the run that tells whether it could digest them
    fine = context.outcome_ok or (_is_broken(report) and _fell(report, limits))
    mild = Severity.INFO if fine else Severity.WARNING
    if (widest.stats.std or 0.0) > limits.input_std_high:
        yield _scale_finding(data, widest, _raw_severity(data, widest), limits)
    elif _offset(typical) > limits.input_offset:
        stuck = _first_is_stuck(report, context, limits)
        yield _scale_finding(data, typical, Severity.WARNING if stuck else mild, limits)
    elif (widest.stats.std or 0.0) < limits.input_std_low:
        yield _scale_finding(data, widest, mild, limits)


def _first_is_stuck(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether the first tanh or sigmoid of the model is saturated, where that does harm."""
    rows = report.activations.rows if report.activations is not None else []
    ends = [row for row in rows if any(c.saturated is not None for c in row.channels)]
    if not ends:
        return False
    first = min(ends, key=lambda row: row.order).name
    return any(f.subject == first and f.severity is Severity.WARNING for f in saturation(report, context, limits))


def _row_numbers(report: Report, context: Context, limits: Thresholds) -> set[int]:
    """Return the column that numbers the rows, where it gives the target away and is to go for that reason."""
    found = d_shortcut(report, context, limits)
    return {int(f.subject.split()[-1]) for f in found if f.detail.get("column") == "row number"}


def _is_broken(report: Report) -> bool:
    rows = report.weights.rows if report.weights is not None else []
    return ended_finite(report) and any(row.stats is not None and row.stats.nonfinite for row in rows)


def _fell(report: Report, limits: Thresholds) -> bool:
    train, _ = losses(report.training, limits)
    return train is not None and train.end < 0.6 * abs(train.start)


def _rescaled(report: Report, limits: Thresholds) -> bool:
    """Tell whether the first layer reads another scale than the loader gives, and a fair one."""
    first = report.activations.first_input if report.activations is not None else None
    if first is None or not first.std or report.dataset is None:
        return False
    given = max((f.stats.std or 0.0 for f in report.dataset.features), default=0.0)
    changed = not 0.9 * given <= first.std <= 1.1 * given
    fair = limits.input_std_low <= first.std <= limits.input_std_high
    return changed and fair and abs(first.mean or 0.0) / first.std <= limits.input_offset


def _offset(feature: FeatureStats) -> float:
    return abs(feature.stats.mean or 0.0) / (feature.stats.std or 1.0)


def _raw_severity(data: DatasetFacts, widest: FeatureStats) -> Severity:
    high = widest.stats.max or 0.0
    return Severity.ERROR if data.integer_valued and 200 < high <= 255 else Severity.WARNING


def _scale_finding(data: DatasetFacts, feature: FeatureStats, severity: Severity, limits: Thresholds) -> Finding:
    return Finding(
        rule="d-input-scale",
        severity=Severity.INFO if data.normalised_first else severity,
        subject=f"input {feature.index}",
        section=SECTION,
        evidence={
            "mean": feature.stats.mean or 0.0,
            "std": feature.stats.std or 0.0,
            "min": feature.stats.min or 0.0,
            "max": feature.stats.max or 0.0,
        },
        threshold={
            "std_low": limits.input_std_low,
            "std_high": limits.input_std_high,
            "offset": limits.input_offset,
        },
    )


RULES = (d_nonfinite, d_input_scale)
