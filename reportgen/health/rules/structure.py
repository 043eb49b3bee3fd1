"""Rules on layers whose order defeats their purpose. They inform: such models train, only worse than they could."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import prod

from ...document.facts import ActivationRow, Finding, LayerRow, Report, Severity, WeightRow
from ..context import Context
from ..thresholds import Thresholds

SECTION = "architecture"
_HARMLESS = ("Identity", "Flatten", "Unflatten", "Softmax", "LogSoftmax", "Sigmoid")


def dropout_misplaced(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Dropout on the outputs of the last layer, or directly before a batch norm. Informs only.

    On outputs it deletes answers in training. Before a batch norm it changes the variance that the norm keeps for
    evaluation, where dropout is off: running statistics describe another distribution (Li, Chen, Hu and Yang 2019).
    Told by the order inside nn.Sequential, where order of registration is that of execution; other modules are not
    judged. Wrong for sampling on purpose.
    """
    last = last_affine(report)
    for row, rest in _sequences(report):
        if not row.kind.startswith(("Dropout", "AlphaDropout", "FeatureAlphaDropout")):
            continue
        after = next((r for r in rest if r.kind != "Identity"), None)
        if after is not None and after.kind.startswith("BatchNorm"):
            yield _misplaced(row, "before-norm", after.name)
        elif last is not None and _ends(row, rest, last, report):
            yield _misplaced(row, "on-outputs", last)


def _misplaced(row: LayerRow, kind: str, other: str) -> Finding:
    return Finding(
        rule="dropout-misplaced",
        severity=Severity.INFO,
        subject=row.name,
        section=SECTION,
        detail={"kind": kind, "layer": other},
    )


def last_affine(report: Report) -> str | None:
    """Name the layer with weights that is executed last, where nothing of another kind is read after it."""
    rows = report.activations.rows if report.activations is not None else []
    affine = [r for r in rows if not r.functional and r.kind.startswith(("Linear", "Conv", "LazyLinear"))]
    return max(affine, key=lambda r: r.order).name if affine else None


def _ends(row: LayerRow, rest: list[LayerRow], last: str, report: Report) -> bool:
    """Tell whether only harmless layers follow, and only harmless ones lie between this and the last affine layer."""
    parent = row.name.rpartition(".")[0]
    before = [r for r, following in _sequences(report) if row in following and r.name.rpartition(".")[0] == parent]
    names = [r.name for r in before]
    between = before[names.index(last) + 1 :] if last in names else None
    return between is not None and all(r.kind in _HARMLESS for r in [*between, *rest])


def _sequences(report: Report) -> Iterator[tuple[LayerRow, list[LayerRow]]]:
    """Yield every child of an nn.Sequential with the children that come after it."""
    rows = report.architecture.rows if report.architecture is not None else []
    chains = {row.name for row in rows if row.kind == "Sequential"}
    children: dict[str, list[LayerRow]] = {}
    for row in rows:
        parent = row.name.rpartition(".")[0]
        if row.name and parent in chains and row.calls != 0:
            children.setdefault(parent, []).append(row)
    for chain in children.values():
        for place, row in enumerate(chain):
            yield row, chain[place + 1 :]


def bias_before_norm(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A bias that a batch norm takes away again: the norm subtracts the mean of each channel, and the bias with it.

    Layers are matched by the order of execution and of registration. Informs only: such a bias costs memory, and never
    learns. Harmless, and usual in older architectures (VGG with batch norm).
    """
    if report.activations is None or report.weights is None:
        return
    weights = {row.name: row for row in report.weights.rows}
    rows = sorted((r for r in report.activations.rows if not r.functional), key=lambda r: r.order)
    found = [a for a, b in pairwise(rows) if _takes_away(b) and _has_bias(a, weights)]
    if found:
        yield Finding(
            rule="bias-before-norm",
            severity=Severity.INFO,
            subject=found[0].name,
            section=SECTION,
            evidence={"layers": len(found)},
            detail={"names": ", ".join(row.name for row in found[:5])},
        )


def _takes_away(row: ActivationRow) -> bool:
    return row.kind.startswith(("BatchNorm", "SyncBatchNorm", "InstanceNorm"))


def _has_bias(row: ActivationRow, weights: Mapping[str, WeightRow]) -> bool:
    weight, bias = weights.get(f"{row.name}.weight"), weights.get(f"{row.name}.bias")
    affine = row.kind.startswith(("Linear", "Conv"))
    return affine and bias is not None and weight is not None and weight.before_norm


def norm_missing(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """At least eight layers with weights in a row, with neither a norm nor a skip connection. Informs only.

    Such depth trains, but slowly and only at the right initialisation (Glorot and Bengio 2010, He et al. 2015); norms
    or skips make it easy. Counted over executed layers; recurrent and attention models are not judged.
    """
    rows = [r for r in report.activations.rows if not r.functional] if report.activations is not None else []
    others = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm", "RMSNorm", "LSTM", "GRU", "RNN", "Multihead")
    affine = [r for r in rows if r.kind.startswith(("Linear", "Conv"))]
    plain = not any(r.bypassed or any(word in r.kind for word in others) for r in rows)
    if report.activations is not None and plain and len(affine) >= limits.plain_layers:
        blocks = report.activations.attention or report.activations.norms or report.activations.layer_norms
        if not blocks:
            yield Finding(
                rule="norm-missing",
                severity=Severity.INFO,
                subject="model",
                section=SECTION,
                evidence={"layers": len(affine)},
                threshold={"layers": limits.plain_layers},
            )


def bn_small_batch(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Batch norms that were trained on few values a channel: batches of fewer than 16 samples.

    Values a channel: batch size of the run times the places of the layer's map. A norm that reads more rows than the
    batch has samples (the nodes of its graphs, steps of its sequences) has as many times more. A warning where a layer
    had fewer than 8 and the model does not work, or only 2: what it puts out is then -1 and 1 whatever it reads. It
    informs for small batches otherwise, whose statistics are noise (Wu and Johnson 2021). Wrong where gradients are
    accumulated over synchronised ranks.
    """
    size = report.training.batch_size if report.training is not None else None
    rows = report.activations.rows if report.activations is not None else []
    norms = [r for r in rows if r.kind.startswith("BatchNorm")]
    if size is None or not norms or size >= limits.bn_batch:
        return
    first = report.architecture.batch_size if report.architecture is not None else None
    read = [(size * _rows_a_sample(r.shape, first), r) for r in norms]
    few = [(n * _places(r.shape), r) for n, r in read if n < limits.bn_batch]
    if not few:
        return
    values, worst = min(few, key=lambda item: item[0])
    failed = context.outcome_known and not context.outcome_ok
    grave = values <= 2 or (values < limits.bn_values and failed)
    yield Finding(
        rule="bn-small-batch",
        severity=Severity.WARNING if grave else Severity.INFO,
        subject=worst.name,
        section=SECTION,
        evidence={"batch_size": size, "values": values},
        threshold={"batch_size": limits.bn_batch, "values": limits.bn_values},
    )


def norm_of_one(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A layer norm over a single value: what it puts out is its bias, whatever comes in.

    The mean of one value is the value itself, and nothing is left of it to be scaled (Ba, Kiros and Hinton 2016 take
    both over the features of a sample). Told by a weight of one element of a ``LayerNorm``. An error where the model
    does not work, else it informs: other paths may lead around it. Wrong for ``RMSNorm``, which keeps the sign, and is
    passed over.
    """
    rows = report.weights.rows if report.weights is not None else []
    for row in rows:
        if row.module == "LayerNorm" and row.name.rpartition(".")[2] == "weight" and prod(row.shape) == 1:
            yield Finding(
                rule="norm-of-one",
                severity=Severity.INFO if context.outcome_ok else Severity.ERROR,
                subject=row.name.rpartition(".")[0] or "model",
                section=SECTION,
            )


def _rows_a_sample(shape: str, n: int | None) -> float:
    """Return how many rows of a layer's output belong to a sample, of a pass over ``n`` samples; 1 where unknown."""
    rows = shape.split(" × ")[0]
    return int(rows) / n if n and rows.isdigit() else 1.0


def _places(shape: str) -> int:
    """Return the places of a map: the product of the dimensions after samples and channels."""
    return prod(int(part) for part in shape.split(" × ")[2:])


RULES = (dropout_misplaced, bias_before_norm, norm_missing, bn_small_batch, norm_of_one)
