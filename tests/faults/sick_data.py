"""Faults of the labels, the splits, the order and the augmentation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from . import data, nets
from .case import Outcome, Training, deceived, harmed, shown, sick
from .metrics import BALANCED_ACCURACY, DICE, R2
from .programs import adam, adamw, clusters_mlp, program, sgd, shapes_cnn, tagging_rnn, waves_recurrent

_CHANCE = ("overfitting", "underfitting", "undertrained", "label-noise", "too-little-data")

# labels


@sick("mlp", "label-corruption", also=_CHANCE, proof=harmed(0.4), bar=0.85)
def rows_shuffled_without_their_labels(seed: int, fixed: bool) -> Training:
    table = data.clusters()
    order = torch.randperm(len(table.x))
    if not fixed:
        table = data.Data(table.x[order], table.y, table.x_val, table.y_val)
    return clusters_mlp(data=table)


@sick("cnn", "label-corruption", also=(*_CHANCE, "train-val-mismatch"), proof=harmed(0.4), bar=0.9)
def labels_one_row_off(seed: int, fixed: bool) -> Training:
    """A header line was counted, in both files."""
    drawings = data.shapes()
    if not fixed:
        drawings = data.Data(drawings.x, drawings.y.roll(1), drawings.x_val, drawings.y_val.roll(1))
    return shapes_cnn(data=drawings)


@sick("cnn", "label-corruption", "train-val-mismatch", also=("overfitting", "data-leakage"), proof=harmed(0.4), bar=0.9)
def classes_numbered_differently_in_validation(seed: int, fixed: bool) -> Training:
    """Folders were listed in another order."""
    drawings = data.shapes()
    if not fixed:
        other = torch.tensor([3, 0, 5, 1, 2, 4])
        drawings = data.Data(drawings.x, drawings.y, drawings.x_val, other[drawings.y_val])
    return shapes_cnn(data=drawings)


@sick("gru", "label-corruption", also=_CHANCE, proof=harmed(0.2), bar=0.9)
def tags_of_another_sentence(seed: int, fixed: bool) -> Training:
    training = tagging_rnn()
    sentences = training.train.dataset.tensors
    if not fixed:
        wrong = TensorDataset(sentences[0], sentences[1].roll(7, 0))
        training.train = DataLoader(wrong, batch_size=32, shuffle=True)
    return training


@sick("regression", "label-corruption", also=(*_CHANCE, "train-val-mismatch"), proof=harmed(0.4), bar=0.8)
def targets_sorted_on_their_own(seed: int, fixed: bool) -> Training:
    table = data.friedman()
    if not fixed:
        table = data.Data(table.x, table.y.sort(0).values, table.x_val, table.y_val)
    return program(nets.mlp(8, 48, 1), table, adam(5e-3), 12, loss=nn.MSELoss(), metric=R2)


def _flipped(y: Tensor, share: float, classes: int) -> Tensor:
    wrong = (y + torch.randint(1, classes, y.shape)) % classes
    return torch.where(torch.rand(y.shape) < share, wrong, y)


@sick("mlp", "label-noise", also=("overfitting", "underfitting", "label-corruption"), proof=harmed(0.2), bar=0.85)
def two_in_five_labels_wrong(seed: int, fixed: bool) -> Training:
    """In both splits: the annotators guessed."""
    table = data.clusters(1200)
    if not fixed:
        table = data.Data(table.x, _flipped(table.y, 0.4, 5), table.x_val, _flipped(table.y_val, 0.4, 5))
    return program(nets.mlp(12, 64, 64, 5), table, adam(3e-3), 12)


@sick("cnn", "label-noise", also=("overfitting", "underfitting", "label-corruption"), proof=harmed(0.15), bar=0.9)
def drawings_labelled_carelessly(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(1200)
    if not fixed:
        drawings = data.Data(drawings.x, _flipped(drawings.y, 0.3, 6), drawings.x_val, _flipped(drawings.y_val, 0.3, 6))
    return shapes_cnn(8, data=drawings)


@sick(
    "mlp", "label-noise", also=("overfitting", "train-val-mismatch", "label-corruption"), proof=harmed(0.02), bar=0.85
)
def noise_in_the_training_labels_only(seed: int, fixed: bool) -> Training:
    """Training labels are by the crowd, validation labels by an expert; a wide net learns the mistakes by heart."""
    table = data.clusters(1000)
    if not fixed:
        table = data.Data(table.x, _flipped(table.y, 0.35, 5), table.x_val, table.y_val)
    return program(nets.mlp(12, 128, 128, 5), table, adam(3e-3), 14)


@sick("mlp", "class-imbalance", also=("underfitting", "undertrained"), proof=harmed(0.2), bar=0.75)
def rare_class_never_predicted(seed: int, fixed: bool) -> Training:
    table = data.rare(2400, share=0.06, shift=1.3)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 14.0]) if fixed else None)
    return program(nets.mlp(10, 12, 2), table, adam(2e-3), 6, loss=loss, metric=BALANCED_ACCURACY)


@sick("cnn", "class-imbalance", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.85)
def few_drawings_of_two_kinds(seed: int, fixed: bool) -> Training:
    """Crosses and frames are one in thirty of the others."""
    drawings = data.shapes(2400, noise=0.4)
    seldom = (drawings.y == 4) | (drawings.y == 2)
    keep = ~seldom | (torch.rand(len(seldom)) < (1.0 if fixed else 0.025))
    seldom_val = (drawings.y_val == 4) | (drawings.y_val == 2)
    keep_val = ~seldom_val | (torch.rand(len(seldom_val)) < (1.0 if fixed else 0.15))
    drawings = data.Data(drawings.x[keep], drawings.y[keep], drawings.x_val[keep_val], drawings.y_val[keep_val])
    return program(nets.cnn(norm=False), drawings, adam(2e-3), 6, metric=BALANCED_ACCURACY)


# order


def _by_class(table: data.Data) -> data.Data:
    order = table.y.argsort(stable=True)
    return data.Data(table.x[order], table.y[order], table.x_val, table.y_val)


_FORGETS = (
    "dead-relu",
    "lr-too-high",
    "underfitting",
    "undertrained",
    "label-corruption",
    "train-val-mismatch",
    "class-imbalance",
)


@sick("mlp", "unshuffled-data", also=_FORGETS, proof=harmed(0.05), bar=0.85)
def rows_sorted_by_class(seed: int, fixed: bool) -> Training:
    table = _by_class(data.clusters(spread=1.1))
    return program(nets.mlp(12, 32, 32, 5), table, sgd(0.05), 6, batch=4, shuffle=fixed)


@sick("cnn", "unshuffled-data", also=(*_FORGETS, "bn-statistics"), proof=harmed(0.05), bar=0.9)
def pictures_folder_by_folder(seed: int, fixed: bool) -> Training:
    return program(nets.cnn(), _by_class(data.shapes()), adam(3e-3), 8, shuffle=fixed)


@sick("regression", "unshuffled-data", also=_FORGETS, proof=harmed(0.05), bar=0.9)
def curve_read_from_left_to_right(seed: int, fixed: bool) -> Training:
    table = data.curve(1000)
    order = table.x[:, 0].argsort()
    table = data.Data(table.x[order], table.y[order], table.x_val, table.y_val)
    return program(
        nets.mlp(1, 32, 32, 1), table, sgd(0.03, momentum=0.8), 35, loss=nn.MSELoss(), metric=R2, shuffle=fixed
    )


# splits


@sick("mlp", "train-val-mismatch", also=("unnormalised-input", "overfitting"), proof=harmed(0.1), bar=0.9)
def validation_left_unscaled(seed: int, fixed: bool) -> Training:
    raw = data.cancer()
    scaled = data.standardised(raw)
    if not fixed:
        scaled = data.Data(scaled.x, scaled.y, raw.x_val, raw.y_val)
    return program(nets.mlp(30, 16, 2), scaled, adamw(3e-3), 10)


@sick("cnn", "train-val-mismatch", also=("overfitting",), proof=harmed(0.2), bar=0.9)
def channels_in_another_order(seed: int, fixed: bool) -> Training:
    """One reader gives red, green, blue; the other blue, green, red."""
    patches = data.tinted()
    if not fixed:
        patches = data.Data(patches.x, patches.y, patches.x_val.flip(1), patches.y_val)
    return program(nets.cnn(3, channels=3, norm=False), patches, adam(3e-3), 6)


@sick("lstm", "train-val-mismatch", also=("overfitting",), proof=harmed(0.1), bar=0.85)
def another_sampling_rate_in_validation(seed: int, fixed: bool) -> Training:
    """Validation waves were recorded at half the rate and read as if at the full one."""
    training = waves_recurrent()
    x, y = training.val.dataset.tensors
    if not fixed:
        x = x.repeat_interleave(2, 1)[:, : x.shape[1]] * 1.6 + 0.5
    training.val = data.loader(x, y)
    return training


@sick("cnn", "train-val-mismatch", also=("overfitting", "bn-statistics"), proof=harmed(0.1), bar=0.9)
def validation_pictures_from_a_darker_camera(seed: int, fixed: bool) -> Training:
    drawings = data.shapes()
    if not fixed:
        darker = drawings.x_val * 0.25 - 1.5 + 0.3 * torch.randn_like(drawings.x_val)
        drawings = data.Data(drawings.x, drawings.y, darker, drawings.y_val)
    return shapes_cnn(data=drawings)


# leakage


def _overlap(outcome: Outcome) -> bool:
    """Tell whether some validation row lies (almost) on a training row."""
    train = outcome.training.train.dataset.tensors[0].flatten(1)
    val = outcome.training.val.dataset.tensors[0].flatten(1)
    return bool(torch.cdist(val, train).min(1).values.lt(0.5).float().mean() > 0.2)


@sick("cnn", "data-leakage", also=("overfitting",), proof=shown(_overlap), bar=0.85)
def validation_pictures_in_training(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(1000)
    n = len(drawings.x_val) // 2
    extra, labels = (drawings.x[:n], drawings.y[:n]) if fixed else (drawings.x_val[:n], drawings.y_val[:n])
    rest = slice(n, None)
    drawings = data.Data(
        torch.cat([drawings.x[rest], extra]), torch.cat([drawings.y[rest], labels]), drawings.x_val, drawings.y_val
    )
    return shapes_cnn(data=drawings)


@sick("mlp", "data-leakage", also=("overfitting", "train-val-mismatch"), proof=deceived(0.1), bar=0.75)
def a_column_that_is_made_of_the_label(seed: int, fixed: bool) -> Training:
    """A column that is filled in after the fact; in use it is empty."""
    table = data.clusters(1500, spread=1.6)
    fresh = table.x_val.clone()

    def with_column(x: Tensor, y: Tensor) -> Tensor:
        known = (y.float()[:, None] - 2) / 1.4 + 0.01 * torch.randn(len(x), 1)
        return torch.cat([x, torch.randn(len(x), 1) if fixed else known], 1)

    empty = torch.cat([fresh, torch.randn(len(fresh), 1) if fixed else torch.zeros(len(fresh), 1)], 1)
    leaky = data.Data(with_column(table.x, table.y), table.y, with_column(table.x_val, table.y_val), table.y_val)
    training = program(nets.mlp(13, 24, 5), leaky, adamw(2e-3), 12)
    training.fresh = data.loader(empty, table.y_val)
    return training


@sick("mlp", "data-leakage", also=("overfitting",), proof=shown(_overlap), bar=0.8)
def augmented_before_the_split(seed: int, fixed: bool) -> Training:
    """Every sample has three slightly changed copies, and the split goes through the middle of them."""
    table = data.clusters(500)
    x, y = torch.cat([table.x, table.x_val]), torch.cat([table.y, table.y_val])
    own = torch.arange(len(x)).repeat(4)
    copies = x[own] + 0.02 * torch.randn(len(own), 12)
    cut = own < 350 if fixed else torch.rand(len(own)) < 0.7
    table = data.Data(copies[cut], y[own[cut]], copies[~cut], y[own[~cut]])
    return program(nets.mlp(12, 24, 5), table, adamw(2e-3), 9)


# augmentation


class Augmented(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples changed anew each time they are read."""

    def __init__(self, x: Tensor, y: Tensor, change: Any) -> None:
        self.x, self.y, self.change = x, y, change

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.change(self.x[i]), self.y[i]


_PULLED = ("underfitting", "undertrained", "label-noise", "label-corruption", "train-val-mismatch", "over-regularised")


@sick("cnn", "wrong-augmentation", also=_PULLED, proof=harmed(0.2), bar=0.85)
def arrows_mirrored_at_random(seed: int, fixed: bool) -> Training:
    """A mirrored arrow points the other way, but keeps its label; rolling up and down is harmless."""

    def change(x: Tensor) -> Tensor:
        if fixed:
            return x.roll(int(torch.randint(-2, 3, ())), 1)
        return x.flip(2) if torch.rand(()) < 0.5 else x

    pictures = data.arrows()
    training = program(nets.cnn(2), pictures, adam(3e-3), 8)
    training.train = DataLoader(Augmented(pictures.x, pictures.y, change), batch_size=32, shuffle=True)
    return training


@sick("cnn", "wrong-augmentation", also=_PULLED, proof=harmed(0.1), bar=0.85)
def rows_turned_into_columns(seed: int, fixed: bool) -> Training:
    """Turning by 90 degrees makes a row a column."""

    def change(x: Tensor) -> Tensor:
        return x if torch.rand(()) < 0.5 else x.rot90(2 if fixed else 1, (1, 2))

    drawings = data.shapes(1000, classes=2)
    training = program(nets.cnn(2), drawings, adam(3e-3), 8)
    training.train = DataLoader(Augmented(drawings.x, drawings.y, change), batch_size=32, shuffle=True)
    return training


@sick("cnn", "wrong-augmentation", also=(*_PULLED, "bn-statistics"), proof=harmed(0.1), bar=0.85)
def noise_that_drowns_the_picture(seed: int, fixed: bool) -> Training:
    def change(x: Tensor) -> Tensor:
        return x + (0.2 if fixed else 6.0) * torch.randn_like(x)

    drawings = data.shapes(1000)
    training = program(nets.cnn(), drawings, adam(3e-3), 7)
    training.train = DataLoader(Augmented(drawings.x, drawings.y, change), batch_size=32, shuffle=True)
    return training


@sick("mlp", "wrong-augmentation", "label-corruption", also=_PULLED, proof=harmed(0.05), bar=0.85)
def inputs_mixed_but_labels_kept(seed: int, fixed: bool) -> Training:
    """Mixup of the inputs only: the label stays that of the sample that is the weaker part."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch
        share = float(torch.empty(()).uniform_(0.02, 0.35))
        other = torch.randperm(len(x))
        output = training.model(share * x + (1 - share) * x[other])
        loss = training.loss(output, y) * (share if fixed else 1.0)
        if fixed:
            loss = loss + (1 - share) * training.loss(output, y[other])
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(12, 48, 48, 5), data.clusters(), adam(3e-3), 14, step=step)


@sick("recurrent", "label-corruption", also=_CHANCE, proof=harmed(0.4), bar=0.8)
def targets_rolled_along_the_samples(seed: int, fixed: bool) -> Training:
    """``roll(-1, 0)`` where ``roll(-1, 1)`` was meant: the target is the series of the next row."""
    series = data.walks()
    if not fixed:
        series = data.Data(series.x, series.x.roll(-1, 0), series.x_val, series.x_val.roll(-1, 0))
    model = nets.Recurrent(nn.GRU, 1, 24, 1)
    model.every_step = True
    return program(model, series, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


class _Shifted(TensorDataset):
    """Pictures moved at each reading, with their masks or without."""

    def __init__(self, x: Tensor, y: Tensor, together: bool) -> None:
        super().__init__(x, y)
        self._together = together

    def __getitem__(self, place: Any) -> tuple[Tensor, ...]:
        x, y = super().__getitem__(place)
        by = torch.randint(-4, 5, (2,)).tolist()
        return x.roll(by, (1, 2)), y.roll(by, (1, 2)) if self._together else y


@sick("segmentation", "wrong-augmentation", "label-corruption", also=_CHANCE, proof=harmed(0.1), bar=0.7)
def masks_beside_shifted_pictures(seed: int, fixed: bool) -> Training:
    """The picture is shifted by up to four pixels, and the mask stays."""
    drawn = data.discs()
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 1, 1)
    )
    training = program(model, drawn, adam(5e-3), 10, loss=nn.BCEWithLogitsLoss(), metric=DICE)
    training.train = DataLoader(_Shifted(drawn.x, drawn.y, fixed), 32, shuffle=True)
    return training
