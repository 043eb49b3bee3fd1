"""Healthy trainings, and the same with one thing broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report
from reportgen.subject.demos import Demo


def trained(demo: Demo, epochs: int | None = None) -> Report:
    """Train a demo and examine it, as the command does."""
    torch.set_num_threads(1)
    history = reportgen.fit(
        demo.model,
        demo.train_loader,
        demo.val_loader,
        loss=demo.loss,
        optimizer=demo.optimizer,
        epochs=epochs or demo.epochs,
        progress=False,
    )
    return reportgen.examine(
        demo.model,
        demo.val_loader,
        train_data=demo.train_loader,
        loss=demo.loss,
        optimizer=demo.optimizer,
        history=history,
        options=reportgen.Options(title=demo.title, class_names=demo.class_names),
    )


def deep_sigmoid(demo: Demo) -> Demo:
    """Ten sigmoid layers in place of the model."""
    torch.manual_seed(0)
    inputs = demo.train_loader.dataset[0][0].numel()
    layers: list[nn.Module] = [nn.Flatten()]
    for n in range(10):
        layers += [nn.Linear(inputs if n == 0 else 32, 32), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(32, len(demo.class_names)))
    return replace(demo, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))


def adam_with_rate_one(demo: Demo) -> Demo:
    return replace(demo, optimizer=torch.optim.Adam(demo.model.parameters(), lr=1.0))


def inputs_times_255(demo: Demo) -> Demo:
    def scaled(loader: DataLoader[object], *, shuffle: bool) -> DataLoader[object]:
        x, y = loader.dataset.tensors  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(0)
        return DataLoader(TensorDataset(x * 255, y), loader.batch_size, shuffle=shuffle, generator=generator)

    return replace(
        demo,
        train_loader=scaled(demo.train_loader, shuffle=True),
        val_loader=scaled(demo.val_loader, shuffle=False),
    )


def softmax_before_cross_entropy(demo: Demo) -> Demo:
    return replace(demo, model=nn.Sequential(demo.model, nn.Softmax(1)))


def nan_in_one_weight(demo: Demo) -> Demo:
    with torch.no_grad():
        next(demo.model.parameters()).view(-1)[0] = float("nan")
    return replace(demo, optimizer=torch.optim.SGD(demo.model.parameters(), lr=0.0))


# how to break a demo -> the rule that must fire, and the root cause that must be named
BREAKS: dict[Callable[[Demo], Demo], tuple[str, str]] = {
    deep_sigmoid: ("grad-depth-slope", "vanishing-gradients"),
    adam_with_rate_one: ("update-ratio", "lr-too-high"),
    inputs_times_255: ("d-input-scale", "unnormalised-input"),
    softmax_before_cross_entropy: ("double-softmax", "double-softmax"),
    nan_in_one_weight: ("param-nonfinite", "non-finite-weights"),
}
