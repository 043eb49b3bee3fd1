"""Rules on what stands in the tensors of a model: zeros, rows of embeddings, smoothness of the first kernels, ties."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity, WeightRow
from ..context import Context
from ..thresholds import Thresholds

SECTION = "weights"
_LEAST = 1000  # values of a weight below which a share of zeros says little


def w_sparsity(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Exact zeros among the weights of layers, of at least 1000 values each.

    More than half of all weights informs: the model was pruned, and the zeros take their room in the file all the
    same. One trained layer of nearly all zeros (above 99 %) in a model that is not sparse otherwise is a warning where
    the model does no better than a constant guess, and else informs: it passes next to nothing on. Wrong for layers
    that were pruned to that degree on purpose.
    """
    if report.weights is None:
        return
    found = [(row, n) for row in report.weights.rows if (n := _zeros(row)) is not None]
    held = sum(row.stats.finite for row, _ in found if row.stats is not None)
    if not held:
        return
    share = sum(n for _, n in found) / held
    if share > limits.sparse:
        yield Finding(
            rule="w-sparsity",
            severity=Severity.INFO,
            subject="model",
            section=SECTION,
            evidence={"share": share, "tensors": sum(n > 0 for _, n in found)},
            threshold={"share": limits.sparse},
        )
        return
    poor = context.outcome_known and not context.outcome_ok
    for row, n in found:
        of_row = n / row.stats.finite if row.stats is not None else 0.0
        if limits.nearly_all < of_row < 1 and context.state == "trained":
            yield Finding(
                rule="w-sparsity",
                severity=Severity.WARNING if poor else Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"share": of_row, "elsewhere": share},
                threshold={"share": limits.nearly_all},
            )


def _zeros(row: WeightRow) -> int | None:
    stats = row.stats
    if row.role != "weight" or row.tied_to is not None or stats is None or stats.nonfinite or stats.finite < _LEAST:
        return None
    return stats.zeros


def embedding_rows(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Rows of an embedding that are zero, repeat another one, or lie far from all others in length. Informs only.

    Far: more than eight robust deviations (1.4826 times the median absolute deviation) from the median norm. One zero
    row is the place of the padding. Rows that no training sample asked for stay as they were drawn, and then differ in
    length from those that were learned: tokens of the vocabulary that the model knows nothing of (Land and Bartolo
    2024). Healthy for reserved tokens, and for vocabularies that were filled up to a round number.
    """
    for row in report.weights.rows if report.weights is not None else []:
        facts = row.embedding
        if facts is None or row.tied_to is not None or facts.rows < limits.embedding_rows:
            continue
        odd = max(facts.zero - 1, 0) + facts.copies + facts.far
        if odd:
            yield Finding(
                rule="embedding-rows",
                severity=Severity.INFO,
                subject=row.name,
                section=SECTION,
                evidence={"zero": facts.zero, "copies": facts.copies, "far": facts.far, "rows": facts.rows},
                detail={"examples": ", ".join(map(str, facts.far_examples[:5]))} if facts.far_examples else {},
            )


def w_filter_smoothness(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The kernels of the first convolution, 5x5 or larger, are as rough as noise. Informs only.

    Measured: correlation of neighbouring weights of a kernel, horizontally and vertically, against its deviation for
    independent weights, 1/sqrt(pairs). Filters that have learned from photographs are smooth (Krizhevsky et al. 2012,
    figure 3); less than three deviations in a trained model says that training left little of itself in them, or that
    it needs stronger decay. Wrong for patches of a transformer, spectrograms and other inputs that are not smooth.
    """
    if context.state != "trained" or report.weights is None:
        return
    row = next((row for row in report.weights.rows if row.role == "weight" and len(row.shape) == 4), None)
    if row is None or row.smoothness is None or row.smoothness_null is None or row.at_default_init:
        return
    if row.smoothness < limits.smooth * row.smoothness_null:
        yield Finding(
            rule="w-filter-smoothness",
            severity=Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={"correlation": row.smoothness, "deviations": row.smoothness / row.smoothness_null},
            threshold={"deviations": limits.smooth},
        )


def tie_broken(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The model's configuration says that embedding and head are one tensor, and they are two that differ.

    Counted on the live model: ``config.tie_word_embeddings`` is true, and what ``get_input_embeddings`` and
    ``get_output_embeddings`` hold are different parameters with different values. A copy, a conversion or loading
    without ``tie_weights()`` broke the tie: the two drift apart, and whoever loads the file later gets one of them for
    both. A warning, for the next load changes what the model says.
    """
    for tie in report.weights.ties_broken if report.weights is not None else []:
        yield Finding(
            rule="tie-broken",
            severity=Severity.WARNING,
            subject=tie.head,
            section=SECTION,
            evidence={"difference": tie.difference},
            detail={"embedding": tie.embedding},
        )


RULES = (w_sparsity, embedding_rows, w_filter_smoothness, tie_broken)
