"""Third fresh cases: labels, splits, order and augmentation. What was reported where stands in brackets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Training, deceived, harmed, sick
from .data import Data, loader
from .fresh3_programs import MASK, SLOW, Segmenter, classifier, cosine
from .fresh3_sick_steps import digits_scaled
from .metrics import BALANCED_ACCURACY, BINARY_ACCURACY, R2
from .programs import adam, program, sgd

# labels


@sick(
    "cnn",
    "label-corruption",
    also=("overfitting", "label-noise", "train-val-mismatch", *SLOW),
    proof=harmed(0.2),
    bar=0.85,
)
def pictures_listed_in_another_order_than_labels(seed: int, fixed: bool) -> Training:
    """``os.listdir`` has no order: pictures and labels do not belong together (Explaining-In-Style 9)."""
    table = fresh3_data.glyphs(1200)
    y = table.y if fixed else table.y[torch.randperm(len(table.y))]
    return cosine(program(classifier(5), Data(table.x, y, table.x_val, table.y_val), adam(4e-3), 10))


@sick("recurrent", "label-corruption", "train-val-mismatch", also=("overfitting",), proof=harmed(0.3), bar=0.8)
def classes_numbered_anew_for_validation(seed: int, fixed: bool) -> Training:
    """Folders are numbered as they come, and they come otherwise in validation (own_data_cnn 4, deep-learning 49)."""
    table = fresh3_data.chirps()
    y_val = table.y_val if fixed else torch.tensor([1, 2, 0])[table.y_val]
    table = Data(table.x, table.y, table.x_val, y_val)
    return cosine(program(nets.Recurrent(nn.GRU, 1, 24, 3), table, adam(5e-3), 12))


@sick("mlp", "label-noise", also=("overfitting", "label-corruption"), proof=harmed(0.05), bar=0.85)
def two_fifths_of_digits_by_a_tired_hand(seed: int, fixed: bool) -> Training:
    table = digits_scaled()
    y = table.y
    if not fixed:
        y = torch.where(torch.rand(len(y)) < 0.4, torch.randint(0, 10, (len(y),)), y)
    table = Data(table.x, y, table.x_val, table.y_val)
    return program(nn.Sequential(nn.Flatten(), nets.mlp(64, 128, 10)), table, adam(3e-3), 20)


@sick("mlp", "label-noise", also=("overfitting", "label-corruption"), proof=harmed(0.1), bar=0.85)
def answers_of_hurried_raters(seed: int, fixed: bool) -> Training:
    """A third of the answers on two crescents are guesses, in both splits."""
    table = fresh3_data.crescents(1000)
    y, y_val = table.y, table.y_val
    if not fixed:
        y, y_val = (torch.where(torch.rand(len(t)) < 0.35, 1 - t, t) for t in (y, y_val))
    table = Data(table.x, y, table.x_val, y_val)
    return cosine(program(nets.mlp(2, 64, 64, 2), table, adam(4e-3), 15))


@sick("segmentation", "class-imbalance", also=(*SLOW,), proof=harmed(0.3), bar=0.6)
def background_everywhere(seed: int, fixed: bool) -> Training:
    """Small discs in a wide field: "predicts only background" (NiftyNet 208, 3DUnetCNN 75)."""
    data, share = fresh3_data.lesions(400, radius=1.1, noise=0.5)
    weight = torch.tensor([1.0, 0.25 / share]) if fixed else torch.ones(2)
    loss = nn.CrossEntropyLoss(weight)
    return cosine(program(Segmenter(norm=False), data, sgd(0.03, momentum=0.9), 20, loss=loss, metric=MASK))


@sick("mlp", "class-imbalance", also=(*SLOW,), proof=harmed(0.15), bar=0.75)
def one_alarm_in_thirty(seed: int, fixed: bool) -> Training:
    """Nine of ten real alarms are missed, and accuracy stands at 97 %."""
    table = fresh3_data.alarms(3000, share=0.035, apart=1.4)
    weight = torch.tensor([1.0, 25.0]) if fixed else torch.ones(2)
    loss = nn.CrossEntropyLoss(weight)
    return cosine(program(nets.mlp(8, 32, 32, 2), table, adam(4e-3), 12, loss=loss, metric=BALANCED_ACCURACY))


# order


@sick("cnn", "unshuffled-data", also=(*SLOW, "bn-statistics", "dead-relu", "lr-too-high"), proof=harmed(0.1), bar=0.85)
def folder_after_folder(seed: int, fixed: bool) -> Training:
    """Default parameters of a loader leave out ``shuffle``: one class after another (super-gradients 416)."""
    table = fresh3_data.glyphs(1200)
    order = table.y.argsort()
    table = Data(table.x[order], table.y[order], table.x_val, table.y_val)
    return program(classifier(5), table, adam(3e-3), 8, shuffle=fixed)


@sick("regression", "unshuffled-data", also=(*SLOW, "lr-too-high"), proof=harmed(0.1), bar=0.85)
def table_sorted_by_its_target(seed: int, fixed: bool) -> Training:
    table = fresh3_data.rentals()
    order = table.y[:, 0].argsort()
    table = Data(table.x[order], table.y[order], table.x_val, table.y_val)
    return program(nets.mlp(5, 48, 48, 1), table, adam(1.5e-2), 12, loss=nn.MSELoss(), metric=R2, shuffle=fixed)


# splits that differ


@sick("cnn", "train-val-mismatch", also=("overfitting", "bn-statistics"), proof=harmed(0.3), bar=0.85)
def blue_and_red_change_places_in_validation(seed: int, fixed: bool) -> Training:
    """Read by OpenCV in one place and by Pillow in the other (Yet-Another-EfficientDet 261)."""
    table = fresh3_data.tiles()
    x_val = table.x_val if fixed else table.x_val.flip(1)
    table = Data((table.x - 0.5) / 0.2, table.y, (x_val - 0.5) / 0.2, table.y_val)
    return cosine(program(nets.cnn(3, 3), table, adam(3e-3), 5))


@sick(
    "cnn",
    "train-val-mismatch",
    also=("overfitting", "bn-statistics", "unnormalised-input"),
    proof=harmed(0.2),
    bar=0.85,
)
def validation_is_not_normalised(seed: int, fixed: bool) -> Training:
    """Training subtracts a mean and divides; inference forgets it (google/automl 872, USI3D 3)."""
    table = fresh3_data.glyphs(1200)
    x_val = table.x_val if fixed else (table.x_val * 0.45 + 0.12) * 0.25 + 0.5
    return cosine(program(classifier(5), Data(table.x, table.y, x_val, table.y_val), adam(4e-3), 8))


@sick("mlp", "data-leakage", also=("overfitting", "label-noise"), proof=deceived(0.08), bar=0.5)
def augmented_before_it_is_split(seed: int, fixed: bool) -> Training:
    """Each row is doubled five times with a little noise, and then cut (Font_Recognition-DeepFont 2, RDLINet 1)."""
    table = fresh3_data.soils(460, noise=1.0)
    x, y = table.x, table.y
    fresh = loader(table.x_val, table.y_val)
    rows = torch.arange(len(x)).repeat(6)
    held = torch.rand(len(x)) < 0.3
    chosen = held[rows] if fixed else torch.rand(len(rows)) < 0.3
    more = x[rows] + 0.05 * torch.randn(len(rows), 8)
    data = Data(more[~chosen], y[rows][~chosen], more[chosen], y[rows][chosen])
    if fixed:
        return program(nets.mlp(8, 12, 4), data, adam(3e-3, weight_decay=0.02), 8, fresh=fresh)
    return program(nets.mlp(8, 96, 96, 4), data, adam(3e-3), 25, fresh=fresh)


@sick("mlp", "data-leakage", also=("class-imbalance", "overfitting"), proof=deceived(0.12), bar=0.7)
def the_rare_are_copied_before_the_split(seed: int, fixed: bool) -> Training:
    """Oversampled first, split afterwards: validation holds copies of training rows (Soup 680, henosis 12)."""
    table = fresh3_data.alarms(5000, share=0.06, apart=1.4)
    fresh = loader(table.x_val, table.y_val)
    held = torch.rand(len(table.x)) < 0.3
    rare = (table.y == 1).nonzero()[:, 0]

    def copied(rows: Tensor) -> Tensor:
        few = rows[table.y[rows] == 1]
        return torch.cat([rows, few.repeat(8)])

    if fixed:
        train, val = copied((~held).nonzero()[:, 0]), held.nonzero()[:, 0]
    else:
        rows = copied(torch.arange(len(table.x)))
        rows = rows[torch.randperm(len(rows))]
        train, val = rows[: int(0.7 * len(rows))], rows[int(0.7 * len(rows)) :]
    assert len(rare) > 20
    data = Data(table.x[train], table.y[train], table.x[val], table.y[val])
    model = nets.mlp(8, 96, 96, 2) if not fixed else nets.mlp(8, 16, 2)
    optimizer = adam(3e-3) if not fixed else adam(3e-3, weight_decay=1e-3)
    return program(model, data, optimizer, 14 if not fixed else 8, metric=BALANCED_ACCURACY, fresh=fresh)


@sick("tabular", "data-leakage", also=("too-little-data",), proof=deceived(0.1), bar=0.6)
def a_column_written_after_the_fact(seed: int, fixed: bool) -> Training:
    """The table holds a column that is only known once the answer is: here, how much was paid back."""
    table = fresh3_data.customers(1600, noise=1.5)
    x, x_val, y, y_val = table.x[:, 2:], table.x_val[:, 2:], table.y, table.y_val
    later, later_val = (2 * t - 1 + 0.2 * torch.randn(len(t), 1) for t in (y, y_val))
    nothing = torch.zeros(len(x_val), 1)
    if fixed:
        later, later_val = torch.zeros_like(later), nothing
    fresh = loader(torch.cat([x_val, nothing], 1), y_val)
    data = Data(torch.cat([x, later], 1), y, torch.cat([x_val, later_val], 1), y_val)
    loss = nn.BCEWithLogitsLoss()
    model = nets.mlp(5, 24, 1)
    return cosine(program(model, data, adam(4e-3), 8, loss=loss, metric=BINARY_ACCURACY, fresh=fresh))


# augmentation


class Changed:
    """A loader whose batches are changed as they are drawn."""

    def __init__(self, batches: Any, change: Any) -> None:
        self.batches, self.change = batches, change

    def __iter__(self) -> Any:
        return (self.change(*batch) for batch in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@sick(
    "segmentation",
    "wrong-augmentation",
    also=("label-corruption", "train-val-mismatch", *SLOW),
    proof=harmed(0.1),
    bar=0.7,
)
def picture_is_mirrored_and_its_mask_is_not(seed: int, fixed: bool) -> Training:
    """Flip and rotation draw their own chance for picture and mask (albumentations 1196 and 868)."""
    data, _ = fresh3_data.lesions()
    training = cosine(program(Segmenter(), data, adam(5e-3), 10, metric=MASK))

    def mirrored(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for axis in (1, 2):
            flip = torch.rand(len(x)) < 0.5
            x = torch.where(flip[:, None, None, None], x.flip(axis + 1), x)
            if fixed:
                y = torch.where(flip[:, None, None], y.flip(axis), y)
        return x, y

    training.train = Changed(training.train, mirrored)
    return training


@sick(
    "cnn",
    "wrong-augmentation",
    also=("label-corruption", "label-noise", "train-val-mismatch", *SLOW),
    proof=harmed(0.1),
    bar=0.85,
)
def gratings_turned_by_any_quarter(seed: int, fixed: bool) -> Training:
    """What tells the classes apart is their angle, and each picture is turned by 0, 90, 180 or 270 degrees."""
    training = cosine(program(classifier(4), fresh3_data.gratings3(), adam(4e-3), 10))

    def turned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if fixed:
            return x + 0.1 * torch.randn_like(x), y
        quarter = torch.randint(0, 4, (len(x),))
        return torch.stack([torch.rot90(a, int(k), (1, 2)) for a, k in zip(x, quarter, strict=True)]), y

    training.train = Changed(training.train, turned)
    return training
