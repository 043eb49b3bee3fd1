"""The data that the model was given: scale, range, type, labels, copies, order. One pass, fixed size."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from ..document.facts import DatasetFacts, FeatureStats
from ..document.samples import Rows, Signal, SplitFacts
from ..document.stats import TensorStats, merge_all
from ..subject.data import Batch
from ..subject.shapes import shape_of
from . import factors, families, twins, windows
from .alike import InputSample, apart
from .averaged import in_columns
from .batches import BatchTensors
from .encoded import TableRows, encoded
from .factors import PairRows
from .fingerprints import Fingerprints, overlap
from .joiner import Joiner
from .layers import NORMS, layers_of
from .mapped import MapSample
from .reduce import as_real, tensor_stats
from .repeats import coincidences
from .sequence import InputOrder, LabelOrder, PaddingCount
from .shortcut import filled, halves_meet, shortcut
from .signal import SignalSample, across, beside
from .sureness import WordSample, sureness
from .token_signal import TokenSignal
from .turns import Turned
from .twins import Region
from .vectors import VectorSample
from .windows import WindowRuns

MAX_FEATURES = 64
MAX_CLASSES = 10_000
_SAMPLE = 1 << 14  # values of a feature that its histogram is made of, at a time
IGNORED = -100  # the target that the losses of torch leave out


class DatasetProbe:
    """Statistics of the first input tensor by channel or column, and of the target, over all batches."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._features: dict[int, TensorStats] = {}
        self._waiting: list[Tensor] = []
        """Inputs by feature, (features, values), of batches too small to be measured one by one."""
        self._counts: Tensor | None = None
        self._target: TensorStats | None = None
        self._target_dtype: str | None = None
        self._shape = self._dtype = ""
        self._integer: bool | None = None
        self._n_samples = 0
        self._n_batches = 0
        self._label_range: tuple[int, int] | None = None
        self.copies, self.neighbours, self.tokens = Fingerprints(), SignalSample(), TokenSignal()
        self.region, self.inputs, self.runs = Region(), InputSample(), WindowRuns()
        self.table, self.pairs, self._maps = TableRows(), PairRows(), MapSample()
        self.words, self.vectors = WordSample(), VectorSample()
        self._order, self._rows, self._padding = LabelOrder(), InputOrder(), PaddingCount()
        self._tensors = BatchTensors()
        self._joiner = Joiner(self._look)
        self.limits = ""
        """What was not looked at, and why."""

    def update(self, batch: Batch) -> None:
        """Add one batch."""
        x = batch.first
        if x is None:
            return
        self._n_batches += 1
        self._n_samples += batch.n_samples
        self._shape = self._shape or shape_of(x)
        if not x.is_nested and x.layout == torch.strided:
            self.copies.update(batch)  # those that choose pictures ask for it right away
        self._order.expect(batch.n_samples)
        self._joiner.add((), batch)

    def settle(self) -> None:
        """Look at what waits."""
        self._joiner.settle()

    def _look(self, output: tuple[()], batch: Batch) -> None:
        x = batch.first
        assert x is not None
        self._dtype = str(x.dtype).removeprefix("torch.")
        self._add_input(x)
        self._order.update(batch)
        self._tensors.update(batch)
        if x.is_nested or x.layout != torch.strided:
            kind = "nested" if x.is_nested else "sparse"
            self.limits = f"the inputs are {kind} tensors: neither copies nor padding nor neighbours were looked for"
        else:
            self._rows.update(x)
            self.neighbours.update(batch)
            self.tokens.update(batch)
            self.region.update(batch)
            self.table.update(batch)
            self.pairs.update(batch)
            self.inputs.update(batch)
            self.runs.update(batch)
            self._maps.update(batch)
            self.words.update(batch)
            self.vectors.update(batch)
            self._padding.update(x)
        if isinstance(batch.target, Tensor):
            self._add_target(batch.target)

    def _add_input(self, x: Tensor) -> None:
        values = as_real(x)
        if values is None:
            # codes or tokens have no scale worth judging; an image of bytes has one
            if x.dtype != torch.uint8:
                return
            values = x.float()
        table = _by_feature(values)
        if self._waiting and (len(table), table.dtype) != (len(self._waiting[0]), self._waiting[0].dtype):
            self._measure()
        few = table.shape[1] < _SAMPLE
        self._waiting.append(table.clone() if few else table)  # a loader may fill the same memory again
        if sum(part.shape[1] for part in self._waiting) >= _SAMPLE:
            self._measure()

    def _measure(self) -> None:
        """Measure the inputs that wait."""
        if not self._waiting:
            return
        table = self._waiting[0] if len(self._waiting) == 1 else torch.cat(self._waiting, 1)
        self._waiting = []
        rounded = table.round()
        # what is not finite is its own rounding, but NaN is not equal to itself
        whole = bool(((table == rounded) | table.isnan()).all())
        self._integer = whole and self._integer is not False
        for index, part in enumerate(table):
            stats = tensor_stats(part, sample=_SAMPLE)
            if stats is not None:
                self._features[index] = self._features.get(index, TensorStats()).merge(stats)

    def _add_target(self, target: Tensor) -> None:
        self._target_dtype = str(target.dtype).removeprefix("torch.")
        if target.is_floating_point():
            stats = tensor_stats(target, sample=1 << 14)
            if stats is not None:
                self._target = stats if self._target is None else self._target.merge(stats)
            return
        flat = target.reshape(-1).long().cpu()
        told = flat[flat != IGNORED]
        if len(told):
            low, high = int(told.min()), int(told.max())
            known = self._label_range or (low, high)
            self._label_range = min(low, known[0]), max(high, known[1])
        flat = flat[(flat >= 0) & (flat < MAX_CLASSES)]
        counts = torch.bincount(flat)
        if self._counts is not None:
            size = max(len(counts), len(self._counts))
            counts = _padded(counts, size) + _padded(self._counts, size)
        self._counts = counts

    def facts(self, rows: Rows | None = None) -> DatasetFacts:
        """Return what was seen, with what was found in the order of the file beside it (see ``rows_of``)."""
        self.settle()
        self._measure()
        table = self.neighbours.table()
        features = [stats for _, stats in sorted(self._features.items())]
        return DatasetFacts(
            n_samples=self._n_samples,
            n_batches=self._n_batches,
            shape=self._shape,
            dtype=self._dtype,
            features=[FeatureStats(index=i, stats=s) for i, s in sorted(self._features.items())],
            integer_valued=self._integer,
            normalised_first=_normalises_first(self._model),
            class_counts=None if self._counts is None else self._counts.tolist(),
            target_dtype=self._target_dtype,
            target=self._target,
            target_classes=self._order.n_values,
            label_min=self._label_range[0] if self._label_range else None,
            label_max=self._label_range[1] if self._label_range else None,
            copies=self.copies.facts(),
            order=self._order.facts(self._rows.correlation()),
            padding=self._padding.facts(),
            signal=self.neighbours.facts() or self.vectors.facts() or self.words.signal(),
            twins=self.region.facts(),
            tensors=self._tensors.rows(merge_all(msgspec.structs.replace(s, histogram=None) for s in features)),
            targets=self._tensors.counts(),
            tokens=self._tensors.tokens(),
            rows=rows,
            shortcut=shortcut(table, self.neighbours.kind, self.neighbours.step),
            filled=filled(table, self.neighbours.kind, self.neighbours.step),
            mapped=self._maps.facts(),
            sureness=sureness(table, self.neighbours.kind) or self.words.facts(),
            averaged=in_columns(table, self.neighbours.kind, self.neighbours.step),
        )


def compare(
    training: DatasetProbe, given: DatasetProbe, redrawn: float | None = None, turned: Turned | None = None
) -> SplitFacts:
    """Hold the training data against the data given; ``redrawn``: see ``readings.redrawn``, ``turned``: ``turns``."""
    turned = turned or Turned()
    for probe in (training, given):
        probe.settle()
    both = overlap(training.copies, given.copies)
    compared, shared, other, inputs = both if both is not None else (None,) * 4
    measured = training.neighbours.table() if shared else None
    dimension = twins.dimension_of(measured[0]) if measured is not None else None
    signals = beside(training.neighbours, given.neighbours) or (_others(training, given), _others(given, training))
    return SplitFacts(
        compared=compared,
        shared=shared,
        shared_other_target=other,
        shared_inputs=inputs,
        halves=halves_meet(measured),
        by_chance=coincidences(measured, dimension),
        dimension=dimension,
        across=across(training.neighbours, given.neighbours) or factors.across(training.pairs, given.pairs),
        twins=twins.across(training.region, given.region),
        # a series that comes back has as many windows of a kind as it has periods: those are no copies
        families=None if windows.slide(given.runs) else families.across(training.region, given.region),
        training_families=None if windows.slide(training.runs) else families.within(training.region),
        apart=apart(training.inputs, given.inputs),
        windows=windows.across(training.runs, given.runs),
        encoded=encoded(training.table, given.table),
        training_signal=signals[0],
        given_signal=signals[1],
        redrawn=redrawn,
        turned=turned.shares,
        torn=turned.torn,
        torn_of=turned.maps,
    )


def _others(probe: DatasetProbe, beside: DatasetProbe) -> Signal | None:
    """Return what is told of targets that are no single number of a row, by as many samples of either split."""
    return (
        probe.tokens.facts(min(len(probe.tokens), len(beside.tokens)))
        or probe.vectors.facts(min(len(probe.vectors), len(beside.vectors)))
        or probe.words.signal(min(len(probe.words), len(beside.words)))
    )


def _by_feature(x: Tensor) -> Tensor:
    """Lay out an input by channel (images: dimension 1) or column (tables: the last); whole when there are too many.

    Returns (features, values).
    """
    dim = 1 if x.dim() >= 4 else x.dim() - 1
    if x.dim() < 2 or x.shape[dim] > MAX_FEATURES:
        return x.reshape(1, -1)
    return x.movedim(dim, 0).flatten(1)


def _padded(counts: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(counts, (0, size - len(counts)))


def _normalises_first(model: nn.Module) -> bool:
    """Tell whether the first layer by registration is a norm, so that the scale of the input does not matter."""
    first: Any = next(iter(layers_of(model).values()), None)
    return isinstance(first, NORMS)
