"""Rules on layers whose order defeats their purpose. They inform: such models train, only worse than they could."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

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
    last = _last_affine(report)
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


def _last_affine(report: Report) -> str | None:
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


RULES = (dropout_misplaced, bias_before_norm)
