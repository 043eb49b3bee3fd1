"""The usual programs that most cases start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from . import nets
from .case import Metric, Training
from .data import Data, clusters, counting, curve, shapes, standardised, tagging, waves
from .metrics import ACCURACY, R2


def sgd(lr: float, **options: Any) -> Callable[[nn.Module], Optimizer]:
    return lambda model: SGD(model.parameters(), lr=lr, **options)


def adam(lr: float, **options: Any) -> Callable[[nn.Module], Optimizer]:
    return lambda model: Adam(model.parameters(), lr=lr, **options)


def adamw(lr: float, **options: Any) -> Callable[[nn.Module], Optimizer]:
    return lambda model: AdamW(model.parameters(), lr=lr, **options)


def program(
    model: nn.Module,
    data: Data,
    optimizer: Callable[[nn.Module], Optimizer],
    epochs: int,
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Metric = ACCURACY,
    batch: int = 32,
    shuffle: bool = True,
    **more: Any,
) -> Training:
    """A model, its data in loaders, an optimizer over its parameters."""
    train, val = data.loaders(batch, shuffle=shuffle)
    return Training(model, optimizer(model), loss or nn.CrossEntropyLoss(), train, val, epochs, metric, **more)


def token_loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy at every place of a sequence."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def clusters_mlp(epochs: int = 12, data: Data | None = None, **more: Any) -> Training:
    """Two hidden layers on a table."""
    return program(nets.mlp(12, 32, 32, 5), data or clusters(), adam(3e-3), epochs, **more)


def shapes_cnn(epochs: int = 8, data: Data | None = None, *, norm: bool = True, **more: Any) -> Training:
    """A small convolutional net on drawings."""
    return program(nets.cnn(norm=norm), data or shapes(), adam(3e-3), epochs, **more)


def waves_recurrent(kind: type[nn.RNNBase] = nn.LSTM, epochs: int = 12, **more: Any) -> Training:
    """A recurrent net on waves of three frequencies."""
    return program(nets.Recurrent(kind, 1, 24, 3), waves(), adam(5e-3), epochs, **more)


def counting_gpt(epochs: int = 10, *, causal: bool = True, **more: Any) -> Training:
    """A language model on counting sequences."""
    model = nets.Transformer(11, 11, 13, causal=causal)
    return program(model, counting(), adamw(3e-3), epochs, loss=token_loss, **more)


def tagging_rnn(kind: type[nn.RNNBase] = nn.GRU, epochs: int = 8, **more: Any) -> Training:
    """A tag at every place of a sequence."""
    model = nets.Recurrent(kind, 6, 24, 2, symbols=True)
    model.every_step = True
    return program(model, tagging(), adam(5e-3), epochs, loss=token_loss, **more)


def curve_mlp(epochs: int = 20, **more: Any) -> Training:
    """Regression on one variable."""
    return program(nets.mlp(1, 32, 32, 1), curve(), adam(5e-3), epochs, loss=nn.MSELoss(), metric=R2, **more)


def unit_scaled(data: Data) -> Data:
    """Inputs and regression targets in standard scale by figures of the training samples."""
    mean, std = data.y.mean(0), data.y.std(0)
    data = standardised(data)
    return Data(data.x, (data.y - mean) / std, data.x_val, (data.y_val - mean) / std)
