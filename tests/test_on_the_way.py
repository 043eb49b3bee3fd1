"""What is rough on the way to a good end, and what is asked of a loss, or of data, that cannot be known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F

import reportgen
from reportgen.document.evaluation import Calibration, LabelCounts, Regression
from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    Classification,
    DatasetFacts,
    EvaluationFacts,
    FeatureStats,
    Report,
)
from reportgen.document.stats import TensorStats
from reportgen.document.trials import TrialFacts
from reportgen.health.causes import diagnose
from reportgen.health.rules.claims import falls_with_distance
from reportgen.probe.trials import answers, claims, learning, pairing
from reportgen.probe.trials import run as trials
from reportgen.probe.trials.lab import Clock, Lab
from reportgen.subject.data import Batch

from .test_imbalance import ranked
from .test_rules import told
from .test_rules_model import BAD, GOOD, HALF, report, run, series, severity, tried
from .test_rules_run import parameter, trace

SWINGING = [0.8 * 1.5 ** (-1) ** i * 0.95**i for i in range(20)]
FALLEN = [max(1.0 * 0.7**i, 0.1) for i in range(20)]
LOWERED, KEPT = [0.1 * 0.8**i for i in range(20)], [0.1] * 20


def lab(model: nn.Module, x: Tensor, y: Tensor, loss: Any) -> Lab:
    return trials.laboratory(model, loss, (), [Batch((x,), {}, y)], [], Clock(60.0), 0)


# ------------------------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("rates", "val", "table", "expected"),
    [
        (LOWERED, [*SWINGING[:-1], 0.1], GOOD, "info"),  # it led to the best there was, and that is good
        (KEPT, [*SWINGING[:-1], 0.1], GOOD, "warning"),
        (LOWERED, [*SWINGING[:-1], 0.9], GOOD, "warning"),  # still thrown about at the end
        (LOWERED, [*SWINGING[:-1], 0.1], HALF, "warning"),  # nothing good came of it
    ],
)
def test_steps_that_were_large_before_they_led_to_a_good_end(
    rates: list[float], val: list[float], table: Classification, expected: str
) -> None:
    large = [parameter(name, update_ratio=trace(*[0.3] * 10)) for name in ("a.weight", "b.weight")]
    history = run(SWINGING, val, series=[series("lr", rates)], parameters=large)
    facts = report(table, training=history)
    assert (severity(facts, "h-oscillating"), severity(facts, "update-ratio")) == (expected, expected)


@pytest.mark.parametrize(("rates", "expected"), [(LOWERED, "info"), (KEPT, "warning")])
def test_large_steps_of_a_model_of_one_matrix_whose_score_is_not_known(rates: list[float], expected: str) -> None:
    large = [parameter("a.weight", update_ratio=trace(*[0.3] * 10))]
    history = run(FALLEN, FALLEN, series=[series("lr", rates)], parameters=large)
    assert severity(report(None, training=history), "update-ratio") == expected


# ----------------------------------------------------------------------------------------------------- losses


def drawn(output: Tensor, target: Tensor) -> Tensor:
    """Reward an action that is drawn, less the mean of all (Williams 1992)."""
    chances = output.softmax(1)
    action = torch.multinomial(chances.detach(), 1)
    return -(chances.log().gather(1, action) * (target.gather(1, action) - target.mean(1, keepdim=True))).mean()


def test_a_loss_that_draws_answers_is_not_asked_which_are_right() -> None:
    torch.manual_seed(0)
    x, model = torch.randn(64, 6), nn.Linear(6, 4)
    y = (x @ torch.randn(6, 4)).sigmoid()
    estimate = answers.loss_of_answers(lab(model, x, y, drawn)).numbers
    exact = answers.loss_of_answers(lab(model, x, y, nn.MSELoss())).numbers
    assert estimate["drawn"] > 0.01
    assert exact["drawn"] == 0
    stuck, wrong = [0.7] * 20, {"right": 0.09, "wrong": 0.04, "pull": 0.01}
    for given, expected in ((estimate["drawn"], (None, None)), (0.0, ("error", "warning"))):
        told = tried("loss-of-answers", {"answers": "numbers"}, **wrong, drawn=given)
        facts = report(None, trials=told, training=run(stuck))
        assert (severity(facts, "loss-sign"), severity(facts, "h-never-learned")) == expected


def insured(output: Tensor, target: Tensor) -> Tensor:
    """Counts by their rate and the logarithm of a time, which stand beside each other in the target."""
    return F.poisson_nll_loss(output[:, 0] + target[:, 1], target[:, 0])


def test_a_side_on_which_the_loss_overflows_is_not_one_on_which_targets_are_refused() -> None:
    torch.manual_seed(0)
    x, model = torch.randn(64, 6), nn.Linear(6, 1)
    y = torch.stack([torch.poisson(torch.ones(64)), torch.rand(64).log()], 1)
    asked = lab(model, x, y, insured)
    told = claims.far_targets(asked).numbers
    assert "up_100" not in told
    assert told["up_10"] > told["base"] > told["down_10"]
    assert falls_with_distance(report(None, trials=tried("far-targets", None, **told))) == {}
    flipped = lab(model, x, y[:, :1], lambda o, t: -(o - t).square().mean())
    told = claims.far_targets(flipped).numbers
    assert falls_with_distance(report(None, trials=tried("far-targets", None, **told)))


def hard_triplets(output: Tensor, target: Tensor) -> Tensor:
    """Hold the farthest of one class against the nearest of another (Hermans, Beyer and Leibe 2017)."""
    far, same = torch.cdist(output, output), target[:, None] == target
    apart = far.masked_fill(same, torch.inf).amin(1)
    return F.relu((far * same).amax(1) - apart + 0.2).mean()


def test_an_embedding_within_bounds_is_no_bounded_score() -> None:
    """Differences stay where one number is added to all outputs, as a softmax does; but no class is asked for."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 6), torch.arange(64) % 5
    model = nn.Linear(6, 8)
    head = tried("head-range", {"layer": "0"}, low=-0.5, high=0.5, row_sum_error=3.0, log_sum_exp_error=2.0, width=8.0)
    for loss, expected in ((hard_triplets, None), (nn.CrossEntropyLoss(), "warning")):
        asked = lab(model, x, y, loss)
        shifted, told = answers.loss_shifted(asked).numbers, answers.loss_of_answers(asked).numbers
        parts = [
            *head.trials,
            *tried("loss-shifted", None, **shifted).trials,
            *tried("loss-of-answers", {"answers": "scores"}, **told).trials,
        ]
        facts = report(HALF, trials=TrialFacts(trials=parts, budget=20.0), training=run())
        assert severity(facts, "output-range") == expected


def test_labels_that_are_all_one_where_the_loss_looks_at_none() -> None:
    """Of pairs the right order stands in the inputs: the liked one first."""
    torch.manual_seed(0)
    x, y, model = torch.randn(64, 6), torch.ones(64, 1), nn.Linear(6, 1)
    pairs = pairing.loss_without_target(lab(model, x, y, lambda o, t: -F.logsigmoid(o).mean())).numbers
    asked = pairing.loss_without_target(lab(model, x, y, nn.BCEWithLogitsLoss())).numbers
    assert (pairs["ignored"], asked["ignored"], asked["together"]) == (1, 0, 0)


# ------------------------------------------------------------------------------------------------- what can be


def numbers_known(r2: float) -> EvaluationFacts:
    fit = Regression(r2=r2, mae=0.5, mse=1 - r2, target=TensorStats(), residual=TensorStats(), sample=[])
    return EvaluationFacts(task="regression", n_samples=400, regression=fit)


def test_maps_of_more_numbers_than_a_model_has_are_not_learned_by_heart() -> None:
    affine = tried("affinity", departure=0.1, affine_layers=4.0, collapsible=2.0, redundant=0.0).trials
    level = run([1.0, 0.7, 0.62, *[0.6] * 12])
    for wanted, expected in ((8192.0, None), (32.0, "warning")):
        sizes = {"free": 6264.0, "wanted": wanted}
        heart = tried("one-batch", None, solved=0.0, error_share=0.2, samples=32.0, start=1.0, end=0.3, **sizes).trials
        facts = TrialFacts(trials=[*heart, *affine], budget=20.0)
        told = report(None, evaluation=numbers_known(0.5), trials=facts, training=level)
        assert severity(told, "too-narrow") == expected
    x = torch.randn(32, 1, 4, 4)
    sizes = learning.one_batch(lab(nn.Conv2d(1, 1, 3, padding=1), x, x.roll(1, 0), nn.MSELoss())).numbers
    assert (sizes["free"], sizes["wanted"]) == (10, 512)


@pytest.mark.parametrize(
    ("far", "r2", "expected"),
    [
        (38.0, 0.99, "info"),  # a distance: outliers are what it was taken for
        (380.0, 0.99, "warning"),
        (38.0, 0.8, "warning"),
        (None, 0.99, "warning"),  # such targets are refused
    ],
)
def test_training_targets_with_outliers_under_a_loss_that_bears_them(
    far: float | None, r2: float, expected: str
) -> None:
    off = {"lower": 2.0, "error": 0.3, "beyond": 0.06, "beyond_given": 0.02, "size": 8.0, "told": 0.0}
    off |= {"asked_training": 2000.0, "asked_given": 2000.0}
    away = {"base": 0.03} | ({"up_10": 3.8, "up_100": far, "down_10": 3.8, "down_100": far} if far is not None else {})
    parts = [*tried("misfits", {"kind": "numbers"}, **off).trials, *tried("far-targets", None, **away).trials]
    subject = structs.replace(report().subject, loss="MSELoss")
    facts = report(None, evaluation=numbers_known(r2), trials=TrialFacts(trials=parts, budget=20.0), training=run())
    assert severity(structs.replace(facts, subject=subject), "training-targets-off") == expected


def ranked_by(precision: float) -> Report:
    facts = ranked(0.85, 0.05, 8.0)
    assert facts.evaluation is not None
    curves = [structs.replace(c, average_precision=precision) for c in facts.evaluation.curves]
    return structs.replace(facts, evaluation=structs.replace(facts.evaluation, curves=curves))


def test_a_rare_yes_that_can_be_ranked_and_hardly_ever_expected() -> None:
    assert severity(ranked_by(0.08), "d-class-imbalance") == "info"
    assert severity(ranked_by(0.5), "d-class-imbalance") == "warning"


def test_skill_where_a_sampler_drew_classes_alike() -> None:
    """88 % above half and half, and 94 % right where 96 % are of one class: as good in both, class by class."""
    even = Classification(classes=["a", "b"], confusion=[[470, 30], [30, 470]])
    rare = Classification(classes=["a", "b"], confusion=[[1355, 79], [4, 62]])
    lost = Classification(classes=["a", "b"], confusion=[[1000, 434], [40, 26]])
    ours = EvaluationFacts(task="multiclass", n_samples=1000, classification=even)
    for table, expected in ((rare, None), (lost, "warning")):
        assert severity(report(table, train_evaluation=ours, training=run()), "o-skill-lost") == expected


def several(area: float, right: int, nll: float) -> Report:
    rows = [LabelCounts(label=str(i), tp=0, fp=0, fn=180, tn=220) for i in range(2)]
    rows.append(LabelCounts(label="2", tp=right, fp=220, fn=180 - right, tn=0))
    known = ranked(area, 0.05, None).evaluation
    assert known is not None
    null = {"ece": 0.1, "ece_null": 0.1, "ece_null_std": 0.1}
    sure = Calibration(n=1200, bins=[], nll=nll, brier=0.25, baseline_nll=0.688, baseline_brier=0.25, **null)
    facts = EvaluationFacts(
        task="multilabel", n_samples=400, labels=rows, curves=known.curves, calibration=sure, classification=None
    )
    return report(None, evaluation=facts, training=run())


@pytest.mark.parametrize(
    ("area", "nll", "expected"),
    [
        (0.5, 0.702, "error"),
        (0.7, 0.702, None),  # it ranks them, and is only too sure
        (0.5, 0.65, None),
    ],
)
def test_several_answers_a_sample_that_are_guessed(area: float, nll: float, expected: str | None) -> None:
    assert severity(several(area, 90, nll), "o-baseline-skill") == expected


def test_a_classifier_that_guesses_still_does() -> None:
    assert severity(report(BAD, training=run()), "o-baseline-skill") == "error"


# ------------------------------------------------------------------------------------------------ what else it is


@pytest.mark.parametrize(("departure", "expected"), [(1e-7, "info"), (0.3, "warning")])
def test_an_affine_model_fails_for_that_and_not_for_labels_or_order(departure: float, expected: str) -> None:
    affine = tried("affinity", departure=departure, affine_layers=4.0, collapsible=3.0, redundant=2.0)
    order = tried("tokens-reordered", change=1e-7, attention=0.0, recurrent=0.0)
    facts = TrialFacts(trials=[*affine.trials, *order.trials], budget=20.0)
    assert severity(report(BAD, trials=facts, training=run()), "position-unseen") == expected


@pytest.mark.parametrize(("inner", "expected"), [(1e-7, "warning"), (8e-5, None)])
def test_inputs_on_a_raw_scale_hide_bends(inner: float, expected: str | None) -> None:
    trial = tried("affinity", departure=4e-4, inner=inner, behind=2.0, affine_layers=3.0, collapsible=2.0, redundant=0)
    assert severity(report(BAD, trials=trial, training=run()), "missing-nonlinearity") == expected


def test_a_flow_is_no_prediction_of_its_input() -> None:
    """Its loss may lie near the size of the error that its outputs would have if they were predictions."""
    affine = tried("affinity", departure=0.3, affine_layers=4.0, collapsible=2.0, redundant=0.0).trials
    heart = tried("one-batch", solved=0.0, error_share=1.2, samples=32.0, start=1.2, end=0.9).trials
    level = run([2.2, 1.4, 1.25, *[1.23] * 12])
    facts = TrialFacts(trials=[*heart, *affine], budget=20.0)
    fit = structs.replace(numbers_known(0.4), loss=1.22)  # mean squared error 0.6
    likelihood = report(None, evaluation=fit, trials=facts, training=level)
    subject = structs.replace(likelihood.subject, loss="<lambda>")
    assert severity(structs.replace(likelihood, subject=subject), "too-narrow") is None
    subject = structs.replace(likelihood.subject, loss="MSELoss")
    assert severity(structs.replace(likelihood, subject=subject), "too-narrow") == "warning"


def missing_values(outputs: int = 0, wrong: bool = False) -> Report:
    stats = TensorStats(count=800, nan=80, m2=720.0, min=-3.0, max=3.0)
    data = DatasetFacts(
        n_samples=400,
        n_batches=4,
        shape="N x 2",
        dtype="float32",
        features=[FeatureStats(index=0, stats=stats)],
    )
    whole = TensorStats(count=800, nan=outputs, m2=800.0)
    row = ActivationRow(name="0", kind="Linear", order=0, calls=4, shape="N x 2", stats=whole)
    seen = ActivationFacts(mode="eval", n_batches=4, n_samples=400, rows=[row])
    facts = report(BAD if wrong else GOOD, dataset=data, training=run(), activations=seen)
    assert facts.evaluation is not None
    return structs.replace(facts, evaluation=structs.replace(facts.evaluation, loss=0.1))


def test_values_that_are_missing_and_filled_in_by_the_model() -> None:
    assert severity(missing_values(), "d-nonfinite") == "info"
    assert severity(missing_values(outputs=80), "d-nonfinite") == "error"
    assert severity(missing_values(wrong=True), "d-nonfinite") == "error"
    assert severity(structs.replace(missing_values(), training=None), "d-nonfinite") == "error"


def test_outputs_that_are_logarithms_of_rates_do_not_miss_the_mean() -> None:
    target = TensorStats(count=400, sum=3760.0, m2=400 * 59.8, min=0.0, max=60.0)
    residual = TensorStats(count=400, sum=-2944.0, m2=400 * 50.0, min=-60.0, max=1.0)
    fit = Regression(r2=-0.7, mae=7.4, mse=104.0, target=target, residual=residual, sample=[])
    counts = EvaluationFacts(task="regression", n_samples=400, regression=fit, loss=-15.0)
    data = DatasetFacts(n_samples=400, n_batches=4, shape="N x 6", dtype="float32", target=target)
    for loss, expected in (("PoissonNLLLoss", None), ("MSELoss", "warning")):
        facts = report(None, evaluation=counts, train_evaluation=counts, train_dataset=data, training=run())
        subject = structs.replace(facts.subject, loss=loss)
        assert severity(structs.replace(facts, subject=subject), "d-target-scale") == expected


# ------------------------------------------------------------------------------------------------------- too soon


@pytest.mark.parametrize(
    ("val", "after", "faster", "expected"),
    [
        ([1.48, 1.12, 0.92, 0.77], 0.81, 0.08, "warning"),  # repeats its few batches, and could go much further
        ([1.48, 1.12, 0.92, 0.77], 0.81, 0.5, None),
        ([1.48, 0.82, 0.79, 0.77], 0.81, 0.08, None),  # hardly falls any more
    ],
)
def test_a_run_that_ends_in_its_fall_whose_few_batches_teach_no_more(
    val: list[float], after: float, faster: float, expected: str | None
) -> None:
    steps = [2.3, *[loss for loss in val for _ in range(50)]]
    numbers = {"before": 0.77, "samples": 400.0, "steps": 120.0}
    longer = tried("trained-on", None, after=after, score_before=0.69, score_after=0.72, **numbers).trials
    ways = tried("other-ways", None, faster=faster, same=after, rate=3e-3, decay=0.0, drop=0.0, **numbers).trials
    facts = TrialFacts(trials=[*longer, *ways], budget=20.0)
    history = run(val, val, series=[series("train_loss", steps, "step")])
    assert severity(report(None, trials=facts, training=history), "cut-short") == expected


def test_twins_that_are_driven_apart_until_all_is_one() -> None:
    for nearer, dealt, expected in ((0.005, 10.45, "error"), (0.2, 10.45, None), (0.2, 9.0, "error")):
        told = tried("loss-without-target", ignored=1.0, samples=64.0, alike=10.46, dealt=dealt, nearer=nearer)
        assert severity(report(None, trials=told, training=run()), "loss-sign") == expected


class Two(torch.optim.Optimizer):
    """Steps two optimizers, and was made without its base class."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        self.parts = [torch.optim.SGD(one.parameters(), 0.1), torch.optim.Adam(other.parameters(), 0.01)]
        self.defaults, self.state = {}, {}  # type: ignore[assignment]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()


def test_an_optimizer_that_steps_others_is_watched_by_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    both = Two(model[0], model[2])
    with reportgen.Monitor(model, both) as monitor:
        for _ in range(12):
            for part in both.parts:
                part.zero_grad()
            F.cross_entropy(model(torch.randn(16, 4)), torch.arange(16) % 2).backward()  # type: ignore[no-untyped-call]
            both.step()
    loop = monitor.history().loop
    assert loop is not None
    assert [(o.name, o.n_steps) for o in loop.optimizers] == [("SGD", 12), ("Adam", 12)]
    given = Two(model[0], model[2])
    given.parts = []
    with pytest.raises(reportgen.errors.OptionError, match="Cannot watch an optimizer of type Two"):
        reportgen.Monitor(model, given)


@pytest.mark.parametrize(("direction", "expected"), [("fade", "vanishing-gradients"), ("grow", "over-regularised")])
def test_decay_is_what_is_left_where_the_signal_fades(direction: str, expected: str) -> None:
    """Sixteen rounds of averaging: nothing pulls at the weights but their decay."""
    scaled = structs.replace(told("scale-helps"), detail={"direction": direction})
    found = [d.cause for d in diagnose([scaled, told("weights-shrunk")])]
    assert expected in found
    assert ("over-regularised" in found) == (direction == "grow")
