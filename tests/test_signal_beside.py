"""What neighbours tell in two splits, where one was oversampled, or lies in the order of its classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reportgen.document.samples import Signal
from reportgen.probe.signal import SignalSample, beside
from reportgen.probe.sureness import WordSample
from reportgen.subject.data import Batch

from .test_noisy_labels import texts


def sample(x: Tensor, y: Tensor) -> SignalSample:
    found = SignalSample()
    for a, b in zip(x.split(32), y.split(32), strict=True):
        found.update(Batch((a,), {}, b))
    return found


def rare(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of which one in 25 is of a class that lies a little aside."""
    g = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=g) < 0.04).long()
    x = torch.randn(n, 12, generator=g)
    x[:, :4] += 0.95 * y[:, None]
    return x, y


def balanced(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Draw with replacement so that both classes are as many, as a weighted sampler does."""
    weights = 1.0 / torch.bincount(y)[y]
    drawn = torch.multinomial(weights, len(y), True, generator=torch.Generator().manual_seed(seed))
    return x[drawn], y[drawn]


def asked(training: SignalSample, given: SignalSample) -> tuple[Signal, Signal]:
    found = beside(training, given)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(4))
def test_oversampled_training_data_have_no_stronger_signal_than_rare_samples_given(seed: int) -> None:
    drawn = sample(*balanced(*rare(4200, seed), seed))
    alone = drawn.facts()
    assert alone is not None
    assert alone.z > 8
    train, given = asked(drawn, sample(*rare(1800, seed + 10)))
    assert train.n == given.n
    assert train.z < 8
    assert abs(train.score - given.score) < 0.06


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_others_are_seen_through_oversampling(seed: int) -> None:
    x, y = rare(4200, seed)
    x[:, :4] += 2.0 * y[:, None]
    x_given, y_given = rare(1800, seed + 10)
    x_given[:, :4] += 2.0 * y_given[:, None]
    mixed = y_given[torch.randperm(1800, generator=torch.Generator().manual_seed(seed))]
    right = asked(sample(*balanced(x, y, seed)), sample(x_given, y_given))
    wrong = asked(sample(*balanced(x, y, seed)), sample(x_given, mixed))
    assert min(s.z for s in right) > 8
    assert wrong[0].z > 8
    assert wrong[1].z < 3


def test_rows_of_few_values_repeat_by_nature_and_count() -> None:
    x = torch.randint(2, (1000, 4), generator=torch.Generator().manual_seed(0)).float()
    y = (x.sum(1) > 2).long()
    train, given = asked(sample(x[:600], y[:600]), sample(x[600:], y[600:].roll(1)))
    assert train.n == given.n == 400
    assert train.z > 8
    assert abs(given.z) < 3


@pytest.mark.parametrize("n", [400, 1500])
def test_texts_in_the_order_of_their_labels_are_told_as_any(n: int) -> None:
    x, y = texts(n, 1)
    order = y.argsort(stable=True)
    found = []
    for rows, labels in ((x, y), (x[order], y[order])):
        words = WordSample()
        for a, b in zip(rows.split(30), labels.split(30), strict=True):
            words.update(Batch((a,), {}, b))
        signal = words.signal(300)
        assert signal is not None
        found.append(signal.score)
    assert abs(found[0] - found[1]) < 0.1
