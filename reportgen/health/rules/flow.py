"""Rules on how signals fare on a long way: forward from layer to layer at the first step, and back through time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import prod
from statistics import median

from ...document.facts import Finding, Report, Severity
from ...document.history import History, LayerRun
from ..context import Context
from ..curves import finite, losses
from ..robust import theil_sen
from ..thresholds import Thresholds
from .training import h_diverged, h_nonfinite, is_lost, noted

_LEAST = 64  # entries of a matrix whose scale can be told
_DEFAULT = 1 / math.sqrt(3)  # rms times the root of the fan-in, as PyTorch draws matrices
_AFFINE = ("Linear", "Conv1d", "Conv2d", "Conv3d")
_PLAIN = ("RNN", "RNNCell")
_BOUND = 10.0  # of a state; tanh and gates keep it below 1
_STRETCH = 1.05  # orthogonal and identity matrices have 1, PyTorch's own 0.58
_GATED = ("LSTM", "GRU", "LSTMCell", "GRUCell")


def signal_by_depth(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """At the first step of the run outputs grow exponentially from layer to layer: the initialisation is too large.

    log10 of the root mean square of what each Linear or convolution puts out, in order of execution: the robust slope
    is above 0.3 decades a layer over five layers at least, and the last is more than 100 times the first; or it is
    above 0.1 and the last is more than 10 000 times the first, as in deep residual nets. Healthy models lie at -0.19 to
    0.15. Where a copy with weights drawn anew has a first loss like that of the run (within a factor of three), or no
    matrix began larger than usual initialisations make it, it is the architecture that amplifies. A warning where the
    run diverged, stopped being finite or ended with a poor fit; otherwise it informs. (Glorot and Bengio 2010; He et
    al. 2015.)
    """
    history = report.training
    rows, sizes = _sizes_at_first(history)
    if history is None or len(sizes) < limits.gradient_layers:
        return
    slope, ratio = theil_sen([math.log10(size) for size in sizes]), sizes[-1] / sizes[0]
    steep = slope > limits.signal_slope and ratio > limits.signal_ratio
    if not steep and (slope <= limits.signal_slope / 3 or ratio <= limits.signal_ratio**2):
        return
    broken = any(True for rule in (h_diverged, h_nonfinite) for _ in rule(report, context, limits))
    train, _ = losses(history, limits)
    bad = broken or (train is not None and is_lost(train, context))
    yield noted(
        "signal-by-depth",
        Severity.WARNING if bad else Severity.INFO,
        rows[0].name,
        {"slope": slope, "ratio": ratio, "layers": len(sizes), "first": sizes[0], "last": sizes[-1]},
        {"slope": limits.signal_slope, "ratio": limits.signal_ratio},
        by="architecture" if same_anew(report) or _drawn_as_usual(history) else "weights",
    )


def _sizes_at_first(history: History | None) -> tuple[list[LayerRun], list[float]]:
    """Return the affine layers and the size of what each put out at the first step; no sizes where one is unknown."""
    rows = [row for row in history.layers if row.kind in _AFFINE] if history is not None else []
    first = [points[0] for row in rows if (points := finite(row.rms)) and points[0][0] <= 3]
    sizes = [y for _, y in first if y > 0]
    return rows, sizes if len(sizes) == len(rows) else []


def size_at_first(history: History | None) -> float | None:
    """Return the root mean square of what the last affine layer put out at the first step, where it is known."""
    _, sizes = _sizes_at_first(history)
    return sizes[-1] if sizes else None


def faded_at_start(history: History | None, limits: Thresholds) -> float:
    """Return how many times smaller the last layer's outputs were than the first one's at the first step, or 0.

    Told where outputs fell exponentially over five layers at least, as steeply as ``signal-by-depth`` asks of growth,
    and matrices began with less than half of the size (rms·√(fan-in), the median) that PyTorch draws them with: it is
    the weights that shrink what goes through.
    """
    _, sizes = _sizes_at_first(history)
    scales = _scales_at_start(history)
    if len(sizes) < limits.gradient_layers or not scales or median(scales) >= _DEFAULT / 2:
        return 0.0
    steep = theil_sen([math.log10(size) for size in sizes]) < -limits.signal_slope
    return sizes[0] / sizes[-1] if steep and sizes[0] > limits.signal_ratio * sizes[-1] else 0.0


def _scales_at_start(history: History | None) -> list[float]:
    """Return rms·√(fan-in) of the trainable matrices at the start of the run."""
    parameters = history.parameters if history is not None else []
    matrices = [p for p in parameters if p.is_matrix and p.trainable and prod(p.shape) >= _LEAST]
    return [p.start_rms * math.sqrt(prod(p.shape[1:])) for p in matrices if p.start_rms is not None]


def _drawn_as_usual(history: History) -> bool:
    """Tell whether no matrix began larger than the usual initialisations make it: rms·√(fan-in) up to √2 (He et al.).

    Layers so drawn hand on at most what they are given, so growth comes of what lies between them.
    """
    scales = _scales_at_start(history)
    # a relative standard error of 1/sqrt(2n) in the root mean square, five times
    return bool(scales) and max(scales) < math.sqrt(2) * (1 + 5 / math.sqrt(2 * _LEAST))


def stretches_in_time(report: Report) -> bool:
    """Tell whether a plain recurrent layer began with a state far beyond what is bounded, and weights that stretch it.

    Its recurrent matrix lengthens a state by rms·√n, in the mean over directions, at every step.
    """
    history = report.training
    layers = [row for row in history.layers if row.kind in _PLAIN] if history is not None else []
    large = {row.name for row in layers if (points := finite(row.rms)) and points[0][0] <= 3 and points[0][1] > _BOUND}
    matrices = [p for p in history.parameters if p.is_matrix] if history is not None else []
    return any(
        p.name.rpartition(".")[0] in large
        and "weight_hh" in p.name
        and (p.start_rms or 0.0) * math.sqrt(p.shape[1]) > _STRETCH
        for p in matrices
    )


def same_anew(report: Report) -> bool:
    """Tell whether weights drawn anew give a first loss like that of the run."""
    fresh = report.tried("fresh-start")
    steps = finite(report.training.get("train_loss", "step")) if report.training is not None else []
    if fresh is None or not steps or steps[0][1] <= 0 or fresh.numbers["loss"] <= 0:
        return False
    return 1 / 3 < fresh.numbers["loss"] / steps[0][1] < 3


def gradient_by_time(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The loss hardly depends on what a recurrent layer read at the start of its sequences.

    Median norm of the gradient over the first tenth of the time steps, over the largest of any step: below 1e-2 for a
    plain recurrent layer over twenty steps at least (5e-2 where the answer stands in the first of them alone), below
    1e-5 for one with gates (those forget on purpose). A warning
    where the trained model is no better than a constant guess on the data given, though its outputs follow the input;
    otherwise it informs. Where inputs are such that a linear learner can be asked, it tells where the answer stands: if
    the first tenth of the steps tells the target, better than a constant answer by 0.15 and four standard errors, and
    all others do not, within two, nothing else need hold the model back; the other way round this informs. Else it may
    be wrong where the answer stands in the last steps. (Bengio, Simard and Frasconi 1994.)
    """
    trial = report.tried("gradient-by-time")
    if trial is None or context.state != "trained" or trial.numbers["steps"] < limits.time_steps:
        return
    n = trial.numbers
    stands = _answer_stands(n, limits)
    line = limits.time_ratio_start if stands == "start" else limits.time_ratio
    line = limits.time_ratio_gated if trial.detail.get("kind") in _GATED else line
    if n["ratio"] >= line:
        return
    sick = is_guessing(report, context) and _follows(report, limits) and stands != "rest"
    yield Finding(
        rule="gradient-by-time",
        severity=Severity.WARNING if sick else Severity.INFO,
        subject=trial.detail.get("layer", "") or "model",
        section="trials",
        evidence={"ratio": n["ratio"], "early": n["early"], "late": n["late"], "steps": n["steps"]},
        threshold={"ratio": line},
        detail={"kind": trial.detail.get("kind", "")} | ({"answer": stands} if stands else {}),
    )


def _answer_stands(n: dict[str, float], limits: Thresholds) -> str:
    """Tell whether the answer stands in the first steps alone ("start"), in all others alone ("rest"), or nothing."""
    if "start" not in n:
        return ""
    error = 0.5 / math.sqrt(n["asked"])  # of a share, at most
    tells = {place: n[place] - n["commonest"] for place in ("start", "rest")}
    clear = max(limits.anew_gap, limits.anew_errors * error)
    if tells["start"] > clear and tells["rest"] <= 2 * error:
        return "start"
    return "rest" if tells["rest"] > clear and tells["start"] <= 2 * error else ""


def _follows(report: Report, limits: Thresholds) -> bool:
    """Tell whether outputs vary with the input; where they do not, nothing came into the recurrent layer."""
    trial = report.tried("inputs-permuted")
    return trial is None or trial.numbers["spread"] >= limits.output_spread


def is_guessing(report: Report, context: Context) -> bool:
    """Tell whether a model is no better than a constant guess on the data given.

    Answers for every place of a sequence or picture are judged by the experiment that evaluates some of the data: by
    accuracy, three standard errors of as many independent answers as there are samples above the commonest class.
    One answer a sample whose outcome is not known is no score, as a distance or an embedding is none.
    """
    if context.outcome_known:
        return not context.outcome_ok
    if report.evaluation is not None and report.evaluation.task in ("binary", "multiclass"):
        return False
    trial = report.tried("as-it-is")
    if trial is None or "accuracy" not in trial.numbers:
        return False
    n = trial.numbers
    error = math.sqrt(max(n["commonest"] * (1 - n["commonest"]), 1e-9) / max(n["samples"], 1.0))
    return n["accuracy"] <= n["commonest"] + 3 * error


def grad_noise_scale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The batch size against the one from which on a larger batch buys no better direction. Informs only.

    Simple noise scale B = tr S / |G|², from the gradients of 8 to 32 micro-batches at the weights as they are
    (McCandlish et al. 2018). Told where the training batch lies more than ten times below or above the two-sigma bounds
    of B: below, steps are mostly noise, and a larger batch, accumulation or a lower rate gives steadier ones; above,
    the batch could be smaller at no loss. It grows in training as the gradient shrinks, so of a finished model it is
    that of the end; where no gradient is left beyond the noise there is no upper bound, and nothing is told.
    """
    trial = report.tried("gradient-noise")
    size = _batch_size(report)
    if trial is None or size is None or "high" not in trial.numbers:
        return
    n = trial.numbers
    small, large = size * limits.noise_times < n["low"], size > limits.noise_times * n["high"]
    if small or large:
        yield Finding(
            rule="grad-noise-scale",
            severity=Severity.INFO,
            subject="gradients",
            section="trials",
            evidence={"batch_size": size, "scale": n["scale"], "low": n["low"], "high": n["high"]},
            threshold={"times": limits.noise_times},
            detail={"direction": "small" if small else "large"},
        )


def _batch_size(report: Report) -> float | None:
    """Return the samples that led to one step: a batch, times the backward passes of a step."""
    history, train = report.training, report.train_dataset
    size = history.batch_size if history is not None else None
    if size is None and train is not None and train.n_batches:
        size = round(train.n_samples / train.n_batches)
    loop = history.loop if history is not None else None
    passes = loop.backwards_per_step if loop is not None else None
    return size * max(passes or 1.0, 1.0) if size else None


RULES = (signal_by_depth, gradient_by_time, grad_noise_scale)
