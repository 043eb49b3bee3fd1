"""Rules that speak where two facts stand beside each other: random tables that rest, dropouts at rest, slow growth."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from msgspec import structs
from torch import nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from reportgen.document.evaluation import LabelCounts
from reportgen.document.facts import DatasetFacts, EvaluationFacts, WeightFacts, WeightRow
from reportgen.document.history import LayerRun, Trace
from reportgen.document.samples import Copies, Order
from reportgen.document.stats import TensorStats

from .loops import causes as causes_of
from .loops import watched
from .test_rules_model import BAD, FLAT, GOOD, causes, report, run, severity, tried


def table(values: torch.Tensor, *, trainable: bool = False) -> WeightFacts:
    x = values.double().flatten()
    mean = float(x.mean())
    stats = TensorStats(
        count=len(x), sum=float(x.sum()), m2=float((x - mean).square().sum()), min=float(x.min()), max=float(x.max())
    )
    row = WeightRow(
        name="emb.weight",
        module="Embedding",
        role="embedding",
        shape=list(values.shape),
        dtype="float32",
        trainable=trainable,
        stats=stats,
    )
    return WeightFacts(rows=[row])


def test_a_frozen_table_of_random_vectors_does_harm_where_the_model_does_badly() -> None:
    torch.manual_seed(0)
    drawn = nn.Embedding(150, 4).weight.detach()
    assert severity(report(BAD, weights=table(drawn), training=run(FLAT)), "frozen-at-init") == "warning"
    assert "frozen-layers" in causes(report(BAD, weights=table(drawn), training=run(FLAT)))
    assert severity(report(GOOD, weights=table(drawn), training=run()), "frozen-at-init") is None
    for other in (drawn * 0.4, drawn + 0.5, drawn.clamp(-1, 1) * 1.3):  # as a training would leave it
        assert severity(report(BAD, weights=table(other), training=run(FLAT)), "frozen-at-init") is None
    # a part that is kept in eval mode at every step was to come from somewhere
    for n_train_steps, cause in ((0, "checkpoint-not-loaded"), (20, "frozen-layers")):
        history = run(FLAT)
        loop = structs.replace(history.loop, n_eval_steps=20, n_train_steps=n_train_steps)
        facts = report(BAD, weights=table(drawn), training=structs.replace(history, loop=loop))
        assert {"checkpoint-not-loaded", "frozen-layers"} & causes(facts) == {cause}
    trains = report(BAD, weights=table(drawn, trainable=True), training=run(FLAT))
    assert severity(trains, "frozen-at-init") is None


def layers(sizes: list[float]) -> list[LayerRun]:
    return [
        LayerRun(name=str(i), kind="Linear", order=i, train_calls=5, rms=Trace(x=[1.0], y=[size]))
        for i, size in enumerate(sizes)
    ]


BROKE = [5.0, 9.0, 40.0, 200.0, 900.0, 4000.0, 2e4, 1e5]


@pytest.mark.parametrize(("growth", "n", "expected"), [(1.4, 34, "warning"), (1.15, 34, None), (1.4, 12, None)])
def test_gentle_growth_over_many_layers(growth: float, n: int, expected: str | None) -> None:
    facts = report(BAD, training=run(BROKE, layers=layers([growth**i for i in range(n)])))
    assert severity(facts, "signal-by-depth") == expected
    assert (growth ** (n - 1) > 1e4) is (expected is not None)


@pytest.mark.parametrize(("fresh", "cause"), [(4.0, "exploding-gradients"), (0.7, "bad-init")])
def test_what_amplifies_is_told_by_weights_drawn_anew(fresh: float, cause: str) -> None:
    history = run(BROKE, layers=layers([2.8**i for i in range(8)]))
    steps = structs.replace(history.series[0], axis="step")
    history = structs.replace(history, series=[*history.series, steps])
    facts = report(BAD, trials=tried("fresh-start", loss=fresh, constant=0.69), training=history)
    assert causes(facts) == {cause}


@pytest.mark.parametrize(("shift", "n", "expected"), [(0.0, 5, "warning"), (1.0, 5, None), (0.0, 100, None)])
def test_several_labels_under_a_softmax_of_ones_own(shift: float, n: int, expected: str | None) -> None:
    labels = [LabelCounts(label=str(i), tp=40, fp=5, fn=20, tn=35) for i in range(n)]
    trial = tried("loss-shifted", loss=2.0, shifted=2.0 + shift, pull=0.1, width=5.0)
    evaluation = EvaluationFacts(task="multilabel", n_samples=100, labels=labels)
    facts = report(None, evaluation=evaluation, trials=trial, training=run())
    facts = structs.replace(facts, subject=structs.replace(facts.subject, loss="<lambda>"))
    assert severity(facts, "loss-mismatch") == expected


@pytest.mark.parametrize(("ignored", "expected"), [(0.0, "warning"), (1.0, None)])
def test_an_embedding_is_bounded_on_purpose(ignored: float, expected: str | None) -> None:
    """A loss of distances is the same when one number is added to all outputs, as one with a softmax is."""
    trials = tried("head-range", low=-0.5, high=0.5, log_sum_exp_error=1.5, width=3.0)
    trials.trials.extend(tried("loss-shifted", loss=0.02, shifted=0.02, pull=0.1, width=16.0).trials)
    trials.trials.extend(tried("loss-without-target", ignored=ignored, samples=64.0, together=0.0).trials)
    facts = report(None, trials=trials, training=run())
    assert severity(facts, "output-range") == expected


@pytest.mark.parametrize(("task", "expected"), [("multiclass", "warning"), ("regression", "info")])
def test_numbers_may_differ_for_one_input(task: Literal["multiclass", "regression"], expected: str) -> None:
    copies = Copies(seen=1000, kept=1000, distinct=950, conflicting=60)
    data = DatasetFacts(
        n_samples=1000, n_batches=10, shape="N x 8", dtype="float32", copies=copies, order=Order(n=1000)
    )
    evaluation = EvaluationFacts(task=task, n_samples=400, classification=GOOD if expected == "warning" else None)
    assert severity(report(None, dataset=data, evaluation=evaluation), "d-conflicting-labels") == expected
    # an empty text, or a silent window, is one input with many labels
    for inputs, told in ((1, "info"), (20, expected)):
        counted = structs.replace(data, copies=structs.replace(copies, conflicting_inputs=inputs))
        assert severity(report(None, dataset=counted, evaluation=evaluation), "d-conflicting-labels") == told


class Parts(nn.Module):
    """A body with dropout, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, 96), nn.ReLU(), nn.Dropout(0.5), nn.Linear(96, 96), nn.ReLU())
        self.head = nn.Linear(96, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


@pytest.mark.slow
@pytest.mark.parametrize("rests", [True, False])
def test_a_part_with_dropout_that_stays_in_eval_mode(rests: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 30)
    y = ((x[:, 0] + x[:, 1] + torch.randn(600)) > 0).long()
    model = Parts()
    if rests:
        model.body.train = lambda mode=True: nn.Module.train(model.body, False)  # type: ignore[method-assign,assignment]
    train = DataLoader(TensorDataset(x[:150], y[:150]), 25, shuffle=True)
    val = DataLoader(TensorDataset(x[150:], y[150:]), 150)
    facts = watched(model, Adam(model.parameters(), 3e-3), F.cross_entropy, train, val, 20)
    assert ("eval-mode-training" in causes_of(facts)) is rests
