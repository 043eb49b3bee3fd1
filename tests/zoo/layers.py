"""Layers of every kind that PyTorch has, and the functions that stand in for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .case import Case, dense, rand, rows, wanted


class Functional(nn.Module):
    """Activations as functions: only what enters the next layer shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))


class InPlace(nn.Module):
    """Activations that overwrite what the layer before them returned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x += 1
        return self.b(self.act(x))


class SelfAttention(nn.Module):
    """nn.MultiheadAttention, which reads its output projection without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(x, x, x)[0].mean(1))


class FusedAttention(nn.Module):
    """The fused function between dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, 8)
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)  # (B, heads, T, 4)
        return self.head(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


class Encoder(nn.Module):
    """nn.TransformerEncoder, whose fast path calls none of its modules."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    """LSTM and GRU with their tuples, sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.head = nn.LSTM(4, 5), nn.GRU(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, 4)
        out, _ = self.lstm(x.transpose(0, 1))
        _, last = self.gru(out)
        return self.head(last[0])


class Cells(nn.Module):
    """A cell stepped by hand: one call a step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 5)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


class Bags(nn.Module):
    """EmbeddingBag with offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(10, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.head(self.bag(tokens, offsets))


class Convolutions(nn.Module):
    """Transposed, grouped, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, groups=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.transposed = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.transposed(self.depthwise(self.grouped(x))).mean((2, 3)))


class Volumes(nn.Module):
    """3-D convolution and norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3, 4)))


class Indexed(nn.Module):
    """Experts in a ModuleList and a ModuleDict, chosen by the data."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 3)})

    def forward(self, x: Tensor) -> Tensor:
        for i in (0, 2):
            x = self.experts[i](x)
        return self.heads["a"](x)


class Norms(nn.Module):
    """Layer, group, RMS and local response norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group, self.local = nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.LocalResponseNorm(2)
        self.layer, self.rms, self.head = nn.LayerNorm(4), nn.RMSNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local(self.group(self.conv(x))).mean(2)
        return self.head(self.rms(self.layer(x)))


class Pairs(nn.Module):
    """Bilinear and cosine similarity: two tensors into one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.cosine, self.head = nn.Bilinear(4, 4, 5), nn.CosineSimilarity(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat((self.pair(x, x), self.cosine(x, x)[:, None]), 1))


class Images(nn.Module):
    """Shuffles, up-sampling and adaptive pooling around a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.shuffle, self.up = nn.PixelShuffle(2), nn.Upsample(scale_factor=2, mode="bilinear")
        self.conv, self.pool = nn.Conv2d(1, 3, 3), nn.AdaptiveMaxPool2d(1, return_indices=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.up(self.shuffle(x))))[0].flatten(1)


class Spectral(nn.Module):
    """A Fourier transform: heavy, and without a formula."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.fft.rfft(x).abs())


class Einsum(nn.Module):
    """Weights that only an einsum reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(rand(4, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,iho->bo", x, self.weight)


def image(*shape: int) -> list[tuple[Tensor, Tensor]]:
    return [(rand(6, *shape), wanted()) for _ in range(2)]


MHA = 4 * 64 + 32  # parameters of attention over 8 features
ATTEND = 2 * 6 * 5 * 8 * 8 * 4 + 4 * 6 * 5 * 5 * 8  # 6 samples of 5 steps

CASES = {
    "functional activations": Case(
        Functional, lambda: rows(4), 40 + 27, dense(4, 8) + dense(8, 3), rows=("a", "b (input)", "b")
    ),
    "in-place activations": Case(InPlace, lambda: rows(4), 40 + 27, dense(4, 8) + dense(8, 3), rows=("a", "act", "b")),
    "multi-head attention": Case(
        SelfAttention,
        lambda: rows(5, 8),
        parameters=MHA + 27,
        flops=ATTEND + dense(8, 3),
        calls={"attend": 1, "attend.out_proj": 0},
        check=lambda report: _nothing_idle(report),
    ),
    "fused attention": Case(
        FusedAttention, lambda: rows(5, 8), 216 + 27, dense(8, 24, 30) + 4 * 6 * 5 * 5 * 8 + dense(8, 3)
    ),
    "transformer encoder": Case(
        Encoder,
        lambda: rows(5, 8),
        parameters=2 * (MHA + 16 * 8 + 16 + 16 * 8 + 8 + 32) + 27,
        flops=2 * (ATTEND + 2 * dense(8, 16, 30)) + dense(8, 3),
        check=lambda report: _nothing_idle(report),
    ),
    "recurrent layers": Case(
        Recurrent,
        lambda: rows(7, 4),
        parameters=20 * 11 + 18 * 13 + 21,
        flops=2 * 42 * 20 * 9 + 2 * 42 * 18 * 11 + dense(6, 3),
        rows=("lstm", "gru", "head"),
    ),
    "recurrent cell": Case(
        Cells,
        lambda: rows(7, 4),
        parameters=15 * 11 + 18,
        flops=7 * 2 * 6 * 15 * 9 + dense(5, 3),
        calls={"cell": 7},
    ),
    "embedding bag": Case(
        Bags,
        lambda: [(torch.arange(10), torch.tensor([0, 2, 4, 5, 7, 8]), wanted())] * 2,
        parameters=40 + 15,
        flops=dense(4, 3),
    ),
    "convolutions of all sorts": Case(
        Convolutions,
        lambda: image(4, 6, 6),
        parameters=(8 * 2 * 9 + 8) + (8 * 9 + 8) + (8 * 4 * 4 + 4) + 15,
        flops=2 * 6 * 36 * (8 * 2 * 9 + 8 * 9 + 8 * 4 * 4) + dense(4, 3),
        shapes={"transposed": ("6 × 8 × 6 × 6", "6 × 4 × 12 × 12")},
    ),
    "volumes": Case(
        Volumes, lambda: image(2, 4, 5, 6), 4 * 2 * 27 + 4 + 8 + 15, 2 * 6 * (2 * 3 * 4) * 4 * 54 + dense(4, 3)
    ),
    "modules by index": Case(
        Indexed,
        lambda: rows(4),
        parameters=3 * 20 + 15,
        flops=2 * dense(4, 4) + dense(4, 3),
        calls={"experts.0": 1, "experts.1": 0, "experts.2": 1, "heads.a": 1},
        unused=("experts.1",),
        check=lambda report: _idle(report, ["experts.1"]),
    ),
    "norms of all sorts": Case(
        Norms, lambda: rows(2, 8), (4 * 2 * 3 + 4) + 8 + 8 + 4 + 15, 2 * 6 * 6 * 4 * 6 + dense(4, 3)
    ),
    "two tensors into one layer": Case(Pairs, lambda: rows(4), 80 + 5 + 21, 2 * 6 * 5 * 4 * (4 + 1) + dense(6, 3)),
    "images without parameters": Case(
        Images,
        lambda: image(4, 4, 4),
        27 + 3,
        2 * 6 * 3 * 14 * 14 * 9,
        shapes={"shuffle": ("6 × 4 × 4 × 4", "6 × 1 × 8 × 8")},
    ),
    "work without a formula": Case(Spectral, lambda: rows(8), 18, dense(5, 3), uncounted=("_fft_r2c (1 call)",)),
    "einsum": Case(Einsum, lambda: rows(4), 24, dense(4, 3), rows=("",)),
}


def _nothing_idle(report: object) -> None:
    assert report.activations.not_executed == []  # type: ignore[attr-defined]


def _idle(report: object, names: list[str]) -> None:
    assert report.activations.not_executed == names  # type: ignore[attr-defined]
