"""What is examined, and what is kept of the batches that were read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..options import Options
from ..probe.copies import linked_to, workable
from ..probe.dataset import DatasetProbe
from ..probe.mixed import Look
from ..probe.pictures import run as pictures
from ..probe.trials.sample import WIDE, Reservoir
from ..subject.data import Batch, Reading
from ..subject.handed import Loss
from ..subject.wrappers import ExportedProgram, underneath


@dataclass
class Split:
    """What is kept of one split beyond its pass: some batches for experiments, samples to compare with the other."""

    reservoir: Reservoir = field(default_factory=lambda: Reservoir(0))
    wide: Reservoir = field(default_factory=lambda: Reservoir(1, WIDE))
    """More samples, for the experiments that learn from them."""
    dataset: DatasetProbe | None = None
    watching: pictures.Watching | None = None

    def keep(self, batch: Batch) -> None:
        """Let both reservoirs look at a batch."""
        self.reservoir.update(batch)
        self.wide.update(batch)


@dataclass(frozen=True)
class Subject:
    """A model with all that was given beside it."""

    model: nn.Module
    loss: Loss | None
    optimizers: tuple[Optimizer, ...]
    options: Options
    wrappers: list[str]
    """What was taken off the model that the caller gave."""
    example: Batch | None
    """Inputs that an exported program brings along."""
    real: Any = None
    extractor: Callable[[Tensor], Any] | None = None
    given: Split = field(default_factory=lambda: Split())
    training: Split = field(default_factory=lambda: Split())
    reading: Reading = field(default_factory=lambda: Reading())
    """How the data given are read; the training data are read alike."""
    in_eval: bool | None = None
    """The model was handed over in eval mode; None where it does not say."""
    peak: float = 0.0
    """Highest learning rate that the history of the run tells; 0 where none does."""
    held: frozenset[str] = frozenset()
    """Norms and dropouts that the run was seen to keep in eval mode in training."""
    looks: tuple[Look, ...] = ()
    """Samples that a monitor saw go through the model in training."""


def subject_of(
    model: nn.Module | ExportedProgram, loss: Loss | None, optimizers: tuple[Optimizer, ...], options: Options
) -> Subject:
    """Take off what wraps a model, and bring it to where it can be measured."""
    example = getattr(model, "example_inputs", None) if isinstance(model, ExportedProgram) else None
    module, wrappers = underneath(model)
    if isinstance(model, ExportedProgram):
        optimizers = linked_to(module, model, optimizers)
    module, optimizers = workable(module, optimizers, options)
    reading = Reading(carried=tuple(options.slices))
    inputs = Batch(*example) if example else None
    training = getattr(module, "training", None)
    in_eval = not training if isinstance(training, bool) else None
    return Subject(module, loss, optimizers, options, wrappers, inputs, reading=reading, in_eval=in_eval)
