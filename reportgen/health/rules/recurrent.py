"""Rules on recurrent layers, from their weights alone."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.matrices import GateFacts
from ..context import Context
from ..thresholds import Thresholds

SECTION = "weights"
_FEW = 16


def rnn_spectral_radius(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A plain recurrent layer that stretches or shrinks its state a lot each step. Informs only.

    The spectral radius of the recurrent weight is below 0.3 (a state is gone after a few steps, and gradients with it)
    or above 1.5 (it grows until the activation saturates). The default initialisation gives 0.58 by the circular law,
    an orthogonal or identity one 1, and trained layers that remember stay near 1. States of fewer than 16 units are
    passed over; a short task needs no memory. Gates decide otherwise: LSTM and GRU are not judged by this.
    """
    rows = report.weights.rows if report.weights is not None else []
    found = [
        row
        for row in rows
        if row.radius is not None and row.shape[0] >= _FEW and not limits.radius_low <= row.radius <= limits.radius_high
    ]
    if found:
        row = max(found, key=lambda one: abs((one.radius or 0.0) - 1))
        yield Finding(
            rule="rnn-spectral-radius",
            severity=Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={"radius": row.radius or 0.0, "layers": len(found)},
            threshold={"low": limits.radius_low, "high": limits.radius_high},
        )


def lstm_gates(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Gates of an LSTM or GRU that their bias holds where nothing passes, in most units. Informs only.

    Forget or output gates held shut, input gates held shut in a layer whose forget gates are not held open (an
    initialisation for long memory does both), or update gates of a GRU held open, so that its state never changes. A
    gate is held where its bias saturates it (beyond 4) and is more than five times the norm of all weights that the
    unit reads with: inputs and states of unit size would move it less than once in a million steps. Inputs that are
    much larger can move it all the same. The default initialisation has no bias beyond 2; the usual forget bias is 1.
    """
    rows = report.weights.rows if report.weights is not None else []
    found = [
        (held / gate.units, gate, row)
        for row in rows
        for gate in row.gates
        if gate.units >= _FEW and (held := _held(gate, row.gates)) > limits.stuck_gates * gate.units
    ]
    if found:
        share, gate, row = max(found, key=lambda one: one[0])
        yield Finding(
            rule="lstm-gates",
            severity=Severity.INFO,
            subject=f"{row.name} · {gate.name}",
            section=SECTION,
            evidence={"share": share, "bias": gate.bias, "layers": len({row.name for _, _, row in found})},
            threshold={"share": limits.stuck_gates},
        )


def _held(gate: GateFacts, beside: list[GateFacts]) -> int:
    """Return the units of a gate that are held where nothing passes."""
    if gate.name == "update gate":
        return gate.opened
    if gate.name == "input gate":
        forget = next((g.opened for g in beside if g.name == "forget gate"), 0)
        return max(0, gate.closed - forget)
    return gate.closed if gate.name in ("forget gate", "output gate") else 0


RULES = (rnn_spectral_radius, lstm_gates)
