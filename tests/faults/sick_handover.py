"""Faults of what is handed over at the end: weights that are broken, were never loaded, or say nothing."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from . import data, nets
from .case import Outcome, Training, harmed, shown, sick
from .healthy_special import pretrained_cnn
from .loop import plain_step
from .programs import adam, clusters_mlp, counting_gpt, program, shapes_cnn

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


@sick(
    "fine-tuning",
    "checkpoint-not-loaded",
    also=("underfitting", "undertrained", "lr-too-low", "too-little-data", "overfitting"),
    proof=harmed(0.05),
    bar=0.85,
)
def file_of_which_no_key_was_kept(seed: int, fixed: bool) -> Training:
    """Keys that the model has are loaded, and none is: the body is as it was drawn, and trains at its small rate."""
    prefix = "" if fixed else "module."
    state = {f"{prefix}{key}": value for key, value in pretrained_cnn().state_dict().items()}
    model = nets.cnn(4)
    own = model.state_dict()
    model.load_state_dict(own | {key: value for key, value in state.items() if key in own})
    model[-1] = nn.Linear(24, 6)
    training = program(model, data.shapes(600), adam(1e-3), 8)
    groups = [{"params": model[:-1].parameters(), "lr": 5e-5}, {"params": model[-1].parameters(), "lr": 1e-2}]
    training.optimizer = Adam(groups)
    return training
