"""Faults that sit in one part: one head, one branch, one group, one buffer; and parts that are meant to be so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.evaluation import Regression
from reportgen.document.facts import DatasetFacts, EvaluationFacts, Severity
from reportgen.document.history import Trace
from reportgen.document.samples import Order
from reportgen.document.stats import TensorStats
from reportgen.document.trials import TrialFacts
from reportgen.probe import weights
from reportgen.probe.sequence import LabelOrder
from reportgen.probe.trials import answers
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.subject.data import Batch

from .test_on_the_way import FALLEN, KEPT, LOWERED, lab
from .test_rules import found, gradients
from .test_rules import report as measured
from .test_rules_fit import SLOW, WAYS, scored
from .test_rules_model import BAD, GOOD, causes, report, run, series, severity, tried
from .test_rules_run import parameter

# ------------------------------------------------------------------------------------------------------- heads


class Heads(nn.Module):
    """Two heads, of which the first may end in softmax."""

    def __init__(self, shares: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine, self.coarse, self.shares = nn.Linear(4, 6), nn.Linear(4, 3), shares

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.fine(x)
        return {"fine": fine.softmax(1) if self.shares else fine, "coarse": self.coarse(x)}


def of_scores(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.cross_entropy(output["fine"], target) + F.cross_entropy(output["coarse"], target % 3)


def of_shares(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.nll_loss(output["fine"].log(), target) + F.cross_entropy(output["coarse"], target % 3)


def of_one(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.cross_entropy(output["coarse"], target % 3)


@pytest.mark.parametrize(
    ("shares", "loss", "sick"),
    [
        (True, of_scores, True),
        (True, of_shares, False),  # the loss takes shares
        (True, of_one, False),  # the loss does not look at them
        (False, of_scores, False),
    ],
)
def test_softmax_twice_in_one_of_several_heads(shares: bool, loss: Any, sick: bool) -> None:
    x, y = torch.randn(64, 4), torch.arange(64) % 6
    try:
        numbers = answers.loss_shifted(lab(Heads(shares), x, y, loss)).numbers
    except NotApplicableError:
        numbers = {}
    assert ("head" in numbers) == sick
    told = report(None, trials=tried("loss-shifted", None, **numbers) if numbers else None, training=run())
    assert severity(told, "probabilities-as-scores") == ("error" if sick else None)
    if sick:
        assert (numbers["head"], causes(told)) == (1.0, {"double-softmax"})


def test_a_log_density_needs_no_log_probabilities() -> None:
    """Adding 1 to what the parts of a mixture say takes 1 off its negative log-density, whatever the labels."""
    shifted = tried("loss-shifted", None, loss=2.9, shifted=1.9, pull=0.1, width=4.0)
    blind = tried("loss-without-target", None, ignored=1.0, samples=64.0, together=0.0)
    outputs = reportgen.document.evaluation.OutputFacts(min=-9, max=2, row_sum_error=5.0, log_sum_exp_error=9.0)
    scores = EvaluationFacts(task="multiclass", n_samples=400, classification=GOOD, outputs=outputs)
    for trials, expected in ((shifted.trials, "error"), ([*shifted.trials, *blind.trials], None)):
        facts = report(None, evaluation=scores, trials=TrialFacts(trials=trials, budget=20.0), training=run())
        assert severity(facts, "loss-mismatch") == expected


# ---------------------------------------------------------------------------------------------- parts of a model


@pytest.mark.parametrize(
    ("grads_none", "looked", "expected"),
    [
        (0, 9, Severity.INFO),  # the loop has more to its loss than what was given
        (9, 9, Severity.ERROR),
        (1, 9, Severity.ERROR),
        (0, 2, Severity.ERROR),  # too few to say
    ],
)
def test_parameters_that_the_run_reached_are_cut_off_by_no_graph(
    grads_none: int, looked: int, expected: Severity
) -> None:
    cut = gradients(1, 1, l0={"n_none": 4, "stats": None})
    known = parameter("l0.weight", n_looked=looked, n_grad_none=grads_none)
    (finding,) = found(measured(**cut, training=run(parameters=[known])), "param-no-grad")
    assert finding.severity is expected


@pytest.mark.parametrize(
    ("pairs", "train", "expected"),
    [
        ("user.a → user.b, user.b → user.c", 0.6, "warning"),
        ("user.a → user.b, user.b → user.c", 0.9, "info"),  # it learned all the same
        ("k → v, q → o", 0.6, "info"),  # a pair is often meant
    ],
)
def test_a_chain_of_linear_layers_in_a_model_that_did_not_learn(pairs: str, train: float, expected: str) -> None:
    trial = tried("affinity", {"pairs": pairs}, affine_layers=6.0, redundant=2.0, collapsible=5.0, departure=0.4)
    facts = scored(train, train, trials=trial)
    assert severity(facts, "affine-pair") == expected
    assert ("missing-nonlinearity" in causes(facts)) == (expected == "warning")


@pytest.mark.parametrize(
    ("thawed", "score", "expected"),
    [
        (0.05, 0.6, "warning"),
        (0.05, 0.9, "info"),  # what was learned before serves the task
        (0.9, 0.6, "info"),  # a poor fit, but what is frozen is not all of it
    ],
)
def test_a_body_learned_before_that_does_not_serve_the_task(thawed: float, score: float, expected: str) -> None:
    numbers = WAYS | {"faster": 1.9, "slower": 2.0, "thawed": thawed, "learned": 1.0}
    facts = scored(score, score, trials=tried("other-ways", None, **numbers), training=run(SLOW, SLOW))
    assert severity(facts, "thawing-helps") == expected


@pytest.mark.parametrize(
    ("start", "leap", "rates", "expected"),
    [
        (0.06, 30.0, KEPT, "warning"),
        (0.06, 3.0, KEPT, None),
        (1e-4, 30.0, KEPT, None),  # begins near zero, and has to be made
        (0.06, 30.0, LOWERED, "info"),  # and the run ended well
    ],
)
def test_a_first_step_that_leaves_nothing_of_one_matrix(
    start: float, leap: float, rates: list[float], expected: str | None
) -> None:
    usual = Trace(x=[1.0, 40.0, 80.0, 120.0], y=[0.01, 0.008, 0.006, 0.004])
    wild = Trace(x=[1.0, 40.0, 80.0, 120.0], y=[leap, 0.01, 0.008, 0.006])
    rows = [parameter(f"{i}.weight", update_ratio=usual, start_rms=0.06) for i in range(3)]
    rows.append(parameter("head.weight", update_ratio=wild, start_rms=start))
    facts = report(GOOD, training=run(FALLEN, FALLEN, series=[series("lr", rates)], parameters=rows))
    assert severity(facts, "update-ratio") == expected


class Normed(nn.Module):
    """A norm written by hand: statistics in buffers, and a mask that holds infinities on purpose."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("var", torch.full((4,), torch.nan) if broken else torch.ones(4))
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) / self.get_buffer("var").sqrt()


@pytest.mark.parametrize("broken", [True, False])
def test_nan_in_a_buffer_is_found_and_an_infinity_there_is_meant(broken: bool) -> None:
    facts = weights.of_model(Normed(broken))
    assert [row.name for row in facts.buffers] == (["var"] if broken else [])
    told = report(BAD, weights=facts, training=run())
    assert severity(told, "param-nonfinite") == ("error" if broken else None)
    assert ("non-finite-weights" in causes(told)) == broken


# ----------------------------------------------------------------------------------------------- loss and targets


@pytest.mark.parametrize(
    ("loss", "r2", "expected"),
    [
        ("PoissonNLLLoss", -0.8, "warning"),  # all counts are above 1, and yet it was meant to give rates
        ("PoissonNLLLoss", 0.8, None),
        ("<lambda>", -0.8, None),  # log(1 + y) may be what it asks for
    ],
)
def test_rates_under_a_loss_of_log_rates_whose_counts_are_large(loss: str, r2: float, expected: str | None) -> None:
    fit = Regression(r2=r2, mae=5.0, mse=60.0, target=TensorStats(), residual=TensorStats(), sample=[])
    domain = tried(
        "loss-domain", None, negative=1.0, equal=8e16, logarithm=-17.4, above=-15.8, below=-16.3, below_one=0.0
    )
    domain.trials.extend(tried("head-range", low=0.0, high=40.0).trials)
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=400, regression=fit),
        trials=domain,
        training=run(FALLEN, FALLEN),
    )
    facts = structs.replace(facts, subject=structs.replace(facts.subject, loss=loss))
    assert severity(facts, "loss-wants") == expected


@pytest.mark.parametrize(("logarithm", "expected"), [(-17.4, None), (-10.0, "warning")])
def test_targets_of_a_loss_with_a_log_link_have_another_scale(logarithm: float, expected: str | None) -> None:
    target = TensorStats(count=400, sum=400 * 1130.0, m2=400 * 2429.0**2, min=5.0, max=3e4)
    fit = Regression(r2=-0.2, mae=1100.0, mse=7e6, target=target, residual=target, sample=[])
    costs = EvaluationFacts(task="regression", n_samples=400, regression=fit)
    facts = report(
        None,
        evaluation=costs,
        train_evaluation=costs,
        train_dataset=DatasetFacts(n_samples=400, n_batches=4, shape="N x 5", dtype="float32", target=target),
        trials=tried("loss-domain", None, negative=1.0, equal=1606.0, logarithm=logarithm, above=-15.8, below=-16.3),
        training=run(FALLEN, FALLEN),
    )
    assert severity(facts, "d-target-scale") == expected


# ---------------------------------------------------------------------------------------------------------- order


def order_of(batches: list[list[int]]) -> Order:
    order = LabelOrder()
    for labels in batches:
        order.update(Batch((torch.zeros(len(labels), 2),), {}, torch.tensor(labels)))
    facts = order.facts()
    assert facts is not None
    return facts


@pytest.mark.parametrize(
    ("batches", "within", "expected"),
    [
        ([[1] * 32 + [0] * 32] * 8, 62 / 126, None),  # true samples, then made-up ones, in every batch
        ([[0] * 64] * 4 + [[1] * 64] * 4, 1.0, "warning"),  # sorted
        ([[0] * 40 + [1] * 24] * 4 + [[1] * 64] * 4, None, "warning"),
        ([[0, 1] * 32] * 8, 62 / 126, None),
    ],
)
def test_an_order_inside_of_batches_mixes_nothing_up(
    batches: list[list[int]], within: float | None, expected: str | None
) -> None:
    order = order_of(batches)
    if within is not None:
        # hand formula: pairs of one label among all pairs of a batch, (2 * 32 * 31) / (64 * 63)
        assert order.mixed == pytest.approx(within)
    data = DatasetFacts(n_samples=order.n, n_batches=8, shape="N x 2", dtype="float32", order=order)
    assert severity(report(GOOD, train_dataset=data, training=run(FALLEN, FALLEN)), "d-order") == expected


# --------------------------------------------------------------------------------------------------------- too soon


@pytest.mark.parametrize(
    ("end", "after", "score", "expected"),
    [
        (0.62, 0.27, 0.88, "warning"),  # two batches an epoch: the loss more than halves, the answers get better
        (0.62, 0.5, 0.88, None),
        (0.62, 0.27, 0.85, None),  # the same answers, with more confidence
        (0.66, 0.27, 0.88, None),  # came to rest
    ],
)
def test_a_run_of_few_steps_in_many_epochs(end: float, after: float, score: float, expected: str | None) -> None:
    val = [0.70, 0.695, 0.69, 0.685, 0.68, 0.675, 0.67, 0.668, 0.665, 0.662, (0.662 + end) / 2, end]
    steps = [0.72 - 0.004 * i for i in range(24)]
    longer = tried(
        "trained-on", None, before=end, after=after, score_before=0.84, score_after=score, samples=600.0, steps=120.0
    )
    history = run(val, val, series=[series("train_loss", steps, "step")])
    assert severity(report(None, trials=longer, training=history), "cut-short") == expected
