"""The words for splits that differ, for the fit of both, and for going on with the training in other ways."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import N_, _


def _apart(f: Finding) -> str:
    e = f.evidence
    text = _(
        "A simple classifier tells inputs of the two splits apart: area under the curve {area} (0.5 = alike) on "
        "{samples} samples of each that it was not fitted on."
    )
    return text.format(area=f"{e['area']:.2f}", samples=amount(e["samples"]))


def _targets(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "classes":
        text = _(
            "{variation} of the labels would have to change for equal shares; class {index} has {train} of the "
            "training data and {given} of the data given."
        )
        return text.format(
            variation=percent(e["variation"]),
            index=amount(e["class"]),
            train=percent(e["train_share"]),
            given=percent(e["share"]),
        )
    text = _("Targets are {a} ± {b} in the training data and {c} ± {d} in the data given.")
    return text.format(a=amount(e["train_mean"]), b=amount(e["train_std"]), c=amount(e["mean"]), d=amount(e["std"]))


def _lost(f: Finding) -> str:
    text = _(
        "Of the way from a constant answer (0) to a perfect one (1) the model is at {train} on its training data and "
        "at {given} on the data given."
    )
    return text.format(train=f"{f.evidence['train']:.2f}", given=f"{f.evidence['given']:.2f}")


def _few(f: Finding) -> str:
    e = f.evidence
    text = _(
        "{samples} training samples; on the way from a constant answer (0) to a perfect one (1) the model is at "
        "{train} on them and at {given} on the data given."
    )
    told = text.format(samples=amount(e["samples"]), train=f"{e['train']:.2f}", given=f"{e['given']:.2f}")
    if "half" not in e:
        return told
    more = _(" Fresh copies score {full} on samples that they have not seen, and {half} from half as many.")
    return told + more.format(full=f"{e['full']:.2f}", half=f"{e['half']:.2f}")


def _below(f: Finding) -> str:
    e, kind = f.evidence, f.detail.get("kind")
    text = _("The mean of the 5 nearest training samples has an R² of {neighbours}, the model one of {model}.")
    if kind == "classes":
        text = _(
            "Most of the 5 nearest training samples have the right class in {neighbours} of the cases, the model in "
            "{model}."
        )
    elif kind == "pairs":
        text = _(
            "What most often goes with an element and the one before it is the right class in {neighbours} of the "
            "cases, the model's answer in {model}."
        )
    if f.detail.get("by") == "products" and kind == "classes":
        text = _(
            "A regression on columns and their products, fitted to up to 512 training samples, has the right class in "
            "{neighbours} of the cases, the model in {model}."
        )
    elif f.detail.get("by") == "products":
        text = _(
            "A regression on columns and their products, fitted to up to 512 training samples, has an R² of "
            "{neighbours}, the model one of {model}."
        )
    elif f.detail.get("by") == "factors":
        text = _(
            "A level of each code and eight factors of both, fitted to the training data, have an R² of {neighbours}, "
            "the model one of {model}."
        )
    say = amount if kind == "numbers" else percent
    return text.format(neighbours=say(e["neighbours"]), model=say(e["model"]))


def _outdone(f: Finding) -> str:
    train = f.evidence["train"]
    second = (
        _("On its training data the model is right in {train} of the cases.").format(train=percent(train))
        if f.detail.get("kind") == "classes"
        else _("R² of the model on its training data: {train}.").format(train=amount(train))
    )
    return _("{first} {second}").format(first=_below(f), second=second)


def _way(text: str) -> Callable[[Finding], str]:
    def say(f: Finding) -> str:
        e = f.evidence
        return _(text).format(
            steps=amount(e["steps"]),
            before=amount(e["before"]),
            after=amount(e["after"]),
            same=amount(e["same"]),
            whole=amount(e["whole"]),
            rate=amount(e["rate"]),
            decay=amount(e["decay"]),
            drop=percent(e["drop"]),
        )

    return say


def _calibrated(f: Finding) -> str:
    e = f.evidence
    text = (
        _(
            "The model is surer than it is right, by {gap} on the whole: calibration error {ece}, where {null} would "
            "be chance on {samples} answers."
        )
        if f.detail.get("direction") == "high"
        else _(
            "The model is less sure than it is right, by {gap} on the whole: calibration error {ece}, where {null} "
            "would be chance on {samples} answers."
        )
    )
    return text.format(
        gap=percent(abs(e["gap"])), ece=f"{e['ece']:.3f}", null=f"{e['null']:.3f}", samples=amount(e["samples"])
    )


def _inverted(f: Finding) -> str:
    text = _("Samples whose answer is yes get lower scores: area under the ROC curve {auc}, at most {high}.")
    return text.format(auc=f"{f.evidence['auc']:.2f}", high=f"{f.evidence['high']:.2f}")


def _stateless(f: Finding) -> str:
    text = _("{held} of {parameters} parameters have a state in the optimizer of the checkpoint, at step {step}.")
    e = f.evidence
    return text.format(held=amount(e["with_state"]), parameters=amount(e["parameters"]), step=amount(e["step"]))


def _flow(f: Finding) -> str:
    text = _("{tensors} of {of} tensors, with {share} of the elements, hold 99 % of the squared gradient: {names}.")
    e = f.evidence
    return text.format(
        tensors=amount(e["tensors"]), of=amount(e["of"]), share=percent(e["share"]), names=f.detail.get("names", "")
    )


def _noise(f: Finding) -> str:
    e = f.evidence
    text = (
        _("A step is taken on {size} samples; below {low} (estimate {scale}) its direction is mostly noise.")
        if f.detail.get("direction") == "small"
        else _("A step is taken on {size} samples; above {high} (estimate {scale}) more of them add little.")
    )
    return text.format(
        size=amount(e["batch_size"]), low=amount(e["low"]), high=amount(e["high"]), scale=amount(e["scale"])
    )


def _tiny(f: Finding) -> str:
    text = _("{channels} of {of} channels of {layer} have next to no running variance.")
    return text.format(channels=amount(f.evidence["channels"]), of=amount(f.evidence["of"]), layer=f.subject)


_FASTER = N_(
    "{steps} steps at ten times the rate ({rate}) take the loss on the data given from {before} to {after}; at the "
    "same rate it comes to {same}. The whole run gained {whole}."
)
_SLOWER = N_(
    "{steps} steps at a tenth of the rate ({rate}) take the loss on the data given from {before} to {after}; at the "
    "same rate it comes to {same}. The whole run gained {whole}."
)
_THAWED = N_(
    "{steps} steps with the frozen parameters trained too take the loss on the data given from {before} to {after}; "
    "without them it comes to {same}. The whole run gained {whole}."
)
_OWNED = N_(
    "{steps} steps with all trainable parameters in the optimizer take the loss on the data given from {before} to "
    "{after}; without them it comes to {same}. The whole run gained {whole}."
)
_FREE = N_(
    "{steps} steps without weight decay ({decay}) and dropout ({drop}) take the loss on the data given from {before} "
    "to {after}; with them it comes to {same}. The whole run gained {whole}."
)


def _plain(f: Finding) -> str:
    e, reason = f.evidence, f.detail.get("reason")
    text = (
        _(
            "The schedule never let the rate come to a tenth of what the optimizer was made with; {steps} steps at "
            "that rate take the loss on the data given from {before} to {after}. The whole run gained {whole}."
        )
        if reason == "warm-up"
        else _(
            "The run had come to rest after its rate was taken down; {steps} steps at its highest rate take the loss "
            "on the data given from {before} to {after}. The whole run gained {whole}."
        )
        if reason == "schedule"
        else _(
            "The run had come to rest with small weights; {steps} steps by the loss given alone take it from {before} "
            "to {after} on the data given. The whole run gained {whole}."
        )
    )
    return text.format(
        steps=amount(e["steps"]), before=amount(e["before"]), after=amount(e["after"]), whole=amount(e["whole"])
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "d-splits-apart": (
        "Are the splits drawn alike?",
        _apart,
        "A split by time or by source may be meant to be hard.",
    ),
    "d-target-shift": ("Targets of the two splits", _targets, "The splits may be stratified otherwise on purpose."),
    "o-skill-lost": (
        "Skill that is lost on new data",
        _lost,
        "The data given may come from another source than the training data.",
    ),
    "few-samples": ("Number of training samples", _few, "One sample a class is all that some tasks have."),
    "o-outdone": (
        "What neighbours tell, and the training data that are known by heart",
        _outdone,
        "The loss may ask for something else than that answer.",
    ),
    "o-below-neighbours": (
        "The model against nearest neighbours",
        _below,
        "The loss may ask for something else than that answer.",
    ),
    "bn-tiny-var": ("Batch norms that divide by nothing", _tiny, "The channels are dead on purpose, as after pruning."),
    "grad-noise-scale": ("Batch size against gradient noise", _noise, "Other batch sizes suit the hardware better."),
    "grad-flow-share": ("Where the gradient goes", _flow, "Adam and its kin rescale each element."),
    "o-calibration": ("Confidence against frequency", _calibrated, "Mixup and label smoothing make models unsure."),
    "o-inverted": ("Direction of the scores", _inverted, "Small scores may mean yes on purpose."),
    "optimizer-state-missing": (
        "State of the optimizer",
        _stateless,
        "The file may be meant as the start of another training.",
    ),
    "faster-helps": ("Going on at ten times the rate", _way(_FASTER), "A low rate may be meant, as in fine-tuning."),
    "plain-helps": ("Going on without what the loop adds", _plain, "The penalty may be meant to be that strong."),
    "slower-helps": (
        "Going on at a tenth of the rate",
        _way(_SLOWER),
        "The run may have been stopped before its schedule took the rate down.",
    ),
    "thawing-helps": (
        "Going on with all layers trained",
        _way(_THAWED),
        "They may be frozen for another reason than the fit.",
    ),
    "owning-helps": (
        "Going on with all parameters in the optimizer",
        _way(_OWNED),
        "They may be left out for another reason than the fit.",
    ),
    "freedom-helps": ("Going on without decay and dropout", _way(_FREE), "Another split may need them."),
}

Numbers = dict[str, float]
Detail = dict[str, str]


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "gradient-noise": _("How much do gradients of small batches differ?"),
        "other-ways": _("Would other settings have helped?"),
    }


def _ways(n: Numbers, d: Detail) -> str:
    names = {
        "same": _("at the highest rate of the run"),
        "faster": _("at ten times that"),
        "slower": _("at a tenth of that"),
        "thawed": _("frozen layers trained too"),
        "owned": _("all parameters in the optimizer"),
        "unregularised": _("no decay, no dropout"),
    }
    said = _("; ").join(f"{label} {amount(n[key])}" for key, label in names.items() if key in n)
    text = _("The loss on the data given is {before}; after {steps} steps more: {ways}.")
    return text.format(before=amount(n["before"]), steps=amount(n["steps"]), ways=said)


def _differ(n: Numbers, d: Detail) -> str:
    if "high" not in n:
        return _("So much that no common direction is resolved by {n} batches of {size}.").format(
            n=amount(n["batches"]), size=amount(n["batch"])
        )
    return _("Noise and direction are equal at a batch of {scale} samples ({low} to {high}).").format(
        scale=amount(n["scale"]), low=amount(n["low"]), high=amount(n["high"])
    )


OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {"gradient-noise": _differ, "other-ways": _ways}
