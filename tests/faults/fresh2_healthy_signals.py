"""Second fresh healthy programs: heartbeats, steps, tides and texts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, lr_scheduler

from . import data, fresh2_data, nets
from .case import Training, healthy
from .fresh2_programs import TOKENS, Series, Words, cosine, step_down, tokens
from .metrics import ACCURACY, R2
from .programs import adam, adamw, program

# signals


class Inception(nn.Module):
    """Kernels of three widths side by side, then a mean and a peak over time."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.near = nn.ModuleList(nn.Conv1d(1, 8, k, padding=k // 2) for k in (3, 7, 15))
        self.norm = nn.BatchNorm1d(24)
        self.second, self.norm2 = nn.Conv1d(24, 24, 9, stride=2, padding=4), nn.BatchNorm1d(24)
        self.head = nn.Linear(24 * 8, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.norm(torch.cat([layer(x) for layer in self.near], 1)))
        h = F.gelu(self.norm2(self.second(h)))
        return self.head(F.adaptive_avg_pool1d(h, 8).flatten(1))


@healthy("conv1d", bar=0.9)
def heartbeats_through_three_widths(seed: int) -> Training:
    return cosine(program(Inception(), fresh2_data.beats(1200), adamw(3e-3, weight_decay=0.05), 10))


@healthy("lstm", bar=0.9)
def steps_of_a_phone_with_clipping(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 5.0)
        training.optimizer.step()
        return loss

    return cosine(program(Series(3, 4, kind=nn.LSTM), fresh2_data.paces(), adam(6e-3), 10, step=step))


class Dilated(nn.Module):
    """Causal convolutions of growing reach with gates and skips, read at the end."""

    def __init__(self, inputs: int, outputs: int, width: int = 16, *, each: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, width, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(4))
        self.head, self.each = nn.Linear(width, outputs), each

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.transpose(1, 2))
        skips = torch.zeros_like(h)
        for i, layer in enumerate(self.layers):
            a, b = layer(F.pad(h, (2**i, 0))).chunk(2, 1)
            step = a.tanh() * b.sigmoid()
            h, skips = h + step, skips + step
        out = F.relu(skips).transpose(1, 2)
        return self.head(out if self.each else out.mean(1))


@healthy("tcn", bar=0.9)
def steps_of_a_phone_by_dilated_convolutions(seed: int) -> Training:
    return cosine(program(Dilated(3, 4), fresh2_data.paces(), adam(6e-3), 10))


@healthy("tcn", bar=0.85)
def tides_hour_by_hour(seed: int) -> Training:
    model = Dilated(1, 1, each=True)
    return cosine(program(model, fresh2_data.tides(), adam(8e-3), 12, loss=nn.MSELoss(), metric=R2))


@healthy("forecast", bar=0.9)
def four_swings_ahead(seed: int) -> Training:
    table = fresh2_data.pendulums()
    return cosine(program(Series(1, 4), table, adam(8e-3), 12, loss=nn.SmoothL1Loss(), metric=R2))


class Spectrum(nn.Module):
    """A signal's strength by frequency, then a small net."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.mlp(51, 32, 4, act=nn.ELU)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.fft.rfft(x, dim=1).abs().log1p().flatten(1))


@healthy("spectral", bar=0.9)
def steps_of_a_phone_by_their_spectrum(seed: int) -> Training:
    return cosine(program(Spectrum(), fresh2_data.paces(), adam(3e-3), 10))


@healthy("lstm", bar=0.9)
def swing_by_two_layers_each_with_a_norm(seed: int) -> Training:
    """The first layer's states are normalised before the second reads them."""

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.LSTM(1, 16, batch_first=True), nn.LSTM(16, 16, batch_first=True)
            self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.two(self.norm(self.one(x)[0]))[0][:, -1])

    return cosine(program(Stack(), fresh2_data.pendulums(), adam(1e-2), 12, loss=nn.MSELoss(), metric=R2))


# symbols


class Language(nn.Module):
    """A causal transformer whose output layer is its table of vectors."""

    def __init__(self, symbols: int = 13, length: int = 23, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.places = nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.Sequential(nets.Block(width, causal=True), nets.Block(width, causal=True))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.places[: x.shape[1]]
        return self.norm(self.blocks(h)) @ self.embed.weight.T


@healthy("gpt", bar=0.7)
def small_sentences_with_tied_vectors(seed: int) -> Training:
    training = program(Language(), fresh2_data.sentences(), adamw(4e-3), 8, loss=tokens, metric=TOKENS)
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.SequentialLR(
        training.optimizer,
        [
            lr_scheduler.LinearLR(training.optimizer, 0.05, 1.0, 15),
            lr_scheduler.CosineAnnealingLR(training.optimizer, total - 15),
        ],
        [15],
    )
    training.scheduler_every = "step"
    return training


@healthy("gru", bar=0.7)
def small_sentences_by_a_gru(seed: int) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(13, 16), nn.GRU(16, 24, batch_first=True)
            self.head = nn.Linear(24, 13)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(x))[0])

    return cosine(program(Net(), fresh2_data.sentences(), adam(8e-3), 8, loss=tokens, metric=TOKENS))


class Tagger(nn.Module):
    """A two-way LSTM over padded texts; padding has a vector of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 12, padding_idx=0)
        self.rnn, self.head = nn.LSTM(12, 12, batch_first=True, bidirectional=True), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


@healthy("sequence-labelling", bar=0.95)
def titles_and_names_in_padded_texts(seed: int) -> Training:
    return cosine(program(Tagger(), fresh2_data.names(), adam(8e-3), 8, loss=tokens, metric=TOKENS))


class Reader(nn.Module):
    """A transformer encoder that looks past padding, with a mean over the words that are there."""

    def __init__(self, symbols: int, outputs: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        layer = nn.TransformerEncoderLayer(width, 3, 48, dropout=0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        there = (x > 0).float()[..., None]
        h = self.body(self.embed(x), src_key_padding_mask=x == 0)
        return self.head((h * there).sum(1) / there.sum(1).clamp_min(1))


@healthy("transformer", bar=0.85)
def moods_of_notes_with_padding(seed: int) -> Training:
    table = fresh2_data.moods(3000, share=0.45)
    x = torch.cat([table.x, table.x_val]) + 1
    y = torch.cat([table.y, table.y_val])
    gone = torch.arange(x.shape[1]) >= torch.randint(8, x.shape[1] + 1, (len(x),))[:, None]
    return cosine(program(Reader(31, 3), data.split(x.masked_fill(gone, 0), y), adamw(3e-3, weight_decay=0.1), 4))


@healthy("text", bar=0.85)
def moods_from_the_mean_of_vectors_with_smoothed_labels(seed: int) -> Training:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.EmbeddingBag(30, 12, mode="mean"), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.words(x))

    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return cosine(program(Bag(), fresh2_data.moods(1600, share=0.45), adam(2e-2), 12, loss=loss))


@healthy("fine-tuning", bar=0.8)
def moods_over_frozen_vectors(seed: int) -> Training:
    """The vectors come from an earlier task on the same words and stay as they are."""
    earlier = fresh2_data.moods(1500, share=0.45)
    first = Words(30, 3)
    optimizer = AdamW(first.parameters(), lr=6e-3)
    for _ in range(120):
        rows = torch.randint(0, len(earlier.x), (64,))
        step_down(F.cross_entropy(first(earlier.x[rows]), earlier.y[rows]), optimizer)
    model = Words(30, 3)
    model.embed.load_state_dict(first.embed.state_dict())
    model.embed.requires_grad_(False)
    trained = lambda m: AdamW([p for p in m.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.1)  # noqa: E731
    return cosine(program(model, fresh2_data.moods(2600, share=0.45), trained, 4))


class Decoder(nn.Module):
    """Encoder and decoder; the decoder is given the right answer so far and looks back at the source."""

    def __init__(self, symbols: int = 10, width: int = 32) -> None:
        super().__init__()
        self.source, self.given = nn.Embedding(symbols, width), nn.Embedding(symbols, width)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.key, self.bridge = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.places = nn.Parameter(0.3 * torch.randn(8, width))
        self.head = nets.mlp(2 * width, width, symbols)

    def forward(self, source: Tensor, given: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(source) + self.places[: source.shape[1]])
        start = self.bridge(torch.cat([last[0], last[1]], 1)).tanh()[None]
        h, _ = self.decoder(self.given(given) + self.places[1 : given.shape[1] + 1], start)
        memory = self.key(memory)
        weights = (h @ memory.transpose(1, 2) / h.shape[-1] ** 0.5).softmax(-1)
        return self.head(torch.cat([h, weights @ memory], 2))


@healthy("seq2seq", bar=0.9)
def text_moved_by_a_key_with_teacher_forcing(seed: int) -> Training:
    tensors = fresh2_data.shifted_text(2000)
    train, val = ([t[part] for t in tensors] for part in (slice(0, 1500), slice(1500, None)))
    model = Decoder()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*train), batch_size=32, shuffle=True)
    return cosine(Training(model, AdamW(model.parameters(), lr=6e-3), tokens, loader, data.loader(*val), 12, ACCURACY))


@healthy("lstm", bar=0.9)
def brackets_that_close(seed: int) -> Training:
    return cosine(program(Words(2, 2, kind=nn.LSTM), fresh2_data.brackets(1600), adam(1e-2), 8))
