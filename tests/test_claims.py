"""What a loss asks of made-up outputs and targets, against what distances and likelihoods are known to do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.document.facts import EvaluationFacts, Finding, Report, Severity
from reportgen.document.scores import Regression
from reportgen.document.stats import TensorStats
from reportgen.document.trials import Trial, TrialFacts
from reportgen.health.causes import diagnose
from reportgen.health.rules.claims import falls_with_distance
from reportgen.page import words_claims, words_trials
from reportgen.probe.trials import claims
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab, NotApplicableError
from reportgen.subject.data import Batch

from .test_rules_model import causes, report, run, series, severity
from .test_trials import Made

pytestmark = pytest.mark.slow  # models are trained, pages are drawn


def numbers(n: int = 64, *, counts: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    y = x[:, :1] - 0.5 * x[:, 1:2]
    return Batch((x,), {}, torch.poisson(y.exp(), generator=generator) if counts else y)


def soft(n: int = 64, *, hard: bool = False) -> Batch:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return Batch((x,), {}, F.one_hot(x[:, :3].argmax(1), 3).float() if hard else (2 * x[:, :3]).softmax(1))


def lab(model: nn.Module, batch: Batch, loss: Any) -> Lab:
    return trials.laboratory(model, loss, (), [batch], [], Clock(60.0), 0)


def model(outputs: int, *, last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, outputs), last if last is not None else nn.Identity())


def gaussian(output: Tensor, target: Tensor) -> Tensor:
    return F.gaussian_nll_loss(output[:, :1], target, F.softplus(output[:, 1:]) + 0.05)


def likely(output: Tensor, target: Tensor) -> Tensor:
    return -torch.distributions.Normal(output[:, :1], F.softplus(output[:, 1:]) + 0.05).log_prob(target).mean()


def counted(output: Tensor, target: Tensor) -> Tensor:
    return -torch.distributions.Poisson(output.clamp(-10, 10).exp()).log_prob(target).mean()


def examined(model: nn.Module, batch: Batch, loss: Any) -> Report:
    """Facts of a report: what a user would get of the same pieces."""
    import reportgen

    assert isinstance(batch.target, Tensor)
    pairs = [(batch.args[0], batch.target)] * 2
    return reportgen.examine(model, pairs, loss=loss)


_HEALTHY: list[tuple[int, Any, bool]] = [
    (1, nn.MSELoss(), False),
    (1, nn.L1Loss(), False),
    (1, nn.HuberLoss(), False),
    (1, lambda o, y: torch.log1p((o - y).square()).mean(), False),
    (1, lambda o, y: 1 - torch.exp(-((o - y).square())).mean(), False),
    (1, lambda o, y: torch.where(y > o, 0.9, 0.1).mul((y - o).abs()).mean(), False),
    (1, lambda o, y: 1 - F.cosine_similarity(o - o.mean(), y - y.mean(), dim=0).mean(), False),
    (1, lambda o, y: ((o - y) / y.abs().clamp_min(0.1)).abs().mean(), False),
    (1, lambda o, y: -(o * y).mean(), False),
    (2, gaussian, False),
    (2, likely, False),
    (1, counted, True),
    (1, nn.PoissonNLLLoss(), True),
    (1, nn.PoissonNLLLoss(full=True), True),
]


@pytest.mark.parametrize(("outputs", "loss", "counts"), _HEALTHY)
def test_losses_that_rise_with_the_distance_are_descended(outputs: int, loss: Any, counts: bool) -> None:
    report = examined(model(outputs), numbers(counts=counts), loss)
    assert report.tried("far-targets") is not None
    assert falls_with_distance(report) == {}
    assert not any(f.rule == "loss-sign" for f in report.findings)


@pytest.mark.parametrize(("outputs", "loss", "counts"), [h for h in _HEALTHY if h[1] in (gaussian, likely, counted)])
def test_a_likelihood_that_is_made_small_is_told(outputs: int, loss: Any, counts: bool) -> None:
    report = examined(model(outputs), numbers(counts=counts), lambda o, y: -loss(o, y))
    found = [f for f in report.findings if f.rule == "loss-sign"]
    assert [f.detail["by"] for f in found] == ["loss"]
    assert found[0].evidence["far"] < found[0].evidence["near"]
    assert "loss-sign-flipped" in {d.cause for d in report.diagnoses if d.severity.rank}
    assert "far" in words_trials.RULES["loss-sign"][1](found[0])
    trial = report.tried("far-targets")
    assert trial is not None
    assert words_claims.OUTCOMES["far-targets"](trial.numbers, {}).endswith(".")


def _taken(o: Tensor, y: Tensor) -> Tensor:
    """Log probabilities of the actions in the first column."""
    return o.log_softmax(1).gather(1, y[:, :1].long())[:, 0]


_REWARDED: list[tuple[Any, str | None]] = [
    (lambda o, y: (_taken(o, y) * y[:, 1]).mean(), "error"),
    (lambda o, y: (_taken(o, y) * y[:, 1]).sum(), "error"),
    (lambda o, y: -(_taken(o, y) * y[:, 1]).mean(), None),
    (lambda o, y: -(_taken(o, y) * (y[:, 1] - 0.4)).mean(), None),  # with a baseline
    (lambda o, y: -(_taken(o, y).exp() * y[:, 1]).mean(), None),
    (lambda o, y: -(20 * _taken(o, y).exp() * y[:, 1]).mean(), None),  # over the chance of a logged action
    (lambda o, y: -(_taken(o, y).exp() * y[:, 1]).sum(), None),
    (lambda o, y: (y[:, 1] * (o[:, 0] - y[:, 0]).square()).mean(), None),  # a weight
    (lambda o, y: F.cross_entropy(o, y[:, 1:].expand_as(o)), None),
]


@pytest.mark.parametrize(("loss", "expected"), _REWARDED)
def test_a_loss_that_falls_with_the_reward_without_end_lacks_a_minus(loss: Any, expected: str | None) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=draw)
    y = torch.stack([torch.randint(4, (64,), generator=draw).float(), torch.rand(64, generator=draw)], 1)
    net = Made(lambda self, x: 6 * x)
    told = claims.far_targets(lab(net, Batch((x,), {}, y), loss)).numbers
    slopes = {key: value for key, value in told.items() if key.startswith("slope")}
    trial = Trial(name="far-targets", status="done", numbers={"base": told["base"]} | slopes)
    facts = report(None, trials=TrialFacts(trials=[trial], budget=20.0), training=run())
    assert severity(facts, "loss-sign") == expected
    assert ("loss-sign-flipped" in causes(facts)) is (expected is not None)


@pytest.mark.parametrize(("wrong", "expected"), [(0.0, None), (-3.0, "error")])
def test_scores_of_a_critic_fall_with_targets_that_no_output_answers(wrong: float, expected: str | None) -> None:
    far = {"base": 0.2, "up_10": -23.0, "up_100": -257.0, "down_10": -25.0, "down_100": -268.0}
    trials = [Trial(name="far-targets", status="done", numbers=far)]
    answers = {"right": 0.0, "wrong": wrong, "same_shape": 1.0, "pull": 0.1}
    trials.append(Trial(name="loss-of-answers", status="done", numbers=answers, detail={"answers": "numbers"}))
    facts = report(None, trials=TrialFacts(trials=trials, budget=20.0), training=run())
    assert severity(facts, "loss-sign") == expected


def test_the_slope_along_a_reward_is_the_logarithm_of_the_probability() -> None:
    draw = torch.Generator().manual_seed(0)
    x, action = torch.randn(64, 4, generator=draw), torch.randint(4, (64,), generator=draw)
    y = torch.stack([action.float(), torch.rand(64, generator=draw)], 1)
    wanted = x.log_softmax(1)[torch.arange(64), action]
    for reduced in (torch.mean, torch.sum):
        loss = lambda o, y, reduced=reduced: reduced(_taken(o, y) * y[:, 1])  # noqa: E731
        told = claims.far_targets(lab(Made(lambda self, x: x), Batch((x,), {}, y), loss)).numbers
        assert told["slope_low"] == pytest.approx(float(wanted.min()), rel=1e-4)
        assert told["slope_high"] == pytest.approx(float(wanted.max()), rel=1e-4)
        tenfold = (10 * x).log_softmax(1)[torch.arange(64), action]
        assert told["slope_low_10"] == pytest.approx(float(tenfold.min()), rel=1e-4)


def test_far_targets_of_a_square_are_known_by_hand() -> None:
    batch = numbers()
    assert isinstance(batch.target, Tensor)
    net = Made(lambda self, x: 0 * x[:, :1])
    told = claims.far_targets(lab(net, batch, nn.MSELoss())).numbers
    unit = float(batch.target.double().std())
    mean, square = float(batch.target.mean()), float(batch.target.square().mean())
    for sign, name in ((1, "up"), (-1, "down")):
        expected = square + 2 * sign * 100 * unit * mean + (100 * unit) ** 2
        assert told[f"{name}_100"] == pytest.approx(expected, rel=1e-4)


def kl(form: Any, asked: Any = lambda y: y) -> Any:
    return lambda o, y: F.kl_div(form(o), asked(y), reduction="batchmean")


def by_element(output: Tensor, target: Tensor) -> Tensor:
    """What KLDivLoss does unless told otherwise; it warns of it."""
    return F.kl_div(output, target, reduction="sum") / target.numel()


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (None, nn.CrossEntropyLoss()),
        (nn.LogSoftmax(1), nn.KLDivLoss(reduction="batchmean")),
        (nn.LogSoftmax(1), by_element),
        (None, kl(lambda o: o.log_softmax(1))),
        (None, kl(lambda o: (o / 3).log_softmax(1))),
        (nn.Softmax(1), nn.MSELoss()),
        (nn.Softmax(1), kl(lambda o: o.log())),
        (nn.Softmax(1), nn.BCELoss()),
        (None, nn.BCEWithLogitsLoss()),
    ],
)
def test_losses_that_ask_for_the_shares_as_they_are(last: nn.Module | None, loss: Any) -> None:
    report = examined(model(3, last=last), soft(), loss)
    trial = report.tried("shares")
    assert trial is not None
    assert words_claims.OUTCOMES["shares"](trial.numbers, {}).endswith(".")
    assert not any(f.rule in ("loss-of-shares", "output-range") for f in report.findings)


@pytest.mark.parametrize(
    ("last", "loss", "kind", "severity"),
    [
        (nn.Softmax(1), nn.KLDivLoss(reduction="batchmean"), "probabilities", "error"),
        (nn.Softmax(1), by_element, "probabilities", "error"),
        (None, nn.KLDivLoss(reduction="batchmean"), "scores", "error"),
        (None, kl(lambda o: o.softmax(1)), "surest", "warning"),
    ],
)
def test_shares_that_are_no_logarithms(last: nn.Module | None, loss: Any, kind: str, severity: str) -> None:
    report = examined(model(3, last=last), soft(), loss)
    found = [f for f in report.findings if f.rule == "loss-of-shares"]
    assert [(f.detail["kind"], f.severity.value) for f in found] == [(kind, severity)]
    assert "wrong-loss" in {d.cause for d in report.diagnoses if d.severity.rank}
    assert words_claims.RULES["loss-of-shares"][1](found[0]).endswith(".")


def twice(output: Tensor, target: Tensor) -> Tensor:
    """Targets go through a softmax as teachers' scores do, at a temperature of 4; the student does at 1."""
    return -((target / 4).softmax(1) * output.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("loss", [twice, kl(lambda o: o.log_softmax(1), lambda t: t.softmax(1))])
def test_shares_that_go_through_a_softmax_once_more(loss: Any) -> None:
    report = examined(model(3), soft(), loss)
    found = [f for f in report.findings if f.rule == "loss-of-shares"]
    assert [(f.detail["kind"], f.severity.value) for f in found] == [("softened", "error")]
    assert "double-softmax" in {d.cause for d in report.diagnoses if d.severity.rank}
    assert words_claims.RULES["loss-of-shares"][1](found[0]).endswith(".")


@pytest.mark.parametrize(
    "soften",
    [
        lambda t: 0.9 * t + 0.1 / 3,  # smoothed
        lambda t: (t.log() / 3).softmax(1),  # at a temperature, as shares are softened rightly
        lambda t: (3 * t.log()).softmax(1),
    ],
)
def test_shares_that_are_softened_as_shares(soften: Any) -> None:
    report = examined(model(3), soft(), kl(lambda o: o.log_softmax(1), soften))
    assert not any(f.detail.get("kind") == "softened" for f in report.findings)


def test_labels_of_one_class_alone_are_no_shares() -> None:
    with pytest.raises(NotApplicableError, match="rows of shares"):
        claims.shares(lab(model(3), soft(hard=True), nn.CrossEntropyLoss()))
    told = claims.shares(lab(model(3, last=nn.Softmax(1)), soft(), nn.KLDivLoss(reduction="batchmean"))).numbers
    assert told["logs_1"] == pytest.approx(0, abs=1e-6)
    assert told["sums"] < 1e-6
    assert math.isfinite(told["log_sums"])


@pytest.mark.parametrize(
    ("ends", "r2", "told"),
    [
        ([40.0, -30.0, -2e4, -5e6, -4e8], -7e4, True),
        ([40.0, -30.0, -2e4, -5e6, -4e8], 0.9, False),  # useful all the same
        ([40.0, 3.0, -20.0, -35.0, -38.0], -2.0, False),  # a density may be below zero
        ([40.0, -30.0, -5e6, -4e8, 3e7], -7e4, False),  # it went to and fro
    ],
)
def test_a_loss_that_sinks_below_every_bound(ends: list[float], r2: float, told: bool) -> None:
    fit = Regression(r2=r2, mae=0.5, mse=1.0, target=TensorStats(), residual=TensorStats(), sample=[])
    facts = report(
        None, evaluation=EvaluationFacts(task="regression", n_samples=400, regression=fit), training=run(ends)
    )
    assert ("loss-sign-flipped" in causes(facts)) is told
    assert severity(facts, "loss-sign") == ("error" if told else None)


def test_a_loss_that_sank_within_the_first_epoch_is_held_against_its_first_steps() -> None:
    fit = Regression(r2=-7e4, mae=0.5, mse=1.0, target=TensorStats(), residual=TensorStats(), sample=[])
    ends, steps = [-1.5e3, -1.5e4, -9e4, -4e5, -1e6], [-1.8, -2.0, -2.6, *[-900.0] * 10, *[-1e6] * 10]
    kept = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    assert severity(report(None, evaluation=kept, training=run(ends)), "loss-sign") is None
    history = run(ends, series=[series("train_loss", steps, "step")])
    assert severity(report(None, evaluation=kept, training=history), "loss-sign") == "error"


def test_a_loss_that_does_not_fit_the_targets_sinks_for_that_reason() -> None:
    sunk = Finding(rule="loss-sign", severity=Severity.ERROR, subject="loss", section="trials", detail={"kind": "sunk"})
    unfit = Finding(rule="loss-mismatch", severity=Severity.ERROR, subject="loss", section="evaluation")
    assert [d.cause for d in diagnose([sunk, unfit])] == ["wrong-loss"]
    assert [d.cause for d in diagnose([sunk])] == ["loss-sign-flipped"]
