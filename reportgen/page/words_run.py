"""The words for what was found in a run: names, sentences and doubts of the rules on curves, optimizers and loops."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import name, percent, short

CAUSES: dict[str, tuple[str, str]] = {
    "data-leakage": (
        "Validation data are among the training data",
        "Figures on such data say nothing of how the model does on new ones.",
    ),
    "eval-mode-training": (
        "Layers were in the wrong mode",
        "In eval mode dropout does nothing and batch norms keep their statistics; in train mode a validation is noisy "
        "and changes the statistics.",
    ),
    "gradient-clipping-too-small": (
        "Gradient clipping holds training back",
        "Nearly every step is cut to a fraction of its length, so that training crawls.",
    ),
    "lr-schedule-collapse": (
        "The learning rate fell to nothing too early",
        "Most of the run went by with steps too small to learn from.",
    ),
    "missing-zero-grad": (
        "Gradients are not cleared between steps",
        "Each step follows the sum of all gradients so far, which grows and points to the past.",
    ),
    "over-regularised": (
        "Regularisation outweighs the loss",
        "Weight decay pulls the weights to zero faster than the data can shape them.",
    ),
    "resumed-without-state": (
        "The run was resumed without its full state",
        "Optimizer, schedule or order of the data started anew.",
    ),
    "too-little-data": (
        "There are too few data",
        "What is measured on so few samples is largely chance.",
    ),
    "undertrained": (
        "Training stopped too early",
        "Both losses were still falling steeply when the run ended.",
    ),
}


def _first_event(f: Finding) -> str:
    when = f" at step {short(f.evidence['step'])}" if "step" in f.evidence else ""
    when = when or (f" in epoch {short(f.evidence['epoch'])}" if "epoch" in f.evidence else "")
    what = {
        "loss": "The loss",
        "gradient": f"The gradient of {name(f.subject)}",
        "activation": f"The output of {name(f.subject)}",
        "weight": f"The weight {name(f.subject)}",
    }.get(f.detail.get("part", ""), name(f.subject))
    before = f.detail.get("before", "")
    return f"{what} was the first to be not finite{when}." + (f" Before it: {name(before)}." if before else "")


def _eval_mode(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("direction") == "validation":
        return (
            f"All {short(e['train_validations'])} passes without gradients that were seen ran with dropout or batch "
            "norm in train mode."
        )
    return (
        f"In {short(e['eval_steps'])} of {short(e['steps'])} training steps that were looked at, every dropout and "
        "normalisation layer was in eval mode."
    )


def _clip(f: Finding) -> str:
    e = f.evidence
    factor = f", to {percent(e['factor'])} of their length (median)" if "factor" in e else ""
    limit = f"; the limit is about {short(e['limit'])}" if "limit" in e else ""
    return f"Gradients were clipped in {percent(e['share'])} of {short(e['steps'])} steps{factor}{limit}."


def _no_update(f: Finding) -> str:
    e, reason = f.evidence, f.detail.get("reason")
    if reason == "no step":
        return "Backward passes were seen, but no optimizer took a step."
    told = f"{short(e['steps'])} optimizer steps, and none of {short(e['parameters'])} parameters is changed"
    if reason == "cleared":
        return told + ": at no looked-at step was there a gradient left to follow, though backward passes had come by."
    if reason == "zero gradient":
        return told + ": every gradient was exactly zero."
    return told + "."


def _names(f: Finding) -> str:
    more = f.evidence["tensors"] - len(f.detail.get("names", "").split(", "))
    return name(f.detail.get("names", f.subject)) + (f" and {short(more)} more" if more > 0 else "")


def _unreached(what: str) -> Callable[[Finding], str]:
    def sentence(f: Finding) -> str:
        e = f.evidence
        return (
            f"{short(e['tensors'])} parameters ({percent(e['share'])} of the elements) {what} at any of "
            f"{short(e['steps'])} looked-at steps: {_names(f)}."
        )

    return sentence


def _not_moved(f: Finding) -> str:
    e = f.evidence
    return (
        f"{short(e['tensors'])} weight matrices ({percent(e['share'])} of the elements) get a gradient and are in an "
        f"optimizer, but are the same after {short(e['steps'])} steps: {_names(f)}."
    )


def _collapse(f: Finding) -> str:
    e = f.evidence
    return (
        f"{name(f.subject)} fell from {short(e['peak'])} to {short(e['end'])}: below a hundredth of its peak from "
        f"{f.detail.get('axis', '')} {short(e['at'])} on, with {percent(e['left'])} of the run left. The training loss "
        f"stayed at {short(e['loss'])}."
    )


def _improving(f: Finding) -> str:
    e = f.evidence
    which = "validation" if f.subject == "val_loss" else "training"
    return (
        f"Over the last third of the run the {which} loss fell by {short(e['fall'])}, of {short(e['drop'])} in all, to "
        f"{short(e['end'])}."
    )


def _spikes(f: Finding) -> str:
    e = f.evidence
    lost = f" After {short(e['lost'])} of them the loss never came back." if e.get("lost") else ""
    return (
        f"{short(e['spikes'])} values of the training loss stick out; the worst, at step {short(e['step'])}, is "
        f"{short(e['factor'])} times its surroundings.{lost}"
    )


def _grad_spikes(f: Finding) -> str:
    e = f.evidence
    return (
        f"{short(e['spikes'])} gradients stick out, the longest {short(e['ratio'])} times its surroundings; the norm "
        f"is {short(e['typical'])} as a rule, and its median went to {short(e['growth'])} times from the first tenth "
        "of the run to the last."
    )


def _scaler(f: Finding) -> str:
    e = f.evidence
    last = f" and ended at {short(e['scale'])}" if "scale" in e else ""
    return f"The loss scale was halved {short(e['halvings'])} times in {short(e['steps'])} steps{last}."


def _init_loss(f: Finding) -> str:
    e = f.evidence
    return (
        f"The first loss was {short(e['loss'])}, {short(e['ratio'])} times that of an even guess among the classes "
        f"({short(e['guess'])})."
    )


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "adam-eps-floor": (
        "Second moments below epsilon",
        lambda f: (
            f"In {short(f.evidence['matrices'])} of {short(f.evidence['of'])} weight matrices Adam's √v is below its "
            f"epsilon for more than half of the elements; in {name(f.subject)} for {percent(f.evidence['share'])}."
        ),
        "Gradients are that small by right where the data are fitted whole.",
    ),
    "adam-stale-v": (
        "Second moments that lag behind",
        lambda f: (
            f"The gradient of {name(f.subject)} was {short(f.evidence['ratio'])} times what Adam's second moment "
            "expected, in a run whose loss spiked."
        ),
        "Rare gradients (embeddings, rare units) raise this in any healthy run.",
    ),
    "amp-scaler": ("Loss scale", _scaler, "A halving now and then is how a gradient scaler works."),
    "clip-fraction": ("Clipped gradients", _clip, "Clipping nearly every step is one way to normalise gradients."),
    "dead-rising": (
        "Units that fell silent",
        lambda f: (
            f"{name(f.subject)}: {percent(f.evidence['first'])} of the channels were silent in a batch early in the "
            f"run, {percent(f.evidence['last'])} at its end."
        ),
        "The looked-at batches are small, and rare classes may be missing in them.",
    ),
    "eval-mode-training": (
        "Modes of the layers",
        _eval_mode,
        "Batch norms are often frozen on purpose; a moving average of the model may be validated elsewhere.",
    ),
    "grad-spikes": ("Gradient norm", _grad_spikes, "Restarts of the learning rate and rare batches do this too."),
    "h-best-not-last": (
        "Best epoch",
        lambda f: (
            f"The validation loss was {short(f.evidence['best'])} in epoch {short(f.evidence['best_epoch'])} and ended "
            f"at {short(f.evidence['end'])}."
        ),
        "",
    ),
    "h-generalisation-gap": (
        "Training against validation",
        lambda f: (
            f"The accuracy ended at {percent(f.evidence['train'])} on the training data and "
            f"{percent(f.evidence['val'])} on the validation data."
        ),
        "A model may fit its training data whole and still generalise as well as any other.",
    ),
    "h-init-loss": ("First loss", _init_loss, "Class weights, focal losses and several losses at once shift it."),
    "h-metric-loss-disagree": (
        "Loss against metric",
        lambda f: (
            f"The rank correlation of the falling loss with {name(f.subject)} is {short(f.evidence['agreement'])}; the "
            f"metric went from {short(f.evidence['first'])} to {short(f.evidence['end'])}."
        ),
        "A metric that has come to rest has no order to agree with.",
    ),
    "h-plateau": (
        "Early plateau",
        lambda f: (
            f"The training loss was near its end value ({short(f.evidence['end'])}) from epoch "
            f"{short(f.evidence['reached'])} of {short(f.evidence['of'])} on."
        ),
        "That is also what a converged run looks like.",
    ),
    "h-resume-gap": (
        "Jump at resumption",
        lambda f: (
            f"At {f.detail.get('axis', '')} {short(f.evidence['at'])}, where the run was resumed, the training loss "
            f"went from {short(f.evidence['before'])} to {short(f.evidence['after'])}."
        ),
        "The data may have changed on purpose.",
    ),
    "h-spikes": ("Spikes of the loss", _spikes, "Curricula and restarts raise the loss by design."),
    "h-still-improving": ("Still improving", _improving, "The run may have been meant as a trial."),
    "h-underfit": (
        "Poor fit",
        lambda f: (
            f"The training loss came to rest at {short(f.evidence['end'])}; a constant guess reaches "
            f"{short(f.evidence['chance'])}."
        ),
        "Label smoothing, mixup and noisy labels give the loss a floor.",
    ),
    "h-val-below-train": (
        "Validation below training",
        lambda f: (
            f"The validation loss was below the training loss in {short(f.evidence['epochs'])} of "
            f"{short(f.evidence['of'])} epochs (at the end {short(f.evidence['end'])} against "
            f"{short(f.evidence['train_end'])})."
        ),
        "Usual with dropout, augmentation and label smoothing.",
    ),
    "h-val-noise": (
        "Noise of the validation",
        lambda f: (
            f"The last validation accuracies differ by {percent(f.evidence['range'])}, less than two standard errors "
            f"on {short(f.evidence['samples'])} samples: which epoch is best is chance."
        ),
        "",
    ),
    "lr-extreme": (
        "Unusual learning rate",
        lambda f: (
            f"The learning rate reached {short(f.evidence['rate'])}, and a step moves the weights by "
            f"{short(f.evidence['ratio'])} of their size."
        ),
        "What is usual depends on the loss, the model and the optimizer.",
    ),
    "lr-schedule-collapse": ("Course of the learning rate", _collapse, "Drops after a plateau are healthy."),
    "missing-zero-grad": (
        "Gradients that were not cleared",
        lambda f: (
            f"{short(f.evidence['stale'])} of {short(f.evidence['checked'])} steps began with the gradients of an "
            "earlier step."
        ),
        "Adding gradients up over steps may be meant, though rarely without clearing them after a step.",
    ),
    "no-weight-update": ("Weights before and after", _no_update, ""),
    "optimizer-maximizes": (
        "An optimizer that climbs",
        lambda f: (
            f"{name(f.subject)} has maximize=True, and the training loss went from {short(f.evidence['start'])} to "
            f"{short(f.evidence['end'])}."
        ),
        "What is logged as a loss may be a reward.",
    ),
    "optimizer-state-nonfinite": (
        "Non-finite optimizer state",
        lambda f: (
            f"{short(f.evidence['values'])} values of the optimizer's state are not finite, in "
            f"{short(f.evidence['tensors'])} parameters, first {name(f.subject)}."
        ),
        "",
    ),
    "param-group-zero-lr": (
        "A learning rate of zero",
        lambda f: f"{name(f.subject)} was zero at each of {short(f.evidence['values'])} looks.",
        "One way to freeze layers on purpose.",
    ),
    "param-not-moved": ("Parameters that never moved", _not_moved, "Layers may be held in place on purpose."),
    "param-zero-grad": (
        "Gradients of exactly zero",
        _unreached("had no gradient but zero"),
        "Parts that these batches never used, such as an expert that was not chosen.",
    ),
    "run-no-grad": (
        "Parameters without gradient",
        _unreached("had no gradient"),
        "Heads whose output is no part of the loss are fine.",
    ),
    "run-unused": (
        "Parameters that were never used",
        _unreached("had no gradient, for their layers did not run"),
        "A tower that is trained in another stage.",
    ),
    "run-nonfinite": ("First non-finite value", _first_event, "A gradient scaler skips steps with infinite gradients."),
    "weight-decay-dominance": (
        "Weight decay against gradient",
        lambda f: (
            f"In {short(f.evidence['matrices'])} of {short(f.evidence['of'])} weight matrices the weight decay is "
            f"larger than the step it is part of ({short(f.evidence['share'])} times, median)."
        ),
        "Near convergence decay and gradient hold each other, and the steps left are small by right.",
    ),
}
