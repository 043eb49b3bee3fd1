"""What is said of pictures as such: how inputs were turned into them, and what was left out."""

from __future__ import annotations

from ..document.pictures import Display, LeftOut, PictureFacts
from . import reasons
from .formats import count, listing, name, number, size
from .language import _, plural, sentences


def display_words(display: Display) -> str:
    """Say how inputs were turned into what is shown."""
    if display.kind in ("series", "tokens", "row"):
        return ""
    told = []
    if display.scale == "normalisation":
        text = _("The normalisation of the inputs is undone: mean {mean}, standard deviation {std}.")
        mean, std = (listing([number(v) for v in values]) for values in (display.mean, display.std))
        told.append(text.format(mean=mean, std=std))
    elif display.scale == "span":
        text = _("No normalisation is known that could be undone: black is {low}, white {high}.")
        told.append(text.format(low=number(display.low), high=number(display.high)))
    if display.channels:
        text = _("False colours: the channels {channels} are shown as red, green and blue.")
        told.append(text.format(channels=listing([str(c) for c in display.channels])))
    if display.magnitude:
        told.append(_("The inputs are complex; their absolute value is shown."))
    if display.kind == "volume":
        told.append(_("Volumes are shown by their three middle slices."))
    if display.kind == "frames":
        told.append(_("Of a sequence of images the middle one is shown."))
    return sentences(told)


def left_out_words(facts: PictureFacts) -> list[str]:
    """Say which pictures were not made, and why."""
    refused = [left for left in facts.left_out if left.why == "budget"]
    told = []
    if refused:
        n = sum(left.n for left in refused)
        text = plural(
            "{n} picture was left out, of {parts}: all of them may take {budget} in this report.",
            "{n} pictures were left out, of {parts}: all of them may take {budget} in this report.",
            n,
        )
        parts = listing([_part(left) for left in refused])
        told.append(text.format(n=count(n), parts=parts, budget=size(facts.budget)))
    others = [left for left in facts.left_out if left.why != "budget"]
    text = _("Not made: {part} ({reason}).")
    return told + [text.format(part=_part(o), reason=name(reasons.told(o.reason))) for o in others]


def _part(left: LeftOut) -> str:
    return {
        "samples": _("samples"),
        "heat": _("Grad-CAM"),
        "kernels": _("kernels"),
        "maps": _("feature maps"),
        "projection": _("features in two dimensions"),
        "generation": _("generated samples"),
    }[left.part]
