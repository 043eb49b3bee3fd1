"""Going on with the training in other ways on copies: which change of the settings makes the loss fall?"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from torch import nn
from torch.optim import Optimizer

from ..initial import is_arranged
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Outfit, OutOfTimeError, Result, hold, optimizers_own, taken
from .learning import answered, backward, hasten, in_training, without_dropout
from .longer import GONE_ON, STEPS, scored

_WORKS = 0.9
_TESTED = 12
"""Largest frozen weights that are looked at."""


def other_ways(lab: Lab) -> Result:
    """Go on from the weights as they are, 120 steps each: as before, faster, slower, unregularised, thawed, all owned.

    ``before`` and one number for each way: loss on some of the data given, in eval mode. The rate is the highest that
    the optimizer is known to have had (a schedule keeps ``initial_lr``, and the run recorded it); faster is ten times
    that, slower a tenth. Norms and dropouts that the run held in eval mode stay in it.
    Unregularised: no weight decay and no dropout. Thawed: frozen parameters train too. Owned: trainable parameters that
    the optimizer does not hold are given to it. ``learned``: of the frozen weights, the share that lies in matrices
    with more structure than draws have. Ways that change nothing are left out, and all of them where accuracy or R² is
    above 0.9: there is nothing to repair (answers of yes and no may be right and hardly sure).
    """
    whole = lab.fresh()
    if len(whole.optimizers) != 1 or type(whole.optimizers[0]).__name__ == "LBFGS":
        raise NotApplicableError("not one optimizer that follows one loss")
    if lab.training is lab.given or any(b.target is None or b.n_samples < 2 for b in lab.training):
        raise NotApplicableError("no training batches of two samples or more with targets were given")
    now, rate = scored(lab, whole), _highest(lab, whole.optimizers[0])
    if now.score is not None and now.score > _WORKS and not now.of_two:
        raise NotApplicableError(f"the model works (score {now.score:.2f})")
    numbers = {"before": now.loss, "steps": float(STEPS), "samples": float(now.samples), "rate": rate}
    numbers |= {"decay": _decay(whole.optimizers[0]), "drop": _drop(whole.model)}
    for name, change, applies in _WAYS:
        if applies(whole):
            with suppress(NotApplicableError):
                try:
                    numbers[name] = _gone_on(lab, change, name)
                except OutOfTimeError:
                    if "slower" not in numbers:
                        raise
                    break
    if "same" not in numbers:
        raise NotApplicableError("going on with the training gave no finite loss")
    if "thawed" in numbers:
        numbers |= _learned(_frozen(whole))
    return Result(numbers)


def _gone_on(lab: Lab, change: Callable[[Outfit], None], name: str) -> float:
    work = lab.fresh()
    hasten(work)
    known = _peak(work.optimizers[0])
    times = _highest(lab, work.optimizers[0]) / known if known > 0 else 1.0
    as_before = name == "same"
    for group in work.optimizers[0].param_groups:
        as_before &= group["lr"] == _rate(group) * times
        group["lr"] = _rate(group) * times
    change(work)
    optimizer = work.optimizers[0]
    for step in range(STEPS):
        if step % 10 == 0:
            lab.clock.need(30)
        batch = lab.training[step % len(lab.training)]
        in_training(work.model, batch.n_samples)
        hold(work.model, lab.held)
        seed_generators(lab.seed + step)
        _, value = answered(work, batch)
        if not value.requires_grad or not math.isfinite(float(value.detach())):
            raise NotApplicableError("the loss is not finite, or no parameter reaches it")
        optimizer.zero_grad()
        backward(value)
        taken(optimizer.step, f"{type(optimizer).__name__} refuses to make a step")
    after = scored(lab, work)
    if not math.isfinite(after.loss):
        raise NotApplicableError("the loss is not finite")
    if as_before:
        lab.memo[GONE_ON] = after
    return after.loss


def _rate(group: dict[str, object]) -> float:
    known = [float(v) for key in ("lr", "initial_lr") if isinstance(v := group.get(key), (int, float))]
    return max(known, default=0.0)


def _peak(optimizer: Optimizer) -> float:
    return max((_rate(group) for group in optimizer.param_groups), default=0.0)


def _highest(lab: Lab, optimizer: Optimizer) -> float:
    return max(lab.peak, _peak(optimizer))


def _decay(optimizer: Optimizer) -> float:
    return max((float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups), default=0.0)


def _drop(model: nn.Module) -> float:
    """Return the highest rate of dropout in a model."""
    rates = [float(m.p) for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    rates += [float(m.dropout) for m in model.modules() if isinstance(m, (nn.RNNBase, nn.MultiheadAttention))]
    return max(rates, default=0.0)


def _scale(factor: float) -> Callable[[Outfit], None]:
    def change(work: Outfit) -> None:
        for group in work.optimizers[0].param_groups:
            group["lr"] *= factor

    return change


def _free(work: Outfit) -> None:
    for group in work.optimizers[0].param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    with without_dropout(work.model):  # what it switches off in a copy stays off
        pass


def _frozen(work: Outfit) -> list[nn.Parameter]:
    return [p for p in work.model.parameters() if not p.requires_grad and p.is_floating_point()]


def _learned(frozen: list[nn.Parameter]) -> dict[str, float]:
    """Return the share of weights that look learned; nothing where none can be tested."""
    largest = sorted(frozen, key=lambda p: -p.numel())[:_TESTED]
    tested = [(p.numel(), found) for p in largest if (found := is_arranged(p)) is not None]
    total = sum(n for n, _ in tested)
    return {"learned": sum(n for n, found in tested if found) / total} if total else {}


def _missing(work: Outfit) -> list[nn.Parameter]:
    held = optimizers_own(work.optimizers)
    return [p for p in work.model.parameters() if p.requires_grad and id(p) not in held]


def _own(work: Outfit, parameters: list[nn.Parameter]) -> None:
    optimizer, held = work.optimizers[0], optimizers_own(work.optimizers)
    new = [p for p in parameters if id(p) not in held]
    if new:
        taken(lambda: optimizer.add_param_group({"params": new, "lr": _peak(optimizer)}), "the optimizer takes no more")


def _thaw(work: Outfit) -> None:
    frozen = _frozen(work)
    for parameter in frozen:
        parameter.requires_grad_(True)
    _own(work, frozen)


_Way = tuple[str, Callable[[Outfit], None], Callable[[Outfit], bool]]

_WAYS: tuple[_Way, ...] = (
    ("same", lambda work: None, lambda work: True),
    ("faster", _scale(10.0), lambda work: True),
    ("slower", _scale(0.1), lambda work: True),
    ("thawed", _thaw, lambda work: bool(_frozen(work))),
    ("owned", lambda work: _own(work, _missing(work)), lambda work: bool(_missing(work))),
    ("unregularised", _free, lambda work: _decay(work.optimizers[0]) > 0 or _drop(work.model) > 0),
)
