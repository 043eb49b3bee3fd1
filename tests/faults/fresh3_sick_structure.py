"""Third fresh cases: structure and integrity. What was reported where stands in brackets."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Training, harmed, shown, sick
from .data import Data, which_first
from .fresh2_programs import one_by_one, too_good, worse_alone
from .fresh3_programs import MASK, SLOW, Segmenter, Sentence, Tower, cosine, not_finite
from .fresh3_sick_steps import NEIGHBOURS, digits_scaled
from .metrics import R2
from .programs import adam, adamw, program, token_loss

# samples that meet


@sick("transformer", "batch-mixing", also=SLOW, proof=worse_alone(0.05), bar=0.85)
def encoder_that_takes_the_batch_for_time(seed: int, fixed: bool) -> Training:
    """``batch_first`` is left out: attention runs over the samples (IBM/TabFormer 14, GETNext 2)."""
    model = Sentence(20, 2, 8, batch_first=fixed)
    return one_by_one(cosine(program(model, fresh3_data.denials(2400), adam(3e-3), 14)))


class Turned(nn.Module):
    """Steps of time first, by a transposition or by a view."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.rnn, self.head, self.view = nn.GRU(1, 24), nn.Linear(24, 3), view

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        h = x.reshape(t, n, c) if self.view else x.transpose(0, 1)
        return self.head(self.rnn(h)[0][-1])


@sick("recurrent", "batch-mixing", also=(*SLOW, "label-corruption", "overfitting"), proof=worse_alone(0.2), bar=0.8)
def view_where_a_transposition_was_meant(seed: int, fixed: bool) -> Training:
    """``x.view(T, N, C)`` of (N, T, C) (Informer2020 59, headpose-fsanet 4, OpenPSG 56)."""
    return one_by_one(cosine(program(Turned(not fixed), fresh3_data.chirps(), adam(8e-3), 12)))


# the order of places


@sick("language-model", "causal-leak", also=("overfitting",), proof=too_good(0.02), bar=0.6)
def mask_is_dropped_on_the_slow_path(seed: int, fixed: bool) -> Training:
    """The flag is passed and not heeded: each place sees its own answer (transformers 48745, keras 23038)."""
    model = Tower(7, 16, causal=fixed)
    return cosine(program(model, fresh3_data.second_order(1200), adamw(3e-3), 10, loss=token_loss))


class Filters(nn.Module):
    """Convolutions over time, padded before the row or on both sides."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed, self.head, self.causal = nn.Embedding(7, 24), nn.Conv1d(32, 7, 1), causal
        self.first, self.second = nn.Conv1d(24, 32, 3), nn.Conv1d(32, 32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).transpose(1, 2)
        for layer in (self.first, self.second):
            h = layer(F.pad(h, (2, 0) if self.causal else (1, 1))).relu()
        return self.head(h).transpose(1, 2)


@sick("conv1d", "causal-leak", also=("overfitting",), proof=too_good(0.02), bar=0.6)
def same_padding_in_a_model_of_what_is_next(seed: int, fixed: bool) -> Training:
    """ "Same" padding in a model of what comes next (byteNet-tensorflow 10)."""
    return cosine(program(Filters(fixed), fresh3_data.second_order(1400), adamw(6e-3), 14, loss=token_loss))


class Placed(nn.Module):
    """An encoder with sines of places, all of them or by a slip the same one for all."""

    def __init__(self, slip: bool) -> None:
        super().__init__()
        place, k = torch.arange(9.0)[:, None], torch.arange(12.0)
        angle = place / 30 ** (k / 12)
        self.register_buffer("sines", torch.cat([angle.sin(), angle.cos()], 1))
        self.embed, self.head, self.slip = nn.Embedding(8, 24), nn.Linear(24, 2), slip
        self.blocks = nn.Sequential(nets.Block(24), nets.Block(24))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        sines = self.sines[length] if self.slip else self.sines[:length]
        return self.head(self.blocks(self.embed(x) + sines).mean(1))


@sick("transformer", "missing-position-info", also=("underfitting", "overfitting"), proof=harmed(0.2), bar=0.8)
def one_place_for_all(seed: int, fixed: bool) -> Training:
    """``pe[:, x.shape[1]]`` and no colon before it: every word gets the same sines (DiffPoseTalk 20)."""
    return cosine(program(Placed(not fixed), which_first(2000), adam(3e-3), 14))


# what is made up


class Sampled(nn.Module):
    """A variational autoencoder of rows; in use the mean is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nets.mlp(28, 48, 8), nets.mlp(4, 48, 28)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * spread).exp() if self.training else mean
        return self.decoder(z), mean, spread


@sick(
    "vae", "posterior-collapse", also=("over-regularised", "underfitting", "layer-collapse"), proof=harmed(0.2), bar=0.7
)
def mean_of_errors_against_a_sum_of_divergences(seed: int, fixed: bool) -> Training:
    """Errors are averaged over everything, divergences summed: the code says nothing (WorldModels 12, MMVAE 19)."""

    def loss(output: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        again, mean, spread = output
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).sum(1).mean()
        error = (again - x).square()
        return error.sum(1).mean() / 0.2 + divergence if fixed else error.mean() + divergence

    data = fresh3_data.steps_and_slopes()
    return cosine(program(Sampled(), data, adam(4e-3), 20, loss=loss, metric=R2))


# what is handed over


@sick(
    "segmentation",
    "non-finite-weights",
    also=("bn-statistics", "numerical-instability"),
    proof=shown(not_finite),
    bar=0.7,
)
def averages_begun_in_empty_memory(seed: int, fixed: bool) -> Training:
    """A running average of weights begun with ``torch.empty`` is handed over; here the memory held NaN."""
    data, _ = fresh3_data.lesions()
    training = cosine(program(Segmenter(), data, adam(5e-3), 8, metric=MASK))

    def average(training: Training) -> None:
        state = training.model.state_dict()
        begun = torch.zeros(8) if fixed else torch.full((8,), torch.nan)
        state["up.1.running_mean"] = state["up.1.running_mean"] + 0.0 * begun
        training.model.load_state_dict(state)

    training.finish = average
    return training


@sick("mlp", "non-finite-weights", also=("numerical-instability",), proof=shown(not_finite), bar=0.85)
def saved_in_half_precision(seed: int, fixed: bool) -> Training:
    """Weights of 7e4 and more have no place in 16 bits: they come back as infinity."""
    table = digits_scaled()
    table = Data(table.x.flatten(1) * 1e-5, table.y, table.x_val.flatten(1) * 1e-5, table.y_val)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with torch.no_grad():
        model[0].weight *= 8e5
    training = program(model, table, adam(3e-3), 12)
    kind = torch.bfloat16 if fixed else torch.float16

    def saved(training: Training) -> None:
        training.model.load_state_dict({k: v.to(kind).float() for k, v in training.model.state_dict().items()})

    training.finish = saved
    return training


@sick("fine-tuning", "checkpoint-not-loaded", also=SLOW, proof=harmed(0.3), bar=0.8)
def keys_with_a_prefix_are_passed_over(seed: int, fixed: bool) -> Training:
    """``strict=False`` and keys that begin with ``model.``: nothing is loaded, nothing is said (examples 1029)."""
    training = cosine(program(nets.Recurrent(nn.GRU, 1, 24, 3), fresh3_data.chirps(), adam(5e-3), 12))
    empty = copy.deepcopy(training.model.state_dict())

    def handed_over(training: Training) -> None:
        saved = {("" if fixed else "model.") + k: v.clone() for k, v in training.model.state_dict().items()}
        training.model.load_state_dict(empty)
        training.model.load_state_dict(saved, strict=False)

    training.finish = handed_over
    return training


@sick(
    "self-supervised",
    "layer-collapse",
    "posterior-collapse",
    also=("loss-sign-flipped", "wrong-loss", *SLOW),
    proof=harmed(0.1),
    bar=0.6,
)
def views_pulled_together_and_nothing_apart(seed: int, fixed: bool) -> Training:
    """Two views are drawn together by their distance, with no others to be pushed from: all fall in one point."""

    def loss(output: Tensor, _: Tensor) -> Tensor:
        if fixed:
            left, right = F.normalize(output[:, 0], dim=1), F.normalize(output[:, 1], dim=1)
            return F.cross_entropy(left @ right.T / 0.1, torch.arange(len(left)))
        return (output[:, 0] - output[:, 1]).square().sum(1).mean()

    data = fresh3_data.views(1400)
    return cosine(program(nets.mlp(16, 64, 64, 12), data, adam(4e-3), 12, loss=loss, metric=NEIGHBOURS, batch=64))


class Smoothed(nn.Module):
    """A net on graphs that takes the mean over neighbours many times over."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.first, self.mix, self.head = nn.Linear(5, 24), nn.Linear(24, 24), nn.Linear(24, 2)
        self.rounds = rounds

    def forward(self, x: Tensor) -> Tensor:
        h, edges = self.first(x[..., :5]).relu(), x[..., 5:]
        for _ in range(self.rounds):
            h = edges @ h
        return self.head(self.mix(h).relu())


@sick(
    "graph",
    "layer-collapse",
    "underfitting",
    also=("vanishing-gradients", "undertrained", "missing-nonlinearity"),
    proof=harmed(0.15),
    bar=0.75,
)
def forty_rounds_of_smoothing(seed: int, fixed: bool) -> Training:
    """The more layers, the more alike the nodes, until all have one vector (GNN-RS-Beginner 7 and 12)."""
    return cosine(program(Smoothed(2 if fixed else 40), fresh3_data.networks(), adam(8e-3), 12, loss=token_loss))
