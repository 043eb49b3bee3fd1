"""Figures of how well scores part classes, and of how far confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from ..document.evaluation import Calibration, Curve, Regression, TokenScores
from .blocks import Cell, Column, Figure, Pair, Table
from .cells import in_rows, of_count, of_share
from .formats import brief, count, name, number, percent, short
from .language import _
from .planes import Axis, Trace, plane, span

_RESIDUAL_BINS = 40


def roc(curves: Sequence[Curve], id: str) -> Figure:
    """Draw true positives against false ones."""
    traces = [Trace([(0, 0), (1, 1)], muted=True)]
    for curve in curves:
        points = [(0.0, 0.0), *((fp / curve.negatives, tp / curve.positives) for _t, tp, fp in curve.points)]
        text = _("{label}: AUC {auc}").format(label=name(curve.label), auc=f"{curve.auc:.3f}")
        traces.append(Trace([*points, (1.0, 1.0)], label=text))
    title = _("ROC curve")
    caption = _(
        "Area {auc} ({low} to {high}). A good curve rises along the left edge; the dashed line is chance, whatever "
        "the prevalence."
    ).format(auc=brief(curves[0].auc), low=brief(curves[0].auc_low), high=brief(curves[0].auc_high))
    if len(curves) > 1:
        caption = _(
            "Each class against the rest, those told apart worst. A good curve rises along the left edge; the dashed "
            "line is chance."
        )
    x, y = Axis(_("false positives, of all no")), Axis(_("true positives, of all yes"))
    return Figure(id=f"{id}roc", title=title, caption=caption, drawing=plane(traces, x, y, title))


def precision_recall(curves: Sequence[Curve], id: str) -> Figure:
    """Draw precision against recall, with the prevalence."""
    traces = []
    if len(curves) == 1:
        share = curves[0].positives / (curves[0].positives + curves[0].negatives)
        traces.append(Trace([(0, share), (1, share)], muted=True))
    for curve in curves:
        points = [(tp / curve.positives, tp / (tp + fp)) for _t, tp, fp in curve.points if tp + fp]
        text = _("{label}: AP {ap}").format(label=name(curve.label), ap=f"{curve.average_precision:.3f}")
        first = points[0][1] if points else 1.0
        traces.append(Trace([(0.0, first), *points], label=text))
    title = _("Precision and recall")
    if len(curves) == 1:
        caption = _(
            "Average precision {ap}; the dashed line is the prevalence, {share}, which chance reaches. A good curve "
            "stays at the top up to a high recall."
        ).format(ap=brief(curves[0].average_precision), share=percent(share))
    else:
        caption = _("The same classes. A good curve stays at the top up to a high recall.")
    drawing = plane(traces, Axis(_("recall")), Axis(_("precision")), title)
    return Figure(id=f"{id}precision-recall", title=title, caption=caption, drawing=drawing)


def reliability(facts: Calibration, id: str, *, of_yes: bool) -> Figure:
    """Draw how often answers of a confidence are right."""
    points = [(confident / n, right / n) for n, confident, right in facts.bins]
    hover = [
        _("{n} answers, confidence {p}, right {q}").format(n=count(n), p=percent(p), q=percent(q))
        for (n, *_rest), (p, q) in zip(facts.bins, points, strict=True)
    ]
    traces = [Trace([(0, 0), (1, 1)], muted=True), Trace(points, dots=True, hover=hover)]
    title = _("Calibration")
    caption = _(
        "Answers in groups of about equal size; a calibrated model's lie on the dashed line, one below it is too sure "
        "of itself. Calibration error {ece}, of which chance makes {null}."
    ).format(ece=percent(facts.ece), null=percent(facts.ece_null))
    x = Axis(_("p(yes)") if of_yes else _("confidence"))
    drawing = plane(traces, x, Axis(_("share of yes") if of_yes else _("share right")), title)
    return Figure(id=f"{id}calibration", title=title, caption=caption, drawing=drawing)


def calibration_pairs(facts: Calibration) -> list[Pair]:
    """Return the numbers that stand beside the reliability diagram."""
    beyond = round(facts.ece, 3) - round(facts.ece_null, 3)  # of what is shown, or the three would not add up
    note = _("{ece} less {null} by chance").format(ece=percent(facts.ece), null=percent(facts.ece_null))
    label = _("Calibration error beyond chance")
    pairs = [Pair(label=label, value=percent(round(max(beyond, 0.0), 3)), note=note)]
    note = _("always naming the frequencies: {value}").format(value=number(facts.baseline_nll))
    pairs.append(Pair(label=_("NLL"), value=number(facts.nll), note=note))
    if facts.brier is not None:
        note = _("always naming the frequencies: {value}").format(value=number(facts.baseline_brier))
        pairs.append(Pair(label=_("Brier score"), value=number(facts.brier), note=note))
    if facts.temperature is not None and facts.temperature_nll is not None:
        note = _("dividing logits by it gives an NLL of {value}").format(value=number(facts.temperature_nll))
        pairs.append(Pair(label=_("Best temperature"), value=number(facts.temperature), note=note))
    return pairs


def sweep(curve: Curve, id: str) -> Table:
    """Show what each threshold would give."""
    columns = [
        Column(_("Threshold"), "name", _("on p(yes)")),
        Column(_("Called yes")),
        Column(_("Precision")),
        Column(_("Recall")),
        Column(_("F1")),
        Column(_("False alarms"), "number", _("share of all no that are called yes")),
    ]
    rows = [_threshold(curve, row, "") for row in curve.sweep]
    if curve.best is not None:
        rows.append(_threshold(curve, curve.best, _("best F1: {t}")))
    caption = _("Thresholds for {label}").format(label=name(curve.label))
    note = _("The best threshold is chosen on these data; on others it gives a little less.")
    return Table(
        id=f"{id}thresholds",
        caption=caption,
        note=note,
        columns=columns,
        rows=rows,
        total_rows=len(rows),
        folded=in_rows(caption, len(rows)),
    )


def _threshold(curve: Curve, row: tuple[float, int, int], words: str) -> list[Cell]:
    t, tp, fp = row
    text = short(round(t, 3 if words else 2))  # the bin edge nearest to an even threshold
    precision = tp / (tp + fp) if tp + fp else None
    return [
        Cell(words.format(t=text) if words else text, t, "ok" if words else ""),
        of_count(tp + fp),
        of_share(precision),
        of_share(tp / curve.positives),
        of_share(2 * tp / (tp + fp + curve.positives)),
        of_share(fp / curve.negatives),
    ]


def agreement(facts: Regression, id: str) -> Figure:
    """Draw predictions against targets."""
    ends = span([v for pair in facts.sample for v in pair])
    line = Trace([(ends[0], ends[0]), (ends[1], ends[1])], muted=True)
    title = _("Prediction against target")
    caption = _("{n} values drawn from all data. Points on the dashed line are right.").format(n=len(facts.sample))
    caption += _in_spreads(facts)
    traces = [line, Trace(facts.sample, dots=True, line=False)]
    drawing = plane(traces, Axis(_("target"), *ends), Axis(_("prediction"), *ends), title)
    return Figure(id=f"{id}agreement", title=title, caption=caption, drawing=drawing)


def residuals(facts: Regression, id: str) -> Figure | None:
    """Draw how residuals are distributed; None where they do not vary."""
    binned = _binned(facts)
    if binned is None:
        return None
    low, high, counts = binned
    step = (high - low) / _RESIDUAL_BINS
    peak = max(counts)
    outline = [(low + (i + side) * step, c) for i, c in enumerate(counts) for side in (0, 1)]
    title = _("Residuals")
    caption = _(
        "Prediction minus target over all samples; the dashed line is zero. Healthy residuals are a single, "
        "narrow hump about zero."
    )
    if facts.standardised:
        caption = _("Of the values drawn: a single, narrow hump about the dashed zero is healthy.") + _in_spreads(facts)
    x = Axis(_("prediction − target"), *span([0.0, low, high]))
    traces = [Trace(outline, filled=True), Trace([(0.0, 0.0), (0.0, peak * 1.05)], muted=True)]
    drawing = plane(traces, x, Axis(_("samples"), 0.0, peak * 1.05), title)
    return Figure(id=f"{id}residuals", title=title, caption=caption, drawing=drawing)


def _binned(facts: Regression) -> tuple[float, float, list[float]] | None:
    """Count residuals in even bins between the least and the greatest; None where they do not vary."""
    if facts.standardised:
        found = [p - t for t, p in facts.sample]
        low, high = min(found, default=0.0), max(found, default=0.0)
        if not high > low:
            return None
        counts = [0.0] * _RESIDUAL_BINS
        for value in found:
            counts[min(int((value - low) / (high - low) * _RESIDUAL_BINS), _RESIDUAL_BINS - 1)] += 1
        return low, high, counts
    stats = facts.residual
    if stats.histogram is None or stats.min is None or stats.max is None or not stats.max > stats.min:
        return None
    return stats.min, stats.max, stats.histogram.rebin(stats.min, stats.max, _RESIDUAL_BINS)


def _in_spreads(facts: Regression) -> str:
    """Say in which unit several targets are shown in one figure."""
    if not facts.standardised:
        return ""
    return " " + _("Each target less its mean, in its own standard deviations, so that all of them are seen.")


def residuals_by_prediction(facts: Regression, id: str) -> Figure:
    """Draw residuals against predictions."""
    points = [(p, p - t) for t, p in facts.sample]
    x, y = span([p for p, _e in points]), span([0.0, *(e for _p, e in points)])
    zero = Trace([(x[0], 0.0), (x[1], 0.0)], muted=True)
    traces = [zero, Trace(points, dots=True, line=False)]
    title = _("Residual against prediction")
    caption = _(
        "A good cloud is level and even about zero; a bend is structure that was not learned, a funnel an error that "
        "grows with the prediction."
    )
    if facts.spread_correlation is not None:
        told = _("Rank correlation of |residual| with the prediction: {value}.")
        caption += " " + told.format(value=short(round(facts.spread_correlation, 2)))
    drawing = plane(traces, Axis(_("prediction"), *x), Axis(_("prediction − target"), *y), title)
    return Figure(id=f"{id}residuals-by-prediction", title=title, caption=caption, drawing=drawing)


def by_decile(facts: Regression, id: str) -> Figure:
    """Draw the error by tenth of the targets."""
    points = [(i + 1.0, d.mae) for i, d in enumerate(facts.deciles)]
    hover = [
        _("targets from {low} to {high}: MAE {mae}, bias {bias}").format(
            low=number(d.low), high=number(d.high), mae=number(d.mae), bias=number(d.bias)
        )
        for d in facts.deciles
    ]
    bias = Trace([(i + 1.0, d.bias) for i, d in enumerate(facts.deciles)], label=_("bias"))
    high = span([0.0, *(d.mae for d in facts.deciles), *(d.bias for d in facts.deciles)])
    title = _("Error by tenth of the targets")
    caption = _(
        "From the lowest targets to the highest. A good error is even; a bias that falls from left to right means "
        "predictions are drawn to the middle."
    ) + _in_spreads(facts)
    traces = [Trace(points, label=_("mean absolute error"), dots=True, hover=hover), bias]
    drawing = plane(traces, Axis(_("tenth of the targets"), 0.5, 10.5, whole=True), Axis(_("error"), *high), title)
    return Figure(id=f"{id}error-by-decile", title=title, caption=caption, drawing=drawing)


def by_position(facts: TokenScores, id: str) -> Figure:
    """Draw the loss by place in the sequence, each step twice as far."""
    points = [(float(i), nll) for i, (_place, _n, nll) in enumerate(facts.by_position)]
    hover = [
        _("from position {place}: {n} tokens, loss {nll}").format(place=place, n=count(n), nll=number(nll))
        for place, n, nll in facts.by_position
    ]
    level = Trace([(0.0, facts.entropy), (float(len(points) - 1), facts.entropy)], muted=True)
    high = span([0.0, facts.entropy, *(nll for _i, nll in points)])
    title = _("Loss by position")
    caption = _(
        "Positions 0, 1, 2 to 3, 4 to 7 and so on. A model that uses its context falls from left to right; the dashed "
        "line is what the frequencies of the tokens reach."
    )
    ends = [str(place) if place < 2 else f"{place}–{2 * place - 1}" for place, _n, _nll in facts.by_position]
    x = Axis(_("position"), 0.0, max(float(len(points) - 1), 1.0), names=ends)
    drawing = plane([level, Trace(points, dots=True, hover=hover)], x, Axis(_("loss by token"), *high), title)
    return Figure(id=f"{id}loss-by-position", title=title, caption=caption, drawing=drawing)
