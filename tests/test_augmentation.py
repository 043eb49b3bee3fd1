"""Samples that are made anew at each reading, and sequences whose elements tell their classes or do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from reportgen import Options, examine
from reportgen.probe.readings import redrawn
from reportgen.probe.token_signal import TokenSignal
from reportgen.subject.data import Batch


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Noisy(Dataset[Any]):
    def __init__(self, share: float) -> None:
        self.share = share

    def __len__(self) -> int:
        return 64

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        base = torch.full((3,), float(place))
        return (base + torch.rand(3) if place % 64 < 64 * self.share else base), 0


class Grudging(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> Any:
        raise KeyError(place)


def test_augmented_samples_differ_from_reading_to_reading() -> None:
    torch.manual_seed(0)
    assert redrawn(DataLoader(Noisy(1.0), 8)) == 1.0
    assert redrawn(DataLoader(Noisy(0.5), 8)) == pytest.approx(0.5)
    assert redrawn(DataLoader(Noisy(0.0), 8)) == 0.0
    x = torch.randn(20, 3, generator=seeded(0))
    x[0, 0] = torch.nan
    assert redrawn(DataLoader(TensorDataset(x, torch.zeros(20)), 4)) == 0.0


def test_what_cannot_be_asked_by_place_is_left_alone() -> None:
    assert redrawn([torch.zeros(2)]) is None
    assert redrawn(DataLoader(Grudging(), 4)) is None
    assert redrawn(DataLoader(TensorDataset(torch.zeros(0, 3)), 4)) is None


def rolled(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = (torch.stack(part) for part in zip(*items, strict=True))
    return x.roll(int(torch.randint(1, 500, ())), 1), y


def test_what_puts_samples_together_may_change_them() -> None:
    torch.manual_seed(0)
    table = TensorDataset(torch.randn(40, 500, generator=seeded(0)), torch.zeros(40))
    assert redrawn(DataLoader(table, 8, collate_fn=rolled)) == 1.0
    assert redrawn(DataLoader(table, 8, shuffle=True)) == 0.0


class Loaded:
    """A loader of the caller's own: batches in another order at each pass, each row times -1 by a chance."""

    def __init__(self, chance: float) -> None:
        self.chance = chance
        self.x = torch.randn(240, 4, generator=seeded(1))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(240).split(40):
            sign = 1 - 2 * (torch.rand(40, 1) < self.chance).float()
            yield self.x[rows] * sign, (self.x[rows, :1] > 0).long()[:, 0]


@pytest.mark.parametrize(("chance", "expected"), [(0.5, True), (0.0, False)])
def test_a_loader_of_the_callers_own_is_read_again(chance: float, expected: bool) -> None:
    torch.manual_seed(0)
    given = [(torch.randn(60, 4), torch.randint(0, 2, (60,)))]
    model, options = torch.nn.Linear(4, 2), Options(trial_budget=0.0, pictures=0)
    splits = examine(model, given, train_data=Loaded(chance), options=options).splits
    assert splits is not None
    assert splits.redrawn is not None
    assert (splits.redrawn > 0) is expected
    # what can be read once is not
    splits = examine(model, given, train_data=iter(Loaded(chance)), options=options).splits
    assert splits is not None
    assert splits.redrawn is None


def fed(x: Tensor, y: Tensor) -> TokenSignal:
    probe = TokenSignal()
    for i in range(0, len(x), 32):
        probe.update(Batch((x[i : i + 32],), {}, y[i : i + 32]))
    return probe


def test_classes_told_by_the_element_before_have_a_signal_and_those_of_other_sentences_have_none() -> None:
    x = torch.randint(5, (200, 9), generator=seeded(0))
    y = torch.zeros_like(x)
    y[:, 1:] = (x[:, 1:] > x[:, :-1]).long()
    y[:, 0] = -100
    told, other = fed(x, y).facts(), fed(x, y.roll(7, 0)).facts()
    assert told is not None
    assert other is not None
    assert told.score == 1.0
    assert told.z > 20
    assert abs(other.z) < 3


def test_other_shapes_have_no_such_signal() -> None:
    x = torch.randint(5, (200, 9), generator=seeded(0))
    assert fed(x.float(), x).facts() is None
    assert fed(x, x[:, 0]).facts() is None
    assert fed(x[:20], x[:20]).facts() is None
    assert len(fed(x, x)) == 200
    assert fed(x, x).facts() is None  # what is to be given back tells nothing of how hard that is
