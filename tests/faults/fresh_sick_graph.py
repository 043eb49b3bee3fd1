"""Fresh cases: parts that are not trained, and faults of structure."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from . import data, fresh_data, nets
from .case import Outcome, Training, harmed, shown, sick
from .metrics import ACCURACY, R2
from .programs import adam, adamw, program, token_loss

SLOW = ("underfitting", "undertrained")


class Cell(nn.Module):
    """A recurrent cell unrolled by hand over symbols; the last state is classified."""

    def __init__(self, symbols: int, width: int, outputs: int, *, cut: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.cell = nn.GRUCell(width, width)
        self.head = nn.Linear(width, outputs)
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(self.embed(x[:, t]), h.detach() if self.cut else h)
        return self.head(h)


@sick("gru", "detached-graph", also=("vanishing-gradients", *SLOW), proof=harmed(0.3), bar=0.9)
def state_detached_at_every_step(seed: int, fixed: bool) -> Training:
    return program(Cell(4, 32, 4, cut=not fixed), fresh_data.remembered(), adam(1e-2), 10)


class Translator(nn.Module):
    """Encoder and decoder with attention between them."""

    def __init__(self, symbols: int = 8, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(2 * width, symbols)

    def forward(self, source: Tensor, given: Tensor) -> Tensor:
        memory, last = self.encoder(self.embed(source))
        h, _ = self.decoder(self.embed(given), last)
        weights = (h @ memory.transpose(1, 2) / h.shape[-1] ** 0.5).softmax(-1)
        return self.head(torch.cat([h, weights @ memory], -1))


def translation(model: nn.Module, optimizer: Any, epochs: int, **more: Any) -> Training:
    """Sources reversed; batches of source, what the decoder is given, and what it shall say."""
    tensors = fresh_data.reversed_words()
    train, val = ([t[part] for t in tensors] for part in (slice(0, 650), slice(650, None)))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*train), batch_size=32, shuffle=True)
    return Training(model, optimizer, token_loss, loader, data.loader(*val), epochs, ACCURACY, **more)


@sick(
    "seq2seq", "params-not-in-optimizer", also=("frozen-layers", "no-weight-update", *SLOW), proof=harmed(0.1), bar=0.8
)
def decoder_left_out_of_the_optimizer(seed: int, fixed: bool) -> Training:
    model = Translator(width=24)
    parts = [model.embed, model.encoder] + ([model.decoder, model.head] if fixed else [])
    return translation(model, Adam([p for m in parts for p in m.parameters()], lr=6e-3), 12)


def _strangers(outcome: Outcome) -> bool:
    optimizer = outcome.training.optimizer
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return any(id(p) not in owned for p in outcome.training.model.parameters())


@sick("cnn", "params-not-in-optimizer", also=("frozen-layers", *SLOW), proof=harmed(0.05), bar=0.85)
def groups_that_forget_the_middle(seed: int, fixed: bool) -> Training:
    """Rates by group, written out by hand: the second and third convolutions are in none."""
    model = nets.cnn(4, width=4, norm=False)
    first, second, third, head = model[0], model[3], model[6], model[-1]

    def groups(_: nn.Module) -> Adam:
        middle = [{"params": [*second.parameters(), *third.parameters()], "lr": 4e-3}] if fixed else []
        return Adam([{"params": first.parameters(), "lr": 3e-3}, *middle, {"params": head.parameters(), "lr": 4e-3}])

    return program(model, fresh_data.gratings(noise=0.8), groups, 14)


class Columns(nn.Module):
    """One small table of vectors for each categorical column."""

    def __init__(self, sizes: list[int], width: int, outputs: int, *, registered: bool) -> None:
        super().__init__()
        tables = {f"column{i}": nn.Embedding(n, width) for i, n in enumerate(sizes)}
        self.tables: Any = nn.ModuleDict(tables) if registered else tables
        self.head = nets.mlp(width * len(sizes), 16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.tables[f"column{i}"](x[:, i]) for i in range(x.shape[1])], 1))


@sick(
    "embedding",
    "unregistered-parameters",
    also=("params-not-in-optimizer", *SLOW),
    proof=harmed(0.03),
    bar=0.8,
)
def vectors_of_columns_in_a_plain_dict(seed: int, fixed: bool) -> Training:
    x = torch.randint(0, 12, (1600, 4))
    value = torch.randn(4, 12)
    total = sum(value[i][x[:, i]] for i in range(4))
    table = data.split(x, (total > 0).long())
    return program(Columns([12] * 4, 2, 2, registered=fixed), table, adam(1e-2), 10)


def _still(outcome: Outcome) -> bool:
    return any(not p.requires_grad for p in outcome.training.model.parameters())


@sick("text", "frozen-layers", also=SLOW, proof=shown(_still), bar=0.85)
def embedding_made_from_random_vectors(seed: int, fixed: bool) -> Training:
    """``from_pretrained`` freezes what it is given unless told not to."""
    vectors = torch.randn(40, 4)
    embed = nn.Embedding.from_pretrained(vectors, freeze=not fixed)

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = embed, nets.mlp(4, 16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x).mean(1))

    return program(Bag(), fresh_data.topics(), adam(1e-2), 12)


@sick("cnn", "frozen-layers", also=SLOW, proof=harmed(0.05), bar=0.85)
def never_thawed_after_the_head_was_warm(seed: int, fixed: bool) -> Training:
    model = nets.cnn(4, width=6)
    body, head = model[:-1], model[-1]
    body.requires_grad_(False)

    def begin(training: Training, epoch: int) -> None:
        model.train()
        if epoch == 2 and fixed:
            body.requires_grad_(True)

    assert head.weight.requires_grad
    return program(model, fresh_data.gratings(), adam(5e-3), 14, begin_epoch=begin)


@sick("mlp", "unused-parameters", also=SLOW, proof=harmed(0.1), bar=0.85)
def one_branch_called_twice_by_a_slip(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.out = nets.mlp(4, 16, 16), nets.mlp(4, 16, 16), nn.Linear(32, 6)

        def forward(self, x: Tensor) -> Tensor:
            left, right = x.chunk(2, 1)
            a, b = self.left(left), self.right(right) if fixed else self.left(left)
            return self.out(F.relu(torch.cat([a, b], 1)))

    return program(Net(), fresh_data.plain_classes(1200, kinds=6, gap=2.4), adam(4e-3), 10)


@sick("mlp", "missing-nonlinearity", also=("underfitting",), proof=harmed(0.2), bar=0.9)
def activation_whose_result_is_dropped(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc1(x)
            F.relu(x)
            x = F.relu(x) if fixed else x
            x = self.fc2(x)
            F.relu(x)
            return self.fc3(F.relu(x) if fixed else x)

    return program(Net(), fresh_data.rings(), adam(5e-3), 12)


# structure


@torch.no_grad()
def _neighbours_matter(outcome: Outcome) -> bool:
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:16]
    before, after = x.clone(), x.clone()
    before[:8], after[8:] = x[8:9], x[:1]
    with_others = torch.cat([model(after)[:8], model(before)[8:]])
    return not torch.allclose(model(x), with_others, atol=1e-4)


class LastState(nn.Module):
    """A GRU over vectors and a head on its last state."""

    def __init__(self, inputs: int, width: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.rnn = nn.GRU(inputs, width, **options)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(x)
        return self.head(h[:, -1])


@sick("gru", "batch-mixing", also=SLOW, proof=shown(_neighbours_matter), bar=0.85)
def recurrent_net_that_takes_the_batch_for_time(seed: int, fixed: bool) -> Training:
    return program(
        LastState(1, 24, 1, batch_first=fixed), fresh_data.load_curve(), adam(6e-3), 12, loss=nn.MSELoss(), metric=R2
    )


@sick("mlp", "batch-mixing", also=SLOW, proof=shown(_neighbours_matter), bar=0.85)
def features_normalised_along_the_batch(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nets.mlp(64, 64, 32), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(6 * F.normalize(self.body(x), dim=1 if fixed else 0))

    return program(Net(), fresh_data.handwriting(), adam(3e-3), 8)


@torch.no_grad()
def _future_matters(outcome: Outcome) -> bool:
    model = outcome.training.model.eval()
    x = next(iter(outcome.training.val))[0][:8]
    later = x.clone()
    half = x.shape[1] // 2
    later[:, half:] = x[:, half:].flip(0)
    return not torch.allclose(model(x)[:, :half], model(later)[:, :half], atol=1e-4)


class Forecaster(nn.Module):
    """Says the next value at every place of a series."""

    def __init__(self, *, leaky: bool, width: int = 24) -> None:
        super().__init__()
        self.rnn, self.head, self.leaky = nn.GRU(1, width, batch_first=True), nn.Linear(width, 1), leaky

    def forward(self, x: Tensor) -> Tensor:
        if self.leaky:  # each series brought to mean 0 and deviation 1 over all of its length
            x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        h, _ = self.rnn(x[..., None])
        return self.head(h)[..., 0]


@sick("forecast", "causal-leak", also=("data-leakage",), proof=shown(_future_matters), bar=0.5)
def series_scaled_by_figures_of_its_own_future(seed: int, fixed: bool) -> Training:
    return program(Forecaster(leaky=not fixed), fresh_data.walks(), adam(5e-3), 14, loss=nn.MSELoss(), metric=R2)


class Masked(nn.Module):
    """One block of attention whose mask is built by hand; True forbids."""

    def __init__(self, symbols: int, length: int, width: int = 24, *, wrong: bool) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.block = nn.TransformerEncoderLayer(width, 2, 48, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, symbols)
        square = torch.ones(length, length, dtype=torch.bool)
        self.register_buffer("mask", square.tril(-1) if wrong else square.triu(1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.places.weight[: x.shape[1]]
        return self.head(self.block(h, src_mask=self.mask))


@sick("gpt", "causal-leak", also=("data-leakage",), proof=shown(_future_matters), bar=0.6)
def mask_of_the_wrong_triangle(seed: int, fixed: bool) -> Training:
    return program(Masked(11, 13, wrong=not fixed), data.counting(), adamw(4e-3), 12, loss=token_loss)


class Patches(nn.Module):
    """A signal cut into patches and read by attention, with or without places."""

    def __init__(self, *, places: bool, patch: int = 6, count: int = 8, width: int = 24) -> None:
        super().__init__()
        self.cut = nn.Conv1d(1, width, patch, stride=patch)
        self.places = nn.Parameter(0.1 * torch.randn(count, width)) if places else None
        self.block = nets.Block(width)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.cut(x).transpose(1, 2)
        h = h if self.places is None else h + self.places
        return self.head(self.block(h).mean(1))


@sick("transformer", "missing-position-info", also=SLOW, proof=harmed(0.3), bar=0.8)
def patches_of_a_signal_without_places(seed: int, fixed: bool) -> Training:
    """Where the bump lies cannot be told from patches that have no order."""
    table = data.bumps(length=48, noise=0.15)
    return program(Patches(places=fixed), table, adamw(5e-3), 16, loss=nn.MSELoss(), metric=R2)


class Bag(nn.Module):
    """The mean of the words, or the last state over them."""

    def __init__(self, *, ordered: bool, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(fresh_data.WORDS, width)
        self.rnn = nn.GRU(width, width, batch_first=True) if ordered else None
        self.head = nets.mlp(width, 24, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = h if self.rnn is None else self.rnn(h)[0]
        return self.head(h.mean(1))


@sick("text", "missing-position-info", also=SLOW, proof=harmed(0.15), bar=0.85)
def bag_of_words_that_cannot_see_what_not_belongs_to(seed: int, fixed: bool) -> Training:
    return program(Bag(ordered=fixed), fresh_data.reviews(2000, 14, negated=0.5), adam(4e-3), 9)


@torch.no_grad()
def _code_is_silent(outcome: Outcome) -> bool:
    """Tell whether rebuilt samples hardly differ from one another."""
    rebuilt = outcome.training.model.eval()(next(iter(outcome.training.val))[0])[0]
    x = next(iter(outcome.training.val))[0]
    return bool(rebuilt.var(0).mean() < 0.05 * x.var(0).mean())


@sick(
    "vae",
    "posterior-collapse",
    also=("underfitting", "over-regularised", "layer-collapse"),
    proof=shown(_code_is_silent),
    bar=0.35,
)
def divergence_that_outweighs_the_pixels(seed: int, fixed: bool) -> Training:
    """Pixels are averaged, the divergence is summed."""

    def loss(output: Any, x: Tensor) -> Tensor:
        rebuilt, mean, log_var = output
        divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        pixels = (rebuilt - x).square().sum(1).mean() if fixed else F.mse_loss(rebuilt, x)
        return pixels + divergence

    digits = fresh_data.handwriting()
    table = data.Data(digits.x, digits.x, digits.x_val, digits.x_val)
    return program(nets.VAE(64, 64, 8), table, adam(3e-3), 12, loss=loss, metric=R2)


class TwoViews(nn.Module):
    """An encoder of two noisy views of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nets.mlp(8, 32, 8)

    def forward(self, views: Tensor) -> Tensor:
        return self.encoder(views.reshape(-1, 8)).reshape(len(views), 2, -1)


@torch.no_grad()
def _spread(output: Any, y: Tensor) -> float:
    """How much of the distance between samples is more than the distance of two views of one, 0 when they are one."""
    a, b = output[:, 0], output[:, 1]
    return float(1 - (a - b).norm(dim=1).mean() / torch.cdist(a, b).mean()) if float(a.std(0).mean()) > 1e-2 else 0.0


@sick("self-supervised", "layer-collapse", "posterior-collapse", also=("wrong-loss",), proof=harmed(0.3), bar=0.5)
def views_drawn_together_and_nothing_apart(seed: int, fixed: bool) -> Training:
    rows = fresh_data.plain_classes(900)
    table = data.Data(
        *(
            t if i % 2 else torch.stack([t + 0.3 * torch.randn_like(t), t + 0.3 * torch.randn_like(t)], 1)
            for i, t in enumerate((rows.x, rows.y, rows.x_val, rows.y_val))
        )
    )

    def loss(output: Tensor, y: Tensor) -> Tensor:
        a, b = output[:, 0], output[:, 1]
        apart = F.relu(1 - a.std(0)).mean() + F.relu(1 - b.std(0)).mean()
        return (a - b).square().mean() + (apart if fixed else 0.0)

    from .case import Metric

    return program(TwoViews(), table, adam(3e-3), 14, loss=loss, metric=Metric("spread", _spread, lambda y: 0.0))
