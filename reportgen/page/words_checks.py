"""The words for checks of the gradient and of the loss."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _


def _partial(f: Finding) -> str:
    e = f.evidence
    text = _(
        "Of {checked} tensors, {off} have a gradient that differs from the true derivative of the loss, by up to "
        "{worst} of it: {names}."
    )
    return text.format(
        checked=amount(e["checked"]), off=amount(e["off"]), worst=percent(e["worst"]), names=f.detail.get("names", "")
    )


def _crossed(f: Finding) -> str:
    e = f.evidence
    text = _(
        "An output hangs together with the targets of other samples ({other}) as with its own ({own}): shapes {output} "
        "and {target} are broadcast inside the loss."
    )
    return text.format(
        other=amount(e["other"]),
        own=amount(e["own"]),
        output=f.detail.get("output", ""),
        target=f.detail.get("target", ""),
    )


def _wants(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "logarithms":
        text = _(
            "The loss is lowest ({logarithm}) where outputs are logarithms of the targets, not the targets themselves "
            "({equal}); the last activation cannot go below {low}, as {share} of the targets ask for."
        )
        return text.format(
            logarithm=amount(e["logarithm"]),
            equal=amount(e["equal"]),
            low=amount(e["low"]),
            share=percent(e["below_one"]),
        )
    return _("The loss of -1 is no finite number, and nothing keeps the outputs above zero.")


def _collapsed(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "together":
        text = _(
            "The loss is as low wherever all outputs are one, whatever the targets, and outputs of different samples "
            "vary by {width} of what they do with weights drawn anew."
        )
        return text.format(width=percent(e["width"] / e["fresh_width"]))
    if f.detail.get("kind") == "strangers":
        text = _(
            "The loss of two views of one sample fell to {views}, and so it did for views of different samples, "
            "{strangers}; with weights drawn anew it is {fresh}. Outputs point the same way (mean direction "
            "{direction}, drawn anew {fresh_direction})."
        )
        return text.format(
            views=amount(e["views"]),
            strangers=amount(e["strangers"]),
            fresh=amount(e["fresh_views"]),
            direction=f"{e['direction']:.3f}",
            fresh_direction=f"{e['fresh_direction']:.3f}",
        )
    text = _(
        "The loss does not look at the targets, and outputs of different samples vary by {spread} of their size (mean "
        "direction {direction}); with weights drawn anew by {fresh} (mean direction {fresh_direction})."
    )
    return text.format(
        spread=percent(e["spread"]),
        direction=f"{e['direction']:.3f}",
        fresh=percent(e["fresh_spread"]),
        fresh_direction=f"{e['fresh_direction']:.3f}",
    )


def _eps(f: Finding) -> str:
    text = _("{tensors} tensors are stored in float16, where the eps of Adam, {eps}, is zero.")
    return text.format(tensors=amount(f.evidence["tensors"]), eps=amount(f.evidence["eps"]))


def _penalty(f: Finding) -> str:
    e = f.evidence
    text = _(
        "A penalty of {penalty} is part of the loss; {steps} steps without it take the rest, on the data given, from "
        "{before} to {after}."
    )
    return text.format(
        penalty=amount(e["penalty"]), steps=amount(e["steps"]), before=amount(e["before"]), after=amount(e["after"])
    )


def _drowned(f: Finding) -> str:
    e = f.evidence
    text = _(
        "The loss moves what the heads share {pull} times as much through one head as through the others. What the "
        "others say of the data given is worth {worth} of the loss, and {alone} in a fresh copy that learned from them "
        "alone."
    )
    return text.format(pull=amount(e["pull"]), worth=amount(e["worth"]), alone=amount(e["worth_alone"]))


def _smoothed(f: Finding) -> str:
    e = f.evidence
    text = _(
        "With weights drawn anew, directions at the {places} places of a sample differ by {last} (1 minus the cosine) "
        "in the last layer and by {first} in the first, and an input that is exchanged at one place moves the output "
        "there {own} times as much as elsewhere: the places are averaged until they are one."
    )
    return text.format(
        places=amount(e["places"]),
        last=amount(e["apart_last"]),
        first=amount(e["apart_first"]),
        own=amount(e["own"]),
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "gradient-partial": (
        "The gradient against differences of the loss",
        _partial,
        "Gradients may be stopped or replaced on purpose.",
    ),
    "embedding-collapsed": (
        "Do outputs of different samples differ?",
        _collapsed,
        "One answer for all may be wanted.",
    ),
    "head-drowned": ("What one head leaves of the others", _drowned, "The others may not be meant to be learned."),
    "places-smoothed": ("Do places of a sample keep apart?", _smoothed, "Targets may be nearly one for all places."),
    "adam-eps-lost": (
        "Adam in half precision",
        _eps,
        ("The optimizer keeps its moments in float32 beside the parameters, under the name of one of torch."),
    ),
    "loss-crossed": (
        "Does the loss keep samples apart?",
        _crossed,
        ("The loss compares each output with every target on purpose, in a form that is not known here."),
    ),
    "loss-wants": (
        "What the loss takes for an output",
        _wants,
        "The loss that was given here is not the one that was trained with.",
    ),
    "penalty-outweighs": ("Penalty inside the loss", _penalty, "The penalty may be meant to be that strong."),
}

Numbers = dict[str, float]
Detail = dict[str, str]


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "without-gradient": _("Does anything depend on what gets no gradient?"),
        "outputs-alone": _("Do outputs depend on trainable tensors that the model does not hold?"),
        "gradient-check": _("Is the gradient the whole derivative of the loss?"),
        "loss-of-pairs": _("Does the loss keep samples apart?"),
        "loss-domain": _("Which outputs does the loss take?"),
        "loss-without-target": _("Does the loss look at the targets?"),
        "places-smoothed": _("Do places of a sample keep apart on their way through?"),
        "head-drowned": _("Do all heads learn what they could by themselves?"),
        "loss-penalty": _("Does the loss add a penalty on the weights?"),
    }


def _checked(n: Numbers, d: Detail) -> str:
    if not n["off"]:
        return _("{checked} tensors: backward pass and differences agree.").format(checked=amount(n["checked"]))
    return _("{off} of {checked} tensors differ, by up to {worst}.").format(
        off=amount(n["off"]), checked=amount(n["checked"]), worst=percent(n["worst"])
    )


def _pairs(n: Numbers, d: Detail) -> str:
    text = _("Second differences of output and target: {own} within a sample, {other} between samples.")
    return text.format(own=amount(n["own"]), other=amount(n["other"]))


def _domain(n: Numbers, d: Detail) -> str:
    if "logarithm" in n and "equal" in n:
        return _("Loss of outputs that equal the targets {equal}, of their logarithms {logarithm}.").format(
            equal=amount(n["equal"]), logarithm=amount(n["logarithm"])
        )
    return _("It takes negative outputs.") if n["negative"] else _("It takes no negative outputs.")


def _added(n: Numbers, d: Detail) -> str:
    if not n["depends"]:
        return _("It depends on the outputs alone.")
    if "penalty" in n:
        return _("It depends on the weights: {penalty} with answers that are right and certain.").format(
            penalty=amount(n["penalty"])
        )
    return _("It depends on the weights too.")


def _targets(n: Numbers, d: Detail) -> str:
    if n.get("together"):
        return _("It does, and is as low wherever all outputs are one.")
    if not n["ignored"]:
        return _("Other targets change it.")
    return _(
        "It is the same whatever the targets; outputs of different samples vary by {spread} of their size."
    ).format(spread=percent(n["spread"]))


def _idle(n: Numbers, d: Detail) -> str:
    if n["depends"]:
        return _("Outputs or loss depend on the {n} that get none.").format(n=amount(n["without"]))
    return _("Neither outputs nor loss depend on the {n} that get none.").format(n=amount(n["without"]))


def _strangers(n: Numbers, d: Detail) -> str:
    if not n["strangers"]:
        return _("On none.")
    return _("On {n}, {shapes}.").format(n=amount(n["strangers"]), shapes=d.get("strangers", ""))


def _apart(n: Numbers, d: Detail) -> str:
    text = _("Places of a sample differ by {last} (1 minus the cosine) in the last layer, by {first} in the first.")
    told = text.format(last=amount(n["apart_last"]), first=amount(n["apart_first"]))
    if "own" not in n:
        return told
    own = _("An exchanged input moves its own place {own} times as much as others.").format(own=amount(n["own"]))
    return _("{first} {second}").format(first=told, second=own)


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "without-gradient": _idle,
    "outputs-alone": _strangers,
    "gradient-check": _checked,
    "loss-of-pairs": _pairs,
    "loss-domain": _domain,
    "loss-without-target": _targets,
    "places-smoothed": _apart,
    "head-drowned": lambda n, d: _(
        "Through one head {pull} times as much as through the others, which are worth {worth} of the loss, and {alone} "
        "when learned alone."
    ).format(pull=amount(n["pull"]), worth=amount(n["worth"]), alone=amount(n["worth_alone"])),
    "loss-penalty": _added,
}
