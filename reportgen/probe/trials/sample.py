"""A bounded sample of batches for experiments, and how to shuffle, cut and change batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...subject.data import Batch, tensors

SAMPLES = 256
WIDE = 1024
MAX_BATCHES = 64
MIN_BATCHES = 8
BYTES = 1 << 26


class Reservoir:
    """Keeps some batches of a pass, each as likely as any other (Vitter 1985), the same ones in every run."""

    def __init__(self, seed: int, samples: int = SAMPLES) -> None:
        self._rng = random.Random(seed)
        self._samples = samples
        self._kept: list[Batch] = []
        self._room = 0
        self._seen = 0

    def update(self, batch: Batch) -> None:
        """Look at one batch."""
        if not self._room:
            wanted = min(max(MIN_BATCHES, -(-self._samples // max(batch.n_samples, 1))), MAX_BATCHES)
            self._room = max(1, min(wanted, BYTES // max(_bytes(batch), 1)))
        self._seen += 1
        if len(self._kept) < self._room:
            self._kept.append(batch)
        elif (place := self._rng.randrange(self._seen)) < self._room:
            self._kept[place] = batch

    def as_read(self) -> list[Batch]:
        """Return the batches kept as they came, with what they carry of their samples."""
        return list(self._kept)

    def batches(self) -> list[Batch]:
        """Return the batches kept, their samples shuffled across them where the shapes allow."""
        return shuffled(self._kept, self._rng.randrange(1 << 30))


def _bytes(batch: Batch) -> int:
    return sum(t.numel() * t.element_size() for t in tensors((batch.args, batch.kwargs, batch.target)))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a change to every tensor in nested containers; mappings of other types come back as dicts."""
    if isinstance(value, Tensor):  # the usual forms by hand: a walk through any tree takes as long as a small step
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(mapped(part, change) for part in value)
    if type(value) is dict:
        return {key: mapped(part, change) for key, part in value.items()}
    return pytree.tree_map_only(Tensor, change, value)


def changed(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Apply a change to every input tensor; the target stays."""
    return replace(batch, args=mapped(batch.args, change), kwargs=mapped(batch.kwargs, change))


def doubled(batch: Batch) -> Batch:
    """Return the batch in double precision: floating-point inputs and targets."""

    def double(t: Tensor) -> Tensor:
        return t.double() if t.is_floating_point() else t

    return replace(changed(batch, double), target=mapped(batch.target, double))


def rows(batch: Batch, index: Tensor) -> Batch:
    """Return the batch made of these samples."""
    place = {t.device: index.to(t.device) for t in tensors((batch.args, batch.kwargs, batch.target))}

    def pick(t: Tensor) -> Tensor:
        return t.index_select(0, place[t.device])

    return replace(
        batch,
        args=mapped(batch.args, pick),
        kwargs=mapped(batch.kwargs, pick),
        target=mapped(batch.target, pick),
        carried={},
    )


def is_by_sample(batch: Batch, *, with_target: bool = True) -> bool:
    """Tell whether dimension 0 of every tensor counts samples."""
    parts = list(tensors((batch.args, batch.kwargs, batch.target if with_target else None)))
    return bool(parts) and all(_is_plain(t) and t.dim() and t.shape[0] == batch.n_samples for t in parts)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_nested


def shuffled(batches: list[Batch], seed: int, least: int = 1) -> list[Batch]:
    """Mix the samples of several batches and deal them out again, at least ``least`` to a batch.

    Batches that cannot be joined come back as given.
    """
    if len(batches) < 2 or not all(is_by_sample(b) for b in batches):
        return batches
    try:
        whole = joined(batches)
    except (RuntimeError, ValueError):  # other shapes from batch to batch: padded sequences, pictures of any size
        return batches
    order = torch.randperm(whole.n_samples, generator=torch.Generator().manual_seed(seed))
    size = max(least, *(b.n_samples for b in batches))
    return [rows(whole, part) for part in torch.split(order, size)]


def joined(batches: list[Batch]) -> Batch:
    """Put batches of one structure one behind the other."""
    flat, specs = zip(*(pytree.tree_flatten((b.args, b.kwargs, b.target)) for b in batches), strict=True)
    if any(spec != specs[0] for spec in specs):
        raise ValueError("the batches differ in structure")
    columns = [torch.cat(c) if isinstance(c[0], Tensor) else c[0] for c in zip(*flat, strict=True)]
    args, kwargs, target = pytree.tree_unflatten(columns, specs[0])
    return replace(batches[0], args=args, kwargs=kwargs, target=target, carried={})


def first_samples(batches: list[Batch], n: int) -> Batch | None:
    """Return the first ``n`` samples of the batches as one batch; fewer when there are not so many."""
    if not batches:
        return None
    try:
        whole = joined(batches) if len(batches) > 1 and all(is_by_sample(b) for b in batches) else batches[0]
    except (RuntimeError, ValueError):
        whole = batches[0]
    if not is_by_sample(whole):
        return whole
    return rows(whole, torch.arange(min(n, whole.n_samples)))
