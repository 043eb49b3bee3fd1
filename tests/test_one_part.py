"""Faults that sit in one part: one head, one branch, one group, one buffer; and parts that are meant to be so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.evaluation import Regression
from reportgen.document.facts import Classification, DatasetFacts, EvaluationFacts, Finding, Severity
from reportgen.document.history import LoopFacts, OptimizerRun, Trace
from reportgen.document.samples import Copies, Order, SplitFacts, Twins
from reportgen.document.stats import TensorStats
from reportgen.document.trials import TrialFacts
from reportgen.health.causes import diagnose
from reportgen.health.context import same_units
from reportgen.health.judge import judge
from reportgen.probe import weights
from reportgen.probe.sequence import LabelOrder
from reportgen.probe.trials import answers
from reportgen.probe.trials.lab import NotApplicableError
from reportgen.probe.vectors import VectorSample
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


@pytest.mark.parametrize(("score", "expected"), [(0.25, "warning"), (0.7, None)])
def test_a_part_that_stands_still_gained_no_more_than_a_constant_guess(score: float, expected: str | None) -> None:
    """Of classes one of which is common, the run gained much by naming it always."""
    numbers = WAYS | {"same": 1.98, "faster": 1.99, "slower": 2.0, "thawed": 1.88, "learned": 0.0}
    facts = scored(score, score, trials=tried("other-ways", None, **numbers), training=run(SLOW, SLOW))
    assert severity(facts, "thawing-helps") == expected
    assert ("frozen-layers" in causes(facts)) == bool(expected)


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


# --------------------------------------------------------------------------------------------------- second thoughts


def of_taken(q: Tensor, table: Tensor) -> Tensor:
    """Compare the value of the action taken, (N, 1), with a target of (N,)."""
    return F.smooth_l1_loss(q.gather(1, table[:, :1].long()), table[:, 1])


def of_taken_alike(q: Tensor, table: Tensor) -> Tensor:
    return F.smooth_l1_loss(q.gather(1, table[:, :1].long())[:, 0], table[:, 1])


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("loss", "sick"), [(of_taken, True), (of_taken_alike, False)])
def test_numbers_that_the_loss_made_itself_are_broadcast(loss: Any, sick: bool) -> None:
    torch.manual_seed(0)
    table = torch.stack([torch.randint(0, 3, (32,)).float(), torch.randn(32)], 1)
    numbers = answers.loss_shifted(lab(nn.Linear(4, 3), torch.randn(32, 4), table, loss)).numbers
    assert numbers.get("crossed") == (32.0 if sick else None)
    told = report(None, trials=tried("loss-shifted", None, **numbers), training=run())
    assert severity(told, "loss-broadcast") == ("error" if sick else None)


def correlated(signs: list[float]) -> Any:
    def loss(o: Tensor, t: Tensor) -> Tensor:
        told = [torch.corrcoef(torch.stack([o[:, k], t[:, k]]))[0, 1] for k in range(len(signs))]
        return torch.stack([-sign * r for sign, r in zip(signs, told, strict=True)]).sum()

    return loss


@pytest.mark.parametrize("signs", [[1.0, -1.0, 1.0], [1.0, 1.0, 1.0], None])
@pytest.mark.parametrize("learned", [1.0, -1.0])
def test_one_of_several_numbers_that_is_maximised(signs: list[float] | None, learned: float) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=g)
    target = x + 0.5 * torch.randn(64, 3, generator=g)
    model = nn.Linear(3, 3)
    model.weight.data.copy_(torch.diag(torch.tensor([1.0, learned, 1.0])))
    loss = F.mse_loss if signs is None else correlated(signs)
    numbers = answers.loss_of_answers(lab(model, x, target, loss)).numbers
    told = report(None, trials=tried("loss-of-answers", {"answers": "numbers"}, **numbers), training=run())
    sick = signs is not None and min(signs) < 0 and learned < 0  # else the model did not follow
    assert severity(told, "loss-sign") == ("error" if sick else None)
    if sick:
        assert numbers["column"] == 1


def weighed(o: Tensor, t: Tensor) -> Tensor:
    share = F.binary_cross_entropy_with_logits(o, t, reduction="none")
    return (share * torch.where(t > 0.5, 13.0, 1.0).squeeze(1)).mean()  # (N, 1) by (N,)


def weighed_by_pixel(o: Tensor, t: Tensor) -> Tensor:
    share = F.binary_cross_entropy_with_logits(o, t, reduction="none").squeeze(1)
    return (torch.where(t > 0.5, 25.0, 1.0) * share).mean()  # (N, 1, H, W) by (N, H, W)


def weighed_by_its_own(o: Tensor, t: Tensor) -> Tensor:
    share = F.binary_cross_entropy_with_logits(o, t, reduction="none")
    return (share * torch.where(t > 0.5, 13.0, 1.0)).sum() / len(t)


def weighed_alike(o: Tensor, t: Tensor) -> Tensor:
    share = F.binary_cross_entropy_with_logits(o, t, reduction="none")
    return (share * torch.ones(len(t))).mean()


def ranked(o: Tensor, t: Tensor) -> Tensor:
    """All pairs, as one who wants them writes them."""
    above = (t > t.T).float()
    return (F.softplus(o.T - o) * above).sum() / above.sum().clamp_min(1)


def at_risk(o: Tensor, t: Tensor) -> Tensor:
    """Negative log partial likelihood by Cox: the sums over those at risk are products with a mask of pairs."""
    later = (t <= t.T).float()
    return ((o.exp().squeeze(1) * later).sum(1).log() - o.squeeze(1)).mean()


@pytest.mark.parametrize(
    ("loss", "size", "times"),
    [
        (weighed, (32, 1), 32.0),
        (weighed_by_pixel, (16, 1, 6, 6), 16.0),
        (weighed_by_its_own, (32, 1), None),
        (weighed_by_its_own, (16, 1, 6, 6), None),
        (weighed_alike, (32, 1), None),  # which is wrong, and does no harm
        (ranked, (32, 1), None),
        (at_risk, (32, 1), None),
    ],
)
def test_weights_of_other_samples_are_found(loss: Any, size: tuple[int, ...], times: float | None) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(size if len(size) > 2 else (size[0], 4), generator=g)
    target = (torch.rand(size, generator=g) > 0.7).float()
    model = nn.Conv2d(1, 1, 3, padding=1) if len(size) > 2 else nn.Linear(4, 1)
    numbers = answers.loss_shifted(lab(model, x, target, loss)).numbers
    assert numbers.get("weighed") == times
    told = report(None, trials=tried("loss-shifted", None, **numbers), training=run())
    assert severity(told, "loss-broadcast") == ("error" if times else None)


def correlation(o: Tensor, t: Tensor) -> Tensor:
    return 1 - torch.corrcoef(torch.stack([o.flatten(), t.flatten()]))[0, 1]


def pinball(o: Tensor, t: Tensor) -> Tensor:
    return torch.maximum(0.9 * (t - o), -0.1 * (t - o)).mean()


def in_logarithms(o: Tensor, t: Tensor) -> Tensor:
    return (o.clamp_min(-0.9).log1p() - t.clamp_min(-0.9).log1p()).square().mean()


def energy(o: Tensor, t: Tensor) -> Tensor:
    return 2 * torch.cdist(o, t).mean() - torch.cdist(o, o).mean() - torch.cdist(t, t).mean()


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        (lambda o, t: F.huber_loss(o, t, delta=0.3) + 0.5 * (o - t).abs().mean(), True),
        (lambda o, t: (o - t).cosh().log().mean(), True),
        (correlation, False),  # whatever the scale
        (lambda o, t: 1 - F.cosine_similarity(o.flatten(), t.flatten(), dim=0), False),
        (pinball, False),  # more for too little than for too much
        (in_logarithms, False),
        (energy, False),  # of all outputs and all targets, not of the pairs
    ],
)
def test_a_loss_of_ones_own_that_is_a_distance_has_the_units_of_its_targets(loss: Any, known: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 4, generator=g), torch.randn(64, 1, generator=g)
    trial = answers.loss_of_answers(lab(nn.Linear(4, 1), x, y, loss))
    target = TensorStats(count=64, sum=0.0, m2=64.0, min=-3.0, max=3.0)
    fit = Regression(r2=-0.7, mae=1.1, mse=1.7, target=target, residual=target, sample=[])
    facts = report(
        None,
        evaluation=EvaluationFacts(task="regression", n_samples=64, regression=fit, loss=0.123),
        trials=tried("loss-of-answers", dict(trial.detail), **trial.numbers),
        training=run(FALLEN, FALLEN),
    )
    facts = structs.replace(facts, subject=structs.replace(facts.subject, loss="<lambda>"))
    assert same_units(facts) == known


@pytest.mark.parametrize(
    ("same", "unregularised", "expected"),
    [
        (1.1, 0.05, "warning"),  # next to nothing is left
        (1.1, 0.3, None),  # going on gains much too
        (1.95, 0.3, "warning"),
    ],
)
def test_dropout_that_holds_back_a_run_still_under_way(same: float, unregularised: float, expected: str | None) -> None:
    numbers = WAYS | {"same": same, "faster": 1.9, "slower": 2.0, "unregularised": unregularised, "drop": 0.7}
    facts = report(None, trials=tried("other-ways", None, **numbers), training=run(SLOW, SLOW))
    assert severity(facts, "freedom-helps") == expected


@pytest.mark.parametrize(("kept", "expected"), [(450, "warning"), (600, "info")])
def test_near_doubles_of_inputs_that_repeat_by_nature(kept: int, expected: str) -> None:
    copies = Copies(seen=kept, kept=kept, distinct=445, conflicting=0)
    twins = Twins(n=400, found=40, chance=1e-5, dimension=2.0)
    train = DatasetFacts(n_samples=kept, n_batches=9, shape="N x 8", dtype="float32", copies=copies)
    facts = report(GOOD, train_dataset=train, splits=SplitFacts(twins=twins), training=run(FALLEN, FALLEN))
    assert severity(facts, "near-leakage") == expected


@pytest.mark.parametrize(
    ("right", "both", "expected"),
    [
        (388, True, "info"),  # a difference of two scores, that ought to be above 0
        (400, True, "error"),  # it says the same of everything
        (388, False, "error"),
    ],
)
def test_one_label_for_all_that_no_bias_can_give(right: int, both: bool, expected: str) -> None:
    table = Classification(classes=["0", "1"], confusion=[[0, 0], [400 - right, right]])
    scores = EvaluationFacts(task="binary", n_samples=400, classification=table)
    one, two = (
        DatasetFacts(n_samples=400, n_batches=9, shape="N x 3", dtype="int64", target_classes=k) for k in (1, 2)
    )
    facts = report(
        None,
        evaluation=scores,
        train_evaluation=scores,
        train_dataset=one,
        dataset=one if both else two,
        training=run(FALLEN, FALLEN),
    )
    (said,) = (f for f in judge(facts).findings if f.rule == "d-label-constant" and f.subject == "training data")
    assert said.severity == expected


@pytest.mark.parametrize(
    ("val", "table", "expected"),
    [
        (FALLEN, [[199, 1], [1, 199]], "info"),  # 40 steps in all, and it came to rest where it should
        (FALLEN, [[150, 50], [50, 150]], "warning"),
        ([*FALLEN[:-1], 0.5], [[199, 1], [1, 199]], "warning"),
    ],
)
def test_large_steps_of_a_short_run_that_ended_at_its_best(val: list[float], table: Any, expected: str) -> None:
    large = [
        parameter(f"{i}.weight", update_ratio=Trace(x=[float(k) for k in range(20, 200, 20)], y=[0.12] * 9))
        for i in range(3)
    ]
    scores = EvaluationFacts(
        task="binary", n_samples=400, classification=Classification(classes=["0", "1"], confusion=table)
    )
    history = run(FALLEN, val, series=[series("lr", KEPT)], parameters=large)
    facts = report(None, evaluation=scores, train_evaluation=scores, training=history)
    assert severity(facts, "update-ratio") == expected


def test_several_yes_or_no_that_the_inputs_tell_nothing_of() -> None:
    """Neighbours have the same answers where these follow from the inputs, and not where they are dealt out."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=g)
    own = (x[:, :3] > 0).float()
    for target, related in ((own, True), (own[torch.randperm(300, generator=g)], False)):
        sample = VectorSample()
        sample.update(Batch((x,), {}, target))
        signal = sample.facts()
        assert signal is not None
        assert (signal.z > 8) if related else (abs(signal.z) < 3)
    for other in (F.one_hot(torch.arange(300) % 3, 3).float(), torch.randint(0, 9, (300, 3), generator=g).float()):
        sample = VectorSample()
        sample.update(Batch((x,), {}, other))
        assert sample.facts() is None


def test_statistics_that_broke_after_the_run_are_no_fault_of_its_batches() -> None:
    after = Finding(
        rule="param-nonfinite",
        severity=Severity.ERROR,
        subject="0.running_var",
        section="weights",
        detail={"of": "running statistics", "when": "after the run"},
    )
    gap = Finding(rule="eval-train-gap", severity=Severity.ERROR, subject="model", section="trials")
    (only,) = diagnose([after, gap])
    assert only.cause == "non-finite-weights"
    (only,) = diagnose([structs.replace(after, detail={"of": "running statistics"})])
    assert only.cause == "bn-statistics"


# ------------------------------------------------------------------------------------------------- clamped gradients


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bound", "layers", "optimizer", "expected"),
    [
        (1e-5, 3, "SGD", "warning"),
        (10.0, 3, "SGD", None),  # nothing comes near it
        (1e-5, 3, "Adam", "info"),  # whose steps do not depend on it
        (1e-5, 1, "SGD", None),  # one matrix and its bias may meet by chance
    ],
)
def test_gradients_that_end_at_one_bound(bound: float, layers: int, optimizer: str, expected: str | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, 1))
    for layer in list(model)[:layers]:
        for p in layer.parameters():
            p.register_hook(lambda g: g.clamp(-bound, bound))
    x = torch.randn(200, 8)
    data = DataLoader(TensorDataset(x, x[:, :1] + x[:, 1:2]), 50)
    options = reportgen.Options(trial_budget=0, pictures=0)
    seen = reportgen.examine(model, data, loss=nn.MSELoss(), options=options)
    slow = structs.replace(run([1.0 - 0.01 * k for k in range(20)], [1.0 - 0.01 * k for k in range(20)]))
    loop = LoopFacts(optimizers=[OptimizerRun(name=optimizer, n_steps=400)])
    facts = report(BAD, training=structs.replace(slow, loop=loop), gradients=seen.gradients)
    assert severity(facts, "gradients-clamped") == expected


@pytest.mark.parametrize(
    ("bound", "train", "table", "expected"),
    [
        (1.2, [1.0 - 0.01 * k for k in range(20)], BAD, "warning"),
        (30.0, [1.0 - 0.01 * k for k in range(20)], BAD, "info"),  # a few entries alone are cut
        (1.2, FALLEN, GOOD, "info"),  # the run fits all the same
    ],
)
def test_clamped_gradients_warn_where_most_is_cut_and_the_run_fell_short(
    bound: float, train: list[float], table: Any, expected: str
) -> None:
    known = gradients(1, 1, 1)["gradients"]
    cut = [structs.replace(row, stats=structs.replace(row.stats, min=-bound, max=bound)) for row in known.rows]
    loop = LoopFacts(optimizers=[OptimizerRun(name="SGD", n_steps=400)])
    history = structs.replace(run(train, train), loop=loop)
    told = report(table, training=history, gradients=structs.replace(known, rows=cut))
    assert severity(told, "gradients-clamped") == expected
