"""What a case of the bench is: one small training, how it is judged, and the causes that it may be told to have."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# every cause that a diagnosis may name, by group
GROUPS: dict[str, tuple[str, ...]] = {
    "output and loss": (
        "double-softmax",
        "wrong-output-activation",
        "wrong-loss",
        "loss-shape-broadcast",
        "loss-sign-flipped",
    ),
    "step size": (
        "lr-too-high",
        "lr-too-low",
        "lr-schedule-collapse",
        "gradient-clipping-too-small",
        "undertrained",
    ),
    "loop": ("missing-zero-grad", "no-weight-update", "eval-mode-training"),
    "untrained part": (
        "detached-graph",
        "params-not-in-optimizer",
        "unregistered-parameters",
        "frozen-layers",
        "unused-parameters",
    ),
    "gradient flow": ("bad-init", "vanishing-gradients", "exploding-gradients"),
    "activations": ("dead-relu", "saturated-activations", "missing-nonlinearity"),
    "numerics": ("numerical-instability", "nan-in-data"),
    "scale": ("unnormalised-input", "unscaled-target"),
    "labels": ("label-corruption", "label-noise", "class-imbalance"),
    "split and order": ("unshuffled-data", "train-val-mismatch", "data-leakage", "wrong-augmentation"),
    "norm and dropout": ("bn-statistics", "dropout-active-in-eval"),
    "fit": ("overfitting", "underfitting", "over-regularised", "too-little-data"),
    "structure": ("batch-mixing", "causal-leak", "missing-position-info", "posterior-collapse"),
    "integrity": ("non-finite-weights", "checkpoint-not-loaded", "layer-collapse"),
}
GROUP_OF = {cause: group for group, causes in GROUPS.items() for cause in causes}


@dataclass(frozen=True)
class Metric:
    """A score, higher is better, and what a constant answer would get."""

    name: str
    """As a user logs it, without ``val_``."""
    score: Callable[[Any, Tensor], float]
    constant: Callable[[Tensor], float]


@dataclass
class Training:
    """One program: all that the loop needs. Whatever a fault needs otherwise is a field, so that the loop is one."""

    model: nn.Module
    optimizer: Optimizer | list[Optimizer]
    loss: Callable[[Any, Any], Tensor]
    train: Iterable[Any]
    val: Iterable[Any]
    epochs: int
    metric: Metric
    scheduler: Any = None
    scheduler_every: Literal["epoch", "step"] = "epoch"
    step: Callable[[Training, Any], Tensor] | None = None
    """One batch: forward, backward, update; returns the loss. None = the usual one."""
    begin_epoch: Callable[[Training, int], None] = lambda training, epoch: _mode(training, True)
    begin_validation: Callable[[Training], None] = lambda training: _mode(training, False)
    finish: Callable[[Training], None] | None = None
    """Done to the model after the last epoch, before it is examined."""
    supervised: bool = True
    """False: targets and loss mean nothing to a report (a generator), so it is given the inputs alone."""
    patience: int | None = None
    """Stop after so many epochs without a better validation loss."""
    fresh: Iterable[Any] | None = None
    """Samples prepared as they will be in use, which the diagnosis never sees."""


def _mode(training: Training, train: bool) -> None:
    training.model.train(train)


@dataclass
class Outcome:
    """What a training came to, seen from outside."""

    training: Training
    losses: list[float]
    """Validation loss by epoch."""
    scores: list[float]
    """Validation score by epoch."""
    steps: list[float]
    """Training loss by step."""
    score: float
    """On the validation data, of the model as it was handed over."""
    train_score: float
    fresh_score: float | None
    constant: float
    """Score of a constant answer on the validation data."""
    report: Any = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Case:
    """A program with a fault and the same program with only the fault repaired, or (no causes) a healthy one."""

    name: str
    family: str
    causes: frozenset[str]
    """A right report names at least one of them as a warning or an error."""
    also: frozenset[str]
    """Further causes that are true of the sick run, as consequences or by another name."""
    build: Callable[[int, bool], Training]
    """(seed, fixed) -> the program."""
    proof: Callable[[Outcome, Outcome], bool] | None = None
    """(sick, twin) -> whether the fault did harm, or is plainly there."""
    bar: float = 0.0
    """Score that the healthy program reaches at least."""
    module: str = ""
    """File of the case, without its folder."""
    healthy: bool = field(init=False)

    def __post_init__(self) -> None:
        unknown = (self.causes | self.also) - set(GROUP_OF)
        if unknown:
            raise ValueError(f"{self.name}: no such cause: {', '.join(sorted(unknown))}")
        object.__setattr__(self, "healthy", not self.causes)

    def program(self, seed: int, fixed: bool = False) -> Training:
        """Build the program; the same seed gives the same numbers."""
        seed_all(seed)
        return self.build(seed, fixed)


CASES: dict[str, Case] = {}

Build = Callable[[int, bool], Training]


def sick(
    family: str,
    *causes: str,
    also: tuple[str, ...] = (),
    proof: Callable[[Outcome, Outcome], bool],
    bar: float,
) -> Callable[[Build], Build]:
    """Register a faulty program and its twin; the name of the function is the name of the case."""

    def register(build: Build) -> Build:
        _add(Case(_name(build), family, frozenset(causes), frozenset(also), build, proof, bar, _module(build)))
        return build

    return register


def healthy(family: str, bar: float) -> Callable[[Callable[[int], Training]], Callable[[int], Training]]:
    """Register a healthy program."""

    def register(build: Callable[[int], Training]) -> Callable[[int], Training]:
        name = _name(build)
        program: Build = lambda seed, fixed: build(seed)  # noqa: E731
        _add(Case(name, family, frozenset(), frozenset(), program, None, bar, _module(build)))
        return build

    return register


def _name(build: Callable[..., Training]) -> str:
    return build.__name__.replace("_", "-")


def _module(build: Callable[..., Training]) -> str:
    return build.__module__.rpartition(".")[2]


def _add(case: Case) -> None:
    if case.name in CASES:
        raise ValueError(f"two cases are named {case.name}")
    CASES[case.name] = case


def harmed(by: float) -> Callable[[Outcome, Outcome], bool]:
    """The twin scores better by that much."""
    return lambda sick, twin: not sick.score > twin.score - by


def deceived(by: float) -> Callable[[Outcome, Outcome], bool]:
    """The validation score promises that much more than the model keeps on fresh samples; the twin's does not."""

    def proof(sick: Outcome, twin: Outcome) -> bool:
        assert sick.fresh_score is not None
        assert twin.fresh_score is not None
        return sick.score - sick.fresh_score >= by > 2 * (twin.score - twin.fresh_score)

    return proof


def shown(test: Callable[[Outcome], bool]) -> Callable[[Outcome, Outcome], bool]:
    """The fault can be seen in the sick run by this test, and cannot in the twin, whatever the score says."""
    return lambda sick, twin: test(sick) and not test(twin)


def seed_all(seed: int) -> None:
    """Seed every generator a program here may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
