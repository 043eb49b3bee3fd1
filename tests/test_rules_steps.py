"""Rules on rates that undo what was learned, first losses, tables of pairs, and affine layers inside a net."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import DatasetFacts, Report, SubjectFacts
from reportgen.document.history import Event, LayerRun, ParameterRun, Trace
from reportgen.document.samples import Signal, SplitFacts
from reportgen.document.stats import TensorStats
from reportgen.probe.trials import shape

from .test_checks import lab
from .test_root_causes import severity
from .test_rules_fit import WAYS
from .test_rules_model import BAD, FALL, FLAT, GOOD, causes, report, run, series, tried

# ------------------------------------------------------------------------------------------------ the rate

COSINE = [0.5 * 0.03 * (1 + math.cos(math.pi * e / 20)) for e in range(20)]
LATE = [1.94 - 0.01 * e if e < 10 else 1.84 - 0.045 * (e - 9) for e in range(20)]  # falls once the rate is low
EARLY = [1.39 + 0.55 * 0.7**e for e in range(20)]


def scheduled(losses: list[float], rates: list[float], **ways: float) -> Report:
    numbers = WAYS | {"before": losses[-1], "rate": 0.03} | ways
    history = run(losses, losses, series=[series("learning_rate", rates)])
    return report(None, trials=tried("other-ways", **numbers), training=history)


UNDONE = {"same": 1.85, "faster": 1.95, "slower": 1.38}


def test_what_came_as_the_rate_fell_and_its_peak_undoes() -> None:
    facts = scheduled(LATE, COSINE, **UNDONE)
    assert severity(facts, "slower-helps") == "warning"
    assert causes(facts) == {"lr-too-high"}


@pytest.mark.parametrize(
    ("losses", "rates", "ways"),
    [
        (EARLY, COSINE, UNDONE),  # learned at the full rate; its state alone makes a last step long
        (LATE, COSINE, UNDONE | {"same": 1.45}),  # the peak undoes a fifth
        (LATE, COSINE, UNDONE | {"slower": 1.6}),  # so does a tenth of it
        (LATE, [0.03] * 20, UNDONE),  # no schedule
        (LATE, [0.03, 0.03, *[0.003] * 18], UNDONE),  # a short warm-up at a high rate
        ([v - 1.25 for v in LATE], COSINE, {key: v - 1.25 for key, v in UNDONE.items()}),  # a good fit in the end
    ],
)
def test_other_falls_are_no_rate_too_high(losses: list[float], rates: list[float], ways: dict[str, float]) -> None:
    assert severity(scheduled(losses, rates, **ways), "slower-helps") is None


def carried(moved: float, **ways: float) -> Report:
    """A model that works, and whose matrices moved so many lengths of their start."""
    found = scheduled([2.3 * 0.92**e for e in range(20)], [0.1] * 20, **ways)
    matrices = [
        ParameterRun(name=f"{i}.weight", module="Linear", shape=[9, 9], is_matrix=True, trainable=True, moved=moved)
        for i in range(3)
    ]
    assert found.training is not None
    return replace(found, training=replace(found.training, parameters=matrices))


@pytest.mark.parametrize(
    ("moved", "same", "slower", "expected"),
    [
        (9.0, 0.65, 0.4, "warning"),
        (1.5, 0.65, 0.4, None),  # a last decay helps a constant rate as well
        (9.0, 0.48, 0.4, None),  # the rate does no harm
        (9.0, 0.65, 0.47, None),  # a few batches seen too often
    ],
)
def test_weights_that_steps_carried_off_and_keep_from_their_place(
    moved: float, same: float, slower: float, expected: str | None
) -> None:
    facts = carried(moved, same=same, slower=slower, faster=1.5)
    assert severity(facts, "slower-helps") == expected
    assert causes(facts) == ({"lr-too-high"} if expected else set())


# ------------------------------------------------------------------------------------------------ the first loss


def began_at(loss: float, *, broken: bool, fresh: float = 0.6, name: str = "MSELoss", std: float = 1.0) -> Report:
    target = TensorStats(count=400, sum=0.0, m2=400 * std * std, min=-3 * std, max=3 * std)
    data = DatasetFacts(n_samples=400, n_batches=10, dtype="float32", shape="N × 1", target=target)
    events = [Event(kind="nonfinite", part="activation", step=2, subject="rnn")] if broken else []
    steps = [loss, loss, math.nan] if broken else [loss, *[0.5 * loss] * 20]
    by_step = series("train_loss", steps, "step")
    if broken:
        by_step = type(by_step)(
            name="train_loss", axis="step", x=[0.0, 1.0, 2.0], y=[loss, loss, None], n=3, nonfinite=1, first_nonfinite=2
        )
    history = run(FLAT, series=[by_step], events=events)
    facts = report(None, dataset=data, training=history, trials=tried("fresh-start", loss=fresh))
    subject = SubjectFacts(name="Net", kind="model", inputs="real", n_samples=400, n_batches=10, loss=name)
    return Report(**{key: getattr(facts, key) for key in facts.__struct_fields__} | {"subject": subject})


def test_a_first_loss_far_from_that_of_zero_in_a_run_that_broke() -> None:
    facts = began_at(1e6, broken=True)
    assert severity(facts, "h-init-loss") == "warning"
    assert "bad-init" in causes(facts)


@pytest.mark.parametrize(
    ("size", "broken", "expected"), [(25.0, True, "warning"), (2.0, True, None), (25.0, False, None)]
)
def test_a_first_loss_that_the_outputs_make_up_is_no_sum(size: float, broken: bool, expected: str | None) -> None:
    """Sums over neighbours amplify with any weights; the mean square of what comes out is the loss itself."""
    facts = began_at(650.0, broken=broken, fresh=680.0)
    layers = [
        LayerRun(
            name=f"m.{i}",
            kind="Linear",
            order=i,
            train_calls=3,
            rms=Trace(x=[1.0, 2.0], y=[size * 1.5 ** (i - 4), None]),
        )
        for i in range(5)
    ]
    assert facts.training is not None
    facts = replace(facts, training=replace(facts.training, layers=layers))
    assert severity(facts, "h-init-loss") == expected
    assert ("exploding-gradients" in causes(facts)) == bool(expected)


@pytest.mark.parametrize(
    "facts",
    [
        began_at(1e6, broken=False),
        began_at(5.0, broken=True),
        began_at(1e6, broken=True, fresh=9e5),  # a sum, or inputs of that size
        began_at(1e6, broken=True, std=1e3),  # targets of that size
        began_at(1e6, broken=True, name="HuberLoss"),
    ],
)
def test_first_losses_of_numbers_that_say_nothing(facts: Report) -> None:
    assert severity(facts, "h-init-loss") is None


@pytest.mark.parametrize(
    ("kind", "stretch", "state", "expected"),
    [("RNN", 1.25, 22.0, "warning"), ("RNN", 1.0, 22.0, None), ("RNN", 1.25, 0.7, None), ("LSTM", 1.25, 22.0, None)],
)
def test_a_recurrent_layer_that_began_by_stretching_its_state(
    kind: str, stretch: float, state: float, expected: str | None
) -> None:
    facts = began_at(700.0, broken=False)
    layer = LayerRun(name="rnn", kind=kind, order=0, train_calls=9, rms=Trace(x=[1.0], y=[state]))
    weight = ParameterRun(
        name="rnn.weight_hh_l0", module=kind, shape=[16, 16], is_matrix=True, trainable=True, start_rms=stretch / 4
    )
    sick = replace(facts, training=replace(facts.training, layers=[layer], parameters=[weight]))
    assert severity(sick, "h-init-loss") == expected
    assert ("exploding-gradients" in causes(sick)) is (expected is not None)
    # weights drawn anew stretch it as well
    same = replace(sick, trials=tried("fresh-start", loss=650.0))
    assert severity(same, "h-init-loss") is None


class Tied(nn.Module):
    """Names the next token by the embedding that it is read with."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(30, 48), nn.Linear(48, 48)
        nn.init.normal_(self.embed.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        return torch.nn.functional.layer_norm(h + self.mix(h), (48,)) @ self.embed.weight.T


@pytest.mark.parametrize(("std", "expected"), [(1.0, "warning"), (0.05, None)])
def test_a_first_loss_of_tokens_far_from_that_of_a_guess(std: float, expected: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    text = (torch.randint(30, (200, 1), generator=generator) + 7 * torch.arange(17)) % 30
    torch.manual_seed(0)
    model = Tied(std)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(scores: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten())

    with reportgen.Monitor(model, optimizer, loss=loss) as monitor:
        for part in text.split(20):
            optimizer.zero_grad()
            value = loss(model(part[:, :-1]), part[:, 1:])
            value.backward()
            optimizer.step()
            monitor.log(train_loss=value.detach())
    data = [(part[:, :-1], part[:, 1:]) for part in text.split(50)]
    told = monitor.report(data, options=reportgen.Options(trial_budget=0, pictures=0))
    assert severity(told, "h-init-loss") == expected
    assert ("bad-init" in causes(told)) == (expected is not None)


# ------------------------------------------------------------------------------------------------ pairs of elements


@pytest.mark.parametrize(
    ("score", "model", "answers", "expected"),
    [
        (0.9, 0.3, 6400.0, "warning"),
        (0.9, 0.88, 6400.0, None),
        (0.45, 0.4, 6400.0, None),
        (0.9, 0.3, 400.0, None),  # one answer a sample is judged by its neighbours
    ],
)
def test_a_model_behind_a_table_of_pairs(score: float, model: float, answers: float, expected: str | None) -> None:
    given = Signal(kind="classes", n=400, k=2, score=score, null_mean=0.14, null_std=0.01)
    told = tried("as-it-is", loss=1.8, samples=400.0, accuracy=model, commonest=0.15, answers=answers)
    facts = report(None, splits=SplitFacts(given_signal=given), trials=told, training=run(FALL))
    assert severity(facts, "o-below-neighbours") == expected
    assert ("underfitting" in causes(facts)) is bool(expected)


# ------------------------------------------------------------------------------------------------ affine inside


class Graph(nn.Module):
    """Convolutions over a graph whose edges are part of the input."""

    def __init__(self, act: nn.Module, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, 12) for a in (3, 12, 12)[:depth])
        self.head, self.act = nn.Linear(12, 2), act

    def forward(self, x: Tensor) -> Tensor:
        h, edges = x[..., :3], x[..., 3:]
        for layer in self.layers:
            h = self.act(layer(edges @ h))
        return self.head(h)


class Gated(nn.Module):
    """One branch opens and shuts the other; behind them are two affine layers."""

    def __init__(self) -> None:
        super().__init__()
        self.said, self.gate, self.mix, self.head = (nn.Linear(a, b) for a, b in ((8, 16), (8, 16), (16, 16), (16, 2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(self.said(x) * self.gate(x).sigmoid()))


class Matched(nn.Module):
    """An inner product of what two towers say."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.left(x[:, :4]) * self.right(x[:, 4:]))


def inner(model: nn.Module, width: tuple[int, ...] = (5, 8)) -> dict[str, float]:
    torch.manual_seed(0)
    x = torch.randn(32, *width)
    return shape.affinity(lab(model, x, torch.zeros(32), None)).numbers


def judged(numbers: dict[str, float], table: Any = BAD, losses: list[float] = FLAT) -> str | None:
    return severity(report(table, trials=tried("affinity", **numbers), training=run(losses)), "missing-nonlinearity")


def test_layers_of_a_graph_with_nothing_between() -> None:
    numbers = inner(Graph(nn.Identity()))
    assert numbers["departure"] > 0.01  # edges multiply features
    assert numbers["inner"] < 1e-5
    assert numbers["behind"] == 2
    assert judged(numbers) == "warning"
    assert judged(numbers, GOOD, FALL) is None  # a simplified convolution may be meant


def test_a_linear_model_that_learned_by_heart_lacks_what_would_hold_elsewhere() -> None:
    affine = tried("affinity", departure=1e-7, affine_layers=3.0, redundant=0.0, collapsible=2.0)
    apart = run(FALL, [0.8 - 0.1 * min(e, 4) + 0.09 * e for e in range(20)])
    facts = report(BAD, trials=affine, training=apart)
    assert severity(facts, "h-overfit") == "warning"
    assert causes(facts) == {"missing-nonlinearity"}
    assert "overfitting" in causes(report(BAD, training=apart))


@pytest.mark.parametrize(
    ("model", "width"),
    [
        (Graph(nn.ReLU()), (5, 8)),
        (Graph(nn.Identity(), depth=1), (5, 8)),  # one convolution and a head
        (Gated(), (8,)),
        (Matched(), (8,)),
        (nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 2)), (8,)),
    ],
)
def test_what_is_more_than_affine_inside(model: nn.Module, width: tuple[int, ...]) -> None:
    numbers = inner(model, width)
    assert numbers.get("inner", 1.0) > 1e-3
    assert judged(numbers) is None


def test_a_model_behind_its_neighbours_whose_loss_is_in_full_fall_needs_more_of_the_same() -> None:
    falling = [2.0 - 0.05 * e for e in range(16)]
    given = Signal(kind="classes", n=400, k=2, score=0.9, null_mean=0.14, null_std=0.01)
    told = tried("as-it-is", loss=1.25, samples=400.0, accuracy=0.4, commonest=0.15, answers=6400.0)
    facts = report(None, splits=SplitFacts(given_signal=given), trials=told, training=run(falling, falling))
    assert severity(facts, "h-still-improving") == severity(facts, "o-below-neighbours") == "warning"
    assert causes(facts) == {"undertrained"}


FALLING = [2.0 - 0.05 * e for e in range(16)]


@pytest.mark.parametrize(
    ("name", "score", "told"),
    [
        ("val_recall_at_1", [0.96 + 0.002 * e for e in range(16)], "info"),  # next to nothing is left to gain
        ("val_accuracy", [0.3 + 0.5 * (1 - 0.5**e) for e in range(16)], "info"),  # rose, and rests
        ("val_accuracy", [0.3 + 0.02 * e for e in range(16)], "warning"),  # still rising
        ("val_accuracy", [0.3] * 16, "warning"),  # never rose
        ("val_mape", [0.99] * 16, "warning"),  # no such score
        ("val_f1", [0.4 + 40 * (1 - 0.5**e) for e in range(16)], "warning"),  # in per cent: not known to end at 1
    ],
)
def test_a_loss_that_falls_on_while_the_score_rests(name: str, score: list[float], told: str) -> None:
    good = report(GOOD, training=run(FALLING, series=[series(name, score)]))
    assert severity(good, "h-still-improving") == told
    if max(score) > 0.9:  # as of a rare class that is never named
        assert severity(report(BAD, training=run(FALLING, series=[series(name, score)])), "h-still-improving") != "info"
