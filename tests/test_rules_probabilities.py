"""Rules on probabilities, optimizer states, the flow of gradient and tiny variances; and the gate for every task."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.evaluation import Calibration, Curve, Score, TokenScores
from reportgen.document.facts import (
    ActivationFacts,
    EvaluationFacts,
    GradientFacts,
    GradientRow,
    NormRow,
    WeightFacts,
)
from reportgen.document.states import OptimizerState
from reportgen.document.stats import TensorStats
from reportgen.health.context import context_of
from reportgen.health.thresholds import Thresholds

from .test_rules_model import GOOD, causes, report, run, severity, tried


def calibration(ece: float, n: int = 1000, nll: float = 0.3) -> Calibration:
    """Ten bins in which the mean confidence is above the share that is right by ``ece``."""
    bins = [(n // 10, (0.5 + 0.04 * i) * n / 10, round((0.5 + 0.04 * i - ece) * n / 10)) for i in range(10)]
    return Calibration(
        n=n,
        bins=bins,
        ece=ece,
        ece_null=0.02,
        ece_null_std=0.005,
        nll=nll,
        brier=0.2,
        baseline_nll=1.0,
        baseline_brier=0.5,
    )


@pytest.mark.parametrize(
    ("ece", "n", "expected"), [(0.15, 1000, "info"), (0.03, 1000, None), (0.15, 300, None), (0.06, 1000, None)]
)
def test_confidence_that_is_not_the_frequency(ece: float, n: int, expected: str | None) -> None:
    facts = EvaluationFacts(task="multiclass", n_samples=n, classification=GOOD, calibration=calibration(ece, n))
    judged = report(None, evaluation=facts, training=run())
    assert severity(judged, "o-calibration") == expected
    assert causes(judged) == set()


@pytest.mark.parametrize(("auc", "high", "expected"), [(0.1, 0.2, "error"), (0.35, 0.45, None), (0.9, 0.95, None)])
def test_scores_that_point_the_wrong_way(auc: float, high: float, expected: str | None) -> None:
    curve = Curve(
        label="yes",
        positives=50,
        negatives=50,
        auc=auc,
        auc_low=auc - (high - auc),
        auc_high=high,
        average_precision=0.5,
        ap_low=0.4,
        ap_high=0.6,
    )
    facts = EvaluationFacts(task="binary", n_samples=100, classification=GOOD, curves=[curve])
    judged = report(None, evaluation=facts, training=run())
    assert severity(judged, "o-inverted") == expected
    assert causes(judged) == ({"label-corruption"} if expected else set())


@pytest.mark.parametrize(
    ("low", "high", "auc", "expected"),
    [(0.45, 0.53, 0.3, "info"), (0.3, 0.42, 0.3, "error"), (0.45, 0.53, 0.8, "error")],
)
def test_a_model_that_guesses_leans_either_way(low: float, high: float, auc: float, expected: str) -> None:
    def facts(auc: float) -> EvaluationFacts:
        numbers = {"auc": auc, "auc_low": auc - 0.05, "auc_high": auc + 0.05, "average_precision": 0.5}
        curve = Curve(label="yes", positives=90, negatives=90, ap_low=0.4, ap_high=0.6, **numbers)
        score = Score(name="balanced_accuracy", value=(low + high) / 2, low=low, high=high)
        return EvaluationFacts(task="binary", n_samples=180, classification=GOOD, curves=[curve], scores=[score])

    judged = report(None, evaluation=facts(0.3), train_evaluation=facts(auc), training=run())
    assert severity(judged, "o-inverted") == expected


@pytest.mark.parametrize(
    ("held", "step", "betas", "expected"),
    [(0, None, [0.9, 0.999], "warning"), (8, 0.0, [0.9, 0.999], "warning"), (6, 90.0, [0.9, 0.999], "info"),
     (8, 90.0, [0.9, 0.999], None), (0, None, [], None)],
)  # fmt: skip
def test_an_optimizer_without_its_past(held: int, step: float | None, betas: list[float], expected: str | None) -> None:
    state = OptimizerState(kind="Adam", parameters=8, with_state=held, step=step, rates=[1e-3], betas=betas)
    weights = WeightFacts(rows=[], optimizers=[state])
    assert severity(report(training=run(), weights=weights), "optimizer-state-missing") == expected
    # where nothing has been trained nothing is missing; steps that it counted tell that it was
    assert severity(report(weights=weights), "optimizer-state-missing") == (expected if step else None)


def gradient(name: str, rms: float, count: int) -> GradientRow:
    stats = TensorStats(count=count, sum=0.0, m2=rms * rms * count, min=-rms, max=rms)
    return GradientRow(
        name=name, module="Linear", order=0, is_matrix=True, requires_grad=True, n_none=0, n_zero=0, stats=stats
    )


@pytest.mark.parametrize(("rms", "expected"), [(1e3, "info"), (1.0, None)])
def test_a_handful_of_parameters_with_all_of_the_gradient(rms: float, expected: str | None) -> None:
    rows = [gradient(f"layer{i}.weight", 1e-3, 100_000) for i in range(10)]
    facts = GradientFacts(loss="CE", mode="train", n_batches=4, n_samples=64, rows=[*rows, gradient("b", rms, 100)])
    if expected is None:
        facts = GradientFacts(loss="CE", mode="train", n_batches=4, n_samples=64, rows=rows)
    assert severity(report(gradients=facts), "grad-flow-share") == expected


@pytest.mark.parametrize(("tiny", "expected"), [(20, "info"), (2, None), (None, None)])
def test_a_norm_that_divides_by_nothing(tiny: int | None, expected: str | None) -> None:
    row = NormRow(
        name="bn", n_channels=64, n_samples=500, batches_tracked=99, mean_gap=0.01, log_var_gap=0.01, tiny_var=tiny
    )
    facts = report(
        training=run(), activations=ActivationFacts(mode="eval", n_batches=4, n_samples=500, rows=[], norms=[row])
    )
    assert severity(facts, "bn-tiny-var") == expected


def test_channels_without_variance_are_counted_unless_their_gain_is_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 2))
    with torch.no_grad():
        model[0].weight[:3] = 0.0  # type: ignore[index]
        model.train()
        for _ in range(200):
            model(torch.randn(64, 4))
        model[1].weight[0] = 0.0  # type: ignore[index]
    data = DataLoader(TensorDataset(torch.randn(300, 4), torch.arange(300) % 2), 50)
    facts = reportgen.examine(model, data, loss=nn.CrossEntropyLoss())
    assert facts.activations is not None
    assert [row.tiny_var for row in facts.activations.norms] == [2]


@pytest.mark.parametrize(("nll", "ok"), [(1.0, True), (2.9, False)])
def test_sequences_are_judged_by_the_entropy_of_their_targets(nll: float, ok: bool) -> None:
    tokens = TokenScores(n_tokens=1000, n_ignored=0, nll=nll, entropy=3.0, vocabulary=30, seen=30)
    facts = report(None, evaluation=EvaluationFacts(task="tokens", n_samples=50, tokens=tokens))
    context = context_of(facts, Thresholds())
    assert (context.outcome_known, context.outcome_ok) == (True, ok)


def test_several_heads_work_when_each_does() -> None:
    good = EvaluationFacts(task="multilabel", n_samples=50, calibration=calibration(0.0, nll=0.3))
    bad = EvaluationFacts(task="multilabel", n_samples=50, calibration=calibration(0.0, nll=0.99))
    silent = EvaluationFacts(task="segmentation", n_samples=50)

    def gates(**heads: EvaluationFacts) -> tuple[bool, bool]:
        facts = report(None, evaluation=EvaluationFacts(task="several", n_samples=50, heads=heads))
        context = context_of(facts, Thresholds())
        return context.outcome_known, context.outcome_ok

    assert gates(a=good, b=good) == (True, True)
    assert gates(a=good, b=bad) == (True, False)
    assert gates(a=good, b=silent) == (False, False)


@pytest.mark.parametrize(
    ("gap", "eval_loss", "expected"),
    [(0.8, 0.31, "info"), (0.8, 0.6, "warning"), (3.0, 0.31, "warning"), (3.0, 0.1, "info"), (0.1, 0.31, None)],
)
def test_statistics_that_cost_nothing_inform_unless_they_are_far_off(
    gap: float, eval_loss: float, expected: str | None
) -> None:
    row = NormRow(name="bn", n_channels=8, n_samples=500, batches_tracked=99, mean_gap=gap, log_var_gap=0.1)
    facts = report(
        training=run(),
        activations=ActivationFacts(mode="eval", n_batches=4, n_samples=500, rows=[], norms=[row]),
        trials=tried("train-and-eval", eval_loss=eval_loss, norms_loss=0.3, batches=8.0, worse_batches=4.0),
    )
    assert severity(facts, "bn-stats-mismatch") == expected
