"""The small real trainings behind ``reportgen demo``: data that scikit-learn carries, and plain models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from ..errors import TargetError


@dataclass(frozen=True)
class Demo:
    """Everything that one training needs."""

    title: str
    model: nn.Module
    train_loader: DataLoader[Any]
    val_loader: DataLoader[Any]
    loss: nn.Module
    optimizer: Optimizer
    epochs: int
    class_names: list[str]


class DigitsCNN(nn.Sequential):
    """Three convolutions with batch norm and ReLU, average pooling, one dense layer: (N, 1, 8, 8) -> (N, 10)."""

    def __init__(self) -> None:
        layers: dict[str, nn.Module] = {}
        for n, (inputs, outputs) in enumerate([(1, 16), (16, 32), (32, 64)], start=1):
            layers[f"conv{n}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers[f"norm{n}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{n}"] = nn.ReLU()
            if n == 2:
                layers["pool"] = nn.MaxPool2d(2)
        layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "classify": nn.Linear(64, 10)}
        super().__init__(OrderedDict(layers))


class IrisMLP(nn.Sequential):
    """One hidden layer of ten: (N, 4) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(hidden=nn.Linear(4, 10), relu=nn.ReLU(), classify=nn.Linear(10, 3)))


def digits(seed: int = 0) -> Demo:
    """Scikit-learn's 1,797 handwritten digits, a fifth held out, a small CNN, Adam."""
    from sklearn.datasets import load_digits

    table = load_digits()
    images = torch.as_tensor(table.images, dtype=torch.float32).unsqueeze(1) / 16.0  # (1797, 1, 8, 8), 0 to 1
    train, val = _split(images, torch.as_tensor(table.target), seed)
    mean, std = train[0].mean(), train[0].std()
    torch.manual_seed(seed)
    model = DigitsCNN()
    return Demo(
        title="Handwritten digits, a small CNN",
        model=model,
        train_loader=_loader((train[0] - mean) / std, train[1], 32, seed=seed),
        val_loader=_loader((val[0] - mean) / std, val[1], 32),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
        epochs=12,
        class_names=[str(n) for n in range(10)],
    )


def iris(seed: int = 0) -> Demo:
    """Fisher's 150 irises, a fifth held out, a 4-10-3 net, SGD with momentum."""
    from sklearn.datasets import load_iris

    table = load_iris()
    train, val = _split(torch.as_tensor(table.data, dtype=torch.float32), torch.as_tensor(table.target), seed)
    mean, std = train[0].mean(0), train[0].std(0)  # (4,)
    torch.manual_seed(seed)
    model = IrisMLP()
    return Demo(
        title="Iris, a 4-10-3 net",
        model=model,
        train_loader=_loader((train[0] - mean) / std, train[1], 16, seed=seed),
        val_loader=_loader((val[0] - mean) / std, val[1], 16),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        epochs=60,
        class_names=[str(name) for name in table.target_names],
    )


DEMOS: dict[str, Callable[[int], Demo]] = {"digits": digits, "iris": iris}


def build(name: str, seed: int = 0) -> Demo:
    """Make the demo of that name; an unknown one is a TargetError that lists them."""
    if name not in DEMOS:
        raise TargetError(f"There is no demo named {name!r}.", hint=f"Demos: {', '.join(DEMOS)}.")
    return DEMOS[name](seed)


def _split(x: Tensor, y: Tensor, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Hold out a fifth, class by class."""
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(range(len(y)), test_size=0.2, random_state=seed, stratify=y.numpy())
    return (x[train], y[train]), (x[val], y[val])


def _loader(x: Tensor, y: Tensor, batch_size: int, seed: int | None = None) -> DataLoader[Any]:
    """Make a loader; with a seed it shuffles."""
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    return DataLoader(TensorDataset(x, y), batch_size, shuffle=seed is not None, generator=generator)
