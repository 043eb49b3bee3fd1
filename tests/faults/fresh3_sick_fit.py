"""Third fresh cases: norm, dropout and fit. What was reported where stands in brackets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Training, harmed, shown, sick
from .data import Data
from .fresh2_programs import differs
from .fresh3_programs import SLOW, Camps, Sentence, classifier, cosine
from .fresh3_sick_steps import digits_scaled
from .metrics import BINARY_ACCURACY, R2
from .programs import adam, adamw, program, token_loss

# norm and dropout


@sick("resnet", "bn-statistics", also=("batch-mixing", "lr-too-high"), proof=harmed(0.08), bar=0.85)
def statistics_of_the_last_batch_alone(seed: int, fixed: bool) -> Training:
    """``momentum=1.0``: running statistics are those of whatever batch came last (pytorch-maml 5, pytorch 19916)."""
    table = fresh3_data.gratings3(1000, noise=0.8)
    model = nets.resnet(4)
    if not fixed:
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = 1.0
    # the last batch holds what is left over
    n = 32 * (len(table.x) // 32) + 3
    table = Data(table.x[: n - 32], table.y[: n - 32], table.x_val, table.y_val)
    return program(model, table, adam(3e-3), 8)


@sick("mlp", "bn-statistics", also=("underfitting",), proof=harmed(0.1), bar=0.68)
def statistics_that_keep_to_the_first_batch(seed: int, fixed: bool) -> Training:
    """A momentum of 0.0005, as Keras' 0.9995 is the other way round: running statistics are still the first ones."""
    model = nets.mlp(8, 64, 64, 4, norm=True)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d) and not fixed:
            m.momentum = 5e-4
    table = fresh3_data.soils(2400)
    table = Data(3 * table.x + 4, table.y, 3 * table.x_val + 4, table.y_val)
    return cosine(program(model, table, adam(4e-3), 12))


class Dropped(nn.Module):
    """A text net that drops some of what it knows, by a function or by a layer made on the spot."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(20, 32), nn.GRU(32, 32, batch_first=True), nn.Linear(32, 2)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(self.embed(x))[0][:, -1]
        return self.head(F.dropout(h, 0.7) if self.always else F.dropout(h, 0.7, self.training))


@sick("text", "dropout-active-in-eval", also=("underfitting",), proof=shown(differs), bar=0.85)
def dropout_as_a_function_without_training(seed: int, fixed: bool) -> Training:
    """``F.dropout(x, 0.5)`` drops in eval mode too (PyTorchNLPBook 28, pytorch-fm 21, DME 3)."""
    return cosine(program(Dropped(not fixed), fresh3_data.denials(2000), adam(5e-3), 14))


class Drawn(nn.Module):
    """Convolutions, and a dropout layer that is made in the forward pass."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.body, self.head = classifier(5)[:-1], nn.Linear(48, 5)
        self.drop, self.always = nn.Dropout(0.4), always

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.head(nn.Dropout(0.4)(h) if self.always else self.drop(h))


@sick("cnn", "dropout-active-in-eval", also=("underfitting",), proof=shown(differs), bar=0.85)
def new_dropout_at_every_call(seed: int, fixed: bool) -> Training:
    """``x = nn.Dropout(p=0.5)(x)`` in ``forward``: a new layer is in training mode (NTS-Net 14)."""
    return cosine(program(Drawn(not fixed), fresh3_data.glyphs(1000), adam(5e-3), 8))


# fit


@sick("mlp", "overfitting", "too-little-data", also=("label-noise",), proof=harmed(0.03), bar=0.35)
def wide_net_on_patients(seed: int, fixed: bool) -> Training:
    """Two layers of 256 on 309 patients, half of whose course no column tells, for 60 epochs."""
    table = fresh3_data.patients()
    if fixed:
        return cosine(
            program(
                nets.mlp(10, 8, 1, act=nn.Tanh), table, adamw(5e-3, weight_decay=0.3), 14, loss=nn.MSELoss(), metric=R2
            )
        )
    return program(nets.mlp(10, 256, 256, 1), table, adam(2e-3), 60, loss=nn.MSELoss(), metric=R2)


@sick("graph", "overfitting", "too-little-data", also=("label-noise",), proof=harmed(0.03), bar=0.78)
def deep_graph_net_on_sixty_graphs(seed: int, fixed: bool) -> Training:
    """ "GNNs tend to overfit quite heavily, especially in small datasets" (pytorch_geometric 2008)."""
    table = fresh3_data.networks(1200)
    if fixed:
        return cosine(program(Camps(width=16), table, adamw(8e-3), 8, loss=token_loss))
    few = Data(table.x[:60], table.y[:60], table.x_val, table.y_val)
    return program(Camps(width=96, depth=3), few, adam(4e-3), 60, loss=token_loss)


@sick("language-model", "underfitting", also=("undertrained",), proof=harmed(0.2), bar=0.7)
def a_width_of_four_for_a_language(seed: int, fixed: bool) -> Training:
    width = 32 if fixed else 4
    model = nets.Transformer(7, 7, 16, causal=True, depth=1, width=width)
    return cosine(program(model, fresh3_data.second_order(1400), adamw(6e-3), 14, loss=token_loss))


@sick("cnn", "underfitting", also=("undertrained", "missing-nonlinearity"), proof=harmed(0.15), bar=0.85)
def one_map_for_five_letters(seed: int, fixed: bool) -> Training:
    width = 16 if fixed else 1
    model = nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3, padding=1)),
        *(nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(width, 5)),
    )
    return cosine(program(model, fresh3_data.glyphs(1200), adam(1e-2), 14))


@sick("transformer", "over-regularised", also=SLOW, proof=harmed(0.1), bar=0.85)
def nine_tenths_of_words_dropped(seed: int, fixed: bool) -> Training:
    """Dropout of 0.9 on embeddings and in the encoder."""
    model = Sentence(20, 2, 8)
    if not fixed:
        model.embed = nn.Sequential(model.embed, nn.Dropout(0.9))
    return cosine(program(model, fresh3_data.denials(2400), adam(3e-3), 14))


@sick("multi-task", "over-regularised", also=(*SLOW, "layer-collapse"), proof=harmed(0.1), bar=0.85)
def decay_of_a_tenth_inside_adam(seed: int, fixed: bool) -> Training:
    """``weight_decay=0.1`` meant for AdamW, given to Adam, which adds it to the gradient."""
    table = digits_scaled()
    model = nn.Sequential(nn.Flatten(), nets.mlp(64, 64, 64, 10))
    return cosine(program(model, table, adam(3e-3, weight_decay=1e-4 if fixed else 0.3), 12))


@sick("cnn", "too-little-data", "overfitting", also=("class-imbalance",), proof=harmed(0.15), bar=0.85)
def a_handful_of_each_letter(seed: int, fixed: bool) -> Training:
    """ "How many images per class were in your training dataset?" (jetson-inference 671)."""
    table = fresh3_data.glyphs(1400)
    if not fixed:
        rows = torch.cat([(table.y == k).nonzero()[:5, 0] for k in range(5)])
        table = Data(table.x[rows], table.y[rows], table.x_val, table.y_val)
    return cosine(program(classifier(5), table, adam(4e-3), 10 if fixed else 40, batch=32 if fixed else 8))


@sick("siamese", "too-little-data", "overfitting", also=("label-noise",), proof=harmed(0.08), bar=0.85)
def each_film_seen_but_a_few_times(seed: int, fixed: bool) -> Training:
    """150 opinions for 40 people and 30 films."""
    from .fresh3_programs import Likes

    table = fresh3_data.lovers_of_films(4000)
    if not fixed:
        table = Data(table.x[:150], table.y[:150], table.x_val, table.y_val)
    loss = nn.BCEWithLogitsLoss()
    return cosine(program(Likes(), table, adam(8e-3), 14 if fixed else 60, loss=loss, metric=BINARY_ACCURACY))
