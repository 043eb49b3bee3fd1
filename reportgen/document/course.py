"""Facts about the same weights in several checkpoints of one run."""

from __future__ import annotations

from msgspec import Struct


class CourseRow(Struct, frozen=True, kw_only=True):
    """One tensor from checkpoint to checkpoint: k of them give k norms and k-1 steps."""

    name: str
    shape: list[int]
    norms: list[float]
    moved: list[float]
    """Norm of the difference over the norm before; the norm of the difference where that was zero."""
    cosines: list[float]
    """Between neighbours; 1 where both are zero."""
    stable_ranks: list[float] = []
    """Of matrices, estimated; empty where it was not asked for."""


class Course(Struct, frozen=True, kw_only=True):
    """Weights over time."""

    checkpoints: list[str]
    """Names of the files, the earliest first; the last is the one examined."""
    rows: list[CourseRow]
    left_out: int = 0
    """Tensors that are not in all of the files, or change their shape, or are not finite."""
    interrupted: bool = False
    """The user broke off; the rows are those read until then."""
