"""Fingerprints of what was examined, so that a reader can tell later whether it was the same; of bounded cost."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data import Batch

WHOLE = 1 << 29  # bytes up to which a file is read in full: about as long as its statistics take
EDGE = 1 << 24
_LENGTH = 16  # hexadecimal digits, 64 bits: enough to tell files apart, short enough to compare by eye


def of_file(path: Path) -> str:
    """Return the fingerprint of a weights file, or of the files of a folder; of a very large one, of its two ends.

    '' where it cannot be read.
    """
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        digest, whole = hashlib.sha256(), sum(p.stat().st_size for p in files) <= WHOLE
        for file in files:
            if path.is_dir():
                digest.update(file.relative_to(path).as_posix().encode())
            _read(file, digest, whole=whole)
    except OSError:
        return ""
    return digest.hexdigest()[:_LENGTH] + ("" if whole else " (of its size and both ends)")


def _read(file: Path, digest: hashlib._Hash, *, whole: bool) -> None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if whole or size <= 2 * EDGE:
            while part := opened.read(1 << 20):
                digest.update(part)
            return
        digest.update(str(size).encode())
        digest.update(opened.read(EDGE))
        opened.seek(size - EDGE)
        digest.update(opened.read(EDGE))


def of_batch(batch: Batch) -> str:
    """Return the fingerprint of the tensors of a batch: types, shapes and values, of a very large one its beginning."""
    import torch

    from .data import tensors

    digest, found = hashlib.sha256(), False
    for tensor in tensors((batch.args, batch.kwargs, batch.target)):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
            continue
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().reshape(-1)[: EDGE // max(tensor.element_size(), 1)].cpu()
        plain = plain.clone(memory_format=torch.contiguous_format)  # one element with a stride passes for contiguous
        digest.update(plain.view(torch.uint8).numpy().tobytes())
        found = True
    return digest.hexdigest()[:_LENGTH] if found else ""
