"""Bytes of tensors, and the most that were alive at once while a model ran.

Peak: every tensor that an operator returns is weighed by its storage when it is made and taken off when the storage is
freed, so views count once. What the model held before (parameters, buffers, the input) is not in it. Not seen is what
an operator allocates for itself and frees before it returns (the workspace of a convolution), so the true peak is the
same or higher; allocators also round every block up.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..subject.data import tensors
from ..subject.shapes import stored_parts


def nbytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements, of the stored ones when it is sparse."""
    if tensor.layout == torch.strided:  # nested tensors of this layout too
        return tensor.numel() * tensor.element_size()
    return sum(part.numel() * part.element_size() for part in stored_parts(tensor))


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """Return the storage of a tensor; None where a layout or a subclass has none of its own."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


class LiveBytes:
    """Bytes alive of what operators returned: ``now`` and ``peak``; ``at`` is the place that was given at the peak."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        self.now = 0
        self.peak = 0
        self.at = ""
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._given: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in given:
            self._add_given(storage_of(tensor))

    def see(self, args: Any, out: Any, place: str) -> None:
        """Weigh what an operator returned. A storage that one of its arguments brought along was there before."""
        for tensor in tensors(out):
            storage = storage_of(tensor)
            if storage is None or storage._cdata in self._live or storage._cdata in self._given:
                continue
            if any((s := storage_of(t)) is not None and s._cdata == storage._cdata for t in tensors(args)):
                self._add_given(storage)
            else:
                self._add(storage, place)

    def close(self) -> None:
        """Forget every storage; the sums stay."""
        self._live.clear()
        self._given.clear()

    def _add_given(self, storage: torch.UntypedStorage | None) -> None:
        if storage is not None:
            key = storage._cdata  # an address, which another storage may have once this one is freed
            self._given[key] = weakref.ref(storage, lambda _: self._given.pop(key, None))

    def _add(self, storage: torch.UntypedStorage, place: str) -> None:
        key, size = storage._cdata, storage.nbytes()

        def freed(_: object) -> None:
            if self._live.pop(key, None) is not None:
                self.now -= size

        self._live[key] = weakref.ref(storage, freed)
        self.now += size
        if self.now > self.peak:
            self.peak, self.at = self.now, place
