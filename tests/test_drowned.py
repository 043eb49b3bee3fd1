"""One head of several that drowns the others: sick, and multi-task trainings that are well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.page import words_checks
from reportgen.probe.trials import drowned
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, NotApplicableError, Result
from reportgen.subject.data import Batch

from .test_rules_model import BAD, causes, report, run, severity, tried

pytestmark = pytest.mark.slow  # models are trained, pages are drawn

Say = dict[str, Tensor]


class Two(nn.Module):
    """A body with a head for the class and one for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
        self.kind, self.number = nn.Linear(24, 3), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Say:
        h = self.body(x)
        return {"kind": self.kind(h), "number": self.number(h)[:, 0]}


def _joint(weight: float = 1.0) -> Callable[[Say, Say], Tensor]:
    return lambda o, t: F.cross_entropy(o["kind"], t["kind"]) + weight * F.mse_loss(o["number"], t["number"])


def _data(n: int, seed: int, scale: float = 1.0) -> list[Batch]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    kind = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5).long()
    number = scale * (x[:, 5] + x[:, 6] * x[:, 7] * 0.5) + (3 * scale if scale > 1 else 0)
    return [
        Batch((x[i : i + 32],), {}, {"kind": kind[i : i + 32], "number": number[i : i + 32]}) for i in range(0, n, 32)
    ]


def _tried(
    loss: Callable[[Say, Say], Tensor], scale: float = 1.0, epochs: int = 12, model: nn.Module | None = None
) -> Result:
    torch.manual_seed(0)
    model = model or Two()
    training, given = _data(1024, 0, scale), _data(512, 1, scale)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in training:
            optimizer.zero_grad()
            loss(model(batch.args[0]), batch.target).backward()
            optimizer.step()
    lab = trials.laboratory(model, loss, (optimizer,), given[:2], training[:2], Clock(60.0), 0, (given, training))
    return drowned.head_drowned(lab)


def _told(result: Result) -> object:
    assert words_checks.OUTCOMES["head-drowned"](result.numbers, result.detail).endswith(".")
    return report(BAD, training=run(), trials=tried("head-drowned", result.detail, **result.numbers))


def test_a_target_in_thousands_leaves_nothing_of_the_classes() -> None:
    facts = _told(_tried(_joint(), scale=5000.0))
    assert severity(facts, "head-drowned") == "warning"
    assert "unscaled-target" in causes(facts)


def test_a_weight_that_leaves_nothing_of_the_classes() -> None:
    result = _tried(_joint(1e5), epochs=2)
    facts = report(BAD, training=run(), trials=tried("head-drowned", **result.numbers))
    assert result.numbers["size"] < 10
    assert severity(facts, "head-drowned") == "warning"
    assert causes(facts) >= {"underfitting"}
    assert "unscaled-target" not in causes(facts)


def test_a_head_that_weighs_little_and_learns_is_well() -> None:
    """What the strong head learns is what the other needs, too."""

    def loss(o: Say, t: Say) -> Tensor:
        return 0.001 * F.cross_entropy(o["kind"], (t["number"] > 0).long()) + F.mse_loss(o["number"], t["number"])

    result = _tried(loss, epochs=24)
    assert result.numbers["worth"] > 0.5 * result.numbers["worth_alone"]
    assert severity(_told(result), "head-drowned") is None


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.spread = nn.Linear(8, 16), nn.Linear(16, 2), nn.Linear(16, 2)
        self.back = nn.Linear(2, 8)

    def forward(self, x: Tensor) -> Say:
        h = self.body(x).relu()
        mean, spread = self.mean(h), self.spread(h)
        return {"x": self.back(mean + torch.randn_like(mean) * (spread / 2).exp()), "mean": mean, "spread": spread}


def test_a_variational_model_whose_divergence_weighs_little_is_well() -> None:
    def loss(o: Say, t: Say) -> Tensor:
        divergence = 0.5 * (o["mean"].square() + o["spread"].exp() - 1 - o["spread"]).sum(1).mean()
        wanted = torch.stack([t["number"], t["kind"].float()], 1)
        return (o["x"][:, :2] - wanted).square().sum(1).mean() + 1e-4 * divergence

    try:
        result = _tried(loss, epochs=4, model=Variational())
    except NotApplicableError:
        pytest.fail("the divergence weighs a ten thousandth, so the experiment is made")
    assert severity(_told(result), "head-drowned") is None


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (_joint(), "no head pulls"),
        (lambda o, t: F.cross_entropy(o["kind"], t["kind"]), "the loss follows one output"),
    ],
)
def test_heads_of_one_size_are_not_tried(loss: Callable[[Say, Say], Tensor], why: str) -> None:
    with pytest.raises(NotApplicableError, match=why):
        _tried(loss, epochs=2)


class One(Two):
    """The same heads as columns of one output."""

    def __init__(self, columns: int = 4) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        said = super().forward(x)
        return torch.cat([said["kind"], said["number"][:, None]], 1)[:, : self.columns]


def _of_columns(o: Tensor, t: Say) -> Tensor:
    return F.cross_entropy(o[:, :3], t["kind"]) + F.mse_loss(o[:, 3], t["number"])


def test_columns_of_one_output_are_heads_too() -> None:
    facts = _told(_tried(_of_columns, scale=5000.0, model=One()))  # type: ignore[arg-type]
    assert severity(facts, "head-drowned") == "warning"
    assert "unscaled-target" in causes(facts)


@pytest.mark.parametrize(
    ("loss", "columns", "why"),
    [
        (_of_columns, 4, "no head pulls"),  # numbers of order one
        (lambda o, t: F.cross_entropy(o, t["kind"]), 3, "no head pulls"),
        (lambda o, t: F.mse_loss(o[:, 0], t["number"]), 1, "several outputs"),
    ],
)
def test_columns_that_none_of_them_drowns(loss: Callable[[Tensor, Say], Tensor], columns: int, why: str) -> None:
    with pytest.raises(NotApplicableError, match=why):
        _tried(loss, epochs=4, model=One(columns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("worth", "alone", "noise", "expected"),
    [(0.1, 2.0, 0.05, "warning"), (0.1, 0.2, 0.05, None), (1.5, 2.0, 0.05, None), (-0.1, 0.4, 0.2, None)],
)
def test_what_the_others_are_worth(worth: float, alone: float, noise: float, expected: str | None) -> None:
    trial = tried("head-drowned", worth=worth, worth_alone=alone, noise=noise, pull=500.0, size=1.0, samples=400.0)
    assert severity(report(BAD, training=run(), trials=trial), "head-drowned") == expected
    assert severity(report(None, trials=trial), "head-drowned") is None
