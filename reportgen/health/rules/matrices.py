"""Rules on the inside of weights: what a reviewer wants to know of them, and none of it a fault by itself."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ...document.facts import Finding, Report, Severity, WeightRow
from ...document.matrices import MatrixFacts
from ..context import Context
from ..thresholds import Thresholds

SECTION = "weights"
_FEW = 16  # channels, and values in one, below which shares of them say nothing


def w_dead_filters(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels whose weights are a thousand times smaller than those of their neighbours. Informs only.

    More than a fifth of the channels of a layer have a norm below 1e-3 of the median norm, behind the batch norm where
    one follows (gain times norm over running deviation, as network slimming has it, Liu et al. 2017). Relative to the
    layer, so that neither fan-in nor initialisation matters. Channels that are zero throughout count, as a pruned layer
    has them; a layer of which most channels are zero is passed over, for branches often start so (a zero gain).
    """
    found = [
        (f.dead / matrix.channels, f.zero, row, matrix)
        for row, matrix in _matrices(report)
        if (f := matrix.filters) is not None
        and f.norm_median > 0
        and f.dead > limits.dead_filters * matrix.channels
        and matrix.channels >= _FEW
    ]
    if found:
        share, zero, row, matrix = max(found, key=lambda one: one[0])
        yield Finding(
            rule="w-dead-filters",
            severity=Severity.INFO,
            subject=_name(row, matrix),
            section=SECTION,
            evidence={
                "share": share,
                "channels": matrix.channels,
                "zero": zero / matrix.channels,
                "layers": len({row.name for _, _, row, _ in found}),
            },
            threshold={"share": limits.dead_filters},
        )


def w_copies(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels that repeat another one to the bit. Informs only.

    More than a fifth of the channels of a layer with at least 16 values a channel; zero channels are left out. Training
    never makes two alike: they were made so (a bad initialisation, from which they cannot part; a widened layer; an
    initialisation for sub-pixel convolutions; fixed filters). That units of a model stay alike in training,
    ``equal-units`` tells.
    """
    found = [
        (f.copies / matrix.channels, row, matrix)
        for row, matrix in _matrices(report)
        if (f := matrix.filters) is not None
        and f.copies > limits.copied_filters * matrix.channels
        and min(matrix.channels, matrix.fan_in) >= _FEW
    ]
    if found:
        share, row, matrix = max(found, key=lambda one: one[0])
        yield Finding(
            rule="w-copies",
            severity=Severity.INFO,
            subject=_name(row, matrix),
            section=SECTION,
            evidence={
                "share": share,
                "channels": matrix.channels,
                "layers": len({row.name for _, row, _ in found}),
            },
            threshold={"share": limits.copied_filters},
        )


def q_weight_sqnr(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weights that do not survive rounding to 8 bits with one scale for the whole tensor. Informs only.

    Signal to noise of symmetric rounding to nearest below 25 dB, which is where a single far value sets the scale:
    normal weights have 52.9 - 20·log10(largest/std) dB, that is 38 dB at a million values. With one scale a channel
    the same weights may keep their accuracy (evidence ``channel``). Large language models have such layers and work.
    """
    found = [
        (q.int8_tensor, q.int8_channel, row, matrix)
        for row, matrix in _matrices(report)
        if (q := matrix.quantisation) is not None and q.int8_tensor is not None and q.int8_tensor < limits.sqnr
    ]
    if found:
        tensor, channel, row, matrix = min(found, key=lambda one: one[0])
        evidence = {"tensor": tensor, "layers": float(len({row.name for _, _, row, _ in found}))}
        yield Finding(
            rule="q-weight-sqnr",
            severity=Severity.INFO,
            subject=_name(row, matrix),
            section=SECTION,
            evidence=evidence if channel is None else evidence | {"channel": channel},
            threshold={"decibels": limits.sqnr},
        )


def norm_gain(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A norm layer with a gain more than 20 times the median of its gains. Informs only.

    Such channels carry outliers from there on: activations are then hard to round to 8 bits. Norms that multiply by
    1 + gain (their gains scatter around zero), and those with fewer than 16 gains or a median of zero, are passed over.
    """
    rows = report.weights.rows if report.weights is not None else []
    found = [
        (g.largest, row)
        for row in rows
        if (g := row.gains) is not None
        and not g.around_zero
        and g.median > 0
        and row.stats is not None
        and row.stats.count >= _FEW
        and g.largest > limits.gain_ratio
    ]
    if found:
        largest, row = max(found, key=lambda one: one[0])
        yield Finding(
            rule="norm-gain",
            severity=Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={"ratio": largest, "layers": len(found)},
            threshold={"ratio": limits.gain_ratio},
        )


def weights_rest(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices that are the same to the bit in all checkpoints, while others learn. Informs only.

    Others: at least half of the matrices moved by more than 1e-3 of their norm over all steps together. Freezing a
    backbone is usual; a layer that nobody meant to freeze (left out of the optimizer, cut from the graph) looks alike.
    """
    course = report.weights.course if report.weights is not None else None
    rows = [row for row in course.rows if len(row.shape) >= 2 and any(row.norms)] if course is not None else []
    rest = [row for row in rows if not any(row.moved)]
    if course is None or not rest or median(sum(row.moved) for row in rows) <= limits.course_moved:
        return
    yield Finding(
        rule="weights-rest",
        severity=Severity.INFO,
        subject=rest[0].name,
        section=SECTION,
        evidence={"tensors": len(rest), "of": len(rows), "checkpoints": len(course.checkpoints)},
        threshold={"moved": limits.course_moved},
    )


def _matrices(report: Report) -> Iterator[tuple[WeightRow, MatrixFacts]]:
    """Yield the matrices with their rows; those of depthwise convolutions, whose channels are tiny, are left out."""
    for row in report.weights.rows if report.weights is not None else []:
        if row.kind != "depthwise convolution":
            for matrix in row.matrices:
                yield row, matrix


def _name(row: WeightRow, matrix: MatrixFacts) -> str:
    return f"{row.name} · {matrix.part}" if matrix.part else row.name


RULES = (w_dead_filters, w_copies, q_weight_sqnr, norm_gain, weights_rest)
