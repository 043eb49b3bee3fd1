"""One picture of the evidence for a diagnosis: what was measured where, over time, or against its limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from msgspec import structs

from ..document.facts import Diagnosis, Finding, Report, Severity
from ..document.history import History, Series
from ..document.stats import TensorStats
from .data_evidence import Drawn, of_data
from .evidence_figures import Curve, against, by_powers, curves, distribution, profile, spans_powers
from .formats import name
from .language import _
from .sections.curves import axis_name, metric_name
from .wording import rule_title
from .words_evidence import measured, quantity

_LEVELS = ("info", "warning", "error")
_POINTS = 120
_SPLITS = ("train_", "val_")


def picture(report: Report, diagnosis: Diagnosis) -> Drawn | None:
    """Draw what proves a diagnosis best; None where no finding of it can be drawn."""
    proofs = sorted(diagnosis.findings, key=lambda f: -f.severity.rank)
    for finding in proofs:
        alike = [f for f in proofs if f.rule == finding.rule and f.severity is not Severity.INFO]
        for make in _MAKERS:
            drawn = make(report, finding, alike)
            if drawn is not None:
                return drawn
    return None


# ------------------------------------------------------------------------------------------------- over time


def _over_time(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    history = report.training
    if history is None or finding.section != "training":
        return None
    metric = next((finding.subject.removeprefix(s) for s in _SPLITS if finding.subject.startswith(s)), finding.subject)
    found = _lines(history, metric) or (_lines(history, "loss") if finding.rule.startswith("h-") else [])
    if not found:
        return None
    title = _("{metric} by {axis}").format(metric=metric_name(_metric(found[0])), axis=axis_name(found[0].axis))
    lines = [Curve(_split(s), *_thinned(s), broken=s.first_nonfinite) for s in found[:3]]
    drawn = curves(lines, title, axis_name(found[0].axis))
    if any(line.broken is not None for line in lines):
        title = _("{figure}; × where it is not finite").format(figure=title)
    return None if drawn is None else Drawn(drawn, title)


def _lines(history: History, metric: str) -> list[Series]:
    """Return the curves of one metric, by epoch where there are two points of it, by step otherwise."""
    for axis in ("epoch", "step"):
        named = [history.get(n, axis) for n in (f"train_{metric}", f"val_{metric}", metric)]
        known = [s for s in named if s is not None and sum(y is not None for y in s.y) > 1]
        if known:
            return known
    return []


def _metric(series: Series) -> str:
    return next((series.name.removeprefix(s) for s in _SPLITS if series.name.startswith(s)), series.name)


def _split(series: Series) -> str:
    if series.name.startswith("train_"):
        return _("training")
    return _("validation") if series.name.startswith("val_") else name(series.name)


def _thinned(series: Series) -> tuple[list[float], list[float | None]]:
    step = -(-len(series.x) // _POINTS)
    return series.x[::step], series.y[::step]


# ------------------------------------------------------------------------------------------------ over depth


def _silent(report: Report) -> dict[str, float]:
    rows = report.activations.rows if report.activations is not None else []
    return {
        r.name: max(c.silent / max(c.n_channels, 1) for c in r.channels)
        for r in sorted(rows, key=lambda r: r.order)
        if r.channels and r.rectifier
    }


def _outputs(report: Report) -> dict[str, float]:
    rows = sorted(report.activations.rows, key=lambda r: r.order) if report.activations is not None else []
    return _known((r.name, r.stats, "std") for r in rows)


def _weights(report: Report) -> dict[str, float]:
    rows = report.weights.rows if report.weights is not None else []
    return _known((r.name, r.stats, "rms") for r in rows if len(r.shape) >= 2)


def _gradients(report: Report) -> dict[str, float]:
    rows = [r for r in report.gradients.rows if r.is_matrix] if report.gradients is not None else []
    return _known((r.name, r.stats, "rms") for r in sorted(rows, key=lambda r: (r.order is None, r.order or 0)))


def _known(rows: Iterable[tuple[str, TensorStats | None, str]]) -> dict[str, float]:
    found = ((n, getattr(s, key)) for n, s, key in rows if s is not None)
    return {n: v for n, v in found if v is not None}


# what the rule judges; a finding of another rule gets what its section is about
_BY_RULE: dict[str, tuple[Callable[[Report], dict[str, float]], Callable[[], str]]] = {
    "dead-relu": (_silent, lambda: _("Share of silent channels, rectifier by rectifier")),
    "grad-depth-slope": (_gradients, lambda: _("Gradient rms of each weight matrix, from input to output")),
    "w-scale": (_weights, lambda: _("Rms of each weight matrix, from input to output")),
}
_BY_SECTION = {
    "gradients": _BY_RULE["grad-depth-slope"],
    "activations": (_outputs, lambda: _("Standard deviation of each layer's output, from input to output")),
}


def _over_depth(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    kind = _BY_RULE.get(finding.rule) or _BY_SECTION.get(finding.section)
    if kind is None:
        return None
    values = kind[0](report)
    subjects = {f.subject for f in alike or [finding]}
    marked = [n in subjects or n.rpartition(".")[0] in subjects for n in values]
    whole = finding.subject in ("", "model")
    if len(values) < 3 or not (whole or any(marked)):
        return None
    caption = kind[1]()
    if by_powers(list(values.values())):
        caption = _("{quantity}, on a logarithmic scale").format(quantity=caption)
    ends = (_("input"), _("output"))
    drawn = profile(list(values.values()), marked, caption, ends)
    return None if drawn is None else Drawn(drawn, caption)


# ----------------------------------------------------------------------------------------------- of a tensor


def _of_tensor(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    weights = {r.name: r.stats for r in report.weights.rows} if report.weights is not None else {}
    outputs = {r.name: r.stats for r in report.activations.rows} if report.activations is not None else {}
    first, second = (outputs, weights) if finding.section == "activations" else (weights, outputs)
    tables = [first, second] if finding.section in ("weights", "activations", "gradients") else []
    for table in tables:
        drawn = None
        for place in (finding.subject, f"{finding.subject}.weight"):
            drawn = drawn or _distribution(table.get(place), place, outputs=table is outputs)
        if drawn is not None:
            return drawn
    return None


def _distribution(stats: TensorStats | None, place: str, *, outputs: bool) -> Drawn | None:
    said = _("Outputs of {name}, the middle 99 %") if outputs else _("Values of {name}, the middle 99 %")
    caption = said.format(name=name(place))
    drawn = distribution(stats, caption)
    return None if drawn is None else Drawn(drawn, caption)


# ------------------------------------------------------------------------------------------- against a limit


_EITHER = ("bn-stats-mismatch",)  # either of their numbers is enough, and the one that went further is shown


def _against_limit(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    """Hold the number that the rule judges against its limits: the one of the same name, or else its first."""
    limits = finding.threshold
    shared = [key for key in finding.evidence if key in limits]
    levels = [v for key, v in limits.items() if key in _LEVELS or key in ("low", "high")]
    if shared:
        key = (
            max(shared, key=lambda k: finding.evidence[k] / (limits[k] or 1.0))
            if finding.rule in _EITHER
            else shared[0]
        )
        held = {key: limits[key]}
    elif len(finding.evidence) == len(limits) == 1:
        key, held = next(iter(finding.evidence)), limits
    elif levels and len(levels) == len(limits) and finding.evidence:
        # a limit that is a share is one for a share, whatever is counted beside it
        of_shares = "share" in finding.evidence and all(0 <= v <= 1 for v in levels)
        key, held = "share" if of_shares else next(iter(finding.evidence)), limits
    else:
        return None
    caption = _("{rule}: what was measured, and its limit").format(rule=rule_title(finding.rule))
    value, against_what = finding.evidence[key], list(held.values())
    if spans_powers([value, *against_what]):
        caption = _("{quantity}, on a logarithmic scale").format(quantity=caption)
    said = (quantity(finding.rule, key), _("dashed: the limit"))
    fine = _fine(finding, value, held)
    drawn = against(value, against_what, caption, said, lambda v: measured(finding.rule, key, v), fine)
    return None if drawn is None else Drawn(drawn, caption)


def _fine(finding: Finding, value: float, limits: dict[str, float]) -> tuple[float, float]:
    """Return from where to where a number is fine: levels are reached from below, and what was found lies beyond.

    What is a mere observation may lie on either side of a limit: all of the scale is fine.
    """
    if {"low", "high"} & set(limits):
        return limits.get("low", -math.inf), limits.get("high", math.inf)
    if set(limits) & set(_LEVELS):
        return -math.inf, min(limits.values())
    if finding.severity is Severity.INFO:
        return -math.inf, math.inf
    limit = next(iter(limits.values()))
    return (-math.inf, limit) if value >= limit else (limit, math.inf)


def _course(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    """Show what became of the loss, where what was found is a fact of the program and no number."""
    severe = finding.severity is not Severity.INFO
    loss = structs.replace(finding, section="training", subject="train_loss")
    return _over_time(report, loss, alike) if severe else None


def _of_data(report: Report, finding: Finding, alike: list[Finding]) -> Drawn | None:
    return of_data(report, finding)


_MAKERS = (_of_data, _over_time, _over_depth, _of_tensor, _against_limit, _course)
