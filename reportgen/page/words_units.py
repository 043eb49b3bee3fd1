"""The words for findings on single units, heads and blocks."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount as _n
from .formats import percent
from .language import _

CAUSES: dict[str, tuple[str, str]] = {
    "saturated-activations": (
        "Units are stuck at an end of their activation",
        "Where tanh, sigmoid or softmax is flat, what comes in changes nothing that goes out, and no gradient passes.",
    ),
}


def _dead(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject} ({kind}): {share} of {channels} channels never leave the flat end on {samples} samples."
    ).format(
        subject=f.subject,
        kind=f.detail.get("kind", ""),
        share=percent(e["share"]),
        channels=_n(e["channels"]),
        samples=_n(e["samples"]),
    )


def _saturated(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject} ({kind}): {share} of {channels} units sit near an end almost always; {values} of all values do."
    ).format(
        subject=f.subject,
        kind=f.detail.get("kind", ""),
        share=percent(e["share"]),
        channels=_n(e["channels"]),
        values=percent(e["values"]),
    )


def _stuck(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject}: {share} of the heads look at one key each, by logits up to {logit_max}; so do "
        "most heads in {layers} of {of} attention layers."
    ).format(
        subject=f.subject,
        share=percent(e["share"]),
        logit_max=_n(e["logit_max"]),
        layers=_n(e["layers"]),
        of=_n(e["of"]),
    )


def _multiplied(f: Finding) -> str:
    e = f.evidence
    return _(
        "Products of queries and keys of width {width} are multiplied with {factor}. With weights drawn anew logits "
        "deviate by {spread} along the keys; of the model, {own_hard} of the rows give one key more than 0.99."
    ).format(width=_n(e["width"]), factor=_n(e["factor"]), spread=_n(e["spread"]), own_hard=percent(e["own_hard"]))


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "attention-collapse": (
        "Heads stuck on one key",
        _stuck,
        "Heads that look at the token before, or at a sink, are healthy.",
    ),
    "attention-scale": (
        "Scale of attention scores",
        _multiplied,
        "Attention may be made to pick one key.",
    ),
    "norm-of-one": (
        "Layer norm over one value",
        lambda f: _("{subject} normalises a single value: it puts out its bias whatever comes in.").format(
            subject=f.subject
        ),
        "Other paths may lead around it.",
    ),
    "dead-smooth": (
        "Channels at the flat end",
        _dead,
        "Layers may be sparse by design; rare classes may be missing here.",
    ),
    "idle-block": (
        "Block that changes nothing",
        lambda f: _("{subject} ({kind}) changes its input by {change} of its size.").format(
            subject=f.subject, kind=f.detail.get("kind", ""), change=_n(f.evidence["change"])
        ),
        "Branches that start at zero are meant to.",
    ),
    "layer-norm-noise": (
        "Rows without variance before a layer norm",
        lambda f: _(
            "{subject}: {share} of {rows} rows come with a variance below ten times the norm's epsilon."
        ).format(subject=f.subject, share=percent(f.evidence["share"]), rows=_n(f.evidence["rows"])),
        "Padding and empty places look like this.",
    ),
    "massive-activation": (
        "Massive activations",
        lambda f: _(
            "{subject} reaches {largest}, more than a thousand times its median; so do {layers} layers in all."
        ).format(subject=f.subject, largest=_n(f.evidence["largest"]), layers=_n(f.evidence["layers"])),
        "Trained transformers need a few such values; clipping them does harm.",
    ),
    "saturation": (
        "Saturated units",
        _saturated,
        "Gates are meant to saturate, and so is the output of a confident classifier.",
    ),
}
