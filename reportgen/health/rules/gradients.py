"""Rules on gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ...document.facts import Finding, GradientRow, Report, Severity
from ..context import Context
from ..robust import theil_sen
from ..thresholds import Thresholds
from .flow import is_guessing
from .reach import are_idle, are_read
from .training import h_never_learned

SECTION = "gradients"


def grad_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The first parameter, in the order of the backward pass, whose gradient holds NaN or infinity."""
    if report.gradients is None:
        return
    bad = [row for row in report.gradients.rows if row.stats is not None and row.stats.nonfinite]
    if not bad:
        return
    first = max(bad, key=lambda row: -1 if row.order is None else row.order)
    assert first.stats is not None  # rows without were left out
    yield Finding(
        rule="grad-nonfinite",
        severity=Severity.ERROR,
        subject=first.name,
        section=SECTION,
        evidence={
            "nan": first.stats.nan,
            "inf": first.stats.pos_inf + first.stats.neg_inf,
            "count": first.stats.count,
            "tensors": len(bad),
        },
        threshold={"nonfinite": 0},
    )


def param_no_grad(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Trainable parameters whose layer ran, but which no batch's backward pass reached.

    The graph is cut between them and the loss: detach, no_grad, argmax, a tensor re-wrapped. An error from 10 % of the
    trainable parameters on. Where neither outputs nor loss change when these are moved on a copy, the graph is whole
    and what they make is used nowhere: a warning then, by ``unused``. It informs where the run gave each of them a
    gradient at every step that was looked at: its loop has more to its loss than the one given. Wrong for branches that
    only some inputs take; all probed batches are joined first.
    """
    yield from _unreached(report, limits, executed=True)


def param_unused(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Trainable parameters of layers that the forward pass never entered.

    Harmless where a layer serves only another mode (an auxiliary head), so this informs.
    """
    yield from _unreached(report, limits, executed=False)


def _unreached(report: Report, limits: Thresholds, *, executed: bool) -> Iterator[Finding]:
    if report.gradients is None or not report.gradients.n_batches or report.weights is None:
        return
    sizes = {row.name: row.stats.count if row.stats else 0 for row in report.weights.rows}
    trainable = [row for row in report.gradients.rows if row.requires_grad]
    cut = [
        row
        for row in trainable
        if row.n_none == report.gradients.n_batches
        and (row.order is not None or are_read(report, row.name)) == executed
    ]
    total = sum(sizes.get(row.name, 0) for row in trainable)
    if not cut or not total:
        return
    share = sum(sizes.get(row.name, 0) for row in cut) / total
    severe = Severity.ERROR if share > limits.no_grad_share_error else Severity.WARNING
    idle = executed and are_idle(report, (row.name for row in cut))
    severe = Severity.WARNING if idle else severe
    severe = Severity.INFO if _reached_in_the_run(report, {row.name for row in cut}) else severe
    reached = [row.name for row in trainable if row.n_none < report.gradients.n_batches]
    yield Finding(
        rule="param-no-grad" if executed else "param-unused",
        severity=severe if executed else Severity.INFO,
        subject=cut[0].name,
        section=SECTION,
        evidence={"tensors": len(cut), "share": share, "batches": report.gradients.n_batches},
        threshold={"error": limits.no_grad_share_error},
        detail={"names": ", ".join(row.name for row in cut[:5]), "reached": reached[0] if reached else ""}
        | ({"by": "unused"} if idle else {}),
    )


def _reached_in_the_run(report: Report, names: set[str]) -> bool:
    """Tell whether each of these parameters had a gradient at every looked-at step of the run, of five at least."""
    runs = [p for p in report.training.parameters if p.name in names] if report.training is not None else []
    return len(runs) == len(names) and all(p.n_looked >= 5 and not p.n_grad_none + p.n_grad_zero for p in runs)


def grad_depth_slope(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Gradient size that changes exponentially with depth: vanishing towards the input, or exploding.

    y = log10(‖g‖/sqrt(numel)) of every weight matrix in order of execution; slope by Theil-Sen in decades per layer,
    and the ratio of the first to the last tenth of the layers. Both must pass their thresholds, over five layers at
    least. Healthy nets: slope -0.13 to +0.16, ratio 1 to 300; a deep default-init ReLU MLP 0.31 and 9e-4; ten sigmoid
    layers 0.84 and 1e-8. Where the training loss never moved (``h-never-learned``) half of the slope is enough to
    vanish: over many layers a slower fall ends as far down. Where the model is no better than a constant guess, ten
    times the ratio is enough at one and a half times the slope: over few layers a faster fall has no room to end there.
    Exact zeros (a zero-initialised head) and non-finite gradients are left out.
    """
    rows = _profile(report)
    if len(rows) < limits.gradient_layers:
        return
    sizes = [row.stats.rms for row in rows if row.stats is not None and row.stats.rms]
    slope = theil_sen([math.log10(size) for size in sizes])
    tenth = max(1, len(sizes) // 10)
    ratio = median(sizes[:tenth]) / median(sizes[-tenth:])
    stuck = any(True for _ in h_never_learned(report, context, limits))
    enough = limits.gradient_slope * (0.5 if stuck else 1.0)
    steep = slope > 1.5 * limits.gradient_slope and is_guessing(report, context)
    least = limits.gradient_ratio_warning * (10 if steep else 1)
    vanishing = slope > enough and ratio < least
    exploding = slope < -limits.gradient_slope and ratio > 1 / limits.gradient_ratio_warning
    if not vanishing and not exploding:
        return
    far = ratio < limits.gradient_ratio_error or ratio > 1 / limits.gradient_ratio_error
    yield Finding(
        rule="grad-depth-slope",
        severity=Severity.ERROR if far else Severity.WARNING,
        subject=rows[0].name,
        section=SECTION,
        evidence={"slope": slope, "ratio": ratio, "layers": len(sizes)},
        threshold={
            "slope": enough if vanishing else limits.gradient_slope,
            "ratio": least if vanishing else 1 / limits.gradient_ratio_warning,
        },
        detail={"direction": "vanishing" if vanishing else "exploding", "last": rows[-1].name},
    )


def _profile(report: Report) -> list[GradientRow]:
    """Return the weight matrices with a finite gradient that is not zero, in order of execution."""
    rows = report.gradients.rows if report.gradients is not None else []
    usable = [
        row
        for row in rows
        if row.is_matrix
        and row.order is not None
        and row.stats is not None
        and row.stats.rms
        and not row.stats.nonfinite
    ]
    return sorted(usable, key=lambda row: row.order or 0)


def grad_flow_share(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A handful of parameters gets nearly all of the gradient. Informs only.

    The fewest tensors that hold 99 % of the squared gradient together have less than 0.1 % of the trainable elements.
    Plain SGD then hardly moves the rest; Adam and its kin rescale each element and do not mind. Sums of squares over
    the batches of the gradient pass; ten tensors at least.
    """
    rows = report.gradients.rows if report.gradients is not None else []
    known = [
        (r.stats.rms**2 * r.stats.count, r.stats.count, r.name) for r in rows if r.stats is not None and r.stats.rms
    ]
    total, elements = sum(s for s, _, _ in known), sum(n for _, n, _ in known)
    if len(known) < 10 or not total:
        return
    held, few = 0.0, 0
    names: list[str] = []
    for square, n, name in sorted(known, reverse=True):
        held, few, names = held + square, few + n, [*names, name]
        if held >= 0.99 * total:
            break
    if few < limits.flow_share * elements:
        yield Finding(
            rule="grad-flow-share",
            severity=Severity.INFO,
            subject=names[0],
            section=SECTION,
            evidence={"share": few / elements, "tensors": len(names), "of": len(known)},
            threshold={"share": limits.flow_share},
            detail={"names": ", ".join(names[:5])},
        )


RULES = (grad_nonfinite, param_no_grad, param_unused, grad_depth_slope, grad_flow_share)
