"""The words for what a fresh copy learns of either split."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, number, percent
from .language import N_, _


def _said(detail: dict[str, str]) -> Callable[[float], str]:
    return percent if detail.get("kind") in ("classes", "maps") else amount


def _disagree(f: Finding) -> str:
    e, say = f.evidence, _said(f.detail)
    texts = {
        "classes": _(
            "A fresh copy that learned from {samples} training samples is right on {own} of other training samples, "
            "and on {other} of the data given, where a constant answer is right on {constant}."
        ),
        "maps": _(
            "A fresh copy that learned from {samples} training samples finds {own} of the places of a class in other "
            "training samples, and {other} in the data given, where a constant answer finds {constant}."
        ),
        "numbers": _(
            "A fresh copy that learned from {samples} training samples has an R² of {own} on other training samples, "
            "and of {other} on the data given."
        ),
    }
    text = texts.get(f.detail.get("kind", ""), texts["numbers"])
    return text.format(
        samples=amount(e["samples"]), own=say(e["own"]), other=say(e["other"]), constant=say(e["constant_given"])
    )


def _only(f: Finding) -> str:
    e, say = f.evidence, _said(f.detail)
    texts = {
        "classes": _(
            "Learned from {samples} of the data given, a fresh copy is right on {given} of the others; learned from as "
            "many training samples, on {own} of other training samples and on {other} of the data given."
        ),
        "maps": _(
            "Learned from {samples} of the data given, a fresh copy finds {given} of the places of a class in the "
            "others; learned from as many training samples, {own} in other training samples and {other} in the data "
            "given."
        ),
        "numbers": _(
            "Learned from {samples} of the data given, a fresh copy has an R² of {given} on the others; learned from "
            "as many training samples, {own} on other training samples and {other} on the data given."
        ),
    }
    text = texts.get(f.detail.get("kind", ""), texts["numbers"])
    return text.format(samples=amount(e["samples"]), given=say(e["given"]), own=say(e["own"]), other=say(e["other"]))


def _ahead(f: Finding) -> str:
    e, say = f.evidence, _said(f.detail)
    if f.detail.get("held") == "steps":
        text = _(
            "A fresh copy reaches {fresh} on the data given after 300 plain steps on {samples} samples, the model has "
            "{model}, and the same steps from its own weights come to {onward}: half of its matrices were carried "
            "{moved} times their length or more away from where they began."
        )
        return text.format(
            fresh=say(e["fresh"]),
            samples=amount(e["samples"]),
            model=say(e["as_is"]),
            onward=say(e["onward"]),
            moved=number(e["moved"]),
        )
    if f.detail.get("held") == "start":
        text = _(
            "A fresh copy reaches {fresh} on the data given after 300 plain steps on {samples} samples; the model, "
            "after its whole run, has {model}: its weights began so small that at the first step the last layer put "
            "out {faded} times less than the first."
        )
        return text.format(
            fresh=say(e["fresh"]), samples=amount(e["samples"]), model=say(e["as_is"]), faded=number(e["faded"])
        )
    if f.detail.get("held") == "weights":
        text = _(
            "A fresh copy reaches {fresh} on the data given after 300 plain steps on {samples} samples, the model has "
            "{model}, and the same steps from its own weights come to {onward}."
        )
        return text.format(
            fresh=say(e["fresh"]), samples=amount(e["samples"]), model=say(e["as_is"]), onward=say(e["onward"])
        )
    text = _(
        "A fresh copy reaches {fresh} on the data given after 300 plain steps on {samples} samples; the model, after "
        "its whole run, has {model}."
    )
    return text.format(fresh=say(e["fresh"]), samples=amount(e["samples"]), model=say(e["as_is"]))


def _scaled(f: Finding) -> str:
    e, say = f.evidence, _said(f.detail)
    text = _(
        "After 300 steps a fresh copy has {fresh} on the data given, and one whose layers were first scaled to outputs "
        "of deviation 1 has {scaled}."
    )
    return text.format(fresh=say(e["fresh"]), scaled=say(e["scaled"]))


def _hurts(f: Finding) -> str:
    e, say = f.evidence, _said(f.detail)
    text = _(
        "On the data given the model reaches {as_is}; a fresh copy that learned from half of them reaches {given} on "
        "the other half, one that learned from augmented training samples {other}, and {own} on others like them."
    )
    told = text.format(as_is=say(e["as_is"]), given=say(e["given"]), other=say(e["other"]), own=say(e["own"]))
    if "pair" in e:
        told += _(" Of the two classes that the model confounds most it has {as_is} right, the copy {given}.").format(
            as_is=percent(e["pair_as_is"]), given=percent(e["pair"])
        )
    if "pair_turned" in e:
        text = _(
            " Training samples change by this when they are read again: {turn}. So changed, the copy has {turned}."
        )
        told += text.format(turn=_(_TURNS[f.detail["turn"]]), turned=percent(e["pair_turned"]))
    return told


_TURNS = {
    "negated": N_("the sign of all numbers"),
    "mirrored": N_("mirrored, the last column comes first"),
    "upside down": N_("mirrored, the last row comes first"),
    "half a turn": N_("turned by half a turn"),
    "a quarter turn": N_("turned by a quarter to the left"),
    "three quarters of a turn": N_("turned by a quarter to the right"),
}


def _torn(f: Finding) -> str:
    text = _(
        "Of {of} training samples that were read twice, {torn} came back with their image turned and their map as it "
        "was, or the other way round."
    )
    return text.format(of=amount(f.evidence["of"]), torn=amount(f.evidence["torn"]))


def _noisier(f: Finding) -> str:
    e = f.evidence
    text = _(
        "A fresh copy that learned from {samples} training samples is right on {own} of other training samples, and on "
        "{other} of the data given, which it has not seen either."
    )
    return text.format(samples=amount(e["samples"]), own=percent(e["own"]), other=percent(e["other"]))


def _fitted(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "ranks":
        text = _(
            "A yes of {answers} kinds ranks lower among the {samples} training samples, at worst with an area under "
            "the ROC curve of {own:.2f}, than in the data given ({other:.2f}), which the model has not seen and whose "
            "inputs cannot be told from theirs: labels of the training data are wrong in part."
        )
        return text.format(answers=int(e["answers"]), samples=amount(e["samples"]), own=e["own"], other=e["other"])
    text = _(
        "The model is right on {own} of {samples} training samples, and on {other} of the data given, which it has not "
        "seen and whose inputs cannot be told from theirs: labels of the training data are wrong in part."
    )
    return text.format(samples=amount(e["samples"]), own=percent(e["own"]), other=percent(e["other"]))


def _otherwise(f: Finding) -> str:
    e = f.evidence
    text = _(
        "A fresh copy that learned from {samples} training samples is right on {own} of other training samples, and "
        "only on {other} of the data given, whose inputs cannot be told from theirs: labels of one of the two are "
        "wrong in part."
    )
    return text.format(samples=amount(e["samples"]), own=percent(e["own"]), other=percent(e["other"]))


def _off(f: Finding) -> str:
    e = f.evidence
    texts = {
        "model": _(
            "Of {samples} training samples {beyond} are far off what the model says of them, and {given} of the data "
            "given, by the same measure; inputs do not tell which (correlation {told})."
        ),
        "copy": _(
            "Of {samples} training samples that a fresh copy had not seen {beyond} are far off what it says of them, "
            "and {given} of the data given, by the same measure; inputs do not tell which (correlation {told})."
        ),
    }
    return texts["copy" if f.detail.get("by") == "copy" else "model"].format(
        samples=amount(e["samples"]),
        beyond=percent(e["beyond"]),
        given=percent(e["beyond_given"]),
        told=f"{e['told']:.2f}",
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "splits-disagree": (
        "Does what training teaches hold elsewhere?",
        _disagree,
        "A split by time, by person or by place may be meant to be hard.",
    ),
    "fresh-copy-ahead": (
        "The model against a fresh copy",
        _ahead,
        "The loss may ask for something else than that answer.",
    ),
    "scale-helps": (
        "Scale of the layers at the start",
        _scaled,
        "The net learns well enough with more steps than the experiment had.",
    ),
    "augmentation-hurts": (
        "Samples as they are against augmented ones",
        _hurts,
        "A longer run may learn from them too.",
    ),
    "augmentation-torn": (
        "Do maps turn with their images?",
        _torn,
        "The map may be meant to stay, as where a model is to undo the turn.",
    ),
    "training-labels-noisier": (
        "Unseen training samples against the data given",
        _noisier,
        "The training data may be chosen to be hard, or the data given to be easy.",
    ),
    "fitted-labels-noisier": (
        "Agreement with samples it was fitted to",
        _fitted,
        "The training data may be chosen to be hard in a way that their inputs do not show.",
    ),
    "splits-labelled-otherwise": (
        "The data given against unseen training samples",
        _otherwise,
        "What the label means may have changed in time between the two splits.",
    ),
    "training-targets-off": (
        "Errors on training samples against those on the data given",
        _off,
        "The training data may hold a time or a source that goes by other rules, without a column that tells it.",
    ),
    "only-given-learns": (
        "Can anything be learned from the training data?",
        _only,
        ("The training labels are noisy on purpose, and far more samples than the experiment had are needed."),
    ),
}

Numbers = dict[str, float]
Detail = dict[str, str]


def _anew(n: Numbers, d: Detail) -> str:
    say = _said(d)
    texts = {
        "classes": _(
            "Learned from training data: {own} right on unseen training data, {other} on the data given; learned from "
            "the data given: {given} on unseen ones of them, {back} on training data."
        ),
        "maps": _(
            "Places of a class that are found: learned from training data, {own} in unseen training data, {other} in "
            "the data given; learned from the data given, {given} in unseen ones of them, {back} in training data."
        ),
        "numbers": _(
            "Learned from training data: R² {own} on unseen training data, {other} on the data given; learned from the "
            "data given: {given} on unseen ones of them, {back} on training data."
        ),
    }
    text = texts.get(d.get("kind", ""), texts["numbers"])
    return text.format(
        own=say(n["training_training"]),
        other=say(n["training_given"]),
        given=say(n["given_given"]),
        back=say(n["given_training"]),
    )


def _unseen(n: Numbers, d: Detail) -> str:
    if d.get("kind") == "numbers":
        text = _(
            "The model has an R² of {heart} on training samples and of {now} on the data given; a fresh copy that "
            "learned from others of them {own} on the same training samples, and {other} on the data given."
        )
        return text.format(
            heart=amount(n["by_heart"]),
            now=amount(n["as_is"]),
            own=amount(n["training_training"]),
            other=amount(n["training_given"]),
        )
    text = _(
        "The model is right on {heart} of training samples and on {now} of the data given; a fresh copy that learned "
        "from others of them on {own} of the same training samples, and on {other} of the data given."
    )
    return text.format(
        heart=percent(n["by_heart"]),
        now=percent(n["as_is"]),
        own=percent(n["training_training"]),
        other=percent(n["training_given"]),
    )


def _misfits(n: Numbers, d: Detail) -> str:
    text = _(
        "R² {own} on training samples, {given} on the data given; far off are {beyond} of the ones, and {others} of "
        "the others."
    )
    return text.format(
        own=amount(n["r2_training"]),
        given=amount(n["r2"]),
        beyond=percent(n["beyond"]),
        others=percent(n["beyond_given"]),
    )


def _fewer(n: Numbers, d: Detail) -> str:
    text = _(
        "Fresh copies that learned from {learned} samples score {full} on others, and {half} when they learned from "
        "half of them."
    )
    return text.format(learned=amount(n["learned"]), full=f"{n['full']:.2f}", half=f"{n['half']:.2f}")


def _classes(n: Numbers, d: Detail) -> str:
    if "right_apart" not in n:
        return _("The model gives {right} of the whole numbers, rounded.").format(right=percent(n["right"]))
    text = _(
        "Of {classes} whole numbers the model gives {right}, a fresh copy {fresh}, one that learned classes {apart}."
    )
    return text.format(
        classes=amount(n["classes"]),
        right=percent(n["right"]),
        fresh=percent(n["right_fresh"]),
        apart=percent(n["right_apart"]),
    )


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "learned-anew": _("Does what is learned from half of a split hold elsewhere?"),
        "misfits": _("Do training targets fit their inputs as well as those of the data given?"),
        "half-as-many": _("Would more data help?"),
        "as-classes": _("Would numbered classes be told better as classes?"),
        "unseen-half": _("Are unseen training samples as hard as the data given?"),
    }


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "learned-anew": _anew,
    "unseen-half": _unseen,
    "half-as-many": _fewer,
    "misfits": _misfits,
    "as-classes": _classes,
}
