"""Names of tensors from input to output, for files that keep no order of their own: safetensors, indices of shards.

Only names can tell, by the words that people use: embeddings and stems begin, heads end, attention stands before the
MLP, a convolution before the norm of its number. What no word tells stays in the order of its numbers and letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MIDDLE = 50
_OUTSIDE = (  # of the blocks that are counted
    (0, r"(^|_)(embeddings?|embed\w*|emb|wte|wpe|tok\w*|patch\w*|pos\w*|shared|stem|conv_stem|conv_proj)$"),
    (0, r"^(\w*_embeddings?|(class|cls|mask)_token|class_embedding|conv_?in)$"),
    (5, r"^(conv|bn)_?[123]$"),
    (40, r"^encoder$"),
    (60, r"^decoder$"),
    (70, r"^(fc|linear|dense)_?\d+$"),
    (80, r"^(norm|ln|ln_f|ln_post|norm_f|final_\w*norm\w*|\w*layer_?norm|norm_out|conv_norm_out|pooler)$"),
    (90, r"^(lm_head|head|heads|classifier|fc|score|cls|embed_out|proj_out|qa_outputs|logits|output|conv_out)$"),
)
_INSIDE = (
    (10, r"^(input_layernorm|ln_?1|norm_?1|layer_norm1|attention_norm|attn_norm|layernorm_before|pre_attn\w*)$"),
    (30, r"^(post_attention_layernorm|ln_?2|norm_?2|layer_norm2|ffn_norm|mlp_norm|layernorm_after|pre_mlp\w*)$"),
    (20, r"attn|attention|(^|_)mixer$"),
    (40, r"^(router|gate)$"),
    (55, r"mlp|ffn|feed_?forward|intermediate|moe|experts|(^|_)fc_?\d*$|^w\d$|_proj$"),
    (60, r"^(output|post_feedforward_layernorm)$"),
    (70, r"^(downsample|shortcut|skip)$"),
)
_PROJECTIONS = (
    (10, r"^(q|wq|q_proj|query|to_q|qkv|qkv_proj|c_attn|query_key_value|in_proj\w*|self)$"),
    (11, r"^(k|wk|k_proj|key|to_k)$"),
    (12, r"^(v|wv|v_proj|value|to_v)$"),
    (20, r"^(output|o|wo|out|o_proj|out_proj|dense|proj|c_proj|down_proj|w2|fc2|fc_out)$"),
    (13, r"^(gate_proj|gate_up_proj|w1|fc1|fc_in|c_fc)$"),
    (14, r"^(up_proj|w3)$"),
)
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_NUMBERED = re.compile(r"^(?P<word>conv|bn|norm)_?(?P<number>\d{0,4})$")
_ranked = {
    table: [(rank, re.compile(pattern, re.IGNORECASE)) for rank, pattern in rows]
    for table, rows in (("outside", _OUTSIDE), ("inside", _INSIDE), ("projections", _PROJECTIONS))
}


def by_depth(names: Iterable[str]) -> list[str]:
    """Sort names from input to output, as far as they tell; 2 before 10."""
    return sorted(names, key=_key)


def _key(name: str) -> list[tuple[int, int, int, list[tuple[int, str]]]]:
    """Return one part for each word of a name: its rank, the number at its end, its kind, and how it is spelled."""
    words = name.split(".")
    key, table = [], "outside"
    for i, word in enumerate(words):
        if i == len(words) - 1 and word in _LEAVES:
            key.append((_MIDDLE, 0, _LEAVES.index(word), _spelled(word)))
            break
        number, after, found = 0, 0, None
        rank = next((rank for rank, pattern in _ranked[table] if pattern.search(word)), _MIDDLE)
        if rank in (5, _MIDDLE) and (found := _NUMBERED.match(word)) is not None:
            number, after = int(found["number"] or 0), int(found["word"] in ("bn", "norm"))
        key.append((rank, number, after, _spelled(word)))
        if word[-1:].isdigit() and rank == _MIDDLE and not found:
            table = "inside"
        elif table == "inside" and rank != _MIDDLE:
            table = "projections"
    return key


def _spelled(word: str) -> list[tuple[int, str]]:
    """Cut into text and digits in turn, which compare as a person compares them."""
    parts = re.split(r"([0-9]{1,18})", word)
    return [(int(part), part) if i % 2 else (-1, part) for i, part in enumerate(parts)]
