"""Facts about the config.json beside weights, as model hubs have it. ``None`` = it does not say."""

from __future__ import annotations

from msgspec import Struct


class Difference(Struct, frozen=True, kw_only=True):
    """One thing of which the configuration and the file say otherwise."""

    what: str
    """layers, vocabulary, width, tied embeddings."""
    config: int
    file: int


class HubConfig(Struct, frozen=True, kw_only=True):
    """What it says of sizes. Where shapes say otherwise, shapes are believed."""

    model_type: str = ""
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_size: int | None = None
    vocabulary: int | None = None
    tied: bool | None = None
    """The head is to be the embedding."""
    dtype: str = ""
    differences: list[Difference] = []
