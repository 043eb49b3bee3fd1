"""What the configuration beside weights says, and where the weights say otherwise."""

from __future__ import annotations

from ...document.hub import HubConfig
from ..blocks import Block, KeyValues, Pair
from ..formats import count, name
from ..language import _


def blocks(config: HubConfig | None) -> list[Block]:
    """Return one list of what is said; each difference stands beside its value."""
    if config is None:
        return []
    differs = {d.what: d.file for d in config.differences}

    def pair(what: str, label: str, value: int | None) -> list[Pair]:
        if value is None:
            return []
        found = differs.get(what)
        note = "" if found is None else _("the file has {n}").format(n=count(found))
        return [Pair(label=label, value=count(value), note=note, tone="" if found is None else "warning")]

    pairs = [Pair(label=_("Kind of model"), value=name(config.model_type))] if config.model_type else []
    pairs += pair("layers", _("Layers"), config.layers)
    pairs += pair("width", _("Width"), config.width)
    pairs += pair("heads", _("Attention heads"), config.heads)
    pairs += pair("kv heads", _("Heads for keys and values"), config.kv_heads)
    pairs += pair("vocabulary", _("Vocabulary"), config.vocabulary)
    if config.tied is not None:
        apart = "tied embeddings" in differs
        note = _("the file holds another one") if apart else ""
        value = _("the embedding") if config.tied else _("weights of its own")
        pairs.append(Pair(label=_("Head"), value=value, note=note, tone="warning" if apart else ""))
    if config.dtype:
        pairs.append(Pair(label=_("Number format"), value=name(config.dtype)))
    return [KeyValues(title=_("Said by config.json"), pairs=pairs)] if pairs else []
