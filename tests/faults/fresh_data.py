"""Data of the fresh cases: other kinds than those of ``data``."""

from __future__ import annotations

import math

import torch
from sklearn import datasets
from torch import Tensor

from .data import Data, split, standardised

# tables


def moons(n: int = 700, noise: float = 0.18) -> Data:
    """Two half moons that reach into each other."""
    x, y = datasets.make_moons(n, noise=noise, random_state=int(torch.randint(0, 10**6, ())))
    return standardised(split(x, y))


def rings(n: int = 900, kinds: int = 3, noise: float = 0.12) -> Data:
    """Rings around one another in the plane."""
    y = torch.arange(n) % kinds
    angle, radius = torch.rand(n) * 2 * math.pi, 0.5 + y + noise * torch.randn(n)
    return standardised(split(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y))


def wine() -> Data:
    """178 wines, 13 columns from 0.1 to 1700 wide, 3 classes."""
    x, y = datasets.load_wine(return_X_y=True)
    return split(x, y)


def handwriting() -> Data:
    """1797 digits as rows of 64 numbers between -1 and 1."""
    x, y = datasets.load_digits(return_X_y=True)
    return split(x / 8 - 1, y)


def diabetes() -> Data:
    """442 patients, ten columns in standard scale, a noisy target in standard scale (N, 1)."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return split(x * 21, torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None])


def energy(n: int = 900) -> Data:
    """What a building uses in kWh (N, 1), from degrees, humidity, hour, area and air pressure, as they are metered."""
    degrees, humidity = torch.randn(n) * 8 + 12, torch.rand(n) * 60 + 30
    hour, area, pressure = torch.rand(n) * 24, torch.rand(n) * 4500 + 200, 1013 + 9 * torch.randn(n)
    heating, cooling = (18 - degrees).relu(), (degrees - 22).relu()
    use = area * (0.02 * heating + 0.05 * cooling) + 250 * (1 + (math.pi * (hour - 8) / 12).sin()) + 1.5 * humidity
    use = use + 30 * torch.randn(n)
    return split(torch.stack([degrees, humidity, hour, area, pressure], 1), use[:, None])


def counts(n: int = 900) -> Data:
    """Calls an hour: Poisson counts whose rate depends on six columns, (N, 1)."""
    x = torch.randn(n, 6)
    rate = (1.2 + 0.7 * x[:, 0] - 0.5 * x[:, 1] * x[:, 2].tanh() + 0.3 * x[:, 3].abs()).exp()
    return split(x, torch.poisson(rate)[:, None])


def plain_classes(n: int = 900, columns: int = 8, kinds: int = 4, gap: float = 2.0) -> Data:
    """One Gaussian clump a class."""
    y = torch.arange(n) % kinds
    centres = torch.nn.init.orthogonal_(torch.empty(columns, columns))[:kinds] * gap * 1.4
    return split(centres[y] + torch.randn(n, columns), y)


# pictures


def gratings(n: int = 700, size: int = 10, noise: float = 0.5, kinds: int = 4) -> Data:
    """Gratings of a few directions with random phase and pitch; turned by a right angle they are another class."""
    y = torch.arange(n) % kinds
    angle = (y * math.pi / kinds)[:, None, None]
    row, column = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    pitch, phase = 1.8 + 1.0 * torch.rand(n, 1, 1), torch.rand(n, 1, 1) * 2 * math.pi
    x = (2 * math.pi * pitch * (angle.cos() * column + angle.sin() * row) + phase).sin()
    return split((x + noise * torch.randn(n, size, size))[:, None], y)


def blobs(n: int = 600, size: int = 12, noise: float = 0.3) -> Data:
    """A picture with a bright disc and its mask, for segmentation: (N, 1, S, S) and the same of 0 and 1."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre, radius = torch.rand(n, 2, 1, 1) * (size - 5) + 2.5, 1.8 + 1.4 * torch.rand(n, 1, 1)
    mask = ((row - centre[:, 0]) ** 2 + (column - centre[:, 1]) ** 2 < radius**2).float()
    x = (mask * (0.9 + 0.5 * torch.rand(n, 1, 1)) + noise * torch.randn(n, size, size) - 0.2) / 0.5
    return split(x[:, None], mask[:, None])


# signals


def chirps(n: int = 700, length: int = 48, noise: float = 0.3) -> Data:
    """A whistle that falls (0) or rises (1), (N, 1, T): played backwards it is the other."""
    y = torch.arange(n) % 2
    t = torch.linspace(0, 1, length)
    low, high = 0.8 + 0.5 * torch.rand(n, 1), 4.0 + 1.5 * torch.rand(n, 1)
    x = (2 * math.pi * (low * t + (high - low) * t**2 / 2 + torch.rand(n, 1))).sin()
    x = torch.where(y[:, None] == 1, x, x.flip(1))
    return split((x * 1.3 + noise * torch.randn(n, length))[:, None], y)


def tones(n: int = 700, length: int = 96, noise: float = 0.35) -> Data:
    """Sounds of four kinds, (N, 1, T): sine, square, rising whistle, hum with a click train."""
    y = torch.arange(n) % 4
    t = torch.linspace(0, 1, length)
    f, p = 4 + 4 * torch.rand(n, 1), torch.rand(n, 1)
    sine = (2 * math.pi * (f * t + p)).sin()
    rising = (2 * math.pi * (2 * t + 6 * t**2 + p)).sin()
    clicks = ((f * 1.5 * t + p) % 1.0 < 0.15).float() * 2.5 - 0.4
    kinds = torch.stack([sine * 1.3, sine.sign() * 0.95, rising * 1.3, clicks], 1)
    return split((kinds[torch.arange(n), y] + noise * torch.randn(n, length))[:, None], y)


def load_curve(n: int = 800, length: int = 24, noise: float = 0.1) -> Data:
    """Windows of a swinging load in standard scale, (N, T, 1), and the value that follows, (N, 1)."""
    t = torch.arange(length + 1.0)
    slow, fast = 0.15 + 0.25 * torch.rand(n, 1), 0.5 + 0.4 * torch.rand(n, 1)
    phase = torch.rand(2, n, 1) * 2 * math.pi
    x = (slow * t + phase[0]).sin() + 0.6 * (fast * t + phase[1]).sin() + noise * torch.randn(n, length + 1)
    return split(x[:, :-1, None], x[:, -1:])


def walks(n: int = 700, length: int = 16) -> Data:
    """Series that swing and drift, (N, T), with each place's next value as the target, (N, T)."""
    t = torch.arange(length + 1.0)
    x = (0.5 * t * (0.6 + 0.8 * torch.rand(n, 1)) + 6.3 * torch.rand(n, 1)).sin() + 0.15 * torch.randn(n, length + 1)
    return split(x[:, :-1], x[:, 1:])


# symbols

PAD, NOT, GOOD, BAD, WORDS = 0, 1, 2, 12, 40


def reviews(n: int = 1100, length: int = 12, negated: float = 0.2) -> Data:
    """Short texts of 40 words, padded with 0; the class says whether more is praised than blamed.

    Word 1 turns the next one into its opposite; a share of the words that judge have it before them.
    """
    rows, labels = [], []
    while len(rows) < n:
        text, total = [], 0
        for _ in range(int(torch.randint(5, 9, ()))):
            if torch.rand(()) < 0.45:
                good = int(torch.rand(()) < 0.5)
                turned = bool(torch.rand(()) < negated)
                text += [NOT] * turned + [(GOOD if good else BAD) + int(torch.randint(0, 10, ()))]
                total += (2 * good - 1) * (1 - 2 * turned)
            else:
                text.append(int(torch.randint(22, WORDS, ())))
        if total and len(text) <= length:
            rows.append(text + [PAD] * (length - len(text)))
            labels.append(int(total > 0))
    return split(torch.tensor(rows), torch.tensor(labels))


def topics(n: int = 1000, length: int = 14, kinds: int = 4, share: float = 0.42) -> Data:
    """Texts of 40 words on a few topics, each of which prefers words of its own."""
    y = torch.arange(n) % kinds
    own = torch.randint(0, 6, (n, length)) + 4 + 6 * y[:, None]
    x = torch.where(torch.rand(n, length) < share, own, torch.randint(4, WORDS, (n, length)))
    return split(x, y)


def reversed_words(n: int = 900, length: int = 5, symbols: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return sources (N, T), what a decoder is given (start, then the reversed source) and what it shall say."""
    source = torch.randint(1, symbols, (n, length))
    target = source.flip(1)
    return source, torch.cat([torch.zeros(n, 1, dtype=torch.long), target[:, :-1]], 1), target


def remembered(n: int = 900, length: int = 12, symbols: int = 4) -> Data:
    """The class is the first symbol of a row; all others are chance."""
    x = torch.randint(0, symbols, (n, length))
    return split(x, x[:, 0].clone())
