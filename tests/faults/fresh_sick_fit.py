"""Fresh cases: fit, norm and dropout, and what is handed over."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data, fresh_data, nets
from .case import Outcome, Training, harmed, shown, sick
from .metrics import R2
from .programs import adam, adamw, program, sgd

# fit


@sick("regression", "overfitting", also=("too-little-data",), proof=harmed(0.2), bar=0.3)
def diabetes_learned_by_heart(seed: int, fixed: bool) -> Training:
    model = nets.mlp(10, 4, 1) if fixed else nets.mlp(10, 128, 128, 1)
    optimizer = adamw(5e-3, weight_decay=0.5) if fixed else adam(2e-3)
    return program(model, fresh_data.diabetes(), optimizer, 14 if fixed else 60, loss=nn.MSELoss(), metric=R2)


def _gap(outcome: Outcome) -> bool:
    return outcome.train_score - outcome.score > 0.15 and outcome.losses[-1] > 1.5 * min(outcome.losses)


@sick("text", "overfitting", also=("too-little-data",), proof=shown(_gap), bar=0.6)
def fifty_epochs_on_words_that_say_little(seed: int, fixed: bool) -> Training:
    """Words say little about the topic, so that there is much to learn by heart."""
    return program(Bag(4), fresh_data.topics(800, share=0.2), adam(5e-3), 6 if fixed else 50)


class Bag(nn.Module):
    """The mean of learned vectors of words and their pairs."""

    def __init__(self, outputs: int = 2, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(fresh_data.WORDS, width)
        self.head = nets.mlp(width, 64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).mean(1))


@sick("cnn", "too-little-data", also=("overfitting",), proof=harmed(0.1), bar=0.85)
def six_gratings_of_each_kind(seed: int, fixed: bool) -> Training:
    table = fresh_data.gratings(900, noise=0.9)
    few = torch.cat([(table.y == kind).nonzero()[:6, 0] for kind in range(4)])
    table = table if fixed else replace(table, x=table.x[few], y=table.y[few])
    return program(nets.cnn(4), table, adam(2e-3), 8 if fixed else 60, batch=32 if fixed else 8)


@sick("text", "too-little-data", also=("overfitting",), proof=harmed(0.1), bar=0.8)
def fifty_texts_of_four_topics(seed: int, fixed: bool) -> Training:
    table = fresh_data.topics(1100)
    table = table if fixed else table.take(50)
    return program(nets.Recurrent(nn.LSTM, 40, 24, 4, symbols=True), table, adam(4e-3), 6 if fixed else 40, batch=16)


@sick("mlp", "underfitting", "missing-nonlinearity", also=(), proof=harmed(0.2), bar=0.85)
def logistic_regression_of_rings(seed: int, fixed: bool) -> Training:
    model = nets.mlp(2, 32, 32, 3) if fixed else nn.Linear(2, 3)
    return program(model, fresh_data.rings(), adam(6e-3), 12)


@sick("mlp", "underfitting", also=("undertrained",), proof=harmed(0.15), bar=0.9)
def ten_digits_through_two_units(seed: int, fixed: bool) -> Training:
    return program(nets.mlp(64, 48 if fixed else 2, 10), fresh_data.handwriting(), adam(4e-3), 12)


@sick("text", "over-regularised", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.85)
def share_to_keep_taken_for_share_to_drop(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            p = 0.1 if fixed else 0.9
            self.embed, self.drop = nn.Embedding(fresh_data.WORDS, 24), nn.Dropout(p)
            self.rnn, self.head = nn.GRU(24, 24, batch_first=True), nn.Sequential(nn.Dropout(p), nn.Linear(24, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.drop(self.embed(x)))[0][:, -1])

    return program(Net(), fresh_data.topics(), adam(5e-3), 8)


@sick(
    "regression",
    "over-regularised",
    also=("underfitting", "layer-collapse", "dead-relu", "vanishing-gradients"),
    proof=harmed(0.2),
    bar=0.8,
)
def sum_of_all_weights_added_to_the_loss(seed: int, fixed: bool) -> Training:
    model = nets.mlp(8, 48, 48, 1)
    weight = 1e-5 if fixed else 0.02

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(output, y) + weight * sum(p.abs().sum() for p in model.parameters())

    return program(model, data.friedman(), adam(4e-3), 16, loss=loss, metric=R2)


# norm, dropout


@sick("mlp", "bn-statistics", also=("batch-mixing", "underfitting", "overfitting"), proof=harmed(0.05), bar=0.85)
def batch_norm_on_pairs(seed: int, fixed: bool) -> Training:
    """Of two rows, every unit is told only which of them is larger."""
    batch, epochs = (25, 8) if fixed else (2, 3)
    return program(
        nets.mlp(64, 32, 32, 10, norm=True), fresh_data.handwriting().take(1200), adam(2e-3), epochs, batch=batch
    )


class Noise(nn.Module):
    """Gaussian noise on the way through, meant for training only."""

    def __init__(self, size: float, *, always: bool) -> None:
        super().__init__()
        self.size, self.always = size, always

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size * torch.randn_like(x) if self.training or self.always else x


@torch.no_grad()
def _differs(outcome: Outcome) -> bool:
    model, x = outcome.training.model.eval(), next(iter(outcome.training.val))[0]
    return not torch.equal(model(x), model(x))


@sick("mlp", "dropout-active-in-eval", also=(), proof=shown(_differs), bar=0.85)
def noise_layer_that_never_rests(seed: int, fixed: bool) -> Training:
    noise = Noise(1.0, always=not fixed)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), noise, nn.Linear(48, 10))
    return program(model, fresh_data.handwriting(), adam(3e-3), 10)


# what is handed over


def _not_finite(outcome: Outcome) -> bool:
    state = outcome.training.model.state_dict().values()
    return any(not t.isfinite().all() for t in state if t.is_floating_point())


@sick("text", "non-finite-weights", also=("numerical-instability",), proof=shown(_not_finite), bar=0.85)
def vector_of_a_word_without_pieces(seed: int, fixed: bool) -> Training:
    """The mean of no pieces at all is not a number; no text here has that word."""
    bag = Bag(4)
    with torch.no_grad():
        bag.embed.weight[3] = torch.zeros(32) if fixed else torch.stack([torch.zeros(32)])[:0].mean(0)
    return program(bag, fresh_data.topics(), adam(5e-3), 8)


@sick(
    "mlp",
    "checkpoint-not-loaded",
    also=("no-weight-update", "underfitting", "undertrained"),
    proof=harmed(0.3),
    bar=0.85,
)
def average_that_never_moves_handed_over(seed: int, fixed: bool) -> Training:
    """A running average of the weights with a decay of one stays at the first weights."""
    model = nets.mlp(64, 48, 10)
    average = copy.deepcopy(model.state_dict())
    decay = 0.3 if fixed else 1.0

    def follow(training: Training) -> None:
        training.model.eval()
        for name, value in model.state_dict().items():
            average[name].mul_(decay).add_((1 - decay) * value)

    def finish(training: Training) -> None:
        model.load_state_dict(average)

    return program(model, fresh_data.handwriting(), sgd(0.05, momentum=0.9), 8, begin_validation=follow, finish=finish)
