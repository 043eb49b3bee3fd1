"""What a diagnosis does not know: what was not checked, which other causes that leaves open, and what would decide.

``NEEDS`` says of every cause which measurements bear on it. A rival of a diagnosis stays a candidate as long as one of
the measurements that would show it is missing. Where all were made and no rule spoke for it, it is ruled out, unless it
is one that no measurement here can tell from the diagnosis. ``LATE`` says by which rules experiments speak; for those
that no time was left for, the causes that would have folded the diagnosis are candidates, too.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from ..document.facts import Diagnosis, Report, Severity
from .syndromes import SYNDROMES

# part -> whether it was measured
PARTS: dict[str, Callable[[Report], bool]] = {
    "weights": lambda r: r.weights is not None,
    "activations": lambda r: r.activations is not None and r.subject.inputs == "real",
    "gradients": lambda r: r.gradients is not None,
    "curves": lambda r: r.training is not None and bool(r.training.series),
    "steps": lambda r: r.training is not None and bool(r.training.parameters),
    "loop": lambda r: r.training is not None and r.training.loop is not None,
    "data": lambda r: r.dataset is not None,
    "training data": lambda r: r.train_dataset is not None,
    "scores": lambda r: r.evaluation is not None,
    "training scores": lambda r: r.train_evaluation is not None,
    "splits": lambda r: r.splits is not None,
    "optimizer": lambda r: r.subject.optimizer is not None or (r.training is not None and bool(r.training.optimizer)),
    "loss": lambda r: r.subject.loss is not None,
    "experiments": lambda r: r.trials is not None,
    "one batch": lambda r: r.trials is not None and r.trials.done("one-batch") is not None,
    "train and eval": lambda r: r.trials is not None and r.trials.done("train-and-eval") is not None,
    "experiments in time": lambda r: not late_rules(r),
}
MORE_TIME = "more-time"
"""The trial that decides where experiments were left out for want of time."""

# experiment -> rules that it proves
LATE: dict[str, tuple[str, ...]] = {
    "prepared-otherwise": ("prepared-otherwise",),
    "gradient-by-time": ("gradient-by-time",),
    "trained-on": ("cut-short",),
    "other-ways": (
        "faster-helps",
        "slower-helps",
        "thawing-helps",
        "owning-helps",
        "freedom-helps",
        "plain-helps",
        "penalty-outweighs",
    ),
    "head-drowned": ("head-drowned",),
    "learned-anew": (
        "splits-disagree",
        "only-given-learns",
        "augmentation-hurts",
        "scale-helps",
        "fresh-copy-ahead",
        "training-labels-noisier",
        "splits-labelled-otherwise",
    ),
    "unseen-half": ("training-labels-noisier", "splits-labelled-otherwise", "training-targets-off"),
    "misfits": ("training-targets-off",),
}


def late_rules(report: Report) -> set[str]:
    """Return the rules that experiments would have fed for which no time was left."""
    late = [t.name for t in report.trials.trials if t.late] if report.trials is not None else []
    return {rule for name in late for rule in LATE.get(name, ())}


_FIT = ("curves", "steps", "scores", "training scores", "one batch")
_LABELS = ("data", "training data", "splits", "scores", "training scores")
_SIGNAL = ("weights", "activations", "gradients")

NEEDS: dict[str, tuple[str, ...]] = {
    "bad-init": (*_SIGNAL, "curves"),
    "batch-mixing": ("experiments",),
    "bn-statistics": ("activations", "data", "training data", "train and eval"),
    "causal-leak": ("experiments",),
    "class-imbalance": ("data", "training data", "scores"),
    "data-leakage": _LABELS,
    "dead-relu": ("activations", "gradients", "steps", "data"),
    "detached-graph": ("gradients", "steps", "experiments"),
    "double-softmax": ("loss", "scores"),
    "dropout-active-in-eval": ("experiments",),
    "eval-mode-training": ("loop", "train and eval"),
    "exploding-gradients": ("gradients", "steps"),
    "empty-layers": ("weights",),
    "frozen-layers": ("weights", "optimizer", "steps"),
    "gradient-clipping-too-small": ("loop", "steps"),
    "label-corruption": _LABELS,
    "label-noise": _LABELS,
    "layer-collapse": (*_SIGNAL, "data"),
    "loss-shape-broadcast": ("loss", "scores"),
    "loss-sign-flipped": ("loss", "experiments", "curves"),
    "lr-schedule-collapse": ("curves", "steps"),
    "lr-too-high": ("curves", "steps"),
    "lr-too-low": ("curves", "steps"),
    "missing-nonlinearity": ("experiments",),
    "missing-position-info": ("experiments",),
    "missing-zero-grad": ("loop",),
    "nan-in-data": ("data", "training data"),
    "no-weight-update": ("steps", "loop", "optimizer", "experiments"),
    "non-finite-weights": ("weights", "loop"),
    "numerical-instability": ("activations", "gradients", "loop"),
    "over-regularised": ("steps", *_FIT),
    "overfitting": ("curves", "scores", "training scores", "splits"),
    "params-not-in-optimizer": ("optimizer", "steps"),
    "saturated-activations": ("activations", "gradients", "data"),
    "too-little-data": ("training data", "curves"),
    "train-val-mismatch": ("data", "training data", "splits", "training scores"),
    "underfitting": _FIT,
    "undertrained": ("curves", "steps"),
    "unnormalised-input": ("data", "activations"),
    "unregistered-parameters": ("experiments", "weights"),
    "unscaled-target": ("data", "scores"),
    "unshuffled-data": ("training data",),
    "unused-parameters": ("gradients", "steps"),
    "vanishing-gradients": ("gradients", "steps"),
    "wrong-loss": ("loss", "experiments", "scores"),
    "wrong-output-activation": ("loss", "scores", "experiments"),
}
_USUAL = ("activations", "gradients", "curves", "data")


class Rivals(Struct, frozen=True):
    """Other causes with the same marks, the trial that would decide, and the rules whose findings settle it."""

    causes: tuple[str, ...]
    trial: str
    settled_by: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    """Those that no measurement here can rule out."""


RIVALS: dict[str, Rivals] = {
    "bad-init": Rivals(("lr-too-high", "exploding-gradients"), "fresh-start", ("equal-units", "h-init-loss")),
    "bn-statistics": Rivals(("train-val-mismatch", "eval-mode-training"), "renewed-statistics", ("bn-never-updated",)),
    "class-imbalance": Rivals(("underfitting", "label-corruption"), "weighted-loss"),
    "data-leakage": Rivals(
        ("train-val-mismatch",),
        "train-in-eval-mode",
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
    ),
    "dead-relu": Rivals(
        ("bad-init", "lr-too-high", "unnormalised-input"), "fresh-start", ("dead-rising",), always=("bad-init",)
    ),
    "exploding-gradients": Rivals(("lr-too-high", "bad-init"), "fresh-start"),
    "label-corruption": Rivals(
        ("train-val-mismatch",),
        "look-at-samples",
        ("d-label-mapping", "d-label-range", "d-label-constant", "d-rows-slipped", "tags-slipped", "two-measures"),
    ),
    "label-noise": Rivals(
        ("train-val-mismatch",), "look-at-samples", ("d-conflicting-labels",), always=("train-val-mismatch",)
    ),
    "layer-collapse": Rivals(("dead-relu", "lr-too-high", "detached-graph"), "fresh-start"),
    "lr-too-high": Rivals(("exploding-gradients", "unnormalised-input", "label-corruption"), "tenth-of-the-rate"),
    "lr-too-low": Rivals(("vanishing-gradients", "gradient-clipping-too-small"), "ten-times-the-rate"),
    "non-finite-weights": Rivals(("lr-too-high", "numerical-instability", "nan-in-data"), "anomaly-detection"),
    "numerical-instability": Rivals(("lr-too-high", "nan-in-data"), "anomaly-detection"),
    "no-weight-update": Rivals(
        ("lr-too-low", "detached-graph"),
        "one-step",
        ("no-weight-update", "step-without-effect", "param-group-zero-lr"),
    ),
    "over-regularised": Rivals(("underfitting", "lr-too-low"), "tenth-of-the-decay", always=("underfitting",)),
    "overfitting": Rivals(
        ("too-little-data", "train-val-mismatch", "label-noise"), "split-anew", always=("too-little-data",)
    ),
    "saturated-activations": Rivals(("bad-init", "unnormalised-input", "lr-too-high"), "fresh-start"),
    "train-val-mismatch": Rivals(("label-corruption",), "prepare-both-ways", ("d-missing-class",)),
    "underfitting": Rivals(
        ("label-noise", "lr-too-low", "label-corruption", "detached-graph"),
        "one-batch",
        ("one-batch",),
        always=("label-noise",),
    ),
    "undertrained": Rivals(("lr-too-low",), "ten-times-the-rate", always=("lr-too-low",)),
    "unshuffled-data": Rivals(("train-val-mismatch",), "shuffled"),
    "vanishing-gradients": Rivals(("bad-init", "lr-too-low"), "fresh-start", always=("bad-init",)),
}


def with_doubts(diagnoses: list[Diagnosis], report: Report) -> list[Diagnosis]:
    """Return the diagnoses with what was not checked; warnings and errors with their candidates and the trial too."""
    measured = {part for part, test in PARTS.items() if test(report)}
    named = {d.cause for d in diagnoses if d.severity is not Severity.INFO}
    late = late_rules(report)
    return [_doubted(d, measured, named, late) for d in diagnoses]


def _overlooked(diagnosis: Diagnosis, late: set[str]) -> list[str]:
    """Return the causes beneath which a diagnosis would stand if experiments had spoken that there was no time for."""
    rules = {f.rule for f in diagnosis.findings}
    causes = []
    for syndrome in SYNDROMES:
        if syndrome.cause == diagnosis.cause and rules & set(syndrome.proofs):
            break
        if late & set(syndrome.proofs) and rules & set(syndrome.folds) and syndrome.cause != diagnosis.cause:
            causes.append(syndrome.cause)
    return list(dict.fromkeys(causes))


def _doubted(diagnosis: Diagnosis, measured: set[str], named: set[str], late: set[str]) -> Diagnosis:
    rivals, rules = RIVALS.get(diagnosis.cause), {f.rule for f in diagnosis.findings}
    open_: list[str] = []
    if rivals is not None and diagnosis.severity is not Severity.INFO and not rules & set(rivals.settled_by):
        open_ = [c for c in rivals.causes if c not in named and (c in rivals.always or set(NEEDS[c]) - measured)]
    parts = [p for c in (diagnosis.cause, *open_) for p in NEEDS.get(c, _USUAL) if p not in measured]
    decided_by = rivals.trial if rivals is not None and open_ else ""
    overlooked = [c for c in _overlooked(diagnosis, late) if c not in named]
    if overlooked and diagnosis.severity is not Severity.INFO:
        parts.append("experiments in time")
        open_, decided_by = list(dict.fromkeys([*overlooked, *open_])), MORE_TIME
    return msgspec.structs.replace(
        diagnosis, unchecked=list(dict.fromkeys(parts)), candidates=open_, decided_by=decided_by
    )
