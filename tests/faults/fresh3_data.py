"""Data of the third fresh cases: other kinds again than those of ``data``, ``fresh_data`` and ``fresh2_data``."""

from __future__ import annotations

import math

import torch
from sklearn import datasets
from torch import Tensor

from .data import Data, split, standardised


def _seed() -> int:
    """A seed for scikit-learn from torch's generator."""
    return int(torch.randint(0, 10**6, ()))


# tables


def soils(n: int = 1600, columns: int = 8, kinds: int = 4, noise: float = 0.0) -> Data:
    """Rows in standard scale whose class is the largest of a few random quadratic forms."""
    x = torch.randn(n, columns)
    forms = torch.randn(kinds, columns, columns) / columns
    score = torch.einsum("ni,kij,nj->nk", x, forms, x) + 0.5 * x @ torch.randn(columns, kinds)
    score = (score - score.mean(0)) / score.std(0)
    return split(x, (score + noise * torch.randn(n, kinds)).argmax(1))


def crescents(n: int = 900, noise: float = 0.12) -> Data:
    """Two crescents that grip each other, in standard scale."""
    x, y = datasets.make_moons(n, noise=noise, random_state=_seed())
    return standardised(split(x, y))


def wines() -> Data:
    """178 wines of three vines, 13 columns in standard scale."""
    x, y = datasets.load_wine(return_X_y=True)
    return standardised(split(x, y))


def patients() -> Data:
    """442 patients with diabetes; how it went on a year later, in standard scale, (N, 1): about half can be known."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return standardised(split(x, torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]))


def rentals(n: int = 1200, noise: float = 0.1) -> Data:
    """Hour on a circle, warmth, wind and holiday, and bicycles let in that hour in standard scale, (N, 1)."""
    hour, warmth, wind = torch.rand(n) * 6.28, torch.rand(n) * 2 - 1, torch.rand(n)
    holiday = (torch.rand(n) < 0.3).float()
    busy = (hour * 2).cos() * (1 - holiday) + (hour - 1).sin() * holiday
    y = 1.2 * busy + warmth - warmth.square() - 0.6 * wind * warmth.relu() + noise * torch.randn(n)
    x = torch.stack([hour.cos(), hour.sin(), warmth, 2 * wind - 1, 2 * holiday - 1], 1)
    return split(x, ((y - y.mean()) / y.std())[:, None])


def calls(n: int = 1600) -> Data:
    """Numbers of calls in an hour, Poisson about a smooth rate of six columns, (N, 1)."""
    x = torch.randn(n, 6)
    rate = (1.2 + 0.6 * x[:, 0] + 0.5 * (x[:, 1] * 2).sin() - 0.4 * x[:, 2] * x[:, 3].sign()).exp()
    return split(x, torch.poisson(rate)[:, None])


def lifetimes(n: int = 1600) -> Data:
    """When machines failed, or were last seen whole: (N, 2) of log time and whether it failed."""
    x = torch.randn(n, 6)
    scale = 0.8 * x[:, 0] - 0.6 * x[:, 1].abs() + 0.5 * x[:, 2] * x[:, 3]
    failed, seen = scale + 0.3 * torch.randn(n), 0.6 + 0.8 * torch.randn(n)
    return split(x, torch.stack([torch.minimum(failed, seen), (failed <= seen).float()], 1))


def customers(n: int = 1800, noise: float = 0.5) -> Data:
    """Two columns of kinds (12 and 7 of them, as numbers) beside four measured ones; who came back."""
    town, job = torch.randint(0, 12, (n,)), torch.randint(0, 7, (n,))
    x = torch.randn(n, 4)
    score = torch.randn(12)[town] * 1.6 + torch.randn(7)[job] * 1.4 + x[:, 0] * x[:, 1] + x[:, 2]
    score = score - score.median() + noise * torch.randn(n)
    return split(torch.cat([town[:, None].float(), job[:, None].float(), x], 1), (score > 0).float()[:, None])


def symptoms(n: int = 1600, labels: int = 8) -> Data:
    """Several findings at once from 14 columns, each of three of them; some are rare."""
    x = torch.randn(n, 14)
    y = torch.zeros(n, labels)
    for k in range(labels):
        a, b, c = torch.randperm(14)[:3]
        score = x[:, a] * x[:, b] + x[:, c]
        y[:, k] = (score > score.quantile(0.4 + 0.04 * k)).float()
    return split(x, y)


def alarms(n: int = 3000, share: float = 0.04, apart: float = 1.6) -> Data:
    """Two classes of which the rare one lies on a shell about the other, eight columns."""
    y = (torch.rand(n) < share).long()
    x = torch.randn(n, 8)
    x = x / x.norm(dim=1, keepdim=True) * (2.2 + 0.5 * torch.randn(n, 1) + apart * y[:, None])
    return split(x, y)


def grades(n: int = 1600, levels: int = 5) -> Data:
    """Ordered grades cut from a smooth score of seven columns."""
    x = torch.randn(n, 7)
    score = x[:, 0] + (1.5 * x[:, 1]).sin() + 0.5 * x[:, 2] * x[:, 3] + 0.1 * torch.randn(n)
    cuts = score.quantile(torch.arange(1, levels) / levels)
    return split(x, torch.bucketize(score, cuts))


# pictures


def gratings3(n: int = 1000, size: int = 12, kinds: int = 4, noise: float = 0.5, channels: int = 1) -> Data:
    """Sine gratings at a few angles, with phase and width of their own."""
    y = torch.arange(n) % kinds
    angle = y * math.pi / kinds
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    along = angle.cos()[:, None, None] * column + angle.sin()[:, None, None] * row
    wave = (along * (0.9 + 0.5 * torch.rand(n, 1, 1)) + 6.28 * torch.rand(n, 1, 1)).sin()
    x = wave[:, None] + noise * torch.randn(n, channels, size, size)
    return split(x, y)


def glyphs(n: int = 1200, size: int = 12, kinds: int = 5, noise: float = 0.3, channels: int = 1) -> Data:
    """L, T, U, Z and F written in a field of 5 × 5 somewhere in a noisy picture."""
    drawn = ["10000 10000 10000 10000 11111", "11111 00100 00100 00100 00100", "10001 10001 10001 10001 11111"]
    drawn += ["11111 00010 00100 01000 11111", "11111 10000 11110 10000 10000"]
    masks = torch.tensor([[[int(c) for c in row] for row in glyph.split()] for glyph in drawn]).float()
    y = torch.arange(n) % kinds
    x = noise * torch.randn(n, channels, size, size)
    for i in range(n):
        top, left = (int(v) for v in torch.randint(0, size - 4, (2,)))
        x[i, :, top : top + 5, left : left + 5] += masks[y[i]] * (0.9 + 0.5 * torch.rand(()))
    return split((x - 0.12) / 0.45, y)


def lesions(n: int = 500, size: int = 16, radius: float = 2.0, noise: float = 0.35) -> tuple[Data, float]:
    """Pictures with one bright disc and one dim square, and a mask of the disc; also the share of its pixels."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    place = torch.randint(3, size - 3, (n, 2))
    reach = radius * (0.8 + 0.5 * torch.rand(n, 1, 1))
    near = (row - place[:, :1, None]).square() + (column - place[:, 1:, None]).square()
    mask = (near <= reach.square()).long()
    corner = torch.randint(0, size - 4, (n, 2))
    inside = (row >= corner[:, :1, None]) & (row < corner[:, :1, None] + 4)
    inside = inside & (column >= corner[:, 1:, None]) & (column < corner[:, 1:, None] + 4)
    x = 1.5 * mask + 0.6 * inside.float() + noise * torch.randn(n, size, size)
    return split(x[:, None], mask), float(mask.float().mean())


def sprinkled(n: int = 1000, size: int = 12, most: int = 6) -> Data:
    """Pictures with 1 to 6 dots; the target is their number in standard scale, (N, 1)."""
    count = torch.randint(1, most + 1, (n,))
    x = 0.15 * torch.randn(n, 1, size, size)
    for i in range(n):
        places = torch.randperm((size // 2) ** 2)[: int(count[i])]
        top, left = 2 * (places // (size // 2)), 2 * (places % (size // 2))
        x[i, 0, top, left] += 1.2
        x[i, 0, top, left + 1] += 1.2
    return split(x, ((count - 3.5) / 1.7)[:, None])


def tiles(n: int = 900, size: int = 10) -> Data:
    """Colour pictures of red, green or blue ground with grey noise, in [0, 1]."""
    y = torch.arange(n) % 3
    ground = torch.eye(3)[y] * 0.25 + 0.4
    x = ground[:, :, None, None] + 0.15 * torch.randn(n, 3, size, size) + 0.1 * torch.randn(n, 1, 1, 1)
    return split(x.clamp(0, 1), y)


# sequences


def chirps(n: int = 1000, length: int = 30, noise: float = 0.3) -> Data:
    """Tones that rise, fall, or stay, (N, T, 1)."""
    y = torch.arange(n) % 3
    t = torch.linspace(0, 1, length)
    low, high = 1.5 + torch.rand(n, 1), 5 + torch.rand(n, 1)
    rise = low * t + 0.5 * (high - low) * t.square()
    fall = high * t - 0.5 * (high - low) * t.square()
    stay = 0.5 * (low + high) * t
    phase = torch.stack([rise, fall, stay], 1)[torch.arange(n), y]
    x = (6.28 * (phase + torch.rand(n, 1))).sin() * 1.3 + noise * torch.randn(n, length)
    return split(x[..., None], y)


def second_order(n: int = 900, length: int = 16, symbols: int = 7, slips: float = 0.05) -> Data:
    """Every symbol is the sum of the two before it modulo their number, with slips; y is x one later."""
    x = torch.randint(0, symbols, (n, length + 1))
    for t in range(2, length + 1):
        slip = torch.rand(n) < slips
        x[:, t] = torch.where(slip, x[:, t], (x[:, t - 1] + x[:, t - 2]) % symbols)
    return split(x[:, :-1], x[:, 1:])


def refrains(n: int = 900, half: int = 7, symbols: int = 9) -> Data:
    """A row of symbols and the same row once more; y is x one later, the first half masked by -100 as it is chance."""
    first = torch.randint(0, symbols, (n, half))
    row = torch.cat([first, first], 1)
    y = row[:, 1:].clone()
    y[:, : half - 1] = -100
    return split(row[:, :-1], y)


def denials(n: int = 1600, length: int = 8, words: int = 20) -> Data:
    """One word of praise (0) or blame (1) among others, and in half of the rows a "not" (2) somewhere before it.

    The class is praise or blame as it is meant.
    """
    x = torch.randint(3, words, (n, length))
    place, word, denied = torch.randint(1, length, (n,)), torch.randint(0, 2, (n,)), torch.rand(n) < 0.5
    rows = torch.arange(n)
    x[rows, place] = word
    earlier = (torch.rand(n) * place).long()
    x[rows[denied], earlier[denied]] = 2
    return split(x, torch.where(denied, 1 - word, word))


def delayed(n: int = 900, length: int = 24, delay: int = 3) -> Data:
    """A row of random numbers, (N, T, 1), and at every place the product of signs now and a few steps ago, (N, T)."""
    x = torch.randn(n, length)
    past = torch.cat([torch.ones(n, delay), x[:, :-delay]], 1)
    return split(x[..., None], ((x * past) > 0).long())


def markets(n: int = 900, length: int = 20, noise: float = 0.1) -> Data:
    """Rows that swing back to their mean with a season, (N, T, 1), and the next value, (N, 1)."""
    t = torch.arange(length + 1)
    phase, slope = torch.rand(n, 1) * 6.28, 0.4 * torch.randn(n, 1)
    x = (t * 0.9 + phase).sin() + slope * (t / length) * 2 - slope + noise * torch.randn(n, length + 1)
    return split(x[:, :-1, None], x[:, -1:])


def spoken(n: int = 700, length: int = 24, words: int = 4, said: int = 3) -> tuple[Data, Tensor]:
    """Three sounds of four kinds, each held for a while, (N, T, 5); y holds what was said, (N, 3), one on."""
    y = torch.randint(0, words, (n, said))
    x = 0.3 * torch.randn(n, length, words + 1)
    for i in range(n):
        starts = torch.arange(said) * (length // said) + torch.randint(0, 3, (said,))
        for k in range(said):
            x[i, starts[k] : starts[k] + 4, y[i, k]] += 1.0
    return split(x, y + 1), torch.full((said,), said)


# sets, graphs, pairs


def networks(n: int = 900, nodes: int = 10, features: int = 5) -> Data:
    """Graphs of two camps: features of the nodes beside the rows of the normalised adjacency, (N, A, F + A).

    Few features tell a node's camp, its neighbours tell more; the target is the camp of every node, (N, A).
    """
    camp = torch.randint(0, 2, (n, nodes))
    same = camp[:, :, None] == camp[:, None, :]
    edges = (torch.rand(n, nodes, nodes) < torch.where(same, 0.6, 0.1)).float().triu(1)
    edges = edges + edges.transpose(1, 2) + torch.eye(nodes)
    x = torch.randn(n, nodes, features)
    x[..., 0] += 0.15 * (2.0 * camp - 1)
    x[..., 1] *= 1 + 2.0 * camp
    return split(torch.cat([x, edges / edges.sum(2, keepdim=True)], 2), camp)


def lovers_of_films(n: int = 2400, people: int = 40, films: int = 30) -> Data:
    """A person and a film as numbers, (N, 2), and whether she liked it."""
    who, what = torch.randint(0, people, (n,)), torch.randint(0, films, (n,))
    taste, kind = torch.randn(people, 3), torch.randn(films, 3)
    score = (taste[who] * kind[what]).sum(1)
    return split(torch.stack([who, what], 1), (score + 0.2 * torch.randn(n) > 0).float())


def bandit(n: int = 1600, columns: int = 6, arms: int = 4) -> Data:
    """What an agent sees and the arm that would have paid."""
    return soils(n, columns, arms)


def views(n: int = 900, columns: int = 16, kinds: int = 6, noise: float = 0.35) -> Data:
    """Two noisy views of one thing each, side by side, (N, 2, C); its kind is the class."""
    y = torch.arange(n) % kinds
    thing = torch.randn(kinds, columns)[y] * 0.8 + 0.5 * torch.randn(n, columns)
    x = thing[:, None] + noise * torch.randn(n, 2, columns)
    return split(x, y)


# points and curves to be made again


def flower(n: int = 1600, petals: int = 5, noise: float = 0.04) -> Data:
    """Points on a flower in the plane; x is noise of two numbers."""
    angle = torch.rand(n) * 6.28
    radius = 0.8 + 0.4 * (petals * angle).cos()
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1) + noise * torch.randn(n, 2)
    return split(torch.randn(n, 2), points)


def steps_and_slopes(n: int = 1000, length: int = 28, noise: float = 0.05) -> Data:
    """A step somewhere on a slope, in standard scale, for reconstruction; y is x."""
    t = torch.linspace(-1, 1, length)
    place, height, slope = torch.rand(n, 1) * 1.4 - 0.7, torch.randn(n, 1), torch.randn(n, 1)
    x = height * torch.tanh((t - place) * 6) + slope * t + noise * torch.randn(n, length)
    return split(x, x.clone())
