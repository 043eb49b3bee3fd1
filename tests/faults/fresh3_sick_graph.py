"""Third fresh cases: parts that are not trained, and gradients that do not arrive. Reports stand in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from . import fresh3_data, nets
from .case import Training, harmed, sick
from .fresh3_programs import SLOW, WILD, cosine
from .metrics import BINARY_ACCURACY, R2
from .programs import adam, adamw, program, sgd, token_loss

STUCK = ("frozen-layers", "no-weight-update", "unused-parameters", *SLOW)


class Described(nn.Module):
    """An encoder and a decoder of rows; what lies between may be cut off."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.cut = nets.mlp(28, 48, 5), nets.mlp(5, 48, 28), cut

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        return self.decoder(code.detach() if self.cut else code)


@sick("autoencoder", "detached-graph", also=STUCK, proof=harmed(0.05), bar=0.85)
def features_are_detached_before_they_are_decoded(seed: int, fixed: bool) -> Training:
    """``self.modules.enc(feats.detach())`` (speechbrain 1396)."""
    data = fresh3_data.steps_and_slopes()
    return cosine(program(Described(not fixed), data, adam(5e-3), 16, loss=nn.MSELoss(), metric=R2))


class Pictured(nn.Module):
    """A convolutional body whose features are read by hooks, which clone and detach."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()),
        )
        self.ask, self.head, self.cut = nn.Parameter(0.3 * torch.randn(2, 24)), nn.Linear(48, 5), cut

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x).flatten(2)  # (N, 24, P)
        h = h.data.clone() if self.cut else h.clone()
        share = (self.ask @ h).softmax(2)
        return self.head((share[:, :, None] * h[:, None]).sum(3).flatten(1))


@sick("captioning", "detached-graph", also=STUCK, proof=harmed(0.1), bar=0.8)
def extractor_hands_out_copies(seed: int, fixed: bool) -> Training:
    """The extractor clones and detaches, so that nothing reaches the image encoder (CoCa-pytorch 6)."""
    return cosine(program(Pictured(not fixed), fresh3_data.glyphs(1200), adam(8e-3), 12))


@sick("recommender", "params-not-in-optimizer", also=STUCK, proof=harmed(0.05), bar=0.85)
def vectors_of_people_missing_from_the_groups(seed: int, fixed: bool) -> Training:
    """One of several groups was forgotten when they were listed by hand (HDMNet 21, detr-pytorch 6)."""
    model = Matching()
    groups = [model.films, model.left, model.right] + ([model.people] if fixed else [])
    optimizer = Adam([{"params": list(m.parameters())} for m in groups], lr=1e-2)
    data = fresh3_data.lovers_of_films(4000)
    loss = nn.BCEWithLogitsLoss()
    return cosine(program(model, data, lambda _: optimizer, 14, loss=loss, metric=BINARY_ACCURACY))


class Matching(nn.Module):
    """People and films by narrow vectors, matched by an inner product of what small nets make of them."""

    def __init__(self) -> None:
        super().__init__()
        self.people, self.films = nn.Embedding(40, 4), nn.Embedding(30, 4)
        self.left, self.right = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return (self.left(self.people(x[:, 0])) * self.right(self.films(x[:, 1]))).sum(1)


class Piled(nn.Module):
    """Convolutions in a plain list, after a first one and before a last layer that are attributes."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 10, 3, stride=1)
        rest = [nn.Conv2d(10, 10, 3, padding=1) for _ in range(3)]
        self.rest: Any = nn.ModuleList(rest) if registered else rest
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        for layer in self.rest:
            h = layer(h).relu()
        return self.head(h.amax((2, 3)))


@sick("cnn", "unregistered-parameters", also=STUCK, proof=harmed(0.1), bar=0.7)
def convolutions_in_a_plain_list(seed: int, fixed: bool) -> Training:
    """Hidden from ``parameters()`` (kanezaki/pytorch-unsupervised-segmentation 6, pytorch 666)."""
    return cosine(program(Piled(fixed), fresh3_data.glyphs(1600), adam(1e-2), 16))


class Gated(nn.Module):
    """A mixture of small experts, the gate of which is a tensor and no parameter."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(8, 4) for _ in range(4))
        gate = 0.01 * torch.randn(8, 4)
        self.gate = nn.Parameter(gate) if registered else gate.requires_grad_()

    def forward(self, x: Tensor) -> Tensor:
        share = (x @ self.gate).softmax(1)
        said = torch.stack([expert(x) for expert in self.experts], 1)
        return (share[..., None] * said).sum(1)


@sick("mixture", "unregistered-parameters", also=STUCK, proof=harmed(0.05), bar=0.68)
def gate_that_is_no_parameter(seed: int, fixed: bool) -> Training:
    """``torch.randn(..., requires_grad=True)`` as an attribute (murenn 42, and a classic of Stack Overflow)."""
    return cosine(program(Gated(fixed), fresh3_data.soils(2400), adam(2e-2), 25))


@sick("text", "frozen-layers", also=STUCK, proof=harmed(0.1), bar=0.85)
def target_copy_froze_what_it_was_copied_to(seed: int, fixed: bool) -> Training:
    """Set to ``requires_grad=False`` for a first phase, and turned on again only where it is on (byol-a 7)."""
    model = nets.Recurrent(nn.GRU, 20, 24, 2, symbols=True)
    for part in (model.embed, model.rnn):
        part.requires_grad_(False)
        for p in part.parameters():
            if fixed or p.requires_grad:
                p.requires_grad_(True)
    return cosine(program(model, fresh3_data.denials(2000), adam(5e-3), 14))


class Skipped(nn.Module):
    """Two steps of messages, of which the second may read what the first had read."""

    def __init__(self, slip: bool) -> None:
        super().__init__()
        self.attend, self.norm = nets.Attention(24, 2, causal=True), nn.LayerNorm(24)
        self.embed, self.places = nn.Embedding(7, 24), nn.Embedding(16, 24)
        self.mix, self.head, self.slip = nets.mlp(24, 96, 24), nn.Linear(24, 7), slip

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.places(torch.arange(x.shape[1]))
        if not self.slip:
            h = h + self.attend(self.norm(h))
        return self.head(h + self.mix(h))


@sick("language-model", "unused-parameters", also=("underfitting",), proof=harmed(0.2), bar=0.7)
def attention_that_is_never_called(seed: int, fixed: bool) -> Training:
    """Built in ``__init__``, forgotten in ``forward`` (OpenNMT-py 286: "creating some parameters it is not using")."""
    return cosine(program(Skipped(not fixed), fresh3_data.second_order(1200), adamw(6e-3), 14, loss=token_loss))


# how weights begin


@sick("cnn", "bad-init", also=(*WILD, "lr-too-high", "saturated-activations"), proof=harmed(0.15), bar=0.8)
def normal_weights_of_deviation_one(seed: int, fixed: bool) -> Training:
    """``nn.init.normal_(m.weight)``, that is with deviation 1, for every layer."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(864, 64), nn.ReLU(), nn.Linear(64, 5)),
    )
    if not fixed:
        for p in model.parameters():
            if p.dim() > 1:
                nn.init.normal_(p)
    return cosine(program(model, fresh3_data.glyphs(2200), adam(2e-3), 10))


class Corrected(nn.Module):
    """A linear answer and a correction, which starts at nothing."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.line, self.first, self.last = nn.Linear(6, 1), nn.Linear(6, 64, bias=False), nn.Linear(64, 1)
        nn.init.zeros_(self.last.weight)
        if both:
            nn.init.zeros_(self.first.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        return self.line(x) + self.last(torch.tanh(self.first(x)))


@sick("regression", "bad-init", also=STUCK, proof=harmed(0.3), bar=0.8)
def both_layers_of_a_branch_start_at_zero(seed: int, fixed: bool) -> Training:
    """Zeros in both matrices of a branch: neither ever has a gradient (yz93/LAVT-RIS 25)."""
    model, data = Corrected(not fixed), fresh3_data.rentals()
    return cosine(program(model, data, adam(2e-2), 30, loss=nn.MSELoss(), metric=R2))


@sick("mlp", "bad-init", "layer-collapse", also=(*SLOW,), proof=harmed(0.1), bar=0.7)
def one_constant_for_all_weights(seed: int, fixed: bool) -> Training:
    """Every matrix is filled with 0.05 (HomericIntelligence/Mnemosyne 1987: units that stay alike)."""
    model = nets.mlp(8, 48, 48, 4)
    if not fixed:
        for p in model.parameters():
            nn.init.constant_(p, 0.05)
    return cosine(program(model, fresh3_data.soils(2400), adam(4e-3), 20))


# gradients on their way


@sick(
    "mlp",
    "vanishing-gradients",
    "saturated-activations",
    also=(*STUCK, "lr-too-low", "layer-collapse"),
    proof=harmed(0.2),
    bar=0.85,
)
def ten_sigmoids_in_a_row(seed: int, fixed: bool) -> Training:
    sizes = (2, *([24] * 10), 2)
    model = nets.mlp(*sizes, act=nn.ReLU if fixed else nn.Sigmoid)
    return cosine(program(model, fresh3_data.crescents(1200), adam(2e-3), 14))


class Remember(nn.Module):
    """A plain recurrent net over symbols; what stood first is asked for at the end."""

    def __init__(self, kind: Any, length: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 16), nn.Linear(32, 4)
        self.rnn = kind(16, 32, batch_first=True)
        if kind is nn.RNN:
            nn.init.normal_(self.rnn.weight_hh_l0, std=0.06)
        else:  # doors stand open at first (Jozefowicz 2015)
            self.rnn.bias_hh_l0.data[32:64] = 4.0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


def recalled(n: int = 900, length: int = 24) -> fresh3_data.Data:
    x = torch.full((n, length), 4)
    x[:, 0] = torch.randint(0, 4, (n,))
    x[:, 1:-1] = torch.where(torch.rand(n, length - 2) < 0.3, torch.randint(0, 4, (n, length - 2)), x[:, 1:-1])
    return fresh3_data.split(x, x[:, 0].clone())


@sick("recurrent", "vanishing-gradients", "bad-init", also=(*STUCK, "lr-too-low"), proof=harmed(0.3), bar=0.85)
def plain_recurrence_that_forgets(seed: int, fixed: bool) -> Training:
    """A plain recurrent layer with small weights, over two dozen steps, asked for the first."""
    return cosine(program(Remember(nn.LSTM if fixed else nn.RNN, 24), recalled(), adam(5e-3), 16))


class Wide(nn.Module):
    """Residual blocks whose branches are let in by some factor, with no norm between."""

    def __init__(self, factor: float, depth: int = 14, width: int = 32) -> None:
        super().__init__()
        self.first, self.head, self.factor = nn.Linear(8, width), nn.Linear(width, 4), factor
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for block in self.blocks:
            nn.init.kaiming_normal_(block.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + self.factor * F.relu(block(h))
        return self.head(h)


@sick("mlp", "exploding-gradients", also=(*WILD, "lr-too-high", "bad-init"), proof=harmed(0.1), bar=0.68)
def residuals_without_norm_that_triple(seed: int, fixed: bool) -> Training:
    """Each of 14 blocks adds more than it was given, and nothing divides."""
    return cosine(program(Wide(0.25 if fixed else 2.5), fresh3_data.soils(2400), sgd(0.01, momentum=0.9), 16))


@sick(
    "recurrent",
    "exploding-gradients",
    "bad-init",
    also=(*WILD, "lr-too-high", "saturated-activations"),
    proof=harmed(0.2),
    bar=0.85,
)
def recurrence_that_grows_by_a_half_each_step(seed: int, fixed: bool) -> Training:
    """A recurrent net with ReLU whose matrix starts at 1.6 times the identity, unclipped."""
    model = nets.Recurrent(nn.RNN, 1, 24, 1)
    model.rnn = nn.RNN(24, 24, nonlinearity="relu", batch_first=True)
    nn.init.eye_(model.rnn.weight_hh_l0)
    model.rnn.weight_hh_l0.data *= 0.8 if fixed else 1.6
    return cosine(program(model, fresh3_data.markets(), sgd(0.01, momentum=0.9), 16, loss=nn.MSELoss(), metric=R2))
