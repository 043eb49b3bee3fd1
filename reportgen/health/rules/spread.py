"""Rules on how channels and batches differ: what the covariance of one vector a sample tells. They inform."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "activations"
_BATCHES = 8


def batch_drift(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Batches of the data given differ more than batches drawn alike do. Informs only.

    F = variance between batch means times the batch size over the variance within batches, median over the channels of
    the first layer measured: 1 for batches drawn alike. Told from eight batches on, where F is above 3 and beyond the
    0.1 % point of the F distribution with (batches - 1, samples - batches) degrees of freedom. Statistics of single
    batches, and of batch norms in train mode, then say little of the whole. Wrong for validation data that are sorted
    on purpose; whether training data are, ``d-order`` tells.
    """
    rows = sorted(report.activations.rows, key=lambda r: r.order) if report.activations is not None else []
    told = [(r.name, r.spread, r.spread.drift) for r in rows if r.spread is not None and r.spread.drift is not None]
    if not told or not context.real_data:
        return
    name, spread, drift = told[0]
    if spread.n_batches < _BATCHES or spread.n_samples <= 2 * spread.n_batches or drift <= limits.batch_drift:
        return
    from scipy.stats import f  # here, because most reports never need it

    p = float(f.sf(drift, spread.n_batches - 1, spread.n_samples - spread.n_batches))
    if p < 1e-3:
        yield Finding(
            rule="batch-drift",
            severity=Severity.INFO,
            subject=name,
            section=SECTION,
            evidence={"f": drift, "p": p, "batches": spread.n_batches, "samples": spread.n_samples},
            threshold={"f": limits.batch_drift, "p": 1e-3},
        )


def channel_redundancy(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Channels of a layer of a trained model move together: few directions hold nearly all variance. Informs only.

    Participation ratio (trace C)^2 / trace C^2 of the channels' covariance, over what independent channels have at
    this number of samples, C N / (C + N): below 0.05, in layers of at least 32 channels. The last three layers are
    left out, since features of a good classifier collapse to as many directions as there are classes (Papyan, Han and
    Donoho 2020). The layer could do with fewer channels.
    """
    if report.activations is None or not context.real_data or context.state != "trained":
        return
    rows = sorted((r for r in report.activations.rows if not r.functional), key=lambda r: r.order)
    shares = [
        (row.spread.participation / row.spread.participation_null, row)
        for row in rows[:-3]
        if row.spread is not None
        and row.spread.participation_null > 0
        and max((c.n_channels for c in row.channels), default=0) >= 32
        and row.spread.n_samples >= limits.dead_relu_samples
    ]
    few = [(share, row) for share, row in shares if share < limits.participation]
    if few:
        share, worst = min(few, key=lambda item: item[0])
        assert worst.spread is not None
        yield Finding(
            rule="channel-redundancy",
            severity=Severity.INFO,
            subject=worst.name,
            section=SECTION,
            evidence={"share": share, "participation": worst.spread.participation, "layers": len(few)},
            threshold={"share": limits.participation},
        )


RULES = (batch_drift, channel_redundancy)
