"""Words for what the loss asks of made-up outputs and targets."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, number, percent
from .language import _

Numbers = dict[str, float]
Detail = dict[str, str]


def _shares(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "surest":
        text = _(
            "The loss is {asked} for the shares that the targets ask, and {surest} with all on the likeliest class."
        )
        return text.format(asked=amount(e["asked"]), surest=amount(e["surest"]))
    if f.detail.get("kind") == "softened":
        text = _(
            "The targets are shares, and the loss takes a softmax of them: it is at rest where outputs are the targets "
            "themselves (derivative {softened} of that at 0), not where they are their logarithms ({met})."
        )
        return text.format(softened=amount(e["softened"]), met=amount(e["met"]))
    wrong = _("The loss takes logarithms of shares; the outputs are none: their logsumexp is off 0 by up to {off}.")
    return wrong.format(off=amount(e["log_sum_exp_error"]))


def _twice(f: Finding) -> str:
    text = _("The data move the targets ahead by {data}, and the loss by {loss} more.")
    return text.format(data=amount(f.evidence["data"]), loss=amount(f.evidence["loss"]))


def _own_codes(f: Finding) -> str:
    text = _(
        "{distinct} training samples have {distinct} different codes, and none of {given} samples given has one of "
        "these: {subject} holds a row for each sample, and rows of new samples were never trained."
    )
    e = f.evidence
    return text.format(distinct=amount(e["distinct"]), given=amount(e["given"]), subject=f.subject)


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "code-of-each-sample": (
        "Codes that no two samples share",
        _own_codes,
        "Vectors of samples may be fitted on purpose, those of new ones too.",
    ),
    "loss-of-shares": ("Shares that the loss asks for", _shares, "The loss may distrust soft labels on purpose."),
    "shifted-twice": ("How far ahead the targets lie", _twice, "What comes after the next may be asked for."),
}


def _far(n: Numbers, d: Detail) -> str:
    parts = [number(n[key]) for key in ("up_100", "down_100") if key in n]
    text = _("The loss is {base}; with targets moved far up or down: {far}.")
    return text.format(base=amount(n["base"]), far=_(", ").join(parts) or "–")


def _asked(n: Numbers, d: Detail) -> str:
    if "logs_1" in n and "shares_1" in n:
        text = _("Loss of outputs that equal the targets {equal}, of their logarithms {logarithm}.")
        return text.format(equal=amount(n["shares_1"]), logarithm=amount(n["logs_1"]))
    return _("Not finite for outputs that equal the targets, or their logarithms.")


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "far-targets": _("Does the loss rise with the distance from the target?"),
        "shares": _("Which shares does the loss ask for?"),
        "score-scale": _("What are scores of attention multiplied with?"),
        "zero-as-label": _("Does a label of 0 teach anything?"),
        "inputs-as-weights": _("Does the loss ask for the inputs themselves?"),
        "targets-given": _("Do answers follow the targets that are an input?"),
        "numbers-passed": _("Does more than one number of a sample reach its outputs?"),
        "both-ways": _("In which direction is a sequence read?"),
        "targets-ahead": _("How far ahead do the targets lie?"),
        "tags-slipped": _("Do labels belong to the tokens of their own places?"),
        "lookups": _("What is looked up by a code of the sample?"),
        "function-ends": _("Are units stuck at the ends of functions?"),
        "rare-favoured": _("Are rare classes named as often as the model knows them?"),
        "two-sides": _("Can the answers be yes and no?"),
        "sums-to-one": _("Along which dimension do probabilities sum to 1?"),
    }


def _sides(n: Numbers, d: Detail) -> str:
    text = _("Answers go from {low} to {high} when all affine layers put out anything at all.")
    return text.format(low=amount(n["low"]), high=amount(n["high"]))


def _sums(n: Numbers, d: Detail) -> str:
    text = _("Sums differ from 1 by up to {classes} over the classes, and by up to {elsewhere} along dimension {dim}.")
    return text.format(classes=amount(n["classes"]), elsewhere=amount(n["elsewhere"]), dim=amount(n["dim"]))


def _ahead(n: Numbers, d: Detail) -> str:
    text = _("The data move them by {data}, the loss by {loss}.")
    return text.format(data=amount(n["data"]), loss=amount(n["loss"]))


def _passed(n: Numbers, d: Detail) -> str:
    text = _("Second direction of the derivatives of {width} outputs by the input: {second} of the first.")
    return text.format(width=amount(n["width"]), second=amount(n["second"]))


def _ends(n: Numbers, d: Detail) -> str:
    text = _(
        "Of {kind} behind {behind}, {share} of {channels} units sit near an end almost always; {values} of all values "
        "do."
    )
    return text.format(
        kind=d.get("kind", ""),
        behind=d.get("behind") or "–",
        share=percent(n["share"]),
        channels=amount(n["channels"]),
        values=percent(n["values"]),
    )


def _codes(n: Numbers, d: Detail) -> str:
    if "distinct" not in n:
        return _("Columns of the input that are codes: {coded}.").format(coded=d.get("columns") or "–")
    text = _(
        "{distinct} different codes in {samples} training samples; {known} of {given} samples given have one of these."
    )
    return text.format(**{key: amount(n[key]) for key in ("distinct", "samples", "known", "given")})


def _favoured(n: Numbers, d: Detail) -> str:
    text = _(
        "Of {rare} samples of rare classes {found} are named rightly, and {then} where their probabilities are divided "
        "by the square root of how common each class is; of {common} others {common_found}, and then {common_then}."
    )
    keys = {"rare": "rare", "found": "rare_found", "then": "rare_then", "common": "common"}
    keys |= {"common_found": "common_found", "common_then": "common_then"}
    return text.format(**{word: amount(n[key]) for word, key in keys.items()})


def _given(n: Numbers, d: Detail) -> str:
    text = _("With that input mixed up answers follow it to {followed}, and the targets to {kept}.")
    return text.format(followed=percent(n["followed"]), kept=percent(max(n["kept"], 0.0)))


def _scale(n: Numbers, d: Detail) -> str:
    text = _("With {factor}, queries of width {width}; logits deviate by {own_spread}, drawn anew by {spread}.")
    keys = ("factor", "width", "own_spread", "spread")
    return text.format(**{key: amount(n[key]) for key in keys})


def _zeros(n: Numbers, d: Detail) -> str:
    if n["flat"]:
        return _("With targets of 0 no output is pulled anywhere.")
    text = _("With targets of 0 outputs are pulled; 1 and −1 pull {apart} of the samples in opposite directions.")
    return text.format(apart=percent(n["apart"]))


def _weighed(n: Numbers, d: Detail) -> str:
    text = _("Targets twice as large make {doubled} times the loss, and 1 added to all outputs {shifted} times.")
    return text.format(doubled=amount(n["doubled"]), shifted=amount(n["shifted"]))


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "targets-given": _given,
    "numbers-passed": _passed,
    "both-ways": lambda n, d: _(
        "Answers in the first half move by {ahead} of the spread of the outputs when the second changes, those in the "
        "second by {behind} when the first does."
    ).format(ahead=amount(n["ahead"]), behind=amount(n["behind"])),
    "targets-ahead": _ahead,
    "tags-slipped": lambda n, d: _(
        "Looked up by the token of its own place, a label is right {own} of the time, by that of another place {moved} "
        "at best; the commonest label comes to {commonest}, the model to {model}."
    ).format(
        own=percent(n["own"]),
        moved=percent(n["moved"]),
        commonest=percent(n["commonest"]),
        model=percent(n["model"]),
    ),
    "rare-favoured": _favoured,
    "function-ends": _ends,
    "lookups": _codes,
    "far-targets": _far,
    "shares": _asked,
    "score-scale": _scale,
    "zero-as-label": _zeros,
    "inputs-as-weights": _weighed,
    "two-sides": _sides,
    "sums-to-one": _sums,
}
