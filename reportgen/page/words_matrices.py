"""The words for remarks on the inside of weights."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _
from .reasons import told


def _sqnr(f: Finding) -> str:
    values = {"subject": f.subject, "tensor": amount(f.evidence["tensor"]), "layers": amount(f.evidence["layers"])}
    if "channel" not in f.evidence:
        return _(
            "{subject}: {tensor} dB of signal to noise in 8 bits with one scale for the tensor ({layers} such layers)."
        ).format(**values)
    return _(
        "{subject}: {tensor} dB of signal to noise in 8 bits with one scale for the tensor, {channel} dB with one for "
        "each channel ({layers} such layers)."
    ).format(channel=amount(f.evidence["channel"]), **values)


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "config-disagrees": (
        "Configuration of another model",
        lambda f: _(
            "config.json differs from the weights in {n} respects; the first is: {what}: {config} said, {file} found."
        ).format(
            n=amount(f.evidence["differences"]),
            what=told(f.detail["what"]),
            config=amount(f.evidence["config"]),
            file=amount(f.evidence["file"]),
        ),
        "A file may hold a part of a model on purpose.",
    ),
    "norm-gain": (
        "Gains far above the others",
        lambda f: _(
            "{subject}: the largest gain is {ratio} times the median of its gains ({layers} such norm layers)."
        ).format(subject=f.subject, ratio=amount(f.evidence["ratio"]), layers=amount(f.evidence["layers"])),
        "It matters only where activations are to be rounded.",
    ),
    "q-weight-sqnr": ("Weights in 8 bits", _sqnr, "It matters only where weights are to be rounded."),
    "q-channel-range": (
        "Channels of very different size",
        lambda f: _(
            "{subject}: the largest of its {channels} channels has {ratio} times the median norm ({layers} such "
            "layers)."
        ).format(
            subject=f.subject,
            channels=amount(f.evidence["channels"]),
            ratio=amount(f.evidence["ratio"]),
            layers=amount(f.evidence["layers"]),
        ),
        "It matters only where weights are rounded with one scale for the tensor.",
    ),
    "rnn-spectral-radius": (
        "A recurrent weight that stretches or shrinks",
        lambda f: _(
            "{subject}: the spectral radius of the recurrent weight is {radius} ({layers} such layers)."
        ).format(subject=f.subject, radius=amount(f.evidence["radius"]), layers=amount(f.evidence["layers"])),
        "A task over a few steps needs no memory, and saturating activations keep a large radius in check.",
    ),
    "lstm-gates": (
        "Gates held by their bias",
        lambda f: _(
            "{subject}: in {share} of the units the bias alone holds the gate; it is {bias} on average ({layers} such "
            "layers)."
        ).format(
            subject=f.subject,
            share=percent(f.evidence["share"]),
            bias=amount(f.evidence["bias"]),
            layers=amount(f.evidence["layers"]),
        ),
        "Inputs much larger than one can move such a gate.",
    ),
    "weights-jump": (
        "A layer that jumped between checkpoints",
        lambda f: _(
            "{subject} moved by {moved} of its norm between {after} and {before}, {ratio} times its steps beside "
            "({tensors} such matrices)."
        ).format(
            subject=f.subject,
            moved=percent(f.evidence["moved"]),
            after=f.detail["after"],
            before=f.detail["before"],
            ratio=amount(f.evidence["ratio"]),
            tensors=amount(f.evidence["tensors"]),
        ),
        "Layers are set anew on purpose at times.",
    ),
    "w-copies": (
        "Channels that repeat others",
        lambda f: _(
            "{subject}: {share} of its {channels} channels repeat another one exactly ({layers} such layers)."
        ).format(
            subject=f.subject,
            share=percent(f.evidence["share"]),
            channels=amount(f.evidence["channels"]),
            layers=amount(f.evidence["layers"]),
        ),
        "Fixed filters and some initialisations repeat channels on purpose.",
    ),
    "w-dead-filters": (
        "Channels with next to no weight",
        lambda f: _(
            "{subject}: {share} of its {channels} channels have less than a thousandth of the usual norm, {zero} are "
            "zero throughout ({layers} such layers)."
        ).format(
            subject=f.subject,
            share=percent(f.evidence["share"]),
            channels=amount(f.evidence["channels"]),
            zero=percent(f.evidence["zero"]),
            layers=amount(f.evidence["layers"]),
        ),
        "A pruned model has such channels on purpose.",
    ),
    "w-zero": (
        "A layer of zeros",
        lambda f: _("{subject}: all of its {values} values are zero ({tensors} such tensors).").format(
            subject=f.subject, values=amount(f.evidence["values"]), tensors=amount(f.evidence["tensors"])
        ),
        "A layer may have been pruned as a whole, or may wait for its training.",
    ),
    "w-rank-one": (
        "A weight of one direction",
        lambda f: _(
            "{subject}: every row is a multiple of one and the same (stable rank {rank}; {tensors} such matrices)."
        ).format(subject=f.subject, rank=amount(f.evidence["rank"]), tensors=amount(f.evidence["tensors"])),
        "A layer may be made to pass a single number on.",
    ),
    "bn-negative-var": (
        "A running variance below zero",
        lambda f: _("{subject}: the lowest running variance is {lowest}, and the norm takes its root.").format(
            subject=f.subject, lowest=amount(f.evidence["lowest"])
        ),
        "The tensor only carries the name of a running variance and is something else.",
    ),
    "moments-impossible": (
        "Second moments below zero",
        lambda f: _(
            "{n} second moments of the optimizer are below zero, in {tensors} parameters, first {subject}."
        ).format(n=amount(f.evidence["values"]), tensors=amount(f.evidence["tensors"]), subject=f.subject),
        "The optimizer is one of your own that keeps something else under this name.",
    ),
    "moments-dead": (
        "Second moments that are all zero",
        lambda f: _(
            "After {step} steps the optimizer's second moment is zero throughout for {tensors} of {of} weights, first "
            "{subject}."
        ).format(
            step=amount(f.evidence["step"]),
            tensors=amount(f.evidence["tensors"]),
            of=amount(f.evidence["of"]),
            subject=f.subject,
        ),
        "A part may be switched off on purpose.",
    ),
    "weights-rest": (
        "Weights at rest between checkpoints",
        lambda f: _(
            "{tensors} of {of} weight matrices are the same to the bit in all {checkpoints} checkpoints; the first is "
            "{subject}."
        ).format(
            tensors=amount(f.evidence["tensors"]),
            of=amount(f.evidence["of"]),
            checkpoints=amount(f.evidence["checkpoints"]),
            subject=f.subject,
        ),
        "A backbone is often frozen on purpose.",
    ),
}
