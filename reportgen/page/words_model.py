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
    "mode-collapse": (
        "The generator makes few different samples",
        "What it makes is all alike, or leaves out whole kinds of the real samples: it found outputs that satisfy its "
        "loss and stays with them.",
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
    return _(
        "{parameters} parameters moved in the run (its loss went from {start} to {end}), and each is "
        "now, to the bit, what it was before the first step."
    ).format(parameters=amount(e["parameters"]), start=amount(e["start"]), end=amount(e["end"]))


def _as_drawn(f: Finding) -> str:
    e = f.evidence
    if e["untouched"] < e["tested"] or not e["tested"]:
        text = _(
            "The model was handed over in eval mode, without a run; all gains and shifts of its {norms} norm layers "
            "are the 1 and 0 that they were made with, and it does no better than a constant answer."
        )
        return text.format(norms=amount(e["norms"]))
    text = _(
        "The model was handed over in eval mode, without a run; all {tested} weights that can be tested are as they "
        "were drawn, and it does no better than a constant answer."
    )
    return text.format(tested=amount(e["tested"]))


def _otherwise(f: Finding) -> str:
    e = f.evidence
    return _(
        "The loss of the model as it was handed over is {measured}; the run ended with a validation "
        "loss of {logged} (at most {worst} over its last third) and began with {start}."
    ).format(
        measured=amount(e["measured"]), logged=amount(e["logged"]), worst=amount(e["worst"]), start=amount(e["start"])
    )


def _frozen(f: Finding) -> str:
    e = f.evidence
    return _(
        "{tensors} frozen weights ({share} of all in linear and convolution layers) are spread as "
        "PyTorch initialises them: {names}."
    ).format(tensors=amount(e["tensors"]), share=percent(e["share"]), names=f.detail.get("names", f.subject))


def _growth(f: Finding) -> str:
    e = f.evidence
    return _(
        "At the first step the outputs of {layers} layers grow by {slope:.2f} decades a layer, from {first} to {last}."
    ).format(layers=amount(e["layers"]), slope=e["slope"], first=amount(e["first"]), last=amount(e["last"]))


def _held_off(f: Finding) -> str:
    e = f.evidence
    return _(
        "{norms} batch norms were kept in eval mode in training, by statistics that were not those of the data: at the "
        "first step {subject} put out {ratio} times what it should."
    ).format(norms=amount(e["norms"]), subject=f.subject, ratio=amount(e["ratio"]))


def _offset(f: Finding) -> str:
    e = f.evidence
    return _(
        "{matrices} of {of} weight matrices did not start about zero: {subject} had a mean of {mean} at a "
        "root mean square of {rms}."
    ).format(
        matrices=amount(e["matrices"]),
        of=amount(e["of"]),
        subject=f.subject,
        mean=amount(e["mean"]),
        rms=amount(e["rms"]),
    )


def _time(f: Finding) -> str:
    e = f.evidence
    text = _(
        "Of {steps} time steps that {subject} ({kind}) reads, the first get {ratio} of the largest "
        "gradient of any step."
    ).format(steps=amount(e["steps"]), subject=f.subject, kind=f.detail.get("kind", ""), ratio=amount(e["ratio"]))
    told = {
        "start": _("The first tenth of the steps tells the target, and the others do not."),
        "rest": _("The first tenth of the steps does not tell the target, and the others do."),
    }
    return " ".join([text, *(told[place] for place in (f.detail.get("answer"),) if place in told)])


def _one(f: Finding) -> str:
    e = f.evidence
    return _(
        "The {channels} channels of {subject} ({kind}) are one number up to a factor; those of "
        "{before} span {before_2} directions."
    ).format(
        channels=amount(e["channels"]),
        subject=f.subject,
        kind=f.detail.get("kind", ""),
        before=f.detail.get("before", _("the layer before")),
        before_2=amount(e["before"]),
    )


def _latent(f: Finding) -> str:
    e = f.evidence
    return _(
        "The posterior departs from the prior by {divergence} nats a sample; the mean of {active} of "
        "{dimensions} dimensions follows the input."
    ).format(divergence=amount(e["divergence"]), active=amount(e["active"]), dimensions=amount(e["dimensions"]))


def _sure(f: Finding) -> str:
    e = f.evidence
    return _(
        "Accuracy is {accuracy} (the commonest class has {commonest}), and a right answer is surer "
        "than a wrong one in {surer} of the pairs; 50 % is chance."
    ).format(accuracy=percent(e["accuracy"]), commonest=percent(e["commonest"]), surer=percent(e["surer"]))


def _short(f: Finding) -> str:
    e = f.evidence
    text = (
        _(
            "The training loss fell from {first} to {last} and every validation was better than the one "
            "before; 120 steps at ten times the rate take the loss on the data given from {before} to {after}."
        )
        if f.detail.get("way") == "faster"
        else _(
            "The training loss fell from {first} to {last} and every validation was better than the one "
            "before; 120 steps more take the loss on the data given from {before} to {after}."
        )
    )
    return text.format(
        first=amount(e["first"]), last=amount(e["last"]), before=amount(e["before"]), after=amount(e["after"])
    )


def _spared(f: Finding) -> str:
    e = f.evidence
    return _(
        "{matrices} weight matrices, from {subject} on, train at {rate} beside others at {largest}, and began as "
        "PyTorch draws them. Going on for 120 steps takes the loss on the data given from {before} to {after}."
    ).format(subject=f.subject, **{key: amount(e[key]) for key in ("matrices", "rate", "largest", "before", "after")})


def _narrow(f: Finding) -> str:
    e = f.evidence
    if "second" in e:
        fit = (
            _("R² is {r2} on the data that were learned from.").format(r2=amount(e["r2"]))
            if "r2" in e
            else _(
                "On the data that were learned from the model came {skill} of the way from the commonest class to no "
                "mistake."
            ).format(skill=percent(e["skill"]))
        )
        passed = _(
            "A single number of each sample reaches its {width} outputs: derivatives by the input all point one way."
        ).format(width=amount(e["width"]))
        return _("{first} {second}").format(first=fit, second=passed)
    if "skill" in e:
        return _(
            "On the data that were learned from the model came {skill} of the way from the commonest class to no "
            "mistake, the loss stands still, and of {samples} samples {error_share} cannot be learned by heart."
        ).format(skill=percent(e["skill"]), samples=amount(e["samples"]), error_share=percent(e["error_share"]))
    return _(
        "R² is {r2} on the data that were learned from, the loss stands still, and of {samples} "
        "samples {error_share} of the variance cannot be learned by heart."
    ).format(r2=amount(e["r2"]), samples=amount(e["samples"]), error_share=percent(e["error_share"]))


def _alike(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("reason") == "alike":
        text = _(
            "A generated sample is {apart} times as far from the next one as real ones are from each other; {coverage} "
            "of the real samples have one near them, where real samples would cover {expected}."
        )
    else:
        text = _(
            "{coverage} of the real samples have a generated one near them, where real samples would cover {expected}, "
            "though what is made lies among the real ones: some kinds are never made."
        )
    return text.format(
        apart=amount(e.get("apart", 0.0)), coverage=percent(e["coverage"]), expected=percent(e["coverage_expected"])
    )


def _dropout(f: Finding) -> str:
    drop = percent(f.evidence["drop"])
    if "skill" in f.evidence:
        return _(
            "Dropout of {drop}; the skill on the training data is {skill}, while one batch is learned by heart without "
            "dropout."
        ).format(drop=drop, skill=amount(f.evidence["skill"]))
    return _(
        "Dropout of {drop}; the training loss ended at {end} from {start}, while one batch is "
        "learned by heart without dropout."
    ).format(drop=drop, end=amount(f.evidence["end"]), start=amount(f.evidence["start"]))


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "bn-stale": (
        "Statistics of the last batches",
        lambda f: _(
            "Momentum is {momentum}: the loss in eval mode is {eval_loss}, and {refreshed_loss} with "
            "statistics that are means over the batches."
        ).format(
            momentum=amount(f.evidence["momentum"]),
            eval_loss=amount(f.evidence["eval_loss"]),
            refreshed_loss=amount(f.evidence["refreshed_loss"]),
        ),
        "The data change in the course of the run, and the last batches are those that count.",
    ),
    "dropout-too-strong": (
        "Strength of dropout",
        _dropout,
        ("The rate is right for what comes later, as where the model is made smaller by it after training."),
    ),
    "weights-shrunk": (
        "Weights pulled to nothing",
        lambda f: _("{matrices} of {of} weight matrices ended at next to zero, {subject} first.").format(
            matrices=amount(f.evidence["matrices"]), of=amount(f.evidence["of"]), subject=f.subject
        ),
        ("What follows a layer takes its scale back, so that small weights do as much as large ones."),
    ),
    "cut-short": ("Going on with the training", _short, "A short run may be meant as a trial."),
    "frozen-at-init": ("Frozen weights as they were initialised", _frozen, "Random features may be meant."),
    "gradient-by-time": ("Gradient by time", _time, "The answer may stand in the last steps."),
    "latent-collapse": (
        "Information in the latent variable",
        _latent,
        (
            "What was taken for the divergence from the prior is another term, or the run still raises "
            "its weight from zero and goes on."
        ),
    ),
    "measured-otherwise": (
        "Loss now against the loss of the run",
        _otherwise,
        "The data given may not be those of the validation.",
    ),
    "rank-one": ("Directions in a layer", _one, "One number may be all that the task asks."),
    "norms-off-at-start": (
        "Statistics of frozen batch norms at the first step",
        _held_off,
        "The first batch may have been unlike all others.",
    ),
    "init-offset": ("First weights", _offset, "Weights may be held positive on purpose."),
    "signal-by-depth": (
        "Outputs from layer to layer at the first step",
        _growth,
        "The layers are not in one row, and what is compared are branches beside one another.",
    ),
    "sure-and-wrong": (
        "Mistakes where the model is sure",
        _sure,
        "A badly overfitted model is sure of everything.",
    ),
    "mode-collapse": (
        "Samples of the generator",
        _alike,
        "Real samples of another kind than those it was trained on look like kinds left out.",
    ),
    "too-narrow": ("Capacity", _narrow, "A narrow code may be meant."),
    "evaluated-as-drawn": (
        "Weights of a model that is evaluated",
        _as_drawn,
        "An untrained model may be evaluated on purpose.",
    ),
    "tuned-from-draws": (
        "Layers spared as if they were learned before",
        _spared,
        "Several rates may be chosen for a model that learns from nothing.",
    ),
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
        text += _("; ") + _("accuracy {accuracy}, commonest class {commonest}").format(
            accuracy=percent(n["accuracy"]), commonest=percent(n["commonest"])
        )
    if "surer" in n:
        text += _("; ") + _("a right answer is surer than a wrong one in {surer} of the pairs").format(
            surer=percent(n["surer"])
        )
    return text + _(".")


def _trained_on(n: Numbers, d: Detail) -> str:
    if not n.get("rate", 1.0):
        return _("Not answered: the learning rate has come down to 0, so no further step moves a weight.")
    text = _("After {steps} steps more the loss on the data given is {after}, from {before}.")
    return text.format(steps=amount(n["steps"]), after=amount(n["after"]), before=amount(n["before"]))


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "as-it-is": _as_it_is,
    "gradient-by-time": lambda n, d: _(
        "The first of {steps} time steps get {ratio} of the largest gradient of any step."
    ).format(steps=amount(n["steps"]), ratio=amount(n["ratio"])),
    "latent-units": lambda n, d: _("{active} of {dimensions} dimensions do; {divergence} nats a sample.").format(
        active=amount(n["active"]), dimensions=amount(n["dimensions"]), divergence=amount(n["divergence"])
    ),
    "trained-on": _trained_on,
}
