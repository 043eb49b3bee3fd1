"""Does the model work on the data given once their inputs are prepared in another way?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, permutations

import torch
from torch import Tensor

from ...subject.data import Batch
from .codes import renumbered
from .lab import Lab, NotApplicableError, Result
from .sample import WIDE, first_samples, is_by_sample
from .scores import constant, score

_MOST = 256  # samples of a split
_LEAST = 40
_WORKS = 0.5  # of the way from a constant answer to a perfect one
_LOST = 0.25  # of what the model is better than a constant answer on its training data
_CHANNELS = 4
_COLUMNS = 64
_LEVELS = 21
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)


def prepared_otherwise(lab: Lab) -> Result:
    """Change the inputs of the data given in one way after another, as they are often prepared differently by mistake.

    Pictures (N, C, H, W) of at most four channels: channels in another order, mirrored, upside down, rows for columns,
    turned, light for dark. Sequences (N, T, F): backwards. Tables (N, F): columns in the order in which their values
    are spread as those of the training data are (the assignment of least distance between quantiles); codes of
    categories numbered as in the training data (see ``codes.renumbered``), of whole numbers too. All but these: mean
    and deviation of each channel or column as in the training data. ``training`` and ``given``: the scores as they
    are (see ``scores.score``), beside ``constant``; ``best``: that after the change which helps most, ``what``. Made
    only where the model works on its training data and a quarter of that is lost on the data given.
    """
    if not lab.wide_training or not lab.wide_given:
        raise NotApplicableError("no training data were given")
    known, asked = (first_samples(part, _MOST) for part in (lab.wide_training, lab.wide_given))
    if known is None or asked is None or not (_is_fit(known) and _is_fit(asked)):
        raise NotApplicableError(f"fewer than {_LEAST} samples of one shape with numbers as inputs, and targets")
    base, kind = constant(lab.model, asked)
    (training, _), (given, spread) = score(lab.model, known), score(lab.model, asked)
    if training - base <= _WORKS * (1 - base) or given - base > (1 - _LOST) * (training - base):
        raise NotApplicableError("nothing of what was learned is lost on the data given")
    numbers = {"training": training, "given": given, "constant": base, "samples": float(asked.n_samples)}
    best, what = given, ""
    changes = chain(
        _changes(known.args[0], asked.args[0], fixed=kind == "maps"),
        _codes(lab, asked.args[0]),
    )
    for name, inputs in changes:
        lab.clock.need(1)
        try:
            reached, now = score(lab.model, replace(asked, args=(inputs, *asked.args[1:])))
        except NotApplicableError:  # an embedding has no row for codes that were scaled
            continue
        if reached > best:
            best, what, spread = reached, name, now
    numbers["best"] = best
    if spread is not None:
        numbers["spread"] = spread
    return Result(numbers, {"kind": kind, "what": what})


def _is_fit(batch: Batch) -> bool:
    x = batch.args[0] if batch.args else None
    return (
        batch.n_samples >= _LEAST
        and is_by_sample(batch)
        and isinstance(batch.target, Tensor)
        and isinstance(x, Tensor)
        and (x.is_floating_point() or (x.dim() == 2 and x.dtype in _WHOLE))
        and x.dim() in (2, 3, 4)
        and bool(torch.isfinite(x).all())
    )


def _changes(known: Tensor, asked: Tensor, *, fixed: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield the inputs of the data given, changed, each with the name of the change; ``fixed``: places have targets."""
    if known.shape[1:] != asked.shape[1:] or not asked.is_floating_point():
        return
    yield "scaled", _scaled(known, asked)
    if asked.dim() == 2:
        if 2 <= asked.shape[1] <= _COLUMNS:
            yield "columns", asked[:, _matched(known, asked)]
        return
    if asked.dim() == 3:
        if not fixed:
            yield "backwards", asked.flip(1)
        return
    if 2 <= asked.shape[1] <= _CHANNELS:
        for order in permutations(range(asked.shape[1])):
            yield "channels", asked[:, list(order)]
    yield "light for dark", known.amin() + known.amax() - asked
    if fixed:
        return
    yield "mirrored", asked.flip(3)
    yield "upside down", asked.flip(2)
    yield "half turned", asked.flip((2, 3))
    if asked.shape[2] == asked.shape[3]:
        yield "rows for columns", asked.transpose(2, 3)
        yield "turned", asked.rot90(1, (2, 3))
        yield "turned", asked.rot90(3, (2, 3))


def _codes(lab: Lab, asked: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the table with its codes numbered as those of as many training samples as there are."""
    if asked.dim() != 2 or asked.shape[1] > _COLUMNS:
        return
    known, given = (first_samples(part, WIDE) for part in (lab.wide_training, lab.wide_given))
    assert known is not None
    assert given is not None
    for inputs in renumbered(known.args[0], given.args[0], asked):
        yield "codes", inputs


def _scaled(known: Tensor, asked: Tensor) -> Tensor:
    """Give each channel, or column, the mean and the deviation that it has in the training data."""
    over = (0, 2, 3) if asked.dim() == 4 else tuple(range(asked.dim() - 1))
    a, b = (x.double() for x in (known, asked))
    width = b.std(over, keepdim=True)
    factor = torch.where(width > 0, a.std(over, keepdim=True) / width.clamp_min(1e-300), 1.0)
    return ((b - b.mean(over, keepdim=True)) * factor + a.mean(over, keepdim=True)).to(asked)


def _matched(known: Tensor, asked: Tensor) -> list[int]:
    """Return the column of the data given that is spread as each of the training data is."""
    from scipy.optimize import linear_sum_assignment  # here, because most reports never need it

    levels = torch.linspace(0, 1, _LEVELS, dtype=torch.float64)
    a, b = (x.double().cpu().quantile(levels, dim=0).T.contiguous() for x in (known, asked))
    width = (a[:, -1] - a[:, 0]).clamp_min(1e-12)
    cost = (a[:, None] - b[None]).abs().mean(2) / width[:, None]
    return [int(k) for k in linear_sum_assignment(cost.numpy())[1]]
