"""Rules on the loop itself, seen from hooks: what is cleared, clipped, in which mode, and what happened on the way."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ...document.facts import Finding, Report, Severity
from ...document.history import Event, History, LayerRun, LoopFacts, Series
from ..context import Context
from ..curves import finite, is_gradient_norm, losses
from ..robust import running_median
from ..skill import skill_of
from ..thresholds import Thresholds
from .course import h_still_improving
from .fit import behind_neighbours
from .optimizer import is_adaptive
from .reach import trainable
from .relearned import comes_on
from .start import batch_norms, held_norms
from .training import h_never_learned, is_lost, noted

_CALM_STEPS = 5
_ONE_BOUND = 3  # parameters with one bound
_PARTS = ("activation", "loss", "gradient", "weight")


def _loop(report: Report) -> LoopFacts | None:
    return report.training.loop if report.training is not None else None


def missing_zero_grad(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Steps that began with the gradients of an earlier step still in place.

    Seen at the first backward pass after a step, so a fact; gradients accumulated over several backward passes and
    cleared after their step do not count. More than half of the steps is an error, a twentieth a warning. The same of
    steps whose loss came back: after the step, the very gradient that had arrived at the outputs arrived there again
    (cosine above 0.9999 where it is not zero), as when a running total of losses is back-propagated at every batch. A
    warning where it arrived twice before the step and was added to itself in more than half of the steps, told in runs
    of one optimizer; with several it counts only when the model has made another pass since. Passes of
    ``autograd.grad`` do not count.
    """
    loop = _loop(report)
    if loop is None:
        return
    seen = (
        ("kept", loop.n_stale, loop.n_fresh_checked, limits.stale_gradients_warning),
        ("again", loop.n_again, loop.n_followed, limits.stale_gradients_warning),
        ("twice", loop.n_twice, loop.n_followed, limits.stale_gradients_error),
    )
    for direction, stale, checked, least in seen:
        share = stale / max(checked, 1)
        if stale < 3 or share <= least:
            continue
        grave = direction != "twice" and share > limits.stale_gradients_error
        yield noted(
            "missing-zero-grad",
            Severity.ERROR if grave else Severity.WARNING,
            "model",
            {"stale": stale, "checked": checked, "share": share},
            {"error": limits.stale_gradients_error, "warning": limits.stale_gradients_warning},
            direction=direction,
        )
        return


def eval_mode_training(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training steps in which every dropout and normalisation layer stood in eval mode, or validation in train mode.

    More than a fifth of the looked-at training steps, three at least, is a warning. It informs where all those layers
    are batch norms that were frozen on purpose: their own parameters do not train, or their statistics come from
    elsewhere (not the initial ones) and no step at all was in train mode; ``norms-off-at-start`` looks whether these
    describe the data. A warning too where other
    layers trained in train mode and a batch norm never did, though its parameters train and its statistics are still
    those it was made with, or layers beside a dropout never did and skill on the training data is 0.15 above that on
    the data given: one part was left in eval mode. Validation in train mode counts when there were validation figures,
    and no pass without gradients was in eval mode; where the model itself was in eval mode and its dropout layers alone
    were not, they were left on (an overridden ``train``, modules switched one by one).
    """
    loop = _loop(report)
    if loop is None:
        return
    steps = loop.n_train_steps + loop.n_eval_steps
    if loop.n_eval_steps >= 3 and loop.n_eval_steps > limits.eval_steps * steps:
        yield noted(
            "eval-mode-training",
            Severity.INFO if _frozen_norms(report, context, loop) else Severity.WARNING,
            _first_in_eval(report),
            {"eval_steps": loop.n_eval_steps, "steps": steps},
            {"share": limits.eval_steps},
            direction="training",
        )
    elif part := _part_in_eval(report, context, limits):
        yield noted(
            "eval-mode-training",
            Severity.WARNING,
            part[0].name,
            {"layers": len(part), "steps": steps},
            {"layers": 0},
            direction="part",
        )
    judged = any(s.name.startswith("val_") for s in report.training.series) if report.training is not None else False
    if judged and loop.n_train_validations >= 3 and not loop.n_eval_validations:
        yield noted(
            "eval-mode-training",
            Severity.WARNING,
            "model",
            {"train_validations": loop.n_train_validations},
            {"passes": 3},
            direction="dropout" if loop.n_dropped_validations == loop.n_train_validations else "validation",
        )


def _part_in_eval(report: Report, context: Context, limits: Thresholds) -> list[LayerRun]:
    """Return the batch norms that were to train, stood in eval mode at every looked-at step, and never saw a batch."""
    layers = report.training.layers if report.training is not None else []
    fresh = {n.name for n in report.activations.norms if n.at_default} if report.activations is not None else set()
    training = {p.name.rpartition(".")[0] for p in trainable(report)}
    beside = _beside_dropout(report, context, limits)
    if not any(row.train_calls for row in layers):
        return []
    return [
        row
        for row in layers
        if row.eval_calls >= 3
        and not row.train_calls
        and ((row.name in fresh and row.name in training) or row.name in beside)
    ]


def _beside_dropout(report: Report, context: Context, limits: Thresholds) -> set[str]:
    """Return the layers that train beside a dropout, where the training data are known clearly better than others.

    In a model without such a gap, dropout that is off does no harm, and may be meant.
    """
    skill = skill_of(report, context)
    if skill is None or skill.train - skill.given <= max(limits.few_gap, 4 * skill.error):
        return set()
    rows = report.architecture.rows if report.architecture is not None else []
    blocks = {row.name.rpartition(".")[0] for row in rows if "Dropout" in row.kind} - {""}
    training = {p.name.rpartition(".")[0] for p in trainable(report)}
    return {name for name in training if name.rpartition(".")[0] in blocks}


def _in_eval(report: Report) -> list[LayerRun]:
    layers = report.training.layers if report.training is not None else []
    norms = batch_norms(report)
    return [
        row for row in layers if row.eval_calls and ("Norm" in row.kind or "Dropout" in row.kind or row.name in norms)
    ]


def _first_in_eval(report: Report) -> str:
    return next((row.name for row in _in_eval(report)), "model")


def _frozen_norms(report: Report, context: Context, loop: LoopFacts) -> bool:
    """Tell whether only batch norms stood in eval mode, and by intent."""
    layers = _in_eval(report)
    measured = batch_norms(report)
    if not layers or any("Norm" not in row.kind and row.name not in measured for row in layers):
        return False
    training = {p.name.rpartition(".")[0] for p in trainable(report)}
    if all(row.name not in training for row in layers):
        return True
    if loop.n_train_steps:
        return False
    # statistics that describe the data do no harm, and of those that do not another rule tells
    if {row.name for row in layers} <= {row.name for row, _ in held_norms(report)}:
        return True
    norms = report.activations.norms if report.activations is not None else []
    return bool(norms) and not any(norm.at_default for norm in norms) and context.outcome_ok


def clip_fraction(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """How often gradients were clipped, and to what part of their length.

    More than half of the steps informs ("extremely aggressive" by the Tuning Playbook; the 90th percentile of the norms
    is a usual limit). A warning when nine of ten steps are cut to less than a tenth of their length by an optimizer
    whose steps depend on it (not Adam and its kin) and the run ended with a poor fit or while its losses still fell
    (``h-still-improving``), or the model's own weights come far ahead of it by 300 steps of Adam that nothing clips.
    """
    loop = _loop(report)
    if loop is None or report.training is None or loop.n_clip_checked < 10:
        return
    share = loop.n_clipped / loop.n_clip_checked
    if share <= limits.clipped_info:
        return
    short = share > limits.clipped_warning and (loop.clip_factor or 1.0) < limits.clip_factor
    evidence = {"share": share, "steps": loop.n_clip_checked}
    evidence |= {key: v for key, v in (("factor", loop.clip_factor), ("limit", loop.clip_norm)) if v is not None}
    yield noted(
        "clip-fraction",
        Severity.WARNING
        if short
        and not is_adaptive(report.training)
        and (_slow(report, context, limits) or comes_on(report, context, limits))
        else Severity.INFO,
        "gradients",
        evidence,
        {"share": limits.clipped_warning, "factor": limits.clip_factor},
    )


def gradients_clamped(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Gradients of several parameters end at the very same bound on both sides: something inside the model clamps them.

    In the backward pass on the data given the largest entry, the negative of the smallest, and those of two other
    parameters at least are one number, to the bit, as a hook on parameters leaves it. It informs. A warning where the
    root mean square is above half of the bound for half of them (so that most entries are cut), the optimizer's steps
    depend on it (not Adam and its kin), and the run ended as ``clip-fraction`` asks, or behind what neighbours know
    (``o-below-neighbours``). Losses whose gradients are signs alone reach one bound too; they cut nothing off, and end
    with their fit.
    """
    rows = report.gradients.rows if report.gradients is not None else []
    ends: dict[float, list[float]] = {}
    for row in rows:
        stats = row.stats
        if stats is not None and stats.max is not None and stats.rms and stats.max == -(stats.min or 0.0) > 0:
            ends.setdefault(stats.max, []).append(stats.rms / stats.max)
    bound, shares = max(ends.items(), key=lambda item: len(item[1]), default=(0.0, []))
    if len(shares) < _ONE_BOUND or report.training is None:
        return
    cut = median(shares) > limits.clamped and not is_adaptive(report.training)
    short = _slow(report, context, limits) or comes_on(report, context, limits)
    short = short or behind_neighbours(report, context, limits) is not None
    yield noted(
        "gradients-clamped",
        Severity.WARNING if cut and short else Severity.INFO,
        "gradients",
        {"bound": bound, "parameters": len(shares), "of": len(rows), "share": median(shares)},
        {"share": limits.clamped},
    )


def _slow(report: Report, context: Context, limits: Thresholds) -> bool:
    """Tell whether the run has little to show: a poor fit, a loss that stands still, or one cut off in its fall."""
    train, _ = losses(report.training, limits)
    if train is not None and is_lost(train, context):
        return True
    rules = (h_still_improving, h_never_learned)
    return any(True for rule in rules for _ in rule(report, context, limits))


def grad_spikes(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Steps whose gradient is far longer than those around it.

    The log of the total norm lies more than six robust sigma above its running median, and the norm is at least five
    times that median. It informs; a warning when the norm was a thousand times its median or grew so from the first
    tenth of the run to the last, gradients were not clipped, and the run ended with a poor fit.
    """
    named = [s for s in report.training.series if is_gradient_norm(s)] if report.training is not None else []
    found = [f for series in named for f in _spikes(series, report, context, limits)]
    # of several optimizers the worst says it
    yield from sorted(found, key=lambda f: (-f.severity.rank, -f.evidence["ratio"]))[:1]


def _spikes(series: Series, report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    norms = [y for _, y in finite(series) if y > 0]
    if len(norms) < 50:
        return
    level = running_median(norms, max(9, (len(norms) // 10) | 1))
    ratios = [y / m for y, m in zip(norms, level, strict=True)]
    low = median(norms)
    spread = 1.4826 * median([abs(r - 1) for r in ratios])
    line = max(1 + limits.spike_sigma * spread, limits.gradient_spike)
    hit = [i for i, r in enumerate(ratios) if r > line]
    tenth = max(5, len(norms) // 10)
    growth = median(norms[-tenth:]) / median(norms[:tenth])
    if not hit and growth <= limits.gradient_growth:
        return
    train, _ = losses(report.training, limits)
    loop = _loop(report)
    tamed = loop is not None and loop.n_clipped > 0
    far = max(growth, max(ratios)) > limits.gradient_growth
    poor = (train is not None and is_lost(train, context)) or bool(series.nonfinite)
    yield noted(
        "grad-spikes",
        Severity.WARNING if far and not tamed and poor else Severity.INFO,
        "gradients",
        {"spikes": len(hit), "ratio": max(ratios), "growth": growth, "typical": low},
        {"ratio": line, "growth": limits.gradient_growth},
    )


def run_nonfinite(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The first value that was not finite in the whole run: at which step, in which layer, and what came before it.

    Within one step outputs come before the loss, the loss before gradients, and gradients before the weights, which are
    looked at once they have moved. Gradients alone inform under a gradient scaler, which skips such steps. A loss is
    told as ``calm`` that was below where it began at each of the five steps before, the last of them one or two steps
    earlier, while no gradient was ten times the usual: no divergence, which passes through large numbers first.
    """
    history, loop = report.training, _loop(report)
    events = [e for e in history.events if e.kind == "nonfinite"] if history is not None else []
    if not events:
        return
    first = min(events, key=_moment)
    scaled = loop is not None and loop.scaler_first is not None and all(e.part == "gradient" for e in events)
    evidence = {"events": float(len(events))}
    if first.step is not None:
        evidence["step"] = float(first.step)
    elif first.epoch is not None:
        evidence["epoch"] = first.epoch
    yield noted(
        "run-nonfinite",
        Severity.INFO if scaled else Severity.ERROR,
        first.subject or first.part,
        evidence,
        {"nonfinite": 0},
        part=first.part,
        before=first.detail,
        **({"calm": "yes"} if first.part == "loss" and _was_calm(report.training, first.step) else {}),
    )


def _was_calm(history: History | None, step: int | None) -> bool:
    """Tell whether a loss that broke had been low, and gradients as usual, in the steps just before."""
    if history is None or step is None:
        return False
    points = [p for p in finite(history.get("train_loss", "step")) if p[0] < step]
    last = points[-_CALM_STEPS:]
    if len(points) <= _CALM_STEPS or step - last[-1][0] > 2 or last[-1][0] - last[0][0] > 2 * _CALM_STEPS:
        return False
    norms = [[y for x, y in finite(s) if x < step] for s in history.series if is_gradient_norm(s)]
    usual = all(max(y[-_CALM_STEPS:]) <= 10 * median(y) for y in norms if y)
    return usual and max(y for _, y in last) <= points[0][1]


def _moment(event: Event) -> tuple[float, float, int]:
    """Order events by step and epoch, and within a step by what follows from what."""
    step = float(event.step) if event.step is not None else float("inf")
    return step, event.epoch or 0.0, _PARTS.index(event.part) if event.part in _PARTS else len(_PARTS)


def amp_scaler(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The gradient scaler of mixed precision had to halve its scale again and again.

    More than one halving in twenty steps (after the first twenty, in which it finds its place), or a scale that ended
    below 1: gradients overflow for good. A halving now and then is how the scaler works.
    """
    loop, history = _loop(report), report.training
    if loop is None or history is None or loop.scaler_halvings is None:
        return
    steps = max(history.steps, 1)
    often = max(loop.scaler_halvings - 20, 0) / steps
    last = loop.scaler_last
    if often > limits.scaler_halvings or (last is not None and last < 1):
        evidence = {"halvings": float(loop.scaler_halvings), "steps": float(steps)}
        yield noted(
            "amp-scaler",
            Severity.WARNING,
            "gradient scaler",
            {**evidence, **({"scale": last} if last is not None else {})},
            {"share": limits.scaler_halvings, "scale": 1},
        )


def dead_rising(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Units of a rectifier that fell silent in the course of the run.

    Share of channels above zero nowhere in a looked-at batch: median of the last three looks minus that of the first
    three above 0.3, and above one half at the end. A warning when nine of ten are silent and the model does not work,
    otherwise it informs. A batch is small, so silence at one moment means little; that it grows means more.
    """
    for row in report.training.layers if report.training is not None else []:
        silent = [y for _, y in finite(row.silent)] if row.rectifier else []
        if len(silent) < 6:
            continue
        first, last = median(silent[:3]), median(silent[-3:])
        if last - first > limits.dead_rise and last > limits.dead_relu_warning:
            grave = last > limits.dead_rising_warning and not context.outcome_ok
            yield noted(
                "dead-rising",
                Severity.WARNING if grave else Severity.INFO,
                row.name,
                {"first": first, "last": last},
                {"rise": limits.dead_rise, "last": limits.dead_rising_warning},
            )


def optimizer_maximizes(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The optimizer was told to maximise, and the loss rose.

    ``maximize=True`` and a training loss that ended above its start by more than its noise. Wrong where the logged
    loss is a reward.
    """
    loop = _loop(report)
    climbs = [o for o in loop.optimizers if o.settings.get("maximize") is True] if loop is not None else []
    train, _ = losses(report.training, limits)
    if not climbs or train is None or context.outcome_ok:
        return
    rise = train.end - min(train.start, train.y[0])
    if rise > max(3 * train.noise, 0.02 * abs(train.y[0])):
        yield noted(
            "optimizer-maximizes",
            Severity.ERROR,
            climbs[0].name,
            {"start": train.y[0], "end": train.end},
            {"rise": 0},
        )


RULES = (
    missing_zero_grad,
    eval_mode_training,
    run_nonfinite,
    amp_scaler,
    clip_fraction,
    gradients_clamped,
    grad_spikes,
    dead_rising,
    optimizer_maximizes,
)
