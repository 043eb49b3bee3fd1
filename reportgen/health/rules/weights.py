"""Rules on parameters and buffers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity, WeightRow
from ..context import Context
from ..thresholds import Thresholds

UNIFORM = 1 / math.sqrt(3)  # root mean square of PyTorch's initialisation, times the root of the fan-in

SECTION = "weights"
_DRAWS = 100  # entries, of which mean and variance tell something


def param_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """NaN or infinity in a parameter, or in the running statistics of a norm, or NaN in any other buffer.

    Counted over every element. A fact, so an error alone. ``when``: after the run, where all of its losses were finite
    to the last one: then it was not training that broke them (a file of another precision, memory that was never
    written, surgery on the weights). ``of``: running statistics, where every parameter is finite: one batch that was
    not stays in them for good; statistics as given, where the run kept all such norms in eval mode, so that it was not
    its batches; or buffers of another layer. Masks with -inf are legal there, and infinity is not counted.
    """
    if report.weights is None:
        return
    when = {"when": "after the run"} if ended_finite(report) else {}
    if not any(row.stats is not None and row.stats.nonfinite for row in report.weights.rows):
        when |= {"of": _of(report)}
    measured = [(row.name, row.stats) for row in report.weights.rows]
    measured += [(row.name, row.stats) for row in report.weights.buffers]
    for name, stats in measured:
        if stats is not None and stats.nonfinite:
            yield Finding(
                rule="param-nonfinite",
                severity=Severity.ERROR,
                subject=name,
                section=SECTION,
                evidence={"nan": stats.nan, "inf": stats.pos_inf + stats.neg_inf, "count": stats.count},
                threshold={"nonfinite": 0},
                detail=when,
            )


def _of(report: Report) -> str:
    buffers = report.weights.buffers if report.weights is not None else []
    bad = [row.name.rpartition(".")[2] for row in buffers if row.stats is not None and row.stats.nonfinite]
    if bad and not any(name in ("running_mean", "running_var") for name in bad):
        return "buffers"
    return "statistics as given" if _held(report) else "running statistics"


def _held(report: Report) -> bool:
    """Tell whether no norm whose running statistics are not finite ever ran in training mode in the run."""
    layers = {row.name: row for row in report.training.layers} if report.training is not None else {}
    buffers = report.weights.buffers if report.weights is not None else []
    bad = [row.name.rpartition(".")[0] for row in buffers if row.stats is not None and row.stats.nonfinite]
    return bool(bad) and all(
        name in layers and layers[name].eval_calls > 0 and not layers[name].train_calls for name in bad
    )


def ended_finite(report: Report) -> bool:
    """Tell whether a run was watched to its end, and no value in it ever stopped being finite."""
    history = report.training
    if history is None or history.loop is None or not history.steps:
        return False
    losses = [s for s in history.series if s.name in ("train_loss", "val_loss")]
    # what broke at the last step shows in a validation after it alone
    if not any(s.name == "val_loss" for s in losses) or any(s.nonfinite for s in losses):
        return False
    return all(e.kind != "nonfinite" for e in history.events)


def param_frozen(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Parameters with requires_grad=False: how many, and what share of the model.

    Freezing is usually meant (a backbone while fine-tuning), so this only informs.
    """
    if report.weights is None or report.architecture is None:
        return
    frozen = [row for row in report.weights.rows if row.trainable is False and row.tied_to is None]
    total = report.architecture.parameters
    if frozen and total:
        elements = sum(row.stats.count for row in frozen if row.stats is not None)
        yield Finding(
            rule="param-frozen",
            severity=Severity.INFO,
            subject="model",
            section=SECTION,
            evidence={"tensors": len(frozen), "share": elements / total},
            detail={"first": frozen[0].name},
        )


def flag_on_module(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """``requires_grad`` was set on a module, and its parameters did not take notice.

    A module has no such attribute, so that ``layer.requires_grad = True`` makes one and changes nothing: parameters are
    told one by one, or by ``requires_grad_()``. A warning where it says True and all of the module's parameters are
    frozen: they were to be trained. It informs where it says False and all of them train: they were to be kept as they
    were. A fact. Wrong for a class that means something else by the name.
    """
    flags = report.weights.flags if report.weights is not None else {}
    for wanted in (True, False):
        names = [name for name, said in flags.items() if said is wanted]
        if names:
            yield Finding(
                rule="flag-on-module",
                severity=Severity.WARNING if wanted else Severity.INFO,
                subject=names[0] or "model",
                section=SECTION,
                evidence={"layers": len(names)},
                detail={"kind": "trainable" if wanted else "frozen", "names": ", ".join(names[:5])},
            )


def w_scale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Root mean square of a weight times the square root of its fan-in: the gain of the layer for white input.

    Default initialisation gives 0.58, He 1.41, healthy trained layers 0.28 to 2.1. A weight before a normalisation
    layer has no scale of its own and is passed over, and so is one that is zero throughout (a zero-initialised head or
    branch). A warning below 0.02 and above 30. Where the run began with usual weights (``begun``) it was its steps that
    made them so, and above 10 is enough. It informs where the
    model works and its steps made them so, or the layer's outputs are of usual size all the same (their root mean
    square lies within the same bounds): then the weights fit inputs that are tiny or huge. It informs of small weights
    of the only matrix: a linear model of what is not linear ends so. Wrong for layers whose inputs are so by design in
    a model that does not work yet.
    """
    rows = report.activations.rows if report.activations is not None else []
    outputs = {r.name: r.stats.rms for r in rows if not r.stats.nonfinite}
    starts = {p.name: p.start_rms for p in report.training.parameters} if report.training is not None else {}
    alone = sum(row.fan_in is not None for row in _measured(report)) == 1
    for row in _measured(report):
        if row.fan_in is None or row.before_norm or row.stats is None or not row.stats.sum_of_squares:
            continue
        scale = (row.stats.rms or 0.0) * row.fan_in**0.5
        if limits.weight_scale_info_low <= scale <= limits.weight_scale_info_high:
            continue
        start = (starts.get(row.name) or 0.0) * row.fan_in**0.5
        begun = limits.weight_scale_info_low <= start <= limits.weight_scale_info_high
        high = limits.weight_scale_grown if begun else limits.weight_scale_high
        serious = not limits.weight_scale_low <= scale <= high
        size = outputs.get(row.name.rpartition(".")[0]) or 0.0
        fits = limits.weight_scale_low <= size <= limits.weight_scale_high
        harmless = (context.outcome_ok and (begun or fits)) or (alone and begun and scale < 1)
        yield Finding(
            rule="w-scale",
            severity=Severity.WARNING if serious and not harmless else Severity.INFO,
            subject=row.name,
            section=SECTION,
            evidence={"scale": scale, "fan_in": row.fan_in} | ({"start": start} if begun else {}),
            threshold={"low": limits.weight_scale_low, "high": high},
            detail={"begun": "usual", "direction": "high" if scale > 1 else "low"} if begun else {},
        )


def w_at_default_init(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A weight of a trained model that cannot be told from PyTorch's default initialisation.

    No value beyond 1/sqrt(fan_in), uniform by Kolmogorov-Smirnov at 1 %, rows and columns of independent energy: 98 %
    of fresh layers pass, and a hundred steps of Adam at 1e-5 are enough to fail. So it finds layers that training
    never touched. Where the run saw them change they were moved, but by next to nothing: told where that is so of more
    than half of them in a model that does not work, for wide layers may learn so. Wrong for random features that are
    left untrained on purpose.
    """
    if context.state != "trained":
        return
    moved = {p.name for p in report.training.parameters if p.changed} if report.training is not None else set()
    tested = [row for row in _measured(report) if row.at_default_init is not None and row.trainable is not False]
    same = [row for row in tested if row.at_default_init]
    if context.outcome_ok or len(same) <= len(tested) / 2:
        same = [row for row in same if row.name not in moved]
    for row in same:
        yield Finding(
            rule="w-at-default-init",
            severity=Severity.ERROR if len(same) > len(tested) / 2 else Severity.WARNING,
            subject=row.name,
            section=SECTION,
            evidence={"tested": len(tested), "untouched": len(same)},
            detail={"moved": "yes"} if row.name in moved else {},
        )


def optimizer_missing_params(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Trainable parameters that none of the optimizers given holds.

    By identity, so a fact. If it is practically all of the model, the optimizer was made from another one: an error.
    Part of a model is a warning, unless the model works and the first of its layers are missing, one after the other:
    leaving the backbone out of the optimizer is a usual way to freeze it, leaving out the head, a layer in the middle
    or one that is as it was initialised (of small ones told by range and root mean square) is not. Of an embedding
    that is told by its mean and variance, within four standard errors of 0 and 1, and by its extremes, of a recurrent
    matrix in the same way; a matrix of zeros is as adapters begin. So are parameters that the loss holds itself
    (centres, proxies, weights of its terms) and that get a gradient. Wrong where optimizers were not given.
    """
    yield from _of_the_loss(report)
    rows = report.weights.rows if report.weights is not None else []
    trainable = [r for r in rows if r.trainable and r.in_optimizer is not None and r.stats is not None]
    missing = [row for row in trainable if row.in_optimizer is False]
    total = sum(row.stats.count for row in trainable if row.stats is not None)
    if not missing or not total:
        return
    share = sum(row.stats.count for row in missing if row.stats is not None) / total
    empty = any(len(row.shape) > 1 and is_zero(row) for row in missing)
    drawn = any(
        row.at_default_init or is_fresh(row) or _is_drawn_embedding(row) or _is_drawn_recurrent(row) for row in missing
    )
    learned = not empty and not drawn
    kept_out = context.outcome_ok and learned and _are_first(report, {row.name for row in missing})
    severity = Severity.INFO if kept_out else Severity.WARNING
    yield Finding(
        rule="optimizer-missing-params",
        severity=Severity.ERROR if share >= limits.unowned_share_error else severity,
        subject=missing[0].name,
        section=SECTION,
        evidence={"tensors": len(missing), "share": share},
        threshold={"error": limits.unowned_share_error},
        detail={"names": ", ".join(row.name for row in missing[:5])},
    )


def _of_the_loss(report: Report) -> Iterator[Finding]:
    trial = report.tried("one-step")
    if trial is None or not trial.numbers.get("unowned") or report.architecture is None:
        return
    elements = trial.numbers["unowned_elements"]
    yield Finding(
        rule="optimizer-missing-params",
        severity=Severity.WARNING,
        subject="loss",
        section=SECTION,
        evidence={"tensors": trial.numbers["unowned"], "share": elements / (elements + report.architecture.parameters)},
        detail={"by": "loss"},
    )


def is_zero(row: WeightRow) -> bool:
    """Tell whether a tensor is zero throughout."""
    return row.stats is not None and 0 < row.stats.count == row.stats.zeros


def _is_drawn_embedding(row: WeightRow) -> bool:
    """Tell whether an embedding cannot be told from PyTorch's default, independent draws of N(0, 1).

    Standard errors: of the mean 1/sqrt(n), of the variance sqrt(2/n). The largest of n draws lies near sqrt(2 ln n). A
    table that was standardised has a mean of 0 to rounding, which draws never have.
    """
    stats = row.stats
    if row.role != "embedding" or stats is None or stats.count < _DRAWS or stats.min is None or stats.max is None:
        return False
    mean, variance, root = stats.sum / stats.count, stats.m2 / stats.count, math.sqrt(stats.count)
    far = math.sqrt(2 * math.log(stats.count)) + 2
    return (
        1e-4 < abs(mean) * root < 4
        and abs(variance - 1) * root < 4 * math.sqrt(2)
        and -far < stats.min < stats.max < far
    )


def _is_drawn_recurrent(row: WeightRow) -> bool:
    """Tell whether a recurrent matrix too small for other tests cannot be told from its default, U(±1/sqrt(hidden)).

    Standard errors: of the mean of uniform draws bound/sqrt(3 n), of their variance bound²/3·sqrt(0.8/n). The largest
    of n draws reaches the bound but for some n-ths of it, and none lies beyond.
    """
    stats = row.stats
    if ".weight_hh_l" not in f".{row.name}" or stats is None or stats.count < _DRAWS or len(row.shape) != 2:
        return False
    if stats.nonfinite or stats.min is None or stats.max is None:
        return False
    bound, n = 1 / math.sqrt(row.shape[1]), stats.count
    mean, variance = stats.sum / n, stats.m2 / n
    reached = bound * (1 - 20 / n) < max(-stats.min, stats.max) <= bound * (1 + 1e-6)
    usual = abs(mean) < 4 * bound / math.sqrt(3 * n)
    return reached and usual and abs(variance * 3 / bound**2 - 1) < 4 * math.sqrt(0.8 / n)


def is_fresh(row: WeightRow) -> bool:
    """Tell whether a weight looks like U(-b, b) with b = 1/sqrt(fan_in) by its range and its root mean square.

    Of n draws the largest lies beyond b·(1 − 10/n) but for one time in e^10. The relative standard error of the root
    mean square is sqrt(4/45)/(1/3)/2/sqrt(n) = 0.447/sqrt(n).
    """
    stats = row.stats
    if stats is None or row.fan_in is None or stats.nonfinite or not stats.rms:
        return False
    largest = max(abs(stats.min or 0.0), abs(stats.max or 0.0)) * math.sqrt(row.fan_in)
    scale = stats.rms * math.sqrt(row.fan_in)
    near = 1 - 10 / max(stats.count, 11)
    return near < largest < 1 + 1e-5 and abs(scale / UNIFORM - 1) < 4 * 0.447 / math.sqrt(stats.count)


def _are_first(report: Report, names: set[str]) -> bool:
    """Tell whether no trained weight matrix is executed before one of these, where the order is known."""
    rows = report.gradients.rows if report.gradients is not None else []
    ordered = sorted((row for row in rows if row.is_matrix and row.order is not None), key=lambda row: row.order or 0)
    missing = [row.name in names for row in ordered if row.requires_grad]
    return missing == sorted(missing, reverse=True) and not (len(missing) > 1 and all(missing))


def _measured(report: Report) -> list[WeightRow]:
    """Return rows with finite statistics: a rule about size says nothing of a tensor with NaN in it."""
    rows = report.weights.rows if report.weights is not None else []
    return [row for row in rows if row.stats is not None and row.stats.count and not row.stats.nonfinite]


RULES = (param_nonfinite, param_frozen, flag_on_module, optimizer_missing_params, w_scale, w_at_default_init)
