"""Finding how a data set normalises its images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from reportgen.subject.normalisation import normalisation_of
from reportgen.subject.vision import prepare


class Normalize:
    def __init__(self, mean: Any = (0.5,), std: Any = (0.25,)) -> None:
        self.mean, self.std = mean, std


class Compose:
    def __init__(self, *transforms: Any) -> None:
        self.transforms = list(transforms)


class Images(Dataset[Any]):
    def __init__(self, transform: Any = None, **others: Any) -> None:
        self.transform = transform
        vars(self).update(others)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return torch.zeros(1, 2, 2), 0


class StandardTransform:
    def __init__(self, transform: Any) -> None:
        self.transform = transform


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(Images(Normalize())),
        DataLoader(Subset(Subset(Images(Compose(object(), Normalize())), [0, 1]), [0])),
        DataLoader(ConcatDataset([Images(Compose(Compose(Normalize()))), Images()])),
        Images(transforms=StandardTransform(Compose(Normalize(0.5, 0.25)))),
        Images(Normalize(torch.tensor([0.5]), torch.tensor([0.25]))),
    ],
)
def test_it_is_found_wherever_it_is_kept(data: Any) -> None:
    assert normalisation_of(data) == ([0.5], [0.25])


def test_torchvisions_own_are_known() -> None:
    prepare()
    transforms = pytest.importorskip("torchvision.transforms")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    wanted = ([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])
    assert normalisation_of(Images(transforms.Compose([transforms.Normalize(*wanted)]))) == wanted
    assert normalisation_of(Images(v2.Compose([v2.Normalize(*wanted)]))) == wanted
    assert normalisation_of(Images(nn.Sequential(transforms.Normalize(*wanted)))) == wanted


class Trap(Images):
    @property
    def transforms(self) -> Any:
        raise RuntimeError("no transforms today")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [(torch.zeros(2, 1), torch.zeros(2))],
        DataLoader(Images()),
        Images(Normalize(std=(0.0,))),
        Images(Normalize(mean=("a",))),
        Images(Normalize(mean=(0.1, 0.2))),
        Images(Normalize(mean=(float("nan"),))),
        Trap(),
    ],
)
def test_none_where_there_is_none_or_one_of_no_sense(data: Any) -> None:
    assert normalisation_of(data) is None


def test_a_data_set_that_holds_itself_ends() -> None:
    data = Images()
    data.dataset = data  # type: ignore[attr-defined]
    assert normalisation_of(data) is None
