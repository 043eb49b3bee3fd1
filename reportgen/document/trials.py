"""The structs of experiments on a copy of the model: what was tried, and what came out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Trial(Struct, frozen=True, kw_only=True):
    """One experiment. Which numbers it holds depends on its name; what could not be measured is absent."""

    name: str
    status: Literal["done", "skipped"]
    reason: str = ""
    """Why it was skipped."""
    failed: bool = False
    """It was tried and went wrong, as against not applicable or no time left."""
    late: bool = False
    """There was no time left for it."""
    numbers: dict[str, float] = {}
    detail: dict[str, str] = {}
    """Results that are no number: the name of a layer, of a parameter, of a source of randomness."""


class TrialFacts(Struct, frozen=True, kw_only=True):
    """All experiments, in the order they were made. Their cost stands in ``Meta.seconds``."""

    trials: list[Trial]
    budget: float
    """Seconds that all of them together were given."""
    out_of_time: bool = False
    """At least one was skipped for want of time."""

    def done(self, name: str) -> Trial | None:
        """Return a trial that was made; None when it was skipped or is unknown."""
        return next((t for t in self.trials if t.name == name and t.status == "done"), None)
