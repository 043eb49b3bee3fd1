"""The words for findings and diagnoses, made when they are presented: ids and numbers in, sentences out."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Diagnosis, Finding
from ..health.causes import is_note
from . import words_dataset, words_fit, words_model, words_notes, words_run, words_samples, words_trials, words_units
from .formats import amount as _n
from .formats import percent
from .language import _

_CAUSES: dict[str, tuple[str, str]] = {
    "bad-init": (
        "The initialisation breaks the scale of a layer",
        "Weights far too large or too small for their fan-in blow the signal up or let it fade from layer to layer.",
    ),
    "bn-statistics": (
        "Batch-norm statistics do not describe the data",
        "In eval mode these layers normalise by figures that are not those of the data, so the model that is evaluated "
        "is not the one that was trained.",
    ),
    "dead-relu": (
        "ReLU units never fire",
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
        "Gradients explode towards the input",
        "Gradient size grows exponentially from the output back to the first layers.",
    ),
    "frozen-layers": (
        "Parameters are frozen or were never trained",
        "These parameters did not take part in training.",
    ),
    "layer-collapse": (
        "Channels say the same to every sample",
        "What such a channel puts out does not depend on the input, so it carries no information.",
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
        "Each step moves the weights by next to nothing, and the loss stands still.",
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
        "Non-finite values are born in the computation",
        "Inputs and weights are finite, yet what is computed from them is not.",
    ),
    "overfitting": (
        "The model overfits",
        "Since its best epoch the validation loss has been rising while the training loss kept falling.",
    ),
    "params-not-in-optimizer": (
        "The optimizer does not hold these parameters",
        "They get gradients, but no step ever moves them.",
    ),
    "underfitting": (
        "The model did not learn the task",
        "After training it is no better than a constant guess, and nothing else that was measured explains it.",
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
        "Gradient size falls exponentially from the output back to the first layers, which therefore hardly learn.",
    ),
}


def _nonfinite(f: Finding) -> str:
    e = f.evidence
    parts = [f"{_n(e[key])} {word}" for key, word in (("nan", "NaN"), ("inf", "infinite")) if e.get(key)]
    return f"{' and '.join(parts)} of {_n(e['count'])} values"


def _act_nonfinite(f: Finding) -> str:
    others = f.evidence["layers"] - 1
    more = f"; the first of {_n(others + 1)} such layers in order of execution" if others else ""
    return f"Output of {f.subject} ({f.detail.get('kind', '')}): {_nonfinite(f)}{more}."


def _dead_relu(f: Finding) -> str:
    e = f.evidence
    return (
        f"{f.subject}: {_n(e['silent'])} of {_n(e['channels'])} channels never fired on {_n(e['samples'])} samples "
        f"({percent(e['share'])}; each may still fire with probability up to {percent(e['may_fire'])})."
    )


def _slope(f: Finding) -> str:
    e = f.evidence
    return (
        f"Over {_n(e['layers'])} weight matrices, from {f.subject} to {f.detail.get('last', '')}, log10 of the "
        f"gradient changes by {e['slope']:+.2f} per layer; first layers get {e['ratio']:.2g} times that of the last."
    )


def _scale(f: Finding) -> str:
    e = f.evidence
    return (
        f"{f.subject}: mean {_n(e['mean'])}, standard deviation {_n(e['std'])}, from {_n(e['min'])} to {_n(e['max'])}."
    )


def _skill(f: Finding) -> str:
    e = f.evidence
    if "r2" in e:
        return f"R² is {_n(e['r2'])}: no better than the mean of the targets."
    return f"Accuracy {percent(e['accuracy'])}; always guessing the largest class gives {percent(e['baseline'])}."


def _double(f: Finding) -> str:
    e, activation = f.evidence, f.detail.get("activation", "softmax")
    rows = f" and every row sums to 1 (within {e['row_sum_error']:.1g})" if activation == "softmax" else ""
    loss = f" Its value is {_n(e['loss'])}." if "loss" in e else ""
    return (
        f"Outputs lie between {_n(e['min'])} and {_n(e['max'])}{rows}, "
        f"but {f.detail.get('loss') or 'the loss'} applies {activation} itself.{loss}"
    )


def _update(f: Finding) -> str:
    e = f.evidence
    first = f"; one of the first three steps by {_n(e['first'])}" if e.get("first") else ""
    return f"A step moves the weights by {_n(e['ratio'])} of their size (median of {_n(e['steps'])} steps){first}."


def _no_grad(f: Finding) -> str:
    e = f.evidence
    return (
        f"{_n(e['tensors'])} parameters ({percent(e['share'])} of all trainable elements) got no gradient in any of "
        f"{_n(e['batches'])} batches: {f.detail.get('names', f.subject)}."
    )


def _never_learned(f: Finding) -> str:
    e = f.evidence
    chance = f"; a constant guess reaches {_n(e['chance'])}" if "chance" in e else ""
    return f"The training loss went from {_n(e['start'])} to {_n(e['end'])}{chance}."


def _overfit(f: Finding) -> str:
    e = f.evidence
    return (
        f"The validation loss was best in epoch {_n(e['best_epoch'])} ({_n(e['best'])}) and ended at {_n(e['end'])}; "
        f"the training loss ended at {_n(e['train_end'])}."
    )


# rule -> name, sentence, when the rule is wrong
_RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "act-nonfinite": ("Non-finite outputs", _act_nonfinite, "Masks of -inf inside attention are legal."),
    "bn-never-updated": (
        "Batch norm never saw a batch",
        lambda f: f"{f.subject} has counted no training batch: it still normalises by mean 0 and variance 1.",
        "The model may have been exported without its buffers.",
    ),
    "bn-stats-mismatch": (
        "Batch-norm statistics against data",
        lambda f: (
            f"{f.subject}: the data lie {_n(f.evidence['mean_gap'])} running standard deviations from the running "
            f"mean, and ln of the variance ratio is {_n(f.evidence['log_var_gap'])} "
            f"(medians over channels, {_n(f.evidence['samples'])} samples)."
        ),
        "The data may be meant to come from another source than the training data.",
    ),
    "constant-channel": (
        "Constant channels",
        lambda f: f"{f.subject}: {_n(f.evidence['constant'])} of {_n(f.evidence['channels'])} channels never change.",
        "A branch may be constant by design.",
    ),
    "d-input-scale": ("Input scale", _scale, "The model may be made for physical units."),
    "d-nonfinite": (
        "Non-finite data",
        lambda f: (
            f"{_n(f.evidence['nan'])} NaN and {_n(f.evidence['inf'])} infinite values, first in {f.subject}, "
            f"in {_n(f.evidence['features'])} features."
        ),
        "",
    ),
    "dead-relu": (
        "Silent ReLU channels",
        _dead_relu,
        "Layers may be sparse by design; rare classes may be missing here.",
    ),
    "double-softmax": ("Softmax applied twice", _double, ""),
    "grad-depth-slope": ("Gradient size over depth", _slope, "Parts frozen on purpose bend the profile."),
    "grad-nonfinite": (
        "Non-finite gradients",
        lambda f: f"Gradient of {f.subject}: {_nonfinite(f)}; {_n(f.evidence['tensors'])} parameters in all.",
        "With a gradient scaler, single steps with infinite gradients are normal.",
    ),
    "h-diverged": (
        "Diverging loss",
        lambda f: f"The training loss was {_n(f.evidence['best'])} at its best and ended at {_n(f.evidence['end'])}.",
        "Adversarial and reinforcement losses, curricula and restarts rise in healthy runs.",
    ),
    "h-never-learned": ("Loss that stands still", _never_learned, "A model that was already trained starts low."),
    "h-nonfinite": (
        "Non-finite loss",
        lambda f: (
            f"{f.subject} was not finite {_n(f.evidence['values'])} times of {_n(f.evidence['of'])}, "
            f"first at {f.detail.get('axis', '')} {_n(f.evidence['first'])}."
        ),
        "",
    ),
    "h-oscillating": (
        "Oscillating loss",
        lambda f: f"The training loss jumps by a factor of e^{_n(f.evidence['jump'])} from epoch to epoch (median).",
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
        lambda f: (
            f"{f.detail.get('loss', 'The loss')} got outputs and targets of different shapes: its value is "
            f"{_n(f.evidence['loss'])}, while the mean squared error pair by pair is {_n(f.evidence['mse'])}."
        ),
        "",
    ),
    "o-baseline-skill": ("Skill against a constant guess", _skill, "The data may not be what the model was made for."),
    "optimizer-missing-params": (
        "Parameters that no optimizer holds",
        lambda f: (
            f"{_n(f.evidence['tensors'])} trainable parameters ({percent(f.evidence['share'])} of the elements) are in "
            f"no optimizer that was given: {f.detail.get('names', f.subject)}."
        ),
        "Other optimizers may not have been given; a backbone may be left out on purpose.",
    ),
    "param-frozen": (
        "Frozen parameters",
        lambda f: (
            f"{_n(f.evidence['tensors'])} parameters, {percent(f.evidence['share'])} of the model, do not require a "
            f"gradient; the first is {f.detail.get('first', '')}."
        ),
        "A backbone is often frozen on purpose.",
    ),
    "param-no-grad": ("Parameters without gradient", _no_grad, "A branch that these batches did not take is no fault."),
    "param-nonfinite": ("Non-finite weights", lambda f: f"{f.subject}: {_nonfinite(f)}.", ""),
    "param-unused": ("Unused parameters", _no_grad, "Heads that serve only another mode are fine."),
    "update-ratio": ("Size of a step", _update, "Weights that start near zero (LoRA) take large relative steps."),
    "w-at-default-init": (
        "Weights as they were initialised",
        lambda f: (
            f"{f.subject} cannot be told from PyTorch's default initialisation, though the model was trained "
            f"({_n(f.evidence['untouched'])} of {_n(f.evidence['tested'])} weights that can be tested)."
        ),
        "Random features may be left untrained on purpose.",
    ),
    "w-scale": (
        "Scale of a weight",
        lambda f: (
            f"{f.subject}: root mean square times the square root of its fan-in ({_n(f.evidence['fan_in'])}) is "
            f"{_n(f.evidence['scale'])}; healthy trained layers have 0.3 to 2."
        ),
        "The layer may be made for tiny or huge inputs.",
    ),
}

_RULES |= (
    words_run.RULES
    | words_trials.RULES
    | words_dataset.RULES
    | words_notes.RULES
    | words_samples.RULES
    | words_units.RULES
    | words_model.RULES
    | words_fit.RULES
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
    """Say in one sentence what was found, with its numbers; of a rule unknown here, its numbers."""
    try:
        return _RULES[finding.rule][1](finding)
    except KeyError:
        # a report written by another version may hold rules and evidence that this one does not know
        numbers = ", ".join(f"{name} {_n(value)}" for name, value in sorted(finding.evidence.items()))
        return f"{finding.subject}: {numbers or finding.rule}."


def rule_title(rule: str) -> str:
    """Name a rule for a heading or a table cell."""
    return _(_RULES[rule][0]) if rule in _RULES else rule


def doubt(rule: str) -> str:
    """Say when this rule is wrong; '' when it cannot be."""
    text = _RULES[rule][2] if rule in _RULES else ""
    return _(text) if text else ""  # an empty text means the head of the catalogue


def cause_title(cause: str) -> str:
    """Name a root cause for a heading."""
    return _(_CAUSES[cause][0]) if cause in _CAUSES else cause


def diagnosis_title(diagnosis: Diagnosis) -> str:
    """Name a diagnosis for a heading: by its cause, a mere remark by what was looked at."""
    return rule_title(diagnosis.findings[0].rule) if _is_remark(diagnosis) else cause_title(diagnosis.cause)


def _is_remark(diagnosis: Diagnosis) -> bool:
    return bool(diagnosis.findings) and all(is_note(f) for f in diagnosis.findings)


def summary(diagnosis: Diagnosis) -> str:
    """Say in one or two sentences what is wrong and what it does."""
    if _is_remark(diagnosis):
        return describe(diagnosis.findings[0])
    return _(_CAUSES[diagnosis.cause][1]) if diagnosis.cause in _CAUSES else ""
