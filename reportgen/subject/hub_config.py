"""Reading config.json beside weights: a few numbers and names, each checked; nothing in it is ever run or followed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..document.hub import HubConfig

_LARGEST_FILE = 1 << 22
_LARGEST_NUMBER = 1 << 32
_LONGEST_NAME = 60
_INNER = ("text_config", "llm_config", "language_config", "decoder")
_NUMBERS = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_size": ("head_dim", "kv_channels", "d_kv"),
    "vocabulary": ("vocab_size", "padded_vocab_size"),
}
_BY_HEAD = ("gpt_neox", "gpt_neox_japanese", "bloom", "persimmon")
_FALCON = ("falcon", "RefinedWeb", "RefinedWebModel")

Order = Literal["parts", "heads", "groups", "blocks"]
"""Of the rows of stacked query, key and value: one after the other; head by head; by groups of heads that share a key;
by the four blocks of CodeGen.

As the layers of the transformers library cut them (modeling_gpt_neox, _bloom, _falcon, _gpt_bigcode, _internlm2,
_codegen), and ChatGLM's own, the first of which differs from the later ones.
"""


class Heads(NamedTuple):
    """How an attention is cut into heads."""

    queries: int
    keys: int
    size: int | None
    order: Order


class Found(NamedTuple):
    """What a configuration says, and what follows for stacked attention weights."""

    config: HubConfig
    heads: Heads | None = None


def beside(path: Path) -> Found | None:
    """Read the config.json of the folder that weights are in; None when there is none that can be read."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST_FILE:
            return None
        table: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return of_table(table)


def of_table(table: Any) -> Found | None:
    """Read a configuration; of a model of several, that of its language model where the outer one knows no heads."""
    if not isinstance(table, Mapping):
        return None
    inner = [one for key in _INNER if isinstance(one := table.get(key), Mapping)]
    if inner and _number(table, _NUMBERS["heads"]) is None:
        table = {**inner[0], **{k: v for k, v in table.items() if k == "tie_word_embeddings"}}
    numbers = {field: _number(table, keys) for field, keys in _NUMBERS.items()}
    dtype = _name(table.get("torch_dtype")) or _name(table.get("dtype"))
    tied = table.get("tie_word_embeddings")
    config = HubConfig(
        model_type=_name(table.get("model_type")),
        dtype=dtype.removeprefix("torch."),
        tied=tied if isinstance(tied, bool) else None,
        **numbers,  # type: ignore[arg-type]
    )
    return Found(config, _heads(config, table)) if config != HubConfig() else None


def of_model(model: object) -> Heads | None:
    """Return how the attention of a model of the transformers library is cut into heads."""
    config = getattr(model, "config", None)
    if not any(base.__name__ in ("PretrainedConfig", "PreTrainedConfig") for base in type(config).__mro__):
        return None
    found = of_table(vars(config) | {"model_type": getattr(config, "model_type", None)})
    return None if found is None else found.heads


def _heads(config: HubConfig, table: Mapping[Any, Any]) -> Heads | None:
    queries, keys, kind = config.heads, config.kv_heads, config.model_type
    if queries is None:
        return None
    order: Order = "parts"
    if kind in _BY_HEAD:
        order, keys = "heads", queries
    elif kind in _FALCON:
        grouped, shared = table.get("new_decoder_architecture") is True, table.get("multi_query") is not False
        order = "groups" if grouped else "parts" if shared else "heads"
        keys = (keys or queries) if grouped else 1 if shared else queries
    elif kind == "gpt_bigcode":
        order, keys = ("parts", 1) if table.get("multi_query") is not False else ("heads", queries)
    elif kind == "internlm2":
        order = "groups"
    elif kind == "codegen":
        order = "blocks"
    elif kind == "chatglm" and table.get("multi_query_attention") is not True:
        order, keys = "heads", queries
    keys = keys or queries
    return Heads(queries, keys, config.head_size, order) if queries % keys == 0 else None


def _number(table: Mapping[Any, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = table.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST_NUMBER:
            return value
    return None


def _name(value: Any) -> str:
    """Return a short printable name; anything else is none."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else ""
