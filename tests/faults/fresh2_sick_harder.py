"""Second fresh cases that are harder to see: the curves look nearly well, or only a part of a program is at fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, lr_scheduler
from torch.utils.data import TensorDataset

from . import data, fresh2_data, nets
from .case import Metric, Outcome, Training, harmed, sick
from .fresh2_programs import LIKELIHOOD, SLOW, TRUST, WILD, Series, Words, classifier, cosine, not_finite, tokens
from .metrics import BALANCED_ACCURACY, R2
from .programs import adam, adamw, program, sgd

# the loss


@sick("sequence-labelling", "wrong-output-activation", also=("wrong-loss", *SLOW), proof=harmed(0.2), bar=0.8)
def shares_over_the_places_and_not_over_the_tags(seed: int, fixed: bool) -> Training:
    """``log_softmax(1)`` of (N, T, C) is over time."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 12, padding_idx=0)
            self.rnn, self.head = nn.GRU(12, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(x))[0]).log_softmax(2 if fixed else 1)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.nll_loss(output.flatten(0, 1), y.flatten(), ignore_index=-100)

    told = Metric("likelihood", lambda output, y: float((-loss(output, y)).exp()), LIKELIHOOD.constant)
    return cosine(program(Net(), fresh2_data.names(1400), adam(8e-3), 8, loss=loss, metric=told))


@sick("mlp", "lr-too-high", also=(*WILD, "saturated-activations"), proof=harmed(0.1), bar=0.85)
def losses_added_up_where_their_mean_was_meant(seed: int, fixed: bool) -> Training:
    """``reduction="sum"`` makes every step as many times longer as there are samples in a batch."""
    loss = nn.CrossEntropyLoss(reduction="mean" if fixed else "sum")
    optimizer = sgd(0.1, momentum=0.9)
    return cosine(program(nets.mlp(10, 48, 48, 3), fresh2_data.corners(1800), optimizer, 10, loss=loss, batch=64))


@sick("multi-task", "unscaled-target", also=("underfitting", "undertrained"), proof=harmed(0.15), bar=0.8)
def second_answer_three_hundred_times_the_first(seed: int, fixed: bool) -> Training:
    """Two numbers from one net, in units of their own: the first has no weight. The score is its own."""
    table = fresh2_data.arm(1400)
    unit = torch.tensor([1.0, 1.0 if fixed else 300.0])
    table = replace(table, y=table.y * unit, y_val=table.y_val * unit)
    metric = Metric("r2_of_first", lambda output, y: R2.score(output[:, :1], y[:, :1]), lambda y: 0.0)
    model = nets.mlp(3, 32, 32, 2, act=nn.Tanh)
    return cosine(program(model, table, adam(5e-3), 14, loss=nn.MSELoss(), metric=metric))


@sick("imbalanced", "class-imbalance", "wrong-loss", also=("underfitting",), proof=harmed(0.1), bar=0.78)
def weights_of_classes_the_wrong_way_round(seed: int, fixed: bool) -> Training:
    """The share of a class is given for its weight, and not one over it."""
    table = fresh2_data.loans(3600, share=0.1, sharp=9.0)
    share = table.y.bincount() / len(table.y)
    weight = 0.5 / share if fixed else 2 * share
    optimizer, loss = adamw(3e-3, weight_decay=0.1), nn.CrossEntropyLoss(weight=weight)
    return cosine(program(nets.mlp(9, 16, 2), table, optimizer, 8, loss=loss, metric=BALANCED_ACCURACY))


@sick("text", "over-regularised", "wrong-loss", also=SLOW, proof=harmed(0.2), bar=0.6)
def labels_smoothed_away(seed: int, fixed: bool) -> Training:
    """0.9 where 0.1 was meant: less is left of the right class than of all others together. What is scored is trust."""
    loss = nn.CrossEntropyLoss(label_smoothing=0.05 if fixed else 0.9)
    return cosine(program(Words(30, 3), fresh2_data.moods(2600, share=0.45), adamw(4e-3), 4, loss=loss, metric=TRUST))


# steps


@sick("cnn", "no-weight-update", "numerical-instability", also=SLOW, proof=harmed(0.3), bar=0.9)
def every_step_passed_over_as_not_finite(seed: int, fixed: bool) -> Training:
    """A loss scale beyond all bounds: each gradient is infinite, each step is left out, nothing is said."""
    scale = 1024.0 if fixed else 1e39

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        (loss * scale).backward()
        slopes = [p.grad for p in training.model.parameters() if p.grad is not None]
        for slope in slopes:
            slope.div_(scale)
        if all(slope.isfinite().all() for slope in slopes):
            training.optimizer.step()
        return loss

    return cosine(program(classifier(4, norm=False), fresh2_data.letters(1400), adam(4e-3), 8, step=step))


@sick("mlp", "undertrained", "lr-schedule-collapse", also=("lr-too-low", "underfitting"), proof=harmed(0.05), bar=0.85)
def warm_up_longer_than_the_training(seed: int, fixed: bool) -> Training:
    """Ten thousand steps of warm-up, copied from a large run, and four hundred steps in all."""
    training = program(nets.mlp(10, 48, 48, 3), fresh2_data.corners(1600), adamw(3e-3), 12)
    total = training.epochs * len(training.train)
    warm = 40 if fixed else 10_000
    training.scheduler = lr_scheduler.LambdaLR(
        training.optimizer, lambda i: min((i + 1) / warm, 1.0) * (max(0.0, 1 - i / total) if fixed else 1.0)
    )
    training.scheduler_every = "step"
    return training


@sick("cnn", "undertrained", also=("underfitting", "lr-too-low"), proof=harmed(0.1), bar=0.9)
def stopped_at_the_first_epoch_that_was_not_better(seed: int, fixed: bool) -> Training:
    """A patience of one, in a training whose first epochs waver."""
    table = fresh2_data.letters(2000, kinds="bdpqxz", noise=0.35)
    model = classifier(6)
    training = program(model, table, sgd(0.15, momentum=0.95), 16)
    total = training.epochs * len(training.train)
    training.scheduler = lr_scheduler.OneCycleLR(training.optimizer, 0.15, total, pct_start=0.2)
    training.scheduler_every = "step"
    training.patience = None if fixed else 1
    return training


@sick("transformer", "lr-too-high", also=(*WILD, "saturated-activations"), proof=harmed(0.05), bar=0.5)
def rate_of_one_group_with_a_zero_too_few(seed: int, fixed: bool) -> Training:
    """The block is given 0.3 where 0.003 was meant; all else is right."""
    model = nets.Transformer(13, 13, 23, causal=True, depth=1)

    def groups(model: Any) -> AdamW:
        rest = [p for name, p in model.named_parameters() if not name.startswith("blocks")]
        return AdamW([{"params": model.blocks.parameters(), "lr": 3e-3 if fixed else 0.3}, {"params": rest}], lr=3e-3)

    return program(model, fresh2_data.sentences(), groups, 8, loss=tokens, metric=LIKELIHOOD)


# structure


@sick("cnn-regression", "missing-position-info", also=SLOW, proof=harmed(0.3), bar=0.85)
def place_of_a_spot_after_a_global_mean(seed: int, fixed: bool) -> Training:
    """Where the spot lies is lost in the mean over all places; the twin keeps the map."""
    place = torch.rand(1200, 2) * 2 - 1
    row, column = torch.meshgrid(torch.linspace(-1.2, 1.2, 12), torch.linspace(-1.2, 1.2, 12), indexing="ij")
    spot = (-((row - place[:, 0, None, None]) ** 2 + (column - place[:, 1, None, None]) ** 2) / 0.08).exp() * 2
    table = data.split((spot + 0.2 * torch.randn(1200, 12, 12) - 0.2)[:, None] / 0.5, place * 1.7)
    body = [nn.Conv2d(1, 8, 3, padding=1, padding_mode="circular"), nn.SiLU(), nn.AvgPool2d(2)]
    body += [nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), nn.SiLU()]
    end = [nn.Flatten(), nn.Linear(288, 2)] if fixed else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    return cosine(program(nn.Sequential(*body, *end), table, adam(4e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("gru", "saturated-activations", "vanishing-gradients", also=("bad-init", *SLOW), proof=harmed(0.2), bar=0.85)
def gates_shut_from_the_start(seed: int, fixed: bool) -> Training:
    """A bias meant to keep the memory open is given the wrong sign, times twelve."""
    model = Series(3, 4, kind=nn.LSTM)
    with torch.no_grad():
        width = model.rnn.hidden_size
        for name in ("bias_ih_l0", "bias_hh_l0"):
            bias = getattr(model.rnn, name)
            bias[: 2 * width] = 0.5 if fixed else -6.0

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 5.0)
        training.optimizer.step()
        return loss

    return cosine(program(model, fresh2_data.paces(1200), adam(6e-3), 10, step=step))


# data


class ByLength:
    """Batches of texts of like length, shortest first, or of any."""

    def __init__(self, x: Tensor, y: Tensor, *, sorted_: bool, batch: int = 32) -> None:
        self.dataset, self.sorted, self.batch = TensorDataset(x, y), sorted_, batch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch)

    def __iter__(self) -> Iterator[list[Tensor]]:
        x, y = self.dataset.tensors
        order = (x > 0).sum(1).argsort(stable=True) if self.sorted else torch.randperm(len(x))
        for rows in order.split(self.batch):
            yield [x[rows], y[rows]]


@sick("text", "unshuffled-data", also=SLOW, proof=harmed(0.05), bar=0.8)
def notes_from_the_shortest_to_the_longest(seed: int, fixed: bool) -> Training:
    """Sorted by length to save padding; angry notes are short, so that every epoch ends on one mood."""
    notes = fresh2_data.moods(3600, length=18, share=0.4)

    def cut(x: Tensor, y: Tensor) -> Tensor:
        length = 6 + 4 * y[:, None] + torch.randint(0, 5, (len(y), 1))
        return (x + 1).masked_fill(torch.arange(18) >= length, 0)

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(31, 16, padding_idx=0), nets.mlp(16, 24, 3)

        def forward(self, x: Tensor) -> Tensor:
            there = (x > 0).float()[..., None]
            return self.head((self.embed(x) * there).sum(1) / there.sum(1).clamp_min(1))

    table = replace(notes, x=cut(notes.x, notes.y), x_val=cut(notes.x_val, notes.y_val))
    training = program(Bag(), table, sgd(0.1, momentum=0.9, weight_decay=1e-3), 8)
    training.train = ByLength(table.x, table.y, sorted_=not fixed)
    return cosine(training)


def _nan_loss(sick: Outcome, twin: Outcome) -> bool:
    """The validation loss is no number, although the training is well."""
    return sick.losses[-1] != sick.losses[-1] and not not_finite(sick) and twin.losses[-1] == twin.losses[-1]


@sick("mlp", "nan-in-data", also=("train-val-mismatch", "numerical-instability"), proof=_nan_loss, bar=0.85)
def gaps_in_the_validation_table_alone(seed: int, fixed: bool) -> Training:
    """The gaps were filled in the training table only."""
    table = fresh2_data.corners(1600)
    gaps, gaps_val = (torch.rand(len(x)) < 0.03 for x in (table.x, table.x_val))
    x, x_val = table.x.clone(), table.x_val.clone()
    x[gaps, 3] = 0.0
    x_val[gaps_val, 3] = 0.0 if fixed else torch.nan
    return cosine(program(nets.mlp(10, 32, 3), replace(table, x=x, x_val=x_val), adam(4e-3), 10))


@sick("regression", "train-val-mismatch", also=("unscaled-target", "overfitting"), proof=harmed(0.3), bar=0.9)
def targets_brought_to_scale_for_training_only(seed: int, fixed: bool) -> Training:
    """Training targets are standardised, those of validation are kilowatts as they came."""
    table = fresh2_data.pump()
    mean, std = table.x.mean(0), table.x.std(0)
    centre, spread = table.y.mean(), table.y.std()
    y_val = (table.y_val - centre) / spread if fixed else table.y_val / 1000
    table = data.Data((table.x - mean) / std, (table.y - centre) / spread, (table.x_val - mean) / std, y_val)
    return cosine(program(nets.mlp(4, 32, 32, 1), table, adam(5e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("forecast", "label-noise", also=("overfitting", "underfitting", "label-corruption"), proof=harmed(0.05), bar=0.85)
def some_swings_with_the_wrong_sign(seed: int, fixed: bool) -> Training:
    """A third of the recorders of the targets were wired the wrong way round; the validation ones are right."""
    table = fresh2_data.pendulums()
    if not fixed:
        flipped = torch.rand(len(table.y), 1) < 0.33
        table = replace(table, y=torch.where(flipped, -table.y, table.y))
    return cosine(program(Series(1, 4), table, adam(6e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("conv1d", "wrong-augmentation", also=("label-noise", "label-corruption", *SLOW), proof=harmed(0.05), bar=0.9)
def beats_cut_at_any_place_and_joined(seed: int, fixed: bool) -> Training:
    """A part of the signal is wiped out: an even row of beats then looks as if one were left out."""
    layers = [nn.Conv1d(1, 12, 9, stride=2), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 16, 7, stride=2), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(176, 3))

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        if not fixed:
            start = torch.randint(20, 36, (len(x), 1, 1))
            place = torch.arange(x.shape[2])
            x = x.masked_fill((place >= start) & (place < start + 16), 0.0)
        loss = training.loss(training.model(x), y)
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return cosine(program(model, fresh2_data.beats(1200), adam(3e-3), 8, step=step))


# parts that do not learn


@sick("siamese", "frozen-layers", "detached-graph", also=SLOW, proof=harmed(0.05), bar=0.85)
def one_of_two_towers_kept_as_it_was_born(seed: int, fixed: bool) -> Training:
    """Users and things have a tower each; the second is made under ``no_grad`` and never learns."""

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nets.mlp(6, 32, 16, act=nn.Tanh), nets.mlp(6, 32, 16, act=nn.Tanh)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            a = self.left(x[:, :6])
            with torch.set_grad_enabled(fixed and torch.is_grad_enabled()):
                b = self.right(x[:, 6:])
            return self.scale * (a * b).sum(1, keepdim=True)

    x = torch.randn(5000, 12)
    turn = torch.randn(3, 3)
    y = ((x[:, :3].tanh() @ turn) * x[:, 6:9].sin()).sum(1, keepdim=True)
    table = data.split(x, y / y.std())
    return cosine(program(Towers(), table, adam(1e-2), 12, loss=nn.MSELoss(), metric=R2, batch=64))


@sick(
    "graph",
    "unregistered-parameters",
    also=("params-not-in-optimizer", "frozen-layers", *SLOW),
    proof=harmed(0.03),
    bar=0.8,
)
def weights_of_messages_kept_in_a_tuple(seed: int, fixed: bool) -> Training:
    """A tuple of layers, one for each round of messages."""

    class Rounds(nn.Module):
        def __init__(self, width: int = 12) -> None:
            super().__init__()
            rounds = tuple(nn.Linear(2 * width, width) for _ in range(2))
            self.rounds: Any = nn.ModuleList(rounds) if fixed else rounds
            self.first, self.head = nn.Linear(4, width), nn.Linear(width, 1)

        def forward(self, x: Tensor) -> Tensor:
            h, bonds = self.first(x[..., :4]), x[..., 4:]
            for layer in self.rounds:
                h = F.silu(layer(torch.cat([h, bonds @ h / 2], 2)))
            return self.head(h.sum(1) / 4)

    table = fresh2_data.molecules(1800)
    return cosine(program(Rounds(), table, adam(6e-3), 16, loss=nn.MSELoss(), metric=R2))
