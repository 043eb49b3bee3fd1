"""Rules on the weights that are handed over: whether they are those that were trained, or were ever loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

from ...document.facts import Finding, Report, Severity, WeightRow
from ...document.history import ParameterRun
from ...document.scores import accuracy, explained
from ..context import Context
from ..curves import finite, learning_rates, losses
from ..skill import skill_of
from ..thresholds import Thresholds
from .reach import set_back, trainable
from .structure import last_affine
from .training import noted
from .weights import UNIFORM, is_fresh

SECTION = "weights"
_TESTED = 500  # entries
_SEEN = 4096  # entries of a parameter that a run looks at
_KERNELS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
_NORMAL = math.sqrt(0.5)  # relative error of a root mean square, times the root of the number of draws
_OF_UNIFORM = math.sqrt(0.2)


@dataclass(frozen=True)
class Scheme:
    """An initialisation in use: its root mean square by fan-in and fan-out, and the relative error of one draw's."""

    rms: Callable[[int, int], float]
    error: float


_SCHEMES = (
    Scheme(lambda fan_in, fan_out: UNIFORM / math.sqrt(fan_in), _OF_UNIFORM),
    Scheme(lambda fan_in, fan_out: 0.02, _NORMAL),
    Scheme(lambda fan_in, fan_out: math.sqrt(2 / fan_in), _NORMAL),
    Scheme(lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)), _NORMAL),
    Scheme(lambda fan_in, fan_out: 1 / math.sqrt(fan_in), _NORMAL),
)


def weights_set_back(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The steps of the run moved the weights, and yet all of them are at the end what they were at the start.

    Every entry looked at is the same to the bit, while ‖Δw‖ was above zero at steps that were looked at and the loss
    fell by more than its noise: what training made was replaced by the weights of the start (a copy of the state kept
    too early, a file whose keys were not found). A fact, so an error. Wrong where the start is put back on purpose.
    """
    rows = set_back(report, limits)
    train, _ = losses(report.training, limits)
    if not rows or train is None:
        return
    yield noted(
        "weights-set-back",
        Severity.ERROR,
        "model",
        {"parameters": len(rows), "steps": max(p.n_steps for p in rows), "start": train.start, "end": train.end},
        {"changed": 0},
    )


def measured_otherwise(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The model handed over is far worse than the one that was validated in the run, by the same loss.

    The validation loss of the last third of the run lies far below the loss of the first steps; that of the model now,
    on the data given, is more than half of the way back up and above every value of that third. A warning, and an error
    from nine tenths of the way. Wrong where the data given are not those of the validation, or the loss another one.
    """
    train, val = losses(report.training, limits)
    measured = report.evaluation.loss if report.evaluation is not None else _tried(report)
    if train is None or val is None or measured is None:
        return
    start, last = max(train.start, train.y[0]), max(val.tail)
    way = (measured - last) / (start - last) if start > last else 0.0
    # a loss that came down by next to nothing has no way back up
    if start - last < max(0.2 * abs(start), 6 * val.noise) or way <= 0.5 or measured <= 1.25 * last:
        return
    yield noted(
        "measured-otherwise",
        Severity.ERROR if way > 0.9 else Severity.WARNING,
        "model",
        {"measured": measured, "logged": val.end, "worst": last, "start": start},
        {"way": 0.5},
    )


def _tried(report: Report) -> float | None:
    """Return the loss on some of the data given, where answers are of no task that is evaluated."""
    trial = report.tried("as-it-is")
    return trial.numbers["loss"] if trial is not None else None


def frozen_at_init(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Frozen layers whose weights cannot be told from PyTorch's default initialisation: there is nothing in them.

    Every frozen Linear or convolution of thirty weights or more lies within 1/sqrt(fan_in), comes close to it, and has
    the root mean square of a uniform distribution, 0.577 of it, within four standard errors. A pretrained layer leaves
    that range. A warning: the file that they were to come from was not read (``strict=False`` says nothing of keys that
    do not match), or they were meant to be trained: hardly so where all norms and dropouts stood in eval mode at every
    step, as those of a part do that is to be used as it was learned. Wrong for random features that are left so on
    purpose. An embedding counts where its mean and root mean square are those of N(0, 1), 0 and 1 within four standard
    errors, its largest entry is what so many normal numbers make (within a half), and the skill on the data given is
    below one half. The last layer of a model counts alone, of a hundred weights or more, where others train: skill on
    the training data is below one half by two standard errors, and with what is frozen trained too, 120 steps on a copy
    take half of the loss away, and three times what going on without it does. A head that is new has nothing to keep.
    """
    rows = report.weights.rows if report.weights is not None else []
    tables = _random_tables(report, context, limits) or _drawn_head(report, context, limits)
    head = bool(tables) and tables[0].role != "embedding"
    kernels = [
        row for row in rows if row.module in _KERNELS and row.fan_in and row.stats is not None and row.tied_to is None
    ]
    frozen = [row for row in kernels if row.trainable is False and len(row.shape) > 1 and prod(row.shape) >= 30]
    fresh = bool(frozen) and all(map(is_fresh, frozen))
    if not (fresh or tables) or (context.state != "trained" and not head):
        return
    frozen, kernels = (frozen, kernels) if fresh else (tables, [r for r in rows if len(r.shape) > 1])
    share = sum(prod(row.shape) for row in frozen) / max(sum(prod(row.shape) for row in kernels), 1)
    loop = report.training.loop if report.training is not None else None
    kept = loop is not None and loop.n_eval_steps >= 3 and not loop.n_train_steps
    yield Finding(
        rule="frozen-at-init",
        severity=Severity.WARNING,
        subject=frozen[0].name,
        section=SECTION,
        evidence={"tensors": len(frozen), "share": share},
        threshold={"error": 4.0},
        detail={"names": ", ".join(row.name for row in frozen[:5])} | ({"kept": "eval"} if kept else {}),
    )


def _random_tables(report: Report, context: Context, limits: Thresholds) -> list[WeightRow]:
    """Return the frozen embeddings that look like N(0, 1) in a model that does not do well."""
    rows = report.weights.rows if report.weights is not None else []
    facts = report.evaluation
    score = accuracy(facts.classification.confusion) if facts is not None and facts.classification is not None else None
    if score is not None and score.majority < 1:
        skill: float | None = (score.value - score.majority) / (1 - score.majority)
    else:
        skill = explained(facts.regression) if facts is not None and facts.regression is not None else None
    poor = context.outcome_known and (not context.outcome_ok or (skill is not None and skill < limits.skill_kept))
    return [r for r in rows if poor and r.trainable is False and r.role == "embedding" and _is_normal(r)]


def _drawn_head(report: Report, context: Context, limits: Thresholds) -> list[WeightRow]:
    """Return the last weight where it is frozen as it was drawn, and that is what holds the model back."""
    rows = report.weights.rows if report.weights is not None else []
    last, trial, skill = last_affine(report), report.tried("other-ways"), skill_of(report, context)
    found = [r for r in rows if r.name == f"{last}.weight" and r.trainable is False and prod(r.shape) >= 100]
    if not found or not is_fresh(found[0]) or not any(r.trainable for r in rows):
        return []
    if trial is None or skill is None or skill.train + 2 * skill.error >= limits.skill_kept:
        return []
    n = trial.numbers
    gain, same = n["before"] - n.get("thawed", n["before"]), max(n["before"] - n["same"], 0.0)
    return found if gain > max(limits.way_of_run * abs(n["before"]), limits.way_times * same) else []


def _is_normal(row: WeightRow) -> bool:
    """Tell whether a table looks like N(0, 1) by its mean, root mean square and largest entry."""
    stats = row.stats
    if stats is None or stats.nonfinite or not stats.rms or stats.count < 100:
        return False
    error = 1 / math.sqrt(stats.count)
    largest = max(abs(stats.min or 0.0), abs(stats.max or 0.0)) / math.sqrt(2 * math.log(stats.count))
    return abs(stats.mean or 0.0) < 4 * error and abs(stats.rms - 1) < 4 * error and 0.5 < largest < 1.5


def weights_shrunk(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Training pulled most weight matrices to next to nothing, and the model does not work.

    Root mean square times the square root of the fan-in below 0.05 of the default scale, 0.577, though the weights
    moved by 0.9 to 1.1 of their start, for half of the matrices at least: a penalty on the weights outweighs the loss,
    added by hand or by an optimizer that adapts to it. A warning where the model is no better than a constant guess.
    Not of a single matrix: a linear model of what is not linear rightly ends near zero.
    """
    rows = {row.name: row for row in report.weights.rows} if report.weights is not None else {}
    runs = [p for p in trainable(report) if p.is_matrix and p.moved is not None and p.name in rows]
    small = [p for p in runs if 0.9 < (p.moved or 0.0) < 1.1 and _is_small(rows[p.name], limits)]
    if not small or len(runs) < 2 or len(small) < len(runs) / 2 or not context.outcome_known or context.outcome_ok:
        return
    yield Finding(
        rule="weights-shrunk",
        severity=Severity.WARNING,
        subject=small[0].name,
        section=SECTION,
        evidence={"matrices": len(small), "of": len(runs)},
        threshold={"scale": limits.shrunk},
    )


def _is_small(row: WeightRow, limits: Thresholds) -> bool:
    if row.stats is None or row.fan_in is None or row.stats.nonfinite or row.before_norm:
        return False
    return (row.stats.rms or 0.0) * math.sqrt(row.fan_in) < limits.shrunk * UNIFORM


def optimizer_state_missing(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A checkpoint of a trained model holds an optimizer of Adam's kind that never made a step.

    It has settings for moments (betas) and none of its parameters has a state, or its step count is 0: it was saved
    before training, or made anew. Training that is resumed from it starts with empty moments, which shows as a jump of
    the loss. A warning. Parameters without a state beside others that have one only inform. Wrong where the file is
    meant to be the start of another training.
    """
    states = report.weights.optimizers if report.weights is not None else []
    for state in states:
        if context.state != "trained" or not state.betas or not state.parameters:
            continue
        none = not state.with_state or state.step == 0
        if none or state.with_state < state.parameters:
            yield Finding(
                rule="optimizer-state-missing",
                severity=Severity.WARNING if none else Severity.INFO,
                subject="optimizer",
                section=SECTION,
                evidence={"parameters": state.parameters, "with_state": state.with_state, "step": state.step or 0.0},
                threshold={"with_state": state.parameters},
                detail={"kind": state.kind},
            )


def evaluated_as_drawn(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A model is evaluated whose weights are all as they were drawn: nothing was trained, or nothing loaded.

    Handed over in eval mode, without optimizer and without history, with labelled data and a loss: so it is not about
    to be trained. Every weight that is large enough to be tested is as PyTorch draws it (see ``w-at-default-init``), or
    it has two normalisation layers at least; every gain of these is 1 and every shift 0, to the bit, where a single
    step moves them; every batch norm has seen nothing, and the answers are no better than a constant one. A file whose
    keys do not match loads nothing under ``strict=False``, without a word. A warning. Wrong where an untrained model is
    evaluated on purpose.
    """
    subject, weights = report.subject, report.weights
    if not subject.in_eval or subject.optimizer or report.training is not None or weights is None:
        return
    if context.state == "trained" or not context.outcome_known or context.outcome_ok or not context.real_data:
        return
    tested = [row.at_default_init for row in weights.rows if row.at_default_init is not None]
    norms = [row for row in weights.rows if row.role == "norm" and row.stats is not None]
    gains = sum(row.name.endswith("weight") for row in norms)
    told = (bool(tested) and all(tested)) or gains >= 2
    if subject.loss is None or not told or not all(map(_is_as_made, norms)):
        return
    evidence: dict[str, float] = {"untouched": sum(map(bool, tested)), "tested": len(tested)}
    yield Finding(
        rule="evaluated-as-drawn",
        severity=Severity.WARNING,
        subject="model",
        section=SECTION,
        evidence=evidence | ({"norms": gains} if gains else {}),
    )


def _is_as_made(row: WeightRow) -> bool:
    """Tell whether a norm multiplies by 1 throughout, or adds 0."""
    wanted = 1.0 if row.name.endswith("weight") else 0.0
    return row.stats is not None and row.stats.min == row.stats.max == wanted


def tuned_from_draws(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Most of the model trains at a small rate beside a layer at a large one, and began as PyTorch draws weights.

    So one spares what was learned before, and adds a new head to it. One optimizer; the groups whose rate at its
    highest is a fifth of the largest one's, or less, hold half of the trainable elements at least, and the matrices in
    them (two, and 500 entries, at least) began with mean 0 and the root mean square of U(-b, b), b = 1/sqrt(fan-in),
    within four standard errors (0.447/sqrt(n) of it); or all of them with that of one of the normal distributions in
    use (deviation 0.02, or as of He, Glorot or LeCun; 0.707/sqrt(n)): the file that they were to come from was not
    found, or none of its keys was. A warning where more would help: ten times the rate, or going on as before, takes
    four tenths off the loss on the data given in 120 steps. Wrong where several rates were chosen for a model that
    learns from nothing.
    """
    found = _spared(report, limits)
    if found is None or context.state != "trained":
        return
    spared, rates = found
    helped = [
        pair for pair in (_by_trial(report, "other-ways", "faster"), _by_trial(report, "trained-on", "after")) if pair
    ]
    gains = [(before, after) for before, after in helped if 0 <= after <= (1 - limits.spared_gain) * before]
    if not gains or not any(all(_began_as(scheme, p) for p in spared) for scheme in _SCHEMES):
        return
    before, after = min(gains, key=lambda pair: pair[1])
    yield noted(
        "tuned-from-draws",
        Severity.WARNING,
        spared[0].name.rpartition(".")[0] or spared[0].name,
        {"rate": rates[0], "largest": rates[1], "matrices": len(spared), "before": before, "after": after},
        {"rate": limits.spared_rate * rates[1], "gain": limits.spared_gain},
    )


def _spared(report: Report, limits: Thresholds) -> tuple[list[ParameterRun], tuple[float, float]] | None:
    """Return the matrices that train at a small rate beside others, that rate and the largest; None where few do."""
    history, all_of_them = report.training, trainable(report)
    if history is None or history.loop is None or len(history.loop.optimizers) != 1:
        return None
    peaks: dict[int, float] = {}
    for series in learning_rates(history):
        group = series.name.rpartition("/")[2]
        values = [y for _, y in finite(series)]
        if group.isdecimal() and values:
            peaks[int(group)] = max(values)
    largest = max(peaks.values(), default=0.0)
    slow = {group for group, peak in peaks.items() if 0 < peak <= limits.spared_rate * largest}
    held = [p for p in all_of_them if p.optimizer is not None and p.group in slow]
    if 2 * sum(prod(p.shape) for p in held) < sum(prod(p.shape) for p in all_of_them):
        return None
    matrices = [p for p in held if p.is_matrix and p.module in _KERNELS]
    if len(matrices) < 2 or sum(prod(p.shape) for p in matrices) < _TESTED:
        return None
    return matrices, (max(peaks[g] for g in slow), largest)


def _began_as(scheme: Scheme, p: ParameterRun) -> bool:
    """Tell whether a matrix began with mean 0 and the size of an initialisation, to four standard errors."""
    if p.start_mean is None or not p.start_rms:
        return False
    n, wanted = min(prod(p.shape), _SEEN), scheme.rms(prod(p.shape[1:]), p.shape[0] * prod(p.shape[2:]))
    centred = abs(p.start_mean) <= 4 * p.start_rms / math.sqrt(n)
    return centred and abs(p.start_rms / wanted - 1) <= 4 * scheme.error / math.sqrt(n)


def _by_trial(report: Report, name: str, key: str) -> tuple[float, float] | None:
    trial = report.tried(name)
    return (trial.numbers["before"], trial.numbers[key]) if trial is not None and key in trial.numbers else None


RULES = (
    tuned_from_draws,
    evaluated_as_drawn,
    weights_set_back,
    measured_otherwise,
    frozen_at_init,
    weights_shrunk,
    optimizer_state_missing,
)
