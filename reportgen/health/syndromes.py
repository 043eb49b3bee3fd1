"""Which findings prove a root cause, and which follow from it: a table that ``causes`` reads from top to bottom."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..document.facts import Finding
from .proofs import (
    by_loop,
    detail,
    fits_by_batch,
    is_share_of_batch,
    mostly_untouched,
    not_detail,
    placed_along_batch,
)


class Syndrome(Struct, frozen=True):
    """A root cause, the rules that prove it, and the rules whose findings follow from it."""

    cause: str
    proofs: tuple[str, ...]
    folds: tuple[str, ...]
    holds: Callable[[list[Finding]], bool] = lambda proofs: True
    """Further condition on the proofs of at least severity warning."""


_NONFINITE = (
    "param-nonfinite",
    "act-nonfinite",
    "grad-nonfinite",
    "h-nonfinite",
    "run-nonfinite",
    "optimizer-state-nonfinite",
    "amp-scaler",
)
_WAYS = ("faster-helps", "slower-helps", "thawing-helps", "owning-helps", "freedom-helps")
_STUCK = (
    "fresh-copy-ahead",
    "scale-helps",
    "gradient-by-time",
    "h-never-learned",
    "h-underfit",
    "o-baseline-skill",
    "constant-channel",
    "input-ignored",
    "one-batch",
    "position-unseen",
    "sure-and-wrong",
    "too-narrow",
    "o-below-neighbours",
    *_WAYS,
)
_SLOW = (*_STUCK, "cut-short", "h-still-improving", "h-plateau", "d-class-imbalance")
_UNMOVED = (*_SLOW, "w-at-default-init", "update-ratio", "no-weight-update", "param-not-moved")
_WILD = ("h-diverged", "h-oscillating", "h-spikes", "grad-spikes", "adam-stale-v", "lr-extreme")
_DEAD = ("dead-relu", "dead-smooth", "saturation", "attention-collapse", "constant-channel")
_PUSHED = ("dead-relu", "dead-rising", "dead-smooth", "saturation")
_SICK_SIGNAL = (
    *_DEAD,
    "dead-rising",
    "grad-depth-slope",
    "param-zero-grad",
    "bn-stats-mismatch",
    "w-scale",
)

_BATCH_NORM = ("eval-train-gap", "bn-stats-mismatch", "bn-never-updated", "bn-stale")
_FAR_APART = ("h-overfit", "h-overconfident", "h-generalisation-gap", "o-skill-lost", "o-outdone")
_BAD_LABELS = (
    "d-label-mapping",
    "o-inverted",
    "d-rows-slipped",
    "tags-slipped",
    "two-measures",
    "shifted-twice",
    "d-labels-unrelated",
    "d-maps-unrelated",
    "d-maps-moved",
    "only-given-learns",
    "d-label-range",
    "d-label-constant",
    "d-label-signal",
)
_NOISY = (
    "fitted-labels-noisier",
    "training-labels-noisier",
    "splits-labelled-otherwise",
    "training-targets-off",
    "d-maps-noisier",
    "d-labels-drawn",
)
_HINTS = ("d-label-signal", "d-label-noise", *_NOISY)
_CLIMBED = ("o-inverted", "d-class-imbalance", *_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio")
# where next to no gradient comes, decay is larger than the steps whatever its strength
_NO_PULL = ("weight-decay-dominance", "weights-shrunk", "w-scale")

_AUGMENTED = (
    "augmentation-torn",
    "d-maps-moved",
    "d-labels-unrelated",
    "d-maps-unrelated",
    "d-label-noise",
    "only-given-learns",
    "augmentation-hurts",
)

# facts of the loop and of experiments come before what is inferred from sizes
SYNDROMES: tuple[Syndrome, ...] = (
    # samples of NaN are copies of one another, whatever their labels
    Syndrome(
        "nan-in-data",
        ("d-nonfinite",),
        (*_NONFINITE, "bn-stats-mismatch", "d-conflicting-labels", "d-duplicates", "loss-wants", *_STUCK),
    ),
    Syndrome(
        "non-finite-weights",
        ("param-nonfinite",),
        (*_NONFINITE, *_STUCK, *_BATCH_NORM, "norms-off-at-start", "measured-otherwise"),
        detail("of", "statistics as given"),
    ),
    # a run that was finite to its end did not break the weights
    Syndrome(
        "non-finite-weights",
        ("param-nonfinite",),
        (*_NONFINITE, *_STUCK, *_BATCH_NORM, "measured-otherwise"),
        detail("when", "after the run"),
    ),
    Syndrome("bn-statistics", ("param-nonfinite",), (*_NONFINITE, *_STUCK), detail("of", "running statistics")),
    # such as the statistics of a norm written by hand
    Syndrome("non-finite-weights", ("param-nonfinite",), (*_NONFINITE, *_STUCK, *_WILD), detail("of", "buffers")),
    Syndrome(
        "checkpoint-not-loaded",
        ("weights-set-back",),
        (*_UNMOVED, "measured-otherwise", "bn-never-updated", "bn-stats-mismatch", "eval-train-gap"),
    ),
    # what is spared as if it were learned is slow to learn, and that is all
    Syndrome(
        "checkpoint-not-loaded",
        ("tuned-from-draws",),
        (*_SLOW, "w-at-default-init", "update-ratio", "adam-eps-floor", "few-samples"),
    ),
    # what is kept in eval mode at every step is frozen by intent, and was to come from somewhere
    Syndrome(
        "checkpoint-not-loaded",
        ("frozen-at-init",),
        (*_UNMOVED, "param-frozen", "bn-never-updated", "bn-stats-mismatch", "eval-mode-training"),
        detail("kept", "eval"),
    ),
    # else, whether they were to be loaded or to be trained cannot be seen: that they are frozen can
    Syndrome(
        "frozen-layers",
        ("frozen-at-init", "flag-on-module"),
        (*_UNMOVED, "param-frozen", "bn-never-updated", "bn-stats-mismatch", "d-label-signal"),
    ),
    Syndrome(
        "missing-zero-grad",
        ("missing-zero-grad",),
        (*_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio", "clip-fraction", "h-overfit", "attention-logits"),
    ),
    # all answers are drawn to one, and a model that was taught nothing cannot tell what the labels hold
    Syndrome(
        "loss-shape-broadcast",
        ("loss-crossed", "loss-broadcast", "loss-shape"),
        (*_STUCK, *_PUSHED, "d-target-scale", "d-label-signal", "loss-sign"),
    ),
    Syndrome(
        "loss-sign-flipped",
        ("loss-sign", "optimizer-maximizes"),
        _CLIMBED,
        not_detail("kind", "sunk"),
    ),
    Syndrome("wrong-loss", ("loss-blind",), (*_UNMOVED, *_NO_PULL, "param-no-grad", "run-no-grad", "param-zero-grad")),
    # a loss that half of the labels say nothing to ends at one answer for all
    Syndrome(
        "wrong-loss",
        ("loss-mismatch",),
        (*_SLOW, *_NONFINITE, *_WILD, *_SICK_SIGNAL, *_BAD_LABELS, "update-ratio", "embedding-collapsed", "loss-sign"),
        lambda proofs: any(f.detail.get("kind", "").startswith("zero as") for f in proofs),
    ),
    Syndrome("bad-init", ("equal-units", "zero-start"), (*_SICK_SIGNAL, *_UNMOVED, *_NO_PULL, "h-init-loss")),
    Syndrome("unregistered-parameters", ("unregistered-parameters",), (*_SLOW, "w-at-default-init")),
    Syndrome("unused-parameters", ("param-no-grad", "run-no-grad"), (*_UNMOVED, "run-unused"), detail("by", "unused")),
    Syndrome(
        "detached-graph", ("loss-detached", "param-no-grad", "run-no-grad", "gradient-partial"), (*_UNMOVED, *_NO_PULL)
    ),
    Syndrome("unused-parameters", ("run-unused",), (*_SLOW, "param-unused", "update-ratio")),
    # what stands behind a layer that never moves from zero gets a gradient of zero
    Syndrome("params-not-in-optimizer", ("optimizer-missing-params",), (*_UNMOVED, "param-zero-grad")),
    Syndrome("no-weight-update", ("no-weight-update", "param-group-zero-lr", "param-not-moved"), _UNMOVED, by_loop),
    # large inputs may have brought it about, but double precision bears them
    Syndrome(
        "numerical-instability",
        ("precision-lost",),
        (*_NONFINITE, *_STUCK, *_WILD, "d-input-scale", "d-dtype", "param-zero-grad"),
        not_detail("by", "input"),
    ),
    # seen before any weight moved, so all that came of the run follows from it
    Syndrome(
        "bn-statistics",
        ("norms-off-at-start",),
        (
            *_NONFINITE,
            *_SLOW,
            *_SICK_SIGNAL,
            *_WILD,
            "update-ratio",
            "h-init-loss",
            "eval-train-gap",
            "measured-otherwise",
        ),
    ),
    # where the signal fades by the architecture, decay is all that is left to move the weights
    Syndrome(
        "vanishing-gradients",
        ("scale-helps",),
        (*_NO_PULL, *_UNMOVED, *_DEAD, *_SLOW, *_SICK_SIGNAL, "rank-one", "adam-eps-floor", "update-ratio"),
        detail("direction", "fade"),
    ),
    # steps are large beside weights that decay took to next to nothing
    Syndrome("over-regularised", ("weights-shrunk",), (*_SLOW, *_SICK_SIGNAL, "adam-eps-floor", "update-ratio")),
    # by the batch the model works, so its inputs and its fit are as they should be
    Syndrome(
        "bn-statistics",
        ("bn-never-updated", "eval-train-gap"),
        (*_STUCK, *_FAR_APART, "d-input-scale", "measured-otherwise", "bn-stats-mismatch", "bn-stale"),
        lambda proofs: fits_by_batch(proofs) and any(f.rule == "bn-never-updated" for f in proofs),
    ),
    Syndrome(
        "unnormalised-input",
        ("d-input-scale", "d-dtype"),
        (*_NONFINITE, *_UNMOVED, *_SICK_SIGNAL, *_WILD, "h-init-loss", "precision-lost", "d-label-signal"),
    ),
    Syndrome("double-softmax", ("double-softmax", "probabilities-as-scores"), (*_SLOW, "d-class-imbalance")),
    Syndrome("double-softmax", ("loss-of-shares",), _SLOW, detail("kind", "softened")),
    # nothing comes through, so that no unit in front of it is pulled anywhere
    Syndrome(
        "layer-collapse",
        ("norm-of-one",),
        (*_UNMOVED, *_WILD, *_SICK_SIGNAL, "output-range", "layer-norm-noise", "bias-extreme", "input-ignored"),
    ),
    # what sums over time sees what is to come
    Syndrome("wrong-output-activation", ("output-range",), (*_UNMOVED, "causal-leak"), detail("kind", "other axis")),
    Syndrome(
        "wrong-output-activation",
        ("output-range", "loss-wants"),
        (*_UNMOVED, *_NONFINITE, *_NO_PULL, "dead-relu", "dead-rising", "loss-blind", "param-zero-grad"),
    ),
    # positions that were told along the batch are those of samples
    Syndrome("missing-position-info", ("position-unseen", "batch-coupling"), (*_STUCK, *_DEAD), placed_along_batch),
    # shares over the samples in place of the classes are no probabilities to a loss either
    # splits whose batches are of other sizes are answered in other company
    Syndrome(
        "batch-mixing",
        ("batch-coupling",),
        ("loss-mismatch", *_STUCK, *_FAR_APART, "measured-otherwise"),
        is_share_of_batch,
    ),
    Syndrome(
        "batch-mixing",
        ("batch-coupling",),
        (*_STUCK, *_FAR_APART, "measured-otherwise", "d-label-signal"),
        not_detail("by", "batch norm"),
    ),
    Syndrome(
        "wrong-loss",
        ("loss-mismatch", "loss-of-shares"),
        (*_SLOW, *_NONFINITE, *_WILD, *_DEAD, "update-ratio", "loss-sign"),
    ),
    # a loss that fits the targets, and sank all the same
    Syndrome("loss-sign-flipped", ("loss-sign",), _CLIMBED),
    # labels renumbered look the same where one class is another one changed so: either way the splits differ
    Syndrome(
        "train-val-mismatch",
        ("prepared-otherwise",),
        (
            *_BAD_LABELS,
            *_STUCK,
            *_FAR_APART,
            "d-train-val-shift",
            "d-splits-apart",
            "d-target-shift",
            "splits-disagree",
            "augmentation-hurts",
            "bn-stats-mismatch",
            "few-samples",
            *_NOISY,
        ),
    ),
    # what training all of it finds in the labels is there, though neighbours do not see it
    Syndrome("frozen-layers", ("thawing-helps",), (*_SLOW, "param-frozen", "d-label-signal", "one-batch")),
    Syndrome(
        "label-noise",
        ("asked-otherwise",),
        (*_SLOW, *_FAR_APART, *_HINTS, *_BAD_LABELS, "sure-and-wrong", "few-samples"),
        detail("kind", "in part"),
    ),
    Syndrome("label-corruption", ("asked-otherwise",), (*_SLOW, *_FAR_APART, *_HINTS, *_BAD_LABELS, "few-samples")),
    # seen as they went into the model, so whatever speaks of labels or inputs elsewhere follows
    Syndrome(
        "wrong-augmentation",
        ("inputs-mixed",),
        (
            *_SLOW,
            *_FAR_APART,
            *_HINTS,
            *_BAD_LABELS,
            "augmentation-hurts",
            "eval-train-gap",
            "bn-stats-mismatch",
            "splits-disagree",
        ),
    ),
    Syndrome(
        "wrong-augmentation",
        _AUGMENTED,
        (
            *_SLOW,
            *_FAR_APART,
            *_HINTS,
            "d-train-val-shift",
            "bn-stats-mismatch",
            "eval-train-gap",
            "splits-disagree",
            "d-conflicting-labels",
            "d-class-imbalance",
        ),
        detail("redrawn", "yes"),
    ),
    # of maps that tell nothing the commonest class is named everywhere
    Syndrome(
        "label-corruption",
        ("d-maps-unrelated",),
        (*_SLOW, *_FAR_APART, *_HINTS, "d-class-imbalance", "dead-relu", "dead-rising"),
    ),
    # neighbours are asked for numbers of any offset, but may miss what such a model could not learn either
    Syndrome(
        "unscaled-target",
        ("d-target-scale",),
        (*_SLOW, *_NONFINITE, *_WILD, *_SICK_SIGNAL, "update-ratio", "d-label-signal"),
    ),
    Syndrome("label-corruption", _BAD_LABELS, (*_SLOW, *_FAR_APART, *_HINTS, *_DEAD, "dead-rising", "few-samples")),
    Syndrome(
        "data-leakage",
        (
            "leakage",
            "near-leakage",
            "d-groups-cut",
            "d-windows-overlap",
            "d-shortcut",
            "d-filled-in",
            "d-target-averaged",
            "d-mean-target",
        ),
        (
            "h-val-below-train",
            "d-near-duplicates",
            "training-labels-noisier",
            "fitted-labels-noisier",
            "training-targets-off",
        ),
    ),
    Syndrome(
        "train-val-mismatch",
        ("d-train-val-shift", "d-missing-class", "d-splits-apart", "d-target-shift", "splits-disagree"),
        (*_STUCK, *_FAR_APART, "few-samples", "bn-stats-mismatch", *_NOISY),
    ),
    # batches of one kind push the biases of every layer one way until their units are shut, or stuck at an end
    Syndrome(
        "unshuffled-data",
        ("d-order",),
        (
            *_SLOW,
            *_FAR_APART,
            *_WILD,
            *_PUSHED,
            *_HINTS,
            "bn-stats-mismatch",
            "o-below-neighbours",
            "fresh-copy-ahead",
            "h-metric-loss-disagree",
        ),
    ),
    # a class that the other split has more of was renamed in this one
    Syndrome(
        "label-noise",
        ("d-label-noise", *_NOISY),
        (*_FAR_APART, "few-samples", "sure-and-wrong", "d-class-imbalance"),
        lambda proofs: any(f.rule == "splits-labelled-otherwise" for f in proofs),
    ),
    # wrong labels that are learned by heart hold nowhere else
    Syndrome("label-noise", ("d-label-noise", *_NOISY), (*_FAR_APART, "few-samples", "sure-and-wrong")),
    Syndrome(
        "unscaled-target", ("head-drowned",), (*_SLOW, *_NONFINITE, *_WILD, *_SICK_SIGNAL), detail("source", "targets")
    ),
    # the vector of each sample is where its answer is learned by heart
    Syndrome("overfitting", ("code-of-each-sample",), (*_FAR_APART, "few-samples", "o-below-neighbours")),
    Syndrome("too-little-data", ("few-samples",), ("d-class-imbalance", "h-val-noise", "o-per-class")),
    # weights that fit in training mode are held back by their statistics alone, whatever seems to help in eval mode
    Syndrome("bn-statistics", _BATCH_NORM, (*_STUCK, "measured-otherwise"), fits_by_batch),
    Syndrome("causal-leak", ("causal-leak",), ()),
    Syndrome("missing-position-info", ("position-unseen",), (*_STUCK, *_DEAD)),
    Syndrome("posterior-collapse", ("latent-collapse",), (*_SLOW, *_PUSHED, "mode-collapse")),
    Syndrome(
        "posterior-collapse",
        ("input-ignored",),
        (*_DEAD, "param-zero-grad", "mode-collapse"),
        detail("role", "generator"),
    ),
    # answers that are lost to the order of the samples are not lost to samples that are new
    Syndrome(
        "batch-mixing",
        ("batch-coupling",),
        (*_FAR_APART, "measured-otherwise"),
        lambda proofs: any("mixed" in f.evidence for f in proofs),
    ),
    # a norm that takes the statistics of one sample was not trained with these
    Syndrome(
        "batch-mixing",
        ("batch-coupling",),
        (*_FAR_APART, "measured-otherwise", "o-below-neighbours"),
        detail("alone", "yes"),
    ),
    Syndrome(
        "missing-nonlinearity",
        ("missing-nonlinearity",),
        (*_SLOW, *_FAR_APART, "affine-pair", "w-scale", "weights-shrunk"),
    ),
    Syndrome("missing-nonlinearity", ("affine-pair",), (*_SLOW, *_FAR_APART)),
    Syndrome("dropout-active-in-eval", ("eval-nondeterminism",), ("measured-otherwise",)),
    Syndrome(
        "dropout-active-in-eval", ("eval-mode-training",), ("measured-otherwise",), detail("direction", "dropout")
    ),
    Syndrome(
        "eval-mode-training",
        ("eval-mode-training",),
        (
            "bn-never-updated",
            "bn-stats-mismatch",
            "eval-train-gap",
            "h-init-loss",
            "h-overfit",
            "o-below-neighbours",
            "o-baseline-skill",
            "measured-otherwise",
        ),
    ),
    Syndrome(
        "lr-schedule-collapse",
        ("lr-schedule-collapse", "plain-helps"),
        (*_SLOW, "w-at-default-init", "update-ratio", "lr-extreme"),
        lambda proofs: any(f.detail.get("reason") != "penalty" for f in proofs),
    ),
    Syndrome(
        "gradient-clipping-too-small",
        ("clip-fraction", "gradients-clamped"),
        (*_UNMOVED, "d-class-imbalance"),
    ),
    Syndrome(
        "exploding-gradients",
        ("signal-by-depth", "h-init-loss"),
        (*_NONFINITE, *_STUCK, *_SICK_SIGNAL, *_WILD, "update-ratio", "h-plateau", "no-weight-update"),
        lambda proofs: any(f.detail.get("by") in ("architecture", "time") for f in proofs),
    ),
    Syndrome(
        "bad-init",
        ("signal-by-depth", "init-offset", "h-init-loss"),
        (*_NONFINITE, *_STUCK, *_SICK_SIGNAL, *_WILD, "update-ratio", "h-plateau", "no-weight-update"),
        lambda proofs: any(f.rule != "h-init-loss" or f.detail.get("by") == "weights" for f in proofs),
    ),
    # seen at the first step, so rate and gradients are as small as the signal is
    Syndrome("bad-init", ("fresh-copy-ahead",), (*_UNMOVED, *_SICK_SIGNAL, *_NO_PULL), detail("held", "start")),
    # steps that are too long take the loss up before it breaks
    Syndrome(
        "numerical-instability",
        ("run-nonfinite",),
        (*_NONFINITE, *_STUCK, *_WILD, "update-ratio"),
        detail("calm", "yes"),
    ),
    # the answer stands where no gradient comes: a higher rate helps by luck
    Syndrome("vanishing-gradients", ("gradient-by-time",), (*_SLOW, *_FAR_APART), detail("answer", "start")),
    Syndrome("frozen-layers", ("thawing-helps",), (*_SLOW, "param-frozen")),
    Syndrome("params-not-in-optimizer", ("owning-helps",), (*_SLOW, "optimizer-missing-params")),
    Syndrome(
        "lr-too-high",
        ("update-ratio", "h-diverged", "h-oscillating", "slower-helps"),
        (*_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "no-weight-update", "rank-one", "h-overfit"),
        lambda proofs: any(f.rule != "update-ratio" or f.detail.get("direction") == "high" for f in proofs),
    ),
    Syndrome(
        "vanishing-gradients",
        ("grad-depth-slope",),
        # what no gradient reaches stays the contraction that it was drawn as
        (*_UNMOVED, *_NO_PULL, "param-zero-grad", "adam-eps-floor", "rank-one"),
        detail("direction", "vanishing"),
    ),
    Syndrome(
        "exploding-gradients",
        ("scale-helps",),
        (*_NONFINITE, *_WILD, *_UNMOVED, *_DEAD, "signal-by-depth", "w-scale", "h-init-loss"),
        detail("direction", "grow"),
    ),
    Syndrome("vanishing-gradients", ("scale-helps",), (*_UNMOVED, *_DEAD, "rank-one", "adam-eps-floor")),
    Syndrome(
        "layer-collapse",
        ("rank-one", "embedding-collapsed", "places-smoothed"),
        (*_SLOW, *_DEAD, "bn-stats-mismatch", "w-scale"),
    ),
    Syndrome(
        "exploding-gradients",
        ("grad-depth-slope",),
        (*_NONFINITE, *_WILD, *_STUCK, "w-scale", "h-init-loss"),
        detail("direction", "exploding"),
    ),
    # what is pulled to zero loses what it knew at first
    Syndrome(
        "over-regularised",
        ("plain-helps", "weights-shrunk"),
        (*_SLOW, *_SICK_SIGNAL, "adam-eps-floor", "update-ratio", "h-overfit", "h-best-not-last"),
        lambda proofs: any(f.rule == "weights-shrunk" or f.detail.get("reason") == "penalty" for f in proofs),
    ),
    Syndrome(
        "over-regularised",
        (
            "weight-decay-dominance",
            "weights-shrunk",
            "dropout-too-strong",
            "freedom-helps",
            "plain-helps",
            "penalty-outweighs",
        ),
        (*_SLOW, *_SICK_SIGNAL, "adam-eps-floor", "update-ratio"),
    ),
    Syndrome("numerical-instability", ("adam-eps-lost",), (*_NONFINITE, *_STUCK, "mixed-dtypes")),
    # a first value that went wrong outside of the weights came into them by the next step
    Syndrome(
        "numerical-instability", ("run-nonfinite",), (*_NONFINITE, *_STUCK), lambda p: p[0].detail["part"] != "weight"
    ),
    Syndrome("non-finite-weights", ("param-nonfinite",), (*_NONFINITE, *_STUCK)),
    Syndrome("numerical-instability", _NONFINITE, _STUCK),
    Syndrome("bn-statistics", _BATCH_NORM, (*_STUCK, "measured-otherwise")),
    Syndrome("checkpoint-not-loaded", ("measured-otherwise",), (*_STUCK, "w-at-default-init")),
    Syndrome(
        "bad-init",
        ("w-scale", "h-init-loss"),
        (*_SLOW, *_DEAD, *_NO_PULL, "dead-rising", "update-ratio", "adam-eps-floor", "param-zero-grad"),
        lambda proofs: any(f.detail.get("begun") != "usual" for f in proofs),
    ),
    # each step of Adam moves a weight by about the rate
    Syndrome(
        "lr-too-high", ("lr-extreme",), (*_SLOW, *_WILD, *_SICK_SIGNAL, "update-ratio"), detail("direction", "high")
    ),
    # weights that began as usual, and that steps carried out of every bound
    Syndrome(
        "lr-too-high",
        ("w-scale",),
        (*_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio", "no-weight-update"),
        detail("direction", "high"),
    ),
    # dead layers pass no gradient, so the steps behind them are nothing
    Syndrome(
        "dead-relu",
        ("dead-relu", "dead-rising", "dead-smooth"),
        (*_UNMOVED, "param-zero-grad", "adam-eps-floor"),
    ),
    Syndrome(
        "lr-too-high",
        ("attention-collapse",),
        (*_SLOW, *_WILD, *_SICK_SIGNAL, "attention-logits", "lr-extreme", "update-ratio", "param-zero-grad"),
        detail("driven", "steps"),
    ),
    Syndrome(
        "saturated-activations",
        ("saturation", "attention-collapse", "attention-scale"),
        (*_UNMOVED, "param-zero-grad", "adam-eps-floor"),
    ),
    # no layer is narrow: what made one number of many was no layer
    Syndrome("layer-collapse", ("too-narrow",), (*_SLOW, "bn-stats-mismatch", "w-scale"), detail("layer", "none")),
    Syndrome("detached-graph", ("param-zero-grad",), (*_UNMOVED, "adam-eps-floor"), not_detail("constant", "yes")),
    Syndrome(
        "no-weight-update",
        ("no-weight-update", "step-without-effect", "update-ratio", "w-at-default-init"),
        (*_SLOW, "lr-extreme"),
        lambda proofs: any(
            f.rule in ("no-weight-update", "step-without-effect")
            or f.detail.get("direction") == "none"
            or mostly_untouched(f)
            for f in proofs
        ),
    ),
    Syndrome(
        "lr-too-low",
        ("update-ratio", "faster-helps", "w-at-default-init"),
        (*_SLOW, "lr-extreme", "adam-eps-floor"),
        lambda proofs: any(
            f.rule == "faster-helps" or f.detail.get("direction") == "low" or f.detail.get("moved") == "yes"
            for f in proofs
        ),
    ),
    Syndrome("vanishing-gradients", ("gradient-by-time",), (*_SLOW, *_FAR_APART)),
    # of a model that something else keeps from learning the commonest classes are all that there is
    Syndrome("class-imbalance", ("d-class-imbalance",), ("o-baseline-skill", "one-batch")),
    # a copy that goes on learning is not held by anything but the end, and neither is a loss in full fall
    Syndrome("undertrained", ("cut-short", "h-still-improving"), ("fresh-copy-ahead", "o-below-neighbours")),
    Syndrome("bad-init", ("fresh-copy-ahead",), (*_SLOW, *_NO_PULL), detail("held", "weights")),
    Syndrome("lr-too-low", ("fresh-copy-ahead",), (*_SLOW, "lr-extreme"), detail("held", "rate")),
    # weights that no fresh start has, and that were carried there
    Syndrome("lr-too-high", ("fresh-copy-ahead",), (*_SLOW, *_SICK_SIGNAL, *_WILD), detail("held", "steps")),
    # a model that knows its training data did learn
    Syndrome("overfitting", ("o-skill-lost",), ("o-baseline-skill", "o-outdone", "h-overfit", "h-overconfident")),
)
