"""The words for findings on near doubles, features that tell the label, the type of the input, and order of layers."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _

CAUSES: dict[str, tuple[str, str]] = {
    "idle-parts": (
        "Layers whose order defeats their purpose",
        "The model trains, but a part of it does nothing, or not what it is there for.",
    ),
}


def _twins(f: Finding) -> str:
    e = f.evidence
    where = _(" in the training data") if f.rule == "near-leakage" else ""
    groups = _(" Training samples have doubles among themselves too.") if f.detail.get("training") == "groups" else ""
    return _(
        "{subject}: {twins} of {samples} samples looked at have a near double{where}; chance makes "
        "{chance} in data of dimension {dimension:.1f}.{groups}"
    ).format(
        subject=f.subject,
        twins=amount(e["twins"]),
        samples=amount(e["samples"]),
        where=where,
        chance=percent(e["chance"]),
        dimension=e["dimension"],
        groups=groups,
    )


def _groups(f: Finding) -> str:
    e = f.evidence
    text = _(
        "{grouped} of {samples} samples given that were looked at stand in tight groups of {size} together with "
        "training samples; of independent draws at most {bound} have groups of just that size."
    )
    return text.format(
        grouped=amount(e["grouped"]), samples=amount(e["samples"]), size=amount(e["size"]), bound=percent(e["bound"])
    )


def _shortcut(f: Finding) -> str:
    e = f.evidence
    what = _("neighbours along it share their class") if f.detail.get("kind") == "classes" else _("of the variance")
    gap = _(" Class means lie {gap} deviations apart.").format(gap=amount(e["gap"])) if "gap" in e else ""
    number = _(" Its values number the rows.") if f.detail.get("column") == "row number" else ""
    text = _(
        "{subject} alone tells the target: {score} {what}; the next best feature has {second}, "
        "permuted targets at most {null}.{gap}"
    ).format(
        subject=f.subject,
        score=percent(e["score"]),
        what=what,
        second=percent(e["second"]),
        null=percent(e["null"]),
        gap=gap,
    )
    return text + number


def _filled(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject} has a value in {filled} of {samples} samples; {inside} of those are of class {label}, and "
        "{share} of that class have one."
    ).format(
        subject=f.subject,
        filled=amount(e["filled"]),
        samples=amount(e["samples"]),
        inside=amount(e["inside"]),
        label=amount(e["label"]),
        share=percent(e["share"]),
    )


def _averaged(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("by") == "columns":
        return _(
            "{subject} is the mean of the target and of {others} other columns, which are the target at other times: "
            "together they tell it all, and the others an R² of {without}."
        ).format(subject=f.subject, others=amount(e["length"] - 1), without=f"{e['without']:.3f}")
    if f.detail.get("by") == "running":
        return _(
            "{subject} is an exponential mean of the targets in which that of its own row weighs {weight}: what its "
            "value of the row before leaves open is told by it exactly."
        ).format(subject=f.subject, weight=percent(e["weight"]))
    return _(
        "{subject} is the mean of the targets of {length} rows: its own, {before} before it and {after} behind it."
    ).format(
        subject=f.subject,
        length=amount(e["length"]),
        before=amount(e["before"]),
        after=amount(e["length"] - 1 - e["before"]),
    )


def _mean_target(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject} is the mean target of all rows with the same value, of both splits together: its {values} values "
        "are off by {off} standard deviations at most, and by {alone} from the means of training rows. It tells {told} "
        "of what these leave open of the targets given."
    ).format(
        subject=f.subject,
        values=amount(e["values"]),
        off=amount(e["off"]),
        alone=amount(e["train_off"]),
        told=percent(e["told"]),
    )


def _mixed(f: Finding) -> str:
    e = f.evidence
    return _(
        "Of {of} inputs that were seen to be trained on, {inputs} are two training samples in one, and were trained "
        "towards the target of one of them alone: {lesser} of these towards that of the part below two fifths."
    ).format(of=amount(e["of"]), inputs=amount(e["inputs"]), lesser=percent(e["lesser"]))


def _otherwise(f: Finding) -> str:
    e = f.evidence
    text = _(
        "Of {of} inputs that were seen to be trained on as the training data hold them, {other} were trained towards "
        "another class than theirs."
    ).format(of=amount(e["of"]), other=amount(e["other"]))
    if f.detail.get("kind") == "renumbered":
        return _("{first} {second}").format(first=text, second=_("It is one and the same for each class."))
    return text


def _misplaced(f: Finding) -> str:
    if f.detail.get("kind") == "before-norm":
        return _("{subject} comes directly before the batch norm {layer}.").format(
            subject=f.subject, layer=f.detail.get("layer", "")
        )
    return _("{subject} deletes outputs of the last layer, {layer}.").format(
        subject=f.subject, layer=f.detail.get("layer", "")
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "bias-before-norm": (
        "Biases that a norm takes away",
        lambda f: _("Layers whose bias the batch norm behind them subtracts again: {layers} ({names}).").format(
            layers=amount(f.evidence["layers"]), names=f.detail.get("names", f.subject)
        ),
        "Harmless; the norm may be meant to be folded away later.",
    ),
    "d-dtype": (
        "Type of the input",
        lambda f: _(
            "Inputs are {dtype}, and {subject} reads them as they are: from {min} to {max}, standard deviation {std}."
        ).format(
            dtype=f.detail.get("dtype", _("whole numbers")),
            subject=f.subject,
            min=amount(f.evidence["min"]),
            max=amount(f.evidence["max"]),
            std=amount(f.evidence["std"]),
        ),
        "The model may be made for raw counts.",
    ),
    "d-mean-target": (
        "A column of mean targets",
        _mean_target,
        "The means may have been published before any of these rows.",
    ),
    "d-filled-in": (
        "A feature filled in for one class",
        _filled,
        "The class may be what the column counts, and the column known in time.",
    ),
    "d-target-averaged": (
        "A feature that is a mean of targets",
        _averaged,
        "The mean may be what is measured, and the target to be recovered from it.",
    ),
    "asked-otherwise": (
        "Classes that the loop asks for",
        _otherwise,
        "The loop may train for another task than the data are labelled for.",
    ),
    "inputs-mixed": (
        "Inputs mixed, and targets kept",
        _mixed,
        "What is mixed in may be a background that has a target by chance.",
    ),
    "d-near-duplicates": ("Near doubles", _twins, "Samples may come in pairs by nature."),
    "d-shortcut": ("A feature that tells the target", _shortcut, "One measurement may decide by nature."),
    "dropout-misplaced": ("Place of a dropout", _misplaced, "Outputs may be sampled on purpose."),
    "d-windows-overlap": (
        "Windows of one recording in both splits",
        lambda f: _(
            "{overlapping} of {samples} windows given have eight steps or more in common with training windows on "
            "either side of them."
        ).format(overlapping=amount(f.evidence["overlapping"]), samples=amount(f.evidence["samples"])),
        "New windows may come from the same recordings.",
    ),
    "d-groups-cut": (
        "Groups of one size in both splits",
        _groups,
        "Samples may be planned in groups of one size, and new ones come in those very groups.",
    ),
    "near-leakage": (
        "Near doubles in both splits",
        _twins,
        "New samples may have near doubles in the training data as well.",
    ),
}
