"""Every tensor of the batches, inputs and targets: shape, type, range, moments; how often each target occurs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from ..document.samples import TargetCounts, TensorRow, TokenInputs
from ..document.stats import TensorStats
from ..subject.data import Batch, tensors
from ..subject.shapes import dense_rows, shape_of
from .reduce import DENSE_LIMIT, slice_stats, strided

MAX_TENSORS = 24
MAX_CLASSES = 10_000
_VOCABULARY = 1 << 18
_SAMPLE = 1 << 20
_COMMON = 8


class BatchTensors:
    """Statistics by tensor, merged over batches."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], TensorRow] = {}
        self._counts: dict[str, tuple[Literal["classes", "labels"], Tensor, int] | None] = {}
        """By target; None of one that looked like another kind in a later batch."""
        self._tokens: Tensor | None = None
        self._n_tokens = 0

    def update(self, batch: Batch) -> None:
        """Add one batch."""
        first = batch.first
        for name, x in _inputs(batch):
            # numbers are measured by feature already, and bytes of images with them
            measured = x is first and (x.is_floating_point() or x.dtype == torch.uint8)
            self._add(name, "input", x, measured=measured)
        for name, x in targets(batch.target):
            self._add(name, "target", x)
            self._count(name, x)
        if first is not None and _are_tokens(first):
            flat = first.reshape(-1).cpu().long()
            flat = flat[(flat >= 0) & (flat < _VOCABULARY)]
            self._n_tokens += len(flat)
            counts = torch.bincount(flat)
            self._tokens = counts if self._tokens is None else _sum(self._tokens, counts)

    def _add(self, name: str, role: Literal["input", "target"], x: Tensor, *, measured: bool = False) -> None:
        key = (role, name)
        if key not in self._rows and len(self._rows) >= MAX_TENSORS:
            return
        stats, sampled = (TensorStats(), False) if measured else _stats(x)
        held = self._rows.get(key)
        self._rows[key] = TensorRow(
            name=name,
            role=role,
            shape=held.shape if held is not None else shape_of(x),
            dtype=str(x.dtype).removeprefix("torch."),
            stats=stats if held is None else held.stats.merge(stats),
            sampled=sampled or (held is not None and held.sampled),
        )

    def _count(self, name: str, x: Tensor) -> None:
        found = _counted(x)
        if found is None or (name not in self._counts and len(self._counts) >= MAX_TENSORS):
            return
        kind, counts, n = found
        held = self._counts.get(name, (kind, counts[:0], 0))
        if held is None or held[0] != kind:
            # 0 and 1 in the first batch, and then another class: not counted anew, as those so far would be missing
            self._counts[name] = None
        else:
            self._counts[name] = kind, _sum(held[1], counts), held[2] + n

    def rows(self, first: TensorStats) -> list[TensorRow]:
        """Return one row a tensor; ``first`` are the statistics of the first input."""
        rows = list(self._rows.values())
        at = next((i for i, row in enumerate(rows) if row.role == "input" and not row.stats.count), None)
        if at is not None:
            rows[at] = msgspec.structs.replace(rows[at], stats=first)
        return rows

    def counts(self) -> list[TargetCounts]:
        counted = ((name, found) for name, found in self._counts.items() if found is not None)
        return [TargetCounts(name=name, kind=kind, counts=counts.tolist(), n=n) for name, (kind, counts, n) in counted]

    def tokens(self) -> TokenInputs | None:
        if self._tokens is None or not self._n_tokens:
            return None
        times, places = self._tokens.sort(descending=True, stable=True)
        common = [(int(p), int(t)) for p, t in zip(places[:_COMMON], times[:_COMMON], strict=True) if t]
        return TokenInputs(n=self._n_tokens, distinct=int((self._tokens > 0).sum()), commonest=common)


def _inputs(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    for i, value in enumerate(batch.args):
        yield from _named(str(i), value)
    for key, value in batch.kwargs.items():
        yield from _named(key, value)


def targets(target: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a target by their names; the only one is 'target'."""
    if isinstance(target, Tensor):
        yield "target", target
    elif isinstance(target, Mapping):
        yield from ((str(key), value) for key, value in target.items() if isinstance(value, Tensor))
    elif isinstance(target, (list, tuple)):
        yield from ((str(i), value) for i, value in enumerate(target) if isinstance(value, Tensor))


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((f"{name}.{key}", x) for x in tensors(item))
    else:
        for i, x in enumerate(tensors(value)):
            yield (f"{name}.{i}" if i else name), x


def _stats(x: Tensor) -> tuple[TensorStats, bool]:
    x = dense_rows(x.detach())
    if x.is_meta or x.is_complex() or x.is_quantized or (x.layout != torch.strided and x.numel() > DENSE_LIMIT):
        return TensorStats(), False
    values, stride = strided(x if x.layout == torch.strided else x.to_dense(), _SAMPLE)
    return slice_stats(values), stride > 1


def _counted(x: Tensor) -> tuple[Literal["classes", "labels"], Tensor, int] | None:
    """Count classes of whole numbers, or samples by label where each sample has several zeros and ones."""
    if x.dim() == 2 and x.shape[1] > 1 and bool(((x == 0) | (x == 1)).all()):
        return "labels", x.sum(0).long().cpu(), len(x)
    if x.is_floating_point() or x.is_complex() or x.is_nested:
        return None
    flat = x.reshape(-1).long().cpu()
    flat = flat[(flat >= 0) & (flat < MAX_CLASSES)]
    return "classes", torch.bincount(flat), len(flat)


def _are_tokens(x: Tensor) -> bool:
    plain = not x.is_nested and x.layout == torch.strided
    return plain and x.dim() == 2 and x.dtype in (torch.int64, torch.int32)


def _sum(a: Tensor, b: Tensor) -> Tensor:
    size = max(len(a), len(b))
    return torch.nn.functional.pad(a, (0, size - len(a))) + torch.nn.functional.pad(b, (0, size - len(b)))
