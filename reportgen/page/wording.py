"""The words for findings and diagnoses, made when they are presented: ids and numbers in, sentences out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ..document.facts import Diagnosis, Finding
from ..health.causes import advice_for, is_note
from . import (
    words_anew,
    words_checks,
    words_claims,
    words_dataset,
    words_fit,
    words_matrices,
    words_model,
    words_notes,
    words_position,
    words_preparation,
    words_remarks,
    words_rounding,
    words_rows,
    words_run,
    words_samples,
    words_start,
    words_trials,
    words_units,
)
from .formats import amount as _n
from .formats import number, percent, signed
from .language import N_, _, plural, spoken, term
from .places import place
from .words_evidence import measured, quantity

_CAUSES: dict[str, tuple[str, str]] = {
    "bad-init": (
        "The initialisation is at fault",
        "Weights that begin far too large or too small for their fan-in blow the signal up or let it fade from layer "
        "to layer; weights that begin all alike stay so.",
    ),
    "bn-statistics": (
        "Batch-norm statistics do not describe the data",
        "In eval mode these layers normalise by figures that are not those of the data, so the model that is evaluated "
        "is not the one that was trained.",
    ),
    "dead-relu": (
        "Units never fire",
        "A channel that is zero for every sample passes nothing forward and gets no gradient back.",
    ),
    "detached-graph": (
        "The gradient is cut before it reaches these parameters",
        "The layers run, but the backward pass never comes to them: they keep the values they started with.",
    ),
    "double-softmax": (
        "Probabilities go into a loss that applies softmax itself",
        "Softmax (or sigmoid) is applied twice. The loss cannot fall below a floor, gradients are small, and "
        "confidence is badly calibrated even where accuracy looks fine.",
    ),
    "exploding-gradients": (
        "Signals and gradients explode",
        "What goes through the layers, or through time, grows exponentially, and so does its gradient on the way back.",
    ),
    "empty-layers": (
        "Layers that pass nothing on",
        "Weights that are zero, or in which all rows are multiples of one, lose what enters them.",
    ),
    "frozen-layers": (
        "Parameters are frozen or were never trained",
        "These parameters did not take part in training.",
    ),
    "layer-collapse": (
        "Outputs no longer tell samples apart",
        "What is put out there hardly depends on the input, or is the same for different samples or places, so it "
        "carries little information.",
    ),
    "loss-shape-broadcast": (
        "Outputs and targets are broadcast against each other",
        "Their shapes differ, so every output is compared with every target, and the best answer to that is one "
        "constant.",
    ),
    "lr-too-high": (
        "The learning rate is too high",
        "Optimizer steps are so large that they overwrite what was learned, or the initialisation itself.",
    ),
    "lr-too-low": (
        "The steps are too small to learn",
        "Each step moves the weights by next to nothing, so that the loss stands still or falls far too slowly.",
    ),
    "nan-in-data": (
        "The data hold NaN or infinity",
        "One such value makes the loss of its batch, every gradient and soon every weight non-finite.",
    ),
    "no-weight-update": (
        "Training did not move the weights",
        "After the whole run the weights still look as they were initialised.",
    ),
    "non-finite-weights": (
        "Weights are NaN or infinite",
        "Everything computed from such a weight is non-finite too. The model cannot be used as it is.",
    ),
    "numerical-instability": (
        "The computation breaks down",
        "Inputs and weights are finite, yet what is computed from them is not, or has lost its digits.",
    ),
    "overfitting": (
        "The model overfits",
        "It knows its training samples far better than new ones: what it learned of them does not hold elsewhere.",
    ),
    "params-not-in-optimizer": (
        "The optimizer does not hold these parameters",
        "They get gradients, but no step ever moves them.",
    ),
    "underfitting": (
        "The model did not learn the task",
        "It falls short of what the data hold, and nothing else that was measured explains it.",
    ),
    "unnormalised-input": (
        "The inputs are on a raw scale",
        "Layers are initialised for inputs of about unit size. Far from it the first layers saturate, die or blow up.",
    ),
    "unused-parameters": (
        "The forward pass never uses some parameters",
        "They were not executed on the data given, and get no gradient.",
    ),
    "vanishing-gradients": (
        "Gradients vanish towards the input",
        "Gradient size falls exponentially on the way back, through layers or through time, so that what lies far from "
        "the output hardly learns.",
    ),
}

# what a cause looks like where a certain rule proved it
_RISING = (
    N_("The model overfits"),
    N_("Since its best epoch the validation loss has been rising while the training loss kept falling."),
)
_GUESSING = (
    N_("The model did not learn the task"),
    N_("After training it is no better than a constant guess, and nothing else that was measured explains it."),
)
_TOLD = (
    N_("The inputs give the target away"),
    N_(
        "A part of them is made of the target, or stands for it in these data alone. Of samples whose target is not "
        "yet known nothing of that is there."
    ),
)
_EMPTY = (
    N_("The frozen part holds nothing that was learned"),
    N_(
        "It is kept as it is at every step, and its weights are as PyTorch draws them: the file that they were to come "
        "from was not read."
    ),
)
_BY_PROOF: dict[tuple[str, str], tuple[str, str]] = {
    **dict.fromkeys((("overfitting", rule) for rule in ("h-overfit", "h-overconfident")), _RISING),
    **dict.fromkeys((("underfitting", rule) for rule in ("o-baseline-skill", "h-never-learned")), _GUESSING),
    **dict.fromkeys(
        (("data-leakage", rule) for rule in ("d-shortcut", "d-filled-in", "d-target-averaged", "d-mean-target")), _TOLD
    ),
    ("checkpoint-not-loaded", "frozen-at-init"): _EMPTY,
}


def _nonfinite(f: Finding) -> str:
    e = f.evidence
    parts = [f"{_n(e[key])} {_(word)}" for key, word in (("nan", "NaN"), ("inf", N_("infinite"))) if e.get(key)]
    return _("{parts} of {count} values").format(parts=_(" and ").join(parts), count=_n(e["count"]))


def _act_nonfinite(f: Finding) -> str:
    others = f.evidence["layers"] - 1
    more = (
        _("; the first of {others} such layers in order of execution").format(others=_n(others + 1)) if others else ""
    )
    return _("Output of {subject} ({kind}): {values}{more}.").format(
        subject=f.subject, kind=f.detail.get("kind", ""), values=_nonfinite(f), more=more
    )


def _dead_relu(f: Finding) -> str:
    e = f.evidence
    return _(
        "{subject}: {silent} of {channels} channels never fired on {samples} samples ({share}; each "
        "may still fire with probability up to {may_fire})."
    ).format(
        subject=f.subject,
        silent=_n(e["silent"]),
        channels=_n(e["channels"]),
        samples=_n(e["samples"]),
        share=percent(e["share"]),
        may_fire=percent(e["may_fire"]),
    )


def _slope(f: Finding) -> str:
    e = f.evidence
    return _(
        "Over {layers} weight matrices, from {subject} to {last}, log10 of the gradient changes by "
        "{slope} per layer; first layers get {ratio} times that of the last."
    ).format(
        layers=_n(e["layers"]),
        subject=f.subject,
        last=f.detail.get("last", ""),
        slope=("+" if e["slope"] > 0 else "") + number(e["slope"], 2),
        ratio=number(e["ratio"], 2),
    )


def _scale(f: Finding) -> str:
    e = f.evidence
    return _("{subject}: mean {mean}, standard deviation {std}, from {min} to {max}.").format(
        subject=f.subject, mean=_n(e["mean"]), std=_n(e["std"]), min=_n(e["min"]), max=_n(e["max"])
    )


def _skill(f: Finding) -> str:
    e = f.evidence
    if "r2" in e:
        return _("R² is {r2}: no better than the mean of the targets.").format(r2=_n(e["r2"]))
    return _("Accuracy {accuracy}; always guessing the largest class gives {baseline}.").format(
        accuracy=percent(e["accuracy"]), baseline=percent(e["baseline"])
    )


def _double(f: Finding) -> str:
    e, activation = f.evidence, f.detail.get("activation", "softmax")
    rows = (
        _(" and every row sums to 1 (within {row_sum_error})").format(row_sum_error=number(e["row_sum_error"], 1))
        if activation == "softmax"
        else ""
    )
    loss = _(" Its value is {loss}.").format(loss=_n(e["loss"])) if "loss" in e else ""
    return _("Outputs lie between {min} and {max}{rows}, but {loss} applies {activation} itself.{value}").format(
        min=_n(e["min"]),
        max=_n(e["max"]),
        rows=rows,
        loss=f.detail.get("loss") or _("the loss"),
        activation=activation,
        value=loss,
    )


def _update(f: Finding) -> str:
    e = f.evidence
    first = _("; one of the first three steps by {first}").format(first=_n(e["first"])) if e.get("first") else ""
    told = _("A step moves the weights by {ratio} of their size (median of {steps} steps){first}.").format(
        ratio=_n(e["ratio"]), steps=_n(e["steps"]), first=first
    )
    off = _("The run took them {off} times their first size away, and the model does not work.")
    return f"{told} {off.format(off=_n(e['off']))}" if "off" in e else told


def _no_grad(f: Finding) -> str:
    e = f.evidence
    told = _(
        "{tensors} parameters ({share} of all trainable elements) got no gradient in any of {batches} batches: {names}."
    ).format(
        tensors=_n(e["tensors"]),
        share=percent(e["share"]),
        batches=_n(e["batches"]),
        names=f.detail.get("names", f.subject),
    )
    return " ".join(part for part in (told, words_run.idle(f)) if part)


def _never_learned(f: Finding) -> str:
    e = f.evidence
    chance = _("; a constant guess reaches {chance}").format(chance=_n(e["chance"])) if "chance" in e else ""
    return _("The training loss went from {start} to {end}{chance}.").format(
        start=_n(e["start"]), end=_n(e["end"]), chance=chance
    )


def _overfit(f: Finding) -> str:
    e = f.evidence
    return _(
        "The validation loss was best in epoch {best_epoch} ({best}) and ended at {end}; the "
        "training loss ended at {train_end}."
    ).format(best_epoch=_n(e["best_epoch"]), best=_n(e["best"]), end=_n(e["end"]), train_end=_n(e["train_end"]))


def _unowned(f: Finding) -> str:
    values = {"tensors": _n(f.evidence["tensors"]), "share": percent(f.evidence["share"])}
    if f.detail.get("by") == "loss":
        return _(
            "The loss holds {tensors} trainable parameters of its own ({share} of all elements). They get a gradient, "
            "and are in no optimizer that was given."
        ).format(**values)
    return _(
        "{tensors} trainable parameters ({share} of the elements) are in no optimizer that was given: {names}."
    ).format(names=f.detail.get("names", f.subject), **values)


# rule -> name, sentence, when the rule is wrong
_RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "act-nonfinite": ("Non-finite outputs", _act_nonfinite, "Masks of -inf inside attention are legal."),
    "bn-never-updated": (
        "Batch norm never saw a batch",
        lambda f: _("{subject} has counted no training batch: it still normalises by mean 0 and variance 1.").format(
            subject=f.subject
        ),
        "The model may have been exported without its buffers.",
    ),
    "bn-stats-mismatch": (
        "Batch-norm statistics against data",
        lambda f: _(
            "{subject}: the data lie {mean_gap} running standard deviations from the running mean, and "
            "ln of the variance ratio is {log_var_gap} (medians over channels, {samples} samples)."
        ).format(
            subject=f.subject,
            mean_gap=_n(f.evidence["mean_gap"]),
            log_var_gap=_n(f.evidence["log_var_gap"]),
            samples=_n(f.evidence["samples"]),
        ),
        "The data may be meant to come from another source than the training data.",
    ),
    "constant-channel": (
        "Constant channels",
        lambda f: _("{subject}: {constant} of {channels} channels never change.").format(
            subject=f.subject, constant=_n(f.evidence["constant"]), channels=_n(f.evidence["channels"])
        ),
        "A branch may be constant by design.",
    ),
    "d-input-scale": ("Input scale", _scale, "The model may be made for physical units."),
    "d-nonfinite": (
        "Non-finite data",
        lambda f: _("{nan} NaN and {inf} infinite values, first in {subject}, in {features} features.").format(
            nan=_n(f.evidence["nan"]), inf=_n(f.evidence["inf"]), subject=f.subject, features=_n(f.evidence["features"])
        ),
        ("The loss leaves these places out, or the model fills them in: then it informs that they are there."),
    ),
    "dead-relu": (
        "Silent ReLU channels",
        _dead_relu,
        "Layers may be sparse by design; rare classes may be missing here.",
    ),
    "double-softmax": (
        "Softmax applied twice",
        _double,
        (
            "The outputs are meant as scores and happen to lie between 0 and 1 with a sum of 1, as "
            "after a norm of the rows."
        ),
    ),
    "grad-depth-slope": ("Gradient size over depth", _slope, "Parts frozen on purpose bend the profile."),
    "grad-nonfinite": (
        "Non-finite gradients",
        lambda f: _("Gradient of {subject}: {values}; {tensors} parameters in all.").format(
            subject=f.subject, values=_nonfinite(f), tensors=_n(f.evidence["tensors"])
        ),
        "With a gradient scaler, single steps with infinite gradients are normal.",
    ),
    "h-diverged": (
        "Diverging loss",
        lambda f: _("The training loss was {best} at its best and ended at {end}.").format(
            best=_n(f.evidence["best"]), end=_n(f.evidence["end"])
        ),
        "Adversarial and reinforcement losses, curricula and restarts rise in healthy runs.",
    ),
    "h-never-learned": ("Loss that stands still", _never_learned, "A model that was already trained starts low."),
    "h-nonfinite": (
        "Non-finite loss",
        lambda f: _("{subject} was not finite {values} times of {of}, first at {axis} {first}.").format(
            subject=f.subject,
            values=_n(f.evidence["values"]),
            of=_n(f.evidence["of"]),
            axis=term(f.detail.get("axis", "")),
            first=_n(f.evidence["first"]),
        ),
        "What was logged is a ratio or a logarithm of nothing, and not what was trained on.",
    ),
    "h-oscillating": (
        "Oscillating loss",
        lambda f: _("The training loss jumps by a factor of e^{jump} from epoch to epoch (median).").format(
            jump=_n(f.evidence["jump"])
        ),
        "Ratios are noise where the loss is near zero.",
    ),
    "h-overconfident": (
        "Validation loss rises, metric holds",
        _overfit,
        "The model grows over-confident, not worse: calibration may mend it.",
    ),
    "h-overfit": ("Validation loss rises", _overfit, "Double descent: some models improve again later."),
    "loss-shape": (
        "Shapes of outputs and targets",
        lambda f: _(
            "{loss} got outputs and targets of different shapes: its value is {value}, while the mean "
            "squared error pair by pair is {mse}."
        ).format(loss=f.detail.get("loss") or _("The loss"), value=_n(f.evidence["loss"]), mse=_n(f.evidence["mse"])),
        "A loss of your own reshapes first, under the name of one of torch.",
    ),
    "o-baseline-skill": ("Skill against a constant guess", _skill, "The data may not be what the model was made for."),
    "optimizer-missing-params": (
        "Parameters that no optimizer holds",
        _unowned,
        "Other optimizers may not have been given; a backbone may be left out on purpose.",
    ),
    "flag-on-module": (
        "Flag on modules",
        lambda f: (
            _("requires_grad = True was set on {modules} modules whose parameters are all frozen: {names}.")
            if f.detail.get("kind") == "trainable"
            else _("requires_grad = False was set on {modules} modules whose parameters all train: {names}.")
        ).format(modules=_n(f.evidence["layers"]), names=f.detail.get("names", "")),
        "The class may mean something else by the name.",
    ),
    "param-frozen": (
        "Frozen parameters",
        lambda f: _(
            "{tensors} parameters, {share} of the model, do not require a gradient; the first is {first}."
        ).format(
            tensors=_n(f.evidence["tensors"]), share=percent(f.evidence["share"]), first=f.detail.get("first", "")
        ),
        "A backbone is often frozen on purpose.",
    ),
    "param-no-grad": ("Parameters without gradient", _no_grad, "A branch that these batches did not take is no fault."),
    "param-nonfinite": (
        "Non-finite weights",
        lambda f: f"{f.subject}: {_nonfinite(f)}.",
        "A tensor holds infinity on purpose, as a mask does.",
    ),
    "param-unused": ("Unused parameters", _no_grad, "Heads that serve only another mode are fine."),
    "update-ratio": ("Size of a step", _update, "Weights that start near zero (LoRA) take large relative steps."),
    "w-at-default-init": (
        "Weights as they were initialised",
        lambda f: plural(
            "{subject} cannot be told from PyTorch's default initialisation, though the model was "
            "trained ({untouched} of {tested} weight that can be tested).",
            "{subject} cannot be told from PyTorch's default initialisation, though the model was "
            "trained ({untouched} of {tested} weights that can be tested).",
            int(f.evidence["tested"]),
        ).format(subject=f.subject, untouched=_n(f.evidence["untouched"]), tested=_n(f.evidence["tested"])),
        "Random features may be left untrained on purpose.",
    ),
    "w-scale": (
        "Scale of a weight",
        lambda f: _(
            "{subject}: root mean square times the square root of its fan-in ({fan_in}) is {scale}; "
            "healthy trained layers have 0.3 to 2."
        ).format(subject=f.subject, fan_in=_n(f.evidence["fan_in"]), scale=_n(f.evidence["scale"])),
        "The layer may be made for tiny or huge inputs.",
    ),
}

_RULES |= (
    words_run.RULES
    | words_trials.RULES
    | words_dataset.RULES
    | words_notes.RULES
    | words_matrices.RULES
    | words_remarks.RULES
    | words_samples.RULES
    | words_units.RULES
    | words_model.RULES
    | words_fit.RULES
    | words_rounding.RULES
    | words_start.RULES
    | words_claims.RULES
    | words_anew.RULES
    | words_preparation.RULES
    | words_checks.RULES
    | words_position.RULES
    | words_rows.RULES
)
_CAUSES |= (
    words_run.CAUSES
    | words_trials.CAUSES
    | words_dataset.CAUSES
    | words_samples.CAUSES
    | words_units.CAUSES
    | words_model.CAUSES
)


def describe(finding: Finding) -> str:
    """Say in one sentence what was found, with its numbers; of a rule unknown here, its numbers.

    A layer of a sequence, and many a class, has a bare number for a name, which would read as one more number.
    """
    if finding.subject.isdecimal():
        finding = replace(finding, subject=place(finding.subject, finding.section))
    try:
        return signed(_RULES[finding.rule][1](finding))
    except KeyError:
        # a report written by another version may hold rules and evidence that this one does not know
        known = sorted(finding.evidence.items())
        told = [(quantity(finding.rule, key), measured(finding.rule, key, value)) for key, value in known]
        numbers = _(", ").join(_("{key}: {value}").format(key=key, value=value) for key, value in told)
        return _("{key}: {value}").format(key=finding.subject, value=numbers or finding.rule) + _(".")


def rule_title(rule: str) -> str:
    """Name a rule for a heading or a table cell."""
    return _(_RULES[rule][0]) if rule in _RULES else rule


def doubt(rule: str) -> str:
    """Say when this rule is wrong; '' of a rule unknown here."""
    return _(_RULES[rule][2]) if rule in _RULES else ""


def cause_title(cause: str) -> str:
    """Name a root cause for a heading."""
    return _(_CAUSES[cause][0]) if cause in _CAUSES else cause


def diagnosis_title(diagnosis: Diagnosis) -> str:
    """Name a diagnosis for a heading: by its cause, a mere remark by what was looked at."""
    if _is_remark(diagnosis):
        return rule_title(diagnosis.findings[0].rule)
    said = _said(diagnosis)
    return _(said[0]) if said is not None else diagnosis.cause


def _said(diagnosis: Diagnosis) -> tuple[str, str] | None:
    """Return title and summary of a cause as its first proof shows it; None of a cause unknown here."""
    first = diagnosis.findings[0].rule if diagnosis.findings else ""
    return _BY_PROOF.get((diagnosis.cause, first)) or _CAUSES.get(diagnosis.cause)


def _is_remark(diagnosis: Diagnosis) -> bool:
    return bool(diagnosis.findings) and all(is_note(f) for f in diagnosis.findings)


def summary(diagnosis: Diagnosis) -> str:
    """Say in one or two sentences what is wrong and what it does."""
    if _is_remark(diagnosis):
        return describe(diagnosis.findings[0])
    said = _said(diagnosis)
    return _(said[1]) if said is not None else ""


def advice(diagnosis: Diagnosis) -> str:
    """Say what to do, in the words of the report; where those of another version are in no catalogue, in today's."""
    told = term(diagnosis.advice)
    if spoken() == "en" or not told or told != diagnosis.advice:
        return told
    return term(advice_for(diagnosis.cause, diagnosis.findings)) or told
