"""Findings -> diagnoses: the root cause first, its consequences folded beneath.

``SYNDROMES`` is read from top to bottom. Each entry takes the findings that prove it and folds those that follow from
it; what is left goes on to the next. A finding that no syndrome took becomes a diagnosis of its own by ``DEFAULTS``.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..document.facts import Diagnosis, Finding, Severity

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


def _mostly_untouched(finding: Finding) -> bool:
    """Tell whether most of the weights that can be tested are as they were initialised."""
    return finding.rule == "w-at-default-init" and finding.evidence["untouched"] > finding.evidence["tested"] / 2


_NONFINITE = ("param-nonfinite", "act-nonfinite", "grad-nonfinite", "h-nonfinite")
_STUCK = ("h-never-learned", "o-baseline-skill", "constant-channel", "input-ignored", "one-batch", "position-unseen")
_SICK_SIGNAL = ("dead-relu", "constant-channel", "grad-depth-slope", "bn-stats-mismatch", "w-scale")

SYNDROMES: tuple[Syndrome, ...] = (
    Syndrome("nan-in-data", ("d-nonfinite",), (*_NONFINITE, "bn-stats-mismatch", *_STUCK)),
    Syndrome(
        "unnormalised-input",
        ("d-input-scale",),
        (*_NONFINITE, *_STUCK, *_SICK_SIGNAL, "h-diverged", "h-oscillating", "update-ratio"),
    ),
    Syndrome("double-softmax", ("double-softmax",), _STUCK),
    Syndrome("loss-sign-flipped", ("loss-sign",), (*_STUCK, *_SICK_SIGNAL, *_NONFINITE, "h-diverged", "update-ratio")),
    Syndrome("wrong-loss", ("loss-blind",), (*_STUCK, "w-at-default-init", "update-ratio", "param-no-grad")),
    Syndrome("bad-init", ("equal-units",), (*_STUCK, *_SICK_SIGNAL, "w-at-default-init", "update-ratio")),
    Syndrome("unregistered-parameters", ("unregistered-parameters",), (*_STUCK, "w-at-default-init")),
    Syndrome("detached-graph", ("loss-detached",), (*_STUCK, "param-no-grad", "w-at-default-init", "update-ratio")),
    Syndrome("causal-leak", ("causal-leak",), ()),
    Syndrome("batch-mixing", ("batch-coupling",), _STUCK, _detail("by", "layer")),
    Syndrome("missing-nonlinearity", ("missing-nonlinearity",), (*_STUCK, "affine-pair")),
    Syndrome("dropout-active-in-eval", ("eval-nondeterminism",), ()),
    Syndrome(
        "lr-too-high",
        ("update-ratio", "h-diverged", "h-oscillating"),
        (*_NONFINITE, *_STUCK, *_SICK_SIGNAL),
        lambda proofs: any(f.rule != "update-ratio" or f.detail.get("direction") == "high" for f in proofs),
    ),
    Syndrome(
        "vanishing-gradients",
        ("grad-depth-slope",),
        ("h-never-learned", "o-baseline-skill", "constant-channel", "update-ratio", "w-at-default-init"),
        _detail("direction", "vanishing"),
    ),
    Syndrome(
        "exploding-gradients",
        ("grad-depth-slope",),
        (*_NONFINITE, "h-never-learned", "o-baseline-skill", "w-scale"),
        _detail("direction", "exploding"),
    ),
    Syndrome("non-finite-weights", ("param-nonfinite",), ("act-nonfinite", "grad-nonfinite", "h-nonfinite", *_STUCK)),
    Syndrome("numerical-instability", ("h-nonfinite", "act-nonfinite", "grad-nonfinite"), _STUCK),
    Syndrome("detached-graph", ("param-no-grad",), (*_STUCK, "w-at-default-init", "update-ratio")),
    Syndrome("params-not-in-optimizer", ("optimizer-missing-params",), (*_STUCK, "w-at-default-init", "update-ratio")),
    Syndrome("loss-shape-broadcast", ("loss-shape",), _STUCK),
    Syndrome(
        "no-weight-update",
        ("step-without-effect", "update-ratio", "w-at-default-init"),
        _STUCK,
        lambda proofs: any(
            f.rule == "step-without-effect" or f.detail.get("direction") == "none" or _mostly_untouched(f)
            for f in proofs
        ),
    ),
    Syndrome("bn-statistics", ("eval-train-gap", "bn-stats-mismatch", "bn-never-updated"), _STUCK),
    # dead layers pass no gradient, so the steps behind them are nothing
    Syndrome("dead-relu", ("dead-relu",), ("h-never-learned", "o-baseline-skill", "constant-channel", "update-ratio")),
    Syndrome("bad-init", ("w-scale",), _STUCK),
    Syndrome(
        "lr-too-low",
        ("update-ratio",),
        (*_STUCK, "w-at-default-init"),
        _detail("direction", "low"),
    ),
)

# rule -> the cause it stands for when nothing else explains it
DEFAULTS: dict[str, str] = {
    "act-nonfinite": "numerical-instability",
    "affine-pair": "missing-nonlinearity",
    "batch-coupling": "batch-mixing",
    "causal-leak": "causal-leak",
    "equal-units": "bad-init",
    "eval-nondeterminism": "dropout-active-in-eval",
    "eval-train-gap": "bn-statistics",
    "input-ignored": "layer-collapse",
    "loss-blind": "wrong-loss",
    "loss-detached": "detached-graph",
    "loss-sign": "loss-sign-flipped",
    "missing-nonlinearity": "missing-nonlinearity",
    "one-batch": "underfitting",
    "position-unseen": "missing-position-info",
    "step-without-effect": "no-weight-update",
    "unregistered-parameters": "unregistered-parameters",
    "bn-never-updated": "bn-statistics",
    "bn-stats-mismatch": "bn-statistics",
    "constant-channel": "layer-collapse",
    "d-input-scale": "unnormalised-input",
    "d-nonfinite": "nan-in-data",
    "dead-relu": "dead-relu",
    "double-softmax": "double-softmax",
    "grad-depth-slope": "vanishing-gradients",
    "grad-nonfinite": "numerical-instability",
    "h-diverged": "lr-too-high",
    "h-never-learned": "underfitting",
    "h-nonfinite": "numerical-instability",
    "h-oscillating": "lr-too-high",
    "h-overconfident": "overfitting",
    "h-overfit": "overfitting",
    "loss-shape": "loss-shape-broadcast",
    "o-baseline-skill": "underfitting",
    "optimizer-missing-params": "params-not-in-optimizer",
    "param-frozen": "frozen-layers",
    "param-no-grad": "detached-graph",
    "param-nonfinite": "non-finite-weights",
    "param-unused": "unused-parameters",
    "update-ratio": "lr-too-high",
    "w-at-default-init": "frozen-layers",
    "w-scale": "bad-init",
}

ADVICE: dict[str, str] = {
    "batch-mixing": "Look at the first layer named, and before it, for a view or reshape where a permute was meant, a "
    "softmax or mean over dimension 0, and batch_first of recurrent and attention layers.",
    "causal-leak": "Mask the future in attention (is_causal=True), drop bidirectional layers, and pad convolutions on "
    "the left only.",
    "dropout-active-in-eval": "Call F.dropout with training=self.training, make dropout layers in __init__, and pass "
    "dropout_p=0.0 to attention outside of training. Sampling on purpose is fine.",
    "loss-sign-flipped": "Minimise the loss: remove the minus before it, or maximize=True from the optimizer.",
    "missing-nonlinearity": "Put an activation (ReLU, GELU, tanh) between the affine layers.",
    "missing-position-info": "Add positional embeddings or encodings to the inputs of the attention layers, or use a "
    "layer that reads in order. Where order does not matter, nothing is amiss.",
    "unregistered-parameters": "Keep layers in nn.ModuleList or nn.ModuleDict and tensors in nn.Parameter, then make "
    "the optimizer anew from model.parameters().",
    "wrong-loss": "Use the loss of the task: CrossEntropyLoss on K > 1 raw scores for exclusive classes, "
    "BCEWithLogitsLoss on one raw score for each yes-or-no answer, NLLLoss on log-probabilities, MSELoss for numbers.",
    "bad-init": "Initialise the named layers for their activation (nn.init.kaiming_normal_ for ReLU, xavier_uniform_ "
    "for tanh), or put a normalisation layer behind them.",
    "bn-statistics": "Recompute the running statistics: some hundred training batches in train mode without "
    "optimizer steps. Check momentum, the batch size, and that validation inputs are prepared as in training.",
    "dead-relu": "Lower the learning rate, check the biases and the scale of the inputs, or use LeakyReLU or GELU. "
    "If the model works well, the silent channels can be pruned.",
    "detached-graph": "Look between the last layer that gets a gradient and the first that gets none for detach(), "
    ".data, no_grad(), argmax, .item() or a tensor made anew.",
    "double-softmax": "Return raw scores from the model and leave softmax (or sigmoid) to the loss; apply it yourself "
    "only for display.",
    "exploding-gradients": "Clip the gradient norm, lower the learning rate, and check the initialisation; "
    "normalisation layers or residual connections stop the growth.",
    "frozen-layers": "If these layers were meant to train, set requires_grad_(True) and give them to the optimizer. "
    "A backbone that is frozen on purpose is fine.",
    "layer-collapse": "Look at the layer before the named one: its output no longer depends on the input.",
    "lr-too-high": "Divide the learning rate by 10 and compare the first epochs; a warm-up or clipping helps where "
    "only the start is unstable.",
    "lr-too-low": "Multiply the learning rate by 10 and compare the first epochs; check that the scheduler does not "
    "start near zero.",
    "nan-in-data": "Drop or fill the non-finite values before training, and assert torch.isfinite in the data set.",
    "loss-shape-broadcast": "Give outputs and targets one shape: squeeze(1) the output, or unsqueeze(1) the target.",
    "params-not-in-optimizer": "Make the optimizer after the model is complete and on its device, from "
    "model.parameters(), or add the missing ones with add_param_group.",
    "no-weight-update": "Check that optimizer.step() is called after backward() and before zero_grad(), that the "
    "optimizer was made from this very model, and that its learning rate is not zero.",
    "non-finite-weights": "Go back to the last checkpoint with finite weights. Then lower the learning rate or clip "
    "gradients; with float16 look at the loss scaling.",
    "numerical-instability": "Look at the first layer named: a logarithm or division of 0, or an overflow. "
    "torch.autograd.set_detect_anomaly(True) names the line.",
    "overfitting": "Keep the checkpoint of the best epoch; then more data, augmentation, weight decay or dropout, or "
    "fewer epochs.",
    "underfitting": "Try to overfit one batch: if that fails too, the fault lies in the model, the loss or the "
    "labels, not in the amount of data.",
    "unnormalised-input": "Scale the inputs to mean 0 and standard deviation 1 (or to 0..1) by figures of the training "
    "set, the same for training and validation.",
    "unused-parameters": "Remove the layers, or check that forward uses them; parts that serve only another mode "
    "are fine.",
    "vanishing-gradients": "Use ReLU-family activations, residual connections or normalisation layers, and an "
    "initialisation made for the activation.",
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
    by_cause: dict[str, list[Finding]] = {}
    for finding in left:
        by_cause.setdefault(_default(finding), []).append(finding)
    diagnoses += [_diagnosis(cause, proofs, []) for cause, proofs in by_cause.items()]
    return sorted(diagnoses, key=lambda d: -d.severity.rank)


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
        advice=ADVICE[cause],
    )
