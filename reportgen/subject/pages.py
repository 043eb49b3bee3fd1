"""Giving back the memory of a mapped file once it was read, so that a file of any size needs little memory."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Pages:
    """The parts of memory that are maps of some files. Nothing is known, and nothing given back, but on Linux."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, paths: Iterable[Path]) -> None:
        """Look up where files are mapped now."""
        wanted = {str(path.resolve()) for path in paths}
        if not sys.platform.startswith("linux"):
            return
        with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                parts = line.rstrip("\n").split(maxsplit=5)
                if len(parts) == 6 and parts[5] in wanted:
                    first, last = parts[0].split("-")
                    self._ranges.append((int(first, 16), int(last, 16)))

    def release(self, tensor: Tensor) -> None:
        """Drop the pages of a tensor that was read from a map; they come back from the file when they are asked for.

        Only whole memory of a map of the file is touched, never any other: dropped pages of other memory are lost. What
        was written into the tensor is lost too.
        """
        if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel() or not tensor.is_contiguous():
            return
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()
        for begin, end in self._ranges:
            if begin <= first and last <= end:
                first -= first % mmap.PAGESIZE
                last = min(last + -last % mmap.PAGESIZE, end)
                _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)
                return


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
