"""Rules on what the layers put out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ...document.facts import ActivationRow, ChannelFacts, Finding, Report, Severity
from ..context import Context, norms_at_start
from ..thresholds import Thresholds
from .capacity import through_one

SECTION = "activations"
_SEVERAL = 3  # channels, of which one alone can be left for want of the others


def act_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The first layer, in order of execution, that puts out NaN or infinity.

    Counted over every element of every batch. Only -inf and nothing else is what a mask looks like, and informs.
    """
    if report.activations is None:
        return
    bad = [row for row in report.activations.rows if row.stats.nonfinite]
    if not bad:
        return
    first = min(bad, key=lambda row: row.order)
    masked = all(row.stats.nan == 0 and row.stats.pos_inf == 0 for row in bad)
    yield Finding(
        rule="act-nonfinite",
        severity=Severity.INFO if masked else Severity.ERROR,
        subject=first.name,
        section=SECTION,
        evidence={
            "nan": first.stats.nan,
            "inf": first.stats.pos_inf + first.stats.neg_inf,
            "count": first.stats.count,
            "layers": len(bad),
        },
        threshold={"nonfinite": 0},
        detail={"kind": first.kind},
    )


def dead_relu(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Share of a ReLU layer's channels that were above zero on no sample, at no position.

    Per channel over all samples, not the share of zeros: a healthy layer has a third to two thirds of zeros, and
    healthy trained models have up to 38 % of channels that never fire. So a warning needs more than half of a layer
    and a model that does not work, or a layer of three or more of which one channel is left, with nothing running past,
    in a model of a poor fit that a single number passes (see ``too-narrow``): that channel is the number. An error
    needs practically all of a layer that nothing runs past. On fewer than 300 samples a channel is only silent on this
    probe: it may still fire with p <= 3/N. Noise inputs say nothing. The state that a loop over one layer begins with,
    zeros throughout, is none that fell silent: a first call without any channel that fires does not count where later
    calls fire. Wrong for layers that are sparse by design (mixtures of experts, top-k).
    """
    if report.activations is None or not context.real_data:
        return
    alone = through_one(report, context, limits) is not None
    for row in report.activations.rows:
        if not row.rectifier or row.stats.nonfinite or not row.channels:
            continue
        worst = max(_after_the_start(row, "silent"), key=_silent_share)
        share = _silent_share(worst)
        if share > limits.dead_relu_info:
            least = Severity.WARNING if alone and _is_narrowed(row, worst, limits) else Severity.INFO
            yield Finding(
                rule="dead-relu",
                severity=max(_dead_severity(row, worst, context, limits), least, key=lambda s: s.rank),
                subject=row.name,
                section=SECTION,
                evidence={
                    "share": share,
                    "silent": worst.silent,
                    "channels": worst.n_channels,
                    "samples": worst.n_samples,
                    "may_fire": min(1.0, 3 / max(worst.n_samples, 1)),
                },
                threshold={"warning": limits.dead_relu_warning, "error": limits.dead_relu_error},
            )


def _after_the_start(row: ActivationRow, count: Literal["silent", "constant"]) -> list[ChannelFacts]:
    """Return the calls of a layer, without a first one that only a state begun with zeros explains.

    Only what is read, or an affine layer puts out: a rectifier's own first call reads what a layer before it made.
    """
    first, later = row.channels[0], row.channels[1:]
    whole = 0 < first.n_channels == getattr(first, count)
    if row.rectifier and not row.functional:
        return row.channels
    return later if whole and later and all(getattr(c, count) < c.n_channels for c in later) else row.channels


def _silent_share(channels: ChannelFacts) -> float:
    return channels.silent / channels.n_channels if channels.n_channels else 0.0


def _is_narrowed(row: ActivationRow, worst: ChannelFacts, limits: Thresholds) -> bool:
    """Tell whether a single channel of several is left, and all goes through it."""
    one_left = worst.n_channels >= _SEVERAL and worst.n_channels - worst.silent == 1
    return one_left and not row.bypassed and worst.n_samples >= limits.dead_relu_samples


def _dead_severity(row: ActivationRow, worst: ChannelFacts, context: Context, limits: Thresholds) -> Severity:
    share = _silent_share(worst)
    whole_layer = share >= limits.dead_relu_error and worst.n_samples >= limits.input_samples
    if whole_layer and not row.bypassed:
        return Severity.ERROR
    if context.outcome_ok or worst.n_samples < limits.dead_relu_samples:
        return Severity.INFO
    return Severity.WARNING if share > limits.dead_relu_warning else Severity.INFO


def constant_channel(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Share of a layer's channels that say the same to every sample.

    A channel is constant when its whole range is below 1e-3 of the layer's standard deviation. More than half of a
    layer is a warning unless the model works; a constant output of the whole model is an error. Silent ReLU channels
    are counted by dead-relu, not here, and a first call on a state of zeros is left out as there. Says nothing of
    untrained models (a zero-initialised branch is constant by design).
    """
    if report.activations is None or not context.real_data or context.state == "untrained":
        return
    rows = [row for row in report.activations.rows if row.channels and not row.stats.nonfinite]
    last = max((row.order for row in rows), default=-1)
    for row in rows:
        worst = max(_after_the_start(row, "constant"), key=lambda c: c.constant / max(c.n_channels, 1))
        share = worst.constant / max(worst.n_channels, 1)
        collapsed = row.order == last and worst.constant == worst.n_channels
        if worst.n_samples < limits.input_samples or not (collapsed or share > limits.constant_channel_info):
            continue
        severity = Severity.INFO
        if collapsed:
            severity = Severity.ERROR
        elif share > limits.constant_channel_warning and not context.outcome_ok and not row.bypassed:
            severity = Severity.WARNING
        yield Finding(
            rule="constant-channel",
            severity=severity,
            subject=row.name,
            section=SECTION,
            evidence={"share": share, "constant": worst.constant, "channels": worst.n_channels},
            threshold={"warning": limits.constant_channel_warning},
        )


def bn_stats_mismatch(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Running statistics of a batch norm that do not describe the data it sees.

    Median over channels of |mean of data - running mean| / sqrt(running var + eps) and of |ln var ratio|. Healthy: at
    most 0.06 and 0.08; broken statistics or other inputs: 3 and more. Needs 256 real samples, and norms that have seen
    a training batch. Below 2 and 2.3 it informs where the model works and the trial of both modes found the loss with
    the running statistics no more than a tenth above that with the batch's own; beyond them too where it is less than
    half of that: the model was trained with these statistics (norms held while fine-tuning) and knows no others. Wrong
    when the probe is meant to come from another source than the training data.
    """
    if report.activations is None or not context.real_data:
        return
    for row in report.activations.norms:
        if row.n_samples < limits.bn_samples or row.at_default:
            continue
        if row.mean_gap > limits.bn_mean_warning or row.log_var_gap > limits.bn_var_warning:
            far = row.mean_gap > limits.bn_mean_error or row.log_var_gap > limits.bn_var_error
            grave = Severity.ERROR if far and not context.outcome_ok else Severity.WARNING
            yield Finding(
                rule="bn-stats-mismatch",
                severity=Severity.INFO if _cost_at_most(0.5 if far else 1.1, report, context) else grave,
                subject=row.name,
                section=SECTION,
                evidence={"mean_gap": row.mean_gap, "log_var_gap": row.log_var_gap, "samples": row.n_samples},
                threshold={"mean_gap": limits.bn_mean_warning, "log_var_gap": limits.bn_var_warning},
            )


def _cost_at_most(share: float, report: Report, context: Context) -> bool:
    """Tell whether the model works, and its loss by running statistics is at most a share of that by the batch's."""
    trial = report.tried("train-and-eval")
    if trial is None or "norms_loss" not in trial.numbers or not context.outcome_ok:
        return False
    return trial.numbers["eval_loss"] <= share * trial.numbers["norms_loss"]


def bn_never_updated(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A batch norm of a trained model that has never seen a training batch: it still normalises by mean 0, variance 1.

    Running mean 0 and variance 1 exactly, so a fact; the counter alone would not do, as old files lack it. Of a file
    alone it is a warning. Wrong for a model whose buffers were not exported with it.
    """
    if context.state != "trained":
        return
    if report.activations is not None:
        grave = Severity.WARNING if context.outcome_ok else Severity.ERROR
        found = [(row.name, row.batches_tracked or 0) for row in report.activations.norms if row.at_default]
    else:
        grave = Severity.WARNING
        found = [(name, 0) for name in norms_at_start(report.weights)] if report.weights is not None else []
    for name, batches in found:
        yield Finding(
            rule="bn-never-updated",
            severity=grave,
            subject=name,
            section=SECTION,
            evidence={"batches_tracked": batches},
        )


RULES = (act_nonfinite, dead_relu, constant_channel, bn_stats_mismatch, bn_never_updated)
