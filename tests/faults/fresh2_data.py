"""Data of the second fresh cases: other kinds again than those of ``data`` and ``fresh_data``."""

from __future__ import annotations

import math

import torch
from sklearn import datasets
from torch import Tensor

from .data import Data, split, standardised


def _seed() -> int:
    """A seed for scikit-learn from torch's generator."""
    return int(torch.randint(0, 10**6, ()))


def _once(rows: Tensor) -> Tensor:
    """Leave out rows that were there before, in any order."""
    rows = rows.unique(dim=0)
    return rows[torch.randperm(len(rows))]


# tables


def shells(n: int = 1000, columns: int = 6, kinds: int = 3) -> Data:
    """Nested shells of one Gaussian, as many samples in each: no plane parts them."""
    x, y = datasets.make_gaussian_quantiles(n_samples=n, n_features=columns, n_classes=kinds, random_state=_seed())
    return split(x, y)


def corners(n: int = 1000, columns: int = 10, kinds: int = 3, apart: float = 1.8) -> Data:
    """Clumps on the corners of a cube, two a class, with columns that say nothing or repeat others."""
    x, y = datasets.make_classification(
        *(n, columns),
        n_informative=5,
        n_redundant=2,
        n_classes=kinds,
        n_clusters_per_class=2,
        class_sep=apart,
        flip_y=0.0,
        random_state=_seed(),
    )
    return standardised(split(x, y))


def impedance(n: int = 900) -> Data:
    """Friedman's second function: the impedance of a circuit, columns from 1e-6 to 1e3 wide, (N, 1)."""
    x, y = datasets.make_friedman2(n, noise=12.0, random_state=_seed())
    return split(x, torch.tensor(y, dtype=torch.float32)[:, None])


def swiss_roll(n: int = 1000) -> Data:
    """Points of a rolled sheet in space in standard scale; the target is how far along the sheet, (N, 1)."""
    x, t = datasets.make_swiss_roll(n, noise=0.15, random_state=_seed())
    t = torch.tensor((t - t.mean()) / t.std(), dtype=torch.float32)[:, None]
    return standardised(split(x, t))


def arm(n: int = 1000, noise: float = 0.02) -> Data:
    """Three angles of a robot's arm in radians and where its hand is, (N, 2)."""
    angle = (torch.rand(n, 3) - 0.5) * 3.0
    turned = angle.cumsum(1)
    hand = torch.stack([turned.cos().sum(1), turned.sin().sum(1)], 1)
    return split(angle, hand + noise * torch.randn(n, 2))


def loans(n: int = 1600, share: float = 0.3, sharp: float = 3.0) -> Data:
    """Applicants in standard scale and whether they fail, with real chance in it; ``share`` of them do."""
    x = torch.randn(n, 9)
    score = 1.2 * x[:, 0] - 0.9 * x[:, 1] + 0.8 * x[:, 2] * x[:, 3] + 0.5 * (x[:, 4].abs() - 0.8)
    bar = score.quantile(1 - share)
    return split(x, (torch.rand(n) < (sharp * (score - bar)).sigmoid()).long())


def pump(n: int = 900) -> Data:
    """Pressure in pascals, speed in turns a minute, heat in kelvins, flow in litres; power in watts, (N, 1)."""
    pressure, speed = 101_325 + 9_000 * torch.randn(n), 1450 + 180 * torch.randn(n)
    heat, flow = 330 + 12 * torch.randn(n), 6 + 1.5 * torch.rand(n)
    power = 0.05 * (pressure - 90_000) * flow / 10 + 0.9 * speed + 6 * (heat - 330).abs() * flow / 6
    return split(torch.stack([pressure, speed, heat, flow], 1), (power + 20 * torch.randn(n))[:, None])


def clicks(n: int = 2200, users: int = 60, things: int = 50) -> Data:
    """Pairs of a user and a thing by number, (N, 2), each once, and whether the user took it, by taste of two kinds."""
    taste, kind = torch.randn(users, 2), torch.randn(things, 2)
    pair = torch.cartesian_prod(torch.arange(users), torch.arange(things))
    pair = pair[torch.randperm(len(pair))[:n]]
    liking = (taste[pair[:, 0]] * kind[pair[:, 1]]).sum(1)
    return split(pair, (liking > liking.median()).float()[:, None])


def triage(n: int = 1400, columns: int = 8) -> Data:
    """Four grades in their order, from one hidden number with a little noise."""
    x = torch.randn(n, columns)
    need = 1.1 * x[:, 0] + 0.8 * x[:, 1] - 0.6 * x[:, 2] + 0.7 * x[:, 3] * x[:, 4].sign() + 0.15 * torch.randn(n)
    return split(x, torch.bucketize(need, need.quantile(torch.tensor([0.25, 0.5, 0.75]))))


# pictures

_FONT = {
    "b": ("1000", "1000", "1110", "1001", "1001", "1110"),
    "d": ("0001", "0001", "0111", "1001", "1001", "0111"),
    "p": ("1110", "1001", "1001", "1110", "1000", "1000"),
    "q": ("0111", "1001", "1001", "0111", "0001", "0001"),
    "x": ("1001", "1001", "0110", "0110", "1001", "1001"),
    "z": ("1111", "0001", "0010", "0100", "1000", "1111"),
}


def letters(n: int = 1000, size: int = 10, noise: float = 0.3, kinds: str = "bdxz") -> Data:
    """Letters printed somewhere on a noisy sheet, (N, 1, S, S), in about standard scale."""
    glyphs = [torch.tensor([[float(c) for c in row] for row in _FONT[kind]]) for kind in kinds]
    y = torch.arange(n) % len(kinds)
    x = noise * torch.randn(n, 1, size, size)
    for i in range(n):
        top, left = int(torch.randint(0, size - 5, ())), int(torch.randint(0, size - 3, ()))
        x[i, 0, top : top + 6, left : left + 4] += glyphs[int(y[i])] * (0.8 + 0.5 * torch.rand(()))
    return split((x - 0.15) / 0.45, y)


def dials(n: int = 1000, size: int = 12, noise: float = 0.15) -> Data:
    """A hand on a round dial and the cosine and sine of where it points, (N, 2)."""
    angle = torch.rand(n, 1, 1) * 2 * math.pi
    row, column = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    along = column * angle.cos() + row * angle.sin()
    across = column * angle.sin() - row * angle.cos()
    hand = ((along > -0.1) & (along < 0.9)).float() * (-((across / 0.18) ** 2)).exp()
    x = (hand + noise * torch.randn(n, size, size) - 0.15) / 0.3
    return split(x[:, None], torch.cat([angle[:, 0].cos(), angle[:, 0].sin()], 1))


def cells(n: int = 900, size: int = 14, most: int = 5, noise: float = 0.1) -> Data:
    """Bright spots on a dark ground and how many there are, from 1 on, (N, 1)."""
    count = torch.randint(1, most + 1, (n,))
    x = noise * torch.randn(n, size, size)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    places = torch.rand(n, most, 2) * (size - 3) + 1
    for k in range(most):
        spot = (-((row - places[:, k, 0, None, None]) ** 2 + (column - places[:, k, 1, None, None]) ** 2) / 1.2).exp()
        x += spot * (count > k).float()[:, None, None]
    return split(((x - 0.1) / 0.25)[:, None], count.float()[:, None])


def fabrics(n: int = 900, size: int = 10, noise: float = 0.35) -> Data:
    """Woven cloth in three colours a pixel, (N, 3, S, S): plain, twill, satin or basket, with thread of any colour."""
    y = torch.arange(n) % 4
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    shift = torch.randint(0, 10, (n, 2))
    r, c = row + shift[:, 0, None, None], column + shift[:, 1, None, None]
    weaves = [(r + c) % 2, (r + c) % 4 < 2, (r * 2 + c) % 5 == 0, (r // 2 + c // 2) % 2]
    cloth = torch.stack([w.float() for w in weaves], 1)[torch.arange(n), y]
    tint = 0.6 + 0.8 * torch.rand(n, 3, 1, 1)
    return split((cloth[:, None] - 0.45) * 2 * tint + noise * torch.randn(n, 3, size, size), y)


def rooms(n: int = 700, size: int = 12, noise: float = 0.3) -> Data:
    """Pictures with one bright and one dim box, (N, 1, S, S), and what each pixel is: ground, bright or dim."""
    y = torch.zeros(n, size, size, dtype=torch.long)
    for i in range(n):
        for kind in (1, 2):
            top, left = (int(v) for v in torch.randint(0, size - 5, (2,)))
            high, wide = (int(v) for v in torch.randint(3, 6, (2,)))
            y[i, top : top + high, left : left + wide] = kind
    level = torch.tensor([0.0, 1.6, -1.6])[y]
    return split((level + noise * torch.randn(n, size, size))[:, None], y)


# signals


def beats(n: int = 900, length: int = 64, noise: float = 0.15) -> Data:
    """Heartbeats on one lead, (N, 1, T): even, one too early, or one left out."""
    y = torch.arange(n) % 3
    t = torch.arange(length).float()
    gap = 13 + 2 * torch.rand(n, 1)
    start = torch.rand(n, 1) * 5 + 2
    x = noise * torch.randn(n, length)
    for k in range(5):
        place = start + k * gap
        if k == 2:
            place = place - 0.45 * gap * (y == 1).float()[:, None]
        size = 1.0 if k != 2 else (y != 2).float()[:, None]
        peak = (-(((t - place) / 0.9) ** 2)).exp() * 2.2 - (-(((t - place - 2.2) / 1.2) ** 2)).exp() * 0.7
        x = x + size * peak
    return split(x[:, None], y)


def paces(n: int = 900, length: int = 32, noise: float = 0.4) -> Data:
    """Three axes of a phone in a pocket, (N, T, 3): still, walking, running or on stairs."""
    y = torch.arange(n) % 4
    t = torch.arange(length) / length
    rate = torch.tensor([0.0, 3.0, 5.5, 3.0])[y][:, None] * (0.85 + 0.3 * torch.rand(n, 1))
    strength = torch.tensor([0.1, 1.0, 1.6, 1.0])[y][:, None]
    angle = 2 * math.pi * (rate * t + torch.rand(n, 1))
    drift = torch.tensor([0.0, 0.0, 0.0, 1.2])[y][:, None]
    axes = [strength * angle.sin(), 0.7 * strength * (angle + 0.8).cos(), 0.4 * (2 * angle).sin() * strength + drift]
    return split(torch.stack(axes, 2) + noise * torch.randn(n, length, 3), y)


def pendulums(n: int = 900, length: int = 24, ahead: int = 4, noise: float = 0.05) -> Data:
    """A damped swing, (N, T, 1), and its next few values, (N, A)."""
    t = torch.arange(length + ahead).float()
    x = (-0.02 * t).exp() * ((0.35 + 0.3 * torch.rand(n, 1)) * t + 6.3 * torch.rand(n, 1)).sin() * 1.6
    x = x + noise * torch.randn(n, length + ahead)
    return split(x[:, :length, None], x[:, length:])


def tides(n: int = 800, length: int = 20, noise: float = 0.1) -> Data:
    """Water levels hour by hour, (N, T, 1), with the level one hour on at every place, (N, T, 1)."""
    t = torch.arange(length + 1.0)
    moon, sun = torch.rand(n, 1) * 6.3, torch.rand(n, 1) * 6.3
    x = (0.52 * t + moon).sin() + 0.5 * (0.9 * t + sun).sin() + noise * torch.randn(n, length + 1)
    return split(x[:, :-1, None], x[:, 1:, None])


def marked_sum(n: int = 1600, length: int = 16) -> Data:
    """Numbers of which two are marked, (N, T, 2); the target is their sum in standard scale, (N, 1)."""
    value, marks = torch.rand(n, length), torch.zeros(n, length)
    marks.scatter_(1, torch.rand(n, length).argsort(1)[:, :2], 1.0)
    total = (value * marks).sum(1, keepdim=True)
    return split(torch.stack([value * 2 - 1, marks], 2), (total - 1.0) / 0.41)


# symbols


def brackets(n: int = 1200, length: int = 20) -> Data:
    """Rows of round brackets, open 0 and closed 1, each row once; half of them close, which is the class."""
    row = torch.tensor([0] * (length // 2) + [1] * (length // 2))
    rows = row[torch.rand(16 * n, length).argsort(1)].unique(dim=0)
    rows = rows[torch.randperm(len(rows))]
    closed = (1 - 2 * rows).cumsum(1).amin(1) >= 0
    chosen = torch.cat([rows[closed][: n // 2], rows[~closed][: n // 2]])
    return split(chosen, (torch.arange(len(chosen)) < n // 2).long())


def sentences(n: int = 800, length: int = 23) -> Data:
    """Chains of small sentences: subject, the verb that goes with it, an object that the verb likes, stop.

    13 symbols, (N, T); the target is what comes next. What follows a subject is sure, what follows a verb half so.
    """
    rows = torch.zeros(n, length + 4, dtype=torch.long)
    for place in range(0, length + 4, 4):
        subject = torch.randint(0, 4, (n,))
        likes = torch.where(torch.rand(n) < 0.7, subject, torch.randint(0, 4, (n,)))
        sentence = torch.stack([subject, 4 + subject, 8 + likes, torch.full((n,), 12)], 1)
        rows[:, place : place + 4] = sentence[:, : rows.shape[1] - place]
    start = torch.randint(0, 4, (n,))[:, None] + torch.arange(length + 1)
    rows = _once(rows.gather(1, start.clamp_max(length + 3)))
    return split(rows[:, :-1], rows[:, 1:])


def names(n: int = 1200, length: int = 10, kinds: int = 12) -> Data:
    """Texts of 12 words, padded with 0 from a length of their own on, and a tag a word, padded with -100.

    A word is tagged 1 when the one before it is a title (1 or 2), else 0; 2 when it is a title itself.
    """
    x = torch.randint(1, kinds + 1, (n, length))
    x = torch.where(torch.rand(n, length) < 0.25, torch.randint(1, 3, (n, length)), x)
    before = torch.cat([torch.zeros(n, 1, dtype=torch.long), x[:, :-1]], 1)
    title, after = (x == 1) | (x == 2), (before == 1) | (before == 2)
    y = torch.where(title, 2, torch.where(after, 1, 0))
    padding = torch.arange(length) >= torch.randint(5, length + 1, (n,))[:, None]
    both = _once(torch.cat([x.masked_fill(padding, 0), y.masked_fill(padding, -100)], 1))
    return split(both[:, :length], both[:, length:])


def moods(n: int = 1200, length: int = 12, words: int = 30, share: float = 0.35) -> Data:
    """Notes of 30 words in three moods, each of which has words of its own (8 each) among common ones."""
    y = torch.arange(n) % 3
    own = torch.randint(0, 8, (n, length)) + 6 + 8 * y[:, None]
    return split(torch.where(torch.rand(n, length) < share, own, torch.randint(0, words, (n, length))), y)


def shifted_text(n: int = 1000, length: int = 6, symbols: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Return sources (N, T + 1) whose first symbol is the key, what a decoder is given, and the text moved by the key.

    Symbol 0 starts an answer; keys and texts are 1 to ``symbols`` - 1.
    """
    source = _once(torch.cat([torch.randint(1, 4, (n, 1)), torch.randint(1, symbols, (n, length))], 1))
    key, text = source[:, :1], source[:, 1:]
    answer = (text - 1 + key) % (symbols - 1) + 1
    given = torch.cat([torch.zeros(len(answer), 1, dtype=torch.long), answer[:, :-1]], 1)
    return source, given, answer


# sets and graphs


def clouds(n: int = 900, points: int = 24, noise: float = 0.06) -> Data:
    """Clouds of points in space in any order, (N, P, 3): a ball's skin, a cube's edges, or a disc; turned at random."""
    y = torch.arange(n) % 3
    ball = torch.randn(n, points, 3)
    ball = ball / ball.norm(dim=2, keepdim=True)
    edge = torch.randint(0, 2, (n, points, 3)).float() * 2 - 1
    free = torch.nn.functional.one_hot(torch.randint(0, 3, (n, points)), 3).bool()
    cube = torch.where(free, torch.rand(n, points, 3) * 2 - 1, edge) * 0.75
    angle, radius = torch.rand(n, points) * 2 * math.pi, torch.rand(n, points).sqrt() * 1.2
    disc = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros(n, points)], 2)
    cloud = torch.stack([ball, cube, disc], 1)[torch.arange(n), y]
    turn = torch.linalg.qr(torch.randn(n, 3, 3)).Q
    return split(cloud @ turn + noise * torch.randn(n, points, 3), y)


def molecules(n: int = 900, atoms: int = 8) -> Data:
    """Small graphs: a kind of four an atom as one-hot beside the rows of the adjacency, (N, A, 4 + A).

    The target is the sum over bonds of what a pair of kinds is worth, in standard scale, (N, 1).
    """
    kind = torch.randint(0, 4, (n, atoms))
    bonds = (torch.rand(n, atoms, atoms) < 0.3).float().triu(1)
    bonds = bonds + bonds.transpose(1, 2)
    worth = torch.randn(4, 4)
    worth = worth + worth.T
    total = (bonds * worth[kind[:, :, None], kind[:, None, :]]).sum((1, 2), keepdim=False)[:, None] / 2
    one_hot = torch.nn.functional.one_hot(kind, 4).float()
    return split(torch.cat([one_hot, bonds], 2), (total - total.mean()) / total.std())


# points to be made


def lattice(n: int = 2400, noise: float = 0.1) -> Data:
    """Nine clumps on a grid in the plane in about standard scale, for generators; x is noise of two numbers."""
    places = torch.randint(0, 3, (n, 2)).float() - 1
    return split(torch.randn(n, 2), places * 1.2 + noise * torch.randn(n, 2))


def waves2(n: int = 1400, length: int = 24, noise: float = 0.05) -> Data:
    """Humps of any place, width and height, for reconstruction, (N, T); y is x."""
    t = torch.linspace(-1, 1, length)
    place, width, height = torch.rand(n, 1) * 1.4 - 0.7, 0.15 + 0.3 * torch.rand(n, 1), 1 + torch.rand(n, 1)
    x = height * (-(((t - place) / width) ** 2)).exp() + noise * torch.randn(n, length)
    x = (x - 0.5) / 0.6
    return split(x, x.clone())
