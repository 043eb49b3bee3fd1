"""What the proofs of a root cause must say, beside being there."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding


def detail(key: str, value: str) -> Callable[[list[Finding]], bool]:
    return lambda proofs: any(f.detail.get(key) == value for f in proofs)


def not_detail(key: str, value: str) -> Callable[[list[Finding]], bool]:
    return lambda proofs: all(f.detail.get(key) != value for f in proofs)


def by_loop(proofs: list[Finding]) -> bool:
    """Tell whether the loop keeps the weights in place; gradients of exactly zero have a cause in the model.

    A single small tensor that stays where it is proves nothing about the loop.
    """
    return any(
        f.detail.get("reason") != "zero gradient"
        and (f.rule != "param-not-moved" or f.evidence.get("share", 0.0) > 0.1)
        for f in proofs
    )


def mostly_untouched(finding: Finding) -> bool:
    """Tell whether most of the weights that can be tested are as they were initialised, and none was seen to move."""
    if finding.rule != "w-at-default-init" or finding.detail.get("moved") == "yes":
        return False
    return finding.evidence["untouched"] > finding.evidence["tested"] / 2


def fits_by_batch(proofs: list[Finding]) -> bool:
    """Tell whether nine answers of ten are right where batch norm takes the statistics of the batch."""
    return any(f.rule == "eval-train-gap" and f.evidence.get("norms_accuracy", 0.0) >= 0.9 for f in proofs)


def is_share_of_batch(proofs: list[Finding]) -> bool:
    """Tell whether samples meet in a softmax, or in no layer at all."""
    firsts = [f.detail.get("first", "") for f in proofs if f.detail.get("by") == "layer"]
    return any(not first or "softmax" in first.lower() for first in firsts)


def placed_along_batch(proofs: list[Finding]) -> bool:
    """Tell whether rows of a batch are told apart by their place, and elements of a sequence are not."""
    return any(f.rule == "position-unseen" for f in proofs) and any(f.detail.get("by") == "place" for f in proofs)
