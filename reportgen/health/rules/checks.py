"""Rules on the gradient and the loss held against what they ought to be: experiments that need no threshold of size."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..curves import is_adversarial, losses
from ..skill import skill_of
from ..thresholds import Thresholds
from .claims import wants_logarithms

SECTION = "trials"
_SLIGHT = 0.05  # of what parts wrong answers from right ones


def _is_poor(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether a trained model has a poor fit: a guess on the data given, or far from its training data."""
    if context.state != "trained" or not context.outcome_known:
        return False
    skill = skill_of(report, context)
    return not context.outcome_ok or (skill is not None and skill.train < limits.poor_r2)


def gradient_partial(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The backward pass does not give the whole derivative of the loss: one of several paths is cut.

    For the largest tensors of a copy in float64: central differences of the loss along their own gradient against what
    the backward pass says. The relative difference is 0 to many digits where nothing is cut; from a tenth on a
    ``detach``, ``.data``, ``no_grad``, a rounding or a re-wrapped tensor lies on a path (a state that is detached at
    every time step, say), although every parameter gets a gradient. A warning where the fit is poor (no better than a
    constant guess, or skill below 0.7 on the training data); else it informs. Wrong for gradients that are stopped or
    replaced on purpose: straight-through estimates, target networks, truncated backpropagation through time; not asked
    where a function of the model hands them on turned round (domain adversarial training).
    """
    trial = report.tried("gradient-check")
    if trial is None or not trial.numbers["off"]:
        return
    yield Finding(
        rule="gradient-partial",
        severity=Severity.WARNING if _is_poor(report, context, limits) else Severity.INFO,
        subject=trial.detail.get("where", "") or "model",
        section=SECTION,
        evidence={key: trial.numbers[key] for key in ("worst", "off", "checked")},
        threshold={"difference": 0.1},
        detail={"names": trial.detail.get("names", "")},
    )


def loss_crossed(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss compares every output with every target: shapes are broadcast inside it.

    Second differences of the loss by an output and a target, each moved by a standard deviation: those of different
    samples are as large as those of one and the same (more than a fifth; a loss of pairs has none, one that takes a
    root or a correlation over the batch a sixteenth of 16 samples), and between two outputs there are none, as there
    are in losses that compare two sets of samples on purpose; nor is it lower where the outputs are the targets than
    where all are their mean, as it is in a distance of two sets. An error: (N, 1) meets (N,) somewhere. So it is where
    the columns of whole numbers beside the targets do that, weights or masks: a loss that is divided by the sum of its
    weights has a sixteenth there, too. Of several columns of whole numbers, such as an action and its reward, any one
    in which the loss is bent, where both of two samples meet the other's output. Of targets that are yes or no more
    than a half is asked for: a loss that weights its classes by how often they occur in the batch has up to a fifth.
    """
    trial = report.tried("loss-of-pairs")
    if trial is None:
        return
    n = trial.numbers
    pairs = [(n[f"{which}own"], n[f"{which}other"]) for which in ("", "beside_") if f"{which}own" in n]
    line = limits.flips_crossed if n.get("flipped") else limits.pairs_crossed
    crossed = [(own, other) for own, other in pairs if 0 < line * own < other]
    if not crossed or n["outputs"] > 0.05 * crossed[0][1]:
        return
    own, other = crossed[0]
    if n.get("met", math.inf) < n.get("level", -math.inf):
        return
    yield Finding(
        rule="loss-crossed",
        severity=Severity.ERROR,
        subject="loss",
        section=SECTION,
        evidence={"own": own, "other": other, "samples": n["samples"]},
        threshold={"share": line},
        detail={"output": trial.detail.get("output", ""), "target": trial.detail.get("target", "")},
    )


def loss_wants(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss wants outputs of another kind than the last activation gives: logarithms, or positive numbers.

    Logarithms: of outputs made up from the targets, their logarithms have the lowest loss (lower than the targets
    themselves and than logarithms half a unit off), the last activation cannot go below 0, and more than a tenth of the
    targets (a fiftieth, where the model does not work) are below 1, whose logarithm it cannot say: an error where the
    model does not work, else a warning. Of a loss named as Poisson's, a model that does not work by its outputs as they
    are, and that can say nothing below 0, is a warning whatever the targets: it was meant to give rates.
    Positive numbers: the loss of -1 is not a finite number, while the last activation goes below 0: an error where
    values that are not finite came up in the run, else it informs.
    """
    trial, head = report.tried("loss-domain"), report.tried("head-range")
    if trial is None or head is None:
        return
    n, low = trial.numbers, head.numbers["low"]
    kind = ""
    out_of_reach = n.get("below_one", 0.0) > (0.1 if context.outcome_ok else 0.02)
    fit = report.evaluation.regression if report.evaluation is not None else None
    told = fit is not None and fit.r2 is not None and fit.r2 > 0
    rates = "poisson" in (report.subject.loss or "").lower() and fit is not None and not told
    if low > -0.05 and (out_of_reach or rates) and wants_logarithms(report):
        kind = "logarithms"
    if not n["negative"] and low < -1:
        kind = "positive"
    if not kind:
        return
    broken = report.training is not None and any(e.kind == "nonfinite" for e in report.training.events)
    if kind == "logarithms":
        severity = Severity.WARNING if context.outcome_ok or not out_of_reach else Severity.ERROR
    else:
        severity = Severity.ERROR if broken else Severity.INFO
    yield Finding(
        rule="loss-wants",
        severity=severity,
        subject="output",
        section=SECTION,
        evidence={"low": low} | {key: n[key] for key in ("equal", "logarithm", "below_one") if key in n},
        threshold={"low": 0.0},
        detail={"kind": kind, "layer": head.detail.get("layer", "")},
    )


def penalty_outweighs(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A penalty on the weights inside the loss holds the fit back more than it helps.

    The loss of fixed outputs depends on the weights, and the penalty (the loss of answers that are right and certain)
    is a tenth of it or more; the run had come to rest, and 120 steps on a copy without the penalty take the rest of the
    loss, on the data given, down by 15 % or more, and by a twentieth at least of what parts wrong answers from right
    ones: of a loss near zero half is next to nothing. A warning. A penalty that helps makes that part rise without it.
    """
    trial, ways = report.tried("loss-penalty"), report.tried("other-ways")
    train, _ = losses(report.training, limits)
    if trial is None or ways is None or train is None or not trial.numbers["depends"]:
        return
    penalty = trial.numbers.get("penalty", 0.0)
    before, same = ways.numbers["before"], ways.numbers["same"]
    rest = before - penalty
    if penalty < limits.penalty_share * before or rest <= 0 or context.state != "trained":
        return
    third = train.smooth[-max(2, len(train.smooth) // 3) :]
    level = third[0] - third[-1] < max(0.05 * max(train.drop, 0.0), 2 * train.noise)
    answers = report.tried("loss-of-answers")
    whole = answers.numbers["wrong"] - answers.numbers["right"] if answers is not None else 0.0
    if not level or before - same < max(limits.penalty_gain * rest, _SLIGHT * whole):
        return
    yield Finding(
        rule="penalty-outweighs",
        severity=Severity.WARNING,
        subject="loss",
        section=SECTION,
        evidence={"penalty": penalty, "before": rest, "after": same - penalty, "steps": ways.numbers["steps"]},
        threshold={"share": limits.penalty_share, "gain": limits.penalty_gain},
    )


def embedding_collapsed(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A loss that needs no targets, or only pulls together, was met by giving all samples the same output.

    The loss is the same whatever the targets are, so it compares views of one sample; and outputs of different samples
    vary by less than a twentieth of their size, or point the same way (length of their mean direction above 0.98),
    while of a copy with weights drawn anew they lie at least five times as far apart. Or the loss looks at targets, but
    is as low as now, or lower, wherever all outputs are moved to one and the same place, whatever the targets are
    there, as one of pairs that belong together alone; and outputs vary by less than a twentieth of what those of that
    copy do. Or two inputs are views of one sample, the loss is nearly as low for views of different ones, by less than
    a quarter of what it fell by from weights drawn anew, and outputs point more alike than those of these, as above, or
    vary less. A warning: nothing keeps the outputs apart (negatives, a stopped gradient with a predictor, a variance
    term). Wrong for losses that look at the input alone and want one answer for all.
    """
    trial = report.tried("loss-without-target")
    adversarial = report.training is not None and is_adversarial(report.training)
    if trial is None or "spread" not in trial.numbers or context.state != "trained" or adversarial:
        return
    n = trial.numbers
    pulled = n.get("together", 0.0) > 0
    if pulled and n["width"] >= limits.embedding_spread * n["fresh_width"]:
        return
    near = n["spread"] < limits.embedding_spread and n["spread"] < n["fresh_spread"] / 5
    aligned = 1 - n["direction"] < limits.embedding_angle and 1 - n["direction"] < (1 - n["fresh_direction"]) / 5
    strangers = _are_strangers_as_good(n, limits)
    if pulled or near or aligned or strangers:
        yield Finding(
            rule="embedding-collapsed",
            severity=Severity.WARNING,
            subject="output",
            section=SECTION,
            evidence={key: n[key] for key in ("spread", "direction", "fresh_spread", "fresh_direction", "samples")}
            | ({"width": n["width"], "fresh_width": n["fresh_width"]} if pulled else {})
            | ({key: n[key] for key in ("views", "strangers", "fresh_views")} if strangers else {}),
            threshold={"spread": limits.embedding_spread, "direction": 1 - limits.embedding_angle},
            detail={"kind": "together" if pulled else "strangers" if strangers else "views"},
        )


def _are_strangers_as_good(n: dict[str, float], limits: Thresholds) -> bool:
    if "strangers" not in n:
        return False
    fell, told = n["fresh_views"] - n["views"], n["strangers"] - n["views"]
    nearer = 1 - n["direction"] < (1 - n["fresh_direction"]) / 5 or n["spread"] < n["fresh_spread"] / 5
    return nearer and fell > 0 and told < limits.embedding_told * fell


def head_drowned(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """What one of several heads says is nearly all that the loss feels, and the others learn little beside it.

    The loss moves the parameters that the heads share at least 100 times as much through one head as through all
    others. What those others say of the data given (the loss with their rows dealt out among the samples, less the
    loss as it is) is worth less than half of what it is for a fresh copy that learned from them alone, 300 steps, and
    the difference exceeds five deviations between deals. A warning. The targets of the strong head are the cause where
    it says numbers far from 1 (root mean square above 10), else the weights of the losses. Wrong where the others are
    not meant to be learned.
    """
    trial = report.tried("head-drowned")
    if trial is None or context.state != "trained":
        return
    n = trial.numbers
    much = n["worth_alone"] > limits.drowned_errors * n["noise"]
    ahead = n["worth_alone"] - n["worth"] > limits.drowned_errors * n["noise"]
    if not much or not ahead or n["worth"] >= limits.drowned_worth * n["worth_alone"]:
        return
    yield Finding(
        rule="head-drowned",
        severity=Severity.WARNING,
        subject="loss",
        section=SECTION,
        evidence={key: n[key] for key in ("worth", "worth_alone", "noise", "pull", "size", "samples")},
        threshold={"worth": limits.drowned_worth * n["worth_alone"]},
        detail={"source": "targets" if n["size"] > limits.drowned_size else "weights"},
    )


RULES = (embedding_collapsed, gradient_partial, head_drowned, loss_crossed, loss_wants, penalty_outweighs)
