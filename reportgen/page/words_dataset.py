"""The words for findings on samples, labels and splits."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _

CAUSES: dict[str, tuple[str, str]] = {
    "class-imbalance": (
        "Rare classes are not learned",
        "The commonest classes decide the loss, and the model gains little by finding the others.",
    ),
    "data-leakage": (
        "The data given are in the training data",
        "A score on samples that were learned says nothing of new ones.",
    ),
    "label-corruption": (
        "Labels and inputs do not belong together",
        "In one split or in both, labels were shuffled, shifted, numbered differently or lost.",
    ),
    "label-noise": (
        "A share of the labels is wrong",
        "Wrong labels cap what can be learned, and a model that learns them by heart gets worse on others.",
    ),
    "redundant-data": (
        "Data that carry nothing new",
        "Copies, padding or columns that never change cost time and teach nothing.",
    ),
    "train-val-mismatch": (
        "The splits are not alike",
        "The data given are prepared differently from the training data, or drawn from another source.",
    ),
    "unscaled-target": (
        "Targets are far from what a network puts out",
        "A network starts near 0 with a spread of about 1; far from it, it spends its steps on the offset.",
    ),
    "unshuffled-data": (
        "Training batches come in order",
        "Each batch pulls the model to its own classes, and what was learned before is overwritten.",
    ),
}


def _order(f: Finding) -> str:
    e = f.evidence
    if "one_way" in e:
        return _("Of the targets that differ from the one before, {share} go the same way: they are sorted.").format(
            share=percent(e["one_way"])
        )
    if "correlation" in e:
        return _("Targets of neighbours in the order of loading have a correlation of {correlation}.").format(
            correlation=amount(e["correlation"])
        )
    if "inputs" in e:
        return _(
            "A column of the inputs has a correlation of {correlation} with that of the sample before: samples come "
            "sorted or in blocks, and in mixed batches the model learns much more."
        ).format(correlation=amount(e["inputs"]))
    return _("Of {samples} samples {same} have the label of the one before; a random order gives {expected}.").format(
        samples=amount(e["samples"]), same=amount(e["same"]), expected=amount(round(e["expected"]))
    )


def _imbalance(f: Finding) -> str:
    e = f.evidence
    lost = ""
    if "classes" in e:
        lost = _(" Of the {n} rare classes together {recall} are found (at most {upper}).").format(
            n=amount(e["classes"]), recall=percent(e["recall"]), upper=percent(e["upper"])
        )
    elif "recall" in e:
        lost = _(" Of class {index} {recall} are found (at most {upper}).").format(
            index=amount(e["class"]), recall=percent(e["recall"]), upper=percent(e["upper"])
        )
    if "favoured" in e:
        lost += _(
            " Favoured by half of their rarity {favoured} are: {gained} samples are right then alone, {lost} were "
            "right before alone."
        ).format(favoured=percent(e["favoured"]), gained=amount(e["gained"]), lost=amount(e["lost"]))
    return _("The commonest class is the label {largest} times, the rarest {smallest} times.{lost}").format(
        largest=amount(e["largest"]), smallest=amount(e["smallest"]), lost=lost
    )


def _shift(f: Finding) -> str:
    e = f.evidence
    how = ""
    if f.detail.get("kind") == "preparation":
        how = _(" Nearly all features differ, so the preparation may.")
    return _(
        "{features} of {of} features differ; most {subject}: {train_mean} ± {train_std} in training, "
        "{mean} ± {std} here.{how}"
    ).format(
        features=amount(e["features"]),
        of=amount(e["of"]),
        subject=f.subject,
        train_mean=amount(e["train_mean"]),
        train_std=amount(e["train_std"]),
        mean=amount(e["mean"]),
        std=amount(e["std"]),
        how=how,
    )


def _mapping(f: Finding) -> str:
    e, parts = f.evidence, []
    if "renamed" in e:
        parts.append(
            _("Renaming the classes one to one lifts accuracy from {accuracy} to {renamed}").format(
                accuracy=percent(e["accuracy"]), renamed=percent(e["renamed"])
            )
        )
    if "shared" in e:
        parts.append(
            _("{other_label} of {shared} inputs in both splits have other labels").format(
                other_label=amount(e["other_label"]), shared=amount(e["shared"])
            )
        )
    return _("; ").join(parts) + _(".")


def _signal(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("by") == "words":
        return _(
            "Words of one half of {samples} sequences, their places and pairs tell the labels of the other with "
            "{score}; shuffled labels give {chance} ({z:.1f} standard deviations between)."
        ).format(samples=amount(e["samples"]), score=amount(e["score"]), chance=amount(e["chance"]), z=e["z"])
    return _(
        "Five nearest neighbours of {samples} samples tell the label with {score}; shuffled labels "
        "give {chance} ({z:.1f} standard deviations between)."
    ).format(samples=amount(e["samples"]), score=amount(e["score"]), chance=amount(e["chance"]), z=e["z"])


def _drawn(f: Finding) -> str:
    e = f.evidence
    words = f.detail.get("kind") == "words"
    by = _("By the words that they hold") if words else _("By their columns")
    text = _(
        "{by}, {told} of new samples get their label, clear ones as seldom as others (a right answer is surer than a "
        "wrong one in {surer} of the pairs; 50 % is chance). The model has {by_heart} of its training labels."
    )
    return text.format(by=by, told=percent(e["told"]), surer=percent(e["surer"]), by_heart=percent(e["by_heart"]))


def _maps(f: Finding) -> str:
    own, other = percent(f.evidence["own"]), percent(f.evidence["other"])
    if f.detail.get("kind") == "both":
        return _(
            "The own map fits an input better than that of another sample in {own} of all pairs, in the other split in "
            "{other}: half of them do by chance. Neither the model nor copies that learned anew tell more."
        ).format(own=own, other=other)
    return _(
        "{subject}: the own map fits an input better than that of another sample in {own} of all pairs, which is "
        "chance; in the other split in {other}."
    ).format(subject=f.subject, own=own, other=other)


# rule -> name, sentence, when the rule is wrong
def _target_scale(f: Finding) -> str:
    told = _("Targets are {mean} ± {std}.").format(mean=amount(f.evidence["mean"]), std=amount(f.evidence["std"]))
    if "missed" not in f.evidence:
        return told
    more = _("On the training data the model is off by {missed} on average, to one side.")
    return f"{told} {more.format(missed=amount(abs(f.evidence['missed'])))}"


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "d-class-imbalance": ("Balance of the classes", _imbalance, "Rare classes may not matter to the task."),
    "d-conflicting-labels": (
        "Equal inputs, other labels",
        lambda f: _("{subject}: {samples} of {of} samples share their input with a sample of another label.").format(
            subject=f.subject, samples=amount(f.evidence["samples"]), of=amount(f.evidence["of"])
        ),
        "What decides may not be in the inputs.",
    ),
    "d-constant-feature": (
        "Features that never change",
        lambda f: _("{constant} of {features} features have one value in all samples; the first is {subject}.").format(
            constant=amount(f.evidence["constant"]), features=amount(f.evidence["features"]), subject=f.subject
        ),
        "The column varies in other data, and these are a part of them.",
    ),
    "d-duplicates": (
        "Copies",
        lambda f: _("{subject}: {copies} of {samples} samples repeat an input.").format(
            subject=f.subject, copies=amount(f.evidence["copies"]), samples=amount(f.evidence["samples"])
        ),
        "Over-sampling makes copies on purpose.",
    ),
    "d-label-constant": (
        "Labels that never change",
        lambda f: _("{subject}: all of {samples} samples have one label.").format(
            subject=f.subject, samples=amount(f.evidence["samples"])
        ),
        (
            "The samples given are the first part of data sorted by label, or a task of one class, "
            "such as finding what is unusual."
        ),
    ),
    "d-label-mapping": (
        "Numbering of the classes",
        _mapping,
        "The classes of the data given are others by nature, with the same numbers.",
    ),
    "d-label-noise": (
        "Labels against their neighbours",
        lambda f: _(
            "In training {agreement} of nearest neighbours share a sample's label, in the data given {given}."
        ).format(agreement=percent(f.evidence["agreement"]), given=percent(f.evidence["given"])),
        "The splits may be drawn from other sources.",
    ),
    "d-label-range": (
        "Range of the labels",
        lambda f: _("{subject}: labels from {min} to {max} for {classes} outputs.").format(
            subject=f.subject,
            min=amount(f.evidence["min"]),
            max=amount(f.evidence["max"]),
            classes=amount(f.evidence["classes"]),
        ),
        "A loss of your own may leave some labels out.",
    ),
    "d-label-signal": ("What neighbours say of the labels", _signal, "Neighbours in raw inputs may be a poor guide."),
    "d-labels-unrelated": (
        "Labels of one split",
        lambda f: _(
            "{subject}: nearest neighbours say nothing of the labels ({z:.1f} standard deviations from "
            "chance); in the other split they do ({other_z:.1f})."
        ).format(subject=f.subject, z=f.evidence["z"], other_z=f.evidence["other_z"]),
        "Heavy augmentation may hide what neighbours have in common.",
    ),
    "d-labels-drawn": (
        "Labels against clear inputs",
        _drawn,
        "The target may be a draw by nature, as clicks are.",
    ),
    "d-maps-moved": (
        "Where maps lie",
        lambda f: _(
            "In training the own map fits an input best more than one place away from where it lies in {moved} of all "
            "samples, in the data given in {given}; where it lies it fits {beside} as well as at its best."
        ).format(**{key: percent(f.evidence[key]) for key in ("moved", "given", "beside")}),
        "What is to be told may lie beside what shows it, otherwise in each split.",
    ),
    "d-maps-noisier": (
        "Maps of the training data",
        lambda f: _(
            "In training the own map fits an input better than another one in {own} of all pairs, in the data given "
            "in {other}."
        ).format(own=percent(f.evidence["own"]), other=percent(f.evidence["other"])),
        "The splits may be drawn from other sources.",
    ),
    "d-maps-unrelated": (
        "Maps against their inputs",
        _maps,
        "What a map shows may hang on shapes that lie far away.",
    ),
    "d-missing-class": (
        "Classes that training lacks",
        lambda f: _(
            "{samples} of {of} samples belong to {classes} classes of which training has none; the first "
            "is class {first}."
        ).format(
            samples=amount(f.evidence["samples"]),
            of=amount(f.evidence["of"]),
            classes=amount(f.evidence["classes"]),
            first=amount(f.evidence["first"]),
        ),
        "The training loader may have been cut short.",
    ),
    "d-order": ("Order of the samples", _order, "Training may have used another loader than the one given."),
    "d-padding": (
        "Padding",
        lambda f: _("{share} of all positions are token {token} at the end.").format(
            share=percent(f.evidence["share"]), token=amount(f.evidence["token"])
        ),
        "The loss and the attention leave these positions out, and lengths differ by nature.",
    ),
    "d-target-scale": (
        "Scale of the targets",
        _target_scale,
        "The last layer may rescale its output.",
    ),
    "d-train-val-shift": ("Features of both splits", _shift, "The data given may be meant to come from elsewhere."),
    "leakage": (
        "Samples in both splits",
        lambda f: _("{shared} of {compared} inputs given are in the training data bit for bit.").format(
            shared=amount(f.evidence["shared"]), compared=amount(f.evidence["compared"])
        ),
        "Inputs of few possible values repeat by nature.",
    ),
}
