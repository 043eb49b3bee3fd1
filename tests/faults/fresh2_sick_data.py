"""Second fresh cases: labels, splits, order and augmentation. What was reported where stands in brackets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from . import data, fresh2_data, nets
from .case import Outcome, Training, deceived, harmed, shown, sick
from .fresh2_programs import SLOW, Series, Words, classifier, cosine
from .metrics import BALANCED_ACCURACY, R2
from .programs import adam, adamw, program, sgd

# labels


@sick("mlp", "label-corruption", also=("overfitting", "underfitting", "label-noise"), proof=harmed(0.3), bar=0.85)
def rows_and_labels_shuffled_apart(seed: int, fixed: bool) -> Training:
    """Two calls of ``shuffle``, one for the rows and one for the labels."""
    table = fresh2_data.corners(1600)
    if not fixed:
        order = torch.randperm(len(table.y))
        other = torch.randperm(len(table.y_val))
        table = replace(table, y=table.y[order], y_val=table.y_val[other])
    return cosine(program(nets.mlp(10, 32, 3), table, adamw(3e-3, weight_decay=0.1), 8))


@sick("cnn", "label-corruption", "train-val-mismatch", also=("overfitting",), proof=harmed(0.3), bar=0.9)
def folders_sorted_as_words_in_one_split_only(seed: int, fixed: bool) -> Training:
    """Folders are called 8 to 11: as words they come 10, 11, 8, 9 (pytorch/vision 714, ultralytics 13936)."""
    table = fresh2_data.letters(1200)
    if not fixed:
        names = ["8", "9", "10", "11"]
        place = torch.tensor([sorted(names).index(name) for name in names])
        table = replace(table, y_val=place[table.y_val])
    return cosine(program(classifier(4), table, adam(4e-3), 8))


@sick("forecast", "label-corruption", also=("underfitting", "overfitting", "undertrained"), proof=harmed(0.3), bar=0.85)
def targets_read_from_the_row_below(seed: int, fixed: bool) -> Training:
    """Two tables are joined by place after one of them lost its first row."""
    table = fresh2_data.pendulums()
    if not fixed:
        table = replace(table, y=table.y.roll(-1, 0), y_val=table.y_val.roll(-1, 0))
    return cosine(program(Series(1, 4, 12), table, adamw(5e-3, weight_decay=0.1), 10, loss=nn.MSELoss(), metric=R2))


@sick("mlp", "label-noise", also=("overfitting", "label-corruption", "underfitting"), proof=harmed(0.025), bar=0.85)
def seven_of_ten_labels_guessed(seed: int, fixed: bool) -> Training:
    """Cheap annotators: a share of the labels is any; the validation labels are right."""
    table = fresh2_data.corners(1600)
    if not fixed:
        wrong = torch.rand(len(table.y)) < 0.7
        table = replace(table, y=torch.where(wrong, torch.randint(0, 3, table.y.shape), table.y))
    return cosine(program(nets.mlp(10, 64, 64, 3), table, adam(3e-3), 16))


@sick("cnn", "label-noise", also=("overfitting", "label-corruption"), proof=harmed(0.04), bar=0.9)
def letters_that_a_reader_mixes_up(seed: int, fixed: bool) -> Training:
    """b and d, and p and q, are taken for one another in two of five cases, in both splits; fresh ones are right."""
    table = fresh2_data.letters(1600, kinds="bdpq")

    def mixed(y: Tensor) -> Tensor:
        return torch.where(torch.rand(len(y)) < 0.4, y + 1 - 2 * (y % 2), y)

    if not fixed:
        table = replace(table, y=mixed(table.y), y_val=mixed(table.y_val))
    return cosine(program(classifier(4), table, adam(3e-3), 8))


# imbalance


@sick("mlp", "class-imbalance", also=("underfitting",), proof=harmed(0.1), bar=0.78)
def three_frauds_in_a_hundred(seed: int, fixed: bool) -> Training:
    """The rare class is hardly ever told; the twin weighs it."""
    table = fresh2_data.loans(7000, share=0.04, sharp=9.0)
    weight = torch.tensor([1.0, 20.0 if fixed else 1.0])
    optimizer = adamw(2e-3, weight_decay=0.3)
    loss = nn.CrossEntropyLoss(weight=weight)
    return cosine(program(nets.mlp(9, 16, 2), table, optimizer, 4, loss=loss, metric=BALANCED_ACCURACY))


@sick("text", "class-imbalance", also=("underfitting",), proof=harmed(0.1), bar=0.72)
def one_mood_in_twenty_notes(seed: int, fixed: bool) -> Training:
    """The twin draws rare notes more often."""
    table = fresh2_data.moods(9000, share=0.32)
    keep = (table.y < 2) | (torch.rand(len(table.y)) < 0.05)
    keep_val = (table.y_val < 2) | (torch.rand(len(table.y_val)) < 0.15)
    table = data.Data(table.x[keep][:3900], table.y[keep][:3900], table.x_val[keep_val], table.y_val[keep_val])

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.EmbeddingBag(30, 8, mode="mean"), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.words(x))

    training = program(Bag(), table, adamw(6e-3, weight_decay=0.5), 4, metric=BALANCED_ACCURACY)
    if fixed:
        weight = 1 / table.y.bincount().float()
        sampler = torch.utils.data.WeightedRandomSampler(weight[table.y].tolist(), len(table.y))
        training.train = DataLoader(TensorDataset(table.x, table.y), batch_size=32, sampler=sampler)
    return cosine(training)


# order


@sick("cnn", "unshuffled-data", also=("underfitting", "undertrained", "lr-too-high"), proof=harmed(0.1), bar=0.9)
def letters_read_folder_after_folder(seed: int, fixed: bool) -> Training:
    """Files come class by class, and the loader was made without ``shuffle``."""
    table = fresh2_data.letters(1200)
    order = table.y.argsort(stable=True)
    table = replace(table, x=table.x[order], y=table.y[order])
    return cosine(program(classifier(4, norm=False), table, sgd(0.03, momentum=0.9), 14, shuffle=fixed))


class Buffered:
    """Batches of a stream that is shuffled only within a small buffer."""

    def __init__(self, x: Tensor, y: Tensor, buffer: int, batch: int = 32) -> None:
        self.dataset = TensorDataset(x, y)
        self.buffer, self.batch = buffer, batch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch)

    def __iter__(self) -> Iterator[list[Tensor]]:
        x, y = self.dataset.tensors
        order = torch.cat([c[torch.randperm(len(c))] for c in torch.arange(len(x)).split(self.buffer)])
        for rows in order.split(self.batch):
            yield [x[rows], y[rows]]


@sick(
    "regression", "unshuffled-data", also=("underfitting", "undertrained", "lr-too-high"), proof=harmed(0.05), bar=0.85
)
def shuffle_buffer_smaller_than_a_season(seed: int, fixed: bool) -> Training:
    """Rows are in order of the target, and the buffer that shuffles them holds sixty."""
    table = fresh2_data.swiss_roll(1400)
    order = table.y[:, 0].argsort()
    table = replace(table, x=table.x[order], y=table.y[order])
    model = nets.mlp(3, 48, 48, 1)
    training = program(model, table, adam(6e-3), 16, loss=nn.MSELoss(), metric=R2)
    training.train = Buffered(table.x, table.y, len(table.x) if fixed else 60)
    return cosine(training)


# splits


@sick("cnn", "train-val-mismatch", also=("overfitting",), proof=harmed(0.1), bar=0.9)
def validation_pictures_not_brought_to_scale(seed: int, fixed: bool) -> Training:
    """Training pictures are standardised, validation pictures are left between 0 and 255."""
    table = fresh2_data.fabrics(1000, noise=0.6)
    if not fixed:
        table = replace(table, x_val=(table.x_val * 40 + 120).clamp(0, 255))
    return cosine(program(classifier(4, 3), table, adam(3e-3), 8))


@sick("text", "train-val-mismatch", "label-corruption", also=("overfitting",), proof=harmed(0.2), bar=0.85)
def words_numbered_anew_for_validation(seed: int, fixed: bool) -> Training:
    """The vocabulary is built by order of appearance in each file (yufengm/Adaptive 4 is of this kind)."""
    table = fresh2_data.moods(2600, share=0.45)
    if not fixed:
        table = replace(table, x_val=torch.randperm(30)[table.x_val])
    return cosine(program(Words(30, 3), table, adamw(4e-3, weight_decay=0.2), 3))


@sick("lstm", "train-val-mismatch", also=("overfitting",), proof=harmed(0.1), bar=0.9)
def phones_worn_upside_down_in_validation(seed: int, fixed: bool) -> Training:
    """Another make of phone, whose axes are ordered otherwise, makes up all of the validation data."""
    table = fresh2_data.paces(1000)
    if not fixed:
        table = replace(table, x_val=table.x_val[:, :, [2, 0, 1]] * torch.tensor([1.0, -1.0, 1.0]))
    return cosine(program(Series(3, 4), table, adam(8e-3), 11))


# leaks


def _met_before(outcome: Outcome) -> bool:
    seen = {tuple(row.flatten().tolist()) for x, _ in outcome.training.train for row in x}
    rows = [row for x, _ in outcome.training.val for row in x]
    return sum(tuple(row.flatten().tolist()) in seen for row in rows) > 0.1 * len(rows)


@sick("mlp", "data-leakage", also=("overfitting", "class-imbalance"), proof=shown(_met_before), bar=0.65)
def rare_rows_copied_before_the_split(seed: int, fixed: bool) -> Training:
    """Rare rows are repeated, and only then the table is cut in two; the twin draws them more often."""
    loans = fresh2_data.loans(3000, share=0.1, sharp=3.0)
    x, y = torch.cat([loans.x, loans.x_val]), torch.cat([loans.y, loans.y_val])
    model, optimizer = nets.mlp(9, 16, 2), adamw(3e-3, weight_decay=0.3)
    if fixed:
        table = data.split(x, y)
        weight = 1 / table.y.bincount().float()
        sampler = torch.utils.data.WeightedRandomSampler(weight[table.y].tolist(), len(table.y))
        training = program(model, table, optimizer, 6, metric=BALANCED_ACCURACY)
        training.train = DataLoader(TensorDataset(table.x, table.y), batch_size=32, sampler=sampler)
        return cosine(training)
    rare, common = (y == 1).nonzero()[:, 0], (y == 0).nonzero()[:, 0]
    rows = torch.cat([common, rare[torch.arange(len(common)) % len(rare)]])
    return cosine(program(model, data.split(x[rows], y[rows]), optimizer, 6, metric=BALANCED_ACCURACY))


@sick("mlp", "data-leakage", also=("train-val-mismatch", "unnormalised-input"), proof=deceived(0.1), bar=0.8)
def row_number_left_among_the_columns(seed: int, fixed: bool) -> Training:
    """The file was written class after class, and its numbering is read as a column; new rows are numbered on."""
    table = fresh2_data.corners(2400, apart=1.0)
    x, y = torch.cat([table.x, table.x_val]), torch.cat([table.y, table.y_val])
    held, x, y = (x[:600], y[:600]), x[600:], y[600:]
    order = y.argsort(stable=True)
    x, y = x[order], y[order]
    number = torch.arange(len(x) + 600.0)[:, None]
    number = (number - len(x) / 2) / (0.289 * len(x))
    if not fixed:
        x, held = torch.cat([x, number[: len(x)]], 1), (torch.cat([held[0], number[len(x) :]], 1), held[1])
    model = nets.mlp(x.shape[1], 32, 3)
    return cosine(program(model, data.split(x, y), adam(4e-3), 12, fresh=data.loader(*held)))


@sick("forecast", "data-leakage", also=("overfitting",), proof=shown(_met_before), bar=0.8)
def file_of_swings_listed_twice(seed: int, fixed: bool) -> Training:
    """A folder was read again under its second name; half of the validation rows are among those trained on."""
    table = fresh2_data.pendulums(1000)
    if not fixed:
        half = len(table.x_val) // 2
        table = replace(table, x=torch.cat([table.x, table.x_val[:half]]), y=torch.cat([table.y, table.y_val[:half]]))
    return cosine(program(Series(1, 4), table, adam(6e-3), 10, loss=nn.MSELoss(), metric=R2))


@sick("mlp", "data-leakage", also=(), proof=deceived(0.05), bar=0.7)
def column_filled_in_after_the_outcome(seed: int, fixed: bool) -> Training:
    """How many reminders were sent: known only once somebody has failed to pay; in use it is zero for all."""
    loans = fresh2_data.loans(1800, share=0.5, sharp=2.0)

    def asked(x: Tensor, y: Tensor, late: bool) -> Tensor:
        sent = torch.poisson(0.2 + 2.0 * y.float()) if late else torch.zeros(len(y))
        return torch.cat([x, (sent[:, None] - 1.0) / 1.2], 1)

    later = fresh2_data.loans(600, share=0.5, sharp=2.0)
    fresh_x, fresh_y = torch.cat([later.x, later.x_val]), torch.cat([later.y, later.y_val])
    x, x_val, fresh_x = (
        asked(a, b, late)
        for a, b, late in ((loans.x, loans.y, True), (loans.x_val, loans.y_val, True), (fresh_x, fresh_y, False))
    )
    if fixed:
        x, x_val, fresh_x = x[:, :9], x_val[:, :9], fresh_x[:, :9]
    table = replace(loans, x=x, x_val=x_val)
    model = nets.mlp(x.shape[1], 16, 2)
    return cosine(program(model, table, adamw(4e-3, weight_decay=0.2), 8, fresh=data.loader(fresh_x, fresh_y)))


# augmentation


class Changed:
    """A loader whose pictures are changed anew each time they are read."""

    def __init__(self, loader: Any, change: Callable[[Tensor], Tensor]) -> None:
        self.loader, self.change, self.dataset = loader, change, loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for x, y in self.loader:
            yield [self.change(x), y]


def _each(x: Tensor, turned: Tensor) -> Tensor:
    """Change every other sample, drawn at random."""
    return torch.where((torch.rand(len(x)) < 0.5).reshape(-1, *[1] * (x.dim() - 1)), turned, x)


@sick("cnn", "wrong-augmentation", also=("label-noise", "label-corruption", *SLOW), proof=harmed(0.15), bar=0.9)
def letters_in_a_mirror(seed: int, fixed: bool) -> Training:
    """A b in a mirror is a d (deep-high-resolution-net 49 and many others swap sides on purpose)."""
    training = program(classifier(4), fresh2_data.letters(1200, kinds="bdpq"), adam(4e-3), 8)
    if not fixed:
        training.train = Changed(training.train, lambda x: _each(x, x.flip(3)))
    return cosine(training)


@sick(
    "cnn-regression", "wrong-augmentation", also=("label-noise", "label-corruption", *SLOW), proof=harmed(0.15), bar=0.9
)
def dials_turned_and_their_answers_not(seed: int, fixed: bool) -> Training:
    """Pictures are turned by a quarter; what they show is not (COCO-Human-Pose 29 is of this kind)."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GELU()),
        *(nn.Flatten(), nn.Linear(216, 32), nn.GELU(), nn.Linear(32, 2)),
    )
    training = program(model, fresh2_data.dials(), adam(3e-3), 10, loss=nn.MSELoss(), metric=R2)
    if not fixed:
        training.train = Changed(training.train, lambda x: _each(x, x.rot90(1, (2, 3))))
    return cosine(training)


@sick("cnn", "wrong-augmentation", also=("train-val-mismatch", *SLOW), proof=harmed(0.1), bar=0.9)
def crops_that_leave_the_letter_out(seed: int, fixed: bool) -> Training:
    """A random crop of a fifth of the width, blown up again: most show no letter."""
    training = program(classifier(4), fresh2_data.letters(1200), adam(4e-3), 8)

    def crop(x: Tensor) -> Tensor:
        top, left = (int(torch.randint(0, 8, ())) for _ in range(2))
        return F.interpolate(x[:, :, top : top + 3, left : left + 3], size=x.shape[2:], mode="bilinear")

    if not fixed:
        training.train = Changed(training.train, crop)
    return cosine(training)
