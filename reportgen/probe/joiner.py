"""Small batches read as one: what is done once a batch costs a small model more than the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..subject.data import Batch

SMALL = 1 << 18  # bytes of a batch and its outputs, up to which it waits for others
FULL = 1 << 20
SAMPLES = 1024

Kind = tuple[Any, ...]


class Joiner:
    """Hands on outputs and batches, small ones of one form put together, in their order.

    For readers that come to the same whatever the batches are. The first batch goes by itself, as its form is told.
    """

    def __init__(self, read: Callable[[Any, Batch], None]) -> None:
        self._read = read
        self._kind: Kind | None = None
        self._waiting: list[list[Tensor | None]] = []
        self._carried: list[dict[str, Any]] = []
        self._like: tuple[Any, Batch] | None = None
        """The structure of those that wait, and the first of them."""
        self._bytes = self._samples = 0
        self._begun = False

    def add(self, output: Any, batch: Batch) -> None:
        """Take a batch; it is copied if it waits, as a loader may fill the same memory again."""
        leaves, structure = pytree.tree_flatten((output, batch.args, batch.kwargs, batch.target))
        n = batch.n_samples
        joinable = self._begun and n > 0
        self._begun = True
        parts = [leaf for leaf in leaves if leaf is not None] if joinable else []
        joinable = bool(parts) and all(_is_plain(part) and part.dim() and len(part) == n for part in parts)
        size = sum(part.numel() * part.element_size() for part in parts) if joinable else 0
        columns = [_column(column, n) for column in batch.carried.values()] if joinable else []
        if not joinable or size > SMALL or not all(columns):
            self.settle()
            self._read(output, batch)
            return
        kind = (
            structure,
            batch.fed_as,
            batch.fed_inside,
            *batch.carried,
            *columns,
            *(None if leaf is None else (leaf.dtype, leaf.device, leaf.shape[1:]) for leaf in leaves),
        )
        if kind != self._kind:
            self.settle()
            self._kind, self._like = kind, (structure, batch)
        self._waiting.append([None if leaf is None else leaf.clone() for leaf in leaves])
        self._carried.append({key: list(column) for key, column in batch.carried.items()})
        self._bytes, self._samples = self._bytes + size, self._samples + n
        if self._bytes >= FULL or self._samples >= SAMPLES:
            self.settle()

    def settle(self) -> None:
        """Hand on what waits."""
        if self._like is None:
            return
        (structure, first), waiting, carried = self._like, self._waiting, self._carried
        self._kind, self._like, self._waiting, self._carried = None, None, [], []
        self._bytes = self._samples = 0
        leaves = [None if parts[0] is None else torch.cat(parts) for parts in zip(*waiting, strict=True)]
        output, args, kwargs, target = pytree.tree_unflatten(leaves, structure)
        told: dict[str, Any] = {key: [value for part in carried for value in part[key]] for key in carried[0]}
        told = {key: torch.stack(column) if isinstance(column[0], Tensor) else column for key, column in told.items()}
        self._read(output, replace(first, args=args, kwargs=kwargs, target=target, carried=told))


def _is_plain(leaf: Any) -> bool:
    return type(leaf) is Tensor and leaf.layout == torch.strided and not leaf.is_nested and not leaf.is_quantized


def _column(column: Any, n: int) -> str:
    """Return what kind of column it is; '' of one that does not hold a value a sample."""
    if isinstance(column, Tensor):
        return f"{column.dtype} {column.shape[1:]}" if _is_plain(column) and column.dim() and len(column) == n else ""
    return "list" if isinstance(column, (list, tuple)) and len(column) == n else ""
