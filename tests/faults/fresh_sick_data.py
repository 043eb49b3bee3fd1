"""Fresh cases: labels, splits and what is done to the data."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from . import data, fresh_data, nets
from .case import Outcome, Training, deceived, harmed, shown, sick
from .metrics import ACCURACY, BALANCED_ACCURACY
from .programs import adam, adamw, program, sgd

# labels


def _by_name(n: int) -> Tensor:
    """Order in which a listing of 0.png, 1.png, ... puts them: 0, 1, 10, 100, ..."""
    return torch.tensor(sorted(range(n), key=str))


@sick(
    "cnn",
    "label-corruption",
    also=("overfitting", "underfitting", "label-noise", "train-val-mismatch"),
    proof=harmed(0.3),
    bar=0.85,
)
def pictures_listed_by_name_and_labels_by_number(seed: int, fixed: bool) -> Training:
    table = fresh_data.gratings()
    if not fixed:
        table = replace(table, x=table.x[_by_name(len(table.x))])
    return program(nets.cnn(4), table, adam(3e-3), 8)


@sick("text", "label-corruption", "train-val-mismatch", proof=harmed(0.3), bar=0.85)
def label_encoder_fitted_to_each_split(seed: int, fixed: bool) -> Training:
    """Validation lacks the first class, so that all others are numbered one lower there."""
    table = fresh_data.topics(1000)
    if not fixed:
        keep = table.y_val > 0
        table = replace(table, x_val=table.x_val[keep], y_val=table.y_val[keep] - 1)
    return program(nets.Recurrent(nn.GRU, 40, 24, 4, symbols=True), table, adam(5e-3), 8)


def _slips(y: Tensor, share: float, kinds: int) -> Tensor:
    wrong = torch.rand(len(y)) < share
    return torch.where(wrong, torch.randint(0, kinds, y.shape), y)


@sick("conv1d", "label-noise", also=("overfitting", "label-corruption", "underfitting"), proof=harmed(0.2), bar=0.85)
def careless_ears(seed: int, fixed: bool) -> Training:
    """Four in ten sounds were labelled by people who guessed."""
    table = fresh_data.tones(900)
    if not fixed:
        table = replace(table, y=_slips(table.y, 0.45, 4), y_val=_slips(table.y_val, 0.45, 4))
    model = nn.Sequential(
        *(nn.Conv1d(1, 12, 7, stride=2), nn.ReLU(), nn.Conv1d(12, 24, 5, stride=2), nn.ReLU()),
        *(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 4)),
    )
    return program(model, table, adam(3e-3), 12)


@sick("text", "class-imbalance", also=("underfitting",), proof=harmed(0.15), bar=0.75)
def rare_topics_never_said(seed: int, fixed: bool) -> Training:
    rows = fresh_data.topics(4200)

    def thinned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        keep = (y == 0) | (torch.rand(len(y)) < 0.025)
        return x[keep], y[keep]

    table = data.Data(*thinned(rows.x, rows.y), *thinned(rows.x_val, rows.y_val))
    table = rows.take(800) if fixed else table
    model = nets.Recurrent(nn.GRU, 40, 24, 4, symbols=True)
    return program(model, table, adam(5e-3), 6, metric=BALANCED_ACCURACY)


# order, split


@sick("gru", "unshuffled-data", also=("underfitting",), proof=harmed(0.07), bar=0.85)
def texts_read_folder_by_folder(seed: int, fixed: bool) -> Training:
    table = fresh_data.topics(1600)
    order = table.y.argsort(stable=True)
    table = replace(table, x=table.x[order], y=table.y[order])
    model = nets.Recurrent(nn.GRU, 40, 24, 4, symbols=True)
    return program(model, table, adam(1e-2), 5, shuffle=fixed)


@sick("mlp", "train-val-mismatch", proof=harmed(0.15), bar=0.85)
def each_split_brought_to_its_own_range(seed: int, fixed: bool) -> Training:
    """Every split is scaled by its own least and largest value; one broken meter widens the second."""
    table = fresh_data.plain_classes(kinds=4)
    low, high = table.x.amin(0), table.x.amax(0)
    broken = table.x_val.clone()
    broken[0] = 60.0
    val_low, val_high = (low, high) if fixed else (broken.amin(0), broken.amax(0))
    x, x_val = (table.x - low) / (high - low), (broken - val_low) / (val_high - val_low)
    x_val, y_val = x_val[1:], table.y_val[1:]
    return program(nets.mlp(8, 32, 4), data.Data(4 * x - 2, table.y, 4 * x_val - 2, y_val), adam(5e-3), 12)


@sick("text", "train-val-mismatch", proof=harmed(0.2), bar=0.85)
def vocabulary_built_anew_for_validation(seed: int, fixed: bool) -> Training:
    """Words are numbered as they are met, in each split by itself."""
    table = fresh_data.topics(1000)
    if not fixed:
        met = list(dict.fromkeys(table.x_val.flatten().tolist()))
        number = torch.zeros(fresh_data.WORDS, dtype=torch.long)
        number[torch.tensor(met)] = torch.arange(len(met))
        table = replace(table, x_val=number[table.x_val])
    return program(nets.Transformer(40, 4, 14, pooled=True, depth=1), table, adamw(3e-3), 6)


def _patients(n: int, visits: int) -> tuple[Tensor, Tensor]:
    """Rows of patients who came several times: (patient, visit, column) and (patient, visit)."""
    x = torch.randn(n, 1, 10)
    score = x[:, 0, 0] + x[:, 0, 1] * x[:, 0, 2] + 0.8 * torch.randn(n)
    rows = x + 0.03 * torch.randn(n, visits, 10)
    return rows, (score > 0).long()[:, None].expand(n, visits)


@torch.no_grad()
def _met_before(outcome: Outcome) -> bool:
    """Tell whether most rows of validation have a near copy in training."""
    train, val = (o.dataset.tensors[0] for o in (outcome.training.train, outcome.training.val))
    return bool(torch.cdist(val, train).amin(1).median() < 0.3)


@sick("mlp", "data-leakage", also=("overfitting",), proof=shown(_met_before), bar=0.62)
def visits_of_one_patient_on_both_sides(seed: int, fixed: bool) -> Training:
    rows, labels = _patients(700, 3)
    if fixed:
        x, y, x_val, y_val = rows[:490], labels[:490], rows[490:], labels[490:]
        table = data.Data(*(t.flatten(0, 1) for t in (x, y, x_val, y_val)))
    else:
        table = data.split(rows.flatten(0, 1), labels.flatten())
    return program(nets.mlp(10, 16, 2, dropout=0.3), table, adamw(3e-3, weight_decay=0.1), 12)


@sick("mlp", "data-leakage", also=("overfitting",), proof=deceived(0.07), bar=0.68)
def number_plate_replaced_by_its_mean_label(seed: int, fixed: bool) -> Training:
    """A column of identities is replaced by the mean label of each, validation rows included."""
    n = 1200
    x, plate = torch.randn(n, 6), torch.randint(0, n, (n,))
    y = (x[:, 0] - x[:, 1] + 0.5 * x[:, 2] * x[:, 3] + 1.2 * torch.randn(n) > 0).float()
    total, met = torch.zeros(n).index_add(0, plate, y), torch.zeros(n).index_add(0, plate, torch.ones(n))
    encoded = torch.zeros(n) if fixed else 2 * (total / met.clamp_min(1))[plate] - 1
    table = data.split(torch.cat([x, encoded[:, None]], 1), y.long())
    x = torch.randn(600, 6)
    y = (x[:, 0] - x[:, 1] + 0.5 * x[:, 2] * x[:, 3] + 1.2 * torch.randn(600) > 0).long()
    fresh = data.loader(torch.cat([x, torch.zeros(600, 1)], 1), y)
    if fixed:
        table = replace(table, x=table.x[:, :6], x_val=table.x_val[:, :6])
        fresh = data.loader(x, y)
    return program(nets.mlp(table.x.shape[1], 24, 2), table, adam(3e-3), 8, fresh=fresh)


# augmentation


class Augmented:
    """Batches of a loader, changed at random each time."""

    def __init__(self, loader: object, change: object) -> None:
        self.loader, self.change = loader, change
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for x, y in self.loader:
            yield self.change(x), y


def _turned(x: Tensor) -> Tensor:
    turn = torch.rand(len(x), 1, 1, 1) < 0.5
    return torch.where(turn, x.rot90(1, (2, 3)), x)


@sick(
    "cnn", "wrong-augmentation", also=("label-noise", "label-corruption", "underfitting"), proof=harmed(0.15), bar=0.85
)
def gratings_turned_by_right_angles(seed: int, fixed: bool) -> Training:
    training = program(nets.cnn(4), fresh_data.gratings(), adam(3e-3), 8)
    if not fixed:
        training.train = Augmented(training.train, _turned)
    return training


def _backwards(x: Tensor) -> Tensor:
    return torch.where(torch.rand(len(x), 1, 1) < 0.5, x.flip(2), x)


@sick(
    "conv1d",
    "wrong-augmentation",
    also=("label-noise", "label-corruption", "underfitting"),
    proof=harmed(0.2),
    bar=0.85,
)
def whistles_played_backwards(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        *(nn.Conv1d(1, 12, 7, padding=3), nn.BatchNorm1d(12), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(12, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(192, 2)),
    )
    training = program(model, fresh_data.chirps(), sgd(0.03, momentum=0.9), 8, metric=ACCURACY)
    if not fixed:
        training.train = Augmented(training.train, _backwards)
    return training
