"""Where a finding was made, in words: the model, the data, a curve, a column, or a layer by its own name."""

from __future__ import annotations

from .formats import name
from .language import N_, _

_WORDS = {
    "accuracy": N_("accuracy"),
    "data": N_("data given"),
    "gradient scaler": N_("gradient scaler"),
    "gradients": N_("gradients"),
    "inputs": N_("inputs"),
    "labels": N_("labels"),
    "latent variable": N_("latent variable"),
    "learning rate": N_("learning rate"),
    "loss": N_("loss"),
    "optimizer": N_("optimizer"),
    "output": N_("output"),
    "targets": N_("targets"),
    "train_accuracy": N_("training accuracy"),
    "train_loss": N_("training loss"),
    "training data": N_("training data"),
    "training": N_("training"),
    "val_accuracy": N_("validation accuracy"),
    "val_loss": N_("validation loss"),
}
_OF_LAYERS = ("activations", "attention", "gradients", "weights")


def place(subject: str, section: str) -> str:
    """Return what a finding is about; '' for the model as a whole.

    A bare number is a layer of a sequence, or a class in the ``section`` of the evaluation. In the ``section`` of
    layers every subject is the name of a layer or a tensor, whatever it reads like.
    """
    if subject in ("", "model"):
        return ""
    if section not in _OF_LAYERS:
        if subject in _WORDS:
            return _(_WORDS[subject])
        head, _space, column = subject.partition(" ")
        if head == "input" and column.isdecimal():
            return _("input {n}").format(n=column)
    shown = name(subject)
    if any(c.isalpha() for c in shown):
        return shown
    return (_("class {name}") if section == "evaluation" else _("layer {name}")).format(name=shown)
