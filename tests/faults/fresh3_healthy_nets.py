"""Third fresh healthy programs: other ways down, and nets of unusual make. All of them work."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import LBFGS, Adagrad, Optimizer, RMSprop, Rprop, lr_scheduler

from . import fresh3_data, nets
from .case import Training, healthy
from .fresh3_programs import Camps, cosine, picked, reinforce, step_down
from .metrics import BINARY_ACCURACY, R2
from .programs import adam, adamw, program, sgd, token_loss

# other ways down


@healthy("mlp", bar=0.9)
def plain_descent_without_momentum(seed: int) -> Training:
    return program(nets.mlp(2, 48, 48, 2), fresh3_data.crescents(1600), sgd(0.2), 30)


@healthy("mlp", bar=0.75)
def adagrad_at_a_twentieth(seed: int) -> Training:
    table = fresh3_data.soils(2600)
    return program(nets.mlp(8, 64, 64, 4), table, lambda m: Adagrad(m.parameters(), lr=0.05), 20)


@healthy("regression", bar=0.9)
def rmsprop_with_momentum(seed: int) -> Training:
    optimizer = lambda m: RMSprop(m.parameters(), lr=1e-3, momentum=0.9)  # noqa: E731
    return cosine(
        program(nets.mlp(5, 48, 48, 1, act=nn.SiLU), fresh3_data.rentals(), optimizer, 15, loss=nn.MSELoss(), metric=R2)
    )


@healthy("regression", bar=0.9)
def second_order_steps_on_the_whole_table(seed: int) -> Training:
    """LBFGS with a closure, one batch an epoch, as in PyTorch's example of sine waves."""

    def step(training: Training, batch: Any) -> Tensor:
        x, y = batch

        def closure() -> Tensor:
            training.optimizer.zero_grad()
            loss = training.loss(training.model(x), y)
            loss.backward()
            return loss

        return training.optimizer.step(closure)

    table = fresh3_data.rentals(1600)
    optimizer = lambda m: LBFGS(m.parameters(), lr=0.8, max_iter=6, history_size=10)  # noqa: E731
    model = nets.mlp(5, 24, 24, 1, act=nn.Tanh)
    return program(model, table, optimizer, 25, loss=nn.MSELoss(), metric=R2, batch=2000, step=step)


class Trusted(Optimizer):
    """Adam whose step of each matrix is as long as a share of the matrix (LAMB, You 2020)."""

    def __init__(self, params: Any, lr: float, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s["n"], s["m"], s["v"] = 0, torch.zeros_like(p), torch.zeros_like(p)
                s["n"] += 1
                s["m"].lerp_(p.grad, 0.1)
                s["v"].lerp_(p.grad.square(), 0.01)
                step = (s["m"] / (1 - 0.9 ** s["n"])) / ((s["v"] / (1 - 0.99 ** s["n"])).sqrt() + 1e-6)
                step = step + group["decay"] * p
                size, length = p.norm(), step.norm()
                trust = float(size / length) if size > 0 and length > 0 else 1.0
                p.add_(step, alpha=-group["lr"] * min(trust, 10.0))


@healthy("mlp", bar=0.75)
def large_batches_with_trusted_steps(seed: int) -> Training:
    table = fresh3_data.soils(2600)
    optimizer = lambda m: Trusted(m.parameters(), lr=0.03)  # noqa: E731
    return cosine(program(nets.mlp(8, 64, 64, 4), table, optimizer, 40, batch=256))


@healthy("graph", bar=0.82)
def resilient_steps_on_all_graphs_at_once(seed: int) -> Training:
    """One batch an epoch, as graph nets on one large graph are trained, by Rprop."""
    optimizer = lambda m: Rprop(m.parameters(), lr=2e-3)  # noqa: E731
    return program(Camps(width=12), fresh3_data.networks(), optimizer, 40, loss=token_loss, batch=1000)


@healthy("mlp", bar=0.75)
def warm_restarts_three_times(seed: int) -> Training:
    training = program(nets.mlp(8, 64, 64, 4), fresh3_data.soils(2600), adamw(4e-3), 21)
    training.scheduler = lr_scheduler.CosineAnnealingWarmRestarts(training.optimizer, 3, 2)
    return training


@healthy("mlp", bar=0.75)
def weights_averaged_at_the_end(seed: int) -> Training:
    """An exponential average of the weights is handed over."""
    model = nets.mlp(8, 64, 64, 4)
    mean = copy.deepcopy(model).requires_grad_(False)

    def step(training: Training, batch: Any) -> Tensor:
        loss = training.loss(training.model(*batch[:-1]), batch[-1])
        step_down(loss, training.optimizer)
        with torch.no_grad():
            for a, p in zip(mean.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 0.02)
        return loss

    def finish(training: Training) -> None:
        model.load_state_dict(mean.state_dict())

    return program(model, fresh3_data.soils(2600), adam(3e-3), 16, step=step, finish=finish)


# other nets


@healthy("regression", bar=0.9)
def one_layer_of_two_thousand(seed: int) -> Training:
    """Far more weights than samples, and no harm done."""
    return cosine(
        program(nets.mlp(5, 2048, 1), fresh3_data.rentals(1600), adam(2e-3), 16, loss=nn.MSELoss(), metric=R2)
    )


@healthy("mlp", bar=0.9)
def six_wide_and_six_deep(seed: int) -> Training:
    model = nets.mlp(2, *([8] * 6), 2, act=nn.ELU)
    return cosine(program(model, fresh3_data.crescents(1800), adam(8e-3), 25))


@healthy("mlp", bar=0.72)
def selu_with_alpha_dropout(seed: int) -> Training:
    """Self-normalising (Klambauer 2017), weights begun as it asks."""
    layers: list[nn.Module] = []
    for a, b in ((8, 64), (64, 64), (64, 64)):
        layers += [nn.Linear(a, b), nn.SELU(), nn.AlphaDropout(0.05)]
        nn.init.kaiming_normal_(layers[-3].weight, nonlinearity="linear")
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    return cosine(program(model, fresh3_data.soils(2600), adam(2e-3), 20))


@healthy("mlp", bar=0.7)
def no_bias_anywhere(seed: int) -> Training:
    layers = [nn.Linear(8, 96, bias=False), nn.ReLU(), nn.Linear(96, 96, bias=False), nn.ReLU()]
    return cosine(
        program(nn.Sequential(*layers, nn.Linear(96, 4, bias=False)), fresh3_data.soils(3000), adam(4e-3), 20)
    )


@healthy("regression", bar=0.85)
def bounded_by_spectral_norm(seed: int) -> Training:
    layers: list[nn.Module] = []
    for a, b in ((5, 64), (64, 64), (64, 64)):
        layers += [parametrizations.spectral_norm(nn.Linear(a, b)), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 1))
    return cosine(program(model, fresh3_data.rentals(1600), adam(6e-3), 20, loss=nn.MSELoss(), metric=R2))


@healthy("regression", bar=0.85)
def lengths_and_directions_apart(seed: int) -> Training:
    """Weight normalisation (Salimans 2016)."""
    layers: list[nn.Module] = []
    for a, b in ((5, 48), (48, 48)):
        layers += [parametrizations.weight_norm(nn.Linear(a, b)), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(48, 1))
    return cosine(program(model, fresh3_data.rentals(1600), adam(6e-3), 18, loss=nn.MSELoss(), metric=R2))


class Flowing(nn.Module):
    """One block passed eight times, as a differential equation is followed in steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope, self.head = nn.Linear(8, 32), nets.mlp(33, 64, 32, act=nn.Tanh), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for k in range(8):
            h = h + self.slope(torch.cat([h, torch.full((len(h), 1), k / 8)], 1)) / 8
        return self.head(h)


@healthy("shared-weights", bar=0.75)
def an_equation_followed_in_eight_steps(seed: int) -> Training:
    return cosine(program(Flowing(), fresh3_data.soils(2400), adam(4e-3), 14))


class Settled(nn.Module):
    """The point where a layer comes to rest, found without gradient; the last step has one (Fung 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.again, self.head = nn.Linear(8, 64), nn.Linear(64, 64, bias=False), nn.Linear(64, 4)
        nn.init.orthogonal_(self.again.weight, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        given = self.given(x)
        with torch.no_grad():
            h = torch.zeros_like(given)
            for _ in range(12):
                h = torch.relu(self.again(h) + given)
        return self.head(torch.relu(self.again(h.detach()) + given))


@healthy("equilibrium", bar=0.72)
def a_layer_at_rest(seed: int) -> Training:
    return cosine(program(Settled(), fresh3_data.soils(2600), adam(4e-3), 20))


class Experts(nn.Module):
    """Four small nets; the best two of each row are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nets.mlp(8, 24, 4) for _ in range(4))
        self.gate = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        score, chosen = self.gate(x).topk(2, dim=1)
        said = torch.stack([expert(x) for expert in self.experts], 1)
        said = said.gather(1, chosen[..., None].expand(-1, -1, 4))
        return (score.softmax(1)[..., None] * said).sum(1)


@healthy("mixture", bar=0.75)
def two_experts_of_four(seed: int) -> Training:
    return cosine(program(Experts(), fresh3_data.soils(2600), adam(6e-3), 20))


class Written(nn.Module):
    """A net that writes the weights of another from the town of a customer."""

    def __init__(self) -> None:
        super().__init__()
        self.town, self.job = nn.Embedding(12, 5), nn.Embedding(7, 4)
        self.writer, self.last = nets.mlp(5, 32, 8 * 16 + 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.writer(self.town(x[:, 0].long()))
        matrix, bias = weights[:, :128].view(-1, 16, 8), weights[:, 128:]
        h = torch.cat([self.job(x[:, 1].long()), x[:, 2:]], 1)
        return self.last(torch.relu((matrix @ h[..., None])[..., 0] + bias))


@healthy("hypernetwork", bar=0.8)
def a_net_that_writes_weights(seed: int) -> Training:
    loss = nn.BCEWithLogitsLoss()
    return cosine(program(Written(), fresh3_data.customers(3600), adam(4e-3), 8, loss=loss, metric=BINARY_ACCURACY))


class Signs(torch.autograd.Function):
    """Signs whose slope is taken to be 1 near 0 (Bengio 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * (ctx.saved_tensors[0].abs() < 1)


class Binary(nn.Module):
    """Hidden units say -1 or 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 192), nn.BatchNorm1d(192), nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Signs.apply(self.norm(self.first(x))))


@healthy("binary", bar=0.68)
def units_that_say_yes_or_no(seed: int) -> Training:
    return cosine(program(Binary(), fresh3_data.soils(3000), adam(3e-3), 20))


class Rezero(nn.Module):
    """Residual blocks that are let in by a number, which starts at 0 (Bachlechner 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 48), nn.Linear(48, 4)
        self.blocks = nn.ModuleList(nets.mlp(48, 48, 48) for _ in range(6))
        self.doors = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for door, block in zip(self.doors, self.blocks, strict=True):
            h = h + door * block(h)
        return self.head(h)


@healthy("resnet", bar=0.75)
def branches_shut_at_first(seed: int) -> Training:
    return cosine(program(Rezero(), fresh3_data.soils(2600), adam(3e-3), 14))


@healthy("policy", bar=0.6)
def policy_by_its_rewards_alone(seed: int) -> Training:
    """REINFORCE with a mean for a baseline: what it says as a loss means little."""
    return program(nets.mlp(6, 48, 48, 4), fresh3_data.bandit(3000), adam(4e-3), 20, loss=picked, step=reinforce())
