"""Fresh healthy programs: tables, embeddings and densities."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adagrad, Adam, SparseAdam

from . import data, fresh_data, nets
from .case import Metric, Training, healthy
from .metrics import ACCURACY, R2
from .programs import adam, adamw, program

# losses that are neither a mean square nor a cross-entropy


def _pinball(output: Tensor, y: Tensor, share: float = 0.9) -> Tensor:
    return torch.maximum(share * (y - output), (share - 1) * (y - output)).mean()


def _against_the_quantile(output: Tensor, y: Tensor) -> float:
    return float(1 - _pinball(output, y) / _pinball(y.quantile(0.9).expand_as(y), y))


@healthy("quantile-regression", bar=0.5)
def upper_decile(seed: int) -> Training:
    metric = Metric("skill", _against_the_quantile, lambda y: 0.0)
    return program(nets.mlp(1, 32, 32, 1), data.curve(1000, 0.3), adam(5e-3), 20, loss=_pinball, metric=metric)


@healthy("poisson-regression", bar=0.4)
def calls_an_hour(seed: int) -> Training:
    metric = replace(R2, score=lambda output, y: R2.score(output.exp(), y))
    loss = nn.PoissonNLLLoss(full=True)
    return program(nets.mlp(6, 32, 1), fresh_data.counts(), adam(3e-3), 14, loss=loss, metric=metric)


def _concordance(risk: Tensor, y: Tensor) -> float:
    """Harrell's C: of pairs whose order is known, the share that the risk puts right."""
    time, died = y[:, 0], y[:, 1] > 0.5
    earlier = (time[:, None] < time[None]) & died[:, None]
    return float((risk.squeeze(1)[:, None] > risk.squeeze(1)[None])[earlier].float().mean())


@healthy("survival", bar=0.7)
def censored_lifetimes(seed: int) -> Training:
    """Exponential lifetimes; a third of them ends after the study does."""
    x = torch.randn(1000, 8)
    hazard = (0.9 * x[:, 0] - 0.8 * x[:, 1] + 0.6 * x[:, 2] * x[:, 3]).exp()
    time, end = torch.empty(1000).exponential_() / hazard, 2.5 * torch.rand(1000) + 0.3
    y = torch.stack([torch.minimum(time, end), (time <= end).float()], 1)

    def likelihood(log_hazard: Tensor, y: Tensor) -> Tensor:
        rate = log_hazard.squeeze(1)
        return (rate.exp() * y[:, 0] - y[:, 1] * rate).mean() + 1.0

    metric = Metric("concordance", _concordance, lambda y: 0.5)
    return program(nets.mlp(8, 24, 1), data.split(x, y), adamw(3e-3), 10, loss=likelihood, metric=metric)


class Steps(nn.Module):
    """One score and ordered thresholds, as for grades."""

    def __init__(self, columns: int, grades: int) -> None:
        super().__init__()
        self.body = nets.mlp(columns, 32, 1)
        self.thresholds = nn.Parameter(torch.linspace(-1.5, 1.5, grades - 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) - self.thresholds


@healthy("ordinal", bar=0.6)
def grades_from_thresholds(seed: int) -> Training:
    x = torch.randn(1200, 6)
    value = x[:, 0] + x[:, 1] * x[:, 2].sign() + 0.25 * torch.randn(1200)
    y = torch.bucketize(value, torch.tensor([-1.2, -0.3, 0.4, 1.3]))

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, (y[:, None] > torch.arange(4)).float())

    metric = replace(ACCURACY, score=lambda output, y: float(((output > 0).sum(1) == y).float().mean()))
    return program(Steps(6, 5), data.split(x, y), adam(6e-3), 16, loss=loss, metric=metric)


@healthy("mixture-density", bar=0.3)
def two_answers_to_one_question(seed: int) -> Training:
    """The inverse of a curve has several branches, so that the mean would be a poor answer."""
    y = torch.rand(1200, 1) * 2 - 1
    x = y + 0.55 * (2 * math.pi * y).sin() + 0.05 * torch.randn_like(y)

    def surprise(output: Tensor, y: Tensor) -> Tensor:
        logit, mean, log_std = output.chunk(3, 1)
        log_std = log_std.clamp(-4, 2)
        each = F.log_softmax(logit, 1) - log_std - 0.5 * ((y - mean) / log_std.exp()) ** 2
        return 2.0 - torch.logsumexp(each, 1).mean()

    def gain(output: Tensor, y: Tensor) -> float:
        return float(2.0 + math.log(float(y.std())) + 0.5 - surprise(output, y))

    metric = Metric("gain", gain, lambda y: 0.0)
    return program(nets.mlp(1, 48, 9, act=nn.Tanh), data.split(x, y), adam(2e-3), 30, loss=surprise, metric=metric)


@healthy("multi-task", bar=0.8)
def a_class_and_a_number_from_one_body(seed: int) -> Training:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
            self.kind, self.size = nn.Linear(32, 4), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(x)
            return self.kind(h), self.size(h)

    rows = fresh_data.plain_classes(1000)
    table = replace(rows, y=_with_size(rows.x, rows.y), y_val=_with_size(rows.x_val, rows.y_val))

    def loss(output: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(output[0], y[:, 0].long()) + 0.5 * F.mse_loss(output[1], y[:, 1:])

    metric = Metric("accuracy", lambda o, y: ACCURACY.score(o, y[:, 0]), lambda y: ACCURACY.constant(y[:, 0]))
    return program(Both(), table, adam(3e-3), 10, loss=loss, metric=metric)


def _with_size(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y.float(), (x[:, 0] - x[:, 1].abs()) / 1.5], 1)


# embeddings


@healthy("recommender", bar=0.5)
def factors_of_users_and_things(seed: int) -> Training:
    """Sparse gradients with an optimizer made for them, and biases."""

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.thing = nn.Embedding(60, 4, sparse=True), nn.Embedding(50, 4, sparse=True)
            self.user_bias, self.thing_bias = nn.Embedding(60, 1, sparse=True), nn.Embedding(50, 1, sparse=True)
            for table in (self.user, self.thing):
                nn.init.normal_(table.weight, std=0.3)
            for table in (self.user_bias, self.thing_bias):
                nn.init.zeros_(table.weight)

        def forward(self, pair: Tensor) -> Tensor:
            u, v = pair[:, 0], pair[:, 1]
            return (self.user(u) * self.thing(v)).sum(1, keepdim=True) + self.user_bias(u) + self.thing_bias(v)

    pairs = torch.stack([torch.randint(0, 60, (2600,)), torch.randint(0, 50, (2600,))], 1)
    taste = (torch.randn(60, 2) @ torch.randn(2, 50)) + torch.randn(60, 1) + torch.randn(50)
    y = taste[pairs[:, 0], pairs[:, 1]][:, None] / taste.std() + 0.1 * torch.randn(2600, 1)
    return program(
        Factors(),
        data.split(pairs, y),
        lambda model: SparseAdam(list(model.parameters()), lr=2e-2),
        10,
        loss=nn.MSELoss(),
        metric=R2,
        batch=64,
    )


@healthy("wide-and-deep", bar=0.8)
def columns_of_categories_and_numbers(seed: int) -> Training:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(9, 3) for _ in range(3))
            self.deep, self.wide = nets.mlp(9 + 4, 32, 1), nn.Linear(4, 1)

        def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
            vectors = [table(categories[:, i]) for i, table in enumerate(self.tables)]
            return self.deep(torch.cat([*vectors, numbers], 1)) + self.wide(numbers)

    n = 1400
    categories, numbers, value = torch.randint(0, 9, (n, 3)), torch.randn(n, 4), torch.randn(3, 9)
    total = value[0][categories[:, 0]] * numbers[:, 0] + value[1][categories[:, 1]] + value[2][categories[:, 2]]
    y = (total - total.mean())[:, None] / total.std()
    parts = [(t[:1000], t[1000:]) for t in (categories, numbers, y)]
    train = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*(a for a, _ in parts)), batch_size=32, shuffle=True
    )
    model = Wide()
    return Training(
        model, Adagrad(model.parameters(), lr=0.05), nn.MSELoss(), train, data.loader(*(b for _, b in parts)), 16, R2
    )


@healthy("contrastive", bar=0.5)
def two_views_of_one_row_among_others(seed: int) -> Training:
    """InfoNCE: each view has to find its twin among the batch; the score is how often it does among 20."""

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nets.mlp(8, 48, 8)

        def forward(self, views: Tensor) -> Tensor:
            return F.normalize(self.encoder(views.flatten(0, 1)), dim=1).reshape(len(views), 2, -1)

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output[:, 0] @ output[:, 1].T / 0.2, torch.arange(len(output)))

    def found(output: Tensor, y: Tensor) -> float:
        likeness = [(g[:, 0] @ g[:, 1].T).argmax(1) == torch.arange(len(g)) for g in output.split(20)]
        return float(torch.cat(likeness).float().mean())

    rows = fresh_data.plain_classes(1000)
    x, x_val = (
        torch.stack([t + 0.4 * torch.randn_like(t), t + 0.4 * torch.randn_like(t)], 1) for t in (rows.x, rows.x_val)
    )
    table = data.Data(x, rows.y, x_val, rows.y_val)
    metric = Metric("found", found, lambda y: 1 / 20)
    return program(Views(), table, adam(2e-3), 12, loss=loss, metric=metric, batch=50)


# structure


@healthy("mixture-of-experts", bar=0.85)
def four_experts_and_a_gate(seed: int) -> Training:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(2, 4)
            self.experts = nn.ModuleList(nets.mlp(2, 12, 3) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            weights = self.gate(x).softmax(1)
            return (weights[:, :, None] * torch.stack([e(x) for e in self.experts], 1)).sum(1)

    return program(Experts(), fresh_data.rings(), adam(6e-3), 14)


@healthy("equilibrium", bar=0.85)
def fixed_point_of_one_layer(seed: int) -> Training:
    """One layer applied until it settles; only the last pass is differentiated."""

    class Settled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.back = nn.Linear(64, 48), nn.utils.parametrizations.spectral_norm(nn.Linear(48, 48))
            self.head = nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            u = self.into(x)
            with torch.no_grad():
                z = torch.zeros_like(u)
                for _ in range(12):
                    z = torch.tanh(0.7 * self.back(z) + u)
            return self.head(torch.tanh(0.7 * self.back(z) + u))

    return program(Settled(), fresh_data.handwriting(), adam(3e-3), 8)


@healthy("spectral-norm", bar=0.85)
def layers_of_bounded_gain(seed: int) -> Training:
    layers = [nn.utils.parametrizations.spectral_norm(nn.Linear(a, b)) for a, b in ((64, 48), (48, 48))]
    model = nn.Sequential(layers[0], nn.LeakyReLU(0.1), layers[1], nn.LeakyReLU(0.1), nn.Linear(48, 10))
    return program(model, fresh_data.handwriting(), adam(4e-3), 12)


@healthy("set", bar=0.85)
def sum_over_a_set_of_points(seed: int) -> Training:
    """The order of the points means nothing, and the net cannot see it."""

    class Set(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.whole = nets.mlp(2, 32, 32), nets.mlp(32, 32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.whole(self.each(x).amax(1))

    y = torch.arange(900) % 3
    angle = torch.rand(900, 12) * 2 * math.pi
    radius = torch.where(y[:, None] == 0, torch.ones(900, 12), torch.rand(900, 12) * 1.2)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 2)
    x[y == 2] = torch.rand(300, 12, 2) * 2 - 1
    x[y == 2, :, 1] = x[y == 2, :, 0] * 0.9
    return program(Set(), data.split(x + 0.05 * torch.randn_like(x), y), adam(3e-3), 12)


@healthy("graph", bar=0.8)
def convolution_over_a_graph_of_friends(seed: int) -> Training:
    """Two inputs: features of the nodes and a normalised adjacency; the whole graph is classified."""

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(3, 24), nn.Linear(24, 24), nn.Linear(24, 2)

        def forward(self, nodes: Tensor, links: Tensor) -> Tensor:
            h = F.relu(self.first(links @ nodes))
            return self.head(F.relu(self.second(links @ h)).mean(1))

    n, size = 700, 10
    y = torch.arange(n) % 2
    side = (torch.arange(size) < size // 2).float() * 2 - 1
    inside = 0.75 - 0.6 * y[:, None, None]  # friends live on the same side (0), or on the other (1)
    same = side[:, None] == side[None]
    links = (torch.rand(n, size, size) < torch.where(same, inside, 0.9 - inside)).float().triu(1)
    links = links + links.transpose(1, 2) + torch.eye(size)
    links = links / links.sum(2, keepdim=True)
    nodes = torch.cat([side.expand(n, size)[..., None] + 0.3 * torch.randn(n, size, 1), torch.randn(n, size, 2)], 2)
    order = torch.randperm(n)
    tensors = [t[order] for t in (nodes, links, y)]
    train = torch.utils.data.TensorDataset(*(t[:500] for t in tensors))
    model = Graph()
    return Training(
        model,
        Adam(model.parameters(), lr=5e-3),
        nn.CrossEntropyLoss(),
        torch.utils.data.DataLoader(train, batch_size=25, shuffle=True),
        data.loader(*(t[500:] for t in tensors)),
        14,
        ACCURACY,
    )
