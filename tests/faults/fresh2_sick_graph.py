"""Second fresh cases: parts that no gradient or no step reaches. What was reported where stands in brackets."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, AdamW

from . import data, fresh2_data, nets
from .case import Outcome, Training, harmed, sick
from .fresh2_healthy_made import Quantised, quantised_loss
from .fresh2_programs import LIKELIHOOD, SLOW, TOKENS, Pooled, classifier, convolutions, cosine, tokens
from .metrics import R2
from .programs import adam, adamw, program

# cut graphs


@sick("vq-vae", "detached-graph", also=("frozen-layers", *SLOW), proof=harmed(0.1), bar=0.7)
def choices_that_no_gradient_passes(seed: int, fixed: bool) -> Training:
    """The chosen vectors go on as they are; the encoder hears of the rebuilding nothing at all."""

    def loss(output: Any, x: Tensor) -> Tensor:
        return quantised_loss(output, x) if fixed else _without_a_pull(output, x)

    return cosine(program(Quantised(straight=fixed), fresh2_data.waves2(), adam(6e-3), 20, loss=loss, metric=R2))


def _without_a_pull(output: Any, x: Tensor) -> Tensor:
    rebuilt, z, chosen = output
    return F.mse_loss(rebuilt, x) + F.mse_loss(chosen, z.detach())


@sick("cnn", "detached-graph", also=("frozen-layers", *SLOW), proof=harmed(0.05), bar=0.9)
def first_half_left_under_no_grad(seed: int, fixed: bool) -> Training:
    """The body was once frozen; what remains of that time is a ``with torch.no_grad()`` in forward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*convolutions(1, 8, 16, norm=False), Pooled())
            self.head = nn.Linear(32, 6)

        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(fixed and torch.is_grad_enabled()):
                h = self.body(x)
            return self.head(h)

    return cosine(program(Net(), fresh2_data.letters(2200, kinds="bdpqxz"), adam(5e-3), 10))


class TwoStage(nn.Module):
    """Sums up a row of symbols step by step; the running state goes through a list of plain numbers."""

    def __init__(self, *, cut: bool, width: int = 24) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(30, width), nn.Linear(width, width)
        self.head, self.cut = nets.mlp(width, width, 3, act=nn.SiLU), cut

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(self.embed(x)).tanh().mean(1)
        if self.cut:
            h = torch.tensor(h.tolist())
        return self.head(h)


@sick("text", "detached-graph", also=("frozen-layers", *SLOW), proof=harmed(0.03), bar=0.85)
def state_wrapped_anew_as_a_tensor(seed: int, fixed: bool) -> Training:
    """``torch.tensor(list)`` begins a new graph."""
    return cosine(program(TwoStage(cut=not fixed, width=6), fresh2_data.moods(1600, share=0.45), adam(1e-2), 10))


# not in the optimizer


@sick("autoencoder", "params-not-in-optimizer", also=("frozen-layers", *SLOW), proof=harmed(0.05), bar=0.85)
def only_the_encoder_given_to_the_optimizer(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nets.mlp(24, 48, 4, act=nn.ELU), nets.mlp(4, 48, 24, act=nn.ELU)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.encoder(x))

    optimizer = lambda m: Adam((m if fixed else m.encoder).parameters(), lr=5e-3)  # noqa: E731
    return cosine(program(Net(), fresh2_data.waves2(), optimizer, 14, loss=nn.MSELoss(), metric=R2))


@sick("sequence-labelling", "params-not-in-optimizer", also=("frozen-layers", *SLOW), proof=harmed(0.05), bar=0.9)
def groups_collected_and_the_last_not_appended(seed: int, fixed: bool) -> Training:
    """The group of the layers behind the body is made and never appended (zjunlp/HVPNeT 5)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 4, padding_idx=0)
            self.rnn = nn.GRU(4, 4, batch_first=True)
            self.fc, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.fc(self.rnn(self.embed(x))[0]).tanh())

    def groups(model: Any) -> AdamW:
        groups = [{"params": [*model.embed.parameters(), *model.rnn.parameters()], "lr": 8e-3}]
        last = {"params": [*model.fc.parameters(), *model.head.parameters()], "lr": 1e-2}
        if fixed:
            groups.append(last)
        return AdamW(groups)

    return cosine(program(Net(), fresh2_data.names(1000), groups, 10, loss=tokens, metric=TOKENS))


# not registered


class Stages(nn.Module):
    """Stages of convolutions in a list."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        stages = [nn.Sequential(nn.Conv1d(a, b, 7, stride=2), nn.ReLU()) for a, b in ((1, 8), (8, 12))]
        self.stages: Any = nn.ModuleList(stages) if registered else stages
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x.amax(2))


@sick("conv1d", "unregistered-parameters", also=("params-not-in-optimizer", *SLOW), proof=harmed(0.05), bar=0.85)
def stages_in_a_plain_list(seed: int, fixed: bool) -> Training:
    """Layers in a Python list are no part of the module (pytorch 38639)."""
    return cosine(program(Stages(registered=fixed), fresh2_data.beats(1500), adam(8e-3), 16))


class Scaled(nn.Module):
    """A hidden layer whose weight is made as a parameter and then converted, which makes it a plain tensor."""

    def __init__(self, inputs: int, outputs: int, *, leaf: bool) -> None:
        super().__init__()
        weight = torch.randn(outputs, inputs, dtype=torch.float64) * inputs**-0.5
        self.weight: Any = nn.Parameter(weight.float()) if leaf else nn.Parameter(weight).to(torch.float32)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@sick(
    "mlp",
    "unregistered-parameters",
    also=("params-not-in-optimizer", "frozen-layers", *SLOW),
    proof=harmed(0.03),
    bar=0.9,
)
def parameter_converted_where_it_is_made(seed: int, fixed: bool) -> Training:
    """Like ``nn.Parameter(...).to(device)``: what is kept is no parameter (pytorch 17484, davidmrau's experts 12)."""
    layers = (Scaled(10, 6, leaf=fixed), nn.Tanh(), Scaled(6, 6, leaf=fixed), nn.Tanh(), nn.Linear(6, 3))
    return cosine(program(nn.Sequential(*layers), fresh2_data.corners(2400), adam(1e-2), 14))


# frozen


def _still(outcome: Outcome) -> bool:
    return any(not p.requires_grad for p in outcome.training.model.parameters())


@sick("cnn", "frozen-layers", also=("checkpoint-not-loaded", *SLOW), proof=harmed(0.05), bar=0.9)
def body_frozen_that_has_never_learned(seed: int, fixed: bool) -> Training:
    """``pretrained`` was left off, and all but the head is frozen as if it had been on."""
    model = classifier(6, widths=(8, 12))
    if not fixed:
        model[:-1].requires_grad_(False)
    return cosine(program(model, fresh2_data.letters(1600, kinds="bdpqxz"), adam(8e-3), 12))


@sick("transformer", "frozen-layers", also=SLOW, proof=harmed(0.05), bar=0.5)
def layers_frozen_by_a_name_that_fits_too_many(seed: int, fixed: bool) -> Training:
    """The vectors were to be frozen; ``bl`` and ``embed`` fit all blocks as well."""
    model = nets.Transformer(13, 13, 23, causal=True, width=16)
    for name, p in model.named_parameters():
        if not fixed and ("bl" in name or name.startswith("embed")):
            p.requires_grad_(False)
    return cosine(program(model, fresh2_data.sentences(), adamw(6e-3), 8, loss=tokens, metric=LIKELIHOOD))


# unused


class Loop(nn.Module):
    """Rounds of looking around in a row of numbers; each is given the first row or what the round before made of it."""

    def __init__(self, *, chained: bool, width: int = 20) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 1)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 7, padding=3) for _ in range(4))
        self.head, self.chained = nn.Linear(2 * width, 3), chained

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = x
        for block in self.blocks:
            out = F.silu(block(out if self.chained else x))
        return self.head(torch.cat([out.amax(2), out.mean(2)], 1))


@sick("conv1d", "unused-parameters", also=("underfitting", "detached-graph"), proof=harmed(0.03), bar=0.85)
def every_block_given_the_first_input(seed: int, fixed: bool) -> Training:
    """``out = layer(x)`` in a loop: only the last block has a say (cyclomon/UNSB 29)."""
    return cosine(program(Loop(chained=fixed), fresh2_data.beats(1500), adam(5e-3), 12))


@sick("multi-input", "unused-parameters", also=("underfitting",), proof=harmed(0.1), bar=0.85)
def branch_of_numbers_made_and_not_joined(seed: int, fixed: bool) -> Training:
    """Words and numbers have a branch each; the wrong name is joined twice."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.numbers = nn.Embedding(30, 12), nets.mlp(4, 12, 12)
            self.head = nets.mlp(24, 24, 3)

        def forward(self, x: Tensor) -> Tensor:
            words = self.embed(x[:, 4:].long()).mean(1)
            numbers = self.numbers(x[:, :4])
            return self.head(torch.cat([words, numbers if fixed else words], 1))

    notes = fresh2_data.moods(1800, share=0.25)

    def joined(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([torch.randn(len(x), 4) + 1.6 * F.one_hot(y, 4), x.float()], 1)

    table = data.Data(joined(notes.x, notes.y), notes.y, joined(notes.x_val, notes.y_val), notes.y_val)
    return cosine(program(Net(), table, adamw(4e-3, weight_decay=0.1), 8))
