"""What the configuration beside weights says, held against the weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from ..document.facts import WeightRow
from ..document.hub import Difference, HubConfig

_LAYER = re.compile(r"(.*?(?:^|\.)(?:layers?|h|blocks?))\.(\d{1,6})\.")
_INPUT = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|embed_in|tok_embeddings)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.weight$")


def compared(config: HubConfig, rows: Sequence[WeightRow]) -> HubConfig:
    """Add what the weights contradict: layers that are not there, a smaller vocabulary, another width, a head apart.

    More layers or a larger vocabulary than said are usual (heads for several tokens, padding) and are no difference.
    """
    found = []
    indices: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        place = _LAYER.match(row.name)
        if place is not None:
            indices[place[1]].add(int(place[2]))
    layers = max((len(held) for held in indices.values()), default=0)
    if config.layers is not None and 1 < layers < config.layers:  # one layer may serve for all (ALBERT)
        found.append(Difference(what="layers", config=config.layers, file=layers))
    inputs = [row for row in rows if _INPUT.search(row.name) and len(row.shape) == 2]
    if len(inputs) == 1:
        rows_there, width = inputs[0].shape
        if config.vocabulary is not None and rows_there < config.vocabulary:
            found.append(Difference(what="vocabulary", config=config.vocabulary, file=rows_there))
        if config.width is not None and width > config.width:  # narrower embeddings are projected
            found.append(Difference(what="width", config=config.width, file=width))
        heads = [row for row in rows if _HEAD.search(row.name) and row.shape == inputs[0].shape]
        if config.tied and len(heads) == 1 and heads[0].stats != inputs[0].stats:
            found.append(Difference(what="tied embeddings", config=1, file=0))
    return replace(config, differences=found)
