"""Labels that are wrong in both splits alike, and healthy tasks in which inputs do not tell every label."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.evaluation import Classification
from reportgen.document.facts import DatasetFacts, Report
from reportgen.document.samples import Signal, SplitFacts, Sureness
from reportgen.probe.signal import SignalSample
from reportgen.probe.sureness import WordSample, sureness
from reportgen.subject.data import Batch

from .test_learned_anew import SCORES
from .test_rules_model import GOOD, causes, report, run, severity, tried

_WORDS = 120


def texts(n: int, seed: int, share: float = 0.5, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Sequences of common words with words of the class strewn in."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (n,), generator=g)
    common = torch.randint(0, 40, (n, 12), generator=g)
    own = 40 + _WORDS // classes * y[:, None] + torch.randint(0, _WORDS // classes, (n, 12), generator=g)
    return torch.where(torch.rand(n, 12, generator=g) < share, own, common), y


def made_wrong(y: Tensor, share: float, seed: int, classes: int = 3) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    other = (y + torch.randint(1, classes, y.shape, generator=g)) % classes
    return torch.where(torch.rand(y.shape, generator=g) < share, other, y)


def weak_hints(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Every word weighs a little; the label is drawn with the probability that they come to."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 160, (n, 12), generator=g)
    weights = 0.45 * torch.randn(160, generator=g)
    return x, (torch.rand(n, generator=g) < weights[x].sum(1).sigmoid()).long()


def mixtures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Texts of several topics, whose label is drawn by their parts."""
    g = torch.Generator().manual_seed(seed)
    parts = torch.rand(n, 3, generator=g).pow(3)
    topic = torch.multinomial(parts, 12, replacement=True, generator=g)
    x = 40 * topic + torch.randint(0, 40, (n, 12), generator=g)
    return x, torch.multinomial(parts, 1, generator=g).flatten()


def one_code(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A table of codes, one of which says yes or no and is right in seven of ten."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (n, 8), generator=g)
    return x + 4 * torch.arange(8), (torch.rand(n, generator=g) < 0.3 + 0.4 * (x[:, 0] > 1)).long()


def asked(x: Tensor, y: Tensor) -> Sureness:
    sample = WordSample()
    for a, b in zip(x.split(30), y.split(30), strict=True):
        sample.update(Batch((a,), {}, b))
    found = sample.facts()
    assert found is not None
    return found


def judged(found: Sureness | None, own: float = 0.8, *, given: Any = None, **more: Any) -> Report:
    """Return the facts of a model that has this share of its training labels."""
    table = [[round(1000 * own / 2), round(500 * (1 - own))], [round(500 * (1 - own)), round(1000 * own / 2)]]
    data = DatasetFacts(n_samples=900, n_batches=9, shape="N x 12", dtype="int64", sureness=found)
    theirs = Classification(classes=["a", "b"], confusion=[[110, 90], [90, 110]]) if given is None else given
    facts = report(theirs, training=run([1.0, 0.9, 0.8]), train_dataset=data, **more)
    ours = report(Classification(classes=["a", "b"], confusion=table)).evaluation
    return replace(facts, train_evaluation=ours)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.25, 0.4])
def test_wrong_labels_strike_clear_texts_as_often_as_others(share: float, seed: int) -> None:
    x, y = texts(900, seed)
    found = asked(x, made_wrong(y, share, seed))
    assert found.agreement > 0.9
    assert found.surer + 2 * found.error < 0.6
    assert severity(judged(found, own=min(found.accuracy + 0.1, 0.95)), "d-labels-drawn") == "warning"
    assert severity(judged(found, own=found.accuracy + 0.02), "d-labels-drawn") == "info"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", [weak_hints, mixtures, one_code])
def test_healthy_tasks_that_leave_much_open_are_quiet(task: Any, seed: int) -> None:
    found = asked(*task(900, seed))
    assert 0.55 < found.accuracy < 0.8
    assert severity(judged(found, own=0.99), "d-labels-drawn") is None


def test_so_are_texts_with_few_words_of_their_class_and_clear_ones() -> None:
    for share in (0.06, 0.15, 0.5):
        x, y = texts(900, 4, share)
        sample = WordSample()
        sample.update(Batch((x,), {}, y))
        found = sample.facts()
        assert severity(judged(found, own=0.99), "d-labels-drawn") is None


def columns(x: Tensor, y: Tensor) -> Sureness | None:
    sample = SignalSample()
    sample.update(Batch((x,), {}, y))
    return sureness(sample.table(), sample.kind)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_columns_that_all_say_the_kind_are_asked_too(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (500,), generator=g)
    x = (2.0 * y[:, None] - 1) + 1.2 * torch.randn(500, 16, generator=g)
    wrong = columns(x, made_wrong(y, 0.3, seed, 2))
    assert severity(judged(wrong, own=0.95), "d-labels-drawn") == "warning"
    level = torch.randn(500, generator=g)
    shown = level[:, None] + 0.5 * torch.randn(500, 16, generator=g)
    drawn = (torch.rand(500, generator=g) < (1.5 * level).sigmoid()).long()
    near = torch.randn(500, 10, generator=g)
    near[:, 0] += 0.8 * y
    for healthy in (columns(shown, drawn), columns(near, y), columns(x, y)):
        assert severity(judged(healthy, own=0.95), "d-labels-drawn") is None


CLEAR = Sureness(
    n=900,
    by="words",
    accuracy=0.6,
    commonest=0.35,
    lowest=0.55,
    agreement=0.95,
    lesser=0.58,
    surer=0.5,
    error=0.02,
)


@pytest.mark.parametrize(
    "change",
    [
        {"surer": 0.6},  # mistakes lie where it is unsure
        {"agreement": 0.7},  # the halves of an input know different things
        {"lesser": 0.4},  # or one of them next to nothing
        {"lowest": 0.1},  # a class is never named
        {"accuracy": 0.85},  # few are wrong
        {"accuracy": 0.42},  # or little is known
        {"n": 120, "error": 0.06},  # of too few samples
    ],
)
def test_what_may_have_another_reason_is_not_judged(change: dict[str, float]) -> None:
    sick = judged(CLEAR)
    assert severity(sick, "d-labels-drawn") == "warning"
    assert "label-noise" in causes(sick)
    assert severity(judged(replace(CLEAR, **change)), "d-labels-drawn") is None


def test_neither_is_it_where_the_model_or_a_copy_or_neighbours_know_better() -> None:
    assert severity(judged(CLEAR, given=GOOD), "d-labels-drawn") is None
    better = tried("learned-anew", {"kind": "classes"}, **SCORES | {"training_training": 0.75})
    assert severity(judged(CLEAR, trials=better), "d-labels-drawn") is None
    near = Signal(kind="classes", n=400, k=5, score=0.6, null_mean=0.3, null_std=0.01, vote=0.8)
    assert severity(judged(CLEAR, splits=SplitFacts(across=near)), "d-labels-drawn") is None


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(160, 24)
        self.net = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.net(self.words(x))
        return told


@pytest.mark.slow
def test_a_run_that_learns_wrong_labels_by_heart_is_told_and_one_on_hard_texts_is_not() -> None:
    x, y = texts(1100, 7)
    hard_x, hard_y = mixtures(1100, 8)
    for inputs, target, epochs, expected in ((x, made_wrong(y, 0.4, 7), 14, True), (hard_x, hard_y, 4, False)):
        torch.manual_seed(0)
        model, loss = Bag(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        train, given = TensorDataset(inputs[:800], target[:800]), TensorDataset(inputs[800:], target[800:])
        loaders = DataLoader(train, 32, shuffle=True), DataLoader(given, 100)
        history = reportgen.fit(model, *loaders, loss=loss, optimizer=optimizer, epochs=epochs)
        found = reportgen.examine(
            model, loaders[1], train_data=loaders[0], loss=loss, optimizer=optimizer, history=history
        )
        assert ("label-noise" in {d.cause for d in found.diagnoses if d.severity != "info"}) == expected
        assert math.isfinite(found.train_dataset.sureness.surer)
