"""What trains outside of model and optimizer: layers in plain lists, parameters of a loss, adapters made too late."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.probe.trials import idle, learning
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.subject.data import Batch

from .loops import causes
from .test_trials_model import lab

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


class Stack(nn.Module):
    """Two layers, in a list of PyTorch's or in a plain one; a third that runs, and whose result may be thrown away."""

    def __init__(self, *, plain: bool = False, thrown_away: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(6, 6), nn.Linear(6, 6)]
        self.layers = layers if plain else nn.ModuleList(layers)
        self.extra, self.head, self.thrown_away = nn.Linear(6, 6), nn.Linear(6, 2), thrown_away

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        more = self.extra(x)
        out: Tensor = self.head(x if self.thrown_away else x + more)
        return out


class Centres(nn.Module):
    """A loss with a centre for each class, and one that it never asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.centres, self.spare = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.zeros(3))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        distances: Tensor = -torch.cdist(output, self.centres)
        return nn.functional.cross_entropy(distances, target)


def test_the_graph_of_the_outputs_tells_of_layers_that_the_model_does_not_hold() -> None:
    given = [Batch((X,), {}, Y)]
    plain = Stack(plain=True)
    found = idle.outputs_alone(lab(plain, given, loss=None))
    assert found.numbers["strangers"] == 4
    assert found.numbers["stranger_elements"] == sum(p.numel() for layer in plain.layers for p in layer.parameters())
    assert found.detail["where"] == "layers"
    assert idle.outputs_alone(lab(Stack(), given, loss=None)).numbers == {"strangers": 0.0}
    with pytest.raises(NotApplicableError):
        idle.outputs_alone(lab(Stack(), given))


def test_without_a_loss_what_is_thrown_away_is_told_from_what_is_cut_off() -> None:
    class Cut(Stack):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                more = self.extra(x)
            for layer in self.layers:
                x = torch.relu(layer(x))
            out: Tensor = self.head(x + more)
            return out

    given = [Batch((X,), {}, Y)]
    thrown = idle.without_gradient(lab(Stack(thrown_away=True), given, loss=None))
    assert (thrown.numbers, thrown.detail["names"]) == ({"without": 2.0, "depends": 0.0}, "extra.bias, extra.weight")
    assert idle.without_gradient(lab(Cut(), given, loss=None)).numbers == {"without": 2.0, "depends": 1.0}
    with pytest.raises(NotApplicableError, match="every trainable"):
        idle.without_gradient(lab(Stack(), given, loss=None))


@pytest.mark.parametrize("owned", [True, False])
def test_parameters_of_the_loss(owned: bool) -> None:
    model, loss = Stack(), Centres()
    held: list[Any] = [*model.parameters(), *(loss.parameters() if owned else [])]
    optimizer = torch.optim.SGD(held, 0.1)
    step = learning.one_step(lab(model, [Batch((X,), {}, Y)], loss=loss, optimizer=optimizer))
    assert (step.numbers["unowned"], step.numbers["unowned_elements"]) == ((0, 0) if owned else (1, 4))

    data = DataLoader(TensorDataset(X, Y), 16)
    options = reportgen.Options(trial_budget=5)
    report = reportgen.examine(model, data, loss=loss, optimizer=optimizer, options=options)
    assert ("params-not-in-optimizer" in causes(report)) is not owned


class Adapted(nn.Module):
    """A layer with an adapter that begins at nothing (Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.a = nn.Parameter(0.1 * torch.randn(2, layer.in_features))
        self.b = nn.Parameter(torch.zeros(layer.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) + x @ self.a.T @ self.b.T
        return out


@pytest.mark.slow
@pytest.mark.parametrize("late", [True, False])
def test_adapters_that_were_made_after_the_optimizer(late: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    before = list(model.parameters())
    model[0] = Adapted(model[0])  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(before if late else [p for p in model.parameters() if p.requires_grad], 1e-2)
    loader = DataLoader(TensorDataset(X, Y), 16)
    loss = nn.CrossEntropyLoss()
    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value.detach())
            monitor.log(epoch=epoch)
    report = monitor.report(loader, train_data=loader)
    assert ("params-not-in-optimizer" in causes(report)) is late
    assert "detached-graph" not in causes(report)
