"""Fresh healthy programs: sounds, texts and pictures."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, lr_scheduler

from . import data, fresh_data, nets
from .case import Metric, Training, healthy
from .fresh_sick_graph import Translator, translation
from .metrics import BALANCED_ACCURACY, R2
from .programs import adam, adamw, program, token_loss

# sounds and series


def _listener(outputs: int = 4) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv1d(1, 12, 9, stride=2), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 24, 5, stride=2), nn.ReLU()),
        *(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, outputs)),
    )


@healthy("conv1d", bar=0.9)
def sounds_of_four_kinds(seed: int) -> Training:
    return program(_listener(), fresh_data.tones(), adam(3e-3), 10)


class Causal(nn.Module):
    """Dilated convolutions that look back only, with residuals."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.head = nn.Conv1d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x[:, None])
        for i, layer in enumerate(self.layers):
            h = h + F.relu(layer(F.pad(h, (2**i, 0))))
        return self.head(h)[:, 0]


@healthy("forecast", bar=0.7)
def next_value_by_dilated_convolutions(seed: int) -> Training:
    return program(Causal(), fresh_data.walks(), adam(5e-3), 12, loss=nn.MSELoss(), metric=R2)


@healthy("forecast", bar=0.8)
def load_of_the_next_hour(seed: int) -> Training:
    return program(
        nets.Recurrent(nn.GRU, 1, 24, 1), fresh_data.load_curve(), adam(5e-3), 12, loss=nn.L1Loss(), metric=R2
    )


class BothWays(nn.Module):
    """A bidirectional LSTM that tags every place; nothing is to be hidden from it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 16)
        self.rnn, self.head = nn.LSTM(16, 16, batch_first=True, bidirectional=True), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


@healthy("lstm", bar=0.85)
def tags_that_need_both_neighbours(seed: int) -> Training:
    """A place is marked when it is larger than both of its neighbours."""
    x = torch.randint(0, 6, (800, 12))
    wide = F.pad(x, (1, 1), value=-1)
    y = ((x > wide[:, :-2]) & (x > wide[:, 2:])).long()
    return program(BothWays(), data.split(x, y), adam(6e-3), 10, loss=token_loss)


class Oscillator(nn.Module):
    """A learned flow, integrated by small steps from a start."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nets.mlp(2, 32, 2, act=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(8):
            x = x + 0.25 * self.flow(x)
        return x


@healthy("neural-ode", bar=0.85)
def where_a_pendulum_will_be(seed: int) -> Training:
    x = torch.randn(900, 2)
    y = x.clone()
    for _ in range(200):
        y = y + 0.01 * torch.stack([y[:, 1], -1.5 * y[:, 0].sin() - 0.1 * y[:, 1]], 1)
    return program(Oscillator(), data.split(x, y), adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


# texts


@healthy("seq2seq", bar=0.8)
def words_reversed_with_attention(seed: int) -> Training:
    model = Translator()
    return translation(model, Adam(model.parameters(), lr=6e-3), 12)


_MASKED = Metric(
    "accuracy",
    lambda output, y: float((output.argmax(-1) == y)[y >= 0].float().mean()),
    lambda y: float(y[y >= 0].bincount().max() / (y >= 0).sum()),
)


@healthy("self-supervised", bar=0.6)
def hidden_symbols_guessed(seed: int) -> Training:
    """A fifth of the symbols is replaced by a mask; only there is the loss taken."""
    rows = data.counting(1400, slips=0.0)

    def hidden(x: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.rand(x.shape) < 0.2
        mask[:, 5] = True
        return x.masked_fill(mask, 11), torch.where(mask, x, torch.full_like(x, -100))

    table = data.Data(*hidden(torch.cat([rows.x] * 2)), *hidden(rows.x_val))
    return program(nets.Transformer(12, 11, 13), table, adamw(4e-3), 9, loss=token_loss, metric=_MASKED)


@healthy("transformer", bar=0.85)
def large_rate_with_warm_up_and_clipping(seed: int) -> Training:
    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
        training.optimizer.step()
        return loss

    model = nets.Transformer(40, 4, 14, pooled=True)
    training = program(model, fresh_data.topics(), adamw(1e-2, weight_decay=0.05), 8, step=step)
    training.scheduler = lr_scheduler.LambdaLR(training.optimizer, lambda i: min(1.0, (i + 1) / 40) * (1 - i / 185))
    training.scheduler_every = "step"
    return training


@healthy("text", bar=0.8)
def texts_by_convolutions_of_three_widths(seed: int) -> Training:
    class Widths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(fresh_data.WORDS, 16, padding_idx=0)
            self.convolutions = nn.ModuleList(nn.Conv1d(16, 12, k, padding=1) for k in (2, 3, 4))
            self.drop, self.head = nn.Dropout(0.2), nn.Linear(36, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x).transpose(1, 2)
            return self.head(self.drop(torch.cat([F.relu(c(h)).amax(2) for c in self.convolutions], 1)))

    return program(Widths(), fresh_data.reviews(1500, negated=0.1), adam(4e-3), 6)


@healthy("imbalanced", bar=0.75)
def rare_topic_with_class_weights(seed: int) -> Training:
    rows = fresh_data.topics(3000, kinds=3)
    keep, keep_val = ((y != 2) | (torch.rand(len(y)) < 0.16) for y in (rows.y, rows.y_val))
    table = data.Data(rows.x[keep], rows.y[keep], rows.x_val[keep_val], rows.y_val[keep_val])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 6.0]))
    model = nets.Recurrent(nn.GRU, 40, 16, 3, symbols=True)
    return program(model, table, adam(4e-3), 4, loss=loss, metric=BALANCED_ACCURACY)


@healthy("alignment", bar=0.7)
def symbols_without_their_places(seed: int) -> Training:
    """Connectionist temporal classification: what was said is known, when is not."""

    class Hearer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 32, batch_first=True, bidirectional=True), nn.Linear(64, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0]).log_softmax(-1)

    said = torch.randint(1, 6, (900, 3))
    heard = torch.zeros(900, 15, dtype=torch.long)
    for i in range(3):  # each symbol sounds for two steps, somewhere in its third of the time
        start = 5 * i + torch.randint(0, 3, (900, 1))
        heard.scatter_(1, start, said[:, i : i + 1]).scatter_(1, start + 1, said[:, i : i + 1])
    x = F.one_hot(heard, 6).float() + 0.3 * torch.randn(900, 15, 6)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        lengths = [torch.full((len(y),), n) for n in (output.shape[1], y.shape[1])]
        return F.ctc_loss(output.transpose(0, 1), y, *lengths)

    def right(output: Tensor, y: Tensor) -> float:
        best = output.argmax(-1)
        words = [[int(s) for s in row.unique_consecutive() if s] for row in best]
        return sum(w == t.tolist() for w, t in zip(words, y, strict=True)) / len(y)

    metric = Metric("exact", right, lambda y: 1 / 125)
    return program(Hearer(), data.split(x, said), adam(1e-2), 12, loss=loss, metric=metric)


# pictures


class UNet(nn.Module):
    """Down, up, and a bridge."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(x))
        b = F.relu(self.deep(F.max_pool2d(a, 2)))
        return self.out(torch.cat([a, F.relu(self.up(b))], 1))


def _dice(output: Tensor, mask: Tensor) -> float:
    guess = (output > 0).float()
    return float(2 * (guess * mask).sum() / (guess.sum() + mask.sum()).clamp_min(1))


@healthy("segmentation", bar=0.8)
def discs_cut_out(seed: int) -> Training:
    def loss(output: Tensor, mask: Tensor) -> Tensor:
        p = output.sigmoid()
        overlap = 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)
        return F.binary_cross_entropy_with_logits(output, mask) + overlap

    def everything(mask: Tensor) -> float:
        return _dice(torch.ones_like(mask), mask)

    return program(UNet(), fresh_data.blobs(), adam(3e-3), 10, loss=loss, metric=Metric("dice", _dice, everything))


class Squeeze(nn.Module):
    """Channels weighed by a look at the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x).sigmoid()


@healthy("cnn", bar=0.9)
def channels_squeezed_and_weighed(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.SiLU(), Squeeze(12), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.SiLU(), Squeeze(24)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)),
    )
    return program(model, fresh_data.gratings(), adamw(3e-3), 10)


class Dropped(nn.Module):
    """A residual block that is left out at random while training."""

    def __init__(self, width: int, rate: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.ReLU())
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x + self.body(x)
        keep = (torch.rand(len(x), 1, 1, 1) > self.rate).float() / (1 - self.rate)
        return x + keep * self.body(x)


@healthy("resnet", bar=0.9)
def blocks_left_out_at_random(seed: int) -> Training:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), Dropped(16, 0.1), Dropped(16, 0.2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    return program(model, fresh_data.gratings(), adam(4e-3), 12)


@healthy("coordinates", bar=0.85)
def a_picture_as_a_function_of_its_places(seed: int) -> Training:
    """Sines of random projections, then a small net: brightness at a place."""

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("directions", torch.randn(2, 24) * 2.5)
            self.net = nets.mlp(48, 48, 1)

        def forward(self, place: Tensor) -> Tensor:
            phase = place @ self.directions
            return self.net(torch.cat([phase.sin(), phase.cos()], 1))

    place = torch.rand(1400, 2) * 2 - 1
    bright = ((5 * place[:, :1]).sin() + (4 * place[:, 1:] + 2 * place[:, :1]).cos()) + 0.05 * torch.randn(1400, 1)
    return program(Waves(), data.split(place, bright), adam(4e-3), 12, loss=nn.MSELoss(), metric=R2)
