"""Small networks of the usual families."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*sizes: int, act: type[nn.Module] = nn.ReLU, norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            layers += [nn.BatchNorm1d(b)] if norm else []
            layers.append(act())
            layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


def cnn(
    classes: int = 6, channels: int = 1, width: int = 12, *, norm: bool = True, act: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Three convolutions, pooled globally."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(((channels, width), (width, width), (width, 2 * width))):
        layers.append(nn.Conv2d(a, b, 3, padding=1))
        layers += [nn.BatchNorm2d(b)] if norm else []
        layers.append(act())
        layers += [nn.MaxPool2d(2)] if i < 2 else []
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(h)))


def resnet(classes: int = 6, channels: int = 1, width: int = 12) -> nn.Sequential:
    """Stem, two residual blocks, global average."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Residual(width),
        Residual(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


class Recurrent(nn.Module):
    """Embedding or projection, one recurrent layer, and a head on the last step or on every step."""

    def __init__(
        self, kind: type[nn.RNNBase], inputs: int, hidden: int, classes: int, *, symbols: bool = False
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(inputs, hidden) if symbols else nn.Linear(inputs, hidden)
        self.rnn = kind(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)
        self.every_step = False

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(self.embed(x))  # (N, T, H)
        return self.head(h if self.every_step else h[:, -1])


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads, self.causal, self.dropout = heads, causal, dropout

    def forward(self, x: Tensor) -> Tensor:
        n, t, w = x.shape
        q, k, v = (
            self.qkv(x).view(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        )  # (N, heads, T, w/heads)
        rate = self.dropout if self.training else 0.0
        h = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=self.causal)
        return self.out(h.transpose(1, 2).reshape(n, t, w))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int = 2, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = mlp(width, 2 * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Symbols in; scores at every place (a language model) or of the whole (pooled)."""

    def __init__(
        self,
        symbols: int,
        outputs: int,
        length: int,
        *,
        width: int = 24,
        depth: int = 2,
        causal: bool = False,
        pooled: bool = False,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.positions = nn.Parameter(0.1 * torch.randn(length, width)) if positions else None
        self.blocks = nn.Sequential(*(Block(width, causal=causal) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        if self.positions is not None:
            h = h + self.positions[: x.shape[1]]
        h = self.norm(self.blocks(h))
        return self.head(h.mean(1) if self.pooled else h)


class ViT(nn.Module):
    """Patches of 3 × 3, two blocks, mean over the patches."""

    def __init__(self, classes: int = 6, size: int = 12, patch: int = 3, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(h)).mean(1))


class VAE(nn.Module):
    """Variational autoencoder of a vector; returns reconstruction, mean and log variance."""

    def __init__(self, inputs: int = 32, hidden: int = 48, latent: int = 4) -> None:
        super().__init__()
        self.encoder = mlp(inputs, hidden, 2 * latent)
        self.decoder = mlp(latent, hidden, inputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp() if self.training else mean
        return self.decoder(z), mean, log_var


class GAN(nn.Module):
    """A generator, which is what the model is used for, and its critic."""

    def __init__(self, noise: int = 2, hidden: int = 32) -> None:
        super().__init__()
        self.generator = mlp(noise, hidden, hidden, 2)
        self.critic = mlp(2, hidden, hidden, 1, act=nn.LeakyReLU)

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)
