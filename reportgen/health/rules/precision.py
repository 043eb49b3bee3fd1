"""Rules on number formats: does the model fit into half precision, and do its parts agree on one."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.stats import Histogram
from ..context import Context
from ..thresholds import Thresholds

_HALF_MAX = 65504.0
_HALF_TINY = 2.0**-24  # the smallest subnormal number of float16
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def fp16_range(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Activations within a factor of 8 of the largest float16, 65504.

    Of a model in float32 or bfloat16 it informs: float16 would overflow on slightly larger inputs. Of one that has
    float16 parameters it is a warning from a factor of 2 on. What overflowed already, ``act-nonfinite`` tells.
    """
    if report.activations is None or not context.real_data:
        return
    sizes = [(max(abs(r.stats.min or 0.0), abs(r.stats.max or 0.0)), r) for r in report.activations.rows]
    if not sizes:
        return
    largest, row = max(sizes, key=lambda item: item[0])
    if largest <= _HALF_MAX * limits.half_share:
        return
    half = report.architecture is not None and "float16" in report.architecture.dtypes
    yield Finding(
        rule="fp16-range",
        severity=Severity.WARNING if half and largest > _HALF_MAX / 2 else Severity.INFO,
        subject=row.name,
        section="activations",
        evidence={"largest": largest, "of_float16": largest / _HALF_MAX},
        threshold={"share": limits.half_share},
    )


def fp16_gradients(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Gradients that float16 would round to zero: below 2^-24, the smallest number it has. Informs only.

    Share of the non-zero gradients of weight matrices, from their histograms over magnitude, above a tenth. Training in
    float16 then needs a gradient scaler (Micikevicius et al. 2018); bfloat16 and float32 do not.
    """
    rows = report.gradients.rows if report.gradients is not None else []
    parts = [r.stats.histogram for r in rows if r.is_matrix and r.stats is not None and r.stats.histogram is not None]
    small = sum(_below(histogram) for histogram in parts)
    total = sum(_non_zero(histogram) for histogram in parts)
    if total and small > limits.half_underflow * total:
        yield Finding(
            rule="fp16-gradients",
            severity=Severity.INFO,
            subject="model",
            section="gradients",
            evidence={"share": small / total},
            threshold={"share": limits.half_underflow},
        )


def _below(histogram: Histogram) -> int:
    return sum(
        n for low, high, n in histogram.ordered() if max(abs(low), abs(high)) <= _HALF_TINY and not low <= 0 <= high
    )


def _non_zero(histogram: Histogram) -> int:
    return sum(n for low, high, n in histogram.ordered() if not low <= 0 <= high)


def mixed_dtypes(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Parameters in more than one floating-point format. Informs only.

    Meant where norms are kept in float32 beside a half-precision model; a layer left in float64 by a NumPy array, or
    loaded in half precision, is not.
    """
    dtypes = report.architecture.dtypes if report.architecture is not None else {}
    floats = {name: n for name, n in dtypes.items() if n and name in _FLOATS}
    if len(floats) > 1:
        rare = min(floats, key=lambda name: floats[name])
        yield Finding(
            rule="mixed-dtypes",
            severity=Severity.INFO,
            subject="model",
            section="architecture",
            evidence={"formats": len(floats), "share": floats[rare] / sum(floats.values())},
            detail={"rarest": rare, "all": ", ".join(sorted(floats))},
        )


def adam_eps_lost(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Adam keeps its moments in float16, where its epsilon is zero: gradients whose square underflows divide by zero.

    Parameters stored in float16, in an optimizer of Adam's kind with eps below 2^-25, half of the smallest number that
    float16 has (the default, 1e-8, is): where the second moment is zero too, a step is m/0. A fact; an error where
    values that are not finite came up, else a warning. Keep the parameters in float32 and let autocast do the rest, or
    set eps to 1e-4.
    """
    rows = report.weights.rows if report.weights is not None else []
    half = [row for row in rows if row.trainable and row.dtype.endswith("float16") and not row.dtype.startswith("b")]
    loop = report.training.loop if report.training is not None else None
    runs = [run for run in (loop.optimizers if loop is not None else []) if "adam" in run.name.lower()]
    low = [eps for run in runs if isinstance(eps := run.settings.get("eps"), float) and eps < 2**-25]
    if not half or not low or report.training is None:
        return
    broken = any(event.kind == "nonfinite" for event in report.training.events)
    yield Finding(
        rule="adam-eps-lost",
        severity=Severity.ERROR if broken else Severity.WARNING,
        subject=half[0].name,
        section="training",
        evidence={"eps": min(low), "tensors": len(half)},
        threshold={"eps": 2**-25},
    )


RULES = (fp16_range, fp16_gradients, mixed_dtypes, adam_eps_lost)
