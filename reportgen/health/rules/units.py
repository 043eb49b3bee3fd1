"""Rules on single units, heads and blocks: stuck, idle, or far beyond the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...document.facts import ActivationRow, Finding, Report, Severity
from ...document.stats import Histogram, bin_edges
from ..context import Context
from ..curves import losses
from ..skill import skill_of
from ..thresholds import Thresholds
from .fit import behind_neighbours
from .training import is_poor

SECTION = "activations"
_GATES = ("Sigmoid", "Hardsigmoid")


def dead_smooth(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Share of the channels of a GELU, SiLU or similar layer that never leave its flat end.

    The counterpart of dead-relu for activations that come close to zero without being zero: the slope is below 1e-3
    for inputs below -3.9 (GELU) or -9 (SiLU), told from the output. Same gates as dead-relu: a warning needs more than
    half of a layer, 300 samples and a model that does not work; an error practically all of a layer that nothing runs
    past.
    """
    if report.activations is None or not context.real_data:
        return
    for row in report.activations.rows:
        counted = [c for c in row.channels if c.idle is not None and c.n_channels]
        if not counted or row.stats.nonfinite:
            continue
        worst = max(counted, key=lambda c: (c.idle or 0) / c.n_channels)
        share = (worst.idle or 0) / worst.n_channels
        if share <= limits.dead_relu_info:
            continue
        severity = Severity.INFO
        enough = worst.n_samples >= limits.dead_relu_samples
        if share >= limits.dead_relu_error and enough and not row.bypassed:
            severity = Severity.ERROR
        elif share > limits.dead_relu_warning and enough and not context.outcome_ok:
            severity = Severity.WARNING
        yield Finding(
            rule="dead-smooth",
            severity=severity,
            subject=row.name,
            section=SECTION,
            evidence={"share": share, "channels": worst.n_channels, "samples": worst.n_samples},
            threshold={"warning": limits.dead_relu_warning, "error": limits.dead_relu_error},
            detail={"kind": row.kind},
        )


def saturation(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Share of the units of a tanh or sigmoid layer that sit near an end for more than 95 % of their values.

    Near an end: |tanh| > 0.97 (slope below 0.06), sigmoid outside 0.03 to 0.97. A warning needs more than half of the
    units, 300 samples, and a model that does not work, or whose training loss ended above 0.6 of what a constant guess
    (or the start) gives: it may beat a guess by what still passes. Units that leap from end to end are stuck at both: a
    warning too where more than 0.6 of all values lie near an end and the skill on the data given (see
    ``o-skill-lost``) is below a half. Output layers and gates are meant to saturate: the
    last layer is left out, and a sigmoid inside a block only informs. So are those called as functions (``F.tanh``,
    ``torch.sigmoid``), of which what is multiplied with something is a gate and left out.
    """
    if not context.real_data:
        return
    rows = report.activations.rows if report.activations is not None else []
    last = max((row.order for row in rows), default=-1)
    train, _ = losses(report.training, limits)
    fine = context.outcome_ok and not (train is not None and is_poor(train, context))
    skill = skill_of(report, context)
    short = skill is not None and skill.given < 0.5
    for row in rows:
        counted = [c for c in row.channels if c.saturated is not None and c.n_channels]
        if not counted or row.order == last or row.stats.nonfinite:
            continue
        worst = max(counted, key=lambda c: (c.saturated or 0) / c.n_channels)
        share = (worst.saturated or 0) / worst.n_channels
        leaps = short and (row.saturated_share or 0.0) > limits.saturated_values
        if share <= limits.saturation_info and not leaps:
            continue
        gate = row.bypassed and row.kind in _GATES
        sick = (share > limits.saturation_warning and not fine) or leaps
        yield Finding(
            rule="saturation",
            severity=Severity.WARNING
            if sick and not gate and worst.n_samples >= limits.dead_relu_samples
            else Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={
                "share": share,
                "channels": worst.n_channels,
                "values": row.saturated_share or 0.0,
                "samples": worst.n_samples,
            },
            threshold={"values": limits.saturated_values} if leaps else {"warning": limits.saturation_warning},
            detail={"kind": row.kind},
        )
    yield from _at_ends(report, limits, fine=fine, short=short)


def _at_ends(report: Report, limits: Thresholds, *, fine: bool, short: bool) -> Iterator[Finding]:
    """Find units stuck at the ends of a function that no module stands for."""
    trial = report.tried("function-ends")
    n = trial.numbers if trial is not None else {}
    leaps = short and n.get("values", 0.0) > limits.saturated_values
    if trial is None or (n["share"] <= limits.saturation_info and not leaps):
        return
    sick = (n["share"] > limits.saturation_warning and not fine) or leaps
    yield Finding(
        rule="saturation",
        severity=Severity.WARNING if sick and n["samples"] >= limits.dead_relu_samples else Severity.INFO,
        subject=trial.detail.get("behind") or "model",
        section=SECTION,
        evidence={key: n[key] for key in ("share", "channels", "values", "samples")},
        threshold={"values": limits.saturated_values} if leaps else {"warning": limits.saturation_warning},
        detail={"kind": trial.detail.get("kind", "")},
    )


def attention_collapse(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Attention heads whose softmax is stuck: each query looks at one key, by logits far beyond what that takes.

    A head counts when its normalised entropy is below 0.1 and its logits spread by more than 4·sqrt(2 ln T) (the
    freezing point of T Gaussian logits). Heads that look at one key are healthy as such (previous token, sinks), so a
    warning needs more than half of the heads in two layers and a model that does not work, or does clearly less than
    its nearest neighbours. Attention that is written out is judged by its softmax for one sample, and told of only
    where that is a warning. ``driven`` by the steps: matrices of that layer grew to five times the size that they began
    the run with, and that was a usual one. Zhai et al. 2023.
    """
    if report.activations is None or not context.real_data:
        return
    layers = [
        _Heads(row.name, row.n_queries, row.entropy, row.logit_std, row.logit_max)
        for row in report.activations.attention
        if row.entropy and row.mask_known
    ]
    written = [] if report.attention is None else [a for a in report.attention.layers if a.entropy and a.logit_std]
    known = {row.name for row in report.activations.attention}
    others = [_Heads(a.name, a.n_keys, a.entropy, a.logit_std) for a in written if a.name not in known]
    stuck = [(share, row) for row in (*layers, *others) if (share := _stuck_share(row, limits)) > 0.5]
    behind = behind_neighbours(report, context, limits) is not None
    sick = len(stuck) >= 2 and (behind or not context.outcome_ok)
    told = [(share, row) for share, row in stuck if sick or row in layers]
    if not told:
        return
    share, worst = max(told, key=lambda item: item[0])
    evidence: dict[str, float] = {"share": share, "layers": len(told), "of": len(layers) + (len(others) if sick else 0)}
    if worst.logit_max is not None:
        evidence["logit_max"] = worst.logit_max
    yield Finding(
        rule="attention-collapse",
        severity=Severity.WARNING if sick else Severity.INFO,
        subject=worst.name or "model",
        section=SECTION,
        evidence=evidence,
        threshold={"entropy": limits.attention_entropy, "share": 0.5},
        detail={"driven": "steps"} if _was_driven(report, worst.name, limits) else {},
    )


def _was_driven(report: Report, layer: str, limits: Thresholds) -> bool:
    """Tell whether a matrix of a layer grew five times in the run, from a usual size."""
    rows = {row.name: row for row in report.weights.rows} if report.weights is not None else {}
    for run in report.training.parameters if report.training is not None else []:
        row = rows.get(run.name)
        if not layer or not run.name.startswith(f"{layer}.") or row is None or row.stats is None or not row.fan_in:
            continue
        start = (run.start_rms or 0.0) * row.fan_in**0.5
        usual = limits.weight_scale_info_low <= start <= limits.weight_scale_info_high
        if usual and (row.stats.rms or 0.0) > 5 * (run.start_rms or math.inf):
            return True
    return False


class _Heads(NamedTuple):
    """The heads of one call of attention."""

    name: str
    n_keys: int
    entropy: Sequence[float | None]
    spread: Sequence[float | None]
    logit_max: float | None = None


def _stuck_share(row: _Heads, limits: Thresholds) -> float:
    frozen = limits.attention_spread * math.sqrt(2 * math.log(max(row.n_keys, 2)))
    pairs = [(e, s) for e, s in zip(row.entropy, row.spread, strict=False) if e is not None and s is not None]
    return sum(e < limits.attention_entropy and s > frozen for e, s in pairs) / len(row.entropy)


def idle_block(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Blocks that hand their input on unchanged: rms(output - input) below 1e-3 of rms(input). Informs only.

    Healthy for branches that start at zero (zero-initialised residuals, LayerScale, LoRA) and for models made deeper
    than the task asks; such a block can be pruned.
    """
    if report.activations is None or context.state == "untrained":
        return
    for row in report.activations.blocks:
        if row.change < limits.block_change:
            yield Finding(
                rule="idle-block",
                severity=Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"change": row.change},
                threshold={"change": limits.block_change},
                detail={"kind": row.kind},
            )


def layer_norm_noise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Rows that enter a layer norm with a variance below 10 eps, more than 5 % of them. Informs only.

    The norm multiplies what is left of such rows by 1/sqrt(eps). Padding and constant rows are the common reason, and
    harmless where the model ignores those places.
    """
    if report.activations is None or not context.real_data:
        return
    for row in report.activations.layer_norms:
        share = row.tiny / row.n_rows if row.n_rows else 0.0
        if share > limits.tiny_rows:
            yield Finding(
                rule="layer-norm-noise",
                severity=Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"share": share, "rows": row.n_rows, "eps": row.eps},
                threshold={"share": limits.tiny_rows},
            )


def bn_tiny_var(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels of a batch norm whose running variance is below 10 eps, more than 5 % of a layer. Informs only.

    1/sqrt(var + eps) blows up whatever little such a channel holds, and another probe or number format moves it far.
    Channels whose gain is below a hundredth of the layer's median are left out: the gain takes it back. Units that died
    before the norm are the common reason, so this is no warning.
    """
    if report.activations is None or context.state == "untrained":
        return
    for row in report.activations.norms:
        if row.tiny_var and not row.at_default and row.tiny_var > limits.tiny_rows * row.n_channels:
            yield Finding(
                rule="bn-tiny-var",
                severity=Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"channels": row.tiny_var, "of": row.n_channels},
                threshold={"share": limits.tiny_rows},
            )


def massive_activation(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Values above 100 that are also more than 1000 times the median magnitude of their layer. Informs only.

    Trained transformers hold a few such values in fixed places and need them (Sun et al. 2024); they matter for
    float16 and int8, not for health.
    """
    if report.activations is None:
        return
    found = [(largest, row) for row in report.activations.rows if (largest := _massive(row, limits)) is not None]
    if found:
        largest, worst = max(found, key=lambda item: item[0])
        yield Finding(
            rule="massive-activation",
            severity=Severity.INFO,
            subject=worst.name,
            section=SECTION,
            evidence={"largest": largest, "layers": len(found)},
            threshold={"times": limits.massive_times, "value": limits.massive_value},
        )


def _massive(row: ActivationRow, limits: Thresholds) -> float | None:
    stats = row.stats
    if stats.min is None or stats.max is None or stats.histogram is None or stats.nonfinite:
        return None
    largest, middle = max(abs(stats.min), abs(stats.max)), _median_magnitude(stats.histogram)
    return largest if largest > limits.massive_value and largest > limits.massive_times * middle > 0 else None


def _median_magnitude(histogram: Histogram) -> float:
    by_size: dict[int, int] = {}
    for place, n in zip(histogram.bins, histogram.counts, strict=True):
        by_size[place & 2047] = by_size.get(place & 2047, 0) + n
    seen = 0
    for place in sorted(by_size):
        seen += by_size[place]
        if 2 * seen >= histogram.total:
            return bin_edges(place)[1]
    return 0.0


RULES = (
    dead_smooth,
    saturation,
    attention_collapse,
    idle_block,
    layer_norm_noise,
    bn_tiny_var,
    massive_activation,
)
