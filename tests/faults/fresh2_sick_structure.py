"""Second fresh cases: what a model may see and does not, or may not and does. Reports stand in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, fresh2_data, nets
from .case import Outcome, Training, harmed, shown, sick
from .fresh2_healthy_made import Pair, against_a_critic
from .fresh2_programs import (
    LIKELIHOOD,
    SLOW,
    TOKENS,
    convolutions,
    cosine,
    one_by_one,
    tokens,
    too_good,
    worse_alone,
)
from .metrics import R2
from .programs import adam, adamw, program

# neighbours in the batch


class Encoder(nn.Module):
    """PyTorch's own encoder layer over the places of a series; it takes the first axis for time unless told."""

    def __init__(self, *, batch_first: bool, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 48, dropout=0.0, batch_first=batch_first, norm_first=True)
        self.places, self.head = nn.Parameter(0.1 * torch.randn(32, width)), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.first(x) + self.places).mean(1))


@sick("transformer", "batch-mixing", also=("overfitting", *SLOW), proof=worse_alone(0.05), bar=0.85)
def encoder_layer_not_told_where_the_batch_is(seed: int, fixed: bool) -> Training:
    """Attention goes over the samples of a batch (IBM/TabFormer 14)."""
    return one_by_one(cosine(program(Encoder(batch_first=fixed), fresh2_data.paces(1200), adamw(4e-3), 10)))


@sick("mlp", "batch-mixing", also=("bn-statistics", *SLOW), proof=worse_alone(0.05), bar=0.85)
def columns_scaled_by_the_batch_at_hand(seed: int, fixed: bool) -> Training:
    """Standardised inside of forward by figures of whatever batch comes, in use as well; the twin keeps a table's."""
    table = fresh2_data.corners(1600)
    shifted = data.Data(3 * table.x + 5, table.y, 3 * table.x_val + 5, table.y_val)

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", shifted.x.mean(0))
            self.register_buffer("std", shifted.x.std(0))

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) / self.std if fixed else (x - x.mean(0)) / (x.std(0) + 1e-5)

    return one_by_one(cosine(program(nn.Sequential(Scale(), *nets.mlp(10, 32, 3)), shifted, adam(4e-3), 10)))


@sick("cnn", "batch-mixing", "wrong-output-activation", also=SLOW, proof=worse_alone(0.05), bar=0.85)
def weights_of_pixels_shared_out_over_the_batch(seed: int, fixed: bool) -> Training:
    """Attention pooling with ``softmax(0)``."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*convolutions(1, 12, 24, norm=False, pool=False))
            self.score, self.head = nn.Conv2d(24, 1, 1), nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x).flatten(2)
            weights = self.score(h.unflatten(2, x.shape[2:])).flatten(1).softmax(1 if fixed else 0)
            return self.head((h * weights[:, None]).sum(2))

    return one_by_one(cosine(program(Net(), fresh2_data.letters(1600), adam(5e-3), 10)))


@sick("sequence-labelling", "batch-mixing", also=SLOW, proof=worse_alone(0.05), bar=0.9)
def view_where_a_transpose_was_needed(seed: int, fixed: bool) -> Training:
    """Time and batch are exchanged by ``view``, which only cuts anew (transformer-from-scratch 6 is of this kind)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 12, padding_idx=0)
            self.rnn, self.head = nn.GRU(12, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x)
            n, t, w = h.shape
            if fixed:
                return self.head(self.rnn(h.transpose(0, 1))[0].transpose(0, 1))
            return self.head(self.rnn(h.reshape(t, n, w))[0].reshape(n, t, -1))

    return one_by_one(cosine(program(Net(), fresh2_data.names(1200), adam(8e-3), 8, loss=tokens, metric=TOKENS)))


# the future


@sick("gpt", "causal-leak", also=("data-leakage",), proof=too_good(0.03), bar=0.7)
def language_model_without_a_mask(seed: int, fixed: bool) -> Training:
    """``is_causal`` was left off; the loss falls far too low (alex-matton/causal-transformer-decoder 1)."""
    model = nets.Transformer(13, 13, 23, causal=fixed)
    return cosine(program(model, fresh2_data.sentences(), adamw(4e-3), 8, loss=tokens, metric=TOKENS))


class Smoothed(nn.Module):
    """A series beside its running mean over three hours, and a recurrent layer; the mean may be centred."""

    def __init__(self, *, centred: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, 20, batch_first=True), nn.Linear(20, 1)
        self.pad = (1, 1) if centred else (2, 0)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.avg_pool1d(F.pad(x.transpose(1, 2), self.pad, mode="replicate"), 3, stride=1).transpose(1, 2)
        return self.head(self.rnn(torch.cat([x, mean], 2))[0])


@sick("forecast", "causal-leak", also=("data-leakage",), proof=too_good(0.03), bar=0.8)
def running_mean_that_reaches_an_hour_ahead(seed: int, fixed: bool) -> Training:
    """A centred mean of three holds a third of the value that is asked for."""
    table = fresh2_data.tides(900)
    return cosine(program(Smoothed(centred=not fixed), table, adam(8e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("gpt", "causal-leak", also=("data-leakage",), proof=too_good(0.03), bar=0.7)
def mask_that_begins_a_place_too_late(seed: int, fixed: bool) -> Training:
    """``triu(diagonal=2)``: the next word, which is asked for, is left open."""

    class Net(nn.Module):
        def __init__(self, width: int = 24) -> None:
            super().__init__()
            self.embed, self.places = nn.Embedding(13, width), nn.Parameter(0.1 * torch.randn(23, width))
            self.layer = nn.TransformerEncoderLayer(width, 2, 48, dropout=0.0, batch_first=True, norm_first=True)
            self.head = nn.Linear(width, 13)
            mask = torch.ones(23, 23, dtype=torch.bool).triu(1 if fixed else 2)
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.embed(x) + self.places, src_mask=self.mask))

    return cosine(program(Net(), fresh2_data.sentences(), adamw(4e-3), 8, loss=tokens, metric=TOKENS))


# order


@sick("transformer", "missing-position-info", also=SLOW, proof=harmed(0.2), bar=0.85)
def places_made_and_not_added(seed: int, fixed: bool) -> Training:
    """Which of two signs comes first cannot be told by attention that knows no places."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(12, 24)
            self.places = nn.Embedding(10, 24)
            self.block, self.norm, self.head = nets.Block(24), nn.LayerNorm(24), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            places = self.places(torch.arange(x.shape[1]))
            h = self.embed(x)
            h = h + places if fixed else h + 0 * places
            return self.head(self.norm(self.block(h)).mean(1))

    x = torch.randint(2, 12, (2400, 10))
    where = torch.rand(2400, 10).argsort(1)[:, :2]
    x.scatter_(1, where, torch.tensor([0, 1]).expand(2400, 2))
    return cosine(program(Net(), data.split(x, (where[:, 0] < where[:, 1]).long()), adamw(3e-3), 16))


@sick("text", "missing-position-info", also=("underfitting", "overfitting"), proof=harmed(0.2), bar=0.85)
def brackets_in_a_bag(seed: int, fixed: bool) -> Training:
    """A mean over brackets counts them, and there are as many of each; the twin's vectors know their place."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(40 if fixed else 2, 16)
            self.head = nets.mlp(16, 48, 2)

        def forward(self, x: Tensor) -> Tensor:
            keys = x * 20 + torch.arange(20) if fixed else x
            return self.head(self.embed(keys).mean(1))

    return cosine(program(Net(), fresh2_data.brackets(3000), adamw(4e-3, weight_decay=0.1), 14))


@sick("gpt", "missing-position-info", also=SLOW, proof=harmed(0.02), bar=0.5)
def mean_of_what_was_said_so_far(seed: int, fixed: bool) -> Training:
    """What comes next is told from the mean of all words before, without an order."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 24)
            self.head = nets.mlp(24, 48, 13)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x)
            share = torch.tril(torch.ones(x.shape[1], x.shape[1]))
            if fixed:
                share = share * 0.5 ** (torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])).clamp_min(0)
            return self.head(share @ h / share.sum(1, keepdim=True))

    return cosine(program(Net(), fresh2_data.sentences(), adam(6e-3), 10, loss=tokens, metric=LIKELIHOOD))


# codes that say nothing


@torch.no_grad()
def _code_is_silent(outcome: Outcome) -> bool:
    """Whether the rebuilt rows hardly differ."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0]
    return float(model(x)[0].std(0).mean()) < 0.15 * float(x.std(0).mean())


@sick(
    "vae",
    "posterior-collapse",
    also=("over-regularised", "underfitting", "layer-collapse"),
    proof=shown(_code_is_silent),
    bar=0.75,
)
def divergence_weighed_by_the_size_of_the_batch(seed: int, fixed: bool) -> Training:
    """The divergence is summed over the batch, the rest is a mean (Mathux/ACTOR 5 found its weight too large)."""

    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)
        return 5 * (rebuilt - x).square().sum(1).mean() + (divergence.mean() if fixed else divergence.sum())

    return cosine(
        program(nets.VAE(24, 64, 4), fresh2_data.waves2(2000), adam(1e-2), 20, loss=loss, metric=R2, batch=100)
    )


@torch.no_grad()
def _one_answer(outcome: Outcome) -> bool:
    noise = next(iter(outcome.training.val))[0]
    return float(outcome.training.model.eval()(noise).std(0).mean()) < 0.3


@sick(
    "gan",
    "posterior-collapse",
    also=("layer-collapse", "underfitting", "dead-relu", "wrong-loss"),
    proof=shown(_one_answer),
    bar=0.8,
)
def generator_held_to_the_mean_of_all_points(seed: int, fixed: bool) -> Training:
    """A term for likeness is kept from a program whose pairs belonged together: the noise no longer matters."""
    return against_a_critic(Pair(), fresh2_data.lattice(3600), 26, pull=0.0 if fixed else 20.0)


class Conditional(nn.Module):
    """A series is rebuilt from a code of it; the decoder may be shown the series itself, one step behind."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = nets.mlp(24, 48, 8), nets.mlp(4 + 24, 64, 24)
        self.shown = shown

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * log_var).exp() if self.training else mean
        seen = x if self.shown else torch.zeros_like(x)
        return self.decoder(torch.cat([code, seen], 1)), mean, log_var


@torch.no_grad()
def _code_unused(outcome: Outcome) -> bool:
    """Whether the mean codes hardly differ between rows."""
    model = outcome.training.model.eval()
    return float(model(next(iter(outcome.training.val))[0])[1].std(0).max()) < 0.15


@sick("vae", "posterior-collapse", also=("data-leakage",), proof=shown(_code_unused), bar=0.75)
def decoder_that_is_shown_the_answer(seed: int, fixed: bool) -> Training:
    """With a way around the code, the divergence is brought to nothing (CompVis/vunet 5)."""

    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return 5 * (rebuilt - x).square().sum(1).mean() + divergence

    model = Conditional(shown=not fixed)
    return cosine(program(model, fresh2_data.waves2(), adam(5e-3), 14, loss=loss, metric=R2))
