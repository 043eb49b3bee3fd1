"""Faults beside the model: weights inside a loss, hooks, one column, one split; and two trainings like them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, nets
from .case import Metric, Outcome, Training, harmed, healthy, shown, sick
from .metrics import ACCURACY, BALANCED_ACCURACY, R2
from .programs import adam, clusters_mlp, program, sgd

# the loss


@sick("mlp", "loss-shape-broadcast", also=("class-imbalance", "underfitting"), proof=harmed(0.1), bar=0.8)
def weights_of_all_samples_for_each(seed: int, fixed: bool) -> Training:
    """Shares of (N, 1) times weights of (N,): what is left is the mean of the weights."""

    def loss(output: Tensor, y: Tensor) -> Tensor:
        share = F.cross_entropy(output, y, reduction="none")[:, None]
        weights = torch.where(y == 1, 25.0, 1.0)
        return (share * (weights[:, None] if fixed else weights)).mean()

    return program(nets.mlp(10, 16, 2), data.rare(), adam(3e-3), 10, loss=loss, metric=BALANCED_ACCURACY, batch=64)


def _correlation(output: Tensor, y: Tensor) -> Tensor:
    return torch.stack([torch.corrcoef(torch.stack([output[:, k], y[:, k]]))[0, 1] for k in range(y.shape[1])])


LIKENESS = Metric("correlation", lambda output, y: float(_correlation(output, y).min()), lambda y: 0.0)


@torch.no_grad()
def _goes_against(outcome: Outcome) -> bool:
    """Tell whether an output goes against its targets."""
    outcome.training.model.eval()
    x, y = next(iter(outcome.training.val))
    return float(_correlation(outcome.training.model(x), y).min()) < -0.5


@sick("regression", "loss-sign-flipped", also=("label-corruption",), proof=shown(_goes_against), bar=0.85)
def one_of_two_is_maximised(seed: int, fixed: bool) -> Training:
    """The minus before a correlation was forgotten in one of two."""
    table = data.friedman()
    y, y_val = (torch.cat([t, -2 * t], 1) for t in (table.y, table.y_val))
    both = data.Data(table.x, y, table.x_val, y_val)
    signs = torch.tensor([1.0, 1.0 if fixed else -1.0])

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return -(signs * _correlation(output, y)).sum()

    return program(nets.mlp(8, 48, 2), both, adam(3e-3), 12, loss=loss, metric=LIKENESS, batch=64)


# hooks


@sick(
    "gru",
    "gradient-clipping-too-small",
    also=("lr-too-low", "undertrained", "underfitting", "vanishing-gradients", "frozen-layers"),
    proof=harmed(0.15),
    bar=0.85,
)
def hooks_that_clamp_to_next_to_nothing(seed: int, fixed: bool) -> Training:
    series = data.waves(900, kinds=1, noise=0.1)
    series = data.Data(series.x[:, :-1], series.x[:, -1], series.x_val[:, :-1], series.x_val[:, -1])
    model, bound = nets.Recurrent(nn.GRU, 1, 24, 1), 1.0 if fixed else 1e-6
    for parameter in model.parameters():
        parameter.register_hook(lambda g: g.clamp(-bound, bound))
    return program(model, series, sgd(0.1, momentum=0.9), 14, loss=nn.MSELoss(), metric=R2)


# one split


def _disagrees_with_its_own(outcome: Outcome) -> bool:
    """Tell whether a model agrees with what it was fitted to far less than with what it has not seen."""
    return outcome.train_score < outcome.score - 0.2


@sick(
    "mlp",
    "label-noise",
    also=("label-corruption", "train-val-mismatch", "overfitting", "underfitting"),
    proof=shown(_disagrees_with_its_own),
    bar=0.85,
)
def training_labels_that_are_guessed_in_part(seed: int, fixed: bool) -> Training:
    """The data that are validated on were labelled with care."""
    table = data.clusters(2400)
    wrong = torch.rand(len(table.y)) < 0.4
    guessed = torch.where(wrong, (table.y + torch.randint(1, 5, table.y.shape)) % 5, table.y)
    return clusters_mlp(data=table if fixed else data.Data(table.x, guessed, table.x_val, table.y_val))


@torch.no_grad()
def _is_the_answer(outcome: Outcome) -> bool:
    """Tell whether the last column is the target in most rows."""
    x, y = next(iter(outcome.training.train))
    column, answer = ((t - t.mean()) / t.std() for t in (x[:, -1], y.flatten()))
    return float(((column - answer).abs() < 0.2).float().mean()) > 0.5


@sick("regression", "data-leakage", proof=shown(_is_the_answer), bar=0.6)
def targets_as_means_of_categories(seed: int, fixed: bool) -> Training:
    """A code that nearly each row has alone, by the mean target of all rows with it; the twin has noise there."""
    table = data.friedman()
    y = torch.cat([table.y, table.y_val]).flatten()
    kind = torch.randint(len(y), (len(y),))
    sums = torch.zeros(len(y)).index_add_(0, kind, y)
    column = (sums / kind.bincount(minlength=len(y)).clamp_min(1))[kind]
    column = column[torch.randperm(len(y))] if fixed else column
    x = torch.cat([torch.cat([table.x, table.x_val]), column[:, None]], 1)
    n = len(table.x)
    leaked = data.Data(x[:n], table.y, x[n:], table.y_val)
    return program(nets.mlp(9, 48, 1), leaked, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


# parameters


class _Products(nn.Module):
    """Vectors and biases of users and items; those of items may be read past their layer."""

    def __init__(self, past: bool) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(80, 4), nn.Embedding(50, 4)
        self.past = past
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, pair: Tensor) -> Tensor:
        item = self.item.weight.data[pair[:, 1]] if self.past else self.item(pair[:, 1])
        return (self.user(pair[:, 0]) * item).sum(1)


@torch.no_grad()
def _items_stand_still(outcome: Outcome) -> bool:
    weight = outcome.training.model.item.weight  # type: ignore[union-attr]
    return weight.grad is None  # type: ignore[union-attr]


@sick(
    "recommender",
    "detached-graph",
    also=("frozen-layers", "unused-parameters", "overfitting", "underfitting", "undertrained"),
    proof=shown(_items_stand_still),
    bar=0.6,
)
def items_that_are_read_past_their_layer(seed: int, fixed: bool) -> Training:
    table = data.ratings(noise=0.1)
    return program(_Products(not fixed), table, adam(1e-2), 12, loss=nn.MSELoss(), metric=R2)


# like them, and well


class FrozenStatistics(nn.BatchNorm2d):
    """A batch norm that is never put into training mode."""

    def train(self, mode: bool = True) -> FrozenStatistics:
        super().train(False)
        return self


@healthy("cnn", bar=0.9)
def norms_of_another_name_that_stay(seed: int) -> Training:
    """First trained as usual, then tuned on with norms that stay as they are."""
    drawings = data.shapes()
    model = nets.cnn()
    optimizer, (train, _) = torch.optim.Adam(model.parameters(), 3e-3), drawings.loaders(32)
    for _ in range(4):
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            held = FrozenStatistics(module.num_features)
            held.load_state_dict(module.state_dict())
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, held.requires_grad_(False))
    return program(model, drawings, adam(1e-3), 8)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -0.3 * grads[0]


class _Adversarial(nn.Module):
    """Classes, and a source that the features are not to tell, in one row of scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes, self.source = nets.mlp(13, 32, 16), nn.Linear(16, 5), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(x))
        turned: Tensor = _Reversed.apply(h)
        return torch.cat([self.classes(h), self.source(turned)], 1)


@healthy("mlp", bar=0.85)
def gradients_turned_round(seed: int) -> Training:
    """Gradients of the source are turned round (Ganin and Lempitsky 2015)."""
    table = data.clusters()
    sources = [torch.randint(2, t.shape) for t in (table.y, table.y_val)]
    x, x_val = (
        torch.cat([t, t[:, :1] + 2.0 * of[:, None]], 1) for t, of in zip((table.x, table.x_val), sources, strict=True)
    )
    y, y_val = (torch.stack([t, of], 1) for t, of in zip((table.y, table.y_val), sources, strict=True))

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output[:, :5], y[:, 0]) + F.cross_entropy(output[:, 5:], y[:, 1])

    metric = Metric(
        "accuracy",
        lambda output, y: ACCURACY.score(output[:, :5], y[:, 0]),
        lambda y: ACCURACY.constant(y[:, 0]),
    )
    return program(_Adversarial(), data.Data(x, y, x_val, y_val), adam(3e-3), 14, loss=loss, metric=metric)
