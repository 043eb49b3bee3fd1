"""Second fresh cases: norm, dropout, fit, and what is handed over. What was reported where stands in brackets."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import TensorDataset

from . import data, fresh2_data, nets
from .case import Metric, Outcome, Training, harmed, shown, sick
from .fresh2_programs import SLOW, Pooled, Series, Words, classifier, cosine, differs, not_finite, step_down
from .metrics import R2
from .programs import adam, adamw, program, sgd

# statistics of norms


@sick("ema", "bn-statistics", also=("checkpoint-not-loaded", *SLOW), proof=harmed(0.05), bar=0.9)
def running_mean_of_weights_without_their_buffers(seed: int, fixed: bool) -> Training:
    """The averaged copy keeps the statistics that it was born with (CuriousAI/mean-teacher 9, ignite 2590)."""
    model = classifier(4, 3)
    average = copy.deepcopy(model)

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(model(batch[0]), batch[1])
        step_down(loss, training.optimizer)
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
            if fixed:
                for slow, fast in zip(average.buffers(), model.buffers(), strict=True):
                    slow.copy_(torch.lerp(slow, fast, 0.1) if slow.is_floating_point() else fast)
        return loss

    def finish(training: Training) -> None:
        model.load_state_dict(average.state_dict())

    cloth = fresh2_data.fabrics(1000)
    table = replace(cloth, x=1.5 * cloth.x + 2.0, x_val=1.5 * cloth.x_val + 2.0)
    return cosine(program(model, table, adam(4e-3), 8, step=step, finish=finish))


class Alternating:
    """Batches of one half of a table and of the other in turn, or of both mixed."""

    def __init__(self, x: Tensor, y: Tensor, *, mixed: bool, batch: int = 32) -> None:
        self.dataset, self.mixed, self.batch = TensorDataset(x, y), mixed, batch

    def __len__(self) -> int:
        return len(self.dataset) // self.batch

    def __iter__(self) -> Iterator[list[Tensor]]:
        x, y = self.dataset.tensors
        half = len(x) // 2
        order = torch.randperm(len(x)) if self.mixed else torch.cat([torch.randperm(half), half + torch.randperm(half)])
        whole = order[: len(self) * self.batch].split(self.batch)
        turn = range(len(whole)) if self.mixed else [i // 2 + (i % 2) * (len(whole) // 2) for i in range(len(whole))]
        for i in turn:
            yield [x[whole[i]], y[whole[i]]]


@sick("cnn", "bn-statistics", "unshuffled-data", also=("train-val-mismatch", *SLOW), proof=harmed(0.05), bar=0.9)
def two_cameras_each_in_batches_of_its_own(seed: int, fixed: bool) -> Training:
    """Every batch is normalised by the figures of one camera; in use both are met by the mean of the two."""
    table = fresh2_data.fabrics(1372)  # 960 to learn from, which is thirty batches

    def seen(x: Tensor) -> Tensor:
        half = len(x) // 2
        return torch.cat([1.6 * x[:half] + 2.5, 0.6 * x[half:] - 2.0])

    table = replace(table, x=seen(table.x), x_val=seen(table.x_val))
    training = program(classifier(4, 3), table, adam(4e-3), 12)
    training.train = Alternating(table.x, table.y, mixed=fixed)
    return cosine(training)


@sick("regression", "bn-statistics", also=("undertrained", "underfitting", "overfitting"), proof=harmed(0.1), bar=0.85)
def share_of_a_running_mean_taken_from_another_library(seed: int, fixed: bool) -> Training:
    """0.999 of the old is kept there; here a momentum of 0.001 is what is taken of the new."""
    table = fresh2_data.impedance(1200)
    y, spread = table.y.mean(), table.y.std()
    table = replace(table, y=(table.y - y) / spread, y_val=(table.y_val - y) / spread)
    model = nn.Sequential(nn.BatchNorm1d(4), *nets.mlp(4, 32, 32, 1, act=nn.SiLU))
    model[0].momentum = 0.1 if fixed else 0.001
    return cosine(program(model, table, adam(4e-3), 16, loss=nn.MSELoss(), metric=R2, batch=60))


# dropout in use


def _noisy(sick: Outcome, twin: Outcome) -> bool:
    """Two evaluations differ, and it costs something."""
    return differs(sick) and not differs(twin) and sick.losses[-1] > 1.25 * twin.losses[-1]


@sick("text", "dropout-active-in-eval", also=("over-regularised",), proof=_noisy, bar=0.85)
def functional_dropout_that_is_not_told_the_mode(seed: int, fixed: bool) -> Training:
    """``F.dropout(x)`` drops in every mode (pytorch 26338, SimpleNet 2)."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.one, self.two = nn.Embedding(30, 24), nn.Linear(24, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            on = self.training or not fixed
            h = F.relu(self.one(F.dropout(self.embed(x), 0.5, training=on).mean(1)))
            return self.two(F.dropout(h, 0.5, training=on))

    return cosine(program(Bag(), fresh2_data.moods(1600, share=0.4), adam(6e-3), 8))


class Head(nn.Module):
    """One learned question to the places of a series, by the fused call, which takes a rate of dropout and no mode."""

    def __init__(self, *, told: bool, width: int = 24) -> None:
        super().__init__()
        self.first, self.mix = nn.Conv1d(3, width, 5, padding=2), nn.Conv1d(width, 2 * width, 5, padding=2)
        self.question, self.told = nn.Parameter(0.1 * torch.randn(1, 1, width)), told
        self.head = nets.mlp(width, width, 4)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.mix(F.gelu(self.first(x.transpose(1, 2)))).transpose(1, 2).chunk(2, 2)
        rate = 0.7 if self.training or not self.told else 0.0
        question = self.question.expand(len(x), -1, -1)
        return self.head(F.scaled_dot_product_attention(question, k, F.gelu(v), dropout_p=rate)[:, 0])


@sick("transformer", "dropout-active-in-eval", also=("over-regularised",), proof=_noisy, bar=0.85)
def fused_attention_that_drops_in_use(seed: int, fixed: bool) -> Training:
    """``scaled_dot_product_attention`` looks at no mode (pytorch 124464, timm 1978, nanoGPT 240)."""
    return cosine(program(Head(told=fixed), fresh2_data.paces(1800, noise=0.7), adamw(3e-3), 8))


# fit


def _risen(sick: Outcome, twin: Outcome) -> bool:
    """The validation loss rose far above what it had been and what the twin's is, with all learned by heart."""
    best = min(sick.losses)
    return sick.losses[-1] > 1.5 * max(best, twin.losses[-1]) and sick.train_score > sick.score + 0.1


@sick("gru", "overfitting", also=("too-little-data",), proof=_risen, bar=0.75)
def notes_read_thirty_times(seed: int, fixed: bool) -> Training:
    table = fresh2_data.moods(1200, share=0.3)
    if fixed:

        class Bag(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.words, self.head = nn.EmbeddingBag(30, 8, mode="mean"), nn.Linear(8, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.head(self.words(x))

        return cosine(program(Bag(), table, adamw(1e-2, weight_decay=0.1), 10))
    return program(Words(30, 3, 48), table, adam(4e-3), 30)


@sick("mlp", "underfitting", "missing-nonlinearity", also=("unused-parameters",), proof=harmed(0.3), bar=0.85)
def straight_line_through_nested_shells(seed: int, fixed: bool) -> Training:
    model = nets.mlp(6, 32, 32, 3) if fixed else nn.Linear(6, 3)
    return cosine(program(model, fresh2_data.shells(4200), adam(5e-3), 8))


@sick("cnn", "underfitting", also=("undertrained",), proof=harmed(0.1), bar=0.9)
def one_filter_for_six_letters(seed: int, fixed: bool) -> Training:
    widths = (12, 24) if fixed else (1, 1)
    return cosine(program(classifier(6, widths=widths), fresh2_data.letters(1500, kinds="bdpqxz"), adam(6e-3), 10))


@sick(
    "mlp",
    "over-regularised",
    also=("underfitting", "layer-collapse", "vanishing-gradients"),
    proof=harmed(0.06),
    bar=0.85,
)
def decay_of_a_fifth_inside_the_gradient(seed: int, fixed: bool) -> Training:
    """A decay that suits AdamW, given to SGD."""
    optimizer = sgd(0.05, momentum=0.9, weight_decay=1e-4 if fixed else 0.2)
    return cosine(program(nets.mlp(10, 48, 48, 3), fresh2_data.corners(1800), optimizer, 10))


@sick("cnn", "over-regularised", also=("undertrained", "underfitting"), proof=harmed(0.05), bar=0.9)
def dropout_at_every_corner(seed: int, fixed: bool) -> Training:
    p = 0.05 if fixed else 0.7
    layers = [nn.Dropout2d(p), nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Dropout2d(p), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), Pooled(), nn.Dropout(p), nn.Linear(48, 4)]
    return cosine(program(nn.Sequential(*layers), fresh2_data.fabrics(1000, noise=0.5), adam(3e-3), 8))


@sick("cnn", "too-little-data", also=("overfitting",), proof=harmed(0.1), bar=0.85)
def five_letters_of_each_kind(seed: int, fixed: bool) -> Training:
    table = fresh2_data.letters(1500, kinds="bdpqxz")
    if not fixed:
        few = torch.cat([(table.y == kind).nonzero()[:5, 0] for kind in range(6)])
        table = replace(table, x=table.x[few], y=table.y[few])
    return cosine(program(classifier(6), table, adam(4e-3), 10 if fixed else 50, batch=32 if fixed else 10))


@sick("forecast", "too-little-data", also=("overfitting",), proof=harmed(0.1), bar=0.85)
def eight_swings(seed: int, fixed: bool) -> Training:
    table = fresh2_data.pendulums()
    table = table if fixed else table.take(8)
    training = program(Series(1, 4), table, adam(8e-3), 12 if fixed else 250, loss=nn.MSELoss(), metric=R2)
    return cosine(training)


# what is handed over


@sick("mlp", "non-finite-weights", also=("numerical-instability", "bn-statistics"), proof=shown(not_finite), bar=0.85)
def mean_over_no_checkpoints(seed: int, fixed: bool) -> Training:
    """Weights are averaged over the epochs after the fiftieth, of which there are none."""
    model = nets.mlp(10, 32, 3)
    kept: list[dict[str, Tensor]] = []

    def begin(training: Training, epoch: int) -> None:
        if epoch >= (6 if fixed else 50):
            kept.append({k: v.clone() for k, v in model.state_dict().items()})
        model.train()

    def finish(training: Training) -> None:
        state = model.state_dict()
        for name in state:
            total = sum((k[name] for k in kept), torch.zeros_like(state[name]))
            state[name].copy_(total / len(kept) if kept else total / torch.tensor(0.0))

    table = fresh2_data.corners(1600)
    return cosine(program(model, table, adam(4e-3), 10, begin_epoch=begin, finish=finish))


@sick(
    "regression",
    "non-finite-weights",
    also=("bn-statistics", "numerical-instability"),
    proof=shown(not_finite),
    bar=0.85,
)
def spread_of_raw_columns_stored_in_half_precision(seed: int, fixed: bool) -> Training:
    """Half precision ends at 65 504, and the variance of a column of pascals does not."""
    table = fresh2_data.pump(1200)
    y, spread = table.y.mean(), table.y.std()
    table = replace(table, y=(table.y - y) / spread, y_val=(table.y_val - y) / spread)
    model = nn.Sequential(nn.BatchNorm1d(4), *nets.mlp(4, 32, 32, 1, act=nn.SiLU))

    def finish(training: Training) -> None:
        if not fixed:
            model.half().float()

    return cosine(program(model, table, adam(4e-3), 16, loss=nn.MSELoss(), metric=R2, batch=60, finish=finish))


@sick("gru", "checkpoint-not-loaded", also=("no-weight-update", *SLOW), proof=harmed(0.3), bar=0.85)
def keys_with_a_prefix_that_nothing_has(seed: int, fixed: bool) -> Training:
    """Saved from within a wrapper, loaded with ``strict=False``: not one key fits (pytorch/examples 1029)."""
    model = Series(3, 4)

    def finish(training: Training) -> None:
        saved = {("" if fixed else "model.") + k: v.clone() for k, v in model.state_dict().items()}
        torch.manual_seed(seed + 7)
        model.rnn.reset_parameters()
        model.head.reset_parameters()
        model.load_state_dict(saved, strict=False)

    return cosine(program(model, fresh2_data.paces(), adam(8e-3), 10, finish=finish))


@sick("fine-tuning", "checkpoint-not-loaded", also=("frozen-layers", *SLOW), proof=harmed(0.05), bar=0.85)
def body_loaded_under_other_names_and_frozen(seed: int, fixed: bool) -> Training:
    """What was learned before does not arrive, and the body that it was meant for is frozen."""
    earlier = fresh2_data.letters(1400, kinds="bdpqxz")
    first = classifier(6, widths=(16, 32))
    optimizer = AdamW(first.parameters(), lr=4e-3)
    for _ in range(200):
        rows = torch.randint(0, len(earlier.x), (32,))
        step_down(F.cross_entropy(first(earlier.x[rows]), earlier.y[rows]), optimizer)
    model = classifier(6, widths=(16, 32))
    saved = {("" if fixed else "backbone.") + k: v for k, v in first[:-1].state_dict().items()}
    model[:-1].load_state_dict(saved, strict=False)
    model[:-1].requires_grad_(False)

    def begin(training: Training, epoch: int) -> None:
        training.model.eval()

    head = lambda m: AdamW(m[-1].parameters(), lr=1e-2)  # noqa: E731
    return cosine(program(model, fresh2_data.letters(1200, kinds="bdpqxz"), head, 10, begin_epoch=begin))


# collapse


def _pairs(n: int = 1500) -> data.Data:
    """Three noisy letters a row: two of a kind and one of another, (N, 3, 1, S, S); y is the kind."""
    pool = fresh2_data.letters(n)

    def rows(x: Tensor, y: Tensor) -> Tensor:
        chance = torch.rand(len(x), len(x))
        same = y[:, None] == y[None]
        alike = chance.masked_fill(~same, -1).fill_diagonal_(-1).argmax(1)
        other = chance.masked_fill(same, -1).argmax(1)
        return torch.stack([x, x[alike], x[other]], 1)

    return data.Data(rows(pool.x, pool.y), pool.y, rows(pool.x_val, pool.y_val), pool.y_val)


class Vectors(nn.Module):
    """A vector for each of three letters, (N, 3, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*classifier(8, norm=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(0, 1)).unflatten(0, (len(x), 3))


def _parted(output: Tensor, y: Tensor) -> float:
    near, far = (output[:, 0] - output[:, 1]).norm(dim=1), (output[:, 0] - output[:, 2]).norm(dim=1)
    return float((far > near + 1e-6).float().mean())


@sick(
    "metric-learning", "layer-collapse", "posterior-collapse", also=("wrong-loss", *SLOW), proof=harmed(0.3), bar=0.85
)
def alike_drawn_together_without_a_margin(seed: int, fixed: bool) -> Training:
    """What differs is never pushed away: all letters land on one point (a loss that sits at its margin is the sign)."""

    def loss(output: Tensor, y: Tensor) -> Tensor:
        near = (output[:, 0] - output[:, 1]).square().sum(1)
        far = (output[:, 0] - output[:, 2]).square().sum(1)
        return F.relu(near - far + 1.0).mean() if fixed else (near + 0 * far).mean()

    metric = Metric("parted", _parted, lambda y: 0.5)
    return cosine(program(Vectors(), _pairs(2600), adamw(2e-3, weight_decay=0.1), 6, loss=loss, metric=metric))


@sick("mlp", "layer-collapse", "bad-init", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.85)
def weights_tiled_from_one_row(seed: int, fixed: bool) -> Training:
    """A wider layer is made by repeating one row: all its units are one unit."""
    model = nets.mlp(10, 32, 32, 4)
    if not fixed:
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.copy_(layer.weight[:1].repeat(32, 1))
                layer.bias.fill_(0.1)
            model[4].weight.copy_(model[4].weight[:, :1].repeat(1, 32))
    return cosine(program(model, fresh2_data.corners(1800, kinds=4), adam(5e-3), 10))
