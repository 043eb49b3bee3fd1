"""Losses that are back-propagated again, seen by the monitor, and loops that only look like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen

from .test_monitor import batches, net, plain, watched
from .test_monitor_loops import accumulated, loop, loss_of, sgd


class WrittenByHand(torch.optim.Optimizer):
    """Steps as many older optimizers do: into ``data``, of which autograd knows nothing."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data.add_(p.grad, alpha=-group["lr"])


def by_hand(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return WrittenByHand(model.parameters(), lr)


def totalled(*, average: bool) -> Callable[..., Tensor]:
    """A running total of losses is back-propagated at every batch."""
    losses: list[Tensor] = []

    def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        losses.append(loss_of(model, x, y))
        optimizer.zero_grad()
        total = torch.stack(losses).sum()
        (total / len(losses) if average else total).backward(retain_graph=True)
        optimizer.step()
        return losses[-1].detach()

    return step


def totalled_within(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """The same over the parts of a batch, before one step."""
    optimizer.zero_grad()
    total = torch.zeros(())
    for part in range(2):
        total = total + loss_of(model, x[part::2], y[part::2])
        total.backward(retain_graph=True)
    optimizer.step()
    return total


@pytest.mark.parametrize("average", [False, True])
def test_a_running_total_that_is_back_propagated_is_seen(average: bool) -> None:
    model = net()
    facts = loop(watched(model, by_hand(model), totalled(average=average), n=10))
    assert (facts.n_followed, facts.n_again, facts.n_twice) == (6, 6, 0)


def test_one_linear_layer_lets_any_optimizer_do_it() -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    facts = loop(watched(model, sgd(model, 1e-3), totalled(average=False), n=10))
    assert facts.n_again == facts.n_followed == 6


def test_a_total_over_the_parts_of_a_batch_is_seen() -> None:
    model = net()
    facts = loop(watched(model, sgd(model), totalled_within, n=10))
    assert (facts.n_followed, facts.n_again, facts.n_twice) == (6, 0, 6)


def looked_into_first(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """A first backward pass is for the eyes, and cleared."""
    loss = loss_of(model, x, y)
    loss.backward(retain_graph=True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def two_losses_apart(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad()
    said = model(x)
    loss = nn.functional.cross_entropy(said, y)
    loss.backward(retain_graph=True)
    said.square().mean().backward()
    optimizer.step()
    return loss


def derivatives_in_the_loss(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """As of equations of physics: the same numbers go through the outputs for each derivative, and clear nothing."""
    x = x.clone().requires_grad_(True)
    said = model(x)
    ways = torch.randn(said.shape, generator=torch.Generator().manual_seed(1))
    slopes = [torch.autograd.grad(said, x, ways, create_graph=True)[0] for _ in range(2)]
    loss = nn.functional.cross_entropy(said, y) + sum(s.square().mean() for s in slopes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def norms_logged(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss = loss_of(model, x, y)
    torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.parametrize(
    "step", [plain, accumulated, looked_into_first, two_losses_apart, derivatives_in_the_loss, norms_logged]
)
def test_losses_that_are_back_propagated_once_do_not_come_back(step: Callable[..., Tensor]) -> None:
    model = net()
    facts = loop(watched(model, sgd(model), step, n=10))
    assert facts.n_followed == 6
    assert (facts.n_again, facts.n_twice) == (0, 0)


def halves(model: nn.Module, kind: Callable[..., torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    parameters = [*model.parameters()]
    return [kind(part) for part in (parameters[:2], parameters[2:])]


def written(parameters: Any) -> torch.optim.Optimizer:
    return WrittenByHand(parameters, 1e-3)


@pytest.mark.parametrize("average", [False, True])
def test_a_running_total_of_two_optimizers_is_seen(average: bool) -> None:
    model = net()
    parts, losses = halves(model, written), []
    with reportgen.Monitor(model, parts) as monitor:
        for x, y in batches(10):
            losses.append(loss_of(model, x, y))
            total = torch.stack(losses).sum() / (len(losses) if average else 1)
            for optimizer in parts:
                optimizer.zero_grad()
            total.backward(retain_graph=True)
            for optimizer in parts:
                optimizer.step()
    facts = loop(monitor.history())
    assert (facts.n_followed, facts.n_again, facts.n_twice) == (6, 6, 0)
    assert not model._forward_hooks


def test_two_models_that_add_up_their_losses_are_seen() -> None:
    models = {"one": nn.Linear(6, 3), "other": nn.Linear(6, 3)}
    optimizers = {name: torch.optim.SGD(m.parameters(), 1e-3) for name, m in models.items()}
    totals = dict.fromkeys(models, torch.zeros(()))
    with reportgen.Monitor(models, optimizers) as monitor:
        for x, y in batches(10):
            for name, model in models.items():
                totals[name] = totals[name] + loss_of(model, x, y)
                optimizers[name].zero_grad()
                totals[name].backward(retain_graph=True)
                optimizers[name].step()
    facts = loop(monitor.history())
    assert facts.n_again == facts.n_followed == 6


def each_in_turn(model: nn.Module, parts: list[torch.optim.Optimizer], x: Tensor, y: Tensor) -> None:
    loss = loss_of(model, x, y)
    for optimizer in parts:
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()


def one_after_the_other(model: nn.Module, parts: list[torch.optim.Optimizer], x: Tensor, y: Tensor) -> None:
    loss = loss_of(model, x, y)
    for optimizer in reversed(parts):
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
    for optimizer in parts:
        optimizer.step()


def anew_for_each(model: nn.Module, parts: list[torch.optim.Optimizer], x: Tensor, y: Tensor) -> None:
    for optimizer in parts:
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        optimizer.step()


@pytest.mark.parametrize("step", [each_in_turn, one_after_the_other, anew_for_each])
def test_one_loss_of_two_optimizers_does_not_come_back(step: Callable[..., None]) -> None:
    model = net()
    parts = halves(model, written)
    with reportgen.Monitor(model, parts) as monitor:
        for x, y in batches(8):
            step(model, parts, x, y)
    facts = loop(monitor.history())
    assert facts.n_followed > 0
    assert (facts.n_again, facts.n_twice) == (0, 0)
    assert not model._forward_hooks


def test_a_maker_and_its_critic_send_nothing_back() -> None:
    torch.manual_seed(0)
    models = {"maker": nn.Sequential(nn.Linear(4, 6), nn.Tanh()), "critic": nn.Sequential(nn.Linear(6, 1))}
    optimizers = {name: WrittenByHand(m.parameters(), 1e-2) for name, m in models.items()}
    with reportgen.Monitor(models, optimizers) as monitor:
        for x, _ in batches(12):
            made = models["maker"](torch.randn(len(x), 4))
            for name, value in (
                ("critic", lambda made, x: models["critic"](made).mean() - models["critic"](x).mean()),
                ("maker", lambda made, x: -models["critic"](made).mean()),
            ):
                optimizers[name].zero_grad()
                value(made, x).backward(retain_graph=True)  # the critic's goes on into the maker
                optimizers[name].step()
    facts = loop(monitor.history())
    assert facts.n_followed > 0
    assert facts.n_again == 0
