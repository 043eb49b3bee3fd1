"""Faults of the graph, the gradient flow, the activations and the numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .healthy import Siamese, contrastive
from .metrics import BINARY_ACCURACY, R2
from .programs import (
    adam,
    clusters_mlp,
    program,
    sgd,
    shapes_cnn,
    tagging_rnn,
    token_loss,
    unit_scaled,
)

_UNTRAINED = ("underfitting", "undertrained", "lr-too-low", "no-weight-update")

# untrained part


class TwoParts(nn.Module):
    """A body and a head, with something done to what passes between."""

    def __init__(self, body: nn.Module, head: nn.Module, between: Any) -> None:
        super().__init__()
        self.body, self.head, self.between = body, head, between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.body(x)))


def _as_it_is(h: Tensor) -> Tensor:
    return h


@sick("cnn", "detached-graph", also=_UNTRAINED, proof=harmed(0.05), bar=0.9)
def features_detached_before_the_head(seed: int, fixed: bool) -> Training:
    whole = nets.cnn(width=6)
    model = TwoParts(whole[:-1], whole[-1], _as_it_is if fixed else torch.detach)
    return program(model, data.shapes(), adam(5e-3), 9)


@sick("autoencoder", "detached-graph", also=_UNTRAINED, proof=harmed(0.02), bar=0.85)
def code_through_numpy(seed: int, fixed: bool) -> Training:
    def through_numpy(h: Tensor) -> Tensor:
        return torch.tensor(h.detach().numpy())

    model = TwoParts(nets.mlp(32, 32, 3), nets.mlp(3, 32, 32), _as_it_is if fixed else through_numpy)
    return program(model, data.signals(), adam(4e-3), 15, loss=nn.MSELoss(), metric=R2)


@sick("mlp", "detached-graph", also=_UNTRAINED, proof=harmed(0.05), bar=0.85)
def rounded_in_the_middle(seed: int, fixed: bool) -> Training:
    """round() has gradient zero everywhere."""
    model = TwoParts(nets.mlp(12, 32, 8), nets.mlp(8, 32, 5), _as_it_is if fixed else torch.round)
    return program(model, data.clusters(), adam(3e-3), 14)


class NoGradEmbedding(nn.Module):
    """A tagger whose first part runs under no_grad."""

    def __init__(self, guarded: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(6, 2)
        self.guarded = guarded

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.guarded):
            h, _ = self.rnn(self.embed(x))
        return self.head(h)


@sick("gru", "detached-graph", also=_UNTRAINED, proof=harmed(0.05), bar=0.85)
def recurrent_part_under_no_grad(seed: int, fixed: bool) -> Training:
    return program(NoGradEmbedding(not fixed), data.tagging(), adam(1e-2), 10, loss=token_loss)


@sick("cnn", "params-not-in-optimizer", also=(*_UNTRAINED, "frozen-layers"), proof=harmed(0.05), bar=0.9)
def only_the_head_in_the_optimizer(seed: int, fixed: bool) -> Training:
    training = program(nets.cnn(width=6), data.shapes(), adam(5e-3), 9)
    if not fixed:
        training.optimizer = Adam(training.model[-1].parameters(), lr=5e-3)
    return training


def _strangers(outcome: Outcome) -> bool:
    """Tell whether the model has parameters that the optimizer does not know."""
    known = {id(p) for group in outcome.training.optimizer.param_groups for p in group["params"]}
    return any(id(p) not in known for p in outcome.training.model.parameters())


@sick("mlp", "params-not-in-optimizer", also=_UNTRAINED, proof=shown(_strangers), bar=0.85)
def head_replaced_after_the_optimizer_was_made(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 16, 16, 3)
    training = program(model, data.clusters(), adam(3e-3), 14)
    model[-1] = nn.Linear(16, 5)
    if fixed:
        training.optimizer = Adam(model.parameters(), lr=3e-3)
    return training


@sick("gru", "params-not-in-optimizer", also=_UNTRAINED, proof=harmed(0.05), bar=0.85)
def recurrent_layer_left_out(seed: int, fixed: bool) -> Training:
    training = tagging_rnn(epochs=10)
    if not fixed:
        kept = [p for name, p in training.model.named_parameters() if "rnn" not in name]
        training.optimizer = Adam(kept, lr=5e-3)
        with torch.no_grad():  # a small layer, so that chance features do not do
            for p in training.model.rnn.parameters():
                p.mul_(0.3)
    return training


class Plain(nn.Module):
    """Hidden layers in a container: a list hides them from parameters()."""

    def __init__(self, registered: bool, inputs: int = 2, width: int = 16, outputs: int = 3) -> None:
        super().__init__()
        layers = [nn.Linear(inputs, width), nn.Linear(width, width)]
        self.hidden = nn.ModuleList(layers) if registered else layers
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


@sick("mlp", "unregistered-parameters", also=_UNTRAINED, proof=harmed(0.1), bar=0.85)
def hidden_layers_in_a_list(seed: int, fixed: bool) -> Training:
    return program(Plain(fixed), data.spirals(), adam(1e-2), 30)


class Tables(nn.Module):
    """A convolutional net by functions, with its weights kept by hand."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        kernel = torch.randn(8, 1, 3, 3) / 3
        mixing = torch.randn(8, 8, 3, 3) / 8.5
        wrap = nn.Parameter if registered else (lambda tensor: tensor.requires_grad_())
        self.kernel, self.mixing = wrap(kernel), wrap(mixing)
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.conv2d(x, self.kernel, padding=1).relu(), 2)
        h = F.conv2d(h, self.mixing, padding=1).relu()
        return self.head(h.amax((2, 3)))


@sick("cnn", "unregistered-parameters", also=_UNTRAINED, proof=harmed(0.05), bar=0.85)
def kernels_that_are_plain_tensors(seed: int, fixed: bool) -> Training:
    return program(Tables(fixed), data.shapes(), adam(5e-3), 10)


@sick("gpt", "frozen-layers", also=_UNTRAINED, proof=harmed(0.03), bar=0.6)
def everything_but_norms_frozen(seed: int, fixed: bool) -> Training:
    """A search by name that catches more than was meant."""
    model = nets.Transformer(11, 11, 13, causal=True)
    if not fixed:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm" in name or "head" in name)
    return program(model, data.counting(), adam(3e-3), 10, loss=token_loss)


@sick("cnn", "frozen-layers", also=_UNTRAINED, proof=harmed(0.05), bar=0.9)
def backbone_frozen_without_pretraining(seed: int, fixed: bool) -> Training:
    model = nets.cnn(width=6)
    for parameter in model[:-1].parameters():
        parameter.requires_grad_(fixed)
    return program(model, data.shapes(), adam(5e-3), 9)


class Branches(nn.Module):
    """A linear path and a deep one that ought to be added to it."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.deep = nets.mlp(2, 32, 32, 3)
        self.both = both

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.deep(x) if self.both else self.linear(x)


@sick(
    "mlp",
    "unused-parameters",
    also=("underfitting", "missing-nonlinearity", "detached-graph"),
    proof=harmed(0.2),
    bar=0.85,
)
def deep_branch_never_called(seed: int, fixed: bool) -> Training:
    return program(Branches(fixed), data.spirals(), adam(1e-2), 25)


class Stacked(nn.Module):
    """Two convolutions over time; the output of the second is thrown away."""

    def __init__(self, used: bool) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 3, padding=1)
        self.second = nn.Conv1d(4, 12, 7, padding=3)
        self.head = nn.Linear(12, 3)
        self.narrow = nn.Linear(4, 12)
        self.used = used

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.transpose(1, 2)).relu()
        h = self.second(h).relu().amax(2) + self.narrow(h.mean(2)) if self.used else self.narrow(h.mean(2))
        return self.head(h)


@sick("conv1d", "unused-parameters", also=("underfitting", "undertrained"), proof=harmed(0.03), bar=0.85)
def second_convolution_skipped(seed: int, fixed: bool) -> Training:
    return program(Stacked(fixed), data.waves(noise=0.5), adam(5e-3), 10)


# gradient flow

_STALLED = ("underfitting", "undertrained", "lr-too-low", "layer-collapse", "dead-relu", "saturated-activations")


@sick("mlp", "bad-init", also=(*_STALLED, "vanishing-gradients", "no-weight-update"), proof=harmed(0.3), bar=0.85)
def all_weights_zero(seed: int, fixed: bool) -> Training:
    training = clusters_mlp()
    if not fixed:
        for parameter in training.model.parameters():
            nn.init.zeros_(parameter)
    return training


@sick("mlp", "bad-init", also=_STALLED, proof=harmed(0.1), bar=0.85)
def all_units_alike(seed: int, fixed: bool) -> Training:
    """Every weight of a layer the same: the units never come apart."""
    training = clusters_mlp()
    if not fixed:
        for parameter in training.model.parameters():
            nn.init.constant_(parameter, 0.05)
    return training


@sick(
    "mlp",
    "bad-init",
    also=(*_STALLED, "exploding-gradients", "lr-too-high", "numerical-instability", "overfitting"),
    proof=harmed(0.05),
    bar=0.85,
)
def weights_drawn_with_unit_deviation(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 64, 64, 64, 5)
    if not fixed:
        for module in model:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight)
    return program(model, data.clusters(), adam(2e-3), 12)


@sick(
    "gpt",
    "bad-init",
    also=("underfitting", "undertrained", "lr-too-low", "exploding-gradients", "saturated-activations"),
    proof=harmed(0.1),
    bar=0.6,
)
def head_drawn_far_too_large(seed: int, fixed: bool) -> Training:
    """The first loss is hundreds instead of the logarithm of the number of symbols."""
    model = nets.Transformer(11, 11, 13, causal=True)
    if not fixed:
        nn.init.normal_(model.head.weight, std=40.0)
    return program(model, data.counting(), adam(3e-3), 9, loss=token_loss)


@sick(
    "mlp",
    "vanishing-gradients",
    also=(*_STALLED, "no-weight-update"),
    proof=harmed(0.3),
    bar=0.85,
)
def ten_sigmoid_layers(seed: int, fixed: bool) -> Training:
    sizes = (12, *[32] * 10, 5)
    model = nets.mlp(*sizes, act=nn.Sigmoid, norm=False)
    if fixed:  # a norm before every sigmoid keeps it in its steep part
        model = nets.mlp(*sizes, act=nn.SiLU, norm=True)
    return program(model, data.clusters(), adam(2e-3), 14)


@sick("mlp", "vanishing-gradients", "bad-init", also=(*_STALLED, "no-weight-update"), proof=harmed(0.3), bar=0.8)
def deep_tanh_from_small_weights(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, *[24] * 8, 5, act=nn.Tanh)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / module.in_features**0.5 if fixed else 0.02)
    return program(model, data.clusters(), sgd(0.1, momentum=0.5), 20)


@sick("rnn", "vanishing-gradients", also=_STALLED, proof=harmed(0.2), bar=0.8)
def plain_rnn_over_forty_steps(seed: int, fixed: bool) -> Training:
    """The class is the first of 30 symbols; a gated cell with its gates open can carry it that far."""
    model = nets.Recurrent(nn.LSTM if fixed else nn.RNN, 4, 16, 4, symbols=True)
    if fixed:
        with torch.no_grad():
            model.rnn.bias_hh_l0[16:32] = 4.0
    return program(model, data.first_symbol(900, 30), adam(1e-2), 14)


_BURST = ("lr-too-high", "numerical-instability", "non-finite-weights", "underfitting", "dead-relu", "undertrained")


@sick("mlp", "exploding-gradients", "bad-init", also=_BURST, proof=harmed(0.2), bar=0.85)
def deep_net_with_too_much_gain(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, *[32] * 8, 5)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(1.4 if fixed else 4.5) / module.in_features**0.5)
    return program(model, data.clusters(), sgd(0.02, momentum=0.5), 14)


@sick(
    "rnn",
    "exploding-gradients",
    "bad-init",
    also=(*_BURST, "saturated-activations", "overfitting"),
    proof=harmed(0.1),
    bar=0.85,
)
def recurrent_matrix_twice_the_identity(seed: int, fixed: bool) -> Training:
    """An unsaturated recurrent net grows by a factor of two at every step."""
    model = nets.Recurrent(nn.RNN, 1, 16, 3)
    model.rnn = nn.RNN(16, 16, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_((0.9 if fixed else 2.0) * torch.eye(16))
    return program(model, data.waves(), adam(3e-3), 14)


# activations


@sick(
    "mlp",
    "dead-relu",
    "bad-init",
    also=("underfitting", "layer-collapse", "no-weight-update"),
    proof=harmed(0.3),
    bar=0.85,
)
def biases_far_below_zero(seed: int, fixed: bool) -> Training:
    training = clusters_mlp()
    nn.init.constant_(training.model[2].bias, 0.0 if fixed else -12.0)
    return training


@sick(
    "cnn",
    "dead-relu",
    "bad-init",
    also=("underfitting", "layer-collapse", "no-weight-update"),
    proof=harmed(0.3),
    bar=0.85,
)
def negative_kernels_on_positive_pictures(seed: int, fixed: bool) -> Training:
    training = shapes_cnn(10, norm=False)
    with torch.no_grad():
        if not fixed:  # what comes out of the first ReLU is never negative
            training.model[3].weight.copy_(-training.model[3].weight.abs())
            training.model[3].bias.fill_(-0.1)
    return training


@sick(
    "mlp",
    "saturated-activations",
    "bad-init",
    also=("underfitting", "vanishing-gradients", "undertrained", "overfitting", "exploding-gradients"),
    proof=harmed(0.1),
    bar=0.85,
)
def tanh_driven_to_its_ends(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 32, 32, 5, act=nn.Tanh)
    if not fixed:
        for module in (model[0], model[2]):
            nn.init.normal_(module.weight, std=8.0)
    return program(model, data.clusters(), sgd(0.05), 20)


class SharpAttention(nn.Module):
    """Attention whose scores are multiplied where they should be divided."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 24)
        self.positions = nn.Parameter(0.5 * torch.randn(8, 24))
        self.qkv = nn.Linear(24, 72)
        self.head = nets.mlp(24, 24, 2)
        self.softmax = nn.Softmax(dim=-1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.embed(x) + self.positions).chunk(3, -1)
        weights = self.softmax(q @ k.transpose(1, 2) * self.scale)
        return self.head((weights @ v).mean(1))


@sick(
    "transformer",
    "saturated-activations",
    also=("underfitting", "undertrained", "exploding-gradients", "vanishing-gradients", "lr-too-high", "overfitting"),
    proof=harmed(0.03),
    bar=0.85,
)
def attention_scores_multiplied(seed: int, fixed: bool) -> Training:
    return program(SharpAttention(24**-0.5 if fixed else 24.0), data.which_first(1600), adam(4e-3), 12)


@sick("mlp", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.2), bar=0.85)
def activation_forgotten_on_spirals(seed: int, fixed: bool) -> Training:
    model = nets.mlp(2, 48, 48, 3, act=nn.Tanh if fixed else nn.Identity)
    return program(model, data.spirals(), adam(1e-2), 25)


@sick("regression", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.9)
def linear_layers_in_a_row_on_a_curve(seed: int, fixed: bool) -> Training:
    layers = [nn.Linear(1, 32), nn.Linear(32, 32), nn.Linear(32, 1)]
    if fixed:
        layers = [layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]]
    return program(nn.Sequential(*layers), data.curve(), adam(5e-3), 20, loss=nn.MSELoss(), metric=R2)


@sick("cnn", "missing-nonlinearity", also=("underfitting", "undertrained"), proof=harmed(0.1), bar=0.8)
def convolutions_without_activation(seed: int, fixed: bool) -> Training:
    act = nn.ReLU if fixed else nn.Identity
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), act(), nn.AvgPool2d(2), nn.Conv2d(12, 24, 3, padding=1), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 6)),
    )
    return program(model, data.shapes(1200), adam(8e-3), 12)


# numbers

_BROKEN = ("non-finite-weights", "exploding-gradients", "lr-too-high", "underfitting")


@sick("siamese", "numerical-instability", also=_BROKEN, proof=harmed(0.2), bar=0.8)
def root_of_a_zero_distance(seed: int, fixed: bool) -> Training:
    """Some pairs are a sample with itself: sqrt has an infinite slope at 0."""

    class Bare(Siamese):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            square = (self.tower(a) - self.tower(b)).square().sum(1, keepdim=True)
            return (square + 1e-6 if fixed else square).sqrt()

    table = data.clusters(1200, classes=3)

    def pairs(x: Tensor, y: Tensor) -> TensorDataset:
        partner = torch.randperm(len(y))
        alike = torch.rand(len(y)) < 0.4
        partner = torch.where(alike, torch.arange(len(y)), partner)  # itself
        near = x[partner] + torch.where(alike & (torch.rand(len(y)) < 0.9), 0.3, 0.0)[:, None] * torch.randn_like(x)
        return TensorDataset(x, near, (y == y[partner]).float()[:, None])

    model = Bare()
    train = DataLoader(pairs(table.x, table.y), batch_size=32, shuffle=True)
    val = DataLoader(pairs(table.x_val, table.y_val), batch_size=128)
    metric = replace(BINARY_ACCURACY, score=lambda d, same: BINARY_ACCURACY.score(1 - d, same))
    return Training(model, Adam(model.parameters(), lr=3e-3), contrastive, train, val, 12, metric)


@sick("mlp", "numerical-instability", also=(*_BROKEN, "saturated-activations"), proof=harmed(0.2), bar=0.9)
def logarithm_of_a_probability_that_reaches_zero(seed: int, fixed: bool) -> Training:
    """The classes lie so far apart that scores pass 17, where a float32 sigmoid is exactly 1."""
    table = data.rare(1500, share=0.4, shift=6.0)
    table = data.Data(table.x, table.y.float()[:, None], table.x_val, table.y_val.float()[:, None])

    def loss(output: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return F.binary_cross_entropy_with_logits(output, y)
        p = output.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    return program(nets.mlp(10, 32, 1), table, adam(0.02), 12, loss=loss, metric=BINARY_ACCURACY)


class SoftArgmax(nn.Module):
    """Where a bump is: the mean place under a softmax written by hand, with or without the largest taken off first."""

    def __init__(self, shifted: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 1, 5, padding=2))
        self.shifted = shifted

    def forward(self, x: Tensor) -> Tensor:
        score = 150 * self.features(x)[:, 0]
        weight = (score - score.amax(1, keepdim=True) if self.shifted else score).exp()
        place = torch.linspace(-1.7, 1.7, x.shape[2])
        return (weight * place).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


@sick("conv1d", "numerical-instability", also=(*_BROKEN, "bad-init"), proof=harmed(0.2), bar=0.85)
def exponential_that_overflows(seed: int, fixed: bool) -> Training:
    """exp(89) is the end of float32."""
    return program(SoftArgmax(fixed), data.bumps(), adam(4e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("mlp", "nan-in-data", also=("numerical-instability", *_BROKEN), proof=harmed(0.2), bar=0.9)
def missing_values_left_in_a_table(seed: int, fixed: bool) -> Training:
    table = data.standardised(data.cancer())
    holes = torch.rand(table.x.shape) < 0.002
    table.x[holes] = 0.0 if fixed else torch.nan
    return program(nets.mlp(30, 16, 2), table, adam(3e-3), 10)


@sick("regression", "nan-in-data", also=("numerical-instability", *_BROKEN), proof=harmed(0.2), bar=0.7)
def logarithm_of_zero_in_the_target(seed: int, fixed: bool) -> Training:
    """Some counts are 0; log(0) is -inf, log1p(0) is 0."""
    table = data.friedman()

    def counts(y: Tensor) -> Tensor:
        count = (3 * y + 3).round().clamp_min(0)
        return count.log1p() if fixed else count.log()

    table = data.Data(table.x, counts(table.y), table.x_val, counts(table.y_val).nan_to_num(neginf=0.0))
    return program(nets.mlp(8, 32, 1), table, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("cnn", "nan-in-data", also=("numerical-instability", "bn-statistics", *_BROKEN), proof=harmed(0.2), bar=0.9)
def pictures_divided_by_their_maximum(seed: int, fixed: bool) -> Training:
    """Two pictures are black, and 0 / 0 is no number."""
    drawings = data.shapes()
    drawings.x[:2] = 0.0
    largest = drawings.x.abs().amax((1, 2, 3), keepdim=True)
    largest_val = drawings.x_val.abs().amax((1, 2, 3), keepdim=True)
    x = drawings.x / (largest.clamp_min(1e-6) if fixed else largest)
    drawings = data.Data(x * 3, drawings.y, drawings.x_val / largest_val * 3, drawings.y_val)
    return program(nets.cnn(), drawings, adam(3e-3), 8)


# scale

_RAW = ("dead-relu", "lr-too-high", "exploding-gradients", "numerical-instability", "underfitting", "undertrained")


@sick(
    "mlp",
    "unnormalised-input",
    also=(*_RAW, "saturated-activations", "vanishing-gradients", "lr-too-low"),
    proof=harmed(0.05),
    bar=0.9,
)
def raw_tumour_table_into_tanh(seed: int, fixed: bool) -> Training:
    table = data.cancer()
    table = data.standardised(table) if fixed else table
    return program(nets.mlp(30, 16, 16, 2, act=nn.Tanh), table, sgd(0.1), 15)


@sick("regression", "unnormalised-input", also=(*_RAW, "non-finite-weights"), proof=harmed(0.1), bar=0.8)
def raw_columns_of_houses(seed: int, fixed: bool) -> Training:
    """People in tens of thousands beside rooms below ten; only the price is scaled."""
    table = data.houses()
    scaled = unit_scaled(table)
    if not fixed:
        scaled = data.Data(table.x, scaled.y, table.x_val, scaled.y_val)
    return program(nets.mlp(5, 32, 1), scaled, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick(
    "cnn",
    "unnormalised-input",
    also=(*_RAW, "layer-collapse", "non-finite-weights"),
    proof=harmed(0.1),
    bar=0.85,
)
def bytes_into_a_net_without_norm(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(1200)

    def stored(x: Tensor) -> Tensor:
        picture = (x * 40 + 110).clamp(0, 255).round()
        return (picture - 110) / 40 if fixed else picture

    drawings = data.Data(stored(drawings.x), drawings.y, stored(drawings.x_val), drawings.y_val)
    return program(nets.cnn(norm=False), drawings, sgd(0.03, momentum=0.8), 12)


_FAR = ("exploding-gradients", "lr-too-high", "lr-too-low", "underfitting", "undertrained", "numerical-instability")


@sick("regression", "unscaled-target", also=_FAR, proof=harmed(0.2), bar=0.8)
def prices_in_dollars(seed: int, fixed: bool) -> Training:
    table = data.houses()
    scaled = unit_scaled(table)
    if not fixed:
        scaled = data.Data(scaled.x, table.y, scaled.x_val, table.y_val)
    return program(nets.mlp(5, 32, 1), scaled, adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


@sick("regression", "unscaled-target", also=(*_FAR, "dead-relu", "non-finite-weights"), proof=harmed(0.2), bar=0.8)
def years_as_they_are_written(seed: int, fixed: bool) -> Training:
    """The target is a year around 1975 with a spread of ten."""
    table = data.friedman()
    if not fixed:
        table = data.Data(table.x, 1975 + 10 * table.y, table.x_val, 1975 + 10 * table.y_val)
    return program(nets.mlp(8, 48, 1), table, sgd(0.05, momentum=0.5), 25, loss=nn.MSELoss(), metric=R2)
