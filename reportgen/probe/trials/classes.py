"""Are targets that are few whole numbers classes without an order, told better as such than as numbers?"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from statistics import correlation
from typing import Any

import torch
from torch import Tensor, nn

from ...subject.data import Batch
from ..layers import main_tensor
from .anew import learn
from .drawn import draw_trainable
from .lab import Lab, NotApplicableError, Result, enough, output_of, taken, value_of
from .sample import rows

_ASKED = 1024
_LEAST = 120
_FEWEST, _MOST = 3, 20  # numbers in a row
_FEW = 16
_WORKS = 0.8


def as_classes(lab: Lab) -> Result:
    """Train fresh copies on targets that are few whole numbers: as classes, as numbers, and as numbers in other orders.

    Targets of 3 to 20 whole numbers in a row and a model of one output from an ``nn.Linear``, under a loss that is 0
    where the output is the target. Adam, 300 steps of 32 samples of the training data. ``right``: share of the data
    given whose number the model as it is gives, rounded; ``right_fresh``: of a copy that learned the numbers, in units
    of their deviation; ``right_apart``: of one with an output for each of them and a cross-entropy. ``error_fresh``:
    squared error over the variance of the numbers, and ``error_dealt``: the least of two copies to which the numbers
    were dealt out in other orders, the least like the true one of many drawn: grades and counts are harder to tell so,
    classes of no order are not. No copy is trained where the model as it is gives four in five: numbers that it tells
    so well are no trouble.
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    learned, asked = (enough(part, _ASKED, _LEAST) for part in (lab.wide_training, lab.wide_given))
    low, n = _numbered(learned.target, asked.target)
    wanted, few = _places(asked.target, low), rows(asked, torch.arange(_FEW))
    _one_output(lab.model, few)  # most models of classes end here, at the price of a small pass
    _ask_for_numbers(lab, few)
    right = float(((_one_output(lab.model, asked).double() - low).round() == wanted).double().mean())
    numbers = {"classes": float(n), "samples": float(asked.n_samples), "right": right}
    if right >= _WORKS:
        return Result(numbers)
    apart = lab.fresh()
    model = _with_outputs(apart.model, _head(lab, asked), n)
    draw_trainable(model, lab.seed)
    if _output(model, asked).shape != (asked.n_samples, n):
        raise NotApplicableError("the model has no place for an output for each class")
    learn(lab, replace(apart, model=model, loss=_classes_from(low)), learned)
    numbers["right_apart"] = float((_output(model, asked).argmax(1) == wanted).double().mean())
    told, scale = _learned(lab, learned, asked, low, list(range(n)))
    places = (told[:, None] - scale).abs().argmin(1)
    numbers["right_fresh"] = float((places == wanted).double().mean())
    numbers["error_fresh"] = _error(told, scale[wanted])
    dealt = [_learned(lab, learned, asked, low, order) for order in _orders(n)]
    return Result(numbers | {"error_dealt": min(_error(told, scale[wanted]) for told, scale in dealt)})


def _orders(n: int) -> list[list[int]]:
    """Return the two orders that go least with the true one and its reverse, of three hundred drawn."""
    draw = random.Random(0)
    drawn = {tuple(draw.sample(range(n), n)) for _ in range(300)}
    drawn -= {tuple(range(n)), tuple(reversed(range(n)))}
    forward = [order for order in sorted(drawn) if order[0] < order[-1]]  # one of each and its reverse
    return [list(order) for order in sorted(forward, key=lambda order: abs(correlation(order, range(n))))[:2]]


def _learned(lab: Lab, learned: Batch, asked: Batch, low: int, order: list[int]) -> tuple[Tensor, Tensor]:
    """Return what a fresh copy says that learned each number as its place in an order, and the scale of the places."""
    scale = torch.tensor(order, dtype=torch.float32)
    scale = (scale - scale.mean()) / scale.std(correction=0)

    def loss(output: Any, target: Any) -> Tensor:
        told = main_tensor(output)
        assert told is not None
        return (told.flatten() - scale.to(told)[_places(target, low)]).square().mean()

    work = lab.fresh()
    draw_trainable(work.model, lab.seed)
    learn(lab, replace(work, loss=loss), learned)
    told = _one_output(work.model, asked)
    return told, scale.to(told)


def _error(told: Tensor, wanted: Tensor) -> float:
    return float((told - wanted).square().mean() / wanted.var(correction=0).clamp_min(1e-12))


def _numbered(ours: object, theirs: object) -> tuple[int, int]:
    """Return the least of the whole numbers that are the targets, and how many in a row there are."""
    if isinstance(ours, Tensor) and isinstance(theirs, Tensor) and not ours.is_complex():
        together = torch.unique(torch.cat([t.detach().double().flatten() for t in (ours, theirs)]))
        low, n = float(together[0]), len(together)
        row = torch.arange(n, dtype=torch.double, device=together.device) + low
        if _FEWEST <= n <= _MOST and low.is_integer() and torch.equal(together, row):
            return int(low), n
    raise NotApplicableError(f"the targets are not {_FEWEST} to {_MOST} whole numbers in a row")


def _output(model: nn.Module, batch: Batch) -> Tensor:
    with torch.no_grad():
        told = main_tensor(output_of(model.eval(), batch))
    if told is None or told.is_complex():
        raise NotApplicableError("the output holds no real floating-point tensor")
    return told.detach()


def _one_output(model: nn.Module, batch: Batch) -> Tensor:
    told = _output(model, batch)
    assert isinstance(batch.target, Tensor)
    if told.numel() != batch.n_samples or batch.target.numel() != batch.n_samples:
        raise NotApplicableError("the model does not give one number a sample")
    return told.flatten()


def _ask_for_numbers(lab: Lab, batch: Batch) -> None:
    """Raise where the loss of the numbers themselves is not 0: it asks for something else, as for logarithms."""
    target = batch.target
    assert isinstance(target, Tensor)
    numbers = target.double().reshape(_output(lab.model, batch).shape).float()
    own, beside = (
        taken(partial(value_of, lab.loss, numbers + by, target), "the loss refuses its targets") for by in (0.0, 0.5)
    )
    if not abs(float(own)) < 1e-6 * abs(float(beside)):
        raise NotApplicableError("the loss does not ask for the numbers themselves")


def _places(target: Any, low: int) -> Tensor:
    places: Tensor = target.detach().flatten().long() - low
    return places


def _head(lab: Lab, batch: Batch) -> str:
    """Return the name of the layer that puts out the one number: an ``nn.Linear`` with one output, the last to run."""
    ran: list[str] = []
    found = [(name, m) for name, m in lab.model.named_modules() if type(m) is nn.Linear]
    handles = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in found]
    try:
        with torch.no_grad():
            output_of(lab.model.eval(), batch)
    finally:
        for handle in handles:
            handle.remove()
    if not ran or ran.count(ran[-1]) != 1 or lab.model.get_submodule(ran[-1]).out_features != 1:
        raise NotApplicableError("no linear layer with one output ran last")
    return ran[-1]


def _with_outputs(model: nn.Module, name: str, n: int) -> nn.Module:
    """Return a copy whose layer of that name has so many outputs."""
    one = model.get_submodule(name)
    assert isinstance(one, nn.Linear)
    weight = one.weight
    several = nn.Linear(one.in_features, n, one.bias is not None, device=weight.device, dtype=weight.dtype)
    if not name:
        return several
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, several)
    return model


def _classes_from(low: int) -> Any:
    def loss(output: Any, target: Any) -> Tensor:
        scores = main_tensor(output)
        assert scores is not None
        return taken(
            lambda: nn.functional.cross_entropy(scores, _places(target, low)),
            "the outputs are no scores of classes",
        )

    return loss
