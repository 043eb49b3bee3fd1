"""Scores, higher is better, with what a constant answer gets on the same targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .case import Metric


def _share_of_commonest(y: Tensor) -> float:
    return float(y.flatten().long().bincount().max()) / y.numel()


def _accuracy(output: Any, y: Tensor) -> float:
    return float((output.argmax(-1) == y).float().mean())


def _binary_accuracy(output: Any, y: Tensor) -> float:
    return float(((output > 0) == (y > 0.5)).float().mean())


def _balanced_accuracy(output: Any, y: Tensor) -> float:
    guess = output.argmax(1)
    return float(torch.stack([(guess[y == c] == c).float().mean() for c in y.unique()]).mean())


def _r2(output: Any, y: Tensor) -> float:
    output, y = output.double().reshape(len(y), -1), y.double().reshape(len(y), -1)
    return float(1 - (output - y).square().sum() / (y - y.mean(0)).square().sum())


def _ring(output: Any, y: Tensor) -> float:
    """One minus the energy distance (Székely 2003) between generated and real points, over their spread."""
    between, within_a, within_b = (torch.cdist(a, b).mean() for a, b in ((output, y), (output, output), (y, y)))
    return float(1 - (2 * between - within_a - within_b) / within_b)


def _dice(output: Any, y: Tensor) -> float:
    named = (output > 0).float()
    return float(2 * (named * y).sum() / (named.sum() + y.sum()).clamp_min(1))


ACCURACY = Metric("accuracy", _accuracy, _share_of_commonest)
BINARY_ACCURACY = Metric("accuracy", _binary_accuracy, lambda y: max(float(y.mean()), 1 - float(y.mean())))
BALANCED_ACCURACY = Metric("balanced_accuracy", _balanced_accuracy, lambda y: 1 / len(y.unique()))
R2 = Metric("r2", _r2, lambda y: 0.0)
RING = Metric("likeness", _ring, lambda y: 0.0)
DICE = Metric("dice", _dice, lambda y: 2 * float(y.mean()) / (1 + float(y.mean())))
