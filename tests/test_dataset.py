"""Statistics of inputs, whatever the batches: against numpy, and with memory that a loader fills again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reportgen.probe.alike import InputSample
from reportgen.probe.dataset import DatasetProbe
from reportgen.probe.signal import SignalSample
from reportgen.subject.data import Batch

MODEL = nn.Linear(3, 2)


def table(n: int = 700) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator) * torch.tensor([1.0, 20.0, 0.01]) + torch.tensor([0.0, 5.0, 1.0])
    return x, (x[:, 0] > 0).long()


def reused(x: Tensor, y: Tensor, size: int) -> Iterator[Batch]:
    """Yield batches in one and the same memory."""
    inputs, targets = x[:size].clone(), y[:size].clone()
    for place in range(0, len(x) - size + 1, size):
        inputs.copy_(x[place : place + size])
        targets.copy_(y[place : place + size])
        yield Batch((inputs,), target=targets)


@pytest.mark.parametrize("size", [1, 50, 700])
def test_features_are_those_of_numpy_however_batched(size: int) -> None:
    x, y = table()
    probe = DatasetProbe(MODEL)
    for batch in reused(x, y, size):
        probe.update(batch)
    features = probe.facts().features
    values = x.double().numpy()
    for index, row in enumerate(features):
        stats, column = row.stats, values[:, index]
        assert row.index == index
        assert stats.count == 700
        assert stats.mean == pytest.approx(column.mean(), rel=1e-9)
        assert stats.std == pytest.approx(column.std(), rel=1e-9)
        assert (stats.min, stats.max) == (column.min(), column.max())
        assert stats.histogram is not None
        assert sum(stats.histogram.counts) == 700


@pytest.mark.parametrize("size", [1, 50, 700])
def test_samples_are_drawn_alike_however_batched(size: int) -> None:
    x, y = table()
    whole, parts = (SignalSample(), InputSample()), (SignalSample(), InputSample())
    for sample in whole:
        sample.update(Batch((x,), target=y))
    for batch in reused(x, y, size):
        for sample in parts:
            sample.update(batch)
    (xs, ys), (others, labels) = whole[0].table(), parts[0].table()  # type: ignore[misc]
    assert torch.equal(xs, others)
    assert torch.equal(ys, labels)
    inputs = whole[1].table()
    assert inputs is not None
    assert torch.equal(inputs, parts[1].table())  # type: ignore[arg-type]
    assert all((x == row).all(1).any() for row in inputs)


def test_values_that_are_not_finite_and_whole_numbers_are_told() -> None:
    probe = DatasetProbe(MODEL)
    x = torch.tensor([[1.0, float("nan"), 3.0], [float("inf"), 2.0, -4.0]])
    for _ in range(3):
        probe.update(Batch((x,), target=torch.tensor([0, 1])))
    facts = probe.facts()
    assert facts.integer_valued is True
    assert [(f.stats.nan, f.stats.pos_inf) for f in facts.features] == [(0, 3), (3, 0), (0, 0)]
    probe = DatasetProbe(MODEL)
    probe.update(Batch((x + 0.5,), target=torch.tensor([0, 1])))
    assert probe.facts().integer_valued is False


def test_images_are_measured_by_channel_and_lengths_may_change() -> None:
    probe = DatasetProbe(nn.Conv2d(3, 4, 3))
    images = [torch.rand(4, 3, 8, 9) + torch.tensor([0.0, 1.0, 2.0])[:, None, None] for _ in range(5)]
    for one in images:
        probe.update(Batch((one,), target=torch.arange(4)))
    means = [f.stats.mean for f in probe.facts().features]
    assert means == pytest.approx(np.mean([i.double().numpy().mean((0, 2, 3)) for i in images], 0))
    probe = DatasetProbe(MODEL)
    series = [torch.randn(2, n, 3) for n in (5, 9, 2)]
    for one in series:
        probe.update(Batch((one,), target=torch.arange(2)))
    joined = torch.cat([s.reshape(-1, 3) for s in series]).double().numpy()
    assert [f.stats.mean for f in probe.facts().features] == pytest.approx(joined.mean(0))
