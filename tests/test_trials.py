"""Every experiment on a model that is well and on one that is not, what rules make of it, and that it does no harm."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.facts import Report, Severity
from reportgen.document.trials import Trial
from reportgen.page import words_trials
from reportgen.page.sections import trials as section
from reportgen.probe.trials import answers, chance, coupling, later, learning, modes, shape
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError, OutOfTimeError, Result
from reportgen.probe.trials.sample import Reservoir, joined, shuffled
from reportgen.subject.data import Batch

CE = nn.CrossEntropyLoss()


def table(n: int = 64, k: int = 3, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    return Batch((x,), {}, (x[:, :k]).argmax(1))


def tokens(n: int = 16, length: int = 8, vocabulary: int = 11) -> Batch:
    x = torch.randint(vocabulary, (n, length + 1), generator=torch.Generator().manual_seed(0))
    return Batch((x[:, :-1],), {}, x[:, 1:])


def lab(model: nn.Module, *batches: Batch, loss: Any = CE, optimizer: Any = None, train: bool = False) -> Lab:
    torch.manual_seed(0)
    given = list(batches) or [table()]
    optimizers = () if optimizer is None else (optimizer,)
    return trials.laboratory(model, loss, optimizers, given, [], Clock(60.0), 0)


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Made(nn.Module):
    """A model of layers by keyword and a forward function of (self, x)."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *x: Tensor) -> Any:
        return self._run(self, *x)


# -------------------------------------------------------------------------------------------- two evaluations


def test_two_evaluations_of_a_healthy_model_agree_to_the_bit() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    numbers, detail = parts(chance.eval_twice(lab(model)))
    assert numbers == {"change": 0.0, "same_seed": 0.0}
    assert detail == {"source": "none"}


def parts(result: Result) -> tuple[dict[str, float], dict[str, str]]:
    return result.numbers, result.detail


@pytest.mark.parametrize(
    ("forward", "source"),
    [
        (lambda self, x: F.dropout(self.fc(x), 0.3), "dropout"),
        (lambda self, x: nn.Dropout(0.3)(self.fc(x)), "dropout"),
        (lambda self, x: F.scaled_dot_product_attention(*[self.fc(x)[None]] * 3, dropout_p=0.2)[0], "dropout"),
        (lambda self, x: self.fc(x) * torch.empty(len(x), 1).bernoulli_(0.8), "dropout"),
        (lambda self, x: self.fc(x + 0.1 * torch.randn_like(x)), "noise on the input"),
        (lambda self, x: self.fc(x) + torch.randn(len(x), 3), "noise inside"),
        (lambda self, x: self.fc(x) * (1 + torch.randn(len(x), 3)), "sampling"),
    ],
)
def test_the_source_of_randomness_is_named(forward: Any, source: str) -> None:
    numbers, detail = parts(chance.eval_twice(lab(Made(forward, fc=nn.Linear(8, 3)))))
    assert numbers["change"] > 1e-3
    assert numbers["same_seed"] == 0
    assert detail["source"] == source


def test_state_between_passes_is_no_dropout() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.last = self.fc(x) + 0.5 * self.last
        return self.last  # type: ignore[no-any-return]

    model = Made(forward, fc=nn.Linear(8, 3))
    model.last = torch.zeros(64, 3)
    assert chance.eval_twice(lab(model)).detail["source"] == "state"
    assert torch.equal(model.last, torch.zeros(64, 3)) or model.last.shape == (64, 3)


# ------------------------------------------------------------------------------------------ neighbours, future


def recurrent(batch_first: bool) -> Made:
    torch.manual_seed(0)
    return Made(
        lambda self, x: self.fc(self.rnn(x)[0].mean(1)), rnn=nn.LSTM(4, 6, batch_first=batch_first), fc=nn.Linear(6, 2)
    )


def sequences() -> Batch:
    x = torch.randn(24, 5, 4, generator=torch.Generator().manual_seed(0))
    return Batch((x,), {}, (x.sum((1, 2)) > 0).long())


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), table()),
        (nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Softmax(1), nn.Linear(6, 3)), table()),
        (recurrent(True), sequences()),
    ],
)
def test_a_sample_judged_by_itself_stays_where_it_is(model: nn.Module, batch: Batch) -> None:
    numbers = coupling.neighbours(lab(model, batch)).numbers
    assert numbers["change"] <= 20 * numbers["noise"] < 1e-2


@pytest.mark.parametrize(
    ("model", "batch", "first"),
    [
        (nn.Sequential(nn.Linear(8, 6), nn.Softmax(0), nn.Linear(6, 3)), table(), "1 (Softmax)"),
        (recurrent(False), sequences(), "rnn (LSTM)"),
        (Made(lambda s, x: s.fc(x.t().reshape(len(x), 8)), fc=nn.Linear(8, 3)), table(), "fc (Linear)"),
        (Made(lambda s, x: F.dropout(s.fc(x) - s.fc(x).mean(0)), fc=nn.Linear(8, 3)), table(), ""),
        (nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6, track_running_stats=False)), table(), "1 (BatchNorm1d)"),
    ],
)
def test_a_sample_that_sees_its_neighbours_moves(model: nn.Module, batch: Batch, first: str) -> None:
    result = coupling.neighbours(lab(model, batch))
    assert result.numbers["change"] > 0.01
    assert result.detail.get("first", "") == first


class Shapes(nn.Module):
    """Whether the mean of the right half of a picture lies above that of the left, behind a norm and a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        return 40 * (self.norm(x)[..., 4:] > 0.5).float().mean((1, 2, 3)) - 26.0


@pytest.mark.parametrize("size", [1, 4, 32])
def test_norms_of_small_batches_are_asked_as_they_were_trained(size: int) -> None:
    """Pictures of their own gain and offset: alone each is normalised by itself, as a batch of one is in training."""
    torch.manual_seed(0)
    y = torch.arange(64) % 2
    x = 0.1 * torch.randn(64, 1, 8, 8)
    x[y == 1, :, :, 4:] += 1.0
    x = x * torch.exp(torch.randn(64, 1, 1, 1)) + 2 * torch.randn(64, 1, 1, 1)
    batches = [Batch((x[i : i + size],), {}, y[i : i + size].float()) for i in range(0, 64, size)]
    model = Shapes().train()
    for batch in batches:
        model(*batch.args)
    loss = nn.BCEWithLogitsLoss()
    numbers = modes.train_and_eval(lab(model.eval(), *batches, loss=loss)).numbers
    assert numbers.get("own") == (size if size < 8 else None)
    # the accuracy of the model in train mode, on batches of that size in the order of the experiment
    mixed = shuffled(batches, 0, least=32)
    model.train()
    right = []
    for batch in mixed:
        for part, target in zip(batch.args[0].split(size), batch.target.split(size), strict=True):
            right.append((model(part) > 0) == (target > 0.5))
    assert numbers["norms_accuracy"] == pytest.approx(float(torch.cat(right).float().mean()))
    if size == 1:
        assert numbers["norms_accuracy"] == 1.0
        assert numbers["eval_accuracy"] < 0.9


def test_a_norm_that_refuses_single_samples_is_asked_in_larger_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).eval()
    whole = table(40)
    batches = [Batch((whole.args[0][i : i + 1],), {}, whole.target[i : i + 1]) for i in range(40)]
    assert "own" not in modes.train_and_eval(lab(model, *batches)).numbers


def test_answers_that_batches_of_one_class_cost() -> None:
    """A batch norm without running statistics takes the mean of a class out of batches that hold no other."""
    torch.manual_seed(0)
    y = torch.arange(4).repeat_interleave(48)
    x = 3.0 * F.one_hot(y, 8).float() + torch.randn(192, 8)
    model = nn.Sequential(nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 4, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4, 8))  # type: ignore[operator]
    read = [Batch((x[i : i + 24],), {}, y[i : i + 24]) for i in range(0, 192, 24)]
    mixed = shuffled(read, 0)
    numbers = coupling.neighbours(lab(model, *mixed)).numbers
    own = float((torch.cat([model(b.args[0]).argmax(1) for b in read]) == y).float().mean())
    expected = [model(b.args[0]).argmax(1) == b.target for b in mixed]
    assert numbers["mixed"] == pytest.approx(float(torch.cat(expected).float().mean()))
    assert numbers["mixed"] > own + 0.3
    # one that knows its statistics is not asked
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    assert "mixed" not in coupling.neighbours(lab(model, *mixed)).numbers


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Made(lambda s, x: s.fc(x) @ s.fc(x).t(), fc=nn.Linear(8, 3)), table()),  # a score for each pair
        (Made(lambda s, x: s.fc(x).mean(), fc=nn.Linear(8, 3)), table()),
        (Made(lambda s, x, edges: s.fc(x), fc=nn.Linear(8, 3)), Batch((*table().args, torch.zeros(2, 9)), {}, None)),
        (nn.Linear(8, 3), table(4)),
    ],
)
def test_neighbours_are_not_judged_where_that_has_no_meaning(model: nn.Module, batch: Batch) -> None:
    with pytest.raises(NotApplicableError):
        coupling.neighbours(lab(model, batch))


class Reader(nn.Module):
    """A small language model over 11 tokens."""

    def __init__(self, causal: bool, flat: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.place = nn.Embedding(11, 8), nn.Parameter(torch.randn(8, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head, self.causal, self.flat = nn.Linear(8, 11), causal, flat

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        out: Tensor = self.head(self.block(self.embed(x) + self.place[: x.shape[1]], src_mask=mask))
        return out.reshape(-1, 11) if self.flat else out


def test_a_leak_of_the_future_is_seen_and_a_mask_believed() -> None:
    assert later.later_tokens(lab(Reader(causal=True), tokens())).numbers["change"] == pytest.approx(0, abs=1e-6)
    leaky = later.later_tokens(lab(Reader(causal=False), tokens())).numbers
    assert leaky["change"] > 0.01
    x = tokens()
    flat = Batch(x.args, {}, x.target.reshape(-1))
    assert later.later_tokens(lab(Reader(causal=False, flat=True), flat)).numbers["change"] > 0.01


def test_a_forecaster_of_numbers_is_causal_too() -> None:
    x = torch.randn(6, 9, 2, generator=torch.Generator().manual_seed(1))
    batch = Batch((x[:, :-1],), {}, x[:, 1:])
    for both, low, high in ((False, 0.0, 1e-6), (True, 0.01, math.inf)):
        torch.manual_seed(0)
        rnn = nn.GRU(2, 4, batch_first=True, bidirectional=both)
        model = Made(lambda s, x: s.fc(s.rnn(x)[0]), rnn=rnn, fc=nn.Linear(8 if both else 4, 2))
        assert low <= later.later_tokens(lab(model, batch)).numbers["change"] <= high


def test_a_bidirectional_tagger_is_no_leak() -> None:
    batch = tokens()
    with pytest.raises(NotApplicableError, match="shifted by one"):
        later.later_tokens(lab(Reader(causal=False), Batch(batch.args, {}, batch.args[0] % 3)))


def test_order_is_invisible_without_positions() -> None:
    blind = Reader(causal=False)
    nn.init.zeros_(blind.place)
    assert coupling.tokens_reordered(lab(blind, tokens())).numbers["change"] < 1e-4
    assert coupling.tokens_reordered(lab(Reader(causal=False), tokens())).numbers["change"] > 0.1
    bag = Made(lambda s, x: s.fc(s.embed(x).mean(1)), embed=nn.Embedding(11, 8), fc=nn.Linear(8, 2))
    assert coupling.tokens_reordered(lab(bag, tokens())).numbers == pytest.approx(
        {"change": 0.0, "attention": 0.0, "recurrent": 0.0, "drawn": 0.0}, abs=1e-5
    )


def test_an_output_that_ignores_its_input_does_not_vary() -> None:
    constant = Made(lambda s, x: s.fc(torch.ones_like(x)), fc=nn.Linear(8, 3))
    assert coupling.inputs_permuted(lab(constant)).numbers["spread"] < 1e-6
    assert coupling.inputs_permuted(lab(mlp(8, 16, 3))).numbers["spread"] > 0.1
    two = Batch((*table().args, torch.randn(64, 8)), {}, None)
    deaf = coupling.inputs_permuted(lab(Made(lambda s, a, b: s.fc(a + 0 * b), fc=nn.Linear(8, 3)), two)).numbers
    assert deaf["input_0"] > 0.5
    assert deaf["input_1"] == 0


# ----------------------------------------------------------------------------------------- shape of the function


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)),
        nn.Sequential(nn.Linear(8, 16), nn.Identity(), nn.Linear(16, 3), nn.Softmax(1)),
        nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(12, 3)),
    ],
)
def test_an_affine_network_is_found_behind_norms_and_final_activations(model: nn.Module) -> None:
    numbers = shape.affinity(lab(model)).numbers
    assert numbers["departure"] < 1e-5
    assert numbers["collapsible"] >= 1


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus])
def test_activations_are_no_affine_map_even_where_all_units_are_on(act: Any) -> None:
    model = mlp(8, 16, 3, act=act)
    with torch.no_grad():
        model[0].bias.fill_(10)  # every ReLU is on for every sample
    assert shape.affinity(lab(model)).numbers["departure"] > 1e-3


def test_what_is_linear_on_purpose_is_not_judged_or_said_to_be_a_factorisation() -> None:
    with pytest.raises(NotApplicableError, match="fewer than two"):
        shape.affinity(lab(nn.Linear(8, 3)))
    assert shape.affinity(lab(Reader(causal=True), tokens())).numbers["departure"] > 1e-3
    bottleneck = shape.affinity(lab(nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8)))).numbers
    assert (bottleneck["collapsible"], bottleneck["redundant"]) == (0, 0)


class Tower(nn.Module):
    """Two tables, looked up by whole numbers, and layers behind what they hold."""

    def __init__(self, between: nn.Module, *, joined: bool = True) -> None:
        super().__init__()
        self.users, self.items, self.joined = nn.Embedding(9, 6), nn.Embedding(9, 6), joined
        width = 12 if joined else 6
        self.tower = nn.Sequential(nn.Linear(width, 16), nn.BatchNorm1d(16), between, nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        user, item = self.users(x[:, 0]), self.items(x[:, 1])
        return self.tower(torch.cat([user, item], 1) if self.joined else user * item)


@pytest.mark.parametrize(
    ("model", "affine"),
    [(Tower(nn.Identity()), True), (Tower(nn.ReLU()), False), (Tower(nn.Identity(), joined=False), False)],
)
def test_what_lies_behind_tables_is_mixed_where_inputs_are_codes(model: nn.Module, affine: bool) -> None:
    x = torch.randint(9, (40, 2), generator=torch.Generator().manual_seed(0))
    numbers = shape.affinity(lab(model, Batch((x,), {}, torch.zeros(40)))).numbers
    assert (numbers["departure"] < 1e-5) is affine
    assert numbers["collapsible"] == 1


def test_affine_pairs_are_named() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    assert shape.affinity(lab(model)).detail["pairs"] == "0 → 1"


@pytest.mark.parametrize(
    ("head", "low", "high"),
    [
        (nn.Identity(), -40, 40),
        (nn.ReLU(), 0, 40),
        (nn.Tanh(), -1, 1),
        (nn.Sigmoid(), 0, 1),
        (nn.Softmax(1), 0, 1),
    ],
)
def test_the_range_of_the_last_activation(head: nn.Module, low: float, high: float) -> None:
    numbers = shape.head_range(lab(nn.Sequential(nn.Linear(8, 3), head))).numbers
    assert (numbers["low"], numbers["high"]) == pytest.approx((low, high), abs=1e-6)
    assert (numbers["row_sum_error"] < 1e-5) == isinstance(head, nn.Softmax)


def test_a_head_behind_more_than_an_activation_is_not_driven() -> None:
    for model in (
        nn.Sequential(nn.Linear(8, 6), nn.MaxPool1d(2)),
        Made(lambda s, x: x * s.w, w=nn.Parameter(torch.ones(8))),
    ):
        with pytest.raises(NotApplicableError):
            shape.head_range(lab(model))


def test_units_made_alike_are_found() -> None:
    model = mlp(8, 16, 16, 3)
    assert shape.equal_units(lab(model)).numbers == {"tested": 3, "equal": 0, "zero": 0}
    nn.init.constant_(model[2].weight, 0.1)
    nn.init.zeros_(model[2].bias)
    nn.init.zeros_(model[4].weight)
    result = shape.equal_units(lab(model))
    assert result.numbers == {"tested": 3, "equal": 1, "zero": 1}
    assert result.detail == {"equal": "2", "zero": "4"}


# ------------------------------------------------------------------------------------------------------- modes


FAR = torch.arange(8.0) * 2


def trained_norm(momentum: float) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(120):
        batch = table(32, seed=step)
        optimizer.zero_grad()
        CE(model(batch.args[0] * 5 + FAR), batch.target).backward()
        optimizer.step()
    return model


def test_batch_norm_that_does_not_describe_the_data_shows_between_the_modes() -> None:
    batches = [Batch((b.args[0] * 5 + FAR,), {}, b.target) for b in (table(64, seed=s) for s in range(4))]
    good = modes.train_and_eval(lab(trained_norm(0.1), *batches)).numbers
    bad = modes.train_and_eval(lab(trained_norm(0.0), *batches)).numbers
    assert good["eval_accuracy"] == pytest.approx(good["norms_accuracy"], abs=0.05)
    assert bad["norms_accuracy"] - bad["eval_accuracy"] > 0.1
    assert bad["eval_loss"] > 1.5 * bad["norms_loss"]
    assert bad["only_norms"] - bad["only_eval"] == (bad["norms_accuracy"] - bad["eval_accuracy"]) * 256


def test_statistics_of_the_last_batch_are_worse_than_means_over_many() -> None:
    batches = [Batch((b.args[0] * 5 + FAR,), {}, b.target) for b in (table(32, seed=s) for s in range(8))]
    good = modes.train_and_eval(lab(trained_norm(0.1), *batches)).numbers
    last = modes.train_and_eval(lab(trained_norm(1.0), *batches)).numbers
    assert (good["momentum"], last["momentum"]) == (pytest.approx(0.1), 1.0)
    assert good["refreshed_loss"] == pytest.approx(good["eval_loss"], rel=0.2)
    assert last["refreshed_loss"] < 0.9 * last["eval_loss"]
    assert last["stale_batches"] >= 6


def test_modes_are_one_without_norm_and_dropout() -> None:
    with pytest.raises(NotApplicableError, match="neither batch norm nor dropout"):
        modes.train_and_eval(lab(mlp(8, 16, 3)))
    numbers = modes.train_and_eval(lab(nn.Sequential(nn.Dropout(0.9), nn.Linear(8, 3)))).numbers
    assert "norms_loss" not in numbers
    assert numbers["train_loss"] != numbers["eval_loss"]
    assert numbers["drop"] == 0.9


# --------------------------------------------------------------------------------------------------- one step


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_one_step_moves_everything_downhill(kind: Any) -> None:
    model = mlp(8, 16, 3)
    numbers = learning.one_step(lab(model, optimizer=kind(model.parameters(), lr=1e-2, weight_decay=0.1))).numbers
    assert numbers["trainable"] == numbers["reached"] == numbers["held"] == numbers["moved"] == 4
    assert numbers["slope"] == pytest.approx(-1, abs=1e-5) if kind is torch.optim.SGD else numbers["slope"] < -0.3
    assert (numbers["strangers"], numbers["stuck"], numbers["connected"]) == (0, 0, 1)


def test_a_maximising_optimizer_leads_uphill() -> None:
    model = mlp(8, 16, 3)
    numbers = learning.one_step(lab(model, optimizer=torch.optim.SGD(model.parameters(), 0.1, maximize=True))).numbers
    assert numbers["slope"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("made", ["wrapped", "parameter"])
def test_an_activation_that_is_wrapped_anew_is_no_stranger(made: str) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            if made == "wrapped":
                h = torch.tensor(h.detach().numpy(), requires_grad=True)
            else:
                h = h * nn.Parameter(torch.ones(5))
            return self.second(h)  # type: ignore[no-any-return]

    model = Cut()
    numbers = learning.one_step(lab(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))).numbers
    assert numbers["strangers"] == (made == "parameter")


def test_layers_in_a_plain_list_are_strangers() -> None:
    model = Made(lambda s, x: s.fc(s.hidden[0](x).relu()), fc=nn.Linear(16, 3), hidden=[nn.Linear(8, 16)])
    result = learning.one_step(lab(model, optimizer=torch.optim.SGD(model.parameters(), 0.1)))
    assert result.numbers["strangers"] == 2
    assert result.numbers["stranger_elements"] == 8 * 16 + 16
    assert result.detail["where"] == "hidden"
    owned = [*model.parameters(), *model.hidden[0].parameters()]  # type: ignore[index,union-attr]
    assert learning.one_step(lab(model, optimizer=torch.optim.SGD(owned, 0.1))).numbers["strangers"] == 0


def test_what_another_optimizer_moves_is_no_stranger() -> None:
    """The loss of a generator goes through its critic, of which nobody told us."""
    critic = nn.Linear(3, 1)
    model = mlp(8, 16, 3)
    ours = torch.optim.SGD(model.parameters(), 0.1)
    one = lab(model, loss=lambda o, t: -critic(o).mean(), optimizer=ours)
    assert learning.one_step(one).numbers["strangers"] == 2
    theirs = torch.optim.SGD(critic.parameters(), 0.1)
    assert learning.one_step(one).numbers["strangers"] == 0
    del theirs


def test_a_parameter_of_the_loss_is_no_stranger() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(output * self.scale, target)

    assert learning.one_step(lab(mlp(8, 3), loss=Scaled())).numbers["strangers"] == 0
    scale = nn.Parameter(torch.ones(()))
    model = mlp(8, 3)
    optimizer = torch.optim.SGD([*model.parameters(), scale], 0.1)
    closed = lab(model, loss=lambda o, y: F.cross_entropy(o * scale, y), optimizer=optimizer)
    assert learning.one_step(closed).numbers["strangers"] == 0
    assert scale.grad is not None  # a loss that is a function is the user's own: the guard around takes this back


def test_a_cut_graph_and_a_stale_optimizer() -> None:
    for cut in (lambda o, y: CE(o.detach(), y), lambda o, y: torch.tensor(CE(o, y).item(), requires_grad=True)):
        assert learning.one_step(lab(mlp(8, 3), loss=cut)).numbers["connected"] == 0
    model = mlp(8, 16, 3)
    stale = torch.optim.SGD(copy.deepcopy(model).parameters(), 0.1)
    numbers = learning.one_step(lab(model, optimizer=stale)).numbers
    assert (numbers["held"], numbers["moved"], numbers["pushed"]) == (0, 0, 4)


# --------------------------------------------------------------------------------------------------- learning


def test_one_batch_is_learned_by_heart_but_not_by_a_model_that_is_cut() -> None:
    assert learning.one_batch(lab(mlp(8, 64, 3))).numbers["solved"] == 1
    cut = Made(lambda s, x: s.fc(s.a(x).sign().detach() * 0), a=nn.Linear(8, 8), fc=nn.Linear(8, 3))
    assert learning.one_batch(lab(cut)).numbers["solved"] == 0
    x = table()
    number = Batch(x.args, {}, x.args[0][:, :1] ** 2)
    assert learning.one_batch(lab(mlp(8, 64, 1), number, loss=nn.MSELoss())).numbers["solved"] == 1


def test_a_fresh_start_has_the_loss_of_a_guess() -> None:
    numbers = learning.fresh_start(lab(mlp(8, 16, 3))).numbers
    assert numbers["loss"] == pytest.approx(math.log(3), abs=0.2)
    counts = torch.bincount(table().target).double() / 64
    assert numbers["constant"] == pytest.approx(float(-(counts * counts.log()).sum()))
    summed = learning.fresh_start(lab(mlp(8, 16, 3), loss=nn.CrossEntropyLoss(reduction="sum"))).numbers
    assert "constant" not in summed  # it is that of one answer, and the loss is not
    with pytest.raises(NotApplicableError, match="Made cannot be initialised"):
        learning.fresh_start(lab(Made(lambda s, x: x[:, :3] * s.w, w=nn.Parameter(torch.ones(3)))))


def test_true_labels_teach_more_than_shuffled_ones() -> None:
    batches = [table(64, seed=s) for s in range(4)]
    numbers = learning.shuffled_labels(lab(mlp(8, 32, 3), *batches)).numbers
    assert numbers["true_labels"] > 0.8
    assert numbers["shuffled"] < 0.6


def test_the_loss_of_right_and_wrong_answers() -> None:
    def ask(loss: Any, model: nn.Module | None = None, batch: Batch | None = None) -> dict[str, float]:
        return answers.loss_of_answers(lab(model or mlp(8, 16, 3), batch or table(), loss=loss)).numbers

    assert ask(CE)["right"] < ask(CE)["wrong"]
    assert (
        ask(nn.CrossEntropyLoss(label_smoothing=0.1))["right"] < ask(nn.CrossEntropyLoss(label_smoothing=0.1))["wrong"]
    )
    negated = ask(lambda o, y: -CE(o, y))
    assert negated["wrong"] < negated["right"] < 0
    x = table()
    flat = Batch(x.args, {}, x.args[0][:, 0])
    square = ask(lambda o, y: ((o - y) ** 2).mean(), mlp(8, 1), flat)
    assert (square["aligned"], square["same_shape"]) == (0, 0)
    assert square["right"] == pytest.approx(2 * float(flat.target.var(correction=0)), rel=1e-4)
    blind = ask(CE, mlp(8, 1), Batch(x.args, {}, (x.target > 0).float()[:, None]))
    assert blind["right"] == blind["wrong"] == blind["pull"] == 0


# ------------------------------------------------------------------------------------------- sample and runner


def test_the_reservoir_is_bounded_and_fair() -> None:
    hits = torch.zeros(100)
    for seed in range(300):
        reservoir = Reservoir(seed)
        for k in range(100):
            reservoir.update(Batch((torch.full((32, 1), k),), {}, None))
        kept = joined(reservoir.batches()).args[0].flatten()
        assert len(kept) == 8 * 32
        hits[kept.unique()] += 1
    assert float((hits - 24).abs().max()) < 5 * 24**0.5  # each of 100 batches is kept by 8 of 100 draws, 300 times


def test_batches_of_other_shapes_stay_apart() -> None:
    ragged = [Batch((torch.zeros(3, n),), {}, None) for n in (2, 5)]
    assert shuffled(ragged, 0) == ragged
    mixed = shuffled([Batch((torch.arange(4),), {"m": torch.arange(4)}, torch.arange(4)) for _ in range(3)], 0)
    assert all(torch.equal(b.args[0], b.target) and torch.equal(b.kwargs["m"], b.target) for b in mixed)
    assert sorted(torch.cat([b.target for b in mixed]).tolist()) == sorted([*range(4)] * 3)


def test_time_is_kept() -> None:
    facts, seconds = trials.run(mlp(8, 16, 3), CE, (), [table()], [], 0.0, 0)
    assert facts.out_of_time
    assert {t.reason for t in facts.trials} == {trials.TIME_UP}
    assert seconds == {}
    clock = Clock(100.0, forward=3.0)
    clock.need(30)
    with pytest.raises(OutOfTimeError):
        clock.need(40)


def test_what_breaks_is_a_row() -> None:
    model = Made(lambda s, x: s.fc(x) if len(x) == 64 else 1 / 0, fc=nn.Linear(8, 3))
    facts, _ = trials.run(model, CE, (), [table()], [], 60.0, 0)
    rows = {t.name: t for t in facts.trials}
    told = "the model refuses a batch of 32 in eval mode: ZeroDivisionError: division by zero"
    assert (rows["neighbours"].status, rows["neighbours"].reason) == ("skipped", told)
    assert rows["eval-twice"].status == "done"


@pytest.mark.parametrize("name", [name for name, _, _ in trials.EXPERIMENTS])
def test_every_experiment_has_a_question_and_an_answer_in_words(name: str) -> None:
    assert name in words_trials.titles()
    assert name in words_trials._OUTCOMES
    assert words_trials.outcome(Trial(name="other", status="done", numbers={"a": 1.0})) == "a 1"


# --------------------------------------------------------------------------------------- through the front door


def examined(model: nn.Module, loss: Any = CE, **more: Any) -> Report:
    x, y = joined([table(seed=s) for s in range(6)]).args[0], joined([table(seed=s) for s in range(6)]).target
    loader = DataLoader(TensorDataset(x, more.pop("target", y)), 64)
    return reportgen.examine(model, loader, loss=loss, **more)


def serious(report: Report) -> set[str]:
    return {d.cause for d in report.diagnoses if d.severity is not Severity.INFO}


@pytest.mark.slow
def test_faults_are_named_by_their_cause() -> None:
    hidden = Made(lambda s, x: s.fc(s.hidden[0](x).relu()), fc=nn.Linear(16, 3), hidden=[nn.Linear(8, 16)])
    cases: dict[str, Report] = {
        "dropout-active-in-eval": examined(Made(lambda s, x: F.dropout(s.fc(x), 0.4), fc=nn.Linear(8, 3))),
        "batch-mixing": examined(nn.Sequential(nn.Linear(8, 16), nn.Softmax(0), nn.Linear(16, 3))),
        "unregistered-parameters": examined(hidden, optimizer=torch.optim.SGD(hidden.parameters(), 0.1)),
        "loss-sign-flipped": examined(mlp(8, 16, 3), loss=lambda o, y: -CE(o, y)),
        "detached-graph": examined(mlp(8, 16, 3), loss=lambda o, y: CE(o.detach(), y)),
    }
    assert {cause: serious(report) for cause, report in cases.items()} == {cause: {cause} for cause in cases}


def test_a_healthy_model_has_its_experiments_in_the_report_and_no_alarm() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        batch = table(seed=step)
        optimizer.zero_grad()
        CE(model(batch.args[0]), batch.target).backward()
        optimizer.step()
    report = examined(model, optimizer=optimizer)
    assert serious(report) == set()
    assert report.trials is not None
    # of sequences, of variational models, with training data apart, of models that fail
    without: tuple[str, ...] = (
        "later-tokens",
        "both-ways",
        "tokens-reordered",
        "gradient-by-time",
        "latent-units",
        "trained-on",
        "shuffled-labels",
    )
    without += (
        "other-ways",
        "learned-anew",
        "unseen-half",
        "loss-of-pairs",
        "loss-domain",
        "without-gradient",
        "zero-start",
    )
    without += ("outputs-alone", "far-targets", "shares", "two-sides", "sums-to-one", "prepared-otherwise")
    without += (
        "targets-ahead",
        "tags-slipped",
        "rare-favoured",
        "half-as-many",
        "function-ends",
        "zero-as-label",
        "inputs-as-weights",
        "targets-given",
        "lookups",
        "numbers-passed",
        "head-drowned",
        "places-smoothed",
        "score-scale",
        "misfits",
        "as-classes",
    )
    assert {t.status for t in report.trials.trials if t.name not in without} == {"done"}
    assert {"trial eval-twice", "trials"} <= set(report.meta.seconds)
    shown = section.section(report)
    assert shown is not None
    assert len(shown.blocks) == 2


def test_without_data_or_time_they_are_skipped_with_a_reason() -> None:
    for report in (reportgen.examine(mlp(8, 3)), examined(mlp(8, 3), options=reportgen.Options(trial_budget=0))):
        row = next(row for row in report.coverage if row.part == "trials")
        assert (row.status, row.failed) == ("not measured", False)
        assert row.reason
        assert report.trials is None
        assert section.section(report) is None


# ---------------------------------------------------------------------------------------------------- no harm


def tied() -> nn.Module:
    a, b = nn.Linear(8, 8), nn.Linear(8, 8)
    b.weight = a.weight
    return nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), nn.Linear(8, 3))


class Caching(nn.Module):
    """Keeps what it computed, with its graph, in plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.calls, self.log = nn.Linear(8, 3), 0, [1.0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.fc(x)
        return out


HARMLESS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "lstm": lambda: Made(
        lambda s, x: s.fc(s.r(x[:, None])[0][:, 0]), r=nn.LSTM(8, 4, batch_first=True), fc=nn.Linear(4, 3)
    ),
    "tied": tied,
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 3)),
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 3)),
    "cache": Caching,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_nothing_is_harmed(kind: str, optimizer: Any) -> None:
    torch.manual_seed(3)
    model = HARMLESS[kind]()
    steps = optimizer(model.parameters(), lr=0.01, weight_decay=0.1)
    CE(model(table().args[0]), table().target).backward()
    steps.step()
    model.train()
    before = [copy.deepcopy(model.state_dict()), copy.deepcopy(steps.state_dict())]
    grads = [p.grad.clone() if p.grad is not None else None for p in model.parameters()]
    ids, modes_ = [id(p) for p in model.parameters()], [m.training for m in model.modules()]
    plain = {k: v for k, v in vars(model).items() if isinstance(v, (int, list))}
    rng = torch.get_rng_state()
    report = examined(model, optimizer=steps)
    assert report.trials is not None
    assert len([t for t in report.trials.trials if t.status == "done"]) >= 7
    torch.testing.assert_close([model.state_dict(), steps.state_dict()], before, rtol=0, atol=0)
    for parameter, gradient in zip(model.parameters(), grads, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]
    assert [id(p) for p in model.parameters()] == ids
    assert [m.training for m in model.modules()] == modes_
    assert {k: v for k, v in vars(model).items() if isinstance(v, (int, list))} == plain
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_a_step_in_one_call_is_that_of_adam(dtype: torch.dtype) -> None:
    start, pushes = torch.randn(40, dtype=dtype), torch.randn(6, 40, dtype=dtype)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    steppers = learning.adam([ours], 0.01), torch.optim.Adam([theirs], lr=0.01, foreach=False)
    for push in pushes:
        ours.grad, theirs.grad = push.clone(), push.clone()
        for stepper in steppers:
            stepper.step()
    apart = (ours - theirs).detach().abs().max()
    moved = (ours - start).detach().abs().max()
    assert float(apart) < (0.02 if dtype == torch.bfloat16 else 1e-6)
    assert float(moved) > 0.005
