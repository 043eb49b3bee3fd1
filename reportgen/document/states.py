"""Facts about the state of an optimizer that a checkpoint holds beside the weights. ``None`` = not there."""

from __future__ import annotations

from msgspec import Struct


class MomentRow(Struct, frozen=True, kw_only=True):
    """The moments of one parameter."""

    name: str
    """Of the parameter, where order and shapes tell it; else 'parameter 3', as the optimizer counts."""
    count: int
    step: float | None = None
    nonfinite: int = 0
    """In all of its state."""
    negative: int = 0
    """Second moments below zero, which no optimizer makes."""
    unseen: int | None = None
    """Second moments that are exactly zero: no gradient ever arrived."""
    floored: int | None = None
    """Second moments, zeros left out, whose root after bias correction is below eps: the step is eps-limited there."""
    stale: float | None = None
    """rms of first over root of second moment, both bias-corrected: 1 for a steady direction, near 0 for noise."""


class OptimizerState(Struct, frozen=True, kw_only=True):
    """One optimizer."""

    kind: str
    """Told from what it keeps: 'Adam', 'SGD with momentum', 'Adagrad or RMSprop', 'without moments'."""
    parameters: int
    """In its groups."""
    with_state: int
    """That have a state: the others never got a step."""
    step: float | None = None
    """Largest."""
    rates: list[float] = []
    """Learning rate of each group."""
    eps: float | None = None
    betas: list[float] = []
    weight_decay: float | None = None
    """Of the first group, as eps and betas."""
    rows: list[MomentRow] = []
