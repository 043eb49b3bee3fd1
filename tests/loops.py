"""A training loop as people write it, under a monitor, and what its report comes to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

import reportgen
from reportgen.document.facts import Report, Severity

Loss = Callable[[Tensor, Tensor], Tensor]
Pairs = DataLoader[tuple[Tensor, ...]]


def watched(model: nn.Module, optimizer: Optimizer, loss: Loss, train: Pairs, val: Pairs, epochs: int) -> Report:
    """Train, with the validation loss after each epoch, and report on both splits."""
    torch.set_num_threads(1)
    with reportgen.Monitor(model, optimizer, loss=loss, progress=False) as monitor:
        for epoch in range(epochs):
            model.train()
            for x, y in train:
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            model.eval()
            with torch.no_grad():
                monitor.log(epoch=epoch, val_loss=sum(float(loss(model(x), y)) for x, y in val) / len(val))
    return monitor.report(val, train_data=train, loss=loss)


def causes(report: Report) -> set[str]:
    """Return the causes that call for action."""
    return {d.cause for d in report.diagnoses if d.severity is not Severity.INFO}
