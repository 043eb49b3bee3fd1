"""Rules on what stands in a file of weights: layers that are empty, norms and optimizers that cannot go on."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity, WeightRow
from ...document.states import MomentRow
from ..context import Context
from ..thresholds import Thresholds
from .weights import is_zero

SECTION = "weights"
_FEW = 16  # rows or columns, below which one direction may be all that there is
_ADAPTERS = ("lora", "adapter")  # whose second matrix starts at zero


def w_zero(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A weight matrix, or all gains of a norm, that are zero throughout in a file of a trained model.

    Whatever enters such a layer, nothing comes out of it. Branches and heads that start at zero leave it with the first
    steps, so a warning: the weights were lost, cleared, or never trained. Where nothing tells whether the model was
    trained it informs. Trained is told by running statistics, by gains that differ, or by the steps of an optimizer.
    Adapters, whose second matrix starts at zero, are passed over, and so are gains of zero where more than half of the
    norms have them (they multiply by 1 + gain). Wrong for layers that were pruned as a whole.
    """
    rows = report.weights.rows if report.weights is not None and report.activations is None else []
    norms = [row for row in rows if row.role == "norm" and row.name.endswith("weight") and _size(row) > 1]
    silent = [row for row in norms if is_zero(row)]
    empty = [(name, size) for row in rows if _is_matrix(row) for name, size in _empty_parts(row)]
    empty += [(row.name, _size(row)) for row in silent] if 2 * len(silent) <= len(norms) else []
    if empty and context.state != "untrained":
        yield Finding(
            rule="w-zero",
            severity=Severity.WARNING if context.state == "trained" else Severity.INFO,
            subject=empty[0][0],
            section=SECTION,
            evidence={"values": empty[0][1], "tensors": len(empty)},
        )


def w_rank_one(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A weight matrix of at least 16 rows and columns that is the product of one column and one row.

    All but a ten-thousandth of its sum of squares lies in one direction: a single number passes the layer. Matrices of
    healthy models spread it over two directions at least, even where one is far ahead. A warning in a trained model,
    else it informs. Embeddings are passed over. Wrong for layers that are meant to pass a single number on.
    """
    found = [
        (matrix.spectrum.stable_rank, row.name + (f" · {matrix.part}" if matrix.part else ""))
        for row in (report.weights.rows if report.weights is not None else [])
        for matrix in row.matrices
        if row.role == "weight"
        and matrix.spectrum is not None
        and min(matrix.channels, matrix.fan_in) >= _FEW
        and matrix.spectrum.stable_rank < limits.one_direction
    ]
    if found:
        yield Finding(
            rule="w-rank-one",
            severity=Severity.WARNING if context.state == "trained" else Severity.INFO,
            subject=found[0][1],
            section=SECTION,
            evidence={"rank": found[0][0], "tensors": len(found)},
            threshold={"rank": limits.one_direction},
        )


def bn_negative_var(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The running variance of a batch norm holds a value below zero, whose root is NaN.

    No training makes one: weights were averaged, edited or damaged after it. A fact, so an error.
    """
    for row in report.weights.buffers if report.weights is not None else []:
        low = row.stats.min if row.stats is not None else None
        if row.name.endswith("running_var") and low is not None and low < 0:
            yield Finding(
                rule="bn-negative-var",
                severity=Severity.ERROR,
                subject=row.name,
                section=SECTION,
                evidence={"lowest": low},
                threshold={"lowest": 0},
            )


def moments_impossible(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The state of an optimizer in a checkpoint holds second moments below zero.

    They are sums of squares, so no optimizer makes them; the next step is the root of one, and the weight is NaN. A
    fact, so an error: the file is damaged, or was edited.
    """
    bad = [row for row in _moments(report) if row.negative]
    if bad:
        yield Finding(
            rule="moments-impossible",
            severity=Severity.ERROR,
            subject=bad[0].name,
            section=SECTION,
            evidence={"values": sum(row.negative for row in bad), "tensors": len(bad)},
            threshold={"negative": 0},
        )


def moments_dead(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices whose second moment is zero throughout, though the optimizer in the checkpoint made steps.

    No gradient other than zero ever reached them, or the state was cleared. A warning: training that goes on from here
    divides by epsilon at the first gradient. Parameters that are no weight matrix (a bias that a norm takes away again,
    rows of an embedding that never came up) are passed over. Wrong for parts that are switched off on purpose and still
    handed to the optimizer.
    """
    rows = report.weights.rows if report.weights is not None else []
    matrices = {row.name for row in rows if row.role == "weight"}
    known = [row for row in _moments(report) if row.name in matrices and row.unseen is not None and row.step]
    dead = [row for row in known if row.count and row.unseen == row.count]
    if dead:
        yield Finding(
            rule="moments-dead",
            severity=Severity.WARNING,
            subject=dead[0].name,
            section=SECTION,
            evidence={"tensors": len(dead), "of": len(known), "step": max(row.step or 0.0 for row in dead)},
        )


def _moments(report: Report) -> list[MomentRow]:
    states = report.weights.optimizers if report.weights is not None else []
    return [row for state in states for row in state.rows]


def _is_matrix(row: WeightRow) -> bool:
    adapter = any(word in row.name.lower() for word in _ADAPTERS)
    return row.role == "weight" and row.tied_to is None and not adapter and min(row.shape[:2], default=0) > 1


def _empty_parts(row: WeightRow) -> list[tuple[str, int]]:
    """Return names and sizes of the matrices in a weight that are zero throughout."""
    if is_zero(row):
        return [(row.name, _size(row))]
    return [
        (f"{row.name} · {matrix.part}", matrix.channels * matrix.fan_in)
        for matrix in row.matrices
        if matrix.part and matrix.filters is not None and 0 < matrix.channels == matrix.filters.zero
    ]


def _size(row: WeightRow) -> int:
    return row.stats.count if row.stats is not None else 0


RULES = (w_zero, w_rank_one, bn_negative_var, moments_impossible, moments_dead)
