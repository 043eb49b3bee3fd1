"""Rules on experiments: what the model does when its inputs, neighbours, modes or weights are changed on a copy."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ...document.scores import accuracy
from ...document.trials import Trial
from ..context import Context
from ..curves import is_adversarial, losses
from ..skill import skill_of
from ..thresholds import Thresholds
from .flow import is_guessing
from .training import is_poor

_INNER = 0.1  # of the departure that a whole network may have
SECTION = "trials"
_SHOWN = 8  # layers that a finding names
_ROUTED = ("moe", "expert", "router", "switch")


def _numbers(trial: Trial, *names: str) -> dict[str, float]:
    return {name: trial.numbers[name] for name in names if name in trial.numbers}


def eval_nondeterminism(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Two passes over one input in eval mode give different outputs.

    max|f(x) - f(x)| over the root mean square of the outputs, above 1e-4; rounding alone reaches some 1e-6. A warning
    where dropout (functional without ``training=self.training``, made in forward, or the ``dropout_p`` of attention),
    noise on the input, normal noise of a fixed size inside, or unnamed random numbers are the source. It only informs
    where the model samples and says how far (a variational one is meant to), unless it is a classifier whose outputs
    move by more than a hundredth and whose tensors are all registered, or keeps state between passes. Wrong for
    Monte-Carlo dropout, which is left on for its purpose, and for a noisy channel that is part of the task.
    """
    trial = report.tried("eval-twice")
    if trial is None or max(trial.numbers["change"], trial.numbers["same_seed"]) <= limits.eval_change:
        return
    source = trial.detail.get("source", "")
    classifier = report.evaluation is not None and report.evaluation.classification is not None
    mild = source == "state" or (source == "sampling" and not (classifier and trial.numbers["change"] > 1e-2))
    step = report.tried("one-step")
    # a layer that is made at each pass is drawn anew at each: what is not registered says so
    mild = mild or (source == "sampling" and step is not None and step.numbers["strangers"] > 0)
    yield Finding(
        rule="eval-nondeterminism",
        severity=Severity.INFO if mild else Severity.WARNING,
        subject="output",
        section=SECTION,
        evidence=trial.numbers,
        threshold={"change": limits.eval_change},
        detail={"source": source},
    )


def is_coupled(report: Report, limits: Thresholds) -> bool:
    """Tell whether an output was seen to depend on the other samples of its batch."""
    trial = report.tried("neighbours")
    return trial is not None and trial.numbers["change"] > max(limits.coupling, 20 * trial.numbers["noise"])


def batch_coupling(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The output for one sample depends on the other samples of its batch, in eval mode.

    Every second sample is replaced, half of them are left away, all are reordered; largest movement of an output that
    should stay, over the spread of the outputs, above 1e-3 and above 20 times what a plain repeat and rounding make. A
    ``view`` for a ``permute``, a softmax over dimension 0, a recurrent or attention layer fed (batch, time) as (time,
    batch). Not judged where the output belongs to pairs of samples or the model refuses other batches; it informs where
    the first layer that couples is a batch norm and the model works (a warning if its batches hold 2 to 8 samples: what
    is said of a sample then hangs on its few neighbours; or one each, and the skill on the data given is below that on
    the training data by 0.3 and four standard errors), or experts are routed with a capacity. ``by`` place: only
    reordering moves outputs, so rows of the batch are told apart, as by an encoding of positions added along the batch.
    A warning too where a batch norm couples them and the accuracy on the data given, in the order of their loader, is
    below that on mixed batches by 0.1 and by four standard errors. Wrong for retrieval over the batch by design.
    """
    trial = report.tried("neighbours")
    if trial is None or not is_coupled(report, limits):
        return
    first = trial.detail.get("first", "")
    by_norm = "BatchNorm" in first
    kinds = [row.kind.lower() for row in report.architecture.rows] if report.architecture is not None else []
    routed = any(word in kind for kind in kinds for word in _ROUTED)
    mild = routed or (by_norm and context.outcome_ok)
    facts = report.subject
    by_place = max(trial.numbers.get("replaced", 1.0), trial.numbers.get("fewer", 1.0)) <= limits.coupling
    few = by_norm and not routed and facts.n_samples <= limits.few_beside * facts.n_batches
    # of a sample alone a norm takes its own statistics, which may be meant so
    alone = facts.n_samples < 2 * facts.n_batches
    few = few and (not alone or _falls_behind(report, context, limits))
    lost = _lost_to_order(report, trial, limits)
    evidence = {k: v for k, v in trial.numbers.items() if not k.startswith("mixed")}
    yield Finding(
        rule="batch-coupling",
        severity=(Severity.WARNING if few or lost else Severity.INFO) if mild else Severity.ERROR,
        subject="output",
        section=SECTION,
        evidence=evidence | lost,
        threshold={"change": limits.coupling} | ({"lost": limits.order_lost} if lost else {}),
        detail={"first": first, "by": "batch norm" if by_norm else "place" if by_place else "layer"}
        | ({"alone": "yes"} if few and alone else {}),
    )


def _falls_behind(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether the model lacks far more of its skill on the data given than on the training data."""
    skill = skill_of(report, context)
    return skill is not None and skill.train - skill.given > max(2 * limits.few_gap, 4 * skill.error)


def _lost_to_order(report: Report, trial: Trial, limits: Thresholds) -> dict[str, float]:
    """Return the accuracy in the order of the loader and on mixed batches, where the first is clearly lower."""
    table = report.evaluation.classification if report.evaluation is not None else None
    read = accuracy(table.confusion) if table is not None else None
    mixed, n = trial.numbers.get("mixed"), trial.numbers.get("mixed_samples", 0.0)
    if read is None or mixed is None or not n:
        return {}
    both = (mixed * n + read.correct) / (n + read.total)
    error = math.sqrt(both * (1 - both) * (1 / n + 1 / read.total))
    if mixed - read.value <= max(limits.order_lost, 4 * error):
        return {}
    return {"as_read": read.value, "mixed": mixed}


def missing_nonlinearity(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The whole network is affine, though it has two affine layers or more that could be one.

    ‖f(a x + (1-a) x') - a f(x) - (1-a) f(x')‖ / ‖f(x) - f(x')‖ at the last affine layer, below 1e-4 in three draws, x'
    of the opposite sign and up to 400 times as large as data, so that ReLUs cannot all be on. An error, a warning where
    the model works all the same (a linear model may); it informs where the network is untrained (zero-initialised
    branches) or every inner layer is a bottleneck (a factorisation, a linear autoencoder). One affine layer is a
    regression on purpose and passes. A warning where all layers behind the first are affine in what that one puts out,
    two of them at least, to a tenth of that (inputs on a raw scale hide bends), and a trained model has a poor fit:
    inputs may multiply what lies between (the edges of a graph), and the layers still add up to one. Of whole numbers
    it is the vectors looked up for them that are mixed.
    """
    trial = report.tried("affinity")
    if trial is None:
        return
    inner = trial.numbers["departure"] >= limits.affine_departure
    if inner and not _is_affine_inside(report, context, limits, trial):
        return
    factorised = trial.numbers["collapsible"] == 0
    severity = Severity.WARNING if context.outcome_ok or inner else Severity.ERROR
    yield Finding(
        rule="missing-nonlinearity",
        severity=Severity.INFO if factorised or context.state == "untrained" else severity,
        subject="model",
        section=SECTION,
        evidence=_numbers(trial, *(("inner", "behind") if inner else ("departure",)), "affine_layers", "collapsible"),
        threshold={"departure": limits.affine_departure * (_INNER if inner else 1.0)},
        detail={"last": trial.detail.get("last", "")},
    )


def _is_affine_inside(report: Report, context: Context, limits: Thresholds, trial: Trial) -> bool:
    """Tell whether the layers behind the first are affine, in a trained model with a poor fit."""
    if context.state != "trained" or trial.numbers.get("inner", 1.0) >= _INNER * limits.affine_departure:
        return False
    train, _ = losses(report.training, limits)
    return is_guessing(report, context) or (train is not None and is_poor(train, context))


def affine_pair(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Two Linear layers in a row with nothing between them, and no narrower layer between: one would say the same.

    The tensor that enters the second is the output of the first, and the inner width is not below both outer ones. It
    informs: projections of attention and adapters are made so. A warning where three or more stand in a row, and the
    model has less than half of the skill there is on the training data that it learned: nobody means a chain.
    """
    trial = report.tried("affinity")
    if trial is None or not trial.numbers["redundant"] or trial.numbers["departure"] < limits.affine_departure:
        return
    yield Finding(
        rule="affine-pair",
        severity=Severity.WARNING if _is_chain(trial) and _is_unfit(report, context) else Severity.INFO,
        subject="model",
        section=SECTION,
        evidence=_numbers(trial, "redundant"),
        detail={"pairs": trial.detail.get("pairs", "")},
    )


def _is_chain(trial: Trial) -> bool:
    """Tell whether the second layer of a pair is the first of another."""
    pairs = [pair.split(" → ") for pair in trial.detail.get("pairs", "").split(", ") if " → " in pair]
    return bool({first for first, _ in pairs} & {second for _, second in pairs})


def _is_unfit(report: Report, context: Context) -> bool:
    skill = skill_of(report, context)
    return skill is not None and skill.train < 0.5


def unregistered_parameters(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss depends on trainable tensors that neither ``model.parameters()`` nor an optimizer or the loss holds.

    Found by walking the graph of one training loss, or of the outputs where no loss was given, to its leaves. Layers
    in a plain list or dict, or tensors that are no nn.Parameter: they are not moved with the model, not saved, and not
    trained. An error where optimizers were given and do not hold them, else a warning. Wrong where another optimizer,
    not given, owns them.
    """
    trial = report.tried("one-step") or report.tried("outputs-alone")
    if trial is None or not trial.numbers.get("strangers"):
        return
    yield Finding(
        rule="unregistered-parameters",
        severity=Severity.ERROR if report.subject.optimizer else Severity.WARNING,
        subject=trial.detail.get("where") or "model",
        section=SECTION,
        evidence=_numbers(trial, "strangers", "stranger_elements"),
        threshold={"strangers": 0},
        detail={"shapes": trial.detail.get("strangers", "")},
    )


def loss_detached(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss has no graph: no trainable parameter can get a gradient from it.

    ``loss.requires_grad`` is False though parameters are trainable: a ``detach()``, ``.data``, ``no_grad``, ``argmax``,
    ``.item()`` or a tensor made anew lies between all of them and the loss.
    """
    trial = report.tried("one-step")
    if trial is None or trial.numbers["connected"] or not trial.numbers["trainable"]:
        return
    yield Finding(
        rule="loss-detached",
        severity=Severity.ERROR,
        subject="loss",
        section=SECTION,
        evidence=_numbers(trial, "trainable"),
        threshold={"connected": 1},
    )


def step_without_effect(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """One step of the true optimizers on a copy moves no weight, though gradients arrive and the rate is not zero.

    Made with copies of model and optimizers together, a fresh optimizer state and no weight decay. An error where
    nothing at all moves; parameters that the optimizers do not hold are told of elsewhere. A rate of zero is no fault
    here: schedules end there.
    """
    trial = report.tried("one-step")
    if trial is None or "moved" not in trial.numbers:
        return
    n = trial.numbers
    if n["moved"] or not n["pushed"] or not n["held"] or n["largest_rate"] < limits.smallest_rate:
        return
    yield Finding(
        rule="step-without-effect",
        severity=Severity.ERROR,
        subject="optimizer",
        section=SECTION,
        evidence=_numbers(trial, "trainable", "pushed", "held", "moved", "largest_rate"),
        threshold={"moved": 1},
    )


def eval_train_gap(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """On the same batches the model is worse in eval mode than with batch norm in training mode, all else equal.

    The running statistics do not describe the data. An error where eval loss is above 1.5 times the other and accuracy
    falls by more than 0.1 and three standard errors of the paired difference (McNemar 1947: (b - c)/sqrt(b + c) over
    samples that only one mode gets right). Without class scores: twice the loss, worse in every one of at least four
    batches; it informs where that is less than a twentieth of what the loss fell by from weights drawn anew: of a loss
    near zero twice as much is next to nothing. Measured on training data where they were given, so that another source
    of validation data is no reason. It informs where the validation loss doubled at the last moment only, with a
    momentum below 0.5: the statistics did describe the data until the last steps moved the weights away from them, and
    the next epoch brings them back. Not so where something else than a step wrote the weights last, such as an average
    over the run.
    """
    trial = report.tried("train-and-eval")
    if trial is None or "norms_loss" not in trial.numbers or context.state == "untrained":
        return
    n, slight = trial.numbers, False
    worse = n["eval_loss"] > limits.eval_train_loss * max(n["norms_loss"], 1e-12)
    if "only_norms" in n:
        gain, lost = n["only_norms"], n["only_eval"]
        apart = (gain - lost) / max(gain + lost, 1.0) ** 0.5 > 3 and gain - lost > limits.eval_train_accuracy * n[
            "samples"
        ]
    else:
        apart = n["eval_loss"] > 2 * n["norms_loss"] and n["worse_batches"] == n["batches"] >= 4
        fresh = report.tried("fresh-start")
        whole = fresh.numbers["loss"] - n["norms_loss"] if fresh is not None else 0.0
        slight = n["eval_loss"] - n["norms_loss"] < limits.eval_train_slight * whole
    if not (worse and apart):
        return
    _, val = losses(report.training, limits)
    passing = val is not None and val.jumped_at_last and n.get("momentum", 1.0) < limits.bn_momentum
    loop = report.training.loop if report.training is not None else None
    passing = passing and not (loop is not None and any(o.rewritten for o in loop.optimizers))
    yield Finding(
        rule="eval-train-gap",
        severity=Severity.INFO if passing or slight else Severity.ERROR,
        subject="model",
        section=SECTION,
        evidence=_numbers(trial, "eval_loss", "norms_loss", "eval_accuracy", "norms_accuracy", "samples"),
        threshold={"loss_ratio": limits.eval_train_loss, "accuracy_gap": limits.eval_train_accuracy},
        detail={"layers": ", ".join(apart)} if (apart := _norms_apart(report, limits)) else {},
    )


def _norms_apart(report: Report, limits: Thresholds) -> list[str]:
    """Name the norms whose statistics lie farthest from the data, those beyond a limit, the worst first."""
    rows = report.activations.norms if report.activations is not None else []
    far = [(max(r.mean_gap / limits.bn_mean_warning, r.log_var_gap / limits.bn_var_warning), r.name) for r in rows]
    return [name for times, name in sorted(far, reverse=True)[:_SHOWN] if times >= 1]


def bn_stale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Running statistics that are those of the last batch or two: momentum of 0.5 or more, and it costs something.

    PyTorch's momentum is the weight of the new batch, other frameworks' that of the old statistics: 0.99 there is 0.01
    here. With statistics that are means over the training batches the loss in eval mode is lower by a tenth, in four of
    five batches at least, of four or more. A warning.
    """
    trial = report.tried("train-and-eval")
    if trial is None or "refreshed_loss" not in trial.numbers or context.state == "untrained":
        return
    n = trial.numbers
    lower = n["refreshed_loss"] < (1 - limits.bn_stale_gain) * n["eval_loss"]
    if n["momentum"] < limits.bn_momentum or not lower or n["stale_batches"] < 0.8 * n["batches"] or n["batches"] < 4:
        return
    yield Finding(
        rule="bn-stale",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence=_numbers(trial, "momentum", "eval_loss", "refreshed_loss", "samples"),
        threshold={"momentum": limits.bn_momentum, "gain": limits.bn_stale_gain},
    )


def dropout_too_strong(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A dropout that leaves next to nothing, in a model that did not fit its training data though it could.

    A rate of 0.8 or more; the training loss ended above 0.6 of what a constant guess (or the start) gives, or, of a
    model whose run was not recorded, the skill on its training data (accuracy above the commonest class, R²) is below
    0.8 in eval mode; and one batch is learned by heart once dropout is off. A warning. Some libraries count the share
    that is kept, PyTorch the share that is dropped.
    """
    trial, heart = report.tried("train-and-eval"), report.tried("one-batch")
    train, _ = losses(report.training, limits)
    # what works was trained, whoever did it
    if trial is None or heart is None or not (context.state == "trained" or context.outcome_ok):
        return
    if trial.numbers.get("drop", 0.0) < limits.drop_high or not heart.numbers["solved"]:
        return
    evidence = {"drop": trial.numbers["drop"]}
    if train is not None:
        if train.end <= 0.6 * (context.chance or abs(train.start)):
            return
        evidence |= {"end": train.end, "start": train.start}
    else:
        skill = skill_of(report, context)
        if skill is None or skill.train + 2 * skill.error >= limits.skill_high:
            return
        evidence |= {"skill": skill.train}
    yield Finding(
        rule="dropout-too-strong",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence=evidence,
        threshold={"drop": limits.drop_high},
    )


def input_ignored(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A trained model gives the same output whatever the input.

    Standard deviation of the outputs over samples, over their root mean square, below 1e-4 though the inputs vary. An
    error; it informs where nothing says whether the model was trained: a new head may be all zeros. In an adversarial
    run (optimizers that step apart) the model is a generator, and below 0.02 it has one sample for every noise. Below
    0.3 of what the real samples beside it have, of which it tells nothing (R² below 0.05: they are no answers to its
    inputs), it makes a few kinds of them: a warning.
    """
    trial = report.tried("inputs-permuted")
    generator = report.training is not None and is_adversarial(report.training)
    line = limits.generator_spread if generator else limits.output_spread
    if trial is None or context.state == "untrained":
        return
    real = trial.numbers.get("real_spread", 0.0)
    few = generator and _is_beside_real(report) and trial.numbers["spread"] < limits.generator_of_real * real
    ignored = trial.numbers["spread"] < line
    if not few and not ignored:
        return
    worst = Severity.ERROR if ignored else Severity.WARNING
    yield Finding(
        rule="input-ignored",
        severity=Severity.INFO if context.state == "unknown" else worst,
        subject="output",
        section=SECTION,
        evidence=_numbers(trial, "spread", "real_spread", "input_spread", "samples"),
        threshold={"spread": line if ignored else limits.generator_of_real * real},
        detail={"role": "generator" if generator else ""},
    )


def _is_beside_real(report: Report) -> bool:
    """Tell whether targets are samples of their own, which the outputs say nothing of."""
    fit = report.evaluation.regression if report.evaluation is not None else None
    return fit is not None and fit.r2 is not None and fit.r2 < 0.05


def equal_units(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """All units of a layer hold the same weights: made alike, they get the same gradient and stay alike for ever.

    Rows of a weight matrix equal to a part in a hundred thousand, and not zero: an error. A matrix that is zero
    altogether in a trained model that is no better than a guess: an error too, because nothing passes it either way.
    Zero heads and zero branches of an untrained model are made so on purpose.
    """
    trial = report.tried("equal-units")
    if trial is None:
        return
    stuck = context.state == "trained" and not context.outcome_ok
    for key in ("equal", "zero"):
        if trial.numbers[key] and (key == "equal" or stuck):
            yield Finding(
                rule="equal-units",
                severity=Severity.ERROR,
                subject=trial.detail.get(key, "").partition(", ")[0] or "model",
                section=SECTION,
                evidence={"layers": trial.numbers[key], "tested": trial.numbers["tested"]},
                threshold={"layers": 0},
                detail={"layers": trial.detail.get(key, ""), "value": key},
            )


def _content(trial: Trial) -> bool:
    """Tell whether the loss all but vanished although outputs are far from their targets' values."""
    n = trial.numbers
    return "error_share" in n and 0 <= n["end"] < 0.1 * n["start"]


def one_batch(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A trained model that does not work cannot learn even one batch of 32 samples by heart.

    At most 200 steps of Adam at two learning rates without dropout, from the weights as they are; solved at accuracy
    0.95, or a mean squared error below a tenth of the targets' variance (Karpathy 2019, A recipe for training neural
    networks). The fault then lies in model, loss or optimisation, not in the amount of data. Wrong for models too small
    for 32 samples and for contradictory labels; never judged where the model works, nor where the loss of that batch
    came down to a tenth without its targets being met: a margin asks for no more.
    """
    trial = report.tried("one-batch")
    if trial is None or trial.numbers["solved"] or context.state != "trained":
        return
    if not context.outcome_known or context.outcome_ok or _content(trial):
        return
    yield Finding(
        rule="one-batch",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence=_numbers(trial, "start", "end", "accuracy", "error_share", "samples", "tries"),
        threshold={"accuracy": 0.95, "error_share": 0.1},
    )


RULES = (
    eval_nondeterminism,
    batch_coupling,
    missing_nonlinearity,
    affine_pair,
    unregistered_parameters,
    loss_detached,
    step_without_effect,
    eval_train_gap,
    bn_stale,
    dropout_too_strong,
    input_ignored,
    equal_units,
    one_batch,
)
