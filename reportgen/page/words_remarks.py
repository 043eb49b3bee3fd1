"""The words for remarks on zeros, rows, kernels and ties of weights, on far reaching activations, and on residuals."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _


def _sparse(f: Finding) -> str:
    share = percent(f.evidence["share"])
    if "elsewhere" not in f.evidence:
        return _("{share} of all weights of layers are exactly zero, in {n} tensors.").format(
            share=share, n=amount(f.evidence["tensors"])
        )
    return _("{subject}: {share} of its weights are exactly zero, {elsewhere} of all.").format(
        subject=f.subject, share=share, elsewhere=percent(f.evidence["elsewhere"])
    )


def _rows(f: Finding) -> str:
    values = {k: amount(f.evidence[k]) for k in ("zero", "copies", "far", "rows")}
    told = _("{subject}: of {rows} rows {zero} are zero, {copies} repeat another one, {far} have an odd length.")
    out = told.format(subject=f.subject, **values)
    if "examples" in f.detail:
        out += " " + _("Odd ones: {examples}.").format(examples=f.detail["examples"])
    return out


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "w-sparsity": ("Weights that are zero", _sparse, "The model may have been pruned so."),
    "embedding-rows": (
        "Odd rows of an embedding",
        _rows,
        "Reserved tokens, and rows that fill the vocabulary up, are never trained.",
    ),
    "w-filter-smoothness": (
        "First kernels as rough as noise",
        lambda f: _(
            "{subject}: neighbouring weights of its kernels correlate by {correlation}, {deviations} standard "
            "deviations of what independent ones do."
        ).format(
            subject=f.subject,
            correlation=amount(f.evidence["correlation"]),
            deviations=amount(f.evidence["deviations"]),
        ),
        "Inputs that are not smooth, such as spectrograms, need no smooth filters.",
    ),
    "tie-broken": (
        "Embedding and head are no longer one",
        lambda f: _(
            "The configuration ties {head} to {embedding}, but they are two tensors that differ by {difference} of "
            "their size."
        ).format(head=f.subject, embedding=f.detail["embedding"], difference=percent(f.evidence["difference"])),
        "The tie may have been given up on purpose, and the configuration not been told.",
    ),
    "bias-extreme": (
        "Units that their bias decides",
        lambda f: _(
            "{subject}: the bias outweighs all that reaches the unit in {share} of {channels} units; it holds {off} of "
            "them below zero and {on} above."
        ).format(
            subject=f.subject,
            share=percent(f.evidence["share"]),
            channels=amount(f.evidence["channels"]),
            off=amount(f.evidence["off"]),
            on=amount(f.evidence["on"]),
        ),
        "Biases may be large on purpose, as for gates or rare classes.",
    ),
    "outlier-channels": (
        "Channels that reach far beyond the others",
        lambda f: _(
            "{subject}: channel {channel} reaches {reach} times as far as the median channel; so do channels of "
            "{layers} layers in all."
        ).format(
            subject=f.subject,
            channel=f.detail["channel"],
            reach=amount(f.evidence["reach"]),
            layers=amount(f.evidence["layers"]),
        ),
        "Trained transformers have such channels; it matters where activations are rounded.",
    ),
    "spatial-concentration": (
        "Maps that live in a few places",
        lambda f: _(
            "{subject}: the energy of its maps is spread over {concentration} of their places ({layers} such layers)."
        ).format(
            subject=f.subject,
            concentration=percent(f.evidence["concentration"]),
            layers=amount(f.evidence["layers"]),
        ),
        "Heat maps, and small things on an empty ground, look like this.",
    ),
    "block-overwrites": (
        "Blocks that drown what they read",
        lambda f: _(
            "{subject} ({kind}) adds {change} times what it reads; {blocks} of {of} blocks add more than ten times it."
        ).format(
            subject=f.subject,
            kind=f.detail.get("kind", ""),
            change=amount(f.evidence["change"]),
            blocks=amount(f.evidence["blocks"]),
            of=amount(f.evidence["of"]),
        ),
        "Blocks without a skip connection are meant to.",
    ),
    "o-regression-spread": (
        "Errors that grow with the prediction",
        lambda f: _(
            "The size of the error and the prediction correlate by {correlation:.2f} in rank, over {n} samples."
        ).format(correlation=f.evidence["correlation"], n=amount(f.evidence["samples"])),
        "Prices, counts and durations are like this by nature.",
    ),
    "o-regression-slope": (
        "Predictions of the wrong spread",
        lambda f: _(
            "Where the prediction rises by one, the target rises by {slope:.2f} ± {error:.2f} on average."
        ).format(slope=f.evidence["slope"], error=f.evidence["error"]),
        "A loss that wants a median or a quantile need not give a slope of one.",
    ),
}
