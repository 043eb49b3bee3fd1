"""The words for experiments, and for the findings that rest on them."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from ..document.trials import Trial
from . import (
    words_anew,
    words_checks,
    words_claims,
    words_fit,
    words_model,
    words_preparation,
    words_rounding,
    words_start,
)
from .formats import MINUS, amount, beside, name, percent
from .language import N_, _
from .reasons import told

CAUSES: dict[str, tuple[str, str]] = {
    "batch-mixing": (
        "Samples of one batch see each other",
        "What the model says of one sample depends on its neighbours in the batch, so a score depends on how samples "
        "were grouped.",
    ),
    "causal-leak": (
        "The model sees the future that it is to predict",
        "Outputs depend on later elements of the sequence, or on the very one that is asked for: training looks "
        "excellent, and generation fails.",
    ),
    "dropout-active-in-eval": (
        "Two evaluations of one input differ",
        "In eval mode the output is still random, so every score is one draw of many, and lower than need be.",
    ),
    "loss-sign-flipped": (
        "Training climbs the loss",
        "Steps lead to worse answers: the loss is negated, or the optimizer maximises it.",
    ),
    "missing-nonlinearity": (
        "The network is affine",
        "Affine layers in a row make one affine layer: however deep, the model can draw no more than a plane.",
    ),
    "missing-position-info": (
        "The model cannot see the order of a sequence",
        "Its answer is the same for every order of the elements.",
    ),
    "unregistered-parameters": (
        "Trainable tensors that the model does not register",
        "The forward pass uses them, but model.parameters() does not list them: they are not trained, saved or moved.",
    ),
    "wrong-output-activation": (
        "The last activation cannot give the answer",
        "Its range does not hold the targets, or squeezes scores that the loss wants free.",
    ),
    "wrong-loss": (
        "The loss does not fit the task",
        "Its value says nothing, or something else than meant, about how good the answers are.",
    ),
}


def _broadcast(f: Finding) -> str:
    e = f.evidence
    if "spread_over" in e:
        return _(
            "The loss compares each target of a sample with {outputs} outputs of that sample alike, and torch warns of "
            "it: all are drawn to one answer. Together they explain {explained} of the targets' variance."
        ).format(outputs=amount(e["spread_over"]), explained=percent(max(e["explained"], 0.0)))
    if "crossed" in e:
        return _(
            "Inside the loss numbers of two sizes are broadcast, of which torch warns: it compares {times} times as "
            "many pairs as it was given."
        ).format(times=amount(e["crossed"]))
    if "weighed" in e:
        return _(
            "Inside the loss the share of each sample is multiplied by the weights of {times} samples, not by its own "
            "alone: two sizes are broadcast. What is left is the mean of the weights, as if there were none."
        ).format(times=amount(e["weighed"]))
    return _(
        "The targets themselves, given as outputs, have a loss of {right} in the shape of the "
        "outputs and of {aligned} in their own."
    ).format(right=amount(e["right"]), aligned=amount(e["aligned"]))


def _neighbours(f: Finding) -> str:
    e, first = f.evidence, f.detail.get("first", "")
    ways = [f"{_(word)} {amount(e[key])}" for key, word in _WAYS if key in e]
    place = _(" The first layer whose output moves is {first}.").format(first=first) if first else ""
    if "mixed" in e:
        place += _(" In the order of the data {read} of the answers are right, in mixed batches {mixed}.").format(
            read=percent(e["as_read"]), mixed=percent(e["mixed"])
        )
    return _("Outputs that should stay move by {ways} of their spread; a plain repeat by {noise}.{place}").format(
        ways=_(", ").join(ways), noise=amount(e["noise"]), place=place
    )


_WAYS = (
    ("replaced", N_("neighbours replaced:")),
    ("fewer", N_("fewer neighbours:")),
    ("reordered", N_("neighbours reordered:")),
)


def _sign(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("by") == "optimizer":
        return _("The first step of the optimizer leads uphill: its cosine with the gradient is {slope:+.2f}.").format(
            slope=e["slope"]
        )
    if "far" in e:
        text = _("The loss is {near}, and falls to {far} when targets are moved far away.")
        return text.format(near=amount(e["near"]), far=amount(e["far"]))
    if "alike" in e:
        text = _(
            "The loss of two outputs of a sample is {alike} where they are one, and {dealt} where the second is that "
            "of another sample: it drives apart what belongs together."
        )
        return text.format(alike=amount(e["alike"]), dealt=amount(e["dealt"]))
    if "slope_low" in e:
        text = _(
            "The loss of a sample falls by up to {most} for each unit of a reward or weight among the targets, and by "
            "{larger} with outputs ten times as large: what is rewarded becomes ever less likely."
        )
        return text.format(most=amount(-e["slope_low"]), larger=amount(-e["slope_low_10"]))
    if "turned" in e:
        text = _(
            "The loss drives column {column} of the outputs (counted from 0) from its targets: it falls where right "
            "numbers there are turned over about their mean, and the model's own have a correlation of {own:.2f}."
        )
        return text.format(column=int(e["column"]), own=e["own"])
    if "ended" in e:
        text = _("The training loss went from {began} to {ended}, below every bound, while the answers became useless.")
        return text.format(began=amount(e["began"]), ended=amount(e["ended"]))
    return _("The loss of right answers is {right}, of wrong ones {wrong}: wrong ones win.").format(
        right=amount(e["right"]), wrong=amount(e["wrong"])
    )


def _future(f: Finding) -> str:
    e = f.evidence
    if f.detail.get("kind") == "given":
        text = _(
            "One input is the targets as they stand, not moved on by one. With it mixed up over the samples the "
            "answers follow it to {followed}, and the targets to {kept}."
        )
        return text.format(followed=percent(e["followed"]), kept=percent(max(e["kept"], 0.0)))
    if f.detail.get("kind") == "own":
        return _(
            "The loss asks at each place for the token that stands there in the input, not for the next one, and the "
            "model reads one way: it learns to copy."
        )
    if f.detail.get("kind") == "next":
        text = _(
            "The loss asks for the next token at {next} of the places, and with the later half of a sequence replaced "
            "earlier outputs move by {change} of the spread of all outputs."
        )
        return text.format(next=percent(e["next"]), change=amount(e["change"]))
    text = _(
        "With elements from {cut} of {length} on replaced, earlier outputs move by {change} of the "
        "spread of all outputs."
    )
    return text.format(cut=amount(e["cut"]), length=amount(e["length"]), change=amount(e["change"]))


def _mismatch(f: Finding) -> str:
    e, kind = f.evidence, f.detail.get("kind", "")
    if kind == "raw scores":
        return _(
            "The loss takes outputs as log-probabilities, but their logsumexp is off 0 by up to "
            "{log_sum_exp_error}: it can fall without end."
        ).format(log_sum_exp_error=amount(e["log_sum_exp_error"]))
    if kind == "below zero":
        return _("The training loss came down to {lowest}; of log-probabilities it is never below 0.").format(
            lowest=amount(e["lowest"])
        )
    if kind == "several labels":
        return _(
            "Samples have {labels} true labels on average, and the loss takes classes to exclude one another."
        ).format(labels=amount(e["labels"]))
    if kind == "told apart":
        return _(
            "One output is drawn to whole numbers, and gives {right} of them; a copy that learned classes gives "
            "{apart}, and their order is no help: dealt out in another one they are learned as well."
        ).format(right=percent(max(e["right"], e["right_fresh"])), apart=percent(e["right_apart"]))
    if kind == "class numbers":
        return _("One output is drawn to the number of the class, from 0 to {last}.").format(
            last=amount(e["classes"] - 1)
        )
    if kind in ("zero as none", "zero as both"):
        text = (
            _("The loss is made for labels -1 and 1: a label of 0, as {share} of the targets are, moves no output.")
            if kind == "zero as none"
            else _("The loss is made for labels -1 and 1: a label of 0, as {share} are, does what both do together.")
        )
        return text.format(share=percent(e["zeros"]))
    if kind == "inputs as weights":
        text = _(
            "The targets are the inputs, which sum to {low} to {high} a sample; the loss takes them for shares of "
            "classes, and is the same when one number is added to all outputs."
        )
        return text.format(low=amount(e["low"]), high=amount(e["high"]))
    return _("Targets lie between {min} and {max}; the loss is made for 0 to 1.").format(
        min=amount(e["min"]), max=amount(e["max"])
    )


def _range(f: Finding) -> str:
    e, kind = f.evidence, f.detail.get("kind", "")
    if kind == "constant":
        return _("Behind layer {layer} the output is {reached} whatever comes in.").format(
            layer=f.detail.get("layer", ""), reached=amount(e["reached"])
        )
    if kind == "shares":
        return _("The outputs of a sample always sum to 1; the targets of {apart} of the samples do not.").format(
            apart=percent(e["apart"])
        )
    if kind == "other axis":
        text = _("Probabilities sum to 1 along dimension {dim} of the outputs, which is not that of the classes.")
        return text.format(dim=amount(e["dim"]))
    if kind == "one side":
        text = _(
            "Whatever its layers put out, the answers go from {low} to {high}; the loss takes 0 for undecided, and "
            "wants answers on both sides of it."
        )
        return text.format(low=amount(e["low"]), high=amount(e["high"]))
    ends = {"low": beside(e["low"], [e["high"]]), "high": beside(e["high"], [e["low"]])}
    reach = _("The last activation reaches from {low} to {high}").format(**ends)
    if kind == "scores":
        return _("{reach}; the loss applies softmax to it and wants free scores.").format(reach=reach)
    return _("{reach}; {outside} of the targets, which go from {target_min} to {target_max}, lie outside.").format(
        reach=reach,
        outside=percent(e["outside"]),
        target_min=amount(e["target_min"]),
        target_max=amount(e["target_max"]),
    )


def _gap(f: Finding) -> str:
    e = f.evidence
    share = ""
    if "eval_accuracy" in e:
        share = _(", accuracy {eval_accuracy} against {norms_accuracy}").format(
            eval_accuracy=percent(e["eval_accuracy"]), norms_accuracy=percent(e["norms_accuracy"])
        )
    return _(
        "On {samples} samples: loss {eval_loss} in eval mode against {norms_loss} with batch norm in "
        "training mode{share}."
    ).format(
        samples=amount(e["samples"]), eval_loss=amount(e["eval_loss"]), norms_loss=amount(e["norms_loss"]), share=share
    )


def _equal(f: Finding) -> str:
    what = _("zero altogether") if f.detail.get("value") == "zero" else _("the same in every unit")
    return _("The weights of {layers} of {tested} layers are {what}: {names}.").format(
        layers=amount(f.evidence["layers"]),
        tested=amount(f.evidence["tested"]),
        what=what,
        names=f.detail.get("layers", f.subject),
    )


def _by_heart(f: Finding) -> str:
    e = f.evidence
    result = _("accuracy {accuracy}").format(accuracy=percent(e["accuracy"])) if "accuracy" in e else ""
    if "error_share" in e:
        result = _("an error of {error_share} of the targets' variance").format(error_share=amount(e["error_share"]))
    return _("After 200 steps on {samples} samples a copy reached {result} (loss from {start} to {end}).").format(
        samples=amount(e["samples"]), result=result, start=amount(e["start"]), end=amount(e["end"])
    )


# rule -> name, sentence, when the rule is wrong
def _mixture(f: Finding) -> str:
    last = f.detail.get("last", "")
    if "inner" in f.evidence:
        text = _(
            "Of what the first affine layers put out, the {behind} behind them, up to {last}, make an affine function "
            "within {departure}."
        )
        return text.format(behind=amount(f.evidence["behind"]), last=last, departure=amount(f.evidence["inner"]))
    text = _(
        "Over {affine_layers} affine layers, up to {last}, the output of a mixture is the mixture of "
        "the outputs within {departure}."
    )
    layers, departure = f.evidence["affine_layers"], f.evidence["departure"]
    return text.format(affine_layers=amount(layers), last=last, departure=amount(departure))


RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "affine-pair": (
        "Affine layers in a row",
        lambda f: _("Nothing stands between {pairs}: one layer would say the same.").format(
            pairs=f.detail.get("pairs", "")
        ),
        "Projections of attention and adapters are made so.",
    ),
    "batch-coupling": ("Neighbours in the batch", _neighbours, "Models that retrieve over the batch are made so."),
    "causal-leak": (
        "Change of later elements",
        _future,
        "A prefix may be read in both directions on purpose.",
    ),
    "equal-units": ("Units that are all alike", _equal, "Weights may be zero by pruning."),
    "eval-nondeterminism": (
        "Two passes in eval mode",
        lambda f: _(
            "One input evaluated twice: outputs differ by up to {change} of their size ({same_seed} with "
            "the same random numbers). Source: {source}."
        ).format(
            change=amount(f.evidence["change"]),
            same_seed=amount(f.evidence["same_seed"]),
            source=told(f.detail.get("source") or "unknown"),
        ),
        "Dropout and sampling may be left on for their purpose (Monte-Carlo dropout, variational models).",
    ),
    "eval-train-gap": (
        "Eval mode against training mode",
        _gap,
        (
            "The batches given are of another source than the training data, and the model is meant "
            "for that of the training data."
        ),
    ),
    "input-ignored": (
        "Output against input",
        lambda f: _(
            "Over {samples} samples the outputs vary by {spread} of their size, though the inputs vary."
        ).format(samples=amount(f.evidence["samples"]), spread=amount(f.evidence["spread"])),
        ("The inputs given vary less than those of the task, so that one answer is right for all of them."),
    ),
    "loss-blind": (
        "Loss of right and of wrong answers",
        lambda f: _("The loss is {right} for right answers and {wrong} for wrong ones, and no output moves it.").format(
            right=amount(f.evidence["right"]), wrong=amount(f.evidence["wrong"])
        ),
        "The loss that was given here is not the one that was trained with.",
    ),
    "loss-broadcast": (
        "Loss and shapes",
        _broadcast,
        ("The loss that was given here is not the one that was trained with, or the training loop reshapes before it."),
    ),
    "loss-mismatch": ("Loss against outputs and targets", _mismatch, "Classes may be grades in order."),
    "output-range": ("Range of the last activation", _range, "The model may be made to clip."),
    "probabilities-as-scores": (
        "Probabilities into a loss of scores",
        lambda f: _("The last activation is a {activation} whatever comes in, and {loss} applies one itself.").format(
            activation=f.detail.get("activation", "softmax"), loss=f.detail.get("loss") or _("the loss")
        ),
        (
            "The loss that was given here is not the one that was trained with, or the loop takes the "
            "logarithm between them."
        ),
    ),
    "loss-detached": (
        "Graph of the loss",
        lambda f: _("The loss has no gradient function, so none of {trainable} parameters can learn.").format(
            trainable=amount(f.evidence["trainable"])
        ),
        "The loop writes gradients by itself, as a rule of learning without a backward pass does.",
    ),
    "loss-sign": ("Direction of training", _sign, "A score that is to be maximised may be given as a loss on purpose."),
    "missing-nonlinearity": ("Departure from an affine function", _mixture, "A linear model may be meant."),
    "one-batch": ("One batch learned by heart", _by_heart, "The model may be too small for a batch."),
    "step-without-effect": (
        "One step of the optimizer",
        lambda f: _(
            "Of {pushed} parameters with a gradient not one moved in a step at a learning rate of {largest_rate}."
        ).format(pushed=amount(f.evidence["pushed"]), largest_rate=amount(f.evidence["largest_rate"])),
        ("The optimizer moves weights only now and then, or on a call of its own, which one step does not show."),
    ),
    "unregistered-parameters": (
        "Leaves of the graph",
        lambda f: _(
            "The loss depends on {strangers} trainable tensors ({stranger_elements} elements; {shapes}) "
            "that the model does not list."
        ).format(
            strangers=amount(f.evidence["strangers"]),
            stranger_elements=amount(f.evidence["stranger_elements"]),
            shapes=f.detail.get("shapes", ""),
        ),
        "Another optimizer that was not given may hold them.",
    ),
}


def titles() -> dict[str, str]:
    """Name each experiment as a reader would ask it."""
    return {
        "affinity": _("Is the network more than an affine map?"),
        "equal-units": _("Do the units of each layer differ?"),
        "eval-twice": _("Do two evaluations agree?"),
        "fresh-start": _("What is the loss before any training?"),
        "head-range": _("Which range can the last activation reach?"),
        "inputs-permuted": _("Does the output follow the input?"),
        "later-tokens": _("Is the future hidden?"),
        "loss-of-answers": _("Does the loss prefer right answers?"),
        "loss-shifted": _("Does the loss apply softmax itself?"),
        "neighbours": _("Is a sample judged by itself?"),
        "one-batch": _("Can one batch be learned by heart?"),
        "one-step": _("Does one step move every weight, downhill?"),
        "shuffled-labels": _("Do true labels teach more than shuffled ones?"),
        "tokens-reordered": _("Does order matter to the model?"),
        "train-and-eval": _("Do training and evaluation mode agree?"),
        **words_model.titles(),
        **words_fit.titles(),
        **words_rounding.titles(),
        **words_start.titles(),
        **words_claims.titles(),
        **words_anew.titles(),
        **words_preparation.titles(),
        **words_checks.titles(),
    }


def outcome(trial: Trial) -> str:
    """Say in a sentence what an experiment found; of one unknown here, its numbers."""
    try:
        return _OUTCOMES[trial.name](trial.numbers, trial.detail)
    except KeyError:
        return ", ".join(f"{key} {amount(value)}" for key, value in trial.numbers.items())


Numbers = dict[str, float]
Detail = dict[str, str]


def _twice(n: Numbers, d: Detail) -> str:
    if not max(n["change"], n["same_seed"]):
        return _("Yes, to the bit.")
    text = _("They differ by up to {change} of the size of the outputs; source: {source}.")
    return text.format(change=amount(n["change"]), source=d.get("source", ""))


def _apart(n: Numbers, d: Detail) -> str:
    text = _("Outputs that should stay move by {change} of their spread when neighbours change (rounding: {noise}).")
    return text.format(change=amount(n["change"]), noise=amount(n["noise"]))


def _stepped(n: Numbers, d: Detail) -> str:
    if not n["connected"]:
        return _("No: the loss has no graph.")
    text = _("{pushed} of {trainable} trainable parameters get a gradient").format(
        pushed=amount(n["pushed"]), trainable=amount(n["trainable"])
    )
    if "moved" in n:
        text += _("; ") + _("{moved} move").format(moved=amount(n["moved"]))
        text += _(" (the learning rate has come down to 0)") if not n.get("largest_rate", 1.0) else ""
    if "slope" in n:
        way = _("downhill") if n["slope"] < 0 else _("uphill")
        text += _("; ") + _("the step leads {way} (cosine with the gradient {slope})").format(
            way=way, slope=f"{n['slope']:+.2f}".replace("-", MINUS)
        )
    return text + _(".")


def _preferred(n: Numbers, d: Detail) -> str:
    return _("Loss {right} for right answers, {wrong} for wrong ones.").format(
        right=amount(n["right"]), wrong=amount(n["wrong"])
    )


def _modes(n: Numbers, d: Detail) -> str:
    parts = [(_("evaluation"), "eval"), (_("batch norm in training mode"), "norms"), (_("training"), "train")]
    said = []
    for label, key in parts:
        if f"{key}_loss" in n:
            share = f" ({percent(n[f'{key}_accuracy'])})" if f"{key}_accuracy" in n else ""
            said.append(f"{label} {amount(n[f'{key}_loss'])}{share}")
    return _("Loss on the same samples: {values}.").format(values=_("; ").join(said))


def _learned(n: Numbers, d: Detail) -> str:
    reached = percent(n["accuracy"]) if "accuracy" in n else ""
    reached = reached or _("an error of {share} of the variance").format(share=amount(n.get("error_share")))
    text = _("Yes: {reached} after {steps} steps.") if n["solved"] else _("No: {reached} after {steps} steps.")
    return text.format(reached=reached, steps=amount(n["steps"]))


def _started(n: Numbers, d: Detail) -> str:
    text = _("{loss} with weights drawn anew").format(loss=amount(n["loss"]))
    if "constant" in n:
        text += _("; ") + _("the best constant answer has {constant}").format(constant=amount(n["constant"]))
    return text + _(".")


def _units(n: Numbers, d: Detail) -> str:
    return _("{equal} of {tested} layers repeat one unit, {zero} are zero.").format(
        equal=amount(n["equal"]), tested=amount(n["tested"]), zero=amount(n["zero"])
    )


def _affine(n: Numbers, d: Detail) -> str:
    return _("It departs from an affine map by {departure} (0 = affine) over {layers} affine layers.").format(
        departure=amount(n["departure"]), layers=amount(n["affine_layers"])
    )


def _reach(n: Numbers, d: Detail) -> str:
    text = _("From {low} to {high} when layer {layer} puts out {drive} either way.")
    return text.format(
        low=beside(n["low"], [n["high"]]),
        high=beside(n["high"], [n["low"]]),
        layer=name(d.get("layer", "")),
        drive=amount(n["drive"]),
    )


_OUTCOMES: dict[str, Callable[[Numbers, Detail], str]] = {
    "affinity": _affine,
    "equal-units": _units,
    "eval-twice": _twice,
    "fresh-start": _started,
    "head-range": _reach,
    "inputs-permuted": lambda n, d: _("Over samples the outputs vary by {spread} of their size.").format(
        spread=amount(n["spread"])
    ),
    "later-tokens": lambda n, d: _(
        "Earlier outputs move by {change} of the spread of the outputs, later ones by {later}."
    ).format(change=amount(n["change"]), later=amount(n["later_change"])),
    "loss-of-answers": _preferred,
    "loss-shifted": lambda n, d: _("Loss {loss}; with 1 added to all outputs {shifted}.").format(
        loss=amount(n["loss"]), shifted=amount(n["shifted"])
    ),
    "neighbours": _apart,
    "one-batch": _learned,
    "one-step": _stepped,
    "shuffled-labels": lambda n, d: _(
        "After 100 steps from new weights: {true} right with true labels, {shuffled} with shuffled ones."
    ).format(true=percent(n["true_labels"]), shuffled=percent(n["shuffled"])),
    "tokens-reordered": lambda n, d: _("Permuting positions moves the outputs by {change} of their spread.").format(
        change=amount(n["change"])
    ),
    "train-and-eval": _modes,
    **words_model.OUTCOMES,
    **words_fit.OUTCOMES,
    **words_rounding.OUTCOMES,
    **words_start.OUTCOMES,
    **words_claims.OUTCOMES,
    **words_anew.OUTCOMES,
    **words_preparation.OUTCOMES,
    **words_checks.OUTCOMES,
}
