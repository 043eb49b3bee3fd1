"""On which side of its limit a number raises a finding: from the limit on, or below it.

``BELOW`` names the limits that a number falls short of, ``UNTOLD`` those that are no line of this kind (a number that
counts either way from zero, one of two lines of which the other was crossed); all others are reached from below.
"""

from __future__ import annotations

BELOW: dict[str, str] = {
    "adam-eps-lost": "eps",
    "affine-pair": "departure",
    "attention-collapse": "entropy",
    "batch-drift": "p",
    "bn-negative-var": "lowest",
    "bn-small-batch": "batch_size",
    "channel-redundancy": "share",
    "clip-fraction": "factor",
    "cut-short": "loss score",
    "d-class-imbalance": "recall",
    "d-input-scale": "std_low",
    "d-label-constant": "classes",
    "d-label-range": "min",
    "d-label-signal": "z",
    "d-labels-drawn": "surer",
    "d-labels-unrelated": "z",
    "d-maps-moved": "beside",
    "d-shortcut": "second",
    "double-softmax": "row_sum_error",
    "embedding-collapsed": "spread",
    "grad-depth-slope": "ratio",
    "grad-flow-share": "share",
    "gradient-by-time": "ratio",
    "h-metric-loss-disagree": "agreement",
    "h-never-learned": "fall",
    "h-val-noise": "range",
    "head-drowned": "worth",
    "idle-block": "change",
    "input-ignored": "spread",
    "latent-collapse": "divergence",
    "loss-broadcast": "explained",
    "lr-extreme": "low",
    "lr-schedule-collapse": "rate",
    "missing-nonlinearity": "departure",
    "mode-collapse": "apart covered",
    "norms-off-at-start": "low",
    "no-weight-update": "of_step",
    "o-confused-pair": "p",
    "o-inverted": "auc",
    "o-per-class": "of_mean",
    "o-regression-slope": "low",
    "o-skill-lost": "kept",
    "one-batch": "accuracy",
    "optimizer-state-missing": "with_state",
    "output-range": "elsewhere",
    "places-smoothed": "apart_last own",
    "position-unseen": "change shifted",
    "probabilities-as-scores": "row_sum_error",
    "q-weight-sqnr": "decibels",
    "rnn-spectral-radius": "low",
    "spatial-concentration": "concentration",
    "splits-disagree": "kept",
    "step-without-effect": "moved",
    "sure-and-wrong": "surer",
    "too-narrow": "r2 accuracy second",
    "training-targets-off": "told",
    "tuned-from-draws": "rate",
    "two-measures": "left",
    "update-ratio": "low",
    "w-filter-smoothness": "deviations",
    "w-scale": "low",
    "weights-rest": "moved",
    "weights-shrunk": "scale",
}
UNTOLD: dict[str, str] = {
    "amp-scaler": "scale",
    "bn-small-batch": "values",
    "causal-leak": "change",
    "d-constant-feature": "std",
    "d-filled-in": "share",
    "d-mean-target": "told",
    "d-rows-slipped": "own",
    "d-shortcut": "gap",
    "dead-rising": "last",
    "few-samples": "samples",
    "frozen-at-init": "error",
    "gradient-partial": "difference",
    "h-init-loss": "ratio",
    "loss-blind": "pull",
    "loss-broadcast": "difference",
    "loss-detached": "connected",
    "loss-sign": "slope",
    "loss-wants": "low",
    "measured-otherwise": "way",
    "no-weight-update": "changed",
    "o-baseline-skill": "baseline",
    "o-regression-bias": "of_std",
    "o-regression-spread": "correlation",
    "param-group-zero-lr": "rate",
    "rank-one": "participation",
    "signal-by-depth": "slope ratio",
    "too-narrow": "error_share skill",
    "two-measures": "times",
    "w-rank-one": "rank",
    "weights-set-back": "changed",
}
EITHER = frozenset(
    "bn-stats-mismatch d-input-scale d-label-range d-target-scale d-target-shift d-train-val-shift "  # noqa: SIM905
    "embedding-collapsed grad-spikes lr-extreme norms-off-at-start o-regression-slope precision-lost "
    "rnn-spectral-radius update-ratio w-scale".split()
)
"""Rules of which one of the lines is enough; of all others each line was crossed."""


def sign(rule: str, key: str, limit: float, direction: str = "") -> str:
    """Return how a number stands to the limit where the rule fires: '≥', '>', '<', or '' where that is not known.

    ``direction`` is what the finding tells of itself: a ratio of gradients is too small, or too large.
    """
    if key in UNTOLD.get(rule, "").split():
        return ""
    if rule == "grad-depth-slope" and direction == "exploding":
        return "≥" if key == "ratio" else ""
    return "<" if key in BELOW.get(rule, "").split() else "≥" if limit else ">"
