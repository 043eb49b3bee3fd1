"""Faults of the graph and of the gradient flow."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .metrics import R2
from .programs import (
    adam,
    clusters_mlp,
    program,
    sgd,
    tagging_rnn,
    token_loss,
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
