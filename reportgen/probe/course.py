"""Weights over time: the same tensors in several checkpoints, slice by slice, all files side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..document.course import Course, CourseRow
from .reduce import as_real
from .spectra import Method, spectrum

_SLICE = 1 << 20


class Point(NamedTuple):
    """One checkpoint."""

    label: str
    tensors: Mapping[str, Tensor]
    release: Callable[[Tensor], None] = lambda part: None


def course_of(
    points: Sequence[Point], spectra: Method = "off", tick: Callable[[int], object] = lambda n_bytes: None
) -> Course:
    """Follow every floating tensor of the last checkpoint through all of them, the earliest first.

    ``tick`` is told of the bytes that were read. Ctrl-C ends the reading and keeps what was read.
    """
    rows, left_out, interrupted = [], 0, False
    try:
        for name, last in points[-1].tensors.items():
            if not last.is_floating_point():
                continue
            row = _row(name, points, spectra) if all(name in point.tensors for point in points) else None
            rows += [row] if row is not None else []
            left_out += row is None
            tick(len(points) * last.numel() * last.element_size())
    except KeyboardInterrupt:
        interrupted = True
    return Course(checkpoints=[point.label for point in points], rows=rows, left_out=left_out, interrupted=interrupted)


def _row(name: str, points: Sequence[Point], spectra: Method) -> CourseRow | None:
    tensors = [as_real(point.tensors[name]) for point in points]
    reals = [t for t in tensors if t is not None]
    if len(reals) < len(points) or any(t.shape != reals[0].shape for t in reals):
        return None
    products = np.zeros((3, len(reals)))  # w·w, then w·w' and |w'-w|² with the next
    flats = [t.reshape(-1) for t in reals]
    for first in range(0, flats[0].numel(), _SLICE):
        raw = [flat[first : first + _SLICE] for flat in flats]
        parts = [part.double() for part in raw]
        for i, a in enumerate(parts):
            products[0, i] += float(a @ a)
            if i + 1 < len(parts):
                products[1, i] += float(a @ parts[i + 1])
                products[2, i] += float((parts[i + 1] - a).square_().sum())
        for part, point in zip(raw, points, strict=True):
            point.release(part)
    if not np.isfinite(products).all():
        return None
    norms = [math.sqrt(s) for s in products[0]]
    steps = range(len(points) - 1)
    matrices = [t.flatten(1) for t in reals] if reals[0].dim() > 1 else []
    found = [spectrum(matrix, spectra, norm) for matrix, norm in zip(matrices, norms, strict=False)]
    return CourseRow(
        name=name,
        shape=list(reals[0].shape),
        norms=norms,
        moved=[math.sqrt(products[2, i]) / (norms[i] or 1.0) for i in steps],
        cosines=[_cosine(products[1, i], norms[i], norms[i + 1]) for i in steps],
        stable_ranks=[s.stable_rank for s in found if s is not None] if all(found) else [],
    )


def _cosine(dot: float, a: float, b: float) -> float:
    if a and b:
        return float(np.clip(dot / a / b, -1, 1))
    return 1.0 if a == b else 0.0
