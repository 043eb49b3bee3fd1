"""Faults of norm and dropout, of the fit, of the structure, and of what is handed over at the end."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .healthy import adversarial, pretrained_cnn
from .loop import plain_step
from .metrics import R2
from .programs import adam, adamw, clusters_mlp, counting_gpt, program, sgd, shapes_cnn, token_loss

# norm and dropout


@sick("mlp", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.03), bar=0.85)
def momentum_as_another_framework_counts_it(seed: int, fixed: bool) -> Training:
    """0.99 there keeps the old statistics; here it throws them away at every batch of eight."""
    training = program(nets.mlp(12, 48, 48, 5, norm=True), data.clusters(1500), adam(2e-3), 7, batch=8)
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.1 if fixed else 0.99
    return training


@sick("resnet", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.1), bar=0.85)
def statistics_reset_before_validation(seed: int, fixed: bool) -> Training:
    training = program(nets.resnet(), data.shapes(1500), adam(1.5e-3), 10)

    def begin(training: Training) -> None:
        training.model.eval()
        for module in training.model.modules():
            if isinstance(module, nn.BatchNorm2d) and not fixed:
                module.reset_running_stats()

    training.begin_validation = begin
    return training


@sick(
    "fine-tuning",
    "bn-statistics",
    also=("train-val-mismatch", "underfitting", "unnormalised-input", "dead-relu", "eval-mode-training", "overfitting"),
    proof=harmed(0.05),
    bar=0.85,
)
def frozen_statistics_of_another_domain(seed: int, fixed: bool) -> Training:
    """Everything is trained on, but batch norm is held in eval mode, with figures of pictures six times fainter."""
    model = pretrained_cnn()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and not fixed:
                module.running_mean.add_(2.0)
                module.running_var.mul_(0.02)
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(), adam(1e-3), 6)

    def begin(training: Training, epoch: int) -> None:
        training.model.train()
        for module in training.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    training.begin_epoch = begin
    return training


@sick("resnet", "bn-statistics", also=("train-val-mismatch", "overfitting"), proof=harmed(0.1), bar=0.85)
def statistics_that_hardly_move(seed: int, fixed: bool) -> Training:
    training = program(nets.resnet(), data.shapes(1500), adam(1.5e-3), 10)
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1 if fixed else 1e-4
    return training


@torch.no_grad()
def _random(outcome: Outcome) -> bool:
    """Tell whether two evaluations differ."""
    training = outcome.training
    training.begin_validation(training)
    x = next(iter(training.val))[0]
    return not torch.equal(training.model(x), training.model(x))


class FunctionalDropout(nn.Module):
    """F.dropout, told or not told that the model is in eval mode."""

    def __init__(self, told: bool) -> None:
        super().__init__()
        self.body, self.head = nets.mlp(12, 64, 64), nn.Linear(64, 5)
        self.told = told

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x).relu()
        return self.head(F.dropout(h, 0.5, training=self.training) if self.told else F.dropout(h, 0.5))


@sick("mlp", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.85)
def functional_dropout_without_the_flag(seed: int, fixed: bool) -> Training:
    return program(FunctionalDropout(fixed), data.clusters(), adam(3e-3), 12)


class DropoutMadeAnew(nn.Module):
    """A dropout layer made in forward is always in train mode."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.net = nets.cnn(norm=False)
        self.dropout = nn.Dropout(0.4) if kept else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.net[:-1](x)
        return self.net[-1]((self.dropout or nn.Dropout(0.4))(h))


@sick("cnn", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.85)
def dropout_layer_made_in_forward(seed: int, fixed: bool) -> Training:
    return program(DropoutMadeAnew(fixed), data.shapes(), adam(3e-3), 10)


@sick("transformer", "dropout-active-in-eval", also=("eval-mode-training",), proof=shown(_random), bar=0.8)
def attention_dropout_as_a_constant(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(8, 2, 8, pooled=True)
    for block in model.blocks:
        attention = block.attention
        attention.dropout = 0.2
        if not fixed:  # the flag is looked up where it never changes
            attention.__class__ = type("Always", (nets.Attention,), {"training": property(lambda _: True, _ignored)})
    return program(model, data.which_first(), adamw(3e-3), 10)


def _ignored(module: nn.Module, value: bool) -> None:
    pass


# fit

_SMALL = ("label-noise",)


@sick("mlp", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.8)
def wide_net_on_thirty_rows(seed: int, fixed: bool) -> Training:
    table = data.clusters(2400, spread=1.5)
    table = table if fixed else table.take(30)
    return program(nets.mlp(12, 128, 128, 5), table, adam(1e-3), 5 if fixed else 120, batch=32)


@sick("cnn", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.85)
def sixty_drawings(seed: int, fixed: bool) -> Training:
    drawings = data.shapes(2000, noise=0.45)
    drawings = drawings if fixed else drawings.take(60)
    return program(nets.cnn(norm=False), drawings, adam(3e-3), 6 if fixed else 50, batch=32)


def _risen(outcome: Outcome) -> bool:
    """Tell whether the validation loss ended far above its best."""
    return outcome.losses[-1] > 1.4 * min(outcome.losses)


@sick("mlp", "overfitting", also=_SMALL, proof=shown(_risen), bar=0.6)
def trained_far_past_the_best_epoch(seed: int, fixed: bool) -> Training:
    """Overlapping classes, a wide net, no brake; the twin stops in time."""
    table = data.clusters(1500, spread=1.9)
    return program(nets.mlp(12, 128, 128, 5), table, adam(2e-3), 3 if fixed else 40)


@sick("gpt", "overfitting", "too-little-data", also=_SMALL, proof=shown(_risen), bar=0.6)
def language_model_on_thirty_lines(seed: int, fixed: bool) -> Training:
    lines = data.coin_language(900)
    lines = lines if fixed else lines.take(30)
    model = nets.Transformer(6, 6, 12, causal=True)
    return program(model, lines, adamw(4e-3), 4 if fixed else 90, loss=token_loss)


@sick("regression", "overfitting", "too-little-data", also=_SMALL, proof=harmed(0.1), bar=0.5)
def noisy_regression_learned_by_heart(seed: int, fixed: bool) -> Training:
    table = data.friedman(1600, noise=0.6)
    table = table if fixed else table.take(50)
    optimizer = adam(3e-3)
    return program(nets.mlp(8, 96, 96, 1), table, optimizer, 4 if fixed else 120, loss=nn.MSELoss(), metric=R2)


@sick("mlp", "underfitting", also=("undertrained", "dead-relu", "missing-nonlinearity"), proof=harmed(0.2), bar=0.85)
def bottleneck_of_one_unit(seed: int, fixed: bool) -> Training:
    model = nets.mlp(12, 32, 16 if fixed else 1, 32, 9, act=nn.Tanh)
    return program(model, data.clusters(1500, classes=9), adam(3e-3), 14)


@sick("mlp", "underfitting", also=("undertrained", "missing-nonlinearity"), proof=harmed(0.2), bar=0.85)
def straight_lines_on_a_chequered_board(seed: int, fixed: bool) -> Training:
    """Logistic regression cannot; a hidden layer can."""
    model = nets.mlp(2, 64, 64, 2, act=nn.Tanh) if fixed else nn.Linear(2, 2)
    return program(model, data.chequers(1800), adam(1e-2), 40 if fixed else 20)


@sick("autoencoder", "underfitting", also=("undertrained", "dead-relu"), proof=harmed(0.2), bar=0.85)
def code_of_one_number(seed: int, fixed: bool) -> Training:
    """The data have three degrees of freedom."""
    code = 4 if fixed else 1
    model = nn.Sequential(nets.mlp(32, 32, code), nets.mlp(code, 32, 32))
    return program(model, data.signals(), adam(4e-3), 15, loss=nn.MSELoss(), metric=R2)


_HELD = ("underfitting", "undertrained", "layer-collapse", "vanishing-gradients")


@sick("mlp", "over-regularised", also=_HELD, proof=harmed(0.2), bar=0.85)
def weight_decay_of_a_half_in_sgd(seed: int, fixed: bool) -> Training:
    optimizer = sgd(0.1, weight_decay=1e-4 if fixed else 0.4)
    return program(nets.mlp(12, 32, 32, 5), data.clusters(), optimizer, 14)


@sick("cnn", "over-regularised", also=(*_HELD, "lr-too-low"), proof=harmed(0.1), bar=0.85)
def nearly_everything_dropped(seed: int, fixed: bool) -> Training:
    rate = 0.2 if fixed else 0.97
    whole = nets.cnn(norm=False)
    model = nn.Sequential(
        *whole[:-1], nn.Dropout(rate), nn.Linear(24, 24), nn.ReLU(), nn.Dropout(rate), nn.Linear(24, 6)
    )
    return program(model, data.shapes(), adam(2e-3), 10)


@sick("regression", "over-regularised", also=_HELD, proof=harmed(0.3), bar=0.8)
def penalty_larger_than_the_loss(seed: int, fixed: bool) -> Training:
    """The sum of squared weights is added by hand, with a factor of 0.5."""

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(batch[0]), batch[1])
        loss = loss + (1e-5 if fixed else 0.5) * sum(p.square().sum() for p in training.model.parameters())
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        return loss

    return program(nets.mlp(8, 48, 1), data.friedman(), adam(5e-3), 14, loss=nn.MSELoss(), metric=R2, step=step)


# structure


@torch.no_grad()
def _neighbours_matter(outcome: Outcome) -> bool:
    """Tell whether a sample's output changes with the samples beside it."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:16]
    whole = model(x)
    reordered, fewer = model(x.flip(0)).flip(0), model(x[:8])
    return not (torch.allclose(whole, reordered, atol=1e-4) and torch.allclose(whole[:8], fewer, atol=1e-4))


class Attended(nn.Module):
    """Weights over the steps of a sequence; the softmax ought to run over time, which is dimension 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.score, self.head = nn.Linear(16, 1), nn.Linear(16, 3)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(self.embed(x))
        return self.head((self.score(h).softmax(self.dim) * h).sum(1) * (1 if self.dim else 3))


@sick("gru", "batch-mixing", also=("wrong-output-activation",), proof=shown(_neighbours_matter), bar=0.85)
def attention_over_the_batch(seed: int, fixed: bool) -> Training:
    return program(Attended(1 if fixed else 0), data.waves(), adam(8e-3), 12)


class Reshaped(nn.Module):
    """(N, T, C) becomes (T, N, C) by permute, or by a view that takes the numbers as they lie."""

    def __init__(self, permuted: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 24)
        self.head = nn.Linear(24, 3)
        self.permuted = permuted

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        h, _ = self.rnn(x.permute(1, 0, 2) if self.permuted else x.reshape(t, n, c))
        return self.head(h[-1])


@sick("lstm", "batch-mixing", also=("underfitting", "undertrained", "overfitting"), proof=harmed(0.3), bar=0.85)
def view_for_a_permute(seed: int, fixed: bool) -> Training:
    return program(Reshaped(fixed), data.waves(), adam(8e-3), 14)


class Centred(nn.Module):
    """Takes the mean off: of each picture, or (by the wrong dimension) of the batch."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.net = nets.cnn(norm=False)
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - x.mean(self.dims, keepdim=True))


@sick("cnn", "batch-mixing", proof=shown(_neighbours_matter), bar=0.85)
def mean_taken_over_the_batch(seed: int, fixed: bool) -> Training:
    return program(Centred((2, 3) if fixed else (0,)), data.shapes(), adam(3e-3), 10)


@sick("transformer", "batch-mixing", also=("underfitting", "undertrained"), proof=shown(_neighbours_matter), bar=0.8)
def attention_module_without_batch_first(seed: int, fixed: bool) -> Training:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(8, 24)
            self.positions = nn.Parameter(0.2 * torch.randn(8, 24))
            self.layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, batch_first=fixed, norm_first=True)
            self.head = nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.embed(x) + self.positions).mean(1))

    return program(Encoder(), data.which_first(1500), adam(3e-3), 10)


@torch.no_grad()
def _sees_the_future(outcome: Outcome) -> bool:
    """Tell whether a later symbol changes the scores before it."""
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:16]
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % int(x.max() + 1)
    return not torch.allclose(model(x)[:, :-1], model(changed)[:, :-1], atol=1e-4)


@sick(
    "gpt", "causal-leak", also=("data-leakage", "undertrained", "underfitting"), proof=shown(_sees_the_future), bar=0.6
)
def mask_forgotten_in_a_language_model(seed: int, fixed: bool) -> Training:
    return counting_gpt(10, causal=fixed)


class OverTime(nn.Module):
    """A language model of convolutions, padded on the left only or on both sides."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 16)
        self.first, self.second = nn.Conv1d(16, 24, 3), nn.Conv1d(24, 24, 3)
        self.head = nn.Linear(24, 6)
        self.padding = (2, 0) if causal else (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).transpose(1, 2)
        h = self.first(F.pad(h, self.padding)).relu()
        h = self.second(F.pad(h, self.padding)).relu()
        return self.head(h.transpose(1, 2))


@sick("conv1d", "causal-leak", also=("data-leakage",), proof=shown(_sees_the_future), bar=0.6)
def convolutions_padded_on_both_sides(seed: int, fixed: bool) -> Training:
    return program(OverTime(fixed), data.coin_language(), adam(4e-3), 8, loss=token_loss)


@sick("lstm", "causal-leak", also=("data-leakage",), proof=shown(_sees_the_future), bar=0.6)
def language_model_that_reads_both_ways(seed: int, fixed: bool) -> Training:
    model = nets.Recurrent(nn.LSTM, 6, 20, 6, symbols=True)
    model.every_step = True
    if not fixed:
        model.rnn = nn.LSTM(20, 20, batch_first=True, bidirectional=True)
        model.head = nn.Linear(40, 6)
    return program(model, data.coin_language(), adam(5e-3), 8, loss=token_loss)


@sick("transformer", "missing-position-info", also=("underfitting", "undertrained"), proof=harmed(0.3), bar=0.85)
def transformer_without_positions(seed: int, fixed: bool) -> Training:
    model = nets.Transformer(8, 2, 8, pooled=True, positions=fixed)
    return program(model, data.which_first(), adamw(3e-3), 10)


class Bag(nn.Module):
    """Looks at windows of some symbols and averages what it saw."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 16)
        self.windows = nn.Conv1d(16, 32, window)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.windows(self.embed(x).transpose(1, 2)).relu().mean(2))


@sick(
    "conv1d",
    "missing-position-info",
    also=("underfitting", "undertrained", "layer-collapse"),
    proof=harmed(0.3),
    bar=0.85,
)
def window_of_a_single_symbol(seed: int, fixed: bool) -> Training:
    """Two symbols, one after the other: the class is which came first."""
    return program(Bag(2 if fixed else 1), data.which_first(1200, length=2, symbols=4), adam(5e-3), 8)


@sick(
    "transformer",
    "missing-position-info",
    also=("underfitting", "undertrained"),
    proof=harmed(0.1),
    bar=0.9,
)
def tagger_that_cannot_count(seed: int, fixed: bool) -> Training:
    """The tag is whether the symbol before was smaller, which needs to know which one stood before."""
    model = nets.Transformer(6, 2, 10, positions=fixed)
    return program(model, data.tagging(1200), adamw(5e-3), 14, loss=token_loss)


def _elbo(weight: float) -> Any:
    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        return (rebuilt - x).square().sum(1).mean() + weight * divergence

    return loss


@sick(
    "vae", "posterior-collapse", also=("underfitting", "over-regularised", "layer-collapse"), proof=harmed(0.4), bar=0.8
)
def divergence_weighted_fifty_times(seed: int, fixed: bool) -> Training:
    return program(nets.VAE(), data.signals(), adam(4e-3), 16, loss=_elbo(0.05 if fixed else 50.0), metric=R2)


@sick(
    "vae", "posterior-collapse", also=("underfitting", "over-regularised", "layer-collapse"), proof=harmed(0.4), bar=0.8
)
def reconstruction_averaged_divergence_summed(seed: int, fixed: bool) -> Training:
    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        square = (rebuilt - x).square()
        return (square.sum(1).mean() if fixed else square.mean()) + divergence * (0.1 if fixed else 1.0)

    return program(nets.VAE(), data.signals(), adam(4e-3), 16, loss=loss, metric=R2)


@sick("gan", "posterior-collapse", also=("layer-collapse", "underfitting", "bad-init"), proof=harmed(0.3), bar=0.6)
def noise_that_is_multiplied_away(seed: int, fixed: bool) -> Training:
    """The generator gets zeros instead of noise, so all its points are one."""
    training = adversarial()

    class Silenced(nn.Module):
        def forward(self, noise: Tensor) -> Tensor:
            return noise if fixed else noise * 0.0

    training.model.generator.insert(0, Silenced())
    return training


# integrity


def _not_finite(outcome: Outcome) -> bool:
    return any(not p.isfinite().all() for p in outcome.training.model.parameters())


@sick("mlp", "non-finite-weights", also=("numerical-instability",), proof=shown(_not_finite), bar=0.85)
def average_divided_by_its_zero_correction(seed: int, fixed: bool) -> Training:
    """A moving average with decay 1 is corrected by 1 - 1 = 0."""
    training = clusters_mlp(epochs=12)
    average = [torch.zeros_like(p) for p in training.model.parameters()]
    decay, seen = (0.9 if fixed else 1.0), [0]

    def step(training: Training, batch: Any) -> Tensor:
        loss = plain_step(training, batch)
        seen[0] += 1
        for mean, p in zip(average, training.model.parameters(), strict=True):
            mean.mul_(decay).add_(p.detach(), alpha=1 - decay)
        return loss

    def hand_over(training: Training) -> None:
        with torch.no_grad():
            for mean, p in zip(average, training.model.parameters(), strict=True):
                p.copy_(mean / (1 - decay ** seen[0]))

    training.step, training.finish = step, hand_over
    return training


@sick(
    "cnn",
    "non-finite-weights",
    "numerical-instability",
    also=("exploding-gradients", "lr-too-high", "underfitting"),
    proof=shown(_not_finite),
    bar=0.85,
)
def kernels_divided_by_a_norm_of_zero(seed: int, fixed: bool) -> Training:
    """Kernels are kept at norm 1 after every step; some were pruned to zero, and 0 / 0 is no number."""
    training = shapes_cnn(8)
    weight = training.model[4].weight
    keep = (torch.arange(weight.shape[0]) % 6 > 0).float()[:, None, None, None]

    def step(training: Training, batch: Any) -> Tensor:
        loss = plain_step(training, batch)
        with torch.no_grad():
            weight.mul_(keep)
            norm = weight.flatten(1).norm(dim=1)[:, None, None, None]
            weight.div_(norm.clamp_min(1e-6) if fixed else norm)
        return loss

    training.step = step
    return training


@sick("gpt", "non-finite-weights", also=("numerical-instability",), proof=shown(_not_finite), bar=0.6)
def weights_stored_in_half_precision(seed: int, fixed: bool) -> Training:
    """A scale is folded into a weight, which then goes beyond 65504, the end of float16."""
    training = counting_gpt(9)
    training.model.head.weight.data.mul_(1.0)

    def hand_over(training: Training) -> None:
        factor = 1.0 if fixed else 1e6
        with torch.no_grad():
            for parameter in (training.model.head.weight, training.model.head.bias):
                parameter.copy_((parameter * factor).half().float() / factor)

    training.finish = hand_over
    return training


_INITIAL = ("underfitting", "undertrained", "no-weight-update", "frozen-layers", "bn-statistics", "train-val-mismatch")


@sick("mlp", "checkpoint-not-loaded", also=_INITIAL, proof=harmed(0.3), bar=0.85)
def best_weights_saved_before_the_first_step(seed: int, fixed: bool) -> Training:
    """What is restored at the end are the weights of the start."""
    training = clusters_mlp(epochs=12)
    kept = {"state": copy.deepcopy(training.model.state_dict())}

    def step(training: Training, batch: Any) -> Tensor:
        loss = plain_step(training, batch)
        if fixed:
            kept["state"] = copy.deepcopy(training.model.state_dict())
        return loss

    def restore(training: Training) -> None:
        training.model.load_state_dict(kept["state"])

    training.step, training.finish = step, restore
    return training


@sick("cnn", "checkpoint-not-loaded", "frozen-layers", also=_INITIAL, proof=harmed(0.1), bar=0.75)
def pretrained_keys_that_do_not_match(seed: int, fixed: bool) -> Training:
    """strict=False hides that every key has a prefix; the backbone is then frozen as it was initialised."""
    state = pretrained_cnn().state_dict()
    state = {name if fixed else f"module.{name}": tensor for name, tensor in state.items()}
    model = nets.cnn(4)
    model.load_state_dict(state, strict=False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(), adam(1e-2), 8)
    training.optimizer = Adam(model[-1].parameters(), lr=1e-2)

    def backbone_in_eval(training: Training, epoch: int) -> None:
        training.model.eval()

    training.begin_epoch = backbone_in_eval
    return training


@sick("gpt", "checkpoint-not-loaded", also=_INITIAL, proof=harmed(0.3), bar=0.6)
def fresh_model_handed_over(seed: int, fixed: bool) -> Training:
    """The file was written by a wrapped model: none of its keys is found, and nobody looks."""
    training = counting_gpt(9)
    start = copy.deepcopy(training.model.state_dict())

    def restore(training: Training) -> None:
        saved = {("" if fixed else "wrapped.") + name: t for name, t in training.model.state_dict().items()}
        saved = copy.deepcopy(saved)
        training.model.load_state_dict(start)
        training.model.load_state_dict(saved, strict=False)

    training.finish = restore
    return training


@sick(
    "conv1d",
    "layer-collapse",
    also=("underfitting", "undertrained", "wrong-output-activation"),
    proof=harmed(0.3),
    bar=0.85,
)
def layer_norm_over_one_number(seed: int, fixed: bool) -> Training:
    """Each step of the wave is normalised by itself, and comes out as the bias."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm([24, 1]) if fixed else nn.LayerNorm(1)
            self.net = nets.Recurrent(nn.GRU, 1, 20, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.norm(x))

    return program(Normed(), data.waves(), adam(8e-3), 12)


@sick(
    "mlp",
    "layer-collapse",
    "over-regularised",
    also=("underfitting", "undertrained", "vanishing-gradients"),
    proof=harmed(0.2),
    bar=0.85,
)
def one_layer_decayed_to_nothing(seed: int, fixed: bool) -> Training:
    """A group of its own with a decay that was meant for something else."""
    training = clusters_mlp(epochs=14)
    middle = list(training.model[2].parameters())
    others = [*training.model[0].parameters(), *training.model[4].parameters()]
    groups = [{"params": others}, {"params": middle, "weight_decay": 1e-4 if fixed else 7.0}]
    training.optimizer = SGD(groups, lr=0.1, momentum=0.5)
    return training


@sick(
    "mlp", "layer-collapse", also=("underfitting", "undertrained", "missing-nonlinearity"), proof=harmed(0.15), bar=0.85
)
def outputs_averaged_away(seed: int, fixed: bool) -> Training:
    """The mean is taken over the features and spread again: one number is left of the layer."""

    class Averaged(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if fixed else x.mean(1, keepdim=True).expand_as(x)

    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), Averaged(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))
    return program(model, data.clusters(), adam(3e-3), 14)
