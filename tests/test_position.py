"""Models that cannot see order: does the order of these sequences tell the target? And runs of one epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

from reportgen.document.evaluation import Regression
from reportgen.document.facts import EvaluationFacts
from reportgen.document.stats import TensorStats
from reportgen.document.trials import Trial, TrialFacts
from reportgen.probe.trials.coupling import tokens_reordered

from .test_learned_anew import lab
from .test_rules_fit import scored
from .test_rules_model import BAD, FALL, causes, report, run, series, severity, tried

ALTOGETHER = {"missing-position-info", "batch-mixing"}


class Bag(nn.Module):
    """Embeddings, or vectors, and their mean."""

    def __init__(self, classes: int, vectors: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8) if vectors else nn.Embedding(20, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).mean(1))


def first_element(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 4, (n, 10), generator=g)
    return x, x[:, 0].clone()


def which_first(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randint(2, 8, (n, 8), generator=g)
    places = torch.rand(n, 8, generator=g).argsort(1)[:, :2]
    x.scatter_(1, places, torch.tensor([0, 1]).expand(n, 2))
    return x, (places[:, 0] < places[:, 1]).long()


def pair(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Element 1 directly after element 0, somewhere; both occur in every sequence."""
    x, y = torch.randint(2, 20, (n, 9), generator=g), torch.arange(n) % 2
    for i in range(n):
        place = int(torch.randint(0, 4, (), generator=g))
        x[i, place], x[i, place + (1 if y[i] else 3)] = 0, 1
    return x, y


def slope(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 8, 4, generator=g)
    return x, x[:, :4, 0].mean(1) - x[:, 4:, 0].mean(1)


def majority(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 20, (n, 9), generator=g)
    return x, ((x < 10).sum(1) > 4).long()


def cloud(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points whose spread tells the class, in any order."""
    y = torch.arange(n) % 2
    return torch.randn(n, 8, 4, generator=g) * (1 + y[:, None, None]), y


def chance(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 20, (n, 9), generator=g), torch.randint(0, 2, (n,), generator=g)


@pytest.mark.parametrize("make", [first_element, which_first, pair, slope])
def test_order_that_tells_the_target_is_worth_something(make: Any) -> None:
    n = _tried(make)
    assert n["ordered"] > n["mixed"] + 0.3
    assert n["asked"] == 300


@pytest.mark.parametrize("make", [majority, cloud, chance])
def test_order_that_tells_nothing_is_worth_nothing(make: Any) -> None:
    n = _tried(make)
    assert n["ordered"] < n["mixed"] + 0.1


def _tried(make: Any) -> dict[str, float]:
    g = torch.Generator().manual_seed(1)
    train, given = make(600, g), make(300, g)
    numbers = train[1].is_floating_point()
    model = Bag(1 if numbers else 4, train[0].is_floating_point())
    result = tokens_reordered(lab(model, train, given, nn.MSELoss() if numbers else None))
    assert result.numbers["change"] < 1e-4
    return result.numbers


class Seen(nn.Module):
    """Convolutions, and the mean of their maps or all of them."""

    def __init__(self, averaged: bool, side: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1) if averaged else nn.AvgPool2d(2)
        self.head = nn.Linear(8 if averaged else 8 * ((side - 4) // 2) ** 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def spots(n: int, g: torch.Generator, *, where: bool) -> tuple[Tensor, Tensor]:
    """Return one spot a picture (N, 1, 16, 16), with its two coordinates or its height and width (N, 2)."""
    middle = 4 + 8 * torch.rand(n, 2, generator=g)
    size = 1 + torch.rand(n, 2, generator=g)
    grid = torch.arange(16.0)
    down = (-((grid - middle[:, :1]) ** 2) / size[:, :1] ** 2).exp()
    right = (-((grid - middle[:, 1:]) ** 2) / size[:, 1:] ** 2).exp()
    return (down[:, :, None] * right[:, None])[:, None], (middle - 8) / 4 if where else size


@pytest.mark.parametrize(("averaged", "where"), [(True, True), (True, False), (False, True)])
def test_a_mean_over_maps_cannot_tell_where_a_spot_is(averaged: bool, where: bool) -> None:
    g = torch.Generator().manual_seed(1)
    train, given = spots(300, g, where=where), spots(200, g, where=where)
    n = tokens_reordered(lab(Seen(averaged), train, given, nn.MSELoss())).numbers
    assert ("shifted" in n) == averaged
    if averaged:
        assert n["shifted"] < 1e-3
        # where it lies is told by the pixels at their places alone
        assert (n["ordered"] - n["mixed"] > 0.5) == where


@pytest.mark.parametrize(
    ("solved", "fresh", "mixed", "r2", "expected"),
    [
        (0.0, 0.9, -0.1, 0.0, "warning"),
        (1.0, 0.9, -0.1, 0.0, "info"),  # it can be learned: another reason holds the model back
        (1.0, 0.01, -0.1, 0.0, "warning"),  # 32 pictures by heart, by their noise, and nothing that holds elsewhere
        (0.0, 0.9, 0.9, 0.0, "info"),  # nor is a place needed
        (0.0, 0.9, -0.1, 0.95, "info"),  # the model does as well
    ],
)
def test_pictures_are_told_by_place_where_numbers_ask_for_it(
    solved: float, fresh: float, mixed: float, r2: float, expected: str
) -> None:
    moved = tried(
        "tokens-reordered",
        change=5.0,
        shifted=1e-6,
        attention=0.0,
        recurrent=0.0,
        ordered=0.98,
        mixed=mixed,
        asked=300.0,
    )
    by_heart = tried("one-batch", solved=solved, error_share=0.5, tries=2.0, samples=32.0, start=1.0, end=0.5)
    splits = ("training", "given")
    scores = {f"{a}_{b}": fresh for a in splits for b in splits} | {f"commonest_{a}": 0.0 for a in splits}
    sizes = {f"{way}_{a}": 300.0 for way in ("asked", "learned") for a in splits}
    anew = tried("learned-anew", {"kind": "numbers"}, as_is=r2, **scores, **sizes)
    fit = Regression(r2=r2, mae=0.5, mse=1 - r2, target=TensorStats(), residual=TensorStats(), sample=[])
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=400, regression=fit),
        trials=TrialFacts(budget=20.0, trials=[*moved.trials, *by_heart.trials, *anew.trials]),
        training=run(FALL, FALL),
    )
    assert severity(facts, "position-unseen") == expected
    assert ("missing-position-info" in causes(facts)) == (expected == "warning")


@pytest.mark.parametrize(
    ("ordered", "mixed", "given", "expected"),
    [
        (0.95, 0.5, 0.6, "warning"),
        (0.95, 0.9, 0.6, "info"),  # the elements alone tell it as well: another reason holds the model back
        (0.95, 0.5, 0.88, "info"),  # the model is about as good
        (0.65, 0.5, 0.57, "info"),
    ],
)
def test_a_bag_is_at_fault_where_order_is_what_is_lacking(
    ordered: float, mixed: float, given: float, expected: str
) -> None:
    trial = tried(
        "tokens-reordered", change=0.0, attention=0.0, recurrent=0.0, ordered=ordered, mixed=mixed, asked=400.0
    )
    facts = scored(0.7, given, trials=trial)
    assert severity(facts, "position-unseen") == expected
    assert ("missing-position-info" in causes(facts)) == (expected == "warning")


@pytest.mark.parametrize(
    ("ordered", "mixed", "expected"),
    [
        (0.87, 0.88, "info"),  # what sees no order either is far ahead: order is not what the model lacks
        (0.9, 0.8, "info"),  # a tenth of accuracy in a few hundred answers is chance
        (0.97, 0.7, "warning"),
        (0.4, 0.36, "warning"),  # neither tells anything
    ],
)
def test_a_model_that_did_not_learn_lacks_no_order_that_nobody_needs(
    ordered: float, mixed: float, expected: str
) -> None:
    trial = tried(
        "tokens-reordered", change=0.0, attention=1.0, recurrent=0.0, ordered=ordered, mixed=mixed, asked=300.0
    )
    flat = [1.95] * 12
    assert severity(scored(0.35, 0.33, trials=trial, training=run(flat, flat)), "position-unseen") == expected


@pytest.mark.parametrize(
    ("replaced", "change", "expected"),
    [
        (0.0, 0.0, {"missing-position-info"}),  # an encoding of positions that was added along the batch
        (0.5, 0.0, {"batch-mixing"}),  # attention over the batch
        (0.0, 0.5, {"batch-mixing"}),  # rows are told apart, and so are the elements of a sequence
    ],
)
def test_positions_that_were_told_along_the_batch(replaced: float, change: float, expected: set[str]) -> None:
    mixed = {"noise": 0.0, "replaced": replaced, "fewer": replaced, "reordered": 2.0, "change": 2.0}
    order = {"change": change, "attention": 1.0, "recurrent": 0.0, "ordered": 0.97, "mixed": 0.6, "asked": 300.0}
    trials = tried("tokens-reordered", **order)
    trials.trials.extend(tried("neighbours", **mixed).trials)
    flat = [1.95] * 12
    assert causes(scored(0.55, 0.55, trials=trials, training=run(flat, flat))) & ALTOGETHER == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [({"after": 0.3, "score_after": 0.9}, "warning"), ({"after": 1.0, "score_after": 0.58}, None)],
)
def test_a_single_epoch_that_goes_on_learning(after: dict[str, float], expected: str | None) -> None:
    trial = tried("trained-on", before=1.5, samples=400.0, score_before=0.5, **after)
    slow = [1.7 - 0.005 * step for step in range(40)]
    facts = report(trials=trial, training=run(slow, [1.5], series=[series("train_loss", slow, axis="step")]))
    assert severity(facts, "cut-short") == expected
    assert ("undertrained" in causes(facts)) == (expected == "warning")


def test_distances_are_no_guesses() -> None:
    """Of two inputs that are compared: their order says nothing, and no accuracy is told of how far they lie apart."""
    reordered = Trial(name="tokens-reordered", status="done", numbers={"change": 0.0, "attention": 0.0})
    judged = Trial(
        name="as-it-is", status="done", numbers={"accuracy": 0.545, "commonest": 0.545, "samples": 400.0, "loss": 0.2}
    )
    for right, expected in ((0.9, "info"), (0.1, "warning")):  # small where the answer is yes, or large
        numbers = {"right": right, "wrong": 1 - right, "pull": 0.1}
        answers = Trial(name="loss-of-answers", status="done", numbers=numbers, detail={"answers": "yes or no"})
        evaluation = EvaluationFacts(task="binary", n_samples=400, classification=BAD)
        facts = report(None, evaluation=evaluation, training=run(FALL, FALL))
        facts = structs.replace(facts, trials=TrialFacts(trials=[reordered, judged, answers], budget=20.0))
        assert severity(facts, "position-unseen") == expected
