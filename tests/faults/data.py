"""Small data: tables that scikit-learn carries, and generated images, waves, symbols and points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Data:
    """Training and validation samples."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor

    def loaders(self, batch: int = 32, *, shuffle: bool = True) -> tuple[DataLoader[Any], DataLoader[Any]]:
        train = DataLoader(TensorDataset(self.x, self.y), batch_size=batch, shuffle=shuffle)
        return train, loader(self.x_val, self.y_val)

    def take(self, n: int) -> Data:
        """Keep the first n training samples."""
        return replace(self, x=self.x[:n], y=self.y[:n])


def loader(*tensors: Tensor, batch: int = 128) -> DataLoader[Any]:
    """Return batches in the order given."""
    return DataLoader(TensorDataset(*tensors), batch_size=batch)


def split(x: Any, y: Any, val: float = 0.3) -> Data:
    """Shuffle with torch's generator and cut."""
    x = torch.as_tensor(x, dtype=None if isinstance(x, Tensor) else torch.float32)
    y = torch.as_tensor(y)
    order = torch.randperm(len(x))
    n = int(len(x) * (1 - val))
    return Data(x[order[:n]], y[order[:n]], x[order[n:]], y[order[n:]])


def standardised(data: Data) -> Data:
    """Scale by mean and deviation of the training samples, column by column."""
    mean, std = data.x.mean(0), data.x.std(0).clamp_min(1e-6)
    return replace(data, x=(data.x - mean) / std, x_val=(data.x_val - mean) / std)


# tables


def cancer() -> Data:
    """569 tumours, 30 columns of very different scale, 2 classes."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return split(x, y)


def digits() -> Data:
    """1797 digits, 1 × 8 × 8, values 0 to 16."""
    x, y = datasets.load_digits(return_X_y=True)
    return split(x.reshape(-1, 1, 8, 8), y)


def clusters(n: int = 900, classes: int = 5, columns: int = 12, spread: float = 1.0) -> Data:
    """Two Gaussian clumps a class, so that no linear model does well, in standard scale."""
    centres = torch.randn(classes * 2, columns) * 1.6
    which = torch.randint(0, classes * 2, (n,))
    x = centres[which] + spread * torch.randn(n, columns)
    return standardised(split(x, which % classes))


def rare(n: int = 2000, share: float = 0.03, shift: float = 1.9) -> Data:
    """Two classes, one of them rare; in ten columns the rare one lies off to the side."""
    y = (torch.rand(n) < share).long()
    x = torch.randn(n, 10)
    x[:, :3] += shift * y[:, None]
    return split(x, y)


def spirals(n: int = 900, arms: int = 3, noise: float = 0.12) -> Data:
    """Arms wound around each other in the plane."""
    y = torch.arange(n) % arms
    t = torch.rand(n).sqrt() * 3.2
    angle = t * 1.5 + y * 2 * math.pi / arms
    x = torch.stack([t * angle.cos(), t * angle.sin()], 1) + noise * torch.randn(n, 2)
    return split(x, y)


def chequers(n: int = 1200) -> Data:
    """A board of 4 × 4 fields in the plane, black or white."""
    x = torch.rand(n, 2) * 4
    return split(x - 2, (x[:, 0].floor() + x[:, 1].floor()).long() % 2)


def labelled_many(n: int = 1000, labels: int = 6) -> Data:
    """Several labels at once, each from a small random network."""
    x = torch.randn(n, 10)
    hidden = (x @ torch.randn(10, 24)).relu()
    score = hidden @ torch.randn(24, labels)
    return split(x, (score > score.median(0).values).float())


def friedman(n: int = 900, noise: float = 0.1) -> Data:
    """Friedman's first function of five of eight columns, target of unit scale, (N, 1)."""
    x = torch.rand(n, 8)
    y = 10 * (math.pi * x[:, 0] * x[:, 1]).sin() + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = (y - y.mean()) / y.std()
    return split((x - 0.5) * 3.46, (y + noise * torch.randn(n))[:, None])


def houses(n: int = 900) -> Data:
    """A table like a housing census: columns from 2 to 40 000 wide, price in dollars (N, 1)."""
    income = torch.rand(n) * 9 + 1
    rooms = torch.rand(n) * 6 + 2
    people = torch.rand(n) * 38_000 + 500
    year = 1930 + torch.rand(n) * 90
    distance = torch.rand(n) * 40
    price = 40_000 * income + 12_000 * rooms + 900 * (year - 1930) - 90_000 * (distance / 40).sqrt()
    price = price + 1.5 * (income - 5).relu() ** 2 * 10_000 + 12_000 * torch.randn(n)
    return split(torch.stack([income, rooms, people, year, distance], 1), price[:, None])


def curve(n: int = 800, noise: float = 0.1) -> Data:
    """A smooth curve of one variable with values between -3 and 3, (N, 1)."""
    x = torch.rand(n, 1) * 6 - 3
    return split(x, 2 * (1.5 * x).sin() + 0.3 * x + noise * torch.randn(n, 1))


# images

SHAPES = ("row", "column", "frame", "disc", "cross", "diagonal")


def shapes(n: int = 900, size: int = 12, channels: int = 1, noise: float = 0.25, classes: int = 6) -> Data:
    """Drawings of six kinds at random places and strengths on noise, about zero mean and unit scale."""
    y = torch.arange(n) % classes
    x = noise * torch.randn(n, channels, size, size)
    for i in range(n):
        x[i] += _drawn(SHAPES[int(y[i])], size) * (0.8 + 0.7 * torch.rand(channels, 1, 1))
    return split((x - 0.2) / 0.5, y)


def _drawn(kind: str, size: int) -> Tensor:
    """One drawing in a 7 × 7 box somewhere in the picture."""
    picture = torch.zeros(size, size)
    top, left = (int(v) for v in torch.randint(0, size - 6, (2,)))
    box = picture[top : top + 7, left : left + 7]
    row, column = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
    masks = {
        "row": row == 3,
        "column": column == 3,
        "frame": (row == 0) | (row == 6) | (column == 0) | (column == 6),
        "disc": (row - 3) ** 2 + (column - 3) ** 2 <= 6,
        "cross": (row == 3) | (column == 3),
        "diagonal": row == column,
    }
    box[masks[kind]] = 1.0
    return picture


def arrows(n: int = 800, size: int = 10, noise: float = 0.25) -> Data:
    """An arrow head that points left (0) or right (1): a mirror changes the class."""
    y = torch.arange(n) % 2
    x = noise * torch.randn(n, 1, size, size)
    row, column = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    right = (column == 4 - (row - 2).abs()).float()
    for i in range(n):
        top, left = (int(v) for v in torch.randint(0, size - 4, (2,)))
        x[i, 0, top : top + 5, left : left + 5] += right if y[i] else right.flip(1)
    return split((x - 0.1) / 0.4, y)


def tinted(n: int = 800, size: int = 8) -> Data:
    """Patches of three colours in RGB on grey: the class is in the order of the channels."""
    y = torch.arange(n) % 3
    base = torch.tensor([[0.9, 0.45, 0.2], [0.2, 0.9, 0.45], [0.45, 0.2, 0.9]])[y]
    x = base[:, :, None, None] + 0.25 * torch.randn(n, 3, size, size)
    return split((x - 0.5) / 0.4, y)


# sequences


def waves(n: int = 700, length: int = 24, kinds: int = 3, noise: float = 0.3) -> Data:
    """Sines of a few frequencies with random phase, (N, T, 1)."""
    y = torch.arange(n) % kinds
    t = torch.arange(length) / length
    frequency = 1.5 * (y + 1)[:, None]
    x = (2 * math.pi * (frequency * t + torch.rand(n, 1))).sin() * 1.3 + noise * torch.randn(n, length)
    return split(x[..., None], y)


def first_symbol(n: int = 700, length: int = 20, symbols: int = 4) -> Data:
    """The class is the first symbol; the rest is chance."""
    x = torch.randint(0, symbols, (n, length))
    return split(x, x[:, 0].clone())


def which_first(n: int = 1200, length: int = 8, symbols: int = 8) -> Data:
    """Symbols 0 and 1 stand somewhere among others; the class says whether 0 comes before 1."""
    x = torch.randint(2, symbols, (n, length))
    places = torch.rand(n, length).argsort(1)[:, :2]
    x.scatter_(1, places, torch.tensor([0, 1]).expand(n, 2))
    return split(x, (places[:, 0] < places[:, 1]).long())


def counting(n: int = 700, length: int = 13, symbols: int = 11, slips: float = 0.05) -> Data:
    """Sequences that go up by a step of their own modulo the number of symbols, with a few slips; y is x one later."""
    start, step = torch.randint(0, symbols, (n, 1)), torch.randint(1, 4, (n, 1))
    x = (start + step * torch.arange(length + 1)) % symbols
    x = torch.where(torch.rand(x.shape) < slips, torch.randint(0, symbols, x.shape), x)
    return split(x[:, :-1], x[:, 1:])


def coin_language(n: int = 700, length: int = 12, symbols: int = 6, loyalty: float = 0.75) -> Data:
    """Every symbol is followed by its successor with some probability, else by any; y is x one later."""
    x = torch.zeros(n, length + 1, dtype=torch.long)
    x[:, 0] = torch.randint(0, symbols, (n,))
    for t in range(length):
        follows = (x[:, t] + 1) % symbols
        x[:, t + 1] = torch.where(torch.rand(n) < loyalty, follows, torch.randint(0, symbols, (n,)))
    return split(x[:, :-1], x[:, 1:])


def tagging(n: int = 700, length: int = 10, symbols: int = 6) -> Data:
    """The tag of a symbol says whether the one before it was smaller; (N, T) symbols, (N, T) tags."""
    x = torch.randint(0, symbols, (n, length))
    before = torch.cat([torch.zeros(n, 1, dtype=torch.long), x[:, :-1]], 1)
    return split(x, (before < x).long())


def signals(n: int = 900, length: int = 32) -> Data:
    """Smooth curves with three degrees of freedom, for reconstruction; y is x."""
    t = torch.linspace(0, 1, length)
    a, b, c = torch.randn(3, n, 1)
    x = a * (2 * math.pi * t).sin() + b * (4 * math.pi * t).cos() + c * (t - 0.5) * 2 + 0.1 * torch.randn(n, length)
    return split(x, x.clone())


def bumps(n: int = 800, length: int = 24, noise: float = 0.2) -> Data:
    """A bump somewhere on a noisy line, (N, 1, T); the target is its place in standard scale, (N, 1)."""
    place = torch.rand(n, 1) * 2 - 1
    t = torch.linspace(-1, 1, length)
    x = 2 * (-(((t - place) / 0.15) ** 2)).exp() + noise * torch.randn(n, length)
    return split(x[:, None], place * 1.7)


def ring_points(n: int = 1000) -> Data:
    """Points on a ring in the plane, for generators; x is noise of two numbers, y a point."""
    angle = torch.rand(n) * 2 * math.pi
    points = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)
    return split(torch.randn(n, 2), points)


def walks(n: int = 1000, length: int = 20) -> Data:
    """Independent noisy oscillations, (N, T, 1), and each one step on."""
    t = torch.arange(length + 1)
    speed, start = 0.3 + 0.5 * torch.rand(n, 1), 6.28 * torch.rand(n, 1)
    x = (speed * t + start).sin() + 0.1 * torch.randn(n, length + 1)
    return split(x[:, :-1, None], x[:, 1:, None])


def discs(n: int = 600, side: int = 20, noise: float = 0.4) -> Data:
    """A bright disc somewhere under noise, (N, 1, H, W), and its mask, (N, 1, H, W)."""
    at, size = 5 + (side - 10) * torch.rand(n, 2, 1, 1), 2.5 + 1.5 * torch.rand(n, 1, 1)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = (((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2).sqrt() < size).float()[:, None]
    return split(mask + noise * torch.randn(n, 1, side, side), mask)


def ratings(n: int = 4000, users: int = 80, items: int = 50, noise: float = 0.3) -> Data:
    """Who rates what, (N, 2) codes, and the rating by two factors of each, (N,)."""
    who, what = torch.randint(users, (n,)), torch.randint(items, (n,))
    a, b = torch.randn(users, 2), torch.randn(items, 2)
    y = (a[who] * b[what]).sum(1) + 0.5 * torch.randn(users)[who] + 0.5 * torch.randn(items)[what]
    return split(torch.stack([who, what], 1), y + noise * torch.randn(n))
