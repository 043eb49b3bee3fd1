"""The words for findings on single units, heads and blocks."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount as _n
from .formats import percent

CAUSES: dict[str, tuple[str, str]] = {
    "saturated-activations": (
        "Units are stuck at an end of their activation",
        "Where tanh, sigmoid or softmax is flat, what comes in changes nothing that goes out, and no gradient passes.",
    ),
}


def _dead(f: Finding) -> str:
    e = f.evidence
    return (
        f"{f.subject} ({f.detail.get('kind', '')}): {percent(e['share'])} of {_n(e['channels'])} channels never leave "
        f"the flat end on {_n(e['samples'])} samples."
    )


def _saturated(f: Finding) -> str:
    e = f.evidence
    return (
        f"{f.subject} ({f.detail.get('kind', '')}): {percent(e['share'])} of {_n(e['channels'])} units sit near an end "
        f"almost always; {percent(e['values'])} of all values do."
    )


def _stuck(f: Finding) -> str:
    e = f.evidence
    return (
        f"{f.subject}: {percent(e['share'])} of the heads look at one key each, by logits up to {_n(e['logit_max'])}; "
        f"so do most heads in {_n(e['layers'])} of {_n(e['of'])} attention layers."
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "attention-collapse": (
        "Heads stuck on one key",
        _stuck,
        "Heads that look at the token before, or at a sink, are healthy.",
    ),
    "dead-smooth": (
        "Channels at the flat end",
        _dead,
        "Layers may be sparse by design; rare classes may be missing here.",
    ),
    "idle-block": (
        "Block that changes nothing",
        lambda f: (
            f"{f.subject} ({f.detail.get('kind', '')}) changes its input by {_n(f.evidence['change'])} of its size."
        ),
        "Branches that start at zero are meant to.",
    ),
    "layer-norm-noise": (
        "Rows without variance before a layer norm",
        lambda f: (
            f"{f.subject}: {percent(f.evidence['share'])} of {_n(f.evidence['rows'])} rows come with a variance below "
            "ten times the norm's epsilon."
        ),
        "Padding and empty places look like this.",
    ),
    "massive-activation": (
        "Massive activations",
        lambda f: (
            f"{f.subject} reaches {_n(f.evidence['largest'])}, more than a thousand times its median; so do "
            f"{_n(f.evidence['layers'])} layers in all."
        ),
        "Trained transformers need a few such values; clipping them does harm.",
    ),
    "saturation": (
        "Saturated units",
        _saturated,
        "Gates are meant to saturate, and so is the output of a confident classifier.",
    ),
}
