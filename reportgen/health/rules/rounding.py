"""Rules on what rounding makes of the outputs."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds
from .dataset import d_input_scale

SECTION = "trials"
_RESOLUTION = 2.0**-24  # of float32, relative


def precision_lost(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """In float32 the same weights on the same samples give clearly something else than in float64.

    Outputs, loss or gradient that are finite in float64 alone are an error: a difference of large numbers, a logarithm
    of what underflows, an exponential that overflows. So is a median distance between the two outputs above 5 % of
    their spread where the model does no better than a constant guess; where it works that informs, for a model may
    round on purpose. Healthy models in float32 lie below 0.1 %. Not judged where two passes differ already. (Higham
    2002, section 1.9: the two-pass and the one-pass variance.) ``by`` input: it is the scale of the inputs that rounds
    the rest away, a column so large that float32 resolves it no finer than a twentieth of another column's deviation.
    """
    trial = report.tried("in-double")
    twice = report.tried("eval-twice")
    if trial is None or (twice is not None and twice.numbers["change"] > limits.eval_change):
        return
    n = trial.numbers
    lost = bool(n["lost"] or n.get("loss_lost") or n.get("gradient_lost"))
    if not lost and n.get("difference", 0.0) <= limits.precision:
        return
    poor = context.outcome_known and not context.outcome_ok
    yield Finding(
        rule="precision-lost",
        severity=Severity.ERROR if lost or poor else Severity.INFO,
        subject="output",
        section=SECTION,
        evidence={key: n[key] for key in ("samples", "lost", "difference", "loss_lost", "gradient_lost") if key in n},
        threshold={"difference": limits.precision, "lost": 0},
        detail={"by": "input"} if not lost and _drowned(report, context, limits) else {},
    )


def _drowned(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a sum over the columns of an input loses one of them to the rounding of another."""
    if not any(f.severity.rank for f in d_input_scale(report, context, limits)):
        return False
    data = report.train_dataset if report.train_dataset is not None else report.dataset
    moving = [f.stats for f in data.features if f.stats.std and not f.stats.nonfinite] if data is not None else []
    largest = max((max(abs(s.min or 0.0), abs(s.max or 0.0)) for s in moving), default=0.0)
    return largest * _RESOLUTION > limits.precision * min((s.std or 0.0 for s in moving), default=0.0)


RULES = (precision_lost,)
