"""Findings -> diagnoses: the root cause first, its consequences folded beneath.

``SYNDROMES`` is read from top to bottom. Each entry takes the findings that prove it and folds those that follow from
it; what is left goes on to the next. A finding that no syndrome took becomes a diagnosis of its own by ``DEFAULTS``.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..document.facts import Diagnosis, Finding, Severity
from .notes import NOTES

_SERIOUS = Severity.WARNING.rank


class Syndrome(Struct, frozen=True):
    """A root cause, the rules that prove it, and the rules whose findings follow from it."""

    cause: str
    proofs: tuple[str, ...]
    folds: tuple[str, ...]
    holds: Callable[[list[Finding]], bool] = lambda proofs: True
    """Further condition on the proofs of at least severity warning."""


def _detail(key: str, value: str) -> Callable[[list[Finding]], bool]:
    return lambda proofs: any(f.detail.get(key) == value for f in proofs)


def _not_detail(key: str, value: str) -> Callable[[list[Finding]], bool]:
    return lambda proofs: all(f.detail.get(key) != value for f in proofs)


def _mostly_untouched(finding: Finding) -> bool:
    """Tell whether most of the weights that can be tested are as they were initialised."""
    return finding.rule == "w-at-default-init" and finding.evidence["untouched"] > finding.evidence["tested"] / 2


_NONFINITE = (
    "param-nonfinite",
    "act-nonfinite",
    "grad-nonfinite",
    "h-nonfinite",
    "run-nonfinite",
    "optimizer-state-nonfinite",
    "amp-scaler",
)
_STUCK = (
    "h-never-learned",
    "h-underfit",
    "o-baseline-skill",
    "constant-channel",
    "input-ignored",
    "one-batch",
    "position-unseen",
)
_SLOW = (*_STUCK, "h-still-improving", "h-plateau")
_UNMOVED = (*_SLOW, "w-at-default-init", "update-ratio", "no-weight-update", "param-not-moved")
_WILD = ("h-diverged", "h-oscillating", "h-spikes", "grad-spikes", "adam-stale-v", "lr-extreme")
_SICK_SIGNAL = (
    "dead-relu",
    "dead-rising",
    "constant-channel",
    "grad-depth-slope",
    "param-zero-grad",
    "bn-stats-mismatch",
    "w-scale",
)

# facts of the loop and of experiments come before what is inferred from sizes
SYNDROMES: tuple[Syndrome, ...] = (
    Syndrome("nan-in-data", ("d-nonfinite",), (*_NONFINITE, "bn-stats-mismatch", *_STUCK)),
    Syndrome(
        "missing-zero-grad",
        ("missing-zero-grad",),
        (*_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio", "clip-fraction", "h-overfit"),
    ),
    Syndrome(
        "loss-sign-flipped",
        ("loss-sign", "optimizer-maximizes"),
        (*_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio"),
    ),
    Syndrome("wrong-loss", ("loss-blind",), (*_UNMOVED, "param-no-grad", "run-no-grad", "param-zero-grad")),
    Syndrome("bad-init", ("equal-units",), (*_SICK_SIGNAL, *_UNMOVED)),
    Syndrome("unregistered-parameters", ("unregistered-parameters",), (*_SLOW, "w-at-default-init")),
    Syndrome("detached-graph", ("loss-detached", "param-no-grad", "run-no-grad"), _UNMOVED),
    Syndrome("params-not-in-optimizer", ("optimizer-missing-params",), _UNMOVED),
    Syndrome("no-weight-update", ("no-weight-update", "param-group-zero-lr", "param-not-moved"), _UNMOVED),
    Syndrome(
        "unnormalised-input",
        ("d-input-scale",),
        (*_NONFINITE, *_SLOW, *_SICK_SIGNAL, *_WILD, "update-ratio", "h-init-loss"),
    ),
    Syndrome("double-softmax", ("double-softmax",), _SLOW),
    Syndrome("causal-leak", ("causal-leak",), ()),
    Syndrome("batch-mixing", ("batch-coupling",), _STUCK, _detail("by", "layer")),
    Syndrome("missing-nonlinearity", ("missing-nonlinearity",), (*_SLOW, "affine-pair")),
    Syndrome("dropout-active-in-eval", ("eval-nondeterminism",), ()),
    Syndrome(
        "eval-mode-training",
        ("eval-mode-training",),
        ("bn-never-updated", "bn-stats-mismatch", "eval-train-gap", "h-overfit", "o-baseline-skill"),
    ),
    Syndrome(
        "lr-schedule-collapse", ("lr-schedule-collapse",), (*_SLOW, "w-at-default-init", "update-ratio", "lr-extreme")
    ),
    Syndrome("gradient-clipping-too-small", ("clip-fraction",), (*_SLOW, "update-ratio")),
    Syndrome(
        "lr-too-high",
        ("update-ratio", "h-diverged", "h-oscillating"),
        (*_NONFINITE, *_STUCK, *_SICK_SIGNAL, *_WILD, "h-plateau"),
        lambda proofs: any(f.rule != "update-ratio" or f.detail.get("direction") == "high" for f in proofs),
    ),
    Syndrome(
        "vanishing-gradients",
        ("grad-depth-slope",),
        (*_SLOW, "update-ratio", "w-at-default-init", "param-zero-grad", "adam-eps-floor"),
        _detail("direction", "vanishing"),
    ),
    Syndrome(
        "exploding-gradients",
        ("grad-depth-slope",),
        (*_NONFINITE, *_WILD, "h-never-learned", "o-baseline-skill", "w-scale", "h-init-loss"),
        _detail("direction", "exploding"),
    ),
    Syndrome("over-regularised", ("weight-decay-dominance",), (*_SLOW, *_SICK_SIGNAL)),
    Syndrome("non-finite-weights", ("param-nonfinite",), (*_NONFINITE, *_STUCK)),
    Syndrome("numerical-instability", _NONFINITE, _STUCK),
    Syndrome("loss-shape-broadcast", ("loss-shape",), _STUCK),
    Syndrome("bn-statistics", ("eval-train-gap", "bn-stats-mismatch", "bn-never-updated"), _STUCK),
    # dead layers pass no gradient, so the steps behind them are nothing
    Syndrome(
        "dead-relu",
        ("dead-relu", "dead-rising"),
        (*_SLOW, "update-ratio", "param-zero-grad", "adam-eps-floor"),
    ),
    Syndrome("bad-init", ("w-scale", "h-init-loss"), (*_STUCK, "param-zero-grad")),
    Syndrome("detached-graph", ("param-zero-grad",), (*_UNMOVED, "adam-eps-floor"), _not_detail("constant", "yes")),
    Syndrome(
        "no-weight-update",
        ("step-without-effect", "update-ratio", "w-at-default-init"),
        _SLOW,
        lambda proofs: any(
            f.rule == "step-without-effect" or f.detail.get("direction") == "none" or _mostly_untouched(f)
            for f in proofs
        ),
    ),
    Syndrome(
        "lr-too-low",
        ("update-ratio",),
        (*_SLOW, "w-at-default-init", "lr-extreme", "adam-eps-floor"),
        _detail("direction", "low"),
    ),
)

# rule -> the cause it stands for when nothing else explains it
DEFAULTS: dict[str, str] = {
    "act-nonfinite": "numerical-instability",
    "adam-eps-floor": "vanishing-gradients",
    "adam-stale-v": "lr-too-high",
    "affine-pair": "missing-nonlinearity",
    "amp-scaler": "numerical-instability",
    "batch-coupling": "batch-mixing",
    "bn-never-updated": "bn-statistics",
    "bn-stats-mismatch": "bn-statistics",
    "causal-leak": "causal-leak",
    "clip-fraction": "gradient-clipping-too-small",
    "constant-channel": "layer-collapse",
    "d-input-scale": "unnormalised-input",
    "d-nonfinite": "nan-in-data",
    "dead-relu": "dead-relu",
    "dead-rising": "dead-relu",
    "double-softmax": "double-softmax",
    "equal-units": "bad-init",
    "eval-mode-training": "eval-mode-training",
    "eval-nondeterminism": "dropout-active-in-eval",
    "eval-train-gap": "bn-statistics",
    "grad-depth-slope": "vanishing-gradients",
    "grad-nonfinite": "numerical-instability",
    "grad-spikes": "exploding-gradients",
    "h-best-not-last": "overfitting",
    "h-diverged": "lr-too-high",
    "h-generalisation-gap": "overfitting",
    "h-init-loss": "bad-init",
    "h-metric-loss-disagree": "loss-sign-flipped",
    "h-never-learned": "underfitting",
    "h-nonfinite": "numerical-instability",
    "h-oscillating": "lr-too-high",
    "h-overconfident": "overfitting",
    "h-overfit": "overfitting",
    "h-plateau": "underfitting",
    "h-resume-gap": "resumed-without-state",
    "h-spikes": "lr-too-high",
    "h-still-improving": "undertrained",
    "h-underfit": "underfitting",
    "h-val-below-train": "data-leakage",
    "h-val-noise": "too-little-data",
    "input-ignored": "layer-collapse",
    "loss-blind": "wrong-loss",
    "loss-detached": "detached-graph",
    "loss-shape": "loss-shape-broadcast",
    "loss-sign": "loss-sign-flipped",
    "lr-extreme": "lr-too-high",
    "lr-schedule-collapse": "lr-schedule-collapse",
    "missing-nonlinearity": "missing-nonlinearity",
    "missing-zero-grad": "missing-zero-grad",
    "no-weight-update": "no-weight-update",
    "o-baseline-skill": "underfitting",
    "one-batch": "underfitting",
    "optimizer-maximizes": "loss-sign-flipped",
    "optimizer-missing-params": "params-not-in-optimizer",
    "optimizer-state-nonfinite": "numerical-instability",
    "param-frozen": "frozen-layers",
    "param-group-zero-lr": "no-weight-update",
    "param-no-grad": "detached-graph",
    "param-nonfinite": "non-finite-weights",
    "param-not-moved": "no-weight-update",
    "param-unused": "unused-parameters",
    "param-zero-grad": "detached-graph",
    "position-unseen": "missing-position-info",
    "run-no-grad": "detached-graph",
    "run-nonfinite": "numerical-instability",
    "step-without-effect": "no-weight-update",
    "unregistered-parameters": "unregistered-parameters",
    "update-ratio": "lr-too-high",
    "w-at-default-init": "frozen-layers",
    "w-scale": "bad-init",
    "weight-decay-dominance": "over-regularised",
}

ADVICE: dict[str, str] = {
    "bad-init": "Initialise the named layers for their activation (nn.init.kaiming_normal_ for ReLU, xavier_uniform_ "
    "for tanh), or put a normalisation layer behind them.",
    "batch-mixing": "Look at the first layer named, and before it, for a view or reshape where a permute was meant, a "
    "softmax or mean over dimension 0, and batch_first of recurrent and attention layers.",
    "bn-statistics": "Recompute the running statistics: some hundred training batches in train mode without "
    "optimizer steps. Check momentum, the batch size, and that validation inputs are prepared as in training.",
    "causal-leak": "Mask the future in attention (is_causal=True), drop bidirectional layers, and pad convolutions on "
    "the left only.",
    "data-leakage": "Look for validation samples, or copies of them, among the training data, and for features "
    "made from the labels.",
    "dead-relu": "Lower the learning rate, check the biases and the scale of the inputs, or use LeakyReLU or GELU. "
    "If the model works well, the silent channels can be pruned.",
    "detached-graph": "Look between the last layer that gets a gradient and the first that gets none for detach(), "
    ".data, no_grad(), argmax, .item() or a tensor made anew.",
    "double-softmax": "Return raw scores from the model and leave softmax (or sigmoid) to the loss; apply it yourself "
    "only for display.",
    "dropout-active-in-eval": "Call F.dropout with training=self.training, make dropout layers in __init__, and pass "
    "dropout_p=0.0 to attention outside of training. Sampling on purpose is fine.",
    "eval-mode-training": "Call model.train() at the start of every epoch and model.eval() before each validation; "
    "layers that are frozen on purpose may stay in eval mode.",
    "exploding-gradients": "Clip the gradient norm, lower the learning rate, and check the initialisation; "
    "normalisation layers or residual connections stop the growth.",
    "frozen-layers": "If these layers were meant to train, set requires_grad_(True) and give them to the optimizer. "
    "A backbone that is frozen on purpose is fine.",
    "gradient-clipping-too-small": "Raise the clipping limit to about the 90th percentile of the gradient norm (see "
    "the curve), or leave clipping out and compare.",
    "layer-collapse": "Look at the layer before the named one: its output no longer depends on the input.",
    "loss-shape-broadcast": "Give outputs and targets one shape: squeeze(1) the output, or unsqueeze(1) the target.",
    "loss-sign-flipped": "Minimise the loss: remove the minus before it, or maximize=True from the optimizer.",
    "lr-schedule-collapse": "Check where scheduler.step() is called (once an epoch or once a batch) against the unit "
    "of its settings, and how much of the run is left when the rate has gone.",
    "lr-too-high": "Divide the learning rate by 10 and compare the first epochs; a warm-up or clipping helps where "
    "only the start is unstable.",
    "lr-too-low": "Multiply the learning rate by 10 and compare the first epochs; check that the scheduler does not "
    "start near zero.",
    "missing-nonlinearity": "Put an activation (ReLU, GELU, tanh) between the affine layers.",
    "missing-position-info": "Add positional embeddings or encodings to the inputs of the attention layers, or use a "
    "layer that reads in order. Where order does not matter, nothing is amiss.",
    "missing-zero-grad": "Call optimizer.zero_grad() once for each optimizer.step(), before the first backward pass "
    "that belongs to it.",
    "nan-in-data": "Drop or fill the non-finite values before training, and assert torch.isfinite in the data set.",
    "no-weight-update": "Check that optimizer.step() is called after backward() and before zero_grad(), that the "
    "optimizer was made from this very model, and that its learning rate is not zero.",
    "non-finite-weights": "Go back to the last checkpoint with finite weights. Then lower the learning rate or clip "
    "gradients; with float16 look at the loss scaling.",
    "numerical-instability": "Look at the first layer named: a logarithm or division of 0, or an overflow. "
    "torch.autograd.set_detect_anomaly(True) names the line.",
    "over-regularised": "Divide the weight decay by ten and compare; leave biases and normalisation layers out of it.",
    "overfitting": "Keep the checkpoint of the best epoch; then more data, augmentation, weight decay or dropout, or "
    "fewer epochs.",
    "params-not-in-optimizer": "Make the optimizer after the model is complete and on its device, from "
    "model.parameters(), or add the missing ones with add_param_group.",
    "resumed-without-state": "Save and load the states of optimizer, scheduler and sampler along with the weights.",
    "too-little-data": "Collect more data, or use cross-validation to make the most of what there is.",
    "underfitting": "Try to overfit one batch: if that fails too, the fault lies in the model, the loss or the "
    "labels, not in the amount of data.",
    "undertrained": "Train longer: the losses were still falling when the run ended.",
    "unnormalised-input": "Scale the inputs to mean 0 and standard deviation 1 (or to 0..1) by figures of the training "
    "set, the same for training and validation.",
    "unregistered-parameters": "Keep layers in nn.ModuleList or nn.ModuleDict and tensors in nn.Parameter, then make "
    "the optimizer anew from model.parameters().",
    "unused-parameters": "Remove the layers, or check that forward uses them; parts that serve only another mode "
    "are fine.",
    "vanishing-gradients": "Use ReLU-family activations, residual connections or normalisation layers, and an "
    "initialisation made for the activation.",
    "wrong-loss": "Use the loss of the task: CrossEntropyLoss on K > 1 raw scores for exclusive classes, "
    "BCEWithLogitsLoss on one raw score for each yes-or-no answer, NLLLoss on log-probabilities, MSELoss for numbers.",
}


def diagnose(findings: list[Finding]) -> list[Diagnosis]:
    """Join findings into diagnoses, the worst first."""
    left = list(findings)
    diagnoses: list[Diagnosis] = []
    for syndrome in SYNDROMES:
        serious = [f for f in left if f.rule in syndrome.proofs and f.severity.rank >= _SERIOUS]
        if not serious or not syndrome.holds(serious):
            continue
        proofs = [f for f in left if f.rule in syndrome.proofs]
        folded = [f for f in left if f.rule in syndrome.folds and f.rule not in syndrome.proofs]
        left = [f for f in left if f not in proofs and f not in folded]
        diagnoses.append(_diagnosis(syndrome.cause, proofs, folded))
    by_cause: dict[tuple[str, str], list[Finding]] = {}
    for finding in left:
        by_cause.setdefault((_default(finding), finding.rule if is_note(finding) else ""), []).append(finding)
    diagnoses += [_diagnosis(cause, proofs, []) for (cause, _), proofs in by_cause.items()]
    return sorted(diagnoses, key=lambda d: -d.severity.rank)


def is_note(finding: Finding) -> bool:
    """Tell whether a finding is a remark that claims no cause."""
    return finding.severity is Severity.INFO and finding.rule in NOTES


def _default(finding: Finding) -> str:
    if finding.rule == "update-ratio":
        return {"low": "lr-too-low", "none": "no-weight-update"}.get(finding.detail.get("direction", ""), "lr-too-high")
    if finding.rule == "grad-depth-slope" and finding.detail.get("direction") == "exploding":
        return "exploding-gradients"
    return DEFAULTS[finding.rule]


def _diagnosis(cause: str, proofs: list[Finding], folded: list[Finding]) -> Diagnosis:
    """Put the strongest proof first. Folded findings never make a diagnosis more severe than a proof or they are."""
    proofs = sorted(proofs, key=lambda f: -f.severity.rank)
    severity = max((f.severity for f in [*proofs, *folded]), key=lambda s: s.rank)
    return Diagnosis(
        cause=cause,
        severity=severity,
        subject=proofs[0].subject,
        findings=proofs,
        consequences=sorted(folded, key=lambda f: -f.severity.rank),
        advice=NOTES[proofs[0].rule] if all(is_note(f) for f in proofs) else ADVICE[cause],
    )
