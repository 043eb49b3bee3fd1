"""The structs of a model in use: how long it takes, and whether it can be handed on as a program."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Latency(Struct, frozen=True, kw_only=True):
    """Seconds of one forward pass over a batch, in evaluation mode without gradients."""

    batch_size: int
    runs: int
    p50: float
    p95: float
    peak_bytes: int | None = None
    """Most memory in use at once: of an accelerator by its allocator; on a processor of the tensors that a pass makes,
    operator by operator."""


class GroupTime(Struct, frozen=True, kw_only=True):
    """Seconds of single samples of one group, each run alone: the median over samples of the fastest of three runs."""

    key: str
    value: str
    n: int
    seconds: float


class InferenceTimes(Struct, frozen=True, kw_only=True):
    """Wall-clock times, which belong to one machine: part of ``Meta``."""

    machine: str
    threads: int
    rows: list[Latency]
    groups: list[GroupTime] = []
    """The slowest first."""
    out_of_time: bool = False
    weighed: Literal["allocator", "tensors"] | None = None
    """How ``peak_bytes`` were measured; None in old reports: by the allocator on an accelerator, else by tensors."""


class Export(Struct, frozen=True, kw_only=True):
    """One way to hand the model on."""

    kind: Literal["torch.export", "ONNX"]
    status: Literal["works", "differs", "failed", "not tried"]
    reason: str = ""
    difference: float | None = None
    """Largest |difference| of an output from the model's own, over the largest |output|."""
    any_batch: bool | None = None
    """It takes batches of another size too; None = not tried."""


class DeploymentFacts(Struct, frozen=True, kw_only=True):
    exports: list[Export]
    n_samples: int
    """That outputs were compared on."""
