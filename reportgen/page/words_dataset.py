"""The words for findings on samples, labels and splits."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent

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
    if "correlation" in e:
        return f"Targets of neighbours in the order of loading have a correlation of {amount(e['correlation'])}."
    return (
        f"Of {amount(e['samples'])} samples {amount(e['same'])} have the label of the one before; a random order gives "
        f"{amount(round(e['expected']))}."
    )


def _imbalance(f: Finding) -> str:
    e = f.evidence
    lost = ""
    if "recall" in e:
        lost = f" Of class {amount(e['class'])} {percent(e['recall'])} are found (at most {percent(e['upper'])})."
    return f"The largest class has {amount(e['largest'])} samples, the smallest {amount(e['smallest'])}.{lost}"


def _shift(f: Finding) -> str:
    e = f.evidence
    how = ""
    if f.detail.get("kind") == "preparation":
        how = " Nearly all features differ, so the preparation may."
    return (
        f"{amount(e['features'])} of {amount(e['of'])} features differ; most {f.subject}: {amount(e['train_mean'])} ± "
        f"{amount(e['train_std'])} in training, {amount(e['mean'])} ± {amount(e['std'])} here.{how}"
    )


def _mapping(f: Finding) -> str:
    e, parts = f.evidence, []
    if "renamed" in e:
        parts.append(
            f"Renaming the classes one to one lifts accuracy from {percent(e['accuracy'])} to {percent(e['renamed'])}"
        )
    if "shared" in e:
        parts.append(f"{amount(e['other_label'])} of {amount(e['shared'])} inputs in both splits have other labels")
    return "; ".join(parts) + "."


def _signal(f: Finding) -> str:
    e = f.evidence
    return (
        f"Five nearest neighbours of {amount(e['samples'])} samples tell the label with {amount(e['score'])}; shuffled "
        f"labels give {amount(e['chance'])} ({e['z']:.1f} standard deviations between)."
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "d-class-imbalance": ("Balance of the classes", _imbalance, "Rare classes may not matter to the task."),
    "d-conflicting-labels": (
        "Equal inputs, other labels",
        lambda f: (
            f"{f.subject}: {amount(f.evidence['samples'])} of {amount(f.evidence['of'])} samples share their input "
            f"with a sample of another label."
        ),
        "What decides may not be in the inputs.",
    ),
    "d-constant-feature": (
        "Features that never change",
        lambda f: (
            f"{amount(f.evidence['constant'])} of {amount(f.evidence['features'])} features have one value in all "
            f"samples; the first is {f.subject}."
        ),
        "",
    ),
    "d-duplicates": (
        "Copies",
        lambda f: (
            f"{f.subject}: {amount(f.evidence['copies'])} of {amount(f.evidence['samples'])} samples repeat an input."
        ),
        "Over-sampling makes copies on purpose.",
    ),
    "d-label-constant": (
        "Labels that never change",
        lambda f: f"{f.subject}: all of {amount(f.evidence['samples'])} samples have one label.",
        "",
    ),
    "d-label-mapping": ("Numbering of the classes", _mapping, ""),
    "d-label-noise": (
        "Labels against their neighbours",
        lambda f: (
            f"In training {percent(f.evidence['agreement'])} of nearest neighbours share a sample's label, in the data "
            f"given {percent(f.evidence['given'])}."
        ),
        "The splits may be drawn from other sources.",
    ),
    "d-label-range": (
        "Range of the labels",
        lambda f: (
            f"{f.subject}: labels from {amount(f.evidence['min'])} to {amount(f.evidence['max'])} for "
            f"{amount(f.evidence['classes'])} outputs."
        ),
        "A loss of your own may leave some labels out.",
    ),
    "d-label-signal": ("What neighbours say of the labels", _signal, "Neighbours in raw inputs may be a poor guide."),
    "d-labels-unrelated": (
        "Labels of one split",
        lambda f: (
            f"{f.subject}: nearest neighbours say nothing of the labels ({f.evidence['z']:.1f} standard deviations "
            f"from chance); in the other split they do ({f.evidence['other_z']:.1f})."
        ),
        "Heavy augmentation may hide what neighbours have in common.",
    ),
    "d-missing-class": (
        "Classes that training lacks",
        lambda f: (
            f"{amount(f.evidence['samples'])} of {amount(f.evidence['of'])} samples belong to "
            f"{amount(f.evidence['classes'])} classes of which training has none; the first is class "
            f"{amount(f.evidence['first'])}."
        ),
        "The training loader may have been cut short.",
    ),
    "d-order": ("Order of the samples", _order, "Training may have used another loader than the one given."),
    "d-padding": (
        "Padding",
        lambda f: (
            f"{percent(f.evidence['share'])} of all positions are token {amount(f.evidence['token'])} at the end."
        ),
        "",
    ),
    "d-target-scale": (
        "Scale of the targets",
        lambda f: f"Targets are {amount(f.evidence['mean'])} ± {amount(f.evidence['std'])}.",
        "The last layer may rescale its output.",
    ),
    "d-train-val-shift": ("Features of both splits", _shift, "The data given may be meant to come from elsewhere."),
    "leakage": (
        "Samples in both splits",
        lambda f: (
            f"{amount(f.evidence['shared'])} of {amount(f.evidence['compared'])} inputs given are in the training "
            f"data bit for bit."
        ),
        "Inputs of few possible values repeat by nature.",
    ),
}
