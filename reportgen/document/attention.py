"""Where each head of attention looks, for one sample."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .pictures import Picture


class AttentionLayer(Struct, frozen=True, kw_only=True):
    """One call of attention in a pass over the first batch, for its first sample."""

    name: str
    """The module in whose code it stands."""
    call: int = 0
    heads: int
    n_queries: int
    n_keys: int
    windows: int = 1
    """Parts of the sample that attend within themselves; more than one where attention is by windows."""
    fused: bool
    """Weights were computed anew from the queries and keys that a fused operator was given; else they were seen."""
    causal: bool
    """No query looks at a later key."""
    entropy: list[float | None]
    """By head: mean over queries of entropy / ln(visible keys); None where no query sees two keys."""
    logit_std: list[float | None] = []
    """By head: mean over queries of the standard deviation of the logits of their visible keys; None where no query has
    eight of them."""
    picture: Picture | None = None
    """Weights by head, queries down, keys across, against those of a query that looks at all visible keys alike; each
    head scaled by its own largest."""
    shown: list[int] = []
    """The heads in the picture, in reading order."""
    columns: int = 0
    size: list[int] = []
    """Rows and columns of one head in the picture, where neighbours may be averaged."""


class Rollout(Struct, frozen=True, kw_only=True):
    """Attention followed through all layers: half of each layer's is the identity (Abnar & Zuidema 2020)."""

    layers: int
    query: Literal["first", "last", "mean"]
    """Whose attention: that of the first position (a class token), of the last, or the mean of all."""
    weights: list[float]
    """By position, those of the class token left out; they sum to at most 1."""
    even: list[float] = []
    """The same if every head looked at all visible keys alike: under a causal mask the first positions gather most."""
    grid: list[int] = []
    """Rows and columns of patches, where the input is an image."""
    picture: Picture | None = None
    image: Picture | None = None
    """The sample, where it is an image."""


class AttentionFacts(Struct, frozen=True, kw_only=True):
    """Attention of the first sample of the first batch, in the order of execution."""

    layers: list[AttentionLayer]
    tokens: list[int] = []
    """Of the sample, where the input is a sequence of tokens; the first ones."""
    rollout: Rollout | None = None
    no_rollout: str = ""
    """Why there is none."""
    reasons: list[str] = []
    """What could not be measured, and why."""
    budget: int = 0
    """Bytes that the pictures may take."""
    refused: int = 0
    """Layers whose picture was left out for it, or for their number."""
