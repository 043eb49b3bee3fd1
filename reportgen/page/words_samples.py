"""The words for findings on near doubles, features that tell the label, the type of the input, and order of layers."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent

CAUSES: dict[str, tuple[str, str]] = {
    "idle-parts": (
        "Layers whose order defeats their purpose",
        "The model trains, but a part of it does nothing, or not what it is there for.",
    ),
}


def _twins(f: Finding) -> str:
    e = f.evidence
    where = " in the training data" if f.rule == "near-leakage" else ""
    groups = " Training samples have doubles among themselves too." if f.detail.get("training") == "groups" else ""
    return (
        f"{f.subject}: {amount(e['twins'])} of {amount(e['samples'])} samples looked at have a near double{where}; "
        f"chance makes {percent(e['chance'])} in data of dimension {e['dimension']:.1f}.{groups}"
    )


def _shortcut(f: Finding) -> str:
    e = f.evidence
    what = "neighbours along it share their class" if f.detail.get("kind") == "classes" else "of the variance"
    gap = f" Class means lie {amount(e['gap'])} deviations apart." if "gap" in e else ""
    return (
        f"{f.subject} alone tells the target: {percent(e['score'])} {what}; the next best feature has "
        f"{percent(e['second'])}, permuted targets at most {percent(e['null'])}.{gap}"
    )


def _misplaced(f: Finding) -> str:
    if f.detail.get("kind") == "before-norm":
        return f"{f.subject} comes directly before the batch norm {f.detail.get('layer', '')}."
    return f"{f.subject} deletes outputs of the last layer, {f.detail.get('layer', '')}."


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "bias-before-norm": (
        "Biases that a norm takes away",
        lambda f: (
            f"{amount(f.evidence['layers'])} layers have a bias that the batch norm behind them subtracts again: "
            f"{f.detail.get('names', f.subject)}."
        ),
        "Harmless; the norm may be meant to be folded away later.",
    ),
    "d-dtype": (
        "Type of the input",
        lambda f: (
            f"Inputs are {f.detail.get('dtype', 'whole numbers')}, and {f.subject} reads them as they are: from "
            f"{amount(f.evidence['min'])} to {amount(f.evidence['max'])}, standard deviation "
            f"{amount(f.evidence['std'])}."
        ),
        "The model may be made for raw counts.",
    ),
    "d-near-duplicates": ("Near doubles", _twins, "Samples may come in pairs by nature."),
    "d-shortcut": ("A feature that tells the target", _shortcut, "One measurement may decide by nature."),
    "dropout-misplaced": ("Place of a dropout", _misplaced, "Outputs may be sampled on purpose."),
    "near-leakage": (
        "Near doubles in both splits",
        _twins,
        "New samples may have near doubles in the training data as well.",
    ),
}
