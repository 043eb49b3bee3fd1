"""Telling two samples of inputs apart: alike, and changed in ways that means by channel do not show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.probe.alike import InputSample, _rank_area, apart
from reportgen.subject.data import Batch


def sample(x: Tensor, size: int = 32) -> InputSample:
    kept = InputSample()
    for part in x.split(size):
        kept.update(Batch(args=(part,)))
    return kept


def pictures(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, 12)[None, None, None, :] * torch.tensor([0.6, 0.4, 0.2])[None, :, None, None]
    return 0.5 * torch.randn(n, 3, 12, 12, generator=generator) + ramp


def columns(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    return x


def words(n: int, seed: int) -> Tensor:
    return torch.randint(0, 20, (n, 24), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [pictures, columns, words])
@pytest.mark.parametrize("n", [80, 300])
def test_splits_drawn_alike_cannot_be_told_apart(make: Callable[[int, int], Tensor], n: int) -> None:
    areas = [apart(sample(make(n, 2 * seed)), sample(make(n, 2 * seed + 1))) for seed in range(5)]
    assert all(a is not None and a.n == n for a in areas)
    error = ((2 * n + 1) / (12 * n * n)) ** 0.5
    assert all(abs(a.area - 0.5) < 4 * error for a in areas if a is not None)
    assert all(abs(a.neighbours - a.null_mean) < 6 * a.null_std for a in areas if a is not None)


def test_a_split_in_the_order_of_its_classes_is_no_other_split() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (520,), generator=generator)
    x = torch.randn(520, 4, generator=generator) + 3 * y[:, None]
    training, given = x[:400][y[:400].argsort()], x[400:]
    found = apart(sample(training), sample(given))
    assert found is not None
    assert found.n == 120
    assert found.neighbours < found.null_mean + 4 * found.null_std
    assert found.area < 0.6


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (pictures, lambda x: x.flip(-1)),
        (pictures, lambda x: x[:, [2, 1, 0]]),
        (pictures, lambda x: 0.6 * x),
        (columns, lambda x: x[:, [0, 2, 1, 3]]),
        (columns, lambda x: x * torch.tensor([1.0, -1.0, 1.0, 1.0])),
        (words, lambda x: x + 1),
        (words, lambda x: x.sort(1).values),
    ],
)
def test_a_change_of_one_split_is_seen(make: Callable[[int, int], Tensor], change: Callable[[Tensor], Tensor]) -> None:
    found = apart(sample(make(300, 0)), sample(change(make(300, 1))))
    assert found is not None
    assert found.area > 0.7


def patients(n: int, seed: int, frames: int | None = 12) -> Tensor:
    """Rows in tight groups, of one size or of sizes from 2 to 15, one group after the other."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.full((n,), frames) if frames else torch.randint(2, 16, (n,), generator=g)
    x = torch.randn(n, 10, generator=g).repeat_interleave(sizes, 0)
    return x + 0.08 * torch.randn(x.shape, generator=g)


@pytest.mark.parametrize("frames", [4, 12, None])
def test_splits_cut_by_patient_cannot_be_told_apart(frames: int | None) -> None:
    areas = []
    for seed in range(6):
        found = apart(sample(patients(120, 2 * seed, frames)), sample(patients(40, 2 * seed + 1, frames)))
        assert found is not None
        assert found.groups is not None
        assert 30 <= found.groups <= 42
        assert found.neighbours > 0.65  # one that asks neighbours would be deceived
        areas.append(found.area)
    assert max(areas) < 0.7
    assert sum(areas) / 6 == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "change", [lambda x: x + 1.5, lambda x: 0.3 * x, lambda x: x.abs(), lambda x: x.sort(1).values]
)
def test_a_change_of_one_split_is_seen_beyond_its_patients(change: Callable[[Tensor], Tensor]) -> None:
    found = apart(sample(patients(120, 0)), sample(change(patients(40, 1))))
    assert found is not None
    assert found.groups is not None
    assert found.area > 0.9


def stamps(n: int, seed: int) -> Tensor:
    """Pictures of a square of any colour at any place, under a little noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, 3, 12, 12)
    for picture, (row, column), colour in zip(
        x, torch.randint(8, (n, 2), generator=g).tolist(), 0.5 + torch.rand(n, 3, generator=g) / 2, strict=True
    ):
        picture[:, row : row + 5, column : column + 5] = colour[:, None, None]
    return (x + 0.15 * torch.randn(x.shape, generator=g)).clamp(0, 1)


def test_rows_that_are_drawn_on_their_own_stand_in_no_groups() -> None:
    clusters = 6 * torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    for make in (
        pictures,
        stamps,
        columns,
        words,
        lambda n, seed: clusters[torch.arange(n) % 5] + columns(n, seed).repeat(1, 3)[:, :10],
    ):
        found = apart(sample(make(300, 0)), sample(make(300, 1)))
        assert found is not None
        assert found.groups is None


def test_the_area_is_that_of_mann_and_whitney() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    scores, side = rng.integers(0, 9, 80).astype(float), rng.random(80) > 0.4
    wanted = mannwhitneyu(scores[side], scores[~side]).statistic / (side.sum() * (~side).sum())
    assert _rank_area(torch.tensor(scores), torch.tensor(side)) == pytest.approx(wanted)


def test_copies_between_the_splits_are_counted() -> None:
    x = columns(200, 0)
    found = apart(sample(x), sample(x.flip(0)))
    assert found is not None
    assert found.copies == 1.0


@pytest.mark.parametrize("x", [torch.zeros(200, 5), torch.randn(30, 5), torch.full((200, 5), torch.nan)])
def test_what_says_nothing_is_left_out(x: Tensor) -> None:
    assert apart(sample(x), sample(columns(200, 1)[:, :1].expand(-1, 5) if x.isnan().any() else x)) is None


def test_pictures_of_many_sizes_are_left_out() -> None:
    kept = InputSample()
    kept.update(Batch(args=(torch.randn(64, 3, 8, 8),)))
    kept.update(Batch(args=(torch.randn(64, 3, 9, 9),)))
    assert kept.table() is None
