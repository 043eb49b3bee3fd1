"""What the model looks up: columns of a table that are codes and no numbers, and codes that no two samples share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...subject.data import Batch
from ..seeding import seed_generators
from .lab import Lab, NotApplicableError, Result, answer, output_of

_LOOKUPS = (F.embedding, F.embedding_bag, F.one_hot, torch.embedding)
_MOST = 8  # codes of one sample at one place: more are a sequence
_COLUMNS = 64
_LARGEST = 1 << 20  # a quarter is not lost in single precision
_BETWEEN = 0.25


def lookups(lab: Lab) -> Result:
    """Watch what is looked up in tables (``embedding``, ``one_hot``) by the inputs of a batch.

    ``coded``: columns of a floating-point table that are looked up, and of which nothing but the whole part matters: a
    quarter more changes no output. Of the lookup whose codes differ most from sample to sample: ``distinct`` codes of
    ``samples`` training samples, ``known`` of the ``given`` samples have a code of one of those, ``places`` from the
    smallest code to the largest, ``rows`` of the table.
    """
    batch = lab.samples()
    calls = _looked_up(lab.model, batch)
    columns = _coded(lab, batch, calls)
    numbers, detail = {"coded": float(len(columns))}, {"columns": ", ".join(map(str, columns))}
    if lab.wide_training and lab.wide_given and lab.training is not lab.given:
        found = _of_samples(lab)
        if found is not None:
            numbers |= found[0]
            detail["table"] = found[1]
    return Result(numbers, detail)


@dataclass
class _Call:
    """Codes (samples, at most eight) that were looked up at one place of forward."""

    codes: Tensor
    table: Tensor | None


class _Watch(TorchFunctionMode):
    """Takes down what is looked up by one code, or few, for each sample."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.calls: list[_Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LOOKUPS:
            parts = [*args, *kwargs.values()]
            held = [p for p in parts if isinstance(p, Tensor)]
            index = next((p for p in held if not p.is_floating_point()), None)
            table = next((p for p in held if p.is_floating_point()), None)
            if index is not None and index.dim() and len(index) == self.samples:
                codes = index.detach().reshape(self.samples, -1)
                if 1 <= codes.shape[1] <= _MOST:
                    self.calls.append(_Call(codes.cpu().clone(), table))
        return func(*args, **kwargs)


def _looked_up(model: nn.Module, batch: Batch) -> list[_Call]:
    watch = _Watch(batch.n_samples)
    seed_generators(0)
    with torch.no_grad(), watch:
        output_of(model, batch)
    if not watch.calls:
        raise NotApplicableError("nothing is looked up by a code of each sample")
    return watch.calls


def _coded(lab: Lab, batch: Batch, calls: list[_Call]) -> list[int]:
    """Return the columns that are looked up, as they are or moved by a constant, and read as nothing else."""
    x = batch.first
    if x is None or x.dim() != 2 or not x.is_floating_point() or x.shape[1] > _COLUMNS or not batch.args:
        return []
    values = x.detach().cpu().double()
    plain = (values == values.round()).all(0) & (values.abs().amax(0) < _LARGEST) & (values != values[:1]).any(0)
    read = torch.cat([call.codes for call in calls], 1).double()
    found = []
    for column in plain.nonzero().flatten().tolist():
        apart = read - values[:, column : column + 1]
        if bool((apart == apart[:1]).all(0).any()) and _is_whole(lab, batch, x, column):
            found.append(column)
    return found


def _is_whole(lab: Lab, batch: Batch, x: Tensor, column: int) -> bool:
    lab.clock.need(2)
    moved = x.detach().clone()
    moved[:, column] += _BETWEEN
    other = replace(batch, args=(moved, *batch.args[1:]))
    return torch.equal(answer(lab.model, batch, lab.seed), answer(lab.model, other, lab.seed))


def _of_samples(lab: Lab) -> tuple[dict[str, float], str] | None:
    """Return what is told of the lookup with the most different codes, and the name of its table."""
    sides = []
    for batches in (lab.wide_training, lab.wide_given):
        seen: list[list[_Call]] = []
        for batch in batches:
            lab.clock.need(1)
            seen.append(_looked_up(lab.model, batch))
        if len({tuple(call.codes.shape[1] for call in calls) for calls in seen}) != 1:
            return None
        sides.append(seen)
    training, given = (
        [torch.cat([calls[place].codes for calls in seen]) for place in range(len(seen[0]))] for seen in sides
    )
    found = [
        (place, column)
        for place, codes in enumerate(training)
        if place < len(given) and codes.shape[1] == given[place].shape[1]
        for column in range(codes.shape[1])
    ]
    if not found:
        return None
    place, column = max(found, key=lambda at: len(torch.unique(training[at[0]][:, at[1]])))
    ours, asked = training[place][:, column], given[place][:, column]
    both = torch.cat([ours, asked])
    table = sides[0][0][place].table
    numbers = {
        "samples": float(len(ours)),
        "distinct": float(len(torch.unique(ours))),
        "given": float(len(asked)),
        "known": float(torch.isin(asked, ours).sum()),
        "places": float(both.max() - both.min() + 1),
        "rows": float(len(table)) if table is not None else 0.0,
    }
    names = {id(p): name for name, p in lab.model.named_parameters()}
    return numbers, names.get(id(table), "").removesuffix(".weight")
