"""Third fresh cases: faults of output and loss. What was reported where stands in brackets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from . import fresh3_data, nets
from .case import Metric, Training, harmed, sick
from .fresh3_programs import (
    RECALLS,
    SLOW,
    Camps,
    Likes,
    classifier,
    cosine,
    picked,
    reinforce,
)
from .metrics import BINARY_ACCURACY, R2
from .programs import adam, adamw, program, sgd, token_loss

# twice squashed


class Squashed(nn.Module):
    """A net whose answer goes through one more function."""

    def __init__(self, net: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.net, self.last = net, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.net(x))


@sick("language-model", "double-softmax", also=SLOW, proof=harmed(0.05), bar=0.75)
def shares_of_words_into_cross_entropy(seed: int, fixed: bool) -> Training:
    """The forward pass ends in a softmax over the words (bkitano/llama-from-scratch 5, "SimpleBrokenModel")."""
    net = nets.Transformer(7, 7, 16, causal=True, depth=1, width=32)
    model = Squashed(net, nn.Identity() if fixed else nn.Softmax(dim=-1))
    return cosine(program(model, fresh3_data.second_order(1400), adamw(6e-3), 12, loss=token_loss))


@sick("graph", "double-softmax", also=SLOW, proof=harmed(0.05), bar=0.75)
def shares_of_camps_into_cross_entropy(seed: int, fixed: bool) -> Training:
    """A softmax in front of the loss of a graph net (mlelarge/graph_neural_net 37)."""
    model = Squashed(Camps(width=16), nn.Identity() if fixed else nn.Softmax(dim=-1))
    return program(model, fresh3_data.networks(500), sgd(0.02, momentum=0.9), 8, loss=token_loss)


@sick("multi-label", "double-softmax", also=(*SLOW, "class-imbalance"), proof=harmed(0.03), bar=0.8)
def findings_squashed_before_the_loss_with_logits(seed: int, fixed: bool) -> Training:
    """``BCEWithLogitsLoss`` is given what a sigmoid gave (the forum's most frequent answer on several labels)."""
    model = Squashed(nets.mlp(14, 64, 64, 8), nn.Identity() if fixed else nn.Sigmoid())
    shift = 0.0 if fixed else 0.5
    metric = Metric("balanced_accuracy", lambda o, y: RECALLS.score(o - shift, y), RECALLS.constant)
    data = fresh3_data.symptoms(2600)
    return cosine(program(model, data, adam(5e-3), 20, loss=nn.BCEWithLogitsLoss(), metric=metric))


# the last activation


@sick("forecast", "wrong-output-activation", also=("dead-relu", *SLOW), proof=harmed(0.2), bar=0.85)
def rectified_last_layer_of_an_lstm(seed: int, fixed: bool) -> Training:
    """A ReLU on the answer: what lies under the mean can never be told (ProteomicsML 203)."""
    net = nets.Recurrent(nn.LSTM, 1, 24, 1)
    model = Squashed(net, nn.Identity() if fixed else nn.ReLU())
    return cosine(program(model, fresh3_data.markets(), adam(5e-3), 12, loss=nn.MSELoss(), metric=R2))


@sick("recommender", "wrong-output-activation", "dead-relu", also=SLOW, proof=harmed(0.05), bar=0.85)
def rectified_vectors_in_an_inner_product(seed: int, fixed: bool) -> Training:
    """ReLU after the last layer too: an inner product of such vectors is never below 0 (fani-lab/OpeNTF 349)."""
    model = Likes(last=nn.Identity() if fixed else nn.ReLU())
    loss, data = nn.BCEWithLogitsLoss(), fresh3_data.lovers_of_films(4000)
    return cosine(program(model, data, adam(8e-3), 14, loss=loss, metric=BINARY_ACCURACY))


@sick("autoencoder", "wrong-output-activation", also=("saturated-activations", *SLOW), proof=harmed(0.2), bar=0.85)
def activation_on_the_last_decoding_layer(seed: int, fixed: bool) -> Training:
    """The hidden sigmoid is put on the reconstruction as well (NVIDIA/DeepRecommender 4)."""
    net = nn.Sequential(nets.mlp(28, 32, 6), nn.ReLU(), nets.mlp(6, 32, 28))
    model = Squashed(net, nn.Identity() if fixed else nn.Sigmoid())
    data = fresh3_data.steps_and_slopes()
    return cosine(program(model, data, adam(5e-3), 20, loss=nn.MSELoss(), metric=R2))


# the loss


@sick("text", "wrong-loss", also=("exploding-gradients", "numerical-instability", *SLOW), proof=harmed(0.0), bar=0.85)
def likelihood_loss_on_raw_scores(seed: int, fixed: bool) -> Training:
    """``NLLLoss`` without ``log_softmax``: the loss falls below any bound (asked again and again on the forum)."""
    loss = nn.CrossEntropyLoss() if fixed else nn.NLLLoss()
    model = nets.Transformer(20, 2, 8, width=24, depth=1, pooled=True)
    return cosine(program(model, fresh3_data.denials(2400), adam(3e-3), 14, loss=loss))


def _nearest(output: Tensor, y: Tensor) -> float:
    guess = output.argmax(1) if output.shape[1] > 1 else output[:, 0].round().long()
    return float((guess == y).float().mean())


NEAREST = Metric("accuracy", _nearest, lambda y: float(y.bincount().max() / len(y)))


@sick("cnn", "wrong-loss", also=SLOW, proof=harmed(0.15), bar=0.85)
def squared_distance_to_the_number_of_a_class(seed: int, fixed: bool) -> Training:
    """One output, rounded, and squared error against the number of the class: kinds have no order."""

    def distance(output: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(output[:, 0], y.float())

    model = classifier(5 if fixed else 1)
    loss = nn.CrossEntropyLoss() if fixed else distance
    return cosine(program(model, fresh3_data.glyphs(1000), adam(5e-3), 8, loss=loss, metric=NEAREST))


# shapes


@sick("regression", "loss-shape-broadcast", also=SLOW, proof=harmed(0.3), bar=0.85)
def rows_and_columns_in_a_smooth_loss(seed: int, fixed: bool) -> Training:
    """(N, 1) against (N,): every answer is held against every target (pytorch 16045 and 19699, FARM 229)."""
    table = fresh3_data.rentals()
    table = fresh3_data.Data(table.x, table.y[:, 0], table.x_val, table.y_val[:, 0])
    model = nets.mlp(5, 48, 48, 1)
    loss = nn.SmoothL1Loss()

    def flat(output: Tensor, y: Tensor) -> Tensor:
        return loss(output[:, 0], y)

    return cosine(program(model, table, adam(5e-3), 14, loss=flat if fixed else loss, metric=R2))


class TwoHeads(nn.Module):
    """A mean and the logarithm of a variance."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body, self.mean, self.spread = nets.mlp(inputs, 48, 48), nn.Linear(48, 1), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x).relu()
        return self.mean(h), self.spread(h)


@sick("regression", "loss-shape-broadcast", also=SLOW, proof=harmed(0.3), bar=0.8)
def likelihood_of_every_pair(seed: int, fixed: bool) -> Training:
    """A likelihood by hand; values (N, 1) less targets (N,) are (N, N), as an advantage was in Hands-On RL 74."""
    table = fresh3_data.rentals()
    table = fresh3_data.Data(table.x, table.y[:, 0], table.x_val, table.y_val[:, 0])

    def likelihood(output: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        mean, spread = (o.squeeze(1) for o in output) if fixed else output
        return (0.5 * spread + 0.5 * (y - mean).square() * (-spread).exp()).mean()

    return cosine(program(TwoHeads(5), table, adam(4e-3), 16, loss=likelihood, metric=R2))


# the sign


@sick("policy", "loss-sign-flipped", also=SLOW, proof=harmed(0.3), bar=0.6)
def policy_that_flees_its_reward(seed: int, fixed: bool) -> Training:
    """The minus is missing in front of the reward (Truxify 11885, openai/spinningup 436)."""
    data = fresh3_data.bandit(2400)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return picked(output, y) if fixed else -picked(output, y)

    step = reinforce(-1.0 if fixed else 1.0)
    return program(nets.mlp(6, 48, 48, 4), data, adam(5e-3), 20, loss=loss, step=step)


def _alike(output: Tensor, y: Tensor) -> float:
    return float(F.cosine_similarity(output, y, dim=1).mean())


ALIKE = Metric("likeness", _alike, lambda y: _alike(y.mean(0).expand_as(y), y))


@sick("embedding", "loss-sign-flipped", also=SLOW, proof=harmed(0.3), bar=0.75)
def likeness_as_a_loss(seed: int, fixed: bool) -> Training:
    """Cosine similarity is made small where it should be large: no minus, as Keras 2 had one built in."""
    table = fresh3_data.views(1200)
    pairs = fresh3_data.Data(table.x[:, 0], table.x[:, 1], table.x_val[:, 0], table.x_val[:, 1])

    def loss(output: Tensor, y: Tensor) -> Tensor:
        alike = F.cosine_similarity(output, y, dim=1).mean()
        return -alike if fixed else alike

    return cosine(program(nets.mlp(16, 48, 48, 16), pairs, adam(3e-3), 10, loss=loss, metric=ALIKE))
