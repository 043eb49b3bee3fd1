"""Rules on activations that reach far beyond the others, sit in one place, or are pushed aside by a bias."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "activations"
_LEAST_CHANNELS = 32


def bias_extreme(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Units of a hidden layer whose bias outweighs all that reaches them: |b| above 5 rms(Wx). Informs only.

    Such a unit hardly depends on the input; below zero and before a rectifier it never fires, so this says why a layer
    is dead. More than a tenth of the units are asked for. The last layer is left out: its bias holds the mean of the
    targets, or the prior of rare classes (-4.6 for one in a hundred), and is healthy there.
    """
    if report.activations is None or not context.real_data:
        return
    counts = [(row, [c for c in row.channels if c.pushed_off is not None]) for row in report.activations.rows]
    known = [(row, counted) for row, counted in counts if counted]
    last = max((row.order for row, _ in known), default=-1)  # an activation may follow it
    for row, counted in known:
        if row.order == last or row.stats.nonfinite:
            continue
        worst = max(counted, key=lambda c: ((c.pushed_off or 0) + (c.pushed_on or 0)) / c.n_channels)
        off, on = worst.pushed_off or 0, worst.pushed_on or 0
        if (off + on) / worst.n_channels > limits.pushed and worst.n_samples >= limits.dead_relu_samples:
            yield Finding(
                rule="bias-extreme",
                severity=Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"off": off, "on": on, "channels": worst.n_channels, "share": (off + on) / worst.n_channels},
                threshold={"share": limits.pushed},
            )


def outlier_channels(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A channel of a layer reaches more than 20 times as far as the median channel. Informs only.

    The scale-free form of the outlier features of large language models (Dettmers et al. 2022 count magnitudes above
    6): one scale for the tensor then leaves the other channels a few steps of eight bits. Layers of at least 32
    channels count, rectified or not; the worst is named. Healthy in transformers, and in layers with dead channels
    the median of those that live is taken.
    """
    if report.activations is None or not context.real_data:
        return
    found = [
        (c.reach, row, c.reach_channel)
        for row in report.activations.rows
        for c in row.channels[:1]
        if c.reach is not None and c.n_channels >= _LEAST_CHANNELS and c.reach > limits.reach and not row.functional
    ]
    if found:
        reach, worst, channel = max(found, key=lambda item: item[0])
        yield Finding(
            rule="outlier-channels",
            severity=Severity.INFO,
            subject=worst.name,
            section=SECTION,
            evidence={"reach": reach, "layers": len({row.name for _, row, _ in found})},
            threshold={"reach": limits.reach},
            detail={"channel": str(channel)},
        )


def spatial_concentration(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The energy of maps of at least 7x7 sits in 2 % of their places. Informs only.

    Measured: (sum of the energy of all places)^2 over the number of places times the sum of its squares, 1 for an even
    map. Registers of vision transformers (Darcet et al. 2024), a border that padding makes, or one bright thing on an
    empty ground look like this; so do heat maps, which are meant to.
    """
    if report.activations is None or not context.real_data:
        return
    found = [
        (row.concentration, row)
        for row in report.activations.rows
        if row.concentration is not None and row.concentration < limits.concentrated  # never of smaller maps
    ]
    if found:
        share, worst = min(found, key=lambda item: item[0])
        yield Finding(
            rule="spatial-concentration",
            severity=Severity.INFO,
            subject=worst.name,
            section=SECTION,
            evidence={"concentration": share, "layers": len(found)},
            threshold={"concentration": limits.concentrated},
        )


def block_overwrites(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Several blocks add more than ten times what they read: rms(output - input) over rms(input). Informs only.

    The skip connection then carries next to nothing, and depth costs as it does without one. Two blocks at least count,
    the first of the model left out: embeddings begin small, and the first block of a healthy transformer overwrites
    them. Wrong for blocks that keep the shape without a skip connection.
    """
    if report.activations is None or context.state == "untrained":
        return
    rows = sorted(report.activations.blocks, key=lambda row: row.order)[1:]
    over = [row for row in rows if row.change > limits.overwritten]
    if len(over) > 1:
        worst = max(over, key=lambda row: row.change)
        yield Finding(
            rule="block-overwrites",
            severity=Severity.INFO,
            subject=worst.name,
            section=SECTION,
            evidence={"change": worst.change, "blocks": len(over), "of": len(rows) + 1},
            threshold={"change": limits.overwritten},
            detail={"kind": worst.kind},
        )


RULES = (bias_extreme, outlier_channels, spatial_concentration, block_overwrites)
