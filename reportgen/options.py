"""Settings of one examination, in one frozen struct that is handed on whole."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``examine`` may be told beside the model and the data."""

    title: str | None = None
    task: Literal["multiclass", "binary", "regression"] | None = None
    """None: inferred from outputs and targets."""
    class_names: list[str] | None = None
    device: str | None = None
    """Where to run the model; None: where its parameters are."""
    input_size: list[int] | None = None
    """Shape of one sample, without the batch; used when no data are given."""
    batch_size: int = 8
    """Of the synthetic batches made from ``input_size``."""
    max_batches: int | None = None
    """Stop reading the data after so many batches; None: all of them."""
    gradient_batches: int = 4
    trial_budget: float = 20.0
    """Seconds that all experiments on copies of the model together may take; 0: none are made."""
    allow_globals: list[str] = []
    """Dotted names of pickled classes that a checkpoint may hold: whoever names one vouches for the file."""
    thresholds: dict[str, float] = {}
    """Overrides of ``health.thresholds.Thresholds`` by name."""
    rules: dict[str, Any] = {}
    """What the project sets for single rules: thresholds, severity, off, waivers; see ``health.policy``."""
    language: Literal["en"] = "en"
    seed: int = 0
    """For synthetic inputs and for random layers while gradients are measured; the caller's RNG is left alone."""
