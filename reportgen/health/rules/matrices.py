"""Rules on the inside of weights: what a reviewer wants to know of them, and none of it a fault by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from ...document.course import CourseRow
from ...document.facts import Finding, Report, Severity, WeightRow
from ...document.matrices import MatrixFacts
from ..context import Context
from ..thresholds import Thresholds

SECTION = "weights"
_FEW = 16  # channels, and values in one, below which shares of them say nothing
_FEW_MATRICES = 3
_APART = 5.0  # times what other matrices did at the same place


def w_dead_filters(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels whose weights are a thousand times smaller than those of their neighbours. Informs only.

    More than a fifth of the channels of a layer have a norm below 1e-3 of the median norm, behind the batch norm where
    one follows (gain times norm over running deviation, as network slimming has it, Liu et al. 2017). Relative to the
    layer, so that neither fan-in nor initialisation matters. Channels that are zero throughout count, as a pruned layer
    has them, and where most are zero they alone; a layer that is zero as a whole is passed over, and so is one whose
    norm has a gain of zero, for branches often start so.
    """
    found = [
        (dead / matrix.channels, f.zero, row, matrix)
        for row, matrix in _matrices(report)
        if (f := matrix.filters) is not None
        and (dead := f.dead if f.norm_median > 0 else f.zero) > limits.dead_filters * matrix.channels
        and f.zero < matrix.channels
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


def q_channel_range(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels of very different size, behind the batch norm that follows. Informs only.

    The largest norm of a channel is more than 10 times the median, gain over running deviation included where a batch
    norm follows: that is the weight which is rounded, for converters fold the norm into it. One scale for the tensor
    then leaves few of its 256 steps to most channels (Nagel et al. 2019: MobileNetV2 falls from 71 % to 0.1 %). Random
    channels stay within twice the median. Fewer than 16 channels, and layers of which half the channels hardly weigh
    anything, are passed over, and those of which ``q-weight-sqnr`` tells. With one scale a channel, as usual today, it
    does no harm.
    """
    rows = report.weights.rows if report.weights is not None else []
    found = [
        (f.norm_high / f.norm_median, row, matrix)
        for row in rows
        for matrix in row.matrices
        if (f := matrix.filters) is not None
        and matrix.channels >= _FEW
        and f.norm_median > 0
        and f.norm_high > limits.channel_ratio * f.norm_median
        and 2 * f.dead < matrix.channels
        and not _coarse(matrix, limits)
    ]
    if found:
        ratio, row, matrix = max(found, key=lambda one: one[0])
        yield Finding(
            rule="q-channel-range",
            severity=Severity.INFO,
            subject=_name(row, matrix),
            section=SECTION,
            evidence={"ratio": ratio, "channels": matrix.channels, "layers": len({row.name for _, row, _ in found})},
            threshold={"ratio": limits.channel_ratio},
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


def weights_jump(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A weight matrix that moved far more between two checkpoints than before and after. Informs only.

    More than 10 times either neighbouring step, more than 1e-3 of its norm, and five times what the other matrices did
    at that place by their median: a checkpoint left out, a raised rate or a restart moves all of them alike and is no
    jump of a layer. The first step of a run, which is the longest, and a layer that rested before do not count.
    """
    course = report.weights.course if report.weights is not None else None
    rows = [row for row in course.rows if len(row.shape) >= 2 and any(row.norms)] if course is not None else []
    usual = usual_steps(rows)
    found = [
        (ratio, at, row) for row in rows if (jump := jump_of(row, usual, limits)) is not None for at, ratio in (jump,)
    ]
    if course is not None and found:
        ratio, at, row = max(found, key=lambda one: one[0])
        yield Finding(
            rule="weights-jump",
            severity=Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={"ratio": ratio, "moved": row.moved[at], "tensors": len(found)},
            threshold={"ratio": limits.course_jump},
            detail={"after": course.checkpoints[at], "before": course.checkpoints[at + 1]},
        )


def usual_steps(rows: Sequence[CourseRow]) -> list[float]:
    """Return for each step how many times its neighbours it is, by the median of the matrices; none of very few."""
    known = [row for row in rows if len(row.shape) >= 2 and any(row.norms)]
    if len(known) < _FEW_MATRICES:
        return []
    return [median(_over_neighbours(row, i) for row in known) for i in range(len(known[0].moved))]


def jump_of(row: CourseRow, usual: Sequence[float], limits: Thresholds) -> tuple[int, float] | None:
    """Return at which step a tensor jumped and by how many times its neighbouring steps; None where it did not."""
    for i in range(1, min(len(row.moved), len(usual))):
        ratio = _over_neighbours(row, i)
        if ratio > limits.course_jump and row.moved[i] > limits.course_moved and ratio > _APART * usual[i]:
            return i, ratio
    return None


def _over_neighbours(row: CourseRow, i: int) -> float:
    """Return a step over the longer one of those beside it; 0 for the first, and for one after rest."""
    if not i:
        return 0.0
    beside = max([row.moved[i - 1], *row.moved[i + 1 : i + 2]])
    return row.moved[i] / beside if row.moved[i - 1] > 0 else 0.0


def _coarse(matrix: MatrixFacts, limits: Thresholds) -> bool:
    """Tell whether even without any norm a single scale is too coarse."""
    q = matrix.quantisation
    return q is not None and q.int8_tensor is not None and q.int8_tensor < limits.sqnr


def _matrices(report: Report) -> Iterator[tuple[WeightRow, MatrixFacts]]:
    """Yield the matrices with their rows; those of depthwise convolutions, whose channels are tiny, are left out."""
    for row in report.weights.rows if report.weights is not None else []:
        if row.kind != "depthwise convolution":
            for matrix in row.matrices:
                yield row, matrix


def _name(row: WeightRow, matrix: MatrixFacts) -> str:
    return f"{row.name} · {matrix.part}" if matrix.part else row.name


RULES = (w_dead_filters, w_copies, q_weight_sqnr, q_channel_range, norm_gain, weights_rest, weights_jump)
