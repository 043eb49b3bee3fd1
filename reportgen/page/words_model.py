"""The words for weights that are handed over, signals on a long way, and what a model holds or could still learn."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _

CAUSES: dict[str, tuple[str, str]] = {
    "checkpoint-not-loaded": (
        "The weights handed over are not those that were trained",
        "Weights were restored from too early a copy, or a file was loaded whose keys were not found: what is judged "
        "and used here is not what training made.",
    ),
    "posterior-collapse": (
        "The latent variable or the noise says nothing",
        "What comes out does not depend on it: a variational model that gives one answer to all inputs, or a generator "
        "with one sample.",
    ),
    "wrong-augmentation": (
        "The augmentation contradicts the labels",
        "Training samples are changed at each reading in a way that takes their label away, while the labels of the "
        "data given are in order.",
    ),
}


def _set_back(f: Finding) -> str:
    e = f.evidence
    return (
        f"{amount(e['parameters'])} parameters moved in the run (its loss went from {amount(e['start'])} to "
        f"{amount(e['end'])}), and each is now, to the bit, what it was before the first step."
    )


def _otherwise(f: Finding) -> str:
    e = f.evidence
    return (
        f"The loss of the model as it was handed over is {amount(e['measured'])}; the run ended with a validation loss "
        f"of {amount(e['logged'])} (at most {amount(e['worst'])} over its last third) and began with "
        f"{amount(e['start'])}."
    )


def _frozen(f: Finding) -> str:
    e = f.evidence
    return (
        f"{amount(e['tensors'])} frozen weights ({percent(e['share'])} of all in linear and convolution layers) "
        f"are spread as PyTorch initialises them: {f.detail.get('names', f.subject)}."
    )


def _growth(f: Finding) -> str:
    e = f.evidence
    return (
        f"At the first step the outputs of {amount(e['layers'])} layers grow by {e['slope']:.2f} decades a layer, from "
        f"{amount(e['first'])} to {amount(e['last'])}."
    )


def _time(f: Finding) -> str:
    e = f.evidence
    return (
        f"Of {amount(e['steps'])} time steps that {f.subject} ({f.detail.get('kind', '')}) reads, the first get "
        f"{amount(e['ratio'])} of the largest gradient of any step."
    )


def _one(f: Finding) -> str:
    e = f.evidence
    return (
        f"The {amount(e['channels'])} channels of {f.subject} ({f.detail.get('kind', '')}) are one number up to a "
        f"factor; those of {f.detail.get('before', 'the layer before')} span {amount(e['before'])} directions."
    )


def _latent(f: Finding) -> str:
    e = f.evidence
    return (
        f"The posterior departs from the prior by {amount(e['divergence'])} nats a sample; the mean of "
        f"{amount(e['active'])} of {amount(e['dimensions'])} dimensions follows the input."
    )


def _sure(f: Finding) -> str:
    e = f.evidence
    return (
        f"Accuracy is {percent(e['accuracy'])} (the commonest class has {percent(e['commonest'])}), and a right answer "
        f"is surer than a wrong one in {percent(e['surer'])} of the pairs; 50 % is chance."
    )


def _short(f: Finding) -> str:
    e = f.evidence
    return (
        f"The training loss fell from {amount(e['first'])} to {amount(e['last'])} and every validation was better than "
        f"the one before; 120 steps more take the loss on the data given from {amount(e['before'])} to "
        f"{amount(e['after'])}."
    )


def _narrow(f: Finding) -> str:
    e = f.evidence
    return (
        f"R² is {amount(e['r2'])} on the data that were learned from, the loss stands still, and of "
        f"{amount(e['samples'])} samples {percent(e['error_share'])} of the variance cannot be learned by heart."
    )


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "bn-stale": (
        "Statistics of the last batches",
        lambda f: (
            f"Momentum is {amount(f.evidence['momentum'])}: the loss in eval mode is "
            f"{amount(f.evidence['eval_loss'])}, and {amount(f.evidence['refreshed_loss'])} with statistics that are "
            "means over the batches."
        ),
        "",
    ),
    "dropout-too-strong": (
        "Strength of dropout",
        lambda f: (
            f"Dropout of {percent(f.evidence['drop'])}; the training loss ended at {amount(f.evidence['end'])} from "
            f"{amount(f.evidence['start'])}, while one batch is learned by heart without dropout."
        ),
        "",
    ),
    "weights-shrunk": (
        "Weights pulled to nothing",
        lambda f: (
            f"{amount(f.evidence['matrices'])} of {amount(f.evidence['of'])} weight matrices ended at next to zero, "
            f"{f.subject} first."
        ),
        "",
    ),
    "cut-short": ("Going on with the training", _short, "A short run may be meant as a trial."),
    "frozen-at-init": ("Frozen weights as they were initialised", _frozen, "Random features may be meant."),
    "gradient-by-time": ("Gradient by time", _time, "The answer may stand in the last steps."),
    "latent-collapse": ("Information in the latent variable", _latent, ""),
    "measured-otherwise": (
        "Loss now against the loss of the run",
        _otherwise,
        "The data given may not be those of the validation.",
    ),
    "rank-one": ("Directions in a layer", _one, "One number may be all that the task asks."),
    "signal-by-depth": ("Outputs from layer to layer at the first step", _growth, ""),
    "sure-and-wrong": (
        "Mistakes where the model is sure",
        _sure,
        "A badly overfitted model is sure of everything.",
    ),
    "too-narrow": ("Capacity", _narrow, "A narrow code may be meant."),
    "weights-set-back": ("Weights now against the start", _set_back, "The start may be put back on purpose."),
}

Numbers = dict[str, float]
Detail = dict[str, str]


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "as-it-is": _("How good is the model on the data given?"),
        "gradient-by-time": _("How far back in time does the gradient reach?"),
        "latent-units": _("Does the latent variable follow the input?"),
        "trained-on": _("Would training longer help?"),
    }


def _as_it_is(n: Numbers, d: Detail) -> str:
    text = _("Loss {loss} on {samples} samples").format(loss=amount(n["loss"]), samples=amount(n["samples"]))
    if "accuracy" in n:
        text += "; " + _("accuracy {accuracy}, commonest class {commonest}").format(
            accuracy=percent(n["accuracy"]), commonest=percent(n["commonest"])
        )
    if "surer" in n:
        text += "; " + _("a right answer is surer than a wrong one in {surer} of the pairs").format(
            surer=percent(n["surer"])
        )
    return text + "."


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "as-it-is": _as_it_is,
    "gradient-by-time": lambda n, d: _(
        "The first of {steps} time steps get {ratio} of the largest gradient of any step."
    ).format(steps=amount(n["steps"]), ratio=amount(n["ratio"])),
    "latent-units": lambda n, d: _("{active} of {dimensions} dimensions do; {divergence} nats a sample.").format(
        active=amount(n["active"]), dimensions=amount(n["dimensions"]), divergence=amount(n["divergence"])
    ),
    "trained-on": lambda n, d: _(
        "After {steps} steps more the loss on the data given is {after}, from {before}."
    ).format(steps=amount(n["steps"]), after=amount(n["after"]), before=amount(n["before"])),
}
