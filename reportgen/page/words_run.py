"""The words for what was found in a run: names, sentences and doubts of the rules on curves, optimizers and loops."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import brief, name, percent, short
from .language import N_, _


def _first_loss(f: Finding) -> str:
    text = _("The first loss was {loss}, {ratio} times that of an even guess among the classes ({guess}).")
    if f.detail.get("kind") == "numbers":
        text = _("The first loss was {loss}, {ratio} times that of answers that are all 0 ({guess}).")
    return text.format(
        loss=short(f.evidence["loss"]), ratio=short(f.evidence["ratio"]), guess=short(f.evidence["guess"])
    )


CAUSES: dict[str, tuple[str, str]] = {
    "data-leakage": (
        N_("Validation data are among the training data"),
        N_("Figures on such data say nothing of how the model does on new ones."),
    ),
    "eval-mode-training": (
        N_("Layers were in the wrong mode"),
        N_(
            "In eval mode dropout does nothing and batch norms keep their statistics; in train mode a"
            " validation is noisy and changes the statistics."
        ),
    ),
    "gradient-clipping-too-small": (
        N_("Gradient clipping holds training back"),
        N_("Nearly every step is cut to a fraction of its length, so that training crawls."),
    ),
    "lr-schedule-collapse": (
        N_("The schedule leaves next to no learning rate"),
        N_("Most of the run went by with steps too small to learn from."),
    ),
    "missing-zero-grad": (
        N_("Gradients are not cleared between steps"),
        N_("Each step follows the sum of all gradients so far, which grows and points to the past."),
    ),
    "over-regularised": (
        N_("Regularisation outweighs the loss"),
        N_("Weight decay, dropout or a penalty in the loss holds the fit back more than it helps on new data."),
    ),
    "resumed-without-state": (
        N_("The run was resumed without its full state"),
        N_("Optimizer, schedule or order of the data started anew."),
    ),
    "too-little-data": (
        N_("There are too few data"),
        N_("So few are easily learned by heart, and what is measured on few is largely chance."),
    ),
    "undertrained": (
        N_("Training stopped too early"),
        N_("The model was still learning when the run ended."),
    ),
}


def _first_event(f: Finding) -> str:
    when = ""
    if "step" in f.evidence:
        when = _(" at step {n}").format(n=short(f.evidence["step"]))
    elif "epoch" in f.evidence:
        when = _(" in epoch {n}").format(n=short(f.evidence["epoch"]))
    what = {
        "loss": _("The loss"),
        "gradient": _("The gradient of {name}").format(name=name(f.subject)),
        "activation": _("The output of {name}").format(name=name(f.subject)),
        "weight": _("The weight {name}").format(name=name(f.subject)),
    }.get(f.detail.get("part", ""), name(f.subject))
    before = f.detail.get("before")
    told = _("{what} was the first to be not finite{when}.").format(what=what, when=when)
    if not before:
        return told
    return _("{first} {second}").format(first=told, second=_("Before it: {before}.").format(before=name(before)))


def _kept(f: Finding) -> str:
    told = {
        "again": _(
            "At {n} of {m} steps the gradient that had arrived at the outputs arrived there again after the step: the"
            " loss of an earlier batch is back-propagated once more, as a running total of losses is."
        ),
        "twice": _(
            "At {n} of {m} steps the same gradient arrived at the outputs twice before the step, and was added to"
            " itself: a loss is back-propagated more than once."
        ),
    }.get(f.detail.get("direction", ""), _("{n} of {m} steps began with the gradients of an earlier step."))
    return told.format(n=short(f.evidence["stale"]), m=short(f.evidence["checked"]))


def _eval_mode(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("direction") == "validation":
        return _(
            "All {n} passes without gradients that were seen ran with dropout or batch norm in train mode."
        ).format(n=short(e["train_validations"]))
    if f.detail.get("direction") == "dropout":
        return _(
            "In all {n} passes without gradients that were seen, the model was in eval mode and its dropout was not."
        ).format(n=short(e["train_validations"]))
    if f.detail.get("direction") == "part":
        return _("{name} stood in eval mode in every training step that was looked at, while others did not.").format(
            name=name(f.subject)
        )
    return _(
        "In {n} of {m} training steps that were looked at, every dropout and normalisation layer was in eval mode."
    ).format(n=short(e["eval_steps"]), m=short(e["steps"]))


def _clip(f: Finding) -> str:
    e = f.evidence
    factor = _(", to {share} of their length (median)").format(share=percent(e["factor"])) if "factor" in e else ""
    limit = _("; the limit is about {norm}").format(norm=short(e["limit"])) if "limit" in e else ""
    if limit and e.get("factor"):
        limit += _(", and before they are cut about {norm}").format(norm=short(e["limit"] / e["factor"]))
    return _("Gradients were clipped in {share} of {steps} steps{factor}{limit}.").format(
        share=percent(e["share"]), steps=short(e["steps"]), factor=factor, limit=limit
    )


def _clamped(f: Finding) -> str:
    e = f.evidence
    text = _(
        "Gradients of {parameters} of {of} parameters end at ±{bound}, the same number to the bit: they are clamped. "
        "Their root mean square is {share} of that (median)."
    )
    return text.format(
        parameters=short(e["parameters"]), of=short(e["of"]), bound=short(e["bound"]), share=percent(e["share"])
    )


def _no_update(f: Finding) -> str:
    e, reason = f.evidence, f.detail.get("reason")
    if reason == "no step":
        return _("Backward passes were seen, but no optimizer took a step.")
    told = {
        "cleared": _(
            "{steps} optimizer steps, and none of {n} parameters is changed: at no looked-at step was there a gradient "
            "left to follow, though backward passes had come by."
        ),
        "put back": _(
            "{steps} optimizer steps, and the weights lie nearer to their start than one step is long: something puts "
            "older weights back (an average of them, say, that is copied in and never taken out)."
        ),
        "zero gradient": _(
            "{steps} optimizer steps, and none of {n} parameters is changed: every gradient was exactly zero."
        ),
    }.get(reason or "", _("{steps} optimizer steps, and none of {n} parameters is changed."))
    return told.format(steps=short(e["steps"]), n=short(e["parameters"]))


def _names(f: Finding) -> str:
    named = name(f.detail.get("names", f.subject))
    more = f.evidence["tensors"] - len(f.detail.get("names", "").split(", "))
    return _("{names} and {n} more").format(names=named, n=short(more)) if more > 0 else named


def _unreached(what: str) -> Callable[[Finding], str]:
    """``what``: a sentence with {n}, {share}, {steps} and {names}, marked with ``N_``."""

    def sentence(f: Finding) -> str:
        e = f.evidence
        told = _(what).format(
            n=short(e["tensors"]), share=percent(e["share"]), steps=short(e["steps"]), names=_names(f)
        )
        return " ".join(part for part in (told, idle(f)) if part)

    return sentence


def idle(f: Finding) -> str:
    """Say of parameters without a gradient that nothing depends on them, where that was found."""
    return _("Other values of theirs change neither outputs nor loss.") if f.detail.get("by") == "unused" else ""


def _unusual_rate(f: Finding) -> str:
    rate = short(f.evidence["rate"])
    if "ratio" not in f.evidence:
        return _("The learning rate reached {rate}.").format(rate=rate)
    return _("The learning rate reached {rate}, and a step moves the weights by {ratio} of their size.").format(
        rate=rate, ratio=short(f.evidence["ratio"])
    )


def _collapse(f: Finding) -> str:
    e = f.evidence
    told = (
        _(
            "{name} fell from {peak} to {end}: below a hundredth of its peak from epoch {at} on, with {left} of the "
            "run left. The training loss stayed at {loss}."
        )
        if f.detail.get("axis") == "epoch"
        else _(
            "{name} fell from {peak} to {end}: below a hundredth of its peak from step {at} on, with {left} of the run "
            "left. The training loss stayed at {loss}."
        )
    )
    return told.format(
        name=name(f.subject),
        peak=short(e["peak"]),
        end=short(e["end"]),
        at=short(e["at"]),
        left=percent(e["left"]),
        loss=short(e["loss"]),
    )


def _improving(f: Finding) -> str:
    e = f.evidence
    told = (
        _("Over the last third of the run the validation loss fell by {fall}, of {drop} in all, to {end}.")
        if f.subject == "val_loss"
        else _("Over the last third of the run the training loss fell by {fall}, of {drop} in all, to {end}.")
    )
    return told.format(fall=short(e["fall"]), drop=short(e["drop"]), end=short(e["end"]))


def _spikes(f: Finding) -> str:
    e = f.evidence
    told = _(
        "{n} values of the training loss stick out; the worst, at step {step}, is {factor} times its surroundings."
    ).format(n=short(e["spikes"]), step=short(e["step"]), factor=short(e["factor"]))
    if e.get("lost"):
        told += " " + _("After {n} of them the loss never came back.").format(n=short(e["lost"]))
    return told


def _grad_spikes(f: Finding) -> str:
    e = f.evidence
    return _(
        "{n} gradients stick out, the longest {ratio} times its surroundings; the norm is {typical} as a rule, and its "
        "median went to {growth} times from the first tenth of the run to the last."
    ).format(n=short(e["spikes"]), ratio=short(e["ratio"]), typical=short(e["typical"]), growth=short(e["growth"]))


def _scaler(f: Finding) -> str:
    e = f.evidence
    last = _(" and ended at {scale}").format(scale=short(e["scale"])) if "scale" in e else ""
    return _("The loss scale was halved {n} times in {steps} steps{last}.").format(
        n=short(e["halvings"]), steps=short(e["steps"]), last=last
    )


def _resumed(f: Finding) -> str:
    e = f.evidence
    told = (
        _("At epoch {at}, where the run was resumed, the training loss went from {before} to {after}.")
        if f.detail.get("axis") == "epoch"
        else _("At step {at}, where the run was resumed, the training loss went from {before} to {after}.")
    )
    return told.format(at=short(e["at"]), before=short(e["before"]), after=short(e["after"]))


# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "adam-eps-floor": (
        N_("Second moments below epsilon"),
        lambda f: _(
            "In {n} of {m} weight matrices Adam's √v is below its epsilon for more than half of the "
            "elements; in {name} for {share}."
        ).format(
            n=short(f.evidence["matrices"]),
            m=short(f.evidence["of"]),
            name=name(f.subject),
            share=percent(f.evidence["share"]),
        ),
        N_("Gradients are that small by right where the data are fitted whole."),
    ),
    "adam-stale-v": (
        N_("Second moments that lag behind"),
        lambda f: _(
            "The gradient of {name} was {ratio} times what Adam's second moment expected, in a run whose loss spiked."
        ).format(name=name(f.subject), ratio=short(f.evidence["ratio"])),
        N_("Rare gradients (embeddings, rare units) raise this in any healthy run."),
    ),
    "amp-scaler": (N_("Loss scale"), _scaler, N_("A halving now and then is how a gradient scaler works.")),
    "clip-fraction": (
        N_("Clipped gradients"),
        _clip,
        N_("Clipping nearly every step is one way to normalise gradients."),
    ),
    "gradients-clamped": (
        N_("Bounds of the gradients"),
        _clamped,
        N_("A loss whose gradients are signs alone has one bound as well."),
    ),
    "dead-rising": (
        N_("Units that fell silent"),
        lambda f: _(
            "{name}: {first} of the channels were silent in a batch early in the run, {last} at its end."
        ).format(name=name(f.subject), first=percent(f.evidence["first"]), last=percent(f.evidence["last"])),
        N_("The looked-at batches are small, and rare classes may be missing in them."),
    ),
    "eval-mode-training": (
        N_("Modes of the layers"),
        _eval_mode,
        N_("Batch norms are often frozen on purpose; a moving average of the model may be validated elsewhere."),
    ),
    "grad-spikes": (
        N_("Gradient norm"),
        _grad_spikes,
        N_("Restarts of the learning rate and rare batches do this too."),
    ),
    "h-best-not-last": (
        N_("Best epoch"),
        lambda f: _("The validation loss was {best} in epoch {epoch} and ended at {end}.").format(
            best=short(f.evidence["best"]), epoch=short(f.evidence["best_epoch"]), end=short(f.evidence["end"])
        ),
        "The loss is judged, and what matters to you is a score that was best at the end.",
    ),
    "h-generalisation-gap": (
        N_("Training against validation"),
        lambda f: _("The accuracy ended at {train} on the training data and {val} on the validation data.").format(
            train=percent(f.evidence["train"]), val=percent(f.evidence["val"])
        ),
        N_("A model may fit its training data whole and still generalise as well as any other."),
    ),
    "h-init-loss": (
        N_("First loss"),
        _first_loss,
        N_("Class weights, focal losses and several losses at once shift it."),
    ),
    "h-metric-loss-disagree": (
        N_("Loss against metric"),
        lambda f: _(
            "The rank correlation of the falling loss with {name} is {agreement}; the metric went "
            "from {first} to {end}."
        ).format(
            name=name(f.subject),
            agreement=brief(f.evidence["agreement"]),
            first=brief(f.evidence["first"]),
            end=brief(f.evidence["end"]),
        ),
        N_("A metric that has come to rest has no order to agree with."),
    ),
    "h-plateau": (
        N_("Early plateau"),
        lambda f: _("The training loss was near its end value ({end}) from epoch {reached} of {of} on.").format(
            end=brief(f.evidence["end"]), reached=short(f.evidence["reached"]), of=short(f.evidence["of"])
        ),
        N_("That is also what a converged run looks like."),
    ),
    "h-resume-gap": (N_("Jump at resumption"), _resumed, N_("The data may have changed on purpose.")),
    "h-spikes": (N_("Spikes of the loss"), _spikes, N_("Curricula and restarts raise the loss by design.")),
    "h-still-improving": (N_("Still improving"), _improving, N_("The run may have been meant as a trial.")),
    "h-underfit": (
        N_("Poor fit"),
        lambda f: _("The training loss came to rest at {end}; a constant guess reaches {chance}.").format(
            end=short(f.evidence["end"]), chance=short(f.evidence["chance"])
        ),
        N_("Label smoothing, mixup and noisy labels give the loss a floor."),
    ),
    "h-val-below-train": (
        N_("Validation below training"),
        lambda f: _(
            "The validation loss was below the training loss in {n} of {m} epochs (at the end {end} against {train})."
        ).format(
            n=short(f.evidence["epochs"]),
            m=short(f.evidence["of"]),
            end=short(f.evidence["end"]),
            train=short(f.evidence["train_end"]),
        ),
        N_("Usual with dropout, augmentation and label smoothing."),
    ),
    "h-val-noise": (
        N_("Noise of the validation"),
        lambda f: _(
            "The last validation accuracies differ by {range}, less than two standard errors on {n} "
            "samples: which epoch is best is chance."
        ).format(range=percent(f.evidence["range"]), n=short(f.evidence["samples"])),
        ("The epochs are compared on the same samples, where differences have less noise than each accuracy alone."),
    ),
    "lr-extreme": (
        N_("Unusual learning rate"),
        _unusual_rate,
        N_("What is usual depends on the loss, the model and the optimizer."),
    ),
    "lr-schedule-collapse": (N_("Course of the learning rate"), _collapse, N_("Drops after a plateau are healthy.")),
    "missing-zero-grad": (
        N_("Gradients that were not cleared"),
        _kept,
        N_("Adding gradients up over steps may be meant, though rarely without clearing them after a step."),
    ),
    "no-weight-update": (
        N_("Weights before and after"),
        _no_update,
        "The run was meant to leave the weights alone, as one that measures speed does.",
    ),
    "optimizer-maximizes": (
        N_("An optimizer that climbs"),
        lambda f: _("{name} has maximize=True, and the training loss went from {start} to {end}.").format(
            name=name(f.subject), start=short(f.evidence["start"]), end=short(f.evidence["end"])
        ),
        N_("What is logged as a loss may be a reward."),
    ),
    "optimizer-state-nonfinite": (
        N_("Non-finite optimizer state"),
        lambda f: _(
            "{n} values of the optimizer's state are not finite, in {tensors} parameters, first {name}."
        ).format(n=short(f.evidence["values"]), tensors=short(f.evidence["tensors"]), name=name(f.subject)),
        ("The run went on from an earlier state, and the next good gradients were never to use this one."),
    ),
    "param-group-zero-lr": (
        N_("A learning rate of zero"),
        lambda f: _("{name} was zero at each of {n} looks.").format(
            name=name(f.subject), n=short(f.evidence["values"])
        ),
        N_("One way to freeze layers on purpose."),
    ),
    "param-not-moved": (
        N_("Parameters that never moved"),
        _unreached(
            N_(
                "{n} weight matrices ({share} of the elements) get a gradient and are in an optimizer, "
                "but are the same after {steps} steps: {names}."
            )
        ),
        N_("Layers may be held in place on purpose."),
    ),
    "param-zero-grad": (
        N_("Gradients of exactly zero"),
        _unreached(
            N_(
                "{n} parameters ({share} of the elements) had no gradient but zero at any of {steps} "
                "looked-at steps: {names}."
            )
        ),
        N_("Parts that these batches never used, such as an expert that was not chosen."),
    ),
    "run-no-grad": (
        N_("Parameters without gradient"),
        _unreached(
            N_("{n} parameters ({share} of the elements) had no gradient at any of {steps} looked-at steps: {names}.")
        ),
        N_("Heads whose output is no part of the loss are fine."),
    ),
    "run-unused": (
        N_("Parameters that were never used"),
        _unreached(
            N_(
                "{n} parameters ({share} of the elements) had no gradient, for their layers did not run "
                "at any of {steps} looked-at steps: {names}."
            )
        ),
        N_("A tower that is trained in another stage."),
    ),
    "run-nonfinite": (
        N_("First non-finite value"),
        _first_event,
        N_("A gradient scaler skips steps with infinite gradients."),
    ),
    "weight-decay-dominance": (
        N_("Weight decay against gradient"),
        lambda f: _(
            "In {n} of {m} weight matrices the weight decay is larger than the step it is part of "
            "({share} times, median)."
        ).format(n=short(f.evidence["matrices"]), m=short(f.evidence["of"]), share=short(f.evidence["share"])),
        N_("Near convergence decay and gradient hold each other, and the steps left are small by right."),
    ),
}
