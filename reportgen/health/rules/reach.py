"""Rules on what training reached: parameters without gradient, with none but zero, and those that never moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from ...document.facts import Finding, Report, Severity
from ...document.history import LoopFacts, ParameterRun
from ..context import Context
from ..curves import finite, losses
from ..thresholds import Thresholds
from .training import is_poor, noted

_STEPS, _HALF = 20, 0.5  # of a step


def trainable(report: Report) -> list[ParameterRun]:
    """Return the parameters of the run that were to be trained."""
    return [p for p in report.training.parameters if p.trainable] if report.training is not None else []


def _size(parameters: list[ParameterRun]) -> int:
    return sum(prod(p.shape) for p in parameters)


def set_back(report: Report, limits: Thresholds) -> list[ParameterRun]:
    """Return the parameters that steps moved, while the loss fell, and all of which are as they were at the start."""
    known = [p for p in trainable(report) if p.changed is not None and p.n_looked]
    moved = [p for p in known if any(y > 0 for _, y in finite(p.update_ratio))]
    train, _ = losses(report.training, limits)
    if not moved or any(p.changed for p in known) or train is None:
        return []
    fall = max(train.start, train.y[0]) - train.end
    return moved if fall > max(3 * train.noise, limits.never_learned_drop * abs(train.start)) else []


def no_weight_update(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """After the run every trainable parameter that was looked at is what it was at the start.

    Or the optimizers took no step at all although there were backward passes. Three backward passes at least; a single
    parameter that moved disproves it. Or something else than steps wrote weights, and after twenty steps or more every
    parameter lies nearer to its start than half of the shortest of its steps is long, in a model that is no better than
    a constant guess: older weights are put back after each step. Steps in no direction at all lead farther than one.
    """
    loop = report.training.loop if report.training is not None else None
    parameters = trainable(report)
    known = [p for p in parameters if p.changed is not None]
    steps = sum(o.n_steps for o in loop.optimizers) if loop is not None else 0
    backwards = loop.n_backwards_seen if loop is not None else None
    ran = steps >= 3 or (backwards or 0) >= 3
    if loop is None or not ran or not known:
        return
    if any(p.changed for p in known):
        undone = _undone(loop, parameters) if not context.outcome_ok else {}
        if undone:
            where = {"parameters": len(parameters), "steps": steps} | undone
            yield noted("no-weight-update", Severity.ERROR, "model", where, {"of_step": _HALF}, reason="put back")
        return
    if set_back(report, limits):  # told by ``weights_set_back``
        return
    yield noted(
        "no-weight-update",
        Severity.ERROR,
        "model",
        {"parameters": len(known), "steps": steps, "backwards": backwards or 0},
        {"changed": 0},
        reason=_reason(known, steps),
    )


def _undone(loop: LoopFacts, parameters: list[ParameterRun]) -> dict[str, float]:
    """Return the way from the start over the shortest step, where it is less than half of that for every matrix."""
    ways = []
    for p in (p for p in parameters if p.moved is not None and p.n_steps >= _STEPS):
        lengths = [y for _, y in finite(p.update_ratio) if y > 0]
        ways += [p.moved / min(lengths)] if lengths and p.moved is not None else []
    if not ways or not any(o.rewritten for o in loop.optimizers) or max(ways) >= _HALF:
        return {}
    return {"of_step": max(ways)}


def _reason(parameters: list[ParameterRun], steps: int) -> str:
    """Tell why nothing moved, by what was there for the optimizers to follow."""
    looked = [p for p in parameters if p.n_looked]
    if not steps:
        return "no step"
    if looked and all(p.n_grad_none == p.n_looked for p in looked):
        return "cleared"
    return (
        "zero gradient" if looked and all(p.n_grad_none + p.n_grad_zero == p.n_looked for p in looked) else "no effect"
    )


def param_not_moved(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices that an optimizer holds and that get a gradient, yet never moved, while others did.

    Their rate is zero, steps too small for their precision (a step below half of the last digit is rounded away), or
    something writes the old values back. It informs where the model works and they are less than a tenth of it.
    """
    parameters = [p for p in trainable(report) if p.is_matrix]
    stuck = [
        p
        for p in parameters
        if p.changed is False and p.optimizer is not None and p.n_looked >= 5 and p.n_grad_none + p.n_grad_zero == 0
    ]
    if not stuck or not any(p.changed for p in parameters):
        return
    share = _size(stuck) / max(_size(parameters), 1)
    yield noted(
        "param-not-moved",
        Severity.INFO if context.outcome_ok and share < limits.no_grad_share_error else Severity.WARNING,
        stuck[0].name,
        {"tensors": len(stuck), "share": share, "steps": stuck[0].n_steps},
        {"share": limits.no_grad_share_error},
        names=", ".join(p.name for p in stuck[:5]),
    )


def run_no_grad(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Trainable parameters of layers that ran, but that had no gradient at any looked-at step of the whole run.

    So are parameters that are read past their layer, on which outputs or loss depend when a trial moves them.

    Left out: layers that never ran, parameters that moved all the same (someone else updates them: a moving average),
    and runs in which no parameter at all has a gradient left at a step although backward passes reached them. An error
    from 10 % of the trainable elements on. Where neither outputs nor loss change when these are moved on a copy, the
    graph is whole and what they make is used nowhere: a warning then, by ``unused``. Wrong for heads whose output is no
    part of the loss.
    """
    parameters, cut = trainable(report), _cut(report)
    if not cut:
        return
    share = _size(cut) / max(_size(parameters), 1)
    idle = are_idle(report, (p.name for p in cut))
    yield noted(
        "run-no-grad",
        Severity.ERROR if share > limits.no_grad_share_error and not idle else Severity.WARNING,
        cut[0].name,
        {"tensors": len(cut), "share": share, "steps": cut[0].n_looked},
        {"error": limits.no_grad_share_error},
        names=", ".join(p.name for p in cut[:5]),
        **({"by": "unused"} if idle else {}),
    )


def _cut(report: Report) -> list[ParameterRun]:
    """Return the parameters of layers that ran and that had no gradient at any looked-at step."""
    history = report.training
    if history is None:
        return []
    ran = {row.name for row in history.layers if row.train_calls + row.eval_calls}
    cut = [
        p
        for p in trainable(report)
        if p.n_looked >= 3
        and p.n_grad_none == p.n_looked
        and not p.changed
        and (p.name.rpartition(".")[0] in ran or are_read(report, p.name))
    ]
    # gradients of a pass that came through, all gone before the step: they were cleared, not cut off
    arrived = history.loop is not None and (history.loop.n_backwards_seen or 0) >= 3
    return [] if arrived and len(cut) == sum(p.n_looked > 0 for p in trainable(report)) else cut


def are_idle(report: Report, names: Iterable[str]) -> bool:
    """Tell whether a trial moved just these parameters and found that nothing depends on them."""
    trial = report.tried("without-gradient")
    if trial is None or trial.numbers["depends"]:
        return False
    return set(names) <= set(trial.detail.get("names", "").split(", "))


def are_read(report: Report, name: str) -> bool:
    """Tell whether a trial moved this parameter, maybe with others, and outputs or loss followed without a gradient.

    A weight that is read past its layer (``emb.weight.data[i]``) is used, although the layer never runs.
    """
    trial = report.tried("without-gradient")
    return trial is not None and bool(trial.numbers["depends"]) and name in trial.detail.get("names", "").split(", ")


def run_unused(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Parameters that an optimizer holds, of layers that ran at none of the looked-at steps, and so had no gradient.

    Five looks at least. A warning from 10 % of the trainable elements on: so much is not left over by accident. Where
    the model works it informs below half of them, unless its training loss ended above 0.6 of what a constant guess (or
    the start) gives, another layer of the same shape was called more than once in a
    pass (called in its place) or one of several inputs moves no output at all (it went into them), and of layers that
    have running siblings of their kind in the same list (experts at rest). Wrong for a tower that is trained in another
    stage.
    """
    parameters, (unused, ran) = trainable(report), _unused(report)
    if not unused or not ran:
        return
    share = _size(unused) / max(_size(parameters), 1)
    alone = [p for p in unused if not _has_running_sibling(p.name, ran)]
    most = _size(alone) > 0.5 * max(_size(parameters), 1)
    train, _ = losses(report.training, limits)
    poor = not context.outcome_ok or (train is not None and is_poor(train, context))
    much = share > limits.no_grad_share_error and (
        poor or most or _has_stand_in(report, alone) or (bool(alone) and _leaves_an_input(report))
    )
    yield noted(
        "run-unused",
        Severity.WARNING if much else Severity.INFO,
        unused[0].name,
        {"tensors": len(unused), "share": share, "steps": unused[0].n_looked},
        {"warning": limits.no_grad_share_error},
        names=", ".join(p.name for p in unused[:5]),
    )


def _leaves_an_input(report: Report) -> bool:
    """Tell whether one of several inputs that differ between samples has no effect, to the bit."""
    trial = report.tried("inputs-permuted")
    numbers = trial.numbers if trial is not None else {}
    effects = [effect for key, effect in numbers.items() if key.startswith("input_") and key[6:].isdigit()]
    return 0.0 in effects and max(effects) > 0


def _unused(report: Report) -> tuple[list[ParameterRun], set[str]]:
    """Return the parameters of layers that never ran though an optimizer holds them, and the layers that did run."""
    layers = report.training.layers if report.training is not None else []
    ran = {row.name for row in layers if row.train_calls + row.eval_calls}
    idle = {row.name for row in layers} - ran
    unused = [
        p
        for p in trainable(report)
        if p.optimizer is not None
        and p.n_looked >= 5
        and p.n_grad_none == p.n_looked
        and not p.changed
        and p.name.rpartition(".")[0] in idle
        and not are_read(report, p.name)
    ]
    return unused, ran


def is_in_part(report: Report, limits: Thresholds) -> bool:
    """Tell whether a part of the model never ran in training, or no gradient came to it: copies lack the same part."""
    return _size(_unused(report)[0] + _cut(report)) > limits.no_grad_share_error * max(_size(trainable(report)), 1)


def _has_stand_in(report: Report, unused: list[ParameterRun]) -> bool:
    """Tell whether a layer of the same kind and shape as an unused one ran more than once in a pass."""
    rows = report.architecture.rows if report.architecture is not None else []
    twice = {row.name for row in rows if (row.calls or 0) > 1}
    shapes = {(p.module, *p.shape) for p in trainable(report) if p.is_matrix and p.name.rpartition(".")[0] in twice}
    return any((p.module, *p.shape) in shapes for p in unused if p.is_matrix)


def _has_running_sibling(name: str, ran: set[str]) -> bool:
    """Tell whether a layer stands in a numbered list of which another element ran: experts.3.up beside experts.0.up."""
    parts = name.split(".")[:-1]
    for place, part in enumerate(parts):
        if part.isdigit():
            head, tail = parts[:place], parts[place + 1 :]
            others = (r.split(".") for r in ran)
            if any(o[:place] == head and o[place + 1 :] == tail and len(o) == len(parts) and head for o in others):
                return True
    return False


def param_zero_grad(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Weight matrices whose gradient was exactly zero everywhere, at every looked-at step of the run.

    Five steps at least. Rounding, a sign or a comparison in the forward pass, units that are all dead, or weights all
    of one value do that. Biases are left out: before a batch norm, or at the end of a siamese net, their gradient is
    zero by right. A warning, and an error from 10 % of the elements on in a model that does not work; below that it
    informs where the model works.
    """
    parameters = [p for p in trainable(report) if p.is_matrix]
    zero = [p for p in parameters if p.n_looked >= 5 and p.n_grad_zero == p.n_looked and not p.changed]
    # all of them: nothing tells where it is cut, and ``no_weight_update`` says it
    if not zero or len(zero) == sum(p.n_looked > 0 for p in parameters) > 1:
        return
    share = _size(zero) / max(_size(parameters), 1)
    much = share > limits.no_grad_share_error
    severity = Severity.ERROR if much and not context.outcome_ok else Severity.WARNING
    rows = {row.name: row.stats for row in report.weights.rows} if report.weights is not None else {}
    of_one_value = [p for p in zero if (s := rows.get(p.name)) is not None and s.count > 1 and s.min == s.max]
    yield noted(
        "param-zero-grad",
        severity if much or not context.outcome_ok else Severity.INFO,
        zero[0].name,
        {"tensors": len(zero), "share": share, "steps": zero[0].n_looked},
        {"error": limits.no_grad_share_error},
        names=", ".join(p.name for p in zero[:5]),
        constant="yes" if len(of_one_value) == len(zero) else "",
    )


RULES = (no_weight_update, param_not_moved, run_no_grad, run_unused, param_zero_grad)
