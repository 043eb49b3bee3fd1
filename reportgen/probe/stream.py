"""One pass over the data for everything that reads outputs: the model runs once a batch, whoever is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import one_line
from ..subject.data import Batch, call
from ..subject.shapes import shape_of

Watcher = Callable[[Any, Batch], None]


@dataclass
class Passage:
    """What a pass over the data came to."""

    n_batches: int = 0
    n_samples: int = 0
    shapes: list[str] = field(default_factory=list)
    kept: list[Batch] = field(default_factory=list)
    """The first batches, for parts that need them again."""
    trouble: str = ""
    """Why the pass ended before the data did."""
    failed: dict[str, str] = field(default_factory=dict)
    """Watchers that raised, and what; they saw no batch after that."""


def run(
    model: nn.Module,
    batches: Iterable[Batch],
    begin: Callable[[Batch], None],
    watchers: dict[str, Watcher],
    keep: int,
) -> Passage:
    """Run the model in eval mode over all batches; the caller holds the guard.

    ``begin(batch)`` is called before each batch, every watcher with (output, batch) after it. A model or loader
    that fails after the first batch ends the pass; what was seen until then stands.
    """
    model.eval()
    passage = Passage()
    with torch.no_grad():
        try:
            for batch in batches:
                begin(batch)
                output = call(model, batch)
                passage.n_batches += 1
                passage.n_samples += batch.n_samples
                if len(passage.kept) < keep:
                    passage.kept.append(batch)
                shape = shape_of(batch.first) if batch.first is not None else "no tensor"
                if shape not in passage.shapes and len(passage.shapes) < 4:
                    passage.shapes.append(shape)
                _tell(watchers, passage, output, batch)
        except Exception as error:
            passage.trouble = f"batch {passage.n_batches + 1}: {one_line(error)}"
    return passage


def _tell(watchers: dict[str, Watcher], passage: Passage, output: Any, batch: Batch) -> None:
    for name, watch in watchers.items():
        if name in passage.failed:
            continue
        try:
            watch(output, batch)
        except Exception as error:
            passage.failed[name] = one_line(error)
